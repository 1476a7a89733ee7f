/* sample/stages.h - every stage of the chain, and what it needs to know.
 *
 * A stage takes candidates out, or changes their logits, and always leaves at
 * least one.  It has no state of its own: what lasts from token to token is in
 * history.h, penalties.h, dry.h and the sampler's mu.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_STAGES_H
#define LM_STAGES_H

#include "sample/cands.h"

/* Keeps the k likeliest; k <= 0: all. */
void lm_stage_top_k(lm_cands *c, int32_t k, uint32_t min_keep);
/* Keeps the fewest of the likeliest that together reach p. */
void lm_stage_top_p(lm_cands *c, float p, uint32_t min_keep);
/* Keeps what is at least min_p times as likely as the likeliest. */
void lm_stage_min_p(lm_cands *c, float min_p, uint32_t min_keep);
/* Keeps the fewest of the most typical (Meister et al., arXiv 2202.00666). */
void lm_stage_typical(lm_cands *c, float p, uint32_t min_keep);
/* Keeps the logits within n standard deviations of the largest
 * (Tang et al., arXiv 2411.07641). */
void lm_stage_top_n_sigma(lm_cands *c, float n);
/* Takes out all but the least likely of those above the threshold, when
 * chance, uniform in [0, 1), is within the probability. */
void lm_stage_xtc(lm_cands *c, float probability, float threshold, uint32_t min_keep, double chance);
/* Divides by the temperature; with range > 0 the temperature moves between
 * temperature - range and temperature + range with the entropy. */
void lm_stage_temperature(lm_cands *c, float temperature, float range, float exponent);
/* Keeps the likeliest alone. */
void lm_stage_greedy(lm_cands *c);
/* Basu et al., arXiv 2007.14966: truncate for a surprise of about mu bits. */
void lm_stage_mirostat_1(lm_cands *c, float mu, uint32_t n_vocab);
void lm_stage_mirostat_2(lm_cands *c, float mu);
/* mu after a token of probability p was drawn. */
float lm_mirostat_next(float mu, float tau, float eta, float p);

#endif
