/* Chat templates: the published ones, our own cases against Jinja2, provenance,
 * limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/jinja.h"

/* 2026-03-14T09:26:53, the clock of every reference rendering. */
#define NOW 1773480413

static lm_status render(const char *source, size_t n, const json_t *context, lm_jinja_options o, lm_str *out,
                        lm_spans *spans, lm_error *err)
{
    lm_jinja *t = NULL;
    lm_status s = lm_jinja_compile(&t, source, n, err);
    if (s == LM_OK)
        s = lm_jinja_render(t, context, &o, out, spans, err);
    lm_jinja_close(t);
    return s;
}

/* In random cases "valid, but not here" is an answer: long integers, the text of
 * a generator. */
static bool unsupported_is_fine;

/* Runs the cases of a JSON file; returns how many differ, *n_run how many ran. */
static int run_cases(const char *path, const char *folder, size_t *n_run)
{
    json_error_t je;
    json_t *doc = json_load_file(path, 0, &je), *c, *cases;
    size_t i;
    int bad = 0;
    if (!doc)
        fail_msg("%s: %s", path, je.text);
    cases = json_object_get(doc, "cases");
    json_array_foreach(cases, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "template"));
        json_t *want = json_object_get(c, "expected");
        lm_error err = { 0 };
        lm_str out = { 0 };
        char *source = NULL, file[4096];
        size_t n = 0;
        if (folder) {
            (void)snprintf(file, sizeof file, "%s/%s", folder, name);
            assert_int_equal(lm_read_file(file, 1 << 20, &source, &n, NULL), LM_OK);
        } else {
            n = strlen(name);
            assert_int_equal(lm_strdup_n(name, n, &source, NULL), LM_OK);
        }
        lm_status s = render(source, n, json_object_get(c, "context"), (lm_jinja_options){ .now = NOW }, &out,
                             NULL, &err);
        if (want && !(unsupported_is_fine && s == LM_ERR_UNSUPPORTED) &&
            (s != LM_OK || out.n != json_string_length(want) ||
             memcmp(lm_str_z(&out), json_string_value(want), out.n) != 0)) {
            size_t k = 0;
            while (k < out.n && out.s[k] == json_string_value(want)[k])
                k++;
            print_message("case %zu, %.120s (%s): %s\n  ours at byte %zu: %.60s\n  want: %.60s\n", i, name,
                          json_string_value(json_object_get(c, "case")), s ? err.text : "differs", k,
                          lm_str_z(&out) + k, json_string_value(want) + LM_MIN(k, json_string_length(want)));
            bad++;
        }
        if (!want && (s == LM_OK || err.text[0] == 0)) {
            print_message("case %zu, %.120s (%s): rendered \"%.80s\", the reference raises %s\n", i, name,
                          json_string_value(json_object_get(c, "case")), lm_str_z(&out),
                          json_string_value(json_object_get(c, "error")));
            bad++;
        }
        lm_str_clear(&out);
        lm_free(source);
        ++*n_run;
    }
    json_decref(doc);
    return bad;
}

static void published_templates_render_as_the_reference_does(void **state)
{
    size_t n = 0;
    FILE *f = fopen(LM_SHARED_DATA "/templates/cases.json", "r");
    (void)state;
    if (!f) {
        print_message("skipped: no ../shared\n");
        skip();
    }
    (void)fclose(f);
    assert_int_equal(run_cases(LM_SHARED_DATA "/templates/cases.json", LM_SHARED_DATA "/templates", &n), 0);
    assert_int_equal(n, 62 * 14);
}

static void own_cases_render_as_jinja2_does(void **state)
{
    size_t n = 0;
    (void)state;
    assert_int_equal(run_cases(LM_TEST_DATA "/jinja/cases.json", NULL, &n), 0);
    assert_true(n >= 150);
}

/* ---- provenance ---- */

/* Renders with message-derived bytes between « and ». */
static void shows(const char *source, const char *want)
{
    json_t *context = json_pack("{s:[{s:s,s:s},{s:s,s:[{s:s}]}],s:[{s:s}],s:s,s:s}", "messages", "role",
                                "user", "content", "a <|x|> b", "role", "tool", "content", "text", "P,Q",
                                "tools", "name", "f\"n", "bos_token", "<s>", "plain", "zz");
    lm_str out = { 0 }, marked = { 0 };
    lm_spans spans = { 0 };
    lm_error err = { 0 };
    size_t at = 0;
    if (render(source, strlen(source), context, (lm_jinja_options){ 0 }, &out, &spans, &err) != LM_OK)
        fail_msg("%s: %s", source, err.text);
    for (size_t i = 0; i < spans.n; i++) {
        assert_true(at <= spans.spans[i].first && spans.spans[i].first < spans.spans[i].end);
        assert_true(i == 0 || spans.spans[i - 1].end < spans.spans[i].first); /* merged */
        assert_true(spans.spans[i].end <= out.n);
        lm_str_add(&marked, out.s + at, spans.spans[i].first - at);
        lm_str_addz(&marked, "«");
        lm_str_add(&marked, out.s + spans.spans[i].first, spans.spans[i].end - spans.spans[i].first);
        lm_str_addz(&marked, "»");
        at = spans.spans[i].end;
    }
    lm_str_add(&marked, lm_str_z(&out) + at, out.n - at);
    assert_string_equal(lm_str_z(&marked), want);
    lm_str_clear(&out);
    lm_str_clear(&marked);
    lm_spans_clear(&spans);
    json_decref(context);
}

static void bytes_from_messages_are_known_through_every_operation(void **state)
{
    (void)state;
    shows("<|u|>{{ messages[0].content }}<|e|>", "<|u|>«a <|x|> b»<|e|>");
    shows("{{ bos_token }}{{ plain }}", "<s>zz");
    shows("{{ messages[0].role }}{{ messages[0].content }}", "«usera <|x|> b»");
    shows("{{ '<' + messages[0].role + '>' }}", "<«user»>");
    shows("{{ '<' ~ messages[0].role ~ plain }}", "<«user»zz");
    shows("{{ messages[0].content[2:7] }}", "«<|x|>»");
    shows("{{ (plain + messages[0].content + plain)[1:5] }}", "z«a <»");
    shows("{{ messages[0].content[::-1] }}", "«b >|x|< a»");
    shows("{{ (plain ~ messages[0].role)[::-1] }}", "«resu»zz");
    shows("{{ messages[0].content.split(' ')[1] }}", "«<|x|>»");
    shows("{{ messages[0].content.split(' ') | join('-') }}", "«a»-«<|x|>»-«b»");
    shows("{{ messages[0].content | upper }}", "«A <|X|> B»");
    shows("{{ ('x' ~ messages[0].content) | title }}", "X«a <|x|> B»");
    shows("{{ messages[0].content | replace('<|x|>', 'SAFE') }}", "«a »SAFE« b»");
    shows("{{ 'a b' | replace('a', messages[0].role) }}", "«user» b");
    shows("{{ messages[0].content | tojson }}", "\"«a <|x|> b»\"");
    shows("{{ tools | tojson }}", "[{\"«name»\": \"«f\\\"n»\"}]");
    shows("{{ tools }}", "[{'«name»': '«f\"n»'}]");
    shows("{{ '%s!' % messages[0].role }}{{ '{}?'.format(messages[0].role) }}", "«user»!«user»?");
    shows("{{ 'role %s' | format(messages[0].role) | indent(2, true) }}", "  role «user»");
    shows("{{ messages[0].content | trim | length }}", "9");
    shows("{% set x %}[{{ messages[0].role }}]{% endset %}{{ x * 2 }}", "[«user»][«user»]");
    shows("{% macro m(t) %}<{{ t }}>{% endmacro %}{{ m(messages[0].role) | upper }}", "<«USER»>");
    shows("{% for c in messages[0].role %}{{ c }}{{ '.' }}{% endfor %}", "«u».«s».«e».«r».");
    shows("{% for m in messages %}{% for k, v in m.items() %}{% if v is string %}{{ k }}={{ v }};{% endif %}"
          "{% endfor %}{% endfor %}",
          "«role»=«user»;«content»=«a <|x|> b»;«role»=«tool»;");
    shows("{{ messages | map(attribute='role') | join(',') }}", "«user»,«tool»");
    shows("{{ 'equal' if messages[0].role == 'user' }}", "equal");
    shows("{{ {'user': 'Human'}[messages[0].role] }}", "Human");
    shows("{{ messages[1].content[0].text }}{{ messages[0].content | e }}", "«P,Qa &lt;|x|&gt; b»");
    shows("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + '<' + m.role + '>' %}"
          "{% endfor %}{{ ns.t }}",
          "<«user»><«tool»>");
    shows("{% generation %}{{ messages[0].role }}{% endgeneration %}", "«user»");
    shows("{{ messages[0].content.partition(' ')[2] }}{{ messages[0].role.center(8, '*') }}",
          "«<|x|> b»**«user»**");
    shows("{{ messages[0].role | default('x') | string | safe }}", "«user»");
}

/* ---- limits and refusals ---- */

static void refuses(const char *source, lm_jinja_options o, lm_status status, const char *part)
{
    json_t *context = json_pack("{s:[i,i,i],s:s}", "xs", 1, 2, 3, "s", "text");
    lm_str out = { 0 };
    lm_error err = { 0 };
    clock_t begun = clock();
    lm_status got = render(source, strlen(source), context, o, &out, NULL, &err);
    double seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
    if (got != status || !strstr(err.text, part))
        fail_msg("%.100s: %s \"%s\", expected %s \"%s\"", source, lm_status_name(got), err.text,
                 lm_status_name(status), part);
    if (seconds > 5.0)
        fail_msg("%.100s took %.1f seconds", source, seconds);
    lm_str_clear(&out);
    json_decref(context);
}

static char *repeated(const char *a, size_t n, const char *mid, const char *b)
{
    lm_str s = { 0 };
    char *out = NULL;
    for (size_t i = 0; i < n; i++)
        lm_str_addz(&s, a);
    lm_str_addz(&s, mid);
    for (size_t i = 0; i < n; i++)
        lm_str_addz(&s, b);
    assert_int_equal(lm_str_take(&s, &out, NULL, NULL), LM_OK);
    return out;
}

static void hostile_templates_stop_quickly(void **state)
{
    lm_jinja_options o = { 0 };
    static const char *const deep[][3] = {
        { "{{ ", "(", ")" },           { "{{ ", "[", "]" },   { "{{ ", "-", "" },
        { "{{ ", "not ", "" },         { "{{ ", "{1:", "}" }, { "{{ ", "(1 if 1 else ", ")" },
        { "{{ ", "1 if 1 else ", "" },
    };
    char *s;
    (void)state;
    s = repeated("{% for i in range(100000) %}", 10, "x", "{% endfor %}");
    refuses(s, o, LM_ERR_UNSUPPORTED, "steps");
    lm_free(s);
    refuses("{% for i in range(10**9) %}{% endfor %}", o, LM_ERR_UNSUPPORTED, "range of 1000000000");
    refuses("{{ 'a' * 10**9 }}", o, LM_ERR_UNSUPPORTED, "1000000000 bytes");
    refuses("{{ ['a'] * 10**9 }}", o, LM_ERR_UNSUPPORTED, "");
    refuses("{{ '%1000000000d' % 1 }}", o, LM_ERR_UNSUPPORTED, "wide");
    refuses("{{ 'a'.center(10**9) }}", o, LM_ERR_UNSUPPORTED, "bytes");
    refuses("{{ 'x' | indent(10**9, true) }}", o, LM_ERR_UNSUPPORTED, "bytes");
    refuses("{{ 9223372036854775807 + 1 }}", o, LM_ERR_UNSUPPORTED, "64-bit");
    refuses("{{ 10 ** 30 }}", o, LM_ERR_UNSUPPORTED, "64-bit");
    refuses("{{ 99999999999999999999 }}", o, LM_ERR_CORRUPT, "64 bits");
    refuses("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", o, LM_ERR_UNSUPPORTED,
            "nested deeper than the 200");
    refuses("{% macro m() %}{{ m() ~ m() }}{% endmacro %}{{ m() }}", o, LM_ERR_UNSUPPORTED, "200");
    refuses("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", o, LM_ERR_UNSUPPORTED, "200");
    refuses("{% set n = namespace() %}{% set n.n = n %}{{ n }}", o, LM_ERR_UNSUPPORTED, "200");
    refuses("{% set n = namespace(x='ab') %}{% for i in range(100) %}{% set n.x = n.x + n.x %}{% endfor %}",
            o, LM_ERR_UNSUPPORTED, "bytes");
    refuses("{% set n = namespace(x=[]) %}{% for i in range(1000) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ "
            "n.x }}",
            o, LM_ERR_UNSUPPORTED, "200");
    refuses("{% set n = namespace(x=xs|map('string')) %}{% for i in range(1000) %}{% set n.x = "
            "n.x|map('string') %}"
            "{% endfor %}{{ n.x|list }}",
            o, LM_ERR_UNSUPPORTED, "200");
    refuses("{% for i in range(99999) %}{% for j in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}{% "
            "endfor %}",
            o, LM_ERR_UNSUPPORTED, "bytes");
    refuses("{% set x = 'ab' * 10000000 %}{% for i in range(99999) %}{{ x | upper | length }}{% endfor %}", o,
            LM_ERR_UNSUPPORTED, "");
    refuses("{% set x = 'é' * 10000000 %}{% for i in range(99999) %}{{ x[i] }}{% endfor %}", o,
            LM_ERR_UNSUPPORTED, "steps");
    refuses("{{ xs }}", (lm_jinja_options){ .max_output = 5 }, LM_ERR_UNSUPPORTED, "5 bytes");
    refuses("{% for i in range(50) %}{% endfor %}", (lm_jinja_options){ .max_steps = 20 }, LM_ERR_UNSUPPORTED,
            "20 steps");
    for (size_t i = 0; i < LM_LEN(deep); i++) {
        char *inner = repeated(deep[i][1], 5000, "1", deep[i][2]);
        lm_str t = { 0 };
        lm_str_addf(&t, "%s%s }}", deep[i][0], inner);
        refuses(lm_str_z(&t), o, i < 2 || i == 4 || i == 5 ? LM_ERR_CORRUPT : LM_ERR_UNSUPPORTED, "200");
        lm_str_clear(&t);
        lm_free(inner);
    }
    s = repeated("{% if 1 %}", 5000, "x", "{% endif %}");
    refuses(s, o, LM_ERR_UNSUPPORTED, "100 levels");
    lm_free(s);
}

static void what_is_not_supported_is_named(void **state)
{
    lm_jinja_options o = { 0 };
    (void)state;
    refuses("{% include 'a' %}", o, LM_ERR_UNSUPPORTED, "'include' is refused");
    refuses("{% import 'a' as b %}", o, LM_ERR_UNSUPPORTED, "'import' is refused");
    refuses("a\nb\n{% extends 'a' %}", o, LM_ERR_UNSUPPORTED, "line 3: 'extends' is refused");
    refuses("{{ [1] | random }}", o, LM_ERR_UNSUPPORTED, "filter 'random'");
    refuses("{{ lipsum() }}", o, LM_ERR_UNSUPPORTED, "'lipsum'");
    refuses("{{ 'a'.encode() }}", o, LM_ERR_UNSUPPORTED, "'encode'");
    refuses("{{ xs | map('string') }}", o, LM_ERR_UNSUPPORTED, "| list");
    refuses("{{ raise_exception('no\x1b[2J system') }}", o, LM_ERR_USAGE, "no [2J system");
    refuses("\n\n{{ nope.x }}", o, LM_ERR_CORRUPT, "template line 3: 'nope' is undefined");
    refuses("{{ s.__class__.__mro__ }}", o, LM_ERR_CORRUPT, "unsafe");
    refuses("{{ xs.append(1) }}", o, LM_ERR_CORRUPT, "unsafe");
    refuses("\xff", o, LM_ERR_CORRUPT, "UTF-8");
    refuses("{{ '\\ud800' }}", o, LM_ERR_CORRUPT, "no character");
}

static void long_flat_templates_need_no_depth(void **state)
{
    lm_str t = { 0 }, out = { 0 };
    lm_error err = { 0 };
    json_t *context = json_object();
    (void)state;
    lm_str_addz(&t, "{{ 0");
    for (int i = 0; i < 5000; i++)
        lm_str_addz(&t, " + 1");
    lm_str_addz(&t, " }}");
    if (render(t.s, t.n, context, (lm_jinja_options){ 0 }, &out, NULL, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_string_equal(lm_str_z(&out), "5000");
    lm_str_clear(&t);
    lm_str_clear(&out);
    json_decref(context);
}

static void a_megabyte_of_message_renders_in_milliseconds(void **state)
{
    static const char t[] =
        "{% set ns = namespace(all='') %}{% for m in messages %}{% set ns.all = ns.all + '<' + "
        "m.role + '>' + m.content | trim + '\\n' %}{% endfor %}{{ ns.all }}{{ messages[0].content }}";
    char *big = repeated("abc\n", 1 << 18, "", "");
    json_t *messages = json_array(), *context;
    lm_str out = { 0 };
    lm_spans spans = { 0 };
    lm_error err = { 0 };
    clock_t begun;
    (void)state;
    assert_int_equal(json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", big)),
                     0);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(
            json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", "a message")),
            0);
    context = json_pack("{s:o}", "messages", messages);
    begun = clock();
    if (render(t, sizeof t - 1, context, (lm_jinja_options){ 0 }, &out, &spans, &err) != LM_OK)
        fail_msg("%s", err.text);
    double ms = 1e3 * (double)(clock() - begun) / CLOCKS_PER_SEC;
    assert_true(out.n > 2u << 20);
    print_message("%zu bytes with %zu spans in %.1f ms\n", out.n, spans.n, ms);
    assert_true(ms < 1000); /* about 10 on a quiet machine; quadratic appending takes minutes */
    lm_str_clear(&out);
    lm_spans_clear(&spans);
    json_decref(context);
    lm_free(big);
}

static void every_failed_allocation_is_reported(void **state)
{
    static const char t[] =
        "{% set x %}{{ s }}{% endset %}{{ x | upper ~ xs }}{% for i in range(3000) %}{{ 'abc' * "
        "9 ~ i }}{% endfor %}";
    json_t *context = json_pack("{s:[i,i],s:s}", "xs", 1, 2, "s", "text");
    int failed = 0;
    (void)state;
    for (uint64_t n = 1;; n++) {
        lm_str out = { 0 };
        lm_spans spans = { 0 };
        lm_error err = { 0 };
        lm_mem_fail_after(n);
        lm_status s = render(t, sizeof t - 1, context, (lm_jinja_options){ 0 }, &out, &spans, &err);
        lm_mem_fail_after(0);
        lm_str_clear(&out);
        lm_spans_clear(&spans);
        if (s == LM_OK)
            break;
        assert_int_equal(s, LM_ERR_NOMEM);
        failed++;
        assert_true(n < 1000);
    }
    assert_true(failed > 3 || failed == 0); /* 0: built without LM_FAULTS */
    json_decref(context);
}

/* With the name of a file of cases: runs those alone (tests/prop/jinja_diff.py). */
int main(int argc, char **argv)
{
    if (argc == 2) {
        size_t n = 0;
        unsupported_is_fine = true;
        int bad = run_cases(argv[1], NULL, &n);
        print_message("%zu cases, %d differ\n", n, bad);
        return bad != 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_templates_render_as_the_reference_does),
        cmocka_unit_test(own_cases_render_as_jinja2_does),
        cmocka_unit_test(bytes_from_messages_are_known_through_every_operation),
        cmocka_unit_test(hostile_templates_stop_quickly),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(long_flat_templates_need_no_depth),
        cmocka_unit_test(a_megabyte_of_message_renders_in_milliseconds),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
