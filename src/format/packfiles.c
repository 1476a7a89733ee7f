/* format/packfiles.c - which files of a folder make up a pack. */
#include "format/packfiles.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/json.h"
#include "format/limits.h"

static const char index_name[] = "model.safetensors.index.json";

static lm_status add_name(lm_folder *f, const char *name, lm_error *err)
{
    LM_TRY(lm_grow((void **)&f->names, &f->cap, f->n + 1, sizeof *f->names, err));
    LM_TRY(lm_strdup_n(name, strlen(name), &f->names[f->n], err));
    f->n++;
    return LM_OK;
}

bool lm_is_pickle(const char *name)
{
    static const char *const ends[] = { ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle" };
    for (size_t i = 0; i < LM_LEN(ends); i++)
        if (lm_ends_with(name, ends[i]))
            return true;
    return false;
}

static bool five_digits(const char *s, unsigned *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
        *out = *out * 10 + (unsigned)(s[i] - '0');
    }
    return true;
}

bool lm_split_name(const char *name, size_t *stem, unsigned *no, unsigned *of)
{
    static const char form[] = "-00000-of-00000.gguf";
    size_t n = strlen(name), m = sizeof form - 1;
    const char *tail = name + n - m;
    if (n <= m || tail[0] != '-' || strncmp(tail + 6, "-of-", 4) != 0 || strcmp(tail + 15, ".gguf") != 0)
        return false;
    *stem = n - m;
    return five_digits(tail + 1, no) && five_digits(tail + 10, of);
}

static bool in_list(const lm_folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->names[i], name) == 0)
            return true;
    return false;
}

static lm_status from_index(lm_pack_files *out, const char *folder, const lm_folder *there, lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_INDEX_BYTES,
                                    .max_values = LM_LIMIT_INDEX_VALUES,
                                    .unique_keys = true };
    json_t *index = NULL, *map, *v;
    const char *key, *last = "";
    char *path = NULL;
    lm_quoted_buf q, r;

    LM_TRY(lm_path_join(&path, folder, index_name, err));
    lm_status status = lm_pack_fault(lm_json_read(&index, path, &limits, err), err);
    lm_free(path);
    if (status != LM_OK)
        return status;
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        status = lm_fail(err, LM_ERR_CORRUPT, "%s has no weight_map", index_name);
    json_object_foreach(map, key, v)
    {
        const char *file = json_string_value(v);
        if (status != LM_OK)
            break;
        if (!file || !lm_plain_name(file) || !lm_ends_with(file, ".safetensors")) {
            status = lm_fail(err, LM_ERR_CORRUPT,
                             "%s puts '%s' into '%s', which is not a plain name of a "
                             ".safetensors file",
                             index_name, lm_quoted_z(&q, key), lm_quoted_z(&r, file ? file : ""));
            break;
        }
        if (strcmp(file, last) == 0 || in_list(&out->weights, file))
            continue; /* neighbours mostly share a file */
        if (out->weights.n >= LM_LIMIT_FILES)
            status = lm_fail(err, LM_ERR_CORRUPT, "%s names more than %d files", index_name, LM_LIMIT_FILES);
        else if (!lm_folder_has(there, file)) {
            lm_hint(err, "the pack is incomplete: fetch it again");
            status = lm_fail(err, LM_ERR_NOT_FOUND, "%s names %s, which is not there", index_name,
                             lm_quoted_z(&q, file));
        } else
            status = add_name(&out->weights, file, err);
        last = file;
    }
    json_decref(index);
    return status;
}

/* What training leaves beside the weights. */
static bool is_by_product(const char *name)
{
    static const char *const starts[] = { "grads", "training_args", "optimizer", "scheduler", "rng_state" };
    for (size_t i = 0; i < LM_LEN(starts); i++)
        if (lm_starts_with(name, starts[i]))
            return true;
    return strstr(name, "adapter") != NULL;
}

/* Every *.safetensors that begins with `start` and is no by-product. */
static lm_status by_start(lm_pack_files *out, const lm_folder *there, const char *start, lm_error *err)
{
    for (size_t i = 0; i < there->n; i++) {
        const char *name = there->names[i];
        if (lm_ends_with(name, ".safetensors") && lm_starts_with(name, start) && name[0] != '.' &&
            !is_by_product(name))
            LM_TRY(add_name(&out->weights, name, err));
    }
    return LM_OK;
}

/* "x-00002-of-00005.safetensors": the length of "x", or 0. */
static size_t shard_stem(const char *name, unsigned *of)
{
    static const char form[] = "-00000-of-00000.safetensors";
    size_t n = strlen(name), m = sizeof form - 1;
    const char *tail = name + n - m;
    unsigned no;
    if (n <= m || tail[0] != '-' || strncmp(tail + 6, "-of-", 4) != 0 ||
        strcmp(tail + 15, ".safetensors") != 0)
        return 0;
    return five_digits(tail + 1, &no) && five_digits(tail + 10, of) ? n - m : 0;
}

/* Files of no usual name are the weights when nothing else can be: one alone, or
 * the shards of one set, and no pickle beside. */
static lm_status check_guess(const lm_pack_files *f, const lm_folder *there, const char *folder,
                             lm_error *err)
{
    lm_quoted_buf q, r, s;
    const char *first = f->weights.names[0];
    unsigned of = 0, other = 0;
    size_t stem = shard_stem(first, &of);
    for (size_t i = 1; i < f->weights.n; i++) {
        const char *name = f->weights.names[i];
        if (stem && shard_stem(name, &other) == stem && other == of && strncmp(name, first, stem) == 0)
            continue;
        lm_hint(err, "the weights are called model.safetensors, or an index names them");
        return lm_fail(err, LM_ERR_CORRUPT, "%s has no model.safetensors but several others, %s and %s",
                       lm_quoted_z(&q, folder), lm_quoted_z(&r, first), lm_quoted_z(&s, name));
    }
    for (size_t i = 0; i < there->n; i++) {
        const char *name = there->names[i];
        if (!lm_is_pickle(name) || is_by_product(name))
            continue;
        lm_hint(err, "call it model.safetensors if it holds the weights");
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "%s has no model.safetensors: %s or the pickle %s may be its weights",
                       lm_quoted_z(&q, folder), lm_quoted_z(&r, first), lm_quoted_z(&s, name));
    }
    return LM_OK;
}

static lm_status find_gguf(lm_pack_files *out, const lm_folder *there, const char *folder, lm_error *err)
{
    const char *found = NULL;
    lm_quoted_buf q, r, s;
    for (size_t i = 0; i < there->n; i++) {
        const char *name = there->names[i];
        size_t stem;
        unsigned no, of;
        if (!lm_ends_with(name, ".gguf") || lm_starts_with(name, "mmproj") || name[0] == '.')
            continue;
        if (lm_split_name(name, &stem, &no, &of) && no != 1)
            continue;
        if (found)
            return lm_fail(err, LM_ERR_USAGE, "%s holds several packs, among them %s and %s: name one",
                           lm_quoted_z(&q, folder), lm_quoted_z(&r, found), lm_quoted_z(&s, name));
        found = name;
    }
    if (!found)
        return LM_OK;
    out->kind = LM_PACK_GGUF;
    return add_name(&out->weights, found, err);
}

static lm_status nothing_found(const lm_folder *there, const char *folder, lm_error *err)
{
    lm_quoted_buf q, r;
    for (size_t i = 0; i < there->n; i++) {
        const char *name = there->names[i];
        if (!lm_is_pickle(name) || is_by_product(name))
            continue;
        lm_hint(err, "look for the same model as safetensors or GGUF");
        return lm_fail(
            err, LM_ERR_UNSUPPORTED,
            "%s has its weights in a pickle, %s, which can run code: lemma reads safetensors and GGUF",
            lm_quoted_z(&q, folder), lm_quoted_z(&r, name));
    }
    return lm_fail(err, LM_ERR_NOT_FOUND, "%s has no weights: neither a .safetensors nor a .gguf file",
                   lm_quoted_z(&q, folder));
}

lm_status lm_pack_files_find(lm_pack_files *out, const char *folder, bool need_weights, lm_error *err)
{
    lm_pack_files f = { .kind = LM_PACK_SAFETENSORS };
    lm_folder there = { 0 };
    lm_status status = lm_folder_read(&there, folder, err);
    if (status != LM_OK)
        return status;
    f.has_config = lm_folder_has(&there, "config.json");
    if (lm_folder_has(&there, index_name))
        status = need_weights ? from_index(&f, folder, &there, err) : LM_OK;
    else {
        status = by_start(&f, &there, "model", err);
        if (status == LM_OK && f.weights.n == 0) {
            status = by_start(&f, &there, "", err);
            if (status == LM_OK && f.weights.n && need_weights)
                status = check_guess(&f, &there, folder, err);
        }
        if (status == LM_OK && f.weights.n == 0)
            status = find_gguf(&f, &there, folder, err);
        if (status == LM_OK && f.weights.n == 0 && need_weights)
            status = nothing_found(&there, folder, err);
    }
    lm_folder_clear(&there);
    if (status != LM_OK) {
        lm_pack_files_clear(&f);
        return status;
    }
    *out = f;
    return LM_OK;
}

void lm_pack_files_clear(lm_pack_files *f)
{
    lm_folder_clear(&f->weights);
}
