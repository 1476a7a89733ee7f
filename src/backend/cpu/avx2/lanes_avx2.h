/* backend/cpu/avx2/lanes_avx2.h - eight rows as lanes, 256 bits: what lanes_body.h is written in.
 *
 * Compiled with VNNI of 256 bits (AVX-VNNI, or AVX-512's for tests) the dot
 * instruction adds up products; without, pairs of products are added in 16 bits as
 * long as they fit.  Nothing else differs.
 *
 * Pure functions, inlined. */
#ifndef LM_LANES_AVX2_H
#define LM_LANES_AVX2_H

#include <immintrin.h>

#include "backend/cpu/linear_impl.h"

typedef __m256i vi; /* 8 rows of 32 bits, or of four bytes */
typedef __m256 vf;

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
enum { DOT = 1 };
#else
enum { DOT = 0 };
#endif

enum {
    WIDTH = 8,
    VECS = LM_PANEL / WIDTH,
    TILE = 4,          /* tokens of a tile of the many-token kernel */
    SIGNED_WIDE = !DOT /* codes beyond 127 as signed bytes */
};

#include "backend/cpu/lanes_rows.h"

/* clang-format off */
LM_INLINE vi l_set1(int32_t x) { return _mm256_set1_epi32(x); }
LM_INLINE vi l_bytes(uint8_t x) { return _mm256_set1_epi8((char)x); }
LM_INLINE vi l_and(vi a, vi b) { return _mm256_and_si256(a, b); }
LM_INLINE vi l_or(vi a, vi b) { return _mm256_or_si256(a, b); }
LM_INLINE vi l_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
LM_INLINE vi l_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
LM_INLINE vi l_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
LM_INLINE vi l_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
LM_INLINE vi l_shl(vi a, int n) { return _mm256_slli_epi32(a, n); }
LM_INLINE vi l_shr(vi a, int n) { return _mm256_srli_epi32(a, n); }
LM_INLINE vi l_sar(vi a, int n) { return _mm256_srai_epi32(a, n); }
LM_INLINE vi l_shl64(vi a, int n) { return _mm256_slli_epi64(a, n); }
LM_INLINE vi l_bytes64(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
LM_INLINE vf l_float(vi a) { return _mm256_cvtepi32_ps(a); }
LM_INLINE vf l_as_float(vi a) { return _mm256_castsi256_ps(a); }
LM_INLINE vi l_from_float(vf a) { return _mm256_castps_si256(a); }
LM_INLINE vf f_set1(float x) { return _mm256_set1_ps(x); }
LM_INLINE vf f_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LM_INLINE vf f_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
LM_INLINE vf f_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
LM_INLINE vf f_load(const float *p) { return _mm256_loadu_ps(p); }
LM_INLINE void f_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
LM_INLINE vi l_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
LM_INLINE void l_store(void *p, vi a) { _mm256_storeu_si256((__m256i *)p, a); }
/* clang-format on */

/* Four bytes to every row. */
LM_INLINE vi l_quad(const int8_t *x)
{
    int32_t u;
    memcpy(&u, x, 4);
    return _mm256_set1_epi32(u);
}

/* 16 bytes of each row: row i and row i + 4 in a[i]. */
LM_INLINE void load4(rows p, size_t at, vi a[4])
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(row_of(p, i) + at))),
            _mm_loadu_si128((const __m128i *)(const void *)(row_of(p, i + 4) + at)), 1);
}

/* Those to [four bytes of a row][row]. */
LM_INLINE void turn4(vi a[4])
{
    vi t0 = _mm256_unpacklo_epi32(a[0], a[1]), t1 = _mm256_unpackhi_epi32(a[0], a[1]);
    vi t2 = _mm256_unpacklo_epi32(a[2], a[3]), t3 = _mm256_unpackhi_epi32(a[2], a[3]);
    a[0] = _mm256_unpacklo_epi64(t0, t2);
    a[1] = _mm256_unpackhi_epi64(t0, t2);
    a[2] = _mm256_unpacklo_epi64(t1, t3);
    a[3] = _mm256_unpackhi_epi64(t1, t3);
}

/* Bytes 0 to 7 and n to n + 7 of each 16. */
LM_INLINE vi l_two_words(vi a, int n)
{
    const __m128i first = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m128i add = _mm_slli_si128(_mm_set1_epi8((char)n), 8);
    return _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(_mm_add_epi8(first, add)));
}

/* Four bytes of each row. */
LM_INLINE vi words(rows p, size_t at)
{
    int32_t u[WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH; i++)
        memcpy(&u[i], row_of(p, i) + at, 4);
    return _mm256_setr_epi32(u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7]);
}

/* A byte of each row. */
LM_INLINE vi single_bytes(rows p, size_t at)
{
    return _mm256_setr_epi32(row_of(p, 0)[at], row_of(p, 1)[at], row_of(p, 2)[at], row_of(p, 3)[at],
                             row_of(p, 4)[at], row_of(p, 5)[at], row_of(p, 6)[at], row_of(p, 7)[at]);
}

/* An f16 of each row. */
LM_INLINE vf halves(rows p, size_t at)
{
    int16_t u[WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH; i++)
        memcpy(&u[i], row_of(p, i) + at, 2);
    return _mm256_cvtph_ps(_mm_setr_epi16(u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7]));
}

/* The f16 in the lower (upper: shift first) half of each row's four bytes. */
LM_INLINE vf low_half(vi a)
{
    a = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    a = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, a), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(a));
}

/* a < b ? x : y */
LM_INLINE vi l_pick_lt(vi a, vi b, vi x, vi y)
{
    return _mm256_blendv_epi8(y, x, _mm256_cmpgt_epi32(b, a));
}

LM_INLINE vi l_table(const uint8_t table[16], vi index)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), index);
}

/* Sixteen where bits 4j to 4j + 3 of a row's 32 are set, in its four bytes. */
LM_INLINE vi l_fifth(vi bits, int j)
{
    const int n = j / 2 * 0x01010101;
    const vi at =
        _mm256_add_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0,
                                                                 0x04040404, 0x08080808, 0x0c0c0c0c));
    const vi mask = _mm256_set1_epi32(j & 1 ? (int)0x80402010u : 0x08040201);
    vi set = _mm256_and_si256(_mm256_shuffle_epi8(bits, at), mask);
    return _mm256_and_si256(_mm256_cmpeq_epi8(set, mask), _mm256_set1_epi8(16));
}

/* Bytes of two vectors taken in turn, row by row: [a0 b0 a1 b1], [a2 b2 a3 b3]. */
LM_INLINE void l_interleave(vi a, vi b, vi *first, vi *second)
{
    vf lo = l_as_float(_mm256_unpacklo_epi8(a, b)), hi = l_as_float(_mm256_unpackhi_epi8(a, b));
    *first = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0x88));
    *second = _mm256_castps_si256(_mm256_shuffle_ps(lo, hi, 0xdd));
}

/* A sum of products of codes and activations, four a row at a step.  `limit`:
 * how many steps fit 16 bits; 0: codes are signed. */
typedef struct {
    vi part, sum;
} pile;

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
LM_INLINE vi dot_bytes(vi sum, vi codes, vi x)
{
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(sum, codes, x);
#else
    return _mm256_dpbusd_epi32(sum, codes, x);
#endif
}
LM_INLINE void pile_add(pile *a, int limit, int step, vi codes, vi x)
{
    (void)limit;
    a->sum = dot_bytes(step ? a->sum : _mm256_setzero_si256(), codes, x);
}
#else
LM_INLINE void pile_add(pile *a, int limit, int step, vi codes, vi x)
{
    const vi ones = _mm256_set1_epi16(1);
    if (limit == 0) { /* |code| <= 128, |x| <= 127: a pair is at most 32512 */
        vi p = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
        p = _mm256_madd_epi16(p, ones);
        a->sum = step ? _mm256_add_epi32(a->sum, p) : p;
        return;
    }
    vi p = _mm256_maddubs_epi16(codes, x);
    a->part = step % limit ? _mm256_add_epi16(a->part, p) : p;
    if (step % limit == limit - 1) {
        p = _mm256_madd_epi16(a->part, ones);
        a->sum = step >= limit ? _mm256_add_epi32(a->sum, p) : p;
    }
}
#endif

#endif
