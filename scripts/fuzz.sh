#!/bin/sh
# Fuzzes every target of a fuzz build for some seconds, beginning with its corpus;
# what it finds is left in build/fuzz/found/NAME.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1 seconds=$2 status=0 n=0
for target in "$build"/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/fuzz_}
    mkdir -p "$build/found/$name" "$build/corpus/$name"
    printf '%s: ' "$name"
    if "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -artifact_prefix="$build/found/$name/" \
        "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$build/found/$name.log" 2>&1; then
        echo "nothing found"
    else
        echo "FOUND something, see $build/found/$name"
        tail -n 5 "$build/found/$name.log"
        status=1
    fi
    n=$((n + 1))
done
echo "$n targets"
exit $status
