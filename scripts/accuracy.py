#!/usr/bin/env python3
# Measures what lemma's two arithmetics and its cache formats cost, against float32 of
# the same weights, and prints the rows of the table in docs/benchmarks.md.
#
#   scripts/accuracy.py --ids FILE [options] NAME=PACK ...
#
#   --ids FILE       token ids, as `lemma tokenize` writes them; --tokens N takes the first N
#   --lemma PROGRAM  default: build/lemma
#   --peer PROGRAM   llama.cpp's or ik_llama.cpp's llama-perplexity: GGUF packs are measured
#                    with it too, over the second half of the tokens (it knows no other)
#   --kv             the cache formats instead of the arithmetics, with --compute precise
#   --tmp DIR        where float copies and bases go, one at a time: 4 bytes a weight, and
#                    4 bytes for each token and entry of the vocabulary
#
# Of each pack a float32 copy is made, exactly: GGUF by the Python package gguf, MLX by
# mlx.  The base is that copy in lemma with --compute precise --kv f32, all in float32.
import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np

HEAD = 64  # bytes before the first row of a base, see src/tools/kl.c
CACHES = ("f16", "bf16", "q8", "k-q8-v-q4")


def float_gguf(source, target):
    import gguf

    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(target, r.fields["general.architecture"].contents())
    ours = ("general.architecture", "general.quantization_version", "general.file_type")
    for key, f in r.fields.items():
        if not key.startswith("GGUF.") and key not in ours:
            w.add_key_value(key, f.contents(), f.types[0], f.types[-1] if len(f.types) > 1 else None)
    for t in r.tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w.add_tensor(t.name, x.reshape([int(n) for n in reversed(t.shape)]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def float_mlx(source, target):
    import mlx.core as mx

    os.mkdir(target)
    with open(os.path.join(source, "config.json")) as f:
        config = json.load(f)
    # mlx-lm writes the same table under two names.
    how = config.pop("quantization")
    config.pop("quantization_config", None)
    config["torch_dtype"] = config["dtype"] = "float32"
    with open(os.path.join(target, "config.json"), "w") as f:
        json.dump(config, f)
    out = {}
    for name in sorted(n for n in os.listdir(source) if n.endswith(".safetensors")):
        w = mx.load(os.path.join(source, name))
        for key, x in w.items():
            base = key.rpartition(".")[0]
            if key.endswith((".scales", ".biases")) and base + ".weight" in w:
                continue
            if base + ".scales" in w and key.endswith(".weight"):
                mode = how.get("mode", "affine")
                scales, biases = w[base + ".scales"], w.get(base + ".biases")
                if mode == "affine":  # in float32, before the product is rounded to the scales' type
                    scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
                x = mx.dequantize(x, scales, biases, group_size=how["group_size"], bits=how["bits"], mode=mode,
                                  dtype=mx.float32)
            out[key] = x.astype(mx.float32)
    mx.save_safetensors(os.path.join(target, "model.safetensors"), out, metadata={"format": "mlx"})


def perplexity(args, pack, *options):
    """What `lemma perplexity --kl-base` says of `pack`, as a dictionary."""
    command = [args.lemma, "perplexity", pack, "--tokens-file", args.ids, "--kl-base", args.base, "--json"]
    if args.threads:
        command += ["-t", args.threads]
    return json.loads(subprocess.run(command + list(options), check=True, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE).stdout)


def write_peer_base(args, ids, path):
    """llama.cpp's form of the base: the magic, n_ctx, vocabulary and chunks, the ids, and
    for each row of the second half a step, the least log-probability (24 below the largest
    or more), and 16-bit codes, with a pair of spare codes and the row padded to even."""
    n = len(ids)
    with open(args.base, "rb") as f:
        vocab = struct.unpack("<8sII", f.read(16))[2]
    rows = np.memmap(args.base, np.float32, "r", HEAD, (n - 1, vocab))
    with open(path, "wb") as f:
        f.write(b"_logits_" + struct.pack("<Iii", n, vocab, 1))
        f.write(np.asarray(ids, "<i4").tobytes())
        for row in rows[n // 2:]:
            low = max(row.min(), row.max() - np.float32(24))
            step = np.float32((row.max() - low) / np.float32(65535))
            codes = np.zeros(2 * ((vocab + 1) // 2), "<u2")
            codes[:vocab] = np.rint((np.maximum(row, low) - low) / step)
            f.write(struct.pack("<ff", step, low) + codes.tobytes())


def peer(args, pack, ids):
    path = args.base + ".peer"
    write_peer_base(args, ids, path)
    n = str(len(ids))
    command = [args.peer, "-m", pack, "--kl-divergence", "--kl-divergence-base", path, "-c", n, "-b", n, "-ub", "512"]
    command += args.peer_options.split()
    if args.threads:
        command += ["-t", args.threads]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.unlink(path)
    text = run.stdout.decode(errors="replace")
    mean = re.search(r"Mean +KLD: +(-?[\d.]+|-?[\d.]+e-?\d+)", text)
    same = re.search(r"Same top p: +([\d.]+)", text)
    if run.returncode != 0 or mean is None or same is None:
        print(text[-800:], file=sys.stderr)
        return None
    return float(mean.group(1)), float(same.group(1)) / 100


def drop(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


def number(x):
    mantissa, _, exponent = f"{x:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def share(kl):
    return f"{100 * kl['top1_agreement']:.1f} %"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def caches(args, name, pack, _):
    for kv in CACHES:
        k = perplexity(args, pack, "--compute", "precise", "--kv", kv)
        row(name, kv, number(k["kl_mean"]), number(k["kl_median"]), number(k["kl_max"]), share(k))


def arithmetics(args, name, pack, ids):
    fast = perplexity(args, pack, "--compute", "fast", "--kv", "f32")
    precise = perplexity(args, pack, "--compute", "precise", "--kv", "f32")
    late = fast["second_half"]
    cells = [name, number(fast["kl_mean"]), share(fast), number(precise["kl_mean"]), share(precise)]
    if args.peer:
        other = None if os.path.isdir(pack) else peer(args, pack, ids)
        cells += [number(late["kl_mean"]), share(late)]
        cells += [number(other[0]), f"{100 * other[1]:.1f} %"] if other else ["–", "–"]
    row(*cells)


def measure(args, name, pack, ids):
    copy = os.path.join(args.tmp, f"{name}-float32" + ("" if os.path.isdir(pack) else ".gguf"))
    args.base = os.path.join(args.tmp, f"{name}.base")
    for path in (copy, args.base):
        drop(path)
    try:
        (float_mlx if os.path.isdir(pack) else float_gguf)(pack, copy)
        perplexity(args, copy, "--compute", "precise", "--kv", "f32")
        drop(copy)
        (caches if args.kv else arithmetics)(args, name, pack, ids)
    finally:
        for path in (copy, args.base, args.base + ".peer"):
            drop(path)


def main():
    p = argparse.ArgumentParser(description="what arithmetics and cache formats cost: KL divergence from float32")
    p.add_argument("--ids", required=True)
    p.add_argument("--tokens", type=int, default=4096)
    p.add_argument("--lemma", default="build/lemma")
    p.add_argument("--peer")
    p.add_argument("--peer-options", default="-ctk f16 -ctv f16 -fa 1", help="how the peer keeps keys and values")
    p.add_argument("--kv", action="store_true")
    p.add_argument("--threads")
    p.add_argument("--tmp", default=".")
    p.add_argument("packs", nargs="+", metavar="NAME=PACK")
    args = p.parse_args()
    with open(args.ids) as f:
        ids = [int(x) for x in re.findall(r"\d+", f.read())][: args.tokens]
    args.ids = os.path.join(args.tmp, f"accuracy-{os.getpid()}.ids")
    with open(args.ids, "w") as f:
        f.write(",".join(map(str, ids)) + "\n")
    if args.kv:
        row("pack", "--kv", "KL mean", "median", "largest", "same choice")
    else:
        row("pack", "fast: KL", "same choice", "precise: KL", "same choice",
            *(("fast, second half: KL", "same choice", "the peer there: KL", "same choice") if args.peer else ()))
    try:
        for pack in args.packs:
            name, equals, path = pack.partition("=")
            if not equals:
                p.error(f"'{pack}' is not NAME=PACK")
            measure(args, name, path, ids)
    except subprocess.CalledProcessError as e:
        sys.exit(e.stderr.decode(errors="replace"))
    finally:
        drop(args.ids)


if __name__ == "__main__":
    main()
