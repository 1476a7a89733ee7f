/* backend/cpu/avx512/linear_codes.h - codes and scales of every integer format in vectors.
 *
 * Rows are read 128 columns at a step.  A step gives two vectors of 64 codes in
 * an order that costs the format least (`order`), and the scales of its four
 * blocks for four rows at once, as [block][row].
 *
 * Everything is inlined with a constant format; pure functions over bytes that
 * exist: `n_blocks` of a step's four do. */
#ifndef LM_LINEAR_CODES_H
#define LM_LINEAR_CODES_H

#include "backend/cpu/avx512/linear_avx512.h"
#include "backend/cpu/linear_unpack.h"

/* Where in 128 columns the 2 x 64 codes of a step come from. */
typedef enum {
    NATURAL,  /* 0..63, 64..127: half a vector a block */
    EVEN_ODD, /* 0 2 4 .., 1 3 5 .. */
    HALVES,   /* the first 16 columns of each block, the other 16 */
    BY_32     /* blocks 0 and 2, blocks 1 and 3 */
} order;

LM_INLINE order order_of(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return bits == 4 ? EVEN_ODD : NATURAL;
    case LM_Q_MLX_MXFP4: return EVEN_ODD;
    case LM_Q_Q8_0:
    case LM_Q_Q6_K: return NATURAL;
    case LM_Q_Q4_K:
    case LM_Q_Q5_K: return BY_32;
    default: return HALVES;
    }
}

LM_INLINE int column(order o, int i) /* of code i of 128 */
{
    int v = i / 64, j = i % 64;
    switch (o) {
    case EVEN_ODD: return 2 * j + v;
    case HALVES: return j / 16 * 32 + 16 * v + j % 16;
    case BY_32: return j / 32 * 64 + 32 * v + j % 32;
    default: return i;
    }
}

/* A format of 32 columns a block in one plane. */
typedef struct {
    int bytes;
    bool mins;
} in_block;

LM_INLINE in_block blocks_of(int kind)
{
    switch (kind) {
    case LM_Q_Q4_0:
    case LM_Q_IQ4_NL: return (in_block){ 18, false };
    case LM_Q_Q4_1: return (in_block){ 20, true };
    case LM_Q_Q5_0: return (in_block){ 22, false };
    case LM_Q_Q5_1: return (in_block){ 24, true };
    case LM_Q_Q8_0: return (in_block){ 34, false };
    case LM_Q_MXFP4: return (in_block){ 17, false };
    default: return (in_block){ 0 };
    }
}

/* Bytes from one step of 128 columns to the next (K formats: per 256). */
LM_INLINE int step_bytes(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return 16 * bits;
    case LM_Q_MLX_MXFP4: return 64;
    case LM_Q_Q4_K: return 144;
    case LM_Q_Q5_K: return 176;
    case LM_Q_Q6_K: return 210;
    case LM_Q_IQ4_XS: return 136;
    default: return 4 * blocks_of(kind).bytes;
    }
}

LM_INLINE bool by_256(int kind)
{
    return kind == LM_Q_Q4_K || kind == LM_Q_Q5_K || kind == LM_Q_Q6_K || kind == LM_Q_IQ4_XS;
}

/* Four blocks of up to 24 bytes as two vectors: byte i of the four is byte i of
 * `a` below 64 and byte i - (whole - 64) of `b` from there on. */
typedef struct {
    __m512i a, b;
} raw;

LM_INLINE raw load_raw(const uint8_t *p, int block_bytes, int n_blocks)
{
    int whole = 4 * block_bytes, have = n_blocks * block_bytes;
    return (raw){ lm_load(p, have), lm_load(p + whole - 64, have - (whole - 64)) };
}

/* Where byte `byte` of four blocks is in such a pair. */
#define SPLIT(block, byte) ((byte) < 64 ? (byte) : (byte)-4 * (block) + 128)
#define CODES17(l, i)      SPLIT(17, 17 * (l) + 1 + (i))
#define CODES18(l, i)      SPLIT(18, 18 * (l) + 2 + (i))
#define CODES20(l, i)      SPLIT(20, 20 * (l) + 4 + (i))
#define CODES22(l, i)      SPLIT(22, 22 * (l) + 6 + (i))
#define CODES24(l, i)      SPLIT(24, 24 * (l) + 8 + (i))
#define LOW22(l, i)        SPLIT(22, 22 * (l) + 2 + (i) / 8)
#define HIGH22(l, i)       SPLIT(22, 22 * (l) + 4 + (i) / 8)
#define LOW24(l, i)        SPLIT(24, 24 * (l) + 4 + (i) / 8)
#define HIGH24(l, i)       SPLIT(24, 24 * (l) + 6 + (i) / 8)
static const uint8_t AT_CODES17[64] = LM_LANES(CODES17), AT_CODES18[64] = LM_LANES(CODES18),
                     AT_CODES20[64] = LM_LANES(CODES20), AT_CODES22[64] = LM_LANES(CODES22),
                     AT_CODES24[64] = LM_LANES(CODES24), AT_LOW22[64] = LM_LANES(LOW22),
                     AT_HIGH22[64] = LM_LANES(HIGH22), AT_LOW24[64] = LM_LANES(LOW24),
                     AT_HIGH24[64] = LM_LANES(HIGH24);

/* The same for 16-bit words, each four times; q8_0's second vector starts at its
 * third block. */
#define WORD(block, n) SPLIT(block, (n) * (block)) / 2
#define FOUR(w)        w, w, w, w
#define WORDS(block, at)                                                                                     \
    {                                                                                                        \
        FOUR(WORD(block, 0) + at), FOUR(WORD(block, 1) + at), FOUR(WORD(block, 2) + at),                     \
            FOUR(WORD(block, 3) + at)                                                                        \
    }
static const uint16_t AT_D18[16] = WORDS(18, 0), AT_D20[16] = WORDS(20, 0), AT_M20[16] = WORDS(20, 1),
                      AT_D22[16] = WORDS(22, 0), AT_D24[16] = WORDS(24, 0), AT_M24[16] = WORDS(24, 1),
                      AT_D34[16] = { FOUR(0), FOUR(17), FOUR(32), FOUR(49) };

typedef struct {
    const uint8_t *codes, *low, *high;
    const uint16_t *d, *m;
} places;

LM_INLINE places places_of(int kind)
{
    switch (kind) {
    case LM_Q_Q4_0:
    case LM_Q_IQ4_NL: return (places){ AT_CODES18, NULL, NULL, AT_D18, NULL };
    case LM_Q_Q4_1: return (places){ AT_CODES20, NULL, NULL, AT_D20, AT_M20 };
    case LM_Q_Q5_0: return (places){ AT_CODES22, AT_LOW22, AT_HIGH22, AT_D22, NULL };
    case LM_Q_Q5_1: return (places){ AT_CODES24, AT_LOW24, AT_HIGH24, AT_D24, AT_M24 };
    case LM_Q_Q8_0: return (places){ NULL, NULL, NULL, AT_D34, NULL };
    default: return (places){ AT_CODES17, NULL, NULL, NULL, NULL };
    }
}

LM_INLINE __m512i gather(raw r, const uint8_t at[64])
{
    return _mm512_permutex2var_epi8(r.a, _mm512_loadu_si512(at), r.b);
}

LM_INLINE __m512i table(const uint8_t codes[16], __m512i index)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)codes);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), index);
}

/* Sixteen where bit i % 8 of byte i is set, added to v. */
LM_INLINE __m512i add_fifth(__m512i v, __m512i bits)
{
    __mmask64 set = _mm512_test_epi8_mask(bits, _mm512_set1_epi64((long long)0x8040201008040201u));
    return _mm512_mask_add_epi8(v, set, v, _mm512_set1_epi8(16));
}

/* Formats whose step is 64 bytes of two codes: those bytes, then the codes. */
LM_INLINE bool in_nibbles(int kind, int bits)
{
    return (kind == LM_Q_AFFINE && bits == 4) || kind == LM_Q_MLX_MXFP4 || kind == LM_Q_MXFP4 ||
           kind == LM_Q_Q4_0 || kind == LM_Q_Q4_1 || kind == LM_Q_Q4_K || kind == LM_Q_IQ4_NL ||
           kind == LM_Q_IQ4_XS;
}

LM_INLINE __m512i load_nibbles(int kind, const uint8_t *p, int h, int n_blocks)
{
    switch (kind) {
    case LM_Q_AFFINE:
    case LM_Q_MLX_MXFP4: return lm_load(p, 16 * n_blocks);
    case LM_Q_Q4_K: return _mm512_loadu_si512(p + 16 + 64 * h);
    case LM_Q_IQ4_XS: return _mm512_loadu_si512(p + 8 + 64 * h);
    default: {
        const int bytes = blocks_of(kind).bytes, at = bytes - 16;
        if (n_blocks < 4)
            return gather(load_raw(p, bytes, n_blocks), places_of(kind).codes);
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(p + at)));
        v = _mm512_mask_broadcast_i32x4(v, 0x00f0,
                                        _mm_loadu_si128((const __m128i *)(const void *)(p + bytes + at)));
        v = _mm512_mask_broadcast_i32x4(v, 0x0f00,
                                        _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * bytes + at)));
        return _mm512_mask_broadcast_i32x4(
            v, 0xf000, _mm_loadu_si128((const __m128i *)(const void *)(p + 3 * bytes + at)));
    }
    }
}

LM_INLINE void split_nibbles(int kind, __m512i c, __m512i *v0, __m512i *v1)
{
    const __m512i low = _mm512_set1_epi8(15);
    *v0 = _mm512_and_si512(c, low);
    *v1 = _mm512_and_si512(_mm512_srli_epi16(c, 4), low);
    if (kind == LM_Q_MXFP4 || kind == LM_Q_MLX_MXFP4) {
        *v0 = table(LM_UP_FP4_CODES, *v0);
        *v1 = table(LM_UP_FP4_CODES, *v1);
    } else if (kind == LM_Q_IQ4_NL || kind == LM_Q_IQ4_XS) {
        *v0 = table(LM_UP_IQ4_CODES, *v0);
        *v1 = table(LM_UP_IQ4_CODES, *v1);
    }
}

/* The 128 codes of one row's step; p is its first byte (K formats: of its 256
 * columns, of which half `h`). */
LM_INLINE void load_codes(int kind, int bits, const uint8_t *p, int h, int n_blocks, __m512i *v0, __m512i *v1)
{
    const __m512i low = _mm512_set1_epi8(15);
    __m512i c;
    if (in_nibbles(kind, bits)) {
        split_nibbles(kind, load_nibbles(kind, p, h, n_blocks), v0, v1);
        return;
    }
    switch (kind) {
    case LM_Q_AFFINE:
        if (bits == 8) {
            *v0 = lm_load(p, 32 * n_blocks);
            *v1 = lm_load(p + 64, 32 * n_blocks - 64);
        } else {
            *v0 = lm_bits64(p, 4 * bits * n_blocks, bits);
            *v1 = lm_bits64(p + 8 * bits, 4 * bits * (n_blocks - 2), bits);
        }
        break;
    case LM_Q_Q8_0: {
        __m256i b[4];
        for (int i = 0; i < 4; i++)
            b[i] = i < n_blocks ? _mm256_loadu_si256((const __m256i *)(const void *)(p + 34 * i + 2))
                                : _mm256_setzero_si256();
        c = _mm512_set1_epi8((char)0x80);
        *v0 = _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(b[0]), b[1], 1), c);
        *v1 = _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(b[2]), b[3], 1), c);
        break;
    }
    case LM_Q_Q5_K: {
        __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)(p + 16)));
        long long b0 = 0x0101010101010101 << 4 * h, b2 = b0 << 2;
        __m512i bit = _mm512_setr_epi64(b0, b0, b0, b0, b2, b2, b2, b2), five = _mm512_set1_epi8(16);
        c = _mm512_loadu_si512(p + 48 + 64 * h);
        *v0 = _mm512_and_si512(c, low);
        *v1 = _mm512_and_si512(_mm512_srli_epi16(c, 4), low);
        *v0 = _mm512_mask_add_epi8(*v0, _mm512_test_epi8_mask(high, bit), *v0, five);
        *v1 = _mm512_mask_add_epi8(*v1, _mm512_test_epi8_mask(high, _mm512_slli_epi16(bit, 1)), *v1, five);
        break;
    }
    case LM_Q_Q6_K: {
        const __m512i two = _mm512_set1_epi8(0x30);
        __m512i high =
            _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)(p + 128 + 32 * h)));
        /* bits 0 1 | 2 3 of the halves to 4 5, and 4 5 | 6 7 */
        __m512i up = _mm512_sllv_epi64(high, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2));
        __m512i down = _mm512_srlv_epi64(high, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
        c = _mm512_loadu_si512(p + 64 * h);
        *v0 = _mm512_or_si512(_mm512_and_si512(c, low), _mm512_and_si512(up, two));
        *v1 = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(c, 4), low), _mm512_and_si512(down, two));
        break;
    }
    default: { /* q5_0, q5_1 */
        places at = places_of(kind);
        raw r = load_raw(p, blocks_of(kind).bytes, n_blocks);
        c = gather(r, at.codes);
        *v0 = add_fifth(_mm512_and_si512(c, low), gather(r, at.low));
        *v1 = add_fifth(_mm512_and_si512(_mm512_srli_epi16(c, 4), low), gather(r, at.high));
        break;
    }
    }
}

/* A 16-bit float of each of four blocks of four rows: [block][row].  `at` has
 * each block's word four times, so a row takes every fourth. */
LM_INLINE __m512 halves(int kind, const uint8_t *const p[4], const uint16_t at[16], int n_blocks)
{
    const __m512i from = _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)at));
    int bytes = blocks_of(kind).bytes, have = n_blocks * bytes;
    bool one = kind == LM_Q_Q4_0 || kind == LM_Q_Q4_1 || kind == LM_Q_IQ4_NL; /* within 64 bytes */
    __m512i v = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        __mmask32 mine = (__mmask32)0x1111 << r;
        if (one) {
            v = _mm512_mask_permutexvar_epi16(v, mine, from, lm_load(p[r], have));
            continue;
        }
        raw w;
        if (kind == LM_Q_Q8_0)
            w = (raw){ lm_load(p[r], have < 64 ? have : 64), lm_load(p[r] + 68, have - 68) };
        else
            w = load_raw(p[r], bytes, n_blocks);
        v = _mm512_mask_mov_epi16(v, mine, _mm512_permutex2var_epi16(w.a, from, w.b));
    }
    return _mm512_cvtph_ps(_mm512_castsi512_si256(v));
}

/* Scales and mins of a step of a block format, four rows: [block][row]. */
LM_INLINE void block_scales(int kind, const uint8_t *const p[4], int n_blocks, float *s, float *m)
{
    if (kind == LM_Q_MXFP4) {
        __m128i w[4];
        for (int r = 0; r < 4; r++) {
            uint32_t e = 0;
            for (int b = 0; b < n_blocks; b++)
                e |= (uint32_t)p[r][17 * b] << 8 * b;
            w[r] = _mm_cvtsi32_si128((int)e);
        }
        __m128i all = _mm_unpacklo_epi64(_mm_unpacklo_epi32(w[0], w[1]), _mm_unpacklo_epi32(w[2], w[3]));
        all = _mm_shuffle_epi8(all, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        __m512i e = _mm512_cvtepu8_epi32(all),
                v = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        __mmask16 tiny = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
        _mm512_store_si512(s, _mm512_mask_sllv_epi32(v, tiny, _mm512_set1_epi32(0x00200000), e));
        return;
    }
    _mm512_store_ps(s, halves(kind, p, places_of(kind).d, n_blocks));
    if (blocks_of(kind).mins)
        _mm512_store_ps(m, halves(kind, p, places_of(kind).m, n_blocks));
}

/* The f16 at byte 2 * word of four 16-byte lanes, as [any][row]. */
LM_INLINE __m512 lane_halves(__m512i lanes, int word)
{
    const __m256i first = _mm256_set1_epi64x(0x0018001000080000); /* words 0 8 16 24 */
    __m512i at = _mm512_zextsi256_si512(_mm256_add_epi16(first, _mm256_set1_epi16((short)word)));
    return _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi16(at, lanes)));
}

/* Byte `first` + block of four 16-byte lanes as integers [block][row]. */
LM_INLINE __m512i lane_bytes(__m512i lanes, int first)
{
    const __m128i rows = _mm_setr_epi32(0, 16, 32, 48);
    __m512i at = _mm512_add_epi32(_mm512_broadcast_i32x4(rows),
                                  _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
    at = _mm512_add_epi32(at, _mm512_set1_epi32(first));
    return _mm512_maskz_permutexvar_epi8(0x1111111111111111u, at, lanes);
}

LM_INLINE __m512i lanes_of(const uint8_t *const p[4], int at)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(p[0] + at)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p[1] + at)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p[2] + at)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p[3] + at)), 3);
}

/* The same for 256 columns of q4_K, q5_K (16 header bytes a row), q6_K, iq4_xs;
 * the second half goes 64 floats on. */
LM_INLINE void k_scales(int kind, const uint8_t *const p[4], float *s, float *m)
{
    if (kind == LM_Q_Q6_K) {
        __m512i lanes = lanes_of(p, 194); /* d is the last word of the 210 bytes */
        __m512i d = _mm512_castps_si512(lane_halves(lanes, 7));
        _mm512_store_si512(s, d);
        _mm512_store_si512(s + 64, d);
        return;
    }
    if (kind == LM_Q_IQ4_XS) { /* six bits each, in two places */
        for (int r = 0; r < 4; r++) {
            float d = lm_up_half(p[r]);
            uint32_t high = lm_u16le(p[r] + 2);
            for (int b = 0; b < 8; b++) {
                uint32_t u = ((uint32_t)p[r][4 + b / 2] >> 4 * (b & 1) & 15u) | (high >> 2 * b & 3) << 4;
                s[b / 4 * 64 + b % 4 * 4 + r] = d * (float)((int)u - 32);
            }
        }
        return;
    }
    const int A = 0x3f3f3f3f, B = 0x30303030, C = 0x0f0f0f0f;
    __m512i head = lanes_of(p, 0);
    __m512i ab = _mm512_shuffle_epi32(head, _MM_PERM_CCBB), c = _mm512_shuffle_epi32(head, _MM_PERM_DDDD);
    ab = _mm512_srlv_epi32(ab, _mm512_set4_epi32(2, 0, 2, 0));
    ab = _mm512_and_si512(ab, _mm512_set4_epi32(B, A, B, A));
    c = _mm512_srlv_epi32(c, _mm512_set4_epi32(4, 0, 0, 0));
    c = _mm512_and_si512(c, _mm512_set4_epi32(C, 0, C, 0));
    __m512i all = _mm512_or_si512(ab, c); /* a row's 8 scales, then its 8 mins */
    __m512 d = lane_halves(head, 0), dm = lane_halves(head, 1);
    dm = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(dm), _mm512_set1_epi32((int)0x80000000)));
    for (int h = 0; h < 2; h++) {
        __m512 sc = _mm512_cvtepi32_ps(lane_bytes(all, 4 * h)),
               mn = _mm512_cvtepi32_ps(lane_bytes(all, 8 + 4 * h));
        _mm512_store_ps(s + 64 * h, _mm512_mul_ps(d, sc));
        _mm512_store_ps(m + 64 * h, _mm512_mul_ps(dm, mn));
    }
}

LM_INLINE void load_scales4(int kind, const uint8_t *const p[4], int n_blocks, float *s, float *m)
{
    if (by_256(kind))
        k_scales(kind, p, s, m);
    else
        block_scales(kind, p, n_blocks, s, m);
}

/* Scales in planes of their own, not among the codes. */
LM_INLINE bool has_planes(int kind)
{
    return kind == LM_Q_AFFINE || kind == LM_Q_MLX_MXFP4;
}

/* Every format that has integer kernels: X(name, kind, bits). */
#define LM_CODE_FORMATS(X)                                                                                   \
    X(affine1, LM_Q_AFFINE, 1)                                                                               \
    X(affine2, LM_Q_AFFINE, 2)                                                                               \
    X(affine3, LM_Q_AFFINE, 3)                                                                               \
    X(affine4, LM_Q_AFFINE, 4)                                                                               \
    X(affine5, LM_Q_AFFINE, 5)                                                                               \
    X(affine6, LM_Q_AFFINE, 6)                                                                               \
    X(affine8, LM_Q_AFFINE, 8)                                                                               \
    X(mlx_mxfp4, LM_Q_MLX_MXFP4, 4)                                                                          \
    X(q4_0, LM_Q_Q4_0, 4)                                                                                    \
    X(q4_1, LM_Q_Q4_1, 4)                                                                                    \
    X(q5_0, LM_Q_Q5_0, 5)                                                                                    \
    X(q5_1, LM_Q_Q5_1, 5)                                                                                    \
    X(q8_0, LM_Q_Q8_0, 8)                                                                                    \
    X(q4_k, LM_Q_Q4_K, 4)                                                                                    \
    X(q5_k, LM_Q_Q5_K, 5)                                                                                    \
    X(q6_k, LM_Q_Q6_K, 6)                                                                                    \
    X(iq4_nl, LM_Q_IQ4_NL, 4)                                                                                \
    X(iq4_xs, LM_Q_IQ4_XS, 4)                                                                                \
    X(mxfp4, LM_Q_MXFP4, 4)

/* The eight integer scales of half h of q6_K's 256 columns, four times each. */
LM_INLINE void sub_scales(const uint8_t *p, int h, __m512i *s0, __m512i *s1)
{
    __m128i all = _mm_loadu_si128((const __m128i *)(const void *)(p + 192));
    __m128i at = _mm_add_epi8(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                              _mm_set1_epi8((char)(8 * h)));
    *s0 = _mm512_cvtepi8_epi32(_mm_shuffle_epi8(all, at));
    *s1 = _mm512_cvtepi8_epi32(_mm_shuffle_epi8(all, _mm_add_epi8(at, _mm_set1_epi8(4))));
}

/* Four vectors [quad of rows][block][row] -> four [row of 16]. */
LM_INLINE void by_block(const void *from, __m512i to[4])
{
    const char *p = from;
    __m512i a = _mm512_load_si512(p), b = _mm512_load_si512(p + 64), c = _mm512_load_si512(p + 128),
            d = _mm512_load_si512(p + 192);
    __m512i ab0 = _mm512_shuffle_i32x4(a, b, 0x44), ab1 = _mm512_shuffle_i32x4(a, b, 0xee);
    __m512i cd0 = _mm512_shuffle_i32x4(c, d, 0x44), cd1 = _mm512_shuffle_i32x4(c, d, 0xee);
    to[0] = _mm512_shuffle_i32x4(ab0, cd0, 0x88);
    to[1] = _mm512_shuffle_i32x4(ab0, cd0, 0xdd);
    to[2] = _mm512_shuffle_i32x4(ab1, cd1, 0x88);
    to[3] = _mm512_shuffle_i32x4(ab1, cd1, 0xdd);
}

#endif
