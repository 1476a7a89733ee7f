/* backend/cpu/linear_portable.c - linears in plain C: any format, any machine.
 *
 * Also the clearest statement of the chains; the other instruction sets give the
 * same bits. */
#include "backend/cpu/linear_impl.h"
#include "backend/cpu/linear_quantise.h"
#include "backend/cpu/linear_unpack.h"

static void quantise_f32(const float *x, uint32_t cols, uint8_t *out)
{
    memcpy(out, x, (size_t)cols * 4);
    memset(out + (size_t)cols * 4, 0, lm_act_f32_bytes(cols) - (size_t)cols * 4);
}

static const lm_act_layout Q8 = { "q8-32", lm_act_q8_bytes, quantise_q8 };
static const lm_act_layout Q16 = { "q16-32", lm_act_q16_bytes, quantise_q16 };
const lm_act_layout lm_act_f32 = { "f32", lm_act_f32_bytes, quantise_f32 };

/* One row of weights, unpacked. */
typedef struct {
    uint8_t *codes;
    float *s, *m;
    int8_t *sc;
} row;

static row row_at(void *scratch, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols);
    uint8_t *at = scratch;
    return (row){ at, (float *)(void *)(at + p), (float *)(void *)(at + p + p / 8),
                  (int8_t *)(at + p + p / 4) };
}

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    size_t p = lm_act_padded(w->cols);
    (void)max_tokens;
    return p + p / 4 + p / 16;
}

static int32_t dot16(const uint8_t *codes, const int8_t *x)
{
    int32_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum += codes[i] * x[i];
    return sum;
}

/* I of block b, for one plane of activations. */
static int32_t block_dot(lm_lin_class c, const row *w, uint32_t b, const int8_t *codes, const int16_t *sum)
{
    int32_t lo = dot16(w->codes + 32 * b, codes + 32 * b) - c.off * sum[2 * b];
    int32_t hi = dot16(w->codes + 32 * b + 16, codes + 32 * b + 16) - c.off * sum[2 * b + 1];
    return c.sub16 ? w->sc[2 * b] * lo + w->sc[2 * b + 1] * hi : lo + hi;
}

static float chain(lm_lin_class c, const row *w, uint32_t cols, const uint8_t *x, bool precise)
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
            acc = lm_lin_fma(w->m[g], of, acc);
        }
        b = g0 * c.blocks;
        for (uint32_t g = g0; g < g1; g++) {
            float t = 0;
            for (int i = 0; i < c.blocks; i++, b++) {
                int32_t dot = block_dot(c, w, b, (const int8_t *)x, lm_act_sum(x, cols));
                if (precise)
                    dot = 128 * dot + block_dot(c, w, b, lm_act_lo(x, cols), lm_act_sum_lo(x, cols));
                t = i ? lm_lin_fma((float)dot, d[b], t) : (float)dot * d[b];
            }
            acc = lm_lin_fma(w->s[g], t, acc);
        }
    }
    return acc;
}

static void run_codes(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n,
                      float *y, size_t ldy, void *scratch, bool precise)
{
    lm_lin_class c = lm_lin_class_of(w->quant);
    row r = row_at(scratch, w->cols);
    size_t stride = lm_act_code_bytes(w->cols, precise);
    for (uint32_t i = row0; i < row1; i++) {
        const uint8_t *planes[LM_QUANT_PLANES];
        lm_matrix_row(w, i, planes);
        lm_unpack_row(w->quant, planes, w->cols, r.codes, r.s, r.m, r.sc);
        for (uint32_t t = 0; t < n; t++)
            y[t * ldy + i] = chain(c, &r, w->cols, x + t * stride, precise);
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
    return (size_t)lm_round_up(w->cols, 16) * 4;
}

/* Column k belongs to chain k mod 16; the sixteen are added as a tree. */
static float dot_f32(const float *w, const float *x, uint32_t cols)
{
    float acc[16] = { 0 };
    for (uint32_t k = 0; k < cols; k += 16)
        for (int i = 0; i < 16; i++)
            acc[i] = lm_lin_fma(w[k + (uint32_t)i], x[k + (uint32_t)i], acc[i]);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            acc[i] += acc[i + half];
    return acc[0];
}

static void f32_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    float *values = scratch;
    uint32_t padded = (uint32_t)lm_round_up(w->cols, 16);
    memset(values + w->cols, 0, (padded - w->cols) * sizeof *values);
    for (uint32_t i = row0; i < row1; i++) {
        const uint8_t *planes[LM_QUANT_PLANES];
        lm_matrix_row(w, i, planes);
        w->quant->to_f32(w->quant, planes, w->cols, values);
        for (uint32_t t = 0; t < n; t++)
            y[t * ldy + i] =
                dot_f32(values, (const float *)(const void *)(x + t * lm_act_f32_bytes(w->cols)), padded);
    }
}

const lm_cpu_linear lm_linear_q8_portable = { "in place, 8-bit activations, portable", &Q8, q8_scratch,
                                              q8_run };
const lm_cpu_linear lm_linear_q16_portable = { "in place, 15-bit activations, portable", &Q16, q8_scratch,
                                               q16_run };
const lm_cpu_linear lm_linear_f32_portable = { "panel decode, portable", &lm_act_f32, f32_scratch, f32_run };
const lm_cpu_linear lm_linear_float_portable = { "row decode, f32 activations, portable", &lm_act_f32,
                                                 f32_scratch, f32_run };
