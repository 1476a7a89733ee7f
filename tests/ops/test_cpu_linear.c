/* The CPU backend's linears: every number format on every instruction set,
 * against to_f32 in double, and bit for bit against each other. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <math.h>

#include "backend/cpu/linear.h"
#include "backend/cpu/linear_impl.h"
#include "backend/cpu/panels.h"
#include "base/hash.h"
#include "base/mem.h"

static uint64_t seed = 88172645463325252u;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}
static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
static float gauss(void)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(draw() % 20001) / 10000.0f - 1.0f;
    return sum;
}

static void *memory(size_t n)
{
    void *p;
    assert_int_equal(lm_new_aligned(&p, n ? n : 1, NULL), LM_OK);
    return p;
}

/* n bytes that end where readable memory ends. */
typedef struct {
    uint8_t *at, *map;
    size_t size;
} guarded;
static guarded guard_new(size_t n)
{
    guarded g;
    g.size = (n + 4095) / 4096 * 4096 + 4096;
    g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map + g.size - 4096, 4096, PROT_NONE), 0);
    g.at = g.map + g.size - 4096 - n;
    return g;
}

typedef struct {
    const lm_quant *q;
    lm_matrix w;
    guarded planes[LM_QUANT_PLANES];
    float *values; /* [rows][cols], from to_f32 */
    float *x;      /* [tokens][cols] */
    uint32_t tokens;
    bool random_bytes;
    lm_compute compute;
} work;

static work work_new(const lm_quant *q, uint32_t rows, uint32_t cols, uint32_t tokens, bool random_bytes)
{
    work k = { .q = q, .tokens = tokens, .random_bytes = random_bytes || !q->from_f32 };
    k.w = (lm_matrix){ .quant = q, .rows = rows, .cols = cols };
    for (int p = 0; p < q->n_planes; p++) {
        k.w.stride[p] = lm_quant_row_bytes(q, p, cols);
        k.planes[p] = guard_new(k.w.stride[p] * rows);
        k.w.plane[p] = k.planes[p].at;
        for (size_t i = 0; i < k.w.stride[p] * rows; i++)
            k.planes[p].at[i] = (uint8_t)(draw() >> 20);
    }
    k.values = memory((size_t)rows * cols * sizeof(float));
    for (uint32_t r = 0; r < rows; r++) {
        uint8_t *to[LM_QUANT_PLANES] = { 0 };
        const uint8_t *from[LM_QUANT_PLANES];
        float *v = k.values + (size_t)r * cols;
        lm_matrix_row(&k.w, r, from);
        for (int p = 0; p < q->n_planes; p++)
            to[p] = k.planes[p].at + r * k.w.stride[p];
        if (!k.random_bytes) {
            for (uint32_t i = 0; i < cols; i++)
                v[i] = 0.05f * gauss();
            q->from_f32(q, v, cols, to);
        }
        q->to_f32(q, from, cols, v);
    }
    k.x = memory((size_t)tokens * cols * sizeof(float));
    for (size_t i = 0; i < (size_t)tokens * cols; i++)
        k.x[i] = gauss() * (i / 32 % 5 == 4 ? 0 : (float)(1 + i / 32 % 3));
    return k;
}

/* A prepared copy of w's rows that ends where readable memory ends. */
typedef struct {
    lm_panels p;
    guarded data;
    uint64_t *sums;
    _Atomic uint8_t *state;
    _Atomic uint32_t bad;
    uint32_t n;
} copy;

static void copy_make(copy *c, const lm_matrix *w)
{
    void *tmp = memory(lm_panel_scratch(w->cols));
    c->n = (w->rows + LM_PANEL - 1) / LM_PANEL;
    c->p.bytes = lm_panel_bytes(w->quant, w->cols);
    assert_true(c->p.bytes > 0 && c->p.bytes % 64 == 0);
    c->data = guard_new(c->n * c->p.bytes);
    c->sums = memory(c->n * sizeof *c->sums);
    c->state = memory(c->n);
    memset((void *)c->state, 0, c->n);
    c->bad = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t *at = c->data.at + i * c->p.bytes;
        memset(at, 0xa5, c->p.bytes); /* whatever was there */
        lm_panel_make(w, i, at, tmp);
        c->sums[i] = lm_xxh64(at, c->p.bytes, 0);
    }
    c->p.data = c->data.at;
    c->p.sums = c->sums;
    c->p.state = c->state;
    c->p.bad = &c->bad;
    lm_free(tmp);
}

static void copy_free(copy *c)
{
    munmap(c->data.map, c->data.size);
    lm_free(c->sums);
    lm_free((void *)c->state);
}

static void work_free(work *k)
{
    for (int p = 0; p < k->q->n_planes; p++)
        munmap(k->planes[p].map, k->planes[p].size);
    lm_free(k->values);
    lm_free(k->x);
}

static uint8_t *activations(const work *k, const lm_act_layout *layout)
{
    size_t bytes = layout->row_bytes(k->w.cols);
    uint8_t *a = memory(bytes * k->tokens);
    assert_int_equal(bytes % 64, 0);
    for (uint32_t t = 0; t < k->tokens; t++)
        layout->quantise(k->x + (size_t)t * k->w.cols, k->w.cols, a + t * bytes);
    return a;
}

/* rows [row0, row1) and tokens [t0, t0 + n) of y [tokens][rows]. */
static void run(const lm_cpu_linear *l, const work *k, const uint8_t *a, uint32_t row0, uint32_t row1,
                uint32_t t0, uint32_t n, float *y)
{
    void *scratch = memory(l->scratch_bytes(&k->w, n));
    memset(scratch, 0xff, l->scratch_bytes(&k->w, n)); /* whatever was there */
    l->run(&k->w, row0, row1, a + t0 * l->layout->row_bytes(k->w.cols), n, y + (size_t)t0 * k->w.rows,
           k->w.rows, scratch);
    lm_free(scratch);
}

/* Equal bits, or both NaN. */
static void check_same(const work *k, const char *what, const float *a, const float *b)
{
    for (size_t i = 0; i < (size_t)k->tokens * k->w.rows; i++)
        if (memcmp(a + i, b + i, 4) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s, %s: %u x %u, %u tokens: output %zu is %.9g, should be %.9g", k->q->name, what,
                     k->w.rows, k->w.cols, k->tokens, i, (double)b[i], (double)a[i]);
}

static float activation(const lm_cpu_linear *l, const uint8_t *row, uint32_t cols, uint32_t i)
{
    if (l->layout == &lm_act_f32)
        return ((const float *)(const void *)row)[i];
    int32_t q = ((const int8_t *)row)[i];
    if (strcmp(l->layout->name, "q16-32") == 0)
        q = 128 * q + lm_act_lo(row, cols)[i];
    return (float)q * lm_act_d(row, cols)[i / 32];
}

/* Against double over the activations as quantised (1e-5 of the sum of
 * magnitudes), and as they were (half a step of each block's scale more). */
static void check_values(const work *k, const lm_cpu_linear *l, const uint8_t *a, const float *y)
{
    uint32_t cols = k->w.cols;
    for (uint32_t t = 0; t < k->tokens; t++)
        for (uint32_t r = 0; r < k->w.rows; r++) {
            const uint8_t *row = a + t * l->layout->row_bytes(cols);
            double exact = 0, given = 0, size = 0, most = 0, sum = 0, step = 0;
            for (uint32_t i = 0; i < cols; i++) {
                double w = (double)k->values[(size_t)r * cols + i], x = (double)k->x[(size_t)t * cols + i];
                double xq = (double)activation(l, row, cols, i);
                exact += w * xq;
                given += w * x;
                size += fabs(w * xq);
                most = fmax(most, fabs(w));
                sum += fabs(xq);
                if (l->layout != &lm_act_f32)
                    step += fabs(w) * (double)lm_act_d(row, cols)[i / 32] * 0.50001;
            }
            if (k->random_bytes) /* minima and codes may cancel there */
                size = most * sum;
            double got = (double)y[(size_t)t * k->w.rows + r];
            /* Infinite scales and numbers must show; to_f32 alone may overflow at
             * scales near 2^127. */
            bool large =
                k->q->kind == LM_Q_MXFP4 || k->q->kind == LM_Q_MLX_MXFP4 || k->q->kind == LM_Q_AFFINE;
            if (!isfinite(exact) && isfinite(got) && !large)
                fail_msg("%s, %s: token %u row %u is %g, should be %g", k->q->name, l->name, t, r, got,
                         exact);
            if (!isfinite(exact) || !(size < 1e30))
                continue;
            if (!(fabs(got - exact) <= 1e-5 * size + 1e-30) ||
                !(fabs(got - given) <= step + 2e-5 * size + 1e-30))
                fail_msg("%s, %s: %u x %u: token %u row %u is %.9g, should be %.9g (%.9g), size %g step %g",
                         k->q->name, l->name, k->w.rows, cols, t, r, got, exact, given, size, step);
        }
}

static void check_work(const work *k)
{
    uint32_t rows = k->w.rows, n = k->tokens;
    size_t bytes = (size_t)rows * n * sizeof(float);
    float *want = memory(bytes), *y = memory(bytes);
    for (lm_isa isa = LM_ISA_PORTABLE; isa < LM_ISA_COUNT; isa++) {
        if (!lm_isa_has(isa))
            continue;
        const lm_cpu_linear *l = lm_cpu_linear_find(isa, k->compute, k->q, k->w.cols);
        assert_non_null(l);
        uint8_t *a = activations(k, l->layout);
        memset(y, 0xff, bytes);
        run(l, k, a, 0, rows, 0, n, y);
        if (isa == LM_ISA_PORTABLE) {
            memcpy(want, y, bytes);
            check_values(k, l, a, y);
        }
        check_same(k, l->name, want, y);
        memset(y, 0xff, bytes);
        for (uint32_t t = 0; t < n; t++)
            run(l, k, a, 0, rows, t, 1, y);
        check_same(k, "token by token", want, y);
        memset(y, 0xff, bytes);
        for (uint32_t t = 0, m; t < n; t += m) {
            m = least(n - t, 1 + (uint32_t)(draw() % 14));
            for (uint32_t r = 0, h; r < rows; r += h) {
                h = least(rows - r, LM_PANEL * (1 + (uint32_t)(draw() % 2)));
                float *part = memory(bytes);
                memset(part, 0xee, bytes);
                run(l, k, a, r, r + h, t, m, part);
                for (uint32_t i = 0; i < n * rows; i++) {
                    bool mine = i / rows >= t && i / rows < t + m && i % rows >= r && i % rows < r + h;
                    if (mine)
                        y[i] = part[i];
                    else
                        assert_int_equal(((uint32_t *)(void *)part)[i], 0xeeeeeeeeu);
                }
                lm_free(part);
            }
        }
        check_same(k, "in pieces", want, y);
        lm_free(a);
    }
    lm_free(want);
    lm_free(y);
}

static void every_format_agrees_with_to_f32_and_gives_the_same_bits_everywhere(void **state)
{
    static const struct {
        uint32_t rows, cols, tokens;
    } shapes[] = {
        { 1, 1, 1 },     { 17, 32, 2 },   { 33, 96, 5 },    { 16, 160, 13 },
        { 50, 576, 7 },  { 15, 640, 17 }, { 37, 2048, 12 }, { 18, 1056, 40 },
        { 19, 4384, 9 }, { 290, 64, 6 },  { 20, 96, 101 },
    };
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++)
        for (size_t s = 0; s < LM_LEN(shapes); s++) {
            uint32_t unit = q->block_elems, cols = (shapes[s].cols + unit - 1) / unit * unit;
            if (unit == 1)
                cols += s % 4;
            work k = work_new(q, shapes[s].rows, cols, shapes[s].tokens, s % 2 == 1);
            check_work(&k);
            k.compute = LM_COMPUTE_PRECISE;
            if (lm_lin_class_of(q).blocks) /* the others have one arithmetic */
                check_work(&k);
            work_free(&k);
        }
}

/* y of all tokens, and of each by itself, with k->w.panels as it is. */
static void check_against(const work *k, const lm_cpu_linear *l, const uint8_t *a, const float *want,
                          const char *what)
{
    size_t bytes = (size_t)k->w.rows * k->tokens * sizeof(float);
    float *y = memory(bytes);
    memset(y, 0xff, bytes);
    run(l, k, a, 0, k->w.rows, 0, k->tokens, y);
    check_same(k, what, want, y);
    memset(y, 0xff, bytes);
    for (uint32_t t = 0; t < k->tokens; t++)
        for (uint32_t r = 0; r < k->w.rows; r += 2 * LM_PANEL)
            run(l, k, a, r, least(k->w.rows, r + 2 * LM_PANEL), t, 1, y);
    check_same(k, what, want, y);
    lm_free(y);
}

static void a_prepared_copy_gives_the_bits_of_the_file_also_where_it_is_damaged(void **state)
{
    static const struct {
        uint32_t rows, cols, tokens;
    } shapes[] = { { 1, 32, 1 },     { 17, 96, 2 },   { 50, 576, 7 },   { 37, 2048, 12 },
                   { 18, 1056, 40 }, { 19, 4384, 9 }, { 130, 256, 101 } };
    const lm_quant *q;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++)
        for (size_t s = 0; s < LM_LEN(shapes); s++) {
            uint32_t unit = q->block_elems, cols = (shapes[s].cols + unit - 1) / unit * unit;
            assert_true(lm_panels_exist(q, cols) == (lm_lin_class_of(q).blocks > 0));
            if (!lm_panels_exist(q, cols))
                continue;
            work k = work_new(q, shapes[s].rows, cols, shapes[s].tokens, s % 2 == 1);
            copy c;
            copy_make(&c, &k.w);
            size_t bytes = (size_t)k.w.rows * k.tokens * sizeof(float);
            float *want = memory(bytes);
            for (int n = 0; n < LM_ISA_COUNT * 2; n++) {
                k.compute = n % 2 ? LM_COMPUTE_PRECISE : LM_COMPUTE_FAST;
                if (!lm_isa_has((lm_isa)(n / 2)))
                    continue;
                const lm_cpu_linear *l = lm_cpu_linear_find((lm_isa)(n / 2), k.compute, q, cols);
                uint8_t *a = activations(&k, l->layout);
                k.w.panels = NULL;
                run(l, &k, a, 0, k.w.rows, 0, k.tokens, want);
                k.w.panels = &c.p;
                memset((void *)c.state, 0, c.n);
                check_against(&k, l, a, want, "prepared");
                assert_int_equal(c.bad, 0);
                for (uint32_t d = 0; d < c.n; d += 2) { /* one panel at a time */
                    uint8_t *at = c.data.at + d * c.p.bytes + draw() % c.p.bytes;
                    *at ^= (uint8_t)(1u << draw() % 8);
                    memset((void *)c.state, 0, c.n);
                    check_against(&k, l, a, want, "prepared and damaged");
                    assert_int_equal(c.bad, lm_isa_reads_panels((lm_isa)(n / 2)) ? 1 : 0);
                    c.bad = 0;
                    void *tmp = memory(lm_panel_scratch(cols));
                    lm_panel_make(&k.w, d, c.data.at + d * c.p.bytes, tmp);
                    lm_free(tmp);
                }
                lm_free(a);
            }
            lm_free(want);
            copy_free(&c);
            work_free(&k);
        }
}

static void activations_round_to_nearest_even_and_carry_their_sums(void **state)
{
    const lm_cpu_linear *l = lm_cpu_linear_find(LM_ISA_PORTABLE, LM_COMPUTE_FAST, lm_quant_of(LM_Q_Q8_0), 64);
    float x[64] = { 0 };
    uint8_t *row = memory(l->layout->row_bytes(64));
    (void)state;
    x[0] = 127;
    x[1] = 0.5f;
    x[2] = 1.5f;
    x[3] = -2.5f;
    x[20] = -7;
    for (int i = 32; i < 64; i++)
        x[i] = 1e-38f; /* too small to scale: zero */
    l->layout->quantise(x, 64, row);
    const int8_t *codes = (const int8_t *)row;
    assert_int_equal(codes[0], 127);
    assert_int_equal(codes[1], 0);
    assert_int_equal(codes[2], 2);
    assert_int_equal(codes[3], -2);
    assert_true(lm_act_d(row, 64)[0] == 1.0f && lm_act_d(row, 64)[1] == 0.0f);
    assert_int_equal(lm_act_sum(row, 64)[0], 127);
    assert_int_equal(lm_act_sum(row, 64)[1], -7);
    assert_true(lm_act_xs(row, 64)[0] == 120.0f && lm_act_xs(row, 64)[1] == 0.0f);
    x[5] = NAN;
    l->layout->quantise(x, 64, row);
    assert_true(isnan(lm_act_d(row, 64)[0]) && codes[0] == 0);
    lm_free(row);
}

/* Codes +-127 and -64 to 63, q the nearest whole number: the largest magnitude is
 * 16256 steps. */
static void precise_activations_are_two_planes_of_fifteen_bits(void **state)
{
    const lm_cpu_linear *l =
        lm_cpu_linear_find(LM_ISA_PORTABLE, LM_COMPUTE_PRECISE, lm_quant_of(LM_Q_Q8_0), 64);
    static const float of[] = { 16256, -16256, 64, -64, -65, 63, 0.5f, 1.5f, 16191, -16255, 8000.25f };
    static const int8_t hi[] = { 127, -127, 1, 0, -1, 0, 0, 0, 126, -127, 63 };
    static const int8_t lo[] = { 0, 0, -64, -64, 63, 63, 0, 2, 63, 1, -64 };
    float x[64] = { 0 };
    uint8_t *row = memory(l->layout->row_bytes(64));
    int sum_hi = 0, sum_lo = 0;
    (void)state;
    memcpy(x, of, sizeof of);
    x[63] = 1e-38f;
    l->layout->quantise(x, 64, row);
    for (size_t i = 0; i < LM_LEN(of); i++) {
        assert_int_equal(((const int8_t *)row)[i], hi[i]);
        assert_int_equal(lm_act_lo(row, 64)[i], lo[i]);
        sum_hi += hi[i];
        sum_lo += lo[i];
    }
    assert_true(lm_act_d(row, 64)[0] == 1.0f && lm_act_d(row, 64)[1] == 0.0f);
    assert_int_equal(lm_act_sum(row, 64)[0], sum_hi);
    assert_int_equal(lm_act_sum_lo(row, 64)[0], sum_lo);
    assert_true(lm_act_xs(row, 64)[0] == (float)(128 * sum_hi + sum_lo));
    x[40] = INFINITY;
    l->layout->quantise(x, 64, row);
    assert_true(isinf(lm_act_d(row, 64)[1]) && ((const int8_t *)row)[40] == 0 && lm_act_lo(row, 64)[40] == 0);
    lm_free(row);
}

/* The largest integer sums there are: q6_K with every code, scale and activation
 * at its extreme stays exact in 32 bits. */
static void the_largest_sums_of_q6_k_do_not_overflow(void **state)
{
    (void)state;
    for (lm_isa isa = LM_ISA_PORTABLE; isa < LM_ISA_COUNT; isa++)
        for (int sign = -1; sign <= 1; sign += 2) {
            if (!lm_isa_has(isa))
                continue;
            work k = work_new(lm_quant_of(LM_Q_Q6_K), 16, 256, 6, true);
            uint8_t *p = k.planes[0].at;
            for (size_t r = 0; r < 16; r++, p += 210) { /* codes 0, less 32; scales -128; d = 1 */
                memset(p, 0, 192);
                memset(p + 192, 0x80, 16);
                p[208] = 0;
                p[209] = 0x3c;
            }
            for (size_t i = 0; i < 6 * 256; i++)
                k.x[i] = (float)sign * 16256;
            const lm_cpu_linear *l = lm_cpu_linear_find(isa, LM_COMPUTE_PRECISE, k.q, 256);
            uint8_t *a = activations(&k, l->layout);
            float y[96];
            run(l, &k, a, 0, 16, 0, 6, y);
            for (int i = 0; i < 96; i++)
                assert_true(y[i] == (float)sign * 8 * 2130706432.0f);
            run(l, &k, a, 0, 16, 5, 1, y);
            assert_true(y[80] == (float)sign * 8 * 2130706432.0f);
            lm_free(a);
            work_free(&k);
        }
}

static double error_of(work *k, lm_compute compute)
{
    const lm_cpu_linear *l = lm_cpu_linear_find(lm_isa_best(), compute, k->q, k->w.cols);
    uint8_t *a = activations(k, l->layout);
    float *y = memory((size_t)k->tokens * k->w.rows * sizeof *y);
    double sum = 0;
    run(l, k, a, 0, k->w.rows, 0, k->tokens, y);
    for (uint32_t t = 0; t < k->tokens; t++)
        for (uint32_t r = 0; r < k->w.rows; r++) {
            double exact = 0;
            for (uint32_t i = 0; i < k->w.cols; i++)
                exact +=
                    (double)k->values[(size_t)r * k->w.cols + i] * (double)k->x[(size_t)t * k->w.cols + i];
            sum += pow((double)y[(size_t)t * k->w.rows + r] - exact, 2);
        }
    lm_free(a);
    lm_free(y);
    return sum;
}

/* 128 steps where there was one: squared errors fall to 6e-5. */
static void precise_has_a_ten_thousandth_of_the_squared_error(void **state)
{
    const lm_quant *q;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        if (!q->from_f32 || !lm_lin_class_of(q).blocks)
            continue;
        work k = work_new(q, 64, 1024, 8, false);
        double fast = error_of(&k, LM_COMPUTE_FAST), precise = error_of(&k, LM_COMPUTE_PRECISE);
        if (!(precise < 1e-4 * fast))
            fail_msg("%s: squared error %g against %g", q->name, precise, fast);
        work_free(&k);
        n++;
    }
    assert_true(n >= 4);
}

static void every_instruction_set_quantises_to_the_same_bytes(void **state)
{
    static const uint32_t widths[] = { 32, 96, 128, 576, 2048, 2336 };
    (void)state;
    for (size_t i = 0; i < 2 * LM_LEN(widths); i++) {
        uint32_t cols = widths[i / 2];
        lm_compute compute = i % 2 ? LM_COMPUTE_PRECISE : LM_COMPUTE_FAST;
        const lm_quant *q = lm_quant_of(LM_Q_Q8_0);
        const lm_act_layout *portable = lm_cpu_linear_find(LM_ISA_PORTABLE, compute, q, cols)->layout;
        size_t bytes = portable->row_bytes(cols);
        float *x = memory(cols * sizeof(float));
        uint8_t *want = memory(bytes), *got = memory(bytes);
        for (uint32_t k = 0; k < cols; k++) {
            uint32_t u = (uint32_t)draw(); /* any float, or an ordinary one with many ties */
            x[k] = k / 32 % 3 == 0 ? (float)(int32_t)(u % 509) - 254 : gauss();
            if (k / 32 % 7 == 6)
                memcpy(x + k, &u, 4);
        }
        portable->quantise(x, cols, want);
        for (lm_isa isa = LM_ISA_PORTABLE; isa < LM_ISA_COUNT; isa++) {
            if (!lm_isa_has(isa))
                continue;
            memset(got, 0xee, bytes);
            lm_cpu_linear_find(isa, compute, q, cols)->layout->quantise(x, cols, got);
            for (size_t b = 0; b < bytes; b++)
                if (got[b] != want[b])
                    fail_msg("isa %d, %u columns: byte %zu is %u, should be %u", (int)isa, cols, b, got[b],
                             want[b]);
        }
        lm_free(x);
        lm_free(want);
        lm_free(got);
    }
}

static void a_nan_among_the_activations_reaches_the_outputs(void **state)
{
    (void)state;
    for (lm_isa isa = LM_ISA_PORTABLE; isa < LM_ISA_COUNT; isa++) {
        work k = work_new(lm_quant_of(LM_Q_Q4_1), 20, 128, 3, false);
        if (!lm_isa_has(isa))
            continue;
        k.x[128 + 77] = NAN;
        const lm_cpu_linear *l = lm_cpu_linear_find(isa, LM_COMPUTE_FAST, k.q, 128);
        uint8_t *a = activations(&k, l->layout);
        float y[60];
        run(l, &k, a, 0, 20, 0, 3, y);
        for (int i = 0; i < 60; i++)
            assert_int_equal(isnan(y[i]) != 0, i / 20 == 1);
        lm_free(a);
        work_free(&k);
    }
}

static void fma_without_the_instruction_rounds_once(void **state)
{
    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint32_t u[3];
        float f[3];
        for (int j = 0; j < 3; j++) {
            u[j] = (uint32_t)draw();
            if (i % 2) /* near each other: cancellation and halfway cases */
                u[j] = (u[j] & 0x80000fffu) | 0x3f800000u | (uint32_t)(draw() % 8) << 20;
        }
        memcpy(f, u, sizeof f);
        float got = lm_lin_fma(f[0], f[1], f[2]), want = fmaf(f[0], f[1], f[2]);
        if (memcmp(&got, &want, 4) != 0 && !(isnan(got) && isnan(want)))
            fail_msg("fma(%a, %a, %a) is %a, should be %a", (double)f[0], (double)f[1], (double)f[2],
                     (double)got, (double)want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_round_to_nearest_even_and_carry_their_sums),
        cmocka_unit_test(precise_activations_are_two_planes_of_fifteen_bits),
        cmocka_unit_test(the_largest_sums_of_q6_k_do_not_overflow),
        cmocka_unit_test(precise_has_a_ten_thousandth_of_the_squared_error),
        cmocka_unit_test(every_instruction_set_quantises_to_the_same_bytes),
        cmocka_unit_test(a_nan_among_the_activations_reaches_the_outputs),
        cmocka_unit_test(fma_without_the_instruction_rounds_once),
        cmocka_unit_test(every_format_agrees_with_to_f32_and_gives_the_same_bits_everywhere),
        cmocka_unit_test(a_prepared_copy_gives_the_bits_of_the_file_also_where_it_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
