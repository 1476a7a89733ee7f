/* backend/cpu/kernels_body.h - the kernels that are written once over v16 and
 * compiled by each instruction set's kernels_*.c, which defines KERNELS (the name
 * of the table), ATTEND_BF16 (its kernel for bf16 pages, or nothing), ATTEND_Q8 and
 * ATTEND_K8V4 (its kernels for pages of codes), ROWS and TILES (the register tile of attention: no bits depend on it).
 */
#include "backend/cpu/kernels.h"
#include "backend/cpu/weigh.h"

/* y[i] = EXPR of x = x[i], z = z[i], for the whole of n */
#define EACH1(EXPR)                                                                                          \
    size_t i = 0;                                                                                            \
    for (; i + LANES <= n; i += LANES) {                                                                     \
        v16 a = v_load(x + i);                                                                               \
        v_store(y + i, EXPR);                                                                                \
    }                                                                                                        \
    if (i < n) {                                                                                             \
        v16 a = v_load_n(x + i, n - i);                                                                      \
        v_store_n(y + i, EXPR, n - i);                                                                       \
    }
#define EACH2(EXPR)                                                                                          \
    size_t i = 0;                                                                                            \
    for (; i + LANES <= n; i += LANES) {                                                                     \
        v16 a = v_load(x + i), b = v_load(z + i);                                                            \
        v_store(y + i, EXPR);                                                                                \
    }                                                                                                        \
    if (i < n) {                                                                                             \
        v16 a = v_load_n(x + i, n - i), b = v_load_n(z + i, n - i);                                          \
        v_store_n(y + i, EXPR, n - i);                                                                       \
    }

static void k_add(const float *x, const float *z, float *y, size_t n)
{
    EACH2(v_add(a, b))
}

static void k_scale(const float *x, float by, float *y, size_t n)
{
    EACH1(v_mul(a, v_set1(by)))
}

static void k_softcap(const float *x, float cap, float *y, size_t n)
{
    EACH1(v_softcap(a, cap))
}

static void k_act(lm_act act, const float *x, float *y, size_t n)
{
    switch (act) {
    case LM_ACT_SILU: {
        EACH1(v_act(LM_ACT_SILU, a))
        return;
    }
    case LM_ACT_GELU: {
        EACH1(v_act(LM_ACT_GELU, a))
        return;
    }
    case LM_ACT_GELU_TANH: {
        EACH1(v_act(LM_ACT_GELU_TANH, a))
        return;
    }
    case LM_ACT_RELU: {
        EACH1(v_act(LM_ACT_RELU, a))
        return;
    }
    }
}

static void k_glu(lm_act act, const float *x, const float *z, float *y, size_t n)
{
    switch (act) {
    case LM_ACT_SILU: {
        EACH2(v_mul(v_act(LM_ACT_SILU, a), b))
        return;
    }
    case LM_ACT_GELU: {
        EACH2(v_mul(v_act(LM_ACT_GELU, a), b))
        return;
    }
    case LM_ACT_GELU_TANH: {
        EACH2(v_mul(v_act(LM_ACT_GELU_TANH, a), b))
        return;
    }
    case LM_ACT_RELU: {
        EACH2(v_mul(v_act(LM_ACT_RELU, a), b))
        return;
    }
    }
}

static void k_math(int which, const float *x, float *y, size_t n)
{
    if (which == 0) {
        EACH1(v_exp(a))
    } else if (which == 1) {
        EACH1(v_tanh(a))
    } else {
        EACH1(v_erf(a))
    }
}

/* --- norms: sums in 16 lanes over i mod 16, folded in halves ------------------ */

static float sum_of(const float *x, uint32_t n)
{
    v16 s = v_set1(0.0f);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        s = v_add(s, v_load(x + i));
    if (i < n)
        s = v_add(s, v_load_n(x + i, n - i));
    return v_sum(s);
}

/* Sum of (x - mean)^2. */
static float squares_of(const float *x, uint32_t n, float mean)
{
    v16 s = v_set1(0.0f), m = v_set1(mean);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v16 d = v_sub(v_load(x + i), m);
        s = v_fma(d, d, s);
    }
    if (i < n) {
        float t[LANES] = { 0 };
        v_store_n(t, v_sub(v_load_n(x + i, n - i), m), n - i);
        s = v_fma(v_load(t), v_load(t), s);
    }
    return v_sum(s);
}

static void norm_group(uint32_t n, const float *w, const float *b, float mean, float scale, const float *x,
                       float *y)
{
    v16 m = v_set1(mean), s = v_set1(scale);
    for (uint32_t i = 0; i < n; i += LANES) {
        size_t k = LM_MIN(n - i, (uint32_t)LANES);
        v16 a = v_mul(v_sub(k == LANES ? v_load(x + i) : v_load_n(x + i, k), m), s);
        if (w)
            a = v_mul(a, k == LANES ? v_load(w + i) : v_load_n(w + i, k));
        if (b)
            a = v_add(a, k == LANES ? v_load(b + i) : v_load_n(b + i, k));
        if (k == LANES)
            v_store(y + i, a);
        else
            v_store_n(y + i, a, k);
    }
}

static void k_norm(lm_norm_kind kind, uint32_t width, uint32_t group, const float *weight, const float *bias,
                   float eps, const float *x, float *y)
{
    for (uint32_t at = 0; at < width; at += group) {
        float mean = kind == LM_NORM_LAYER ? sum_of(x + at, group) / (float)group : 0.0f;
        float square = squares_of(x + at, group, mean);
        float scale = (float)(1.0 / sqrt((double)square / group + (double)eps));
        norm_group(group, weight, bias, mean, scale, x + at, y + at);
    }
}

static void k_rope(const lm_rope *r, const float *cs, uint32_t width, uint32_t head_dim, const float *x,
                   float *y)
{
    uint32_t half = r->n_rot / 2;
    const float *cosine = cs, *sine = cs + half;
    for (uint32_t h = 0; h < width; h += head_dim, x += head_dim, y += head_dim) {
        if (r->interleaved) {
            for (uint32_t i = 0; i < half; i++) {
                float a = x[2 * i], b = x[2 * i + 1];
                y[2 * i] = a * cosine[i] - b * sine[i];
                y[2 * i + 1] = b * cosine[i] + a * sine[i];
            }
        } else {
            for (uint32_t i = 0; i < half; i += LANES) {
                size_t k = LM_MIN(half - i, (uint32_t)LANES);
                v16 a = v_load_n(x + i, k), b = v_load_n(x + half + i, k);
                v16 c = v_load_n(cosine + i, k), s = v_load_n(sine + i, k);
                v_store_n(y + i, v_sub(v_mul(a, c), v_mul(b, s)), k);
                v_store_n(y + half + i, v_add(v_mul(b, c), v_mul(a, s)), k);
            }
        }
        for (uint32_t i = r->n_rot; i < head_dim; i++)
            y[i] = x[i];
    }
}

/* --- attention ----------------------------------------------------------------- */

static void k_merge(float *tmax, float *tsum, float *tacc, float max, float sum, const float *acc, uint32_t n)
{
    float m = *tmax > max ? *tmax : max;
    float a = first_exp(*tmax - m), b = first_exp(max - m);
    *tsum = fmaf(*tsum, a, sum * b);
    *tmax = m;
    v16 va = v_set1(a), vb = v_set1(b);
    for (uint32_t i = 0; i < n; i += LANES)
        v_store(tacc + i, v_fma(v_load(tacc + i), va, v_mul(v_load(acc + i), vb)));
}

static void k_finish(const float *x, float sum, float *y, uint32_t n)
{
    v16 s = v_set1(1.0f / sum);
    EACH1(v_mul(a, s))
}

static void weigh_f32(const lm_page_layout *l, const uint8_t *v, const float *scores, uint32_t lo,
                      uint32_t hi, float softcap, float *max, float *sum, float *c, uint8_t *out)
{
    (void)l;
    (void)v;
    v16 p[4];
    weights_of(scores, lo, hi, softcap, max, sum, c, p);
    for (int u = 0; u < 4; u++) {
        float t[LANES];
        v_store(t, p[u]);
        memcpy(out + (size_t)u * sizeof t, t, sizeof t);
    }
}

static void query_f32(const lm_page_layout *l, const float *q, float scale, uint32_t k_dim, uint8_t *out)
{
    for (uint32_t i = 0; i < l->k_pad; i++) {
        float x = i < k_dim ? q[i] * scale : 0.0f;
        memcpy(out + 4 * (size_t)i, &x, sizeof x);
    }
}

LM_INLINE float float_at(const uint8_t *p, size_t i)
{
    float f;
    memcpy(&f, p + 4 * i, sizeof f);
    return f;
}

/* Two neighbouring numbers of each of 16 lanes: dimensions d and d + 1 of keys,
 * positions i and i + 1 of values. */
LM_INLINE void pairs(lm_kv_format f, const uint8_t *p, size_t second, v16 *a, v16 *b)
{
    if (f == LM_KV_F32) {
        *a = v_load((const float *)(const void *)p);
        *b = v_load((const float *)(const void *)(p + second));
    } else if (f == LM_KV_F16) {
        v_pairs_f16(p, a, b);
    } else {
        v_pairs_bf16(p, a, b);
    }
}

LM_INLINE void fetch(const uint8_t *next, size_t at)
{
    if (next)
        LM_FETCH(next + at);
}

/* ROWS x TILES scores: one sum per (row, position), dimensions in order. */
LM_INLINE void score_tile(lm_kv_format f, const uint8_t *k, uint32_t k_pad, const uint8_t *q, size_t q_stride,
                          int rows, float *scores, const uint8_t *next)
{
    size_t elem = f == LM_KV_F32 ? 4 : 2, tile = (size_t)LM_KV_TILE * k_pad * elem;
    size_t step = 2 * LM_KV_TILE * elem;
    for (int u0 = 0; u0 < 4; u0 += TILES) {
        v16 s[ROWS][TILES];
        for (int r = 0; r < rows; r++)
            for (int u = 0; u < TILES; u++)
                s[r][u] = v_set1(0.0f);
        for (uint32_t d = 0; d < k_pad; d += 2)
            for (int u = 0; u < TILES; u++) {
                size_t at = (size_t)(u0 + u) * tile + d / 2 * step;
                v16 a, b;
                pairs(f, k + at, step / 2, &a, &b);
                fetch(next, at);
                if (f == LM_KV_F32)
                    fetch(next, at + 64);
                for (int r = 0; r < rows; r++) {
                    const uint8_t *qr = q + (size_t)r * q_stride;
                    s[r][u] = v_fma(a, v_set1(float_at(qr, d)), s[r][u]);
                    s[r][u] = v_fma(b, v_set1(float_at(qr, d + 1)), s[r][u]);
                }
            }
        for (int r = 0; r < rows; r++)
            for (int u = 0; u < TILES; u++)
                v_store(scores + r * LM_BLOCK + (u0 + u) * LANES, s[r][u]);
    }
}

LM_INLINE void score_all(lm_kv_format f, const uint8_t *k, uint32_t k_pad, const uint8_t *q, size_t q_stride,
                         uint32_t rows, float *scores, const uint8_t *next)
{
    uint32_t r = 0;
    for (; r + ROWS <= rows; r += ROWS, next = NULL)
        score_tile(f, k, k_pad, q + r * q_stride, q_stride, ROWS, scores + r * LM_BLOCK, next);
    for (; r < rows; r++, next = NULL)
        score_tile(f, k, k_pad, q + r * q_stride, q_stride, 1, scores + r * LM_BLOCK, next);
}

/* ROWS x n sixteens of dimensions: one sum per (row, dimension), positions in
 * order, begun anew in every block and then added to the older ones. */
LM_INLINE void value_tile(lm_kv_format f, const uint8_t *v, uint32_t v_pad, uint32_t at, int n,
                          const uint8_t *p, int rows, const float *c, float *acc, const uint8_t *next)
{
    size_t elem = f == LM_KV_F32 ? 4 : 2;
    v16 s[ROWS][TILES];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++)
            s[r][j] = v_set1(0.0f);
    for (uint32_t i = 0; i < LM_BLOCK; i += 2)
        for (int j = 0; j < n; j++) {
            size_t d = at + (size_t)j * LANES;
            size_t byte =
                f == LM_KV_F32 ? ((size_t)i * v_pad + d) * elem : ((size_t)i * v_pad + 2 * d) * elem;
            v16 a, b;
            pairs(f, v + byte, v_pad * elem, &a, &b);
            fetch(next, byte);
            if (f == LM_KV_F32)
                fetch(next, byte + v_pad * elem);
            for (int r = 0; r < rows; r++) {
                const uint8_t *pr = p + (size_t)r * 256;
                s[r][j] = v_fma(a, v_set1(float_at(pr, i)), s[r][j]);
                s[r][j] = v_fma(b, v_set1(float_at(pr, i + 1)), s[r][j]);
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            float *y = acc + (size_t)r * v_pad + at + (size_t)j * LANES;
            v_store(y, v_fma(v_load(y), v_set1(c[r]), s[r][j]));
        }
}

LM_INLINE void value_rows(lm_kv_format f, const uint8_t *v, uint32_t v_pad, const uint8_t *p, int rows,
                          const float *c, float *acc, const uint8_t *next)
{
    uint32_t at = 0;
    for (; at + TILES * LANES <= v_pad; at += TILES * LANES)
        value_tile(f, v, v_pad, at, TILES, p, rows, c, acc, next);
    for (; at < v_pad; at += LANES)
        value_tile(f, v, v_pad, at, 1, p, rows, c, acc, next);
}

LM_INLINE void value_all(lm_kv_format f, const uint8_t *v, uint32_t v_pad, const uint8_t *p, uint32_t rows,
                         const float *c, float *acc, const uint8_t *next)
{
    uint32_t r = 0;
    for (; r + ROWS <= rows; r += ROWS, next = NULL)
        value_rows(f, v, v_pad, p + (size_t)r * 256, ROWS, c + r, acc + (size_t)r * v_pad, next);
    for (; r < rows; r++, next = NULL)
        value_rows(f, v, v_pad, p + (size_t)r * 256, 1, c + r, acc + (size_t)r * v_pad, next);
}

#define ATTEND(name, format)                                                                                 \
    static void score_##name(const lm_page_layout *l, const uint8_t *k, const uint8_t *q, size_t q_stride,   \
                             uint32_t rows, float *scores, const uint8_t *next)                              \
    {                                                                                                        \
        score_all(format, k, l->k_pad, q, q_stride, rows, scores, next);                                     \
    }                                                                                                        \
    static void value_##name(const lm_page_layout *l, const uint8_t *v, const uint8_t *p, size_t p_stride,   \
                             uint32_t rows, const float *c, float *acc, const uint8_t *next,                 \
                             uint8_t *scratch)                                                               \
    {                                                                                                        \
        (void)p_stride; /* 256 */                                                                            \
        (void)scratch;                                                                                       \
        value_all(format, v, l->v_pad, p, rows, c, acc, next);                                               \
    }                                                                                                        \
    static const lm_attend_kernel attend_##name = {                                                          \
        #name " pages, float32 arithmetic", query_f32, score_##name, value_##name, weigh_f32, NULL, NULL     \
    };
ATTEND(f32, LM_KV_F32)
ATTEND(f16, LM_KV_F16)
#ifndef ATTEND_BF16
ATTEND(bf16, LM_KV_BF16)
#define ATTEND_BF16 attend_bf16
#endif

const lm_cpu_kernels KERNELS = {
    .norm = k_norm,
    .rope = k_rope,
    .act = k_act,
    .glu = k_glu,
    .add = k_add,
    .scale = k_scale,
    .softcap = k_softcap,
    .merge = k_merge,
    .finish = k_finish,
    .attend = { [LM_KV_F32] = &attend_f32,
                [LM_KV_F16] = &attend_f16,
                [LM_KV_BF16] = &ATTEND_BF16,
                [LM_KV_Q8] = &ATTEND_Q8,
                [LM_KV_K8V4] = &ATTEND_K8V4 },
    .math = k_math,
};
