/* DRY over the last tokens, in time linear in the window. */
#include "sample/dry.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"

size_t lm_dry_window(const lm_sample_params *p)
{
    if (!(p->dry_multiplier > 0.0f))
        return 0;
    return p->dry_penalty_last_n < 0 ? LM_HISTORY_ALL : (size_t)p->dry_penalty_last_n;
}

lm_status lm_dry_init(lm_dry *d, const lm_sample_params *p, const lm_tokenizer *tokenizer, uint32_t n_vocab,
                      lm_error *err)
{
    *d = (lm_dry){ .window = lm_dry_window(p) };
    if (d->window == 0)
        return LM_OK;
    lm_status st = LM_NEW(&d->best, n_vocab, err);
    if (st == LM_OK)
        st = lm_breakers_open(&d->breakers, p, tokenizer, n_vocab, err);
    if (st != LM_OK)
        lm_dry_clear(d);
    return st;
}

void lm_dry_clear(lm_dry *d)
{
    lm_breakers_clear(&d->breakers);
    lm_free(d->match);
    lm_free(d->touched);
    lm_free(d->best);
    *d = (lm_dry){ 0 };
}

lm_status lm_dry_reserve(lm_dry *d, size_t cap, lm_error *err)
{
    if (d->window == 0 || cap <= d->cap)
        return LM_OK;
    void *match = d->match, *touched = d->touched;
    lm_status st = lm_resize(&match, cap, sizeof *d->match, err);
    if (st != LM_OK)
        return st;
    d->match = match;
    st = lm_resize(&touched, cap, sizeof *d->touched, err);
    if (st != LM_OK)
        return st;
    d->touched = touched;
    d->cap = cap;
    return LM_OK;
}

/* How many tokens at the end come after the last breaker; n when there is none.
 * back(i) is the i-th token from the end. */
static size_t tokens_after_breaker(const lm_breakers *b, const int32_t *end, size_t n)
{
    if (b->n == 0)
        return n;
    for (size_t i = 0; i < n; i++) {
        size_t n_ways;
        const lm_breaker *ways = lm_breakers_find(b, end[-1 - (ptrdiff_t)i], &n_ways);
        size_t longest = 0;
        bool found = false;
        for (size_t w = 0; w < n_ways; w++) {
            const size_t n_tail = ways[w].n;
            if (n_tail > i || (found && n_tail <= longest))
                continue;
            size_t same = 0;
            while (same < n_tail && b->tails[ways[w].first + same] == end[(ptrdiff_t)same - (ptrdiff_t)i])
                same++;
            if (same == n_tail) {
                longest = n_tail;
                found = true;
            }
        }
        if (found)
            return i - longest;
    }
    return n;
}

/* match[k] = length of the longest common run of the context read backwards from
 * its end and read backwards from k tokens before the end (the Z function). */
static void match_backwards(const int32_t *end, size_t n, uint32_t *match)
{
    const int32_t *last = end - 1; /* last[-i] is the i-th from the end */
    size_t left = 0, right = 0;    /* the match that reaches furthest: [left, right) */
    match[0] = 0;
    for (size_t k = 1; k < n; k++) {
        size_t len = 0;
        if (k < right)
            len = LM_MIN((size_t)match[k - left], right - k);
        if (k + len >= right) {
            while (k + len < n && last[-(ptrdiff_t)len] == last[-(ptrdiff_t)(k + len)])
                len++;
            left = k;
            right = k + len;
        }
        match[k] = (uint32_t)len;
    }
}

static bool breaks_alone(const lm_breakers *b, int32_t token)
{
    size_t n;
    const lm_breaker *ways = lm_breakers_find(b, token, &n);
    for (size_t i = 0; i < n; i++)
        if (ways[i].n == 0)
            return true;
    return false;
}

static float dry_penalised(float logit, uint32_t repeat, const lm_sample_params *p)
{
    /* Computed in double, where base^length may pass what a float holds. */
    double length = (double)repeat - (double)p->dry_allowed_length;
    double penalty = (double)p->dry_multiplier * pow((double)p->dry_base, length);
    double left = (double)logit - fmin(penalty, (double)FLT_MAX);
    return (float)fmax(left, -(double)FLT_MAX);
}

void lm_stage_dry(lm_cands *c, lm_dry *d, const lm_history *h, const lm_sample_params *p)
{
    const size_t n = LM_MIN(lm_history_len(h, d->window), d->cap);
    const size_t allowed = (size_t)p->dry_allowed_length;
    if (n <= allowed || n < 2)
        return;
    const int32_t *end = h->tokens + h->n;
    const size_t limit = tokens_after_breaker(&d->breakers, end, n);
    if (limit < allowed)
        return;
    match_backwards(end, n, d->match);

    size_t n_touched = 0;
    for (size_t k = 1; k < n; k++) {
        uint32_t repeat = (uint32_t)LM_MIN((size_t)d->match[k], limit);
        if (repeat < allowed)
            continue;
        int32_t next = end[-(ptrdiff_t)k]; /* what followed there */
        if (d->best[next] == 0)
            d->touched[n_touched++] = next;
        if (d->best[next] < repeat + 1)
            d->best[next] = repeat + 1;
    }
    if (c->dense) {
        for (size_t i = 0; i < n_touched; i++) {
            int32_t t = d->touched[i];
            if (c->row[t] > -INFINITY && !breaks_alone(&d->breakers, t))
                c->row[t] = dry_penalised(c->row[t], d->best[t] - 1, p);
        }
    } else {
        for (uint32_t i = 0; i < c->n; i++) {
            int32_t t = c->list[i].token;
            if (d->best[t] && !breaks_alone(&d->breakers, t))
                c->list[i].logit = dry_penalised(c->list[i].logit, d->best[t] - 1, p);
        }
        c->sorted = false;
    }
    for (size_t i = 0; i < n_touched; i++)
        d->best[d->touched[i]] = 0;
    c->max_known = false;
}
