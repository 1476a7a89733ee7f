/* The CPU backend against the reference, and against itself (N1): small random
 * programs with float32 weights, odd shapes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "backend/backend.h"
#include "backend/cpu/plan.h"
#include "base/fail.h"
#include "base/mem.h"

enum { MAX_FLOATS = 1 << 22, MAX_TOKENS = 640, GROUPS = 4 };

/* --- small random models --------------------------------------------------------- */

typedef struct {
    uint32_t width, layers, heads, kv, dim, v_dim, ff, vocab, rot;
    uint32_t window; /* of every other layer */
    bool interleaved, layer_norm, bias, post_norm, parallel, plain_mlp, sinks;
    int qk_norm; /* 0 none, 1 each head, 2 whole width */
    float softcap, final_cap, residual;
    lm_act act;
} shape;

typedef struct {
    float *floats;
    size_t used;
    uint64_t seed;
    lm_program *p;
} model;

static float draw(uint64_t *s)
{
    *s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)((double)(*s >> 33) / 4294967296.0 * 4 - 1.0);
}

static float *vector(model *m, size_t n, float middle, float spread)
{
    float *x = m->floats + m->used;
    m->used += n;
    assert_true(m->used <= MAX_FLOATS);
    for (size_t i = 0; i < n; i++)
        x[i] = middle + spread * draw(&m->seed);
    return x;
}

static lm_matrix matrix(model *m, uint32_t rows, uint32_t cols)
{
    float *x = vector(m, (size_t)rows * cols, 0, 1.5f / sqrtf((float)cols));
    return (lm_matrix){ .quant = lm_quant_of(LM_Q_F32),
                        .plane = { (const uint8_t *)x },
                        .stride = { (uint64_t)cols * 4 },
                        .rows = rows,
                        .cols = cols };
}

static lm_val linear(model *m, lm_builder *b, const shape *s, lm_val x, uint32_t in, uint32_t out)
{
    lm_matrix w = matrix(m, out, in);
    return lm_build_linear(b, x, &w, "w", s->bias ? vector(m, out, 0, 0.1f) : NULL);
}

static lm_val norm(model *m, lm_builder *b, const shape *s, lm_val x, uint32_t group)
{
    return lm_build_norm(b, x, s->layer_norm ? LM_NORM_LAYER : LM_NORM_RMS, group, vector(m, group, 1, 0.2f),
                         s->layer_norm ? vector(m, group, 0, 0.1f) : NULL, 1e-5f);
}

static lm_val attention(model *m, lm_builder *b, const shape *s, lm_val x, uint32_t layer, uint32_t table)
{
    lm_val q = linear(m, b, s, x, s->width, s->heads * s->dim);
    lm_val k = linear(m, b, s, x, s->width, s->kv * s->dim);
    lm_val v = linear(m, b, s, x, s->width, s->kv * s->v_dim);
    if (s->qk_norm) {
        q = norm(m, b, s, q, s->qk_norm == 1 ? s->dim : s->heads * s->dim);
        k = norm(m, b, s, k, s->qk_norm == 1 ? s->dim : s->kv * s->dim);
    }
    if (s->rot) {
        q = lm_build_rope(b, q, s->dim, table);
        k = lm_build_rope(b, k, s->dim, table);
    }
    lm_attend_spec a = { .n_heads = s->heads,
                         .n_kv_heads = s->kv,
                         .k_dim = s->dim,
                         .v_dim = s->v_dim,
                         .window = layer % 2 ? s->window : 0,
                         .scale = 1.0f / sqrtf((float)s->dim),
                         .softcap = s->softcap,
                         .sinks = s->sinks ? vector(m, s->heads, 0, 1) : NULL };
    x = lm_build_attend(b, q, k, v, &a);
    return linear(m, b, s, x, s->heads * s->v_dim, s->width);
}

static lm_val mlp(model *m, lm_builder *b, const shape *s, lm_val x)
{
    lm_val up = linear(m, b, s, x, s->width, s->ff);
    if (s->plain_mlp)
        up = lm_build_act(b, up, s->act);
    else
        up = lm_build_glu(b, linear(m, b, s, x, s->width, s->ff), up, s->act);
    return linear(m, b, s, up, s->ff, s->width);
}

static model build(const shape *s, uint64_t seed)
{
    model m = { .seed = seed * 2 + 1 };
    lm_builder b;
    lm_error err = { 0 };
    m.floats = malloc(MAX_FLOATS * sizeof(float));
    assert_non_null(m.floats);
    assert_int_equal(lm_builder_init(&b, &err), LM_OK);
    float freq[128];
    for (uint32_t i = 0; i < s->rot / 2; i++)
        freq[i] = powf(10000.0f, -2.0f * (float)i / (float)s->rot);
    uint32_t table = s->rot ? lm_build_rope_table(&b, s->rot, s->interleaved, 1.1f, freq) : 0;
    lm_matrix e = matrix(&m, s->vocab, s->width);
    lm_val x = lm_build_embed(&b, &e, "e", 2.5f);
    for (uint32_t l = 0; l < s->layers; l++) {
        b.layer = l;
        lm_val h = s->post_norm ? x : norm(&m, &b, s, x, s->width);
        lm_val y = attention(&m, &b, s, h, l, table);
        if (s->post_norm)
            y = norm(&m, &b, s, y, s->width);
        if (s->residual > 0)
            y = lm_build_scale(&b, y, s->residual);
        if (s->parallel) {
            x = lm_build_add(&b, x, lm_build_add(&b, y, mlp(&m, &b, s, h)));
            continue;
        }
        x = lm_build_add(&b, x, y);
        y = mlp(&m, &b, s, s->post_norm ? x : norm(&m, &b, s, x, s->width));
        if (s->post_norm)
            y = norm(&m, &b, s, y, s->width);
        x = lm_build_add(&b, x, y);
    }
    x = lm_build_rows(&b, norm(&m, &b, s, x, s->width));
    x = linear(&m, &b, s, x, s->width, s->vocab);
    if (s->final_cap > 0)
        x = lm_build_softcap(&b, x, s->final_cap);
    lm_status status = lm_builder_finish(&b, x, &m.p);
    if (status != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

static void drop(model *m)
{
    lm_program_free(m->p);
    free(m->floats);
}

/* --- runs --------------------------------------------------------------------------- */

typedef struct {
    uint8_t *bytes;
    uint8_t **pages[GROUPS];
    lm_page_table tables[GROUPS];
    size_t page_bytes[GROUPS];
    uint32_t pos;
} session;

/* Pages begin with stale finite numbers (3.0 in f32 and bf16). */
static session open_session(const lm_program *p, lm_kv_format kv, uint32_t positions)
{
    session s = { 0 };
    uint32_t n = positions / LM_PAGE_TOKENS + 1;
    size_t total = 0;
    assert_true(p->n_groups <= GROUPS);
    for (uint32_t g = 0; g < p->n_groups; g++) {
        s.page_bytes[g] = lm_page_layout_of(&p->groups[g], kv).page_bytes;
        total += s.page_bytes[g] * n;
    }
    assert_int_equal(posix_memalign((void **)&s.bytes, 64, total + 64), 0);
    memset(s.bytes, 0x40, total);
    uint8_t *at = s.bytes;
    for (uint32_t g = 0; g < p->n_groups; g++) {
        s.pages[g] = malloc(n * sizeof(uint8_t *));
        for (uint32_t i = 0; i < n; i++, at += s.page_bytes[g])
            s.pages[g][i] = at;
        s.tables[g] = (lm_page_table){ s.pages[g], n };
    }
    return s;
}

static void close_session(session *s)
{
    for (int g = 0; g < GROUPS; g++)
        free(s->pages[g]);
    free(s->bytes);
}

/* Pages behind every window are taken away: whoever reads them crashes. */
static void unmount(const lm_program *p, session *s)
{
    for (uint32_t g = 0; g < p->n_groups; g++)
        for (uint32_t i = 0;
             p->groups[g].window && s->pos + 1 > p->groups[g].window + (i + 1) * LM_PAGE_TOKENS; i++)
            s->pages[g][i] = NULL;
}

typedef struct {
    const lm_backend *be;
    const char *isa;
    uint32_t threads;
    lm_kv_format kv;
    uint32_t chunk;
    bool mixed; /* other sessions share every step */
} how;

static int32_t token_of(uint32_t i, uint32_t vocab)
{
    return (int32_t)((i * 7919u + i / 3 * 31u) % vocab);
}

/* Logits of `n` positions of one session, [n, vocab]; long: one run from device to
 * logits. */
static float *run(const lm_program *p, const how *h, uint32_t n)
{
    lm_error err = { 0 };
    lm_device *d = NULL;
    lm_plan *pl = NULL;
    lm_device_options dopt = { .n_threads = h->threads, .isa = h->isa };
    uint32_t extra = h->mixed ? 5 : 0;
    lm_plan_options o = { .max_tokens = h->chunk + extra,
                          .max_rows = h->chunk + extra,
                          .max_segments = 8,
                          .max_context = 2048,
                          .kv = h->kv };
    assert_int_equal(h->be->open(&d, &dopt, &err), LM_OK);
    if (h->be->compile(d, p, &o, &pl, &err) != LM_OK)
        fail_msg("%s", err.text);
    session s = open_session(p, h->kv, n), other[2];
    other[0] = open_session(p, h->kv, 3 * MAX_TOKENS);
    other[1] = open_session(p, h->kv, 3 * MAX_TOKENS);
    float *all = malloc((size_t)n * p->n_vocab * sizeof *all);
    float *logits = malloc((size_t)(h->chunk + extra) * p->n_vocab * sizeof *logits);
    int32_t ids[MAX_TOKENS + 8];
    uint32_t rows[MAX_TOKENS + 8];
    while (s.pos < n) {
        uint32_t count = h->chunk < n - s.pos ? h->chunk : n - s.pos, before = h->mixed ? 2 : 0;
        lm_segment seg[4] = { 0 };
        unmount(p, &s);
        seg[0] = (lm_segment){ .first = 0, .count = before, .pos = other[0].pos, .tables = other[0].tables };
        seg[1] = (lm_segment){ .first = before, .count = count, .pos = s.pos, .tables = s.tables };
        seg[2] = (lm_segment){ .first = before + count, .count = 0, .pos = 3, .tables = other[0].tables };
        seg[3] = (lm_segment){
            .first = before + count, .count = extra - before, .pos = other[1].pos, .tables = other[1].tables
        };
        for (uint32_t i = 0; i < count + extra; i++)
            ids[i] = token_of(i * 5 + 1, p->n_vocab);
        for (uint32_t i = 0; i < count; i++) {
            ids[before + i] = token_of(s.pos + i, p->n_vocab);
            rows[i] = before + i;
        }
        lm_step step = { .n_tokens = count + extra,
                         .ids = ids,
                         .segments = seg,
                         .n_segments = 4,
                         .rows = rows,
                         .n_rows = count,
                         .logits = logits };
        if (h->be->run(pl, &step, &err) != LM_OK)
            fail_msg("%s", err.text);
        memcpy(all + (size_t)s.pos * p->n_vocab, logits, (size_t)count * p->n_vocab * sizeof *all);
        s.pos += count;
        other[0].pos += before;
        other[1].pos += extra - before;
    }
    free(logits);
    close_session(&s);
    close_session(&other[0]);
    close_session(&other[1]);
    h->be->plan_free(pl);
    h->be->close(d);
    return all;
}

/* Largest difference over the spread (standard deviation) of the first. */
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0, square = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i];
        square += (double)a[i] * (double)a[i];
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most))
            most = d;
    }
    return most / sqrt(square / (double)n - sum / (double)n * (sum / (double)n));
}

static const shape shapes[] = {
    { .width = 24,
      .layers = 2,
      .heads = 3,
      .kv = 1,
      .dim = 24,
      .v_dim = 24,
      .ff = 40,
      .vocab = 37,
      .rot = 16,
      .window = 70,
      .qk_norm = 1,
      .act = LM_ACT_SILU },
    { .width = 48,
      .layers = 2,
      .heads = 5,
      .kv = 5,
      .dim = 16,
      .v_dim = 16,
      .ff = 33,
      .vocab = 50,
      .rot = 16,
      .interleaved = true,
      .bias = true,
      .plain_mlp = true,
      .layer_norm = true,
      .parallel = true,
      .act = LM_ACT_GELU },
    { .width = 80,
      .layers = 3,
      .heads = 4,
      .kv = 2,
      .dim = 80,
      .v_dim = 80,
      .ff = 96,
      .vocab = 64,
      .rot = 32,
      .window = 100,
      .softcap = 5,
      .final_cap = 3,
      .post_norm = true,
      .act = LM_ACT_GELU_TANH },
    { .width = 64,
      .layers = 2,
      .heads = 8,
      .kv = 1,
      .dim = 64,
      .v_dim = 64,
      .ff = 64,
      .vocab = 99,
      .rot = 64,
      .sinks = true,
      .window = 33,
      .residual = 0.7f,
      .act = LM_ACT_SILU },
    { .width = 64,
      .layers = 2,
      .heads = 6,
      .kv = 2,
      .dim = 128,
      .v_dim = 128,
      .ff = 130,
      .vocab = 64,
      .rot = 128,
      .qk_norm = 2,
      .act = LM_ACT_RELU },
    { .width = 32,
      .layers = 2,
      .heads = 4,
      .kv = 1,
      .dim = 256,
      .v_dim = 256,
      .ff = 48,
      .vocab = 48,
      .rot = 256,
      .window = 300,
      .qk_norm = 1,
      .act = LM_ACT_GELU_TANH },
    { .width = 32,
      .layers = 2,
      .heads = 7,
      .kv = 7,
      .dim = 20,
      .v_dim = 12,
      .ff = 48,
      .vocab = 48,
      .rot = 0,
      .sinks = true,
      .softcap = 2,
      .act = LM_ACT_SILU },
    { .width = 96, /* heads that threads own, and one that two threads make */
      .layers = 2,
      .heads = 6,
      .kv = 3,
      .dim = 32,
      .v_dim = 32,
      .ff = 100,
      .vocab = 70,
      .rot = 32,
      .bias = true,
      .qk_norm = 1,
      .window = 290,
      .act = LM_ACT_SILU },
};
enum { N_SHAPES = (int)LM_LEN(shapes) };

static const char *const isas[] = { "portable", "avx2",         "avx-vnni", "avx512",
                                    "neon",     "neon-dotprod", "neon-i8mm" };

static bool has(const char *isa)
{
    for (int i = 0; i < LM_ISA_COUNT; i++)
        if (strcmp(isa, lm_isa_name((lm_isa)i)) == 0)
            return lm_isa_has((lm_isa)i);
    return false;
}

static void numerics_of(const char *isa, const char *compute, lm_kv_format kv, char id[64])
{
    lm_device_options o = { .isa = isa, .compute = compute, .n_threads = 1 };
    lm_device *d = NULL;
    lm_device_info info;
    assert_int_equal(lm_backend_cpu.open(&d, &o, NULL), LM_OK);
    lm_backend_cpu.info(d, kv, &info);
    memcpy(id, info.numerics, sizeof info.numerics);
    lm_backend_cpu.close(d);
}

/* Bounds, as shares of the logits' spread.  float32 pages: rounding (4e-6 seen).
 * 16-bit pages: nearly equal numbers round to different neighbours now and then
 * (1.5e-4 seen with f16, 1.6e-3 with bf16).  bf16 dot products round the query and
 * the weights of the softmax as well (1.2e-2 seen).  Codes: a step is 1/127 of the
 * largest, or about an eighth with 4 bits, and a neighbour taken costs one. */
static double bound_of(lm_kv_format kv, const char *isa)
{
    if (kv == LM_KV_Q8 || kv == LM_KV_K8V4)
        return kv == LM_KV_Q8 ? 1e-2 : 1e-1; /* 3.7e-3 and 3.1e-2 seen */
    return kv == LM_KV_F32 ? 1e-5 : kv == LM_KV_F16 ? 1e-3 : strcmp(isa, "avx512") == 0 ? 3e-2 : 8e-3;
}

static void every_shape_agrees_with_the_reference(void **state)
{
    bool apart = false, differ = false;
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (int kv = 0; kv < LM_KV_COUNT; kv++) {
            model m = build(&shapes[i], (uint64_t)i);
            uint32_t n = 290;
            how ref = { .be = &lm_backend_ref, .kv = (lm_kv_format)kv, .chunk = 64 };
            float *want = run(m.p, &ref, n), *first = NULL;
            for (size_t k = 0; k < LM_LEN(isas); k++) {
                if (!has(isas[k]))
                    continue;
                how cpu = {
                    .be = &lm_backend_cpu, .isa = isas[k], .threads = 2, .kv = (lm_kv_format)kv, .chunk = 64
                };
                float *got = run(m.p, &cpu, n);
                double d = distance(want, got, (size_t)n * m.p->n_vocab);
                if (!(d <= bound_of(cpu.kv, isas[k])))
                    fail_msg("shape %d, %s, %s pages: %.3g of the spread", i, isas[k], lm_kv_name(cpu.kv), d);
                if (getenv("LM_TEST_VERBOSE"))
                    printf("shape %d, %s, %s pages: %.3g\n", i, isas[k], lm_kv_name(cpu.kv), d);
                char id[64], portable[64];
                numerics_of(isas[k], NULL, cpu.kv, id);
                numerics_of(isas[0], NULL, cpu.kv, portable);
                bool equal = !first || memcmp(first, got, (size_t)n * m.p->n_vocab * sizeof *got) == 0;
                if (!equal && strcmp(id, portable) == 0)
                    fail_msg("shape %d, %s pages: %s and %s differ and share the id %s", i,
                             lm_kv_name(cpu.kv), isas[0], isas[k], id);
                apart |= !equal;
                differ |= strcmp(id, portable) != 0;
                if (first)
                    free(got);
                else
                    first = got;
            }
            free(first);
            free(want);
            drop(&m);
        }
    assert_int_equal(apart, differ); /* nor has an id that differs the same bits */
}

static void arithmetics_have_ids_of_their_own(void **state)
{
    (void)state;
    for (int kv = 0; kv < LM_KV_COUNT; kv++) {
        char fast[64], precise[64], best[64];
        numerics_of("portable", "fast", (lm_kv_format)kv, fast);
        numerics_of("portable", "precise", (lm_kv_format)kv, precise);
        numerics_of(NULL, "fast", (lm_kv_format)kv, best);
        assert_string_not_equal(fast, precise);
        if (kv != LM_KV_BF16) /* the one format with bits of its own somewhere */
            assert_string_equal(fast, best);
    }
}

static void neither_chunks_nor_threads_nor_company_show_in_the_bits(void **state)
{
    static const how ways[] = {
        { .chunk = 1, .threads = 1 },   { .chunk = 1, .threads = 2 },
        { .chunk = 1, .threads = 3 },   { .chunk = 1, .threads = 2, .mixed = true },
        { .chunk = 3, .threads = 2 },   { .chunk = 7, .threads = 3 },
        { .chunk = 64, .threads = 1 },  { .chunk = 64, .threads = 2, .mixed = true },
        { .chunk = 512, .threads = 3 },
    };
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (size_t k = 0; k < LM_LEN(isas); k++)
            for (int kv = 0; kv < LM_KV_COUNT; kv++) {
                uint32_t n = k == 0 ? 80 : 300;
                /* One format in turn for each shape and instruction set. */
                if (!has(isas[k]) || (kv + i + (int)k) % (kv < LM_KV_Q8 ? 3 : 2))
                    continue;
                model m = build(&shapes[i], (uint64_t)i);
                how base = {
                    .be = &lm_backend_cpu, .isa = isas[k], .threads = 2, .kv = (lm_kv_format)kv, .chunk = 33
                };
                float *want = run(m.p, &base, n);
                for (size_t w = 0; w < LM_LEN(ways); w++) {
                    how h = ways[w];
                    h.be = &lm_backend_cpu;
                    h.isa = isas[k];
                    h.kv = (lm_kv_format)kv;
                    if (h.chunk == 1 && h.threads == 3 && i % 3)
                        continue; /* slow where there are two processors */
                    float *got = run(m.p, &h, n);
                    if (memcmp(want, got, (size_t)n * m.p->n_vocab * sizeof *got) != 0)
                        fail_msg("shape %d, %s, %s pages: chunks of %u on %u threads differ", i, isas[k],
                                 lm_kv_name(h.kv), h.chunk, h.threads);
                    free(got);
                }
                free(want);
                drop(&m);
            }
}

/* --- programs that no family writes ------------------------------------------------ */

/* Straight-line soup: any operation over any values of the right width, so that
 * prologues, epilogues, shared memory and lives meet in every order. */
static model soup(uint64_t seed)
{
    enum { WIDTH = 32, VALUES = 40 };
    static const shape s = { .width = WIDTH, .heads = 4, .kv = 2, .dim = 8, .v_dim = 8 };
    model m = { .seed = seed * 77 + 5 };
    lm_builder b;
    lm_error err = { 0 };
    float freq[2] = { 1.0f, 0.1f };
    lm_val v[VALUES];
    m.floats = malloc(MAX_FLOATS * sizeof(float));
    assert_non_null(m.floats);
    assert_int_equal(lm_builder_init(&b, &err), LM_OK);
    uint32_t table = lm_build_rope_table(&b, 4, seed % 2, 1.0f, freq), rng = (uint32_t)seed;
    lm_matrix e = matrix(&m, 29, WIDTH);
    v[0] = lm_build_embed(&b, &e, "e", 1.0f);
    for (uint32_t n = 1; n < VALUES; n++) {
        rng = rng * 1664525u + 1013904223u;
        uint32_t kind = (rng >> 24) % 12;
        lm_val x = v[n - 1 - (rng >> 8) % (n < 6 ? n : 6)], y = v[n - 1 - (rng >> 16) % (n < 4 ? n : 4)];
        lm_act act = (lm_act)((rng >> 12) % 4);
        b.layer = n / 8;
        if (kind < 4) {
            v[n] = linear(&m, &b, &s, x, WIDTH, WIDTH);
        } else if (kind == 4) {
            lm_attend_spec a = { .n_heads = 4, .n_kv_heads = 2, .k_dim = 8, .v_dim = 8, .scale = 0.3f };
            v[n] = lm_build_attend(&b, x, linear(&m, &b, &s, y, WIDTH, 16), linear(&m, &b, &s, x, WIDTH, 16),
                                   &a);
        } else if (kind == 5) {
            v[n] = lm_build_act(&b, x, act);
        } else if (kind == 6) {
            v[n] = lm_build_glu(&b, x, y, act);
        } else if (kind == 7) {
            v[n] = lm_build_scale(&b, x, 0.6f);
        } else if (kind == 8) {
            v[n] = lm_build_softcap(&b, x, 1.5f);
        } else if (kind == 9) {
            v[n] = lm_build_rope(&b, x, 8, table);
        } else if (kind == 10) {
            v[n] = norm(&m, &b, &s, x, 16);
        } else {
            v[n] = lm_build_add(&b, x, y);
        }
        v[n] = norm(&m, &b, &s, v[n], n % 3 ? WIDTH : 8);
        if (n % 5 == 0) /* two readers of one value, in different stages */
            v[n] = lm_build_add(&b, v[n], lm_build_act(&b, v[n - 1], act));
    }
    lm_val x = lm_build_rows(&b, lm_build_add(&b, v[VALUES - 1], v[VALUES / 2]));
    if (seed % 3 == 0)
        x = norm(&m, &b, &s, x, WIDTH); /* ends in a prologue */
    else
        x = linear(&m, &b, &s, x, WIDTH, 29);
    if (seed % 3 == 2)
        x = lm_build_glu(&b, x, lm_build_act(&b, x, LM_ACT_SILU), LM_ACT_GELU);
    if (lm_builder_finish(&b, x, &m.p) != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

static void any_program_runs_as_on_the_reference(void **state)
{
    static const how ways[] = { { .chunk = 1, .threads = 2 },
                                { .chunk = 4, .threads = 3, .mixed = true },
                                { .chunk = 40, .threads = 2 } };
    (void)state;
    for (uint64_t seed = 0; seed < 24; seed++) {
        model m = soup(seed);
        how ref = { .be = &lm_backend_ref, .kv = LM_KV_F32, .chunk = 40 };
        float *want = run(m.p, &ref, 40), *first = NULL;
        for (size_t w = 0; w < LM_LEN(ways); w++) {
            how h = ways[w];
            h.be = &lm_backend_cpu;
            h.kv = LM_KV_F32;
            float *got = run(m.p, &h, 40);
            double d = distance(want, got, (size_t)40 * m.p->n_vocab);
            if (!(d <= 1e-3)) /* norms of nearly nothing magnify rounding */
                fail_msg("program %d, chunks of %u: %.3g of the spread", (int)seed, h.chunk, d);
            if (first && memcmp(first, got, (size_t)40 * m.p->n_vocab * sizeof *got) != 0)
                fail_msg("program %d: chunks of %u differ", (int)seed, h.chunk);
            if (first)
                free(got);
            else
                first = got;
        }
        free(first);
        free(want);
        drop(&m);
    }
}

/* --- what a step may be, and what it costs -------------------------------------------- */

typedef struct {
    model m;
    lm_device *d;
    lm_plan *pl;
    session s;
    float *logits;
} rig;

static rig open_rig(uint32_t threads)
{
    rig r = { .m = build(&shapes[0], 1) };
    lm_device_options o = { .n_threads = threads };
    lm_plan_options po = { .max_tokens = 8, .max_rows = 2, .max_segments = 2, .max_context = 128 };
    po.kv = LM_KV_BF16;
    assert_int_equal(lm_backend_cpu.open(&r.d, &o, NULL), LM_OK);
    assert_int_equal(lm_backend_cpu.compile(r.d, r.m.p, &po, &r.pl, NULL), LM_OK);
    r.s = open_session(r.m.p, LM_KV_BF16, 128);
    r.logits = calloc(2 * r.m.p->n_vocab, sizeof(float));
    return r;
}

static void close_rig(rig *r)
{
    lm_backend_cpu.plan_free(r->pl);
    lm_backend_cpu.close(r->d);
    close_session(&r->s);
    free(r->logits);
    drop(&r->m);
}

static void a_step_allocates_nothing_may_be_empty_and_is_checked(void **state)
{
    rig r = open_rig(2);
    int32_t ids[8] = { 1, 2, 3 };
    uint32_t row = 2;
    lm_error err = { 0 };
    lm_segment seg = { .count = 3, .tables = r.s.tables };
    lm_step s = { .n_tokens = 3, .ids = ids, .segments = &seg, .n_segments = 1, .rows = &row, .n_rows = 1 };
    void *p = NULL;
    (void)state;
    s.logits = r.logits;
#ifdef LM_FAULTS
    lm_mem_fail_after(1);
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, &err), LM_OK);
    assert_int_equal(lm_new(&p, 1, 1, NULL), LM_ERR_NOMEM); /* the first request since */
    lm_mem_fail_after(0);
#endif
    lm_free(p);
    assert_true(lm_backend_cpu.plan_bytes(r.pl) > 8 * 24 * 4);
    s.n_rows = 0; /* nobody asked */
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, &err), LM_OK);
    lm_step nothing = { .segments = &seg, .n_segments = 0, .logits = r.logits };
    assert_int_equal(lm_backend_cpu.run(r.pl, &nothing, &err), LM_OK);
    s.n_tokens = 9;
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, &err), LM_ERR_INTERNAL);
    memset(&err, 0, sizeof err);
    s.n_tokens = 3;
    seg.pos = 126;
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, &err), LM_ERR_INTERNAL);
    assert_string_equal(err.text, "segment 0 has 3 tokens at position 126, planned were 128 positions");
    close_rig(&r);
}

static void a_cancelled_step_says_so_and_the_next_one_runs(void **state)
{
    rig r = open_rig(3);
    int32_t ids[8] = { 1, 2, 3 };
    uint32_t row = 0;
    atomic_bool cancel;
    lm_error err = { 0 };
    lm_segment seg = { .count = 1, .tables = r.s.tables };
    lm_step s = { .n_tokens = 1, .ids = ids, .segments = &seg, .n_segments = 1, .rows = &row, .n_rows = 1 };
    (void)state;
    atomic_init(&cancel, true);
    s.logits = r.logits;
    s.cancel = &cancel;
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, &err), LM_ERR_CANCELLED);
    atomic_store(&cancel, false);
    assert_int_equal(lm_backend_cpu.run(r.pl, &s, NULL), LM_OK);
    close_rig(&r);
}

static void options_outside_the_range_are_refused_by_name(void **state)
{
    lm_device *d = NULL;
    lm_error err = { 0 };
    lm_device_options o = { .n_threads = 4096 };
    (void)state;
    assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_ERR_USAGE);
    assert_non_null(strstr(err.text, "is 4096, this machine allows 1 to "));
    memset(&err, 0, sizeof err);
    o = (lm_device_options){ .n_threads = 1, .isa = "sse9" };
    assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_ERR_USAGE);
    assert_non_null(strstr(err.text, "instruction set 'sse9' is unknown, this machine has portable"));
}

/* Barriers of one step of one token. */
static uint64_t barriers(shape s, uint32_t layers, uint32_t threads)
{
    rig r = { 0 };
    lm_device_options o = { .n_threads = threads };
    lm_plan_options po = { .max_tokens = 1, .max_rows = 1, .max_segments = 1, .max_context = 64 };
    int32_t id = 1;
    uint32_t row = 0;
    s.layers = layers;
    r.m = build(&s, 3);
    po.kv = LM_KV_BF16;
    assert_int_equal(lm_backend_cpu.open(&r.d, &o, NULL), LM_OK);
    assert_int_equal(lm_backend_cpu.compile(r.d, r.m.p, &po, &r.pl, NULL), LM_OK);
    r.s = open_session(r.m.p, LM_KV_BF16, 64);
    r.logits = calloc(r.m.p->n_vocab, sizeof(float));
    lm_segment seg = { .count = 1, .tables = r.s.tables };
    lm_step step = { .n_tokens = 1,
                     .ids = &id,
                     .segments = &seg,
                     .n_segments = 1,
                     .rows = &row,
                     .n_rows = 1,
                     .logits = r.logits };
    uint64_t before = lm_team_epoch(r.d->team);
    assert_int_equal(lm_backend_cpu.run(r.pl, &step, NULL), LM_OK);
    uint64_t n = lm_team_epoch(r.d->team) - before;
    close_rig(&r);
    return n;
}

static void a_layer_of_a_usual_decoder_has_four_barriers(void **state)
{
    static const shape usual = { .width = 64,
                                 .heads = 8,
                                 .kv = 4,
                                 .dim = 16,
                                 .v_dim = 16,
                                 .ff = 96,
                                 .vocab = 40,
                                 .rot = 16,
                                 .act = LM_ACT_SILU };
    (void)state;
    for (uint32_t threads = 2; threads <= 4; threads += 2)
        for (int norms = 0; norms < 2; norms++) {
            shape s = usual;
            s.qk_norm = norms;
            s.bias = norms == 0;
            assert_int_equal(barriers(s, 5, threads) - barriers(s, 2, threads), 3 * 4);
        }
    /* A single key/value head is nobody's own, nor is each of three threads sure of one of four. */
    shape one = usual;
    one.kv = 1;
    assert_int_equal(barriers(one, 5, 2) - barriers(one, 2, 2), 3 * 5);
    assert_int_equal(barriers(usual, 5, 3) - barriers(usual, 2, 3), 3 * 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_agrees_with_the_reference),
        cmocka_unit_test(arithmetics_have_ids_of_their_own),
        cmocka_unit_test(neither_chunks_nor_threads_nor_company_show_in_the_bits),
        cmocka_unit_test(any_program_runs_as_on_the_reference),
        cmocka_unit_test(a_step_allocates_nothing_may_be_empty_and_is_checked),
        cmocka_unit_test(a_cancelled_step_says_so_and_the_next_one_runs),
        cmocka_unit_test(a_layer_of_a_usual_decoder_has_four_barriers),
        cmocka_unit_test(options_outside_the_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
