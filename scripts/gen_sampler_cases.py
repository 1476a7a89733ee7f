#!/usr/bin/env python3
"""Writes tests/data/sample/cases.json: what the sampling stages must leave.

Every stage is written here a second time, straight from its published
definition, in float64, with full sorts and quadratic loops, so that it shares
neither code nor cleverness with src/sample/.  A case whose answer hangs on a
rounding (a candidate within 1e-4 of a cut) is thrown away and drawn again.

Sources: top-p arXiv 1904.09751, typical 2202.00666, min-p 2407.01082,
top-n-sigma 2411.07641, mirostat 2007.14966, XTC and DRY: pull requests 6335 and
5982 of oobabooga/text-generation-webui, dynamic temperature: pull request 4972
of llama.cpp, Philox: Salmon et al., SC 2011.

usage: python3 scripts/gen_sampler_cases.py > tests/data/sample/cases.json
"""
import json
import math

import numpy as np

MARGIN = 1e-4
STAGES = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]
DEFAULTS = dict(temperature=0.8, dynatemp_range=0.0, dynatemp_exponent=1.0, top_k=40, top_p=0.95, min_p=0.05,
                typical=1.0, top_n_sigma=-1.0, xtc_probability=0.0, xtc_threshold=0.1, min_keep=0,
                penalty_last_n=64, penalty_repeat=1.0, penalty_frequency=0.0, penalty_presence=0.0,
                dry_multiplier=0.0, dry_base=1.75, dry_allowed_length=2, dry_penalty_last_n=-1,
                mirostat=0, mirostat_tau=5.0, mirostat_eta=0.1, min_tokens=0, ignore_eos=False)


class TooClose(Exception):
    """The answer would depend on rounding."""


def f32(x):
    return float(np.float32(x))


def apart(values, cut):
    for v in values:
        if math.isfinite(v) and math.isfinite(cut) and abs(v - cut) < MARGIN * max(1.0, abs(cut)):
            raise TooClose


def philox(counter, key):
    c, k = list(counter), list(key)
    mask = 0xFFFFFFFF
    for _ in range(10):
        hi0, lo0 = divmod(0xD2511F53 * c[0], 1 << 32)
        hi1, lo1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


def unit(seed, position, draw):
    r = philox([position & 0xFFFFFFFF, position >> 32, draw, 0], [seed & 0xFFFFFFFF, seed >> 32])
    return (((r[0] << 32) | r[1]) >> 11) * 2.0 ** -53


def probs(logits):
    x = np.array([v for _, v in logits], dtype=np.float64)
    e = np.exp(x - x.max())
    return e / e.sum()


def ranked(cands):
    return sorted(cands, key=lambda c: (-c[1], c[0]))


def penalties(cands, p, history):
    if p["penalty_repeat"] == 1 and p["penalty_frequency"] == 0 and p["penalty_presence"] == 0:
        return cands
    n = len(history) if p["penalty_last_n"] < 0 else p["penalty_last_n"]
    window = history[len(history) - min(n, len(history)):]
    out = []
    for t, x in cands:
        count = window.count(t)
        if count:
            x = x * p["penalty_repeat"] if x <= 0 else x / p["penalty_repeat"]
            x -= count * p["penalty_frequency"] + p["penalty_presence"]
        out.append((t, x))
    return out


def after_breaker(window, breakers):
    """Tokens behind the last breaker: its head nearest to the end decides, and of
    the breakers that start there the longest."""
    for head in range(len(window) - 1, -1, -1):
        fits = [len(b) for b in breakers if window[head:head + len(b)] == b]
        if fits:
            return len(window) - head - max(fits)
    return len(window)


def dry(cands, p, history, breakers):
    if p["dry_multiplier"] == 0 or p["dry_penalty_last_n"] == 0:
        return cands
    n = len(history) if p["dry_penalty_last_n"] < 0 else p["dry_penalty_last_n"]
    window = history[len(history) - min(n, len(history)):]
    allowed = p["dry_allowed_length"]
    if len(window) <= allowed:
        return cands
    limit = after_breaker(window, breakers)
    if limit < allowed:
        return cands
    longest = {}
    for j in range(1, len(window)):
        length = 0
        while length < j and window[j - 1 - length] == window[len(window) - 1 - length]:
            length += 1
        length = min(length, limit)
        if length >= allowed:
            longest[window[j]] = max(longest.get(window[j], 0), length)
    alone = {b[0] for b in breakers if len(b) == 1}
    return [(t, x - p["dry_multiplier"] * p["dry_base"] ** (longest[t] - allowed)
             if t in longest and t not in alone else x) for t, x in cands]


def top_n_sigma(cands, p):
    if p["top_n_sigma"] <= 0:
        return cands
    x = np.array([v for _, v in cands])
    cut = x.max() - p["top_n_sigma"] * x.std()
    apart(x, cut)
    return [c for c in cands if c[1] >= cut]


def top_k(cands, p):
    return cands if p["top_k"] <= 0 else ranked(cands)[:max(p["top_k"], p["min_keep"])]


def fewest(order, weights, goal, min_keep, strict):
    total = 0.0
    for i, w in enumerate(weights):
        total += w
        if abs(total - goal) < MARGIN:
            raise TooClose
        if (total > goal if strict else total >= goal) and i + 1 >= min_keep:
            return order[:i + 1]
    return order


def typ_p(cands, p):
    if p["typical"] >= 1:
        return cands
    q = probs(cands)
    entropy = -sum(v * math.log(v) for v in q if v > 0)
    score = [abs(-math.log(v) - entropy) if v > 0 else math.inf for v in q]
    order = sorted(range(len(cands)), key=lambda i: score[i])
    for a, b in zip(order, order[1:]):
        if abs(score[a] - score[b]) < MARGIN:
            raise TooClose
    kept = set(fewest(order, [q[i] for i in order], p["typical"], p["min_keep"], True))
    return [c for i, c in enumerate(cands) if i in kept]


def top_p(cands, p):
    if p["top_p"] >= 1:
        return cands
    order = ranked(cands)
    return fewest(order, probs(order), p["top_p"], p["min_keep"], False)


def min_p(cands, p):
    if p["min_p"] <= 0:
        return cands
    q = probs(cands)
    apart(np.log(q), math.log(q.max() * p["min_p"]))
    kept = [c for c, v in zip(cands, q) if v >= p["min_p"] * q.max()]
    return kept if len(kept) >= p["min_keep"] else ranked(cands)[:p["min_keep"]]


def xtc(cands, p, chance):
    if p["xtc_probability"] <= 0 or p["xtc_threshold"] > 0.5 or len(cands) < 2 or chance > p["xtc_probability"]:
        return cands
    order = ranked(cands)
    q = probs(order)
    apart(q, p["xtc_threshold"])
    above = int((q >= p["xtc_threshold"]).sum())
    if above < 2 or len(order) - (above - 1) < p["min_keep"]:
        return cands
    return order[above - 1:]


def temperature(cands, p):
    t = p["temperature"]
    if p["dynatemp_range"] > 0:
        if len(cands) < 2:
            return cands
        q = probs(cands)
        entropy = -sum(v * math.log(v) for v in q if v > 0)
        low, high = max(0.0, t - p["dynatemp_range"]), t + p["dynatemp_range"]
        t = low + (high - low) * (entropy / math.log(len(cands))) ** p["dynatemp_exponent"]
    return [(i, x / t) for i, x in cands] if t > 0 else ranked(cands)[:1]


def mirostat_1(cands, mu, n_vocab):
    order = ranked(cands)
    q = probs(order)
    tb = tt = 0.0
    for i in range(min(100 - 1, len(order) - 1)):
        t, b = math.log((i + 2) / (i + 1)), math.log(q[i] / q[i + 1])
        tb, tt = tb + t * b, tt + t * t
    s = tb / tt
    eps = s - 1
    k = (eps * 2 ** mu / (1 - n_vocab ** -eps)) ** (1 / s)
    if abs(k - round(k)) < 1e-3:
        raise TooClose
    return order[:max(int(k), 1)]


def mirostat_2(cands, mu):
    order = ranked(cands)
    surprise = -np.log2(probs(order))
    apart(surprise, mu)
    return [c for c, s in zip(order, surprise) if s <= mu] or order[:1]


def run(case):
    p = dict(DEFAULTS, **case["params"])
    for key, v in p.items():
        if isinstance(v, float):
            p[key] = f32(v)
    x = [-math.inf if v is None else f32(v) for v in case["logits"]]
    for t, b in case.get("bias", []):
        x[t] = -math.inf if b is None else f32(x[t] + f32(b))
    if p["ignore_eos"] or case.get("generated", 0) < p["min_tokens"]:
        for t in case.get("stops", []):
            x[t] = -math.inf
    cands = [(t, v) for t, v in enumerate(x) if v > -math.inf]
    greedy = p["temperature"] == 0
    for stage in case.get("stages", STAGES):
        if stage == "penalties":
            cands = penalties(cands, p, case.get("history", []))
        elif stage == "dry":
            cands = dry(cands, p, case.get("history", []), case.get("breakers", []))
        elif greedy or (p["mirostat"] and stage != "temperature"):
            continue
        elif stage == "xtc":
            cands = xtc(cands, p, unit(case["seed"], case["position"], 1))
        else:
            cands = globals()[stage](cands, p)
    if greedy:
        cands = ranked(cands)[:1]
    elif p["mirostat"] == 1:
        cands = mirostat_1(cands, f32(case["mu"]), len(x))
    elif p["mirostat"] == 2:
        cands = mirostat_2(cands, f32(case["mu"]))
    q = probs(cands)
    pairs = sorted((t, float(v)) for (t, _), v in zip(cands, q))
    case["expect"] = [[t, float("%.7g" % v)] for t, v in pairs]
    if p["mirostat"] and not greedy:
        case["mu_after"] = [float("%.7g" % (f32(case["mu"]) - p["mirostat_eta"] * (-math.log2(v) - p["mirostat_tau"])))
                            for _, v in pairs]


def numbers(rng, n, spread):
    return [round(float(v), 3) for v in rng.normal(0, spread, n)]


def looping(rng, n, n_vocab):
    """A history that repeats itself, with a vocabulary small enough to match."""
    out = [int(t) for t in rng.integers(0, n_vocab, n)]
    for _ in range(3):
        if n > 12:
            length = int(rng.integers(3, n // 3))
            source = int(rng.integers(0, n - length))
            out[n - length:] = out[source:source + length]
    return out


OFF = dict(top_k=0, top_p=1.0, min_p=0.0, temperature=1.0)


def draw_params(rng, kind):
    u = lambda a, b: round(float(rng.uniform(a, b)), 3)
    pick = lambda *a: a[int(rng.integers(0, len(a)))]
    some = {
        "penalties": lambda: dict(penalty_last_n=pick(-1, 4, 20, 64), penalty_repeat=u(0.8, 2),
                                  penalty_frequency=u(-1, 1), penalty_presence=u(-1, 1)),
        "dry": lambda: dict(dry_multiplier=u(0.1, 2), dry_base=u(1, 2.5), dry_allowed_length=int(rng.integers(0, 5)),
                            dry_penalty_last_n=pick(-1, 10, 30, 1000)),
        "top_n_sigma": lambda: dict(top_n_sigma=u(0.2, 3)),
        "top_k": lambda: dict(top_k=int(rng.integers(1, 60)), min_keep=pick(0, 0, 5)),
        "typ_p": lambda: dict(typical=u(0.05, 0.99), min_keep=pick(0, 0, 5)),
        "top_p": lambda: dict(top_p=u(0.01, 0.99), min_keep=pick(0, 0, 5)),
        "min_p": lambda: dict(min_p=u(0.001, 0.9), min_keep=pick(0, 0, 5)),
        "xtc": lambda: dict(xtc_probability=pick(1.0, u(0, 1)), xtc_threshold=u(0.005, 0.3), min_keep=pick(0, 0, 5)),
        "temperature": lambda: dict(temperature=pick(u(0.05, 2), u(0.05, 2), 0.0)),
        "dynatemp": lambda: dict(temperature=u(0.1, 2), dynatemp_range=u(0.05, 2), dynatemp_exponent=u(0.3, 2)),
        "mirostat_1": lambda: dict(mirostat=1, mirostat_tau=u(1, 6), mirostat_eta=u(0.01, 0.5), temperature=u(0.5, 1.5)),
        "mirostat_2": lambda: dict(mirostat=2, mirostat_tau=u(1, 6), mirostat_eta=u(0.01, 0.5), temperature=u(0.5, 1.5)),
        "suppress": lambda: dict(min_tokens=int(rng.integers(0, 6)), ignore_eos=bool(rng.integers(0, 2)), top_k=5),
    }
    if kind != "chain":
        return dict(OFF, **some[kind]())
    out = dict(DEFAULTS, min_keep=pick(0, 0, 3), top_k=pick(0, 20, 40), top_p=u(0.5, 1), min_p=u(0, 0.1),
               temperature=u(0.1, 1.5))
    for key in ("penalties", "dry", "top_n_sigma", "typ_p", "xtc"):
        if rng.integers(0, 2):
            out.update({k: v for k, v in some[key]().items() if k != "min_keep"})
    return {k: v for k, v in out.items() if DEFAULTS[k] != v}


def draw_case(rng, kind, index):
    n_vocab = int(rng.integers(8, 90))
    case = dict(name="%s %d" % (kind, index), params=draw_params(rng, kind), seed=int(rng.integers(0, 2 ** 53)),
                position=int(rng.integers(0, 5000)), logits=numbers(rng, n_vocab, float(rng.uniform(0.5, 5))))
    if kind in ("penalties", "dry", "chain"):
        case["history"] = looping(rng, int(rng.integers(0, 60)), min(n_vocab, int(rng.integers(3, 10))))
    if kind in ("dry", "chain") and rng.integers(0, 2):
        breakers = [[int(t) for t in rng.integers(0, 8, int(rng.integers(1, 4)))] for _ in range(int(rng.integers(1, 4)))]
        case["breakers"] = sorted(breakers)
    if kind.startswith("mirostat"):
        case["mu"] = round(float(rng.uniform(0.5, 9)), 3)
    if kind in ("suppress", "chain"):
        case["stops"] = [int(t) for t in rng.integers(0, n_vocab, 2)]
        case["generated"] = int(rng.integers(0, 6))
        case["bias"] = [[int(rng.integers(0, n_vocab)), b] for b in (2.5, -1.25, None)]
    if kind == "chain" and index % 2:
        order = STAGES[:]
        rng.shuffle(order)
        case["stages"] = order[:int(rng.integers(3, len(order) + 1))]
    if rng.integers(0, 4) == 0:
        case["logits"][int(rng.integers(0, n_vocab))] = None  # -infinity
    return case


def main():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    rng = np.random.default_rng(20260)
    counts = [("penalties", 14), ("dry", 30), ("top_n_sigma", 12), ("top_k", 10), ("typ_p", 16), ("top_p", 14),
              ("min_p", 14), ("xtc", 16), ("temperature", 8), ("dynatemp", 12), ("mirostat_1", 12),
              ("mirostat_2", 12), ("suppress", 8), ("chain", 40)]
    cases = []
    for kind, n in counts:
        i = 0
        while i < n:
            case = draw_case(rng, kind, i)
            try:
                run(case)
            except TooClose:
                continue
            cases.append(case)
            i += 1
    print('{"units": %s,\n"cases": [' % json.dumps(
        [[s, q, d, repr(unit(s, q, d))] for s, q, d in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2 ** 52 + 7, 2 ** 33, 1)]]))
    print(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
    print("]}")


if __name__ == "__main__":
    main()
