/* text/unigram.c - the most likely cut of a piece into entries: one forward pass
 * over the characters (Viterbi), one walk back.  What no entry covers is unknown;
 * unknown neighbours fuse. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

#define UNKNOWN_PENALTY 10.0

typedef struct {
    double score;
    int32_t id, from; /* from -1: not reached */
} node;

static void offer(node *to, double score, size_t from, int32_t id)
{
    if (to->from < 0 || score > to->score)
        *to = (node){ score, id, (int32_t)from };
}

static lm_status put(lm_tok_run *r, const char *s, size_t n)
{
    const lm_tokenizer *t = r->t;
    int32_t id = lm_tok_entry(r, s, n);
    if (id >= 0)
        return lm_tok_push(r->out, id, r->err);
    if (t->h->flags & LM_TM_BYTE_FALLBACK) {
        bool all = true;
        for (size_t i = 0; i < n && all; i++)
            all = t->byte_fallback[(unsigned char)s[i]] >= 0;
        for (size_t i = 0; i < n && all; i++)
            LM_TRY(lm_tok_push(r->out, t->byte_fallback[(unsigned char)s[i]], r->err));
        if (all)
            return LM_OK;
    }
    return lm_tok_unk(r);
}

lm_status lm_unigram_run(lm_tok_run *r, const char *s, size_t n)
{
    const lm_tokenizer *t = r->t;
    const double *scores = t->scores;
    double unknown = t->h->min_score - UNKNOWN_PENALTY;
    uint32_t *borders;
    node *v;
    size_t k = 0, end;
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_tok_scratch(r, (n + 1) * (sizeof *v + sizeof *borders)));
    v = r->scratch;
    borders = (uint32_t *)(void *)(v + n + 1);
    for (size_t i = 0; i <= n; i++)
        v[i] = (node){ .from = -1, .id = -1 };
    for (size_t i = 0, len; i < n; i += len) {
        bool single = false;
        (void)lm_utf8_get(s + i, n - i, &len);
        for (size_t at = 0, j = i; j < n && t->n_trie;) {
            int32_t id;
            at = lm_tok_child(t->trie, t->n_trie, (uint32_t)at, (uint8_t)s[j++]);
            if (at == 0)
                break;
            id = t->trie[at].value;
            if (id < 0 || (uint32_t)id >= t->h->n_vocab || (r->plain_only && (t->kind[id] & LM_TK_SPECIAL)))
                continue;
            offer(&v[j], v[i].score + scores[id], i, id);
            single |= j - i == len;
        }
        if (!single) {
            if (t->h->unk < 0)
                return lm_tok_unk(r);
            offer(&v[i + len], v[i].score + unknown, i, t->h->unk);
        }
    }
    for (end = n; end > 0; end = (size_t)v[end].from)
        borders[k++] = (uint32_t)end;
    /* borders run backwards; a run of unknowns is one part */
    for (size_t first = 0; k > 0;) {
        size_t e = borders[--k];
        if (t->h->unk >= 0 && v[e].id == t->h->unk)
            while (k > 0 && v[borders[k - 1]].id == t->h->unk)
                e = borders[--k];
        LM_TRY(put(r, s + first, e - first));
        first = e;
    }
    return LM_OK;
}
