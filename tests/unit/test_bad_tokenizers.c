/* Walks tests/bad/tokenizer: every definition must be refused with the status and
 * the sentence in `expect`, or when `expect` says ok give as many ids for `text`
 * as it says; either way within a second.  LM_BLESS=1 rewrites `expect`. */
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
#include "text/tokenizer.h"

static const char root[] = LM_SOURCE_DIR "/tests/bad/tokenizer";

#define LIMIT                                                                                                \
    30.0 /* s of processor time, sanitizers and slow machines included; what it guards against takes hours */

static bool read_text(const char *name, const char *file, char **out, size_t *n)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, name, file);
    return lm_read_file(path, 1 << 20, out, n, NULL) == LM_OK;
}

/* {{N:text}} in a file is the text N times: big inputs stay small on disk. */
static void expand(const char *name, const char *file, lm_str *out)
{
    char *s = NULL, *p, *at;
    size_t n = 0;
    if (!read_text(name, file, &s, &n))
        return;
    for (p = s; (at = strstr(p, "{{")) != NULL;) {
        char *text, *end;
        long times = strtol(at + 2, &text, 10);
        if (*text != ':' || (end = strstr(text, "}}")) == NULL)
            break;
        lm_str_add(out, p, (size_t)(at - p));
        for (long i = 0; i < times; i++)
            lm_str_add(out, text + 1, (size_t)(end - text - 1));
        p = end + 2;
    }
    lm_str_addz(out, p);
    if (out->n && out->s[out->n - 1] == '\n')
        out->n--;
    lm_free(s);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void run(const char *name, lm_str *result)
{
    lm_str json = { 0 }, text = { 0 };
    lm_tokenizer *t = NULL;
    lm_ids ids = { 0 };
    lm_error err = { 0 };
    double before;
    expand(name, "tokenizer.json", &json);
    expand(name, "text", &text);
    before = seconds();
    lm_status st = lm_tokenizer_open_json(&t, lm_str_z(&json), json.n, "tokenizer.json", &err);
    if (st == LM_OK)
        st = lm_tokenizer_encode(t, lm_str_z(&text), text.n, NULL, 0, LM_TOK_POST, &ids, &err);
    if (seconds() - before > LIMIT)
        fail_msg("%s takes %.2f s, allowed are %.0f", name, seconds() - before, LIMIT);
    if (st == LM_OK)
        lm_str_addf(result, "ok %zu\n", ids.n);
    else
        lm_str_addf(result, "%d\n%s\n", (int)st, err.text);
    lm_ids_clear(&ids);
    lm_tokenizer_close(t);
    lm_str_clear(&json);
    lm_str_clear(&text);
}

static void every_bad_tokenizer_ends_as_expected(void **state)
{
    DIR *d = opendir(root);
    struct dirent *e;
    size_t n = 0;
    (void)state;
    assert_non_null(d);
    while ((e = readdir(d))) {
        lm_str have = { 0 };
        char *want = NULL;
        size_t n_want = 0;
        if (e->d_name[0] == '.')
            continue;
        run(e->d_name, &have);
        if (getenv("LM_BLESS")) {
            char path[1024];
            (void)snprintf(path, sizeof path, "%s/%s/expect", root, e->d_name);
            assert_int_equal(lm_write_file(path, lm_str_z(&have), have.n, 0644, NULL), LM_OK);
        }
        assert_true(read_text(e->d_name, "expect", &want, &n_want));
        if (strcmp(want, lm_str_z(&have)) != 0)
            fail_msg("%s:\nhave %swant %s", e->d_name, lm_str_z(&have), want);
        lm_free(want);
        lm_str_clear(&have);
        n++;
    }
    (void)closedir(d);
    assert_true(n >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bad_tokenizer_ends_as_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
