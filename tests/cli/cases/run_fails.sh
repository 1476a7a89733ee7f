# Each failure: a sentence, what to do, the status of its kind.
try run nowhere/at/all hi
try run "$SRC/nothing.gguf" hi
try run /dev/null hi
try run "$FABLE" --messages nowhere.json
printf '{"messages": 3}' >m.json; try run "$FABLE" --messages m.json
printf '[{"role"' >m.json; try run "$FABLE" --messages m.json
try run "$FABLE" --prompt ""
try run "$FABLE" --tokens 1,2,3 -c 2
try run "$FABLE" -f nowhere.txt
try run "$SRC/tests/data/packs/llama-Q4_0.gguf" --prompt x
