#!/bin/bash
# Tests of the program: run.sh PROGRAM SOURCE [--bless] [CASE...]
#
# A case is cases/NAME.sh, run in an empty folder with
#   LEMMA  the program      SRC   the source folder     FABLE  the pack that ships
#   try ARGS...             runs the program, shows command, output and status
# What it prints is compared with NAME.out, its standard error with NAME.err and
# its status with NAME.exit (each: nothing, or 0, when missing); --bless writes them.
# Status 77 and a line "skipped: why" skip a case.
set -u
program=$(realpath "$1") source=$(realpath "$2")
shift 2
bless=
[ "${1:-}" = --bless ] && bless=1 && shift
here=$source/tests/cli/cases
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

export LEMMA=$program SRC=$source FABLE=$source/models/fable BUILD=${program%/*} SUPPORT=$source/tests/cli
export LEMMA_CONFIG= XDG_CONFIG_HOME=$work/config XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state
export HOME=$work/home LC_ALL=C.UTF-8 TERM=xterm
export LSAN_OPTIONS=suppressions=$source/tests/cli/lsan.supp:print_suppressions=0
unset NO_COLOR LEMMA_MODELS LEMMA_STATE LEMMA_STATE_DIR LEMMA_THREADS LEMMA_CTX LEMMA_KV LEMMA_BACKEND LEMMA_ISA LEMMA_COMPUTE \
    LEMMA_CHUNK HF_HOME HF_HUB_CACHE OLLAMA_MODELS
mkdir -p "$HOME"

# Paths of this machine do not belong into an expectation.
plain() { sed -e "s|$work/[a-z_0-9]*\.dir|@HERE@|g" -e "s|$work|@TMP@|g" -e "s|$source|@SRC@|g"; }

passed=0 failed=0 skipped=0
run_case() {
    local name=$1 dir=$work/$1.dir status
    mkdir -p "$dir"
    (cd "$dir" && bash -c '. "$SUPPORT/lib.sh"; . "$1"' case "$here/$name.sh") >"$work/out.raw" 2>"$work/err.raw" </dev/null
    status=$?
    plain <"$work/out.raw" >"$work/out"
    plain <"$work/err.raw" >"$work/err"
    if [ $status = 77 ]; then
        skipped=$((skipped + 1))
        echo "skipped: cli/$name: $(grep -h '^skipped:' "$work/out" | sed 's/skipped: *//')"
        return
    fi
    if [ -n "$bless" ]; then
        for what in out err; do
            if [ -s "$work/$what" ]; then cp "$work/$what" "$here/$name.$what"; else rm -f "$here/$name.$what"; fi
        done
        if [ $status = 0 ]; then rm -f "$here/$name.exit"; else echo $status >"$here/$name.exit"; fi
        return
    fi
    local bad=
    for what in out err; do
        expected=$here/$name.$what
        [ -f "$expected" ] || expected=/dev/null
        diff -u --label "expected $what" --label "seen $what" "$expected" "$work/$what" >"$work/diff" || { bad=1; cat "$work/diff"; }
    done
    local want=0
    [ -f "$here/$name.exit" ] && want=$(cat "$here/$name.exit")
    [ "$status" = "$want" ] || { bad=1; echo "status $status, expected $want"; }
    if [ -n "$bad" ]; then
        failed=$((failed + 1))
        echo "FAILED: cli/$name"
    else
        passed=$((passed + 1))
    fi
}

if [ $# -gt 0 ]; then
    for name; do run_case "$name"; done
else
    for file in "$here"/*.sh; do run_case "$(basename "$file" .sh)"; done
fi
[ -n "$bless" ] && echo "blessed" && exit 0
echo "cli: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
