/* backend/cpu/avx512/linear_one.c - one token, or a few: weights streamed where they lie.
 *
 * A panel of 16 rows is read four rows at a time, 128 columns of each at a step:
 *
 *   codes of a row, two vectors in the order that unpacking gives them
 *     -> dot instructions: 16 sums, four for each of the four blocks
 *     -> four rows turned into [block][row]: exact integers of 4 blocks x 4 rows
 *     -> scratch [block][16 rows], and so for the scales
 *
 * Then the float chain of linear_impl.h runs over the blocks with the 16 rows as
 * lanes.  Activations are permuted once to the order of the codes; `off` is
 * folded into the values that the sums start from.  Two planes of activations
 * (precise): the sums of the first are shifted and those of the second added on. */
#include "backend/cpu/avx512/linear_codes.h"

/* Everything that one call needs beside the weights. */
typedef struct {
    const lm_matrix *w;
    lm_lin_class c;
    uint32_t cols, groups;
    const float *d; /* [block] */
    float *xs;      /* [group], formats with mins */
    int8_t *x;      /* [cols / 128][plane][128], in the order of the codes */
    int32_t *start; /* [cols / 128][32]: -off * sum of four neighbours of the activations */
    int32_t *dots;  /* [cols / 128][quad of rows][block][row] */
    bool again;     /* an earlier token has fetched the rows and their scales */
    float *s, *m;   /* the same, or [group][16 rows] from planes of scales */
} job;

/* Of one token; a multiple of 64. */
static size_t one_bytes(const lm_matrix *w, bool precise)
{
    size_t p = lm_act_padded(w->cols);
    return (size_t)lm_round_up(p * (precise ? 9 : 8) + p / 8 + 64, 64);
}

size_t lm_one_scratch(const lm_matrix *w, bool precise)
{
    return LM_ONE_TOKENS * one_bytes(w, precise);
}

static void prepare(job *j, const lm_matrix *w, const uint8_t *x, uint8_t *scratch, bool precise)
{
    uint32_t cols = w->cols, padded = lm_act_padded(cols);
    uint8_t at[128];
    const float *xs = lm_act_xs(x, cols);
    const int8_t *lo = precise ? lm_act_lo(x, cols) : NULL;
    int8_t *to = (int8_t *)scratch;
    j->w = w;
    j->c = lm_lin_class_of(w->quant);
    j->cols = cols;
    j->groups = cols / (32u * j->c.blocks);
    j->d = lm_act_d(x, cols);
    j->x = to;
    j->start = (int32_t *)(void *)(scratch + (precise ? 2 : 1) * (size_t)padded);
    j->dots = j->start + padded / 4;
    j->s = (float *)(void *)(j->dots + padded / 2);
    j->m = j->s + padded / 2;
    j->xs = j->m + padded / 2;
    for (int i = 0; i < 128; i++)
        at[i] = (uint8_t)column(order_of((int)w->quant->kind, w->quant->bits), i);
    __m512i at0 = _mm512_loadu_si512(at), at1 = _mm512_loadu_si512(at + 64);
    for (uint32_t k = 0; k < padded; k += 128, to += 128) {
        __m512i a = _mm512_loadu_si512(x + k), b = _mm512_loadu_si512(x + k + 64);
        __m512i v0 = _mm512_permutex2var_epi8(a, at0, b), v1 = _mm512_permutex2var_epi8(a, at1, b);
        __m512i ones = _mm512_set1_epi8(1), off = _mm512_set1_epi32(-(int)j->c.off);
        __m512i sum0 = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, v0);
        __m512i sum1 = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, v1);
        _mm512_store_si512(to, v0);
        _mm512_store_si512(to + 64, v1);
        if (precise) {
            a = _mm512_loadu_si512(lo + k);
            b = _mm512_loadu_si512(lo + k + 64);
            v0 = _mm512_permutex2var_epi8(a, at0, b);
            v1 = _mm512_permutex2var_epi8(a, at1, b);
            to += 128;
            _mm512_store_si512(to, v0);
            _mm512_store_si512(to + 64, v1);
            sum0 = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum0, 7), ones, v0);
            sum1 = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum1, 7), ones, v1);
        }
        _mm512_store_si512(j->start + k / 4, _mm512_mullo_epi32(sum0, off));
        _mm512_store_si512(j->start + k / 4 + 16, _mm512_mullo_epi32(sum1, off));
    }
    for (uint32_t g = 0, b = 0; g < j->groups; g++) {
        float of = xs[b++];
        for (int i = 1; i < j->c.blocks; i++)
            of += xs[b++];
        j->xs[g] = of;
    }
}

/* Sums of neighbours of a and b where all fit 16 bits: one shuffle instead of
 * two.  A lane of [a0 a1 a2 a3], [b0 b1 b2 b3] gives [a01 a23 b01 b23]. */
LM_INLINE __m512i merge16(__m512i a, __m512i b)
{
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
}

/* The same without that. */
LM_INLINE __m512i merge_pairs(__m512i a, __m512i b)
{
    __m512 fa = _mm512_castsi512_ps(a), fb = _mm512_castsi512_ps(b);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0xdd)));
}

/* The largest |code - off|, 0 where sums of products do not matter here. */
LM_INLINE int largest(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return (1 << bits) - 1;
    case LM_Q_Q4_0: return 8;
    case LM_Q_Q5_0: return 16;
    case LM_Q_MXFP4:
    case LM_Q_MLX_MXFP4: return 12;
    case LM_Q_Q4_1:
    case LM_Q_Q4_K: return 15;
    case LM_Q_Q5_1:
    case LM_Q_Q5_K: return 31;
    default: return 128;
    }
}

/* from + the sums of four products each, of one plane or two. */
LM_INLINE __m512i dot(__m512i from, __m512i v, __m512i x, __m512i lo, bool precise)
{
    if (!precise)
        return _mm512_dpbusd_epi32(from, v, x);
    __m512i high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v, x);
    return _mm512_dpbusd_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 7), from), v, lo);
}

/* The same with two vectors into one. */
LM_INLINE __m512i dot_both(__m512i from, __m512i v0, __m512i v1, const __m512i x[2], const __m512i lo[2],
                           bool precise)
{
    if (!precise)
        return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(from, v0, x[0]), v1, x[1]);
    __m512i high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v0, x[0]);
    high = _mm512_slli_epi32(_mm512_dpbusd_epi32(high, v1, x[1]), 7);
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_add_epi32(high, from), v0, lo[0]), v1, lo[1]);
}

/* 128 columns of four rows -> dots [4 blocks][rows].  Everything but the
 * pointers is constant where this is inlined.
 * long: three ways to add up lanes, by what fits 16 bits */
LM_INLINE void step(int kind, int bits, bool precise, const uint8_t *const p[4], int h, int n_blocks,
                    const int8_t *x, const int32_t *start, int32_t *dots)
{
    const order o = order_of(kind, bits);
    const __m512i x0 = _mm512_load_si512(x), x1 = _mm512_load_si512(x + 64);
    const __m512i lo0 = precise ? _mm512_load_si512(x + 128) : x0,
                  lo1 = precise ? _mm512_load_si512(x + 192) : x1;
    const __m512i start0 = _mm512_load_si512(start), start1 = _mm512_load_si512(start + 16);
    const bool zero = kind == LM_Q_AFFINE || kind == LM_Q_Q4_1 || kind == LM_Q_Q5_1 || kind == LM_Q_Q4_K ||
                      kind == LM_Q_Q5_K;
    const __m512i from0 = zero ? _mm512_setzero_si512() : start0, from1 = zero ? from0 : start1;
    const __m512i both = zero ? from0 : _mm512_add_epi32(start0, start1);
    const int product = precise ? 1 << 15 : largest(kind, bits) * 127; /* times how many fit 16 bits? */
    const bool four = 4 * product < 32768, eight = 8 * product < 32768, sixteen = 16 * product < 32768;
    __m512i v[4];
    if (o == EVEN_ODD || o == HALVES) { /* four lanes a block already */
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            __m512i v0, v1;
            load_codes(kind, bits, p[r], h, n_blocks, &v0, &v1);
            v[r] =
                dot_both(both, v0, v1, (const __m512i[2]){ x0, x1 }, (const __m512i[2]){ lo0, lo1 }, precise);
        }
        __m512i a = eight ? merge16(v[0], v[1]) : merge_pairs(v[0], v[1]);
        __m512i b = eight ? merge16(v[2], v[3]) : merge_pairs(v[2], v[3]);
        _mm512_store_si512(dots, sixteen ? merge16(a, b) : merge_pairs(a, b));
        return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        __m512i v0, v1;
        load_codes(kind, bits, p[r], h, n_blocks, &v0, &v1);
        v0 = dot(from0, v0, x0, lo0, precise);
        v1 = dot(from1, v1, x1, lo1, precise);
        if (kind == LM_Q_Q6_K) {
            __m512i s0, s1;
            sub_scales(p[r], h, &s0, &s1);
            v0 = _mm512_mullo_epi32(v0, s0);
            v1 = _mm512_mullo_epi32(v1, s1);
        }
        v[r] = four ? merge16(v0, v1) : merge_pairs(v0, v1);
    }
    /* a lane: [row][v0, v1]; lanes 0 1 and 2 3 belong together */
    __m512i a = eight ? merge16(v[0], v[1]) : merge_pairs(v[0], v[1]);
    __m512i b = eight ? merge16(v[2], v[3]) : merge_pairs(v[2], v[3]);
    __m512i sum = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
    const __m512i to = _mm512_setr_epi32(0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15);
    _mm512_store_si512(dots, _mm512_permutexvar_epi32(to, sum));
}

/* Four rows from their first column to their last: dots, and scales unless the
 * format keeps them in planes of their own. */
LM_INLINE void four_rows(const job *j, int kind, int bits, bool precise, const uint8_t *p[4], uint32_t quad)
{
    const uint32_t planes = precise ? 2 : 1;
    const int bytes = step_bytes(kind, bits);
    int32_t *dots = j->dots + 16 * quad;
    float *s = j->s + 16 * quad, *m = j->m + 16 * quad;
    const bool inside = !has_planes(kind) && !j->again;
    uint32_t k = 0, at = by_256(kind) ? 256 : 128;
    for (; k + at <= j->cols; k += at, dots += at / 2, s += at / 2, m += at / 2) {
        for (int r = 0; r < 4 && !j->again; r++)
            for (int line = 0; line < bytes; line += 64)
                lm_prefetch(p[r] + line);
        step(kind, bits, precise, p, 0, 4, j->x + k * planes, j->start + k / 4, dots);
        if (by_256(kind))
            step(kind, bits, precise, p, 1, 4, j->x + (k + 128) * planes, j->start + k / 4 + 32, dots + 64);
        if (inside)
            load_scales4(kind, p, 4, s, m);
        for (int r = 0; r < 4; r++)
            p[r] += bytes;
    }
    if (k < j->cols) {
        int n_blocks = (int)(j->cols - k) / 32;
        step(kind, bits, precise, p, 0, n_blocks, j->x + k * planes, j->start + k / 4, dots);
        if (inside)
            load_scales4(kind, p, n_blocks, s, m);
    }
}

#define ROWS(name, kind, bits)                                                                               \
    static LM_NOINLINE void name(const job *j, const uint8_t *p[4], uint32_t quad)                           \
    {                                                                                                        \
        four_rows(j, kind, bits, false, p, quad);                                                            \
    }                                                                                                        \
    static LM_NOINLINE void name##_precise(const job *j, const uint8_t *p[4], uint32_t quad)                 \
    {                                                                                                        \
        four_rows(j, kind, bits, true, p, quad);                                                             \
    }
LM_CODE_FORMATS(ROWS)

typedef void rows_kernel(const job *j, const uint8_t *p[4], uint32_t quad);
static rows_kernel *kernel_of(const lm_quant *q, bool precise)
{
#define CASE(name, kind_of, bits_of)                                                                         \
    if ((int)q->kind == (kind_of) && (q->kind != LM_Q_AFFINE || q->bits == (bits_of)))                       \
        return precise ? name##_precise : name;
    LM_CODE_FORMATS(CASE)
#undef CASE
    return NULL;
}

/* The float chain, rows as lanes.  Constants where inlined: `per`, blocks in a
 * group; `inside`, scales in the blocks and so laid out as the dots are; `o`. */
LM_INLINE __m512 run_chain(const job *j, int per, bool inside, order o)
{
    __m512 acc = _mm512_setzero_ps(), t = acc;
    uint32_t all = j->cols / 32, each = LM_LIN_SLAB / 32;
    for (uint32_t b0 = 0; b0 < all; b0 += each) {
        uint32_t b1 = LM_MIN(all, b0 + each);
        if (j->c.mins && !inside)
            for (uint32_t g = b0 / (uint32_t)per; g < b1 / (uint32_t)per; g++)
                acc = _mm512_fmadd_ps(_mm512_load_ps(j->m + 16 * g), _mm512_set1_ps(j->xs[g]), acc);
        else if (j->c.mins)
            for (uint32_t b = b0; b < b1; b += 4) {
                __m512i m[4];
                by_block(j->m + 16 * b, m);
                for (uint32_t i = 0; i < 4; i++)
                    if (b + i < b1)
                        acc = _mm512_fmadd_ps(_mm512_castsi512_ps(m[i]), _mm512_set1_ps(j->xs[b + i]), acc);
            }
        for (uint32_t b = b0; b < b1; b += 4) {
            __m512i dots[4], s[4];
            by_block(j->dots + 16 * b, dots);
            if (inside)
                by_block(j->s + 16 * b, s);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                if (b + (uint32_t)i >= b1)
                    break;
                __m512 f = _mm512_cvtepi32_ps(dots[o == BY_32 ? (i & 1) * 2 + i / 2 : i]);
                __m512 d = _mm512_set1_ps(j->d[b + (uint32_t)i]);
                t = i % per ? _mm512_fmadd_ps(f, d, t) : _mm512_mul_ps(f, d);
                if (i % per == per - 1) {
                    const float *of = j->s + 16 * ((b + (uint32_t)i) / (uint32_t)per);
                    acc = _mm512_fmadd_ps(inside ? _mm512_castsi512_ps(s[i]) : _mm512_load_ps(of), t, acc);
                }
            }
        }
    }
    return acc;
}

static __m512 chain(const job *j, bool inside)
{
    if (inside)
        return j->w->quant->kind == LM_Q_Q4_K || j->w->quant->kind == LM_Q_Q5_K
                   ? run_chain(j, 1, true, BY_32)
                   : run_chain(j, 1, true, NATURAL);
    return j->c.blocks == 1   ? run_chain(j, 1, false, NATURAL)
           : j->c.blocks == 2 ? run_chain(j, 2, false, NATURAL)
                              : run_chain(j, 4, false, NATURAL);
}

void lm_one_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                size_t ldy, void *scratch, bool precise)
{
    job j[LM_ONE_TOKENS];
    rows_kernel *rows = kernel_of(w->quant, precise);
    bool planes = has_planes((int)w->quant->kind);
    for (uint32_t t = 0; t < n; t++) {
        prepare(&j[t], w, x + t * lm_act_code_bytes(w->cols, precise),
                (uint8_t *)scratch + t * one_bytes(w, precise), precise);
        j[t].again = t > 0; /* scales are made once for all */
        j[t].s = j[0].s;
        j[t].m = j[0].m;
    }
    uint32_t each = (row1 - row0 + 3) / 4; /* rows of a stream */
    for (uint32_t i = 0; i < each; i += 4) {
        uint32_t at[LM_ROWS];
        const uint8_t *p[LM_ROWS];
        for (uint32_t lane = 0; lane < LM_ROWS; lane++) {
            uint32_t in = i + lane / 4, row = row0 + lane % 4 * each + in;
            at[lane] = in < each && row < row1 ? row : row1 - 1;
            p[lane] = w->plane[0] + at[lane] * w->stride[0];
        }
        for (int plane = 1; plane < LM_QUANT_PLANES; plane++)
            if (w->plane[plane]) /* four rows of each stream, for the next panel */
                for (uint32_t s = 0; s < 4; s++)
                    for (uint64_t z = 0; z < 4 * w->stride[plane]; z += 64)
                        _mm_prefetch((const char *)w->plane[plane] + (at[s] + 4) * w->stride[plane] + z,
                                     _MM_HINT_T0);
        /* Four rows for every token in turn: they come from memory once. */
        for (uint32_t quad = 0; quad < 4 && i + quad < each; quad++)
            for (uint32_t t = 0; t < n; t++) {
                const uint8_t *four[4] = { p[4 * quad], p[4 * quad + 1], p[4 * quad + 2], p[4 * quad + 3] };
                rows(&j[t], four, quad);
            }
        if (planes) {
            lm_plane_scales(w, at, 1, j[0].s);
            if (j[0].c.mins)
                lm_plane_scales(w, at, 2, j[0].m);
        }
        for (uint32_t t = 0; t < n; t++) {
            float out[LM_ROWS];
            _mm512_storeu_ps(out, chain(&j[t], !planes));
            for (uint32_t lane = 0; lane < LM_ROWS; lane++)
                if (i + lane / 4 < each && row0 + lane % 4 * each + i + lane / 4 < row1)
                    y[t * ldy + at[lane]] = out[lane];
        }
    }
}
