/* text/bpe.c - byte-pair encoding of one piece, O(n log n).
 *
 * The symbols are a linked list in an array; possible merges wait in a heap
 * ordered by rank, then position.  A merge whose neighbours have changed since it
 * was queued no longer finds its result and is passed over.
 *
 * Pieces repeat: those of up to 32 bytes are remembered for the length of a call
 * together with where their ids stand in the output. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

#define WORD_MAX   32u
#define LONG_PIECE 65536u /* symbols: from here on a table as long as the merges pays */

typedef struct {
    uint64_t hash;
    size_t at; /* in the output */
    uint16_t n_ids;
    uint8_t n; /* 0: free */
    char s[WORD_MAX];
} word;

struct lm_tok_words {
    size_t mask;
    word w[];
};

void lm_tok_words_free(lm_tok_words *w)
{
    lm_free(w);
}

/* NULL when there is no memory for it: the cache is optional. */
static word *slot(lm_tok_run *r, const char *s, size_t n, uint64_t *hash)
{
    if (n == 0 || n > WORD_MAX)
        return NULL;
    if (!r->words) {
        size_t cap = 64;
        void *p = NULL;
        while (cap < 16384 && cap * 32 < r->n_input)
            cap *= 2;
        if (lm_new(&p, 1, sizeof(lm_tok_words) + cap * sizeof(word), NULL) != LM_OK)
            return NULL;
        r->words = p;
        r->words->mask = cap - 1;
    }
    *hash = lm_xxh64(s, n, 0);
    return &r->words->w[*hash & r->words->mask];
}

static void remember(word *w, const char *s, size_t n, uint64_t hash, size_t at, size_t end)
{
    if (!w)
        return;
    *w = (word){ .hash = hash, .at = at, .n_ids = (uint16_t)(end - at), .n = (uint8_t)n };
    memcpy(w->s, s, n);
}

/* ---- merging ---- */

#define GONE UINT32_MAX

typedef struct {
    uint32_t id; /* SPM: bytes of the symbol; GONE once merged away */
    int32_t prev, next;
    uint32_t at; /* first byte in the piece */
} symbol;

typedef struct {
    uint32_t rank, at; /* position of the left symbol */
} candidate;

typedef struct {
    symbol *s;
    candidate *heap;
    size_t n, n_heap;
    lm_tok_run *r;
    const char *text;
    bool spm;
} merger;

static bool before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(merger *m, candidate c)
{
    size_t i = m->n_heap++;
    while (i > 0) {
        size_t up = (i - 1) / 2;
        if (!before(&c, &m->heap[up]))
            break;
        m->heap[i] = m->heap[up];
        i = up;
    }
    m->heap[i] = c;
}

static candidate pop(merger *m)
{
    candidate top = m->heap[0], c = m->heap[--m->n_heap];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= m->n_heap)
            break;
        if (k + 1 < m->n_heap && before(&m->heap[k + 1], &m->heap[k]))
            k++;
        if (!before(&m->heap[k], &c))
            break;
        m->heap[i] = m->heap[k];
        i = k;
    }
    m->heap[i] = c;
    return top;
}

/* Whether symbol `left` and the next one merge: the rank, and what they become. */
static bool pair_at(const merger *m, int32_t left, uint32_t *rank, uint32_t *id)
{
    const lm_tokenizer *t = m->r->t;
    const symbol *l, *r;
    if (left < 0 || m->s[left].id == GONE || m->s[left].next < 0)
        return false;
    l = &m->s[left];
    r = &m->s[l->next];
    if (m->spm) { /* any two whose text is an entry */
        uint32_t n = l->id + r->id;
        int32_t e = n > t->h->max_piece ? -1 : lm_tok_entry(m->r, m->text + l->at, n);
        if (e < 0)
            return false;
        *rank = ((const uint32_t *)t->scores)[e];
        *id = n;
        return *rank < t->h->n_vocab;
    }
    const lm_tok_merge *p = lm_tok_find_merge(t, l->id, r->id);
    if (!p || (m->r->plain_only && p->id < t->h->n_vocab && (t->kind[p->id] & LM_TK_SPECIAL)))
        return false;
    *rank = (uint32_t)(p - t->merges);
    *id = p->id;
    return true;
}

/* Room for n symbols and for every merge that can ever wait: one for each pair
 * at the start and two for each merge done. */
static lm_status room(lm_tok_run *r, size_t n, merger *m)
{
    size_t symbols = (n * sizeof(symbol) + 63) & ~(size_t)63;
    LM_TRY(lm_tok_scratch(r, symbols + (3 * n + 1) * sizeof(candidate)));
    m->s = r->scratch;
    m->heap = (candidate *)(void *)((char *)r->scratch + symbols);
    m->n = m->n_heap = 0;
    m->r = r;
    return LM_OK;
}

static void add_symbol(merger *m, uint32_t id, size_t at)
{
    m->s[m->n] = (symbol){ id, (int32_t)m->n - 1, -1, (uint32_t)at };
    if (m->n)
        m->s[m->n - 1].next = (int32_t)m->n;
    m->n++;
}

static void try_pair(merger *m, int32_t left)
{
    uint32_t rank, id;
    if (pair_at(m, left, &rank, &id))
        push(m, (candidate){ rank, (uint32_t)left });
}

static void unlink_right(merger *m, symbol *l)
{
    symbol *r = &m->s[l->next];
    l->next = r->next;
    if (r->next >= 0)
        m->s[r->next].prev = (int32_t)(l - m->s);
}

/* Two or three symbols are most of all words: no heap for them. */
static void merge_few(merger *m)
{
    for (;;) {
        uint32_t best = GONE, best_id = 0, rank, id;
        int32_t at = -1;
        for (int32_t i = 0; i >= 0; i = m->s[i].next)
            if (pair_at(m, i, &rank, &id) && rank < best) {
                best = rank;
                best_id = id;
                at = i;
            }
        if (at < 0)
            return;
        m->s[m->s[at].next].id = GONE;
        unlink_right(m, &m->s[at]);
        m->s[at].id = best_id;
    }
}

static bool merge_at(merger *m, uint32_t at, uint32_t rank);

/* ---- long pieces ----
 *
 * A text without pre-tokeniser, or a run of one letter, is one piece of millions
 * of symbols, where a heap is all cache misses.  Candidates then wait in a list
 * for each rank, and a heap holds the ranks alone.  Within a rank the order is
 * by position, as before: lists are sorted when their turn comes. */

typedef struct {
    uint32_t *at;
    uint32_t n, cap, done;
    bool sorted, waiting;
} list;

typedef struct {
    merger *m;
    list *of; /* of each rank */
    uint32_t *ranks;
    size_t n_ranks, cap_ranks, n_lists;
    lm_status st;
} lists;

static void add_rank(lists *w, uint32_t rank)
{
    size_t i = w->n_ranks;
    w->st = lm_grow((void **)&w->ranks, &w->cap_ranks, i + 1, sizeof *w->ranks, w->m->r->err);
    if (w->st != LM_OK)
        return;
    w->n_ranks++;
    for (; i > 0 && w->ranks[(i - 1) / 2] > rank; i = (i - 1) / 2)
        w->ranks[i] = w->ranks[(i - 1) / 2];
    w->ranks[i] = rank;
    w->of[rank].waiting = true;
}

static void drop_rank(lists *w)
{
    uint32_t last = w->ranks[--w->n_ranks];
    size_t i = 0;
    w->of[w->ranks[0]].waiting = false;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= w->n_ranks)
            break;
        k += k + 1 < w->n_ranks && w->ranks[k + 1] < w->ranks[k];
        if (w->ranks[k] >= last)
            break;
        w->ranks[i] = w->ranks[k];
        i = k;
    }
    w->ranks[i] = last;
}

static void list_pair(lists *w, int32_t left)
{
    list *l;
    size_t cap;
    uint32_t rank, id;
    if (w->st != LM_OK || !pair_at(w->m, left, &rank, &id))
        return;
    l = &w->of[rank];
    if (l->n == l->cap) {
        cap = l->cap;
        w->st = lm_grow((void **)&l->at, &cap, (size_t)l->n + 1, sizeof *l->at, w->m->r->err);
        if (w->st != LM_OK)
            return;
        l->cap = (uint32_t)cap;
    }
    if (l->n == l->done)
        l->sorted = true;
    else if (l->at[l->n - 1] > (uint32_t)left)
        l->sorted = false;
    l->at[l->n++] = (uint32_t)left;
    if (!l->waiting)
        add_rank(w, rank);
}

static int by_position(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Does the candidates of one rank until one of a lower rank appears.  Ranks of a
 * trained vocabulary only grow: its lists are done in one go. */
static void do_rank(lists *w, uint32_t rank)
{
    list *l = &w->of[rank];
    if (!l->sorted)
        qsort(l->at + l->done, l->n - l->done, sizeof *l->at, by_position);
    l->sorted = true;
    while (l->done < l->n && w->ranks[0] == rank && w->st == LM_OK) {
        uint32_t at = l->at[l->done++];
        if (!merge_at(w->m, at, rank))
            continue;
        list_pair(w, w->m->s[at].prev);
        list_pair(w, (int32_t)at);
    }
    if (l->done < l->n)
        return;
    /* nothing was added meanwhile: what a merge makes is longer than its parts */
    l->n = l->done = 0;
    if (w->ranks[0] == rank)
        drop_rank(w);
}

static lm_status merge_long(merger *m)
{
    lists w = { .m = m, .st = LM_OK };
    size_t turns = 0, n_ranks = m->spm ? m->r->t->h->n_vocab : m->r->t->n_merges;
    LM_TRY(LM_NEW(&w.of, n_ranks + 1, m->r->err));
    for (size_t i = 0; i + 1 < m->n && w.st == LM_OK; i++)
        list_pair(&w, (int32_t)i);
    /* A made-up vocabulary can jump back and forth between ranks without end. */
    while (w.n_ranks && w.st == LM_OK && turns++ < 16 * (n_ranks + 64))
        do_rank(&w, w.ranks[0]);
    if (w.n_ranks && w.st == LM_OK) { /* the heap does the rest */
        for (int32_t i = 0; i >= 0; i = m->s[i].next)
            try_pair(m, i);
        while (m->n_heap) {
            candidate c = pop(m);
            if (!merge_at(m, c.at, c.rank))
                continue;
            try_pair(m, m->s[c.at].prev);
            try_pair(m, (int32_t)c.at);
        }
    }
    for (size_t i = 0; i < n_ranks; i++)
        lm_free(w.of[i].at);
    lm_free(w.of);
    lm_free(w.ranks);
    return w.st;
}

/* Merges the pair behind symbol `at` if it is still the one of `rank`. */
static bool merge_at(merger *m, uint32_t at, uint32_t rank)
{
    symbol *l = &m->s[at];
    uint32_t now, id;
    if (!pair_at(m, (int32_t)at, &now, &id) || now != rank)
        return false;
    m->s[l->next].id = GONE;
    unlink_right(m, l);
    l->id = id;
    return true;
}

static lm_status merge(merger *m)
{
    if (m->n > LONG_PIECE)
        return merge_long(m);
    if (m->n <= 4) {
        if (m->n)
            merge_few(m);
        return LM_OK;
    }
    for (size_t i = 0; i + 1 < m->n; i++)
        try_pair(m, (int32_t)i);
    while (m->n_heap) {
        candidate c = pop(m);
        if (!merge_at(m, c.at, c.rank))
            continue;
        try_pair(m, m->s[c.at].prev);
        try_pair(m, (int32_t)c.at);
    }
    return LM_OK;
}

static lm_status write_ids(merger *m)
{
    for (int32_t i = m->n ? 0 : -1; i >= 0; i = m->s[i].next)
        LM_TRY(lm_tok_push(m->r->out, (int32_t)m->s[i].id, m->r->err));
    return LM_OK;
}

lm_status lm_tok_unk(lm_tok_run *r)
{
    if (r->t->h->unk < 0)
        return lm_fail(r->err, LM_ERR_CORRUPT,
                       "the text has a part that is not in the vocabulary, which names no unknown token");
    return lm_tok_push(r->out, r->t->h->unk, r->err);
}

/* ---- symbols of a piece ---- */

static lm_status byte_symbols(merger *m, const char *s, size_t n)
{
    const lm_tokenizer *t = m->r->t;
    for (size_t i = 0; i < n; i++) {
        int32_t id = t->byte_ids[(unsigned char)s[i]];
        if (id < 0)
            id = t->h->unk;
        if (id >= 0) /* else the byte is dropped, as the reference does */
            add_symbol(m, (uint32_t)id, i);
    }
    return LM_OK;
}

/* Unknown characters in the order of the reference: one that waits to be fused
 * comes out when the next known character does. */
typedef struct {
    merger *m;
    bool waiting;
    size_t at;
} unknown;

static void release(unknown *u)
{
    if (u->waiting)
        add_symbol(u->m, (uint32_t)u->m->r->t->h->unk, u->at);
    u->waiting = false;
}

static bool as_bytes(merger *m, const char *s, size_t n, size_t at)
{
    const int32_t *ids = m->r->t->byte_fallback;
    for (size_t i = 0; i < n; i++)
        if (ids[(unsigned char)s[i]] < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        add_symbol(m, (uint32_t)ids[(unsigned char)s[i]], at + i);
    return true;
}

static lm_status char_symbols(merger *m, const char *s, size_t n)
{
    const lm_tokenizer *t = m->r->t;
    const lm_tok_header *h = t->h;
    bool fallback = (h->flags & LM_TM_BYTE_FALLBACK) != 0, fuse = (h->flags & LM_TM_FUSE_UNK) != 0;
    bool affixes = h->prefix[0] || h->suffix[0];
    lm_str *w = &m->r->word;
    unknown u = { .m = m };
    for (size_t i = 0, len; i < n; i += len) {
        const char *p = s + i;
        size_t k;
        int32_t id;
        (void)lm_utf8_get(p, n - i, &len);
        k = len;
        if (affixes) {
            w->n = 0;
            if (i > 0)
                lm_str_add(w, h->prefix, strnlen(h->prefix, sizeof h->prefix));
            lm_str_add(w, p, len);
            if (i + len == n)
                lm_str_add(w, h->suffix, strnlen(h->suffix, sizeof h->suffix));
            LM_TRY(lm_str_status(w, m->r->err));
            p = w->s;
            k = w->n;
        }
        id = lm_tok_entry(m->r, p, k);
        if (id >= 0) {
            release(&u);
            add_symbol(m, (uint32_t)id, i);
            continue;
        }
        if (fallback && k <= 4 && as_bytes(m, p, k, i))
            continue;
        if (h->unk < 0) {
            if (h->flags & LM_TM_UNK_MISSING)
                return lm_fail(m->r->err, LM_ERR_CORRUPT, "the unknown token is not in the vocabulary");
            continue; /* the reference drops the character */
        }
        if (u.waiting && !fuse)
            release(&u);
        if (!u.waiting)
            u.at = i;
        u.waiting = true;
    }
    release(&u);
    return LM_OK;
}

static lm_status whole_word(lm_tok_run *r, const char *s, size_t n, int32_t *id)
{
    lm_str *w = &r->word;
    *id = -1;
    if (!r->t->bytes_last) {
        *id = lm_tok_entry(r, s, n);
        return LM_OK;
    }
    if (2 * n > 2 * (size_t)r->t->h->max_piece)
        return LM_OK;
    w->n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = lm_byte_char((uint8_t)s[i]);
        if (c < 0x80)
            lm_str_addc(w, (char)c);
        else
            lm_str_addu(w, c);
    }
    LM_TRY(lm_str_status(w, r->err));
    *id = lm_tok_entry(r, lm_str_z(w), w->n);
    return LM_OK;
}

static lm_status one_word(lm_tok_run *r, const char *s, size_t n)
{
    uint64_t hash = 0;
    word *w = slot(r, s, n, &hash);
    size_t at = r->out->n;
    merger m = { .text = s };
    if (n == 0)
        return LM_OK;
    if (w && w->n == n && w->hash == hash && memcmp(w->s, s, n) == 0) {
        for (size_t i = 0; i < w->n_ids; i++)
            LM_TRY(lm_tok_push(r->out, r->out->ids[w->at + i], r->err));
        return LM_OK;
    }
    if (r->t->h->flags & LM_TM_IGNORE_MERGES) {
        int32_t id;
        LM_TRY(whole_word(r, s, n, &id));
        if (id >= 0)
            return lm_tok_push(r->out, id, r->err);
    }
    /* with affixes a character can become at most four byte symbols all the same */
    LM_TRY(room(r, n + 1, &m));
    LM_TRY(r->t->bytes_last ? byte_symbols(&m, s, n) : char_symbols(&m, s, n));
    LM_TRY(merge(&m));
    LM_TRY(write_ids(&m));
    remember(w, s, n, hash, at, r->out->n);
    return LM_OK;
}

/* Where no entry has this byte and U+2581 side by side, no merge crosses the border
 * between them: each side is a piece of its own, small and likely seen before. */
static size_t word_end(const lm_tok_header *h, const char *s, size_t n)
{
    bool text = false;
    for (size_t i = 0; i < n;) {
        bool space = n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0;
        if (space && text && !(h->cross[(uint8_t)s[i - 1] >> 5] >> ((uint8_t)s[i - 1] & 31) & 1))
            return i;
        text = !space;
        i += space ? 3 : 1;
    }
    return n;
}

lm_status lm_bpe_run(lm_tok_run *r, const char *s, size_t n)
{
    size_t end;
    if (!(r->t->h->flags & LM_TM_WORDS))
        return one_word(r, s, n);
    for (; n; s += end, n -= end) {
        end = word_end(r->t->h, s, n);
        LM_TRY(one_word(r, s, end));
    }
    return LM_OK;
}

/* ---- SentencePiece's way, as GGUF vocabularies without merges need it ---- */

static lm_status spm_word(lm_tok_run *r, const char *s, size_t n)
{
    uint64_t hash = 0;
    word *w = slot(r, s, n, &hash);
    size_t at = r->out->n;
    merger m = { 0 };
    if (w && w->n == n && w->hash == hash && memcmp(w->s, s, n) == 0) {
        for (size_t i = 0; i < w->n_ids; i++)
            LM_TRY(lm_tok_push(r->out, r->out->ids[w->at + i], r->err));
        return LM_OK;
    }
    LM_TRY(room(r, n, &m));
    m.text = s;
    m.spm = true;
    for (size_t i = 0, len; i < n; i += len) {
        (void)lm_utf8_get(s + i, n - i, &len);
        add_symbol(&m, (uint32_t)len, i);
    }
    LM_TRY(merge(&m));
    for (int32_t i = 0; i >= 0; i = m.s[i].next) {
        int32_t id = lm_tok_entry(r, s + m.s[i].at, m.s[i].id);
        if (id >= 0) {
            LM_TRY(lm_tok_push(r->out, id, r->err));
            continue;
        }
        for (uint32_t k = 0; k < m.s[i].id; k++) {
            id = r->t->byte_fallback[(unsigned char)s[m.s[i].at + k]];
            LM_TRY(id >= 0 ? lm_tok_push(r->out, id, r->err) : lm_tok_unk(r));
        }
    }
    remember(w, s, n, hash, at, r->out->n);
    return LM_OK;
}

lm_status lm_spm_run(lm_tok_run *r, const char *s, size_t n)
{
    for (size_t end; n; s += end, n -= end) {
        end = r->t->h->flags & LM_TM_WORDS ? word_end(r->t->h, s, n) : n;
        LM_TRY(spm_word(r, s, end));
    }
    return LM_OK;
}
