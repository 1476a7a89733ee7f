/* sample/penalties.h - repetition, frequency and presence penalties.
 *
 * Counts of the tokens in the window are kept up to date as tokens come and go,
 * so a draw costs as much as there are different tokens in the window.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_PENALTIES_H
#define LM_PENALTIES_H

#include "lemma/sample.h"
#include "sample/cands.h"
#include "sample/history.h"

typedef struct {
    size_t window;   /* 0: off */
    uint32_t *count; /* [n_vocab] occurrences in the window */
    uint32_t *place; /* [n_vocab] where in `seen`, for those with a count */
    int32_t *seen;   /* [n_vocab] the tokens with a count, in any order */
    uint32_t n_seen;
} lm_penalties;

/* The window that the parameters ask for; 0: nothing to do. */
size_t lm_penalties_window(const lm_sample_params *p);
lm_status lm_penalties_init(lm_penalties *s, size_t window, uint32_t n_vocab, lm_error *err) LM_NODISCARD;
void lm_penalties_clear(lm_penalties *s);
/* Just before `token` is pushed onto h. */
void lm_penalties_accept(lm_penalties *s, const lm_history *h, int32_t token);
void lm_penalties_forget(lm_penalties *s);
void lm_stage_penalties(lm_cands *c, const lm_penalties *s, const lm_sample_params *p);

#endif
