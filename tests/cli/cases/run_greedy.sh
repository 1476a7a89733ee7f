# The reference's answer to the chat prompt (tests/data/fable/expected.json).
want=$(tr -d ' \n' <"$SRC/tests/data/fable/expected.json" | sed 's/.*"greedy":\[\(\([0-9]*,\)\{23\}[0-9]*\).*/\1/')
got=$("$LEMMA" run "$FABLE" --backend ref --greedy -n 24 --json "Tell me a story called The Golden Apple." | tr -d ' \n' |
    sed 's/.*"tokens":\[\([^]]*\)\].*/\1/')
[ "$want" = "$got" ] && echo "as the reference says" || printf '%s\n%s\n' "$want" "$got"
try run "$FABLE" --backend ref --greedy -n 12 "Tell me a story called The Golden Apple."
echo
printf 'Tell me a story called The Golden Apple.' | try run "$FABLE" --backend ref --greedy -n 12
echo
printf 'Tell me a story called The Golden Apple.' | try run "$FABLE" --backend ref --greedy -n 12 -
