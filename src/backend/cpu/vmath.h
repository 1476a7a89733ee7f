/* backend/cpu/vmath.h - exp, tanh, erf and what activations make of them.
 *
 * Our own, so that scalar, AVX2 and AVX-512 code give the same bits (N1).
 * Largest errors, measured over a dense sweep in tests/ops/test_cpu_math.c:
 * exp, tanh and erf within 2 units in the last place.
 *
 * exp underflows to 0 below -87.33 (no denormal results) and overflows to
 * infinity above 88.72.  Polynomials are minimax fits to the functions named
 * beside them.
 */
#ifndef LM_CPU_VMATH_H
#define LM_CPU_VMATH_H

#include "backend/cpu/vec.h"
#include "tensor/program.h"

/* In plain C each is a function: sixteen numbers' worth of code at every use took a
 * compiler 25 s. */
#ifdef V_PLAIN
#define V_MATH static LM_NOINLINE LM_UNUSED
#else
#define V_MATH LM_INLINE
#endif

V_MATH v16 v_exp(v16 x)
{
    /* x = n ln2 + r, |r| <= ln2 / 2; ln2 in two parts of which the first has
     * few bits, so that n times it is exact. */
    v16 lo = v_set1(-87.33f), hi = v_set1(88.72284f);
    v16 c = v_pick_lt(x, lo, lo, v_pick_lt(hi, x, hi, x));
    v16 n = v_round(v_mul(c, v_set1(1.44269504f)));
    v16 r = v_fma(n, v_set1(-0x1.62e4p-1f), c);
    r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
    /* (e^r - 1 - r) / r^2 */
    v16 p = v_set1(0x1.6db460p-10f);
    p = v_fma(p, r, v_set1(0x1.123b7ep-7f));
    p = v_fma(p, r, v_set1(0x1.55545ep-5f));
    p = v_fma(p, r, v_set1(0x1.55548ep-3f));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_fma(v_mul(r, r), p, r);
    p = v_ldexp(v_add(p, v_set1(1.0f)), n);
    p = v_pick_lt(x, lo, v_set1(0.0f), p);
    return v_pick_lt(hi, x, v_set1(INFINITY), p);
}

V_MATH v16 v_tanh(v16 x)
{
    v16 a = v_abs(x), z = v_mul(x, x), one = v_set1(1.0f);
    /* (tanh x - x) / x^3 in x^2, |x| <= 0.6 */
    v16 p = v_set1(-0x1.830bc6p-8f);
    p = v_fma(p, z, v_set1(0x1.54e00ep-6f));
    p = v_fma(p, z, v_set1(-0x1.b89ed8p-5f));
    p = v_fma(p, z, v_set1(0x1.1109dcp-3f));
    p = v_fma(p, z, v_set1(-0x1.55553ep-2f));
    v16 small = v_fma(v_mul(x, z), p, x);
    v16 big = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(a, a)), one)));
    return v_pick_lt(a, v_set1(0.6f), small, v_copysign(big, x));
}

V_MATH v16 v_erf(v16 x)
{
    v16 a = v_abs(x), z = v_mul(x, x);
    /* erf x / x - 1 in x^2, x^2 <= 0.9 */
    v16 p = v_set1(0x1.58f05ep-14f);
    p = v_fma(p, z, v_set1(-0x1.a918d8p-11f));
    p = v_fma(p, z, v_set1(0x1.54a7d6p-8f));
    p = v_fma(p, z, v_set1(-0x1.b80b66p-6f));
    p = v_fma(p, z, v_set1(0x1.ce2de6p-4f));
    p = v_fma(p, z, v_set1(-0x1.812742p-2f));
    p = v_fma(p, z, v_set1(0x1.06eba8p-3f));
    v16 small = v_fma(x, p, x);
    /* ln erfc x, 0.9 <= x <= 4; erf 4 rounds to 1 */
    v16 four = v_set1(4.0f), c = v_pick_lt(four, a, four, a);
    v16 q = v_set1(-0x1.5d7202p-16f);
    q = v_fma(q, c, v_set1(0x1.c4592ap-12f));
    q = v_fma(q, c, v_set1(-0x1.106256p-8f));
    q = v_fma(q, c, v_set1(0x1.9aebb2p-6f));
    q = v_fma(q, c, v_set1(-0x1.bb4548p-4f));
    q = v_fma(q, c, v_set1(-0x1.444d1ep-1f));
    q = v_fma(q, c, v_set1(-0x1.212626p+0f));
    q = v_fma(q, c, v_set1(0x1.62d8bep-13f));
    v16 big = v_copysign(v_sub(v_set1(1.0f), v_exp(q)), x);
    return v_pick_lt(a, v_set1(0.92f), small, big);
}

LM_INLINE v16 v_act(lm_act act, v16 x)
{
    v16 one = v_set1(1.0f), zero = v_set1(0.0f);
    switch (act) {
    case LM_ACT_SILU: return v_div(x, v_add(one, v_exp(v_sub(zero, x))));
    case LM_ACT_GELU:
        return v_mul(v_mul(v_set1(0.5f), x), v_add(one, v_erf(v_mul(x, v_set1(0.70710678118654752f)))));
    case LM_ACT_GELU_TANH: {
        v16 cube = v_mul(v_mul(v_mul(v_set1(0.044715f), x), x), x);
        v16 t = v_tanh(v_mul(v_set1(0.79788456080286536f), v_add(x, cube)));
        return v_mul(v_mul(v_set1(0.5f), x), v_add(one, t));
    }
    case LM_ACT_RELU: return v_pick_lt(zero, x, x, zero);
    }
    return zero;
}

LM_INLINE v16 v_softcap(v16 x, float cap)
{
    return v_mul(v_set1(cap), v_tanh(v_div(x, v_set1(cap))));
}

#endif
