/* engine/textside.c - tokenizer, template and stop tokens of a pack, as one handle. */
#include "engine/textside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/packstore.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum { MAX_TEXT_FILE = 256 << 20 };

struct lm_text {
    lm_tokenizer *tok; /* NULL: none */
    lm_chat *chat;     /* NULL: no template */
    lm_jinja *plain;   /* a .jinja file opened by itself: rendered over the context as given */
    lm_ids stops;
};

struct lm_stream {
    lm_detok *d;
    lm_str piece;
};

const char *lm_cache_folder(const char *asked, char *buf, size_t cap)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (!asked || *asked)
        return asked;
    if (xdg && *xdg == '/')
        n = snprintf(buf, cap, "%s/lemma", xdg);
    else if (home && *home == '/')
        n = snprintf(buf, cap, "%s/.cache/lemma", home);
    else
        return NULL;
    return n > 0 && (size_t)n < cap && lm_make_folders(buf, 0755) ? buf : NULL;
}

lm_status lm_text_of_pack(lm_text **out, const lm_packfile *pack, const char *cache_dir, lm_error *err)
{
    lm_text *t = NULL;
    char buf[4096];
    LM_TRY(LM_NEW(&t, 1, err));
    lm_status s = lm_tokenizer_open_pack(&t->tok, pack, lm_cache_folder(cache_dir, buf, sizeof buf), err);
    if (s == LM_OK)
        s = lm_chat_open(&t->chat, pack, err);
    if (s == LM_ERR_NOT_FOUND && t->tok) { /* no template: plain text only */
        lm_error_clear(err);
        s = LM_OK;
    }
    if (s == LM_OK) {
        size_t n = 0;
        const char *source = t->chat ? lm_chat_source(t->chat, &n) : "";
        s = lm_chat_stops(pack, source, n, lm_chat_find_special, t->tok, &t->stops, err);
    }
    if (s != LM_OK) {
        lm_text_close(t);
        return s;
    }
    *out = t;
    return LM_OK;
}

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* A tokenizer.json or a .jinja file by itself. */
static lm_status open_file(lm_text *t, const char *path, lm_error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    LM_TRY(lm_read_file(path, MAX_TEXT_FILE, &bytes, &n, err));
    lm_status s = ends_in(path, ".json") ? lm_tokenizer_open_json(&t->tok, bytes, n, path, err)
                                         : lm_chat_open_text(&t->chat, bytes, n, NULL, err);
    if (s == LM_OK && t->chat)
        s = lm_jinja_compile(&t->plain, bytes, n, err);
    lm_free(bytes);
    return s;
}

lm_status lm_text_open(lm_text **out, const char *pack, const char *cache_dir, lm_error *err)
{
    char *path = NULL;
    lm_packfile *p = NULL;
    if (ends_in(pack, ".jinja") || ends_in(pack, ".json")) {
        lm_text *t = NULL;
        LM_TRY(LM_NEW(&t, 1, err));
        lm_status s = open_file(t, pack, err);
        if (s != LM_OK) {
            lm_text_close(t);
            return s;
        }
        *out = t;
        return LM_OK;
    }
    LM_TRY(lm_pack_find(&path, pack, err));
    lm_status s = lm_packfile_open(&p, path, false, err);
    if (s == LM_OK)
        s = lm_text_of_pack(out, p, cache_dir, err);
    lm_packfile_close(p);
    lm_free(path);
    return s;
}

void lm_text_close(lm_text *t)
{
    if (!t)
        return;
    lm_chat_close(t->chat);
    lm_tokenizer_close(t->tok);
    lm_jinja_close(t->plain);
    lm_ids_clear(&t->stops);
    lm_free(t);
}

bool lm_text_has_tokenizer(const lm_text *t)
{
    return t->tok != NULL;
}

bool lm_text_has_template(const lm_text *t)
{
    return t->chat != NULL;
}

uint32_t lm_text_n_vocab(const lm_text *t)
{
    return t->tok ? lm_tokenizer_n_vocab(t->tok) : 0;
}

const char *lm_text_template_source(const lm_text *t)
{
    size_t n;
    return t->chat ? lm_chat_source(t->chat, &n) : NULL;
}

const char *lm_text_identity(const lm_text *t)
{
    return t->tok ? lm_tokenizer_identity(t->tok) : "";
}

const lm_tokenizer *lm_text_tokenizer(const lm_text *t)
{
    return t->tok;
}

static lm_status need_tokenizer(const lm_text *t, lm_error *err)
{
    return t->tok ? LM_OK : lm_fail(err, LM_ERR_NOT_FOUND, "there is no tokenizer");
}

static lm_status need_template(const lm_text *t, lm_error *err)
{
    if (t->chat)
        return LM_OK;
    lm_hint(err, "give the prompt as it is with --raw or --prompt");
    return lm_fail(err, LM_ERR_NOT_FOUND, "the pack has no chat template");
}

static lm_status encode(const lm_text *t, const char *text, size_t n, const lm_spans *literal, unsigned flags,
                        int32_t **ids, size_t *n_ids, lm_error *err)
{
    lm_ids out = { 0 };
    unsigned f =
        (flags & LM_ENCODE_POST ? LM_TOK_POST : 0u) | (flags & LM_ENCODE_PARSE_ALL ? LM_TOK_PARSE_ALL : 0u);
    lm_status s = lm_tokenizer_encode(t->tok, text, n, literal ? literal->spans : NULL,
                                      literal ? literal->n : 0, f, &out, err);
    if (s == LM_OK && !out.ids) /* no tokens is an answer too */
        s = LM_NEW(&out.ids, 1, err);
    if (s != LM_OK) {
        lm_ids_clear(&out);
        return s;
    }
    *ids = out.ids;
    *n_ids = out.n;
    return LM_OK;
}

lm_status lm_text_encode(const lm_text *t, const char *text, size_t n, unsigned flags, int32_t **ids,
                         size_t *n_ids, lm_error *err)
{
    LM_TRY(need_tokenizer(t, err));
    return encode(t, text, n, NULL, flags, ids, n_ids, err);
}

lm_status lm_text_decode(const lm_text *t, const int32_t *ids, size_t n_ids, bool skip_special, char **text,
                         size_t *n, lm_error *err)
{
    lm_str b = { 0 };
    LM_TRY(need_tokenizer(t, err));
    lm_status s = lm_tokenizer_decode(t->tok, ids, n_ids, skip_special, &b, err);
    if (s == LM_OK)
        s = lm_str_take(&b, text, n, err);
    lm_str_clear(&b);
    return s;
}

static int64_t clock_or(int64_t now)
{
    return now >= 0 ? now : (int64_t)time(NULL);
}

static lm_status parse(json_t **out, const char *json, size_t n, const char *what, lm_error *err)
{
    static const lm_json_limits limits = { .max_bytes = MAX_TEXT_FILE, .allow_nul = true };
    return lm_json_parse(out, json, n, what, &limits, err);
}

/* An array of messages, or an object that holds them beside everything else. */
static lm_chat_request request_of(const json_t *j, int64_t now)
{
    const json_t *o = json_is_object(j) ? j : NULL, *prompt = json_object_get(o, "add_generation_prompt");
    lm_chat_request r = { .messages = o ? json_object_get(o, "messages") : j,
                          .tools = json_object_get(o, "tools"),
                          .documents = json_object_get(o, "documents"),
                          .options = o,
                          .add_generation_prompt = !json_is_false(prompt),
                          .think = -1,
                          .limits = { .now = clock_or(now) } };
    if (json_is_null(r.tools))
        r.tools = NULL;
    if (json_is_null(r.documents))
        r.documents = NULL;
    return r;
}

lm_status lm_text_chat(const lm_text *t, const char *json, size_t n, int64_t now, unsigned flags, char **text,
                       size_t *n_text, int32_t **ids, size_t *n_ids, lm_error *err)
{
    lm_str out = { 0 };
    lm_spans literal = { 0 };
    json_t *j = NULL;
    LM_TRY(need_template(t, err));
    LM_TRY(need_tokenizer(t, err));
    LM_TRY(parse(&j, json, n, "the messages", err));
    lm_chat_request r = request_of(j, now);
    lm_status s = lm_chat_render(t->chat, &r, &out, &literal, err);
    json_decref(j);
    if (s == LM_OK)
        s = encode(t, lm_str_z(&out), out.n, &literal, flags & ~(unsigned)LM_ENCODE_POST, ids, n_ids, err);
    if (s == LM_OK && text) {
        s = lm_str_take(&out, text, n_text, err);
        if (s != LM_OK)
            lm_free(*ids);
    }
    lm_spans_clear(&literal);
    lm_str_clear(&out);
    return s;
}

lm_status lm_text_render(const lm_text *t, const char *context_json, size_t n, int64_t now, char **text,
                         size_t *n_text, lm_error *err)
{
    lm_str out = { 0 };
    json_t *j = NULL;
    LM_TRY(need_template(t, err));
    LM_TRY(parse(&j, context_json, n, "the context", err));
    lm_chat_request r = request_of(j, now);
    lm_jinja_options o = { .now = clock_or(now) };
    lm_status s = t->plain ? lm_jinja_render(t->plain, j, &o, &out, NULL, err)
                           : lm_chat_render(t->chat, &r, &out, NULL, err);
    json_decref(j);
    if (s == LM_OK)
        s = lm_str_take(&out, text, n_text, err);
    lm_str_clear(&out);
    return s;
}

const int32_t *lm_text_stop_tokens(const lm_text *t, size_t *n)
{
    *n = t->stops.n;
    return t->stops.ids;
}

bool lm_text_is_special(const lm_text *t, int32_t id)
{
    return t->tok && lm_tokenizer_is_special(t->tok, id);
}

const char *lm_text_token(const lm_text *t, int32_t id, size_t *n)
{
    return t->tok ? lm_tokenizer_token(t->tok, id, n) : NULL;
}

lm_status lm_stream_open(lm_stream **out, const lm_text *t, bool skip_special, lm_error *err)
{
    lm_stream *s = NULL;
    LM_TRY(need_tokenizer(t, err));
    LM_TRY(LM_NEW(&s, 1, err));
    lm_status status = lm_detok_open(&s->d, t->tok, skip_special, err);
    lm_str_reserve(&s->piece, 256);
    if (status == LM_OK)
        status = lm_str_status(&s->piece, err);
    if (status != LM_OK) {
        lm_stream_close(s);
        return status;
    }
    *out = s;
    return LM_OK;
}

lm_status lm_stream_push(lm_stream *s, int32_t id, const char **piece, size_t *n, lm_error *err)
{
    lm_str_reset(&s->piece);
    LM_TRY(lm_detok_push(s->d, id, &s->piece, err));
    LM_TRY(lm_str_status(&s->piece, err));
    *piece = lm_str_z(&s->piece);
    *n = s->piece.n;
    return LM_OK;
}

lm_status lm_stream_finish(lm_stream *s, const char **piece, size_t *n, lm_error *err)
{
    lm_str_reset(&s->piece);
    LM_TRY(lm_detok_finish(s->d, &s->piece, err));
    LM_TRY(lm_str_status(&s->piece, err));
    *piece = lm_str_z(&s->piece);
    *n = s->piece.n;
    return LM_OK;
}

void lm_stream_close(lm_stream *s)
{
    if (!s)
        return;
    lm_detok_close(s->d);
    lm_str_clear(&s->piece);
    lm_free(s);
}

static void number(const json_t *j, const char *key, double min, double max, float *io)
{
    const json_t *v = json_object_get(j, key);
    if (json_is_number(v) && json_number_value(v) >= min && json_number_value(v) <= max)
        *io = (float)json_number_value(v);
}

lm_status lm_text_sampling(const lm_packfile *pack, lm_sample_params *io, lm_error *err)
{
    json_t *j = NULL;
    LM_TRY(lm_packfile_json(pack, "generation_config.json", 1 << 20, &j, err));
    if (!j)
        return LM_OK;
    float top_k = (float)io->top_k;
    number(j, "temperature", 0, 100, &io->temperature);
    number(j, "top_p", 0, 1, &io->top_p);
    number(j, "min_p", 0, 1, &io->min_p);
    number(j, "top_k", 0, 1e6, &top_k);
    number(j, "repetition_penalty", 0.01, 100, &io->penalty_repeat);
    io->top_k = (int32_t)top_k;
    if (json_is_false(json_object_get(j, "do_sample")))
        io->temperature = 0;
    json_decref(j);
    return LM_OK;
}
