try tokenize "$FABLE" "Once upon a time"
try tokenize "$FABLE" "Once upon a time" --json
try tokenize -m "$FABLE" "<|im_start|>user" --pieces
printf 'caf\303\251 \342\202\254 \360\237\230\200 end' >bytes
"$LEMMA" tokenize "$FABLE" --json <bytes >ids.json && "$LEMMA" tokenize "$FABLE" --decode <ids.json | cmp - bytes && echo "byte for byte"
echo "2934 582,261" | try tokenize "$FABLE" --decode; echo
echo '{"tokens":[1,2934]}' | try tokenize "$FABLE" --decode; echo
echo '{"tokens":[1,2934]}' | try tokenize "$FABLE" --decode --skip-special; echo
echo '1' | try tokenize "$FABLE" --decode --json
echo '1 x' | try tokenize "$FABLE" --decode
echo '99999999' | try tokenize "$FABLE" --decode
printf '' | try tokenize "$FABLE" --json
printf '' | try tokenize "$FABLE" --decode
"$LEMMA" tokenize "$FABLE/tokenizer.json" "Once upon a time"
try tokenize "$FABLE/config.json" x
# Ill-formed bytes become U+FFFD.
printf 'a\377b' | "$LEMMA" tokenize "$FABLE" --json >ids.json; "$LEMMA" tokenize "$FABLE" --decode <ids.json; echo
