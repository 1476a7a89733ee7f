/* backend/cpu/avx512/linear_panels.h - linears over prepared panels; pure functions. */
#ifndef LM_LINEAR_PANELS_H
#define LM_LINEAR_PANELS_H

#include "backend/cpu/avx512/linear_avx512.h"
#include "backend/cpu/panels.h"

/* As lm_one_scratch() and lm_one_run(), for w->panels.  Panels that are found bad are
 * computed from the rows in the file: the scratch must do for either. */
size_t lm_panels_scratch(uint32_t cols);
void lm_panels_one(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch, bool precise);

/* Whether all panels of these rows are good. */
bool lm_panels_ready(const lm_matrix *w, uint32_t row0, uint32_t row1);
/* Columns [k, k + cols) (a slab) of the panel at row0, as linear_many.c wants them:
 * codes [quad][16 rows][4] in the order of the columns, s and m [group][16 rows],
 * sc [half block][16 rows]. */
void lm_panels_spread(const lm_matrix *w, uint32_t row0, uint32_t k, uint32_t cols, uint8_t *codes, float *s,
                      float *m, int32_t *sc);

#endif
