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
# Nothing to answer.
try run "$FABLE" ""
try run "$FABLE" </dev/null
echo | try run "$FABLE"
try run "$FABLE" -f /dev/null
try run "$FABLE" -f .
# Paths that are nearly right, and files that are no packs.
mkdir models; cp -r "$FABLE" models/fable
try run models/fabel hi
try run ./models/fabel hi
try run ./nofile.gguf hi
try run model hi 2>&1 | grep hint
echo "# Read me" >README.md; try run README.md hi
try run models/fable/config.json hi
# Contexts that were never trained.
try run models/fable --backend ref -c 4096 --tokens 1,2 -n 0
try run models/fable -c 2000000000 hi 2>&1 | grep hint
