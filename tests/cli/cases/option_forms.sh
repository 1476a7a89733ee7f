# Long, short, joined, aliased, of several letters, after --, last one wins.
answer() { "$LEMMA" run "$FABLE" --backend ref --tokens 1,423 --json "$@" 2>&1 | tr -d ' \n' | sed 's/.*"tokens":\[\([^]]*\)\].*/\1/'; echo; }
answer -n 3 --temp 0
answer -n3 --greedy
answer --max-tokens=3 --temperature=0
answer --predict 3 --temp 0.0
answer --n-predict 9 -n 3 --greedy
answer -n 3 --greedy -ctk f32 -ctv f32 -c 64 -b 2 -t 1
answer -n 3 --greedy --no-mmap --mlock -fa on -ngl 0 --no-warmup --no-display-prompt --jinja
answer -n 3 --greedy --kv f16 | tr , '\n' | wc -l
try run -m "$FABLE" --backend ref -n 0 -- --greedy
try tokenize "$FABLE" -- --json
