#!/usr/bin/env python3
"""Renders our own small templates with Jinja2 and writes tests/data/jinja/cases.json.

usage: scripts/jinja_cases.py > tests/data/jinja/cases.json      (needs jinja2 >= 3.1.6)

reference_env() sets Jinja2 up for chat templates: the immutable sandbox,
trim_blocks, lstrip_blocks, loop controls, {% generation %}, tojson that keeps
non-ASCII, raise_exception, and strftime_now with a fixed clock.
"""
import copy
import datetime
import json
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 3, 14, 9, 26, 53)


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_pass")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def reference_env():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: NOW.strftime(f)
    return env


def run(env, template, context):
    case = {"template": template, "context": context}
    try:  # on a copy: some filters of Jinja2 change lists that they are given
        text = env.from_string(template).render(**copy.deepcopy(context))
        text.encode("utf-8")
        case["expected"] = text
    except RecursionError:
        case["error"] = "RecursionError"
    except Exception as e:  # whatever it is, ours must refuse too
        case["error"] = "%s: %s" % (type(e).__name__, str(e)[:100])
    return case


C = {
    "messages": [{"role": "user", "content": "Hi <|im_end|> there"},
                 {"role": "assistant", "content": "Grüße, Zoë! 你好 😀", "n": 3}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": {"type": "int"}}}}],
    "s": "  Hello, World  ", "u": "straße ÅÉ ﬁn ΑΣ", "empty": "", "n": 42, "neg": -7, "f": 1.5, "big": 10**18,
    "t": True, "no": False, "none": None, "xs": [3, 1, 2], "names": ["bob", "Al", "carl", "al"],
    "d": {"b": 2, "a": 1, "C": 3}, "items": "key named like a method", "nested": {"items": [1], "x": {"y": [10, 20]}},
    "users": [{"name": "Ann", "age": 30, "city": "Oslo"}, {"name": "bo", "age": 25, "city": "rome"},
              {"name": "Cy", "age": 30, "city": "oslo"}],
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4, "kids": []}]}]}],
    "quote": "it's \"q\"\n\t\\", "html": "<a href='x'>&\"</a>", "multi": "one\ntwo\n\nthree\n",
}

T = r'''
plain text
{{ s }}|{{ s|trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}
{{ "xxhixx".strip("x") }}{{ "abcba".lstrip("ab") }}{{ "é-é".strip("é") }}{{ s|trim(" H") }}
{{ u|upper }} {{ u|lower }} {{ u|title }} {{ u|capitalize }} {{ u.upper() }} {{ u.title() }} {{ u.swapcase() }}
{{ "ΑΣ ΑΣΑ Σ".lower() }} {{ "İ".lower()|length }} {{ "ǆ".title() }}{{ "they're bill's".title() }}{{ "they're bill-s (x)"|title }}
{{ n }} {{ neg }} {{ f }} {{ t }} {{ no }} {{ none }} {{ xs }} {{ d }} {{ big }}
{{ 1.0 }} {{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 1e15 }} {{ 1e16 }} {{ 123456.789e3 }} {{ 5 / 2 }} {{ 4 / 2 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ "a" ~ 1 ~ none ~ true ~ 1.5 }}
{{ "a" + "b" }} {{ "ab" * 3 }} {{ 3 * "ab" }} {{ [1] + [2] }} {{ [1, 2] * 2 }} {{ (1,) + (2,) }} {{ "" * 5 }}|{{ "a" * -1 }}
{{ true + 1 }} {{ true * 2 }} {{ -true }} {{ +3 }} {{ not 0 }} {{ not "" }} {{ none == none }} {{ 1 == 1.0 }} {{ 1 == true }} {{ "1" == 1 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ "a" in "cat" }} {{ 2 not in xs }} {{ "a" in d }}
{{ 1 and 0 or "x" }} {{ "" or "y" }} {{ none and 1 }} {{ [] or {} }} {{ 1 if t else 2 }} {{ 1 if no else 2 }}|{{ 1 if no }}|
{{ xs[0] }} {{ xs[-1] }} {{ xs[1:] }} {{ xs[::-1] }} {{ xs[:2] }} {{ s[2:7] }} {{ s[::-1] }} {{ "你好世界"[1] }} {{ "你好世界"[-2:] }} {{ "a😀b"[::2] }}
{{ xs[9] }}|{{ xs.foo }}|{{ d.zzz }}|{{ undefined_thing }}|{{ d["a"] }} {{ d.a }} {{ d.C }} {{ nested.x.y[1] }} {{ nested["x"]["y"].0 }}
{{ undefined_thing.x }}
{{ d.zzz.y }}
{{ none.x }}|{{ none[0] }}|
{{ none.x.y }}
{{ undefined_thing + 1 }}
{{ undefined_thing ~ "x" }}|{{ undefined_thing|length }}|{{ undefined_thing|list }}|{{ undefined_thing|upper }}|{{ undefined_thing == undefined2 }}|{{ undefined_thing == none }}
{{ undefined_thing() }}
{% for x in undefined_thing %}{{ x }}{% else %}none{% endfor %}
{% for x in none %}{{ x }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{{ undefined_thing < 1 }}
{{ 1 in undefined_thing }} {{ "x" in undefined_thing }}
{{ undefined_thing in xs }} {{ undefined_thing in "abc" }}
{{ undefined_thing|default("d") }} {{ ""|default("d") }}|{{ ""|d("d", true) }} {{ none|default("x") }} {{ none|default("x", boolean=true) }}
{{ d.x.y|default(1) }}
{{ 1 ~ 2 + 3 }}
{{ undefined_thing|int }}
{{ undefined_thing|tojson }}
{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.items() }} {{ d.keys() }} {{ d.get("a") }} {{ d.get("q") }} {{ d.get("q", 5) }} {{ d|items|list }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}
{{ d|dictsort(true) }} {{ d|dictsort(by="value", reverse=true) }} {{ d|dictsort(false, "value") }}
{{ nested["items"] }} {{ nested.items()|length }} {{ nested.items is callable }} {{ nested.items == 1 }}
{{ xs.append(1) }}
{{ xs.append is defined }} {{ xs.append is undefined }} {{ d.update is defined }} {{ d.pop }}
{{ d.pop("a") }}
{{ d.__class__ }}
{{ d.__class__ is defined }} {{ "".__class__ is defined }} {{ xs.__len__ is undefined }} {{ d._x is defined }}
{{ "".__class__.__mro__ }}
{{ xs.index(1) }} {{ xs.count(3) }} {{ [1, 2, 1].index(1, 1) }} {{ (1, 2).index(2) }}
{{ xs.index(99) }}
{{ [] }} {{ () }} {{ (1,) }} {{ (1, 2) }} {{ {} }} {{ {"a": [1, {"b": none}]} }} {{ [true, "x", 'it''s', "q\"q"] }} {{ 1, 2 }}
{{ [quote] }} {{ ["\x01\x7f\u200b\u00e9\U0001f600", "a'b", 'a"b', "a'b\"c"] }} {{ {1: 2, none: 3, 1.5: 4, true: 5} }}
{{ quote|tojson }} {{ d|tojson }} {{ messages|tojson }} {{ [1.0, 1e20, none, true]|tojson }} {{ "é\u2028</script>\x7f\x01"|tojson }}
{{ d|tojson(indent=2) }} {{ [[], {}, [1, [2]]]|tojson(indent=4) }} {{ d|tojson(separators=(",", ":")) }} {{ d|tojson(sort_keys=true) }} {{ "é😀"|tojson(ensure_ascii=true) }}
{{ {"a": 1, 2: 3, none: 4, true: 5, 1.5: 6}|tojson }} {{ (1, "x")|tojson }} {{ d|tojson(indent=0) }} {{ d|tojson(indent="--") }}
{{ d.items()|tojson }}
{{ xs|map("string")|tojson }}
{{ xs|map("string")|list|tojson }} {{ users|map(attribute="name")|join(", ") }} {{ users|map(attribute="zip", default="-")|join }} {{ names|map("upper")|list }} {{ xs|map("int", 5)|list }}
{{ users|selectattr("age", "equalto", 30)|map(attribute="name")|list }} {{ users|rejectattr("age", ">", 26)|list|length }} {{ [0, 1, "", "a"]|select|list }} {{ [1, 2, 3]|reject("odd")|list }} {{ users|selectattr("name")|list|count }}
{{ users|selectattr("nope", "defined")|list }} {{ users|selectattr("city", "in", ["Oslo"])|first }} {{ xs|select("divisibleby", 3)|list }}
{{ xs|sort }} {{ xs|sort(reverse=true) }} {{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ users|sort(attribute="age,name")|map(attribute="name")|list }} {{ users|sort(false, false, "age")|map(attribute="name")|list }}
{{ ["b", 1]|sort }}
{{ names|unique|list }} {{ names|unique(true)|list }} {{ users|unique(attribute="city")|map(attribute="name")|list }} {{ xs|min }} {{ xs|max }} {{ names|min }} {{ []|max }}| {{ users|max(attribute="age") }} {{ xs|sum }} {{ users|sum(attribute="age") }} {{ xs|sum(start=10) }}
{{ xs|first }} {{ xs|last }} {{ []|first }}|{{ []|last }}| {{ "abc"|first }} {{ "abc"|last }} {{ xs|reverse|list }} {{ "abc"|reverse }} {{ xs|length }} {{ "你好"|length }} {{ d|length }} {{ d|count }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3, 4, 5]|batch(2, 0)|list }} {{ [1, 2, 3, 4, 5]|slice(3)|list }} {{ [1, 2, 3, 4, 5]|slice(3, "x")|list }}
{% for g in users|groupby("city") %}{{ g.grouper }}:{{ g.list|map(attribute="name")|join("+") }};{% endfor %}{% for k, v in users|groupby("age") %}{{ k }}{{ v|length }}{% endfor %}{{ users|groupby("age")|first }}
{{ "3.7"|int }} {{ "x"|int }} {{ "x"|int(9) }} {{ "0x1f"|int(0, 16) }} {{ "ff"|int(base=16) }} {{ " 12 "|int }} {{ 3.99|int }} {{ none|int }} {{ true|int }} {{ "1_000"|int }} {{ "-5"|int }} {{ "1e3"|int }}
{{ "3.5"|float }} {{ "x"|float }} {{ "x"|float(1.5) }} {{ 3|float }} {{ "inf"|float }} {{ "nan"|float }} {{ none|float }} {{ " 1e3 "|float }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 42.55|round(1, "floor") }} {{ 42.55|round(1, "ceil") }} {{ 2.5|round }} {{ 3.5|round }} {{ 5|round }} {{ 1234|round(-2) }} {{ 1250|round(-2) }} {{ -0.5|round }} {{ 1234.5|round(-2) }} {{ 5|round(0, "floor") }}
{{ -5|abs }} {{ (-5)|abs }} {{ (-2.5)|abs }} {{ "x"|string }} {{ 5|string ~ 5 }} {{ 5|string|length }}
{{ html|e }} {{ html|escape|length }} {{ html|safe }} {{ (html|safe) + "<" }} {{ "<" + (html|safe) }} {{ (html|e)|e }} {{ html|forceescape }} {{ html|e|upper }} {{ "<b>"|safe ~ "<i>" }} {{ [html|safe] }}
{{ "%s is %d and %.2f|%5s|%-5s|%05d|%x|%r|%%|%+d|%e|%g" % ("x", 3, 2.5, "r", "l", 42, 255, "q", 5, 12345.678, 0.0001) }} {{ "%s" % n }} {{ "%(a)s-%(b)03d" % d }} {{ "%s-%s"|format("a", "b") }} {{ "%(x)s"|format(x=1) }}
{{ "%s %s" % ("a",) }}
{{ "%s" % ("a", "b") }}
{{ "%d" % "a" }}
{{ "{} {}".format(1, "b") }} {{ "{0}{1}{0}".format("a", "b") }} {{ "{x:>5}|{y:<5}|{z:^5}|{f:.2f}|{n:05d}|{n:,}|{n:x}|{n:#x}|{f:e}|{p:%}".format(x="a", y="b", z="c", f=3.14159, n=12345, p=0.25) }} {{ "{{}} {a[x]} {b[0]}".format(a={"x": 1}, b=[2]) }} {{ "{!r}".format("q") }} {{ "{:*^9}".format("mid") }}
{{ "{} {1}".format(1, 2) }}
{{ "{}".format() }}
{{ "a,b,,c".split(",") }} {{ " a  b c ".split() }} {{ "a,b,c".split(",", 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ "a b  c".rsplit(none, 1) }} {{ "a b  c ".split(none, 1) }} {{ "a--b".split("--")[-1] }} {{ "".split(",") }} {{ "".split() }} {{ multi.splitlines() }} {{ multi.splitlines(true) }} {{ "a\r\nb\rc\x0bd".splitlines() }}
{{ "abc".split("") }}
{{ "abcabc".replace("b", "X") }} {{ "abcabc".replace("b", "X", 1) }} {{ "abc".replace("", "-") }} {{ "abc"|replace("b", "") }} {{ "aaa"|replace("a", "b", 2) }} {{ n|replace("4", "5") }} {{ "abc".replace("", "-", 2) }}
{{ "abc".startswith("a") }} {{ "abc".startswith(("x", "a")) }} {{ "abc".endswith("bc") }} {{ "abc".startswith("b", 1) }} {{ "äbc".startswith("b", 1) }} {{ "abc".endswith("b", 0, 2) }}
{{ "abc".startswith(1) }}
{{ "äbcäbc".find("c") }} {{ "abc".find("z") }} {{ "äbcäbc".rfind("b") }} {{ "äbcäbc".count("ä") }} {{ "aaa".count("") }} {{ "abcabc".find("a", 1) }} {{ "abc".index("b") }} {{ "abc".find("") }} {{ "abc".rfind("") }}
{{ "abc".index("z") }}
{{ ",".join(["a", "b"]) }} {{ "".join("abc") }} {{ xs|join(", ") }} {{ xs|join }} {{ [1, none, "a", 2.5]|join("-") }} {{ "-".join(d) }} {{ d|join(",") }}
{{ ",".join([1]) }}
{{ "abc".isalpha() }} {{ "12".isdigit() }} {{ "".isdigit() }} {{ "a1".isalnum() }} {{ " \t".isspace() }} {{ "²".isdigit() }} {{ "²".isdecimal() }} {{ "½".isnumeric() }} {{ "Ab".isupper() }} {{ "AB1".isupper() }} {{ "ab".islower() }} {{ "Ab Cd".istitle() }} {{ "a_1".isidentifier() }} {{ "é".isascii() }}
{{ "abc".removeprefix("a") }} {{ "abc".removesuffix("c") }} {{ "abc".removeprefix("x") }} {{ "a=b=c".partition("=") }} {{ "a=b=c".rpartition("=") }} {{ "abc".partition("x") }} {{ "abc".center(8, "*") }} {{ "abc".ljust(5) }}| {{ "abc".rjust(5) }} {{ "-42".zfill(6) }} {{ "a\tb".expandtabs(4) }} {{ "abc"|center(7) }}|
{{ multi|indent }} {{ multi|indent(2, true) }} {{ multi|indent(2, blank=true) }} {{ multi|indent("> ") }} {{ ""|indent }}| {{ "a"|indent(first=true) }} {{ "a\n"|indent }}|
{{ "foo bar baz qux"|truncate(9) }} {{ "foo bar baz qux"|truncate(9, true) }} {{ "foo bar baz qux"|truncate(11) }} {{ "foo bar baz qux"|truncate(11, false, "...", 0) }} {{ "Hello, World foo_bar"|wordcount }} {{ 1500|filesizeformat }} {{ 1500|filesizeformat(true) }} {{ 1|filesizeformat }} {{ "a b/c?é"|urlencode }}
{{ x is defined }} {{ n is defined }} {{ none is none }} {{ n is number }} {{ "s" is string }} {{ d is mapping }} {{ xs is mapping }} {{ xs is iterable }} {{ "s" is iterable }} {{ n is iterable }} {{ xs is sequence }} {{ d is sequence }} {{ "s" is sequence }} {{ n is sequence }} {{ true is boolean }} {{ 1 is boolean }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is number }} {{ true is true }} {{ 1 is true }} {{ no is false }}
{{ 2 is even }} {{ 3 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is lt 2 }} {{ 2 is gt(1) }} {{ 1 is ne 1 }} {{ 1 is in [1, 2] }} {{ "a" is in "abc" }} {{ "ab" is lower }} {{ "AB" is upper }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ "upper" is filter }} {{ "nope" is filter }} {{ "odd" is test }} {{ html|safe is escaped }} {{ range is callable }}
{{ n is not none }} {{ not n is none }} {{ n is not defined }} {{ x is not defined and n is defined }} {{ 1 if x is defined else 2 }} {{ "yes" if n is number and n > 40 else "no" }}
{{ n is number is string }}
{{ 1 is foo }}
{{ 1|foo }}
{{ 1 if false else (2|foo) }}
{{ (1|foo) if false else 2 }}
{% if false %}{{ 1|foo }}{% endif %}ok
{% if true %}{{ 1|foo }}{% endif %}ok
{% macro m() %}{{ 1|foo }}{% endmacro %}never called
{% for x in xs %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ "" if loop.last else "," }}{{ loop.first }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.index0 }} {% endfor %}
{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle("a", "b") }}{{ loop.changed(x > 1) }};{% endfor %}
{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}:{{ loop.length }}:{{ loop.last }} {% else %}e{% endfor %}{% for x in xs if x > 9 %}{{ x }}{% else %}empty{% endfor %}
{% for x in xs|map("string") %}{{ loop.index }}{{ x }}{{ loop.last }}{{ loop.length }} {% endfor %}
{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for k, v in {"x": 1}.items() %}{{ k }}{{ v }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for a, b in [(1,)] %}{{ a }}{% endfor %}
{% for n in tree recursive %}{{ n.v }}@{{ loop.depth }}{% if n.kids %}({{ loop(n.kids) }}){% endif %}{% if not loop.last %},{% endif %}{% endfor %}
{% for x in xs %}{{ loop(x) }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }} {{ ns.b }} {{ ns.zzz }}| {{ ns }} {% set ns.new = 1 %}{{ ns.new }} {{ namespace({"q": 1}).q }}
{% set d.x = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}{% set (p, q) = [3, 4] %}{{ p }}{{ q }}
{% set x %}block {{ n }}{% endset %}{{ x }}{{ x|length }}{% set y | upper | trim %} abc {% endset %}{{ y }}{% set z %}{% set inner = 1 %}{% endset %}{{ inner is defined }}
{% macro m(a, b=2, c="x") %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=5) }}{{ m(c=1, a=2) }}{{ m() }}{{ m.name }}{{ m.arguments }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(zz=2) }}
{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}
{% set g = 1 %}{% macro f() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ f() }}{% for i in [1] %}{% set g = 3 %}{{ f() }}{% endfor %}
{% macro f() %}{% set z = 1 %}{{ z }}{% endmacro %}{{ f() }}{{ z is defined }}{% set r = f() %}{{ r|length }}{{ r + "!" }}
{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box("b") %}in {{ n }}{% endcall %}
{% macro each(l) %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) each(xs) %}[{{ x }}]{% endcall %}
{% macro plain() %}x{% endmacro %}{% call plain() %}y{% endcall %}
{% filter upper %}abc {{ "def" }}{% endfilter %}{% filter replace("a", "b")|upper %}banana{% endfilter %}
{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}
{% raw %}{{ not }} {% a %}{# c #}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  |
a {# comment #} b {#- comment -#} c{# {{ x }} #}{#
 multi #}d
{% generation %}inside {{ n }}{% set gen = 1 %}{% endgeneration %} {{ gen is defined }}
{% block title %}T{{ n }}{% endblock %} {% block b2 scoped %}{{ n }}{% endblock b2 %}
{% if n == 42 %}a{% elif n %}b{% else %}c{% endif %}{% if no %}a{% elif n %}b{% else %}c{% endif %}{% if no %}a{% else %}c{% endif %}{% if no %}x{% endif %}
{% print n, "x", 1 + 1 %}
{{ range(5)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(3) }} {{ range(10)[2] }} {{ range(10)[2:4]|list }} {{ 3 in range(5) }} {{ range(3)|length }} {{ range(0, 6, 2) }}
{{ range(1000000) }}
{{ range(1, 2, 0) }}
{{ dict(a=1, b=2) }} {{ dict([("x", 1)]) }} {{ dict(d, z=1) }} {{ {"a": 1}.copy() }}
{% set c = cycler("a", "b") %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner("; ") %}{{ j() }}x{{ j() }}y{{ joiner()() }}
{{ strftime_now("%Y-%m-%d %H:%M:%S %B %b %A %a %d %j %p %I %y %% %e %U %W %V %G %u %w") }} {{ strftime_now("%d %b %Y") }} {{ strftime_now("%-d/%-m") }}
{{ raise_exception("stop here") }}
{{ raise_exception() }}
{{ "a" "b" 'c' }} {{ 'a\nb\tc\\d\'e\"f\x41\u00e9\U0001F600\101\z' }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1_0.5 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 00 }}
{{ foo(*[1, 2]) }}
{% macro m(a, b, c=0) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(1, **{"b": 5, "c": 6}) }}{{ m(1, *[2], c=3) }}
{{ [1, 2, 3,] }} {{ {"a": 1,} }} {{ m if m is defined }} {{ dict(a=1,) }}
{{ (n) }} {{ ((n)) }} {{ (1, 2)[0] }} {{ [1][0] }} {{ {"a": 1}.a }} {{ "abc"[0] }} {{ "abc".upper().lower() }} {{ "a" if n > 1 else "b" if n > 0 else "c" }}
{{ n|string|length + 1 }} {{ -n|abs }} {{ not n is none }} {{ n == 42 and "y" }} {{ xs|length > 2 }} {{ "a" ~ "b"|upper }} {{ ("a" ~ "b")|upper }} {{ 1 + n|string|length }} {{ 2 ** 3 ** 2 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }}
{{ messages[0]["role"] }} {{ messages[-1].content }} {{ messages|length }} {{ messages[0].content.split(" ")[1] }} {{ messages[1:]|length }} {{ messages[1].n + 1 }} {{ loop is defined }} {{ messages[0].get("zz", "dflt") }} {{ messages|map(attribute="role")|list }} {{ messages|selectattr("role", "equalto", "user")|list|length }}
{{ 1 if n else }}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ [1, 2 }}
{{ "abc }}
{{ 1 }
{% if %}x{% endif %}
{% if n %}x
{% endif %}
{% for x in %}{% endfor %}
{% for 1 in xs %}{% endfor %}
{% set 1 = 2 %}
{% set %}
{% unknown %}
{% break %}
{% else %}
{% macro m(a=1, b) %}{% endmacro %}
{% include "x" %}
{% import "x" as y %}
{% from "x" import y %}
{% extends "x" %}
{{ n.foo.bar }}
{{ n() }}
{{ "a" + 1 }}
{{ 1 + "a" }}
{{ [1] + (2,) }}
{{ 1 < "a" }}
{{ none < 1 }}
{{ {} < {} }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 0 ** -1 }}
{{ {[1]: 2} }}
{{ {{}: 2} }}
{{ d[[1]] }}|{{ d[xs] }}|{{ xs["a"] }}|{{ "abc"["x"] }}|{{ n[0] }}
{{ "a" in 5 }}
{{ 1 in "abc" }}
{{ none in "abc" }}
{{ [] in d }}
{{ n|length }}
{{ none|length }}
{{ n|list }}
{{ none|join }}
{{ none|first }}
{{ n|items|list }}
{{ none|upper }} {{ n|upper }} {{ none|trim }} {{ xs|upper }}
{{ none|indent }}
{{ "a"|replace("a") }}
{{ "a"|upper(1) }}
{{ "a"|trim(5) }}
{{ "abc".foo() }}
{{ xs|map("nope")|list }}
{{ xs|select("nope")|list }}
{{ xs|map()|list }}
{{ "x" * n }} {{ "%s" % none }} {{ "%s" % [xs] }} {{ "%s" % d }}
   {% if true %}
   kept indent
   {% endif %}
 tail
   {%- if true -%}   x   {%- endif -%}   y
   {%+ if true +%}   x   {%+ endif %}
  {{- "a" -}}   b  {{ "c" }}  d
a{% if true %} b{% endif %} c
  {# gone #}
x
{{ "x" }}\n
{%- for x in xs %}
  - {{ x }}
{%- endfor %}
'''


def templates():
    lines = T.strip("\n").split("\n")
    # What the last lines test needs several lines at once.
    i = lines.index("   {% if true %}")
    yield from lines[:i]
    yield "\n".join(lines[i:i + 4]) + "\n"
    yield from lines[i + 4:i + 8]
    yield "\n".join(lines[i + 8:i + 10])
    yield "\n".join(lines[i + 10:]) + "\n\n"
    yield "a\r\nb\rc\n{{ n }}\r\n"
    yield "{{ 'a\\\nb' }} {{ 'c\nd' }}"
    yield "{{ n }}\n"
    yield "{{ n }}\n\n"
    yield ""
    yield "\n"
    yield "  {% if true %}  \n  x\n  {% endif %}  \n"
    yield "x  {% if true %}\n  {{ n }}\n  {%- endif %}\n  z"
    yield "{% for m in messages %}\n<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\n<|assistant|>\n"
    yield "{% set x = 'a' %}\n{% set y = 'b' %}\n\n{{ x }}{{ y }}"
    yield "\t {% set x = 1 %}\n\t {{ x }}"
    yield "\u00a0{% set x = 1 %}|\u3000{%- set x = 2 -%}\u2003|"
    yield "{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }}"


def main():
    env = reference_env()
    cases = [run(env, t, C) for t in templates()]
    doc = {"now": NOW.isoformat(), "jinja2": jinja2.__version__, "cases": cases}
    json.dump(doc, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
