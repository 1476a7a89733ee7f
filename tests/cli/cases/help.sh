# Every verb has help, by three spellings, and a line in the overview.
try help | head -n 3
try --help | head -n 1
try -h | head -n 1
for verb in run chat pack tokenize template logits perplexity bench doctor help version; do
    try help $verb >a; try $verb --help >b; try $verb -h >c
    tail -n +2 a >a1; tail -n +2 b >b1; tail -n +2 c >c1
    cmp a1 b1 && cmp a1 c1 && sed -n 2p a
    grep -q "usage: lemma $verb" a || echo "no usage of $verb"
    "$LEMMA" help | grep -q "^  $verb " || echo "$verb is not in the overview"
done
try help bench
# Names of the environment, and what may be typed in a chat.
"$LEMMA" help chat | grep -oE '\(LEMMA_[A-Z_]+\)|^/[a-z]+' | tr '\n' ' '; echo
# The option table as JSON.
"$LEMMA" help --json | grep -cE '^      "name": "(run|chat|help|version)"'
"$LEMMA" help version --json
