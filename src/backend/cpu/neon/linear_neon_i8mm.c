/* backend/cpu/neon/linear_neon_i8mm.c - integer linears with smmla (Armv8.6 I8MM).
 *
 *   a panel's quads, two at a time, by pairs of rows     two tokens, 8 columns
 *   [row 0: 8 columns][row 1: 8 columns]             x   [token 0][token 1]
 *     -> row 0 x token 0, row 0 x token 1, row 1 x token 0, row 1 x token 1
 *
 * One token goes through sdot, as without I8MM. */
#include "backend/cpu/neon/lanes_neon.h"

/* Quads 2 i and 2 i + 1 of four rows, [row][4], to rows 0 1 and rows 2 3, [row][8]. */
LM_INLINE void pair_rows(vi *codes, uint32_t blocks)
{
    for (uint32_t i = 0; i < blocks * 8; i += 2)
        for (uint32_t v = 0; v < VECS; v++) {
            vi *a = codes + i * VECS + v, *b = a + VECS, x = *a, y = *b;
            *a = vzip1q_u32(x, y);
            *b = vzip2q_u32(x, y);
        }
}

/* As tile_dots() of lanes_body.h; T is TILE or 1. */
LM_INLINE void tile_products(int limit, int T, const vi *codes, const int8_t *const *x, size_t at, int from,
                             int to, bool begin, vi sum[TILE][VECS])
{
    enum { PAIRS = TILE / 2 };
    int32x4_t a[PAIRS][VECS][2];
    (void)limit;
    const int pairs = T == 1 ? 1 : PAIRS;
    for (int t = 0; t < pairs; t++)
        for (int v = 0; v < VECS; v++) {
            int32x4_t s0 = vdupq_n_s32(0), s1 = s0;
            if (!begin) {
                s0 = vreinterpretq_s32_u32(sum[2 * t][v]);
                s1 = T == 1 ? s0 : vreinterpretq_s32_u32(sum[2 * t + 1][v]);
            }
            a[t][v][0] = vzip1q_s32(s0, s1);
            a[t][v][1] = vzip2q_s32(s0, s1);
        }
    for (int q = from; q < to; q += 2)
        for (int t = 0; t < pairs; t++) {
            const int8_t *x0 = x[2 * t] + at + 4 * q, *x1 = T == 1 ? x0 : x[2 * t + 1] + at + 4 * q;
            int8x16_t xs = vcombine_s8(vld1_s8(x0), vld1_s8(x1));
            for (int v = 0; v < VECS; v++)
                for (int i = 0; i < 2; i++)
                    a[t][v][i] = vmmlaq_s32(a[t][v][i], vreinterpretq_s8_u32(codes[(q + i) * VECS + v]), xs);
        }
    for (int t = 0; t < pairs; t++)
        for (int v = 0; v < VECS; v++) {
            sum[2 * t][v] = vreinterpretq_u32_s32(vuzp1q_s32(a[t][v][0], a[t][v][1]));
            if (T > 1)
                sum[2 * t + 1][v] = vreinterpretq_u32_s32(vuzp2q_s32(a[t][v][0], a[t][v][1]));
        }
}

#define LANES_NAME             "neon-i8mm"
#define LANES_Q8               lm_linear_q8_neon_i8mm
#define LANES_Q16              lm_linear_q16_neon_i8mm
#define LANES_TILE_DOTS        tile_products
#define LANES_PANEL_DONE(p, n) pair_rows(p, n)
#include "backend/cpu/lanes_body.h"
