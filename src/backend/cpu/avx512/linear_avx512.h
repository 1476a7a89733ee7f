/* backend/cpu/avx512/linear_avx512.h - shared by the AVX-512 linears.
 *
 * Pure functions, inlined.  Needs F, BW, DQ, VL, VNNI and VBMI. */
#ifndef LM_LINEAR_AVX512_H
#define LM_LINEAR_AVX512_H

#include <immintrin.h>

#include "backend/cpu/linear_impl.h"

enum {
    LM_ROWS = LM_PANEL,
    LM_ONE_TOKENS = 4 /* up to so many tokens go through the one-token kernel */
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

/* A stream at p: the next lines into L1, and those of the next page (and its
 * translation) into L2.  Measured: without the second, a fifth is lost. */
LM_INLINE void lm_prefetch(const uint8_t *p)
{
    _mm_prefetch((const char *)p + 512, _MM_HINT_T0);
    _mm_prefetch((const char *)p + 4096, _MM_HINT_T1);
}

/* Tables of 64 bytes: f(lane, byte) for four lanes of 16. */
#define LM_LANE(f, l)                                                                                        \
    f(l, 0), f(l, 1), f(l, 2), f(l, 3), f(l, 4), f(l, 5), f(l, 6), f(l, 7), f(l, 8), f(l, 9), f(l, 10),      \
        f(l, 11), f(l, 12), f(l, 13), f(l, 14), f(l, 15)
#define LM_LANES(f)                                                                                          \
    {                                                                                                        \
        LM_LANE(f, 0), LM_LANE(f, 1), LM_LANE(f, 2), LM_LANE(f, 3)                                           \
    }

/* Eight bytes of a stream of `bits` bits for each eight codes: those that the
 * codes lie in, and whatever follows. */
#define LM_BITS_AT(bits, l, i)                                                                               \
    ((bits) * (2 * (l) + (i) / 8) + (i) % 8 < 64 ? (bits) * (2 * (l) + (i) / 8) + (i) % 8 : 63)
#define LM_BITS_AT1(l, i) LM_BITS_AT(1, l, i)
#define LM_BITS_AT2(l, i) LM_BITS_AT(2, l, i)
#define LM_BITS_AT3(l, i) LM_BITS_AT(3, l, i)
#define LM_BITS_AT4(l, i) LM_BITS_AT(4, l, i)
#define LM_BITS_AT5(l, i) LM_BITS_AT(5, l, i)
#define LM_BITS_AT6(l, i) LM_BITS_AT(6, l, i)
static const uint8_t LM_BITS_BYTES[7][64] LM_ALIGNED(64) = {
    { 0 },
    LM_LANES(LM_BITS_AT1),
    LM_LANES(LM_BITS_AT2),
    LM_LANES(LM_BITS_AT3),
    LM_LANES(LM_BITS_AT4),
    LM_LANES(LM_BITS_AT5),
    LM_LANES(LM_BITS_AT6),
};

/* 64 codes of `bits` bits (not 8) that start at a byte: eight bytes of the
 * stream a lane, shifted to eight codes. */
LM_INLINE __m512i lm_bits64(const uint8_t *p, int have, int bits)
{
    const long long step = 0x0706050403020100; /* code i of eight starts at bit bits * i */
    __m512i lanes = _mm512_permutexvar_epi8(_mm512_load_si512(LM_BITS_BYTES[bits]),
                                            lm_load(p, have < 8 * bits ? have : 8 * bits));
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(step * bits), lanes),
                            _mm512_set1_epi8((char)((1 << bits) - 1)));
}

/* Scales (plane 1) or biases (plane 2) of a panel that keeps them in planes of
 * their own: to [group][row]. */
void lm_plane_scales(const lm_matrix *w, const uint32_t rows[LM_ROWS], int plane, float *to);

/* Up to LM_LIN_SLAB columns of 16 rows, unpacked: codes [quad of columns][row][4],
 * s and m [group][row], sc [half block][row] (formats that have them). */
typedef struct {
    uint8_t *codes;
    float *s, *m;
    int32_t *sc;
} lm_many_panel;

/* Columns [k, k + cols) of rows from row0, k a multiple of LM_LIN_SLAB; rows past
 * the matrix repeat its last. */
void lm_many_unpack(const lm_matrix *w, bool ready, uint32_t row0, uint32_t k, uint32_t cols,
                    const lm_many_panel *to);
/* Whether prepared panels of these rows are there and good: `ready` for the one above,
 * once for all that it is asked for. */
bool lm_many_ready(const lm_matrix *w, uint32_t row0, uint32_t row1);
/* The codes of a block come as its even columns, then its odd ones (where no
 * prepared panels are read). */
bool lm_many_even_odd(const lm_quant *q);

extern const lm_act_layout lm_act_q8_avx512, lm_act_q16_avx512;

/* linear_many.c, linear_one.c */
size_t lm_many_scratch(bool precise);
void lm_many_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                 size_t ldy, void *scratch, bool precise);
size_t lm_one_scratch(const lm_matrix *w, bool precise);
void lm_one_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                size_t ldy, void *scratch, bool precise);

#endif
