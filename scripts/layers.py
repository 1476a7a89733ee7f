#!/usr/bin/env python3
"""Includes point down only (docs/design).  layers.py [ROOT]; status 1 on an upward one."""
import os
import re
import sys

# A floor may include itself, what stands on earlier lines, and base.
FLOORS = [
    ["base"],
    ["format", "text", "quant", "tensor"],
    ["grammar"],
    ["backend"],
    ["model"],
    ["sample"],
    ["state"],
    ["plan"],
    ["engine"],
    ["train", "tools", "hub", "frame"],
    ["serve"],
    ["cli"],
]
# Clients of the library: nothing but its public headers and base.
CLIENTS = {"serve", "cli"}
# Rooms of one floor do not see each other, but for these, each with its reason.
ALLOWED = {
    ("text", "format"): "tokenizer.json and templates are read out of packs",
    ("tensor", "quant"): "a matrix has a number format",
    ("format", "quant"): "a tensor's bytes follow from its number format",
}
LEVEL = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def complaints(root):
    src = os.path.join(root, "src")
    for folder, _, names in sorted(os.walk(src)):
        for name in sorted(names):
            if not name.endswith((".c", ".h", ".inc", ".cu")):
                continue
            path = os.path.join(folder, name)
            room = os.path.relpath(path, src).split(os.sep)[0]
            if room not in LEVEL:
                yield "%s: the room '%s' is in no floor of scripts/layers.py" % (os.path.relpath(path, root), room)
                continue
            with open(path, encoding="utf-8") as file:
                text = file.read()
            for header in INCLUDE.findall(text):
                other = header.split("/")[0]
                if "/" not in header or other not in LEVEL or other == room or other == "base":
                    continue
                where = "%s: %s" % (os.path.relpath(path, root), header)
                if room in CLIENTS:
                    yield where + " (clients see only lemma/ and base/)"
                elif LEVEL[other] > LEVEL[room]:
                    yield where + " (upward: %s is above %s)" % (other, room)
                elif LEVEL[other] == LEVEL[room] and (room, other) not in ALLOWED:
                    yield where + " (sideways: %s and %s are on one floor)" % (room, other)


def main():
    found = list(complaints(sys.argv[1] if len(sys.argv) > 1 else "."))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
