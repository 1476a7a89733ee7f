/* tensor/kv.c - sizes of pages, and the plain reading and writing of them. */
#include "tensor/kv.h"

#include <string.h>

#include "base/checked.h"
#include "quant/quant.h"
#include "tensor/kv_codes.h"

static const char *const names[LM_KV_COUNT] = { "f32", "f16", "bf16", "q8", "k-q8-v-q4" };

const int8_t lm_kv_levels[LM_KV_LEVELS] = { -123, -98, -77, -60, -45, -32, -19, -6,
                                            6,    19,  32,  45,  60,  77,  98,  123 };

const char *lm_kv_name(lm_kv_format f)
{
    return (unsigned)f < LM_KV_COUNT ? names[f] : "?";
}

bool lm_kv_by_name(const char *name, lm_kv_format *out)
{
    for (int i = 0; i < LM_KV_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (lm_kv_format)i;
            return true;
        }
    return false;
}

/* Bytes of the blocks of 8 and 4 bits. */
static void lay_out_codes(const lm_cache_group *g, lm_page_layout *l)
{
    bool four = l->format == LM_KV_K8V4;
    l->k_pad = (uint32_t)lm_round_up(g->k_dim, 4);
    l->v_pad = (uint32_t)lm_round_up(g->v_dim, four ? LM_KV_GROUP : LM_KV_TILE);
    l->k_groups = (l->k_pad + LM_KV_GROUP - 1) / LM_KV_GROUP;
    l->v_groups = four ? l->v_pad / LM_KV_GROUP : 1;
    l->k_bytes = lm_kv_scales(l->k_groups) + (size_t)LM_PAGE_TOKENS * l->k_pad;
    l->v_bytes = lm_kv_scales(l->v_groups) + (size_t)LM_PAGE_TOKENS * l->v_pad / (four ? 2 : 1);
}

lm_page_layout lm_page_layout_of(const lm_cache_group *g, lm_kv_format format)
{
    size_t elem = format == LM_KV_F32 ? 4 : 2;
    lm_page_layout l = { .format = format,
                         .k_pad = (uint32_t)lm_round_up(g->k_dim, 2),
                         .v_pad = (uint32_t)lm_round_up(g->v_dim, 16) };
    l.k_bytes = (size_t)lm_round_up((uint64_t)LM_PAGE_TOKENS * l.k_pad * elem, 64);
    l.v_bytes = (size_t)lm_round_up((uint64_t)LM_PAGE_TOKENS * l.v_pad * elem, 64);
    if (format == LM_KV_Q8 || format == LM_KV_K8V4)
        lay_out_codes(g, &l);
    l.head_stride = l.k_bytes + l.v_bytes;
    l.layer_stride = l.head_stride * g->n_heads;
    l.page_bytes = l.layer_stride * g->n_layers;
    return l;
}

static uint16_t to16(lm_kv_format f, float x)
{
    return f == LM_KV_BF16 ? lm_f32_to_bf16(x) : lm_f32_to_f16(x);
}

static float from16(lm_kv_format f, uint16_t h)
{
    return f == LM_KV_BF16 ? lm_bf16_to_f32(h) : lm_f16_to_f32(h);
}

void lm_page_put(const lm_page_layout *l, uint8_t *page, uint32_t layer, uint32_t head, uint32_t pos,
                 const float *k, uint32_t k_dim, const float *v, uint32_t v_dim)
{
    uint8_t *kb = page + lm_page_k(l, layer, head), *vb = page + lm_page_v(l, layer, head);
    if (lm_kv_coded(l)) {
        lm_kv_put_codes(l, kb, pos, k, k_dim, v, v_dim);
        return;
    }
    if (l->format == LM_KV_F32) {
        for (uint32_t d = 0; d < k_dim; d++)
            memcpy(kb + 4 * lm_k_index32(l, pos, d), &k[d], 4);
        for (uint32_t d = 0; d < v_dim; d++)
            memcpy(vb + 4 * lm_v_index32(l, pos, d), &v[d], 4);
        return;
    }
    for (uint32_t d = 0; d < k_dim; d++) {
        uint16_t h = to16(l->format, k[d]);
        memcpy(kb + 2 * lm_k_index16(l, pos, d), &h, 2);
    }
    for (uint32_t d = 0; d < v_dim; d++) {
        uint16_t h = to16(l->format, v[d]);
        memcpy(vb + 2 * lm_v_index16(l, pos, d), &h, 2);
    }
}

static void get_codes(const lm_page_layout *l, const uint8_t *kb, const uint8_t *vb, uint32_t pos, float *k,
                      uint32_t k_dim, float *v, uint32_t v_dim)
{
    const uint8_t *kc = kb + lm_kv_scales(l->k_groups), *vc = vb + lm_kv_scales(l->v_groups);
    for (uint32_t d = 0; k && d < k_dim; d++)
        k[d] = lm_bf16_to_f32(lm_u16le(kb + lm_kv_scales(d / LM_KV_GROUP) + 2 * (size_t)pos)) *
               (float)((int)kc[lm_k_index8(l, pos, d)] - 128);
    for (uint32_t d = 0; v && d < v_dim; d++) {
        uint32_t group = l->v_groups == 1 ? 0 : d / LM_KV_GROUP;
        int code = 0;
        if (l->format == LM_KV_Q8)
            code = (int)(vc[lm_v_index8(l, pos, d)] ^ 128) - 128;
        else
            code = lm_kv_levels[vc[lm_v_index4(l, pos, d)] >> (d & 16 ? 4 : 0) & 15];
        v[d] = lm_bf16_to_f32(lm_u16le(vb + lm_kv_scales(group) + 2 * (size_t)pos)) * (float)code;
    }
}

void lm_page_get(const lm_page_layout *l, const uint8_t *page, uint32_t layer, uint32_t head, uint32_t pos,
                 float *k, uint32_t k_dim, float *v, uint32_t v_dim)
{
    const uint8_t *kb = page + lm_page_k(l, layer, head), *vb = page + lm_page_v(l, layer, head);
    if (lm_kv_coded(l)) {
        get_codes(l, kb, vb, pos, k, k_dim, v, v_dim);
        return;
    }
    for (uint32_t d = 0; k && d < k_dim; d++)
        k[d] = l->format == LM_KV_F32 ? lm_f32le(kb + 4 * lm_k_index32(l, pos, d))
                                      : from16(l->format, lm_u16le(kb + 2 * lm_k_index16(l, pos, d)));
    for (uint32_t d = 0; v && d < v_dim; d++)
        v[d] = l->format == LM_KV_F32 ? lm_f32le(vb + 4 * lm_v_index32(l, pos, d))
                                      : from16(l->format, lm_u16le(vb + 2 * lm_v_index16(l, pos, d)));
}
