/* state/interchange/snapshot.c - the record: memory, views, copies. */
#include "state/interchange/snapshot.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "quant/quant.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = { { "float32", 4 }, { "float16", 2 }, { "bfloat16", 2 }, { "q8", 1 }, { "q8-native", 1 } };

size_t lm_kvt_size(lm_kvt_dtype d)
{
    return dtypes[d].size;
}

const char *lm_kvt_name(lm_kvt_dtype d)
{
    return dtypes[d].name;
}

lm_status lm_snapshot_new(lm_snapshot **out, lm_error *err)
{
    LM_TRY(LM_NEW(out, 1, err));
    (*out)->version = LM_SNAPSHOT_VERSION;
    return LM_OK;
}

void lm_snapshot_close(lm_snapshot *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_owned; i++)
        lm_free(s->owned[i]);
    lm_free(s->owned);
    lm_map_close(s->map);
    lm_free(s);
}

lm_status lm_snapshot_alloc(lm_snapshot *s, size_t n, size_t size, void **out, lm_error *err)
{
    LM_TRY(lm_grow((void **)&s->owned, &s->cap_owned, s->n_owned + 1, sizeof *s->owned, err));
    LM_TRY(lm_new(out, n, size, err));
    s->owned[s->n_owned++] = *out;
    return LM_OK;
}

uint32_t lm_snapshot_offset(const lm_snapshot *s)
{
    return s->token_offset ? s->token_offset : s->n_tokens;
}

uint32_t lm_snapshot_seq_len(const lm_snapshot *s)
{
    return s->seq_len ? s->seq_len : s->n_tokens;
}

lm_status lm_snapshot_check(const lm_snapshot *s, lm_error *err)
{
    return s->map ? lm_map_check(s->map, err) : LM_OK;
}

bool lm_snapshot_has_payloads(const lm_snapshot *s)
{
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].n_payloads)
            return true;
    return false;
}

void lm_snapshot_clear_terminal(lm_snapshot *s)
{
    s->n_generated = s->n_logits = s->logit_rank = 0;
}

const lm_kv_layer *lm_snapshot_layer(const lm_snapshot *s, int32_t layer)
{
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].layer == layer)
            return &s->layers[i];
    return NULL;
}

void lm_snapshot_get_info(const lm_snapshot *s, lm_snapshot_info *out)
{
    lm_snapshot_info all = { .size = out->size,
                             .version = s->version,
                             .architecture = s->architecture,
                             .num_layers = s->num_layers,
                             .num_heads = s->num_heads,
                             .seq_len = lm_snapshot_seq_len(s),
                             .head_dim = s->head_dim,
                             .num_query_heads = s->num_query_heads,
                             .token_offset = lm_snapshot_offset(s),
                             .tokens = s->tokens,
                             .generated = s->generated,
                             .n_tokens = s->n_tokens,
                             .n_generated = s->n_generated,
                             .n_logits = s->n_logits,
                             .logits = s->logits };
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

/* --- views ------------------------------------------------------------------------------ */

static bool slab_shape(const int32_t *shape, uint32_t rank, uint32_t out[3])
{
    if (rank < 3)
        return false;
    for (uint32_t i = 0; i + 3 < rank; i++)
        if (shape[i] != 1)
            return false;
    for (uint32_t i = 0; i < 3; i++)
        out[i] = (uint32_t)shape[rank - 3 + i];
    return true;
}

uint32_t lm_kv_layer_heads(const lm_kv_layer *l)
{
    uint32_t d[3] = { 0 };
    const bool keys = l->key.n != 0;
    if (!keys && !l->value.n)
        return l->n_heads;
    return slab_shape(keys ? l->key_shape : l->value_shape, keys ? l->key_rank : l->value_rank, d) ? d[0] : 0;
}

lm_status lm_kv_view(const lm_snapshot *s, const lm_kv_layer *l, uint32_t head, bool value, lm_kv_block *out,
                     lm_error *err)
{
    const lm_kv_tensor *slab = value ? &l->value : &l->key;
    uint32_t d[3] = { 0 };
    *out = (lm_kv_block){ .rows = 0 };
    if (slab->n) {
        if (!slab_shape(value ? l->value_shape : l->key_shape, value ? l->value_rank : l->key_rank, d) ||
            (uint64_t)d[0] * d[1] * d[2] != slab->n || head >= d[0])
            return lm_fail(err, LM_ERR_CORRUPT,
                           "layer %d: %u numbers are no slab [1, heads, rows, dim] with a head %u", l->layer,
                           slab->n, head);
        out->t = *slab;
        out->rows = d[1];
        out->dim = d[2];
        out->t.n = d[1] * d[2];
        out->t.raw += (size_t)head * out->t.n * lm_kvt_size(slab->dtype);
        return LM_OK;
    }
    if (l->key.n || l->value.n || head >= l->n_heads)
        return LM_OK;
    out->t = value ? l->heads[head].value : l->heads[head].key;
    out->dim = s->head_dim;
    if (out->t.n && (out->dim == 0 || out->t.n % out->dim))
        return lm_fail(err, LM_ERR_CORRUPT, "layer %d, head %u: %u numbers are no rows of %u", l->layer, head,
                       out->t.n, out->dim);
    out->rows = out->dim ? out->t.n / out->dim : 0;
    return LM_OK;
}

lm_status lm_kv_layer_rows(const lm_snapshot *s, const lm_kv_layer *l, uint32_t *rows, lm_error *err)
{
    uint32_t heads = lm_kv_layer_heads(l);
    *rows = 0;
    for (uint32_t h = 0; h < heads; h++) {
        lm_kv_block k, v;
        LM_TRY(lm_kv_view(s, l, h, false, &k, err));
        LM_TRY(lm_kv_view(s, l, h, true, &v, err));
        uint32_t n = k.rows ? k.rows : v.rows;
        if ((v.rows && v.rows != n) || (h && n != *rows))
            return lm_fail(err, LM_ERR_CORRUPT, "layer %d, head %u has %u rows of keys, %u of values, not %u",
                           l->layer, h, k.rows, v.rows, h ? *rows : n);
        *rows = n;
    }
    if (*rows > lm_snapshot_seq_len(s))
        return lm_fail(err, LM_ERR_CORRUPT, "layer %d has %u rows, the snapshot %u positions", l->layer,
                       *rows, lm_snapshot_seq_len(s));
    return LM_OK;
}

lm_status lm_kv_tensor_get(const lm_kv_tensor *t, uint64_t at, uint64_t n, float *out, lm_error *err)
{
    const uint8_t *p = t->raw + at * lm_kvt_size(t->dtype);
    if (!lm_inside(at, n, t->n))
        return lm_fail(err, LM_ERR_CORRUPT, "numbers %" PRIu64 " to %" PRIu64 " of a tensor of %u", at,
                       at + n, t->n);
    switch (t->dtype) {
    case LM_KVT_F32: memcpy(out, p, n * sizeof *out); break;
    case LM_KVT_F16:
        for (uint64_t i = 0; i < n; i++)
            out[i] = lm_f16_to_f32(lm_u16le(p + 2 * i));
        break;
    case LM_KVT_BF16:
        for (uint64_t i = 0; i < n; i++)
            out[i] = lm_bf16_to_f32(lm_u16le(p + 2 * i));
        break;
    case LM_KVT_Q8:
        for (uint64_t i = 0; i < n; i++)
            out[i] = (float)(int8_t)p[i] * t->scale;
        break;
    case LM_KVT_Q8_NATIVE:
        return lm_fail(err, LM_ERR_UNSUPPORTED, "q8-native tensors have no scale and are not decoded");
    }
    return LM_OK;
}

/* --- copies ----------------------------------------------------------------------------- */

static lm_status copy(lm_snapshot *to, const void *from, size_t n, size_t size, void **out, lm_error *err)
{
    *out = NULL;
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(to, n, size, out, err));
    memcpy(*out, from, n * size);
    return LM_OK;
}

static lm_status copy_tensor(lm_snapshot *to, lm_kv_tensor *t, lm_error *err)
{
    void *p;
    LM_TRY(copy(to, t->raw, t->n, lm_kvt_size(t->dtype), &p, err));
    t->raw = p;
    return LM_OK;
}

static lm_status copy_layer(lm_snapshot *to, lm_kv_layer *l, lm_error *err)
{
    void *p;
    LM_TRY(copy_tensor(to, &l->key, err));
    LM_TRY(copy_tensor(to, &l->value, err));
    LM_TRY(copy(to, l->payloads, l->n_payloads, sizeof *l->payloads, &p, err));
    l->payloads = p;
    for (uint32_t i = 0; i < l->n_payloads; i++) {
        LM_TRY(copy(to, l->payloads[i].bytes, l->payloads[i].n, 1, &p, err));
        l->payloads[i].bytes = p;
    }
    LM_TRY(copy(to, l->heads, l->n_heads, sizeof *l->heads, &p, err));
    l->heads = p;
    for (uint32_t i = 0; i < l->n_heads; i++) {
        LM_TRY(copy_tensor(to, &l->heads[i].key, err));
        LM_TRY(copy_tensor(to, &l->heads[i].value, err));
    }
    return LM_OK;
}

static lm_status copy_all(const lm_snapshot *s, lm_snapshot *c, lm_error *err)
{
    void *p;
    LM_TRY(copy(c, s->tokens, s->n_tokens, sizeof *s->tokens, &p, err));
    c->tokens = p;
    LM_TRY(copy(c, s->generated, s->n_generated, sizeof *s->generated, &p, err));
    c->generated = p;
    LM_TRY(copy(c, s->logits, s->n_logits, sizeof *s->logits, &p, err));
    c->logits = p;
    LM_TRY(copy(c, s->layers, s->n_layers, sizeof *s->layers, &p, err));
    c->layers = p;
    for (uint32_t i = 0; i < c->n_layers; i++)
        LM_TRY(copy_layer(c, &c->layers[i], err));
    return lm_snapshot_check(s, err);
}

lm_status lm_snapshot_clone(const lm_snapshot *s, lm_snapshot **out, lm_error *err)
{
    lm_snapshot *c = NULL;
    LM_TRY(LM_NEW(&c, 1, err));
    *c = *s;
    c->map = NULL;
    c->owned = NULL;
    c->n_owned = c->cap_owned = 0;
    lm_status st = copy_all(s, c, err);
    if (st != LM_OK) {
        lm_snapshot_close(c);
        return st;
    }
    *out = c;
    return LM_OK;
}
