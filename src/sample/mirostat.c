/* Mirostat 1 and 2: a running target for the surprise of the drawn tokens. */
#include <math.h>

#include "sample/stages.h"

enum { ZIPF_TERMS = 100 }; /* candidates that the estimate of s looks at (the paper's m) */

/* The k of algorithm 1, from the Zipf exponent estimated on the sorted list. */
static double zipf_k(const lm_cand *list, uint32_t n, double mu, double n_vocab)
{
    double tb = 0.0, tt = 0.0;
    for (uint32_t i = 0; i + 1 < n && i + 1 < ZIPF_TERMS; i++) {
        double t = log((double)(i + 2) / (double)(i + 1));
        /* log(p_i / p_(i+1)) is the difference of the logits. */
        double b = (double)list[i].logit - (double)list[i + 1].logit;
        tb += t * b;
        tt += t * t;
    }
    if (!(tt > 0.0))
        return 1.0;
    double s = tb / tt, epsilon = s - 1.0;
    /* epsilon / (1 - N^-epsilon) tends to 1 / ln N as s comes to 1. */
    double ratio = fabs(epsilon) < 1e-9 ? 1.0 / log(n_vocab) : epsilon / (1.0 - pow(n_vocab, -epsilon));
    /* Without any slope the power is 0 or infinite, and the caller clamps it. */
    return pow(ratio * exp2(mu), 1.0 / s);
}

void lm_stage_mirostat_1(lm_cands *c, float mu, uint32_t n_vocab)
{
    if (n_vocab < 2) {
        lm_stage_greedy(c);
        return;
    }
    const bool was_dense = c->dense;
    lm_cands_keep_top(c, ZIPF_TERMS);
    double k = zipf_k(c->list, c->n, (double)mu, (double)n_vocab);
    uint32_t keep = k >= 1.0 ? (uint32_t)fmin(k, (double)n_vocab) : 1;
    if (keep > c->n && was_dense)
        c->dense = true; /* the row is as it was: select again, further */
    lm_cands_keep_top(c, keep);
}

void lm_stage_mirostat_2(lm_cands *c, float mu)
{
    const double norm = lm_cands_norm(c, NULL);
    /* -log2 p <= mu */
    const double max = (double)lm_cands_max(c);
    const double least = max + log(norm) - (double)mu * 0.69314718055994531;
    if (least > max)
        lm_stage_greedy(c); /* even the likeliest surprises too much */
    else if (c->dense)
        lm_cands_gather(c, (float)least);
    else
        lm_cands_drop_below(c, (float)least);
}

float lm_mirostat_next(float mu, float tau, float eta, float p)
{
    float surprise = p > 0.0f ? -log2f(p) : 126.0f;
    float next = mu - eta * (surprise - tau);
    /* Far outside of what either truncation can tell apart. */
    return fminf(fmaxf(next, -1e6f), 1e6f);
}
