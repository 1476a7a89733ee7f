#!/bin/bash
# Runs the commands that the documentation shows: run.sh PROGRAM SOURCE [FILE.md...]
#
# In README.md and docs/guide/*.md every line "$ COMMAND" of a block marked
#   ```console          is run, and has to end with status 0
#   ```console exact    too, and what it prints (both streams) has to be what the block shows
# A command that is meant to fail says so: "$ lemma run nowhere hi   # status 3".
# A line that ends in a backslash goes on in the next.  Other blocks (sh, text) are
# not run; of every `lemma VERB` in any block the options have to exist.
#
# Commands run in an empty folder where the source's models/, tests/ and examples/
# can be seen, without a network where the system lets us take it away, with `lemma`
# in PATH and nothing of the user's in HOME.  Links between pages have to lead somewhere.
set -u
program=$(realpath "$1") source=$(realpath "$2")
shift 2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/user"
ln -s "$program" "$work/bin/lemma"
export PATH=$work/bin:$PATH HOME=$work/user LC_ALL=C.UTF-8 TERM=dumb LEMMA_CONFIG=
export XDG_CACHE_HOME=$work/user/cache XDG_STATE_HOME=$work/user/state XDG_CONFIG_HOME=$work/user/config
unset NO_COLOR LEMMA_MODELS LEMMA_STATE LEMMA_STATE_DIR LEMMA_THREADS LEMMA_CTX LEMMA_KV LEMMA_BACKEND LEMMA_ISA \
    LEMMA_CHUNK HF_HOME HF_HUB_CACHE OLLAMA_MODELS
offline=
if command -v unshare >/dev/null 2>&1 && unshare -rn true 2>/dev/null; then offline="unshare -rn"; fi

pages=("$@")
[ ${#pages[@]} -gt 0 ] || pages=("$source/README.md" "$source"/docs/guide/*.md)

# Writes each command of a page as N.cmd (its line as N.line, its status as N.want), and
# what an exact block shows below it as N.show.
split_page() { # page folder
    awk -v dir="$2" '
        function close_show() { if (show != "") close(show); show = "" }
        /^```/ {
            if (inside) { inside = 0; close_show(); next }
            if ($0 ~ /^```console *$/) { inside = 1; exact = 0 }
            else if ($0 ~ /^```console exact *$/) { inside = 1; exact = 1 }
            else inside = 2
            more = 0
            next
        }
        inside != 1 { next }
        more || /^\$ / {
            if (!more) {
                close_show()
                n++
                text = substr($0, 3)
                line = FNR
                want = 0
            } else text = text "\n" $0
            more = (text ~ /\\$/)
            if (more) next
            if (match(text, /# status [0-9]+ *$/)) want = substr(text, RSTART + 9) + 0
            base = sprintf("%s/%03d", dir, n)
            print text > (base ".cmd"); close(base ".cmd")
            print line > (base ".line"); close(base ".line")
            print want > (base ".want"); close(base ".want")
            if (exact) { show = base ".show"; printf "" > show }
            next
        }
        show != "" { print > show }
    ' "$1"
}

commands=0 failed=0
fail() {
    failed=$((failed + 1))
    echo "FAILED: $1"
}

run_page() {
    local page=$1 name=${1#"$source"/} dir here cmd base status want
    dir=$(mktemp -d "$work/page.XXXXXX") here=$(mktemp -d "$work/here.XXXXXX")
    ln -s "$source/models" "$source/tests" "$source/examples" "$here/"
    split_page "$page" "$dir"
    for cmd in "$dir"/*.cmd; do
        [ -f "$cmd" ] || continue
        base=${cmd%.cmd}
        commands=$((commands + 1))
        want=$(cat "$base.want")
        (cd "$here" && timeout 120 $offline bash "$cmd" </dev/null >"$base.seen" 2>&1)
        status=$?
        if [ "$status" != "$want" ]; then
            fail "$name:$(cat "$base.line"): status $status, expected $want: $(cat "$cmd")"
            tail -n 5 "$base.seen"
        elif [ -f "$base.show" ]; then
            # A page cannot show whether the last line ends with a newline.
            [ "$(cat "$base.show")" = "$(cat "$base.seen")" ] || {
                diff -u --label "$name shows" --label "seen" "$base.show" "$base.seen"
                fail "$name:$(cat "$base.line"): $(cat "$cmd")"
            }
        fi
    done
}

# Options of `lemma VERB` anywhere in the code of a page.
check_options() {
    local page=$1 name=${1#"$source"/} verb words option
    while read -r verb words; do
        "$program" help "$verb" >"$work/help" 2>/dev/null || { fail "$name: there is no verb: lemma $verb"; continue; }
        for option in $(grep -oE -- '(^| )--[a-z][a-z-]*' <<<" $words"); do
            grep -qE -- "$option( |,|\$)" "$work/help" || fail "$name: lemma $verb has no option $option"
        done
    done < <(sed -n '/^```/,/^```/p' "$page" | grep -v '# status 2' | grep -oE '(^|^\$ (build/)?|\| *)lemma [a-z]+[^|#]*' |
        sed -e 's/^.*lemma //' -e "s/\"[^\"]*\"//g" -e "s/'[^']*'//g")
}

# Links to files of this repository.
check_links() {
    local page=$1 name=${1#"$source"/} link
    while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || fail "$name: the link $link leads nowhere"
    done < <(sed '/^```/,/^```/d' "$page" | grep -oE '\]\([^)#]+' | sed 's/^](//' | grep -vE '^[a-z]+:')
}

for page in "${pages[@]}"; do
    run_page "$page"
    check_options "$page"
    [ $# = 0 ] || check_links "$page"
done
if [ $# = 0 ]; then
    for page in "$source"/*.md "$source"/docs/*.md "$source"/docs/*/*.md; do check_links "$page"; done
    # A change of the markers must not turn this test into one that runs nothing.
    [ "$commands" -ge 20 ] || fail "only $commands commands were found"
fi
echo "$commands commands of ${#pages[@]} pages run, $failed failures${offline:+, without a network}"
[ "$failed" = 0 ]
