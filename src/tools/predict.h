/* tools/predict.h - a text taken through a model in one window, row by row.
 *
 * Threads: the model's. */
#ifndef LM_PREDICT_H
#define LM_PREDICT_H

#include "lemma/model.h"

/* Called once for each token but the last, in order: `logits` [n_vocab] predict
 * token i + 1, which is `next`. */
typedef lm_status lm_on_row(void *user, size_t i, const float *logits, int32_t next, lm_error *err);

/* More tokens than the context holds: LM_ERR_TOO_LONG; fewer than two: LM_ERR_USAGE. */
lm_status lm_each_prediction(lm_model *m, const int32_t *ids, size_t n, lm_on_row *on_row, void *user,
                             lm_error *err);
/* log of the sum of exp of all. */
double lm_log_sum(const float *logits, uint32_t n);

#endif
