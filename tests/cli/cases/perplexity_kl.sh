echo "Once upon a time there was a poor woodcutter." >text
"$LEMMA" perplexity "$FABLE" --backend ref --kv f32 -f text --kl-base base >/dev/null
"$LEMMA" perplexity "$FABLE" --backend ref --kv f32 -f text --kl-base base --json |
    jq -c '[.kl_mean < 1e-8, .kl_max < 1e-7, .top1_agreement]'
"$LEMMA" perplexity "$FABLE" -t 1 -f text --kl-base base | sed -E 's/[0-9.]+(e-[0-9]+)?/N/g'
echo "Another text" >other
try perplexity "$FABLE" --backend ref -f other --kl-base base
ls
