/* quant/formats.h - what the format files of this room share.
 *
 * Every descriptor by name, for the registry, and the small conversions that
 * the row loops need inline.  Nothing outside src/quant/ includes this.
 *
 * Threads: any thread.
 */
#ifndef LM_QUANT_FORMATS_H
#define LM_QUANT_FORMATS_H

#include <string.h>

#include "base/checked.h"
#include "quant/quant.h"

extern const lm_quant lm_quant_f32, lm_quant_f16, lm_quant_bf16, lm_quant_f64;
extern const lm_quant lm_quant_q4_0, lm_quant_q4_1, lm_quant_q5_0, lm_quant_q5_1, lm_quant_q8_0;
extern const lm_quant lm_quant_q2_k, lm_quant_q3_k, lm_quant_q4_k, lm_quant_q5_k, lm_quant_q6_k;
extern const lm_quant lm_quant_iq1_s, lm_quant_iq1_m;
extern const lm_quant lm_quant_iq2_xxs, lm_quant_iq2_xs, lm_quant_iq2_s;
extern const lm_quant lm_quant_iq3_xxs, lm_quant_iq3_s, lm_quant_iq4_nl, lm_quant_iq4_xs;
extern const lm_quant lm_quant_tq1_0, lm_quant_tq2_0, lm_quant_mxfp4, lm_quant_nvfp4;
extern const lm_quant lm_quant_mlx_mxfp4, lm_quant_mlx_mxfp8, lm_quant_mlx_nvfp4;

/* bits 1 to 6 and 8, three groups, three types of scale; ordered as the names
 * say: the scale type varies fastest. */
enum { LM_QUANT_N_AFFINE = 63 };
extern const lm_quant lm_quant_affines[LM_QUANT_N_AFFINE];

static inline float lm_quant_float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t lm_quant_bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Without branches: `a` where the condition holds, else `b`.  A conditional
 * expression with float arithmetic in one arm would keep loops from vectorising. */
static inline uint32_t lm_quant_pick(bool condition, uint32_t a, uint32_t b)
{
    uint32_t mask = 0u - (uint32_t)condition;
    return (a & mask) | (b & ~mask);
}

/* No arithmetic on float32 subnormals, so a flush-to-zero mode changes nothing. */
static inline float lm_quant_half_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, u = (uint32_t)(h & 0x7fffu) << 13;
    uint32_t normal = u + (112u << 23); /* exponent bias 15 becomes 127 */
    uint32_t special = u | 0x7f800000u; /* infinity, NaN */
    /* m * 2^-24: the last bit of 0.5 weighs just that */
    uint32_t tiny = lm_quant_bits_of(lm_quant_float_of(0x3f000000u | (h & 0x3ffu)) - 0.5f);
    uint32_t r = lm_quant_pick(u >= 0x0f800000u, special, normal);
    return lm_quant_float_of(lm_quant_pick(u < 0x00800000u, tiny, r) | sign);
}

static inline uint16_t lm_quant_f32_to_half(float f)
{
    uint32_t u = lm_quant_bits_of(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
    /* below 2^-14: the addition rounds to multiples of 2^-24, ties to even */
    float small = lm_quant_float_of(lm_quant_pick(a < 0x38800000u, a, 0));
    uint32_t tiny = lm_quant_bits_of(small + 0.5f) - 0x3f000000u;
    uint32_t r = lm_quant_pick(a < 0x38800000u, tiny, normal);
    r = lm_quant_pick(a >= 0x47800000u, 0x7c00u, r); /* 2^16 and more */
    r = lm_quant_pick(a > 0x7f800000u, 0x7e00u | (a >> 13 & 0x1ffu), r);
    return (uint16_t)(r | sign);
}

/* The two bytes at p as a float. */
static inline float lm_quant_half_at(const uint8_t *p)
{
    return lm_quant_half_to_f32(lm_u16le(p));
}

static inline void lm_quant_put_half(uint8_t *p, float f)
{
    uint16_t h = lm_quant_f32_to_half(f);
    memcpy(p, &h, sizeof h);
}

/* 1/d, 0 for the zero block. */
static inline float lm_quant_inverse(float d)
{
    return d == 0 ? 0 : 1 / d;
}

/* Truncates into 0..top; NaN gives 0. */
static inline uint8_t lm_quant_code(float x, float top)
{
    x = x > 0 ? x : 0;
    x = x < top ? x : top;
    return (uint8_t)x;
}

/* The largest |x|, NaN left out. */
static inline float lm_quant_amax(const float *x, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        m = a > m ? a : m;
    }
    return m;
}

/* The first of the numbers with the largest |x|, sign kept. */
static inline float lm_quant_extreme(const float *x, size_t n)
{
    float m = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        at = a > m ? x[i] : at;
        m = a > m ? a : m;
    }
    return at;
}

static inline void lm_quant_range(const float *x, size_t n, float *least, float *most)
{
    float lo = x[0], hi = x[0];
    for (size_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *least = lo;
    *most = hi;
}

/* An E4M3 byte (1 sign, 4 exponent, 3 mantissa bits, bias 7, no infinity):
 * the fields move to their places in a float32 and the bias grows by 120;
 * 0x7f and 0xff are NaN. */
static inline float lm_quant_e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80u) << 24, m = b & 0x7fu;
    float tiny = (float)(m & 7u) * 0x1p-9f;
    uint32_t normal = (m << 20) + (120u << 23);
    uint32_t r = lm_quant_pick(m < 8, lm_quant_bits_of(tiny), normal);
    r = lm_quant_pick(m == 0x7f, 0x7fc00000u, r);
    return lm_quant_float_of(r | sign);
}

/* Nearest, ties to even, saturating at 448; NaN stays NaN. */
static inline uint8_t lm_quant_f32_to_e4m3(float f)
{
    uint32_t u = lm_quant_bits_of(f), sign = u >> 24 & 0x80u, a = u & 0x7fffffffu;
    uint32_t normal = (a - (120u << 23) + 0x7ffffu + (a >> 20 & 1)) >> 20;
    /* below 2^-6: multiples of 2^-9, the last bit of 2^14 */
    float small = lm_quant_float_of(lm_quant_pick(a < (121u << 23), a, 0));
    uint32_t tiny = lm_quant_bits_of(small + 0x1p14f) - lm_quant_bits_of(0x1p14f);
    uint32_t r = lm_quant_pick(a < (121u << 23), tiny, normal);
    r = lm_quant_pick(a >= 0x43e00000u, 0x7eu, r); /* 448 */
    r = lm_quant_pick(a > 0x7f800000u, 0x7fu, r);
    return (uint8_t)(r | sign);
}

/* Twice the sixteen E2M1 numbers (sign, two exponent bits, one mantissa bit). */
#define LM_QUANT_E2M1_TWICE                                                                                  \
    {                                                                                                        \
        0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12                                              \
    }

/* The E2M1 code nearest to x: at a tie the smaller magnitude, as the reference
 * searches its table in that order; a negative zero is never written. */
static inline uint8_t lm_quant_f32_to_e2m1(float x)
{
    float a = x < 0 ? -x : x;
    unsigned m = (unsigned)(a > 0.25f) + (a > 0.75f) + (a > 1.25f) + (a > 1.75f) + (a > 2.5f) + (a > 3.5f) +
                 (a > 5.0f);
    return (uint8_t)(m == 0 || x > 0 ? m : m | 8u);
}

/* The byte of the smallest power of two that is not below x (x >= 0), within
 * 2^-127 .. 2^127; 1 for zero, as MLX has it. */
static inline uint8_t lm_quant_e8m0_above(float x)
{
    uint32_t u = lm_quant_bits_of(x), e = u >> 23;
    if (u == 0)
        return 127;
    if (e == 0) /* subnormal: 2^-127 is 0x00400000 */
        return u <= 0x00400000u ? 0 : 1;
    e += (u & 0x7fffffu) != 0;
    return (uint8_t)(e < 254 ? e : 254);
}

/* 2^(b - 127); 255 is infinity, as MLX reads it. */
static inline float lm_quant_e8m0_to_f32(uint8_t b)
{
    return lm_quant_float_of(b == 0 ? 0x00400000u : (uint32_t)b << 23);
}

#endif
