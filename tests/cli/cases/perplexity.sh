printf 'Once upon a time there was a king who had three sons.' >text
"$LEMMA" perplexity "$FABLE" --backend ref -f text
"$LEMMA" perplexity "$FABLE" --backend ref -f text --json | sed -E 's/(\.[0-9]{4})[0-9]*/\1/'
"$LEMMA" tokenize "$FABLE" <text >ids
"$LEMMA" perplexity "$FABLE" --backend ref --tokens-file ids
"$LEMMA" perplexity "$FABLE" --backend ref -f - <text
try perplexity "$FABLE" -f text -c 4
printf 'x' >one; try perplexity "$FABLE" -f one
