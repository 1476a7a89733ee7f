/* Linears of the CPU backend alone, against the machine's limits.
 *
 *   bench_linear [-f FORMAT] [-i ISA] [-s SHAPE] [-n TOKENS] [-t THREADS] [-r ROUNDS] [-m MEGABYTES] [-c] [-p]
 *
 * -c takes the time of the processor instead of the clock's, for machines with
 * other work; it needs -t 1.  -p works on a prepared copy of the weights.
 *
 * One token: bytes of weights per second as a share of a read probe over the
 * same bytes by the same threads, taken in turn.  Many tokens: operations per
 * second (a multiply and an add are two), and their share of a loop of dot
 * instructions alone.  Weights are random; shapes are those
 * of one layer of Qwen3-0.6B, Llama-3.2-1B, Qwen3-4B and SmolLM2-135M, repeated
 * until they outgrow the caches. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/panels.h"
#include "base/mem.h"

enum { MAX_MATRICES = 512, MAX_THREADS = 64, MAX_ROUNDS = 99 };

static const struct {
    const char *name;
    uint32_t width, heads, kv, hidden;
} SHAPES[] = {
    { "0.6b", 1024, 2048, 1024, 3072 },
    { "1b", 2048, 2048, 512, 8192 },
    { "4b", 2560, 4096, 1024, 9728 },
    { "135m", 576, 576, 192, 1536 },
};

static lm_matrix matrices[MAX_MATRICES];
static unsigned n_matrices, n_threads = 2;
static const lm_cpu_linear *linear;
static uint8_t *weights;
static struct {
    uint32_t cols;
    uint8_t *rows;
} acts[3]; /* one for each width of a layer's inputs */
static size_t n_bytes, scratch_bytes;
static float *outputs;
static void *scratch[MAX_THREADS];
static uint32_t n_tokens = 1, widest;

static bool cpu_time;
static double now(void)
{
    struct timespec t;
    clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t n)
{
    void *p;
    if (lm_new_aligned(&p, n, NULL) != LM_OK) {
        fprintf(stderr, "no memory for %zu bytes\n", n);
        exit(5);
    }
    return p;
}

/* Workers that stay and spin. */
static atomic_uint go, done;
typedef enum { WORK, READ, PEAK, QUIT } task;
static task what;
static volatile uint64_t sink;

/* Four streams a thread, fetched as the kernels do it: the fastest of several
 * ways to read. */
static void read_part(unsigned id)
{
    size_t part = n_bytes / n_threads & ~(size_t)4095, n = part / 4;
    const uint8_t *p = weights + id * part;
    uint64_t sum[8] = { 0 };
    for (size_t i = 0; i < n; i += 64)
        for (size_t s = 0; s < 4; s++) {
            const uint64_t *from = (const uint64_t *)(const void *)(p + s * n + i);
            __builtin_prefetch(from + 64);
            __builtin_prefetch(from + 512, 0, 2);
            for (size_t j = 0; j < 8; j++)
                sum[j] += from[j];
        }
    for (int j = 0; j < 8; j++)
        sink += sum[j];
}

static atomic_uint at_barrier, passed;
static void barrier(void)
{
    unsigned gen = atomic_load(&passed);
    if (atomic_fetch_add(&at_barrier, 1) + 1 == n_threads) {
        atomic_store(&at_barrier, 0);
        atomic_store(&passed, gen + 1);
    } else
        while (atomic_load_explicit(&passed, memory_order_acquire) == gen)
            ;
}

static void work_part(unsigned id)
{
    for (unsigned i = 0; i < n_matrices; i++) {
        const lm_matrix *m = &matrices[i];
        uint32_t panels = (m->rows + LM_PANEL - 1) / LM_PANEL;
        uint32_t from = panels * id / n_threads * LM_PANEL, to = panels * (id + 1) / n_threads * LM_PANEL;
        const uint8_t *x = NULL;
        for (unsigned a = 0; a < LM_LEN(acts); a++)
            x = acts[a].cols == m->cols ? acts[a].rows : x;
        linear->run(m, from, LM_MIN(to, m->rows), x, n_tokens, outputs, widest, scratch[id]);
        barrier();
    }
}

/* Nothing but 8-bit dot instructions, or nothing at all. */
enum { PEAK_ROUNDS = 1000000 };
static void peak_part(void)
{
#if defined(__x86_64__)
    if (!lm_cpu_linear_find(LM_ISA_AVX512, LM_COMPUTE_FAST, lm_quant_of(LM_Q_Q8_0), 32) ||
        !__builtin_cpu_supports("avx512vnni"))
        return;
    for (int i = 0; i < PEAK_ROUNDS; i++)
        __asm__ volatile("vpdpbusd %%zmm30, %%zmm31, %%zmm0\n vpdpbusd %%zmm30, %%zmm31, %%zmm1\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm2\n vpdpbusd %%zmm30, %%zmm31, %%zmm3\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm4\n vpdpbusd %%zmm30, %%zmm31, %%zmm5\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm6\n vpdpbusd %%zmm30, %%zmm31, %%zmm7\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm8\n vpdpbusd %%zmm30, %%zmm31, %%zmm9\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm10\n vpdpbusd %%zmm30, %%zmm31, %%zmm11\n"
                         :
                         :
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                           "xmm10", "xmm11");
#endif
}

static void part(unsigned id)
{
    if (what == READ)
        read_part(id);
    else if (what == PEAK)
        peak_part();
    else
        work_part(id);
}

static void pin(unsigned id)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(id, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *worker(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg, seen = 0;
    pin(id);
    for (;;) {
        while (atomic_load_explicit(&go, memory_order_acquire) == seen)
            ;
        seen++;
        if (what == QUIT)
            return NULL;
        part(id);
        atomic_fetch_add(&done, 1);
    }
}

static double timed(task t)
{
    what = t;
    atomic_store(&done, 0);
    double start = now();
    atomic_fetch_add(&go, 1);
    part(0);
    while (atomic_load(&done) + 1 < n_threads)
        ;
    return now() - start;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint64_t seed = 88172645463325252u;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void add(const lm_quant *q, uint32_t rows, uint32_t cols)
{
    lm_matrix *m = &matrices[n_matrices++];
    *m = (lm_matrix){ .quant = q, .rows = rows, .cols = cols };
    for (int p = 0; p < q->n_planes; p++) {
        m->stride[p] = lm_quant_row_bytes(q, p, cols);
        m->plane[p] = (const uint8_t *)n_bytes; /* an offset for now */
        n_bytes += (m->stride[p] * rows + 31) / 32 * 32;
    }
    if (rows > widest)
        widest = rows;
}

/* Panels of all matrices, one after the other, in the place of the weights. */
static void prepare(void)
{
    static lm_panels panels[MAX_MATRICES];
    static _Atomic uint32_t bad;
    uint8_t *from = weights, *to;
    n_bytes = 0;
    for (unsigned i = 0; i < n_matrices; i++)
        n_bytes += lm_panel_bytes(matrices[i].quant, matrices[i].cols) * ((matrices[i].rows + 15) / 16);
    to = weights = memory(n_bytes);
    for (unsigned i = 0; i < n_matrices; i++) {
        lm_matrix *m = &matrices[i];
        uint32_t n = (m->rows + LM_PANEL - 1) / LM_PANEL;
        void *tmp = memory(lm_panel_scratch(m->cols));
        uint8_t *state = memory(n);
        memset(state, 1, n); /* good */
        panels[i] = (lm_panels){ .data = to, .bytes = lm_panel_bytes(m->quant, m->cols), .bad = &bad };
        panels[i].state = (_Atomic uint8_t *)state;
        for (uint32_t p = 0; p < n; p++, to += panels[i].bytes)
            lm_panel_make(m, p, to, tmp);
        lm_free(tmp);
        m->panels = &panels[i];
    }
    lm_free(from);
}

static void usage(void)
{
    fprintf(stderr, "bench_linear [-f FORMAT] [-i ISA] [-s SHAPE] [-n TOKENS] [-t THREADS] [-r ROUNDS] [-m "
                    "MB] [-c] [-p]\n");
    exit(2);
}

/* long: options, set-up and one table row */
int main(int argc, char **argv)
{
    const char *format = "affine4-g64-bf16", *shape = "1b", *isa_name = "avx512";
    unsigned rounds = 9, megabytes = 300, s = 0;
    bool prepared = false;
    for (int o; (o = getopt(argc, argv, "cpf:i:s:n:t:r:m:")) != -1;)
        switch (o) {
        case 'c': cpu_time = true; break;
        case 'p': prepared = true; break;
        case 'f': format = optarg; break;
        case 'i': isa_name = optarg; break;
        case 's': shape = optarg; break;
        case 'n': n_tokens = (uint32_t)atoi(optarg); break;
        case 't': n_threads = (unsigned)atoi(optarg); break;
        case 'r': rounds = (unsigned)atoi(optarg); break;
        case 'm': megabytes = (unsigned)atoi(optarg); break;
        default: usage();
        }
    while (s < LM_LEN(SHAPES) && strcmp(SHAPES[s].name, shape) != 0)
        s++;
    lm_isa isa = LM_ISA_PORTABLE;
    while (isa < LM_ISA_COUNT && strcmp(isa_name, lm_isa_name(isa)) != 0)
        isa++;
    const lm_quant *q = lm_quant_by_name(format);
    if (!q || isa == LM_ISA_COUNT || !lm_isa_has(isa) || s == LM_LEN(SHAPES) || !n_tokens || !n_threads ||
        (cpu_time && n_threads > 1) || n_threads > MAX_THREADS || !rounds || rounds > MAX_ROUNDS)
        usage();
    uint32_t w = SHAPES[s].width, h = SHAPES[s].heads, hidden = SHAPES[s].hidden;
    do {
        add(q, h + 2 * SHAPES[s].kv, w);
        add(q, w, h);
        add(q, 2 * hidden, w);
        add(q, w, hidden);
    } while (n_bytes < (size_t)megabytes << 20 && n_matrices + 4 <= MAX_MATRICES);
    linear = lm_cpu_linear_find(isa, LM_COMPUTE_FAST, q, w);
    weights = memory(n_bytes);
    for (size_t i = 0; i < n_bytes / 8; i++)
        ((uint64_t *)(void *)weights)[i] = draw() & 0xbfffbfffbfffbfffu; /* no scale is infinite */
    /* Scales in planes of their own are ordinary numbers: some processors take 150
     * cycles for a tiny one, and real packs have none. */
    for (unsigned i = 0; i < n_matrices && q->kind == LM_Q_AFFINE; i++)
        for (int p = 1; p < q->n_planes; p++) {
            uint8_t *at = weights + (size_t)matrices[i].plane[p];
            for (size_t b = 0; b < matrices[i].stride[p] * matrices[i].rows; b++)
                at[b] = q->scale_kind == LM_Q_F32 ? (uint8_t) "\0\0\0\x3c"[b % 4] : (uint8_t) "\0\x3c"[b % 2];
        }
    double ops = 0;
    for (unsigned i = 0; i < n_matrices; i++) {
        lm_matrix *m = &matrices[i];
        for (int p = 0; p < q->n_planes; p++)
            m->plane[p] = weights + (size_t)m->plane[p];
        ops += 2.0 * m->rows * m->cols * n_tokens;
        size_t need = linear->scratch_bytes(m, n_tokens);
        scratch_bytes = need > scratch_bytes ? need : scratch_bytes;
    }
    if (prepared)
        prepare();
    outputs = memory((size_t)widest * n_tokens * sizeof *outputs);
    acts[0].cols = w;
    acts[1].cols = h;
    acts[2].cols = hidden;
    for (unsigned a = 0; a < LM_LEN(acts); a++) {
        uint32_t cols = acts[a].cols;
        size_t bytes = linear->layout->row_bytes(cols);
        float *x = memory(cols * sizeof *x);
        acts[a].rows = memory(bytes * n_tokens);
        for (uint32_t t = 0; t < n_tokens; t++) {
            for (uint32_t i = 0; i < cols; i++)
                x[i] = (float)(draw() % 2001) / 1000.0f - 1.0f;
            linear->layout->quantise(x, cols, acts[a].rows + t * bytes);
        }
        lm_free(x);
    }
    pthread_t threads[MAX_THREADS];
    for (unsigned i = 0; i < n_threads; i++)
        scratch[i] = memory(scratch_bytes);
    pin(0);
    for (unsigned i = 1; i < n_threads; i++)
        pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)i);
    double work[MAX_ROUNDS], read[MAX_ROUNDS], ratio[MAX_ROUNDS], peak[MAX_ROUNDS];
    timed(WORK);
    for (unsigned r = 0; r < rounds; r++) {
        double before = timed(READ), during = timed(WORK), after = timed(READ);
        work[r] = during;
        read[r] = LM_MIN(before, after);
        ratio[r] = read[r] / during;
        peak[r] = 0;
        if (n_tokens > 1) {
            double full = 12.0 * 128 * PEAK_ROUNDS * n_threads / timed(PEAK);
            peak[r] = ops / during / full;
        }
    }
    qsort(work, rounds, sizeof *work, by_size);
    qsort(read, rounds, sizeof *read, by_size);
    qsort(ratio, rounds, sizeof *ratio, by_size);
    qsort(peak, rounds, sizeof *peak, by_size);
    printf("%-18s %-5s %s t%u n%-4u%s", q->name, shape, isa_name, n_threads, n_tokens,
           prepared ? " prepared" : "");
    if (n_tokens == 1)
        printf("%6.1f GB/s, probe %6.1f, share %5.1f %%; best %6.1f of best %6.1f, %5.1f %%\n",
               (double)n_bytes / work[rounds / 2] / 1e9, (double)n_bytes / read[rounds / 2] / 1e9,
               100 * ratio[rounds / 2], (double)n_bytes / work[0] / 1e9, (double)n_bytes / read[0] / 1e9,
               100 * read[0] / work[0]);
    else
        printf("%7.1f GOP/s (best %7.1f), share of the dot instruction's peak %5.1f %% (best %5.1f)\n",
               ops / work[rounds / 2] / 1e9, ops / work[0] / 1e9, 100 * peak[rounds / 2],
               100 * peak[rounds - 1]);
    what = QUIT;
    atomic_fetch_add(&go, 1);
    for (unsigned i = 1; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
