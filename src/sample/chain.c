/* The order of the stages, as data, and the draw at its end. */
#include "sample/chain.h"

#include <inttypes.h>

#include "base/fail.h"
#include "sample/rng.h"
#include "sample/stages.h"

static void run_stage(lm_sampler *s, lm_stage stage, uint64_t position)
{
    const lm_sample_params *p = &s->p;
    lm_cands *c = &s->cands;
    switch (stage) {
    case LM_STAGE_PENALTIES: lm_stage_penalties(c, &s->penalties, p); break;
    case LM_STAGE_DRY: lm_stage_dry(c, &s->dry, &s->history, p); break;
    case LM_STAGE_TOP_N_SIGMA: lm_stage_top_n_sigma(c, p->top_n_sigma); break;
    case LM_STAGE_TOP_K: lm_stage_top_k(c, p->top_k, p->min_keep); break;
    case LM_STAGE_TYPICAL: lm_stage_typical(c, p->typical, p->min_keep); break;
    case LM_STAGE_TOP_P: lm_stage_top_p(c, p->top_p, p->min_keep); break;
    case LM_STAGE_MIN_P: lm_stage_min_p(c, p->min_p, p->min_keep); break;
    case LM_STAGE_XTC:
        lm_stage_xtc(c, p->xtc_probability, p->xtc_threshold, p->min_keep,
                     lm_rng_unit(p->seed, position, LM_DRAW_XTC));
        break;
    case LM_STAGE_TEMPERATURE:
        lm_stage_temperature(c, p->temperature, p->dynatemp_range, p->dynatemp_exponent);
        break;
    case LM_STAGE_COUNT: break;
    }
}

/* Whether the stage is part of what was asked for: temperature 0 wants the most
 * likely token after the penalties, and mirostat does its own truncation. */
static bool runs(const lm_sampler *s, lm_stage stage)
{
    if (stage == LM_STAGE_PENALTIES || stage == LM_STAGE_DRY)
        return true;
    if (s->p.temperature <= 0.0f)
        return false;
    return s->p.mirostat == 0 || stage == LM_STAGE_TEMPERATURE;
}

lm_status lm_chain_run(lm_sampler *s, float *logits, uint64_t position, lm_error *err)
{
    lm_suppress(s, logits);
    if (!lm_cands_begin(&s->cands, logits))
        return lm_fail(err, LM_ERR_FAILED,
                       "no token can be drawn at position %" PRIu64 ": all %" PRIu32
                       " logits are NaN, -infinity or suppressed",
                       position, s->n_vocab);
    for (size_t i = 0; i < s->p.n_stages; i++)
        if (runs(s, (lm_stage)s->p.stages[i]))
            run_stage(s, (lm_stage)s->p.stages[i], position);
    if (s->p.temperature <= 0.0f)
        lm_stage_greedy(&s->cands);
    else if (s->p.mirostat == 1)
        lm_stage_mirostat_1(&s->cands, s->mu, s->n_vocab);
    else if (s->p.mirostat == 2)
        lm_stage_mirostat_2(&s->cands, s->mu);
    return LM_OK;
}

lm_status lm_sampler_draw(lm_sampler *s, float *logits, uint64_t position, int32_t *token, lm_error *err)
{
    LM_TRY(lm_chain_run(s, logits, position, err));
    float p;
    *token = lm_cands_pick(&s->cands, lm_rng_unit(s->p.seed, position, LM_DRAW_TOKEN), &p);
    if (s->p.mirostat && s->p.temperature > 0.0f)
        s->mu = lm_mirostat_next(s->mu, s->p.mirostat_tau, s->p.mirostat_eta, p);
    return LM_OK;
}

lm_status lm_sampler_candidates(lm_sampler *s, float *logits, uint64_t position, const lm_cand **out,
                                size_t *n, lm_error *err)
{
    LM_TRY(lm_chain_run(s, logits, position, err));
    lm_cands_to_list(&s->cands);
    lm_cands_softmax(&s->cands);
    *out = s->cands.list;
    *n = s->cands.n;
    return LM_OK;
}
