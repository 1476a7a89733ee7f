#!/bin/bash
# Runs the tests of one build folder and closes with one line of counts.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
ctest --test-dir "$build" --output-on-failure -j "${JOBS:-2}" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

passed=$(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed' "$log")
skipped=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*Skipped' "$log")
failed=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*(Failed|Timeout|Exception|Not Run)' "$log")
# Parts of tests that could not run are in their own output, not in ctest's.
part=$(grep -hE '^(\[  SKIPPED \]|skipped:|SKIP)|: skipped' "$build/Testing/Temporary/LastTest.log" 2>/dev/null |
    grep -vE '^\[  SKIPPED \] [0-9]+ test' | sort -u)
if [ -n "$part" ]; then
    echo
    echo "Not everything could be tested here:"
    echo "$part" | sed 's/^/  /' | head -n 60
    skipped=$((skipped + $(echo "$part" | wc -l)))
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
