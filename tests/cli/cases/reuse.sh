# A text that was read is not read again, by any later process; nothing shows but the time.
export XDG_STATE_HOME=$PWD/state
text=$(for i in $(seq 60); do echo "Once upon a time there was a fox number $i."; done)
field() { sed -nE "s/^ *\"($1)\": ([0-9]+).*/\1 \2/p"; }
ask() { "$LEMMA" run "$FABLE" --seed 3 -n 4 --json --prompt "$@" 2>note; }
ask "$text" --no-state >without; ls "$XDG_STATE_HOME" 2>/dev/null
LEMMA_STATE=off ask "$text" >without; ls "$XDG_STATE_HOME" 2>/dev/null
ask "$text" >first
sed -E 's/most [0-9.]+ [A-Z]iB/most SIZE/' note
ask "$text And then" >second; cat note
ask "$text" >third; cat note
for f in without first second third; do field "cached_tokens" <$f; done
answer() { grep -A5 '"t' "$1" | grep -E '^ *([0-9]|"text)'; }
answer without >a; answer first | cmp - a && answer third | cmp - a && echo "the same answer"
"$LEMMA" run "$FABLE" -n 1 --timings --prompt "$text" 2>&1 >/dev/null | grep -o "and [0-9]* cached"
# In pieces on a terminal too.
ask "A short one" >fourth; field "cached_tokens" <fourth
# Another number format of keys and values is other state; what measures keeps out of it.
ask "$text" --kv f32 >fifth; field cached_tokens <fifth
ls "$XDG_STATE_HOME/lemma/runs" | wc -l >before
"$LEMMA" logits "$FABLE" --tokens "$(seq -s, 10 300)" -o x.npy
ls "$XDG_STATE_HOME/lemma/runs" | wc -l | cmp - before && echo "logits keep nothing"
# A budget that takes nothing is told once, and the run goes on.
LEMMA_STATE_DIR=$PWD/small ask "$text" --state-budget 1K >sixth; sed -E 's/[0-9]{3,}/N/g' note; answer sixth | cmp - a
try run "$FABLE" hi --state-budget much
mkdir -m 755 open
LEMMA_STATE_DIR=$PWD/open ask "$text" >seventh; cat note; answer seventh | cmp - a
# The same from the configuration.
printf 'state = off\n' >off
LEMMA_CONFIG=$PWD/off ask "$text" >eighth; field cached_tokens <eighth
