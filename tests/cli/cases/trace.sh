# One step, operation by operation.
fields() { python3 -c 'import json,sys
d = json.load(open(sys.argv[1])); e = [x for x in d["traceEvents"] if x["ph"] == "X"]
print(sorted(d["otherData"])); print(d["otherData"]["tokens"], len(e) == d["otherData"]["pieces"])
print({"linear", "attend", "norm", "quantise", "wait"} <= {x["cat"] for x in e}); print(sorted({k for x in e for k in x["args"]}))' "$1"; }
"$LEMMA" run "$FABLE" --prompt "Once upon a time" --greedy -n 6 -t 2 >plain
"$LEMMA" run "$FABLE" --prompt "Once upon a time" --greedy -n 6 -t 2 --trace d.json 2>note >traced
cmp plain traced && sed -E 's/[0-9.]+/N/g' note; fields d.json
"$LEMMA" run "$FABLE" --prompt "Once upon a time" -n 1 -t 2 --trace p.json --trace-step prefill >/dev/null 2>&1; fields p.json
try run "$FABLE" --prompt "Once upon a time" --greedy -n 1 --trace e.json
try run "$FABLE" --prompt x --trace-step prefill -n 1
try run "$FABLE" --prompt x --trace nowhere/e.json -n 1
try run "$FABLE" --prompt x --trace e.json --backend ref -n 1
