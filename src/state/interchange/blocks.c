/* state/interchange/blocks.c - cutting snapshots at block borders and joining them. */
#include "state/interchange/blocks.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"

static void add_cut(uint32_t *cuts, size_t *n, uint32_t at)
{
    size_t k = *n;
    while (k > 0 && cuts[k - 1] > at)
        k--;
    if (k > 0 && cuts[k - 1] == at)
        return;
    memmove(cuts + k + 1, cuts + k, (*n - k) * sizeof *cuts);
    cuts[k] = at;
    ++*n;
}

lm_status lm_snapshot_cuts(const lm_snapshot *s, uint32_t block_size, uint32_t **out, size_t *n_blocks,
                           lm_error *err)
{
    uint32_t seq = lm_snapshot_seq_len(s), *cuts = NULL;
    size_t n = 0;
    if (block_size == 0)
        return lm_fail(err, LM_ERR_USAGE, "blocks of 0 tokens");
    if (s->n_tokens != seq || seq == 0 || s->head_dim == 0)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "a snapshot of %u tokens, %u positions and %u dimensions has no blocks", s->n_tokens,
                       seq, s->head_dim);
    LM_TRY(LM_NEW(&cuts, (size_t)seq / block_size + 3 + s->n_layers, err));
    cuts[n++] = 0;
    if (!lm_snapshot_has_payloads(s)) { /* payloads cannot be cut: one block then */
        for (uint32_t at = block_size; at < seq; at += block_size) {
            cuts[n++] = at;
            if (at > UINT32_MAX - block_size)
                break;
        }
        cuts[n++] = seq;
        for (uint32_t i = 0; i < s->n_layers; i++) {
            uint32_t rows;
            lm_status st = lm_kv_layer_rows(s, &s->layers[i], &rows, err);
            if (st != LM_OK) {
                lm_free(cuts);
                return st;
            }
            if (rows && rows < seq)
                add_cut(cuts, &n, seq - rows);
        }
    } else
        cuts[n++] = seq;
    *out = cuts;
    *n_blocks = n - 1;
    return LM_OK;
}

/* --- slices ----------------------------------------------------------------------------- */

/* Rows [from, to) of every head's block, one behind the other. */
static lm_status slice_tensor(lm_snapshot *to, const lm_kv_tensor *t, uint32_t heads, uint32_t rows,
                              uint32_t dim, uint32_t from, uint32_t end, lm_kv_tensor *out, lm_error *err)
{
    size_t row = (size_t)dim * lm_kvt_size(t->dtype), n = (size_t)(end - from) * row;
    uint8_t *p;
    *out = *t;
    out->n = heads * (end - from) * dim;
    out->raw = NULL;
    if (out->n == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(to, heads, n, (void **)&p, err));
    for (uint32_t h = 0; h < heads; h++)
        memcpy(p + h * n, t->raw + ((size_t)h * rows + from) * row, n);
    out->raw = p;
    return LM_OK;
}

static lm_status slice_slab(lm_snapshot *to, const lm_snapshot *s, const lm_kv_layer *l, bool value,
                            uint32_t from, uint32_t end, lm_kv_layer *out, lm_error *err)
{
    const lm_kv_tensor *t = value ? &l->value : &l->key;
    lm_kv_block b;
    if (t->n == 0)
        return LM_OK;
    LM_TRY(lm_kv_view(s, l, 0, value, &b, err));
    uint32_t rank = value ? l->value_rank : l->key_rank;
    int32_t *shape = value ? out->value_shape : out->key_shape;
    memcpy(shape, value ? l->value_shape : l->key_shape, sizeof l->key_shape);
    shape[rank - 2] = (int32_t)(end - from);
    *(value ? &out->value_rank : &out->key_rank) = rank;
    return slice_tensor(to, t, lm_kv_layer_heads(l), b.rows, b.dim, from, end,
                        value ? &out->value : &out->key, err);
}

static lm_status slice_layer(lm_snapshot *to, const lm_snapshot *s, const lm_kv_layer *l, uint32_t start,
                             uint32_t end, lm_kv_layer *out, lm_error *err)
{
    uint32_t rows, seq = lm_snapshot_seq_len(s);
    *out = (lm_kv_layer){ .layer = l->layer, .cache_index = l->cache_index, .max_size = l->max_size };
    memcpy(out->cache_mode, l->cache_mode, sizeof out->cache_mode);
    LM_TRY(lm_kv_layer_rows(s, l, &rows, err));
    uint32_t first = seq - rows;
    if (rows == 0 || end <= first)
        return LM_OK; /* the window begins later: empty */
    if (start < first)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tokens %u to %u lie across the window of layer %d, which begins at %u", start, end,
                       l->layer, first);
    if (l->key.n || l->value.n) {
        LM_TRY(slice_slab(to, s, l, false, start - first, end - first, out, err));
        return slice_slab(to, s, l, true, start - first, end - first, out, err);
    }
    LM_TRY(lm_snapshot_alloc(to, l->n_heads, sizeof *out->heads, (void **)&out->heads, err));
    out->n_heads = l->n_heads;
    for (uint32_t h = 0; h < l->n_heads; h++)
        for (int kv = 0; kv < 2; kv++) {
            lm_kv_block b;
            LM_TRY(lm_kv_view(s, l, h, kv, &b, err));
            if (b.rows == 0)
                continue;
            LM_TRY(slice_tensor(to, &b.t, 1, b.rows, b.dim, start - first, end - first,
                                kv ? &out->heads[h].value : &out->heads[h].key, err));
        }
    return LM_OK;
}

static lm_status copy_words(lm_snapshot *to, const void *from, uint32_t n, void **out, lm_error *err)
{
    *out = NULL;
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(to, n, 4, out, err));
    memcpy(*out, from, (size_t)n * 4);
    return LM_OK;
}

static lm_status fill_slice(const lm_snapshot *s, uint32_t start, uint32_t end, bool last, lm_snapshot *o,
                            lm_error *err)
{
    uint32_t seq = lm_snapshot_seq_len(s), offset = lm_snapshot_offset(s),
             base = offset > seq ? offset - seq : 0;
    o->version = s->version;
    memcpy(o->architecture, s->architecture, sizeof o->architecture);
    o->num_layers = s->num_layers;
    o->num_heads = s->num_heads;
    o->head_dim = s->head_dim;
    o->num_query_heads = s->num_query_heads;
    o->seq_len = end - start;
    o->token_offset = base + end;
    LM_TRY(copy_words(o, s->tokens + start, end - start, (void **)&o->tokens, err));
    o->n_tokens = end - start;
    if (s->n_layers)
        LM_TRY(lm_snapshot_alloc(o, s->n_layers, sizeof *o->layers, (void **)&o->layers, err));
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LM_TRY(slice_layer(o, s, &s->layers[i], start, end, &o->layers[i], err));
        o->n_layers++;
    }
    if (!last)
        return lm_snapshot_check(s, err);
    LM_TRY(copy_words(o, s->generated, s->n_generated, (void **)&o->generated, err));
    o->n_generated = s->n_generated;
    LM_TRY(copy_words(o, s->logits, s->n_logits, (void **)&o->logits, err));
    o->n_logits = s->n_logits;
    o->logit_rank = s->logit_rank;
    memcpy(o->logit_shape, s->logit_shape, sizeof o->logit_shape);
    return lm_snapshot_check(s, err);
}

lm_status lm_snapshot_slice(const lm_snapshot *s, uint32_t start, uint32_t end, bool last, lm_snapshot **out,
                            lm_error *err)
{
    lm_snapshot *o = NULL;
    if (start >= end || end > lm_snapshot_seq_len(s) || end > s->n_tokens)
        return lm_fail(err, LM_ERR_USAGE, "tokens %u to %u of a snapshot of %u", start, end, s->n_tokens);
    if (lm_snapshot_has_payloads(s)) {
        if (start || end != lm_snapshot_seq_len(s))
            return lm_fail(err, LM_ERR_UNSUPPORTED, "a snapshot of compressed payloads is not cut");
        return lm_snapshot_clone(s, out, err);
    }
    LM_TRY(lm_snapshot_new(&o, err));
    lm_status st = fill_slice(s, start, end, last, o, err);
    if (st != LM_OK) {
        lm_snapshot_close(o);
        return st;
    }
    *out = o;
    return LM_OK;
}

/* --- joining ------------------------------------------------------------------------------- */

/* Keys or values of `heads` heads from `head` on, of the blocks that have the layer:
 * [first, n). */
static lm_status join_rows(lm_snapshot *to, lm_snapshot *const *blocks, size_t first, size_t n,
                           uint32_t layer, bool value, uint32_t head, uint32_t heads, lm_kv_tensor *out,
                           lm_error *err)
{
    const lm_kv_layer *l0 = &blocks[first]->layers[layer];
    uint32_t rows = 0, dim = 0;
    lm_kv_block b;
    LM_TRY(lm_kv_view(blocks[first], l0, head, value, &b, err));
    lm_kvt_dtype d = b.t.dtype;
    bool raw_only = b.t.raw_only;
    dim = b.dim;
    for (size_t i = first; i < n; i++) {
        const lm_kv_layer *l = &blocks[i]->layers[layer];
        for (uint32_t h = head; h < head + heads; h++) {
            LM_TRY(lm_kv_view(blocks[i], l, h, value, &b, err));
            if (b.t.dtype != d || b.dim != dim)
                return lm_fail(err, LM_ERR_CORRUPT,
                               "block %zu has %s of %u dimensions in layer %d, block %zu %s of %u", i,
                               lm_kvt_name(b.t.dtype), b.dim, l->layer, first, lm_kvt_name(d), dim);
        }
        rows += b.rows;
    }
    /* Each block has its own scale: joined, numbers become float32. */
    bool decode = d == LM_KVT_Q8 && n - first > 1;
    size_t size = decode ? sizeof(float) : lm_kvt_size(d);
    uint64_t total = (uint64_t)heads * rows * dim;
    uint8_t *p = NULL;
    if (total > UINT32_MAX)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "layer %d has more than 2^32 numbers", l0->layer);
    *out = (lm_kv_tensor){ .dtype = decode ? LM_KVT_F32 : d,
                           .scale = decode || d != LM_KVT_Q8 ? 0 : b.t.scale,
                           .raw_only = raw_only,
                           .n = (uint32_t)total };
    if (total == 0)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(to, (size_t)total, size, (void **)&p, err));
    out->raw = p;
    for (uint32_t h = head; h < head + heads; h++)
        for (size_t i = first; i < n; i++) {
            LM_TRY(lm_kv_view(blocks[i], &blocks[i]->layers[layer], h, value, &b, err));
            if (decode)
                LM_TRY(lm_kv_tensor_get(&b.t, 0, b.t.n, (float *)(void *)p, err));
            else if (b.t.n)
                memcpy(p, b.t.raw, b.t.n * size);
            p += b.t.n * size;
        }
    return LM_OK;
}

/* The first block that has the layer (n: none) and its rows in all, after the checks. */
static lm_status survey(lm_snapshot *const *blocks, size_t n, uint32_t layer, size_t *first, uint32_t *total,
                        lm_error *err)
{
    const lm_kv_layer *l0 = &blocks[0]->layers[layer];
    *first = n;
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        const lm_kv_layer *l = &blocks[i]->layers[layer];
        uint32_t rows;
        if (l->layer != l0->layer || l->cache_index != l0->cache_index)
            return lm_fail(err, LM_ERR_CORRUPT,
                           "block %zu has layer %d of cache %d, block 0 layer %d of cache %d", i, l->layer,
                           l->cache_index, l0->layer, l0->cache_index);
        LM_TRY(lm_kv_layer_rows(blocks[i], l, &rows, err));
        if (rows && *first == n)
            *first = i;
        if (*first == n)
            continue;
        const lm_kv_layer *f = &blocks[*first]->layers[layer];
        if (rows != lm_snapshot_seq_len(blocks[i]))
            return lm_fail(err, LM_ERR_CORRUPT,
                           "layer %d mixes windows: block %zu has %u rows for %u positions", l->layer, i,
                           rows, lm_snapshot_seq_len(blocks[i]));
        if (lm_kv_layer_heads(l) != lm_kv_layer_heads(f) || (l->key.n != 0) != (f->key.n != 0) ||
            (l->value.n != 0) != (f->value.n != 0))
            return lm_fail(err, LM_ERR_CORRUPT, "layer %d is shaped otherwise in block %zu than in block %zu",
                           l->layer, i, *first);
        *total += rows;
    }
    return LM_OK;
}

/* Slabs stay slabs, heads stay heads. */
static lm_status join_layer(lm_snapshot *to, lm_snapshot *const *blocks, size_t n, uint32_t layer,
                            lm_kv_layer *out, lm_error *err)
{
    const lm_kv_layer *l0 = &blocks[0]->layers[layer];
    size_t first;
    uint32_t total;
    *out = (lm_kv_layer){ .layer = l0->layer, .cache_index = l0->cache_index, .max_size = l0->max_size };
    memcpy(out->cache_mode, l0->cache_mode, sizeof out->cache_mode);
    LM_TRY(survey(blocks, n, layer, &first, &total, err));
    if (first == n)
        return LM_OK;
    const lm_kv_layer *f = &blocks[first]->layers[layer];
    uint32_t heads = lm_kv_layer_heads(f);
    if (f->key.n) {
        out->key_rank = f->key_rank;
        memcpy(out->key_shape, f->key_shape, sizeof out->key_shape);
        out->key_shape[f->key_rank - 2] = (int32_t)total;
        LM_TRY(join_rows(to, blocks, first, n, layer, false, 0, heads, &out->key, err));
    }
    if (f->value.n) {
        out->value_rank = f->value_rank;
        memcpy(out->value_shape, f->value_shape, sizeof out->value_shape);
        out->value_shape[f->value_rank - 2] = (int32_t)total;
        LM_TRY(join_rows(to, blocks, first, n, layer, true, 0, heads, &out->value, err));
    }
    if (f->key.n || f->value.n)
        return LM_OK;
    LM_TRY(lm_snapshot_alloc(to, heads, sizeof *out->heads, (void **)&out->heads, err));
    out->n_heads = heads;
    for (uint32_t h = 0; h < heads; h++) {
        LM_TRY(join_rows(to, blocks, first, n, layer, false, h, 1, &out->heads[h].key, err));
        LM_TRY(join_rows(to, blocks, first, n, layer, true, h, 1, &out->heads[h].value, err));
    }
    return LM_OK;
}

static lm_status check_block(const lm_snapshot *a, const lm_snapshot *b, size_t i, uint64_t end,
                             lm_error *err)
{
    const struct {
        const char *what;
        uint32_t a, b;
    } fields[] = { { "layers", a->num_layers, b->num_layers },
                   { "layer records", a->n_layers, b->n_layers },
                   { "key/value heads", a->num_heads, b->num_heads },
                   { "dimensions", a->head_dim, b->head_dim } };
    lm_quoted_buf qa, qb;
    if (strcmp(a->architecture, b->architecture) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "block %zu is of the architecture '%s', block 0 of '%s'", i,
                       lm_quoted_z(&qb, b->architecture), lm_quoted_z(&qa, a->architecture));
    for (size_t k = 0; k < LM_LEN(fields); k++)
        if (fields[k].a != fields[k].b)
            return lm_fail(err, LM_ERR_CORRUPT, "block %zu has %u %s, block 0 has %u", i, fields[k].b,
                           fields[k].what, fields[k].a);
    if (b->n_tokens != lm_snapshot_seq_len(b) || lm_snapshot_offset(b) != end)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "block %zu has %u tokens for %u positions up to %u, it must end at %llu", i,
                       b->n_tokens, lm_snapshot_seq_len(b), lm_snapshot_offset(b), (unsigned long long)end);
    return LM_OK;
}

static lm_status fill_join(lm_snapshot *const *blocks, size_t n, lm_snapshot *o, lm_error *err)
{
    const lm_snapshot *a = blocks[0], *z = blocks[n - 1];
    uint64_t total = 0, end = lm_snapshot_offset(a);
    for (size_t i = 0; i < n; i++) {
        total += blocks[i]->n_tokens;
        end += i ? blocks[i]->n_tokens : 0;
        LM_TRY(check_block(a, blocks[i], i, end, err));
    }
    if (total > INT32_MAX)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "blocks of %llu tokens in all", (unsigned long long)total);
    o->version = LM_MAX(a->version, z->version);
    memcpy(o->architecture, a->architecture, sizeof o->architecture);
    o->num_layers = a->num_layers;
    o->num_heads = a->num_heads;
    o->head_dim = a->head_dim;
    o->num_query_heads = a->num_query_heads;
    o->seq_len = (uint32_t)total;
    o->token_offset = lm_snapshot_offset(z);
    if (total)
        LM_TRY(lm_snapshot_alloc(o, (size_t)total, sizeof *o->tokens, (void **)&o->tokens, err));
    for (size_t i = 0; i < n; i++) {
        if (blocks[i]->n_tokens)
            memcpy(o->tokens + o->n_tokens, blocks[i]->tokens, blocks[i]->n_tokens * sizeof *o->tokens);
        o->n_tokens += blocks[i]->n_tokens;
    }
    if (a->n_layers)
        LM_TRY(lm_snapshot_alloc(o, a->n_layers, sizeof *o->layers, (void **)&o->layers, err));
    for (uint32_t l = 0; l < a->n_layers; l++) {
        LM_TRY(join_layer(o, blocks, n, l, &o->layers[l], err));
        o->n_layers++;
    }
    LM_TRY(copy_words(o, z->generated, z->n_generated, (void **)&o->generated, err));
    o->n_generated = z->n_generated;
    LM_TRY(copy_words(o, z->logits, z->n_logits, (void **)&o->logits, err));
    o->n_logits = z->n_logits;
    o->logit_rank = z->logit_rank;
    memcpy(o->logit_shape, z->logit_shape, sizeof o->logit_shape);
    for (size_t i = 0; i < n; i++)
        LM_TRY(lm_snapshot_check(blocks[i], err));
    return LM_OK;
}

lm_status lm_snapshot_join(lm_snapshot *const *blocks, size_t n, lm_snapshot **out, lm_error *err)
{
    lm_snapshot *o = NULL;
    if (n == 0)
        return lm_fail(err, LM_ERR_USAGE, "no blocks to put together");
    for (size_t i = 0; i < n; i++)
        if (lm_snapshot_has_payloads(blocks[i]) && n > 1)
            return lm_fail(err, LM_ERR_UNSUPPORTED, "block %zu of %zu holds compressed payloads", i, n);
    if (n == 1)
        return lm_snapshot_clone(blocks[0], out, err);
    LM_TRY(lm_snapshot_new(&o, err));
    lm_status st = fill_join(blocks, n, o, err);
    if (st != LM_OK) {
        lm_snapshot_close(o);
        return st;
    }
    *out = o;
    return LM_OK;
}
