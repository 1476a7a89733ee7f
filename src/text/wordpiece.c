/* text/wordpiece.c - the longest entry, again and again; entries inside a word
 * carry a prefix.  A word that cannot be covered is one unknown token. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "text/tok.h"

static size_t characters(const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

lm_status lm_wordpiece_run(lm_tok_run *r, const char *s, size_t n)
{
    const lm_tok_header *h = r->t->h;
    size_t n_prefix = strnlen(h->prefix, sizeof h->prefix), at = r->out->n;
    if (n == 0)
        return LM_OK;
    if (characters(s, n) > h->max_chars)
        return lm_tok_unk(r);
    for (size_t i = 0, end; i < n; i = end) {
        int32_t id = -1;
        /* No entry is longer than max_piece, prefix included.  The longest candidate
         * is spelt once; shorter ones are its beginnings. */
        const char *word = s;
        size_t head = 0;
        end = LM_MIN(n, i + h->max_piece);
        if (i > 0) {
            r->word.n = 0;
            lm_str_add(&r->word, h->prefix, n_prefix);
            lm_str_add(&r->word, s + i, end - i);
            LM_TRY(lm_str_status(&r->word, r->err));
            word = r->word.s;
            head = n_prefix;
        }
        for (; end > i; end--) {
            if (end < n && ((unsigned char)s[end] & 0xc0) == 0x80)
                continue;
            id = lm_tok_entry(r, word, head + end - i);
            if (id >= 0)
                break;
        }
        if (id < 0) {
            r->out->n = at;
            return lm_tok_unk(r);
        }
        LM_TRY(lm_tok_push(r->out, id, r->err));
    }
    return LM_OK;
}
