# Every command of the guides' console blocks ends well.
cd "$SRC" || exit 1
PATH=$(dirname "$LEMMA"):$PATH
cat README.md docs/guide/*.md 2>/dev/null | awk '/^```console/ {on = 1; next} /^```/ {on = 0} on && /^\$ / {print substr($0, 3)}' >"$XDG_CACHE_HOME.commands"
grep -E '^lemma |\| *lemma ' "$XDG_CACHE_HOME.commands" | while read -r line; do
    (cd "$SRC" && timeout 60 bash -c "$line") >/dev/null 2>"$XDG_CACHE_HOME.err" </dev/null || { echo "fails: $line"; cat "$XDG_CACHE_HOME.err"; }
done
