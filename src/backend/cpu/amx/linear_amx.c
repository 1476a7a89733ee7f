/* backend/cpu/amx/linear_amx.c - many tokens through integer tiles.
 *
 * A block of an unpacked panel (8 quads of 16 rows, linear_many.c) is a tile of
 * weights; the 32 codes of a block in 16 rows of activations, where they lie, are
 * a tile of activations.  The sum over a block's 32 columns is exact, so the float
 * chain of linear_impl.h, run here with output rows as lanes and 16 tokens in
 * registers, gives the bits of every other kernel (N1).
 *
 *   slab > up to 8 panels, unpacked > up to TOKENS tokens, their scales turned >
 *     two panels > CHUNK columns > tiles of 16 tokens:
 *       four blocks in tiles -> scratch | four earlier ones through the chain
 *
 * Tiles work on their own: while one step's sums are made, those of the step
 * before are converted.  `off` is taken from the codes when a panel is unpacked:
 * then they are signed.  Formats without one have unsigned codes. */
#include "backend/cpu/amx/tiles.h"
#include "backend/cpu/avx512/linear_avx512.h"

#ifndef LM_AMX_NAME
#define LM_AMX_NAME(x) x
#endif

enum { TILE = 16, TOKENS = 128, TILES = TOKENS / TILE, PANELS = 8, CHUNK = 512, SLAB = LM_LIN_SLAB };
/* From so many tokens on; with fewer most of a tile would be zeros. */
enum { LEAST = 8 };
/* Sums of a step: four blocks of one tile, twice for halves or planes, four times
 * for both; and the steps before, of which the oldest is converted. */
enum { C_WORDS = TILE * LM_ROWS, STEP = 4, STEP_WORDS = STEP * 4 * C_WORDS, LAG = 1 };

enum {
    PANEL_BYTES = 16 * SLAB + 2 * (SLAB / 32 * 64) + SLAB / 16 * 64,
    TILE_BYTES = 2 * TILE * (SLAB / 32) * 4,
    SUMS_BYTES = TOKENS * 2 * LM_ROWS * 4,
    WORDS_BYTES = (LAG + 1) * STEP_WORDS * 4,
    SCRATCH_BYTES = PANELS * PANEL_BYTES + TILES * TILE_BYTES + SUMS_BYTES + WORDS_BYTES
};

typedef float sums[TILE][LM_ROWS]; /* of 16 tokens and a panel */

/* Up to 16 tokens of a slab: codes where they lie, scales turned to d [block][16]
 * and xs [group][16]. */
typedef struct {
    const uint8_t *x; /* the first token's codes of the slab */
    float *d, *xs;
    uint32_t tokens;
} token_tile;

/* What a call's tiles look like. */
typedef struct {
    size_t stride; /* from token to token */
    size_t lo;     /* from the first plane to the second */
    bool sub16;
} shape;

static void configure(const shape *f, uint32_t tokens)
{
    lm_tile_config c = { .palette = 1 };
    for (int t = 0; t < 8; t++) {
        bool weights = t == 5 || t == 7, acts = t == 4 || t == 6;
        c.rows[t] = weights ? (f->sub16 ? 4 : 8) : (uint8_t)tokens;
        c.row_bytes[t] = acts ? (f->sub16 ? 16 : 32) : 64;
    }
    lm_tile_configure(&c);
}

/* Codes of a panel as tiles want them: without their offset, and in the order of
 * columns.  (Some formats come as even columns of a block, then odd ones: quad q
 * of each makes quads 2 q and 2 q + 1.)  `n` is a multiple of 512. */
static void finish_codes(uint8_t *codes, size_t n, uint8_t off, bool even_odd)
{
    const __m512i by = _mm512_set1_epi8((char)off);
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i first =
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(0x01010101)), 2),
                         _mm512_set1_epi32(0x41014000));
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(0x02020202));
    if (even_odd)
        for (size_t i = 0; i < n; i += 512) {
            __m512i v[8];
            for (int q = 0; q < 8; q++)
                v[q] = _mm512_sub_epi8(_mm512_load_si512(codes + i + 64 * q), by);
            for (int q = 0; q < 4; q++) {
                _mm512_store_si512(codes + i + 128 * q, _mm512_permutex2var_epi8(v[q], first, v[q + 4]));
                _mm512_store_si512(codes + i + 128 * q + 64,
                                   _mm512_permutex2var_epi8(v[q], second, v[q + 4]));
            }
        }
    else if (off)
        for (size_t i = 0; i < n; i += 64)
            _mm512_store_si512(codes + i, _mm512_sub_epi8(_mm512_load_si512(codes + i), by));
}

/* rows [tokens][n] of floats, `stride` bytes apart -> to [n][16], the tokens that
 * there are not as zeros. */
static void turn(const uint8_t *rows, size_t stride, uint32_t tokens, uint32_t n, float *to)
{
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t have = LM_MIN(n - i, 16u);
        __m512i v[16];
        for (uint32_t t = 0; t < 16; t++)
            v[t] = t < tokens
                       ? _mm512_maskz_loadu_epi32((__mmask16)((1u << have) - 1), rows + t * stride + 4 * i)
                       : _mm512_setzero_si512();
        lm_transpose16(v);
        for (uint32_t j = 0; j < have; j++)
            _mm512_store_si512(to + (size_t)(i + j) * TILE, v[j]);
    }
}

/* x is the first token's row; columns [k, k + cols). */
static void lay(lm_lin_class c, const shape *f, uint32_t all, uint32_t k, uint32_t cols, const uint8_t *x,
                token_tile *to)
{
    const uint8_t *d = (const uint8_t *)(lm_act_d(x, all) + k / 32);
    const uint8_t *xs = (const uint8_t *)(lm_act_xs(x, all) + k / 32);
    to->x = x + k;
    turn(d, f->stride, to->tokens, cols / 32, to->d);
    if (!c.mins)
        return;
    turn(xs, f->stride, to->tokens, cols / 32, to->xs);
    for (uint32_t g = 0, b = 0; c.blocks > 1 && g < cols / 32 / c.blocks; g++) {
        __m512 of = _mm512_load_ps(to->xs + (size_t)b++ * TILE);
        for (int i = 1; i < c.blocks; i++)
            of = _mm512_add_ps(of, _mm512_load_ps(to->xs + (size_t)b++ * TILE));
        _mm512_store_ps(to->xs + (size_t)g * TILE, of);
    }
}

/* Sum c of a step: activations at a, weights at b. */
#define SUM(c, ta, tb, a, b, to)                                                                             \
    do {                                                                                                     \
        lm_tile_zero(c);                                                                                     \
        lm_tile_load(ta, a, f->stride);                                                                      \
        lm_tile_load(tb, b, 64);                                                                             \
        lm_tile_dot(c, ta, tb, is_signed);                                                                   \
        lm_tile_store(c, to, LM_ROWS * 4);                                                                   \
    } while (0)

/* The sums of blocks [0, n) at codes and x, to [block][half][plane][token][row]. */
LM_INLINE void tile_sums(const shape *f, const uint8_t *codes, const uint8_t *x, uint32_t n, bool sub16,
                         bool precise, bool is_signed, int32_t *to)
{
    const uint32_t planes = precise ? 2 : 1, halves = sub16 ? 2 : 1;
    /* what the compiler still holds back must be in memory before tiles read it */
    __asm__ volatile("" ::: "memory");
    if (planes * halves == 1 && n == STEP) {
        SUM(0, 4, 5, x, codes, to);
        SUM(1, 6, 7, x + 32, codes + 512, to + C_WORDS);
        SUM(2, 4, 5, x + 64, codes + 1024, to + 2 * C_WORDS);
        SUM(3, 6, 7, x + 96, codes + 1536, to + 3 * C_WORDS);
        return;
    }
    for (uint32_t b = 0; b < n; b++, codes += 512)
        for (uint32_t h = 0; h < halves; h++)
            for (uint32_t p = 0; p < planes; p++, to += C_WORDS) {
                const uint8_t *a = x + 32 * b + 16 * h + p * f->lo;
                if (p)
                    SUM(0, 4, 5, a, codes + 256 * h, to);
                else
                    SUM(1, 6, 7, a, codes + 256 * h, to);
            }
}

/* The integer sums of token t of a block as floats; `c` is [half][plane][token][row]. */
LM_INLINE __m512 block_sum(const int32_t *c, int t, const int32_t *sc, bool sub16, bool precise)
{
    __m512i v[2];
    for (int h = 0; h < (sub16 ? 2 : 1); h++, c += (precise ? 2 : 1) * C_WORDS) {
        v[h] = _mm512_load_si512(c + LM_ROWS * t);
        if (precise)
            v[h] = _mm512_add_epi32(_mm512_slli_epi32(v[h], 7), _mm512_load_si512(c + C_WORDS + LM_ROWS * t));
    }
    if (!sub16)
        return _mm512_cvtepi32_ps(v[0]);
    const __m512i sc0 = _mm512_load_si512(sc), sc1 = _mm512_load_si512(sc + 16);
    if (precise)
        return _mm512_cvtepi32_ps(
            _mm512_add_epi32(_mm512_mullo_epi32(v[0], sc0), _mm512_mullo_epi32(v[1], sc1)));
    /* |half| <= 16 * 32 * 127, |sc| <= 128: products and sum are below 2^24, so they
     * are exact in floats, which multiply faster */
    __m512 f0 = _mm512_cvtepi32_ps(v[0]), f1 = _mm512_cvtepi32_ps(v[1]);
    return _mm512_fmadd_ps(f1, _mm512_cvtepi32_ps(sc1), _mm512_mul_ps(f0, _mm512_cvtepi32_ps(sc0)));
}

/* Blocks [0, n) of a step through the chain: n is a multiple of `per`, the blocks
 * of a group. */
LM_INLINE void chain(const int32_t *c, uint32_t n, const float *s, const float *d, const int32_t *sc, int per,
                     bool sub16, bool precise, __m512 acc[TILE])
{
    const int each = (sub16 ? 2 : 1) * (precise ? 2 : 1) * C_WORDS;
    for (uint32_t g = 0; g < n; g += (uint32_t)per, s += 16, c += per * each, d += per * TILE, sc += 32) {
        const __m512 sg = _mm512_load_ps(s);
#pragma GCC unroll 16
        for (int t = 0; t < TILE; t++) {
            __m512 v = _mm512_mul_ps(block_sum(c, t, sc, sub16, precise), _mm512_set1_ps(d[t]));
#pragma GCC unroll 4
            for (int b = 1; b < per; b++)
                v = _mm512_fmadd_ps(block_sum(c + b * each, t, sc, sub16, precise),
                                    _mm512_set1_ps(d[b * TILE + t]), v);
            acc[t] = _mm512_fmadd_ps(sg, v, acc[t]);
        }
    }
}

/* Blocks [block, block + n) of a panel by a tile of tokens. */
LM_INLINE void multiply(const shape *f, const lm_many_panel *p, const token_tile *x, uint32_t block,
                        uint32_t n, int per, bool sub16, bool precise, bool is_signed, int32_t *words,
                        float (*sum)[LM_ROWS])
{
    const uint8_t *codes = p->codes + 512 * (size_t)block, *q = x->x + 32 * (size_t)block;
    const float *s = p->s + block / (uint32_t)per * 16, *d = x->d + block * TILE;
    const int32_t *sc = p->sc + 32 * (size_t)block;
    const uint32_t steps = (n + STEP - 1) / STEP;
    __m512 acc[TILE];
#pragma GCC unroll 16
    for (int t = 0; t < TILE; t++)
        acc[t] = _mm512_load_ps(sum[t]);
    for (uint32_t i = 0; i < steps + LAG; i++) {
        if (i < steps)
            tile_sums(f, codes + 512 * (size_t)(i * STEP), q + 32 * (size_t)(i * STEP),
                      LM_MIN(n - i * STEP, (uint32_t)STEP), sub16, precise, is_signed,
                      words + i % (LAG + 1) * STEP_WORDS);
        if (i >= LAG) {
            uint32_t at = (i - LAG) * STEP;
            chain(words + (i - LAG) % (LAG + 1) * STEP_WORDS, LM_MIN(n - at, (uint32_t)STEP),
                  s + at / (uint32_t)per * 16, d + at * TILE, sc + 32 * (size_t)at, per, sub16, precise, acc);
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < TILE; t++)
        _mm512_store_ps(sum[t], acc[t]);
}

#define KERNEL(name, per, sub16, precise, is_signed)                                                         \
    static LM_NOINLINE void name(const shape *f, const lm_many_panel *p, const token_tile *x,                \
                                 uint32_t block, uint32_t n, int32_t *words, float(*sum)[LM_ROWS])           \
    {                                                                                                        \
        multiply(f, p, x, block, n, per, sub16, precise, is_signed, words, sum);                             \
    }
KERNEL(signed_1, 1, false, false, true)
KERNEL(plain_1, 1, false, false, false)
KERNEL(plain_2, 2, false, false, false)
KERNEL(plain_4, 4, false, false, false)
KERNEL(signed_sub, 1, true, false, true)
KERNEL(signed_1_precise, 1, false, true, true)
KERNEL(plain_1_precise, 1, false, true, false)
KERNEL(plain_2_precise, 2, false, true, false)
KERNEL(plain_4_precise, 4, false, true, false)
KERNEL(signed_sub_precise, 1, true, true, true)

typedef void kernel(const shape *f, const lm_many_panel *p, const token_tile *x, uint32_t block, uint32_t n,
                    int32_t *words, float (*sum)[LM_ROWS]);

/* NULL: no format has such a class. */
static kernel *kernel_of(lm_lin_class c, bool precise)
{
    if (c.sub16)
        return precise ? signed_sub_precise : signed_sub;
    if (c.off)
        return c.blocks == 1 ? (precise ? signed_1_precise : signed_1) : NULL;
    switch (c.blocks) {
    case 1: return precise ? plain_1_precise : plain_1;
    case 2: return precise ? plain_2_precise : plain_2;
    default: return precise ? plain_4_precise : plain_4;
    }
}

static void add_mins(const lm_many_panel *p, const token_tile *x, uint32_t groups, float (*sum)[LM_ROWS])
{
    __m512 acc[TILE];
#pragma GCC unroll 16
    for (int t = 0; t < TILE; t++)
        acc[t] = _mm512_load_ps(sum[t]);
    for (uint32_t g = 0; g < groups; g++) {
        const __m512 m = _mm512_load_ps(p->m + 16 * g);
#pragma GCC unroll 16
        for (int t = 0; t < TILE; t++)
            acc[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->xs[g * TILE + (uint32_t)t]), acc[t]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < TILE; t++)
        _mm512_store_ps(sum[t], acc[t]);
}

typedef struct {
    shape shape;
    kernel *mul;
    lm_many_panel panels[PANELS];
    token_tile tiles[TILES];
    sums *acc; /* [tile][panel of two] */
    int32_t *words;
} work;

static void cut(work *k, void *scratch)
{
    uint8_t *at = scratch;
    for (int i = 0; i < PANELS; i++, at += PANEL_BYTES) {
        lm_many_panel *p = &k->panels[i];
        p->codes = at;
        p->s = (float *)(void *)(at + 16 * SLAB);
        p->m = p->s + SLAB / 2;
        p->sc = (int32_t *)(void *)(p->m + SLAB / 2);
    }
    for (int i = 0; i < TILES; i++, at += TILE_BYTES) {
        k->tiles[i].d = (float *)(void *)at;
        k->tiles[i].xs = k->tiles[i].d + TILE * (SLAB / 32);
    }
    k->acc = (sums *)(void *)at;
    k->words = (int32_t *)(void *)(at + SUMS_BYTES);
}

static __mmask16 first_lanes(uint32_t n)
{
    return (__mmask16)((1u << LM_MIN(n, 16u)) - 1);
}

/* Panels i and i + 1 (if there is one), `rows` rows of them, by n_tiles tiles over
 * a slab of `cols` columns; y is the output of panel i's first row and of the
 * first token. */
static void two_panels(const work *k, lm_lin_class c, uint32_t i, uint32_t n_panels, uint32_t n_tiles,
                       uint32_t cols, bool first, uint32_t rows, float *y, size_t ldy)
{
    for (uint32_t j = 0; j < n_tiles; j++)
        for (uint32_t h = 0; h < n_panels; h++) {
            const token_tile *x = &k->tiles[j];
            sums *acc = &k->acc[2 * j + h];
            __mmask16 lanes = first_lanes(rows - 16 * h);
            for (uint32_t t = 0; t < TILE; t++)
                _mm512_store_ps((*acc)[t],
                                first || t >= x->tokens
                                    ? _mm512_setzero_ps()
                                    : _mm512_maskz_loadu_ps(lanes, y + (j * TILE + t) * ldy + 16 * h));
            if (c.mins)
                add_mins(&k->panels[i + h], x, cols / (32u * c.blocks), *acc);
        }
    bool whole = true; /* all tiles but the last have all tokens */
    for (uint32_t at = 0; at < cols; at += CHUNK)
        for (uint32_t j = 0; j < n_tiles; j++) {
            if (whole != (k->tiles[j].tokens == TILE)) {
                whole = !whole;
                configure(&k->shape, k->tiles[j].tokens);
            }
            for (uint32_t h = 0; h < n_panels; h++)
                k->mul(&k->shape, &k->panels[i + h], &k->tiles[j], at / 32,
                       LM_MIN(cols - at, (uint32_t)CHUNK) / 32, k->words, k->acc[2 * j + h]);
        }
    if (!whole)
        configure(&k->shape, TILE);
    for (uint32_t j = 0; j < n_tiles; j++)
        for (uint32_t h = 0; h < n_panels; h++)
            for (uint32_t t = 0; t < k->tiles[j].tokens; t++)
                _mm512_mask_storeu_ps(y + (j * TILE + t) * ldy + 16 * h, first_lanes(rows - 16 * h),
                                      _mm512_load_ps(k->acc[2 * j + h][t]));
}

static void amx_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch, bool precise)
{
    const lm_lin_class c = lm_lin_class_of(w->quant);
    const bool ready = lm_many_ready(w, row0, row1), even_odd = !ready && lm_many_even_odd(w->quant);
    work k = { .shape = { .stride = lm_act_code_bytes(w->cols, precise),
                          .lo = precise ? (size_t)((const uint8_t *)lm_act_lo(x, w->cols) - x) : 0,
                          .sub16 = c.sub16 },
               .mul = kernel_of(c, precise) };
    cut(&k, scratch);
    configure(&k.shape, TILE);
    for (uint32_t col = 0; col < w->cols; col += SLAB) {
        uint32_t cols = LM_MIN(w->cols - col, (uint32_t)SLAB);
        for (uint32_t row = row0; row < row1; row += PANELS * LM_ROWS) {
            uint32_t rows = LM_MIN(row1 - row, (uint32_t)PANELS * LM_ROWS),
                     panels = (rows + LM_ROWS - 1) / LM_ROWS;
            for (uint32_t i = 0; i < panels; i++) {
                lm_many_unpack(w, ready, row + i * LM_ROWS, col, cols, &k.panels[i]);
                finish_codes(k.panels[i].codes, (size_t)cols * 16, c.off, even_odd);
            }
            for (uint32_t t = 0; t < n; t += TOKENS) {
                uint32_t n_tiles = 0;
                for (uint32_t u = t; u < LM_MIN(n, t + TOKENS); u += TILE, n_tiles++) {
                    k.tiles[n_tiles].tokens = LM_MIN(n - u, (uint32_t)TILE);
                    lay(c, &k.shape, w->cols, col, cols, x + u * k.shape.stride, &k.tiles[n_tiles]);
                }
                for (uint32_t i = 0; i < panels; i += 2)
                    two_panels(&k, c, i, LM_MIN(panels - i, 2u), n_tiles, cols, col == 0, rows - i * LM_ROWS,
                               y + t * ldy + row + i * LM_ROWS, ldy);
            }
        }
    }
    lm_tile_done();
}

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    return LM_MAX((size_t)SCRATCH_BYTES, lm_linear_q8_avx512.scratch_bytes(w, max_tokens));
}

static size_t q16_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    return LM_MAX((size_t)SCRATCH_BYTES, lm_linear_q16_avx512.scratch_bytes(w, max_tokens));
}

static void q8_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch)
{
    if (n < LEAST)
        lm_linear_q8_avx512.run(w, row0, row1, x, n, y, ldy, scratch);
    else
        amx_run(w, row0, row1, x, n, y, ldy, scratch, false);
}

static void q16_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    if (n < LEAST)
        lm_linear_q16_avx512.run(w, row0, row1, x, n, y, ldy, scratch);
    else
        amx_run(w, row0, row1, x, n, y, ldy, scratch, true);
}

const lm_cpu_linear LM_AMX_NAME(lm_linear_q8_amx) = { "in place, 8-bit activations, amx", &lm_act_q8_avx512,
                                                      q8_scratch, q8_run };
const lm_cpu_linear LM_AMX_NAME(lm_linear_q16_amx) = { "in place, 15-bit activations, amx",
                                                       &lm_act_q16_avx512, q16_scratch, q16_run };
