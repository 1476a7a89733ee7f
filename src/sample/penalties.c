/* Penalties on what the window already holds (repetition: Keskar et al., arXiv
 * 1909.05858; frequency and presence: the OpenAI API). */
#include "sample/penalties.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"

size_t lm_penalties_window(const lm_sample_params *p)
{
    /* As in llama.cpp: neutral values switch the stage off. */
    if (p->penalty_repeat >= 1.0f && p->penalty_repeat <= 1.0f && !(fabsf(p->penalty_frequency) > 0.0f) &&
        !(fabsf(p->penalty_presence) > 0.0f))
        return 0;
    return p->penalty_last_n < 0 ? LM_HISTORY_ALL : (size_t)p->penalty_last_n;
}

lm_status lm_penalties_init(lm_penalties *s, size_t window, uint32_t n_vocab, lm_error *err)
{
    *s = (lm_penalties){ .window = window };
    if (window == 0)
        return LM_OK;
    lm_status st = LM_NEW(&s->count, n_vocab, err);
    if (st == LM_OK)
        st = LM_NEW(&s->place, n_vocab, err);
    if (st == LM_OK)
        st = LM_NEW(&s->seen, n_vocab, err);
    if (st != LM_OK)
        lm_penalties_clear(s);
    return st;
}

void lm_penalties_clear(lm_penalties *s)
{
    lm_free(s->count);
    lm_free(s->place);
    lm_free(s->seen);
    *s = (lm_penalties){ 0 };
}

void lm_penalties_accept(lm_penalties *s, const lm_history *h, int32_t token)
{
    if (s->window == 0)
        return;
    if (h->n >= s->window) {
        const int32_t old = h->tokens[h->n - s->window];
        if (--s->count[old] == 0) {
            const int32_t moved = s->seen[--s->n_seen];
            s->seen[s->place[old]] = moved;
            s->place[moved] = s->place[old];
        }
    }
    if (s->count[token]++ == 0) {
        s->place[token] = s->n_seen;
        s->seen[s->n_seen++] = token;
    }
}

void lm_penalties_forget(lm_penalties *s)
{
    for (uint32_t i = 0; i < s->n_seen; i++)
        s->count[s->seen[i]] = 0;
    s->n_seen = 0;
}

static float penalised(float logit, uint32_t count, const lm_sample_params *p)
{
    /* A logit at or below 0 is multiplied, so that it falls as well. */
    logit = logit <= 0.0f ? logit * p->penalty_repeat : logit / p->penalty_repeat;
    logit -= (float)count * p->penalty_frequency + p->penalty_presence;
    /* However far it falls it stays a candidate. */
    return fminf(fmaxf(logit, -FLT_MAX), FLT_MAX);
}

void lm_stage_penalties(lm_cands *c, const lm_penalties *s, const lm_sample_params *p)
{
    if (s->n_seen == 0)
        return;
    if (c->dense) {
        for (uint32_t i = 0; i < s->n_seen; i++) {
            float *logit = &c->row[s->seen[i]];
            if (*logit > -INFINITY)
                *logit = penalised(*logit, s->count[s->seen[i]], p);
        }
    } else {
        for (uint32_t i = 0; i < c->n; i++)
            if (s->count[c->list[i].token])
                c->list[i].logit = penalised(c->list[i].logit, s->count[c->list[i].token], p);
        c->sorted = false;
    }
    c->max_known = false;
}
