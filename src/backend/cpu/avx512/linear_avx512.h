/* backend/cpu/avx512/linear_avx512.h - shared by the AVX-512 linears.
 *
 * Pure functions, inlined.  Needs F, BW, DQ, VL, VNNI and VBMI. */
#ifndef LM_LINEAR_AVX512_H
#define LM_LINEAR_AVX512_H

#include <immintrin.h>

#include "backend/cpu/linear_impl.h"

enum {
    LM_ROWS = LM_PANEL,
    LM_FEW = 4 /* up to so many tokens go through the one-token kernel */
};

/* The bytes of p that exist, the others zero.  `have` is a constant in loops. */
LM_INLINE __m512i lm_load(const uint8_t *p, int have)
{
    if (have >= 64)
        return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi8(have > 0 ? ((__mmask64)1 << have) - 1 : 0, p);
}

/* r[i] lane j <-> r[j] lane i. */
LM_INLINE void lm_transpose16(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i x0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
                x1 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i y0 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i y1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(x0, y0, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(x0, y0, 0xdd);
        t[4 + j] = _mm512_shuffle_i32x4(x1, y1, 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(x1, y1, 0xdd);
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

/* 64 codes of `bits` bits (not 8) that start at a byte: eight bytes of the
 * stream a lane, shifted to eight codes. */
LM_INLINE __m512i lm_bits64(const uint8_t *p, int have, int bits)
{
    uint64_t shifts = 0;
    uint8_t at[64];
    for (int i = 0; i < 8; i++)
        shifts |= (uint64_t)(bits * i) << 8 * i;
    for (int i = 0; i < 64; i++)
        at[i] = (uint8_t)(bits * (i / 8) + i % 8 < 64 ? bits * (i / 8) + i % 8 : 63);
    __m512i lanes =
        _mm512_permutexvar_epi8(_mm512_loadu_si512(at), lm_load(p, have < 8 * bits ? have : 8 * bits));
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(_mm512_set1_epi64((long long)shifts), lanes),
                            _mm512_set1_epi8((char)((1 << bits) - 1)));
}

/* The rows of a panel that starts at row0; rows past the matrix repeat the last. */
LM_INLINE void lm_panel_rows(const lm_matrix *w, uint32_t row0, int plane, const uint8_t *rows[LM_ROWS])
{
    for (uint32_t r = 0; r < LM_ROWS; r++) {
        uint32_t row = row0 + r < w->rows ? row0 + r : w->rows - 1;
        rows[r] = w->plane[plane] + row * w->stride[plane];
    }
}

/* Scales (plane 1) or biases (plane 2) of a panel that keeps them in planes of
 * their own: to [group][row]. */
void lm_plane_scales(const lm_matrix *w, uint32_t row0, int plane, float *to);

/* linear_many.c, linear_one.c */
size_t lm_many_scratch(const lm_matrix *w);
void lm_many_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                 size_t ldy, void *scratch);
size_t lm_one_scratch(const lm_matrix *w);
bool lm_one_has(const lm_quant *q);
void lm_one_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, float *y, void *scratch);

#endif
