/* What happens to a row before any stage sees it.
 *
 * It must come first: a ban after top-k or top-p would leave fewer candidates
 * than were asked for, or none (SPEC 3.6.2). */
#include <math.h>

#include "sample/chain.h"

void lm_suppress(const lm_sampler *s, float *logits)
{
    for (size_t i = 0; i < s->n_bias; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
    if (s->p.ignore_eos || s->n_generated < s->p.min_tokens)
        for (size_t i = 0; i < s->n_stops; i++)
            logits[s->stops[i]] = -INFINITY;
}
