/* tools/trace.c - a recorded step as Chrome trace events.
 *
 * chrome://tracing and Perfetto open it: a row for each thread, a bar for each
 * piece of work.  A thread's limit is its share of what all can read or multiply
 * together; a piece is judged by the nearer of the two. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/str.h"
#include "engine/engine.h"
#include "lemma/lemma.h"

typedef struct {
    lm_str s;
    const lm_model *m;
    lm_trace_step step;
    lm_trace_summary sum; /* times in ns until the end */
} writer;

/* A string of a pack's: escaped for JSON, and short. */
static void add_name(lm_str *s, const char *name)
{
    lm_quoted_buf q;
    lm_str_addc(s, '"');
    for (const char *p = lm_quoted_z(&q, name); *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            lm_str_addc(s, '\\');
        lm_str_addc(s, *p);
    }
    lm_str_addc(s, '"');
}

static void count(writer *w, const lm_trace_piece *p)
{
    double ns = (double)(p->end_ns - p->start_ns);
    if (strcmp(p->name, "wait") == 0)
        w->sum.wait += ns;
    else if (strcmp(p->name, "linear") == 0)
        w->sum.linear += ns;
    else if (strcmp(p->name, "attend") == 0)
        w->sum.attend += ns;
    else
        w->sum.other += ns;
}

static void add_piece(void *user, const lm_trace_piece *p)
{
    writer *w = user;
    double ns = (double)(p->end_ns - p->start_ns), n = w->step.n_threads;
    double read = ns > 0 ? (double)p->bytes / ns * 1e9 : 0, ops = ns > 0 ? (double)p->ops / ns * 1e9 : 0;
    double of_read = w->sum.read_rate > 0 ? read * n / w->sum.read_rate : 0;
    double of_ops = w->sum.op_rate > 0 ? ops * n / w->sum.op_rate : 0;
    count(w, p);
    lm_str_addz(&w->s, ",\n{\"name\":");
    add_name(&w->s, *p->weight ? p->weight : p->name);
    lm_str_addf(&w->s,
                ",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%" PRIu32
                ",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"op\":\"%s\",\"layer\":%" PRIu32 ",\"stage\":%" PRIu32,
                p->name, p->thread, (double)(p->start_ns - w->step.start_ns) / 1e3, ns / 1e3, p->name,
                p->layer, p->stage);
    if (p->shape[0])
        lm_str_addf(&w->s, ",\"shape\":\"%s\"", p->shape);
    if (p->kernel[0])
        lm_str_addf(&w->s, ",\"kernel\":\"%s\"", p->kernel);
    if (p->bytes)
        lm_str_addf(&w->s, ",\"bytes\":%" PRIu64 ",\"GB/s\":%.2f", p->bytes, read / 1e9);
    if (p->ops)
        lm_str_addf(&w->s, ",\"GOP/s\":%.1f", ops / 1e9);
    if (p->bytes || p->ops)
        lm_str_addf(&w->s, ",\"limit\":\"%s\",\"share of limit\":%.3f",
                    of_read >= of_ops ? "read" : "arithmetic", LM_MAX(of_read, of_ops));
    lm_str_addz(&w->s, "}}");
}

static void add_head(writer *w)
{
    const lm_trace_step *t = &w->step;
    lm_str_addz(&w->s, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"pack\":");
    add_name(&w->s, w->m->info.path);
    lm_str_addf(&w->s,
                ",\"version\":\"%s\",\"device\":\"%s\",\"kv\":\"%s\",\"tokens\":%" PRIu32
                ",\"position\":%" PRIu32 ",\"nth\":%" PRIu32 ",\"step_us\":%.3f,\"pieces\":%" PRIu64
                ",\"lost\":%" PRIu64 ",\"read_bytes_per_second\":%.0f,\"operations_per_second\":%.0f},\n",
                lm_version(), w->m->info.device, w->m->info.kv, t->n_tokens, t->first_pos, t->nth,
                (double)(t->end_ns - t->start_ns) / 1e3, t->n_pieces, t->n_lost, w->sum.read_rate,
                w->sum.op_rate);
    lm_str_addz(&w->s, "\"traceEvents\":[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{"
                       "\"name\":\"lemma\"}}");
    for (uint32_t i = 0; i < t->n_threads; i++)
        lm_str_addf(&w->s,
                    ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%" PRIu32
                    ",\"args\":{\"name\":\"thread %" PRIu32 "\"}}",
                    i, i);
}

lm_status lm_model_trace_write(lm_model *m, const char *path, lm_trace_summary *out, lm_error *err)
{
    writer w = { .m = m };
    if (!m->backend->trace_step || !m->backend->trace_step(m->plan, &w.step)) {
        lm_hint(err, "a decode step comes with the second new token, a prefill step with a longer prompt");
        return lm_fail(err, LM_ERR_NOT_FOUND, "no step of the kind to trace was run");
    }
    w.sum.read_rate = lm_probe_bandwidth(w.step.n_threads);
    char isa[32] = ""; /* "cpu avx512 precise, 2 threads" */
    (void)sscanf(m->info.device, "cpu %31[a-z0-9]", isa);
    w.sum.op_rate = lm_probe_arithmetic(isa, w.step.n_threads);
    add_head(&w);
    m->backend->trace_read(m->plan, add_piece, &w);
    lm_str_addz(&w.s, "\n]}\n");
    lm_status s = lm_str_status(&w.s, err);
    if (s == LM_OK)
        s = lm_write_file(path, lm_str_z(&w.s), w.s.n, 0644, err);
    lm_str_clear(&w.s);
    if (s != LM_OK || !out)
        return s;
    double all = LM_MAX(w.sum.linear + w.sum.attend + w.sum.other + w.sum.wait, 1.0);
    *out = (lm_trace_summary){ .n_tokens = w.step.n_tokens,
                               .first_pos = w.step.first_pos,
                               .nth = w.step.nth,
                               .step_ns = w.step.end_ns - w.step.start_ns,
                               .n_pieces = w.step.n_pieces,
                               .n_lost = w.step.n_lost,
                               .linear = w.sum.linear / all,
                               .attend = w.sum.attend / all,
                               .other = w.sum.other / all,
                               .wait = w.sum.wait / all,
                               .read_rate = w.sum.read_rate,
                               .op_rate = w.sum.op_rate };
    return LM_OK;
}

lm_status lm_model_trace(lm_model *m, bool prefill, uint32_t nth, lm_error *err)
{
    if (!m->backend->trace)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the backend %s records no steps, cpu does",
                       m->backend->name);
    return m->backend->trace(m->plan, prefill ? LM_TRACE_PREFILL : LM_TRACE_DECODE, nth, err);
}
