/* backend/cpu/own.c - which rows of its linears a thread makes when tokens are
 * few, and which heads it may attend to without meeting anybody.
 *
 * The panels of a stage are laid end to end and cut by bytes of weights.  Where
 * the next stage does nothing but attend, every matrix is cut in the same
 * proportions instead: the rows of q, k and v that belong to one key/value head
 * then mostly lie with one thread.  Such a head is its own: the thread norms,
 * turns and stores it and attends to it while others are still multiplying, and
 * no barrier stands between the two stages.  What is left over (a head that the
 * cut goes through) is claimed after everybody has arrived.
 *
 *   q  [ h0 | h0 | h1 : h1 | h2 | h2 ]     two threads, three heads of two:
 *   k  [   h0    |    h1   |    h2   ]     h0 and h2 have owners, h1 is claimed
 *                     ^ cut
 */
#include <string.h>

#include "backend/cpu/plan.h"
#include "base/fail.h"
#include "base/mem.h"

static uint32_t panels_of(const lm_bundle *b)
{
    return (b->rows + LM_PANEL - 1) / LM_PANEL;
}

static uint32_t *cuts_of(const lm_plan *pl, uint32_t bundle)
{
    return pl->cuts + (size_t)bundle * (pl->d->n_threads + 1);
}

static void cut_by_bytes(const lm_plan *pl, const lm_stage *st)
{
    uint64_t total = 0, seen = 0;
    uint32_t threads = pl->d->n_threads, i = 1;
    for (uint32_t b = st->bundle0; b < st->bundle0 + st->n_bundles; b++)
        total += panels_of(&pl->bundles[b]) * pl->bundles[b].panel_cost;
    for (uint32_t b = st->bundle0; b < st->bundle0 + st->n_bundles; b++) {
        uint32_t *cuts = cuts_of(pl, b), n = panels_of(&pl->bundles[b]);
        for (uint32_t k = 0; k < i; k++)
            cuts[k] = 0; /* the cuts so far are in earlier bundles */
        for (uint32_t k = 0; k < n; k++) {
            while (i < threads && seen * threads >= total * i)
                cuts[i++] = k;
            seen += pl->bundles[b].panel_cost;
        }
        for (uint32_t k = i; k <= threads; k++)
            cuts[k] = n;
    }
}

static void cut_alike(const lm_plan *pl, const lm_stage *st)
{
    uint32_t threads = pl->d->n_threads;
    for (uint32_t b = st->bundle0; b < st->bundle0 + st->n_bundles; b++)
        for (uint32_t i = 0; i <= threads; i++)
            cuts_of(pl, b)[i] =
                (uint32_t)(((uint64_t)panels_of(&pl->bundles[b]) * i + threads / 2) / threads);
}

uint32_t lm_cpu_share_begins(const lm_plan *pl, const lm_stage *st, uint32_t thread)
{
    uint32_t at = 0;
    for (uint32_t b = st->bundle0; b < st->bundle0 + st->n_bundles; b++)
        at += cuts_of(pl, b)[thread];
    return at;
}

/* A fixed cut waits for the slowest, and memory does not serve all cores alike: the
 * last sixth of every share goes in pieces to whoever comes first.  A piece has 64
 * rows or more, since four streams of a kernel read it. */
static void cut_ends(lm_plan *pl, lm_stage *st)
{
    uint32_t threads = pl->d->n_threads, least = UINT32_MAX;
    for (uint32_t i = 0; i < threads; i++)
        least = LM_MIN(least, lm_cpu_share_begins(pl, st, i + 1) - lm_cpu_share_begins(pl, st, i));
    st->piece = LM_MIN(LM_MAX(least / 24, 4u), 16u);
    st->n_pieces = least / 6 / st->piece;
}

/* The bundle that makes v, or UINT32_MAX. */
static uint32_t bundle_making(const lm_plan *pl, const lm_stage *st, lm_val v)
{
    for (uint32_t b = st->bundle0; b < st->bundle0 + st->n_bundles; b++) {
        for (uint32_t i = pl->bundles[b].lin0; i < pl->bundles[b].lin0 + pl->bundles[b].n_lins; i++)
            if (pl->lins[i].op->out == v)
                return b;
        for (uint32_t i = pl->bundles[b].epi0; i < pl->bundles[b].epi0 + pl->bundles[b].n_epis; i++)
            if (pl->epis[i].op->out == v)
                return b;
    }
    return UINT32_MAX;
}

static lm_micro *micro_making(const lm_plan *pl, const lm_stage *st, lm_val v)
{
    for (uint32_t i = st->micro0; i < st->micro0 + st->n_micros; i++)
        if (pl->micros[i].kind == LM_MICRO_OP && pl->p->ops[pl->micros[i].op].out == v)
            return &pl->micros[i];
    return NULL;
}

/* Whether an operation works on the columns of each head by themselves. */
static bool by_heads(const lm_op *op, uint32_t columns)
{
    switch (op->kind) {
    case LM_OP_NORM: return op->u.norm.group && columns % op->u.norm.group == 0;
    case LM_OP_ROPE: return op->u.rope.head_dim && columns % op->u.rope.head_dim == 0;
    case LM_OP_ACT:
    case LM_OP_SCALE:
    case LM_OP_SOFTCAP: return true;
    default: return false;
    }
}

/* Whether one operation reads v, once. */
static bool read_once(const lm_plan *pl, lm_val v)
{
    uint32_t n = 0;
    for (uint32_t i = pl->p->values[v].first_op; i <= pl->p->values[v].last_op && i < pl->p->n_ops; i++)
        for (int k = 0; k < 3; k++)
            n += pl->p->ops[i].in[k] == v;
    return n == 1 && v != pl->p->result;
}

/* Walks from input k of an attend back to what the stage before made, and marks
 * the operations on the way as this attend's. */
static bool trace_input(const lm_plan *pl, uint32_t s, uint32_t att, int k, uint32_t *bundle)
{
    const lm_op *op = pl->atts[att].op;
    uint32_t columns = k == 0   ? op->u.attend.n_heads / op->u.attend.n_kv_heads * op->u.attend.k_dim
                       : k == 1 ? op->u.attend.k_dim
                                : op->u.attend.v_dim;
    lm_val v = op->in[k];
    *bundle = UINT32_MAX;
    if (!v)
        return true;
    for (lm_micro *m; (m = micro_making(pl, &pl->stages[s], v)) != NULL; v = pl->p->ops[m->op].in[0]) {
        const lm_op *o = &pl->p->ops[m->op];
        if (o->in[1] || o->in[2] || !by_heads(o, columns) || !read_once(pl, v))
            return false;
        m->att = att;
        m->columns = columns;
    }
    *bundle = bundle_making(pl, &pl->stages[s - 1], v);
    return *bundle != UINT32_MAX && pl->bundles[*bundle].rows == columns * op->u.attend.n_kv_heads;
}

/* The heads of one attend that thread i makes whole: [*h0, *h1). */
static void owned(const lm_plan *pl, const lm_op *op, const uint32_t bundles[3], uint32_t i, uint32_t *h0,
                  uint32_t *h1)
{
    *h0 = 0;
    *h1 = op->u.attend.n_kv_heads;
    for (int k = 0; k < 3; k++)
        if (bundles[k] != UINT32_MAX) {
            const uint32_t *cuts = cuts_of(pl, bundles[k]);
            uint32_t rows = pl->bundles[bundles[k]].rows, each = rows / op->u.attend.n_kv_heads;
            uint32_t from = cuts[i] * LM_PANEL, to = LM_MIN(cuts[i + 1] * LM_PANEL, rows);
            *h0 = LM_MAX(*h0, (from + each - 1) / each);
            *h1 = LM_MIN(*h1, to / each);
        }
}

static bool give_heads(lm_plan *pl, uint32_t att, const uint32_t bundles[3])
{
    lm_att *a = &pl->atts[att];
    uint32_t threads = pl->d->n_threads, n_kv = a->op->u.attend.n_kv_heads, next = 0;
    uint32_t *own = pl->heads + a->heads, *left = own + 2 * (size_t)threads;
    a->n_left = 0;
    for (uint32_t i = 0; i < threads; i++) {
        owned(pl, a->op, bundles, i, &own[2 * i], &own[2 * i + 1]);
        if (own[2 * i] >= own[2 * i + 1])
            return false;
        while (next < own[2 * i])
            left[a->n_left++] = next++;
        next = own[2 * i + 1];
    }
    while (next < n_kv)
        left[a->n_left++] = next++;
    return true;
}

/* Whether threads may begin stage s without having met: see above. */
static bool may_open(lm_plan *pl, uint32_t s)
{
    const lm_stage *st = &pl->stages[s], *before = &pl->stages[s - 1];
    if (st->n_atts == 0 || st->n_bundles > 0 || st->sync || before->n_bundles == 0 || before->n_atts > 0 ||
        pl->d->n_threads < 2)
        return false;
    cut_alike(pl, before);
    for (uint32_t i = st->att0; i < st->att0 + st->n_atts; i++) {
        uint32_t bundles[3];
        for (int k = 0; k < 3; k++)
            if (!trace_input(pl, s, i, k, &bundles[k]))
                return false;
        if (!give_heads(pl, i, bundles))
            return false;
    }
    for (uint32_t i = st->micro0; i < st->micro0 + st->n_micros; i++)
        if (pl->micros[i].kind != LM_MICRO_PUT && pl->micros[i].columns == 0)
            return false;
    return true;
}

lm_status lm_cpu_share_out(lm_plan *pl, lm_error *err)
{
    uint64_t n = 0;
    uint32_t threads = pl->d->n_threads;
    for (uint32_t i = 0; i < pl->n_atts; i++) {
        pl->atts[i].heads = (uint32_t)n;
        n += 2 * (uint64_t)threads + pl->atts[i].op->u.attend.n_kv_heads;
    }
    LM_TRY(LM_NEW(&pl->heads, LM_MAX(n, 1u), err));
    LM_TRY(LM_NEW(&pl->cuts, (size_t)LM_MAX(pl->n_bundles, 1u) * (threads + 1), err));
    pl->bytes += LM_MAX(n, 1u) * sizeof *pl->heads +
                 (uint64_t)LM_MAX(pl->n_bundles, 1u) * (threads + 1) * sizeof *pl->cuts;
    for (uint32_t s = 0; s < pl->n_stages; s++) {
        cut_by_bytes(pl, &pl->stages[s]);
        if (s == 0)
            continue;
        pl->stages[s].open = may_open(pl, s);
        if (!pl->stages[s].open) {
            cut_by_bytes(pl, &pl->stages[s - 1]);
            for (uint32_t i = 0; i < pl->stages[s].n_micros; i++)
                pl->micros[pl->stages[s].micro0 + i].columns = 0;
        }
    }
    /* Where heads have owners, so have rows; attention has the claims of its stage. */
    for (uint32_t s = 0; s < pl->n_stages; s++)
        if (threads > 1 && pl->stages[s].n_bundles > 0 && pl->stages[s].n_atts == 0 &&
            !(s + 1 < pl->n_stages && pl->stages[s + 1].open))
            cut_ends(pl, &pl->stages[s]);
    return LM_OK;
}
