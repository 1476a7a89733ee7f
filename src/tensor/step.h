/* tensor/step.h - one run of a plan over a ragged batch.
 *
 * A step holds any mix of prefill chunks and single tokens of any number of
 * sessions.  Token-wise operations see [n_tokens, width]; attend sees the
 * segments and their page tables.  The wanted rows are the tokens whose logits
 * somebody asked for.
 *
 * Everything is borrowed for the length of the run.
 */
#ifndef LM_STEP_H
#define LM_STEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One cache group's pages of one session.  Page i holds the positions
 * [i*64, i*64+64); NULL where no query of this step looks (behind a window).
 * Pages that this step writes are private to the session. */
typedef struct {
    uint8_t *const *pages;
    uint32_t n_pages;
} lm_page_table;

typedef struct {
    uint32_t first, count;       /* tokens of the step */
    uint32_t pos;                /* absolute position of the first */
    const lm_page_table *tables; /* one for each cache group */
} lm_segment;

typedef struct {
    uint32_t n_tokens;
    const int32_t *ids; /* [n_tokens], inside the vocabulary */
    const lm_segment *segments;
    uint32_t n_segments;
    const uint32_t *rows; /* [n_rows] token indices, ascending */
    uint32_t n_rows;
    float *logits;             /* [n_rows, n_vocab], written */
    const atomic_bool *cancel; /* asked between layers; may be NULL */
} lm_step;

#endif
