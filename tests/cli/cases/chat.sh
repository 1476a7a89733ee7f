# A conversation from a pipe; every command; only what is new is evaluated.
printf '%s\n' "Tell me a story called The Golden Apple." /regen '"""' "Two lines" "of text" '"""' "one \\" "message" \
    /undo /undo "/system You are short." "Hi" "/save conversation.json" /clear "/save cleared.json" /regen "/undo" /nonsense "/save" \
    "/save no/such/folder" /system /help /quit "never reached" |
    "$LEMMA" chat "$FABLE" --backend ref --greedy -n 5 --system "You tell tales." 2>&1
echo "[$?]"
cat conversation.json
cat cleared.json
"$LEMMA" run "$FABLE" --backend ref --greedy -n 3 --messages conversation.json --json | grep prompt_tokens
printf 'One\nTwo\n' | "$LEMMA" chat "$FABLE" --backend ref --greedy -n 6 --timings 2>&1 >/dev/null | sed -E 's/.*(prompt [0-9]+ tokens).*(decode [0-9]+ tokens).*/\1, \2/'
printf 'Hi' | "$LEMMA" chat "$FABLE" --backend ref --greedy -n 3
printf '' | "$LEMMA" chat "$FABLE" --backend ref; echo "[$?]"
try chat "$FABLE" extra
try chat nowhere
