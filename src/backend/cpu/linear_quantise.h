/* backend/cpu/linear_quantise.h - activations to "q8-32" and "q16-32" in vectors.
 *
 * The bytes are those of linear_act.h, which stays where there are no vectors of
 * 256 bits.  cvtps2dq rounds ties to even, as the C does.  Columns are a multiple of
 * 32: no other matrix has an integer kernel.
 *
 * Included by each instruction set's linears.  Pure functions. */
#ifndef LM_CPU_LINEAR_QUANTISE_H
#define LM_CPU_LINEAR_QUANTISE_H

#include "backend/cpu/linear_act.h"

#ifdef __AVX2__
#include <immintrin.h>

typedef struct {
    __m256i q[4]; /* 32 whole numbers */
    float amax;
    bool tiny;
} lm_rounded;

/* 32 numbers over their largest magnitude, times `most`. */
LM_INLINE lm_rounded lm_round32(const float *x, float most)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    lm_rounded r;
    __m256 v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        r.q[i] = _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude);
    }
    __m256i all = _mm256_max_epi32(_mm256_max_epi32(r.q[0], r.q[1]), _mm256_max_epi32(r.q[2], r.q[3]));
    __m128i top4 = _mm_max_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    top4 = _mm_max_epi32(top4, _mm_shuffle_epi32(top4, 0x4e));
    top4 = _mm_max_epi32(top4, _mm_shuffle_epi32(top4, 0xb1));
    uint32_t top = (uint32_t)_mm_cvtsi128_si32(top4);
    bool dead = top < LM_TINY_BITS || top >= LM_INF_BITS;
    r.amax = lm_act_float(top);
    r.tiny = top < LM_TINY_BITS;
    __m256 by = _mm256_set1_ps(dead ? 0 : most / r.amax);
    __m256 live = _mm256_castsi256_ps(_mm256_set1_epi32(dead ? 0 : -1)); /* 0 * NaN is NaN */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        r.q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_and_ps(v[i], live), by));
    return r;
}

/* Numbers that fit bytes, as bytes in order. */
LM_INLINE __m256i lm_narrow32(const __m256i q[4])
{
    __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of the first and of the last 16 bytes; their sum. */
LM_INLINE int32_t lm_sums16(__m256i bytes, int16_t *sum)
{
    __m256i v = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0x4e));
    v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xb1));
    int32_t a = _mm256_extract_epi32(v, 0), b = _mm256_extract_epi32(v, 4);
    sum[0] = (int16_t)a;
    sum[1] = (int16_t)b;
    return a + b;
}

LM_INLINE void lm_put32(void *to, __m256i v)
{
    _mm256_storeu_si256((__m256i *)to, v);
}

static void quantise_q8(const float *x, uint32_t cols, uint8_t *out)
{
    uint32_t padded = lm_act_padded(cols);
    float *d = (float *)(void *)(out + padded), *xs = d + padded / 32;
    int16_t *sum = (int16_t *)(void *)(xs + padded / 32);
    for (uint32_t b = 0; b < cols / 32; b++) {
        lm_rounded r = lm_round32(x + 32 * b, 127.0f);
        __m256i codes = lm_narrow32(r.q);
        lm_put32(out + 32 * b, codes);
        d[b] = r.tiny ? 0 : r.amax / 127.0f;
        xs[b] = d[b] * (float)lm_sums16(codes, sum + 2 * b);
    }
    lm_act_zero_tail(cols, out, lm_act_q8_bytes(cols));
}

static void quantise_q16(const float *x, uint32_t cols, uint8_t *out)
{
    const __m256i half = _mm256_set1_epi32(64);
    uint32_t padded = lm_act_padded(cols);
    uint8_t *lo = out + padded + padded / 4 + padded / 8;
    float *d = (float *)(void *)(out + padded), *xs = d + padded / 32;
    int16_t *sum = (int16_t *)(void *)(xs + padded / 32), *sum_lo = (int16_t *)(void *)(lo + padded);
    for (uint32_t b = 0; b < cols / 32; b++) {
        lm_rounded r = lm_round32(x + 32 * b, (float)LM_ACT16_MAX);
        __m256i h[4], l[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { /* the nearest of 128, the half upwards */
            h[i] = _mm256_srai_epi32(_mm256_add_epi32(r.q[i], half), 7);
            l[i] = _mm256_sub_epi32(r.q[i], _mm256_slli_epi32(h[i], 7));
        }
        __m256i high = lm_narrow32(h), low = lm_narrow32(l);
        lm_put32(out + 32 * b, high);
        lm_put32(lo + 32 * b, low);
        d[b] = r.tiny ? 0 : r.amax / (float)LM_ACT16_MAX;
        int32_t all = 128 * lm_sums16(high, sum + 2 * b);
        xs[b] = d[b] * (float)(all + lm_sums16(low, sum_lo + 2 * b));
    }
    lm_act_zero_tail(cols, out, 0);
    if (padded > cols) {
        memset(lo + cols, 0, padded - cols);
        memset(sum_lo + cols / 16, 0, (padded - cols) / 8);
    }
    size_t tail = 2 * (size_t)padded + padded / 2;
    memset(out + tail, 0, lm_act_q16_bytes(cols) - tail);
}
#else
static void quantise_q8(const float *x, uint32_t cols, uint8_t *out)
{
    lm_quantise_q8(x, cols, out);
}

static void quantise_q16(const float *x, uint32_t cols, uint8_t *out)
{
    lm_quantise_q16(x, cols, out);
}
#endif

#endif
