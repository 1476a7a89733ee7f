# With a fixed seed /regen draws with the next one; the next question has the given seed again.
printf '%s\n' Hi /regen /regen | "$LEMMA" chat "$FABLE" --backend ref --seed 5 -n 5 >a 2>notes; cat notes
sort -u a | wc -l
for seed in 6 7; do printf 'Hi\n' | "$LEMMA" chat "$FABLE" --backend ref --seed $seed -n 5 2>/dev/null; done >b
tail -n 2 a | cmp - b && echo "as with that seed from the start"
printf '%s\n' Hi /regen /clear Hi | "$LEMMA" chat "$FABLE" --backend ref --seed 5 -n 5 2>/dev/null | sed -n '1p;3p' | uniq | wc -l
printf '%s\n' Hi /regen | "$LEMMA" chat "$FABLE" --backend ref --greedy -n 5 2>&1
