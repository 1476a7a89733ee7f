/* What the CPU's kernels make of the same numbers, as one hash a line.
 *
 *   isa_digest            the instruction sets that this machine has
 *   isa_digest NAME       every kernel of that one: "what HASH"
 *
 * Built for each processor that lemma knows; two instruction sets that share a
 * numerics id must print the same lines (tests/isa/run.sh compares them).  Needs
 * only the C library and libm. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/attend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/linear_impl.h"
#include "backend/cpu/plan.h"
#include "base/mem.h"

static uint64_t seed;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
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
    void *p = NULL;
    if (lm_new_aligned(&p, n + 64, NULL) != LM_OK)
        exit(5);
    return p;
}

/* FNV-1a over bits; every NaN counts as the same one. */
static uint64_t hash_of(uint64_t h, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        if ((u & 0x7fffffffu) > 0x7f800000u)
            u = 0x7fc00000u;
        for (int b = 0; b < 32; b += 8)
            h = (h ^ (u >> b & 255)) * 0x100000001b3u;
    }
    return h;
}

enum { START = 0x1505 };

static void print(const char *a, const char *b, uint64_t h)
{
    printf("%s %s %016llx\n", a, b, (unsigned long long)h);
}

static lm_matrix weights(const lm_quant *q, uint32_t rows, uint32_t cols, bool random)
{
    lm_matrix w = { .quant = q, .rows = rows, .cols = cols };
    float *v = memory(cols * sizeof *v);
    for (int p = 0; p < q->n_planes; p++) {
        w.stride[p] = lm_quant_row_bytes(q, p, cols);
        uint8_t *at = memory(w.stride[p] * rows);
        for (size_t i = 0; i < w.stride[p] * rows; i++)
            at[i] = (uint8_t)(draw() >> 20);
        w.plane[p] = at;
    }
    for (uint32_t r = 0; r < rows && q->from_f32 && !random; r++) {
        uint8_t *to[LM_QUANT_PLANES] = { 0 };
        for (int p = 0; p < q->n_planes; p++)
            to[p] = (uint8_t *)(uintptr_t)(w.plane[p] + r * w.stride[p]);
        for (uint32_t i = 0; i < cols; i++)
            v[i] = 0.05f * gauss();
        q->from_f32(q, v, cols, to);
    }
    lm_free(v);
    return w;
}

/* One token, a few, and more than a tile, over whole matrices and pieces. */
static void linears(lm_isa isa, lm_compute compute)
{
    static const struct {
        uint32_t rows, cols, tokens;
        bool random;
    } shapes[] = {
        { 1, 1, 1, false },     { 37, 576, 7, false }, { 50, 2336, 3, true },
        { 19, 4384, 9, false }, { 16, 96, 13, true },  { 290, 64, 6, false },
    };
    const lm_quant *q;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++) {
        uint64_t h = START;
        for (size_t s = 0; s < LM_LEN(shapes); s++) {
            uint32_t unit = q->block_elems, cols = (shapes[s].cols + unit - 1) / unit * unit;
            uint32_t rows = shapes[s].rows, n = shapes[s].tokens;
            seed = 88172645463325252u + 977 * i + s;
            lm_matrix w = weights(q, rows, cols, shapes[s].random);
            const lm_cpu_linear *l = lm_cpu_linear_find(isa, compute, q, cols);
            size_t bytes = l->layout->row_bytes(cols), outputs = (size_t)rows * n;
            float *x = memory(cols * sizeof *x), *y = memory(outputs * sizeof *y);
            uint8_t *a = memory(bytes * n);
            void *scratch = memory(l->scratch_bytes(&w, n));
            for (uint32_t t = 0; t < n; t++) {
                for (uint32_t k = 0; k < cols; k++)
                    x[k] = k / 32 % 5 == 4 ? 0 : gauss() * (float)(1 + k / 32 % 3);
                l->layout->quantise(x, cols, a + t * bytes);
            }
            l->run(&w, 0, rows, a, n, y, rows, scratch);
            h = hash_of(h, y, outputs);
            for (uint32_t t = 0; t < n; t++)
                l->run(&w, 0, rows, a + t * bytes, 1, y + (size_t)t * rows, rows, scratch);
            h = hash_of(h, y, outputs);
            for (int p = 0; p < q->n_planes; p++)
                lm_free((void *)(uintptr_t)w.plane[p]);
            lm_free(x);
            lm_free(y);
            lm_free(a);
            lm_free(scratch);
        }
        print(compute == LM_COMPUTE_PRECISE ? "linear-precise" : "linear", q->name, h);
    }
}

enum { N = 1003 };

static void token_wise(const lm_cpu_kernels *k)
{
    static float x[N], z[N], y[N], w[N];
    static const char *const names[] = { "exp", "tanh", "erf" };
    static const char *const acts[] = { "silu", "gelu", "gelu-tanh", "relu" };
    seed = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < N; i++) {
        x[i] = gauss() * (i % 7 == 0 ? 40.0f : 3.0f);
        z[i] = gauss();
        w[i] = 1 + 0.1f * gauss();
    }
    x[5] = INFINITY;
    x[17] = NAN;
    for (int f = 0; f < 3; f++) {
        k->math(f, x, y, N);
        print("math", names[f], hash_of(START, y, N));
    }
    for (int a = 0; a < 4; a++) {
        const lm_act act = (lm_act[]){ LM_ACT_SILU, LM_ACT_GELU, LM_ACT_GELU_TANH, LM_ACT_RELU }[a];
        k->act(act, x, y, N);
        print("act", acts[a], hash_of(START, y, N));
        k->glu(act, x, z, y, N);
        print("glu", acts[a], hash_of(START, y, N));
    }
    k->add(x, z, y, N);
    print("token", "add", hash_of(START, y, N));
    k->scale(x, 0.37f, y, N);
    print("token", "scale", hash_of(START, y, N));
    k->softcap(x, 30.0f, y, N);
    print("token", "softcap", hash_of(START, y, N));
    x[5] = x[17] = 1;
    uint64_t h = START;
    for (uint32_t width = 960; width <= N; width += 43) {
        k->norm(LM_NORM_RMS, width, width, w, NULL, 1e-6f, x, y);
        h = hash_of(h, y, width);
        k->norm(LM_NORM_LAYER, width, width, w, z, 1e-5f, x, y);
        h = hash_of(h, y, width);
    }
    print("token", "norm", h);
    float freq[48], cs[96];
    lm_rope r = { .n_rot = 96, .mscale = 1.0f, .inv_freq = freq };
    for (int i = 0; i < 48; i++)
        freq[i] = 1.0f / (float)(1 + i * i * 11);
    h = START;
    for (int i = 0; i < 2; i++) {
        r.interleaved = i == 1;
        lm_cpu_rope_table(&r, 77777u * (uint32_t)(i + 1), cs);
        k->rope(&r, cs, 960, 120, x, y);
        h = hash_of(h, y, 960);
    }
    print("token", "rope", h);
}

/* 150 positions of two key/value heads; one query, and twenty. */
static void attention(const lm_cpu_kernels *k)
{
    enum { KV_HEADS = 2, GROUP = 3, DIM = 80, PAGES = 3, CONTEXT = 150, TOKENS = 20 };
    const uint32_t width = KV_HEADS * GROUP * DIM;
    for (lm_kv_format f = LM_KV_F32; f < LM_KV_COUNT; f++) {
        lm_cache_group g = { .n_layers = 1, .n_heads = KV_HEADS, .k_dim = DIM, .v_dim = DIM };
        lm_page_layout l = lm_page_layout_of(&g, f);
        lm_attend a = { .kernels = k,
                        .k = k->attend[f],
                        .layout = &l,
                        .n_heads = KV_HEADS * GROUP,
                        .per_kv = GROUP,
                        .k_dim = DIM,
                        .v_dim = DIM,
                        .scale = 0.11f,
                        .softcap = f % 2 ? 20.0f : 0.0f };
        uint8_t *pages[PAGES];
        float kv[2][DIM], *q = memory(TOKENS * width * sizeof *q),
                          *out = memory(TOKENS * width * sizeof *out);
        uint64_t h = START;
        seed = 0x2545f4914f6cdd1du;
        for (int i = 0; i < PAGES; i++) {
            pages[i] = memory(l.page_bytes);
            memset(pages[i], 0, l.page_bytes);
        }
        for (uint32_t pos = 0; pos < CONTEXT; pos++)
            for (uint32_t head = 0; head < KV_HEADS; head++) {
                for (int d = 0; d < DIM; d++) {
                    kv[0][d] = gauss();
                    kv[1][d] = gauss();
                }
                uint8_t *page = pages[pos / LM_PAGE_TOKENS];
                if (a.k->put)
                    a.k->put(&l, page + lm_page_k(&l, 0, head), pos % LM_PAGE_TOKENS, kv[0], DIM, kv[1], DIM);
                else
                    lm_page_put(&l, page, 0, head, pos % LM_PAGE_TOKENS, kv[0], DIM, kv[1], DIM);
            }
        for (size_t i = 0; i < TOKENS * (size_t)width; i++)
            q[i] = 2 * gauss();
        void *scratch = memory(lm_attend_scratch(&a));
        lm_page_table table = { .pages = pages, .n_pages = PAGES };
        for (uint32_t head = 0; head < KV_HEADS; head++)
            for (uint32_t n = 1; n <= TOKENS; n += TOKENS - 1) {
                lm_attend_work w = { .table = &table,
                                     .head = head,
                                     .pos = CONTEXT - n,
                                     .n = n,
                                     .q = q,
                                     .q_stride = width,
                                     .out = out,
                                     .out_stride = width };
                w.span1 = (CONTEXT - 1) / LM_SPAN + 1;
                memset(out, 0, TOKENS * (size_t)width * sizeof *out);
                lm_attend_run(&a, &w, scratch);
                h = hash_of(h, out, (size_t)n * width);
            }
        print("attend", lm_kv_name(f), h);
        for (int i = 0; i < PAGES; i++)
            lm_free(pages[i]);
        lm_free(q);
        lm_free(out);
        lm_free(scratch);
    }
}

int main(int argc, char **argv)
{
    for (int i = 0; i < LM_ISA_COUNT; i++) {
        lm_isa isa = (lm_isa)i;
        if (argc < 2) {
            if (lm_isa_has(isa))
                printf("%s\n", lm_isa_name(isa));
        } else if (strcmp(argv[1], lm_isa_name(isa)) == 0 && lm_isa_has(isa)) {
            linears(isa, LM_COMPUTE_FAST);
            linears(isa, LM_COMPUTE_PRECISE);
            token_wise(lm_cpu_kernels_of(isa));
            attention(lm_cpu_kernels_of(isa));
            return 0;
        }
    }
    if (argc > 1)
        fprintf(stderr, "this machine has no %s\n", argv[1]);
    return argc > 1;
}
