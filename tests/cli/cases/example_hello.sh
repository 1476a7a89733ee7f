# examples/hello.c, built against the shared library.
[ -x "$BUILD/example_hello" ] || { echo "skipped: the examples are not built"; exit 77; }
"$BUILD/example_hello" "$FABLE" "Tell me a story called The Golden Apple." >out; echo "[$?]"
tail -n 1 out | sed -E 's/[0-9]+ tokens/N tokens/; s/by [a-z]+/by WHY/; s/[0-9.]+ tokens.s/X tokens\/s/'
"$BUILD/example_hello" nowhere "Hi" 2>&1; echo "[$?]"
"$BUILD/example_hello" 2>&1 | sed 's|/.*/||'
