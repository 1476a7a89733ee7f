/* cli/bench_measure.c - rounds between probes.
 *
 * Decode is bound by reading: weights once a step, keys and values of all positions
 * before; its limit is the bandwidth.  Prefill is bound by multiplying; its limit is
 * the rate of 8-bit products.  A share of the limit survives a machine that is slower
 * for a minute; a rate does not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/bench.h"

const char *bench_test_name(bench_test t)
{
    static const char *const names[] = { "load", "prefill", "decode" };
    return names[t];
}

lm_status bench_add(bench *b, bench_line **out, lm_error *err)
{
    const lm_model_info *m = &b->c->info;
    LM_TRY(lm_grow((void **)&b->lines, &b->cap, b->n + 1, sizeof *b->lines, err));
    bench_line *l = &b->lines[b->n];
    *l = (bench_line){ .threads = m->threads };
    LM_TRY(LM_NEW(&l->rounds, b->repeats, err));
    b->n++;
    (void)snprintf(l->kv, sizeof l->kv, "%s", m->kv);
    (void)snprintf(l->device, sizeof l->device, "%s", m->device);
    (void)snprintf(l->numerics, sizeof l->numerics, "%s", m->numerics);
    /* "cpu avx512 precise, 2 threads" */
    if (sscanf(m->device, "cpu %31[a-z0-9]", l->isa) != 1)
        (void)snprintf(l->isa, sizeof l->isa, "none");
    (void)snprintf(l->compute, sizeof l->compute, "%s", strstr(m->device, " precise") ? "precise" : "fast");
    *out = l;
    return LM_OK;
}

void bench_clear(bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        lm_free(b->lines[i].rounds);
    lm_free(b->lines);
    lm_free(b->ids);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of one field of all rounds. */
static double median(const bench_line *l, size_t field, double *low, double *high, lm_error *err)
{
    double *v = NULL, m = 0;
    if (l->n_rounds == 0 || LM_NEW(&v, l->n_rounds, err) != LM_OK)
        return 0;
    for (size_t i = 0; i < l->n_rounds; i++)
        memcpy(&v[i], (const char *)&l->rounds[i] + field, sizeof v[i]);
    qsort(v, l->n_rounds, sizeof *v, by_value);
    size_t mid = l->n_rounds / 2;
    m = l->n_rounds % 2 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
    if (low != NULL)
        *low = v[0];
    if (high != NULL)
        *high = v[l->n_rounds - 1];
    lm_free(v);
    return m;
}

static lm_status sum_up(bench_line *l, lm_error *err)
{
    lm_error local = { 0 };
    double before, after;
    l->median = median(l, offsetof(bench_round, value), &l->low, &l->high, &local);
    l->share = median(l, offsetof(bench_round, share), NULL, NULL, &local);
    before = median(l, offsetof(bench_round, before), NULL, NULL, &local);
    after = median(l, offsetof(bench_round, after), NULL, NULL, &local);
    l->probe = (before + after) / 2;
    return local.status == LM_OK ? LM_OK : lm_fail(err, local.status, "%s", local.text);
}

/* Seconds of one pass. */
static lm_status once(bench *b, const bench_line *l, double *seconds, lm_error *err)
{
    lm_session *s = b->s;
    uint32_t have = lm_session_n_tokens(s);
    /* Depth is read once and kept from round to round. */
    if (have > l->depth)
        LM_TRY(lm_session_truncate(s, l->depth, err));
    have = lm_session_n_tokens(s);
    if (have < l->depth)
        LM_TRY(cli_append(b->c, s, b->ids + have, l->depth - have, err));
    uint64_t start = cli_now_ns();
    if (l->test == BENCH_PREFILL)
        LM_TRY(lm_session_append(s, b->ids + l->depth, l->tokens, err));
    for (uint32_t i = 0; l->test == BENCH_DECODE && i < l->tokens; i++)
        LM_TRY(lm_session_append(s, b->ids + l->depth + i, 1, err));
    *seconds = (double)(cli_now_ns() - start) / 1e9;
    return cli_interrupted() ? lm_fail(err, LM_ERR_CANCELLED, "interrupted") : LM_OK;
}

/* Bytes that a pass has to read (decode), or operations that it has to do. */
static double work_of(const bench *b, const bench_line *l)
{
    const lm_model_info *m = &b->c->info;
    double kv = (double)m->kv_bytes_per_token, n = l->tokens;
    if (l->test == BENCH_PREFILL)
        return 2 * (double)m->chunk_params * n;
    /* Step i sees the depth and the i tokens before it. */
    return n * ((double)m->token_bytes + kv * ((double)l->depth + (n + 1) / 2));
}

static double probe(const bench_line *l)
{
    return l->test == BENCH_PREFILL ? lm_probe_arithmetic(l->isa, l->threads)
                                    : lm_probe_bandwidth(l->threads);
}

/* The first pass: faults the weights in, and says what memory it took.  No probe has
 * run since the peak was forgotten: its block is no part of it. */
static lm_status warm(bench *b, bench_line *l, lm_error *err)
{
    lm_metrics m;
    double seconds = 0;
    bool forgot = lm_process_forget_peak();
    LM_TRY(once(b, l, &seconds, err));
    lm_process_memory(&l->memory);
    lm_session_metrics(b->s, &m);
    b->kv_most = LM_MAX(b->kv_most, m.cache_bytes);
    l->kv_bytes = b->kv_most;
    l->workspace_bytes = b->c->info.workspace_bytes;
    l->has_memory = forgot && l->memory.peak > 0;
    uint64_t allowed = b->c->info.weight_bytes + b->c->info.prepared_bytes + l->kv_bytes + BENCH_SPARE;
    l->over_bytes = l->has_memory && l->memory.peak > allowed ? l->memory.peak - allowed : 0;
    return LM_OK;
}

/* One step of the line for --trace, when its rounds are over. */
static lm_status trace(bench *b, bench_line *l, lm_error *err)
{
    double seconds = 0;
    if (b->traced || cli_text(&b->c->args, OPT_TRACE) == NULL ||
        cli_trace_prefill(b->c) != (l->test == BENCH_PREFILL))
        return LM_OK;
    b->traced = true;
    if (lm_session_n_tokens(b->s) > l->depth) /* a window may have to be read again: untraced */
        LM_TRY(lm_session_truncate(b->s, l->depth, err));
    LM_TRY(cli_trace_begin(b->c, err));
    LM_TRY(once(b, l, &seconds, err));
    return cli_trace_end(b->c, err);
}

lm_status bench_measure(bench *b, bench_line *l, lm_error *err)
{
    double work = work_of(b, l);
    if ((uint64_t)l->depth + l->tokens > b->c->info.context) {
        lm_hint(err, "-c raises the context, up to %u for this pack; -d, -p and -n choose what is measured",
                b->c->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "%s needs %u tokens, the context holds %u", l->label,
                       l->depth + l->tokens, b->c->info.context);
    }
    LM_TRY(warm(b, l, err));
    double before = probe(l);
    for (size_t i = 0; i < b->repeats; i++) {
        bench_round *r = &l->rounds[i];
        LM_TRY(once(b, l, &r->seconds, err));
        r->before = before;
        r->after = before = probe(l);
        r->value = (double)l->tokens / r->seconds;
        double limit = (r->before + r->after) / 2;
        r->share = limit > 0 ? work / r->seconds / limit : 0;
        l->n_rounds = i + 1;
    }
    LM_TRY(trace(b, l, err));
    return sum_up(l, err);
}

lm_status bench_measure_load(bench *b, const lm_model_options *o, lm_error *err)
{
    bench_line *l = NULL;
    lm_model_info info;
    LM_TRY(bench_add(b, &l, err));
    (void)snprintf(l->label, sizeof l->label, "load");
    for (size_t i = 0; i < b->repeats; i++) {
        lm_model *m = NULL;
        LM_TRY(lm_model_open(&m, b->pack, o, err));
        lm_model_get_info(m, &info);
        lm_model_close(m);
        l->rounds[i].seconds = (double)info.load_ns / 1e9;
        l->rounds[i].value = (double)info.load_ns / 1e6;
        l->n_rounds = i + 1;
        if (cli_interrupted())
            return lm_fail(err, LM_ERR_CANCELLED, "interrupted");
    }
    return sum_up(l, err);
}
