/* Walks tests/bad/template: every template must be refused with the status and
 * the sentence in `expect`, within a second.  LM_BLESS=1 rewrites `expect`. */
#include <dirent.h>
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

static const char root[] = LM_SOURCE_DIR "/tests/bad/template";

static bool read_text(const char *name, const char *file, char **out, size_t *n)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, name, file);
    return lm_read_file(path, 1 << 20, out, n, NULL) == LM_OK;
}

/* What `head` holds, template.jinja as often as `repeat` says (once without that
 * file), and what `tail` holds. */
static void source_of(const char *name, lm_str *out)
{
    char *text = NULL, *times = NULL, *tail = NULL, *head = NULL;
    size_t n = 0, n_times, n_tail, n_head;
    if (read_text(name, "head", &head, &n_head))
        lm_str_add(out, head, n_head);
    assert_true(read_text(name, "template.jinja", &text, &n));
    long count = read_text(name, "repeat", &times, &n_times) ? strtol(times, NULL, 10) : 1;
    for (long i = 0; i < count; i++)
        lm_str_add(out, text, n - (count > 1 && n && text[n - 1] == '\n'));
    if (read_text(name, "tail", &tail, &n_tail))
        lm_str_add(out, tail, n_tail);
    lm_free(text);
    lm_free(times);
    lm_free(tail);
    lm_free(head);
}

static lm_status run(const char *name, lm_error *err)
{
    json_t *context = json_pack("{s:[{s:s,s:s}],s:{s:i},s:[i,i],s:b}", "messages", "role", "user", "content",
                                "hello", "d", "a", 1, "xs", 1, 2, "add_generation_prompt", 1);
    lm_str source = { 0 }, out = { 0 };
    lm_jinja *t = NULL;
    source_of(name, &source);
    lm_status s = lm_jinja_compile(&t, lm_str_z(&source), source.n, err);
    if (s == LM_OK)
        s = lm_jinja_render(t, context, NULL, &out, NULL, err);
    lm_jinja_close(t);
    lm_str_clear(&source);
    lm_str_clear(&out);
    json_decref(context);
    return s;
}

static int check(const char *name)
{
    lm_error err = { 0 };
    char got[512], *want = NULL, path[1024];
    size_t n = 0;
    clock_t begun = clock();
    lm_status s = run(name, &err);
    double seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
    int bad = s == LM_OK || seconds > 1.0;
    (void)snprintf(got, sizeof got, "%s %s\n", lm_status_name(s), err.text);
    if (getenv("LM_BLESS")) {
        (void)snprintf(path, sizeof path, "%s/%s/expect", root, name);
        assert_int_equal(lm_write_file(path, got, strlen(got), 0644, NULL), LM_OK);
    }
    bad = bad || !read_text(name, "expect", &want, &n) || strcmp(got, want) != 0;
    if (bad)
        print_message("%s: %s  expected: %s  in %.2f s\n", name, got, want ? want : "(nothing)\n", seconds);
    lm_free(want);
    return bad;
}

static void bad_templates_are_refused_as_expected(void **state)
{
    DIR *d = opendir(root);
    struct dirent *e;
    int n = 0, bad = 0;
    (void)state;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') {
            bad += check(e->d_name);
            n++;
        }
    (void)closedir(d);
    assert_int_equal(bad, 0);
    assert_true(n >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bad_templates_are_refused_as_expected) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
