# Every verb has a page, mandoc has nothing to say about it, and every option is in it.
[ -f "$BUILD/man/lemma.1" ] || { echo "skipped: scdoc is missing"; exit 77; }
for verb in run chat pack tokenize template logits perplexity bench doctor help version; do
    page=$BUILD/man/lemma-$verb.1
    [ -s "$page" ] || { echo "no page for $verb"; continue; }
    for option in $("$LEMMA" help $verb | grep -oE '^ +(-[a-z]+, )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
        grep -q -- "$option" "$page" || echo "$verb $option is not in the manual"
    done
done
if command -v mandoc >/dev/null 2>&1; then
    (cd "$BUILD/man" && for page in *.1; do mandoc -T lint "$page" | grep -v 'referenced manual not found'; done) || true
else
    echo "mandoc is missing" >/dev/null
fi
