/* sample/dry.h - DRY, "don't repeat yourself": a penalty that grows with the
 * length of the sequence that a token would repeat.
 *
 * Definition: oobabooga/text-generation-webui pull request 5982.  For every
 * place where the end of the context occurred before, the token that followed
 * there gets multiplier * base^(length - allowed_length) taken off its logit.
 * A breaker ends the comparison: what lies before it never counts.
 *
 * Breakers are strings, contexts are tokens: a breaker is seen where a token
 * contains it, or where a token ends with its beginning and the following
 * tokens are exactly the rest.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_DRY_H
#define LM_DRY_H

#include "lemma/sample.h"
#include "sample/cands.h"
#include "sample/history.h"

typedef struct lm_tokenizer lm_tokenizer;

enum { LM_BREAKERS_MAX = 64, LM_BREAKER_BYTES_MAX = 40, LM_BREAKER_TAIL_MAX = 20 };

/* One way in which a breaker starts in `head`; its other tokens are
 * tails[first, first + n). */
typedef struct {
    int32_t head;
    uint32_t first, n;
} lm_breaker;

typedef struct {
    lm_breaker *items; /* sorted by head */
    size_t n, cap;
    int32_t *tails;
    size_t n_tails, cap_tails;
} lm_breakers;

/* Finds all ways for the strings of *p (or the default ones) below n_vocab. */
lm_status lm_breakers_open(lm_breakers *b, const lm_sample_params *p, const lm_tokenizer *tokenizer,
                           uint32_t n_vocab, lm_error *err) LM_NODISCARD;
/* One entry more; calls come with heads in rising order. */
lm_status lm_breakers_add(lm_breakers *b, int32_t head, const int32_t *tail, size_t n_tail,
                          lm_error *err) LM_NODISCARD;
void lm_breakers_clear(lm_breakers *b);
/* Those that start in `head`: *n of them. */
const lm_breaker *lm_breakers_find(const lm_breakers *b, int32_t head, size_t *n);

typedef struct {
    size_t window; /* 0: off */
    lm_breakers breakers;
    uint32_t *match;  /* [cap] scratch: how much of the end of the context ends there */
    int32_t *touched; /* [cap] scratch: tokens with an entry in `best` */
    size_t cap;
    uint32_t *best; /* [n_vocab] scratch: longest repeat + 1, all 0 between draws */
} lm_dry;

size_t lm_dry_window(const lm_sample_params *p);
lm_status lm_dry_init(lm_dry *d, const lm_sample_params *p, const lm_tokenizer *tokenizer, uint32_t n_vocab,
                      lm_error *err) LM_NODISCARD;
void lm_dry_clear(lm_dry *d);
/* Scratch for a history of `cap` tokens, so that the draw need not allocate. */
lm_status lm_dry_reserve(lm_dry *d, size_t cap, lm_error *err) LM_NODISCARD;
void lm_stage_dry(lm_cands *c, lm_dry *d, const lm_history *h, const lm_sample_params *p);

#endif
