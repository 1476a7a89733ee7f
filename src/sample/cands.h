/* sample/cands.h - the tokens that may still be drawn.
 *
 * They begin dense: the row of logits itself, where -infinity means "not a
 * candidate".  The first stage that leaves few of them turns them into a list,
 * which is either in token order or sorted (logit down, token up on ties).  A
 * stage works on whichever form it finds.
 *
 *   dense   row [n_vocab]
 *   list    list [n], row is no longer read
 *
 * Threads: one thread at a time.
 */
#ifndef LM_CANDS_H
#define LM_CANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    int32_t token;
    float logit;
    float p; /* valid after lm_cands_softmax() */
} lm_cand;

typedef struct {
    float *row;       /* [n_vocab], the caller's */
    lm_cand *list;    /* [n_vocab] */
    uint64_t *keys;   /* [n_vocab] scratch of the stages */
    uint32_t n_vocab; /* entries of row */
    uint32_t n;       /* entries of list */
    float max;        /* largest logit while max_known */
    bool dense, sorted, max_known;
} lm_cands;

lm_status lm_cands_init(lm_cands *c, uint32_t n_vocab, lm_error *err) LM_NODISCARD;
void lm_cands_clear(lm_cands *c);

/* Begins with a row: NaN becomes -infinity, +infinity the largest float.  False
 * when no candidate is there. */
bool lm_cands_begin(lm_cands *c, float *row);
float lm_cands_max(lm_cands *c);
uint32_t lm_cands_count(const lm_cands *c);
/* Sum of exp(logit - max); *weighted, if not NULL, is the sum of
 * (logit - max) * exp(logit - max), from which the entropy follows. */
double lm_cands_norm(lm_cands *c, double *weighted);
/* Dense to list, in token order, of what is not below `least`. */
void lm_cands_gather(lm_cands *c, float least);
/* List: drops what is below `least`. */
void lm_cands_drop_below(lm_cands *c, float least);
/* Keeps the k likeliest, sorted. */
void lm_cands_keep_top(lm_cands *c, uint32_t k);
/* List: fills p, from the candidates that are left. */
void lm_cands_softmax(lm_cands *c);
/* Dense to list of all, if need be. */
void lm_cands_to_list(lm_cands *c);
/* The candidate at which the running sum of probabilities passes u in [0, 1);
 * *p is its probability.  Leaves the form as it is. */
int32_t lm_cands_pick(lm_cands *c, double u, float *p);

/* Largest entry; NaN never wins; -infinity when there is none. */
float lm_row_max(const float *row, size_t n);
/* Sum of exp(x - max); NaN weighs nothing, and nothing weighs more than 1. */
double lm_row_norm(const float *row, size_t n, float max);

#endif
