#!/bin/sh
# The second half of make demo: a long text is read once, the process ends, another process
# wakes it and answers.  demo_memory.sh PROGRAM PACK
#
#   DEMO_BYTES    how much of the text (docs/guide/memory.md), default 6000
set -u
lemma=$1 pack=$2
here=$(dirname "$0")/..
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
chmod 700 "$work"
question=${QUESTION:-In one sentence: what is a session?}

field() { sed -nE "s/^ *\"$1\": ([0-9.]+).*/\1/p" "$work/$2"; }
text() { sed -nE 's/^ *"text": "(.*)",?$/\1/p' "$work/$1" | sed -E 's/\\n/ /g; s/\\"/"/g' | cut -c 1-400; }
# Milliseconds from the start of the process to the first token, and tokens computed for it.
run() {
    out=$1
    shift
    "$lemma" run "$pack" --json --greedy "$@" >"$work/$out" 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
}

head -c "${DEMO_BYTES:-6000}" "$here/docs/guide/memory.md" >"$work/text"
printf '\n\n' >>"$work/text"
printf '%s' "$question" >"$work/question"
cat "$work/text" "$work/question" >"$work/both"

echo "1. One process reads $(wc -c <"$work/text") bytes and puts the session to sleep."
run read --state-dir "$work/store" --session guide --file "$work/text" -n 1
echo "   $(field prompt_tokens read) tokens computed, first token after $(field first_token_ms read) ms"
echo "2. It has ended.  Another process wakes the session and is asked: $question"
run woken --state-dir "$work/store" --session guide --file "$work/question" -n 40
echo "   $(field cached_tokens woken) tokens mounted, $(field prompt_tokens woken) computed"
echo
echo "   $(text woken)"
echo
echo "3. The same without a memory: everything is read again."
run again --no-state --file "$work/both" -n 1
awk -v w="$(field first_token_ms woken)" -v r="$(field first_token_ms again)" \
    'BEGIN { printf "wait for the first token: woken %.0f ms, replayed %.0f ms: %.1f times shorter\n", w, r, r / w }'
