/* sample/vexp.h - exp of a number that is not positive, in a form that compilers
 * keep in vectors.
 *
 * Relative error below 3e-7 (tests/unit/test_sampler.c).  Below -87 the answer
 * is 0: such a token weighs less than 1.7e-38 of the likeliest.
 *
 * Threads: any thread.
 */
#ifndef LM_VEXP_H
#define LM_VEXP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#define LM_EXP_FLOOR (-87.0f)

/* Four at a time, as the vector extension that gcc and clang share: left to
 * themselves they do not agree on which loops to vectorise. */
typedef float lm_f32x4 __attribute__((vector_size(16)));
typedef int32_t lm_i32x4 __attribute__((vector_size(16)));

LM_INLINE lm_f32x4 lm_x4(float x)
{
    return (lm_f32x4){ x, x, x, x };
}

LM_INLINE lm_f32x4 lm_x4_load(const float *x)
{
    lm_f32x4 v;
    memcpy(&v, x, sizeof v);
    return v;
}

/* Where `mask` is set a, else b. */
LM_INLINE lm_f32x4 lm_x4_pick(lm_i32x4 mask, lm_f32x4 a, lm_f32x4 b)
{
    return (lm_f32x4)((mask & (lm_i32x4)a) | (~mask & (lm_i32x4)b));
}

/* Whether any of the 16 at x is >= bar, or > bar. */
LM_INLINE bool lm_any16(lm_i32x4 a, lm_i32x4 b, lm_i32x4 c, lm_i32x4 d)
{
    typedef int64_t pair __attribute__((vector_size(16)));
    pair any = (pair)((a | b) | (c | d));
    return (any[0] | any[1]) != 0;
}

LM_INLINE bool lm_any16_least(const float *x, float bar)
{
    const lm_f32x4 b = lm_x4(bar);
    return lm_any16(lm_x4_load(x) >= b, lm_x4_load(x + 4) >= b, lm_x4_load(x + 8) >= b,
                    lm_x4_load(x + 12) >= b);
}

LM_INLINE bool lm_any16_above(const float *x, float bar)
{
    const lm_f32x4 b = lm_x4(bar);
    return lm_any16(lm_x4_load(x) > b, lm_x4_load(x + 4) > b, lm_x4_load(x + 8) > b, lm_x4_load(x + 12) > b);
}

/* x <= 0; what is above counts as 0 and NaN as -infinity. */
LM_INLINE lm_f32x4 lm_exp_neg_x4(lm_f32x4 x)
{
    /* exp(x) = 2^k exp(r), |r| <= ln2 / 2; adding 1.5 * 2^23 rounds to a whole
     * number and leaves k in the low bits. */
    const lm_f32x4 magic = lm_x4(12582912.0f), zero = lm_x4(0.0f);
    const lm_i32x4 alive = x >= lm_x4(LM_EXP_FLOOR);
    lm_f32x4 y = lm_x4_pick(alive, x, lm_x4(LM_EXP_FLOOR));
    y = lm_x4_pick(y > zero, zero, y);
    lm_f32x4 shifted = y * lm_x4(1.44269504f) + magic;
    lm_f32x4 k = shifted - magic;
    lm_f32x4 r = (y - k * lm_x4(0.693359375f)) + k * lm_x4(2.12194440e-4f);
    /* Taylor to the sixth power: the rest is below 1.2e-7 at |r| = ln2 / 2. */
    lm_f32x4 e = lm_x4(1.0f / 720.0f);
    e = e * r + lm_x4(1.0f / 120.0f);
    e = e * r + lm_x4(1.0f / 24.0f);
    e = e * r + lm_x4(1.0f / 6.0f);
    e = e * r + lm_x4(0.5f);
    e = e * r + lm_x4(1.0f);
    e = e * r + lm_x4(1.0f);
    /* k + 127 is the exponent; it is between 1 and 127. */
    const lm_i32x4 bias =
        (lm_i32x4){ 0x4B400000 - 127, 0x4B400000 - 127, 0x4B400000 - 127, 0x4B400000 - 127 };
    lm_i32x4 scale = ((lm_i32x4)shifted - bias) << 23;
    return (lm_f32x4)((lm_i32x4)(e * (lm_f32x4)scale) & alive);
}

/* The same number for one. */
LM_INLINE float lm_exp_neg(float x)
{
    return lm_exp_neg_x4(lm_x4(x))[0];
}

#endif
