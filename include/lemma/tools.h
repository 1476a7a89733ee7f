/* lemma/tools.h - measuring and judging: perplexity, probes, what machine this is.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_TOOLS_H
#define LM_TOOLS_H

#include "lemma/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called on the way by the long calls below, on their thread: tokens evaluated, and
 * in all.  Must not call the model. */
typedef void (*lm_on_progress)(void *user, uint64_t done, uint64_t total);
/* Keeps `on_progress` and `user` until the next call or the model's end; NULL: none.
 * Cannot fail. */
LM_API void lm_model_watch(lm_model *m, lm_on_progress on_progress, void *user);

typedef struct {
    uint64_t n_tokens;
    double nll_mean; /* nats; over tokens 2 to n in one window */
    double perplexity;
} lm_perplexity;
/* Slow unless the model was opened with all_rows.  More tokens than the context holds:
 * LM_ERR_TOO_LONG with both numbers; fewer than two, or an id that is no token:
 * LM_ERR_USAGE. */
LM_API lm_status lm_model_perplexity(lm_model *m, const int32_t *ids, size_t n, lm_perplexity *out,
                                     lm_error *err);

/* How far the distributions of the next token are from those of a base run of the
 * same tokens: KL divergence of base to model in nats, over the rows that
 * lm_model_perplexity() goes over. */
typedef struct {
    lm_perplexity text;
    bool written; /* there was no base: this run is it, and the rest is zero */
    double kl_mean, kl_median, kl_max;
    double top1_agreement; /* share of rows whose likeliest token is the same */
    /* The same over the rows of token n / 2 + 1 to the last but one alone, which are
     * those that llama.cpp's measure goes over. */
    double late_kl_mean, late_top1_agreement;
} lm_kl;
/* `base` names a file.  Where there is none it is written, whole or not at all
 * (4 bytes a token and entry of the vocabulary); where there is one it is
 * compared with.  Fails as lm_model_perplexity() does.  A base of other tokens or
 * another vocabulary: LM_ERR_USAGE; something else: LM_ERR_CORRUPT, TRUNCATED or
 * UNSUPPORTED. */
LM_API lm_status lm_model_kl(lm_model *m, const int32_t *ids, size_t n, const char *base, lm_kl *out,
                             lm_error *err);

/* Writes float32 [rows, cols] as .npy, whole or not at all.  LM_ERR_IO or
 * LM_ERR_NOSPACE with the path. */
LM_API lm_status lm_write_npy(const char *path, const float *data, size_t rows, size_t cols, lm_error *err);

/* Bytes per second that `threads` threads read from memory right now: the best
 * of a few passes over a block larger than the caches, some tens of
 * milliseconds in all.  0 threads: all that this process may use. */
LM_API double lm_probe_bandwidth(uint32_t threads);

/* Products of bytes that `threads` threads multiply and sum a second, an addition
 * and a multiplication each counted: the best of a few passes, some ten
 * milliseconds in all.  isa NULL, or one that is not here: the best there is. */
LM_API double lm_probe_arithmetic(const char *isa, uint32_t threads);

/* Records the coming steps of one kind, up to the nth, and keeps the last of them:
 * a decode step gives every session one token, a prefill step is any other.  The
 * results are the same bits.  nth 0: records no more.  LM_ERR_UNSUPPORTED: the
 * backend cannot ("ref"); LM_ERR_NOMEM. */
LM_API lm_status lm_model_trace(lm_model *m, bool prefill, uint32_t nth, lm_error *err);

typedef struct {
    uint32_t n_tokens, first_pos, nth;
    uint64_t step_ns, n_pieces, n_lost;
    double linear, attend, other, wait; /* shares of the threads' time */
    double read_rate, op_rate;          /* what the machine could do, right after */
} lm_trace_summary;
/* Writes the recorded step as Chrome trace events (JSON), whole or not at all:
 * every operation of every thread with shape, bytes and its share of what the
 * machine could read or multiply, which is probed for it.  LM_ERR_NOT_FOUND: no
 * such step was run since lm_model_trace(). */
LM_API lm_status lm_model_trace_write(lm_model *m, const char *path, lm_trace_summary *out, lm_error *err);

/* This process's memory in bytes: the most that was resident since the last reset,
 * and what is resident now, private (anonymous) and of mapped files. */
typedef struct {
    uint64_t peak, anonymous, file;
} lm_memory;
LM_API void lm_process_memory(lm_memory *out);
/* Whether the system forgot the peak. */
LM_API bool lm_process_forget_peak(void);

/* {"version", "cpu", "cores", "threads", "memory", "isa": [...]} as in lm_doctor(),
 * which takes longer.  Gives *json (lm_give_back). */
LM_API lm_status lm_machine(char **json, lm_error *err);

/* Writes a pack with random weights for benchmarks.  `shape` is qwen3-0.6b,
 * llama-1b, qwen3-4b or llama-8b; `format` a number format: affine4-g64-bf16 and
 * the like make a folder, GGUF formats a file whose path ends in .gguf. */
LM_API lm_status lm_bench_make(const char *shape, const char *format, const char *path, lm_error *err);

/* A file that `lemma bench --json` wrote, checked: LM_ERR_CORRUPT, TRUNCATED or
 * UNSUPPORTED names the first thing that is not as it should be.  Gives *json
 * (lm_give_back). */
LM_API lm_status lm_bench_read(const char *path, char **json, lm_error *err);
/* What changed from one such file to another.  Lines are matched by test, tokens,
 * depth, threads, cache format, instruction set and arithmetic.  A line is slower
 * or faster if the rank test of Mann and Whitney over the rounds' shares of the
 * probed limit says so (p < 0.05; with fewer than four rounds on a side: if no
 * round of one lies between those of the other), if the medians differ by more than
 * `noise` (0.01: 1 %), and if the rates do not say the contrary.
 * {"noise", "slower", "faster", "differs": [{"what", "a", "b"}], "only_a": [...],
 * "only_b": [...], "rows": [{"label", the keys, "unit", "a", "b", "ratio",
 * "share_ratio", "p", "verdict": "same", "slower", "faster" or "unclear"}]}; ratios
 * above 1: B is faster.  Gives *json (lm_give_back). */
LM_API lm_status lm_bench_compare(const char *a, const char *b, double noise, char **json, lm_error *err);

/* {"version", "cpu", "cores", "threads", "memory", "memory_free", "memory_limit",
 * "cpu_quota", "bandwidth", "backends": [...], "isa": [...], "pack_places": [{"path",
 * "kind", "exists"}], "packs", "prepared": {"folder", "copies", "bytes"}, "missing":
 * [{"what", "todo"}]}; bytes, bytes a second; the two limits only in a container that
 * has them.  Gives *json (lm_give_back). */
LM_API lm_status lm_doctor(char **json, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
