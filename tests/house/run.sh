#!/bin/bash
# Gates on the tree itself: run.sh PROGRAM SOURCE.  Each prints what it found.
set -u
program=$(realpath "$1")
cd "$2" || exit 1
build=${program%/*}
passed=0 failed=0

gate() { # name, command...
    local name=$1 found
    shift
    if found=$("$@" 2>&1) && [ -z "$found" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: house: $name"
        printf '%s\n' "$found" | head -n 40 | sed 's/^/  /'
    fi
}
skip() { echo "skipped: house: $1"; }

sources() { find src include tests examples -name '*.[ch]' -o -name '*.inc' -path 'src/*' | sort; }
# Code without comments and strings, "file:line: text", for words that a comment may say.
code() {
    awk '
    FNR == 1 { inside = 0 }
    {
        line = $0; text = ""
        while (line != "") {
            if (inside) {
                end = index(line, "*/")
                if (!end) { line = ""; break }
                line = substr(line, end + 2); inside = 0
            } else if (substr(line, 1, 2) == "/*") { inside = 1; line = substr(line, 3) }
            else if (substr(line, 1, 2) == "//") line = ""
            else if (substr(line, 1, 1) == "\"") {
                line = substr(line, 2)
                while (line != "" && substr(line, 1, 1) != "\"") line = substr(line, substr(line, 1, 1) == "\\" ? 3 : 2)
                line = substr(line, 2); text = text "\"\""
            } else { text = text substr(line, 1, 1); line = substr(line, 2) }
        }
        if (text ~ /[^ \t]/) print FILENAME ":" FNR ": " text
    }' "$@"
}

includes_point_down() { python3 scripts/layers.py .; }
the_layer_check_sees_an_upward_include() {
    local dir
    dir=$(mktemp -d)
    mkdir -p "$dir/src/base" "$dir/src/format" "$dir/src/cli" "$dir/src/attic"
    echo '#include "engine/engine.h"' >"$dir/src/base/a.c"
    echo '#include "text/jinja.h"' >"$dir/src/format/b.c"
    printf '#include "lemma/lemma.h"\n#include "base/str.h"\n#include "engine/engine.h"\n' >"$dir/src/cli/c.c"
    echo >"$dir/src/attic/d.c"
    [ "$(python3 scripts/layers.py "$dir" | wc -l)" = 4 ] || echo "four were planted, it said:
$(python3 scripts/layers.py "$dir")"
    rm -rf "$dir"
}
exported_symbols_are_the_listed_ones() {
    nm -D --defined-only "$build/liblemma.so" | awk '$3 !~ /^(_init|_fini|__.*|_edata|_end)$/ {print $3}' |
        sort | diff include/lemma/exports.txt - | grep '^[<>]'
    true
}
headers_declare_the_listed_symbols() {
    sed -n 's/^LM_API .*\b\(lm_[a-z0-9_]*\)(.*/\1/p' include/lemma/*.h | LC_ALL=C sort |
        diff <(LC_ALL=C sort include/lemma/exports.txt) - | grep '^[<>]'
    true
}
no_file_is_too_long() {
    sources | while read -r f; do
        n=$(wc -l <"$f")
        [ "$n" -le 1200 ] || head -n 5 "$f" | grep -q GENERATED || echo "$f has $n lines, allowed are 1200"
    done
}
long_functions_say_why() {
    # A body from "{" to "}" in the first column; kernels are exempt.
    find src -name '*.c' -not -path 'src/backend/*' | sort | while read -r f; do
        awk -v f="$f" '
            /^{/ { start = FNR; why = before ~ /long: / }
            /^}/ && start { if (FNR - start > 61 && !why) print f ":" start ": " FNR - start - 1 " lines without /* long: why */"; start = 0 }
            { if ($0 ~ /long: /) why = 1; before = $0 ~ /^$/ ? "" : before $0 }' "$f"
    done
}
the_library_never_prints_or_exits() {
    code $(find src -name '*.[ch]' -not -path 'src/cli/*') |
        grep -E '[^a-zA-Z0-9_](exit|_exit|abort|printf|puts|putchar|fprintf|perror|vprintf)[ ]*\(' || true
}
memory_comes_from_base() {
    code $(find src -name '*.[ch]' -not -path 'src/base/mem.c') |
        grep -E '[^a-zA-Z0-9_>.](malloc|calloc|realloc|strdup|strndup|aligned_alloc|posix_memalign)[ ]*\(' || true
}
free_stands_beside_a_reason() {
    # free() only for what another library allocated, and the line says so.
    grep -nE '(^|[^a-zA-Z0-9_>.])free\(' $(find src -name '*.[ch]' -not -path 'src/base/mem.c') |
        grep -vE '/\*|^[^:]*:[0-9]+: *\*' || true
}
forbidden_functions() {
    code $(sources | grep -v '^tests/') |
        grep -E '[^a-zA-Z0-9_](strcpy|strcat|sprintf|vsprintf|alloca|gets|strtok|rand|srand|system|popen|tmpnam|mktemp)[ ]*\('
    # Tests may run commands and fill their own buffers.
    code $(sources | grep '^tests/') | grep -E '[^a-zA-Z0-9_](strcat|sprintf|vsprintf|alloca|gets|strtok|tmpnam|mktemp)[ ]*\('
    true
}
no_paths_of_a_machine() {
    # What a checkout cannot have: home folders, this or that workplace.
    git ls-files 2>/dev/null | grep -vE '\.(safetensors|gguf|npy|bin)$|^tests/house/' |
        xargs -d '\n' grep -nIE '(/home/[a-z]|/Users/[A-Za-z]|/root/|(^|[^a-zA-Z0-9.])/work/)' 2>/dev/null | cut -c1-160 || true
}
no_unfinished_marks() {
    code $(sources) >/dev/null
    grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $(find src include examples -name '*.[ch]') || true
}
headers_say_threads() {
    # Those that declare functions; plain data and kernels say it where they are used.
    for f in $(grep -lE '^(LM_API |const |struct )?[a-z_0-9]+ \**lm_[a-z0-9_]+\(' $(find src include -name '*.h' \
        -not -path 'src/backend/cpu/*' -not -path 'include/lemma/lemma.h')); do
        head -n 40 "$f" | grep -q 'Threads:' || echo "$f says nothing of threads"
    done
}
headers_begin_with_their_path() {
    for f in $(find src include -name '*.h'); do
        short=${f#src/} short=${short#include/}
        head -n 1 "$f" | grep -qF "/* $short - " || head -n 1 "$f" | grep -q GENERATED || echo "$f: $(head -n 1 "$f")"
    done
}
no_third_party_source() {
    grep -rlE 'SPDX-License-Identifier|Copyright \(c\)|All rights reserved' src include tests scripts examples 2>/dev/null |
        grep -v '^tests/house/' || true
}
formatted_as_clang_format_says() {
    clang-format --dry-run -Werror $(sources | grep -v '[.]inc$') 2>&1 | grep -E 'error:' | cut -d: -f1 | sort | uniq -c | head -n 20 || true
}
every_script_is_one() {
    for f in scripts/*.sh tests/*/run.sh .ci/run; do
        [ -x "$f" ] || echo "$f is not executable"
        head -n 1 "$f" | grep -q '^#!' || echo "$f has no #! line"
        if head -n 1 "$f" | grep -q bash; then bash -n "$f"; else sh -n "$f"; fi
    done
}
if command -v python3 >/dev/null 2>&1; then
    gate "includes point down" includes_point_down
    gate "the layer check sees an upward include" the_layer_check_sees_an_upward_include
else
    skip "python3 is missing: layers are not checked"
fi
if [ -f "$build/liblemma.so" ] && nm -D "$build/liblemma.so" 2>/dev/null | grep -q __asan; then
    skip "a sanitizer build exports symbols of its own"
else
    gate "exported symbols are the listed ones" exported_symbols_are_the_listed_ones
fi
gate "headers declare the listed symbols" headers_declare_the_listed_symbols
gate "no file is too long" no_file_is_too_long
gate "long functions say why" long_functions_say_why
gate "the library never prints or exits" the_library_never_prints_or_exits
gate "memory comes from base/mem.c" memory_comes_from_base
gate "free() stands beside a reason" free_stands_beside_a_reason
gate "no forbidden functions" forbidden_functions
gate "no paths of a machine" no_paths_of_a_machine
gate "no unfinished marks" no_unfinished_marks
gate "headers say what threads may do" headers_say_threads
gate "headers begin with their path" headers_begin_with_their_path
gate "no third-party source" no_third_party_source
gate "scripts are executable and parse" every_script_is_one

# Versions differ in what they make of the same rules: the one of Debian 12 decides.
if command -v clang-format >/dev/null 2>&1 && clang-format --version | grep -q 'version 14\.'; then
    gate "formatted as clang-format says" formatted_as_clang_format_says
else
    skip "clang-format 14 is missing: the layout is not checked"
fi

echo "house: $passed passed, $failed failed"
[ $failed = 0 ]
