/* From breaker strings to the tokens in which they may begin. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "sample/dry.h"

static const char *const default_breakers[] = { "\n", ":", "\"", "*" };

lm_status lm_breakers_add(lm_breakers *b, int32_t head, const int32_t *tail, size_t n_tail, lm_error *err)
{
    n_tail = LM_MIN(n_tail, (size_t)LM_BREAKER_TAIL_MAX);
    for (size_t i = b->n; i-- > 0 && b->items[i].head == head;)
        if (b->items[i].n == n_tail &&
            (n_tail == 0 || memcmp(b->tails + b->items[i].first, tail, n_tail * sizeof *tail) == 0))
            return LM_OK;
    void *items = b->items, *tails = b->tails;
    lm_status st = lm_grow(&items, &b->cap, b->n + 1, sizeof *b->items, err);
    b->items = items;
    if (st != LM_OK)
        return st;
    st = lm_grow(&tails, &b->cap_tails, b->n_tails + n_tail, sizeof *b->tails, err);
    b->tails = tails;
    if (st != LM_OK)
        return st;
    b->items[b->n++] = (lm_breaker){ head, (uint32_t)b->n_tails, (uint32_t)n_tail };
    if (n_tail)
        memcpy(b->tails + b->n_tails, tail, n_tail * sizeof *tail);
    b->n_tails += n_tail;
    return LM_OK;
}

void lm_breakers_clear(lm_breakers *b)
{
    lm_free(b->items);
    lm_free(b->tails);
    *b = (lm_breakers){ 0 };
}

const lm_breaker *lm_breakers_find(const lm_breakers *b, int32_t head, size_t *n)
{
    size_t low = 0, high = b->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (b->items[mid].head < head)
            low = mid + 1;
        else
            high = mid;
    }
    size_t end = low;
    while (end < b->n && b->items[end].head == head)
        end++;
    *n = end - low;
    return b->items ? b->items + low : NULL;
}

lm_status lm_breakers_open(lm_breakers *b, const lm_sample_params *p, const lm_tokenizer *tokenizer,
                           uint32_t n_vocab, lm_error *err)
{
    *b = (lm_breakers){ 0 };
    const char *const *strings = p->dry_breakers ? p->dry_breakers : default_breakers;
    const size_t n = p->dry_breakers ? p->n_dry_breakers : LM_LEN(default_breakers);
    if (n == 0)
        return LM_OK;
    if (!tokenizer) {
        lm_hint(err, "give an empty list of breakers, or a dry_multiplier of 0");
        return lm_fail(err, LM_ERR_USAGE,
                       "DRY has %zu breaker strings, but there is no tokenizer to find them with", n);
    }
    (void)n_vocab;
    (void)strings;
    return lm_fail(err, LM_ERR_UNSUPPORTED, "DRY with breaker strings waits for the tokenizer");
}
