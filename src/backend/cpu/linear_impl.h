/* backend/cpu/linear_impl.h - what the linear kernels of all instruction sets share.
 *
 * Activations "q8-32": one token's row, cols padded with zeros to P, a multiple of 128:
 *
 *   byte 0        P            P + P/8       P + P/4        P + P/4 + P/8
 *        | codes  | d          | xs          | sum          |
 *        | int8   | float / 32 | float / 32  | int16 / 16   |
 *
 * x ~ d * code; sum adds the codes of 16 neighbours; xs = d * (sum of the 32 codes).
 *
 * A block is 32 columns (one activation scale).  A group is what shares one
 * weight scale: 1, 2 or 4 blocks.  The chain for one output, floats throughout:
 *
 *   acc = 0
 *   each slab of 2048 columns in order:
 *     each group g of the slab in order, formats with mins:  acc = fma(m[g], xs of g, acc)
 *     each group g of the slab in order:                     t = I[b0] * d[b0]
 *                                                            t = fma(I[b], d[b], t)    its further blocks
 *                                                            acc = fma(s[g], t, acc)
 *
 * where xs of g adds the xs of its blocks in order and I[b] is the exact integer
 * sum of (code - off) * x over block b; where two scales fall into a block
 * (sub16) it is sc[0] * sum over the first half + sc[1] * sum over the second.
 *
 * Threads: pure functions.
 */
#ifndef LM_CPU_LINEAR_IMPL_H
#define LM_CPU_LINEAR_IMPL_H

#include <math.h>
#include <string.h>

#include "backend/cpu/linear.h"
#include "base/checked.h"

enum { LM_LIN_SLAB = 2048 };

/* How a number format maps to the chain above. */
typedef struct {
    uint8_t blocks;  /* activation blocks in a group: 1, 2, 4; 0: no integer kernel */
    uint8_t off;     /* w = s * (code - off) + m */
    bool mins;       /* there is an m */
    bool sub16;      /* integer scales of 16 columns below s */
    bool wide_codes; /* codes may exceed 127 */
} lm_lin_class;

lm_lin_class lm_lin_class_of(const lm_quant *q);

/* One for all instruction sets: a layout is known by its address.  (q8-32 is the
 * same bytes everywhere, made by code of each.) */
extern const lm_act_layout lm_act_f32;
/* q8: codes with scales; float: f32, f16, bf16; f32: whatever to_f32 decodes. */
extern const lm_cpu_linear lm_linear_q8_portable, lm_linear_float_portable, lm_linear_f32_portable;
extern const lm_cpu_linear lm_linear_q8_avx2, lm_linear_float_avx2, lm_linear_f32_avx2;
extern const lm_cpu_linear lm_linear_q8_avx512, lm_linear_float_avx512, lm_linear_f32_avx512;

/* Rows of activations start at odd multiples of 64 bytes from each other, so
 * that the rows of a tile do not compete for the same sets of the caches. */
static inline size_t lm_act_stride(size_t bytes)
{
    return (size_t)lm_round_up(bytes, 64) | 64;
}

static inline uint32_t lm_act_padded(uint32_t cols)
{
    return (uint32_t)lm_round_up(cols, 128);
}

static inline size_t lm_act_q8_bytes(uint32_t cols)
{
    size_t p = lm_act_padded(cols);
    return lm_act_stride(p + p / 4 + p / 8);
}

static inline size_t lm_act_f32_bytes(uint32_t cols)
{
    return lm_act_stride((size_t)lm_round_up(cols, 16) * 4);
}

static inline const float *lm_act_d(const uint8_t *x, uint32_t cols)
{
    return (const float *)(const void *)(x + lm_act_padded(cols));
}

static inline const float *lm_act_xs(const uint8_t *x, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols);
    return (const float *)(const void *)(x + p + p / 8);
}

static inline const int16_t *lm_act_sum(const uint8_t *x, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols);
    return (const int16_t *)(const void *)(x + p + p / 4);
}

/* x * y + z rounded once.  Without an FMA instruction: the product is exact in
 * double, the sum is rounded to odd there, so that rounding to float is right. */
static inline float lm_lin_fma(float x, float y, float z)
{
#ifdef __FMA__
    return __builtin_fmaf(x, y, z);
#else
    double p = (double)x * (double)y, c = (double)z, s = p + c;
    double back = s - p, lost = (p - (s - back)) + (c - back);
    uint64_t u;
    memcpy(&u, &s, 8);
    if (lost != 0 && !(u & 1) && (u & 0x7ff0000000000000u) != 0x7ff0000000000000u) {
        u = (lost > 0) == (s > 0) ? u + 1 : u - 1;
        memcpy(&s, &u, 8);
    }
    return (float)s;
#endif
}

#endif
