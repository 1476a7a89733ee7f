/* backend/cpu/attend.c - drives an attention kernel over the pages of a segment. */
#include "backend/cpu/attend.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"

/* What a piece of work keeps for its rows; a row is (token, head of the group). */
typedef struct {
    size_t q_stride;
    uint8_t *q;    /* [rows] as the kernel wants it */
    float *scores; /* [rows][64] */
    size_t p_stride;
    uint8_t *p;                         /* [rows][p_stride bytes] */
    uint8_t *block;                     /* [64 * v_pad bytes]: the kernel's */
    float *acc;                         /* [rows][v_pad]: of the span */
    float *total;                       /* [rows][v_pad]: of the spans before it */
    float *max, *sum, *c, *tmax, *tsum; /* [rows] */
} rows;

static uint32_t most_rows(const lm_attend *a)
{
    return lm_attend_tokens(a->per_kv) * a->per_kv;
}

static size_t lay_out(const lm_attend *a, uint8_t *at, rows *r)
{
    size_t n = most_rows(a), v = n * a->layout->v_pad * sizeof(float), one = n * sizeof(float);
    size_t used = 0;
    r->q_stride = (size_t)lm_round_up(4 * (uint64_t)a->layout->k_pad, 64);
    r->p_stride = lm_attend_weights(a->layout);
#define PLACE(field, bytes)                                                                                  \
    r->field = (void *)(at + used);                                                                          \
    used += (size_t)lm_round_up(bytes, 64)
    PLACE(q, n * r->q_stride);
    PLACE(scores, n * LM_BLOCK * sizeof(float));
    PLACE(p, n * r->p_stride);
    PLACE(block, LM_BLOCK * (size_t)a->layout->v_pad);
    PLACE(acc, v);
    PLACE(total, v);
    PLACE(max, one);
    PLACE(sum, one);
    PLACE(c, one);
    PLACE(tmax, one);
    PLACE(tsum, one);
#undef PLACE
    return used;
}

size_t lm_attend_scratch(const lm_attend *a)
{
    static uint8_t origin[64]; /* addresses are computed from it and never used */
    rows r;
    return lay_out(a, origin, &r);
}

/* Total := nothing, or the sink: a logit without a value. */
static void begin_total(const lm_attend *a, uint32_t head, float *max, float *sum, float *acc)
{
    *max = a->sinks ? a->sinks[head] : -INFINITY;
    *sum = a->sinks ? 1.0f : 0.0f;
    memset(acc, 0, a->layout->v_pad * sizeof *acc);
}

/* The first span of a query without a sink is the total; others are merged. */
static void add_part(const lm_attend *a, float *tmax, float *tsum, float *tacc, float max, float sum,
                     const float *acc)
{
    if (*tsum > 0 || *tsum < 0 || a->sinks) {
        a->kernels->merge(tmax, tsum, tacc, max, sum, acc, a->layout->v_pad);
        return;
    }
    *tmax = max;
    *tsum = sum;
    memcpy(tacc, acc, a->layout->v_pad * sizeof *tacc);
}

/* One block for the rows [r0, r1), all of which see some of it. */
static void one_block(const lm_attend *a, const lm_attend_work *w, const rows *x, uint32_t page, uint32_t r0,
                      uint32_t r1, const uint8_t *next)
{
    const uint8_t *k = w->table->pages[page] + lm_page_k(a->layout, a->slot, w->head);
    const uint8_t *v = k + a->layout->k_bytes;
    uint32_t first = page * LM_BLOCK, last = first + LM_BLOCK - 1;
    a->k->score(a->layout, k, x->q + r0 * x->q_stride, x->q_stride, r1 - r0,
                x->scores + (size_t)r0 * LM_BLOCK, v);
    for (uint32_t r = r0; r < r1; r++) {
        uint32_t pos = w->pos + r / a->per_kv, from = lm_attend_from(a->window, pos);
        a->k->weigh(a->layout, v, x->scores + (size_t)r * LM_BLOCK, from > first ? from - first : 0,
                    pos < last ? pos - first : LM_BLOCK - 1, a->softcap, &x->max[r], &x->sum[r], &x->c[r],
                    x->p + r * x->p_stride);
    }
    a->k->value(a->layout, v, x->p + r0 * x->p_stride, x->p_stride, r1 - r0, x->c + r0,
                x->acc + (size_t)r0 * a->layout->v_pad, next, x->block);
}

/* The blocks of one span, in order, each for the rows that see some of it:
 * rows are in order of position, so these are neighbours. */
static void one_span(const lm_attend *a, const lm_attend_work *w, const rows *x, uint32_t span)
{
    uint32_t n = w->n * a->per_kv, end = w->pos + w->n; /* positions below it are seen */
    uint32_t from = LM_MAX(span * LM_SPAN, lm_attend_from(a->window, w->pos));
    uint32_t to = LM_MIN((span + 1) * LM_SPAN, end);
    for (uint32_t r = 0; r < n; r++) {
        x->max[r] = -INFINITY;
        x->sum[r] = 0;
    }
    memset(x->acc, 0, (size_t)n * a->layout->v_pad * sizeof(float));
    for (uint32_t page = from / LM_BLOCK; page * LM_BLOCK < to; page++) {
        uint32_t first = page * LM_BLOCK, last = first + LM_BLOCK - 1, t0 = 0, t1 = w->n;
        if (first > w->pos)
            t0 = first - w->pos;
        while (t1 > t0 && lm_attend_from(a->window, w->pos + t1 - 1) > last)
            t1--;
        const uint8_t *next = (page + 1) * LM_BLOCK < end && w->table->pages[page + 1]
                                  ? w->table->pages[page + 1] + lm_page_k(a->layout, a->slot, w->head)
                                  : NULL;
        if (t0 < t1)
            one_block(a, w, x, page, t0 * a->per_kv, t1 * a->per_kv, next);
    }
}

static void give_parts(const lm_attend *a, const lm_attend_work *w, const rows *x)
{
    for (uint32_t r = 0; r < w->n * a->per_kv; r++) {
        size_t head = (size_t)w->head * a->per_kv + r % a->per_kv;
        float *part = w->parts + r / a->per_kv * w->part_token + head * w->part_head;
        part[0] = x->max[r];
        part[1] = x->sum[r];
        memcpy(part + 16, x->acc + (size_t)r * a->layout->v_pad, a->layout->v_pad * sizeof(float));
    }
}

void lm_attend_run(const lm_attend *a, const lm_attend_work *w, void *scratch)
{
    rows x;
    uint32_t n = w->n * a->per_kv, v_pad = a->layout->v_pad;
    (void)lay_out(a, scratch, &x);
    for (uint32_t r = 0; r < n; r++) {
        size_t head = (size_t)w->head * a->per_kv + r % a->per_kv;
        a->k->query(a->layout, w->q + r / a->per_kv * w->q_stride + head * a->k_dim, a->scale, a->k_dim,
                    x.q + r * x.q_stride);
        if (!w->parts)
            begin_total(a, (uint32_t)head, &x.tmax[r], &x.tsum[r], x.total + (size_t)r * v_pad);
    }
    for (uint32_t span = w->span0; span < w->span1; span++) {
        one_span(a, w, &x, span);
        if (w->parts) {
            give_parts(a, w, &x);
            return;
        }
        for (uint32_t r = 0; r < n; r++)
            if (x.sum[r] > 0 || x.max[r] > -INFINITY)
                add_part(a, &x.tmax[r], &x.tsum[r], x.total + (size_t)r * v_pad, x.max[r], x.sum[r],
                         x.acc + (size_t)r * v_pad);
    }
    for (uint32_t r = 0; r < n; r++) {
        size_t head = (size_t)w->head * a->per_kv + r % a->per_kv;
        a->kernels->finish(x.total + (size_t)r * v_pad, x.tsum[r],
                           w->out + r / a->per_kv * w->out_stride + head * a->v_dim, a->v_dim);
    }
}

void lm_attend_gather(const lm_attend *a, uint32_t head, const float *parts, uint32_t n, size_t stride,
                      float *out, void *scratch)
{
    float *total = scratch, max, sum;
    begin_total(a, head, &max, &sum, total);
    for (uint32_t i = 0; i < n; i++, parts += stride)
        if (parts[1] > 0 || parts[0] > -INFINITY)
            add_part(a, &max, &sum, total, parts[0], parts[1], parts + 16);
    a->kernels->finish(total, sum, out, a->v_dim);
}
