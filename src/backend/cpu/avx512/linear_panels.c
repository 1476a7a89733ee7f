/* backend/cpu/avx512/linear_panels.c - linears over prepared panels (backend/cpu/panels.h).
 *
 * One token: four panels at a time, a quarter of the rows apart.  Sixteen rows are the
 * lanes from the start: a 4-byte load of the activation feeds them all, and the sums
 * come out where the float chain of linear_impl.h wants them.  Activations stay in the
 * order of the columns; `off` is folded into the values that sums start from.
 *
 * Many tokens: a slab of a panel is spread to what linear_many.c makes of rows. */
#include "backend/cpu/avx512/linear_panels.h"
#include "backend/cpu/linear_unpack.h"

/* Panels that are read side by side, each from its first byte to its last: one stream
 * alone leaves a tenth of the bandwidth.  Scales are decoded for so many blocks. */
enum { STREAMS = 4, CHUNK_BLOCKS = 16, CHUNK_FLOATS = CHUNK_BLOCKS * LM_ROWS };

LM_INLINE int streams_of(int bits)
{
    return bits == 8 ? 2 : STREAMS;
}

/* The next page of a stream, and its translation, into L2.  Nothing into L1: the lines
 * of four streams push each other out (measured). */
LM_INLINE void ahead(const uint8_t *p, int bits)
{
    _mm_prefetch((const char *)p + (bits == 8 ? 1024 : 4096), _MM_HINT_T1);
}

/* What the codes mean. */
typedef enum { PLAIN, FP4, IQ4 } meaning;

static meaning meaning_of(lm_quant_kind kind)
{
    if (kind == LM_Q_MXFP4 || kind == LM_Q_MLX_MXFP4)
        return FP4;
    return kind == LM_Q_IQ4_NL || kind == LM_Q_IQ4_XS ? IQ4 : PLAIN;
}

/* --- scales ----------------------------------------------------------------------- */

/* Vector i of 16 numbers of a format. */
LM_INLINE __m512 numbers(const uint8_t *p, uint32_t i, lm_quant_kind kind)
{
    if (kind == LM_Q_F32)
        return _mm512_load_ps(p + 64 * (size_t)i);
    __m256i h = _mm256_load_si256((const __m256i *)(const void *)(p + 32 * (size_t)i));
    if (kind == LM_Q_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Half of 2^(e - 127); MLX: 255 is infinite. */
LM_INLINE __m512 exponents(const uint8_t *p, uint32_t i, bool mlx)
{
    __m512i e = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)(p + 16 * (size_t)i)));
    __m512i v = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    v = _mm512_mask_sllv_epi32(v, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)),
                               _mm512_set1_epi32(0x00200000), e);
    __mmask16 infinite = mlx ? _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255)) : 0;
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(v, infinite, _mm512_set1_epi32(0x7f800000)));
}

LM_INLINE __m512i factors(const uint8_t *p, size_t i)
{
    return _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(const void *)(p + 16 * i)));
}

/* Scales or minima [first, first + n) of a slab's -> [group][16] floats. */
static void decode(const lm_quant *q, const uint8_t *p, const uint8_t *sc, uint32_t first, uint32_t n,
                   float *to)
{
    lm_quant_kind kind = q->kind == LM_Q_AFFINE ? q->scale_kind : LM_Q_F16;
    uint32_t g = first;
    if (q->kind == LM_Q_MXFP4 || q->kind == LM_Q_MLX_MXFP4)
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to, exponents(p, g, q->kind == LM_Q_MLX_MXFP4));
    else if (q->kind == LM_Q_Q6_K)
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to, numbers(p, g / 8, LM_Q_F16));
    else if (q->kind == LM_Q_Q4_K || q->kind == LM_Q_Q5_K || q->kind == LM_Q_IQ4_XS)
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to,
                            _mm512_mul_ps(numbers(p, g / 8, LM_Q_F16), _mm512_cvtepi32_ps(factors(sc, g))));
    else if (kind == LM_Q_BF16)
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to, numbers(p, g, LM_Q_BF16));
    else if (kind == LM_Q_F16)
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to, numbers(p, g, LM_Q_F16));
    else
        for (; g < first + n; g++, to += 16)
            _mm512_store_ps(to, numbers(p, g, LM_Q_F32));
}

/* Minima of q4_K and q5_K are stored as what is taken away. */
static void decode_mins(const lm_quant *q, const uint8_t *slab, lm_panel_parts at, uint32_t first, uint32_t n,
                        float *m)
{
    decode(q, slab + at.m, slab + at.mn, first, n, m);
    if (q->kind != LM_Q_Q4_K && q->kind != LM_Q_Q5_K)
        return;
    const __m512i sign = _mm512_set1_epi32((int)0x80000000);
    for (uint32_t g = 0; g < n; g++)
        _mm512_store_si512(m + 16 * g, _mm512_xor_si512(_mm512_load_si512(m + 16 * g), sign));
}

/* --- codes ------------------------------------------------------------------------- */

LM_INLINE __m512i or_and(__m512i v, __m512i x, int mask) /* v | (x & mask) */
{
    return _mm512_ternarylogic_epi32(x, _mm512_set1_epi8((char)mask), v, 0xea);
}

/* Bits [from, from + w) of every byte to bit `to` on; bits of neighbours are outside the
 * mask that follows. */
LM_INLINE __m512i shift(__m512i x, int from, int to)
{
    return from > to   ? _mm512_srli_epi32(x, (unsigned)(from - to))
           : to > from ? _mm512_slli_epi32(x, (unsigned)(to - from))
                       : x;
}

/* The eight quads of a block: v[j] is [16 rows][4 columns], unsigned codes. */
LM_INLINE void load_block(int bits, meaning mean, const uint8_t *p, __m512i v[8])
{
    int taken = 0;
    if (bits == 8) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            v[j] = _mm512_load_si512(p + 64 * j);
        return;
    }
    if (bits & 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i x = _mm512_load_si512(p + 64 * i), low = _mm512_set1_epi8(15);
            v[2 * i] = _mm512_and_si512(x, low);
            v[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
        }
        p += 256;
        taken = 4;
    }
    if (bits & 2) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            __m512i x = shift(_mm512_load_si512(p + j / 4 * 64), j % 4 * 2, taken);
            v[j] = taken ? or_and(v[j], x, 3 << taken) : _mm512_and_si512(x, _mm512_set1_epi8(3));
        }
        p += 128;
        taken += 2;
    }
    if (bits & 1) {
        __m512i x = _mm512_load_si512(p);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            v[j] = taken ? or_and(v[j], shift(x, j, taken), 1 << taken)
                         : _mm512_and_si512(shift(x, j, 0), _mm512_set1_epi8(1));
    }
    if (mean != PLAIN) {
        const uint8_t *codes = mean == FP4 ? LM_UP_FP4_CODES : LM_UP_IQ4_CODES;
        __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)codes));
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            v[j] = _mm512_shuffle_epi8(t, v[j]);
    }
}

LM_INLINE __m512i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, 4);
    return _mm512_set1_epi32(v);
}

/* --- one token ---------------------------------------------------------------------- */

typedef struct {
    const int8_t *x, *lo;
    const float *d;
    const int32_t *start; /* [half block] */
} input;

/* start + quads [j, j + n) times x, of one plane or two. */
LM_INLINE __m512i dots(const __m512i v[8], int j, int n, const input *in, uint32_t block, bool precise)
{
    const int8_t *x = in->x + 32 * (size_t)block, *lo = precise ? in->lo + 32 * (size_t)block : x;
    const int32_t *start = in->start + 2 * (size_t)block;
    __m512i a = _mm512_set1_epi32(n == 8 ? start[0] + start[1] : start[j / 4]), b = _mm512_setzero_si512();
    if (precise) {
        __m512i c = b, h = b;
#pragma GCC unroll 8
        for (int i = j; i < j + n; i += 2) {
            h = _mm512_dpbusd_epi32(h, v[i], four(x + 4 * i));
            c = _mm512_dpbusd_epi32(c, v[i + 1], four(x + 4 * i + 4));
            a = _mm512_dpbusd_epi32(a, v[i], four(lo + 4 * i));
            b = _mm512_dpbusd_epi32(b, v[i + 1], four(lo + 4 * i + 4));
        }
        return _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_slli_epi32(_mm512_add_epi32(h, c), 7));
    }
#pragma GCC unroll 8
    for (int i = j; i < j + n; i += 2) {
        a = _mm512_dpbusd_epi32(a, v[i], four(x + 4 * i));
        b = _mm512_dpbusd_epi32(b, v[i + 1], four(x + 4 * i + 4));
    }
    return _mm512_add_epi32(a, b);
}

/* Part of a slab, of one panel or of STREAMS at once. */
typedef struct {
    const uint8_t *codes[STREAMS], *sc[STREAMS];
    float s[STREAMS][CHUNK_FLOATS] LM_ALIGNED(64);
    __m512 acc[STREAMS];
    uint32_t first, n; /* blocks of the input */
} chunk;

/* Everything but `in` and `c` is constant where inlined. */
LM_INLINE void run_chunk(int bits, meaning mean, int per, bool sub16, bool precise, int streams,
                         const input *in, chunk *c)
{
    const uint8_t *codes[STREAMS];
    __m512 acc[STREAMS];
#pragma GCC unroll 4
    for (int p = 0; p < streams; p++) {
        codes[p] = c->codes[p];
        acc[p] = c->acc[p];
    }
    for (uint32_t b = 0, g = 0; b < c->n; b += (uint32_t)per, g += 16) {
        __m512 t[STREAMS];
#pragma GCC unroll 4
        for (int i = 0; i < per; i++) {
            uint32_t block = c->first + b + (uint32_t)i;
            __m512 d = _mm512_set1_ps(in->d[block]);
#pragma GCC unroll 4
            for (int p = 0; p < streams; p++, codes[p - 1] += 64 * bits) {
                __m512i v[8], sum;
#pragma GCC unroll 8
                for (int line = 0; line < bits; line++)
                    ahead(codes[p] + 64 * line, bits);
                load_block(bits, mean, codes[p], v);
                if (sub16) {
                    __m512i lo = dots(v, 0, 4, in, block, precise), hi = dots(v, 4, 4, in, block, precise);
                    lo = _mm512_mullo_epi32(lo, factors(c->sc[p], 2 * (size_t)(b + (uint32_t)i)));
                    hi = _mm512_mullo_epi32(hi, factors(c->sc[p], 2 * (size_t)(b + (uint32_t)i) + 1));
                    sum = _mm512_add_epi32(lo, hi);
                } else {
                    sum = dots(v, 0, 8, in, block, precise);
                }
                __m512 f = _mm512_cvtepi32_ps(sum);
                t[p] = i ? _mm512_fmadd_ps(f, d, t[p]) : _mm512_mul_ps(f, d);
            }
        }
#pragma GCC unroll 4
        for (int p = 0; p < streams; p++)
            acc[p] = _mm512_fmadd_ps(_mm512_load_ps(c->s[p] + g), t[p], acc[p]);
    }
#pragma GCC unroll 4
    for (int p = 0; p < streams; p++) {
        c->codes[p] = codes[p];
        c->acc[p] = acc[p];
    }
}

/* X(name, bits, meaning, blocks in a group, sub16) */
#define CHUNKS(X)                                                                                            \
    X(part_1_1, 1, PLAIN, 1, false)                                                                          \
    X(part_1_2, 1, PLAIN, 2, false)                                                                          \
    X(part_1_4, 1, PLAIN, 4, false)                                                                          \
    X(part_2_1, 2, PLAIN, 1, false)                                                                          \
    X(part_2_2, 2, PLAIN, 2, false)                                                                          \
    X(part_2_4, 2, PLAIN, 4, false)                                                                          \
    X(part_3_1, 3, PLAIN, 1, false)                                                                          \
    X(part_3_2, 3, PLAIN, 2, false)                                                                          \
    X(part_3_4, 3, PLAIN, 4, false)                                                                          \
    X(part_4_1, 4, PLAIN, 1, false)                                                                          \
    X(part_4_2, 4, PLAIN, 2, false)                                                                          \
    X(part_4_4, 4, PLAIN, 4, false)                                                                          \
    X(part_5_1, 5, PLAIN, 1, false)                                                                          \
    X(part_5_2, 5, PLAIN, 2, false)                                                                          \
    X(part_5_4, 5, PLAIN, 4, false)                                                                          \
    X(part_6_1, 6, PLAIN, 1, false)                                                                          \
    X(part_6_2, 6, PLAIN, 2, false)                                                                          \
    X(part_6_4, 6, PLAIN, 4, false)                                                                          \
    X(part_8_1, 8, PLAIN, 1, false)                                                                          \
    X(part_8_2, 8, PLAIN, 2, false)                                                                          \
    X(part_8_4, 8, PLAIN, 4, false)                                                                          \
    X(part_fp4, 4, FP4, 1, false)                                                                            \
    X(part_iq4, 4, IQ4, 1, false)                                                                            \
    X(part_q6_k, 6, PLAIN, 1, true)

#define KERNELS(name, bits, mean, per, sub16)                                                                \
    static LM_NOINLINE void name(const input *in, chunk *c)                                                  \
    {                                                                                                        \
        run_chunk(bits, mean, per, sub16, false, streams_of(bits), in, c);                                   \
    }                                                                                                        \
    static LM_NOINLINE void name##_single(const input *in, chunk *c)                                         \
    {                                                                                                        \
        run_chunk(bits, mean, per, sub16, false, 1, in, c);                                                  \
    }                                                                                                        \
    static LM_NOINLINE void name##_precise(const input *in, chunk *c)                                        \
    {                                                                                                        \
        run_chunk(bits, mean, per, sub16, true, streams_of(bits), in, c);                                    \
    }                                                                                                        \
    static LM_NOINLINE void name##_precise_single(const input *in, chunk *c)                                 \
    {                                                                                                        \
        run_chunk(bits, mean, per, sub16, true, 1, in, c);                                                   \
    }
CHUNKS(KERNELS)

typedef void kernel(const input *in, chunk *c);

static kernel *kernel_of(const lm_quant *q, bool precise, bool single)
{
    lm_lin_class c = lm_lin_class_of(q);
    meaning mean = meaning_of(q->kind);
#define CASE(name, bits_of, mean_of, per_of, sub16_of)                                                       \
    if (lm_panel_bits(q) == (bits_of) && mean == (mean_of) && c.blocks == (per_of) && c.sub16 == (sub16_of)) \
        return precise ? single ? name##_precise_single : name##_precise : single ? name##_single : name;
    CHUNKS(CASE)
#undef CASE
    return NULL;
}

/* xs of the groups, starts of the half blocks. */
static size_t one_bytes(uint32_t cols)
{
    return lm_act_padded(cols) / 32 * 12 + 64;
}

size_t lm_panels_scratch(uint32_t cols)
{
    return LM_ONE_TOKENS * one_bytes(cols);
}

/* The minima of a slab, panels side by side: each is a chain of additions, and one chain
 * alone waits for itself. */
static void add_mins(const lm_quant *q, const uint8_t *const slab[STREAMS], uint32_t streams,
                     lm_panel_parts at, uint32_t groups, const float *xs, chunk *c)
{
    for (uint32_t g = 0, n; g < groups; g += n) {
        n = LM_MIN(groups - g, (uint32_t)CHUNK_BLOCKS);
        for (uint32_t p = 0; p < streams; p++)
            decode_mins(q, slab[p], at, g, n, c->s[p]);
        for (uint32_t i = 0; i < n; i++) {
            __m512 x = _mm512_set1_ps(xs[g + i]);
            for (uint32_t p = 0; p < streams; p++)
                c->acc[p] = _mm512_fmadd_ps(_mm512_load_ps(c->s[p] + 16 * i), x, c->acc[p]);
        }
    }
}

/* One call's input, and where the scratch has what is made of it. */
typedef struct {
    const lm_matrix *w;
    lm_lin_class c;
    input in;
    float *xs; /* [group] */
    float *y;
    uint32_t row1;
    bool precise;
} job;

/* Panels p[0] to p[streams - 1], all good, from their first column to their last. */
static void run_panels(const job *j, const uint32_t *p, uint32_t streams)
{
    const lm_quant *q = j->w->quant;
    const lm_panels *ps = j->w->panels;
    kernel *run = kernel_of(q, j->precise, streams == 1);
    const uint8_t *at[STREAMS];
    chunk c;
    for (uint32_t i = 0; i < streams; i++) {
        at[i] = ps->data + p[i] * ps->bytes;
        c.acc[i] = _mm512_setzero_ps();
    }
    for (uint32_t k = 0; k < j->w->cols; k += LM_LIN_SLAB) {
        uint32_t cols = LM_MIN(j->w->cols - k, (uint32_t)LM_LIN_SLAB), per = j->c.blocks;
        lm_panel_parts parts = lm_panel_parts_of(q, cols);
        for (uint32_t i = 0; i < streams; i++) {
            for (size_t z = 0; z < parts.codes; z += 64) {
                _mm_prefetch((const char *)at[i] + z, _MM_HINT_T0);
                ahead(at[i] + z, lm_panel_bits(q));
            }
            c.codes[i] = at[i] + parts.codes;
        }
        if (j->c.mins)
            add_mins(q, at, streams, parts, cols / 32 / per, j->xs + k / 32 / per, &c);
        for (uint32_t b = 0; b < cols / 32; b += c.n) {
            c.first = k / 32 + b;
            c.n = LM_MIN(cols / 32 - b, (uint32_t)CHUNK_BLOCKS);
            for (uint32_t i = 0; i < streams; i++) {
                c.sc[i] = at[i] + parts.sc + (size_t)b * 32;
                decode(q, at[i] + parts.s, at[i] + parts.sc, b / per, c.n / per, c.s[i]);
            }
            run(&j->in, &c);
        }
        for (uint32_t i = 0; i < streams; i++)
            at[i] += parts.bytes;
    }
    for (uint32_t i = 0; i < streams; i++) {
        uint32_t row = p[i] * LM_ROWS, n = LM_MIN(j->row1 - row, (uint32_t)LM_ROWS);
        _mm512_mask_storeu_ps(j->y + row, (__mmask16)((1u << n) - 1), c.acc[i]);
    }
}

static void set_up(job *j, const uint8_t *x, void *scratch)
{
    uint32_t cols = j->w->cols, blocks = cols / 32;
    const float *of = lm_act_xs(x, cols);
    const int16_t *sum = lm_act_sum(x, cols), *lo = j->precise ? lm_act_sum_lo(x, cols) : NULL;
    int32_t *start = scratch;
    j->xs = (float *)(void *)(start + 2 * blocks);
    j->in = (input){ (const int8_t *)x, j->precise ? lm_act_lo(x, cols) : NULL, lm_act_d(x, cols), start };
    for (uint32_t i = 0; i < 2 * blocks; i++)
        start[i] = -j->c.off * (j->precise ? 128 * sum[i] + lo[i] : sum[i]);
    for (uint32_t g = 0, b = 0; g < blocks / j->c.blocks; g++) {
        j->xs[g] = of[b++];
        for (int i = 1; i < j->c.blocks; i++)
            j->xs[g] += of[b++];
    }
}

void lm_panels_one(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch, bool precise)
{
    uint32_t p0 = row0 / LM_ROWS, panels = (row1 - row0 + LM_ROWS - 1) / LM_ROWS;
    uint32_t most = (uint32_t)streams_of(lm_panel_bits(w->quant)), each = panels / most;
    size_t stride = lm_act_code_bytes(w->cols, precise);
    job j[LM_ONE_TOKENS];
    bool damaged = false;
    for (uint32_t t = 0; t < n; t++) {
        j[t] = (job){
            .w = w, .c = lm_lin_class_of(w->quant), .y = y + t * ldy, .row1 = row1, .precise = precise
        };
        set_up(&j[t], x + t * stride, (uint8_t *)scratch + t * one_bytes(w->cols));
    }
    for (uint32_t i = 0; i < each + panels % most; i++) {
        uint32_t at[STREAMS], streams = i < each ? most : 1, good = 0;
        for (uint32_t s = 0; s < streams; s++) {
            at[s] = p0 + (i < each ? s * each + i : (most - 1) * each + i);
            good += lm_panel_good(w->panels, at[s]);
        }
        damaged |= good < streams;
        for (uint32_t t = 0; t < n; t++) { /* the second finds them in the caches */
            if (good == streams)
                run_panels(&j[t], at, streams);
            else
                for (uint32_t s = 0; s < streams; s++)
                    if (lm_panel_good(w->panels, at[s]))
                        run_panels(&j[t], at + s, 1);
        }
    }
    for (uint32_t i = p0; damaged && i < p0 + panels; i++) /* the rows in the file give the same bits */
        if (!lm_panel_good(w->panels, i))
            lm_one_run(w, i * LM_ROWS, LM_MIN(row1, (i + 1) * LM_ROWS), x, n, y, ldy, scratch, precise);
}

/* --- many tokens ------------------------------------------------------------------------ */

bool lm_panels_ready(const lm_matrix *w, uint32_t row0, uint32_t row1)
{
    for (uint32_t row = row0; row < row1; row += LM_ROWS)
        if (!lm_panel_good(w->panels, row / LM_ROWS))
            return false;
    return true;
}

LM_INLINE void spread_codes(int bits, meaning mean, const uint8_t *codes, uint32_t blocks, uint8_t *to)
{
    for (uint32_t b = 0; b < blocks; b++, codes += 64 * bits, to += 512) {
        __m512i v[8];
#pragma GCC unroll 8
        for (int line = 0; line < bits; line++)
            ahead(codes + 64 * line, bits);
        load_block(bits, mean, codes, v);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            _mm512_store_si512(to + 64 * j, v[j]);
    }
}

void lm_panels_spread(const lm_matrix *w, uint32_t row0, uint32_t k, uint32_t cols, uint8_t *codes, float *s,
                      float *m, int32_t *sc)
{
    const lm_quant *q = w->quant;
    lm_lin_class c = lm_lin_class_of(q);
    const uint8_t *p = w->panels->data + row0 / LM_ROWS * w->panels->bytes +
                       k / LM_LIN_SLAB * lm_panel_parts_of(q, LM_LIN_SLAB).bytes;
    lm_panel_parts at = lm_panel_parts_of(q, cols);
    uint32_t blocks = cols / 32, groups = blocks / c.blocks;
    decode(q, p + at.s, p + at.sc, 0, groups, s);
    if (c.mins)
        decode_mins(q, p, at, 0, groups, m);
    for (uint32_t i = 0; c.sub16 && i < 2 * blocks; i++)
        _mm512_store_si512(sc + 16 * i, factors(p + at.sc, i));
    p += at.codes;
    switch (meaning_of(q->kind)) {
    case FP4: spread_codes(4, FP4, p, blocks, codes); return;
    case IQ4: spread_codes(4, IQ4, p, blocks, codes); return;
    default: break;
    }
    switch (lm_panel_bits(q)) {
    case 1: spread_codes(1, PLAIN, p, blocks, codes); break;
    case 2: spread_codes(2, PLAIN, p, blocks, codes); break;
    case 3: spread_codes(3, PLAIN, p, blocks, codes); break;
    case 4: spread_codes(4, PLAIN, p, blocks, codes); break;
    case 5: spread_codes(5, PLAIN, p, blocks, codes); break;
    case 6: spread_codes(6, PLAIN, p, blocks, codes); break;
    default: spread_codes(8, PLAIN, p, blocks, codes); break;
    }
}
