/* text/tokenizer.c - encoding with a tokenizer, looking into it, closing it. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

/* ---- pipeline parts ---- */

const char *lm_tok_type(const json_t *def)
{
    const char *type = json_string_value(json_object_get(def, "type"));
    return type ? type : "";
}

bool lm_tok_flag(const json_t *def, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(def, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

lm_status lm_tok_refuse(lm_error *err, const char *part, const char *type)
{
    lm_quoted_buf q;
    return lm_fail(err, LM_ERR_UNSUPPORTED, "the %s is of type '%s'", part, lm_quoted_z(&q, type));
}

static lm_status flatten(lm_tok_steps *s, const json_t *def, const char *key, unsigned depth, lm_error *err)
{
    const json_t *list;
    if (depth > LM_TOK_MAX_DEPTH)
        return lm_fail(err, LM_ERR_CORRUPT, "%s are nested deeper than %u", key, LM_TOK_MAX_DEPTH);
    if (!json_is_object(def))
        return json_is_null(def) || !def
                   ? LM_OK
                   : lm_fail(err, LM_ERR_CORRUPT, "a step of the pipeline (%s) is not an object", key);
    if (strcmp(lm_tok_type(def), "Sequence") != 0) {
        if (s->n == LM_TOK_MAX_STEPS)
            return lm_fail(err, LM_ERR_CORRUPT, "there are more than %u %s", LM_TOK_MAX_STEPS, key);
        s->step[s->n++] = def;
        return LM_OK;
    }
    list = json_object_get(def, key);
    if (!json_is_array(list))
        return lm_fail(err, LM_ERR_CORRUPT, "a Sequence has no '%s'", key);
    for (size_t i = 0; i < json_array_size(list); i++)
        LM_TRY(flatten(s, json_array_get(list, i), key, depth + 1, err));
    return LM_OK;
}

lm_status lm_tok_flatten(lm_tok_steps *s, const json_t *def, const char *key, lm_error *err)
{
    return flatten(s, def, key, 0, err);
}

void lm_tokenizer_close(lm_tokenizer *t)
{
    if (!t)
        return;
    lm_norm_free(t->norm, t->n_norm);
    lm_pre_free(t->pre, t->n_pre);
    lm_dec_free(t->dec, t->n_dec);
    lm_tok_regex_clear(&t->regexes);
    lm_free(t->before);
    lm_free(t->after);
    if (t->map)
        lm_map_close(t->map);
    else
        lm_free((void *)(uintptr_t)t->image);
    lm_free(t);
}

void lm_ids_clear(lm_ids *ids)
{
    lm_free(ids->ids);
    *ids = (lm_ids){ 0 };
}

/* ---- encode ---- */

/* A copy of the text in which ill-formed parts are U+FFFD, as Python's
 * errors="replace" makes it; the spans move along. */
static lm_status repair(const char *text, size_t n, const lm_span *literal, size_t n_literal, lm_str *out,
                        lm_span *moved, lm_error *err)
{
    size_t k = 0, e = 0;
    for (size_t i = 0, len; i < n; i += len) {
        bool bad = lm_utf8_get(text + i, n - i, &len) == LM_UTF8_BAD;
        if (bad)
            len = lm_utf8_bad_part(text + i, n - i);
        /* a border inside a character belongs to the character's start or end */
        while (k < n_literal && literal[k].first < i + len)
            moved[k++].first = out->n;
        if (bad)
            lm_str_add(out, "\xef\xbf\xbd", 3);
        else
            lm_str_add(out, text + i, len);
        while (e < k && literal[e].end <= i + len)
            moved[e++].end = out->n;
    }
    for (; k < n_literal; k++)
        moved[k].first = out->n;
    for (; e < n_literal; e++)
        moved[e].end = out->n;
    return lm_str_status(out, err);
}

static lm_status push_all(lm_ids *out, const int32_t *ids, size_t n, lm_error *err)
{
    for (size_t i = 0; i < n; i++)
        LM_TRY(lm_tok_push(out, ids[i], err));
    return LM_OK;
}

static void clear_run(lm_tok_run *r)
{
    for (int i = 0; i < 2; i++) {
        lm_tok_sink_clear(&r->norm[i]);
        lm_free(r->pieces[i].p);
        lm_str_clear(&r->text[i]);
    }
    lm_str_clear(&r->word);
    lm_tok_match_clear(&r->match);
    lm_tok_words_free(r->words);
    lm_free(r->scratch);
}

lm_status lm_tokenizer_encode(const lm_tokenizer *t, const char *text, size_t n, const lm_span *literal,
                              size_t n_literal, unsigned flags, lm_ids *out, lm_error *err)
{
    lm_tok_run r = {
        .t = t, .out = out, .err = err, .parse_all = (flags & LM_TOK_PARSE_ALL) != 0, .n_input = n
    };
    lm_str repaired = { 0 };
    lm_span *moved = NULL;
    size_t before = out->n;
    lm_status st = LM_OK;
    if (n > LM_TOK_MAX_TEXT / 8)
        return lm_fail(err, LM_ERR_TOO_LONG, "a text has %zu bytes, at most %u are allowed in one call", n,
                       LM_TOK_MAX_TEXT / 8);
    r.literal = literal;
    r.n_literal = literal ? n_literal : 0;
    if (!lm_utf8_valid(text, n)) {
        if ((st = LM_NEW(&moved, r.n_literal + 1, err)) == LM_OK)
            st = repair(text, n, literal, r.n_literal, &repaired, moved, err);
        text = lm_str_z(&repaired);
        n = repaired.n;
        r.literal = moved;
    }
    if (st == LM_OK && (flags & LM_TOK_POST))
        st = push_all(out, t->before, t->n_before, err);
    if (st == LM_OK)
        st = lm_tok_encode_text(&r, text, n);
    if (st == LM_OK && (flags & LM_TOK_POST))
        st = push_all(out, t->after, t->n_after, err);
    if (st != LM_OK)
        out->n = before;
    clear_run(&r);
    lm_str_clear(&repaired);
    lm_free(moved);
    return st;
}

/* ---- looking into it ---- */

uint32_t lm_tokenizer_n_vocab(const lm_tokenizer *t)
{
    return t->h->n_vocab;
}

int32_t lm_tokenizer_find(const lm_tokenizer *t, const char *token, size_t n)
{
    return lm_tok_find(t, token, n, LM_TK_MODEL | LM_TK_ADDED);
}

const char *lm_tokenizer_token(const lm_tokenizer *t, int32_t id, size_t *n)
{
    if (id < 0) {
        *n = 0;
        return NULL;
    }
    return lm_tok_text(t, (uint32_t)id, n);
}

bool lm_tokenizer_is_special(const lm_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->h->n_vocab && (t->kind[id] & LM_TK_SPECIAL);
}

int32_t lm_tokenizer_bos(const lm_tokenizer *t)
{
    return t->h->bos >= 0 ? t->h->bos : t->n_before ? t->before[0] : -1;
}

int32_t lm_tokenizer_eos(const lm_tokenizer *t)
{
    return t->h->eos >= 0 ? t->h->eos : t->n_after ? t->after[t->n_after - 1] : -1;
}

const char *lm_tokenizer_identity(const lm_tokenizer *t)
{
    return t->h->identity;
}
