/* backend/cpu/lanes_body.h - integer linears with output rows as lanes, for vectors of 4 or 8.
 *
 *   16 bytes of each of WIDTH rows      turned: a vector holds four codes of every row
 *   ┌ row 0: a0 a1 a2 a3 ┐              ┌ a0 b0 c0 d0 ┐   x four activations, the same for
 *   │ row 1: b0 b1 b2 b3 │   ------->   │ a1 b1 c1 d1 │   every row: the sums of all rows
 *   └ …                  ┘              └ …           ┘   stand side by side at once
 *
 * One token: the rows of a vector come from WIDTH places far apart, so that each is
 * a stream read from its first byte to its last; the chain of linear_impl.h follows
 * the sums directly.  Formats with minima wait with their products until the end of
 * a slab, since the minima come first there.
 *
 * Many tokens: 16 rows x 512 columns are unpacked to plain codes (8 KiB) and taken
 * through all tokens, TILE at a time.
 *
 * A file that includes lanes_avx2.h or lanes_neon.h first defines LANES_NAME (the
 * instruction set in texts), LANES_Q8 and LANES_Q16 (the tables that it brings), and
 * includes this.  Pure functions over the caller's memory. */
#include "backend/cpu/lanes_load.h"
#include "backend/cpu/linear_quantise.h"

enum {
    RUN = 16,                /* blocks of a panel of the many-token kernel */
    SLAB = LM_LIN_SLAB / 32, /* blocks */
    GROUPS = SLAB + 16,      /* room for what plane_groups() writes beyond */
    AHEAD_NEAR = 512,        /* bytes: to L1 */
    AHEAD_FAR = 4096         /* and to L2: the next page, and its translation */
};

/* Every format: X(name, kind, bits). */
#define LANES_FORMATS(X)                                                                                     \
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

LM_INLINE bool has_mins(int kind)
{
    return kind == LM_Q_AFFINE || kind == LM_Q_Q4_1 || kind == LM_Q_Q5_1 || kind == LM_Q_Q4_K ||
           kind == LM_Q_Q5_K;
}

/* -off * sum of each block (each half: q6_K) of a token's row, both planes. */
static void starts_of(const lm_lin_class *c, int off, const int16_t *hi, const int16_t *lo, uint32_t blocks,
                      int32_t *to)
{
    if (c->sub16) {
        for (uint32_t i = 0; i < 2 * blocks; i++)
            to[i] = -off * (lo ? 128 * hi[i] + lo[i] : hi[i]);
        return;
    }
    for (uint32_t b = 0; b < blocks; b++) {
        int32_t sum = hi[2 * b] + hi[2 * b + 1];
        to[b] = -off * (lo ? 128 * sum + lo[2 * b] + lo[2 * b + 1] : sum);
    }
}

/* --- one token ------------------------------------------------------------------- */

typedef struct {
    const lm_matrix *w;
    uint32_t blocks, shift; /* of a row; a group has 1 << shift */
    size_t row_bytes[3];    /* of each plane */
    const int8_t *x, *xlo;  /* [block][32] in the order of the quads */
    const float *d;         /* [block] */
    float *xs;              /* [group] */
    int32_t *start;         /* [block], or [half a block] */
    float *s, *m, *t;       /* [VECS][GROUPS][WIDTH], of a slab */
} job;

static size_t one_scratch(const lm_matrix *w, bool precise)
{
    size_t p = lm_act_padded(w->cols);
    return lm_round_up((precise ? 2 : 1) * p + p / 8 + p / 4, 64) + 3 * VECS * GROUPS * WIDTH * sizeof(float);
}

/* Activations in the order in which the codes come: even columns, then odd ones. */
static void split_even_odd(const uint8_t *x, uint32_t cols, int8_t *to)
{
    for (uint32_t k = 0; k < cols; k += 32)
        for (uint32_t i = 0; i < 16; i++) {
            to[k + i] = (int8_t)x[k + 2 * i];
            to[k + 16 + i] = (int8_t)x[k + 2 * i + 1];
        }
}

static void prepare(job *j, const lm_matrix *w, const uint8_t *x, uint8_t *scratch, bool precise)
{
    const lm_lin_class c = lm_lin_class_of(w->quant);
    const int kind = (int)w->quant->kind, bits = w->quant->bits;
    uint32_t cols = w->cols, p = lm_act_padded(cols);
    const float *xs = lm_act_xs(x, cols);
    const int8_t *lo = precise ? lm_act_lo(x, cols) : NULL;
    int off = off_here(kind, bits, c.off);
    *j = (job){ .w = w, .blocks = cols / 32, .shift = c.blocks / 2u, .x = (const int8_t *)x, .xlo = lo };
    j->d = lm_act_d(x, cols);
    for (int i = 0; i < w->quant->n_planes; i++)
        j->row_bytes[i] = (size_t)lm_quant_row_bytes(w->quant, i, cols);
    if (even_odd(kind, bits)) {
        int8_t *to = (int8_t *)scratch;
        split_even_odd(x, cols, to);
        j->x = to;
        if (precise) {
            split_even_odd((const uint8_t *)lo, cols, to + p);
            j->xlo = to + p;
        }
    }
    scratch += (precise ? 2 : 1) * (size_t)p;
    j->xs = (float *)(void *)scratch;
    j->start = (int32_t *)(void *)(scratch + p / 8);
    if (off)
        starts_of(&c, off, lm_act_sum(x, cols), precise ? lm_act_sum_lo(x, cols) : NULL, j->blocks, j->start);
    scratch += lm_round_up(p / 8 + p / 4, 64);
    j->s = (float *)(void *)scratch;
    j->m = j->s + VECS * GROUPS * WIDTH;
    j->t = j->m + VECS * GROUPS * WIDTH;
    for (uint32_t g = 0, b = 0; g < j->blocks >> j->shift; g++) {
        float of = xs[b++];
        for (uint32_t i = 1; i < c.blocks; i++)
            of += xs[b++];
        j->xs[g] = of;
    }
}

LM_INLINE uint32_t shift_of(how h, const job *j)
{
    return h.kind != LM_Q_AFFINE ? 0 : h.shift >= 0 ? (uint32_t)h.shift : j->shift;
}

LM_INLINE void prefetch_unit(how h, rows p, size_t at, int n)
{
    size_t bytes = by_256(h.kind) ? super_bytes(h.kind) : (size_t)n * block_bytes(h.kind, h.bits);
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH; i++)
        for (size_t line = 0; line + 16 < bytes; line += 64) {
            __builtin_prefetch(row_of(p, i) + at + line + AHEAD_NEAR, 0, 3);
            __builtin_prefetch(row_of(p, i) + at + line + AHEAD_FAR, 0, 2);
        }
}

/* The unit of n blocks from block b of a vector of rows; b0 begins the slab.  With
 * minima: *acc takes them, products go to t.  Without: *acc takes the products. */
LM_INLINE void one_unit(how h, const job *j, rows p, uint32_t b0, uint32_t b, int n, float *s_at, float *m_at,
                        float *t_at, vf *acc)
{
    const bool planes = has_planes(h.kind), mins = has_mins(h.kind);
    const size_t at = unit_at(h.kind, h.bits, b);
    const unit_x u = { j->x + 32 * b, h.precise ? j->xlo + 32 * b : NULL,
                       j->start + (h.kind == LM_Q_Q6_K ? 2 * b : b) };
    const uint32_t shift = shift_of(h, j), mask = (1u << shift) - 1;
    vi I[8];
    vf s[8], m[8], t = f_set1(0);
    prefetch_unit(h, p, at, n);
    unit_codes(h, p, at, j->row_bytes[0], n, &u, I, NULL);
    if (!planes)
        unit_scales(h, p, at, n, s, m);
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        uint32_t g = (b + (uint32_t)i) >> shift, in = g - (b0 >> shift);
        vf f = l_float(I[i]), d = f_set1(j->d[b + (uint32_t)i]);
        t = (uint32_t)i & mask ? f_fma(f, d, t) : f_mul(f, d);
        if (((uint32_t)i & mask) != mask)
            continue;
        if (mins) {
            f_store(t_at + in * WIDTH, t);
            if (!planes)
                f_store(s_at + in * WIDTH, s[i]);
            *acc = f_fma(planes ? f_load(m_at + in * WIDTH) : m[i], f_set1(j->xs[g]), *acc);
        } else {
            *acc = f_fma(planes ? f_load(s_at + in * WIDTH) : s[i], t, *acc);
        }
    }
}

/* n vectors of rows, p[plane] the first of them, the others a row further each; out
 * [n][WIDTH]. */
LM_INLINE void one_rows(how h, const job *j, const rows p[3], uint32_t n, float *out)
{
    const bool planes = has_planes(h.kind), mins = has_mins(h.kind);
    const uint32_t unit = by_256(h.kind) ? 8 : 4, shift = shift_of(h, j);
    const lm_quant_kind scales = h.kind == LM_Q_AFFINE ? j->w->quant->scale_kind : (lm_quant_kind)h.kind;
    vf acc[VECS];
    for (uint32_t v = 0; v < n; v++)
        acc[v] = f_set1(0);
    for (uint32_t b0 = 0; b0 < j->blocks; b0 += SLAB) {
        const uint32_t b1 = LM_MIN(j->blocks, b0 + SLAB), groups = (b1 - b0) >> shift;
        for (uint32_t v = 0; v < n; v++) {
            float *s = j->s + v * GROUPS * WIDTH, *m = j->m + v * GROUPS * WIDTH,
                  *t = j->t + v * GROUPS * WIDTH;
            vf a = acc[v];
            if (planes)
                plane_groups(scales, rows_on(p[1], v * j->w->stride[1]), j->row_bytes[1], b0 >> shift, groups,
                             s, WIDTH);
            if (planes && mins)
                plane_groups(scales, rows_on(p[2], v * j->w->stride[2]), j->row_bytes[2], b0 >> shift, groups,
                             m, WIDTH);
            const rows of = rows_on(p[0], v * j->w->stride[0]);
            uint32_t b = b0;
            for (; b + unit <= b1; b += unit)
                one_unit(h, j, of, b0, b, (int)unit, s, m, t, &a);
            if (b < b1 && !by_256(h.kind))
                one_unit(h, j, of, b0, b, (int)(b1 - b), s, m, t, &a);
            acc[v] = a;
        }
        for (uint32_t g = 0; g < groups && mins; g++)
            for (uint32_t v = 0; v < n; v++) {
                size_t at = ((size_t)v * GROUPS + g) * WIDTH;
                acc[v] = f_fma(f_load(j->s + at), f_load(j->t + at), acc[v]);
            }
    }
    for (uint32_t v = 0; v < n; v++)
        f_store(out + v * WIDTH, acc[v]);
}

typedef void one_kernel(const job *j, const rows p[3], uint32_t n, float *out);

/* Groups of 64 are the usual ones: with the size constant they are a third faster. */
LM_INLINE void one_kind(int kind, int bits, bool precise, const job *j, const rows p[3], uint32_t n,
                        float *out)
{
    if (kind == LM_Q_AFFINE && j->shift == 1)
        one_rows((how){ kind, bits, precise, false, 1 }, j, p, n, out);
    else
        one_rows((how){ kind, bits, precise, false, -1 }, j, p, n, out);
}

#define ONE(name, kind, bits)                                                                                \
    static LM_NOINLINE void one_##name(const job *j, const rows p[3], uint32_t n, float *out)                \
    {                                                                                                        \
        one_kind(kind, bits, false, j, p, n, out);                                                           \
    }                                                                                                        \
    static LM_NOINLINE void one_##name##_precise(const job *j, const rows p[3], uint32_t n, float *out)      \
    {                                                                                                        \
        one_kind(kind, bits, true, j, p, n, out);                                                            \
    }
LANES_FORMATS(ONE)

static one_kernel *one_of(const lm_quant *q, bool precise)
{
#define CASE(name, kind_of, bits_of)                                                                         \
    if ((int)q->kind == (kind_of) && (q->kind != LM_Q_AFFINE || q->bits == (bits_of)))                       \
        return precise ? one_##name##_precise : one_##name;
    LANES_FORMATS(CASE)
#undef CASE
    return NULL;
}

/* `each` rows of WIDTH streams, `apart` rows from each other (0: the same row). */
static void one_streams(const job *j, one_kernel *kernel, uint32_t row0, uint32_t each, uint32_t apart,
                        float *y)
{
    const lm_matrix *w = j->w;
    for (uint32_t i = 0; i < each; i += VECS) {
        uint32_t n = LM_MIN(each - i, (uint32_t)VECS);
        rows p[3] = { { 0 } };
        float out[VECS * WIDTH];
        for (int z = 0; z < w->quant->n_planes; z++) {
            p[z] = rows_at(w->plane[z] + (row0 + i) * w->stride[z], apart * w->stride[z]);
            for (int k = 0; z && k < WIDTH; k++) /* the scales of the next rows */
                for (size_t line = 0; line < VECS * j->row_bytes[z]; line += 64)
                    __builtin_prefetch(row_of(p[z], k) + VECS * w->stride[z] + line, 0, 3);
        }
        kernel(j, p, n, out);
        for (uint32_t k = 0; k < n * WIDTH; k++)
            y[row0 + k % WIDTH * apart + i + k / WIDTH] = out[k];
    }
}

static void one_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, float *y,
                    void *scratch, bool precise)
{
    job j;
    one_kernel *kernel = one_of(w->quant, precise);
    const uint32_t first = row0;
    prepare(&j, w, x, scratch, precise);
    while (row1 - row0 >= WIDTH) {
        uint32_t each = (row1 - row0) / WIDTH;
        one_streams(&j, kernel, row0, each, each, y);
        row0 += each * WIDTH;
    }
    if (row0 < row1 && row1 - first >= WIDTH) { /* some rows again: the same sums */
        one_streams(&j, kernel, row1 - WIDTH, 1, 1, y);
        return;
    }
    for (; row0 < row1; row0++)
        one_streams(&j, kernel, row0, 1, 0, y);
}

/* --- many tokens ------------------------------------------------------------------ */

typedef struct {
    vi codes[RUN * 8 * VECS];                         /* [block][quad][VECS] */
    float s[GROUPS * LM_PANEL], m[GROUPS * LM_PANEL]; /* [group][row], of a slab */
    int32_t sc[2 * SLAB * LM_PANEL];                  /* [half a block][row]: q6_K */
    rows of[3][VECS];
    size_t row_bytes[3];
} panel;

/* Scales of blocks [b0, b1). */
LM_INLINE void panel_scales(how h, panel *t, uint32_t b0, uint32_t b1)
{
    const uint32_t unit = by_256(h.kind) ? 8 : 4;
    for (uint32_t v = 0; v < VECS; v++)
        for (uint32_t b = b0; b < b1; b += unit) {
            const size_t at = unit_at(h.kind, h.bits, b);
            const int n = by_256(h.kind) ? 8 : (int)LM_MIN(unit, b1 - b);
            vf s[8], m[8];
            unit_scales(h, t->of[0][v], at, n, s, m);
            for (uint32_t i = 0; i < (uint32_t)n; i++) {
                size_t to = (b - b0 + i) * LM_PANEL + v * WIDTH;
                f_store(t->s + to, s[i]);
                if (has_mins(h.kind))
                    f_store(t->m + to, m[i]);
            }
            if (h.kind == LM_Q_Q6_K) {
                vi sc[16];
                unit_sub(t->of[0][v], at, sc);
                for (uint32_t i = 0; i < 16; i++)
                    l_store(t->sc + (2 * (b - b0) + i) * LM_PANEL + v * WIDTH, sc[i]);
            }
        }
}

LM_INLINE void panel_codes(how h, panel *t, uint32_t b0, uint32_t b1)
{
    const uint32_t unit = by_256(h.kind) ? 8 : 4;
    for (uint32_t v = 0; v < VECS; v++)
        for (uint32_t b = b0; b < b1; b += unit) {
            const int n = by_256(h.kind) ? 8 : (int)LM_MIN(unit, b1 - b);
            unit_codes(h, t->of[0][v], unit_at(h.kind, h.bits, b), t->row_bytes[0], n, NULL, NULL,
                       t->codes + (b - b0) * 8 * VECS + v);
        }
}

typedef void panel_kernel(panel *t, uint32_t b0, uint32_t b1, bool scales);

#define PANEL(name, kind, bits)                                                                              \
    static LM_NOINLINE void panel_##name(panel *t, uint32_t b0, uint32_t b1, bool scales)                    \
    {                                                                                                        \
        const how h = { kind, bits, false, true, -1 };                                                       \
        if (!scales)                                                                                         \
            panel_codes(h, t, b0, b1);                                                                       \
        else if (!has_planes(kind))                                                                          \
            panel_scales(h, t, b0, b1);                                                                      \
    }
LANES_FORMATS(PANEL)

static panel_kernel *panel_of(const lm_quant *q)
{
#define CASE(name, kind_of, bits_of)                                                                         \
    if ((int)q->kind == (kind_of) && (q->kind != LM_Q_AFFINE || q->bits == (bits_of)))                       \
        return panel_##name;
    LANES_FORMATS(CASE)
#undef CASE
    return NULL;
}

/* Quads [from, to) of a block, one plane of T tokens: sums begin anew where `begin`. */
#ifndef LANES_TILE_DOTS
#define LANES_TILE_DOTS tile_dots
LM_INLINE void tile_dots(int limit, int T, const vi *codes, const int8_t *const *x, size_t at, int from,
                         int to, bool begin, vi sum[TILE][VECS])
{
    pile a[TILE][VECS];
    const int first = begin ? 0 : DOT ? 1 : 0;
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECS; v++)
            a[t][v].sum = sum[t][v];
#pragma GCC unroll 8
    for (int q = from; q < to; q++) {
        vi c[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < VECS; v++)
            c[v] = codes[q * VECS + v];
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) {
            vi xq = l_quad(x[t] + at + 4 * q);
#pragma GCC unroll 4
            for (int v = 0; v < VECS; v++)
                pile_add(&a[t][v], limit, q - from + first, c[v], xq);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int v = 0; v < VECS; v++)
            sum[t][v] = begin || DOT ? a[t][v].sum : l_add(sum[t][v], a[t][v].sum);
}
#endif

typedef struct {
    const panel *p;
    const uint8_t *x; /* of the first token of the tile */
    size_t stride;
    const float *d;    /* of the first token; d of the next ones lie `stride` bytes on */
    uint32_t b, at, n; /* first block of the run; where it is in the slab; how many */
    uint32_t cols, per;
    int off;
    float *acc; /* [T][LM_PANEL] */
} tile_job;

/* T tokens through the run. */
LM_INLINE void tile(int limit, bool sub16, bool precise, int T, const tile_job *j, const lm_lin_class *c)
{
    int32_t start[TILE][2 * RUN];
    const int8_t *x[TILE], *lo[TILE];
    const float *d[TILE];
    vf acc[TILE][VECS], tt[TILE][VECS];
    for (int t = 0; t < T; t++) {
        const uint8_t *row = j->x + (size_t)t * j->stride;
        x[t] = (const int8_t *)row + 32 * (size_t)j->b;
        lo[t] = precise ? lm_act_lo(row, j->cols) + 32 * (size_t)j->b : x[t];
        d[t] = lm_act_d(row, j->cols) + j->b;
        if (j->off)
            starts_of(c, j->off, lm_act_sum(row, j->cols) + 2 * j->b,
                      precise ? lm_act_sum_lo(row, j->cols) + 2 * j->b : NULL, j->n, start[t]);
        for (int v = 0; v < VECS; v++)
            acc[t][v] = tt[t][v] = f_load(j->acc + t * LM_PANEL + v * WIDTH);
    }
    uint32_t in = 0, g = j->at / j->per;
    for (uint32_t b = 0; b < j->n; b++) {
        const vi *codes = j->p->codes + b * 8 * VECS;
        const size_t at = 32 * (size_t)b;
        vi sum[TILE][VECS];
        for (int half = 0; half < (sub16 ? 2 : 1); half++) {
            const int from = 4 * half, to = sub16 ? from + 4 : 8;
            vi part[TILE][VECS];
            LANES_TILE_DOTS(limit, T, codes, x, at, from, to, true, part);
            if (precise) {
                for (int t = 0; t < T; t++)
                    for (int v = 0; v < VECS; v++)
                        part[t][v] = l_shl(part[t][v], 7);
                LANES_TILE_DOTS(limit, T, codes, lo, at, from, to, false, part);
            }
            for (int t = 0; t < T; t++)
                for (int v = 0; v < VECS; v++) {
                    if (sub16) {
                        vi k = l_add(part[t][v], l_set1(start[t][2 * b + (uint32_t)half]));
                        k = l_mul(
                            k, l_load(j->p->sc + (2 * (j->at + b) + (uint32_t)half) * LM_PANEL + v * WIDTH));
                        sum[t][v] = half ? l_add(sum[t][v], k) : k;
                    } else {
                        sum[t][v] = j->off ? l_add(part[t][v], l_set1(start[t][b])) : part[t][v];
                    }
                }
        }
        const bool first = in == 0, last = ++in == j->per;
        for (int t = 0; t < T; t++) {
            vf dt = f_set1(d[t][b]);
            for (int v = 0; v < VECS; v++) {
                vf f = l_float(sum[t][v]);
                tt[t][v] = first ? f_mul(f, dt) : f_fma(f, dt, tt[t][v]);
                if (last)
                    acc[t][v] = f_fma(f_load(j->p->s + g * LM_PANEL + v * WIDTH), tt[t][v], acc[t][v]);
            }
        }
        if (last) {
            in = 0;
            g++;
        }
    }
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECS; v++)
            f_store(j->acc + t * LM_PANEL + v * WIDTH, acc[t][v]);
}

typedef void tile_kernel(const tile_job *j, const lm_lin_class *c);
#define TILES(name, limit, sub16)                                                                            \
    static LM_NOINLINE void tile_##name(const tile_job *j, const lm_lin_class *c)                            \
    {                                                                                                        \
        tile(limit, sub16, false, TILE, j, c);                                                               \
    }                                                                                                        \
    static LM_NOINLINE void tile_##name##_precise(const tile_job *j, const lm_lin_class *c)                  \
    {                                                                                                        \
        tile(limit, sub16, true, TILE, j, c);                                                                \
    }                                                                                                        \
    static LM_NOINLINE void single_##name(const tile_job *j, const lm_lin_class *c)                          \
    {                                                                                                        \
        tile(limit, sub16, false, 1, j, c);                                                                  \
    }                                                                                                        \
    static LM_NOINLINE void single_##name##_precise(const tile_job *j, const lm_lin_class *c)                \
    {                                                                                                        \
        tile(limit, sub16, true, 1, j, c);                                                                   \
    }
TILES(8, 8, false)
TILES(4, 4, false)
TILES(2, 2, false)
TILES(0, 0, false)
TILES(q6, 2, true)

static tile_kernel *tile_of(const lm_quant *q, bool precise, bool whole)
{
#define PICK(name)                                                                                           \
    return whole     ? precise ? tile_##name##_precise : tile_##name                                         \
           : precise ? single_##name##_precise                                                               \
                     : single_##name
    if (q->kind == LM_Q_Q6_K)
        PICK(q6);
    switch (limit_of((int)q->kind, q->bits)) {
    case 8: PICK(8);
    case 4: PICK(4);
    case 2: PICK(2);
    default: PICK(0);
    }
#undef PICK
}

/* The minima of a slab, 4 tokens at a time so that their chains overlap. */
static void tile_mins(const panel *p, const uint8_t *x, size_t stride, uint32_t cols, uint32_t per,
                      uint32_t b0, uint32_t groups, int T, float *acc)
{
    vf a[TILE][VECS];
    const float *xs[TILE];
    for (int t = 0; t < T; t++) {
        xs[t] = lm_act_xs(x + (size_t)t * stride, cols) + b0;
        for (int v = 0; v < VECS; v++)
            a[t][v] = f_load(acc + t * LM_PANEL + v * WIDTH);
    }
    for (uint32_t g = 0; g < groups; g++)
        for (int t = 0; t < T; t++) {
            float of = xs[t][g * per];
            for (uint32_t i = 1; i < per; i++)
                of += xs[t][g * per + i];
            for (int v = 0; v < VECS; v++)
                a[t][v] = f_fma(f_load(p->m + g * LM_PANEL + v * WIDTH), f_set1(of), a[t][v]);
        }
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECS; v++)
            f_store(acc + t * LM_PANEL + v * WIDTH, a[t][v]);
}

static size_t many_scratch(uint32_t max_tokens)
{
    return lm_round_up(sizeof(panel), 64) + (size_t)max_tokens * LM_PANEL * sizeof(float);
}

/* One slab of a panel through all tokens. */
static void many_slab(const lm_matrix *w, const lm_lin_class *c, panel *p, uint32_t b0, uint32_t b1,
                      const uint8_t *x, uint32_t n, float *acc, bool precise)
{
    const lm_quant *q = w->quant;
    panel_kernel *unpack = panel_of(q);
    tile_kernel *whole = tile_of(q, precise, true), *single = tile_of(q, precise, false);
    uint32_t per = c->blocks, groups = (b1 - b0) / per;
    size_t stride = lm_act_code_bytes(w->cols, precise);
    lm_quant_kind scales = q->kind == LM_Q_AFFINE ? q->scale_kind : q->kind;
    unpack(p, b0, b1, true);
    for (int z = 1; z < q->n_planes; z++)
        for (int v = 0; v < VECS; v++)
            plane_groups(scales, p->of[z][v], p->row_bytes[z], b0 / per, groups,
                         (z == 1 ? p->s : p->m) + v * WIDTH, LM_PANEL);
    for (uint32_t t = 0; c->mins && t < n;) {
        int T = n - t >= TILE ? TILE : 1;
        tile_mins(p, x + t * stride, stride, w->cols, per, b0, groups, T, acc + t * LM_PANEL);
        t += (uint32_t)T;
    }
    for (uint32_t b = b0; b < b1; b += RUN) {
        tile_job j = { .p = p, .stride = stride, .b = b, .at = b - b0, .n = LM_MIN(b1 - b, (uint32_t)RUN) };
        j.cols = w->cols;
        j.per = per;
        j.off = off_here((int)q->kind, q->bits, c->off);
        unpack(p, b, b + j.n, false);
        LANES_PANEL_DONE(p->codes, j.n);
        for (uint32_t t = 0; t < n;) {
            j.x = x + t * stride;
            j.acc = acc + t * LM_PANEL;
            if (n - t >= TILE) {
                whole(&j, c);
                t += TILE;
            } else {
                single(&j, c);
                t++;
            }
        }
    }
}

static void many_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                     size_t ldy, void *scratch, bool precise)
{
    lm_lin_class c = lm_lin_class_of(w->quant);
    panel *p = scratch;
    float *acc = (float *)(void *)((uint8_t *)scratch + lm_round_up(sizeof *p, 64));
    uint32_t blocks = w->cols / 32;
    for (int z = 0; z < w->quant->n_planes; z++)
        p->row_bytes[z] = (size_t)lm_quant_row_bytes(w->quant, z, w->cols);
    for (uint32_t row = row0; row < row1; row += LM_PANEL) {
        row = LM_MIN(row, row1 - LM_PANEL); /* some rows again: the same sums */
        for (uint32_t v = 0; v < VECS; v++)
            for (int z = 0; z < w->quant->n_planes; z++)
                p->of[z][v] = rows_at(w->plane[z] + (row + v * WIDTH) * w->stride[z], w->stride[z]);
        memset(acc, 0, (size_t)n * LM_PANEL * sizeof *acc);
        for (uint32_t b0 = 0; b0 < blocks; b0 += SLAB)
            many_slab(w, &c, p, b0, LM_MIN(blocks, b0 + SLAB), x, n, acc, precise);
        for (uint32_t t = 0; t < n; t++)
            memcpy(y + t * ldy + row, acc + (size_t)t * LM_PANEL, LM_PANEL * sizeof *y);
    }
}

/* --- the tables ------------------------------------------------------------------- */

enum { FEW = 2 }; /* fewer tokens go one by one */

LM_INLINE void run_codes(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n,
                         float *y, size_t ldy, void *scratch, bool precise)
{
    if (n >= FEW && row1 - row0 >= LM_PANEL) {
        many_run(w, row0, row1, x, n, y, ldy, scratch, precise);
        return;
    }
    for (uint32_t t = 0; t < n; t++)
        one_run(w, row0, row1, x + t * lm_act_code_bytes(w->cols, precise), y + t * ldy, scratch, precise);
}

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    return LM_MAX(many_scratch(max_tokens), one_scratch(w, false));
}

static size_t q16_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    return LM_MAX(many_scratch(max_tokens), one_scratch(w, true));
}

static void q8_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, false);
}

static void q16_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, true);
}

static const lm_act_layout Q8 = { "q8-32", lm_act_q8_bytes, quantise_q8 };
static const lm_act_layout Q16 = { "q16-32", lm_act_q16_bytes, quantise_q16 };
const lm_cpu_linear LANES_Q8 = { "in place, 8-bit activations, " LANES_NAME, &Q8, q8_scratch, q8_run };
const lm_cpu_linear LANES_Q16 = { "in place, 15-bit activations, " LANES_NAME, &Q16, q16_scratch, q16_run };
