/* Walks tests/bad/pack: every recipe becomes a pack that must be refused with
 * the status and the words in `expect`, quickly and in little memory. */
#define _GNU_SOURCE
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/pack.h"

static const char root[] = LM_SOURCE_DIR "/tests/bad/pack";

enum { MAX_SECONDS = 1, MAX_KIB = 96 * 1024 };

typedef struct {
    char dir[64];
    char file[256], open[256]; /* names inside dir */
    lm_str bytes;
} maker;

static void bad_recipe(const char *line)
{
    fail_msg("cannot read the line '%s'", line);
}

/* "12", "2^63", "2^20+1", "2^64-1" */
static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 10);
    if (*end == '^') {
        unsigned power = (unsigned)strtoul(end + 1, &end, 10);
        n = power < 64 ? UINT64_C(1) << power : 0;
    }
    if (*end == '+' || *end == '-')
        n = *end == '+' ? n + strtoull(end + 1, &end, 10) : n - strtoull(end + 1, &end, 10);
    if (*end)
        bad_recipe(s);
    return n;
}

static void put(maker *m, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        lm_str_addc(&m->bytes, (char)(v >> (8 * i)));
}

static void path_of(const maker *m, const char *name, char out[512])
{
    (void)snprintf(out, 512, "%s/%s", m->dir, name);
}

static void finish_file(maker *m)
{
    char path[512];
    if (!*m->file)
        return;
    path_of(m, m->file, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(lm_str_z(&m->bytes), 1, m->bytes.n, f), m->bytes.n);
    (void)fclose(f);
    m->file[0] = 0;
    lm_str_clear(&m->bytes);
}

static void copy_data(maker *m, const char *name, const char *limit)
{
    char path[512];
    char *text = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/%s", LM_TEST_DATA, name);
    assert_int_equal(lm_read_file(path, 1 << 24, &text, &n, NULL), LM_OK);
    lm_str_add(&m->bytes, text, limit ? LM_MIN(n, (size_t)number(limit)) : n);
    lm_free(text);
}

/* Directives whose words are numbers or names; false: not one of them. */
static bool words(maker *m, char *line)
{
    char *save = NULL, path[512], *w[12] = { 0 };
    size_t n = 0;
    static const struct {
        const char *name;
        int bytes;
    } widths[] = { { "u8", 1 }, { "u16", 2 }, { "u32", 4 }, { "u64", 8 } };

    for (char *p = strtok_r(line, " ", &save); p && n < LM_LEN(w); p = strtok_r(NULL, " ", &save))
        w[n++] = p;
    for (size_t k = 0; k < LM_LEN(widths); k++)
        if (strcmp(w[0], widths[k].name) == 0) {
            for (size_t i = 1; i < n; i++)
                put(m, number(w[i]), widths[k].bytes);
            return true;
        }
    if (strcmp(w[0], "f32") == 0 && n == 2) {
        float x = strtof(w[1], NULL);
        lm_str_add(&m->bytes, (const char *)&x, sizeof x);
    } else if (strcmp(w[0], "hex") == 0) {
        for (size_t i = 1; i < n; i++)
            lm_str_addc(&m->bytes, (char)strtoul(w[i], NULL, 16));
    } else if (strcmp(w[0], "zero") == 0 && n == 2) {
        for (uint64_t i = number(w[1]); i; i--)
            lm_str_addc(&m->bytes, 0);
    } else if (strcmp(w[0], "pad") == 0 && n == 2) {
        while (m->bytes.n % number(w[1]))
            lm_str_addc(&m->bytes, 0);
    } else if (strcmp(w[0], "gguf") == 0 && n == 4) {
        lm_str_addz(&m->bytes, "GGUF");
        put(m, number(w[1]), 4);
        put(m, number(w[2]), 8);
        put(m, number(w[3]), 8);
    } else if (strcmp(w[0], "tensor") == 0 && n >= 4) {
        put(m, strlen(w[1]), 8);
        lm_str_addz(&m->bytes, w[1]);
        put(m, n - 4, 4);
        for (size_t i = 4; i < n; i++)
            put(m, number(w[i]), 8);
        put(m, number(w[2]), 4);
        put(m, number(w[3]), 8);
    } else if (strcmp(w[0], "copy") == 0 && n >= 2) {
        copy_data(m, w[1], w[2]);
    } else if (strcmp(w[0], "flip") == 0 && n == 3 && number(w[1]) < m->bytes.n) {
        m->bytes.s[number(w[1])] = (char)number(w[2]);
    } else if (strcmp(w[0], "folder") == 0 && n == 2) {
        path_of(m, w[1], path);
        assert_int_equal(mkdir(path, 0700), 0);
    } else if (strcmp(w[0], "fifo") == 0 && n == 2) {
        path_of(m, w[1], path);
        assert_int_equal(mkfifo(path, 0600), 0);
    } else if (strcmp(w[0], "link") == 0 && n == 3) {
        path_of(m, w[1], path);
        assert_int_equal(symlink(w[2], path), 0);
    } else {
        return false;
    }
    return true;
}

static void directive(maker *m, const char *line)
{
    char copy[4096];
    if (strncmp(line, "file ", 5) == 0) {
        finish_file(m);
        (void)snprintf(m->file, sizeof m->file, "%s", line + 5);
    } else if (strncmp(line, "open ", 5) == 0) {
        (void)snprintf(m->open, sizeof m->open, "%s", line + 5);
    } else if (strncmp(line, "text ", 5) == 0) {
        lm_str_addz(&m->bytes, line + 5);
    } else if (strncmp(line, "str ", 4) == 0) {
        put(m, strlen(line + 4), 8);
        lm_str_addz(&m->bytes, line + 4);
    } else if (strncmp(line, "header ", 7) == 0) {
        put(m, strlen(line + 7), 8);
        lm_str_addz(&m->bytes, line + 7);
    } else if (strncmp(line, "repeat ", 7) == 0) {
        char *rest = NULL;
        for (unsigned long n = strtoul(line + 7, &rest, 10); n && *rest == ' '; n--)
            directive(m, rest + 1);
    } else {
        (void)snprintf(copy, sizeof copy, "%s", line);
        if (!words(m, copy))
            bad_recipe(line);
    }
}

static void follow(maker *m, char *recipe)
{
    char *save = NULL;
    for (char *line = strtok_r(recipe, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (line[0] != '#')
            directive(m, line);
    finish_file(m);
}

static int take_away(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static long peak_kib(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The message with $DIR in place of the temporary folder. */
static void without_dir(lm_str *out, const char *text, const char *dir)
{
    for (const char *at; (at = strstr(text, dir)); text = at + strlen(dir)) {
        lm_str_add(out, text, (size_t)(at - text));
        lm_str_addz(out, "$DIR");
    }
    lm_str_addz(out, text);
}

static void one(const char *name, bool bless)
{
    maker m = { .dir = "/tmp/lemma-bad-XXXXXX" };
    char path[512], *recipe = NULL, *expect = NULL;
    size_t n = 0;
    lm_packfile *p = NULL;
    lm_error err = { 0 };
    lm_str got = { 0 };

    (void)snprintf(path, sizeof path, "%s/%s/recipe", root, name);
    assert_int_equal(lm_read_file(path, 1 << 20, &recipe, &n, NULL), LM_OK);
    assert_non_null(mkdtemp(m.dir));
    follow(&m, recipe);
    path_of(&m, m.open, path);
    if (!*m.open)
        path[strlen(path) - 1] = 0;

    long kib = peak_kib();
    double start = now();
    lm_status status = lm_packfile_open(&p, path, true, &err);
    double seconds = now() - start;
    kib = peak_kib() - kib;
    lm_packfile_close(p);
    lm_str_addf(&got, "%s\n", lm_status_name(status));
    without_dir(&got, err.text, m.dir);
    lm_str_addc(&got, '\n');
    if (*err.hint)
        lm_str_addf(&got, "hint: %s\n", err.hint);

    (void)snprintf(path, sizeof path, "%s/%s/expect", root, name);
    if (bless) {
        assert_int_equal(lm_write_file(path, lm_str_z(&got), got.n, 0644, NULL), LM_OK);
    } else {
        if (lm_read_file(path, 4096, &expect, &n, NULL) != LM_OK)
            fail_msg("%s has no expect; it says:\n%s", name, lm_str_z(&got));
        if (strcmp(expect, lm_str_z(&got)) != 0)
            fail_msg("%s: expected\n%sgot\n%s", name, expect, lm_str_z(&got));
    }
    if (status == LM_OK || status != err.status)
        fail_msg("%s was opened", name);
    if (seconds > MAX_SECONDS || kib > MAX_KIB)
        fail_msg("%s took %.2f s and %ld KiB", name, seconds, kib);
    lm_free(recipe);
    lm_free(expect);
    lm_str_clear(&got);
    (void)nftw(m.dir, take_away, 8, FTW_DEPTH | FTW_PHYS);
}

static void every_bad_pack_is_refused_in_its_own_words(void **state)
{
    lm_folder f = { 0 };
    bool bless = getenv("LM_BLESS") != NULL;
    (void)state;
    assert_int_equal(lm_folder_read(&f, root, NULL), LM_OK);
    for (size_t i = 0; i < f.n; i++)
        one(f.names[i], bless);
    print_message("%zu bad packs\n", f.n);
    assert_true(f.n >= 80); /* a lost folder is no passed test */
    lm_folder_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_bad_pack_is_refused_in_its_own_words) };
    return cmocka_run_group_tests_name("bad packs", tests, NULL, NULL);
}
