/* From breaker strings to the tokens in which they may begin. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "sample/dry.h"
#include "text/tokenizer.h"

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

/* The tokens of what is left of one breaker after its first i bytes, once
 * somebody asked. */
typedef struct {
    lm_ids ids;
    bool known;
} tail_ids;

static lm_status tail_of(tail_ids *t, const lm_tokenizer *tokenizer, const char *rest, size_t n,
                         lm_error *err)
{
    if (t->known)
        return LM_OK;
    t->known = true;
    return lm_tokenizer_encode(tokenizer, rest, n, NULL, 0, 0, &t->ids, err);
}

/* The ways in which `breaker` begins in a token that reads word[0, n). */
static lm_status add_ways(lm_breakers *b, const lm_tokenizer *tokenizer, int32_t token, const char *word,
                          size_t n, const char *breaker, tail_ids *tails, lm_error *err)
{
    const size_t len = strlen(breaker);
    bool inside = false;
    for (size_t at = 0; at + len <= n && !inside; at++)
        inside = memcmp(word + at, breaker, len) == 0;
    if (inside)
        return lm_breakers_add(b, token, NULL, 0, err);
    for (size_t at = n >= len ? n - len + 1 : 0; at < n; at++) {
        const size_t head = n - at; /* bytes of the breaker that would be in the word */
        if (memcmp(word + at, breaker, head) != 0)
            continue;
        LM_TRY(tail_of(&tails[head], tokenizer, breaker + head, len - head, err));
        LM_TRY(lm_breakers_add(b, token, tails[head].ids.ids, tails[head].ids.n, err));
    }
    return LM_OK;
}

static lm_status scan_vocabulary(lm_breakers *b, const char *const *strings, size_t n_strings,
                                 const lm_tokenizer *tokenizer, uint32_t n_vocab, tail_ids *tails,
                                 lm_error *err)
{
    lm_str word = { 0 };
    lm_status st = LM_OK;
    const uint32_t n_ids = LM_MIN(n_vocab, lm_tokenizer_n_vocab(tokenizer));
    for (uint32_t id = 0; id < n_ids && st == LM_OK; id++) {
        const int32_t token = (int32_t)id;
        size_t spelt;
        if (!lm_tokenizer_token(tokenizer, token, &spelt))
            continue; /* a hole in the vocabulary */
        lm_str_reset(&word);
        st = lm_tokenizer_decode(tokenizer, &token, 1, false, &word, err);
        for (size_t i = 0; i < n_strings && st == LM_OK; i++)
            st = add_ways(b, tokenizer, token, lm_str_z(&word), word.n, strings[i],
                          tails + i * (LM_BREAKER_BYTES_MAX + 1), err);
    }
    lm_str_clear(&word);
    return st;
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
    tail_ids *tails = NULL;
    lm_status st = LM_NEW(&tails, n * (LM_BREAKER_BYTES_MAX + 1), err);
    if (st == LM_OK)
        st = scan_vocabulary(b, strings, n, tokenizer, n_vocab, tails, err);
    for (size_t i = 0; tails && i < n * (LM_BREAKER_BYTES_MAX + 1); i++)
        lm_ids_clear(&tails[i].ids);
    lm_free(tails);
    if (st != LM_OK)
        lm_breakers_clear(b);
    return st;
}
