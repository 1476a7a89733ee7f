# Command line over environment over file; a verb's own section counts for it.
mkdir -p "$XDG_CONFIG_HOME/lemma"
unset LEMMA_CONFIG
file=$XDG_CONFIG_HOME/lemma/config
chunk() { "$LEMMA" logits "$FABLE" --backend ref --tokens 1,2 --last -o x.npy "$@" 2>&1; }
printf 'backend = nothing\n' >"$file"; chunk
printf '[chat]\nbackend = nothing\n' >"$file"; chunk && echo fine
printf 'chunk = 0\n' >"$file"; chunk
printf 'chunk = 7\nbackedn = cpu\n' >"$file"; chunk
printf '[nobody]\nchunk = 7\n' >"$file"; chunk
printf 'just a line\n' >"$file"; chunk
printf 'n-prompt = 3\n' >"$file"; chunk
printf 'kv = f64\n' >"$file"; chunk; chunk --kv f32
printf 'kv = bf16\nrepeats = 3\ngreedy = on\n' >"$file"; chunk && echo fine
LEMMA_KV=f64 chunk
LEMMA_KV=f64 chunk --kv f32 && echo fine
printf '\0' >"$file"; chunk
try help version | head -n 1
LEMMA_CONFIG= chunk && echo fine
LEMMA_CONFIG="$PWD/own"; export LEMMA_CONFIG; printf 'kv = f16\nctx = 1\n' >own; chunk
