/* Top-p, the nucleus (Holtzman et al., arXiv 1904.09751). */
#include <math.h>

#include "sample/order.h"
#include "sample/stages.h"
#include "sample/vexp.h"

void lm_stage_top_p(lm_cands *c, float p, uint32_t min_keep)
{
    if (p >= 1.0f)
        return;
    const float max = lm_cands_max(c);
    const double norm = lm_cands_norm(c, NULL);
    if (c->dense) {
        /* All tokens below (1 - p) / n together weigh less than 1 - p, so the
         * nucleus has none of them; a little slack for rounding. */
        double least = (double)max + log((1.0 - (double)p) / (double)c->n_vocab * norm) - 1e-3;
        lm_cands_gather(c, (float)least);
        if (c->n < min_keep) {
            c->dense = true;
            lm_cands_to_list(c);
        }
    }
    if (!c->sorted)
        for (uint32_t i = 0; i < c->n; i++)
            c->keys[i] = lm_key(c->list[i].logit, (uint32_t)c->list[i].token);

    /* Sorts no more than it needs: 64, then eight times as many, ... */
    const uint32_t n = c->n;
    uint32_t ready = c->sorted ? n : 0, keep = n;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        if (i == ready) {
            ready = LM_MIN(i ? i * 8 : 64, n);
            lm_keys_select(c->keys + i, n - i, ready - i);
            lm_keys_sort(c->keys + i, ready - i);
        }
        float logit = c->sorted ? c->list[i].logit : lm_key_value(c->keys[i]);
        sum += (double)lm_exp_neg(logit - max) / norm;
        if (sum >= (double)p && i + 1 >= min_keep) {
            keep = i + 1;
            break;
        }
    }
    if (!c->sorted)
        for (uint32_t i = 0; i < keep; i++)
            c->list[i] = (lm_cand){ (int32_t)lm_key_token(c->keys[i]), lm_key_value(c->keys[i]), 0.0f };
    c->n = keep;
    c->sorted = true;
}
