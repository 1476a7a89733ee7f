/* The candidates of a draw, dense and as a list.
 *
 * Loops over the whole row keep LANES running values side by side, so that they
 * become vector code without leave to reorder floating point: the order of the
 * sums is the one written here, on every machine. */
#include "sample/cands.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "sample/order.h"
#include "sample/vexp.h"

enum { LANES = 16, BLOCK = 1024 };

lm_status lm_cands_init(lm_cands *c, uint32_t n_vocab, lm_error *err)
{
    *c = (lm_cands){ .n_vocab = n_vocab };
    lm_status st = LM_NEW(&c->list, n_vocab, err);
    if (st == LM_OK)
        st = LM_NEW(&c->keys, n_vocab, err);
    if (st != LM_OK)
        lm_cands_clear(c);
    return st;
}

void lm_cands_clear(lm_cands *c)
{
    lm_free(c->list);
    lm_free(c->keys);
    *c = (lm_cands){ 0 };
}

float lm_row_max(const float *row, size_t n)
{
    float m[LANES], best = -INFINITY;
    for (size_t j = 0; j < LANES; j++)
        m[j] = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            m[j] = row[i + j] > m[j] ? row[i + j] : m[j];
    for (; i < n; i++)
        best = row[i] > best ? row[i] : best;
    for (size_t j = 0; j < LANES; j++)
        best = m[j] > best ? m[j] : best;
    return best;
}

bool lm_cands_begin(lm_cands *c, float *row)
{
    c->row = row;
    c->dense = true;
    c->sorted = false;
    c->n = 0;
    for (size_t i = 0; i < c->n_vocab; i++) {
        float x = row[i];
        x = x >= -INFINITY ? x : -INFINITY; /* false for NaN alone */
        row[i] = x > FLT_MAX ? FLT_MAX : x;
    }
    c->max = lm_row_max(row, c->n_vocab);
    c->max_known = true;
    return c->max > -INFINITY;
}

float lm_cands_max(lm_cands *c)
{
    if (!c->max_known) {
        if (c->dense) {
            c->max = lm_row_max(c->row, c->n_vocab);
        } else {
            c->max = -INFINITY;
            for (uint32_t i = 0; i < c->n; i++)
                c->max = c->list[i].logit > c->max ? c->list[i].logit : c->max;
        }
        c->max_known = true;
    }
    return c->max;
}

uint32_t lm_cands_count(const lm_cands *c)
{
    if (!c->dense)
        return c->n;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_vocab; i++)
        n += c->row[i] > -INFINITY;
    return n;
}

/* Sum of exp(x - max) over at most BLOCK entries; NaN weighs nothing. */
static double block_norm(const float *x, size_t n, float max)
{
    const lm_f32x4 top = lm_x4(max);
    lm_f32x4 sum[4] = { { 0 } };
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 4; j++)
            sum[j] += lm_exp_neg_x4(lm_x4_load(x + i + 4 * j) - top);
    double total = 0.0;
    for (size_t j = 0; j < 16; j++)
        total += (double)sum[j / 4][j % 4];
    for (; i < n; i++)
        total += (double)lm_exp_neg(x[i] - max);
    return total;
}

/* Sum of d exp(d), d = x - max. */
static double block_weighted(const float *x, size_t n, float max)
{
    const lm_f32x4 top = lm_x4(max), floor = lm_x4(LM_EXP_FLOOR);
    lm_f32x4 sum[4] = { { 0 } };
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (size_t j = 0; j < 4; j++) {
            lm_f32x4 d = lm_x4_load(x + i + 4 * j) - top;
            /* Keeps -infinity times 0 out; the factor is 0 there. */
            sum[j] += lm_x4_pick(d < floor, floor, d) * lm_exp_neg_x4(d);
        }
    }
    double total = 0.0;
    for (size_t j = 0; j < 16; j++)
        total += (double)sum[j / 4][j % 4];
    for (; i < n; i++) {
        float d = x[i] - max;
        total += d < LM_EXP_FLOOR ? 0.0 : (double)(d * lm_exp_neg(d));
    }
    return total;
}

double lm_row_norm(const float *row, size_t n, float max)
{
    double norm = 0.0;
    for (size_t at = 0; at < n; at += BLOCK)
        norm += block_norm(row + at, LM_MIN((size_t)BLOCK, n - at), max);
    return norm;
}

double lm_cands_norm(lm_cands *c, double *weighted)
{
    const float max = lm_cands_max(c);
    double norm = 0.0, second = 0.0;
    if (c->dense) {
        norm = lm_row_norm(c->row, c->n_vocab, max);
        for (size_t at = 0; weighted && at < c->n_vocab; at += BLOCK)
            second += block_weighted(c->row + at, LM_MIN((size_t)BLOCK, c->n_vocab - at), max);
    } else {
        for (uint32_t i = 0; i < c->n; i++) {
            float d = c->list[i].logit - max;
            double e = (double)lm_exp_neg(d);
            norm += e;
            second += d < LM_EXP_FLOOR ? 0.0 : (double)d * e;
        }
    }
    if (weighted)
        *weighted = second;
    return norm;
}

void lm_cands_gather(lm_cands *c, float least)
{
    const float *row = c->row;
    uint32_t n = 0, i = 0;
    /* -infinity is no candidate whatever is asked for. */
    least = least < -FLT_MAX ? -FLT_MAX : least;
    for (; i + LANES <= c->n_vocab; i += LANES) {
        if (!lm_any16_least(row + i, least))
            continue;
        for (uint32_t j = i; j < i + LANES; j++)
            if (row[j] >= least)
                c->list[n++] = (lm_cand){ (int32_t)j, row[j], 0.0f };
    }
    for (; i < c->n_vocab; i++)
        if (row[i] >= least)
            c->list[n++] = (lm_cand){ (int32_t)i, row[i], 0.0f };
    c->n = n;
    c->dense = false;
    c->sorted = false;
}

void lm_cands_to_list(lm_cands *c)
{
    if (c->dense)
        lm_cands_gather(c, -FLT_MAX);
}

void lm_cands_drop_below(lm_cands *c, float least)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->list[i].logit >= least)
            c->list[n++] = c->list[i];
    c->n = n;
}

/* Keys of the k likeliest of the row, unsorted; gives how many there are.  A
 * buffer of several k is filled with whatever beats the k-th best so far and cut
 * back to k when full, so the work is a scan of the row and little else. */
static uint32_t scan_top(const float *row, uint32_t n, uint32_t k, uint64_t *keys)
{
    const uint64_t wanted = LM_MAX(UINT64_C(4) * k, UINT64_C(256));
    const uint32_t cap = (uint32_t)LM_MIN(wanted, (uint64_t)n);
    float bar = -INFINITY; /* a later entry must be above: on a tie the earlier wins */
    uint32_t have = 0, i = 0;
    while (i < n) {
        uint32_t end = LM_MIN(i + LANES, n);
        if (end - i == LANES && !lm_any16_above(row + i, bar)) {
            i = end;
            continue;
        }
        for (; i < end; i++) {
            if (!(row[i] > bar))
                continue;
            if (have == cap && have > k) {
                lm_keys_select(keys, have, k);
                have = k;
                uint64_t worst = keys[0];
                for (uint32_t j = 1; j < k; j++)
                    worst = keys[j] < worst ? keys[j] : worst;
                bar = lm_key_value(worst);
                if (!(row[i] > bar))
                    continue;
            }
            keys[have++] = lm_key(row[i], i);
        }
    }
    if (have > k) {
        lm_keys_select(keys, have, k);
        have = k;
    }
    return have;
}

void lm_cands_keep_top(lm_cands *c, uint32_t k)
{
    uint32_t n = LM_MIN(k, c->dense ? c->n_vocab : c->n);
    if (c->dense) {
        n = scan_top(c->row, c->n_vocab, n, c->keys);
    } else if (c->sorted) {
        c->n = n;
        return;
    } else {
        for (uint32_t i = 0; i < c->n; i++)
            c->keys[i] = lm_key(c->list[i].logit, (uint32_t)c->list[i].token);
        lm_keys_select(c->keys, c->n, n);
    }
    lm_keys_sort(c->keys, n);
    for (uint32_t i = 0; i < n; i++)
        c->list[i] = (lm_cand){ (int32_t)lm_key_token(c->keys[i]), lm_key_value(c->keys[i]), 0.0f };
    c->n = n;
    c->dense = false;
    c->sorted = true;
}

void lm_cands_softmax(lm_cands *c)
{
    const float max = lm_cands_max(c);
    const double norm = lm_cands_norm(c, NULL);
    for (uint32_t i = 0; i < c->n; i++)
        c->list[i].p = (float)((double)lm_exp_neg(c->list[i].logit - max) / norm);
}

static int32_t pick_dense(lm_cands *c, double u, float *p)
{
    const float max = lm_cands_max(c);
    const double norm = lm_cands_norm(c, NULL);
    const double target = u * norm;
    double before = 0.0;
    size_t last = 0;
    for (size_t at = 0; at < c->n_vocab; at += BLOCK) {
        size_t n = LM_MIN((size_t)BLOCK, c->n_vocab - at);
        double sum = block_norm(c->row + at, n, max);
        if (sum > 0.0)
            last = at;
        if (before + sum > target)
            break;
        before += sum;
    }
    /* The sum within a block is taken in another order than block_norm()'s, and
     * may end a rounding short of the target: then its last candidate is meant. */
    size_t end = LM_MIN(last + BLOCK, (size_t)c->n_vocab), chosen = last;
    for (size_t i = last; i < end; i++) {
        double e = (double)lm_exp_neg(c->row[i] - max);
        if (e <= 0.0)
            continue;
        chosen = i;
        before += e;
        if (before > target)
            break;
    }
    *p = (float)((double)lm_exp_neg(c->row[chosen] - max) / norm);
    return (int32_t)chosen;
}

int32_t lm_cands_pick(lm_cands *c, double u, float *p)
{
    if (c->dense)
        return pick_dense(c, u, p);
    lm_cands_softmax(c);
    double total = 0.0, sum = 0.0;
    for (uint32_t i = 0; i < c->n; i++)
        total += (double)c->list[i].p;
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!(c->list[i].p > 0.0f))
            continue;
        chosen = i;
        sum += (double)c->list[i].p;
        if (sum > u * total)
            break;
    }
    *p = c->list[chosen].p;
    return c->list[chosen].token;
}
