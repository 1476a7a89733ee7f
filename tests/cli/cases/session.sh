# A session goes on in another process where it stopped: twice 16 tokens are 32.
ask() { "$LEMMA" run "$FABLE" --backend ref --seed 3 "$@" 2>&1; }
ask --session tale --prompt "Once upon a time" -n 16 >first
ask --session tale -n 16 >second
ask --prompt "Once upon a time" -n 32 >whole
cat first second | cmp - whole && echo "twice 16 tokens are 32"
# Nothing is read again; an added text has no second beginning.
field() { sed -nE "s/^ *\"($1)\": ([0-9]+).*/\1 \2/p"; }
ask --session tale -n 4 --json | field "prompt_tokens|cached_tokens"
ask --session tale " And then" -n 4 --raw --json | field "prompt_tokens|cached_tokens"
# Other keys and values: computed again, and said.
ask --session tale -n 1 --kv f16 --json | field "prompt_tokens|cached_tokens"
"$LEMMA" run "$FABLE" --session tale -n 1 --kv f16 --backend ref 2>&1 >/dev/null
"$LEMMA" run "$FABLE" --session tale -n 1 --backend ref 2>&1 >/dev/null
# The verb.
try state fork tale other
try state fork tale other
"$LEMMA" state ls | sed -E 's/ +[0-9TZ:-]{20}$/  DATE/; s/ +CREATED/  CREATED/'
"$LEMMA" state show other --json | grep -E '"(name|parent|kv|n_tokens)"'
try state rm tale
try state show tale
"$LEMMA" run "$FABLE" --session other -n 1 --backend ref >/dev/null && echo "the fork goes on"
try state rm other
try state ls
# Refused.
try run "$FABLE" --session none
try run "$FABLE" --session tale --no-state hi
try state
try state wash
try state show
try state fork tale
# What is removed is gone, the text of every turn: token ids are in no file.
export XDG_STATE_HOME=$PWD/gone
ask --session secret --prompt "Once upon a time" -n 64 >/dev/null
ask --session secret -n 64 >/dev/null
ask --session secret -n 1 >/dev/null
"$LEMMA" state show secret --json | sed -nE 's/^    ([0-9]+),?$/\1/p' >ids
hex() { sed -n "$1,$(($1 + 3))p" ids | while read -r i; do printf '%02x%02x%02x%02x' $((i & 255)) $((i >> 8 & 255)) $((i >> 16 & 255)) 0; done; }
left() {
    find gone -type f -exec cat {} + | od -An -v -tx1 | tr -d ' \n' >all
    local n=0
    for i in $(seq 1 4 120); do grep -q "$(hex "$i")" all && n=$((n + 1)); done
    echo "$1: $n of 30 places in the folder"
}
left before
"$LEMMA" state rm secret
left after
