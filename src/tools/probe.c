/* tools/probe.c - how fast this machine reads memory, and multiplies, at this moment.
 *
 * Threads are made once and read the same block several times with a barrier
 * before each pass: a thread made for each pass measures its own start (seen: 42
 * instead of 88 GB/s).  The best pass counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "backend/cpu/dots.h"
#include "base/compiler.h"
#include "lemma/tools.h"
#include "plan/device.h"

enum { MAX_THREADS = 256, PASSES = 6, STREAMS = 4 };
static const size_t block_bytes = (size_t)256 << 20;
static const uint64_t dot_loops = 500000; /* some 2 ms a pass */

typedef struct {
    const uint8_t *base; /* NULL: products instead of reads */
    size_t bytes;
    lm_isa isa;
    uint32_t n_threads, index;
    pthread_barrier_t *barrier;
    double seconds[PASSES]; /* of this thread */
    uint64_t sum;
} worker;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Four streams at once: one alone loses 8 % where two cores share a path. */
static uint64_t read_block(const uint8_t *p, size_t n)
{
    uint64_t s[STREAMS][8] = { { 0 } };
    size_t quarter = n / STREAMS & ~(size_t)63;
    for (size_t i = 0; i < quarter; i += 64)
        for (size_t k = 0; k < STREAMS; k++)
            for (size_t j = 0; j < 8; j++) {
                uint64_t v;
                memcpy(&v, p + k * quarter + i + 8 * j, 8);
                s[k][j] += v;
            }
    uint64_t total = 0;
    for (size_t k = 0; k < STREAMS; k++)
        for (size_t j = 0; j < 8; j++)
            total += s[k][j];
    return total;
}

static void *run(void *arg)
{
    worker *w = arg;
    size_t part = w->bytes / w->n_threads & ~(size_t)4095;
    for (int i = 0; i < PASSES; i++) {
        (void)pthread_barrier_wait(w->barrier);
        double start = now();
        if (w->base)
            w->sum += read_block(w->base + part * w->index, part);
        else
            w->sum = lm_cpu_dots(w->isa, dot_loops); /* of one pass */
        w->seconds[i] = now() - start;
    }
    return NULL;
}

/* What all threads did together over the time of the slowest, in the best pass. */
static double best_pass(const worker *w, uint32_t n, double work)
{
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        double slowest = 1e-9;
        for (uint32_t t = 0; t < n; t++)
            slowest = LM_MAX(w[t].seconds[i], slowest);
        best = LM_MAX(work / slowest, best);
    }
    return best;
}

/* `like` says what each thread does.  0: a thread could not start; it would leave
 * the others at the barrier: the process is out of threads then. */
static double probe(uint32_t threads, const worker *like)
{
    worker w[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    pthread_barrier_t barrier;
    if (threads == 0) {
        lm_device_facts f;
        lm_device_read(&f);
        threads = lm_device_threads(&f);
    }
    uint32_t n = LM_MIN(threads, (uint32_t)MAX_THREADS), started = 0;
    if (pthread_barrier_init(&barrier, NULL, n) != 0)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        w[i] = *like;
        w[i].n_threads = n;
        w[i].index = i;
        w[i].barrier = &barrier;
    }
    for (uint32_t i = 1; i < n; i++)
        started += pthread_create(&ids[i], NULL, run, &w[i]) == 0;
    if (started != n - 1)
        return 0;
    (void)run(&w[0]);
    for (uint32_t i = 1; i < n; i++)
        (void)pthread_join(ids[i], NULL);
    (void)pthread_barrier_destroy(&barrier);
    return best_pass(w, n, like->base ? (double)(like->bytes / n & ~(size_t)4095) * n : (double)w[0].sum * n);
}

double lm_probe_bandwidth(uint32_t threads)
{
    void *base = mmap(NULL, block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return 0;
    (void)madvise(base, block_bytes, MADV_HUGEPAGE);
    memset(base, 1, block_bytes);
    double rate = probe(threads, &(worker){ .base = base, .bytes = block_bytes });
    if (rate > 0) /* else somebody may still read it */
        (void)munmap(base, block_bytes);
    return rate;
}

double lm_probe_arithmetic(const char *isa, uint32_t threads)
{
    worker like = { .isa = lm_isa_best() };
    for (int i = 0; isa && i < LM_ISA_COUNT; i++)
        if (strcmp(isa, lm_isa_name((lm_isa)i)) == 0 && lm_isa_has((lm_isa)i))
            like.isa = (lm_isa)i;
    return probe(threads, &like);
}
