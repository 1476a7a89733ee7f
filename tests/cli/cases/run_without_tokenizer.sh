# Text is null, tokens are what they are; 256 tokens at most on their own.
pack=$SRC/tests/data/golden/llama
"$LEMMA" run "$pack" --backend ref --tokens 1,2,3 --greedy -n 3 --seed 1 --json | without_times
try run "$pack" "hello"
try chat "$pack"
try tokenize "$pack" hello
try run "$pack" --backend ref --tokens 1,2,3 --greedy -n 3
