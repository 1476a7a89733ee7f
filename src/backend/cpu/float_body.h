/* backend/cpu/float_body.h - linears over float weights, and over whatever to_f32 decodes.
 *
 * Column k belongs to chain k mod 16, the lanes of v16; the sixteen are added in
 * halves.  One token: FLOAT_ROWS rows, from as many places far apart, are read where
 * they lie.  Many: a panel of rows is decoded and multiplied in tiles of
 * FLOAT_TILE_ROWS rows and FLOAT_TILE_TOKENS tokens; no bits depend on either.
 *
 * The file that includes this defines FLOAT_FLOAT and FLOAT_OTHERS (the tables that
 * it brings) and FLOAT_NAME.  Pure functions over the caller's memory. */
#include "backend/cpu/linear_impl.h"
#include "backend/cpu/vec.h"

enum { FLOAT_ROWS = 4, FLOAT_TILE_ROWS = 2, FLOAT_TILE_TOKENS = 3, FLOAT_AHEAD = 1024 };

/* Sixteen weights at p. */
LM_INLINE v16 load16(lm_quant_kind kind, const uint8_t *p)
{
    return kind == LM_Q_F32   ? v_load((const float *)(const void *)p)
           : kind == LM_Q_F16 ? v_load_f16(p)
                              : v_load_bf16(p);
}

LM_INLINE size_t size_of(lm_quant_kind kind)
{
    return kind == LM_Q_F32 ? 4 : 2;
}

/* Those of them that exist. */
LM_INLINE v16 load_some(lm_quant_kind kind, const uint8_t *p, size_t n)
{
    uint8_t t[LANES * 4] = { 0 };
    memcpy(t, p, n * size_of(kind));
    return load16(kind, t);
}

LM_INLINE void rows_of(lm_quant_kind kind, const uint8_t *const p[FLOAT_ROWS], uint32_t cols, const float *x,
                       float out[FLOAT_ROWS])
{
    const size_t size = size_of(kind);
    uint32_t k = 0;
    v16 acc[FLOAT_ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < FLOAT_ROWS; r++)
        acc[r] = v_set1(0);
    for (; k + LANES <= cols; k += LANES) {
        v16 v = v_load(x + k);
#pragma GCC unroll 4
        for (int r = 0; r < FLOAT_ROWS; r++) {
            __builtin_prefetch(p[r] + k * size + FLOAT_AHEAD);
            acc[r] = v_fma(load16(kind, p[r] + k * size), v, acc[r]);
        }
    }
    if (k < cols)
        for (int r = 0; r < FLOAT_ROWS; r++)
            acc[r] = v_fma(load_some(kind, p[r] + k * size, cols - k), v_load(x + k), acc[r]);
    for (int r = 0; r < FLOAT_ROWS; r++)
        out[r] = v_sum(acc[r]);
}

#define ROWS_OF(name, kind)                                                                                  \
    static LM_NOINLINE void name(const uint8_t *const p[FLOAT_ROWS], uint32_t cols, const float *x,          \
                                 float out[FLOAT_ROWS])                                                      \
    {                                                                                                        \
        rows_of(kind, p, cols, x, out);                                                                      \
    }
ROWS_OF(rows_f32, LM_Q_F32)
ROWS_OF(rows_f16, LM_Q_F16)
ROWS_OF(rows_bf16, LM_Q_BF16)

static bool direct(const lm_quant *q)
{
    return q->kind == LM_Q_F32 || q->kind == LM_Q_F16 || q->kind == LM_Q_BF16;
}

static void float_one(const lm_matrix *w, uint32_t row0, uint32_t row1, const float *x, float *y)
{
    uint32_t each = (row1 - row0 + FLOAT_ROWS - 1) / FLOAT_ROWS;
    for (uint32_t i = 0; i < each; i++) {
        const uint8_t *p[FLOAT_ROWS];
        uint32_t at[FLOAT_ROWS];
        float out[FLOAT_ROWS];
        for (uint32_t l = 0; l < FLOAT_ROWS; l++) {
            at[l] = LM_MIN(row0 + l * each + i, row1 - 1);
            p[l] = w->plane[0] + at[l] * w->stride[0];
        }
        if (w->quant->kind == LM_Q_F32)
            rows_f32(p, w->cols, x, out);
        else if (w->quant->kind == LM_Q_F16)
            rows_f16(p, w->cols, x, out);
        else
            rows_bf16(p, w->cols, x, out);
        for (uint32_t l = 0; l < FLOAT_ROWS; l++)
            y[at[l]] = out[l];
    }
}

static void decode(const lm_matrix *w, uint32_t row, float *to)
{
    const uint8_t *planes[LM_QUANT_PLANES];
    uint32_t cols = w->cols, k = 0, padded = (uint32_t)lm_round_up(cols, LANES);
    lm_quant_kind kind = w->quant->kind;
    lm_matrix_row(w, row, planes);
    if (!direct(w->quant)) {
        w->quant->to_f32(w->quant, planes, cols, to);
        memset(to + cols, 0, (padded - cols) * sizeof *to);
        return;
    }
    for (; k + LANES <= cols; k += LANES)
        v_store(to + k, load16(kind, planes[0] + k * size_of(kind)));
    if (k < cols)
        v_store(to + k, load_some(kind, planes[0] + k * size_of(kind), cols - k));
}

LM_INLINE void float_tile(int T, const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,
                          float out[FLOAT_TILE_TOKENS][FLOAT_TILE_ROWS])
{
    v16 acc[FLOAT_TILE_TOKENS][FLOAT_TILE_ROWS];
    for (int t = 0; t < T; t++)
        for (int r = 0; r < FLOAT_TILE_ROWS; r++)
            acc[t][r] = v_set1(0);
    for (uint32_t k = 0; k < padded; k += LANES) {
        v16 v[FLOAT_TILE_ROWS];
        for (size_t r = 0; r < FLOAT_TILE_ROWS; r++)
            v[r] = v_load(w + r * ldw + k);
        for (int t = 0; t < T; t++) {
            v16 xt = v_load(x + (size_t)t * ldx + k);
            for (int r = 0; r < FLOAT_TILE_ROWS; r++)
                acc[t][r] = v_fma(v[r], xt, acc[t][r]);
        }
    }
    for (int t = 0; t < T; t++)
        for (int r = 0; r < FLOAT_TILE_ROWS; r++)
            out[t][r] = v_sum(acc[t][r]);
}

static LM_NOINLINE void tile_whole(const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,
                                   float out[FLOAT_TILE_TOKENS][FLOAT_TILE_ROWS])
{
    float_tile(FLOAT_TILE_TOKENS, w, ldw, x, ldx, padded, out);
}

static LM_NOINLINE void tile_one(const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,
                                 float out[FLOAT_TILE_TOKENS][FLOAT_TILE_ROWS])
{
    float_tile(1, w, ldw, x, ldx, padded, out);
}

static size_t f32_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return lm_act_f32_bytes(w->cols) * LM_PANEL;
}

static void f32_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    float *values = scratch;
    const float *xs = (const float *)(const void *)x;
    size_t ld = lm_act_f32_bytes(w->cols) / sizeof(float); /* of activations and of decoded rows */
    uint32_t padded = (uint32_t)lm_round_up(w->cols, LANES);
    if (n < 3 && direct(w->quant)) {
        for (uint32_t t = 0; t < n; t++)
            float_one(w, row0, row1, xs + t * ld, y + t * ldy);
        return;
    }
    for (uint32_t row = row0; row < row1; row += LM_PANEL) {
        uint32_t rows = LM_MIN(row1 - row, (uint32_t)LM_PANEL);
        for (uint32_t r = 0; r < lm_round_up(rows, FLOAT_TILE_ROWS); r++)
            decode(w, row + LM_MIN(r, rows - 1), values + r * ld);
        for (uint32_t t = 0, tokens; t < n; t += tokens) {
            tokens = n - t >= FLOAT_TILE_TOKENS ? FLOAT_TILE_TOKENS : 1;
            for (uint32_t r = 0; r < rows; r += FLOAT_TILE_ROWS) {
                float out[FLOAT_TILE_TOKENS][FLOAT_TILE_ROWS];
                (tokens == 1 ? tile_one : tile_whole)(values + r * ld, ld, xs + t * ld, ld, padded, out);
                for (uint32_t u = 0; u < tokens; u++)
                    memcpy(y + (t + u) * ldy + row + r, out[u],
                           LM_MIN(rows - r, (uint32_t)FLOAT_TILE_ROWS) * sizeof(float));
            }
        }
    }
}

const lm_cpu_linear FLOAT_OTHERS = { "panel decode, " FLOAT_NAME, &lm_act_f32, f32_scratch, f32_run };
const lm_cpu_linear FLOAT_FLOAT = { "in place, f32 activations, " FLOAT_NAME, &lm_act_f32, f32_scratch,
                                    f32_run };
