# The first ctrl-C stops the answer, which stays; the status says so.
"$LEMMA" run "$FABLE" --backend ref --greedy -n 2000 --ignore-eos --prompt "Once upon a time" >out 2>err &
pid=$!
for i in $(seq 100); do [ -s out ] && break; sleep 0.05; done
kill -INT $pid; wait $pid; echo "[$?]"
[ -s out ] && echo "the beginning is there"
cat err
