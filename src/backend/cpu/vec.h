/* backend/cpu/vec.h - sixteen floats at a time, alike on every instruction set.
 *
 * Kernels are written once over this type and compiled for each instruction
 * set: one register, two, or sixteen numbers in a row.  Every function rounds as
 * IEEE 754 says (fma where it is named fma, never elsewhere), so all give the
 * same bits.  A sum over the lanes folds in halves: 8, 4, 2, 1.
 *
 * Included by the files that are compiled per instruction set and by nobody
 * else.  Threads: pure functions.
 */
#ifndef LM_CPU_VEC_H
#define LM_CPU_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

enum { LANES = 16 };

/* What is read a block later is brought as far as the second level: of the first,
 * too few lines can be under way at once (docs/design/cpu.md has the figures). */
#define LM_FETCH(at) __builtin_prefetch((at), 0, 2)

#if defined(__AVX512F__)
#include <immintrin.h>

typedef __m512 v16;
/* clang-format off */
LM_INLINE v16 v_set1(float x) { return _mm512_set1_ps(x); }
LM_INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
LM_INLINE void v_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
LM_INLINE v16 v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
LM_INLINE void v_store_n(float *p, v16 a, size_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
LM_INLINE v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
LM_INLINE v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
LM_INLINE v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
LM_INLINE v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
LM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
LM_INLINE v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
LM_INLINE v16 v_abs(v16 a) { return _mm512_abs_ps(a); }
LM_INLINE v16 v_round(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a < b ? x : y, lane by lane; false where either is NaN. */
LM_INLINE v16 v_pick_lt(v16 a, v16 b, v16 x, v16 y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/* |a| with the sign of b */
LM_INLINE v16 v_copysign(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32((int)0x80000000u), _mm512_castps_si512(b),
                                                         _mm512_castps_si512(a), 0xca));
}
/* a * 2^n for whole n in [-126, 128] and results that are normal or infinite. */
LM_INLINE v16 v_ldexp(v16 a, v16 n) { return _mm512_scalef_ps(a, n); }
/* clang-format on */
LM_INLINE float v_sum(v16 a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
LM_INLINE float v_hmax(v16 a)
{
    __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}
/* 16 numbers of 16 bits. */
LM_INLINE v16 v_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
LM_INLINE v16 v_load_bf16(const uint8_t *p)
{
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* 16 pairs of 16-bit numbers: the first ones and the second ones. */
LM_INLINE void v_pairs_bf16(const uint8_t *p, v16 *a, v16 *b)
{
    __m512i x = _mm512_loadu_si512(p);
    *a = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
    *b = _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32((int)0xffff0000u)));
}
LM_INLINE void v_pairs_f16(const uint8_t *p, v16 *a, v16 *b)
{
    __m512i x = _mm512_loadu_si512(p);
    *a = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
    *b = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16)));
}

#elif defined(__AVX2__)
#include <immintrin.h>

typedef struct {
    __m256 a, b;
} v16;
/* clang-format off */
LM_INLINE v16 v_set1(float x) { return (v16){ _mm256_set1_ps(x), _mm256_set1_ps(x) }; }
LM_INLINE v16 v_load(const float *p) { return (v16){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
LM_INLINE void v_store(float *p, v16 x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
LM_INLINE v16 v_load_n(const float *p, size_t n) { float t[16] = { 0 }; memcpy(t, p, n * sizeof *p); return v_load(t); }
LM_INLINE void v_store_n(float *p, v16 x, size_t n) { float t[16]; v_store(t, x); memcpy(p, t, n * sizeof *p); }
LM_INLINE v16 v_add(v16 x, v16 y) { return (v16){ _mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b) }; }
LM_INLINE v16 v_sub(v16 x, v16 y) { return (v16){ _mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b) }; }
LM_INLINE v16 v_mul(v16 x, v16 y) { return (v16){ _mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b) }; }
LM_INLINE v16 v_div(v16 x, v16 y) { return (v16){ _mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b) }; }
LM_INLINE v16 v_fma(v16 x, v16 y, v16 z) { return (v16){ _mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b) }; }
LM_INLINE v16 v_max(v16 x, v16 y) { return (v16){ _mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b) }; }
LM_INLINE v16 v_abs(v16 x) { __m256 s = _mm256_set1_ps(-0.0f); return (v16){ _mm256_andnot_ps(s, x.a), _mm256_andnot_ps(s, x.b) }; }
LM_INLINE v16 v_round(v16 x)
{
    return (v16){ _mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) };
}
LM_INLINE v16 v_pick_lt(v16 x, v16 y, v16 s, v16 t)
{
    return (v16){ _mm256_blendv_ps(t.a, s.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                  _mm256_blendv_ps(t.b, s.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)) };
}
LM_INLINE v16 v_copysign(v16 x, v16 y)
{
    __m256 s = _mm256_set1_ps(-0.0f);
    return (v16){ _mm256_or_ps(_mm256_andnot_ps(s, x.a), _mm256_and_ps(s, y.a)),
                  _mm256_or_ps(_mm256_andnot_ps(s, x.b), _mm256_and_ps(s, y.b)) };
}
/* 2^n from its exponent, in two factors, so that n may be 128. */
LM_INLINE __m256 v_ldexp8(__m256 x, __m256 n)
{
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256i r = _mm256_sub_epi32(i, h);
    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, bias), 23)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(r, bias), 23)));
}
LM_INLINE v16 v_ldexp(v16 x, v16 n) { return (v16){ v_ldexp8(x.a, n.a), v_ldexp8(x.b, n.b) }; }
/* clang-format on */
LM_INLINE float v_sum(v16 x)
{
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
LM_INLINE float v_hmax(v16 x)
{
    __m256 b = _mm256_max_ps(x.a, x.b);
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}
LM_INLINE __m128i v_half_bits(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
LM_INLINE v16 v_load_f16(const uint8_t *p)
{
    return (v16){ _mm256_cvtph_ps(v_half_bits(p)), _mm256_cvtph_ps(v_half_bits(p + 16)) };
}
LM_INLINE __m256 v_from_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
LM_INLINE v16 v_load_bf16(const uint8_t *p)
{
    return (v16){ v_from_bf16(v_half_bits(p)), v_from_bf16(v_half_bits(p + 16)) };
}
LM_INLINE __m256i v_bits(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
LM_INLINE void v_pairs_bf16(const uint8_t *p, v16 *a, v16 *b)
{
    __m256i x = v_bits(p), y = v_bits(p + 32), high = _mm256_set1_epi32((int)0xffff0000u);
    *a =
        (v16){ _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(y, 16)) };
    *b = (v16){ _mm256_castsi256_ps(_mm256_and_si256(x, high)),
                _mm256_castsi256_ps(_mm256_and_si256(y, high)) };
}
/* The eight low halves of x, as f16, to floats. */
LM_INLINE __m256 v_low_f16(__m256i x)
{
    __m256i p = _mm256_packus_epi32(x, x); /* within each 128 bits */
    p = _mm256_permute4x64_epi64(p, 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(p));
}
LM_INLINE void v_pairs_f16(const uint8_t *p, v16 *a, v16 *b)
{
    __m256i x = v_bits(p), y = v_bits(p + 32), low = _mm256_set1_epi32(0xffff);
    *a = (v16){ v_low_f16(_mm256_and_si256(x, low)), v_low_f16(_mm256_and_si256(y, low)) };
    *b = (v16){ v_low_f16(_mm256_srli_epi32(x, 16)), v_low_f16(_mm256_srli_epi32(y, 16)) };
}

#elif defined(__aarch64__) && defined(LM_NEON)
#include <arm_neon.h>

typedef struct {
    float32x4_t q[4];
} v16;
#define V_EACH(expr)                                                                                         \
    v16 r;                                                                                                   \
    for (int i = 0; i < 4; i++)                                                                              \
        r.q[i] = (expr);                                                                                     \
    return r
/* clang-format off */
LM_INLINE v16 v_set1(float x) { V_EACH(vdupq_n_f32(x)); }
LM_INLINE v16 v_load(const float *p) { V_EACH(vld1q_f32(p + 4 * i)); }
LM_INLINE void v_store(float *p, v16 a) { for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.q[i]); }
LM_INLINE v16 v_load_n(const float *p, size_t n) { float t[16] = { 0 }; memcpy(t, p, n * sizeof *p); return v_load(t); }
LM_INLINE void v_store_n(float *p, v16 a, size_t n) { float t[16]; v_store(t, a); memcpy(p, t, n * sizeof *p); }
LM_INLINE v16 v_add(v16 a, v16 b) { V_EACH(vaddq_f32(a.q[i], b.q[i])); }
LM_INLINE v16 v_sub(v16 a, v16 b) { V_EACH(vsubq_f32(a.q[i], b.q[i])); }
LM_INLINE v16 v_mul(v16 a, v16 b) { V_EACH(vmulq_f32(a.q[i], b.q[i])); }
LM_INLINE v16 v_div(v16 a, v16 b) { V_EACH(vdivq_f32(a.q[i], b.q[i])); }
LM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { V_EACH(vfmaq_f32(c.q[i], a.q[i], b.q[i])); }
/* fmax would give the number where one is NaN; the others give b. */
LM_INLINE v16 v_max(v16 a, v16 b) { V_EACH(vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i])); }
LM_INLINE v16 v_abs(v16 a) { V_EACH(vabsq_f32(a.q[i])); }
LM_INLINE v16 v_round(v16 a) { V_EACH(vrndnq_f32(a.q[i])); }
LM_INLINE v16 v_pick_lt(v16 a, v16 b, v16 x, v16 y) { V_EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), x.q[i], y.q[i])); }
LM_INLINE v16 v_copysign(v16 a, v16 b) { V_EACH(vbslq_f32(vdupq_n_u32(0x80000000u), b.q[i], a.q[i])); }
/* clang-format on */
/* 2^n in two factors, as AVX2 does it. */
LM_INLINE float32x4_t v_ldexp4(float32x4_t x, float32x4_t n)
{
    int32x4_t k = vcvtnq_s32_f32(n), h = vshrq_n_s32(k, 1), bias = vdupq_n_s32(127);
    int32x4_t r = vsubq_s32(k, h);
    x = vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(h, bias), 23)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(r, bias), 23)));
}
LM_INLINE v16 v_ldexp(v16 a, v16 n)
{
    V_EACH(v_ldexp4(a.q[i], n.q[i]));
}
LM_INLINE float v_sum(v16 a)
{
    float32x4_t s = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
LM_INLINE float32x4_t v_max4(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
LM_INLINE float v_hmax(v16 a)
{
    float t[4];
    vst1q_f32(t, v_max4(v_max4(a.q[0], a.q[2]), v_max4(a.q[1], a.q[3])));
    float x = t[0] > t[2] ? t[0] : t[2], y = t[1] > t[3] ? t[1] : t[3];
    return x > y ? x : y;
}
LM_INLINE float32x4_t v_from_bf16(uint16x4_t h)
{
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
LM_INLINE uint16x4_t v_four(const uint8_t *p)
{
    return vreinterpret_u16_u8(vld1_u8(p));
}
LM_INLINE v16 v_load_bf16(const uint8_t *p)
{
    V_EACH(v_from_bf16(v_four(p + 8 * i)));
}
LM_INLINE v16 v_load_f16(const uint8_t *p)
{
    V_EACH(vcvt_f32_f16(vreinterpret_f16_u16(v_four(p + 8 * i))));
}
LM_INLINE void v_pairs_bf16(const uint8_t *p, v16 *a, v16 *b)
{
    for (int i = 0; i < 4; i++) {
        uint32x4_t x = vreinterpretq_u32_u8(vld1q_u8(p + 16 * i));
        a->q[i] = vreinterpretq_f32_u32(vshlq_n_u32(x, 16));
        b->q[i] = vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xffff0000u)));
    }
}
LM_INLINE void v_pairs_f16(const uint8_t *p, v16 *a, v16 *b)
{
    for (int i = 0; i < 4; i++) {
        uint32x4_t x = vreinterpretq_u32_u8(vld1q_u8(p + 16 * i));
        a->q[i] = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(x)));
        b->q[i] = vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(x, 16)));
    }
}
#undef V_EACH

#else
#include "quant/quant.h"
#define V_PLAIN

typedef struct {
    float f[LANES];
} v16;
#define V_EACH(expr)                                                                                         \
    v16 r;                                                                                                   \
    for (int i = 0; i < LANES; i++)                                                                          \
        r.f[i] = (expr);                                                                                     \
    return r
/* clang-format off */
LM_INLINE v16 v_set1(float x) { V_EACH(x); }
LM_INLINE v16 v_load(const float *p) { V_EACH(p[i]); }
LM_INLINE void v_store(float *p, v16 a) { memcpy(p, a.f, sizeof a.f); }
LM_INLINE v16 v_load_n(const float *p, size_t n) { v16 r = { { 0 } }; memcpy(r.f, p, n * sizeof *p); return r; }
LM_INLINE void v_store_n(float *p, v16 a, size_t n) { memcpy(p, a.f, n * sizeof *p); }
LM_INLINE v16 v_add(v16 a, v16 b) { V_EACH(a.f[i] + b.f[i]); }
LM_INLINE v16 v_sub(v16 a, v16 b) { V_EACH(a.f[i] - b.f[i]); }
LM_INLINE v16 v_mul(v16 a, v16 b) { V_EACH(a.f[i] * b.f[i]); }
LM_INLINE v16 v_div(v16 a, v16 b) { V_EACH(a.f[i] / b.f[i]); }
LM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { V_EACH(fmaf(a.f[i], b.f[i], c.f[i])); }
LM_INLINE v16 v_max(v16 a, v16 b) { V_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
LM_INLINE v16 v_abs(v16 a) { V_EACH(fabsf(a.f[i])); }
LM_INLINE v16 v_round(v16 a) { V_EACH(rintf(a.f[i])); }
LM_INLINE v16 v_pick_lt(v16 a, v16 b, v16 x, v16 y) { V_EACH(a.f[i] < b.f[i] ? x.f[i] : y.f[i]); }
LM_INLINE v16 v_copysign(v16 a, v16 b) { V_EACH(copysignf(a.f[i], b.f[i])); }
/* clang-format on */
LM_INLINE float v_power(int n) /* 2^n, n from -126 to 127 */
{
    uint32_t u = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
LM_INLINE v16 v_ldexp(v16 a, v16 n)
{
    v16 r;
    for (int i = 0; i < LANES; i++) {
        /* NaN has no exponent; the lane is NaN already. */
        int k = n.f[i] >= -252 && n.f[i] <= 252 ? (int)n.f[i] : 0, h = k / 2;
        r.f[i] = a.f[i] * v_power(h) * v_power(k - h);
    }
    return r;
}
LM_INLINE float v_sum(v16 a)
{
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            a.f[i] = a.f[i] + a.f[i + half];
    return a.f[0];
}
LM_INLINE float v_hmax(v16 a)
{
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            a.f[i] = a.f[i] > a.f[i + half] ? a.f[i] : a.f[i + half];
    return a.f[0];
}
LM_INLINE v16 v_load_bf16(const uint8_t *p)
{
    uint16_t h[LANES];
    memcpy(h, p, sizeof h);
    V_EACH(lm_bf16_to_f32(h[i]));
}
LM_INLINE v16 v_load_f16(const uint8_t *p)
{
    uint16_t h[LANES];
    memcpy(h, p, sizeof h);
    V_EACH(lm_f16_to_f32(h[i]));
}
LM_INLINE void v_pairs_bf16(const uint8_t *p, v16 *a, v16 *b)
{
    uint16_t h[2 * LANES];
    memcpy(h, p, sizeof h);
    for (int i = 0; i < LANES; i++) {
        a->f[i] = lm_bf16_to_f32(h[2 * i]);
        b->f[i] = lm_bf16_to_f32(h[2 * i + 1]);
    }
}
LM_INLINE void v_pairs_f16(const uint8_t *p, v16 *a, v16 *b)
{
    uint16_t h[2 * LANES];
    memcpy(h, p, sizeof h);
    for (int i = 0; i < LANES; i++) {
        a->f[i] = lm_f16_to_f32(h[2 * i]);
        b->f[i] = lm_f16_to_f32(h[2 * i + 1]);
    }
}
#undef V_EACH
#endif

/* 0, 1, … 15 */
LM_INLINE v16 v_iota(void)
{
    static const float n[LANES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    return v_load(n);
}

#endif
