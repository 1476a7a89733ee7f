/* text/tok_build.c - compiles a vocabulary into an image: texts end to end, hash
 * tables laid out to be used in place, tries as arrays. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "text/tok.h"

typedef struct {
    uint32_t at, n, id;
    uint8_t kind;
    double score;
} entry;

typedef struct {
    uint32_t at, n;
    int32_t id;
    uint32_t flags;
} added;

struct lm_tok_build {
    char name[160];
    lm_tok_header h;
    lm_str text;
    entry *e;
    size_t n, cap;
    uint32_t *slot; /* index + 1 into e */
    size_t n_slots;
    lm_tok_merge *merge;
    size_t n_merges, cap_merges;
    added *added;
    size_t n_added, cap_added;
    uint32_t top; /* highest id + 1 */
    uint32_t n_model;
    lm_str tmp;
};

lm_status lm_tok_build_open(lm_tok_build **out, const char *name, lm_error *err)
{
    lm_tok_build *b = NULL;
    lm_quoted_buf q;
    size_t n;
    LM_TRY(LM_NEW(&b, 1, err));
    (void)lm_quoted_z(&q, name);
    n = LM_MIN(strlen(q.s), sizeof b->name - 1);
    memcpy(b->name, q.s, n);
    b->h.bos = b->h.eos = b->h.unk = -1;
    b->h.max_chars = UINT32_MAX;
    *out = b;
    return LM_OK;
}

void lm_tok_build_close(lm_tok_build *b)
{
    if (!b)
        return;
    lm_str_clear(&b->text);
    lm_str_clear(&b->tmp);
    lm_free(b->e);
    lm_free(b->slot);
    lm_free(b->merge);
    lm_free(b->added);
    lm_free(b);
}

lm_tok_header *lm_tok_build_header(lm_tok_build *b)
{
    return &b->h;
}

uint32_t lm_tok_build_n_tokens(const lm_tok_build *b)
{
    return b->n_model;
}

static size_t probe(const lm_tok_build *b, const char *s, size_t n)
{
    size_t mask = b->n_slots - 1, i = (size_t)lm_xxh64(s, n, 0) & mask;
    while (b->slot[i]) {
        const entry *e = &b->e[b->slot[i] - 1];
        if (e->n == n && memcmp(b->text.s + e->at, s, n) == 0)
            break;
        i = (i + 1) & mask;
    }
    return i;
}

static lm_status grow_slots(lm_tok_build *b, lm_error *err)
{
    size_t n = b->n_slots ? b->n_slots * 2 : 1024;
    uint32_t *fresh = NULL;
    if (b->n * 2 < b->n_slots)
        return LM_OK;
    LM_TRY(LM_NEW(&fresh, n, err));
    lm_free(b->slot);
    b->slot = fresh;
    b->n_slots = n;
    for (size_t k = 0; k < b->n; k++)
        b->slot[probe(b, b->text.s + b->e[k].at, b->e[k].n)] = (uint32_t)(k + 1);
    return LM_OK;
}

static entry *find(const lm_tok_build *b, const char *s, size_t n)
{
    uint32_t k = b->n_slots ? b->slot[probe(b, s, n)] : 0;
    return k ? &b->e[k - 1] : NULL;
}

int32_t lm_tok_build_find(const lm_tok_build *b, const char *s, size_t n)
{
    const entry *e = find(b, s, n);
    return e ? (int32_t)e->id : -1;
}

static lm_status add_entry(lm_tok_build *b, const char *s, size_t n, uint32_t id, double score, uint8_t kind,
                           lm_error *err)
{
    lm_quoted_buf q;
    size_t i;
    if (n > LM_TOK_MAX_PIECE)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: an entry has %zu bytes, at most %u are allowed", b->name, n,
                       LM_TOK_MAX_PIECE);
    if (id >= LM_TOK_MAX_ID)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the id of '%s' is %u, allowed are 0 to %d", b->name,
                       lm_quoted(&q, s, n), id, LM_TOK_MAX_ID - 1);
    if (b->text.n + n > UINT32_MAX / 2)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the vocabulary has more than 2 GiB of text", b->name);
    LM_TRY(grow_slots(b, err));
    i = probe(b, s, n);
    if (b->slot[i])
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the entry '%s' is there twice, as %u and as %u", b->name,
                       lm_quoted(&q, s, n), b->e[b->slot[i] - 1].id, id);
    LM_TRY(lm_grow((void **)&b->e, &b->cap, b->n + 1, sizeof *b->e, err));
    b->e[b->n] = (entry){ (uint32_t)b->text.n, (uint32_t)n, id, kind, score };
    lm_str_add(&b->text, s, n);
    LM_TRY(lm_str_status(&b->text, err));
    b->slot[i] = (uint32_t)++b->n;
    if (id >= b->top)
        b->top = id + 1;
    return LM_OK;
}

lm_status lm_tok_build_token(lm_tok_build *b, const char *s, size_t n, uint32_t id, double score,
                             lm_error *err)
{
    LM_TRY(add_entry(b, s, n, id, score, LM_TK_MODEL, err));
    if (n > b->h.max_piece)
        b->h.max_piece = (uint32_t)n;
    b->n_model++;
    return LM_OK;
}

lm_status lm_tok_build_merge(lm_tok_build *b, const char *left, size_t n_left, const char *right,
                             size_t n_right, lm_error *err)
{
    size_t n_prefix = strlen(b->h.prefix);
    const entry *l = find(b, left, n_left), *r = find(b, right, n_right), *both;
    lm_quoted_buf q;
    if (!l || !r)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: merge %zu names '%s', which is not in the vocabulary",
                       b->name, b->n_merges, l ? lm_quoted(&q, right, n_right) : lm_quoted(&q, left, n_left));
    lm_str_reset(&b->tmp);
    lm_str_add(&b->tmp, left, n_left);
    lm_str_add(&b->tmp, right + LM_MIN(n_prefix, n_right), n_right - LM_MIN(n_prefix, n_right));
    LM_TRY(lm_str_status(&b->tmp, err));
    both = find(b, lm_str_z(&b->tmp), b->tmp.n);
    if (!both)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: merge %zu makes '%s', which is not in the vocabulary",
                       b->name, b->n_merges, lm_quoted(&q, lm_str_z(&b->tmp), b->tmp.n));
    if (b->n_merges >= LM_TOK_MAX_ID)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: there are more than %d merges", b->name, LM_TOK_MAX_ID);
    LM_TRY(lm_grow((void **)&b->merge, &b->cap_merges, b->n_merges + 1, sizeof *b->merge, err));
    b->merge[b->n_merges++] = (lm_tok_merge){ l->id, r->id, both->id };
    return LM_OK;
}

lm_status lm_tok_build_added(lm_tok_build *b, const char *s, size_t n, int64_t id, unsigned flags,
                             lm_error *err)
{
    lm_quoted_buf q;
    entry *e;
    if (n == 0)
        return LM_OK; /* as the reference does */
    if (n > LM_TOK_MAX_ADDED)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: an added token has %zu bytes, at most %u are allowed",
                       b->name, n, LM_TOK_MAX_ADDED);
    if (id < -1 || id >= LM_TOK_MAX_ID)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the id of '%s' is %lld, allowed are 0 to %d", b->name,
                       lm_quoted(&q, s, n), (long long)id, LM_TOK_MAX_ID - 1);
    e = find(b, s, n);
    if (!e) {
        LM_TRY(add_entry(b, s, n, id < 0 ? b->top : (uint32_t)id, 0, 0, err));
        e = &b->e[b->n - 1];
    }
    e->kind |= LM_TK_ADDED;
    if (flags & LM_TA_SPECIAL)
        e->kind |= LM_TK_SPECIAL;
    LM_TRY(lm_grow((void **)&b->added, &b->cap_added, b->n_added + 1, sizeof *b->added, err));
    b->added[b->n_added++] = (added){ e->at, e->n, (int32_t)e->id, flags };
    return LM_OK;
}

/* Sorted keys become an array of nodes, breadth first, so that the children of
 * one node lie side by side. */
typedef struct {
    const char *s;
    uint32_t n;
    int32_t value;
} key;

static int by_text(const void *a, const void *b)
{
    const key *x = a, *y = b;
    int c = memcmp(x->s, y->s, LM_MIN(x->n, y->n));
    return c ? c : x->n != y->n ? (x->n < y->n ? -1 : 1) : (x->value > y->value) - (x->value < y->value);
}

typedef struct {
    uint32_t first, end, depth;
} span_of_keys;

static lm_status make_trie(key *k, size_t n, lm_tok_node **out, size_t *n_out, lm_error *err)
{
    lm_tok_node *node = NULL;
    span_of_keys *span = NULL;
    size_t cap_node = 0, cap_span = 0, n_nodes = 1;
    lm_status st;
    *out = NULL;
    *n_out = 0;
    if (n == 0)
        return LM_OK;
    qsort(k, n, sizeof *k, by_text);
    if ((st = lm_grow((void **)&node, &cap_node, 1, sizeof *node, err)) != LM_OK ||
        (st = lm_grow((void **)&span, &cap_span, 1, sizeof *span, err)) != LM_OK)
        goto out;
    node[0] = (lm_tok_node){ .value = -1 };
    span[0] = (span_of_keys){ 0, (uint32_t)n, 0 };
    for (size_t i = 0; i < n_nodes; i++) {
        span_of_keys s = span[i];
        uint32_t at = s.first;
        while (at < s.end && k[at].n == s.depth) { /* equal keys: the first wins */
            if (node[i].value < 0)
                node[i].value = k[at].value;
            at++;
        }
        node[i].first = (uint32_t)n_nodes;
        while (at < s.end) {
            uint8_t byte = (uint8_t)k[at].s[s.depth];
            uint32_t end = at + 1;
            while (end < s.end && (uint8_t)k[end].s[s.depth] == byte)
                end++;
            if ((st = lm_grow((void **)&node, &cap_node, n_nodes + 1, sizeof *node, err)) != LM_OK ||
                (st = lm_grow((void **)&span, &cap_span, n_nodes + 1, sizeof *span, err)) != LM_OK)
                goto out;
            node[n_nodes] = (lm_tok_node){ .byte = byte, .value = -1 };
            span[n_nodes++] = (span_of_keys){ at, end, s.depth + 1 };
            node[i].n++;
            at = end;
        }
    }
    *out = node;
    *n_out = n_nodes;
    node = NULL;
out:
    lm_free(node);
    lm_free(span);
    return st;
}

/* Sections are appended to one string, each 64-byte aligned. */
static void section(lm_tok_header *h, lm_str *image, unsigned i, const void *bytes, size_t n)
{
    static const char zeros[64] = { 0 };
    lm_str_add(image, zeros, (size_t)(lm_round_up(image->n, 64) - image->n));
    h->section[i].at = image->n;
    h->section[i].n = n;
    if (n)
        lm_str_add(image, bytes, n);
}

/* long: the sections of one image, whose offsets depend on one another */
static lm_status add_vocabulary(lm_tok_build *b, lm_str *image, lm_error *err)
{
    lm_tok_header *h = &b->h;
    uint32_t n = b->top, *offsets = NULL, *slots = NULL;
    uint8_t *kind = NULL;
    uint32_t *index = NULL; /* of each id: entry + 1 */
    double *scores = NULL;
    lm_str text = { 0 };
    size_t n_slots = 16;
    lm_status st;
    if ((uint64_t)n > 8 * (uint64_t)b->n + 1000000)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the highest id is %u, but there are %zu entries", b->name,
                       n - 1, b->n);
    while (n_slots < 2 * b->n)
        n_slots *= 2;
    if ((st = LM_NEW(&offsets, (size_t)n + 1, err)) != LM_OK || (st = LM_NEW(&kind, n + 1u, err)) != LM_OK ||
        (st = LM_NEW(&index, n + 1u, err)) != LM_OK || (st = LM_NEW(&slots, n_slots, err)) != LM_OK ||
        (st = LM_NEW(&scores, n + 1u, err)) != LM_OK)
        goto out;
    for (size_t k = 0; k < b->n; k++) {
        entry *e = &b->e[k];
        size_t i = (size_t)lm_xxh64(b->text.s + e->at, e->n, 0) & (n_slots - 1);
        if (index[e->id]) {
            lm_quoted_buf q, r;
            const entry *o = &b->e[index[e->id] - 1];
            st = lm_fail(err, LM_ERR_CORRUPT, "%s: '%s' and '%s' both have the id %u", b->name,
                         lm_quoted(&q, b->text.s + o->at, o->n), lm_quoted(&r, b->text.s + e->at, e->n),
                         e->id);
            goto out;
        }
        index[e->id] = (uint32_t)(k + 1);
        kind[e->id] = e->kind;
        scores[e->id] = e->score;
        while (slots[i])
            i = (i + 1) & (n_slots - 1);
        slots[i] = e->id + 1;
    }
    for (uint32_t id = 0; id < n; id++) {
        offsets[id] = (uint32_t)text.n;
        if (index[id])
            lm_str_add(&text, b->text.s + b->e[index[id] - 1].at, b->e[index[id] - 1].n);
    }
    offsets[n] = (uint32_t)text.n;
    if ((st = lm_str_status(&text, err)) != LM_OK)
        goto out;
    h->n_vocab = n;
    h->n_model = b->n_model;
    section(h, image, LM_TS_TEXT, lm_str_z(&text), text.n);
    section(h, image, LM_TS_OFFSETS, offsets, ((size_t)n + 1) * sizeof *offsets);
    section(h, image, LM_TS_KIND, kind, n);
    section(h, image, LM_TS_SLOTS, slots, n_slots * sizeof *slots);
    if (h->model == LM_TOK_UNIGRAM) {
        section(h, image, LM_TS_SCORES, scores, n * sizeof *scores);
    } else if (h->model == LM_TOK_SPM) { /* the score is a rank already */
        for (uint32_t id = 0; id < n; id++)
            index[id] = (uint32_t)scores[id];
        section(h, image, LM_TS_SCORES, index, n * sizeof *index);
    }
out:
    lm_str_clear(&text);
    lm_free(offsets);
    lm_free(slots);
    lm_free(kind);
    lm_free(index);
    lm_free(scores);
    return st;
}

static lm_status add_merges(lm_tok_build *b, lm_str *image, lm_error *err)
{
    size_t n_slots = 16;
    uint32_t *slots = NULL;
    if (b->n_merges == 0)
        return LM_OK;
    while (n_slots < 2 * b->n_merges)
        n_slots *= 2;
    LM_TRY(LM_NEW(&slots, n_slots, err));
    for (size_t k = 0; k < b->n_merges; k++) {
        const lm_tok_merge *m = &b->merge[k], *o = NULL;
        size_t i = (size_t)lm_tok_pair_hash(m->left, m->right) & (n_slots - 1);
        for (; slots[i]; i = (i + 1) & (n_slots - 1)) {
            o = &b->merge[slots[i] - 1];
            if (o->left == m->left && o->right == m->right)
                break;
        }
        slots[i] = (uint32_t)(k + 1); /* a pair named twice has the later rank, as in the reference */
    }
    section(&b->h, image, LM_TS_MERGES, b->merge, b->n_merges * sizeof *b->merge);
    section(&b->h, image, LM_TS_MSLOTS, slots, n_slots * sizeof *slots);
    lm_free(slots);
    return LM_OK;
}

/* No merge crosses the border before a U+2581 unless an entry does.  Notes which
 * bytes stand there in entries: behind all others a text may be cut. */
static void find_borders(lm_tok_build *b)
{
    const entry *space = find(b, "\xe2\x96\x81", 3);
    if (!space || !(space->kind & LM_TK_MODEL) || b->h.prefix[0] || b->h.suffix[0] ||
        (b->h.flags & LM_TM_IGNORE_MERGES))
        return;
    b->h.flags |= LM_TM_WORDS;
    for (size_t i = 0; i < b->n; i++) {
        const char *s = b->text.s + b->e[i].at;
        bool text = false;
        for (size_t k = 0; (b->e[i].kind & LM_TK_MODEL) && k < b->e[i].n;) {
            bool is_space = b->e[i].n - k >= 3 && memcmp(s + k, "\xe2\x96\x81", 3) == 0;
            if (is_space && text)
                b->h.cross[(uint8_t)s[k - 1] >> 5] |= 1u << ((uint8_t)s[k - 1] & 31);
            text = !is_space;
            k += is_space ? 3 : 1;
        }
    }
}

static lm_status add_unigram_trie(lm_tok_build *b, lm_str *image, lm_error *err)
{
    key *k = NULL;
    lm_tok_node *node = NULL;
    size_t n = 0, n_nodes = 0;
    lm_status st;
    if (b->h.max_piece > LM_TOK_MAX_TRIE)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: a Unigram piece has %u bytes, at most %u are allowed",
                       b->name, b->h.max_piece, LM_TOK_MAX_TRIE);
    LM_TRY(LM_NEW(&k, b->n + 1, err));
    for (size_t i = 0; i < b->n; i++)
        if ((b->e[i].kind & LM_TK_MODEL) && b->e[i].n)
            k[n++] = (key){ b->text.s + b->e[i].at, b->e[i].n, (int32_t)b->e[i].id };
    st = make_trie(k, n, &node, &n_nodes, err);
    if (st == LM_OK)
        section(&b->h, image, LM_TS_TRIE, node, n_nodes * sizeof *node);
    lm_free(node);
    lm_free(k);
    return st;
}

/* Special tokens come first: of two with one spelling after normalisation the
 * reference takes the earlier.
 * long: one pass fills every section of the added tokens, whose orders must agree. */
static lm_status add_added(lm_tok_build *b, lm_str *image, const lm_norm *norm, size_t n_norm, lm_error *err)
{
    lm_tok_added *list = NULL;
    key *raw = NULL, *cooked = NULL;
    lm_tok_node *node = NULL;
    lm_str *spelling = NULL, all = { 0 };
    uint8_t *kind = (uint8_t *)image->s + b->h.section[LM_TS_KIND].at;
    size_t n_raw = 0, n_cooked = 0, n_list = 0, n_nodes = 0;
    lm_tokenizer fake = { .norm = (lm_norm *)norm, .n_norm = n_norm };
    lm_tok_run run = { .t = &fake, .err = err };
    lm_status st;
    if (b->n_added == 0)
        return LM_OK;
    if ((st = LM_NEW(&list, b->n_added, err)) != LM_OK || (st = LM_NEW(&raw, b->n_added, err)) != LM_OK ||
        (st = LM_NEW(&cooked, b->n_added, err)) != LM_OK ||
        (st = LM_NEW(&spelling, b->n_added, err)) != LM_OK)
        goto out;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < b->n_added; i++) {
            const added *a = &b->added[i];
            const char *s = b->text.s + a->at;
            if (((a->flags & LM_TA_SPECIAL) != 0) != (pass == 0))
                continue;
            if (a->flags & LM_TA_NORMALIZED) {
                int which = 0;
                if ((st = lm_norm_run(&run, s, a->n, false, &which)) != LM_OK)
                    goto out;
                lm_str_add(&spelling[i], lm_str_z(&run.norm[which].b), run.norm[which].b.n);
                if ((st = lm_str_status(&spelling[i], err)) != LM_OK)
                    goto out;
                if (spelling[i].n && spelling[i].n <= 4 * LM_TOK_MAX_ADDED)
                    cooked[n_cooked++] = (key){ spelling[i].s, (uint32_t)spelling[i].n, (int32_t)n_list };
            } else {
                raw[n_raw++] = (key){ s, a->n, (int32_t)n_list };
            }
            list[n_list] = (lm_tok_added){ .id = a->id, .flags = a->flags, .at = (uint32_t)all.n };
            if (a->flags & LM_TA_NORMALIZED) {
                bool same = spelling[i].n == a->n && memcmp(lm_str_z(&spelling[i]), s, a->n) == 0;
                list[n_list].n = (uint32_t)spelling[i].n;
                lm_str_add(&all, lm_str_z(&spelling[i]), spelling[i].n);
                if (!same && (uint32_t)a->id < b->h.n_vocab)
                    kind[a->id] |= LM_TK_RESPELT;
            }
            n_list++;
        }
    }
    if ((st = lm_str_status(&all, err)) != LM_OK)
        goto out;
    section(&b->h, image, LM_TS_SPELLINGS, lm_str_z(&all), all.n);
    section(&b->h, image, LM_TS_ADDED, list, n_list * sizeof *list);
    if ((st = make_trie(raw, n_raw, &node, &n_nodes, err)) != LM_OK)
        goto out;
    section(&b->h, image, LM_TS_RAW, node, n_nodes * sizeof *node);
    lm_free(node);
    node = NULL;
    if ((st = make_trie(cooked, n_cooked, &node, &n_nodes, err)) != LM_OK)
        goto out;
    section(&b->h, image, LM_TS_NORM, node, n_nodes * sizeof *node);
out:
    for (size_t i = 0; spelling && i < b->n_added; i++)
        lm_str_clear(&spelling[i]);
    lm_str_clear(&all);
    lm_tok_sink_clear(&run.norm[0]);
    lm_tok_sink_clear(&run.norm[1]);
    lm_tok_match_clear(&run.match);
    lm_free(spelling);
    lm_free(node);
    lm_free(list);
    lm_free(raw);
    lm_free(cooked);
    return st;
}

static void add_bytes(lm_tok_build *b, lm_str *image)
{
    int32_t ids[512];
    for (uint32_t i = 0; i < 256; i++) {
        static const char digit[] = "0123456789ABCDEF";
        lm_str u = { 0 };
        char code[6] = { '<', '0', 'x', digit[i >> 4], digit[i & 15], '>' };
        lm_str_addu(&u, lm_byte_char((uint8_t)i));
        const entry *e = u.failed ? NULL : find(b, lm_str_z(&u), u.n);
        ids[i] = e && (e->kind & LM_TK_MODEL) ? (int32_t)e->id : -1;
        e = find(b, code, sizeof code);
        ids[256 + i] = e && (e->kind & LM_TK_MODEL) ? (int32_t)e->id : -1;
        lm_str_clear(&u);
    }
    section(&b->h, image, LM_TS_BYTES, ids, sizeof ids);
}

static int from64(unsigned char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Each Precompiled map is decoded once; the step keeps its number. */
static lm_status take_charsmaps(lm_str *blob, json_t *def, unsigned depth, uint32_t *n_maps, lm_error *err)
{
    json_t *list = json_object_get(def, "normalizers"), *map = json_object_get(def, "precompiled_charsmap");
    if (depth > LM_TOK_MAX_DEPTH)
        return lm_fail(err, LM_ERR_CORRUPT, "normalizer sequences are nested deeper than %u",
                       LM_TOK_MAX_DEPTH);
    for (size_t i = 0; i < json_array_size(list); i++)
        LM_TRY(take_charsmaps(blob, json_array_get(list, i), depth + 1, n_maps, err));
    if (json_is_string(map)) {
        const char *s = json_string_value(map);
        size_t n = json_string_length(map), at = blob->n;
        uint32_t bits = 0, n_bits = 0, length = 0;
        lm_str_add(blob, (const char *)&length, sizeof length);
        for (size_t i = 0; i < n && s[i] != '='; i++) {
            int v = from64((unsigned char)s[i]);
            if (v < 0)
                return lm_fail(err, LM_ERR_CORRUPT, "the precompiled_charsmap is not base64 at byte %zu", i);
            bits = bits << 6 | (uint32_t)v;
            n_bits += 6;
            if (n_bits >= 8) {
                n_bits -= 8;
                lm_str_addc(blob, (char)(bits >> n_bits & 0xff));
            }
        }
        LM_TRY(lm_str_status(blob, err));
        length = (uint32_t)(blob->n - at - sizeof length);
        memcpy(blob->s + at, &length, sizeof length);
        if (json_object_set_new(def, "precompiled_charsmap", json_integer((json_int_t)*n_maps)) != 0)
            return lm_fail(err, LM_ERR_NOMEM, "no memory for the normalizer");
        (*n_maps)++;
    }
    return LM_OK;
}

lm_status lm_tok_build_finish(lm_tok_build *b, json_t *pipeline, uint8_t **out, size_t *n, lm_error *err)
{
    /* long: one section after the other */
    lm_str image = { 0 }, maps = { 0 };
    lm_tok_regex_set regexes = { 0 };
    lm_norm *norm = NULL;
    size_t n_norm = 0;
    uint32_t n_maps = 0;
    char *text = NULL;
    lm_status st;
    if (b->n == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the vocabulary is empty", b->name);
    memcpy(b->h.magic, "LMTOKIMG", 8);
    if (b->h.model == LM_TOK_BPE || b->h.model == LM_TOK_SPM)
        find_borders(b);
    lm_str_add(&image, (const char *)&b->h, sizeof b->h);
    if ((st = add_vocabulary(b, &image, err)) != LM_OK || (st = add_merges(b, &image, err)) != LM_OK)
        goto out;
    if (b->h.model == LM_TOK_UNIGRAM && (st = add_unigram_trie(b, &image, err)) != LM_OK)
        goto out;
    add_bytes(b, &image);
    if (json_is_object(json_object_get(pipeline, "normalizer")) &&
        (st = take_charsmaps(&maps, json_object_get(pipeline, "normalizer"), 0, &n_maps, err)) != LM_OK)
        goto out;
    section(&b->h, &image, LM_TS_CHARSMAP, lm_str_z(&maps), maps.n);
    if ((st = lm_str_status(&image, err)) != LM_OK)
        goto out;
    st = lm_norm_compile(&norm, &n_norm, json_object_get(pipeline, "normalizer"), (const uint8_t *)maps.s,
                         maps.n, &regexes, err);
    if (st != LM_OK || (st = add_added(b, &image, norm, n_norm, err)) != LM_OK)
        goto out;
    text = json_dumps(pipeline, JSON_COMPACT);
    if (!text) {
        st = lm_fail(err, LM_ERR_CORRUPT, "%s: the pipeline cannot be written as JSON", b->name);
        goto out;
    }
    section(&b->h, &image, LM_TS_PIPELINE, text, strlen(text));
    b->h.n_bytes = image.n;
    if ((st = lm_str_status(&image, err)) != LM_OK)
        goto out;
    memcpy(image.s, &b->h, sizeof b->h);
    st = lm_str_take(&image, (char **)out, n, err);
out:
    free(text); /* jansson's own allocation */
    lm_norm_free(norm, n_norm);
    lm_tok_regex_clear(&regexes);
    lm_str_clear(&image);
    lm_str_clear(&maps);
    return st;
}
