#!/usr/bin/env python3
"""Writes src/text/jinja_case.inc: letters whose upper case is longer than they are."""
print("/* text/jinja_case.inc - code point and its upper case (Unicode SpecialCasing.txt),\n"
      " * sorted; written by scripts/jinja_case.py. */")
for c in range(0x10000):
    if not 0xD800 <= c < 0xE000 and len(chr(c).upper()) > 1:
        print("{ 0x%04x, { %s } }," % (c, ", ".join("0x%04x" % ord(x) for x in chr(c).upper())))
