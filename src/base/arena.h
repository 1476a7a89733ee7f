/* base/arena.h - memory with one owner and one end.
 *
 * An arena hands out 64-byte aligned pieces of one block and takes them back all
 * at once.  It never grows past `cap`: whoever opens it has computed the cap, so
 * running out is LM_ERR_NOMEM with both numbers in the message.
 *
 *   0            mark                used                          cap
 *   | longer-lived | scratch of this step | untouched                |
 *
 * Threads: one thread at a time. */
#ifndef LM_ARENA_H
#define LM_ARENA_H

#include <stddef.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct lm_arena lm_arena;
typedef struct {
    size_t used;
} lm_mark;

/* `name` is kept, a literal.  The block is reserved, not touched: pages that
 * are never used cost nothing. */
lm_status lm_arena_open(lm_arena **out, size_t cap, const char *name, lm_error *err) LM_NODISCARD;
/* Zeroed on the first use of the bytes only; `n` x `size` is checked. */
lm_status lm_arena_alloc(lm_arena *a, size_t n, size_t size, void **out, lm_error *err) LM_NODISCARD;
lm_mark lm_arena_mark(const lm_arena *a);
void lm_arena_rewind(lm_arena *a, lm_mark m);
size_t lm_arena_used(const lm_arena *a);
size_t lm_arena_peak(const lm_arena *a); /* what the planner is judged by */
void lm_arena_close(lm_arena *a);        /* NULL is fine */

#endif
