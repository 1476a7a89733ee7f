/* text/tok_json.c - tokenizer.json into an image.
 *
 * Vocabulary, merges and added tokens are read in place; the four parts of the
 * pipeline are small and become JSON trees. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "text/tok.h"

typedef struct {
    const char *s;
    size_t n;
} range;

typedef struct {
    lm_tok_build *b;
    lm_jscan j;
    range type, vocab, merges, unk, prefix, suffix, added, score_unk;
    bool byte_fallback, fuse_unk, ignore_merges, dropout;
    double max_chars;
    bool have_max_chars, have_model;
    json_t *pipeline;
    lm_str key, value;
} reader;

static bool is(const lm_str *s, const char *z)
{
    return s->n == strlen(z) && memcmp(lm_str_z(s), z, s->n) == 0;
}

static lm_status value_range(reader *r, range *out, lm_error *err)
{
    lm_quoted_buf q;
    if (out->s)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: '%s' is there twice", r->j.name,
                       lm_quoted(&q, lm_str_z(&r->key), r->key.n));
    (void)lm_jscan_peek(&r->j);
    out->s = r->j.s + r->j.at;
    LM_TRY(lm_jscan_skip(&r->j, err));
    out->n = (size_t)(r->j.s + r->j.at - out->s);
    return LM_OK;
}

static lm_status read_bool(reader *r, bool *out, lm_error *err)
{
    range v = { 0 };
    LM_TRY(value_range(r, &v, err));
    *out = v.n == 4 && memcmp(v.s, "true", 4) == 0;
    return LM_OK;
}

/* Steps through an object: reads a key into r->key; false at the end. */
static lm_status next_key(reader *r, bool *first, bool *more, lm_error *err)
{
    *more = false;
    if (lm_jscan_peek(&r->j) == '}') {
        r->j.at++;
        return LM_OK;
    }
    if (!*first)
        LM_TRY(lm_jscan_take(&r->j, ',', err));
    *first = false;
    LM_TRY(lm_jscan_string(&r->j, &r->key, err));
    LM_TRY(lm_jscan_take(&r->j, ':', err));
    *more = true;
    return LM_OK;
}

static lm_status next_item(reader *r, bool *first, bool *more, lm_error *err)
{
    *more = false;
    if (lm_jscan_peek(&r->j) == ']') {
        r->j.at++;
        return LM_OK;
    }
    if (!*first)
        LM_TRY(lm_jscan_take(&r->j, ',', err));
    *first = false;
    *more = true;
    return LM_OK;
}

static lm_status model(reader *r, lm_error *err)
{
    bool first = true, more = false;
    if (r->have_model)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: 'model' is there twice", r->j.name);
    r->have_model = true;
    LM_TRY(lm_jscan_take(&r->j, '{', err));
    for (;;) {
        LM_TRY(next_key(r, &first, &more, err));
        if (!more)
            return LM_OK;
        if (is(&r->key, "type"))
            LM_TRY(value_range(r, &r->type, err));
        else if (is(&r->key, "vocab"))
            LM_TRY(value_range(r, &r->vocab, err));
        else if (is(&r->key, "merges"))
            LM_TRY(value_range(r, &r->merges, err));
        else if (is(&r->key, "unk_token") || is(&r->key, "unk_id"))
            LM_TRY(value_range(r, &r->unk, err));
        else if (is(&r->key, "continuing_subword_prefix"))
            LM_TRY(value_range(r, &r->prefix, err));
        else if (is(&r->key, "end_of_word_suffix"))
            LM_TRY(value_range(r, &r->suffix, err));
        else if (is(&r->key, "byte_fallback"))
            LM_TRY(read_bool(r, &r->byte_fallback, err));
        else if (is(&r->key, "fuse_unk"))
            LM_TRY(read_bool(r, &r->fuse_unk, err));
        else if (is(&r->key, "ignore_merges"))
            LM_TRY(read_bool(r, &r->ignore_merges, err));
        else if (is(&r->key, "max_input_chars_per_word")) {
            LM_TRY(lm_jscan_number(&r->j, &r->max_chars, err));
            r->have_max_chars = true;
        } else { /* dropout is for training */
            LM_TRY(lm_jscan_skip(&r->j, err));
        }
    }
}

static lm_status part(reader *r, lm_error *err)
{
    range v = { 0 };
    json_error_t jerr;
    json_t *tree;
    LM_TRY(value_range(r, &v, err));
    if (json_object_getn(r->pipeline, lm_str_z(&r->key), r->key.n))
        return lm_fail(err, LM_ERR_CORRUPT, "%s: '%s' is there twice", r->j.name, lm_str_z(&r->key));
    tree = json_loadb(v.s, v.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &jerr);
    if (!tree)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the %s is no JSON: %.120s", r->j.name, lm_str_z(&r->key),
                       jerr.text);
    return json_object_set_new(r->pipeline, lm_str_z(&r->key), tree) == 0
               ? LM_OK
               : lm_fail(err, LM_ERR_NOMEM, "no memory for the pipeline");
}

static lm_status top(reader *r, lm_error *err)
{
    bool first = true, more = false;
    LM_TRY(lm_jscan_take(&r->j, '{', err));
    for (;;) {
        LM_TRY(next_key(r, &first, &more, err));
        if (!more)
            break;
        if (is(&r->key, "model"))
            LM_TRY(model(r, err));
        else if (is(&r->key, "added_tokens"))
            LM_TRY(value_range(r, &r->added, err));
        else if (is(&r->key, "normalizer") || is(&r->key, "pre_tokenizer") || is(&r->key, "post_processor") ||
                 is(&r->key, "decoder"))
            LM_TRY(part(r, err));
        else
            LM_TRY(lm_jscan_skip(&r->j, err));
    }
    if (lm_jscan_peek(&r->j) || r->j.at != r->j.n)
        return lm_fail_at(err, LM_ERR_CORRUPT, r->j.at, "%s: something follows the definition at byte %zu",
                          r->j.name, r->j.at);
    if (!r->have_model || !r->vocab.s)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: there is no model with a vocabulary", r->j.name);
    return LM_OK;
}

static void enter(reader *r, range v)
{
    r->j.s = v.s;
    r->j.n = v.n;
    r->j.at = 0;
}

/* A string value, "" when it is absent or null. */
static lm_status text_value(reader *r, range v, bool *have, lm_error *err)
{
    lm_str_reset(&r->value);
    *have = v.s && v.n && *v.s == '"';
    if (!*have)
        return LM_OK;
    enter(r, v);
    return lm_jscan_string(&r->j, &r->value, err);
}

static lm_status affix(reader *r, range v, char out[64], const char *what, lm_error *err)
{
    bool have;
    LM_TRY(text_value(r, v, &have, err));
    if (r->value.n > 63)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s: the %s has %zu bytes, at most 63 are allowed", r->j.name,
                       what, r->value.n);
    memset(out, 0, 64);
    if (r->value.n)
        memcpy(out, r->value.s, r->value.n);
    return LM_OK;
}

static lm_status id_number(reader *r, uint32_t *id, lm_error *err)
{
    double x = 0;
    LM_TRY(lm_jscan_number(&r->j, &x, err));
    if (!(x >= 0 && x < LM_TOK_MAX_ID && x == floor(x)))
        return lm_fail(err, LM_ERR_CORRUPT, "%s: an id is %g, allowed are 0 to %d", r->j.name, x,
                       LM_TOK_MAX_ID - 1);
    *id = (uint32_t)x;
    return LM_OK;
}

static lm_status vocab_object(reader *r, lm_error *err)
{
    bool first = true, more = false;
    uint32_t id = 0;
    enter(r, r->vocab);
    LM_TRY(lm_jscan_take(&r->j, '{', err));
    for (;;) {
        LM_TRY(next_key(r, &first, &more, err));
        if (!more)
            return LM_OK;
        LM_TRY(id_number(r, &id, err));
        LM_TRY(lm_tok_build_token(r->b, lm_str_z(&r->key), r->key.n, id, 0, err));
    }
}

static lm_status vocab_list(reader *r, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    bool first = true, more = false;
    uint32_t id = 0;
    enter(r, r->vocab);
    LM_TRY(lm_jscan_take(&r->j, '[', err));
    for (;; id++) {
        double score = 0;
        LM_TRY(next_item(r, &first, &more, err));
        if (!more)
            return LM_OK;
        LM_TRY(lm_jscan_take(&r->j, '[', err));
        LM_TRY(lm_jscan_string(&r->j, &r->key, err));
        LM_TRY(lm_jscan_take(&r->j, ',', err));
        LM_TRY(lm_jscan_number(&r->j, &score, err));
        LM_TRY(lm_jscan_take(&r->j, ']', err));
        if (id == 0 || score < h->min_score)
            h->min_score = score;
        LM_TRY(lm_tok_build_token(r->b, lm_str_z(&r->key), r->key.n, id, score, err));
    }
}

/* "a b" or ["a", "b"]. */
static lm_status merges(reader *r, lm_error *err)
{
    bool first = true, more = false;
    lm_quoted_buf q;
    if (!r->merges.s)
        return LM_OK;
    enter(r, r->merges);
    LM_TRY(lm_jscan_take(&r->j, '[', err));
    for (;;) {
        LM_TRY(next_item(r, &first, &more, err));
        if (!more)
            return LM_OK;
        if (lm_jscan_peek(&r->j) == '[') {
            r->j.at++;
            LM_TRY(lm_jscan_string(&r->j, &r->key, err));
            LM_TRY(lm_jscan_take(&r->j, ',', err));
            LM_TRY(lm_jscan_string(&r->j, &r->value, err));
            LM_TRY(lm_jscan_take(&r->j, ']', err));
            LM_TRY(
                lm_tok_build_merge(r->b, lm_str_z(&r->key), r->key.n, lm_str_z(&r->value), r->value.n, err));
            continue;
        }
        LM_TRY(lm_jscan_string(&r->j, &r->key, err));
        const char *s = lm_str_z(&r->key), *space = memchr(s, ' ', r->key.n);
        if (r->key.n >= 8 && memcmp(s, "#version", 8) == 0)
            continue;
        if (!space || memchr(space + 1, ' ', r->key.n - (size_t)(space + 1 - s)))
            return lm_fail(err, LM_ERR_CORRUPT, "%s: the merge '%s' is not two entries with a space between",
                           r->j.name, lm_quoted(&q, s, r->key.n));
        LM_TRY(lm_tok_build_merge(r->b, s, (size_t)(space - s), space + 1, r->key.n - (size_t)(space + 1 - s),
                                  err));
    }
}

static lm_status added_tokens(reader *r, lm_error *err)
{
    json_error_t jerr;
    json_t *list;
    lm_status st = LM_OK;
    if (!r->added.s)
        return LM_OK;
    list =
        json_loadb(r->added.s, r->added.n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &jerr);
    if (!list)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: the added_tokens are no JSON: %.120s", r->j.name, jerr.text);
    for (size_t i = 0; i < json_array_size(list) && st == LM_OK; i++) {
        const json_t *a = json_array_get(list, i), *text = json_object_get(a, "content"),
                     *id = json_object_get(a, "id");
        bool is_special = lm_tok_flag(a, "special", false);
        unsigned flags = (lm_tok_flag(a, "single_word", false) ? LM_TA_SINGLE_WORD : 0) |
                         (lm_tok_flag(a, "lstrip", false) ? LM_TA_LSTRIP : 0) |
                         (lm_tok_flag(a, "rstrip", false) ? LM_TA_RSTRIP : 0) |
                         (lm_tok_flag(a, "normalized", !is_special) ? LM_TA_NORMALIZED : 0) |
                         (is_special ? LM_TA_SPECIAL : 0);
        if (!json_is_string(text) || !json_is_integer(id))
            st = lm_fail(err, LM_ERR_CORRUPT, "%s: added token %zu lacks 'content' or 'id'", r->j.name, i);
        else
            st = lm_tok_build_added(r->b, json_string_value(text), json_string_length(text),
                                    json_integer_value(id), flags, err);
    }
    json_decref(list);
    return st;
}

static lm_status unknown(reader *r, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    bool have;
    if (h->model == LM_TOK_UNIGRAM) {
        uint32_t id = 0;
        if (!r->unk.s || !r->unk.n || *r->unk.s == 'n')
            return LM_OK;
        enter(r, r->unk);
        LM_TRY(id_number(r, &id, err));
        if (lm_tok_build_n_tokens(r->b) <= id)
            return lm_fail(err, LM_ERR_CORRUPT, "%s: unk_id is %u, the vocabulary has %u entries", r->j.name,
                           id, lm_tok_build_n_tokens(r->b));
        h->unk = (int32_t)id;
        return LM_OK;
    }
    LM_TRY(text_value(r, r->unk, &have, err));
    if (!have && h->model != LM_TOK_BPE) { /* the two others have a default */
        lm_str_addz(&r->value, h->model == LM_TOK_WORDPIECE ? "[UNK]" : "<unk>");
        have = true;
    }
    if (!have)
        return LM_OK;
    h->unk = lm_tok_build_find(r->b, lm_str_z(&r->value), r->value.n);
    if (h->unk < 0)
        h->flags |= LM_TM_UNK_MISSING;
    return LM_OK;
}

static lm_status kind_of_model(reader *r, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    bool have;
    lm_quoted_buf q;
    LM_TRY(text_value(r, r->type, &have, err));
    if (!have) /* files from before the type was written */
        lm_str_addz(&r->value, r->merges.s          ? "BPE"
                               : *r->vocab.s == '[' ? "Unigram"
                               : r->prefix.s        ? "WordPiece"
                                                    : "WordLevel");
    if (is(&r->value, "BPE"))
        h->model = LM_TOK_BPE;
    else if (is(&r->value, "Unigram"))
        h->model = LM_TOK_UNIGRAM;
    else if (is(&r->value, "WordPiece"))
        h->model = LM_TOK_WORDPIECE;
    else if (is(&r->value, "WordLevel"))
        h->model = LM_TOK_WORDLEVEL;
    else
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s: the model is of type '%s'", r->j.name,
                       lm_quoted(&q, lm_str_z(&r->value), r->value.n));
    h->flags = (r->byte_fallback ? LM_TM_BYTE_FALLBACK : 0) | (r->fuse_unk ? LM_TM_FUSE_UNK : 0) |
               (r->ignore_merges ? LM_TM_IGNORE_MERGES : 0);
    LM_TRY(affix(r, r->prefix, h->prefix, "continuing_subword_prefix", err));
    LM_TRY(affix(r, r->suffix, h->suffix, "end_of_word_suffix", err));
    if (h->model == LM_TOK_WORDPIECE) {
        if (!r->prefix.s)
            memcpy(h->prefix, "##", 3);
        h->max_chars = !r->have_max_chars                                       ? 100
                       : r->max_chars >= 0 && r->max_chars < (double)UINT32_MAX ? (uint32_t)r->max_chars
                                                                                : UINT32_MAX;
    }
    return LM_OK;
}

static lm_status compile(reader *r, uint8_t **image, size_t *n_image, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    LM_TRY(top(r, err));
    LM_TRY(kind_of_model(r, err));
    LM_TRY(h->model == LM_TOK_UNIGRAM ? vocab_list(r, err) : vocab_object(r, err));
    if (h->model == LM_TOK_BPE)
        LM_TRY(merges(r, err));
    LM_TRY(unknown(r, err));
    LM_TRY(added_tokens(r, err));
    return lm_tok_build_finish(r->b, r->pipeline, image, n_image, err);
}

lm_status lm_tok_from_json(const char *json, size_t n, const char *name, uint8_t **image, size_t *n_image,
                           lm_error *err)
{
    reader r = { .j = { json, n, 0, name } };
    lm_status st = lm_tok_build_open(&r.b, name, err);
    if (st != LM_OK)
        return st;
    r.pipeline = json_object();
    if (!r.pipeline)
        st = lm_fail(err, LM_ERR_NOMEM, "no memory for a tokenizer");
    else
        st = compile(&r, image, n_image, err);
    json_decref(r.pipeline);
    lm_str_clear(&r.key);
    lm_str_clear(&r.value);
    lm_tok_build_close(r.b);
    return st;
}
