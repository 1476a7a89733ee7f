/* Top-k, and the most likely token alone. */
#include "sample/stages.h"

void lm_stage_top_k(lm_cands *c, int32_t k, uint32_t min_keep)
{
    if (k <= 0)
        return;
    lm_cands_keep_top(c, LM_MAX((uint32_t)k, min_keep));
}

void lm_stage_greedy(lm_cands *c)
{
    lm_cands_keep_top(c, 1);
}
