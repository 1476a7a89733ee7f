/* text/added.c - finds added tokens, first in the text as it is, then in what is
 * left of it once normalised; the rest goes through pre-tokenisers and model.
 *
 * At each place the longest token counts (a walk down a trie); places are tried
 * from the left and never overlap.  A match that fails its single_word rule is
 * passed over whole, as the reference does. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

int32_t lm_tok_entry(const lm_tok_run *r, const char *s, size_t n)
{
    int32_t id = lm_tok_find(r->t, s, n, LM_TK_MODEL);
    return id >= 0 && r->plain_only && (r->t->kind[id] & LM_TK_SPECIAL) ? -1 : id;
}

static lm_status model(lm_tok_run *r, const char *text, const lm_tok_pieces *pieces)
{
    for (size_t i = 0; i < pieces->n; i++) {
        const char *s = text + pieces->p[i].first;
        size_t n = pieces->p[i].end - pieces->p[i].first;
        switch (r->t->h->model) {
        case LM_TOK_BPE: LM_TRY(lm_bpe_run(r, s, n)); break;
        case LM_TOK_SPM: LM_TRY(lm_spm_run(r, s, n)); break;
        case LM_TOK_UNIGRAM: LM_TRY(lm_unigram_run(r, s, n)); break;
        case LM_TOK_WORDPIECE: LM_TRY(lm_wordpiece_run(r, s, n)); break;
        default: LM_TRY(lm_wordlevel_run(r, s, n)); break;
        }
    }
    return LM_OK;
}

static lm_status plain(lm_tok_run *r, const char *text, size_t n, bool lead)
{
    lm_tok_pieces *pieces = NULL;
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_pre_run(r, &text, &n, lead, &pieces));
    return model(r, text, pieces);
}

/* ---- one pass over a text ---- */

typedef struct {
    lm_tok_run *r;
    const char *s;
    size_t n;
    const uint32_t *from; /* of the normalised text: offsets in the raw one */
    size_t base;          /* of this fragment in the caller's text */
    bool normalised, lead;
} field;

static uint32_t char_before(const char *s, size_t at)
{
    size_t k = at, len;
    if (at == 0)
        return LM_UTF8_BAD;
    do
        k--;
    while (k > 0 && ((unsigned char)s[k] & 0xc0) == 0x80);
    return lm_utf8_get(s + k, at - k, &len);
}

static uint32_t char_at(const char *s, size_t n, size_t at)
{
    size_t len;
    return at < n ? lm_utf8_get(s + at, n - at, &len) : LM_UTF8_BAD;
}

static bool is_word(uint32_t c)
{
    return c != LM_UTF8_BAD && lm_uni_word(c);
}

/* Whether bytes [first, end) of the field touch what a person wrote. */
static bool is_literal(const field *f, size_t first, size_t end)
{
    const lm_tok_run *r = f->r;
    size_t lo = 0, hi = r->n_literal, a = first, b = end - 1;
    if (f->from) {
        a = f->from[first];
        b = f->from[end - 1];
    }
    a += f->base;
    b += f->base;
    while (lo < hi) { /* the first span that ends behind a */
        size_t mid = lo + (hi - lo) / 2;
        if (r->literal[mid].end > a)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo < r->n_literal && r->literal[lo].first <= b;
}

static lm_status fragment(const field *f, size_t first, size_t end);

static lm_status scan(const field *f)
{
    /* long: the rules of a match, in the order in which they apply */
    const lm_tokenizer *t = f->r->t;
    const lm_tok_node *nodes = f->normalised ? t->norm_trie : t->raw;
    const uint32_t *firsts = f->normalised ? t->norm_first : t->raw_first;
    size_t n_nodes = f->normalised ? t->n_norm_trie : t->n_raw, done = 0, i = 0;
    while (n_nodes && i < f->n) {
        uint8_t c = (uint8_t)f->s[i];
        const lm_tok_added *a = NULL;
        size_t first = i, end = i;
        if (!(firsts[c >> 5] >> (c & 31) & 1)) {
            i++;
            continue;
        }
        for (size_t at = 0, j = i; j < f->n;) {
            at = lm_tok_child(nodes, n_nodes, (uint32_t)at, (uint8_t)f->s[j++]);
            if (at == 0)
                break;
            if (nodes[at].value >= 0 && (size_t)nodes[at].value < t->n_added) {
                const lm_tok_added *b = &t->added[nodes[at].value];
                if ((b->flags & LM_TA_SPECIAL) && f->r->plain_only && is_literal(f, i, j))
                    continue; /* a shorter or a longer token may still be one */
                a = b;
                end = j;
            }
        }
        if (!a) {
            i++;
            continue;
        }
        i = end;
        if ((a->flags & LM_TA_SINGLE_WORD) &&
            (is_word(char_before(f->s, first)) || is_word(char_at(f->s, f->n, end))))
            continue;
        if (a->flags & LM_TA_LSTRIP) {
            while (first > 0 && lm_uni_space(char_before(f->s, first)))
                do
                    first--;
                while (first > 0 && ((unsigned char)f->s[first] & 0xc0) == 0x80);
            first = LM_MAX(first, done);
        }
        if (a->flags & LM_TA_RSTRIP)
            while (end < f->n && lm_uni_space(char_at(f->s, f->n, end)))
                do
                    end++;
                while (end < f->n && ((unsigned char)f->s[end] & 0xc0) == 0x80);
        if (done < first)
            LM_TRY(fragment(f, done, first));
        LM_TRY(lm_tok_push(f->r->out, a->id, f->r->err));
        done = end;
    }
    return done < f->n ? fragment(f, done, f->n) : LM_OK;
}

static lm_status fragment(const field *f, size_t first, size_t end)
{
    lm_tok_run *r = f->r;
    const lm_tokenizer *t = r->t;
    field g = { .r = r, .s = f->s + first, .n = end - first, .base = f->base + first, .normalised = true };
    g.lead = f->lead && first == 0;
    if (f->normalised)
        return plain(r, g.s, g.n, g.lead);
    if (t->n_norm) {
        bool want = t->n_norm_trie && r->n_literal && !r->parse_all;
        int which = 0;
        LM_TRY(lm_norm_run(r, g.s, g.n, want, &which));
        g.s = lm_str_z(&r->norm[which].b);
        g.n = r->norm[which].b.n;
        g.from = want ? r->norm[which].from : NULL;
        g.lead = g.lead && r->norm[which].lead;
    }
    return t->n_norm_trie ? scan(&g) : plain(r, g.s, g.n, g.lead);
}

lm_status lm_tok_encode_text(lm_tok_run *r, const char *text, size_t n)
{
    field f = { .r = r, .s = text, .n = n, .lead = true };
    /* Some models have the special tokens among their pieces.  Outside a person's
     * text all spellings are found here, so the models need none of them. */
    r->plain_only = r->n_literal && !r->parse_all;
    return scan(&f);
}
