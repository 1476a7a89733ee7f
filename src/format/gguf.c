/* format/gguf.c - parsing metadata and tensor declarations of a .gguf file. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/limits.h"

struct lm_gguf {
    const uint8_t *bytes;
    uint64_t size;
    uint32_t version;
    uint64_t align, data_at;
    lm_gguf_value *values;
    size_t n_values, cap_values;
    const lm_gguf_value **by_key;
    lm_gguf_decl *decls;
    size_t n_decls, cap_decls;
};

/* Where the parser stands. */
typedef struct {
    const uint8_t *bytes;
    uint64_t size, at;
    lm_error *err;
} cursor;

static const uint8_t type_bytes[LM_GGUF_TYPES] = {
    [LM_GGUF_U8] = 1,  [LM_GGUF_I8] = 1,  [LM_GGUF_U16] = 2, [LM_GGUF_I16] = 2,
    [LM_GGUF_U32] = 4, [LM_GGUF_I32] = 4, [LM_GGUF_F32] = 4, [LM_GGUF_BOOL] = 1,
    [LM_GGUF_U64] = 8, [LM_GGUF_I64] = 8, [LM_GGUF_F64] = 8,
};

static lm_status cut(cursor *c, const char *what, uint64_t need)
{
    lm_hint(c->err, "the file is incomplete: fetch it again");
    return lm_fail_at(c->err, LM_ERR_TRUNCATED, c->at,
                      "%s needs %" PRIu64 " bytes at byte %" PRIu64 ", the file has %" PRIu64, what, need,
                      c->at, c->size);
}

static lm_status take(cursor *c, uint64_t n, const char *what, const uint8_t **out)
{
    if (!lm_inside(c->at, n, c->size))
        return cut(c, what, n);
    *out = c->bytes + c->at;
    c->at += n;
    return LM_OK;
}

static lm_status take_u32(cursor *c, const char *what, uint32_t *out)
{
    const uint8_t *p = NULL;
    LM_TRY(take(c, 4, what, &p));
    *out = lm_u32le(p);
    return LM_OK;
}

static lm_status take_u64(cursor *c, const char *what, uint64_t *out)
{
    const uint8_t *p = NULL;
    LM_TRY(take(c, 8, what, &p));
    *out = lm_u64le(p);
    return LM_OK;
}

static lm_status take_string(cursor *c, const char *what, uint64_t max, const uint8_t **s, uint64_t *n)
{
    uint64_t at = c->at;
    LM_TRY(take_u64(c, what, n));
    if (*n > max)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, at,
                          "%s claims %" PRIu64 " bytes at byte %" PRIu64 ", allowed are %" PRIu64, what, *n,
                          at, max);
    return take(c, *n, what, s);
}

/* What a message about a key or a tensor begins with. */
typedef struct {
    char s[128];
} label;

static label label_of(const char *kind, const char *name, uint64_t n)
{
    label l;
    lm_quoted_buf q;
    (void)snprintf(l.s, sizeof l.s, "%s '%s'", kind, lm_quoted(&q, name, (size_t)n));
    return l;
}

static lm_status check_type(cursor *c, const char *key, uint32_t type)
{
    if (type >= LM_GGUF_TYPES)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, c->at - 4,
                          "%s has the value type %" PRIu32 ", allowed are 0 to %d", key, type,
                          LM_GGUF_TYPES - 1);
    return LM_OK;
}

/* Reads type and count of an array and steps over its entries.  `depth` bounds
 * arrays inside arrays; every entry takes at least a byte of the file, so the
 * walk is no longer than the file. */
static lm_status take_array(cursor *c, const char *key, lm_gguf_value *v, int depth)
{
    uint32_t item = 0;
    uint64_t n = 0, at, bytes = 0;
    const uint8_t *p = NULL;
    LM_TRY(take_u32(c, key, &item));
    LM_TRY(check_type(c, key, item));
    at = c->at;
    LM_TRY(take_u64(c, key, &n));
    if (n > LM_LIMIT_GGUF_ARRAY)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, at, "%s claims %" PRIu64 " entries, allowed are %d", key, n,
                          LM_LIMIT_GGUF_ARRAY);
    v->item = (lm_gguf_type)item;
    v->n = n;
    v->data = c->bytes + c->at;
    if (type_bytes[item]) {
        bytes = n * type_bytes[item]; /* n is within the limit: no overflow */
        return take(c, bytes, key, &p);
    }
    for (uint64_t i = 0; i < n; i++) {
        lm_gguf_value inner = { 0 };
        if (item == LM_GGUF_STRING) {
            LM_TRY(take_string(c, key, LM_LIMIT_GGUF_STRING, &p, &bytes));
            continue;
        }
        if (depth + 1 > LM_LIMIT_GGUF_DEPTH)
            return lm_fail_at(c->err, LM_ERR_CORRUPT, c->at, "%s is nested deeper than %d", key,
                              LM_LIMIT_GGUF_DEPTH);
        LM_TRY(take_array(c, key, &inner, depth + 1));
    }
    return LM_OK;
}

static lm_status take_value(cursor *c, lm_gguf_value *v)
{
    const uint8_t *p = NULL;
    uint64_t n = 0;
    uint32_t type = 0;
    LM_TRY(take_string(c, "a key", LM_LIMIT_GGUF_KEY, &p, &n));
    v->key = (const char *)p;
    v->n_key = (size_t)n;
    label l = label_of("the key", v->key, n);
    bool plain = n > 0 && lm_utf8_valid(v->key, v->n_key);
    for (size_t i = 0; i < v->n_key && plain; i++)
        plain = p[i] >= 0x20 && p[i] != 0x7f;
    if (!plain)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, c->at - n,
                          "%s is empty, holds control characters or is not UTF-8", l.s);
    LM_TRY(take_u32(c, l.s, &type));
    LM_TRY(check_type(c, l.s, type));
    v->type = (lm_gguf_type)type;
    if (v->type == LM_GGUF_ARRAY)
        return take_array(c, l.s, v, 1);
    if (v->type == LM_GGUF_STRING)
        return take_string(c, l.s, LM_LIMIT_GGUF_STRING, &v->data, &v->n);
    v->n = 1;
    LM_TRY(take(c, type_bytes[type], l.s, &v->data));
    if (v->type == LM_GGUF_BOOL && *v->data > 1)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, c->at - 1, "%s has the boolean %u, allowed are 0 and 1",
                          l.s, (unsigned)*v->data);
    return LM_OK;
}

static lm_status take_decl(cursor *c, lm_gguf_decl *d)
{
    const uint8_t *p = NULL;
    LM_TRY(take_string(c, "a tensor's name", LM_LIMIT_NAME, &p, &d->n_name));
    d->name = (const char *)p;
    label l = label_of("tensor", d->name, d->n_name);
    LM_TRY(take_u32(c, l.s, &d->n_dims));
    if (d->n_dims > LM_LIMIT_GGUF_DIMS)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, c->at - 4,
                          "%s claims %" PRIu32 " dimensions, allowed are 1 to %d", l.s, d->n_dims,
                          LM_LIMIT_GGUF_DIMS);
    for (uint32_t i = 0; i < d->n_dims; i++)
        LM_TRY(take_u64(c, l.s, &d->dims[i]));
    LM_TRY(take_u32(c, l.s, &d->type));
    return take_u64(c, l.s, &d->offset);
}

static int compare_keys(const char *a, size_t n_a, const char *b, size_t n_b)
{
    int c = memcmp(a, b, LM_MIN(n_a, n_b));
    return c ? c : (n_a > n_b) - (n_a < n_b);
}

static int by_key(const void *a, const void *b)
{
    const lm_gguf_value *x = *(const lm_gguf_value *const *)a, *y = *(const lm_gguf_value *const *)b;
    return compare_keys(x->key, x->n_key, y->key, y->n_key);
}

static lm_status sort_keys(lm_gguf *g, lm_error *err)
{
    lm_quoted_buf q;
    LM_TRY(LM_NEW(&g->by_key, g->n_values, err));
    for (size_t i = 0; i < g->n_values; i++)
        g->by_key[i] = &g->values[i];
    if (g->n_values)
        qsort(g->by_key, g->n_values, sizeof *g->by_key, by_key);
    for (size_t i = 1; i < g->n_values; i++)
        if (by_key(&g->by_key[i - 1], &g->by_key[i]) == 0)
            return lm_fail(err, LM_ERR_CORRUPT, "the key '%s' stands twice",
                           lm_quoted(&q, g->by_key[i]->key, g->by_key[i]->n_key));
    return LM_OK;
}

static lm_status read_head(cursor *c, lm_gguf *g, uint64_t *n_tensors, uint64_t *n_keys)
{
    const uint8_t *magic = NULL;
    LM_TRY(take(c, 4, "the magic number", &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, 0,
                          "the file starts with %02x %02x %02x %02x, not with \"GGUF\"", magic[0], magic[1],
                          magic[2], magic[3]);
    LM_TRY(take_u32(c, "the version", &g->version));
    if (g->version == 0x02000000u || g->version == 0x03000000u)
        return lm_fail_at(c->err, LM_ERR_UNSUPPORTED, 4,
                          "the file is big-endian, which this version cannot read");
    if (g->version != 2 && g->version != 3)
        return lm_fail_at(c->err, LM_ERR_UNSUPPORTED, 4,
                          "the file has GGUF version %" PRIu32 ", this version reads 2 and 3", g->version);
    LM_TRY(take_u64(c, "the count of tensors", n_tensors));
    LM_TRY(take_u64(c, "the count of keys", n_keys));
    if (*n_tensors > LM_LIMIT_TENSORS)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, 8, "the file claims %" PRIu64 " tensors, allowed are %d",
                          *n_tensors, LM_LIMIT_TENSORS);
    if (*n_keys > LM_LIMIT_GGUF_KEYS)
        return lm_fail_at(c->err, LM_ERR_CORRUPT, 16, "the file claims %" PRIu64 " keys, allowed are %d",
                          *n_keys, LM_LIMIT_GGUF_KEYS);
    return LM_OK;
}

static lm_status find_data(cursor *c, lm_gguf *g)
{
    const lm_gguf_value *v = lm_gguf_find(g, "general.alignment");
    g->align = 32;
    if (v && !lm_gguf_u64(g, "general.alignment", &g->align))
        return lm_fail(c->err, LM_ERR_CORRUPT, "general.alignment is not a whole number");
    if (v && (g->align < 8 || g->align > LM_LIMIT_GGUF_ALIGN || (g->align & (g->align - 1)) != 0))
        return lm_fail(c->err, LM_ERR_CORRUPT,
                       "general.alignment is %" PRIu64 ", allowed are powers of two from 8 to %d", g->align,
                       LM_LIMIT_GGUF_ALIGN);
    /* c->at is inside the file, so rounding up cannot wrap. */
    g->data_at = lm_round_up(c->at, g->align);
    return LM_OK;
}

lm_status lm_gguf_parse(lm_gguf **out, const uint8_t *bytes, uint64_t size, lm_error *err)
{
    cursor c = { .bytes = bytes, .size = size, .err = err };
    lm_gguf *g = NULL;
    uint64_t n_tensors = 0, n_keys = 0;

    LM_TRY(LM_NEW(&g, 1, err));
    g->bytes = bytes;
    g->size = size;
    lm_status status = read_head(&c, g, &n_tensors, &n_keys);
    /* The arrays grow with what was read, never with what was claimed. */
    for (uint64_t i = 0; status == LM_OK && i < n_keys; i++) {
        status = lm_grow((void **)&g->values, &g->cap_values, g->n_values + 1, sizeof *g->values, err);
        if (status != LM_OK)
            break;
        g->values[g->n_values] = (lm_gguf_value){ 0 };
        status = take_value(&c, &g->values[g->n_values]);
        g->n_values += status == LM_OK;
    }
    for (uint64_t i = 0; status == LM_OK && i < n_tensors; i++) {
        status = lm_grow((void **)&g->decls, &g->cap_decls, g->n_decls + 1, sizeof *g->decls, err);
        if (status != LM_OK)
            break;
        g->decls[g->n_decls] = (lm_gguf_decl){ 0 };
        status = take_decl(&c, &g->decls[g->n_decls]);
        g->n_decls += status == LM_OK;
    }
    if (status == LM_OK)
        status = sort_keys(g, err);
    if (status == LM_OK)
        status = find_data(&c, g);
    if (status != LM_OK) {
        lm_gguf_close(g);
        return status;
    }
    *out = g;
    return LM_OK;
}

void lm_gguf_close(lm_gguf *g)
{
    if (!g)
        return;
    lm_free(g->values);
    lm_free(g->by_key);
    lm_free(g->decls);
    lm_free(g);
}

/* Types of ggml; NULL: never assigned or withdrawn.  `bits` is for those that
 * are no number format of ours but have a plain size. */
static const struct {
    const char *name;
    uint8_t bits;
} ggml_types[] = {
    [0] = { "F32", 0 },      [1] = { "F16", 0 },     [2] = { "Q4_0", 0 },     [3] = { "Q4_1", 0 },
    [6] = { "Q5_0", 0 },     [7] = { "Q5_1", 0 },    [8] = { "Q8_0", 0 },     [9] = { "Q8_1", 0 },
    [10] = { "Q2_K", 0 },    [11] = { "Q3_K", 0 },   [12] = { "Q4_K", 0 },    [13] = { "Q5_K", 0 },
    [14] = { "Q6_K", 0 },    [15] = { "Q8_K", 0 },   [16] = { "IQ2_XXS", 0 }, [17] = { "IQ2_XS", 0 },
    [18] = { "IQ3_XXS", 0 }, [19] = { "IQ1_S", 0 },  [20] = { "IQ4_NL", 0 },  [21] = { "IQ3_S", 0 },
    [22] = { "IQ2_S", 0 },   [23] = { "IQ4_XS", 0 }, [24] = { "I8", 8 },      [25] = { "I16", 16 },
    [26] = { "I32", 32 },    [27] = { "I64", 64 },   [28] = { "F64", 0 },     [29] = { "IQ1_M", 0 },
    [30] = { "BF16", 0 },    [34] = { "TQ1_0", 0 },  [35] = { "TQ2_0", 0 },   [39] = { "MXFP4", 0 },
    [40] = { "NVFP4", 0 },
};

const char *lm_gguf_type_name(uint32_t type)
{
    return type < LM_LEN(ggml_types) ? ggml_types[type].name : NULL;
}

static lm_status place(const lm_gguf *g, const lm_gguf_decl *d, const lm_map *map, lm_tensors *out,
                       lm_error *err)
{
    lm_tensor_decl t = { .quant = lm_quant_by_gguf_type(d->type), .dtype = lm_gguf_type_name(d->type) };
    lm_tensor placed;
    lm_quoted_buf q;

    LM_TRY(lm_tensors_name(out, d->name, d->n_name, &t.name, err));
    lm_quoted_z(&q, t.name);
    if (!t.quant) {
        t.bits = t.dtype ? ggml_types[d->type].bits : 0;
        if (!t.bits)
            return lm_fail(err, LM_ERR_UNSUPPORTED,
                           "tensor '%s' has type %" PRIu32 "%s%s%s, which this version "
                           "cannot read",
                           q.s, d->type, t.dtype ? " (" : "", t.dtype ? t.dtype : "", t.dtype ? ")" : "");
    }
    if (!t.dtype)
        t.dtype = t.quant->name;
    if (d->n_dims == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' claims 0 dimensions, allowed are 1 to %d", q.s,
                       LM_LIMIT_GGUF_DIMS);
    if (d->offset % g->align != 0)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tensor '%s' starts at byte %" PRIu64 " of the data, not a multiple "
                       "of %" PRIu64,
                       q.s, d->offset, g->align);
    if (lm_add_overflows(g->data_at, d->offset, &t.at))
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tensor '%s' starts at byte %" PRIu64 " of the data, beyond any file", q.s, d->offset);
    t.n_dims = d->n_dims;
    for (uint32_t i = 0; i < d->n_dims; i++)
        t.dims[i] = d->dims[d->n_dims - 1 - i];
    LM_TRY(lm_place_tensor(g->bytes, g->size, &t, &placed, err));
    placed.map = map;
    return lm_tensors_add(out, &placed, err);
}

lm_status lm_gguf_place(const lm_gguf *g, const lm_map *map, lm_tensors *out, lm_error *err)
{
    size_t first = out->n;
    for (size_t i = 0; i < g->n_decls; i++)
        LM_TRY(place(g, &g->decls[i], map, out, err));
    return lm_tensors_apart(out, first, err);
}

uint32_t lm_gguf_version(const lm_gguf *g)
{
    return g->version;
}

size_t lm_gguf_n_decls(const lm_gguf *g)
{
    return g->n_decls;
}

const lm_gguf_decl *lm_gguf_decl_at(const lm_gguf *g, size_t i)
{
    return i < g->n_decls ? &g->decls[i] : NULL;
}

size_t lm_gguf_n_values(const lm_gguf *g)
{
    return g->n_values;
}

const lm_gguf_value *lm_gguf_value_at(const lm_gguf *g, size_t i)
{
    return i < g->n_values ? &g->values[i] : NULL;
}

const lm_gguf_value *lm_gguf_find(const lm_gguf *g, const char *key)
{
    size_t low = 0, high = g->n_values, n = strlen(key);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const lm_gguf_value *v = g->by_key[mid];
        int c = compare_keys(key, n, v->key, v->n_key);
        if (c == 0)
            return v;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}
