/* Walks tests/bad/interchange: every input must be refused with the status and the sentence
 * in `expect`.  LM_BLESS=1 rewrites them. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "lemma/interchange.h"
#include "support/tempdir.h"

static const char root[] = LM_SOURCE_DIR "/tests/bad/interchange";

/* The kind is in the name's end; a copy is opened, since a log is opened for writing too. */
static lm_status open_input(const char *name, const char *file, const lm_tempdir *dir, lm_error *err)
{
    char path[1024], from[1024], *text = NULL;
    size_t n = 0;
    lm_snapshot *s = NULL;
    lm_chunks *c = NULL;
    lm_blocks *b = NULL;
    lm_prefix_map *m = NULL;
    const char *ext = strrchr(file, '.') + 1;
    (void)snprintf(from, sizeof from, "%s/%s/%s", root, name, file);
    assert_int_equal(lm_read_file(from, 1 << 24, &text, &n, NULL), LM_OK);
    lm_tempdir_write(dir, "input", text, n);
    (void)lm_tempdir_path(dir, "input", path);
    lm_status st = LM_ERR_INTERNAL;
    if (strcmp(ext, "mlxkv") == 0)
        st = lm_snapshot_read(&s, path, 0, err);
    else if (strcmp(ext, "mvlog") == 0) {
        st = lm_chunks_open_log(&c, path, 0, NULL);
        assert_int_equal(st, lm_chunks_open_log(&c, path, LM_LOG_READ_ONLY, err));
    } else if (strcmp(ext, "kv") == 0)
        st = lm_container_open(&c, path, NULL, err);
    else if (strcmp(ext, "bundle") == 0)
        st = lm_blocks_parse(text, n, &b, err);
    else if (strcmp(ext, "index") == 0)
        st = lm_prefix_map_parse(text, n, &m, err);
    else if (strcmp(ext, "state") == 0)
        st = lm_state_bundle_load(text, n, dir->path, NULL, &s, err);
    lm_free(text);
    return st;
}

static void every_bad_input_is_refused_by_name(void **state)
{
    (void)state;
    lm_tempdir dir = lm_tempdir_make();
    DIR *d = opendir(root);
    struct dirent *e;
    int n = 0, bad = 0;
    assert_non_null(d);
    while ((e = readdir(d))) {
        char path[1024], file[300] = "", got[1024], *want = NULL, *at;
        size_t n_want = 0;
        lm_error err = { 0 };
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%.200s", root, e->d_name);
        DIR *in = opendir(path);
        assert_non_null(in);
        for (struct dirent *f; (f = readdir(in));)
            if (strncmp(f->d_name, "input.", 6) == 0)
                (void)snprintf(file, sizeof file, "%.255s", f->d_name);
        (void)closedir(in);
        lm_status st = open_input(e->d_name, file, &dir, &err);
        (void)snprintf(got, sizeof got, "%s\n%s\n", lm_status_name(st), err.text);
        while ((at = strstr(got, dir.path))) {
            memmove(at + 4, at + strlen(dir.path), strlen(at + strlen(dir.path)) + 1);
            memcpy(at, "$DIR", 4);
        }
        (void)snprintf(path, sizeof path, "%s/%.200s/expect", root, e->d_name);
        if (getenv("LM_BLESS"))
            assert_int_equal(lm_write_file(path, got, strlen(got), 0644, NULL), LM_OK);
        else if (lm_read_file(path, 4096, &want, &n_want, NULL) != LM_OK || strcmp(want, got) != 0) {
            print_error("%s: got\n%swant\n%s", e->d_name, got, want ? want : "");
            bad++;
        }
        if (st == LM_OK || err.text[0] == 0) {
            print_error("%s is accepted, or refused without a word\n", e->d_name);
            bad++;
        }
        lm_free(want);
        n++;
    }
    (void)closedir(d);
    lm_tempdir_remove(&dir);
    assert_int_equal(bad, 0);
    assert_true(n >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_bad_input_is_refused_by_name) };
    return cmocka_run_group_tests_name("bad/interchange", tests, NULL, NULL);
}
