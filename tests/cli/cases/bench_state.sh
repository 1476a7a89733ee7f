# A ramp: the form of the report; nothing is left behind, nothing of the user's is touched.
export TMPDIR=$PWD XDG_STATE_HOME=$PWD/state
"$LEMMA" bench ramp "$FABLE" --start 300 --append 64 --turn 8 --target 500 -t 1 --json --watts 10 --plot r.svg >r.json
python3 - <<'END'
import json
d = json.load(open("r.json"))
print(sorted(d))
print(sorted(d["turns"][0]))
print(sorted(d["summary"]))
print(sorted(d["energy"]))
t = d["turns"]
print(len(t), [x["tokens_before_append"] for x in t], t[-1]["tokens_after_generate"] == d["summary"]["final_state_tokens"])
print(all(x["tokens_after_append"] == x["tokens_before_append"] + 64 for x in t), all(x["generated_tokens"] <= 8 for x in t))
END
head -c 5 r.svg; echo; ls
"$LEMMA" state ls
"$LEMMA" bench ramp "$FABLE" --start 300 --append 64 --turn 8 --target 400 -t 1 | sed -E 's/[0-9]+\.[0-9]+/N/g; s/ +/ /g'
# The context ends a ramp, and says so.
"$LEMMA" bench ramp "$FABLE" --start 300 --append 64 --turn 8 --target 500 -c 380 -t 1 --json | grep -E '"(context_exhausted|folded_state_required)"'
# One session of a store, which stays as it is.
"$LEMMA" state sleep book --tokens 1,2,3,4,5,6,7,8 -m "$FABLE" -t 1 >/dev/null
"$LEMMA" bench wake "$FABLE" book --append 5 --turn 4 -t 1 --json | grep -oE '"(kind|tokens|mounted_tokens|computed_tokens|tokens_after_generate)": [0-9a-z"-]+'
"$LEMMA" state show book | grep n_tokens
try bench wake "$FABLE"
try bench wake "$FABLE" nobody
try bench ramp "$FABLE" -p 3
try bench "$FABLE" --start 3
try bench ramp "$FABLE" -t 1,2
