#!/usr/bin/env python3
"""Random texts through lemma and the tokenizers library, which must agree.

    tests/prop/tokenizer_diff.py build/test_tokenizer N SEED tokenizer.json...

Needs the Python package tokenizers.  Ids and the text that they decode to are
compared; the first few differences are shown.
"""
import random
import subprocess
import sys

from tokenizers import Tokenizer

PARTS = [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "n't", "...", "é", "e\u0301", "\u0301\u0323", "ß", "İ", "ﬁ",
         "漢字", "かな", "カナー", "한국어", "👩‍👩‍👧", "😀", "🇩🇪", "\u200b", "\u00a0", "\u3000", "\ufeff", "\u0085",
         "0", "12", "1234567", "½", "Ⅷ", "٣", "A", "aB", "Hello", "world", "▁", "▁▁", "Ġ", "``", '"', "$", "€",
         "#!", "/", "ก็", "नमस्ते", "العربية", "\x00", "\x7f", "\ufffd", "the", "don't", " do not", " .", "<s>",
         "</s>", "<|tool|>", "<mark>", "Rapunzel", "rapunzel", "[CLS]", "[SEP]", "<unk>", "<0x41>"]


def text(rng):
    out = []
    for _ in range(rng.randint(0, 25)):
        kind = rng.random()
        if kind < 0.7:
            out.append(rng.choice(PARTS))
        elif kind < 0.9:
            out.append(rng.choice(" aA1.\n\u0301漢") * rng.randint(1, 40))
        else:
            c = rng.randrange(rng.choice([0x250, 0x3000, 0x30000]))
            out.append("" if 0xD800 <= c < 0xE000 else chr(c))
    return "".join(out)


def main():
    program, n, seed, paths = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    bad = 0
    for path in paths:
        rng = random.Random(seed)
        reference = Tokenizer.from_file(path)
        ours = subprocess.Popen([program, "serve", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(n):
            s = text(rng)
            ours.stdin.write(s.encode().hex() + "\n")
            ours.stdin.flush()
            ids = [int(x) for x in ours.stdout.readline().split()]
            decoded = bytes.fromhex(ours.stdout.readline().strip()).decode()
            want = reference.encode(s, add_special_tokens=False).ids
            if ids != want or decoded != reference.decode(want, skip_special_tokens=False):
                bad += 1
                if bad <= 5:
                    print(f"{path} {i}: {s!a}\n have {ids}\n want {want}")
        ours.stdin.close()
        ours.wait()
    print(f"{n * len(paths)} texts, {bad} differ (seed {seed})")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
