/* format/packfile.c - opening a pack: which files, in what order, and their tensors. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/gguf.h"
#include "format/ggufconfig.h"
#include "format/json.h"
#include "format/limits.h"
#include "format/mlxpack.h"
#include "format/pack.h"
#include "format/packconfig.h"
#include "format/packfiles.h"
#include "format/safetensors.h"

struct lm_packfile {
    lm_pack_kind kind;
    char *path; /* absolute */
    json_t *config;
    lm_gguf *gguf;
    lm_map **maps;
    size_t n_maps, cap_maps;
    lm_tensors tensors;
    size_t n_inferred;
};

lm_status lm_pack_fault(lm_status status, lm_error *err)
{
    if (status != LM_ERR_USAGE && status != LM_ERR_NOT_FOUND)
        return status;
    if (err && err->status == status)
        err->status = LM_ERR_CORRUPT;
    return LM_ERR_CORRUPT;
}

/* The same where a file that is missing keeps its own status. */
static lm_status kind_fault(lm_status status, lm_error *err)
{
    return status == LM_ERR_USAGE ? lm_pack_fault(status, err) : status;
}

static lm_status map_file(lm_packfile *p, const char *path, const lm_map **out, lm_error *err)
{
    lm_map *m = NULL;
    if (p->n_maps >= LM_LIMIT_FILES)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the pack has more than %d files", LM_LIMIT_FILES);
    LM_TRY(lm_grow((void **)&p->maps, &p->cap_maps, p->n_maps + 1, sizeof *p->maps, err));
    LM_TRY(lm_map_open(&m, path, err));
    p->maps[p->n_maps++] = m;
    *out = m;
    return LM_OK;
}

/* What a parser says is about the file: its name goes in front. */
static lm_status in_file(lm_status status, const char *path, lm_error *err)
{
    lm_quoted_buf q;
    return lm_wrap(err, status, "%s", lm_quoted_z(&q, lm_base_name(path)));
}

static lm_status open_safetensors(lm_packfile *p, const char *name, lm_error *err)
{
    char *path = NULL;
    const lm_map *m = NULL;
    LM_TRY(lm_path_join(&path, p->path, name, err));
    lm_status status = kind_fault(map_file(p, path, &m, err), err);
    if (status == LM_OK)
        status =
            in_file(lm_safetensors_parse(lm_map_data(m), lm_map_size(m), m, &p->tensors, err), path, err);
    lm_free(path);
    return status;
}

/* One file of a split .gguf: its number and the whole count must be those of
 * its name. */
static lm_status check_split(const lm_gguf *g, uint64_t i, uint64_t count, lm_error *err)
{
    uint64_t no = 0, n = 1;
    bool has = lm_gguf_u64(g, "split.count", &n);
    (void)lm_gguf_u64(g, "split.no", &no);
    if (!has || n != count || no != i)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "this is part %" PRIu64 " of %" PRIu64 ", expected part %" PRIu64 " of %" PRIu64,
                       no + 1, n, i + 1, count);
    return LM_OK;
}

static lm_status open_parts(lm_packfile *p, uint64_t count, lm_error *err)
{
    lm_quoted_buf q;
    unsigned no = 0, of = 0;
    size_t stem = 0;
    uint64_t claimed;
    lm_status status = LM_OK;

    if (count > LM_LIMIT_FILES)
        return lm_fail(err, LM_ERR_CORRUPT, "split.count is %" PRIu64 ", allowed are %d", count,
                       LM_LIMIT_FILES);
    if (!lm_split_name(lm_base_name(p->path), &stem, &no, &of) || of != count)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "the file is one of %" PRIu64 " parts, so its name must end in "
                       "-00001-of-%05" PRIu64 ".gguf",
                       count, count);
    if (no != 1) {
        lm_hint(err, "name the first part, the one with -00001-of-");
        return lm_fail(err, LM_ERR_USAGE, "%s is part %u of a split pack",
                       lm_quoted_z(&q, lm_base_name(p->path)), no);
    }
    LM_TRY(check_split(p->gguf, 0, count, err));
    stem += (size_t)(lm_base_name(p->path) - p->path);
    for (uint64_t i = 1; i < count && status == LM_OK; i++) {
        lm_str path = { 0 };
        lm_gguf *g = NULL;
        const lm_map *m = NULL;
        lm_str_add(&path, p->path, stem);
        lm_str_addf(&path, "-%05" PRIu64 "-of-%05" PRIu64 ".gguf", i + 1, count);
        status = lm_str_status(&path, err);
        if (status == LM_OK)
            status = kind_fault(map_file(p, lm_str_z(&path), &m, err), err);
        if (status == LM_OK) {
            status = lm_gguf_parse(&g, lm_map_data(m), lm_map_size(m), err);
            if (status == LM_OK)
                status = check_split(g, i, count, err);
            if (status == LM_OK)
                status = lm_gguf_place(g, m, &p->tensors, err);
            (void)in_file(status, lm_str_z(&path), err);
        }
        lm_gguf_close(g);
        lm_str_clear(&path);
    }
    if (status == LM_OK && lm_gguf_u64(p->gguf, "split.tensors.count", &claimed) && claimed != p->tensors.n)
        return lm_fail(err, LM_ERR_CORRUPT, "split.tensors.count is %" PRIu64 ", the parts have %zu tensors",
                       claimed, p->tensors.n);
    return status;
}

/* p->path is the (first) file. */
static lm_status open_gguf(lm_packfile *p, bool with_weights, lm_error *err)
{
    const lm_map *m = NULL;
    uint64_t count = 1;
    p->kind = LM_PACK_GGUF;
    LM_TRY(map_file(p, p->path, &m, err));
    if (!lm_ends_with(p->path, ".gguf") && (lm_map_size(m) < 4 || memcmp(lm_map_data(m), "GGUF", 4) != 0)) {
        lm_quoted_buf q;
        if (lm_ends_with(p->path, ".json"))
            lm_hint(err, "a pack in a folder is named by the folder");
        return lm_fail(err, LM_ERR_CORRUPT,
                       "%s is no pack: neither a folder with config.json and weights nor a GGUF file",
                       lm_quoted_z(&q, lm_base_name(p->path)));
    }
    LM_TRY(in_file(lm_gguf_parse(&p->gguf, lm_map_data(m), lm_map_size(m), err), p->path, err));
    LM_TRY(lm_gguf_config(p->gguf, &p->config, err));
    if (!with_weights)
        return LM_OK;
    LM_TRY(in_file(lm_gguf_place(p->gguf, m, &p->tensors, err), p->path, err));
    (void)lm_gguf_u64(p->gguf, "split.count", &count);
    if (count > 1)
        LM_TRY(open_parts(p, count, err));
    return lm_tensors_sort(&p->tensors, err);
}

static lm_status read_config(lm_packfile *p, const lm_pack_files *files, bool with_weights, lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_CONFIG_BYTES,
                                    .max_values = LM_LIMIT_CONFIG_VALUES };
    char *path = NULL;
    lm_quoted_buf q;
    if (!files->has_config) {
        if (with_weights)
            return lm_fail(err, LM_ERR_NOT_FOUND, "%s has weights but no config.json",
                           lm_quoted_z(&q, p->path));
        p->config = json_object();
        return p->config ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for a configuration");
    }
    LM_TRY(lm_path_join(&path, p->path, "config.json", err));
    lm_status status = lm_pack_fault(lm_json_read(&p->config, path, &limits, err), err);
    lm_free(path);
    if (status == LM_OK && !json_is_object(p->config))
        return lm_fail(err, LM_ERR_CORRUPT, "config.json is no JSON object");
    return status == LM_OK && with_weights ? lm_pack_check_config(p->config, err) : status;
}

static lm_status open_folder(lm_packfile *p, bool with_weights, lm_error *err)
{
    lm_pack_files files = { 0 };
    char *path = NULL;
    lm_status status = lm_pack_files_find(&files, p->path, with_weights, err);
    if (status == LM_OK && files.kind == LM_PACK_GGUF) {
        status = lm_path_join(&path, p->path, files.weights.names[0], err);
        lm_pack_files_clear(&files);
        if (status != LM_OK)
            return status;
        lm_free(p->path);
        p->path = path;
        return kind_fault(open_gguf(p, with_weights, err), err);
    }
    if (status == LM_OK)
        status = read_config(p, &files, with_weights, err);
    for (size_t i = 0; status == LM_OK && with_weights && i < files.weights.n; i++)
        status = open_safetensors(p, files.weights.names[i], err);
    if (status == LM_OK)
        status = lm_tensors_sort(&p->tensors, err);
    if (status == LM_OK)
        status = lm_mlx_merge(&p->tensors, p->config, &p->n_inferred, err);
    if (status == LM_OK && with_weights)
        status = lm_pack_check_method(p->config, &p->tensors, err);
    lm_pack_files_clear(&files);
    return status;
}

lm_status lm_packfile_open(lm_packfile **out, const char *path, bool with_weights, lm_error *err)
{
    lm_packfile *p = NULL;
    lm_quoted_buf q;
    lm_status status;
    LM_TRY(LM_NEW(&p, 1, err));
    status = lm_path_absolute(&p->path, path, err);
    if (status == LM_OK && lm_path_kind_of(p->path) == LM_PATH_FOLDER) {
        status = open_folder(p, with_weights, err);
    } else if (status == LM_OK) {
        if (lm_is_pickle(path)) {
            lm_hint(err, "look for the same model as safetensors or GGUF");
            status = lm_fail(err, LM_ERR_UNSUPPORTED,
                             "%s is a pickle, which can run code: lemma reads safetensors and GGUF",
                             lm_quoted_z(&q, lm_base_name(path)));
        } else if (lm_ends_with(path, ".safetensors")) {
            status = lm_fail(err, LM_ERR_USAGE, "%s is one file of a pack: name the folder that holds it",
                             lm_quoted_z(&q, lm_base_name(path)));
        } else {
            status = open_gguf(p, with_weights, err);
        }
    }
    if (status != LM_OK) {
        lm_packfile_close(p);
        return status;
    }
    *out = p;
    return LM_OK;
}

void lm_packfile_close(lm_packfile *p)
{
    if (!p)
        return;
    lm_tensors_clear(&p->tensors);
    lm_gguf_close(p->gguf);
    for (size_t i = 0; i < p->n_maps; i++)
        lm_map_close(p->maps[i]);
    lm_free(p->maps);
    json_decref(p->config);
    lm_free(p->path);
    lm_free(p);
}

lm_pack_kind lm_packfile_kind(const lm_packfile *p)
{
    return p->kind;
}

const char *lm_packfile_path(const lm_packfile *p)
{
    return p->path;
}

const json_t *lm_packfile_config(const lm_packfile *p)
{
    return p->config;
}

const lm_gguf *lm_packfile_gguf(const lm_packfile *p)
{
    return p->gguf;
}

const char *lm_packfile_file(const lm_packfile *p, const char *name, char *buf, size_t cap)
{
    struct stat st;
    int n = snprintf(buf, cap, "%s/%s", p->path, name);
    /* lstat: a link that leads nowhere is a broken pack, not a missing file. */
    if (p->kind != LM_PACK_SAFETENSORS || !lm_plain_name(name) || n < 0 || (size_t)n >= cap ||
        lstat(buf, &st) != 0)
        buf[0] = 0;
    return buf;
}

lm_status lm_packfile_json(const lm_packfile *p, const char *name, size_t max_bytes, json_t **out,
                           lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = max_bytes };
    char path[4096];
    *out = NULL;
    if (!*lm_packfile_file(p, name, path, sizeof path))
        return LM_OK;
    return lm_pack_fault(lm_json_read(out, path, &limits, err), err);
}

size_t lm_packfile_n_tensors(const lm_packfile *p)
{
    return p->tensors.n;
}

const lm_tensor *lm_packfile_tensor(const lm_packfile *p, size_t i)
{
    return i < p->tensors.n ? &p->tensors.items[i] : NULL;
}

const lm_tensor *lm_packfile_find(const lm_packfile *p, const char *name)
{
    return lm_tensors_find(&p->tensors, name);
}

uint64_t lm_packfile_weight_bytes(const lm_packfile *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_maps; i++)
        sum += lm_map_size(p->maps[i]);
    return sum;
}

size_t lm_packfile_n_maps(const lm_packfile *p)
{
    return p->n_maps;
}

const lm_map *lm_packfile_map(const lm_packfile *p, size_t i)
{
    return i < p->n_maps ? p->maps[i] : NULL;
}

size_t lm_packfile_n_inferred(const lm_packfile *p)
{
    return p->n_inferred;
}
