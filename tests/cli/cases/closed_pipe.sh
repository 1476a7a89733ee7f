# Whoever reads us may leave; nobody complains.
"$LEMMA" run "$FABLE" --backend ref -n 60 --greedy --prompt "Once upon a time" | head -c 5; echo " ${PIPESTATUS[0]}"
yes 1 | head -n 200000 | "$LEMMA" tokenize "$FABLE" --pieces | head -n 1; echo "${PIPESTATUS[2]}"
"$LEMMA" help run | head -n 1; echo "${PIPESTATUS[0]}"
[ -e /dev/full ] && { "$LEMMA" help >/dev/full; echo "$?"; }
