#!/usr/bin/env python3
"""Random templates, rendered by Jinja2 and by ours; prints what differs.

usage: tests/prop/jinja_diff.py build/test_jinja [cases] [seed]

Left out: what the two are meant to differ in (integers beyond 64 bits, texts of
objects that carry addresses, complex numbers).
"""
import json
import os
import random
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
from jinja_cases import C, reference_env, run  # noqa: E402

R = random.Random()
NAMES = [k for k in C if k not in ("big",)] + ["nope"]
STRS = ["''", "'a'", "'Hello World'", "'é你😀'", "' x '", "'a,b,,c'", "'%s'", "'{}'", "'12'", "'1.5'", "'\\n\\t'",
        "'<b>&'", "'ß'", "'ab'", "\"it's\""]
NUMS = ["0", "1", "2", "-1", "3", "7", "1.5", "0.1", "-2.5", "1e3", "10", "true", "false", "none"]
FILTERS0 = ("abs capitalize count d default dictsort e escape first float forceescape indent int items join last "
            "length list lower max min reverse round safe select reject sort string sum title tojson trim unique "
            "upper urlencode wordcount filesizeformat groupby('age') batch(2) slice(2) map('upper') "
            "map('string') map('length') map('abs') map('first') map('trim') map(attribute='name') map(attribute=0) "
            "select('odd') select('string') reject('number') select('defined') selectattr('age') "
            "selectattr('name','equalto','Ann') rejectattr('city','defined') select('>',1) select('in','abc') "
            "map('default','z') map('int',3) map('join','-')").split()
FILTERS1 = ["default({e})", "default({e}, true)", "join({e})", "replace({s}, {s})", "replace({s}, {s}, 1)",
            "trim({s})", "round({n})", "round(1, 'floor')", "round(2)", "int({e})", "float({e})", "indent(2, true)",
            "indent({s})", "truncate({n})", "truncate(5, true, '')", "center({n})", "batch({n}, {e})",
            "slice(3, {e})", "sort(reverse=true)", "sort(attribute={s})", "sort(case_sensitive=true)",
            "dictsort(by='value')", "dictsort(reverse=true)", "tojson(indent={n})", "tojson(sort_keys=true)",
            "tojson(ensure_ascii=true)", "attr({s})", "format({e})", "format({e}, {e})", "sum(start={e})",
            "unique(true)", "max(attribute='age')", "min(case_sensitive=true)", "default(default_value={e})",
            "join(', ', attribute='name')", "map({e})", "select({e})"]
METHODS = ["strip()", "strip({s})", "lstrip({s})", "rstrip()", "split()", "split({s})", "split({s}, {n})",
           "split(none, {n})", "rsplit({s}, {n})", "rsplit(none, {n})", "rsplit()", "splitlines()",
           "splitlines(true)", "startswith({s})", "endswith({s})", "startswith({s}, {n})", "replace({s}, {s})",
           "replace({s}, {s}, {n})", "upper()", "lower()", "title()", "capitalize()", "swapcase()", "find({s})",
           "find({s}, {n})", "find({s}, {n}, {n})", "rfind({s})", "rfind({s}, {n}, {n})", "index({e})",
           "rindex({s})", "count({e})", "count({s}, {n})", "join({e})", "format({e})", "format({e}, a={e})",
           "removeprefix({s})", "removesuffix({s})", "partition({s})", "rpartition({s})", "isalpha()", "isdigit()",
           "isdecimal()", "isnumeric()", "isalnum()", "isspace()", "isascii()", "isupper()", "islower()",
           "istitle()", "isidentifier()", "isprintable()", "center({n})", "center({n}, {s})", "ljust({n})",
           "rjust({n}, '*')", "zfill({n})", "expandtabs({n})", "items()", "keys()", "values()", "get({e})",
           "get({e}, {e})", "copy()", "append({e})", "pop()", "foo()", "__class__", "items", "keys", "append", "name",
           "a", "role", "x.y"]
TESTS = ("defined undefined none boolean true false integer float number string mapping iterable sequence callable "
         "escaped lower upper even odd divisibleby(3) divisibleby({n}) in({e}) eq({e}) ne({e}) lt({e}) gt({e}) "
         "le({e}) ge({e}) sameas(none) filter test").split()
BIN = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "**"]


def fill(pattern, depth):
    out = ""
    for part in re.split(r"(\{[esn]\})", pattern):
        out += {"{e}": lambda: expr(depth - 1), "{s}": lambda: R.choice(STRS),
                "{n}": lambda: R.choice(["0", "1", "2", "-1", "5", "9", "-3"])}.get(part, lambda: part)()
    return out


def atom():
    return R.choice([lambda: R.choice(NAMES), lambda: R.choice(NAMES), lambda: R.choice(STRS),
                     lambda: R.choice(NUMS)])()


def expr(depth):
    if depth <= 0:
        return atom()
    e = lambda: expr(depth - 1)  # noqa: E731
    kind = R.randrange(13)
    if kind < 2:
        return atom()
    if kind < 4:
        return "(%s %s %s)" % (e(), R.choice(BIN), e())
    if kind < 6:
        return "%s|%s" % (e(), R.choice(FILTERS0))
    if kind == 6:
        return "(%s|%s)" % (e(), fill(R.choice(FILTERS1), depth))
    if kind < 9:
        return "(%s).%s" % (e(), fill(R.choice(METHODS), depth))
    if kind == 9:
        return "(%s is %s%s)" % (e(), R.choice(["", "not "]), fill(R.choice(TESTS), depth))
    if kind == 10:
        part = lambda: R.choice(["", "0", "1", "-1", "2", "-3", "9"])  # noqa: E731
        return "(%s)[%s]" % (e(), R.choice([lambda: e(), lambda: "%s:%s" % (part(), part()),
                                            lambda: "%s:%s:%s" % (part(), part(), R.choice(["", "1", "-1", "2", "-2"]))])())
    if kind == 11:
        return R.choice(["[%s, %s]" % (e(), e()), "(%s, %s)" % (e(), e()), "{'k': %s, 'a': %s}" % (e(), e()),
                         "(%s,)" % e(), "[%s]" % e()])
    return R.choice(["(%s if %s else %s)" % (e(), e(), e()), "(not %s)" % e(), "(-%s)" % e(),
                     "%s is defined and %s" % (R.choice(NAMES), e()), "range(%s)" % e(), "dict(a=%s)" % e(),
                     "(%s < %s <= %s)" % (e(), e(), e())])


def statement(depth):
    ws = lambda: R.choice(["", "", "", "-", "+"])  # noqa: E731
    tag = lambda s: R.choice(["", " ", "\n", "\n  "]) + "{%" + ws() + " " + s + " " + ws() + "%}" + R.choice(["", "\n", " ", "\n\n"])  # noqa: E731
    body = lambda: statement(depth - 1) if depth > 0 else R.choice(["x", " y ", "{{ %s }}" % expr(1)])  # noqa: E731
    kind = R.randrange(11)
    if kind < 3:
        return "{{%s %s %s}}" % (R.choice(["", "-"]), expr(2), R.choice(["", "-"]))
    if kind == 3:
        return tag("if " + expr(2)) + body() + tag("elif " + expr(1)) + body() + tag("else") + body() + tag("endif")
    if kind == 4:
        extra = R.choice(["", "{{ loop.index }}", "{{ loop.last }}", "{{ loop.length }}", "{{ loop.revindex0 }}",
                          "{{ loop.previtem }}", "{{ loop.nextitem|default('-') }}", "{{ loop.cycle('a', 'b') }}",
                          "{{ loop.changed(q) }}", "{% if loop.index > 1 %}{% break %}{% endif %}",
                          "{% if loop.first %}{% continue %}{% endif %}"])
        cond = R.choice(["", "", " if q", " if q is string", " if q != 1"])
        return tag("for q in %s%s" % (expr(2), cond)) + extra + "{{ q }}" + body() + \
            R.choice(["", tag("else") + "E"]) + tag("endfor")
    if kind == 5:
        return tag("for k, v in %s" % R.choice(["d.items()", "d|dictsort", "users|groupby('age')", expr(1)])) + \
            "{{ k }}={{ v }};" + tag("endfor")
    if kind == 6:
        return tag("set z = " + expr(2)) + "{{ z }}" + body()
    if kind == 7:
        return tag("set z") + body() + tag("endset") + "{{ z|length }}{{ z }}"
    if kind == 8:
        return tag("macro m(p, r=%s)" % expr(1)) + "[{{ p }}{{ r }}" + body() + "]" + tag("endmacro") + \
            "{{ m(%s) }}{{ m(%s, r=%s) }}" % (expr(1), expr(1), expr(1))
    if kind == 9:
        return tag("filter " + R.choice(["upper", "trim", "indent(3)", "replace('a', 'b')", "title"])) + body() + tag("endfilter")
    return "text" + R.choice([" ", "\n", "\n\n  ", "{# c #}", "{#- c -#}", "\n  {# c #}\n"]) + body() + body()


# What the two are meant to differ in.
APART = re.compile(r"\d{19}| at 0x|<generator|<built-in|<bound|<function|<class|j\)|<jinja2|<method|<list_rev|<reversed|<Undefined")


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    R.seed(seed)
    env = reference_env()
    cases = []
    while len(cases) < count:
        template = statement(2) if R.random() < 0.5 else "{{ %s }}" % expr(3)
        if "**" in template and re.search(r"\*\*\s*\S*\d{2,}|\*\*.*\*\*|1e3", template):
            continue
        case = run(env, template, C)
        if APART.search(case.get("expected", "")) or len(case.get("expected", "")) > 1 << 20:
            continue
        cases.append(case)
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as f:
        json.dump({"cases": cases}, f)
    raised = sum("error" in c for c in cases)
    print("seed %d: %d cases, %d of which raise" % (seed, len(cases), raised), flush=True)
    status = subprocess.run([program, f.name]).returncode
    os.unlink(f.name)
    sys.exit(status)


if __name__ == "__main__":
    main()
