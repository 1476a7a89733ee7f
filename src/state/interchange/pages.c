/* state/interchange/pages.c - position by position between page layouts and tensors. */
#include "state/interchange/pages.h"

#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "quant/quant.h"

static lm_status layout_of(const lm_geometry *g, lm_page_layout *out, lm_error *err)
{
    char name[sizeof g->format + 1] = { 0 };
    lm_kv_format f;
    memcpy(name, g->format, sizeof g->format);
    lm_cache_group c = { .n_layers = g->n_layers,
                         .n_heads = g->n_heads,
                         .k_dim = g->k_dim,
                         .v_dim = g->v_dim,
                         .window = g->window };
    if (g->kind != LM_PAGES_KV)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "cache group %u is no keys and values: a snapshot cannot hold recurrent state",
                       g->group);
    if (!lm_kv_by_name(name, &f))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "pages in '%s', which this version cannot read", name);
    if (g->n_heads == 0 || g->n_heads > LM_SNAPSHOT_MAX_HEADS || g->k_dim > LM_SNAPSHOT_MAX_DIM ||
        g->v_dim > LM_SNAPSHOT_MAX_DIM || g->n_layers > LM_SNAPSHOT_MAX_LAYERS)
        return lm_fail(err, LM_ERR_STATE, "pages of %u layers, %u heads, %u and %u dimensions", g->n_layers,
                       g->n_heads, g->k_dim, g->v_dim);
    *out = lm_page_layout_of(&c, f);
    if (out->page_bytes != g->page_bytes || g->page_tokens != LM_PAGE_TOKENS)
        return lm_fail(err, LM_ERR_STATE, "pages of %u positions in %llu bytes, this version has %d in %zu",
                       g->page_tokens, (unsigned long long)g->page_bytes, LM_PAGE_TOKENS, out->page_bytes);
    return LM_OK;
}

uint32_t lm_first_needed(const lm_geometry *g, uint32_t n_tokens)
{
    return g->window && n_tokens + 1 > g->window ? n_tokens + 1 - g->window : 0;
}

static lm_status check_places(const lm_page_map *m, lm_error *err)
{
    for (uint32_t i = 0; i < m->n_places; i++) {
        const lm_layer_place *p = &m->places[i];
        if (p->group >= m->n_groups || p->slot >= m->groups[p->group].n_layers || p->layer >= m->n_layers)
            return lm_fail(err, LM_ERR_STATE, "layer %u of %u has its cache at %u of group %u", p->layer,
                           m->n_layers, p->slot, p->group);
    }
    return LM_OK;
}

/* Caches are counted through all groups: equal numbers are one cache. */
static int32_t cache_index(const lm_page_map *m, const lm_layer_place *p)
{
    uint32_t n = p->slot;
    for (uint32_t g = 0; g < p->group; g++)
        n += m->groups[g].n_layers;
    return (int32_t)n;
}

static const lm_layer_place *owner(const lm_page_map *m, const lm_layer_place *p)
{
    for (uint32_t i = 0; i < m->n_places; i++)
        if (m->places[i].group == p->group && m->places[i].slot == p->slot)
            return &m->places[i];
    return p;
}

/* --- pages to tensors ------------------------------------------------------------------ */

static void put_numbers(lm_kvt_dtype d, uint8_t *to, const float *x, uint32_t n)
{
    if (d == LM_KVT_F32) {
        memcpy(to, x, n * sizeof *x);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint16_t h = d == LM_KVT_BF16 ? lm_f32_to_bf16(x[i]) : lm_f32_to_f16(x[i]);
        memcpy(to + 2 * (size_t)i, &h, 2);
    }
}

static lm_status new_slab(lm_snapshot *s, lm_kv_tensor *t, int32_t *shape, uint32_t *rank, lm_kvt_dtype d,
                          uint32_t heads, uint32_t rows, uint32_t dim, lm_error *err)
{
    uint64_t n = (uint64_t)heads * rows * dim;
    void *p;
    if (n > UINT32_MAX)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "a layer of %u heads, %u positions and %u dimensions is more than a snapshot holds",
                       heads, rows, dim);
    LM_TRY(lm_snapshot_alloc(s, (size_t)n, lm_kvt_size(d), &p, err));
    *t = (lm_kv_tensor){ .dtype = d, .n = (uint32_t)n, .raw = p };
    const int32_t dims[] = { 1, (int32_t)heads, (int32_t)rows, (int32_t)dim };
    memcpy(shape, dims, sizeof dims);
    *rank = 4;
    return LM_OK;
}

static lm_status layer_from_pages(lm_snapshot *s, lm_kv_layer *l, const lm_geometry *g, uint32_t slot,
                                  uint32_t n_tokens, const uint8_t *const *pages, lm_error *err)
{
    lm_page_layout y;
    float *x = NULL;
    LM_TRY(layout_of(g, &y, err));
    lm_kvt_dtype d = y.format == LM_KV_F16 ? LM_KVT_F16 : y.format == LM_KV_BF16 ? LM_KVT_BF16 : LM_KVT_F32;
    /* A whole window where its oldest position is still there: the next token sees one less. */
    uint32_t first = lm_first_needed(g, n_tokens);
    if (first && pages[(first - 1) / LM_PAGE_TOKENS])
        first--;
    uint32_t rows = n_tokens - first;
    l->max_size = g->window;
    LM_TRY(new_slab(s, &l->key, l->key_shape, &l->key_rank, d, g->n_heads, rows, g->k_dim, err));
    LM_TRY(new_slab(s, &l->value, l->value_shape, &l->value_rank, d, g->n_heads, rows, g->v_dim, err));
    LM_TRY(LM_NEW(&x, (size_t)g->k_dim + g->v_dim, err));
    size_t size = lm_kvt_size(d);
    uint8_t *key = (uint8_t *)(uintptr_t)l->key.raw, *value = (uint8_t *)(uintptr_t)l->value.raw;
    lm_status st = LM_OK;
    for (uint32_t pos = first; pos < n_tokens && st == LM_OK; pos++) {
        const uint8_t *page = pages[pos / LM_PAGE_TOKENS];
        if (!page)
            st = lm_fail(err, LM_ERR_STATE, "the page of position %u is gone", pos);
        for (uint32_t h = 0; h < g->n_heads && st == LM_OK; h++) {
            size_t row = (size_t)h * rows + (pos - first);
            lm_page_get(&y, page, slot, h, pos % LM_PAGE_TOKENS, x, g->k_dim, x + g->k_dim, g->v_dim);
            put_numbers(d, key + row * g->k_dim * size, x, g->k_dim);
            put_numbers(d, value + row * g->v_dim * size, x + g->k_dim, g->v_dim);
        }
    }
    lm_free(x);
    return st;
}

lm_status lm_snapshot_from_pages(lm_snapshot *s, const lm_page_map *m, uint32_t n_tokens,
                                 const uint8_t *const *const *pages, lm_error *err)
{
    LM_TRY(check_places(m, err));
    s->num_layers = m->n_layers;
    s->seq_len = n_tokens;
    if (m->n_places == 0)
        return LM_OK;
    const lm_geometry *g0 = &m->groups[m->places[0].group];
    s->num_heads = g0->n_heads;
    s->head_dim = g0->k_dim;
    LM_TRY(lm_snapshot_alloc(s, m->n_places, sizeof *s->layers, (void **)&s->layers, err));
    s->n_layers = m->n_places;
    for (uint32_t i = 0; i < m->n_places; i++) {
        const lm_layer_place *p = &m->places[i];
        lm_kv_layer *l = &s->layers[i];
        l->layer = (int32_t)p->layer;
        l->cache_index = cache_index(m, p);
        if (owner(m, p) != p) /* its numbers stand in the first layer of this cache */
            continue;
        LM_TRY(layer_from_pages(s, l, &m->groups[p->group], p->slot, n_tokens, pages[p->group], err));
    }
    return LM_OK;
}

/* --- tensors to pages -------------------------------------------------------------------- */

static lm_status layer_fits(const lm_snapshot *s, const lm_kv_layer *l, const lm_geometry *g, lm_error *err)
{
    uint32_t heads = lm_kv_layer_heads(l), rows, needed = s->n_tokens - lm_first_needed(g, s->n_tokens);
    if (heads != g->n_heads)
        return lm_fail(err, LM_ERR_MISMATCH,
                       "layer %d of the snapshot has %u key/value heads, the model's %u", l->layer, heads,
                       g->n_heads);
    LM_TRY(lm_kv_layer_rows(s, l, &rows, err));
    if (rows < needed || rows > s->n_tokens)
        return lm_fail(err, LM_ERR_MISMATCH,
                       "layer %d of the snapshot has %u of %u positions, the model needs the last %u",
                       l->layer, rows, s->n_tokens, needed);
    for (uint32_t h = 0; h < heads; h++) {
        lm_kv_block k, v;
        LM_TRY(lm_kv_view(s, l, h, false, &k, err));
        LM_TRY(lm_kv_view(s, l, h, true, &v, err));
        if (k.dim != g->k_dim || v.dim != g->v_dim || k.rows != rows || v.rows != rows)
            return lm_fail(
                err, LM_ERR_MISMATCH,
                "layer %d of the snapshot has %u x %u keys and %u x %u values, the model's are %u and "
                "%u wide",
                l->layer, k.rows, k.dim, v.rows, v.dim, g->k_dim, g->v_dim);
        if (k.t.dtype == LM_KVT_Q8_NATIVE || v.t.dtype == LM_KVT_Q8_NATIVE)
            return lm_fail(err, LM_ERR_UNSUPPORTED, "layer %d: q8-native tensors have no scale", l->layer);
    }
    return LM_OK;
}

/* The layer's own record, or that of a layer that shares its cache. */
static const lm_kv_layer *record_of(const lm_snapshot *s, const lm_page_map *m, const lm_layer_place *p)
{
    const lm_kv_layer *l = lm_snapshot_layer(s, (int32_t)p->layer);
    for (uint32_t i = 0; i < m->n_places && (!l || lm_kv_layer_heads(l) == 0); i++)
        if (m->places[i].group == p->group && m->places[i].slot == p->slot)
            l = lm_snapshot_layer(s, (int32_t)m->places[i].layer);
    return l;
}

lm_status lm_snapshot_fits(const lm_snapshot *s, const lm_page_map *m, lm_error *err)
{
    LM_TRY(check_places(m, err));
    if (s->n_tokens == 0)
        return lm_fail(err, LM_ERR_MISMATCH, "the snapshot has no tokens");
    if (lm_snapshot_offset(s) != s->n_tokens || lm_snapshot_seq_len(s) != s->n_tokens)
        return lm_fail(err, LM_ERR_MISMATCH,
                       "the snapshot has %u tokens for %u positions up to %u: it begins in the middle",
                       s->n_tokens, lm_snapshot_seq_len(s), lm_snapshot_offset(s));
    if (s->num_layers != m->n_layers)
        return lm_fail(err, LM_ERR_MISMATCH, "the snapshot has %u layers, the model %u", s->num_layers,
                       m->n_layers);
    if (lm_snapshot_has_payloads(s))
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "the snapshot holds payloads that another program compressed");
    for (uint32_t i = 0; i < m->n_places; i++) {
        const lm_layer_place *p = &m->places[i];
        const lm_kv_layer *l = record_of(s, m, p);
        lm_page_layout y;
        LM_TRY(layout_of(&m->groups[p->group], &y, err));
        if (!l)
            return lm_fail(err, LM_ERR_MISMATCH, "the snapshot lacks layer %u", p->layer);
        LM_TRY(layer_fits(s, l, &m->groups[p->group], err));
    }
    return LM_OK;
}

static lm_status layer_to_pages(const lm_snapshot *s, const lm_kv_layer *l, const lm_geometry *g,
                                uint32_t slot, uint8_t *const *pages, lm_error *err)
{
    lm_page_layout y;
    float *x = NULL;
    uint32_t rows, n = s->n_tokens;
    LM_TRY(layout_of(g, &y, err));
    LM_TRY(lm_kv_layer_rows(s, l, &rows, err));
    LM_TRY(LM_NEW(&x, (size_t)g->k_dim + g->v_dim, err));
    lm_status st = LM_OK;
    for (uint32_t h = 0; h < g->n_heads && st == LM_OK; h++) {
        lm_kv_block k, v;
        st = lm_kv_view(s, l, h, false, &k, err);
        if (st == LM_OK)
            st = lm_kv_view(s, l, h, true, &v, err);
        for (uint32_t r = 0; r < rows && st == LM_OK; r++) {
            uint32_t pos = n - rows + r;
            if (!pages[pos / LM_PAGE_TOKENS])
                continue; /* older than what the windows still see */
            st = lm_kv_tensor_get(&k.t, (uint64_t)r * k.dim, k.dim, x, err);
            if (st == LM_OK)
                st = lm_kv_tensor_get(&v.t, (uint64_t)r * v.dim, v.dim, x + k.dim, err);
            if (st == LM_OK)
                lm_page_put(&y, pages[pos / LM_PAGE_TOKENS], slot, h, pos % LM_PAGE_TOKENS, x, k.dim,
                            x + k.dim, v.dim);
        }
    }
    lm_free(x);
    return st;
}

static lm_status fill(const lm_snapshot *s, const lm_page_map *m, lm_page_set *o, lm_error *err)
{
    o->n_pages = (uint32_t)((s->n_tokens + (uint64_t)LM_PAGE_TOKENS - 1) / LM_PAGE_TOKENS);
    o->n_groups = m->n_groups;
    for (uint32_t g = 0; g < m->n_groups; g++) {
        LM_TRY(LM_NEW(&o->pages[g], o->n_pages, err));
        for (uint32_t i = lm_first_needed(&m->groups[g], s->n_tokens) / LM_PAGE_TOKENS; i < o->n_pages; i++) {
            size_t n = (size_t)m->groups[g].page_bytes;
            LM_TRY(lm_new_aligned((void **)&o->pages[g][i], n, err));
            memset(o->pages[g][i], 0, n);
        }
    }
    for (uint32_t i = 0; i < m->n_places; i++) {
        const lm_layer_place *p = &m->places[i];
        if (owner(m, p) == p)
            LM_TRY(layer_to_pages(s, record_of(s, m, p), &m->groups[p->group], p->slot, o->pages[p->group],
                                  err));
    }
    return lm_snapshot_check(s, err);
}

lm_status lm_snapshot_to_pages(const lm_snapshot *s, const lm_page_map *m, lm_page_set *out, lm_error *err)
{
    *out = (lm_page_set){ .n_groups = 0 };
    lm_status st = fill(s, m, out, err);
    if (st != LM_OK)
        lm_pages_free(out);
    return st;
}

void lm_pages_free(lm_page_set *p)
{
    for (uint32_t g = 0; g < LM_STATE_GROUPS; g++) {
        for (uint32_t i = 0; p->pages[g] && i < p->n_pages; i++)
            lm_free(p->pages[g][i]);
        lm_free(p->pages[g]);
    }
    *p = (lm_page_set){ .n_groups = 0 };
}
