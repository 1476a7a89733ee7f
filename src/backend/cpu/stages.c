/* backend/cpu/stages.c - runs a plan: what each thread does in each stage. */
#include <inttypes.h>
#include <string.h>

#include "backend/cpu/plan.h"
#include "base/fail.h"

typedef struct {
    lm_plan *pl;
    const lm_step *s;
    uint32_t me;
    void *scratch;
    lm_lane *lane; /* NULL: nobody watches */
} worker;

/* The first row of a slot as this thread sees it. */
static uint8_t *slot_at(const worker *w, uint32_t i)
{
    const lm_slot *x = &w->pl->slots[i];
    bool own = w->pl->run.few &&
               (x->made == LM_MADE_APART || (x->made == LM_MADE_ATTEND && w->pl->run.split[x->shape]));
    if (own)
        return w->pl->work + w->pl->own_at + w->me * w->pl->own_bytes + x->own;
    /* The result is made where the caller wants it. */
    if (x->made == LM_MADE_TOGETHER && x->root == w->pl->slots[w->pl->p->result].root)
        return (uint8_t *)w->s->logits;
    return w->pl->work + x->shared;
}

static float *row_at(const worker *w, uint32_t slot, uint32_t t)
{
    return (float *)(void *)(slot_at(w, slot) + t * w->pl->slots[slot].row_bytes);
}

/* --- prologue: one token ---------------------------------------------------------- */

static void embed(const worker *w, const lm_op *op, uint32_t t)
{
    const lm_matrix *m = &op->u.embed.w;
    const uint8_t *planes[LM_QUANT_PLANES];
    float *y = row_at(w, op->out, t);
    lm_matrix_row(m, (uint64_t)w->s->ids[t], planes);
    m->quant->to_f32(m->quant, planes, m->cols, y);
    if (op->u.embed.scale < 1.0f || op->u.embed.scale > 1.0f)
        w->pl->d->kernels->scale(y, op->u.embed.scale, y, m->cols);
}

/* Columns [from, from + width) of one token: all of them, or those of some heads. */
static void token_op(const worker *w, const lm_op *op, uint32_t t, uint32_t from, uint32_t width)
{
    const lm_cpu_kernels *k = w->pl->d->kernels;
    if (op->kind == LM_OP_EMBED) {
        embed(w, op, t);
        return;
    }
    const float *x = row_at(w, op->in[0], op->kind == LM_OP_ROWS ? w->s->rows[t] : t) + from;
    const float *z = op->in[1] ? row_at(w, op->in[1], t) + from : NULL;
    float *y = row_at(w, op->out, t) + from;
    switch (op->kind) {
    case LM_OP_NORM:
        k->norm(op->u.norm.kind, width, op->u.norm.group, op->u.norm.weight, op->u.norm.bias, op->u.norm.eps,
                x, y);
        break;
    case LM_OP_ROPE:
        k->rope(&w->pl->p->ropes[op->u.rope.table], row_at(w, w->pl->rope0 + op->u.rope.table, t), width,
                op->u.rope.head_dim, x, y);
        break;
    case LM_OP_ACT: k->act(op->u.act.act, x, y, width); break;
    case LM_OP_GLU: k->glu(op->u.act.act, x, z, y, width); break;
    case LM_OP_ADD: k->add(x, z, y, width); break;
    case LM_OP_SCALE: k->scale(x, op->u.number, y, width); break;
    case LM_OP_SOFTCAP: k->softcap(x, op->u.number, y, width); break;
    default: memcpy(y, x, width * sizeof *y); break; /* rows */
    }
}

/* lm_page_put() for bf16, without a decision for each number. */
static void put_bf16(const lm_page_layout *l, uint8_t *at, uint32_t pos, const float *k, uint32_t kd,
                     const float *v, uint32_t vd)
{
    uint8_t *kb = at + 2 * lm_k_index16(l, pos, 0), *vb = at + l->k_bytes + 2 * lm_v_index16(l, pos, 0);
    for (uint32_t d = 0; d + 2 <= kd; d += 2, kb += 4 * LM_KV_TILE) {
        uint32_t two = lm_f32_to_bf16(k[d]) | (uint32_t)lm_f32_to_bf16(k[d + 1]) << 16;
        memcpy(kb, &two, sizeof two);
    }
    if (kd % 2) {
        uint16_t one = lm_f32_to_bf16(k[kd - 1]);
        memcpy(kb, &one, sizeof one);
    }
    for (uint32_t d = 0; d < vd; d++) {
        uint16_t one = lm_f32_to_bf16(v[d]);
        memcpy(vb + 4 * (size_t)d, &one, sizeof one);
    }
}

/* Keys and values of token t of heads [h0, h1) into their page. */
static void put(const worker *w, const lm_op *op, uint32_t t, uint32_t h0, uint32_t h1)
{
    const lm_page_layout *l = &w->pl->layouts[op->u.attend.group];
    const lm_segment *g = &w->s->segments[lm_plan_segments(w->pl)[t]];
    uint32_t pos = lm_plan_positions(w->pl)[t], kd = op->u.attend.k_dim, vd = op->u.attend.v_dim;
    uint8_t *page = g->tables[op->u.attend.group].pages[pos / LM_PAGE_TOKENS];
    const float *k = row_at(w, op->in[1], t), *v = row_at(w, op->in[2], t);
    const lm_attend_kernel *kernel = w->pl->d->kernels->attend[l->format];
    for (uint32_t h = h0; h < h1; h++)
        if (kernel->put)
            kernel->put(l, page + lm_page_k(l, op->u.attend.slot, h), pos % LM_PAGE_TOKENS,
                        k + (size_t)h * kd, kd, v + (size_t)h * vd, vd);
        else if (l->format == LM_KV_BF16)
            put_bf16(l, page + lm_page_k(l, op->u.attend.slot, h), pos % LM_PAGE_TOKENS, k + (size_t)h * kd,
                     kd, v + (size_t)h * vd, vd);
        else
            lm_page_put(l, page, op->u.attend.slot, h, pos % LM_PAGE_TOKENS, k + (size_t)h * kd, kd,
                        v + (size_t)h * vd, vd);
}

static uint32_t first_span(const lm_shape *s, const lm_segment *g)
{
    return lm_attend_from(s->window, g->pos) / LM_SPAN;
}

/* Merges what the spans of token t gave, for all heads, into this thread's copy. */
static void gather(const worker *w, const lm_att *a, uint32_t t)
{
    const lm_shape *s = &w->pl->shapes[a->shape];
    const lm_segment *g = &w->s->segments[lm_plan_segments(w->pl)[t]];
    if (!w->pl->run.split[a->shape])
        return;
    size_t part = lm_attend_part(a->a.layout);
    uint32_t n = (g->pos + g->count - 1) / LM_SPAN + 1 - first_span(s, g);
    const float *parts = (const float *)(void *)(w->pl->work + s->parts);
    float *out = row_at(w, a->op->out, t);
    for (uint32_t h = 0; h < s->n_heads; h++)
        lm_attend_gather(&a->a, h, parts + ((size_t)t * s->n_heads + h) * s->max_spans * part, n, part,
                         out + (size_t)h * a->a.v_dim, w->scratch);
}

static void micro(const worker *w, const lm_micro *m, uint32_t t)
{
    const lm_plan *pl = w->pl;
    switch (m->kind) {
    case LM_MICRO_OP:
        token_op(w, &pl->p->ops[m->op], t, 0, pl->p->values[pl->p->ops[m->op].out].width);
        break;
    case LM_MICRO_TABLE:
        lm_cpu_rope_table(&pl->p->ropes[m->op], lm_plan_positions(pl)[t], row_at(w, m->to, t));
        break;
    case LM_MICRO_QUANTISE:
        m->layout->quantise(row_at(w, m->from, t), pl->p->values[m->from].width,
                            (uint8_t *)row_at(w, m->to, t));
        break;
    case LM_MICRO_PUT:
        /* With few tokens whoever attends to the positions writes them. */
        if (!pl->run.few)
            put(w, &pl->p->ops[m->op], t, 0, pl->p->ops[m->op].u.attend.n_kv_heads);
        break;
    case LM_MICRO_GATHER: gather(w, &pl->atts[m->to], t); break;
    }
}

static void prologue(const worker *w, const lm_stage *st)
{
    const lm_plan *pl = w->pl;
    for (int wanted = 0; wanted < 2; wanted++) {
        uint32_t n = wanted ? w->s->n_rows : w->s->n_tokens, t0 = 0, t1 = n;
        if (!pl->run.few) {
            t0 = (uint32_t)((uint64_t)n * w->me / pl->d->n_threads);
            t1 = (uint32_t)((uint64_t)n * (w->me + 1) / pl->d->n_threads);
        }
        /* Few tokens are watched operation by operation, many as one. */
        lm_lane *each = pl->run.few ? w->lane : NULL, *all = pl->run.few || t1 == t0 ? NULL : w->lane;
        uint64_t began = lm_lane_begin(all);
        for (uint32_t t = t0; t < t1; t++)
            for (uint32_t i = st->micro0; i < st->micro0 + st->n_micros; i++)
                if (pl->micros[i].wanted == (wanted != 0)) {
                    uint64_t at = lm_lane_begin(each);
                    micro(w, &pl->micros[i], t);
                    LM_LANE_END(each, at, .what = LM_DID_MICRO, .index = i, .a = t);
                }
        LM_LANE_END(all, began, .what = LM_DID_PROLOGUE, .index = (uint32_t)(st - pl->stages), .a = t1 - t0);
    }
}

/* --- main: linears ------------------------------------------------------------------ */

static void epilogue(const worker *w, const lm_op *op, uint32_t row0, uint32_t row1, uint32_t t0, uint32_t t1)
{
    const lm_cpu_kernels *k = w->pl->d->kernels;
    for (uint32_t t = t0; t < t1; t++) {
        const float *x = row_at(w, op->in[0], t) + row0;
        const float *z = op->in[1] ? row_at(w, op->in[1], t) + row0 : NULL;
        float *y = row_at(w, op->out, t) + row0;
        switch (op->kind) {
        case LM_OP_ACT: k->act(op->u.act.act, x, y, row1 - row0); break;
        case LM_OP_GLU: k->glu(op->u.act.act, x, z, y, row1 - row0); break;
        case LM_OP_SCALE: k->scale(x, op->u.number, y, row1 - row0); break;
        default: k->softcap(x, op->u.number, y, row1 - row0); break;
        }
    }
}

/* Output rows [row0, row1) of the tokens (wanted rows) [t0, t1). */
static void bundle_rows(const worker *w, const lm_bundle *b, uint32_t row0, uint32_t row1, uint32_t t0,
                        uint32_t t1)
{
    const lm_plan *pl = w->pl;
    t1 = LM_MIN(t1, pl->slots[pl->lins[b->lin0].op->out].wanted ? w->s->n_rows : w->s->n_tokens);
    if (t0 >= t1)
        return;
    for (uint32_t i = b->lin0; i < b->lin0 + b->n_lins; i++) {
        const lm_lin *l = &pl->lins[i];
        uint64_t began = lm_lane_begin(w->lane);
        l->kernel->run(&l->op->u.linear.w, row0, row1, (uint8_t *)row_at(w, l->x, t0), t1 - t0,
                       row_at(w, l->op->out, t0), b->rows, w->scratch);
        LM_LANE_END(w->lane, began, .what = LM_DID_LINEAR, .index = i, .a = row0, .b = row1, .c = t1 - t0);
        if (l->op->u.linear.bias)
            for (uint32_t t = t0; t < t1; t++) {
                float *y = row_at(w, l->op->out, t) + row0;
                pl->d->kernels->add(y, l->op->u.linear.bias + row0, y, row1 - row0);
            }
    }
    uint64_t began = b->n_epis > 0 ? lm_lane_begin(w->lane) : 0;
    for (uint32_t i = b->epi0; i < b->epi0 + b->n_epis; i++)
        epilogue(w, pl->epis[i].op, row0, row1, t0, t1);
    if (b->n_epis > 0)
        LM_LANE_END(w->lane, began, .what = LM_DID_EPILOGUE, .index = (uint32_t)(b - pl->bundles), .a = row0,
                    .b = row1, .c = t1 - t0);
}

/* The panels [p0, p1) of a stage's bundles, laid end to end. */
static void panels(const worker *w, const lm_stage *st, uint32_t p0, uint32_t p1, uint32_t t0, uint32_t t1)
{
    for (uint32_t i = st->bundle0; i < st->bundle0 + st->n_bundles && p1 > 0; i++) {
        const lm_bundle *b = &w->pl->bundles[i];
        uint32_t n = (b->rows + LM_PANEL - 1) / LM_PANEL, last = LM_MIN(p1, n);
        if (p0 < last)
            bundle_rows(w, b, p0 * LM_PANEL, LM_MIN(last * LM_PANEL, b->rows), t0, t1);
        p0 -= LM_MIN(p0, n);
        p1 -= last;
    }
}

/* What this thread makes when nothing is claimed. */
static void own_panels(const worker *w, const lm_stage *st)
{
    for (uint32_t i = st->bundle0; i < st->bundle0 + st->n_bundles; i++) {
        const lm_bundle *b = &w->pl->bundles[i];
        const uint32_t *cuts = w->pl->cuts + (size_t)i * (w->pl->d->n_threads + 1) + w->me;
        if (cuts[0] < cuts[1])
            bundle_rows(w, b, cuts[0] * LM_PANEL, LM_MIN(cuts[1] * LM_PANEL, b->rows), 0, UINT32_MAX);
    }
}

/* The same with the end of every share left to whoever comes first (own.c). */
static void own_then_claim(const worker *w, const lm_stage *st)
{
    const lm_plan *pl = w->pl;
    uint32_t threads = pl->d->n_threads, n = st->n_pieces, each = st->piece;
    panels(w, st, lm_cpu_share_begins(pl, st, w->me), lm_cpu_share_begins(pl, st, w->me + 1) - n * each, 0,
           UINT32_MAX);
    for (uint32_t c; c = lm_team_claim(pl->d->team, w->me), c < n * threads;) {
        uint32_t end = lm_cpu_share_begins(pl, st, c % threads + 1) - c / threads * each;
        panels(w, st, end - each, end, 0, UINT32_MAX);
    }
}

/* How the linears of a stage are claimed: `panels` by `tokens` at a time. */
typedef struct {
    uint32_t panels, tokens, across, n;
} pieces;

/* Several pieces for each thread.  A kernel lays out the tokens anew for every 8
 * panels, so a matrix that would give smaller pieces is cut along the tokens, in
 * whole tiles of the kernel's. */
static pieces cut_pieces(const worker *w, const lm_stage *st)
{
    uint32_t threads = w->pl->d->n_threads, most = LM_MAX(w->s->n_tokens, w->s->n_rows), cuts = 1;
    uint32_t tile = w->pl->d->isa == LM_ISA_AMX ? 16 : 6;
    pieces p = { .panels = LM_MAX(2u, LM_MIN(st->panels / (threads * 8) & ~1u, 16u)), .tokens = most };
    if (p.panels < 8 && most >= 2 * LM_TOKEN_PIECE) {
        p.panels = 8;
        while (cuts < most / LM_TOKEN_PIECE && (st->panels + 7) / 8 * cuts < 8 * threads)
            cuts++;
        p.tokens = (most + cuts * tile - 1) / (cuts * tile) * tile;
    }
    p.across = (most + p.tokens - 1) / p.tokens;
    p.n = (st->panels + p.panels - 1) / p.panels * p.across;
    return p;
}

/* --- main: attention ------------------------------------------------------------------ */

static void attend_item(const worker *w, const lm_att *a, uint32_t item)
{
    const lm_plan *pl = w->pl;
    const lm_shape *s = &pl->shapes[a->shape];
    uint32_t n_units = pl->run.n_units[a->shape];
    /* Head by head, so that its pages stay near; the longest queries first. */
    uint32_t head = item / n_units;
    const lm_unit *u = &lm_plan_units(pl, a->shape)[n_units - 1 - item % n_units];
    const lm_segment *g = &w->s->segments[u->segment];
    uint32_t t0 = g->first + u->first, q_width = s->n_heads * a->a.k_dim, width = s->n_heads * a->a.v_dim;
    if (pl->run.few && a->op->in[1])
        for (uint32_t t = 0; t < g->count; t++) {
            uint32_t span = (g->pos + t) / LM_SPAN;
            if (span >= u->span0 && span < u->span1)
                put(w, a->op, g->first + t, head, head + 1);
        }
    lm_attend_work work = { .table = &g->tables[s->group],
                            .head = head,
                            .pos = g->pos + u->first,
                            .n = u->n,
                            .span0 = u->span0,
                            .span1 = u->span1,
                            .q = row_at(w, a->op->in[0], t0),
                            .q_stride = q_width };
    if (u->part) {
        size_t part = lm_attend_part(a->a.layout);
        work.parts = (float *)(void *)(pl->work + s->parts) +
                     ((size_t)t0 * s->n_heads * s->max_spans + u->span0 - first_span(s, g)) * part;
        work.part_head = s->max_spans * part;
        work.part_token = s->n_heads * work.part_head;
    } else {
        work.out = row_at(w, a->op->out, t0);
        work.out_stride = width;
    }
    lm_attend_run(&a->a, &work, w->scratch);
}

/* attend_item(), and what it read where somebody watches. */
static void watched_item(const worker *w, const lm_att *a, uint32_t item)
{
    if (!w->lane) {
        attend_item(w, a, item);
        return;
    }
    const lm_shape *s = &w->pl->shapes[a->shape];
    uint32_t n_units = w->pl->run.n_units[a->shape];
    const lm_unit *u = &lm_plan_units(w->pl, a->shape)[n_units - 1 - item % n_units];
    uint32_t pos = w->s->segments[u->segment].pos + u->first, sum = 0;
    uint32_t from = LM_MAX(lm_attend_from(s->window, pos), u->span0 * LM_SPAN);
    uint32_t end = LM_MIN(pos + u->n, u->span1 * LM_SPAN);
    for (uint32_t t = 0; t < u->n; t++) {
        uint32_t first = LM_MAX(lm_attend_from(s->window, pos + t), u->span0 * LM_SPAN);
        uint32_t last = LM_MIN(pos + t + 1, end);
        sum += last > first ? last - first : 0;
    }
    uint64_t began = lm_trace_now();
    attend_item(w, a, item);
    LM_LANE_END(w->lane, began, .what = LM_DID_ATTEND, .index = (uint32_t)(a - w->pl->atts),
                .a = item / n_units, .b = u->n, .c = end - from, .d = sum);
}

static void meet(const worker *w, uint32_t stage)
{
    uint64_t began = lm_lane_begin(w->lane);
    lm_team_barrier(w->pl->d->team, w->me);
    LM_LANE_END(w->lane, began, .what = LM_DID_WAIT, .index = stage);
}

/* The prologue of one head of attend `a`. */
static void head_prologue(const worker *w, const lm_stage *st, uint32_t a, uint32_t head)
{
    const lm_plan *pl = w->pl;
    for (uint32_t t = 0; t < w->s->n_tokens; t++)
        for (uint32_t i = st->micro0; i < st->micro0 + st->n_micros; i++) {
            const lm_micro *m = &pl->micros[i];
            if (m->columns == 0 || m->att != a)
                continue;
            uint64_t at = lm_lane_begin(w->lane);
            token_op(w, &pl->p->ops[m->op], t, head * m->columns, m->columns);
            LM_LANE_END(w->lane, at, .what = LM_DID_MICRO, .index = i, .a = t);
        }
}

/* A stage that threads begin with the heads that are theirs; true if it is done,
 * false if everybody has arrived and the usual way is to be taken.
 * long: own heads, waiting and claiming are one sequence */
static bool open_stage(const worker *w, const lm_stage *st)
{
    const lm_plan *pl = w->pl;
    uint32_t items = 0;
    bool split = false;
    for (uint32_t i = st->att0; i < st->att0 + st->n_atts; i++) {
        split = split || pl->run.split[pl->atts[i].shape];
        items += pl->run.n_units[pl->atts[i].shape] * pl->atts[i].n_left;
    }
    if (split || items > 0)
        lm_team_arrive(pl->d->team, w->me);
    for (uint32_t i = st->att0; i < st->att0 + st->n_atts && !split; i++) {
        const lm_att *a = &pl->atts[i];
        const uint32_t *own = pl->heads + a->heads + 2 * (size_t)w->me;
        uint32_t n = pl->run.n_units[a->shape];
        for (uint32_t h = own[0]; h < own[1]; h++) {
            head_prologue(w, st, i, h);
            for (uint32_t u = 0; u < n; u++)
                watched_item(w, a, h * n + u);
        }
    }
    if (!split && items == 0)
        return true;
    uint64_t began = lm_lane_begin(w->lane);
    lm_team_wait(pl->d->team, w->me);
    LM_LANE_END(w->lane, began, .what = LM_DID_WAIT, .index = (uint32_t)(st - pl->stages));
    if (split)
        return false;
    uint64_t last = UINT64_MAX;
    for (uint32_t c; c = lm_team_claim(pl->d->team, w->me), c < items;) {
        uint32_t i = st->att0, n;
        while (n = pl->run.n_units[pl->atts[i].shape] * pl->atts[i].n_left, c >= n) {
            c -= n;
            i++;
        }
        const lm_att *a = &pl->atts[i];
        n = pl->run.n_units[a->shape];
        uint32_t head = pl->heads[a->heads + 2 * (size_t)pl->d->n_threads + c / n];
        uint64_t at = (uint64_t)i << 32 | head;
        if (last != at)
            head_prologue(w, st, i, head);
        last = at;
        watched_item(w, a, head * n + c % n);
    }
    return true;
}

static void stage_main(const worker *w, const lm_stage *st)
{
    const lm_plan *pl = w->pl;
    uint32_t items = 0;
    /* Linears of few rows, such as the head of a prompt, stream best in one run a thread. */
    bool whole = pl->run.few || (st->few_rows && w->s->n_rows <= LM_FEW);
    pieces p = { 0 };
    for (uint32_t i = st->att0; i < st->att0 + st->n_atts; i++)
        items += pl->run.n_units[pl->atts[i].shape] * pl->shapes[pl->atts[i].shape].n_kv;
    if (!whole && st->panels > 0)
        p = cut_pieces(w, st);
    if (items + p.n > 0)
        for (;;) {
            uint32_t c = lm_team_claim(pl->d->team, w->me);
            if (c >= items + p.n)
                break;
            if (c >= items) {
                uint32_t panel = (c - items) / p.across * p.panels, t = (c - items) % p.across * p.tokens;
                panels(w, st, panel, LM_MIN(panel + p.panels, st->panels), t, t + p.tokens);
                continue;
            }
            uint32_t i = st->att0, n;
            while (n = pl->run.n_units[pl->atts[i].shape] * pl->shapes[pl->atts[i].shape].n_kv, c >= n) {
                c -= n;
                i++;
            }
            watched_item(w, &pl->atts[i], c);
        }
    if (whole && st->n_pieces > 0)
        own_then_claim(w, st);
    else if (whole)
        own_panels(w, st);
}

/* --- a run ------------------------------------------------------------------------------ */

static void member(void *arg, uint32_t me)
{
    lm_plan *pl = arg;
    worker w = { .pl = pl,
                 .s = pl->run.step,
                 .me = me,
                 .lane = pl->run.lanes ? &pl->run.lanes[me] : NULL,
                 .scratch = pl->work + pl->own_at + me * pl->own_bytes + pl->scratch_at };
    for (uint32_t i = 0; i < pl->n_stages; i++) {
        const lm_stage *st = &pl->stages[i];
        bool work = st->n_bundles + st->n_atts > 0, open = pl->run.few && st->open;
        if (!open || !open_stage(&w, st)) {
            prologue(&w, st);
            if (work && (!pl->run.few || st->sync))
                meet(&w, i);
            if (work)
                stage_main(&w, st);
        }
        /* Nobody meets here, so nobody may leave either. */
        if (pl->run.few && i + 1 < pl->n_stages && pl->stages[i + 1].open)
            continue;
        if (me == 0 && w.s->cancel && atomic_load_explicit(w.s->cancel, memory_order_relaxed))
            atomic_store_explicit(&pl->run.stop, i + 1, memory_order_relaxed);
        if (!work && pl->run.few)
            continue;
        if (i + 1 < pl->n_stages)
            meet(&w, i);
        /* Only thread 0 writes it, before the barrier of the stage that it names:
         * all leave after the same stage. */
        uint32_t stop = atomic_load_explicit(&pl->run.stop, memory_order_relaxed);
        if (stop && stop <= i + 1)
            return;
    }
}

static void cut_segment(const lm_plan *pl, uint32_t shape, uint32_t g, uint32_t tokens, bool split)
{
    const lm_shape *s = &pl->shapes[shape];
    const lm_segment *seg = &pl->run.step->segments[g];
    lm_unit *units = lm_plan_units(pl, shape);
    uint32_t *n = &((lm_plan *)(uintptr_t)pl)->run.n_units[shape];
    for (uint32_t t = 0; t < seg->count; t += tokens) {
        lm_unit u = { .segment = g, .first = t, .n = LM_MIN(tokens, seg->count - t) };
        u.span0 = lm_attend_from(s->window, seg->pos + t) / LM_SPAN;
        u.span1 = (seg->pos + t + u.n - 1) / LM_SPAN + 1;
        if (!split) {
            units[(*n)++] = u;
            continue;
        }
        u.part = true;
        for (uint32_t end = u.span1; u.span0 < end; u.span0++) {
            u.span1 = u.span0 + 1;
            units[(*n)++] = u;
        }
    }
}

/* Who attends to what in this step: decided once, from the segments alone. */
static void make_units(lm_plan *pl)
{
    const lm_step *s = pl->run.step;
    uint32_t threads = pl->d->n_threads;
    for (uint32_t i = 0; i < pl->n_shapes; i++) {
        const lm_shape *x = &pl->shapes[i];
        uint32_t live = 0, tokens = lm_attend_tokens(x->per_kv);
        bool far = false;
        for (uint32_t g = 0; g < s->n_segments; g++) {
            const lm_segment *seg = &s->segments[g];
            live += seg->count > 0;
            far = far || (seg->count > 0 && (seg->pos + seg->count - 1) / LM_SPAN > first_span(x, seg));
        }
        uint32_t items = live * x->n_kv;
        bool split = pl->run.few && x->max_spans > 0 && far && items < 4 * threads && items % threads != 0;
        if (pl->run.few)
            tokens = LM_FEW; /* a segment whole: who attends also stores */
        else
            while (tokens > 4 && (s->n_tokens / tokens + live) * x->n_kv < 4 * threads)
                tokens /= 2;
        pl->run.split[i] = split;
        pl->run.n_units[i] = 0;
        for (uint32_t g = 0; g < s->n_segments; g++)
            cut_segment(pl, i, g, tokens, split);
    }
}

static lm_status check_segment(const lm_plan *pl, const lm_step *s, uint32_t g, lm_error *err)
{
    const lm_segment *seg = &s->segments[g];
    if (seg->count == 0)
        return LM_OK;
    if (seg->first > s->n_tokens || seg->count > s->n_tokens - seg->first || seg->pos > pl->o.max_context ||
        seg->count > pl->o.max_context - seg->pos)
        return lm_fail(err, LM_ERR_INTERNAL,
                       "segment %" PRIu32 " has %" PRIu32 " tokens at position %" PRIu32
                       ", planned were %" PRIu32 " positions",
                       g, seg->count, seg->pos, pl->o.max_context);
    for (uint32_t i = 0; i < pl->p->n_groups; i++) {
        const lm_page_table *t = &seg->tables[i];
        uint32_t end = (seg->pos + seg->count - 1) / LM_PAGE_TOKENS;
        uint32_t page = lm_attend_from(pl->p->groups[i].window, seg->pos) / LM_PAGE_TOKENS;
        for (; page <= end; page++)
            if (page >= t->n_pages || !t->pages[page])
                return lm_fail(err, LM_ERR_INTERNAL,
                               "segment %" PRIu32 " lacks page %" PRIu32 " of group %" PRIu32, g, page, i);
    }
    return LM_OK;
}

static lm_status check(const lm_plan *pl, const lm_step *s, lm_error *err)
{
    if (s->n_tokens > pl->o.max_tokens || s->n_rows > pl->o.max_rows || s->n_segments > pl->o.max_segments)
        return lm_fail(err, LM_ERR_INTERNAL,
                       "a step of %" PRIu32 " tokens, %" PRIu32 " rows and %" PRIu32
                       " segments, planned were %" PRIu32 ", %" PRIu32 " and %" PRIu32,
                       s->n_tokens, s->n_rows, s->n_segments, pl->o.max_tokens, pl->o.max_rows,
                       pl->o.max_segments);
    for (uint32_t i = 0; i < s->n_rows; i++)
        if (s->rows[i] >= s->n_tokens)
            return lm_fail(err, LM_ERR_INTERNAL, "row %" PRIu32 " of a step of %" PRIu32 " tokens",
                           s->rows[i], s->n_tokens);
    for (uint32_t g = 0; g < s->n_segments; g++)
        LM_TRY(check_segment(pl, s, g, err));
    return LM_OK;
}

lm_status lm_cpu_run(lm_plan *pl, const lm_step *s, lm_error *err)
{
    LM_TRY(check(pl, s, err));
    if (s->n_tokens == 0)
        return LM_OK;
    if (s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed))
        return lm_fail(err, LM_ERR_CANCELLED, "cancelled");
    pl->run.step = s;
    pl->run.few = s->n_tokens <= LM_FEW && s->n_rows <= LM_FEW;
    atomic_store_explicit(&pl->run.stop, 0u, memory_order_relaxed);
    memset(lm_plan_positions(pl), 0, s->n_tokens * sizeof(uint32_t));
    memset(lm_plan_segments(pl), 0, s->n_tokens * sizeof(uint32_t));
    for (uint32_t g = 0; g < s->n_segments; g++)
        for (uint32_t t = 0; t < s->segments[g].count; t++) {
            lm_plan_positions(pl)[s->segments[g].first + t] = s->segments[g].pos + t;
            lm_plan_segments(pl)[s->segments[g].first + t] = g;
        }
    make_units(pl);
    pl->run.lanes = lm_cpu_trace_begin(pl->trace, s);
    lm_team_run(pl->d->team, member, pl);
    lm_cpu_trace_end(pl->trace);
    if (atomic_load_explicit(&pl->run.stop, memory_order_relaxed))
        return lm_fail(err, LM_ERR_CANCELLED, "cancelled");
    worker w = { .pl = pl, .s = s };
    const float *y = row_at(&w, pl->p->result, 0);
    if (y != s->logits && s->n_rows > 0)
        memcpy(s->logits, y, (size_t)s->n_rows * pl->p->n_vocab * sizeof *y);
    return LM_OK;
}
