/* backend/cpu/avx512/linear_float.c - float weights, and panel decode for the rest.
 *
 * The chain: column k belongs to lane k mod 16 of one vector of sums, in order,
 * by fused multiply-adds in float32; the lanes are added as a tree at the end.
 * One token reads f32, f16 and bf16 rows where they lie, two rows of each of
 * four streams at a time.  Many tokens, and all other formats, decode 16 rows to
 * float32 in scratch and multiply tiles of 4 rows by 6 tokens. */
#include "backend/cpu/avx512/linear_avx512.h"

enum { TILE_ROWS = 4, TILE_TOKENS = 6 };

LM_INLINE float add_lanes(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* Sixteen numbers at p of which those of the mask exist. */
LM_INLINE __m512 load16(int kind, const uint8_t *p, __mmask16 mask)
{
    if (kind == LM_Q_F32)
        return _mm512_maskz_loadu_ps(mask, p);
    __m256i h = _mm256_maskz_loadu_epi16(mask, p);
    if (kind == LM_Q_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

LM_INLINE __m512 load_all(int kind, const uint8_t *p)
{
    if (kind == LM_Q_F32)
        return _mm512_loadu_ps(p);
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    if (kind == LM_Q_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Eight rows against one token. */
LM_INLINE void rows8(int kind, const uint8_t *const p[8], uint32_t cols, const float *x, float out[8])
{
    const uint32_t size = kind == LM_Q_F32 ? 4 : 2, whole = cols & ~15u;
    __m512 acc[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
        acc[r] = _mm512_setzero_ps();
    for (uint32_t k = 0; k < whole; k += 16) {
        __m512 v = _mm512_loadu_ps(x + k);
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            lm_prefetch(p[r] + (size_t)k * size);
            acc[r] = _mm512_fmadd_ps(load_all(kind, p[r] + (size_t)k * size), v, acc[r]);
        }
    }
    if (whole < cols) {
        __m512 v = _mm512_loadu_ps(x + whole);
        __mmask16 mask = (__mmask16)((1u << (cols - whole)) - 1);
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++)
            acc[r] = _mm512_fmadd_ps(load16(kind, p[r] + (size_t)whole * size, mask), v, acc[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
        out[r] = add_lanes(acc[r]);
}

#define ROWS(name, kind)                                                                                     \
    static void name(const uint8_t *const p[8], uint32_t cols, const float *x, float out[8])                 \
    {                                                                                                        \
        rows8(kind, p, cols, x, out);                                                                        \
    }
ROWS(rows_f32, LM_Q_F32)
ROWS(rows_f16, LM_Q_F16)
ROWS(rows_bf16, LM_Q_BF16)

static bool direct(const lm_quant *q)
{
    return q->kind == LM_Q_F32 || q->kind == LM_Q_F16 || q->kind == LM_Q_BF16;
}

static void one(const lm_matrix *w, uint32_t row0, uint32_t row1, const float *x, float *y)
{
    uint32_t each = (row1 - row0 + 3) / 4; /* rows of a stream */
    for (uint32_t i = 0; i < each; i += 2) {
        const uint8_t *p[8];
        uint32_t at[8];
        float out[8];
        for (uint32_t l = 0; l < 8; l++) {
            uint32_t in = i + l / 4, row = row0 + l % 4 * each + in;
            at[l] = in < each && row < row1 ? row : row1 - 1;
            p[l] = w->plane[0] + at[l] * w->stride[0];
        }
        if (w->quant->kind == LM_Q_F32)
            rows_f32(p, w->cols, x, out);
        else if (w->quant->kind == LM_Q_F16)
            rows_f16(p, w->cols, x, out);
        else
            rows_bf16(p, w->cols, x, out);
        for (uint32_t l = 0; l < 8; l++)
            y[at[l]] = out[l]; /* a repeated row has the same sum */
    }
}

static void decode_row(const lm_matrix *w, uint32_t row, float *to)
{
    const uint8_t *planes[LM_QUANT_PLANES];
    uint32_t cols = w->cols, padded = (uint32_t)lm_round_up(cols, 16);
    lm_matrix_row(w, row, planes);
    if (!direct(w->quant)) {
        w->quant->to_f32(w->quant, planes, cols, to);
        memset(to + cols, 0, (padded - cols) * sizeof *to);
        return;
    }
    uint32_t size = w->quant->kind == LM_Q_F32 ? 4 : 2;
    for (uint32_t k = 0; k < cols; k += 16) {
        __mmask16 mask = (__mmask16)(cols - k < 16 ? (1u << (cols - k)) - 1 : 0xffff);
        _mm512_store_ps(to + k, load16((int)w->quant->kind, planes[0] + (size_t)k * size, mask));
    }
}

/* out[token][row] of TILE_ROWS decoded rows and T tokens; `padded` columns. */
LM_INLINE void multiply(int T, const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,
                        float out[TILE_TOKENS][TILE_ROWS])
{
    __m512 acc[TILE_TOKENS][TILE_ROWS];
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int r = 0; r < TILE_ROWS; r++)
            acc[t][r] = _mm512_setzero_ps();
    for (uint32_t k = 0; k < padded; k += 16) {
        __m512 v[TILE_ROWS];
#pragma GCC unroll 4
        for (size_t r = 0; r < TILE_ROWS; r++)
            v[r] = _mm512_load_ps(w + r * ldw + k);
#pragma GCC unroll 6
        for (int t = 0; t < T; t++) {
            __m512 xt = _mm512_loadu_ps(x + (size_t)t * ldx + k);
#pragma GCC unroll 4
            for (int r = 0; r < TILE_ROWS; r++)
                acc[t][r] = _mm512_fmadd_ps(v[r], xt, acc[t][r]);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int r = 0; r < TILE_ROWS; r++)
            out[t][r] = add_lanes(acc[t][r]);
}

#define TOKENS(name, T)                                                                                      \
    static void name(const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,                \
                     float out[TILE_TOKENS][TILE_ROWS])                                                      \
    {                                                                                                        \
        multiply(T, w, ldw, x, ldx, padded, out);                                                            \
    }
TOKENS(tokens1, 1)
TOKENS(tokens2, 2)
TOKENS(tokens3, 3)
TOKENS(tokens4, 4)
TOKENS(tokens5, 5)
TOKENS(tokens6, 6)

typedef void tile_kernel(const float *w, size_t ldw, const float *x, size_t ldx, uint32_t padded,
                         float out[TILE_TOKENS][TILE_ROWS]);
static tile_kernel *const TILES[TILE_TOKENS] = { tokens1, tokens2, tokens3, tokens4, tokens5, tokens6 };

static size_t row_floats(uint32_t cols) /* rows at odd multiples of a cache line */
{
    return lm_act_f32_bytes(cols) / sizeof(float);
}

static size_t f32_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return row_floats(w->cols) * LM_ROWS * sizeof(float);
}

static void f32_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    float *values = scratch;
    const float *xs = (const float *)(const void *)x;
    size_t ld = row_floats(w->cols); /* of activations and of decoded rows */
    uint32_t padded = (uint32_t)lm_round_up(w->cols, 16);
    if (n < LM_ONE_TOKENS && direct(w->quant)) {
        /* Some rows for every token in turn: they come from memory once. */
        uint32_t each = n == 1 ? row1 - row0 : 2 * LM_ROWS;
        for (uint32_t row = row0; row < row1; row += each)
            for (uint32_t t = 0; t < n; t++)
                one(w, row, LM_MIN(row1, row + each), xs + t * ld, y + t * ldy);
        return;
    }
    for (uint32_t row = row0; row < row1; row += LM_ROWS) {
        uint32_t rows = LM_MIN(row1 - row, (uint32_t)LM_ROWS);
        for (uint32_t r = 0; r < lm_round_up(rows, TILE_ROWS); r++)
            decode_row(w, row + LM_MIN(r, rows - 1), values + r * ld);
        for (uint32_t t = 0; t < n; t += TILE_TOKENS) {
            uint32_t tokens = LM_MIN(n - t, (uint32_t)TILE_TOKENS);
            for (uint32_t r = 0; r < rows; r += TILE_ROWS) {
                float out[TILE_TOKENS][TILE_ROWS];
                TILES[tokens - 1](values + r * ld, ld, xs + t * ld, ld, padded, out);
                for (uint32_t u = 0; u < tokens; u++)
                    memcpy(y + (t + u) * ldy + row + r, out[u],
                           LM_MIN(rows - r, (uint32_t)TILE_ROWS) * sizeof(float));
            }
        }
    }
}

const lm_cpu_linear lm_linear_f32_avx512 = { "panel decode, avx512", &lm_act_f32, f32_scratch, f32_run };
const lm_cpu_linear lm_linear_float_avx512 = { "in place, f32 activations, avx512", &lm_act_f32, f32_scratch,
                                               f32_run };
