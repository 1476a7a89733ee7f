/* support/tempdir.c */
#define _GNU_SOURCE
#include "support/tempdir.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

lm_tempdir lm_tempdir_make(void)
{
    lm_tempdir d = { "/tmp/lemma-test-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    return d;
}

static int take_away(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void lm_tempdir_remove(const lm_tempdir *d)
{
    (void)nftw(d->path, take_away, 16, FTW_DEPTH | FTW_PHYS);
}

const char *lm_tempdir_path(const lm_tempdir *d, const char *name, char out[1024])
{
    (void)snprintf(out, 1024, "%s/%s", d->path, name);
    for (char *p = out + strlen(d->path) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        (void)mkdir(out, 0700);
        *p = '/';
    }
    return out;
}

void lm_tempdir_write(const lm_tempdir *d, const char *name, const void *bytes, size_t n)
{
    char path[1024];
    FILE *f = fopen(lm_tempdir_path(d, name, path), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    (void)fclose(f);
}

void lm_tempdir_text(const lm_tempdir *d, const char *name, const char *text)
{
    lm_tempdir_write(d, name, text, strlen(text));
}

void lm_tempdir_copy(const lm_tempdir *d, const char *name, const char *from)
{
    char *bytes = NULL;
    size_t n = 0;
    assert_int_equal(lm_read_file(from, 1u << 26, &bytes, &n, NULL), LM_OK);
    lm_tempdir_write(d, name, bytes, n);
    lm_free(bytes);
}

void lm_tempdir_safetensors(const lm_tempdir *d, const char *name, const char *header, size_t n_zero)
{
    lm_str s = { 0 };
    uint64_t n = strlen(header);
    lm_str_add(&s, (const char *)&n, sizeof n);
    lm_str_addz(&s, header);
    for (size_t i = 0; i < n_zero; i++)
        lm_str_addc(&s, 0);
    lm_tempdir_write(d, name, s.s, s.n);
    lm_str_clear(&s);
}
