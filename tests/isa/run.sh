#!/bin/bash
# Instruction sets that share a numerics id give the same bits: run.sh PROGRAM SOURCE.
# isa_digest prints a hash of every kernel's results; this machine's sets are compared
# with plain C, and so are those of 64-bit ARM, cross-compiled and run under qemu.
set -u
build=$(dirname "$(realpath "$1")")
cd "$2" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# Attention over bf16 pages has bits of its own where there is vdpbf16ps; the id says so.
same() { # what, file of its lines, lines that may differ
    if diff <(grep -vE "${3:-^$}" "$work/want") <(grep -vE "${3:-^$}" "$2") >"$work/diff" && [ -s "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: isa: $1 differs from plain C"
        head -n 20 "$work/diff" | sed 's/^/  /'
    fi
}

"$build/isa_digest" portable >"$work/want" || exit 1
[ "$(wc -l <"$work/want")" -ge 100 ] || { echo "FAILED: isa: the digest has too few lines"; exit 1; }
for isa in $("$build/isa_digest" | grep -v '^portable$'); do
    "$build/isa_digest" "$isa" >"$work/got"
    case $isa in
    avx512 | amx) same "$isa" "$work/got" '^attend bf16 ' ;;
    *) same "$isa" "$work/got" ;;
    esac
done

qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static)
if [ "$(uname -m)" = aarch64 ]; then
    : # the sets above are the ones that count
elif ! command -v aarch64-linux-gnu-gcc >/dev/null || [ -z "$qemu" ]; then
    echo "skipped: isa: no aarch64-linux-gnu-gcc or no qemu-aarch64 (make deps-cross)"
elif ! { cmake --preset aarch64-kernels && cmake --build "build/aarch64"; } >"$work/log" 2>&1; then
    echo "FAILED: isa: the kernels do not build for aarch64"
    tail -n 20 "$work/log"
    failed=$((failed + 1))
else
    arm() { "$qemu" -cpu max build/aarch64/isa_digest "$@"; }
    for isa in neon neon-dotprod neon-i8mm; do
        arm | grep -qx "$isa" || { echo "FAILED: isa: qemu has no $isa"; failed=$((failed + 1)); }
    done
    for isa in $(arm); do
        arm "$isa" >"$work/got"
        same "aarch64 $isa" "$work/got"
    done
fi
echo "isa: $passed passed, $failed failed"
[ "$failed" = 0 ]
