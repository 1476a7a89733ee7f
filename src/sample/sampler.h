/* sample/sampler.h - one request's chain of stages over a row of logits.
 *
 * The state is the token history (for penalties and DRY), mirostat's mu, and
 * nothing else: random numbers are a function of (seed, position, draw number),
 * a counter-based generator, so a sampler can be put to rest and resumed, and no
 * request can shift another's draws (N3).
 *
 * Threads: one thread at a time.
 */
#ifndef LM_SAMPLER_H
#define LM_SAMPLER_H

#include "base/compiler.h"
#include "lemma/sample.h"

typedef struct lm_sampler lm_sampler;
typedef struct lm_tokenizer lm_tokenizer;

typedef struct {
    int32_t token;
    float logprob; /* natural log, of the raw distribution before any stage */
} lm_token_logprob;

/* Copies what it needs of *p.  `tokenizer` may be NULL: then DRY's string
 * breakers are refused unless there are none.  `stops` are the stop tokens that
 * min_tokens and ignore_eos suppress. */
lm_status lm_sampler_open(lm_sampler **out, const lm_sample_params *p, uint32_t n_vocab,
                          const lm_tokenizer *tokenizer, const int32_t *stops, size_t n_stops,
                          lm_error *err) LM_NODISCARD;
void lm_sampler_close(lm_sampler *s);

/* Tells the sampler of a token of the context (prompt or generated). */
lm_status lm_sampler_accept(lm_sampler *s, int32_t token, bool generated, lm_error *err) LM_NODISCARD;
/* Draws the token for `position` (its absolute place in the context).  `logits`
 * [n_vocab] is scratch afterwards.  Never allocates (M2).  A row whose every
 * entry is NaN or -infinity: LM_ERR_FAILED. */
lm_status lm_sampler_draw(lm_sampler *s, float *logits, uint64_t position, int32_t *token,
                          lm_error *err) LM_NODISCARD;
/* Natural log-probability of `token` and the `n_top` most likely, of raw logits
 * (not changed); `top` may be NULL when n_top is 0.  NaN counts as -infinity;
 * where fewer than n_top are more than that, the rest of `top` has token -1. */
void lm_logprobs(const float *logits, uint32_t n_vocab, int32_t token, float *chosen, lm_token_logprob *top,
                 size_t n_top);
/* Index of the largest; the lowest index wins a tie; NaN never wins. */
int32_t lm_argmax(const float *logits, uint32_t n_vocab);

/* State at rest: everything that the next draw depends on, the parameters apart.
 * Bytes that are damaged or of another version: LM_ERR_STATE; of another
 * vocabulary: LM_ERR_MISMATCH; the sampler is then as it was. */
size_t lm_sampler_state_bytes(const lm_sampler *s);
void lm_sampler_save(const lm_sampler *s, void *out);
lm_status lm_sampler_load(lm_sampler *s, const void *state, size_t n, lm_error *err) LM_NODISCARD;
/* Of a sampler that was told the context already: only what the tokens do not say, each
 * if it is wanted: mirostat's running bound, and how many tokens were generated.  Fails as
 * lm_sampler_load() does. */
lm_status lm_sampler_resume(lm_sampler *s, const void *state, size_t n, bool mu, bool count,
                            lm_error *err) LM_NODISCARD;

#endif
