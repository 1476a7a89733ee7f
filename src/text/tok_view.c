/* text/tok_view.c - an image as a tokenizer: sections checked and looked into. */
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "text/tok.h"

static const void *section(const lm_tok_header *h, const uint8_t *image, unsigned i, size_t *n)
{
    *n = (size_t)h->section[i].n;
    return image + h->section[i].at;
}

static bool power_of_two(size_t n)
{
    return n && (n & (n - 1)) == 0;
}

static void first_bytes(const lm_tok_node *nodes, size_t n, uint32_t set[8])
{
    memset(set, 0, 8 * sizeof *set);
    if (n == 0)
        return;
    for (uint32_t i = nodes[0].first; i < nodes[0].first + nodes[0].n && i < n; i++)
        set[nodes[i].byte >> 5] |= 1u << (nodes[i].byte & 31);
}

lm_status lm_tok_attach(lm_tokenizer *t, const uint8_t *image, size_t n, lm_error *err)
{
    /* long: one check a section */
    const lm_tok_header *h = (const lm_tok_header *)(const void *)image;
    size_t bytes, n_kind, n_slots, n_mslots, n_map, n_json;
    const char *text;
    const uint8_t *maps;
    json_error_t jerr;
    json_t *pipeline = NULL;
    lm_status st;
    if (n < sizeof *h || memcmp(h->magic, "LMTOKIMG", 8) != 0 || h->n_bytes != n)
        return lm_fail(err, LM_ERR_CORRUPT, "the compiled tokenizer is damaged");
    for (unsigned i = 0; i < LM_TS_N; i++)
        if (!lm_inside(h->section[i].at, h->section[i].n, n) || h->section[i].at % 64)
            return lm_fail(err, LM_ERR_CORRUPT, "section %u of the compiled tokenizer is outside it", i);
    if (h->n_vocab == 0 || h->n_vocab > LM_TOK_MAX_ID || h->unk >= (int32_t)h->n_vocab ||
        h->bos >= (int32_t)h->n_vocab || h->eos >= (int32_t)h->n_vocab)
        return lm_fail(err, LM_ERR_CORRUPT, "the header of the compiled tokenizer is damaged");
    t->image = image;
    t->h = h;
    t->text = section(h, image, LM_TS_TEXT, &bytes);
    t->offsets = section(h, image, LM_TS_OFFSETS, &n_kind);
    if (n_kind != ((size_t)h->n_vocab + 1) * sizeof *t->offsets || t->offsets[h->n_vocab] != bytes)
        return lm_fail(err, LM_ERR_CORRUPT, "the texts of the compiled tokenizer are damaged");
    t->kind = section(h, image, LM_TS_KIND, &n_kind);
    t->slots = section(h, image, LM_TS_SLOTS, &n_slots);
    t->mslots = section(h, image, LM_TS_MSLOTS, &n_mslots);
    n_slots /= sizeof *t->slots;
    n_mslots /= sizeof *t->mslots;
    if (n_kind != h->n_vocab || !power_of_two(n_slots) || (n_mslots && !power_of_two(n_mslots)))
        return lm_fail(err, LM_ERR_CORRUPT, "the tables of the compiled tokenizer are damaged");
    t->slot_mask = n_slots - 1;
    t->mslot_mask = n_mslots ? n_mslots - 1 : SIZE_MAX;
    t->merges = section(h, image, LM_TS_MERGES, &t->n_merges);
    t->n_merges /= sizeof *t->merges;
    t->scores = section(h, image, LM_TS_SCORES, &bytes);
    if (bytes < (h->model == LM_TOK_UNIGRAM ? 8u : h->model == LM_TOK_SPM ? 4u : 0u) * (size_t)h->n_vocab)
        return lm_fail(err, LM_ERR_CORRUPT, "the scores of the compiled tokenizer are damaged");
    t->trie = section(h, image, LM_TS_TRIE, &t->n_trie);
    t->raw = section(h, image, LM_TS_RAW, &t->n_raw);
    t->norm_trie = section(h, image, LM_TS_NORM, &t->n_norm_trie);
    t->added = section(h, image, LM_TS_ADDED, &t->n_added);
    t->n_trie /= sizeof *t->trie;
    t->n_raw /= sizeof *t->raw;
    t->n_norm_trie /= sizeof *t->norm_trie;
    t->n_added /= sizeof *t->added;
    t->spellings = section(h, image, LM_TS_SPELLINGS, &t->n_spellings);
    first_bytes(t->raw, t->n_raw, t->raw_first);
    first_bytes(t->norm_trie, t->n_norm_trie, t->norm_first);
    t->byte_ids = section(h, image, LM_TS_BYTES, &bytes);
    if (bytes != 512 * sizeof *t->byte_ids)
        return lm_fail(err, LM_ERR_CORRUPT, "the byte table of the compiled tokenizer is damaged");
    t->byte_fallback = t->byte_ids + 256;
    maps = section(h, image, LM_TS_CHARSMAP, &n_map);
    text = section(h, image, LM_TS_PIPELINE, &n_json);
    pipeline = json_loadb(text, n_json, JSON_ALLOW_NUL, &jerr);
    if (!pipeline)
        return lm_fail(err, LM_ERR_CORRUPT, "the pipeline of the compiled tokenizer is damaged");
    st = lm_norm_compile(&t->norm, &t->n_norm, json_object_get(pipeline, "normalizer"), maps, n_map,
                         &t->regexes, err);
    if (st == LM_OK)
        st = lm_pre_compile(&t->pre, &t->n_pre, json_object_get(pipeline, "pre_tokenizer"), &t->regexes, err);
    if (st == LM_OK)
        st = lm_post_compile(t, json_object_get(pipeline, "post_processor"), err);
    if (st == LM_OK)
        st = lm_dec_compile(&t->dec, &t->n_dec, json_object_get(pipeline, "decoder"), &t->regexes, err);
    t->no_decoder = t->n_dec == 0 && !json_is_object(json_object_get(pipeline, "decoder"));
    t->bytes_last =
        h->model == LM_TOK_BPE && h->prefix[0] == 0 && h->suffix[0] == 0 && lm_pre_is_bytes(t->pre, t->n_pre);
    json_decref(pipeline);
    return st;
}

const char *lm_tok_text(const lm_tokenizer *t, uint32_t id, size_t *n)
{
    uint32_t first, end, total;
    *n = 0;
    if (id >= t->h->n_vocab || t->kind[id] == 0)
        return NULL;
    first = t->offsets[id];
    end = t->offsets[id + 1];
    total = t->offsets[t->h->n_vocab];
    if (first > end || end > total)
        return NULL;
    *n = end - first;
    return t->text + first;
}

const char *lm_tok_decode_text(const lm_tokenizer *t, uint32_t id, size_t *n)
{
    const char *s = lm_tok_text(t, id, n);
    if (s && (t->kind[id] & LM_TK_RESPELT))
        for (size_t i = 0; i < t->n_added; i++)
            if (t->added[i].id == (int32_t)id && lm_inside(t->added[i].at, t->added[i].n, t->n_spellings)) {
                *n = t->added[i].n;
                return t->spellings + t->added[i].at;
            }
    return s;
}

int32_t lm_tok_find(const lm_tokenizer *t, const char *s, size_t n, unsigned kinds)
{
    size_t i = (size_t)lm_xxh64(s, n, 0) & t->slot_mask;
    for (size_t left = t->slot_mask; t->slots[i] && left; left--, i = (i + 1) & t->slot_mask) {
        uint32_t id = t->slots[i] - 1;
        size_t k;
        const char *have = lm_tok_text(t, id, &k);
        if (have && k == n && memcmp(have, s, n) == 0)
            return t->kind[id] & kinds ? (int32_t)id : -1;
    }
    return -1;
}

const lm_tok_merge *lm_tok_find_merge(const lm_tokenizer *t, uint32_t left, uint32_t right)
{
    size_t i;
    if (t->mslot_mask == SIZE_MAX)
        return NULL;
    i = (size_t)lm_tok_pair_hash(left, right) & t->mslot_mask;
    for (size_t tries = t->mslot_mask; t->mslots[i] && tries; tries--, i = (i + 1) & t->mslot_mask) {
        uint32_t k = t->mslots[i] - 1;
        if (k >= t->n_merges)
            return NULL;
        if (t->merges[k].left == left && t->merges[k].right == right)
            return &t->merges[k];
    }
    return NULL;
}

uint32_t lm_tok_child(const lm_tok_node *nodes, size_t n, uint32_t at, uint8_t byte)
{
    uint32_t lo = nodes[at].first, hi = lo + nodes[at].n;
    if (hi > n)
        return 0;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (nodes[mid].byte == byte)
            return mid;
        if (nodes[mid].byte < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}

lm_status lm_tok_push(lm_ids *out, int32_t id, lm_error *err)
{
    if (out->n == out->cap)
        LM_TRY(lm_grow((void **)&out->ids, &out->cap, out->n + 1, sizeof *out->ids, err));
    out->ids[out->n++] = id;
    return LM_OK;
}

lm_status lm_tok_scratch(lm_tok_run *r, size_t n_bytes)
{
    return n_bytes <= r->cap_scratch ? LM_OK : lm_grow(&r->scratch, &r->cap_scratch, n_bytes, 1, r->err);
}
