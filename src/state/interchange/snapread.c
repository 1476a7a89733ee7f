/* state/interchange/snapread.c - MLXKV001 from bytes, versions 1 to 6 (SPEC 5.3, 5.4). */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/snapshot.h"
#include "state/limits.h"

static lm_status numbers(lm_cursor *c, lm_snapshot *s, const char *part, void **out, uint32_t *n,
                         lm_error *err)
{
    const uint8_t *p;
    uint32_t count;
    LM_TRY(lm_cursor_count(c, part, 4, &count, err));
    LM_TRY(lm_cursor_bytes(c, part, (uint64_t)count * 4, &p, err));
    if (count) {
        LM_TRY(lm_snapshot_alloc(s, count, 4, out, err));
        memcpy(*out, p, (size_t)count * 4);
    }
    *n = count;
    return LM_OK;
}

static lm_status shape(lm_cursor *c, const char *part, int32_t *dims, uint32_t *rank, lm_error *err)
{
    const uint8_t *p;
    size_t at = c->at;
    LM_TRY(lm_cursor_u32(c, part, rank, err));
    if (*rank > LM_SNAPSHOT_RANK)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s: the %s has %u dimensions, allowed are %d", c->what,
                          part, *rank, LM_SNAPSHOT_RANK);
    LM_TRY(lm_cursor_bytes(c, part, *rank * UINT64_C(4), &p, err));
    for (uint32_t i = 0; i < *rank; i++) {
        dims[i] = (int32_t)lm_u32le(p + 4 * (size_t)i);
        if (dims[i] < 0)
            return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s: dimension %u of the %s is %d", c->what, i, part,
                              dims[i]);
    }
    return LM_OK;
}

static lm_status native(lm_cursor *c, lm_kv_tensor *t, unsigned flags, lm_error *err)
{
    char name[32];
    uint32_t n_bytes;
    size_t at = c->at;
    lm_quoted_buf q;
    LM_TRY(lm_cursor_u32(c, "a native tensor", &t->n, err));
    LM_TRY(lm_cursor_text(c, "number format", name, sizeof name, err));
    LM_TRY(lm_cursor_count(c, "bytes of a native tensor", 1, &n_bytes, err));
    LM_TRY(lm_cursor_bytes(c, "a native tensor", n_bytes, &t->raw, err));
    int d = 0;
    while (d <= LM_KVT_Q8_NATIVE && (d == LM_KVT_Q8 || strcmp(name, lm_kvt_name((lm_kvt_dtype)d)) != 0))
        d++;
    if (d > LM_KVT_Q8_NATIVE && t->n == 0 && n_bytes == 0)
        d = LM_KVT_F32; /* nothing of no format */
    if (d > LM_KVT_Q8_NATIVE)
        return lm_fail_at(err, LM_ERR_UNSUPPORTED, at,
                          "%s has numbers in '%s', allowed are float32, float16, bfloat16 and q8-native",
                          c->what, lm_quoted_z(&q, name));
    t->dtype = (lm_kvt_dtype)d;
    if ((uint64_t)t->n * lm_kvt_size(t->dtype) != n_bytes)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s has %u numbers of %s in %u bytes", c->what, t->n, name,
                          n_bytes);
    t->raw_only = (flags & LM_SNAPSHOT_RAW) != 0 || t->dtype == LM_KVT_Q8_NATIVE;
    return LM_OK;
}

static lm_status tensor(lm_cursor *c, lm_kv_tensor *t, unsigned flags, lm_error *err)
{
    uint32_t kind;
    const uint8_t *p;
    size_t at = c->at;
    *t = (lm_kv_tensor){ .dtype = LM_KVT_F32 };
    LM_TRY(lm_cursor_u32(c, "a tensor", &kind, err));
    if (kind == 2)
        return native(c, t, flags, err);
    if (kind > 2)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s has a tensor of kind %u, allowed are 0 to 2", c->what,
                          kind);
    LM_TRY(lm_cursor_count(c, kind ? "bytes" : "numbers", kind ? 1 : 4, &t->n, err));
    if (kind == 1) {
        t->dtype = LM_KVT_Q8;
        LM_TRY(lm_cursor_bytes(c, "a scale", 4, &p, err));
        t->scale = lm_f32le(p);
    }
    return lm_cursor_bytes(c, "a tensor", (uint64_t)t->n * lm_kvt_size(t->dtype), &t->raw, err);
}

/* Version 1 and 2: a count and float32. */
static lm_status plain(lm_cursor *c, lm_kv_tensor *t, lm_error *err)
{
    *t = (lm_kv_tensor){ .dtype = LM_KVT_F32 };
    LM_TRY(lm_cursor_count(c, "numbers", 4, &t->n, err));
    return lm_cursor_bytes(c, "a tensor", (uint64_t)t->n * 4, &t->raw, err);
}

static lm_status slab(lm_cursor *c, const char *part, int32_t *dims, uint32_t *rank, lm_kv_tensor *t,
                      unsigned flags, lm_error *err)
{
    size_t at = c->at;
    uint64_t n = 1;
    LM_TRY(shape(c, part, dims, rank, err));
    LM_TRY(tensor(c, t, flags, err));
    for (uint32_t i = 0; i < *rank; i++)
        if (lm_mul_overflows(n, (uint64_t)dims[i], &n))
            n = UINT64_MAX;
    if (t->n && n != t->n)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s: the %s has %u numbers, its shape %" PRIu64, c->what,
                          part, t->n, n);
    return LM_OK;
}

static lm_status payloads(lm_cursor *c, lm_snapshot *s, lm_kv_layer *l, lm_error *err)
{
    uint32_t n;
    LM_TRY(lm_cursor_text(c, "cache mode", l->cache_mode, sizeof l->cache_mode, err));
    LM_TRY(lm_cursor_count(c, "payloads", 4, &n, err));
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(s, n, sizeof *l->payloads, (void **)&l->payloads, err));
    l->n_payloads = n;
    for (uint32_t i = 0; i < n; i++) {
        LM_TRY(lm_cursor_u32(c, "a payload", &l->payloads[i].n, err));
        LM_TRY(lm_cursor_bytes(c, "a payload", l->payloads[i].n, &l->payloads[i].bytes, err));
    }
    return LM_OK;
}

static lm_status layer(lm_cursor *c, lm_snapshot *s, lm_kv_layer *l, unsigned flags, lm_error *err)
{
    uint32_t v = s->version, index, cache, n_heads;
    size_t at = c->at;
    LM_TRY(lm_cursor_u32(c, "a layer", &index, err));
    LM_TRY(lm_cursor_u32(c, "a layer", &cache, err));
    LM_TRY(lm_cursor_u32(c, "a layer", &n_heads, err));
    l->layer = (int32_t)index;
    l->cache_index = (int32_t)cache;
    if (l->layer < 0 || index >= s->num_layers)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "%s has a layer %d, allowed are 0 to %u", c->what,
                          l->layer, s->num_layers - 1);
    if (v >= 5)
        LM_TRY(payloads(c, s, l, err));
    if (v >= 6)
        LM_TRY(lm_cursor_u32(c, "a window", &l->max_size, err));
    if (v >= 4) {
        LM_TRY(slab(c, "slab of keys", l->key_shape, &l->key_rank, &l->key, flags, err));
        LM_TRY(slab(c, "slab of values", l->value_shape, &l->value_rank, &l->value, flags, err));
    }
    /* The smallest head: two tensors of a kind and a count, or two counts. */
    if (n_heads > LM_SNAPSHOT_MAX_HEADS || !lm_inside(c->at, (uint64_t)n_heads * (v >= 3 ? 16 : 8), c->n))
        return lm_fail_at(err, LM_ERR_TRUNCATED, at, "%s: layer %d claims %u heads, %zu bytes are left",
                          c->what, l->layer, n_heads, c->n - c->at);
    if (n_heads == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(s, n_heads, sizeof *l->heads, (void **)&l->heads, err));
    l->n_heads = n_heads;
    for (uint32_t i = 0; i < n_heads; i++) {
        lm_kv_head *h = &l->heads[i];
        LM_TRY(v >= 3 ? tensor(c, &h->key, flags, err) : plain(c, &h->key, err));
        LM_TRY(v >= 3 ? tensor(c, &h->value, flags, err) : plain(c, &h->value, err));
    }
    return LM_OK;
}

static lm_status head_of_file(lm_cursor *c, lm_snapshot *s, lm_error *err)
{
    const uint8_t *p;
    LM_TRY(lm_cursor_bytes(c, "its magic", 8, &p, err));
    if (memcmp(p, "MLXKV001", 8) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "not a snapshot: it does not start with \"MLXKV001\"");
    LM_TRY(lm_cursor_u32(c, "its version", &s->version, err));
    if (s->version == 0 || s->version > LM_SNAPSHOT_VERSION)
        return lm_fail_at(err, LM_ERR_UNSUPPORTED, 8, "a snapshot of version %u, allowed are 1 to %d",
                          s->version, LM_SNAPSHOT_VERSION);
    LM_TRY(lm_cursor_text(c, "architecture", s->architecture, sizeof s->architecture, err));
    size_t at = c->at;
    uint32_t *const fields[] = { &s->num_layers, &s->num_heads, &s->seq_len, &s->head_dim,
                                 &s->num_query_heads };
    for (size_t i = 0; i < LM_LEN(fields); i++)
        LM_TRY(lm_cursor_u32(c, "its geometry", fields[i], err));
    if (s->num_layers > LM_SNAPSHOT_MAX_LAYERS || s->num_heads > LM_SNAPSHOT_MAX_HEADS ||
        s->seq_len > LM_MAX_ENTRY_TOKENS || s->head_dim > LM_SNAPSHOT_MAX_DIM)
        return lm_fail_at(
            err, LM_ERR_CORRUPT, at,
            "a snapshot of %u layers, %u heads, %u positions, %u dimensions; allowed are %d, %d, "
            "%d, %d",
            s->num_layers, s->num_heads, s->seq_len, s->head_dim, LM_SNAPSHOT_MAX_LAYERS,
            LM_SNAPSHOT_MAX_HEADS, LM_MAX_ENTRY_TOKENS, LM_SNAPSHOT_MAX_DIM);
    if (s->version >= 2)
        LM_TRY(lm_cursor_u32(c, "its offset", &s->token_offset, err));
    LM_TRY(numbers(c, s, "tokens", (void **)&s->tokens, &s->n_tokens, err));
    if (s->token_offset == 0)
        s->token_offset = s->n_tokens;
    return s->version >= 2 ? numbers(c, s, "generated tokens", (void **)&s->generated, &s->n_generated, err)
                           : LM_OK;
}

static lm_status decode(lm_cursor *c, lm_snapshot *s, unsigned flags, lm_error *err)
{
    uint32_t n;
    LM_TRY(head_of_file(c, s, err));
    size_t at = c->at;
    LM_TRY(lm_cursor_count(c, "layers", 12, &n, err));
    if (n > s->num_layers)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "a snapshot of %u layers holds %u", s->num_layers, n);
    if (n) {
        LM_TRY(lm_snapshot_alloc(s, n, sizeof *s->layers, (void **)&s->layers, err));
        s->n_layers = n;
    }
    for (uint32_t i = 0; i < n; i++)
        LM_TRY(layer(c, s, &s->layers[i], flags, err));
    if (s->version >= 2) {
        LM_TRY(shape(c, "shape of the logits", s->logit_shape, &s->logit_rank, err));
        LM_TRY(numbers(c, s, "logits", (void **)&s->logits, &s->n_logits, err));
    }
    if (c->at != c->n)
        return lm_fail_at(err, LM_ERR_CORRUPT, c->at, "a snapshot has %zu bytes behind its end",
                          c->n - c->at);
    return LM_OK;
}

lm_status lm_snapshot_decode(lm_snapshot **out, const uint8_t *bytes, size_t n, unsigned flags, lm_error *err)
{
    lm_snapshot *s = NULL;
    lm_cursor c = { .bytes = bytes, .n = n, .what = "a snapshot" };
    LM_TRY(lm_snapshot_new(&s, err));
    lm_status st = decode(&c, s, flags, err);
    if (st != LM_OK) {
        lm_snapshot_close(s);
        return st;
    }
    *out = s;
    return LM_OK;
}

lm_status lm_snapshot_read(lm_snapshot **out, const char *path, unsigned flags, lm_error *err)
{
    lm_map *m = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_map_open(&m, path, err));
    lm_status st = lm_snapshot_decode(out, lm_map_data(m), (size_t)lm_map_size(m), flags, err);
    if (st == LM_OK) {
        (*out)->map = m;
        return LM_OK;
    }
    lm_map_close(m);
    return lm_wrap(err, st, "%s", lm_quoted_z(&q, path));
}
