/* Locally typical sampling: the tokens whose surprise is nearest the entropy. */
#include <math.h>

#include "sample/order.h"
#include "sample/stages.h"
#include "sample/vexp.h"

void lm_stage_typical(lm_cands *c, float p, uint32_t min_keep)
{
    if (p >= 1.0f)
        return;
    lm_cands_to_list(c);
    const float max = lm_cands_max(c);
    double weighted;
    const double norm = lm_cands_norm(c, &weighted);
    const double log_norm = log(norm);
    const double entropy = log_norm - weighted / norm;
    /* The key's lower half is the place in the list, so ties go to the earlier. */
    for (uint32_t i = 0; i < c->n; i++) {
        double surprise = log_norm - ((double)c->list[i].logit - (double)max);
        c->keys[i] = lm_key(-(float)fabs(surprise - entropy), i);
    }

    const uint32_t n = c->n;
    uint32_t ready = 0, keep = n;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        if (i == ready) {
            ready = LM_MIN(i ? i * 8 : 64, n);
            lm_keys_select(c->keys + i, n - i, ready - i);
            lm_keys_sort(c->keys + i, ready - i);
        }
        sum += (double)lm_exp_neg(c->list[lm_key_token(c->keys[i])].logit - max) / norm;
        if (sum > (double)p && i + 1 >= min_keep) {
            keep = i + 1;
            break;
        }
    }
    /* Back to the order that the list had: places as keys of a falling value. */
    for (uint32_t i = 0; i < keep; i++)
        c->keys[i] = lm_key(0.0f, lm_key_token(c->keys[i]));
    lm_keys_sort(c->keys, keep);
    for (uint32_t i = 0; i < keep; i++)
        c->list[i] = c->list[lm_key_token(c->keys[i])];
    c->n = keep;
    c->max_known = false;
}
