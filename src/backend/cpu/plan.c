/* backend/cpu/plan.c - compiles a program: which operation runs in which stage,
 * which memory its values have, and how linears are shared out.
 *
 * Stages come from the data alone: an operation runs in the first stage in which
 * its inputs are there.  A linear or an attend is main work, ready one barrier
 * later; everything else is prologue, ready at once for the same token; and what
 * follows a linear number by number is done by the thread that made the rows.
 * No family is known here.
 */
#include "backend/cpu/plan.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"

typedef enum { PROLOGUE, MAIN, EPILOGUE } role;

/* Where each operation runs; for the length of compile. */
typedef struct {
    uint32_t stage;
    role role;
    uint32_t bundle; /* linears and epilogues: union-find over operations */
} at;

typedef struct {
    lm_plan *pl;
    const lm_program *p;
    at *ops; /* [n_ops] */
    lm_error *err;
} compiler;

static lm_status take(lm_plan *pl, void *out, size_t n, size_t size, lm_error *err)
{
    void *mem = NULL;
    LM_TRY(lm_new(&mem, LM_MAX(n, (size_t)1), size, err));
    memcpy(out, &mem, sizeof mem);
    pl->bytes += LM_MAX(n, (size_t)1) * size;
    return LM_OK;
}
#define TAKE(pl, field, n, err) take(pl, &(pl)->field, n, sizeof *(pl)->field, err)

void lm_cpu_plan_free(lm_plan *pl)
{
    if (!pl)
        return;
    lm_free(pl->layouts);
    lm_free(pl->slots);
    lm_free(pl->micros);
    lm_free(pl->lins);
    lm_free(pl->bundles);
    lm_free(pl->epis);
    lm_free(pl->atts);
    lm_free(pl->stages);
    lm_free(pl->cuts);
    lm_free(pl->heads);
    lm_free(pl->work);
    lm_cpu_trace_free(pl->trace);
    lm_free(pl);
}

/* --- stages -------------------------------------------------------------------- */

static const at *maker(const compiler *c, lm_val v)
{
    return &c->ops[c->p->values[v].first_op];
}

static bool in_main(const at *a)
{
    return a->role != PROLOGUE;
}

/* The first stage in which v can be read by a prologue, or as a linear's input. */
static uint32_t ready(const compiler *c, lm_val v)
{
    const at *a = maker(c, v);
    return a->stage + (in_main(a) ? 1u : 0u);
}

static uint32_t bundle_of(const compiler *c, uint32_t op)
{
    while (c->ops[op].bundle != op)
        op = c->ops[op].bundle;
    return op;
}

/* Whether all inputs are made row by row by linears of one stage. */
static bool is_epilogue(const compiler *c, const lm_op *op)
{
    if (op->kind != LM_OP_ACT && op->kind != LM_OP_GLU && op->kind != LM_OP_SCALE &&
        op->kind != LM_OP_SOFTCAP)
        return false;
    for (int k = 0; k < 3; k++) {
        if (!op->in[k])
            continue;
        const at *a = maker(c, op->in[k]);
        const lm_op *from = &c->p->ops[c->p->values[op->in[k]].first_op];
        if (!in_main(a) || from->kind == LM_OP_ATTEND || a->stage != maker(c, op->in[0])->stage)
            return false;
    }
    return true;
}

/* The stage of the last attend before op `i` that wrote the pages it reads. */
static uint32_t written(const compiler *c, uint32_t i)
{
    const lm_op *op = &c->p->ops[i];
    uint32_t s = 0;
    for (uint32_t k = 0; k < i; k++) {
        const lm_op *w = &c->p->ops[k];
        if (w->kind == LM_OP_ATTEND && w->u.attend.group == op->u.attend.group &&
            w->u.attend.slot == op->u.attend.slot)
            s = LM_MAX(s, c->ops[k].stage + 1);
    }
    return s;
}

static void place_op(compiler *c, uint32_t i)
{
    const lm_op *op = &c->p->ops[i];
    at *a = &c->ops[i];
    *a = (at){ .bundle = i };
    if (is_epilogue(c, op)) {
        a->role = EPILOGUE;
        a->stage = maker(c, op->in[0])->stage;
        for (int k = 0; k < 3; k++)
            if (op->in[k])
                c->ops[bundle_of(c, c->p->values[op->in[k]].first_op)].bundle = i;
        return;
    }
    a->role = op->kind == LM_OP_LINEAR || op->kind == LM_OP_ATTEND ? MAIN : PROLOGUE;
    for (int k = 0; k < 3; k++)
        if (op->in[k])
            a->stage = LM_MAX(a->stage, ready(c, op->in[k]));
    /* rows crosses tokens: what it reads must be behind a barrier. */
    if (op->kind == LM_OP_ROWS && !in_main(maker(c, op->in[0])))
        a->stage = LM_MAX(a->stage, maker(c, op->in[0])->stage + 1);
    if (op->kind == LM_OP_ATTEND)
        a->stage = LM_MAX(a->stage, written(c, i));
}

/* --- micro-operations, linears, attends ------------------------------------------ */

static lm_status add_slot(compiler *c, lm_slot s, uint32_t *out)
{
    lm_plan *pl = c->pl;
    if (pl->n_slots == pl->cap_slots)
        return LM_BUG(true, c->err) ? LM_ERR_INTERNAL : LM_OK;
    s.root = pl->n_slots;
    s.used = true;
    pl->slots[pl->n_slots] = s;
    *out = pl->n_slots++;
    return LM_OK;
}

static void add_micro(compiler *c, lm_micro m)
{
    c->pl->micros[c->pl->n_micros++] = m;
}

/* The activation of v in a layout, quantised in or before stage s. */
static lm_status activation(compiler *c, lm_val v, const lm_act_layout *layout, uint32_t cols, uint32_t s,
                            uint32_t *out)
{
    lm_plan *pl = c->pl;
    for (uint32_t i = 0; i < pl->n_micros; i++) {
        lm_micro *m = &pl->micros[i];
        if (m->kind == LM_MICRO_QUANTISE && m->from == v && m->layout == layout) {
            m->stage = LM_MIN(m->stage, s);
            lm_slot *slot = &pl->slots[m->to];
            slot->first = LM_MIN(slot->first, s);
            slot->last = LM_MAX(slot->last, s);
            *out = m->to;
            return LM_OK;
        }
    }
    lm_slot slot = { .row_bytes = layout->row_bytes(cols),
                     .made = LM_MADE_APART,
                     .wanted = c->p->values[v].wanted,
                     .first = s,
                     .last = s };
    LM_TRY(add_slot(c, slot, out));
    add_micro(c, (lm_micro){ .kind = LM_MICRO_QUANTISE,
                             .from = v,
                             .to = *out,
                             .layout = layout,
                             .stage = s,
                             .wanted = slot.wanted });
    return LM_OK;
}

static lm_status add_linear(compiler *c, uint32_t i)
{
    const lm_op *op = &c->p->ops[i];
    const lm_matrix *w = &op->u.linear.w;
    const lm_cpu_linear *k = lm_cpu_linear_find(c->pl->d->isa, c->pl->d->compute, w->quant, w->cols);
    if (!k)
        return lm_fail(c->err, LM_ERR_UNSUPPORTED,
                       "cpu has no kernel for linear of format %s, %" PRIu32 " wide", w->quant->name,
                       w->cols);
    lm_lin *l = &c->pl->lins[c->pl->n_lins++];
    *l = (lm_lin){ .op = op, .kernel = k, .bundle = bundle_of(c, i), .stage = c->ops[i].stage };
    return activation(c, op->in[0], k->layout, w->cols, l->stage, &l->x);
}

static lm_status shape_of(compiler *c, const lm_op *op, uint32_t *out)
{
    lm_plan *pl = c->pl;
    uint32_t per = op->u.attend.n_heads / op->u.attend.n_kv_heads;
    for (uint32_t i = 0; i < pl->n_shapes; i++)
        if (pl->shapes[i].group == op->u.attend.group && pl->shapes[i].per_kv == per) {
            *out = i;
            return LM_OK;
        }
    if (pl->n_shapes == LM_MAX_SHAPES)
        return lm_fail(c->err, LM_ERR_UNSUPPORTED, "cpu has room for %d shapes of attention, here are more",
                       LM_MAX_SHAPES);
    lm_shape *s = &pl->shapes[pl->n_shapes];
    *s = (lm_shape){ .group = op->u.attend.group,
                     .n_heads = op->u.attend.n_heads,
                     .n_kv = op->u.attend.n_kv_heads,
                     .per_kv = per,
                     .window = c->p->groups[op->u.attend.group].window };
    uint32_t reach = s->window ? LM_MIN(s->window, pl->o.max_context) : pl->o.max_context;
    uint32_t spans = (reach + LM_FEW) / LM_SPAN + 2;
    s->max_spans = pl->d->n_threads > 1 && s->n_kv % pl->d->n_threads != 0 ? spans : 0;
    s->cap_units = pl->o.max_tokens + LM_FEW * (s->max_spans + 1);
    *out = pl->n_shapes++;
    return LM_OK;
}

static lm_status add_attend(compiler *c, uint32_t i)
{
    lm_plan *pl = c->pl;
    const lm_op *op = &c->p->ops[i];
    uint32_t shape = 0;
    LM_TRY(shape_of(c, op, &shape));
    lm_att *t = &pl->atts[pl->n_atts++];
    *t = (lm_att){ .op = op, .shape = shape, .stage = c->ops[i].stage };
    t->a = (lm_attend){ .kernels = pl->d->kernels,
                        .k = pl->d->kernels->attend[pl->o.kv],
                        .layout = &pl->layouts[op->u.attend.group],
                        .n_heads = op->u.attend.n_heads,
                        .per_kv = pl->shapes[shape].per_kv,
                        .k_dim = op->u.attend.k_dim,
                        .v_dim = op->u.attend.v_dim,
                        .slot = op->u.attend.slot,
                        .window = pl->shapes[shape].window,
                        .scale = op->u.attend.scale,
                        .softcap = op->u.attend.softcap,
                        .sinks = op->u.attend.sinks };
    pl->slots[op->out].shape = shape;
    if (op->in[1])
        add_micro(c, (lm_micro){ .kind = LM_MICRO_PUT, .op = i, .stage = t->stage });
    add_micro(c, (lm_micro){ .kind = LM_MICRO_GATHER, .op = i, .to = pl->n_atts - 1, .stage = t->stage + 1 });
    return LM_OK;
}

/* A value of an epilogue takes the place of its first input if nobody else reads
 * that: not even an earlier operation, which may run in a later stage. */
static void share(compiler *c, uint32_t i)
{
    const lm_op *op = &c->p->ops[i];
    if (c->ops[i].role != EPILOGUE || c->p->values[op->in[0]].last_op != i)
        return;
    for (uint32_t k = c->p->values[op->in[0]].first_op; k < i; k++)
        for (int n = 0; n < 3; n++)
            if (c->p->ops[k].in[n] == op->in[0])
                return;
    c->pl->slots[op->out].root = c->pl->slots[op->in[0]].root;
}

static void read_in(compiler *c, lm_val v, uint32_t stage)
{
    lm_slot *s = &c->pl->slots[c->pl->slots[v].root];
    s->last = LM_MAX(s->last, stage);
}

static void lives(compiler *c)
{
    lm_plan *pl = c->pl;
    for (uint32_t i = 0; i < c->p->n_ops; i++) {
        const lm_op *op = &c->p->ops[i];
        for (int k = 0; k < 3; k++)
            if (op->in[k] && op->kind != LM_OP_LINEAR)
                read_in(c, op->in[k], c->ops[i].stage);
        if (op->kind == LM_OP_ROPE)
            read_in(c, pl->rope0 + op->u.rope.table, c->ops[i].stage);
        read_in(c, op->out, c->ops[i].stage + (op->kind == LM_OP_ATTEND ? 1u : 0u));
    }
    for (uint32_t i = 0; i < pl->n_micros; i++)
        if (pl->micros[i].kind == LM_MICRO_QUANTISE)
            read_in(c, pl->micros[i].from, pl->micros[i].stage);
    read_in(c, c->p->result, pl->n_stages);
    /* Without a barrier between, what is read in the stage before an open one is
     * still read when others have begun. */
    for (uint32_t i = 1; i < pl->n_slots; i++) {
        lm_slot *s = &pl->slots[i];
        if (s->last + 1 < pl->n_stages && pl->stages[s->last + 1].open)
            s->last++;
    }
}

static lm_status make_slots(compiler *c)
{
    lm_plan *pl = c->pl;
    const lm_program *p = c->p;
    pl->cap_slots = p->n_values + p->n_ropes + 2 * p->n_ops;
    pl->cap_micros = p->n_ropes + 4 * p->n_ops;
    LM_TRY(TAKE(pl, slots, pl->cap_slots, c->err));
    LM_TRY(TAKE(pl, micros, pl->cap_micros, c->err));
    LM_TRY(TAKE(pl, lins, p->n_ops, c->err));
    LM_TRY(TAKE(pl, bundles, p->n_ops, c->err));
    LM_TRY(TAKE(pl, epis, p->n_ops, c->err));
    LM_TRY(TAKE(pl, atts, p->n_ops, c->err));
    pl->n_slots = 1; /* value 0 is none */
    uint32_t at_slot = 0;
    for (uint32_t v = 1; v < p->n_values; v++) {
        const at *a = maker(c, v);
        const lm_op *op = &p->ops[p->values[v].first_op];
        LM_TRY(add_slot(c,
                        (lm_slot){ .row_bytes = (size_t)lm_round_up(4 * (uint64_t)p->values[v].width, 4),
                                   .made = op->kind == LM_OP_ATTEND ? LM_MADE_ATTEND
                                           : in_main(a)             ? LM_MADE_TOGETHER
                                                                    : LM_MADE_APART,
                                   .wanted = p->values[v].wanted,
                                   .first = a->stage,
                                   .last = a->stage },
                        &at_slot));
    }
    pl->rope0 = pl->n_slots;
    for (uint32_t r = 0; r < p->n_ropes; r++) {
        LM_TRY(add_slot(c, (lm_slot){ .row_bytes = 4 * (size_t)p->ropes[r].n_rot, .made = LM_MADE_APART },
                        &at_slot));
        add_micro(c, (lm_micro){ .kind = LM_MICRO_TABLE, .op = r, .to = at_slot });
    }
    pl->act0 = pl->n_slots;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        const lm_op *op = &p->ops[i];
        if (op->kind == LM_OP_LINEAR)
            LM_TRY(add_linear(c, i));
        else if (op->kind == LM_OP_ATTEND)
            LM_TRY(add_attend(c, i));
        else if (c->ops[i].role == PROLOGUE)
            add_micro(c, (lm_micro){ .kind = LM_MICRO_OP,
                                     .op = i,
                                     .stage = c->ops[i].stage,
                                     .wanted = p->values[op->out].wanted });
        share(c, i);
    }
    return LM_OK;
}

/* --- into stages ------------------------------------------------------------------- */

/* Order inside a prologue: gathered attention and tables, operations, then what
 * quantises and stores them.  Stable, so operations keep the program's order. */
static int rank(const lm_micro *m)
{
    return m->kind == LM_MICRO_GATHER || m->kind == LM_MICRO_TABLE ? 0 : m->kind == LM_MICRO_OP ? 1 : 2;
}

static lm_status sort_micros(compiler *c)
{
    lm_plan *pl = c->pl;
    lm_micro *sorted = NULL;
    uint32_t n = 0;
    LM_TRY(LM_NEW(&sorted, LM_MAX(pl->n_micros, 1u), c->err));
    for (uint32_t s = 0; s < pl->n_stages; s++) {
        pl->stages[s].micro0 = n;
        for (int k = 0; k < 3; k++)
            for (uint32_t i = 0; i < pl->n_micros; i++)
                if (pl->micros[i].stage == s && rank(&pl->micros[i]) == k)
                    sorted[n++] = pl->micros[i];
        pl->stages[s].n_micros = n - pl->stages[s].micro0;
    }
    memcpy(pl->micros, sorted, n * sizeof *sorted);
    pl->n_micros = n;
    lm_free(sorted);
    return LM_OK;
}

static uint64_t row_cost(const lm_matrix *w)
{
    uint64_t n = 0;
    for (int k = 0; k < w->quant->n_planes; k++)
        n += lm_quant_row_bytes(w->quant, k, w->cols);
    return n;
}

/* Bundles in the order of their first linear; linears and epilogues sorted by it. */
static lm_status make_bundles(compiler *c)
{
    lm_plan *pl = c->pl;
    lm_lin *sorted = NULL;
    uint32_t n = 0;
    LM_TRY(LM_NEW(&sorted, LM_MAX(pl->n_lins, 1u), c->err));
    for (uint32_t s = 0; s < pl->n_stages; s++) {
        lm_stage *st = &pl->stages[s];
        st->bundle0 = pl->n_bundles;
        for (uint32_t i = 0; i < pl->n_lins; i++) {
            if (pl->lins[i].stage != s || !pl->lins[i].op)
                continue;
            uint32_t id = pl->lins[i].bundle;
            lm_bundle *b = &pl->bundles[pl->n_bundles++];
            *b = (lm_bundle){
                .rows = pl->lins[i].op->u.linear.w.rows, .stage = s, .lin0 = n, .epi0 = pl->n_epis
            };
            for (uint32_t k = i; k < pl->n_lins; k++)
                if (pl->lins[k].op && pl->lins[k].stage == s && pl->lins[k].bundle == id) {
                    b->panel_cost += LM_PANEL * row_cost(&pl->lins[k].op->u.linear.w);
                    sorted[n++] = pl->lins[k];
                    pl->lins[k].op = NULL; /* taken */
                }
            b->n_lins = n - b->lin0;
            for (uint32_t k = 0; k < c->p->n_ops; k++)
                if (c->ops[k].role == EPILOGUE && bundle_of(c, k) == id)
                    pl->epis[pl->n_epis++] = (lm_epi){ .op = &c->p->ops[k], .bundle = pl->n_bundles - 1 };
            b->n_epis = pl->n_epis - b->epi0;
            st->panels += (b->rows + LM_PANEL - 1) / LM_PANEL;
        }
        st->n_bundles = pl->n_bundles - st->bundle0;
        st->few_rows = true;
        for (uint32_t i = pl->bundles[st->bundle0].lin0; i < n && st->n_bundles > 0; i++)
            st->few_rows = st->few_rows && pl->slots[sorted[i].op->out].wanted;
    }
    memcpy(pl->lins, sorted, n * sizeof *sorted);
    lm_free(sorted);
    return LM_OK;
}

static lm_status make_stages(compiler *c)
{
    lm_plan *pl = c->pl;
    for (uint32_t i = 0; i < c->p->n_ops; i++)
        pl->n_stages = LM_MAX(pl->n_stages, c->ops[i].stage + 1);
    for (uint32_t i = 0; i < pl->n_micros; i++)
        pl->n_stages = LM_MAX(pl->n_stages, pl->micros[i].stage + 1);
    LM_TRY(TAKE(pl, stages, pl->n_stages, c->err));
    for (uint32_t i = 0; i < c->p->n_ops; i++)
        pl->stages[c->ops[i].stage].layer = LM_MAX(pl->stages[c->ops[i].stage].layer, c->p->ops[i].layer);
    LM_TRY(sort_micros(c));
    LM_TRY(make_bundles(c));
    lm_att *sorted = NULL;
    uint32_t n = 0;
    LM_TRY(LM_NEW(&sorted, LM_MAX(pl->n_atts, 1u), c->err));
    for (uint32_t s = 0; s < pl->n_stages; s++) {
        lm_stage *st = &pl->stages[s];
        st->att0 = n;
        for (uint32_t i = 0; i < pl->n_atts; i++)
            if (pl->atts[i].stage == s)
                sorted[n++] = pl->atts[i];
        st->n_atts = n - st->att0;
        for (uint32_t i = st->micro0; i < st->micro0 + st->n_micros; i++) {
            /* gather finds its attend by operation: the order has changed. */
            if (pl->micros[i].kind == LM_MICRO_GATHER && st->n_atts > 0)
                st->sync = true; /* main would overwrite parts that others still gather */
        }
    }
    memcpy(pl->atts, sorted, n * sizeof *sorted);
    lm_free(sorted);
    for (uint32_t i = 0; i < pl->n_micros; i++)
        for (uint32_t k = 0; k < pl->n_atts && pl->micros[i].kind == LM_MICRO_GATHER; k++)
            if (pl->atts[k].op == &c->p->ops[pl->micros[i].op])
                pl->micros[i].to = k;
    return lm_cpu_share_out(pl, c->err);
}

/* --- memory -------------------------------------------------------------------------- */

/* First fit over the lives of slots; `own` places the copies of each thread.
 * Gives the bytes used.  long: one search with two measures. */
static lm_status fit(compiler *c, bool own, size_t *out)
{
    lm_plan *pl = c->pl;
    uint32_t *alive = NULL, n = 0;
    size_t most = 0;
    LM_TRY(LM_NEW(&alive, pl->n_slots, c->err));
    for (uint32_t s = 0; s <= pl->n_stages; s++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++)
            if (pl->slots[alive[i]].last >= s)
                alive[kept++] = alive[i];
        n = kept;
        for (uint32_t v = 1; v < pl->n_slots; v++) {
            lm_slot *x = &pl->slots[v];
            if (x->first != s || x->root != v || (own && x->made == LM_MADE_TOGETHER))
                continue;
            uint64_t rows = own ? LM_FEW : x->wanted ? pl->o.max_rows : pl->o.max_tokens;
            uint64_t bytes;
            if (lm_mul_overflows(rows, x->row_bytes, &bytes) || bytes > SIZE_MAX / 4) {
                lm_free(alive);
                return lm_fail(c->err, LM_ERR_NOMEM, "a value of %" PRIu64 " rows of %zu bytes", rows,
                               x->row_bytes);
            }
            bytes = lm_round_up(bytes, 64);
            size_t place = 0;
            for (uint32_t i = 0; i < n; i++) {
                const lm_slot *y = &pl->slots[alive[i]];
                size_t start = own ? y->own : y->shared;
                uint64_t size = lm_round_up((own         ? LM_FEW
                                             : y->wanted ? pl->o.max_rows
                                                         : pl->o.max_tokens) *
                                                y->row_bytes,
                                            64);
                if (start < place + bytes && place < start + size) {
                    place = start + (size_t)size;
                    i = UINT32_MAX; /* again from the first */
                }
            }
            if (own)
                x->own = place;
            else
                x->shared = place;
            most = LM_MAX(most, place + (size_t)bytes);
            alive[n++] = v;
        }
    }
    lm_free(alive);
    *out = most;
    return LM_OK;
}

static lm_status make_memory(compiler *c)
{
    lm_plan *pl = c->pl;
    size_t shared = 0, own = 0, scratch = 64, used;
    LM_TRY(fit(c, false, &shared));
    LM_TRY(fit(c, true, &own));
    for (uint32_t v = 1; v < pl->n_slots; v++) {
        pl->slots[v].shared = pl->slots[pl->slots[v].root].shared;
        pl->slots[v].own = pl->slots[pl->slots[v].root].own;
    }
    for (uint32_t i = 0; i < pl->n_lins; i++)
        scratch = LM_MAX(scratch, pl->lins[i].kernel->scratch_bytes(
                                      &pl->lins[i].op->u.linear.w, LM_MAX(pl->o.max_tokens, pl->o.max_rows)));
    for (uint32_t i = 0; i < pl->n_atts; i++)
        scratch = LM_MAX(scratch, lm_attend_scratch(&pl->atts[i].a));
    used = (size_t)lm_round_up(shared, 4096);
    pl->own_at = used;
    pl->scratch_at = (size_t)lm_round_up(own, 64);
    pl->own_bytes = (size_t)lm_round_up(pl->scratch_at + scratch, 4096) + 256;
    used += pl->own_bytes * pl->d->n_threads;
    used = (size_t)lm_round_up(used, 64);
    pl->pos_at = used;
    used += (size_t)lm_round_up(4 * (uint64_t)pl->o.max_tokens, 64);
    pl->segment_at = used;
    used += (size_t)lm_round_up(4 * (uint64_t)pl->o.max_tokens, 64);
    for (uint32_t i = 0; i < pl->n_shapes; i++) {
        lm_shape *s = &pl->shapes[i];
        s->units = used;
        used += (size_t)lm_round_up(s->cap_units * sizeof(lm_unit), 64);
        s->parts = used;
        used += (size_t)lm_round_up((uint64_t)LM_FEW * s->n_heads * s->max_spans *
                                        lm_attend_part(&pl->layouts[s->group]) * sizeof(float),
                                    64);
    }
    LM_TRY(lm_new_aligned((void **)&pl->work, used, c->err));
    pl->bytes += used;
    return LM_OK;
}

static lm_status supported(const compiler *c)
{
    if (c->pl->o.max_tokens == 0 || c->pl->o.max_rows == 0 || c->pl->o.max_segments == 0 ||
        c->pl->o.max_context == 0 || (unsigned)c->pl->o.kv >= LM_KV_COUNT)
        return lm_fail(c->err, LM_ERR_USAGE,
                       "a plan needs tokens, rows, segments, context and a cache format");
    for (uint32_t i = 0; i < c->p->n_ops; i++) {
        const lm_op *op = &c->p->ops[i];
        if (op->kind == LM_OP_EMBED && !op->u.embed.w.quant->to_f32)
            return lm_fail(c->err, LM_ERR_UNSUPPORTED, "cpu has no kernel for embed of format %s",
                           op->u.embed.w.quant->name);
        if ((unsigned)op->kind >= LM_OP_COUNT)
            return lm_fail(c->err, LM_ERR_UNSUPPORTED, "cpu has no kernel for operation %d", (int)op->kind);
    }
    return LM_OK;
}

static lm_status compile(compiler *c)
{
    lm_plan *pl = c->pl;
    LM_TRY(supported(c));
    LM_TRY(TAKE(pl, layouts, c->p->n_groups, c->err));
    for (uint32_t i = 0; i < c->p->n_groups; i++)
        pl->layouts[i] = lm_page_layout_of(&c->p->groups[i], pl->o.kv);
    LM_TRY(LM_NEW(&c->ops, LM_MAX(c->p->n_ops, 1u), c->err));
    for (uint32_t i = 0; i < c->p->n_ops; i++)
        place_op(c, i);
    LM_TRY(make_slots(c));
    LM_TRY(make_stages(c));
    lives(c);
    return make_memory(c);
}

lm_status lm_cpu_compile(lm_device *d, const lm_program *p, const lm_plan_options *o, lm_plan **out,
                         lm_error *err)
{
    compiler c = { .p = p, .err = err };
    LM_TRY(LM_NEW(&c.pl, 1, err));
    c.pl->bytes = sizeof *c.pl;
    c.pl->d = d;
    c.pl->p = p;
    c.pl->o = *o;
    lm_status status = compile(&c);
    lm_free(c.ops);
    if (status != LM_OK) {
        lm_cpu_plan_free(c.pl);
        return status;
    }
    *out = c.pl;
    return LM_OK;
}
