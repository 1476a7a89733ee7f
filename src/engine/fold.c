/* engine/fold.c - an exhausted session goes on as a short one; projects and their seeds.
 *
 * A fold keeps the old session as it is, asleep, and begins anew with a summary and the
 * recent tail.  Of a chat the tail is whole messages, and the summary joins the system
 * message; of a text it is tokens, and the summary stands in front of them. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/rest.h"
#include "engine/textside.h"
#include "format/json.h"
#include "state/limits.h"

enum { TAIL_TOKENS = 8192 };

void lm_fold_defaults(lm_fold_options *out)
{
    *out = (lm_fold_options){ .size = sizeof *out, .tail = TAIL_TOKENS };
}

/* What the session will be. */
typedef struct {
    int32_t *ids; /* lm_free() */
    size_t n;
    json_t *messages; /* NULL: a text */
    lm_fold_result figures;
} folded;

static void clear(folded *f)
{
    lm_free(f->ids);
    json_decref(f->messages);
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", s[i]) || s[i] == 0)
            return false;
    return true;
}

/* --- a text ------------------------------------------------------------------------------ */

static lm_status fold_text(const lm_session *s, const lm_fold_options *o, folded *f, lm_error *err)
{
    const lm_text *t = s->m->text;
    int32_t *summary = NULL;
    char *tail = NULL;
    size_t n_summary = 0, n_bytes = 0;
    uint32_t n_tail = LM_MIN(o->tail, s->n_tokens);
    const int32_t *last = s->tokens + (s->n_tokens - n_tail);
    LM_TRY(lm_text_encode(t, o->summary, o->n_summary, LM_ENCODE_POST, &summary, &n_summary, err));
    lm_status st = lm_text_decode(t, last, n_tail, false, &tail, &n_bytes, err);
    if (st == LM_OK)
        st = LM_NEW(&f->ids, n_summary + n_tail, err);
    if (st == LM_OK) {
        if (n_summary)
            memcpy(f->ids, summary, n_summary * sizeof *f->ids);
        memcpy(f->ids + n_summary, last, n_tail * sizeof *f->ids);
        f->n = n_summary + n_tail;
        f->figures.n_tail = n_tail;
        f->figures.recent_tail_bytes = n_bytes;
        f->figures.folded_prompt_bytes = n_bytes + o->n_summary;
    }
    lm_give_back(summary);
    lm_give_back(tail);
    return st;
}

/* --- a chat -------------------------------------------------------------------------------- */

static const char *text_at(const json_t *messages, size_t i, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(messages, i), key));
    return text ? text : "";
}

/* Index of the first message of the tail: the newest that hold at most so many tokens, and
 * begin with a question. */
static lm_status first_of_tail(const lm_text *t, const json_t *messages, uint32_t most, size_t *first,
                               uint64_t *n_bytes, lm_error *err)
{
    size_t n = json_array_size(messages), sum = 0;
    *first = n;
    *n_bytes = 0;
    uint64_t bytes = 0;
    for (size_t i = n; i-- > 0;) {
        const char *text = text_at(messages, i, "content");
        int32_t *ids = NULL;
        size_t n_ids = 0;
        if (strcmp(text_at(messages, i, "role"), "system") == 0)
            break;
        LM_TRY(lm_text_encode(t, text, strlen(text), 0, &ids, &n_ids, err));
        lm_give_back(ids);
        sum += n_ids;
        if (sum > most)
            break;
        bytes += strlen(text);
        if (strcmp(text_at(messages, i, "role"), "user") == 0) {
            *first = i;
            *n_bytes = bytes;
        }
    }
    return LM_OK;
}

/* The summary behind what the system message said; where `user`, in front of the first
 * question, for templates that know no system message. */
static lm_status put_summary(const json_t *all, const lm_fold_options *o, size_t first, bool user,
                             json_t **out, lm_error *err)
{
    bool has_system = strcmp(text_at(all, 0, "role"), "system") == 0;
    lm_str b = { .max = LM_MAX_ENTRY_TEXT };
    json_t *list = json_array();
    if (has_system && !user)
        lm_str_addf(&b, "%s\n\n", text_at(all, 0, "content"));
    lm_str_addz(&b, "Summary of the conversation so far:\n");
    lm_str_add(&b, o->summary, o->n_summary);
    if (user && first < json_array_size(all))
        lm_str_addf(&b, "\n\n%s", text_at(all, first, "content"));
    lm_status st = lm_str_status(&b, err);
    int bad = 0;
    if (st == LM_OK)
        bad = json_array_append_new(
            list, json_pack("{s:s, s:s%}", "role", user ? "user" : "system", "content", lm_str_z(&b), b.n));
    for (size_t i = first + (user && first < json_array_size(all)); i < json_array_size(all) && !bad; i++)
        bad = json_array_append(list, json_array_get(all, i));
    lm_str_clear(&b);
    if (st == LM_OK && bad)
        st = lm_fail(err, LM_ERR_USAGE, "the summary or a message is not UTF-8");
    if (st != LM_OK) {
        json_decref(list);
        return st;
    }
    *out = list;
    return LM_OK;
}

static lm_status render(const lm_text *t, const json_t *messages, folded *f, lm_error *err)
{
    json_t *root = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 0);
    char *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n_text = 0, n = 0;
    json_decref(root);
    if (!json)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
    lm_status st = lm_text_chat(t, json, strlen(json), -1, 0, &text, &n_text, &ids, &n, err);
    free(json); /* jansson's own allocation */
    if (st == LM_OK)
        st = LM_NEW(&f->ids, n, err);
    if (st == LM_OK && n) {
        memcpy(f->ids, ids, n * sizeof *ids);
        f->n = n;
        f->figures.folded_prompt_bytes = n_text;
    }
    lm_give_back(text);
    lm_give_back(ids);
    return st;
}

static lm_status fold_chat(const lm_session *s, const lm_fold_options *o, folded *f, lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = LM_MAX_ENTRY_TEXT };
    json_t *all = NULL;
    size_t first = 0;
    lm_error own = { 0 };
    LM_TRY(lm_json_parse(&all, o->messages, strlen(o->messages), "the messages", &limits, err));
    lm_status st = LM_OK;
    if (!json_is_array(all))
        st = lm_fail(err, LM_ERR_USAGE, "the messages are no array");
    if (st == LM_OK)
        st = first_of_tail(s->m->text, all, o->tail, &first, &f->figures.recent_tail_bytes, err);
    if (st == LM_OK)
        st = put_summary(all, o, first, false, &f->messages, err);
    if (st == LM_OK)
        st = render(s->m->text, f->messages, f, &own);
    if (st != LM_OK && own.status != LM_OK) {
        json_decref(f->messages);
        f->messages = NULL;
        st = put_summary(all, o, first, true, &f->messages, err);
        if (st == LM_OK)
            st = render(s->m->text, f->messages, f, err);
    }
    f->figures.n_tail = st == LM_OK ? (uint32_t)(json_array_size(all) - first) : 0;
    json_decref(all);
    return st;
}

/* --- the fold --------------------------------------------------------------------------------- */

static lm_status plan(const lm_session *s, const char *name, const char *new_name, const lm_fold_options *o,
                      folded *f, lm_error *err)
{
    lm_quoted_buf q;
    if (!o->summary || is_blank(o->summary, o->n_summary)) /* an empty memory is none */
        return lm_fail(err, LM_ERR_USAGE, "a fold needs a summary, this one is empty");
    if (strcmp(name, new_name) == 0)
        return lm_fail(err, LM_ERR_USAGE, "a fold of '%s' needs another name", lm_quoted_z(&q, name));
    if (s->n_tokens == 0)
        return lm_fail(err, LM_ERR_USAGE, "an empty session cannot be folded");
    if (!s->m->text || !lm_text_has_tokenizer(s->m->text))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a fold needs a tokenizer, the pack has none");
    f->figures.summary_bytes = o->n_summary;
    LM_TRY(o->messages ? fold_chat(s, o, f, err) : fold_text(s, o, f, err));
    f->figures.n_tokens = (uint32_t)f->n;
    if (f->n >= s->n_tokens) {
        lm_hint(err, "a shorter summary, or a smaller tail than %u", o->tail);
        return lm_fail(err, LM_ERR_USAGE, "the fold would have %zu tokens, the session has %u", f->n,
                       s->n_tokens);
    }
    return LM_OK;
}

static lm_status sleep_folded(lm_session *s, lm_store *store, const char *name, const char *new_name,
                              const lm_fold_options *o, const folded *f, lm_error *err)
{
    lm_sleep_options so;
    lm_str uri = { 0 };
    lm_str_addf(&uri, "lemma://%s", name);
    LM_TRY(lm_str_status(&uri, err));
    json_t *meta = json_pack("{s:b, s:s, s:I, s:I, s:I}", "folded_state", 1, "folded_from_entry_uri",
                             lm_str_z(&uri), "summary_bytes", (json_int_t)f->figures.summary_bytes,
                             "recent_tail_bytes", (json_int_t)f->figures.recent_tail_bytes,
                             "folded_prompt_bytes", (json_int_t)f->figures.folded_prompt_bytes);
    char *metadata = meta ? json_dumps(meta, JSON_COMPACT) : NULL;
    char *messages = f->messages ? json_dumps(f->messages, JSON_COMPACT) : NULL;
    lm_sleep_defaults(&so);
    so.title = o->title;
    so.metadata = metadata;
    so.messages = messages;
    so.parent = name;
    lm_status st = !metadata || (f->messages && !messages)
                       ? lm_fail(err, LM_ERR_NOMEM, "no memory for the fold's metadata")
                       : lm_session_sleep_as(s, store, new_name, &so, LM_ENTRY_FOLDED, NULL, err);
    free(metadata); /* jansson's own allocation */
    free(messages); /* jansson's too */
    json_decref(meta);
    lm_str_clear(&uri);
    return st;
}

lm_status lm_session_fold(lm_session *s, lm_store *store, const char *name, const char *new_name,
                          const lm_fold_options *options, lm_fold_result *out, lm_error *err)
{
    lm_fold_options o;
    folded f = { 0 };
    lm_fold_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    lm_status st = plan(s, name, new_name, &o, &f, err);
    if (st == LM_OK)
        st = lm_entry_name_check(new_name, err);
    if (st == LM_OK && !o.keep_old) {
        lm_sleep_options so;
        lm_sleep_defaults(&so);
        so.title = o.title;
        so.messages = o.messages;
        st = lm_session_sleep(s, store, name, &so, NULL, err);
    }
    if (st == LM_OK) {
        lm_session_reset(s);
        st = lm_session_append(s, f.ids, f.n, err);
    }
    if (st == LM_OK)
        st = sleep_folded(s, store, name, new_name, &o, &f, err);
    if (st == LM_OK && out)
        *out = f.figures;
    clear(&f);
    return st;
}

/* --- projects ----------------------------------------------------------------------------------- */

lm_status lm_project_name(const char *id, lm_project_part part, char *buf, size_t cap, lm_error *err)
{
    static const char *const ends[] = { "seed", "checkpoints/latest", "folded/latest" };
    lm_quoted_buf q;
    if (!id)
        id = "default";
    if (*id == 0 || strchr(id, '/') || (unsigned)part >= LM_LEN(ends))
        return lm_fail(err, LM_ERR_USAGE, "'%s' is no name of a project", lm_quoted_z(&q, id));
    int n = snprintf(buf, cap, "projects/%s/%s", id, ends[part]);
    if (n <= 0 || (size_t)n >= cap)
        return lm_fail(err, LM_ERR_USAGE, "a project's name has %zu bytes, allowed are 1 to %zu", strlen(id),
                       cap - sizeof "projects//checkpoints/latest");
    return lm_entry_name_check(buf, err);
}

/* Wakes the first of these parts that is there; with `whole`, only if all of it mounts. */
static lm_status wake_part(lm_session *s, lm_store *store, const char *project, lm_project_part part,
                           const lm_wake_options *o, bool whole, char *woken, lm_wake_result *out, bool *done,
                           lm_error *err)
{
    lm_error own = { 0 };
    lm_wake_options strict;
    LM_TRY(lm_project_name(project, part, woken, LM_STATE_NAME, err));
    lm_wake_defaults(&strict);
    lm_status st = lm_session_wake(s, store, woken, whole ? &strict : o, out, &own);
    bool missing = st == LM_ERR_NOT_FOUND || (whole && (st == LM_ERR_MISMATCH || st == LM_ERR_STATE));
    *done = !missing;
    if (missing)
        woken[0] = 0;
    else if (st != LM_OK && err && err->status == LM_OK)
        *err = own;
    return missing ? LM_OK : st;
}

lm_status lm_session_continue(lm_session *s, lm_store *store, const char *project, lm_continuation how,
                              const lm_wake_options *o, char woken[LM_STATE_NAME], lm_wake_result *out,
                              lm_error *err)
{
    static const struct {
        lm_continuation how;
        lm_project_part part;
        bool whole;
    } order[] = { { LM_CONTINUE_CHECKPOINT, LM_PROJECT_CHECKPOINT, false },
                  { LM_CONTINUE_CHECKPOINT, LM_PROJECT_SEED, false },
                  { LM_CONTINUE_CURRENT, LM_PROJECT_SEED, false },
                  { LM_CONTINUE_SUMMARY, LM_PROJECT_FOLDED, false },
                  { LM_CONTINUE_SUMMARY, LM_PROJECT_SEED, false },
                  { LM_CONTINUE_HYBRID, LM_PROJECT_CHECKPOINT, true },
                  { LM_CONTINUE_HYBRID, LM_PROJECT_FOLDED, false },
                  { LM_CONTINUE_HYBRID, LM_PROJECT_SEED, false } };
    lm_wake_result own;
    bool done = how == LM_CONTINUE_CURRENT && s->n_tokens > 0;
    woken[0] = 0;
    if (!out)
        out = &own;
    *out = (lm_wake_result){ .n_tokens = s->n_tokens };
    for (size_t i = 0; i < LM_LEN(order) && !done; i++)
        if (order[i].how == how)
            LM_TRY(wake_part(s, store, project, order[i].part, o, order[i].whole, woken, out, &done, err));
    return LM_OK;
}
