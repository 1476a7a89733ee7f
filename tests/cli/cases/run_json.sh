# The fields that others script against, and what each way of prompting gives.
ask() { "$LEMMA" run "$FABLE" --backend ref --greedy --json "$@" 2>&1 | without_times; }
ask -n 4 --seed 5 "Tell me a story called The Golden Apple."
ask -n 2 --seed 5 --tokens "1 423,274"
ask -n 2 --seed 5 --prompt "Once upon a time" --logprobs 2
ask -n 0 --seed 5 --prompt "Once upon a time"
printf '[{"role":"user","content":"Hi"}]' >messages.json
ask -n 2 --seed 5 --messages messages.json | tr -d '\n '; echo
printf '{"messages":[{"role":"user","content":"Hi"}],"enable_thinking":false}' >messages.json
ask -n 2 --seed 5 --messages messages.json | tr -d '\n '; echo
printf 'Once upon a time' >text
ask -n 2 --seed 5 -f text | tr -d '\n '; echo
ask -n 2 --seed 5 --raw "Once upon a time" | tr -d '\n '; echo
