/* format/folder.c - folders and paths. */
#include "format/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/limits.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static lm_status add(lm_folder *f, const char *name, lm_error *err)
{
    LM_TRY(lm_grow((void **)&f->names, &f->cap, f->n + 1, sizeof *f->names, err));
    LM_TRY(lm_strdup_n(name, strlen(name), &f->names[f->n], err));
    f->n++;
    return LM_OK;
}

lm_status lm_folder_read(lm_folder *out, const char *path, lm_error *err)
{
    lm_folder f = { 0 };
    lm_status status = LM_OK;
    lm_quoted_buf q;
    struct dirent *e;
    DIR *d = opendir(path);
    if (!d) {
        int why = errno;
        return lm_fail(err, why == ENOENT || why == ENOTDIR ? LM_ERR_NOT_FOUND : LM_ERR_IO,
                       "cannot open the folder %s: %s", lm_quoted_z(&q, path), strerror(why));
    }
    while (status == LM_OK && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (f.n >= LM_LIMIT_FOLDER)
            status = lm_fail(err, LM_ERR_UNSUPPORTED, "the folder %s holds more than %d files",
                             lm_quoted_z(&q, path), LM_LIMIT_FOLDER);
        else
            status = add(&f, e->d_name, err);
    }
    (void)closedir(d);
    if (status != LM_OK) {
        lm_folder_clear(&f);
        return status;
    }
    if (f.n)
        qsort(f.names, f.n, sizeof *f.names, by_name);
    *out = f;
    return LM_OK;
}

void lm_folder_clear(lm_folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        lm_free(f->names[i]);
    lm_free(f->names);
    *f = (lm_folder){ 0 };
}

bool lm_folder_has(const lm_folder *f, const char *name)
{
    char *key = (char *)(uintptr_t)name; /* bsearch compares, it does not write */
    return f->n && bsearch(&key, f->names, f->n, sizeof *f->names, by_name) != NULL;
}

bool lm_plain_name(const char *name)
{
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strlen(name) > 255)
        return false;
    for (const char *p = name; *p; p++)
        if (*p == '/' || (unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return true;
}

bool lm_ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

bool lm_starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

lm_status lm_path_join(char **out, const char *a, const char *b, lm_error *err)
{
    lm_str s = { 0 };
    lm_str_addz(&s, a);
    if (!lm_ends_with(a, "/"))
        lm_str_addc(&s, '/');
    lm_str_addz(&s, b);
    lm_status status = lm_str_take(&s, out, NULL, err);
    lm_str_clear(&s);
    return status;
}

lm_status lm_path_absolute(char **out, const char *path, lm_error *err)
{
    char here[4096];
    if (path[0] == '/')
        return lm_strdup_n(path, strlen(path), out, err);
    if (!getcwd(here, sizeof here))
        return lm_fail(err, LM_ERR_IO, "cannot tell the current folder: %s", strerror(errno));
    while (lm_starts_with(path, "./"))
        path += 2;
    if (!*path || strcmp(path, ".") == 0)
        return lm_strdup_n(here, strlen(here), out, err);
    return lm_path_join(out, here, path, err);
}

lm_path_kind lm_path_kind_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return LM_PATH_NONE;
    return S_ISREG(st.st_mode) ? LM_PATH_FILE : S_ISDIR(st.st_mode) ? LM_PATH_FOLDER : LM_PATH_OTHER;
}
