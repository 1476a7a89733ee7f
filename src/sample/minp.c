/* Min-p (Nguyen et al., arXiv 2407.01082). */
#include <math.h>

#include "sample/stages.h"

void lm_stage_min_p(lm_cands *c, float min_p, uint32_t min_keep)
{
    if (min_p <= 0.0f)
        return;
    const float least = lm_cands_max(c) + logf(min_p);
    uint32_t n = 0;
    if (c->dense) {
        for (uint32_t i = 0; i < c->n_vocab; i++)
            n += c->row[i] >= least;
    } else {
        for (uint32_t i = 0; i < c->n; i++)
            n += c->list[i].logit >= least;
    }
    if (n < min_keep)
        lm_cands_keep_top(c, min_keep);
    else if (c->dense)
        lm_cands_gather(c, least);
    else
        lm_cands_drop_below(c, least);
}
