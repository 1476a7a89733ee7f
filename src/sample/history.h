/* sample/history.h - the last tokens of a context, in one contiguous run.
 *
 * Appends go to the end; when twice the window is there, the older half is
 * forgotten, so an append costs a constant on average.  A window of
 * LM_HISTORY_ALL keeps everything.
 *
 * Threads: one thread at a time.
 */
#ifndef LM_HISTORY_H
#define LM_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

#define LM_HISTORY_ALL SIZE_MAX

typedef struct {
    int32_t *tokens; /* [cap], the newest is tokens[n - 1] */
    size_t n, cap;
    size_t window; /* tokens that must be kept; 0: none */
} lm_history;

void lm_history_init(lm_history *h, size_t window);
void lm_history_clear(lm_history *h);
/* Room for one more token; the only call here that allocates. */
lm_status lm_history_reserve(lm_history *h, lm_error *err) LM_NODISCARD;
/* After lm_history_reserve(). */
void lm_history_push(lm_history *h, int32_t token);
/* How many tokens a reader with a window of `want` may look at. */
size_t lm_history_len(const lm_history *h, size_t want);

#endif
