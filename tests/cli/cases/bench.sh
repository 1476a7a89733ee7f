# The figures vary, their form does not.
numbers() { sed -E 's/^.*models/models/; s/[0-9]+\.[0-9]+/N/g; s/ [0-9]+ GOP/ N GOP/; s/(cpu|f?) *(amx|avx512|avx2|portable) /\1 ISA /; s/ +/ /g; s/[KM]iB/B/'; }
"$LEMMA" bench "$FABLE" -p 16 -n 4 -d 0,8 -r 2 -t 1 --plot plot.svg | numbers
"$LEMMA" bench "$FABLE" -p 8 -n 2 -d 0 -r 2 -t 1,2 --kv bf16,f32 --compute fast,precise --json >b.json
python3 - <<'END'
import json
d = json.load(open("b.json"))
print(sorted(d), sorted(d["machine"]))
for r in d["results"]:
    print(r["test"], r["tokens"], r["depth"], r["threads"], r["kv"], r["compute"], r["unit"], len(r["rounds"]))
r = d["results"][-1]
print(sorted(r), sorted(r["rounds"][0]), sorted(r["memory"]), max(x.get("memory", {}).get("over", 0) for x in d["results"]))
s = r["rounds"]
print(all(x["seconds"] > 0 and x["before"] > 0 for x in s), s[0]["after"] == s[1]["before"], min(x["value"] for x in s) == r["low"])
END
head -c 5 plot.svg; echo; grep -c 'class\|<rect' plot.svg; grep -c '<circle' plot.svg; tail -n 1 plot.svg
python3 -c 'import xml.dom.minidom; xml.dom.minidom.parse("plot.svg")'
"$LEMMA" bench plot b.json b.json --plot two.svg; grep -o 'by threads' two.svg | sort | uniq -c | tr -s ' '
"$LEMMA" bench "$FABLE" -p 8 -n 8 -d 0 -r 1 -t 1 --trace t.json 2>&1 >/dev/null | sed -E 's/[0-9.]+ (ms|%)/N \1/g'
"$LEMMA" bench "$SRC/tests/data/golden/llama" -r 1 2>&1 >/dev/null | head -n 2
try bench "$FABLE" --trace-step prefill
try bench "$FABLE" -p 0 -n 2 -d 0 -r 1 --trace t.json --trace-step prefill
try bench "$FABLE" --kv bf16,f33
try bench "$FABLE" --kv bf16 -ctk f16
try bench "$FABLE" --noise 2
try bench plot b.json
try bench plot --plot x.svg
[ ! -e "$XDG_STATE_HOME/lemma" ] || find "$XDG_STATE_HOME/lemma"
