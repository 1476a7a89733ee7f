/* backend/cpu/trace.c - the lanes of a trace, and what their records mean. */
#define _GNU_SOURCE
#include "backend/cpu/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/plan.h"
#include "base/fail.h"
#include "base/mem.h"

/* Records of one thread: a prefill step of 512 tokens of a model of 36 layers has
 * some 20,000. */
enum { LANE = 1 << 16 };

struct lm_cpu_trace {
    lm_trace_kind kind;
    uint32_t left, seen, n_threads; /* steps still to record, recorded */
    bool recording;
    lm_trace_step step;
    lm_lane *lanes; /* [n_threads] */
};

uint64_t lm_trace_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void lm_lane_put(lm_lane *l, const lm_record *r)
{
    if (l->n < l->cap)
        l->at[l->n++] = *r;
    else
        l->lost++;
}

lm_lane *lm_cpu_trace_begin(lm_cpu_trace *t, const lm_step *s)
{
    bool decode = true;
    if (!t || t->left == 0)
        return NULL;
    for (uint32_t g = 0; g < s->n_segments; g++)
        decode = decode && s->segments[g].count <= 1;
    if (decode != (t->kind == LM_TRACE_DECODE))
        return NULL;
    t->left--;
    t->seen++;
    t->recording = true;
    for (uint32_t i = 0; i < t->n_threads; i++) {
        t->lanes[i].n = 0;
        t->lanes[i].lost = 0;
    }
    t->step = (lm_trace_step){ .n_tokens = s->n_tokens,
                               .n_rows = s->n_rows,
                               .n_segments = s->n_segments,
                               .n_threads = t->n_threads,
                               .first_pos = s->n_segments ? s->segments[0].pos : 0,
                               .nth = t->seen,
                               .start_ns = lm_trace_now() };
    return t->lanes;
}

void lm_cpu_trace_end(lm_cpu_trace *t)
{
    if (!t || !t->recording)
        return;
    t->step.end_ns = lm_trace_now();
    t->recording = false;
    for (uint32_t i = 0; i < t->n_threads; i++) {
        t->step.n_pieces += t->lanes[i].n;
        t->step.n_lost += t->lanes[i].lost;
    }
}

void lm_cpu_trace_free(lm_cpu_trace *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; t->lanes && i < t->n_threads; i++)
        lm_free(t->lanes[i].at);
    lm_free(t->lanes);
    lm_free(t);
}

static lm_status take_lanes(lm_cpu_trace *t, lm_error *err)
{
    LM_TRY(lm_new_aligned((void **)&t->lanes, t->n_threads * sizeof *t->lanes, err));
    memset(t->lanes, 0, t->n_threads * sizeof *t->lanes);
    for (uint32_t i = 0; i < t->n_threads; i++) {
        LM_TRY(LM_NEW(&t->lanes[i].at, LANE, err));
        memset(t->lanes[i].at, 1, LANE * sizeof(lm_record)); /* no page faults while recording */
        t->lanes[i].cap = LANE;
    }
    return LM_OK;
}

lm_status lm_cpu_trace_ask(lm_plan *pl, lm_trace_kind kind, uint32_t nth, lm_error *err)
{
    if (!pl->trace) {
        lm_cpu_trace *t = NULL;
        if (nth == 0)
            return LM_OK;
        LM_TRY(LM_NEW(&t, 1, err));
        t->n_threads = pl->d->n_threads;
        lm_status s = take_lanes(t, err);
        if (s != LM_OK) {
            lm_cpu_trace_free(t);
            return s;
        }
        pl->trace = t;
    }
    if (nth > 0) {
        pl->trace->seen = 0;
        pl->trace->kind = kind;
    }
    pl->trace->left = nth;
    return LM_OK;
}

bool lm_cpu_trace_step(const lm_plan *pl, lm_trace_step *out)
{
    if (!pl->trace || pl->trace->seen == 0)
        return false;
    *out = pl->trace->step;
    return true;
}

/* --- what records mean -------------------------------------------------------- */

static uint64_t matrix_row_bytes(const lm_matrix *w)
{
    uint64_t n = 0;
    for (int k = 0; k < w->quant->n_planes; k++)
        n += lm_quant_row_bytes(w->quant, k, w->cols);
    return n;
}

static void say_op(const lm_plan *pl, const lm_op *op, lm_trace_piece *p)
{
    p->name = lm_op_name(op->kind);
    p->weight = op->name ? op->name : "";
    p->layer = op->layer;
    (void)snprintf(p->shape, sizeof p->shape, "[%" PRIu32 "]", pl->p->values[op->out].width);
    if (op->kind == LM_OP_EMBED)
        p->bytes = matrix_row_bytes(&op->u.embed.w);
}

static void say_micro(const lm_plan *pl, const lm_record *r, lm_trace_piece *p)
{
    static const char *const names[] = { [LM_MICRO_OP] = "",
                                         [LM_MICRO_TABLE] = "rope table",
                                         [LM_MICRO_QUANTISE] = "quantise",
                                         [LM_MICRO_PUT] = "store k v",
                                         [LM_MICRO_GATHER] = "gather" };
    const lm_micro *m = &pl->micros[r->index];
    p->stage = m->stage;
    p->layer = pl->stages[m->stage].layer;
    if (m->kind == LM_MICRO_OP) {
        say_op(pl, &pl->p->ops[m->op], p);
        return;
    }
    p->name = names[m->kind];
    if (m->kind == LM_MICRO_QUANTISE) {
        p->kernel = m->layout->name;
        (void)snprintf(p->shape, sizeof p->shape, "[%" PRIu32 "]", pl->p->values[m->from].width);
    }
}

static void say_linear(const lm_plan *pl, const lm_record *r, lm_trace_piece *p)
{
    const lm_lin *l = &pl->lins[r->index];
    const lm_matrix *w = &l->op->u.linear.w;
    uint64_t rows = r->b - r->a;
    p->name = "linear";
    p->kernel = l->kernel->name;
    p->weight = l->op->name ? l->op->name : "";
    p->layer = l->op->layer;
    p->stage = l->stage;
    p->bytes = rows * matrix_row_bytes(w);
    p->ops = 2 * rows * w->cols * r->c;
    (void)snprintf(p->shape, sizeof p->shape,
                   "[%" PRIu32 ", %" PRIu32 "] %s, rows %" PRIu32 " to %" PRIu32 ", %" PRIu32 " token%s",
                   w->rows, w->cols, w->quant->name, r->a, r->b, r->c, r->c == 1 ? "" : "s");
}

static void say_attend(const lm_plan *pl, const lm_record *r, lm_trace_piece *p)
{
    const lm_att *t = &pl->atts[r->index];
    const lm_attend *a = &t->a;
    p->name = "attend";
    p->kernel = a->k->name;
    p->layer = t->op->layer;
    p->stage = t->stage;
    p->bytes = (uint64_t)r->c * ((a->layout->k_bytes + a->layout->v_bytes) / LM_PAGE_TOKENS);
    p->ops = 2 * (uint64_t)r->d * a->per_kv * (a->k_dim + a->v_dim);
    (void)snprintf(
        p->shape, sizeof p->shape,
        "head %" PRIu32 " of %" PRIu32 " (x %" PRIu32 "), %" PRIu32 " token%s, %" PRIu32 " positions, %s",
        r->a, pl->shapes[t->shape].n_kv, a->per_kv, r->b, r->b == 1 ? "" : "s", r->c, lm_kv_name(pl->o.kv));
}

static void say(const lm_plan *pl, const lm_record *r, lm_trace_piece *p)
{
    const lm_bundle *b = &pl->bundles[r->index];
    switch ((lm_did)r->what) {
    case LM_DID_MICRO: say_micro(pl, r, p); break;
    case LM_DID_LINEAR: say_linear(pl, r, p); break;
    case LM_DID_ATTEND: say_attend(pl, r, p); break;
    case LM_DID_EPILOGUE:
        say_op(pl, pl->epis[b->epi0].op, p);
        p->stage = b->stage;
        (void)snprintf(p->shape, sizeof p->shape, "rows %" PRIu32 " to %" PRIu32 ", %" PRIu32 " token%s",
                       r->a, r->b, r->c, r->c == 1 ? "" : "s");
        break;
    case LM_DID_PROLOGUE:
    case LM_DID_WAIT:
        p->name = r->what == LM_DID_WAIT ? "wait" : "prologue";
        p->stage = r->index;
        p->layer = pl->stages[r->index].layer;
        if (r->what == LM_DID_PROLOGUE)
            (void)snprintf(p->shape, sizeof p->shape, "%" PRIu32 " operations of %" PRIu32 " tokens",
                           pl->stages[r->index].n_micros, r->a);
        break;
    }
}

void lm_cpu_trace_read(const lm_plan *pl, void (*each)(void *user, const lm_trace_piece *piece), void *user)
{
    for (uint32_t t = 0; pl->trace && t < pl->trace->n_threads; t++)
        for (uint32_t i = 0; i < pl->trace->lanes[t].n; i++) {
            const lm_record *r = &pl->trace->lanes[t].at[i];
            lm_trace_piece p = {
                .kernel = "", .weight = "", .thread = t, .start_ns = r->start, .end_ns = r->end
            };
            say(pl, r, &p);
            each(user, &p);
        }
}
