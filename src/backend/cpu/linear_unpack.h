/* backend/cpu/linear_unpack.h - one row of weights into plain codes and scales.
 *
 * Included by each instruction set's kernels and compiled with its flags.  Codes
 * come out as unsigned bytes in the order of the columns, padded with zeros to a
 * multiple of 128; s and m have one number per group, sc one per 16 columns.
 * The layouts are drawn in src/quant/.  Pure functions.
 */
#ifndef LM_CPU_LINEAR_UNPACK_H
#define LM_CPU_LINEAR_UNPACK_H

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "backend/cpu/linear_impl.h"

LM_INLINE float lm_up_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* The f16 at p; no arithmetic on float32 subnormals. */
LM_INLINE float lm_up_half(const uint8_t *p)
{
    uint16_t h = lm_u16le(p);
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, u = (uint32_t)(h & 0x7fffu) << 13;
    uint32_t r = u >= 0x0f800000u ? u | 0x7f800000u : u + (112u << 23);
    if (u < 0x00800000u) {
        float tiny = (float)(h & 0x3ffu) * 0x1p-24f;
        memcpy(&r, &tiny, 4);
    }
    return lm_up_float(r | sign);
}

/* Half of 2^(b - 127), for tables that hold doubled codes; 255 stays infinite
 * where MLX reads it so. */
LM_INLINE float lm_up_e8m0_half(uint8_t b)
{
    return lm_up_float(b < 2 ? 0x00200000u << b : (uint32_t)(b - 1) << 23);
}

/* 16 bytes: low nibbles are columns 0 to 15, high nibbles 16 to 31. */
LM_INLINE void lm_up_nibbles(const uint8_t *p, uint8_t *restrict c)
{
    const uint64_t low = 0x0f0f0f0f0f0f0f0f;
    for (int j = 0; j < 16; j += 8) {
        uint64_t u = lm_u64le(p + j), lo = u & low, hi = u >> 4 & low;
        memcpy(c + j, &lo, 8);
        memcpy(c + j + 16, &hi, 8);
    }
}

/* Eight codes of `bits` bits (1 to 7) into the eight bytes of a word: halves,
 * quarters and eighths move to their places. */
LM_INLINE uint64_t lm_up_spread(uint64_t u, unsigned bits)
{
    const uint64_t one = (1u << bits) - 1, two = (1u << 2 * bits) - 1, four = (1u << 4 * bits) - 1;
    u = (u & four) | (u << (32 - 4 * bits) & four << 32);
    u = (u & two * 0x0000000100000001u) | (u << (16 - 2 * bits) & (two << 16) * 0x0000000100000001u);
    return (u & one * 0x0001000100010001u) | (u << (8 - bits) & (one << 8) * 0x0001000100010001u);
}

/* A fifth bit for each of 32 codes. */
LM_INLINE void lm_up_fifth(const uint8_t *high, uint8_t *restrict c)
{
    for (int j = 0; j < 32; j += 8) {
        uint64_t u = lm_u64le(c + j) | lm_up_spread(high[j / 8], 1) << 4;
        memcpy(c + j, &u, 8);
    }
}

/* The 16 codes of IQ4 and of FP4 as unsigned bytes above lm_lin_class.off. */
#define LM_UP_IQ4                                                                                            \
    {                                                                                                        \
        0, 23, 44, 62, 78, 92, 105, 117, 128, 140, 152, 165, 180, 196, 216, 240                              \
    }
#define LM_UP_FP4                                                                                            \
    {                                                                                                        \
        12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0                                            \
    }
static const uint8_t LM_UP_IQ4_CODES[16] = LM_UP_IQ4;
static const uint8_t LM_UP_FP4_CODES[16] = LM_UP_FP4;

/* Codes (below 16) to table entries; n is a multiple of 16. */
LM_INLINE void lm_up_table(const uint8_t *table, uint8_t *restrict c, size_t n)
{
#ifdef __AVX2__
    const __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    for (size_t j = 0; j < n; j += 16) {
        __m128i *at = (__m128i *)(void *)(c + j);
        _mm_storeu_si128(at, _mm_shuffle_epi8(t, _mm_loadu_si128(at)));
    }
#else
    for (size_t j = 0; j < n; j++)
        c[j] = table[c[j] & 15];
#endif
}

/* The eight 6-bit scales and mins of q4_K and q5_K from their 12 bytes. */
LM_INLINE void lm_up_k_scales(const uint8_t *q, uint8_t sc[8], uint8_t mn[8])
{
    uint32_t a = lm_u32le(q), b = lm_u32le(q + 4), c = lm_u32le(q + 8);
    uint32_t s0 = a & 0x3f3f3f3fu, m0 = b & 0x3f3f3f3fu;
    uint32_t s1 = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u),
             m1 = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
    memcpy(sc, &s0, 4);
    memcpy(sc + 4, &s1, 4);
    memcpy(mn, &m0, 4);
    memcpy(mn + 4, &m1, 4);
}

LM_INLINE void lm_up_k45(const uint8_t *p, uint32_t cols, bool five, uint8_t *restrict c, float *restrict s,
                         float *restrict m)
{
    size_t bytes = five ? 176 : 144;
    for (uint32_t i = 0; i < cols; i += 256, p += bytes, c += 256, s += 8, m += 8) {
        float d = lm_up_half(p), dm = lm_up_half(p + 2);
        uint8_t sc[8], mn[8];
        lm_up_k_scales(p + 4, sc, mn);
        for (int j = 0; j < 8; j++) {
            s[j] = d * (float)sc[j]; /* both products are exact */
            m[j] = -(dm * (float)mn[j]);
        }
        const uint8_t *qs = p + (five ? 48 : 16), *qh = p + 16;
        for (int h = 0; h < 4; h++, qs += 32)
            for (int j = 0; j < 32; j++) {
                uint8_t lo = qs[j] & 15, hi = qs[j] >> 4;
                if (five) {
                    lo = (uint8_t)(lo | (qh[j] >> 2 * h & 1) << 4);
                    hi = (uint8_t)(hi | (qh[j] >> (2 * h + 1) & 1) << 4);
                }
                c[64 * h + j] = lo;
                c[64 * h + 32 + j] = hi;
            }
    }
}

LM_INLINE void lm_up_q6_k(const uint8_t *p, uint32_t cols, uint8_t *restrict c, float *restrict s,
                          int8_t *restrict sc)
{
    for (uint32_t i = 0; i < cols; i += 256, p += 210, c += 256, s += 8, sc += 16) {
        float d = lm_up_half(p + 208);
        memcpy(sc, p + 192, 16);
        for (int j = 0; j < 8; j++)
            s[j] = d;
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < 32; j++) {
                const uint8_t *ql = p + 64 * h, *qh = p + 128 + 32 * h;
                uint8_t *to = c + 128 * h + j;
                to[0] = (uint8_t)((ql[j] & 15) | (qh[j] & 3) << 4);
                to[32] = (uint8_t)((ql[j + 32] & 15) | (qh[j] >> 2 & 3) << 4);
                to[64] = (uint8_t)(ql[j] >> 4 | (qh[j] >> 4 & 3) << 4);
                to[96] = (uint8_t)(ql[j + 32] >> 4 | qh[j] >> 6 << 4);
            }
    }
}

LM_INLINE void lm_up_iq4_xs(const uint8_t *p, uint32_t cols, uint8_t *restrict c, float *restrict s)
{
    for (uint32_t i = 0; i < cols; i += 256, p += 136) {
        float d = lm_up_half(p);
        uint32_t high = lm_u16le(p + 2);
        for (int j = 0; j < 8; j++, c += 32) {
            uint32_t u = ((uint32_t)p[4 + j / 2] >> 4 * (j & 1) & 15u) | (high >> 2 * j & 3) << 4;
            *s++ = d * (float)((int)u - 32); /* exact */
            lm_up_nibbles(p + 8 + 16 * j, c);
            lm_up_table(LM_UP_IQ4_CODES, c, 32);
        }
    }
}

/* A little-endian stream of codes of `bits` bits (not 8). */
LM_INLINE void lm_up_bits(const uint8_t *p, uint32_t cols, unsigned bits, uint8_t *restrict c)
{
    uint64_t left = (uint64_t)cols * bits / 8;
    for (; left >= 8; left -= bits, p += bits, c += 8) {
        uint64_t u = lm_up_spread(lm_u64le(p), bits);
        memcpy(c, &u, 8);
    }
    for (; left; left -= bits, p += bits, c += 8) { /* eight bytes are more than there are */
        uint64_t u = 0;
        for (unsigned i = 0; i < bits; i++)
            u |= (uint64_t)p[i] << 8 * i;
        u = lm_up_spread(u, bits);
        memcpy(c, &u, 8);
    }
}

LM_INLINE float lm_up_scale(const uint8_t *p, size_t i, lm_quant_kind kind)
{
    if (kind == LM_Q_F32)
        return lm_f32le(p + 4 * i);
    return kind == LM_Q_F16 ? lm_up_half(p + 2 * i) : lm_bf16_to_f32(lm_u16le(p + 2 * i));
}

LM_INLINE void lm_up_affine(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], uint32_t cols,
                            uint8_t *restrict c, float *restrict s, float *restrict m)
{
    switch (q->bits) {
    case 1: lm_up_bits(planes[0], cols, 1, c); break;
    case 2: lm_up_bits(planes[0], cols, 2, c); break;
    case 3: lm_up_bits(planes[0], cols, 3, c); break;
    case 4: lm_up_bits(planes[0], cols, 4, c); break;
    case 5: lm_up_bits(planes[0], cols, 5, c); break;
    case 6: lm_up_bits(planes[0], cols, 6, c); break;
    default: memcpy(c, planes[0], cols); break;
    }
    for (size_t g = 0; g < cols / q->block_elems; g++) {
        s[g] = lm_up_scale(planes[1], g, q->scale_kind);
        m[g] = lm_up_scale(planes[2], g, q->scale_kind);
    }
}

/* Formats of 32 columns a block, everything in one plane. */
LM_INLINE void lm_up_blocks(const lm_quant *q, const uint8_t *p, uint32_t cols, uint8_t *restrict c,
                            float *restrict s, float *restrict m)
{
    for (uint32_t i = 0; i < cols; i += 32, p += q->block_bytes[0], c += 32, s++) {
        *s = q->kind == LM_Q_MXFP4 ? lm_up_e8m0_half(*p) : lm_up_half(p);
        switch (q->kind) {
        case LM_Q_Q4_0: lm_up_nibbles(p + 2, c); break;
        case LM_Q_Q4_1:
            *m++ = lm_up_half(p + 2);
            lm_up_nibbles(p + 4, c);
            break;
        case LM_Q_Q5_0:
            lm_up_nibbles(p + 6, c);
            lm_up_fifth(p + 2, c);
            break;
        case LM_Q_Q5_1:
            *m++ = lm_up_half(p + 2);
            lm_up_nibbles(p + 8, c);
            lm_up_fifth(p + 4, c);
            break;
        case LM_Q_Q8_0:
            for (int j = 0; j < 32; j++)
                c[j] = p[2 + j] ^ 0x80;
            break;
        case LM_Q_IQ4_NL:
            lm_up_nibbles(p + 2, c);
            lm_up_table(LM_UP_IQ4_CODES, c, 32);
            break;
        default:
            lm_up_nibbles(p + 1, c);
            lm_up_table(LM_UP_FP4_CODES, c, 32);
            break;
        }
    }
}

/* Everything above by format; not for class.blocks == 0. */
static inline void lm_unpack_row(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES],
                                 uint32_t cols, uint8_t *restrict c, float *restrict s, float *restrict m,
                                 int8_t *restrict sc)
{
    switch (q->kind) {
    case LM_Q_Q4_K: lm_up_k45(planes[0], cols, false, c, s, m); break;
    case LM_Q_Q5_K: lm_up_k45(planes[0], cols, true, c, s, m); break;
    case LM_Q_Q6_K: lm_up_q6_k(planes[0], cols, c, s, sc); break;
    case LM_Q_IQ4_XS: lm_up_iq4_xs(planes[0], cols, c, s); break;
    case LM_Q_AFFINE: lm_up_affine(q, planes, cols, c, s, m); break;
    case LM_Q_MLX_MXFP4:
        lm_up_bits(planes[0], cols, 4, c);
        lm_up_table(LM_UP_FP4_CODES, c, cols);
        for (size_t g = 0; g < cols / 32; g++)
            s[g] = planes[1][g] == 255 ? INFINITY : lm_up_e8m0_half(planes[1][g]);
        break;
    default: lm_up_blocks(q, planes[0], cols, c, s, m); break;
    }
    memset(c + cols, 0, lm_act_padded(cols) - cols);
}

#endif
