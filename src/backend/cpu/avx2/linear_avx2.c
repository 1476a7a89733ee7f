/* backend/cpu/avx2/linear_avx2.c - linears with 256-bit vectors and FMA.
 *
 * A row is unpacked once into bytes and taken through all tokens; eight blocks
 * at a time give eight integer sums in one vector, and the float chain of
 * linear_impl.h runs over them in order. */
#include <immintrin.h>

#include "backend/cpu/linear_act.h"
#include "backend/cpu/linear_impl.h"
#include "backend/cpu/linear_unpack.h"

/* Codes up to 127 times activations within +-127: pairs stay inside 16 bits. */
LM_INLINE __m256i dot_narrow(const uint8_t *codes, const int8_t *x)
{
    __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)codes);
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)x);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(c, v), _mm256_set1_epi16(1));
}

LM_INLINE __m256i dot_wide(const uint8_t *codes, const int8_t *x)
{
    __m256i c0 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
    __m256i c1 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(codes + 16)));
    __m256i v0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)x));
    __m256i v1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(x + 16)));
    return _mm256_add_epi32(_mm256_madd_epi16(c0, v0), _mm256_madd_epi16(c1, v1));
}

/* Lanes of v[i] added up into lane i. */
LM_INLINE __m256i reduce8(const __m256i v[8])
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

typedef struct {
    uint8_t *codes;
    float *s, *m;
    int8_t *sc;
    int32_t *dots; /* of one token */
    int32_t *off;  /* off * sum of every block (of every half block: sub16) */
} row;

static row row_at(void *scratch, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols) + 128; /* eight blocks at a time */
    uint8_t *at = scratch;
    row r;
    r.codes = at;
    r.s = (float *)(void *)(at + p);
    r.m = r.s + p / 32;
    r.dots = (int32_t *)(void *)(r.m + p / 32);
    r.off = r.dots + p / 32;
    r.sc = (int8_t *)(void *)(r.off + p / 16);
    return r;
}

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    size_t p = lm_act_padded(w->cols) + 128;
    (void)max_tokens;
    return p + p / 8 * 5 + p / 16;
}

LM_INLINE __m256i sums_by_off(const int16_t *sum, int off)
{
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)sum);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16((int16_t)off));
}

/* The integer sums of a row's blocks. */
LM_INLINE void block_sums(lm_lin_class c, const row *r, uint32_t cols, const uint8_t *act, bool precise)
{
    uint32_t blocks = cols / 32;
    const int8_t *x = (const int8_t *)act, *lo = precise ? lm_act_lo(act, cols) : x;
    const int16_t *sum = lm_act_sum(act, cols), *sum_lo = precise ? lm_act_sum_lo(act, cols) : sum;
    for (uint32_t b = 0; b < blocks; b += 8) {
        __m256i v[8];
        for (uint32_t i = 0; i < 8; i++) {
            if (b + i >= blocks) {
                v[i] = _mm256_setzero_si256();
                continue;
            }
            const uint8_t *codes = r->codes + 32 * (b + i);
            v[i] = c.wide_codes ? dot_wide(codes, x + 32 * (b + i)) : dot_narrow(codes, x + 32 * (b + i));
            if (precise) {
                __m256i low =
                    c.wide_codes ? dot_wide(codes, lo + 32 * (b + i)) : dot_narrow(codes, lo + 32 * (b + i));
                v[i] = _mm256_add_epi32(_mm256_slli_epi32(v[i], 7), low);
            }
            if (c.sub16) { /* first half of the columns in the low four lanes */
                int32_t s0 = r->sc[2 * (b + i)], s1 = r->sc[2 * (b + i) + 1];
                __m256i sc = _mm256_setr_epi32(s0, s0, s0, s0, s1, s1, s1, s1);
                int32_t of0 = sum[2 * (b + i)], of1 = sum[2 * (b + i) + 1];
                if (precise) {
                    of0 = 128 * of0 + sum_lo[2 * (b + i)];
                    of1 = 128 * of1 + sum_lo[2 * (b + i) + 1];
                }
                __m256i off = _mm256_setr_epi32(c.off * of0, 0, 0, 0, c.off * of1, 0, 0, 0);
                v[i] = _mm256_mullo_epi32(sc, _mm256_sub_epi32(v[i], off));
            }
        }
        __m256i dots = reduce8(v);
        if (c.off && !c.sub16) {
            __m256i off = sums_by_off(sum + 2 * b, c.off);
            if (precise)
                off = _mm256_add_epi32(_mm256_slli_epi32(off, 7), sums_by_off(sum_lo + 2 * b, c.off));
            dots = _mm256_sub_epi32(dots, off);
        }
        _mm256_storeu_si256((__m256i *)(void *)(r->dots + b), dots);
    }
}

LM_INLINE float chain(lm_lin_class c, const row *r, uint32_t cols, const uint8_t *x)
{
    const float *d = lm_act_d(x, cols), *xs = lm_act_xs(x, cols);
    uint32_t groups = cols / (32u * c.blocks), each = LM_LIN_SLAB / (32u * c.blocks);
    float acc = 0;
    for (uint32_t g0 = 0; g0 < groups; g0 += each) {
        uint32_t g1 = LM_MIN(groups, g0 + each), b = g0 * c.blocks;
        for (uint32_t g = g0; g < g1 && c.mins; g++) {
            float of = xs[b++];
            for (int i = 1; i < c.blocks; i++)
                of += xs[b++];
            acc = lm_lin_fma(r->m[g], of, acc);
        }
        b = g0 * c.blocks;
        for (uint32_t g = g0; g < g1; g++) {
            float t = (float)r->dots[b] * d[b];
            b++;
            for (int i = 1; i < c.blocks; i++, b++)
                t = lm_lin_fma((float)r->dots[b], d[b], t);
            acc = lm_lin_fma(r->s[g], t, acc);
        }
    }
    return acc;
}

LM_INLINE void tokens(lm_lin_class c, const row *r, uint32_t cols, const uint8_t *x, uint32_t n, float *y,
                      size_t ldy, bool precise)
{
    size_t stride = lm_act_code_bytes(cols, precise);
    for (uint32_t t = 0; t < n; t++, x += stride) {
        block_sums(c, r, cols, x, precise);
        y[t * ldy] = chain(c, r, cols, x);
    }
}

LM_INLINE void run_codes(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n,
                         float *y, size_t ldy, void *scratch, bool precise)
{
    lm_lin_class c = lm_lin_class_of(w->quant);
    row r = row_at(scratch, w->cols);
    for (uint32_t i = row0; i < row1; i++) {
        const uint8_t *planes[LM_QUANT_PLANES];
        lm_matrix_row(w, i, planes);
        lm_unpack_row(w->quant, planes, w->cols, r.codes, r.s, r.m, r.sc);
        lm_lin_class k = { .blocks = c.blocks, .off = c.off, .mins = c.mins };
        if (c.sub16) {
            k.sub16 = true;
            tokens(k, &r, w->cols, x, n, y + i, ldy, precise);
        } else if (c.wide_codes) {
            k.wide_codes = true;
            tokens(k, &r, w->cols, x, n, y + i, ldy, precise);
        } else {
            tokens(k, &r, w->cols, x, n, y + i, ldy, precise);
        }
    }
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

static size_t f32_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return (size_t)lm_round_up(w->cols, 16) * 4 * 4;
}

LM_INLINE float reduce16(__m256 lo, __m256 hi)
{
    __m256 a = _mm256_add_ps(lo, hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* Four rows of decoded weights against one token: eight chains in flight. */
static void dot4(const float *w, size_t ldw, const float *x, uint32_t cols, float out[4])
{
    __m256 acc[8];
    for (int i = 0; i < 8; i++)
        acc[i] = _mm256_setzero_ps();
    for (uint32_t k = 0; k < cols; k += 16) {
        __m256 x0 = _mm256_loadu_ps(x + k), x1 = _mm256_loadu_ps(x + k + 8);
        for (size_t i = 0; i < 4; i++) {
            acc[2 * i] = _mm256_fmadd_ps(_mm256_loadu_ps(w + i * ldw + k), x0, acc[2 * i]);
            acc[2 * i + 1] = _mm256_fmadd_ps(_mm256_loadu_ps(w + i * ldw + k + 8), x1, acc[2 * i + 1]);
        }
    }
    for (int i = 0; i < 4; i++)
        out[i] = reduce16(acc[2 * i], acc[2 * i + 1]);
}

static void f32_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    float *values = scratch;
    uint32_t padded = (uint32_t)lm_round_up(w->cols, 16);
    for (uint32_t i = row0; i < row1; i += 4) {
        uint32_t rows = LM_MIN(4u, row1 - i);
        for (uint32_t r = 0; r < 4; r++) {
            const uint8_t *planes[LM_QUANT_PLANES];
            lm_matrix_row(w, i + LM_MIN(r, rows - 1), planes);
            w->quant->to_f32(w->quant, planes, w->cols, values + (size_t)r * padded);
            memset(values + (size_t)r * padded + w->cols, 0, (padded - w->cols) * sizeof *values);
        }
        for (uint32_t t = 0; t < n; t++) {
            float out[4];
            dot4(values, padded, (const float *)(const void *)(x + t * lm_act_f32_bytes(w->cols)), padded,
                 out);
            memcpy(y + t * ldy + i, out, rows * sizeof *out);
        }
    }
}

static void quantise_q8(const float *x, uint32_t cols, uint8_t *out)
{
    lm_quantise_q8(x, cols, out);
}

static void quantise_q16(const float *x, uint32_t cols, uint8_t *out)
{
    lm_quantise_q16(x, cols, out);
}

static const lm_act_layout Q8 = { "q8-32", lm_act_q8_bytes, quantise_q8 };
const lm_cpu_linear lm_linear_q8_avx2 = { "in place, 8-bit activations, avx2", &Q8, q8_scratch, q8_run };
static const lm_act_layout Q16 = { "q16-32", lm_act_q16_bytes, quantise_q16 };
const lm_cpu_linear lm_linear_q16_avx2 = { "in place, 15-bit activations, avx2", &Q16, q8_scratch, q16_run };
const lm_cpu_linear lm_linear_f32_avx2 = { "panel decode, avx2", &lm_act_f32, f32_scratch, f32_run };
const lm_cpu_linear lm_linear_float_avx2 = { "row decode, f32 activations, avx2", &lm_act_f32, f32_scratch,
                                             f32_run };
