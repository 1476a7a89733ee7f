# The option, the value seen, the value allowed.
try run "$FABLE" --tmep 1 hi
try run "$FABLE" --mix 2 hi
try run "$FABLE" --zzzzzz
try run "$FABLE" -Q
try run "$FABLE" --top-p 1.5 hi
try run "$FABLE" --top-k x hi
try run "$FABLE" --top-k 1.5 hi
try run "$FABLE" --top-k= hi
try run "$FABLE" --temp nan hi
try run "$FABLE" --temp 0x10 hi
try run "$FABLE" -n
try run "$FABLE" --greedy=1 hi
try run "$FABLE" --kv q8_0 hi
try run "$FABLE" --kv f32 -ctk f16 hi
try run "$FABLE" -ctk f32 -ctv f16 hi
try run "$FABLE" --greedy --temp 1 hi
"$LEMMA" run "$FABLE" -ngl 99 --greedy -n 1 hi 2>&1 >/dev/null
"$LEMMA" run "$FABLE" -ngl 0 --greedy -n 1 hi 2>&1 >/dev/null
"$LEMMA" run "$FABLE" -t 3000 hi 2>&1 | sed 's/1 to [0-9]*/1 to N/'
try run "$FABLE" -t -1 hi
try run "$FABLE" -fa off hi
try run "$FABLE" --backend gpu hi
try run "$FABLE" --logprobs 2 hi
try run "$FABLE" one two
try run "$FABLE" one --prompt two
try run "$FABLE" --prompt one --tokens 1
try run "$FABLE" --messages x --system y
try run "$FABLE" --raw --system y hi
try run "$FABLE" --prompt x --think on
try bench "$FABLE" -t 1,x
try bench "$FABLE" -p 0 -n 0
try bench "$FABLE" -d 100000
try logits "$FABLE"
try logits "$FABLE" --tokens 1
try logits "$FABLE" --tokens "" -o x.npy
try logits "$FABLE" --tokens 1,9999999 -o x.npy
try logits "$FABLE" --tokens 1,2x -o x.npy
try logits "$FABLE" --tokens -1 -o x.npy
try logits "$FABLE" --tokens 1 -o no/such/x.npy
try logits "$FABLE" --tokens 1 -o /dev/null
try bench "$FABLE" --plot no/such/x.svg
try bench
try bench "$FABLE" extra
try perplexity "$FABLE"
try perplexity "$FABLE" -f a --tokens-file b
try template "$FABLE"
try tokenize "$FABLE" --skip-special x
try tokenize "$FABLE" --decode --pieces
try pack
try pack lits
try pack list --quick
try pack inspect
try pack check
try doctor more
ls
try run "$FABLE" --stop "" hi
try chat "$FABLE" --stop=
try chat "$FABLE" --json
try run "$FABLE" --cpu-mask 5-3 hi 2>&1 | sed 's/within [0-9,.-]*/within LIST/'
try run "$FABLE" -C 1023 hi 2>&1 | sed 's/use [0-9]*: [0-9,.-]*/use N: LIST/'
for option in "--isa avx2" "-C 0" "--compute precise"; do try run "$FABLE" --backend ref $option hi; done
try bench "$FABLE" --backend ref --isa avx2,portable
try bench "$FABLE" --backend ref -t 1,2
LEMMA_ISA=portable LEMMA_THREADS=1 try run "$FABLE" --backend ref --greedy -n 1 hi
try bench "$FABLE" -t 1,2,1
try bench "$FABLE" --kv f32,f16,f32
try bench "$FABLE" -p 64,64
# Beyond any memory, the room to work in included.
for kv in f32 k-q8-v-q4; do
    try run "$SRC/tests/data/golden/gemma3_text" -t 2 --kv $kv -c 2147483647 --tokens 1,2 -n 1 | sed -E 's/[0-9]+ MiB/N MiB/g; s/-c [0-9]+ fits.*/-c N fits/'
done
