# What changed beyond the noise: made-up figures, so that the verdicts are known.
make() { # file, then for each line: label, rounds' values, shares
    python3 - "$@" <<'END'
import json, sys
rows = []
for spec in sys.argv[2:]:
    test, tokens, values, shares = spec.split(";")
    v = [float(x) for x in values.split(",")]
    rounds = [{"value": x} for x in v]
    for r, s in zip(rounds, shares.split(",") if shares else []):
        r["share"] = float(s)
    rows.append({"test": test, "tokens": int(tokens), "depth": 0, "threads": 2, "kv": "bf16", "isa": "avx2", "compute": "fast",
                 "unit": "ms" if test == "load" else "tokens/s", "median": sorted(v)[len(v) // 2], "rounds": rounds})
json.dump({"lemma_bench": 1, "version": "1", "pack": "x", "machine": {"cpu": "c", "cores": 2}, "results": rows}, open(sys.argv[1], "w"))
END
}
make a.json "decode;1;10,11,12,13;.5,.51,.52,.53" "decode;2;10,11,12,13;.5,.51,.52,.53" "prefill;3;10,11,12,13;.5,.51,.52,.53" \
    "prefill;4;100,101;" "load;0;5,6,7,8;" "decode;5;10,11,12,13;.5,.51,.52,.53" "decode;9;1;"
make b.json "decode;1;9,9.5,9.6,9.7;.4,.41,.42,.43" "decode;2;5,5.5,6,6.5;.501,.509,.522,.53" "prefill;3;20,21,22,23;.6,.61,.62,.63" \
    "prefill;4;90,91;" "load;0;1,2,3,4;" "decode;5;9,9.1,9.2,9.3;.6,.61,.62,.63" "decode;8;1;"
try bench compare a.json b.json
try bench compare a.json b.json --fail-on-regression | tail -n 2
try bench compare a.json a.json --fail-on-regression | tail -n 1
try bench compare a.json b.json --noise 90 --fail-on-regression | tail -n 1
"$LEMMA" bench compare a.json b.json --json | python3 -c 'import json,sys; d=json.load(sys.stdin); print(sorted(d), sorted(d["rows"][0]), d["slower"], d["faster"], d["only_a"], d["only_b"])'
try bench compare a.json
try bench compare a.json nowhere.json
bad() { printf '%s' "$1" >bad.json; try bench compare a.json bad.json; }
bad ''
bad '{"results":[]}'
bad '{"lemma_bench":2}'
bad '{"lemma_bench":1,"results":[]}'
bad '{"lemma_bench":1,"results":[{"rounds":[]}]}'
row='"test":"decode","tokens":1,"depth":0,"threads":1,"kv":"f32","isa":"avx2","compute":"fast","unit":"ms","median":1,"rounds":[{"value":1}]'
bad "{\"lemma_bench\":1,\"results\":[{$row},{$row}]}"
bad "{\"lemma_bench\":1,\"results\":[{${row/\"value\":1/\"value\":-1}}]}"
bad "{\"lemma_bench\":1,\"results\":[{${row/decode/de\\u001b[31mcode}}]}"
bad "{\"lemma_bench\":1,\"results\":[{${row/\"tokens\":1/\"tokens\":-1}}]}"
bad "{\"lemma_bench\":1,\"results\":[{${row/\"median\":1/\"median\":1e999}}]}"
bad "$(printf '[%.0s' $(seq 100))"
try bench plot bad.json --plot x.svg; ls x.svg 2>&1 || true
