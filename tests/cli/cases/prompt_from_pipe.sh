# Prompts may come through pipes and devices.
ask() { "$LEMMA" "$@" 2>&1; echo; }
ask run "$FABLE" --backend ref --greedy -n 4 -f <(printf 'Once upon a')
printf 'Once upon a' | ask run "$FABLE" --backend ref --greedy -n 4 -f /dev/stdin
ask run "$FABLE" --backend ref --greedy -n 4 --messages <(printf '[{"role":"user","content":"Tell me a story called The Golden Apple."}]')
ask perplexity "$FABLE" --backend ref -f <(printf 'Once upon a time there was a king')
ask perplexity "$FABLE" --backend ref --tokens-file <(echo 2934 582 261)
mkfifo pipe; printf hi >pipe & ask tokenize "$FABLE" <pipe
