/* The token history that penalties and DRY look back at. */
#include "sample/history.h"

#include <string.h>

#include "base/mem.h"

enum { FIRST_CAP = 4096 }; /* 16 KiB: most windows never grow after the open */

void lm_history_init(lm_history *h, size_t window)
{
    *h = (lm_history){ .window = window };
}

void lm_history_clear(lm_history *h)
{
    lm_free(h->tokens);
    *h = (lm_history){ 0 };
}

lm_status lm_history_reserve(lm_history *h, lm_error *err)
{
    if (h->window == 0 || h->n < h->cap)
        return LM_OK;
    const size_t limit = h->window > SIZE_MAX / 2 ? SIZE_MAX : h->window * 2;
    if (h->cap >= limit)
        return LM_OK; /* the push makes the room */
    size_t cap = h->cap ? h->cap : FIRST_CAP / 2;
    cap = cap > limit / 2 ? limit : cap * 2;
    void *tokens = h->tokens;
    lm_status st = lm_resize(&tokens, cap, sizeof *h->tokens, err);
    if (st != LM_OK)
        return st;
    h->tokens = tokens;
    h->cap = cap;
    return LM_OK;
}

void lm_history_push(lm_history *h, int32_t token)
{
    if (h->window == 0)
        return;
    if (h->n == h->cap) {
        size_t keep = h->window - 1; /* with the new one: the window */
        memmove(h->tokens, h->tokens + (h->n - keep), keep * sizeof *h->tokens);
        h->n = keep;
    }
    h->tokens[h->n++] = token;
}

size_t lm_history_len(const lm_history *h, size_t want)
{
    return LM_MIN(h->n, want);
}
