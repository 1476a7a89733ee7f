/* backend/cpu/attend_codes.h - attention over pages of 8-bit and 4-bit codes.
 *
 * Included by one file of each instruction set, which defines before it
 *   dots()          exact integer dot products of quads of bytes, see below
 *   put_words()     64 whole numbers as dots() wants them
 *   put_query()     one of the query's
 *   scales16()      16 bf16 numbers as floats
 *   unpack4()       4-bit values of a block -> [P/4][v_pad][4] signed bytes
 *   ATTEND_Q8, ATTEND_K8V4   names of the kernels.
 *
 * The query is rounded to 16 bits with one scale a row, and so are, in every block,
 * the weights of the softmax times the values' scales, with one scale for each group
 * of dimensions that shares the values' scales.  All products and sums of codes are
 * exact in 32 bits, so every instruction set gives the same bits:
 *
 *   score_i = dq * sum over groups g, in order, of  float(I_ig) * dk_ig     fma
 *   w_ig    = p_i * dv_ig;  dw_g = max w / 32512;   code = nearest(w / dw)
 *   block_d = float(I_d) * dw_g;   acc_d = fma(acc_d, c, block_d)
 *
 * |I| < 32 * 127 * 32512 + 32 * 128 * 32512 for keys (excess 128 included),
 * 64 * 127 * 32512 for values: below 2^31.
 *
 * Threads: pure functions over the caller's memory.
 */
#ifndef LM_ATTEND_CODES_H
#define LM_ATTEND_CODES_H

#include "backend/cpu/weigh.h"
#include "tensor/kv_codes.h"

/* Query row: 2 * k_pad bytes of codes, then for each group -128 times the sum of its
 * codes (what the keys' excess adds), then the scale. */
LM_INLINE int32_t query_start(const lm_page_layout *l, const uint8_t *q, uint32_t group)
{
    int32_t x;
    memcpy(&x, q + 2 * (size_t)l->k_pad + 4 * (size_t)group, sizeof x);
    return x;
}

static void codes_query(const lm_page_layout *l, const float *q, float scale, uint32_t k_dim, uint8_t *out)
{
    uint8_t *tail = out + 2 * (size_t)l->k_pad;
    uint32_t top = 0, u;
    for (uint32_t i = 0; i < k_dim; i++) {
        float x = q[i] * scale;
        memcpy(&u, &x, sizeof u);
        u &= 0x7fffffffu;
        top = u > top ? u : top;
    }
    float amax;
    memcpy(&amax, &top, sizeof amax);
    /* Below 2^-100 a row is zero; infinities and NaN are the scale of zero codes. */
    float inverse = top < 0x0d800000u || top >= 0x7f800000u ? 0.0f : LM_WORD_MAX / amax;
    float d = top < 0x0d800000u ? 0.0f : amax / LM_WORD_MAX;
    for (uint32_t g = 0; g < l->k_groups; g++) {
        int32_t sum = 0;
        for (uint32_t i = g * LM_KV_GROUP; i < LM_MIN(l->k_pad, (g + 1) * LM_KV_GROUP); i++) {
            int32_t code = lm_kv_nearest(i < k_dim && inverse > 0 ? q[i] * scale * inverse : 0.0f);
            put_query(out, i, code);
            sum += code;
        }
        sum *= -128;
        memcpy(tail + 4 * (size_t)g, &sum, sizeof sum);
    }
    memcpy(tail + 4 * (size_t)l->k_groups, &d, sizeof d);
}

/* rows x n tiles of 16 positions. */
LM_INLINE const uint8_t *score_tiles(const lm_page_layout *l, const uint8_t *k, int u0, int n,
                                     const uint8_t *q, size_t q_stride, int rows, float *scores,
                                     const uint8_t *next)
{
    size_t tile = (size_t)LM_KV_TILE * l->k_pad;
    const uint8_t *codes = k + lm_kv_scales(l->k_groups) + (size_t)u0 * tile;
    v16 s[4][4], t[4][4];
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < n; u++)
            s[r][u] = v_set1(0.0f);
    for (uint32_t g = 0; g < l->k_groups; g++) {
        int32_t start[4];
        uint32_t quads = LM_MIN(l->k_pad - g * LM_KV_GROUP, (uint32_t)LM_KV_GROUP) / 4;
        for (int r = 0; r < rows; r++)
            start[r] = query_start(l, q + (size_t)r * q_stride, g);
        dots(codes + (size_t)g * LM_KV_GROUP * LM_KV_TILE, 64, tile, n, quads,
             q + 2 * (size_t)g * LM_KV_GROUP, q_stride, rows, true, start, t, next);
        next = next ? next + 64 * (size_t)quads * (size_t)n : NULL;
        for (int u = 0; u < n; u++) {
            v16 d = scales16(k + lm_kv_scales(g) + 32 * (size_t)(u0 + u));
            for (int r = 0; r < rows; r++)
                s[r][u] = v_fma(t[r][u], d, s[r][u]);
        }
    }
    for (int r = 0; r < rows; r++) {
        float d;
        memcpy(&d, q + (size_t)r * q_stride + 2 * (size_t)l->k_pad + 4 * (size_t)l->k_groups, sizeof d);
        for (int u = 0; u < n; u++)
            v_store(scores + r * LM_BLOCK + (u0 + u) * LANES, v_mul(s[r][u], v_set1(d)));
    }
    return next;
}

LM_INLINE void fetch_lines(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; at && i < bytes; i += 64)
        LM_FETCH(at + i);
}

static void codes_score(const lm_page_layout *l, const uint8_t *k, const uint8_t *q, size_t q_stride,
                        uint32_t rows, float *scores, const uint8_t *next)
{
    uint32_t r = 0;
    fetch_lines(next, lm_kv_scales(l->v_groups));
    next = next ? next + lm_kv_scales(l->v_groups) : NULL;
    for (; r + CODE_ROWS <= rows; r += CODE_ROWS)
        for (int u = 0; u < 4; u += CODE_LINES)
            next = score_tiles(l, k, u, CODE_LINES, q + r * q_stride, q_stride, CODE_ROWS,
                               scores + r * LM_BLOCK, r == 0 ? next : NULL);
    for (; r + 2 <= rows; r += 2)
        for (int u = 0; u < 4; u += CODE_LINES2)
            next = score_tiles(l, k, u, CODE_LINES2, q + r * q_stride, q_stride, 2, scores + r * LM_BLOCK,
                               r == 0 ? next : NULL);
    for (; r < rows; r++)
        for (int u = 0; u < 4; u += CODE_LINES2)
            next = score_tiles(l, k, u, CODE_LINES2, q + r * q_stride, q_stride, 1, scores + r * LM_BLOCK,
                               r == 0 ? next : NULL);
}

/* Weights row: a scale for each group, to a whole line, then for each group 64 codes. */
LM_INLINE size_t codes_header(const lm_page_layout *l)
{
    return ((size_t)l->v_groups * 4 + 63) / 64 * 64;
}

static void codes_weigh(const lm_page_layout *l, const uint8_t *v, const float *scores, uint32_t lo,
                        uint32_t hi, float softcap, float *max, float *sum, float *c, uint8_t *out)
{
    v16 p[4], w[4];
    weights_of(scores, lo, hi, softcap, max, sum, c, p);
    for (uint32_t g = 0; g < l->v_groups; g++) {
        for (int u = 0; u < 4; u++)
            w[u] = v_mul(p[u], scales16(v + lm_kv_scales(g) + 32 * (size_t)u));
        float top = v_hmax(v_max(v_max(w[0], w[1]), v_max(w[2], w[3])));
        bool dead = !(top >= 0x1p-100f); /* nothing to see in this group, or a NaN */
        float d = dead && top >= 0 ? 0.0f : top / LM_WORD_MAX;
        v16 inverse = v_set1(dead ? 0.0f : LM_WORD_MAX / top);
        for (int u = 0; u < 4; u++)
            w[u] = v_round(v_mul(w[u], inverse));
        memcpy(out + 4 * (size_t)g, &d, sizeof d);
        put_words(out + codes_header(l) + 128 * (size_t)g, w);
    }
}

/* rows x n sixteens of dimensions from dimension d. */
LM_INLINE void value_tiles(const lm_page_layout *l, const uint8_t *codes, uint32_t g, uint32_t d, int n,
                           const uint8_t *p, size_t p_stride, int rows, const float *c, float *acc,
                           const uint8_t *next)
{
    static const int32_t start[4];
    v16 t[4][4];
    dots(codes + 4 * (size_t)d, 4 * (size_t)l->v_pad, 64, n, LM_BLOCK / 4,
         p + codes_header(l) + 128 * (size_t)g, p_stride, rows, false, start, t, next);
    for (int r = 0; r < rows; r++) {
        float w;
        memcpy(&w, p + (size_t)r * p_stride + 4 * (size_t)g, sizeof w);
        for (int j = 0; j < n; j++) {
            float *y = acc + (size_t)r * l->v_pad + d + (size_t)j * LANES;
            v_store(y, v_fma(v_load(y), v_set1(c[r]), v_mul(t[r][j], v_set1(w))));
        }
    }
}

LM_INLINE void value_rows(const lm_page_layout *l, const uint8_t *codes, int most, const uint8_t *p,
                          size_t p_stride, int rows, const float *c, float *acc, const uint8_t *next)
{
    uint32_t width = l->v_pad / l->v_groups;
    for (uint32_t g = 0; g < l->v_groups; g++) {
        uint32_t d = g * width, end = d + width;
        for (; d + (uint32_t)most * LANES <= end; d += (uint32_t)most * LANES) {
            value_tiles(l, codes, g, d, most, p, p_stride, rows, c, acc, next);
            next = next ? next + 64 * (size_t)most * (LM_BLOCK / 4) : NULL;
        }
        for (; d < end; d += LANES) {
            value_tiles(l, codes, g, d, 1, p, p_stride, rows, c, acc, next);
            next = next ? next + 64 * (size_t)(LM_BLOCK / 4) : NULL;
        }
    }
}

LM_INLINE void value_all(const lm_page_layout *l, const uint8_t *codes, int most, const uint8_t *p,
                         size_t p_stride, uint32_t rows, const float *c, float *acc, const uint8_t *next)
{
    uint32_t r = 0;
    for (; r + CODE_ROWS <= rows; r += CODE_ROWS, next = NULL)
        value_rows(l, codes, CODE_LINES, p + r * p_stride, p_stride, CODE_ROWS, c + r,
                   acc + (size_t)r * l->v_pad, next);
    for (; r + 2 <= rows; r += 2, next = NULL)
        value_rows(l, codes, most, p + r * p_stride, p_stride, 2, c + r, acc + (size_t)r * l->v_pad, next);
    for (; r < rows; r++, next = NULL)
        value_rows(l, codes, most, p + r * p_stride, p_stride, 1, c + r, acc + (size_t)r * l->v_pad, next);
}

static void codes_value8(const lm_page_layout *l, const uint8_t *v, const uint8_t *p, size_t p_stride,
                         uint32_t rows, const float *c, float *acc, const uint8_t *next, uint8_t *scratch)
{
    size_t scales = lm_kv_scales(l->k_groups);
    (void)scratch;
    fetch_lines(next, scales);
    value_all(l, v + lm_kv_scales(1), CODE_LINES2, p, p_stride, rows, c, acc, next ? next + scales : NULL);
}

static void codes_value4(const lm_page_layout *l, const uint8_t *v, const uint8_t *p, size_t p_stride,
                         uint32_t rows, const float *c, float *acc, const uint8_t *next, uint8_t *scratch)
{
    size_t scales = lm_kv_scales(l->k_groups);
    fetch_lines(next, scales);
    unpack4(v + lm_kv_scales(l->v_groups), (size_t)LM_BLOCK / 2 * l->v_pad, scratch);
    value_all(l, scratch, 2, p, p_stride, rows, c, acc, next ? next + scales : NULL);
}

static void codes_put(const lm_page_layout *l, uint8_t *k_block, uint32_t pos, const float *k, uint32_t k_dim,
                      const float *v, uint32_t v_dim)
{
    lm_kv_put_codes(l, k_block, pos, k, k_dim, v, v_dim);
}

const lm_attend_kernel ATTEND_Q8 = {
    "q8 pages, integer dot products", codes_query, codes_score, codes_value8, codes_weigh, codes_put, NULL
};
const lm_attend_kernel ATTEND_K8V4 = { "k-q8-v-q4 pages, integer dot products",
                                       codes_query,
                                       codes_score,
                                       codes_value4,
                                       codes_weigh,
                                       codes_put,
                                       NULL };

#endif
