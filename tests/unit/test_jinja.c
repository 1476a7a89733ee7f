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
        if (want && (s != LM_OK || out.n != json_string_length(want) ||
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_templates_render_as_the_reference_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
