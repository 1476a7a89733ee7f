/* cli/bench.h - what lemma bench measures, and how it is told.
 *
 * A line is one test of one configuration; it has rounds, each between two probes
 * of what the machine can do at that moment.  Its figure is the median.
 *
 * Threads: one thread. */
#ifndef LM_CLI_BENCH_H
#define LM_CLI_BENCH_H

#include "cli/cli.h"

typedef enum { BENCH_LOAD, BENCH_PREFILL, BENCH_DECODE } bench_test;

typedef struct {
    double value, seconds; /* tokens a second (load: milliseconds), and what it took */
    double before, after;  /* probes; 0: none */
    double share;          /* of their mean; 0: none */
} bench_round;

typedef struct {
    bench_test test;
    uint32_t threads, tokens, depth;
    char kv[16], isa[32], compute[16], device[96], numerics[96], label[96];
    bench_round *rounds; /* [n_rounds] */
    size_t n_rounds;
    double median, low, high, probe, share;
    lm_memory memory; /* after the first, unmeasured pass */
    uint64_t kv_bytes, workspace_bytes, over_bytes;
    bool has_memory;
} bench_line;

typedef struct {
    cli *c;
    const char *pack;
    bench_line *lines;
    size_t n, cap, repeats;
    int32_t *ids; /* [context] deterministic tokens */
    lm_session *s;
    uint64_t kv_most; /* pages of this configuration so far: they stay resident */
    bool traced;
} bench;

/* Memory that a run may take beside its file and its keys and values. */
enum { BENCH_SPARE = 64 << 20 };

const char *bench_test_name(bench_test t);
/* Room for a line of the model that is open. */
lm_status bench_add(bench *b, bench_line **out, lm_error *err);
/* Fills the rounds of a line, and what follows from them. */
lm_status bench_measure(bench *b, bench_line *l, lm_error *err);
/* Opens the pack once more a round, as `o` says. */
lm_status bench_measure_load(bench *b, const lm_model_options *o, lm_error *err);
void bench_clear(bench *b);

/* --- telling: cli/bench_report.c ------------------------------------------------- */

lm_status bench_json(const bench *b, json_t **out, lm_error *err);
void bench_table(const bench *b);
/* Documents as bench_json() makes them, checked; `names` tell them apart. */
lm_status bench_draw(json_t *const *docs, const char *const *names, size_t n, const char *path,
                     lm_error *err);

/* --- states: cli/bench_state.c ------------------------------------------------------ */

lm_status bench_ramp(cli *c, lm_error *err);
lm_status bench_wake(cli *c, lm_error *err);

#endif
