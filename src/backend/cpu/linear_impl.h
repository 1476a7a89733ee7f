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
 * Activations "q16-32": 15 bits in two planes, x ~ d * q, q = 128 * hi + lo, hi within
 * +-127 and lo within -64 to 63, so |q| <= 16256.  The same row with hi as its codes
 * (d is that of q, xs = d * (sum of 32 q)), and behind it the plane of lo:
 *
 *   byte 0                   11 P / 8   19 P / 8
 *        | as q8-32, of hi   | lo       | sum of lo |
 *        |                   | int8     | int16 / 16|
 *
 * A kernel makes I = 128 * I(hi) + I(lo) before the float chain, which is the same.
 * I is exact in 32 bits: without integer scales |code - off| <= 255 and
 * |I| <= 32 * 255 * 16256 < 2^27; with them (sub16, q6_K) |code - off| <= 32 and |sc| <= 128,
 * |I| <= 32 * 32 * 128 * 16256 = 2130706432 < 2^31, and 128 * |I(hi)| + |I(lo)| is no
 * more than 2139095040.  (It is rounded once on its way to float, everywhere alike.)
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
/* q8, q16: codes with scales; float: f32, f16, bf16; f32: whatever to_f32 decodes. */
extern const lm_cpu_linear lm_linear_q8_portable, lm_linear_float_portable, lm_linear_f32_portable;
extern const lm_cpu_linear lm_linear_q8_avx2, lm_linear_float_avx2, lm_linear_f32_avx2;
extern const lm_cpu_linear lm_linear_q8_avx512, lm_linear_float_avx512, lm_linear_f32_avx512;
/* The dot instruction in 256 bits; floats as AVX2. */
extern const lm_cpu_linear lm_linear_q8_avx_vnni, lm_linear_q16_avx_vnni;
extern const lm_cpu_linear lm_linear_q8_neon, lm_linear_q16_neon, lm_linear_float_neon, lm_linear_f32_neon;
extern const lm_cpu_linear lm_linear_q8_neon_dotprod, lm_linear_q16_neon_dotprod;
extern const lm_cpu_linear lm_linear_q8_neon_i8mm, lm_linear_q16_neon_i8mm;
/* Many tokens in tiles; the rest is that of AVX-512. */
extern const lm_cpu_linear lm_linear_q8_amx, lm_linear_q16_amx;
extern const lm_cpu_linear lm_linear_q16_portable, lm_linear_q16_avx2, lm_linear_q16_avx512;

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

/* Sixteen bytes more, because sums are read eight blocks at a time. */
static inline size_t lm_act_q16_bytes(uint32_t cols)
{
    size_t p = lm_act_padded(cols);
    return lm_act_stride(2 * p + p / 2 + 16);
}

static inline size_t lm_act_code_bytes(uint32_t cols, bool precise)
{
    return precise ? lm_act_q16_bytes(cols) : lm_act_q8_bytes(cols);
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

/* The second plane of q16-32. */
static inline const int8_t *lm_act_lo(const uint8_t *x, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols);
    return (const int8_t *)(x + p + p / 4 + p / 8);
}

static inline const int16_t *lm_act_sum_lo(const uint8_t *x, uint32_t cols)
{
    return (const int16_t *)(const void *)(lm_act_lo(x, cols) + lm_act_padded(cols));
}

/* x * y + z rounded once.  Without an FMA instruction: the product is exact in
 * double, the sum is rounded to odd there, so that rounding to float is right. */
static inline float lm_lin_fma(float x, float y, float z)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
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
