# Bit for bit the same however a prompt is cut, whatever shares the step.
ids=1,423,274,201,7807,383,261,998,895,376,2711,5980,306,16,2,201,1,571,548,407,201
for backend in ref cpu; do
    "$LEMMA" logits "$FABLE" --backend $backend --tokens $ids -o all.npy || echo failed
    for how in "--chunk 1" "--chunk 7" "--chunk 64 --mix 3" "--chunk 4 --mix 1" "-t 1" "-t 2 --mix 2 --chunk 5"; do
        "$LEMMA" logits "$FABLE" --backend $backend --tokens $ids $how -o other.npy && cmp all.npy other.npy || echo "$backend differs: $how"
    done
    "$LEMMA" logits "$FABLE" --backend $backend --tokens $ids --last -o last.npy
    cmp <(tail -c 32768 all.npy) <(tail -c 32768 last.npy) && echo "$backend: the last row is the last row"
done
head -c 128 all.npy | strings | head -n 2
"$LEMMA" logits "$FABLE" --backend ref --tokens 1,2 -o x.npy --json
try logits "$FABLE" --tokens 1,2 -o no/such/folder/x.npy
try logits "$FABLE" --tokens 1,2,3 -c 2 -o x.npy
ls
