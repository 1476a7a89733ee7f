/* cli/state_model.c - lemma state: what needs a model: sleep, wake, fold, verify. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

static lm_status open_session(cli *c, lm_session **out, lm_error *err)
{
    const char *pack = cli_text(&c->args, OPT_MODEL);
    lm_model_options o;
    if (pack == NULL) {
        lm_hint(err, "'lemma pack list' shows the packs on this machine");
        return lm_fail(err, LM_ERR_USAGE, "'lemma state %s' needs --model", c->sub);
    }
    LM_TRY(cli_model_options(c, &o, err));
    LM_TRY(cli_open_model(c, pack, &o, err));
    LM_TRY(lm_session_open(out, c->model, err));
    cli_interruptible(*out);
    return LM_OK;
}

static void close_session(lm_session *s)
{
    cli_interruptible(NULL);
    lm_session_close(s);
}

/* --- sleep ------------------------------------------------------------------------------- */

static lm_status ids_of(cli *c, int32_t **ids, size_t *n, bool *given, lm_error *err)
{
    const char *tokens = cli_text(&c->args, OPT_TOKENS), *file = cli_text(&c->args, OPT_FILE);
    const lm_text *t = lm_model_text(c->model);
    char *text = NULL;
    size_t n_text = 0;
    lm_quoted_buf q;
    if (tokens != NULL)
        return cli_parse_ids(tokens, strlen(tokens), ids, n, err);
    if (t == NULL || !lm_text_has_tokenizer(t))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no tokenizer, which a text needs",
                       lm_quoted_z(&q, c->info.path));
    LM_TRY(cli_read(file, &text, &n_text, err));
    lm_status st = lm_text_encode(t, text, n_text, LM_ENCODE_POST, ids, n, err);
    *given = true;
    lm_free(text);
    return st;
}

static bool is_there(void *user, const lm_stored *e)
{
    (void)e;
    *(bool *)user = true;
    return false;
}

static lm_status sleep_labelled(cli *c, lm_session *s, lm_store *store, const char *name, lm_sleep_result *r,
                                lm_error *err)
{
    json_t *labels = NULL;
    lm_sleep_options o;
    lm_sleep_defaults(&o);
    lm_status st = cli_labels(c, &labels, err);
    char *text = labels != NULL ? json_dumps(labels, JSON_COMPACT) : NULL;
    o.labels = text;
    if (st == LM_OK)
        st = lm_session_sleep(s, store, name, &o, r, err);
    free(text); /* jansson's own allocation */
    json_decref(labels);
    return st;
}

static lm_status read_and_sleep(cli *c, lm_session *s, lm_store *store, const char *name, lm_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    bool given = false;
    lm_sleep_result r = { 0 };
    lm_status st = ids_of(c, &ids, &n, &given, err);
    if (st == LM_OK)
        st = cli_append(c, s, ids, n, err);
    if (st == LM_OK)
        st = sleep_labelled(c, s, store, name, &r, err);
    if (given)
        lm_give_back(ids);
    else
        lm_free(ids);
    LM_TRY(st);
    return state_tell(c,
                      json_pack("{s:o, s:I, s:I, s:I, s:I}", "name", cli_json_text(name, strlen(name)),
                                "tokens", (json_int_t)n, "pages_written", (json_int_t)r.pages_written,
                                "pages_reused", (json_int_t)r.pages_reused, "bytes_written",
                                (json_int_t)r.bytes_written),
                      err);
}

lm_status state_sleep(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_session *s = NULL;
    lm_state_hold *hold = NULL;
    lm_error own = { 0 };
    lm_quoted_buf q;
    bool there = false;
    if ((cli_text(&c->args, OPT_TOKENS) != NULL) == (cli_text(&c->args, OPT_FILE) != NULL))
        return lm_fail(err, LM_ERR_USAGE, "'lemma state sleep' needs either --tokens or --file");
    lm_status st = lm_state_show(store, word[0], is_there, &there, &own);
    if (st != LM_OK && st != LM_ERR_NOT_FOUND) {
        *err = own; /* a damaged one is not written over either */
        return st;
    }
    if (there) {
        lm_hint(err, "lemma run --session goes on in it; lemma state rm removes it");
        return lm_fail(err, LM_ERR_USAGE, "there is a session '%s' already", lm_quoted_z(&q, word[0]));
    }
    LM_TRY(lm_state_take(store, word[0], &hold, err));
    st = open_session(c, &s, err);
    if (st == LM_OK)
        st = lm_model_remember(c->model, store, err);
    if (st == LM_OK)
        st = read_and_sleep(c, s, store, word[0], err);
    close_session(s);
    lm_state_release(hold);
    return st;
}

/* --- wake ---------------------------------------------------------------------------------- */

lm_status state_wake(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_session *s = NULL;
    lm_wake_options o;
    lm_wake_result w;
    lm_wake_defaults(&o);
    if (cli_given(&c->args, OPT_AT))
        o.at = (uint32_t)cli_int(&c->args, OPT_AT);
    lm_status st = open_session(c, &s, err);
    if (st == LM_OK)
        st = lm_session_wake(s, store, word[0], &o, &w, err);
    if (st == LM_OK)
        st = state_tell(c,
                        json_pack("{s:o, s:I, s:I, s:I, s:s, s:f, s:f}", "name",
                                  cli_json_text(word[0], strlen(word[0])), "tokens", (json_int_t)w.n_tokens,
                                  "mounted_tokens", (json_int_t)w.n_mounted, "computed_tokens",
                                  (json_int_t)w.n_replayed, "differs", w.reasons, "wake_ms",
                                  (double)w.wake_ns / 1e6, "identity_ms", (double)w.identity_ns / 1e6),
                        err);
    close_session(s);
    return st;
}

/* --- fold ---------------------------------------------------------------------------------- */

static bool copy_texts(void *user, const lm_stored *e)
{
    json_t **out = user;
    *out = json_pack("{s:s, s:s}", "title", e->title, "messages", e->messages);
    return true;
}

static lm_status fold(cli *c, lm_session *s, lm_store *store, const char *const *word, lm_error *err)
{
    lm_fold_options o;
    lm_fold_result r = { 0 };
    lm_wake_options wake;
    json_t *texts = NULL;
    char *summary = NULL;
    lm_fold_defaults(&o);
    lm_wake_defaults(&wake);
    wake.flags = LM_STATE_REPLAY;
    LM_TRY(lm_state_show(store, word[0], copy_texts, &texts, err));
    lm_status st = cli_read(cli_text(&c->args, OPT_SUMMARY), &summary, &o.n_summary, err);
    if (st == LM_OK)
        st = lm_session_wake(s, store, word[0], &wake, NULL, err);
    o.summary = summary;
    o.tail = (uint32_t)cli_int(&c->args, OPT_TAIL);
    o.title = json_string_value(json_object_get(texts, "title"));
    o.messages = json_string_value(json_object_get(texts, "messages"));
    if (o.messages != NULL && o.messages[0] == '\0')
        o.messages = NULL;
    o.keep_old = true; /* it is there, just as it was woken */
    if (st == LM_OK)
        st = lm_session_fold(s, store, word[0], word[1], &o, &r, err);
    lm_free(summary);
    json_decref(texts);
    LM_TRY(st);
    return state_tell(
        c,
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "name", cli_json_text(word[1], strlen(word[1])),
                  "parent", cli_json_text(word[0], strlen(word[0])), "tokens", (json_int_t)r.n_tokens, "tail",
                  (json_int_t)r.n_tail, "summary_bytes", (json_int_t)r.summary_bytes, "recent_tail_bytes",
                  (json_int_t)r.recent_tail_bytes, "folded_prompt_bytes", (json_int_t)r.folded_prompt_bytes),
        err);
}

lm_status state_fold(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_session *s = NULL;
    lm_state_hold *hold = NULL;
    lm_error own = { 0 };
    lm_quoted_buf q;
    bool there = false;
    if (cli_text(&c->args, OPT_SUMMARY) == NULL)
        return lm_fail(err, LM_ERR_USAGE, "'lemma state fold' needs --summary");
    lm_status st = lm_state_show(store, word[1], is_there, &there, &own);
    if (st != LM_OK && st != LM_ERR_NOT_FOUND) {
        *err = own;
        return st;
    }
    if (there)
        return lm_fail(err, LM_ERR_USAGE, "there is a session '%s' already", lm_quoted_z(&q, word[1]));
    LM_TRY(lm_state_take(store, word[1], &hold, err));
    st = open_session(c, &s, err);
    if (st == LM_OK)
        st = fold(c, s, store, word, err);
    close_session(s);
    lm_state_release(hold);
    return st;
}

/* --- verify ------------------------------------------------------------------------------------ */

lm_status state_verify(cli *c, lm_store *store, const char *name, lm_error *err)
{
    lm_session *s = NULL;
    lm_verify_result v;
    lm_quoted_buf q;
    lm_status st = open_session(c, &s, err);
    close_session(s);
    LM_TRY(st);
    LM_TRY(lm_state_verify(store, name, c->model, &v, err));
    if (v.equal)
        return LM_OK;
    lm_hint(err, "it is there and goes on, but its pages serve it alone");
    return lm_fail(
        err, LM_ERR_MISMATCH,
        "session '%s', computed again, has other numbers from token %u, layer %u on (difference %.2g)",
        lm_quoted_z(&q, name), v.position, v.layer, v.largest);
}
