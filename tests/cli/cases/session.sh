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
