/* tools/packs.c - the public calls about packs (lemma/pack.h), as JSON texts. */
#define _GNU_SOURCE /* O_CLOEXEC */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"
#include "format/npy.h"
#include "format/pack.h"
#include "format/packstore.h"
#include "lemma/pack.h"
#include "lemma/tools.h"
#include "tools/packcheck.h"

static int add_text(const char *bytes, size_t n, void *user)
{
    lm_str *b = user;
    lm_str_add(b, bytes, n);
    return b->failed ? -1 : 0;
}

/* Takes `j` and gives its text, so that callers free one kind of memory only. */
static lm_status give_json(json_t *j, char **out, lm_error *err)
{
    lm_str b = { 0 };
    int bad = json_dump_callback(j, add_text, &b, JSON_INDENT(2));
    lm_status s =
        bad ? lm_fail(err, LM_ERR_NOMEM, "no memory for the report") : lm_str_take(&b, out, NULL, err);
    json_decref(j);
    lm_str_clear(&b);
    return s;
}

lm_status lm_pack_resolve(const char *pack, char **path, lm_error *err)
{
    return lm_pack_find(path, pack, err);
}

lm_status lm_packs_list(const char *dir, char **json, lm_error *err)
{
    lm_pack_list list = { 0 };
    lm_status s = lm_pack_list_read(&list, dir, err);
    json_t *a = s == LM_OK ? json_array() : NULL;
    for (size_t i = 0; a && i < list.n; i++) {
        const lm_pack_item *it = &list.items[i];
        (void)json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", it->name, "path",
                                                 it->path, "kind", it->kind, "place", it->place, "bytes",
                                                 (json_int_t)it->n_bytes));
    }
    lm_pack_list_clear(&list);
    if (s != LM_OK)
        return s;
    return a ? give_json(a, json, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the list");
}

static lm_status report(const char *pack, const lm_packcheck_options *o, char **json, lm_error *err)
{
    char *path = NULL;
    json_t *j = NULL;
    LM_TRY(lm_pack_find(&path, pack, err));
    lm_status s = lm_packcheck(&j, path, o, err);
    lm_free(path);
    return s == LM_OK ? give_json(j, json, err) : s;
}

lm_status lm_pack_inspect(const char *pack, char **json, lm_error *err)
{
    lm_packcheck_options o = { .list_tensors = true };
    return report(pack, &o, json, err);
}

lm_status lm_pack_check(const char *pack, bool weights, char **json, lm_error *err)
{
    lm_packcheck_options o = { .bind = true, .scan = weights };
    return report(pack, &o, json, err);
}

/* Bytes of files that this process has mapped in pages of 2 MiB; false: unknown. */
static bool large_mapped(uint64_t *bytes)
{
    static const char field[] = "FilePmdMapped:";
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool known = false;
    *bytes = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, sizeof field - 1) == 0) {
            *bytes += strtoull(line + sizeof field - 1, NULL, 10) << 10;
            known = true;
        }
    if (f)
        (void)fclose(f);
    return known;
}

lm_status lm_pack_warm(const char *pack, char **json, lm_error *err)
{
    char *path = NULL;
    lm_packfile *p = NULL;
    uint64_t before = 0, after = 0, bytes = 0, began = lm_now_ns();
    bool known = large_mapped(&before);
    LM_TRY(lm_pack_find(&path, pack, err));
    lm_status s = lm_packfile_open(&p, path, true, err);
    lm_free(path);
    for (size_t i = 0; s == LM_OK && i < lm_packfile_n_maps(p); i++) {
        const lm_map *m = lm_packfile_map(p, i);
        int fd = open(lm_map_path(m), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd >= 0) {
            lm_map_reread(m, fd);
            (void)close(fd);
        }
        bytes += lm_map_size(m);
        s = lm_map_check(m, err);
    }
    known = known && large_mapped(&after);
    lm_packfile_close(p);
    if (s != LM_OK)
        return s;
    json_t *large = known ? json_integer((json_int_t)(after > before ? after - before : 0)) : json_null();
    json_t *j = json_pack("{s:I, s:o, s:f}", "bytes", (json_int_t)bytes, "large_bytes", large, "seconds",
                          (double)(lm_now_ns() - began) / 1e9);
    return j ? give_json(j, json, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the report");
}

lm_status lm_write_npy(const char *path, const float *data, size_t rows, size_t cols, lm_error *err)
{
    uint64_t dims[2] = { rows, cols };
    return lm_npy_write(path, data, 2, dims, err);
}
