/* backend/cpu/avx512/linear_many.c - many tokens: panels unpacked into L2 scratch.
 *
 * A panel of 16 rows becomes codes [cols / 4][16 rows][4], scales and mins
 * [group][16 rows]; as many panels as fit are unpacked together.  A tile of up to
 * TILE tokens is laid out next to them, block by block:
 *
 *   codes [block][token][32]   d [block][token]   start [block][token]
 *
 * so that all addresses of the inner loop are one pointer and constants.  The 16
 * output rows are the lanes: one 4-byte load of an activation feeds all of them,
 * and `off` is folded into the value that an integer sum starts from.  The float
 * chain of linear_impl.h runs block by block. */
#include "backend/cpu/avx512/linear_avx512.h"
#include "backend/cpu/linear_unpack.h"

enum { TILE = 12, PANELS_BYTES = 320 * 1024, MAX_PANELS = 8 };

typedef struct {
    uint8_t *codes; /* [cols / 4][16][4] */
    float *s, *m;   /* [group][16] */
    int32_t *sc;    /* [cols / 16][16], sub16 */
} panel;

/* A tile of T tokens, T at most TILE. */
typedef struct {
    int8_t *codes;  /* [block][T][32] */
    float *d;       /* [block][T] */
    int32_t *start; /* [block][T], sub16: [2 * block][T] */
    float *xs;      /* [group][T] */
} tile;

static size_t panel_bytes(uint32_t cols)
{
    size_t p = lm_act_padded(cols);
    return p * 16 + 2 * (p / 32 * 64) + p / 16 * 64;
}

static uint32_t panels_of(uint32_t cols)
{
    size_t n = PANELS_BYTES / panel_bytes(cols);
    return (uint32_t)(n < 1 ? 1 : n > MAX_PANELS ? MAX_PANELS : n);
}

static size_t rows_bytes(uint32_t cols) /* one panel's rows before they are turned */
{
    size_t p = lm_act_padded(cols) + 512; /* 16 groups at a time */
    return 16 * (p + p / 8 * 2 + p / 16);
}

static size_t tile_bytes(uint32_t cols)
{
    size_t p = lm_act_padded(cols) + 512;
    return TILE * (p + p / 8 * 2 + p / 4) + 1024;
}

size_t lm_many_scratch(const lm_matrix *w)
{
    return panels_of(w->cols) * panel_bytes(w->cols) + rows_bytes(w->cols) + tile_bytes(w->cols);
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

/* [16 rows][ld] floats -> [n][16]. */
static void turn(const float *from, size_t ld, uint32_t n, float *to)
{
    for (uint32_t g = 0; g < n; g += 16) {
        __m512i v[16];
        for (size_t r = 0; r < 16; r++)
            v[r] = _mm512_loadu_si512(from + r * ld + g);
        lm_transpose16(v);
        for (uint32_t i = 0; i < 16 && g + i < n; i++)
            _mm512_storeu_si512(to + (g + i) * 16, v[i]);
    }
}

LM_INLINE void bits_row(const uint8_t *p, uint32_t cols, int bits, uint8_t *to)
{
    int have = (int)((uint64_t)cols * (unsigned)bits / 8);
    for (uint32_t i = 0; i < cols; i += 64, p += 8 * bits, have -= 8 * bits)
        _mm512_storeu_si512(to + i, lm_bits64(p, have, bits));
}

/* Codes of an affine row, padded with zeros. */
static void affine_row(const uint8_t *p, uint32_t cols, int bits, uint8_t *to)
{
    switch (bits) {
    case 1: bits_row(p, cols, 1, to); break;
    case 2: bits_row(p, cols, 2, to); break;
    case 3: bits_row(p, cols, 3, to); break;
    case 4: bits_row(p, cols, 4, to); break;
    case 5: bits_row(p, cols, 5, to); break;
    case 6: bits_row(p, cols, 6, to); break;
    default: memcpy(to, p, cols); break;
    }
    memset(to + cols, 0, lm_act_padded(cols) - cols);
}

static void unpack_panel(const lm_matrix *w, lm_lin_class c, uint32_t row0, void *rows, const panel *to)
{
    uint32_t cols = w->cols, padded = lm_act_padded(cols);
    size_t ldf = (padded + 512) / 32; /* turn() reads 16 groups at a time */
    uint8_t *codes = rows;
    float *s = (float *)(void *)(codes + 16 * (size_t)padded), *m = s + 16 * ldf;
    int8_t *sc = (int8_t *)(m + 16 * ldf);
    uint32_t at[LM_ROWS];
    bool affine = w->quant->kind == LM_Q_AFFINE;
    for (uint32_t r = 0; r < LM_ROWS; r++) {
        const uint8_t *planes[LM_QUANT_PLANES];
        at[r] = row0 + r < w->rows ? row0 + r : w->rows - 1;
        lm_matrix_row(w, at[r], planes);
        if (affine)
            affine_row(planes[0], cols, w->quant->bits, codes + (size_t)r * padded);
        else
            lm_unpack_row(w->quant, planes, cols, codes + (size_t)r * padded, s + r * ldf, m + r * ldf,
                          sc + (size_t)r * padded / 16);
    }
    for (uint32_t k = 0; k < padded; k += 64) {
        __m512i v[16];
        for (size_t r = 0; r < 16; r++)
            v[r] = _mm512_loadu_si512(codes + r * padded + k);
        lm_transpose16(v);
        for (size_t i = 0; i < 16; i++)
            _mm512_storeu_si512(to->codes + (size_t)k * 16 + i * 64, v[i]);
    }
    if (affine) {
        lm_plane_scales(w, at, 1, to->s);
        lm_plane_scales(w, at, 2, to->m);
        return;
    }
    turn(s, ldf, cols / 32, to->s);
    if (c.mins)
        turn(m, ldf, cols / 32, to->m);
    for (uint32_t i = 0; c.sub16 && i < cols / 16; i++)
        for (uint32_t r = 0; r < 16; r++)
            to->sc[i * 16 + r] = sc[(size_t)r * padded / 16 + i];
}

/* Tokens past n are zeros. */
static void lay_tile(lm_lin_class c, uint32_t cols, const uint8_t *x, uint32_t n, uint32_t size,
                     const tile *to)
{
    size_t stride = lm_act_q8_bytes(cols);
    uint32_t blocks = cols / 32, groups = blocks / c.blocks;
    for (uint32_t t = 0; t < size; t++, x += stride) {
        if (t >= n) {
            for (uint32_t b = 0; b < blocks; b++) {
                memset(to->codes + ((size_t)b * size + t) * 32, 0, 32);
                to->d[b * size + t] = 0;
            }
            for (uint32_t i = 0; i < (c.sub16 ? 2 * blocks : blocks); i++)
                to->start[i * size + t] = 0;
            for (uint32_t g = 0; g < groups; g++)
                to->xs[g * size + t] = 0;
            continue;
        }
        const float *d = lm_act_d(x, cols), *xs = lm_act_xs(x, cols);
        const int16_t *sum = lm_act_sum(x, cols);
        for (uint32_t b = 0; b < blocks; b++) {
            memcpy(to->codes + ((size_t)b * size + t) * 32, x + (size_t)b * 32, 32);
            to->d[b * size + t] = d[b];
        }
        if (c.sub16)
            for (uint32_t i = 0; i < 2 * blocks; i++)
                to->start[i * size + t] = -c.off * sum[i];
        else
            for (uint32_t b = 0; b < blocks; b++)
                to->start[b * size + t] = -c.off * (sum[2 * b] + sum[2 * b + 1]);
        if (!c.mins)
            continue;
        for (uint32_t g = 0, b = 0; g < groups; g++) {
            float of = xs[b++];
            for (int i = 1; i < c.blocks; i++)
                of += xs[b++];
            to->xs[g * size + t] = of;
        }
    }
}

LM_INLINE __m512i quad(const int8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

/* One block's integer sums for T tokens: quads [from, to) of the block. */
LM_INLINE void dots(__m512i a[TILE], const uint8_t *codes, const int8_t *x, int T, int from, int to)
{
#pragma GCC unroll 8
    for (int j = from; j < to; j++) {
        __m512i w = _mm512_load_si512(codes + 64 * j);
#pragma GCC unroll 12
        for (int t = 0; t < T; t++)
            a[t] = _mm512_dpbusd_epi32(a[t], w, quad(x + 32 * t + 4 * j));
    }
}

/* `blocks` and `sub16` are the class's; all three are constants where inlined. */
LM_INLINE void multiply(const panel *p, const tile *x, uint32_t groups, bool mins, int T, int blocks,
                        bool sub16, __m512 acc[TILE])
{
    const uint8_t *codes = p->codes;
    const int8_t *q = x->codes;
    const float *d = x->d;
    const int32_t *start = x->start, *sc = p->sc;
#pragma GCC unroll 12
    for (int t = 0; t < T; t++)
        acc[t] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < groups && mins; g++) {
        __m512 m = _mm512_load_ps(p->m + g * 16);
#pragma GCC unroll 12
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->xs[g * (uint32_t)T + (uint32_t)t]), acc[t]);
    }
    for (uint32_t g = 0; g < groups; g++) {
        __m512 s = _mm512_load_ps(p->s + g * 16), v[TILE];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++, codes += 512, q += 32 * T, d += T) {
            __m512i a[TILE];
#pragma GCC unroll 12
            for (int t = 0; t < T; t++)
                a[t] = _mm512_set1_epi32(start[t]);
            start += T;
            if (sub16) {
                __m512i sc0 = _mm512_load_si512(sc), sc1 = _mm512_load_si512(sc + 16), h[TILE];
                dots(a, codes, q, T, 0, 4);
#pragma GCC unroll 12
                for (int t = 0; t < T; t++) {
                    h[t] = _mm512_mullo_epi32(a[t], sc0);
                    a[t] = _mm512_set1_epi32(start[t]);
                }
                start += T;
                sc += 32;
                dots(a, codes, q, T, 4, 8);
#pragma GCC unroll 12
                for (int t = 0; t < T; t++)
                    a[t] = _mm512_add_epi32(h[t], _mm512_mullo_epi32(a[t], sc1));
            } else {
                dots(a, codes, q, T, 0, 8);
            }
#pragma GCC unroll 12
            for (int t = 0; t < T; t++) {
                __m512 f = _mm512_cvtepi32_ps(a[t]), dt = _mm512_set1_ps(d[t]);
                v[t] = b ? _mm512_fmadd_ps(f, dt, v[t]) : _mm512_mul_ps(f, dt);
            }
        }
#pragma GCC unroll 12
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_fmadd_ps(s, v[t], acc[t]);
    }
}

#define KERNEL(name, T, blocks, sub16)                                                                       \
    static void name(const panel *p, const tile *x, uint32_t groups, bool mins, __m512 *out)                 \
    {                                                                                                        \
        __m512 acc[TILE];                                                                                    \
        multiply(p, x, groups, mins, T, blocks, sub16, acc);                                                 \
        for (int t = 0; t < (T); t++)                                                                        \
            out[t] = acc[t];                                                                                 \
    }
KERNEL(mul4_1, 4, 1, false)
KERNEL(mul8_1, 8, 1, false)
KERNEL(mul12_1, 12, 1, false)
KERNEL(mul4_2, 4, 2, false)
KERNEL(mul8_2, 8, 2, false)
KERNEL(mul12_2, 12, 2, false)
KERNEL(mul4_4, 4, 4, false)
KERNEL(mul8_4, 8, 4, false)
KERNEL(mul12_4, 12, 4, false)
KERNEL(mul4_sub, 4, 1, true)
KERNEL(mul8_sub, 8, 1, true)
KERNEL(mul12_sub, 12, 1, true)

typedef void kernel(const panel *p, const tile *x, uint32_t groups, bool mins, __m512 *out);
static kernel *const KERNELS[4][3] = {
    /* [class][tokens / 4 - 1] */
    { mul4_1, mul8_1, mul12_1 },
    { mul4_2, mul8_2, mul12_2 },
    { mul4_4, mul8_4, mul12_4 },
    { mul4_sub, mul8_sub, mul12_sub },
};

void lm_many_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                 size_t ldy, void *scratch)
{
    lm_lin_class c = lm_lin_class_of(w->quant);
    uint32_t cols = w->cols, padded = lm_act_padded(cols), groups = cols / (32u * c.blocks);
    uint32_t together = panels_of(cols);
    size_t stride = lm_act_q8_bytes(cols);
    panel p[MAX_PANELS];
    uint8_t *at = scratch;
    for (uint32_t i = 0; i < together; i++, at += panel_bytes(cols)) {
        p[i].codes = at;
        p[i].s = (float *)(void *)(at + 16 * (size_t)padded);
        p[i].m = p[i].s + padded / 2;
        p[i].sc = (int32_t *)(void *)(p[i].m + padded / 2);
    }
    void *rows = at;
    size_t cells = (size_t)TILE * (padded + 512);
    at += rows_bytes(cols);
    tile to;
    to.codes = (int8_t *)at;
    to.d = (float *)(void *)(at + cells);
    to.xs = (float *)(void *)(at + cells + cells / 8);
    to.start = (int32_t *)(void *)(at + cells + cells / 4);
    kernel *const *kernels = KERNELS[c.sub16 ? 3 : c.blocks / 2];
    for (uint32_t row = row0; row < row1; row += together * LM_ROWS) {
        uint32_t panels = (LM_MIN(row1 - row, together * LM_ROWS) + LM_ROWS - 1) / LM_ROWS;
        for (uint32_t i = 0; i < panels; i++)
            unpack_panel(w, c, row + i * LM_ROWS, rows, &p[i]);
        for (uint32_t t = 0; t < n; t += TILE) {
            uint32_t tokens = LM_MIN(n - t, (uint32_t)TILE), size = (tokens + 3) & ~3u;
            lay_tile(c, cols, x + t * stride, tokens, size, &to);
            for (uint32_t i = 0; i < panels; i++) {
                __m512 out[TILE];
                uint32_t first = row + i * LM_ROWS, width = LM_MIN(row1 - first, (uint32_t)LM_ROWS);
                kernels[size / 4 - 1](&p[i], &to, groups, c.mins, out);
                for (uint32_t u = 0; u < tokens; u++)
                    _mm512_mask_storeu_ps(y + (t + u) * ldy + first, (__mmask16)((1u << width) - 1), out[u]);
            }
        }
    }
}
