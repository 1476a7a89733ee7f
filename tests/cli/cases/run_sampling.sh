# The seed decides; every option of the chain is taken.
text() { "$LEMMA" run "$FABLE" --backend ref --prompt "Once upon a time" -n 12 "$@" 2>&1; }
[ "$(text --seed 7)" = "$(text -s 7)" ] && echo same
[ "$(text --seed 7)" = "$(text --seed 8)" ] || echo different
[ "$(text --seed 7 --samplers "top_k;temperature" --top-k 1)" = "$(text --greedy)" ] && echo greedy
[ "$(text --seed 7 --top-k 1 --sampling-seq kt)" = "$(text --greedy)" ] && echo greedy
text --seed 1 --temp 0.9 --top-k 50 --top-p 0.9 --min-p 0.01 --typical 0.95 --top-n-sigma 2 --xtc-probability 0.1 \
    --xtc-threshold 0.2 --dynatemp-range 0.1 --dynatemp-exp 1 --repeat-penalty 1.1 --repeat-last-n 32 \
    --presence-penalty 0.1 --frequency-penalty 0.1 --dry-multiplier 0.5 --dry-base 1.7 --dry-allowed-length 3 \
    --dry-penalty-last-n -1 --dry-sequence-breaker . --min-keep 1 >/dev/null && echo taken
text --seed 1 --mirostat 2 --mirostat-ent 4 --mirostat-lr 0.2 >/dev/null && echo taken
text --seed 1 --dry-multiplier 0.5 --dry-sequence-breaker none >/dev/null && echo taken
