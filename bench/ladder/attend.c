/* bench/ladder/attend.c - attention over pages against the machine: decode as a
 * share of a read probe of the same pages around it, prefill as arithmetic rate.
 *
 * usage: bench_attend [FORMAT [CONTEXT [ROUNDS [THREADS]]]], default bf16 16384 7
 *
 * The shape is 28 layers, 8 key/value heads of 128, 2 query heads to each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/attend.h"
#include "backend/cpu/team.h"
#include "base/mem.h"

enum { LAYERS = 28, KV = 8, GROUP = 2, DIM = 128, HEADS = KV * GROUP, TOKENS = 512 };

static struct {
    lm_team *team;
    lm_page_layout layout;
    lm_attend a;
    lm_page_table table;
    uint8_t *bytes, *scratch;
    size_t n_bytes, scratch_bytes;
    float *q, *out;
    uint32_t context, n, layers;
    _Atomic uint64_t sink;
} b;

/* One thread is measured by the processor's time, so that a busy machine does not
 * count; a team needs the wall. */
static double now(void)
{
    struct timespec t;
    clock_gettime(lm_team_size(b.team) == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_all(void *arg, uint32_t me)
{
    size_t share = b.n_bytes / lm_team_size(b.team) / 4096 * 4096;
    const uint64_t *p = (const uint64_t *)(const void *)(b.bytes + share * me);
    uint64_t s[8] = { 0 };
    (void)arg;
    for (size_t i = 0; i < share / 8; i += 8)
        for (size_t k = 0; k < 8; k++)
            s[k] += p[i + k];
    b.sink += s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static void attend_all(void *arg, uint32_t me)
{
    lm_attend a = b.a;
    uint32_t step = b.n == 1 ? 1 : lm_attend_tokens(GROUP), units = (b.n + step - 1) / step;
    (void)arg;
    for (a.slot = 0; a.slot < b.layers; a.slot++) {
        for (uint32_t c; c = lm_team_claim(b.team, me), c < units * KV;) {
            uint32_t t = (units - 1 - c % units) * step;
            lm_attend_work w = { .table = &b.table,
                                 .head = c / units,
                                 .pos = b.context - b.n + t,
                                 .n = LM_MIN(step, b.n - t),
                                 .q = b.q + (size_t)t * HEADS * DIM,
                                 .q_stride = HEADS * DIM,
                                 .out = b.out + (size_t)t * HEADS * DIM,
                                 .out_stride = HEADS * DIM };
            w.span1 = (w.pos + w.n - 1) / LM_SPAN + 1;
            lm_attend_run(&a, &w, b.scratch + me * b.scratch_bytes);
        }
        lm_team_barrier(b.team, me);
    }
}

static double timed(void (*fn)(void *, uint32_t))
{
    double t = now();
    lm_team_run(b.team, fn, NULL);
    return now() - t;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;
    return (a > c) - (a < c);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static void decode(int rounds)
{
    double share[99], rate[99], probe = timed(read_all);
    b.n = 1;
    b.layers = LAYERS;
    (void)timed(attend_all);
    for (int i = 0; i < rounds; i++) {
        double t = timed(attend_all), after = timed(read_all);
        rate[i] = (double)b.n_bytes / t * 1e-9;
        share[i] = (probe + after) / 2 / t;
        probe = after;
    }
    double gb = median(rate, rounds), s = median(share, rounds);
    printf("decode at %u, %u threads: %.1f GB/s, %.0f %% of the probe (%.0f to %.0f)\n", b.context,
           lm_team_size(b.team), gb, 100 * s, 100 * share[0], 100 * share[rounds - 1]);
}

static void prefill(int rounds, uint32_t context)
{
    double rate[99], seen = 0;
    b.n = TOKENS;
    b.layers = 2;
    b.context = context;
    for (uint32_t t = 0; t < b.n; t++)
        seen += b.context - b.n + t + 1;
    for (int i = 0; i < rounds; i++)
        rate[i] = 4.0 * DIM * HEADS * b.layers * seen / timed(attend_all) * 1e-12;
    double m = median(rate, rounds);
    printf("prefill of %d at depth %u: %.2f TFLOP/s (%.2f to %.2f)\n", TOKENS, b.context - b.n, m, rate[0],
           rate[rounds - 1]);
}

int main(int argc, char **argv)
{
    lm_kv_format kv = LM_KV_BF16;
    int rounds = argc > 3 ? atoi(argv[3]) : 7;
    b.context = argc > 2 ? (uint32_t)atoi(argv[2]) : 16384;
    if ((argc > 1 && !lm_kv_by_name(argv[1], &kv)) || rounds < 1 || rounds > 99 || b.context < TOKENS)
        return 2;
    lm_isa isa = lm_isa_best();
    lm_cache_group g = { .n_layers = LAYERS, .n_heads = KV, .k_dim = DIM, .v_dim = DIM };
    b.layout = lm_page_layout_of(&g, kv);
    b.a = (lm_attend){ .kernels = lm_cpu_kernels_of(isa),
                       .k = lm_cpu_kernels_of(isa)->attend[kv],
                       .layout = &b.layout,
                       .n_heads = HEADS,
                       .per_kv = GROUP,
                       .k_dim = DIM,
                       .v_dim = DIM,
                       .scale = 0.088f };
    uint32_t n_pages = b.context / LM_PAGE_TOKENS;
    uint8_t **pages = NULL;
    b.n_bytes = n_pages * b.layout.page_bytes;
    b.scratch_bytes = lm_attend_scratch(&b.a) + 4096 + 256;
    uint32_t threads = argc > 4 ? (uint32_t)atoi(argv[4]) : lm_team_default();
    if (lm_team_open(&b.team, threads, NULL) != LM_OK || LM_NEW(&pages, n_pages, NULL) != LM_OK ||
        lm_new_aligned((void **)&b.bytes, b.n_bytes, NULL) != LM_OK ||
        lm_new_aligned((void **)&b.scratch, b.scratch_bytes * threads, NULL) != LM_OK ||
        LM_NEW(&b.q, TOKENS * HEADS * DIM, NULL) != LM_OK ||
        LM_NEW(&b.out, TOKENS * HEADS * DIM, NULL) != LM_OK)
        return 1;
    /* Every number of the pages is near 1 in every format. */
    for (size_t i = 0; i < b.n_bytes; i++)
        b.bytes[i] = i % 2 ? 0x3f : (uint8_t)(i * 37 >> 3 & 0x7f);
    uint32_t r = 1;
    for (uint32_t i = 0; i < n_pages; i++)
        pages[i] = b.bytes + i * b.layout.page_bytes;
    for (uint32_t i = n_pages - 1; i > 0; i--) { /* in no order */
        r = r * 1664525u + 1013904223u;
        uint32_t k = (r >> 8) % (i + 1);
        uint8_t *t = pages[i];
        pages[i] = pages[k];
        pages[k] = t;
    }
    for (uint32_t i = 0; i < TOKENS * HEADS * DIM; i++)
        b.q[i] = (float)(i * 2654435761u >> 24) / 256.0f - 0.5f;
    b.table = (lm_page_table){ pages, n_pages };
    printf("%s, %s\n", lm_isa_name(isa), b.a.k->name);
    decode(rounds);
    uint32_t deep = LM_MIN(b.context, 4096u + TOKENS);
    prefill(rounds, TOKENS);
    prefill(rounds, deep);
    lm_team_close(b.team);
    return 0;
}
