/* XTC, "exclude top choices": sometimes the obvious tokens are taken out.
 * Definition: oobabooga/text-generation-webui pull request 6335. */
#include <math.h>

#include "sample/order.h"
#include "sample/stages.h"

void lm_stage_xtc(lm_cands *c, float probability, float threshold, uint32_t min_keep, double chance)
{
    /* Above one half no two tokens can reach the threshold. */
    if (probability <= 0.0f || threshold > 0.5f || chance > (double)probability)
        return;
    const uint32_t n = lm_cands_count(c);
    if (n < 2)
        return;
    const double norm = lm_cands_norm(c, NULL);
    const double least = (double)lm_cands_max(c) + log((double)threshold * norm);
    const uint32_t n_seen = c->dense ? c->n_vocab : c->n;

    uint32_t above = 0;
    uint64_t last = UINT64_MAX; /* the least likely of those above */
    for (uint32_t i = 0; i < n_seen; i++) {
        float x = c->dense ? c->row[i] : c->list[i].logit;
        if (!((double)x >= least) || !(x > -INFINITY))
            continue;
        uint64_t key = lm_key(x, c->dense ? i : (uint32_t)c->list[i].token);
        last = key < last ? key : last;
        above++;
    }
    if (above < 2 || n - (above - 1) < min_keep)
        return;
    if (c->dense) {
        for (uint32_t i = 0; i < c->n_vocab; i++)
            if (c->row[i] > -INFINITY && lm_key(c->row[i], i) > last)
                c->row[i] = -INFINITY;
    } else {
        uint32_t left = 0;
        for (uint32_t i = 0; i < c->n; i++)
            if (lm_key(c->list[i].logit, (uint32_t)c->list[i].token) <= last)
                c->list[left++] = c->list[i];
        c->n = left;
    }
    c->max_known = false;
}
