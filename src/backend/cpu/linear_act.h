/* backend/cpu/linear_act.h - activations to "q8-32" and "q16-32" (linear_impl.h draws them), in C.
 *
 * Included by instruction sets whose compiler does the rest; all give the same
 * bytes.  Pure functions. */
#ifndef LM_CPU_LINEAR_ACT_H
#define LM_CPU_LINEAR_ACT_H

#include "backend/cpu/linear_impl.h"

/* Below this a block is zero: 127 / amax would overflow.  As bits of a float. */
enum { LM_TINY_BITS = 0x0d800000 /* 2^-100 */, LM_INF_BITS = 0x7f800000 };

LM_INLINE float lm_act_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

LM_INLINE uint32_t lm_act_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* One block: codes, scale and sums.  Nearest, ties to even.  A block with an
 * infinity or a NaN gets that as its scale and zero codes, so that the outputs
 * say NaN. */
LM_INLINE float lm_quantise_block(const float *x, int8_t *codes, int16_t sums[2])
{
    uint32_t top = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t u = lm_act_bits(x[i]) & 0x7fffffffu;
        top = u > top ? u : top;
    }
    float amax = lm_act_float(top);
    bool dead = top < LM_TINY_BITS || top >= LM_INF_BITS;
    float inverse = dead ? 0 : 127.0f / amax;
    sums[0] = sums[1] = 0;
    for (int i = 0; i < 32; i++) {
        float v = dead ? 0 : x[i] * inverse;
        v = (v + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
        codes[i] = (int8_t)v;
        sums[i / 16] = (int16_t)(sums[i / 16] + codes[i]);
    }
    return top < LM_TINY_BITS ? 0 : amax / 127.0f;
}

/* Blocks that only pad the row of the first plane, and what lies behind it. */
LM_INLINE void lm_act_zero_tail(uint32_t cols, uint8_t *out, size_t whole)
{
    uint32_t padded = lm_act_padded(cols), empty = padded - cols;
    size_t tail = (size_t)padded + padded / 4 + padded / 8;
    if (empty) {
        memset(out + cols, 0, empty);
        memset(out + padded + cols / 8, 0, empty / 8);
        memset(out + padded + padded / 8 + cols / 8, 0, empty / 8);
        memset(out + padded + padded / 4 + cols / 8, 0, empty / 8);
    }
    if (whole > tail)
        memset(out + tail, 0, whole - tail);
}

LM_INLINE void lm_quantise_q8(const float *x, uint32_t cols, uint8_t *out)
{
    uint32_t padded = lm_act_padded(cols), at = 0;
    size_t tail = (size_t)padded + padded / 4 + padded / 8, whole = lm_act_q8_bytes(cols);
    int8_t *codes = (int8_t *)out;
    float *d = (float *)(void *)(out + padded), *xs = d + padded / 32;
    int16_t *sum = (int16_t *)(void *)(xs + padded / 32);
    for (; at < padded; at += 32, d++, xs++, sum += 2) {
        float part[32] = { 0 };
        const float *from = x + at;
        if (at + 32 > cols) {
            if (at < cols)
                memcpy(part, from, (cols - at) * sizeof *x);
            from = part;
        }
        *d = lm_quantise_block(from, codes + at, sum);
        *xs = *d * (float)(sum[0] + sum[1]);
    }
    memset(out + tail, 0, whole - tail);
}

enum { LM_ACT16_MAX = 127 * 128 };

/* The same in 15 bits. */
LM_INLINE float lm_quantise_block16(const float *x, int8_t *hi, int8_t *lo, int16_t sums_hi[2],
                                    int16_t sums_lo[2])
{
    uint32_t top = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t u = lm_act_bits(x[i]) & 0x7fffffffu;
        top = u > top ? u : top;
    }
    float amax = lm_act_float(top);
    bool dead = top < LM_TINY_BITS || top >= LM_INF_BITS;
    float inverse = dead ? 0 : (float)LM_ACT16_MAX / amax;
    int32_t high[2] = { 0 }, low[2] = { 0 };
    for (int i = 0; i < 32; i++) {
        float v = dead ? 0 : x[i] * inverse;
        v = (v + 12582912.0f) - 12582912.0f;
        int32_t q = (int32_t)v, h = ((q + 64 + 128 * 128) >> 7) - 128; /* nearest, the half upwards */
        hi[i] = (int8_t)h;
        lo[i] = (int8_t)(q - 128 * h);
        high[i / 16] += h;
        low[i / 16] += q - 128 * h;
    }
    for (int i = 0; i < 2; i++) {
        sums_hi[i] = (int16_t)high[i];
        sums_lo[i] = (int16_t)low[i];
    }
    return top < LM_TINY_BITS ? 0 : amax / (float)LM_ACT16_MAX;
}

LM_INLINE void lm_quantise_q16(const float *x, uint32_t cols, uint8_t *out)
{
    uint32_t padded = lm_act_padded(cols);
    size_t tail = 2 * (size_t)padded + padded / 2, whole = lm_act_q16_bytes(cols);
    int8_t *hi = (int8_t *)out, *lo = (int8_t *)(out + padded + padded / 4 + padded / 8);
    float *d = (float *)(void *)(out + padded), *xs = d + padded / 32;
    int16_t *sum = (int16_t *)(void *)(xs + padded / 32), *sum_lo = (int16_t *)(void *)(lo + padded);
    for (uint32_t at = 0; at < padded; at += 32, d++, xs++, sum += 2, sum_lo += 2) {
        float part[32] = { 0 };
        const float *from = x + at;
        if (at + 32 > cols) {
            if (at < cols)
                memcpy(part, from, (cols - at) * sizeof *x);
            from = part;
        }
        *d = lm_quantise_block16(from, hi + at, lo + at, sum, sum_lo);
        *xs = *d * (float)(128 * (sum[0] + sum[1]) + sum_lo[0] + sum_lo[1]);
    }
    memset(out + tail, 0, whole - tail);
}

#endif
