/* backend/cpu/avx512/attend_bf16_avx512.c - attention over bf16 pages with the
 * instruction that multiplies pairs (vdpbf16ps).
 *
 * The page's layout is the instruction's: a 64-byte line of keys holds two
 * dimensions of 16 positions, a line of values two positions of 16 dimensions.
 * The query is scaled and rounded to bf16, so are the weights of the softmax;
 * the sum of the weights is of the unrounded ones.  Sums are float32, one per
 * (row, position) over the pairs of dimensions in order, and one per (row,
 * dimension) over the pairs of positions of a block in order, begun anew in
 * every block.
 *
 * Register tiles (4 rows x 4 lines; up to 2 rows x 8 lines for one token) are for
 * speed alone: no sum depends on them.
 */
#include "backend/cpu/weigh.h"

LM_INLINE __m512bh line(const uint8_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

LM_INLINE __m512bh both(const uint8_t *p, size_t pair)
{
    int32_t x;
    memcpy(&x, p + 4 * pair, sizeof x);
    return (__m512bh)_mm512_set1_epi32(x);
}

static void query(const lm_page_layout *l, const float *q, float scale, uint32_t k_dim, uint8_t *out)
{
    for (uint32_t i = 0; i < l->k_pad; i++) {
        uint16_t h = i < k_dim ? lm_f32_to_bf16(q[i] * scale) : 0;
        memcpy(out + 2 * (size_t)i, &h, sizeof h);
    }
}

LM_INLINE void score_rows(const uint8_t *k, uint32_t k_pad, const uint8_t *q, size_t q_stride, int rows,
                          float *scores, const uint8_t *next)
{
    size_t tile = (size_t)LM_KV_TILE * k_pad * 2;
    __m512 s[4][4];
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < 4; u++)
            s[r][u] = _mm512_setzero_ps();
    for (uint32_t d = 0; d < k_pad / 2; d++) {
        __m512bh x[4];
        for (int u = 0; u < 4; u++)
            x[u] = line(k + (size_t)u * tile + 64 * (size_t)d);
        if (next)
            for (int u = 0; u < 4; u++)
                LM_FETCH(next + 256 * (size_t)d + 64 * u);
        for (int r = 0; r < rows; r++) {
            __m512bh y = both(q + (size_t)r * q_stride, d);
            for (int u = 0; u < 4; u++)
                s[r][u] = _mm512_dpbf16_ps(s[r][u], x[u], y);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < 4; u++)
            _mm512_storeu_ps(scores + r * LM_BLOCK + u * LANES, s[r][u]);
}

static void score(const lm_page_layout *l, const uint8_t *k, const uint8_t *q, size_t q_stride, uint32_t rows,
                  float *scores, const uint8_t *next)
{
    uint32_t r = 0, k_pad = l->k_pad;
    for (; r + 4 <= rows; r += 4, next = NULL)
        score_rows(k, k_pad, q + r * q_stride, q_stride, 4, scores + r * LM_BLOCK, next);
    q += r * q_stride;
    scores += r * LM_BLOCK;
    if (rows - r == 3)
        score_rows(k, k_pad, q, q_stride, 3, scores, next);
    else if (rows - r == 2)
        score_rows(k, k_pad, q, q_stride, 2, scores, next);
    else if (rows - r == 1)
        score_rows(k, k_pad, q, q_stride, 1, scores, next);
}

/* `n` lines of every pair of positions. */
LM_INLINE void value_lines(const uint8_t *v, size_t stride, int n, const uint8_t *p, int rows, const float *c,
                           float *acc, size_t acc_stride, const uint8_t *next)
{
    __m512 s[4][8];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++)
            s[r][j] = _mm512_setzero_ps();
    for (size_t i = 0; i < LM_BLOCK / 2; i++) {
        __m512bh x[8];
        for (int j = 0; j < n; j++)
            x[j] = line(v + i * stride + 64 * (size_t)j);
        if (next)
            for (int j = 0; j < n; j++)
                LM_FETCH(next + i * stride + 64 * (size_t)j);
        for (int r = 0; r < rows; r++) {
            __m512bh y = both(p + 256 * (size_t)r, i);
            for (int j = 0; j < n; j++)
                s[r][j] = _mm512_dpbf16_ps(s[r][j], x[j], y);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            float *y = acc + (size_t)r * acc_stride + j * LANES;
            _mm512_storeu_ps(y, _mm512_fmadd_ps(_mm512_loadu_ps(y), _mm512_set1_ps(c[r]), s[r][j]));
        }
}

LM_INLINE void value_rows(const uint8_t *v, uint32_t v_pad, const uint8_t *p, int rows, const float *c,
                          float *acc, const uint8_t *next)
{
    size_t stride = 4 * (size_t)v_pad;
    uint32_t at = 0;
    if (rows <= 2)
        for (; at + 8 * LANES <= v_pad; at += 8 * LANES)
            value_lines(v + 4 * at, stride, 8, p, rows, c, acc + at, v_pad, next ? next + 4 * at : NULL);
    for (; at + 4 * LANES <= v_pad; at += 4 * LANES)
        value_lines(v + 4 * at, stride, 4, p, rows, c, acc + at, v_pad, next ? next + 4 * at : NULL);
    for (; at < v_pad; at += LANES)
        value_lines(v + 4 * at, stride, 1, p, rows, c, acc + at, v_pad, next ? next + 4 * at : NULL);
}

static void value(const lm_page_layout *l, const uint8_t *v, const uint8_t *p, size_t p_stride, uint32_t rows,
                  const float *c, float *acc, const uint8_t *next, uint8_t *scratch)
{
    uint32_t r = 0, v_pad = l->v_pad;
    (void)p_stride; /* 256 */
    (void)scratch;
    for (; r + 4 <= rows; r += 4, next = NULL)
        value_rows(v, v_pad, p + (size_t)r * 256, 4, c + r, acc + (size_t)r * v_pad, next);
    p += (size_t)r * 256;
    c += r;
    acc += (size_t)r * v_pad;
    if (rows - r == 3)
        value_rows(v, v_pad, p, 3, c, acc, next);
    else if (rows - r == 2)
        value_rows(v, v_pad, p, 2, c, acc, next);
    else if (rows - r == 1)
        value_rows(v, v_pad, p, 1, c, acc, next);
}

static void weigh(const lm_page_layout *l, const uint8_t *v, const float *scores, uint32_t lo, uint32_t hi,
                  float softcap, float *max, float *sum, float *c, uint8_t *out)
{
    (void)l;
    (void)v;
    v16 p[4];
    weights_of(scores, lo, hi, softcap, max, sum, c, p);
    for (int u = 0; u < 2; u++) {
        __m512bh h = _mm512_cvtne2ps_pbh(p[2 * u + 1], p[2 * u]);
        memcpy(out + 64 * u, &h, sizeof h);
    }
}

const lm_attend_kernel lm_attend_bf16_avx512 = {
    "bf16 pages, bf16 dot products", query, score, value, weigh, NULL, "bf16dot"
};
