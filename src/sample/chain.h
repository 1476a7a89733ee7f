/* sample/chain.h - the inside of a sampler, for this room and its tests.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_CHAIN_H
#define LM_CHAIN_H

#include "sample/cands.h"
#include "sample/dry.h"
#include "sample/history.h"
#include "sample/penalties.h"
#include "sample/sampler.h"

struct lm_sampler {
    lm_sample_params p; /* its pointers are NULL: what they led to is below */
    uint32_t n_vocab;
    lm_logit_bias *bias;
    size_t n_bias;
    int32_t *stops;
    size_t n_stops;

    lm_cands cands;
    lm_history history;
    lm_penalties penalties;
    lm_dry dry;
    uint64_t n_accepted, n_generated;
    float mu; /* mirostat's running bound, in bits */
};

/* Biases, bans and withheld stop tokens, on a raw row. */
void lm_suppress(const lm_sampler *s, float *logits);
/* Suppression and every stage, up to the draw: leaves what may be drawn in
 * s->cands. */
lm_status lm_chain_run(lm_sampler *s, float *logits, uint64_t position, lm_error *err) LM_NODISCARD;
/* For tests: the same as a list with probabilities, valid until the next call. */
lm_status lm_sampler_candidates(lm_sampler *s, float *logits, uint64_t position, const lm_cand **out,
                                size_t *n, lm_error *err) LM_NODISCARD;

#endif
