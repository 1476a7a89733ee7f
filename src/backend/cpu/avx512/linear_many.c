/* backend/cpu/avx512/linear_many.c - many tokens: panels unpacked into L2 scratch.
 *
 * A slab is up to LM_LIN_SLAB columns.  In it a panel of 16 rows becomes
 *
 *   codes [quad of columns][16 rows][4]   s, m [group][16 rows]   sc [half block][16 rows]
 *
 * and a tile of up to TILE tokens, block by block,
 *
 *   codes [block][plane][token][32]   d [block][token]   start [block][token]   xs [group][token]
 *
 * so that all addresses of the inner loop are one pointer and constants.  Output
 * rows are the lanes: one 4-byte load of an activation feeds 32 of them, and
 * `off` is folded into the value that an integer sum starts from.
 *
 *   slab > up to 8 panels, unpacked > up to TOKENS tokens, laid out >
 *     two panels > CHUNK columns (their codes stay in L1) > tiles
 *
 * Sums wait in scratch between chunks and in y between slabs, so the float chain
 * of linear_impl.h runs in its order.  Prepared panels lie in slabs already and are
 * only spread. */
#include "backend/cpu/avx512/linear_codes.h"
#include "backend/cpu/avx512/linear_panels.h"

enum { TILE = 6, TOKENS = 96, TILES = TOKENS / TILE, PANELS = 8, CHUNK = 512, SLAB = LM_LIN_SLAB };

typedef lm_many_panel panel;

typedef struct {
    int8_t *codes;
    float *d, *xs;
    int32_t *start;        /* sub16: two a block */
    uint32_t tokens, size; /* `size` is even: the tokens, and perhaps one of zeros */
} tile;

/* Bytes: 16 codes, two floats of 64 blocks, integer scales; one number a column
 * and three (sub16: four) a block. */
enum {
    PANEL_BYTES = 16 * SLAB + 2 * (SLAB / 32 * 64) + SLAB / 16 * 64,
    TILE_BYTES = TILE * (SLAB + SLAB / 32 * 16) + 64, /* and TILE * SLAB for the second plane */
    SUMS_BYTES = TOKENS * 2 * LM_ROWS * 4
};

static size_t tile_bytes(bool precise)
{
    return (size_t)TILE_BYTES + (precise ? TILE * SLAB : 0);
}

size_t lm_many_scratch(bool precise)
{
    return (size_t)PANELS * PANEL_BYTES + (size_t)TILES * tile_bytes(precise) + SUMS_BYTES;
}

LM_INLINE __m512 load_scales(const uint8_t *p, __mmask16 mask, lm_quant_kind kind)
{
    if (kind == LM_Q_F32)
        return _mm512_maskz_loadu_ps(mask, p);
    if (kind == LM_Q_MLX_MXFP4) { /* exponents; half of 2^(e - 127) */
        __m512i e = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p));
        __m512i v = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        __mmask16 tiny = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
        v = _mm512_mask_sllv_epi32(v, tiny, _mm512_set1_epi32(0x00200000), e);
        __mmask16 infinite = _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255));
        return _mm512_castsi512_ps(_mm512_mask_mov_epi32(v, infinite, _mm512_set1_epi32(0x7f800000)));
    }
    __m256i h = _mm256_maskz_loadu_epi16(mask, p);
    if (kind == LM_Q_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

void lm_plane_scales(const lm_matrix *w, const uint32_t rows[LM_ROWS], int plane, float *to)
{
    lm_quant_kind kind = w->quant->kind == LM_Q_AFFINE ? w->quant->scale_kind : w->quant->kind;
    uint32_t groups = w->cols / w->quant->block_elems, size = w->quant->block_bytes[plane];
    for (uint32_t g = 0; g < groups; g += 16) {
        const uint8_t *p = w->plane[plane] + (size_t)g * size;
        __m512i v[16];
        uint32_t n = groups - g < 16 ? groups - g : 16;
        __mmask16 mask = (__mmask16)((1u << n) - 1);
        if (kind == LM_Q_BF16)
            for (int r = 0; r < 16; r++)
                v[r] = _mm512_castps_si512(load_scales(p + rows[r] * w->stride[plane], mask, LM_Q_BF16));
        else
            for (int r = 0; r < 16; r++)
                v[r] = _mm512_castps_si512(load_scales(p + rows[r] * w->stride[plane], mask, kind));
        lm_transpose16(v);
        for (uint32_t i = 0; i < n; i++)
            _mm512_storeu_ps(to + (g + i) * 16, _mm512_castsi512_ps(v[i]));
    }
}

/* v[row] of 16 quads each -> [quad][row][4], the first four (eight: `wide`) of
 * quad `first` of each block. */
LM_INLINE void put_quads(uint8_t *to, const __m512i v[16], bool wide, int first, order o)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        int block = wide ? i / 8 : i / 4, quad = wide ? i % 8 : first + i % 4;
        if (wide) /* which blocks the vector holds: `first` is the vector's number */
            block = o == BY_32 ? 2 * block + first : 2 * first + block;
        _mm512_store_si512(to + 512 * block + 64 * quad, v[i]);
    }
}

/* 128 columns of 16 rows. */
LM_INLINE void unpack_step(int kind, int bits, const uint8_t *const p[LM_ROWS], int h, int n_blocks,
                           uint8_t *to)
{
    const order o = order_of(kind, bits);
    const bool wide = o == NATURAL || o == BY_32;
    __m512i v[16], u[16];
    if (in_nibbles(kind, bits)) { /* turn both codes of a byte at once */
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            v[r] = load_nibbles(kind, p[r], h, n_blocks);
        lm_transpose16(v);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            split_nibbles(kind, v[i], &v[i], &u[i]);
    } else {
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            load_codes(kind, bits, p[r], h, n_blocks, &v[r], &u[r]);
        lm_transpose16(v);
        lm_transpose16(u);
    }
    put_quads(to, v, wide, 0, o);
    put_quads(to, u, wide, wide ? 1 : 4, o);
}

/* Columns of a slab: p points at its first step. */
LM_INLINE void unpack_rows(int kind, int bits, const uint8_t *p[LM_ROWS], uint32_t cols, const panel *to)
{
    const uint32_t at = by_256(kind) ? 256 : 128;
    for (uint32_t k = 0; k < cols; k += at) {
        int n_blocks = cols - k < at ? (int)(cols - k) / 32 : 4;
        if (n_blocks == 4)
            unpack_step(kind, bits, p, 0, 4, to->codes + 16 * (size_t)k);
        else
            unpack_step(kind, bits, p, 0, n_blocks, to->codes + 16 * (size_t)k);
        if (by_256(kind))
            unpack_step(kind, bits, p, 1, 4, to->codes + 16 * (size_t)(k + 128));
        if (!has_planes(kind)) {
            float s[128] LM_ALIGNED(64), m[128] LM_ALIGNED(64);
            for (int quad = 0; quad < 4; quad++)
                load_scales4(kind, p + 4 * quad, n_blocks, s + 16 * quad, m + 16 * quad);
            for (uint32_t half = 0; half < at / 128; half++) {
                size_t block = k / 32 + 4 * half;
                by_block(s + 64 * half, (__m512i *)(void *)(to->s + block * 16));
                if (blocks_of(kind).mins || kind == LM_Q_Q4_K || kind == LM_Q_Q5_K)
                    by_block(m + 64 * half, (__m512i *)(void *)(to->m + block * 16));
            }
        }
        if (kind == LM_Q_Q6_K) {
            __m512i sc[16];
            for (int r = 0; r < 16; r++)
                sc[r] = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p[r] + 192)));
            lm_transpose16(sc);
            for (uint32_t i = 0; i < 16; i++)
                _mm512_store_si512(to->sc + (k / 16 + i) * 16, sc[i]);
        }
        for (int r = 0; r < LM_ROWS; r++)
            p[r] += step_bytes(kind, bits);
    }
}

#define UNPACK(name, kind, bits)                                                                             \
    static LM_NOINLINE void name(const uint8_t *p[LM_ROWS], uint32_t cols, const panel *to)                  \
    {                                                                                                        \
        unpack_rows(kind, bits, p, cols, to);                                                                \
    }
LM_CODE_FORMATS(UNPACK)

typedef void unpacker(const uint8_t *p[LM_ROWS], uint32_t cols, const panel *to);
static unpacker *unpacker_of(const lm_quant *q)
{
#define CASE(name, kind_of, bits_of)                                                                         \
    if ((int)q->kind == (kind_of) && (q->kind != LM_Q_AFFINE || q->bits == (bits_of)))                       \
        return name;
    LM_CODE_FORMATS(CASE)
#undef CASE
    return NULL;
}

/* Columns [k, k + cols) of 16 rows; rows past the matrix repeat its last. */
static void unpack_panel(const lm_matrix *w, unpacker *unpack, uint32_t row0, uint32_t k, uint32_t cols,
                         const panel *to)
{
    const lm_quant *q = w->quant;
    const uint8_t *p[LM_ROWS];
    uint32_t at[LM_ROWS];
    lm_matrix part = *w;
    for (int i = 0; i < q->n_planes; i++)
        part.plane[i] += lm_quant_row_bytes(q, i, k);
    part.cols = cols;
    for (uint32_t r = 0; r < LM_ROWS; r++) {
        at[r] = LM_MIN(row0 + r, w->rows - 1);
        p[r] = part.plane[0] + at[r] * w->stride[0];
    }
    unpack(p, cols, to);
    if (has_planes((int)q->kind)) {
        lm_plane_scales(&part, at, 1, to->s);
        if (q->kind == LM_Q_AFFINE)
            lm_plane_scales(&part, at, 2, to->m);
    }
}

/* Of 16 activations; `lo` is NULL where there is no second plane. */
LM_INLINE int32_t sum_of(const int16_t *sum, const int16_t *lo, uint32_t i)
{
    return lo ? 128 * sum[i] + lo[i] : sum[i];
}

/* 32 codes of an activation, in the order of the weights' codes. */
LM_INLINE void lay_block(int8_t *to, const void *from, bool even_odd)
{
    const __m256i order32 = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6,
                                             8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m256i v = _mm256_loadu_si256((const __m256i *)from);
    if (even_odd)
        v = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order32), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)to, v);
}

/* Columns [k, k + cols) of to->tokens rows of activations.
 * long: codes, scales and sums of one pass over the tokens */
static void lay_tile(lm_lin_class c, bool even_odd, uint32_t all, uint32_t k, uint32_t cols, const uint8_t *x,
                     const tile *to, bool precise)
{
    size_t stride = lm_act_code_bytes(all, precise), block_bytes = 32 * (size_t)to->size * (precise ? 2 : 1);
    uint32_t blocks = cols / 32, groups = blocks / c.blocks, size = to->size;
    for (uint32_t t = 0; t < size; t++, x += stride) {
        int8_t *codes = to->codes + 32 * (size_t)t;
        if (t >= to->tokens) {
            for (uint32_t b = 0; b < blocks; b++) {
                memset(codes + b * block_bytes, 0, 32);
                if (precise)
                    memset(codes + b * block_bytes + 32 * size, 0, 32);
                to->d[b * size + t] = 0;
                to->start[b * size + t] = 0;
                to->xs[b * size + t] = 0;
            }
            for (uint32_t b = blocks; b < 2 * blocks && c.sub16; b++)
                to->start[b * size + t] = 0;
            continue;
        }
        const float *d = lm_act_d(x, all) + k / 32, *xs = lm_act_xs(x, all) + k / 32;
        const int16_t *sum = lm_act_sum(x, all) + k / 16;
        const int16_t *lo = precise ? lm_act_sum_lo(x, all) + k / 16 : NULL;
        for (uint32_t b = 0; b < blocks; b++) {
            lay_block(codes + b * block_bytes, x + k + 32 * (size_t)b, even_odd);
            if (precise)
                lay_block(codes + b * block_bytes + 32 * size, lm_act_lo(x, all) + k + 32 * (size_t)b,
                          even_odd);
            to->d[b * size + t] = d[b];
            if (!c.sub16)
                to->start[b * size + t] = -c.off * (sum_of(sum, lo, 2 * b) + sum_of(sum, lo, 2 * b + 1));
        }
        for (uint32_t i = 0; i < 2 * blocks && c.sub16; i++)
            to->start[i * size + t] = -c.off * sum_of(sum, lo, i);
        for (uint32_t g = 0, b = 0; g < groups && c.mins; g++) {
            float of = xs[b++];
            for (int i = 1; i < c.blocks; i++)
                of += xs[b++];
            to->xs[g * size + t] = of;
        }
    }
}

bool lm_many_ready(const lm_matrix *w, uint32_t row0, uint32_t row1)
{
    return w->panels && lm_panels_ready(w, row0, row1);
}

void lm_many_unpack(const lm_matrix *w, bool ready, uint32_t row0, uint32_t k, uint32_t cols,
                    const lm_many_panel *to)
{
    if (ready)
        lm_panels_spread(w, row0, k, cols, to->codes, to->s, to->m, to->sc);
    else
        unpack_panel(w, unpacker_of(w->quant), row0, k, cols, to);
}

bool lm_many_even_odd(const lm_quant *q)
{
    return order_of((int)q->kind, q->bits) == EVEN_ODD;
}

LM_INLINE __m512i quad(const int8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

/* One block's integer sums, T tokens by two panels: quads [from, to). */
LM_INLINE void dots(__m512i a[TILE][2], const uint8_t *const codes[2], const int8_t *x, int T, int from,
                    int to)
{
#pragma GCC unroll 8
    for (int j = from; j < to; j++) {
        __m512i w0 = _mm512_load_si512(codes[0] + 64 * j), w1 = _mm512_load_si512(codes[1] + 64 * j);
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            __m512i v = quad(x + 32 * t + 4 * j);
            a[t][0] = _mm512_dpbusd_epi32(a[t][0], w0, v);
            a[t][1] = _mm512_dpbusd_epi32(a[t][1], w1, v);
        }
    }
}

LM_INLINE void begin(__m512i a[TILE][2], const int32_t *start, int T)
{
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
        a[t][0] = a[t][1] = _mm512_set1_epi32(start[t]);
}

/* start + the sums of quads [from, to), of one plane or two. */
LM_INLINE void block_dots(__m512i a[TILE][2], const int32_t *start, const uint8_t *const codes[2],
                          const int8_t *x, int T, int from, int to, bool precise)
{
    if (!precise) {
        begin(a, start, T);
        dots(a, codes, x, T, from, to);
        return;
    }
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
        a[t][0] = a[t][1] = _mm512_setzero_si512();
    dots(a, codes, x, T, from, to);
#pragma GCC unroll 6
    for (int t = 0; t < T; t++) {
        __m512i v = _mm512_set1_epi32(start[t]);
        a[t][0] = _mm512_add_epi32(_mm512_slli_epi32(a[t][0], 7), v);
        a[t][1] = _mm512_add_epi32(_mm512_slli_epi32(a[t][1], 7), v);
    }
    dots(a, codes, x + 32 * T, T, from, to);
}

typedef float sums[2 * LM_ROWS]; /* of one token and two panels */

static void add_mins(const panel *p0, const panel *p1, const tile *x, uint32_t groups, sums *acc)
{
    for (uint32_t t = 0; t < x->size; t += 2) {
        __m512 a0 = _mm512_load_ps(acc[t]), a1 = _mm512_load_ps(acc[t] + 16);
        __m512 b0 = _mm512_load_ps(acc[t + 1]), b1 = _mm512_load_ps(acc[t + 1] + 16);
        for (uint32_t g = 0; g < groups; g++) {
            __m512 m0 = _mm512_load_ps(p0->m + 16 * g), m1 = _mm512_load_ps(p1->m + 16 * g);
            __m512 xa = _mm512_set1_ps(x->xs[g * x->size + t]),
                   xb = _mm512_set1_ps(x->xs[g * x->size + t + 1]);
            a0 = _mm512_fmadd_ps(m0, xa, a0);
            a1 = _mm512_fmadd_ps(m1, xa, a1);
            b0 = _mm512_fmadd_ps(m0, xb, b0);
            b1 = _mm512_fmadd_ps(m1, xb, b1);
        }
        _mm512_store_ps(acc[t], a0);
        _mm512_store_ps(acc[t] + 16, a1);
        _mm512_store_ps(acc[t + 1], b0);
        _mm512_store_ps(acc[t + 1] + 16, b1);
    }
}

/* Blocks [block, block + n) of two panels by a tile of T tokens.  All but the
 * pointers and the range are constants where inlined; `per` is the class's
 * blocks, which divides both. */
LM_INLINE void multiply(const panel *p0, const panel *p1, const tile *x, uint32_t block, uint32_t n, int T,
                        int per, bool sub16, bool precise, sums *sum)
{
    const int planes = precise ? 2 : 1;
    const uint8_t *codes[2] = { p0->codes + 512 * (size_t)block, p1->codes + 512 * (size_t)block };
    const size_t group = block / (uint32_t)per * 16;
    const float *s0 = p0->s + group, *s1 = p1->s + group, *d = x->d + block * (uint32_t)T;
    const int32_t *start = x->start + block * (uint32_t)(sub16 ? 2 * T : T);
    const int32_t *sc0 = p0->sc + 32 * (size_t)block, *sc1 = p1->sc + 32 * (size_t)block;
    const int8_t *q = x->codes + 32 * (size_t)block * (uint32_t)(planes * T);
    __m512 acc[TILE][2];
#pragma GCC unroll 6
    for (int t = 0; t < T; t++) {
        acc[t][0] = _mm512_load_ps(sum[t]);
        acc[t][1] = _mm512_load_ps(sum[t] + 16);
    }
    for (uint32_t g = 0; g < n; g += (uint32_t)per, s0 += 16, s1 += 16) {
        __m512 v[TILE][2];
#pragma GCC unroll 4
        for (int b = 0; b < per;
             b++, codes[0] += 512, codes[1] += 512, q += 32 * planes * T, d += T, start += T) {
            __m512i a[TILE][2], h[TILE][2];
            if (sub16) {
                block_dots(a, start, codes, q, T, 0, 4, precise);
#pragma GCC unroll 6
                for (int t = 0; t < T; t++) {
                    h[t][0] = _mm512_mullo_epi32(a[t][0], _mm512_load_si512(sc0));
                    h[t][1] = _mm512_mullo_epi32(a[t][1], _mm512_load_si512(sc1));
                }
                start += T;
                block_dots(a, start, codes, q, T, 4, 8, precise);
#pragma GCC unroll 6
                for (int t = 0; t < T; t++) {
                    __m512i a0 = _mm512_mullo_epi32(a[t][0], _mm512_load_si512(sc0 + 16));
                    __m512i a1 = _mm512_mullo_epi32(a[t][1], _mm512_load_si512(sc1 + 16));
                    a[t][0] = _mm512_add_epi32(h[t][0], a0);
                    a[t][1] = _mm512_add_epi32(h[t][1], a1);
                }
                sc0 += 32;
                sc1 += 32;
            } else {
                block_dots(a, start, codes, q, T, 0, 8, precise);
            }
#pragma GCC unroll 6
            for (int t = 0; t < T; t++) {
                __m512 dt = _mm512_set1_ps(d[t]);
                __m512 f0 = _mm512_cvtepi32_ps(a[t][0]), f1 = _mm512_cvtepi32_ps(a[t][1]);
                v[t][0] = b ? _mm512_fmadd_ps(f0, dt, v[t][0]) : _mm512_mul_ps(f0, dt);
                v[t][1] = b ? _mm512_fmadd_ps(f1, dt, v[t][1]) : _mm512_mul_ps(f1, dt);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            acc[t][0] = _mm512_fmadd_ps(_mm512_load_ps(s0), v[t][0], acc[t][0]);
            acc[t][1] = _mm512_fmadd_ps(_mm512_load_ps(s1), v[t][1], acc[t][1]);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < T; t++) {
        _mm512_store_ps(sum[t], acc[t][0]);
        _mm512_store_ps(sum[t] + 16, acc[t][1]);
    }
}

#define KERNEL(name, T, per, sub16)                                                                          \
    static void name(const panel *p0, const panel *p1, const tile *x, uint32_t block, uint32_t n, sums *sum) \
    {                                                                                                        \
        multiply(p0, p1, x, block, n, T, per, sub16, false, sum);                                            \
    }                                                                                                        \
    static void name##_precise(const panel *p0, const panel *p1, const tile *x, uint32_t block, uint32_t n,  \
                               sums *sum)                                                                    \
    {                                                                                                        \
        multiply(p0, p1, x, block, n, T, per, sub16, true, sum);                                             \
    }
KERNEL(mul2_1, 2, 1, false)
KERNEL(mul4_1, 4, 1, false)
KERNEL(mul6_1, 6, 1, false)
KERNEL(mul2_2, 2, 2, false)
KERNEL(mul4_2, 4, 2, false)
KERNEL(mul6_2, 6, 2, false)
KERNEL(mul2_4, 2, 4, false)
KERNEL(mul4_4, 4, 4, false)
KERNEL(mul6_4, 6, 4, false)
KERNEL(mul2_sub, 2, 1, true)
KERNEL(mul4_sub, 4, 1, true)
KERNEL(mul6_sub, 6, 1, true)

typedef void kernel(const panel *p0, const panel *p1, const tile *x, uint32_t block, uint32_t n, sums *sum);
static kernel *const KERNELS[2][4][3] = {
    /* [precise][class][tokens / 2 - 1] */
    { { mul2_1, mul4_1, mul6_1 },
      { mul2_2, mul4_2, mul6_2 },
      { mul2_4, mul4_4, mul6_4 },
      { mul2_sub, mul4_sub, mul6_sub } },
    { { mul2_1_precise, mul4_1_precise, mul6_1_precise },
      { mul2_2_precise, mul4_2_precise, mul6_2_precise },
      { mul2_4_precise, mul4_4_precise, mul6_4_precise },
      { mul2_sub_precise, mul4_sub_precise, mul6_sub_precise } },
};

/* Two panels, `rows` rows of them, by all tiles over a slab of `cols` columns;
 * y is the output of the first row and token. */
static void two_panels(lm_lin_class c, const panel *p0, const panel *p1, const tile *tiles, uint32_t n_tiles,
                       uint32_t cols, bool first, uint32_t rows, float *y, size_t ldy, sums *acc,
                       bool precise)
{
    kernel *const *kernels = KERNELS[precise][c.sub16 ? 3 : c.blocks / 2];
    __mmask16 low = (__mmask16)((1u << LM_MIN(rows, 16u)) - 1);
    __mmask16 high = (__mmask16)((1u << (rows - LM_MIN(rows, 16u))) - 1);
    for (uint32_t i = 0, t = 0; i < n_tiles; i++)
        for (uint32_t u = 0; u < tiles[i].size; u++, t++) {
            bool none = first || u >= tiles[i].tokens;
            const float *from = y + (none ? 0 : t) * ldy;
            _mm512_store_ps(acc[t], _mm512_maskz_loadu_ps(none ? 0 : low, from));
            _mm512_store_ps(acc[t] + 16, _mm512_maskz_loadu_ps(none ? 0 : high, from + 16));
        }
    for (uint32_t i = 0; i < n_tiles && c.mins; i++)
        add_mins(p0, p1, &tiles[i], cols / (32u * c.blocks), acc + i * TILE);
    for (uint32_t k = 0; k < cols; k += CHUNK)
        for (uint32_t i = 0; i < n_tiles; i++)
            kernels[tiles[i].size / 2 - 1](p0, p1, &tiles[i], k / 32, LM_MIN(cols - k, (uint32_t)CHUNK) / 32,
                                           acc + i * TILE);
    for (uint32_t i = 0, t = 0; i < n_tiles; i++)
        for (uint32_t u = 0; u < tiles[i].tokens; u++, t++) {
            _mm512_mask_storeu_ps(y + t * ldy, low, _mm512_load_ps(acc[t]));
            _mm512_mask_storeu_ps(y + t * ldy + 16, high, _mm512_load_ps(acc[t] + 16));
        }
}

void lm_many_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                 size_t ldy, void *scratch, bool precise)
{
    lm_lin_class c = lm_lin_class_of(w->quant);
    unpacker *unpack = unpacker_of(w->quant);
    bool ready = lm_many_ready(w, row0, row1), even_odd = !ready && lm_many_even_odd(w->quant);
    size_t stride = lm_act_code_bytes(w->cols, precise), each = tile_bytes(precise);
    panel p[PANELS];
    tile tiles[TILES];
    uint8_t *at = scratch;
    for (int i = 0; i < PANELS; i++, at += PANEL_BYTES) {
        p[i].codes = at;
        p[i].s = (float *)(void *)(at + 16 * SLAB);
        p[i].m = p[i].s + SLAB / 2;
        p[i].sc = (int32_t *)(void *)(p[i].m + SLAB / 2);
    }
    for (int i = 0; i < TILES; i++, at += each) {
        tiles[i].codes = (int8_t *)at;
        tiles[i].d = (float *)(void *)(at + (precise ? 2 : 1) * (size_t)TILE * SLAB);
        tiles[i].xs = tiles[i].d + TILE * (SLAB / 32);
        tiles[i].start = (int32_t *)(void *)(tiles[i].xs + TILE * (SLAB / 32));
    }
    sums *acc = (sums *)(void *)at;
    for (uint32_t k = 0; k < w->cols; k += SLAB) {
        uint32_t cols = LM_MIN(w->cols - k, (uint32_t)SLAB);
        for (uint32_t row = row0; row < row1; row += PANELS * LM_ROWS) {
            uint32_t rows = LM_MIN(row1 - row, (uint32_t)PANELS * LM_ROWS),
                     panels = (rows + LM_ROWS - 1) / LM_ROWS;
            for (uint32_t i = 0; i < panels; i++)
                if (ready)
                    lm_panels_spread(w, row + i * LM_ROWS, k, cols, p[i].codes, p[i].s, p[i].m, p[i].sc);
                else
                    unpack_panel(w, unpack, row + i * LM_ROWS, k, cols, &p[i]);
            for (uint32_t t = 0; t < n; t += TOKENS) {
                uint32_t n_tiles = 0;
                for (uint32_t u = t; u < LM_MIN(n, t + TOKENS); u += TILE, n_tiles++) {
                    tiles[n_tiles].tokens = LM_MIN(n - u, (uint32_t)TILE);
                    tiles[n_tiles].size = (tiles[n_tiles].tokens + 1) & ~1u;
                    lay_tile(c, even_odd, w->cols, k, cols, x + u * stride, &tiles[n_tiles], precise);
                }
                for (uint32_t i = 0; i < panels; i += 2)
                    two_panels(c, &p[i], &p[LM_MIN(i + 1, panels - 1)], tiles, n_tiles, cols, k == 0,
                               LM_MIN(rows - i * LM_ROWS, 2u * LM_ROWS), y + t * ldy + row + i * LM_ROWS, ldy,
                               acc, precise);
            }
        }
    }
}
