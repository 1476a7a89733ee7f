# eos, string, length, context; forced, banned and biased tokens.
stop() { "$LEMMA" run "$FABLE" --backend ref --greedy --json --prompt "Once upon a time" "$@" 2>&1 | grep -E '"(stop|text)"'; }
stop -n 6
stop -n 40 --stop "king" --stop "there"
stop -n 40 -c 8
stop -n 6 --logit-bias 2=100
stop -n 3 --logit-bias 2=100 --ignore-eos
stop -n 3 --logit-bias 2+100 --min-tokens 2
stop -n 3 --logit-bias 2=100 --show-special
stop -n 3 --ban 14
stop -n 3 --ban ,
try run "$FABLE" --prompt x --logit-bias 1
try run "$FABLE" --prompt x --logit-bias 9999999=1
try run "$FABLE" --prompt x --logit-bias 1=inf
try run "$FABLE" --prompt x --ban "two words"
try run "$FABLE" --prompt x --ban 99999
try run "$FABLE" --prompt x --samplers nonsense
"$LEMMA" run "$FABLE" --backend ref --greedy --prompt "Once upon a time" -n 40 -c 8 2>&1 >/dev/null
