/* tensor/kv_codes.h - one position into a page of 8-bit or 4-bit codes (kv.h draws it).
 *
 * Included by tensor/kv.c and by the CPU's files that are compiled per instruction
 * set; all give the same bytes.  Threads: pure functions over the caller's memory.
 */
#ifndef LM_KV_CODES_H
#define LM_KV_CODES_H

#include <string.h>

#include "base/compiler.h"
#include "quant/quant.h"
#include "tensor/kv.h"

/* The scale of n numbers, as bf16, and what they are to be multiplied by: the
 * largest magnitude comes out at 127 or a little below.  Nearly nothing (below
 * 2^-100) is zero; an infinity or a NaN becomes the scale, with zero codes, so
 * that attention says NaN. */
LM_INLINE uint16_t lm_kv_scale(const float *x, uint32_t n, float *inverse)
{
    uint32_t top = 0, u = 0;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(&u, &x[i], 4);
        u &= 0x7fffffffu;
        top = u > top ? u : top;
    }
    *inverse = 0;
    if (top < 0x0d800000u)
        return 0;
    if (top >= 0x7f800000u)
        return top > 0x7f800000u ? 0x7fc0 : 0x7f80;
    float amax = 0;
    memcpy(&amax, &top, 4);
    amax /= 127.0f;
    memcpy(&u, &amax, 4);
    u = (u + 0xffffu) & 0xffff0000u;
    memcpy(&amax, &u, 4);
    *inverse = 1.0f / amax;
    return (uint16_t)(u >> 16);
}

/* The nearest whole number, ties to even; |x| is at most 128. */
LM_INLINE int32_t lm_kv_nearest(float x)
{
    return (int32_t)((x + 12582912.0f) - 12582912.0f); /* 1.5 * 2^23 */
}

/* The nearest level: how many midpoints between levels lie below x. */
LM_INLINE uint8_t lm_kv_level(float x)
{
    static const float middle[LM_KV_LEVELS - 1] = { -110.5f, -87.5f, -68.5f, -52.5f, -38.5f,
                                                    -25.5f,  -12.5f, 0,      12.5f,  25.5f,
                                                    38.5f,   52.5f,  68.5f,  87.5f,  110.5f };
    uint32_t n = 0;
    for (int i = 0; i < LM_KV_LEVELS - 1; i++)
        n += x > middle[i];
    return (uint8_t)n;
}

LM_INLINE void lm_kv_put_scale(uint8_t *block, uint32_t group, uint32_t pos, uint16_t scale)
{
    memcpy(block + lm_kv_scales(group) + 2 * (size_t)pos, &scale, sizeof scale);
}

/* One position's key and value into one head's blocks, keys first. */
LM_INLINE void lm_kv_put_codes(const lm_page_layout *l, uint8_t *kb, uint32_t pos, const float *k,
                               uint32_t k_dim, const float *v, uint32_t v_dim)
{
    uint8_t *vb = kb + l->k_bytes, *kc = kb + lm_kv_scales(l->k_groups), *vc = vb + lm_kv_scales(l->v_groups);
    float inverse = 0;
    for (uint32_t g = 0; g * LM_KV_GROUP < k_dim; g++) {
        uint32_t d0 = g * LM_KV_GROUP, n = k_dim - d0 < LM_KV_GROUP ? k_dim - d0 : LM_KV_GROUP;
        uint8_t codes[LM_KV_GROUP];
        lm_kv_put_scale(kb, g, pos, lm_kv_scale(k + d0, n, &inverse));
        memset(codes, 128, sizeof codes);
        for (uint32_t i = 0; i < n; i++)
            codes[i] = (uint8_t)(lm_kv_nearest(inverse > 0 ? k[d0 + i] * inverse : 0.0f) + 128);
        for (uint32_t i = 0; i < n; i += 4) /* padding of less than four is zero */
            memcpy(kc + lm_k_index8(l, pos, d0 + i), codes + i, 4);
    }
    if (l->format == LM_KV_Q8) {
        lm_kv_put_scale(vb, 0, pos, lm_kv_scale(v, v_dim, &inverse));
        vc += lm_v_index8(l, pos, 0);
        for (uint32_t d = 0; d < v_dim; d++)
            vc[4 * (size_t)d] = (uint8_t)lm_kv_nearest(inverse > 0 ? v[d] * inverse : 0.0f);
        return;
    }
    for (uint32_t g = 0; g < l->v_groups; g++) {
        float x[LM_KV_GROUP] = { 0 };
        uint8_t codes[LM_KV_GROUP];
        uint32_t d0 = g * LM_KV_GROUP;
        memcpy(x, v + d0, (v_dim - d0 < LM_KV_GROUP ? v_dim - d0 : LM_KV_GROUP) * sizeof *x);
        lm_kv_put_scale(vb, g, pos, lm_kv_scale(x, LM_KV_GROUP, &inverse));
        for (uint32_t i = 0; i < LM_KV_GROUP; i++)
            codes[i] = lm_kv_level(inverse > 0 ? x[i] * inverse : 0.0f);
        uint8_t *to = vc + lm_v_index4(l, pos, d0);
        for (uint32_t i = 0; i < LM_KV_GROUP / 2; i++)
            to[4 * (size_t)i] = (uint8_t)(codes[i] | codes[i + 16] << 4);
    }
}

#endif
