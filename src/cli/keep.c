/* cli/keep.c - what run and chat keep between processes: the store, --session, and what
 * a person is told about it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"

/* "512M", "8G", "1.5 GiB" or bytes. */
lm_status cli_size(const cli *c, opt_id id, uint64_t *out, lm_error *err)
{
    const char *text = cli_text(&c->args, id);
    static const char units[] = "KMGT";
    char *end = NULL;
    lm_quoted_buf q;
    if (text == NULL)
        return LM_OK;
    double x = strtod(text, &end);
    bool ok = end != text && x > 0;
    end += strspn(end, " ");
    const char *unit = ok && *end != 0 ? strchr(units, *end & ~0x20) : NULL;
    if (unit != NULL) {
        for (const char *u = units; u <= unit; u++)
            x *= 1024;
        end++;
    }
    if (ok && (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0))
        end += strlen(end);
    if (!ok || *end != 0 || !(x >= 1 && x < 9e18))
        return lm_fail(err, LM_ERR_USAGE, "'--%s' is '%s', allowed is a size such as 512M or 8G",
                       cli_options[id].name, lm_quoted_z(&q, text));
    *out = (uint64_t)x;
    return LM_OK;
}

lm_status cli_open_store(cli *c, lm_store **out, lm_error *err)
{
    lm_state_options o;
    lm_state_defaults(&o);
    o.folder = cli_text(&c->args, OPT_STATE_DIR);
    LM_TRY(cli_size(c, OPT_STATE_BUDGET, &o.budget, err));
    return lm_state_open(out, &o, err);
}

lm_status cli_labels(const cli *c, json_t **labels, lm_error *err)
{
    const opt_value *given = &c->args.v[OPT_LABEL];
    lm_quoted_buf q;
    for (size_t i = 0; i < given->n; i++) {
        const char *text = given->list[i], *is = strchr(text, '=');
        if (is == NULL || is == text)
            return lm_fail(err, LM_ERR_USAGE, "'--label' is '%s', a session's label is KEY=VALUE",
                           lm_quoted_z(&q, text));
        if (*labels == NULL)
            *labels = json_object();
        if (json_object_setn_new(*labels, text, (size_t)(is - text), json_string(is + 1)) != 0)
            return lm_fail(err, LM_ERR_USAGE, "'--label' is '%s', which is not UTF-8", lm_quoted_z(&q, text));
    }
    return LM_OK;
}

lm_status cli_rest_open(cli *c, cli_rest *r, lm_error *err)
{
    lm_error own = { 0 };
    *r = (cli_rest){ .name = cli_text(&c->args, OPT_SESSION) };
    if (r->name == NULL && cli_given(&c->args, OPT_LABEL))
        return lm_fail(err, LM_ERR_USAGE, "--label needs --session, whose label it is");
    LM_TRY(cli_labels(c, &r->labels, err));
    if (cli_state_off(&c->args)) {
        if (r->name != NULL)
            return lm_fail(err, LM_ERR_USAGE, "--session needs what --no-state, or --state off, forbids");
        return LM_OK;
    }
    lm_status st = cli_open_store(c, &r->store, r->name != NULL ? err : &own);
    if (st == LM_OK && r->name != NULL)
        st = lm_state_take(r->store, r->name, &r->hold, err);
    if (st == LM_OK)
        st = lm_model_remember(c->model, r->store, r->name != NULL ? err : &own);
    if (st == LM_OK || r->name != NULL || st == LM_ERR_USAGE) {
        if (own.status != LM_OK)
            *err = own;
        return st;
    }
    /* Without a name nothing was promised: the run goes on without. */
    note_f("lemma: nothing is kept: %s", own.text);
    return LM_OK;
}

void cli_rest_news(const cli_rest *r)
{
    lm_state_news news;
    lm_state_stats stats = { .size = sizeof stats };
    lm_quoted_buf q;
    char size[32];
    if (r->store == NULL || !lm_state_get_news(r->store, &news))
        return;
    if (news.first_write && lm_state_get_stats(r->store, &stats, NULL) == LM_OK) {
        size_text(size, sizeof size, (double)stats.budget);
        note_f("lemma: what was read is kept in %s for the next time, at most %s; --no-state or "
               "LEMMA_STATE=off turns that off",
               lm_quoted_z(&q, lm_state_folder(r->store)), size);
    }
    if (news.trouble.status != LM_OK)
        note_f("lemma: nothing more is kept for now: %s", news.trouble.text);
}

void cli_rest_close(cli_rest *r)
{
    if (r->store != NULL) {
        lm_state_wait(r->store, LM_STATE_CLOSE_MS);
        cli_rest_news(r);
    }
    lm_state_release(r->hold);
    lm_state_close(r->store);
    json_decref(r->messages);
    json_decref(r->labels);
    lm_free(r->metadata);
    *r = (cli_rest){ 0 };
}

/* --- --session --------------------------------------------------------------------- */

static lm_status wake(cli *c, lm_session *s, const char *name, lm_store *store, lm_error *err)
{
    lm_wake_result w;
    lm_quoted_buf q;
    lm_wake_options o;
    lm_wake_defaults(&o);
    lm_status st = lm_session_wake(s, store, name, &o, &w, err);
    bool replay = (st == LM_ERR_MISMATCH || st == LM_ERR_STATE) && strstr(w.reasons, "model_") == NULL;
    if (!replay)
        return st;
    lm_error first = *err;
    lm_error_clear(err);
    cli_interruptible(s);
    o.flags = LM_STATE_REPLAY;
    st = lm_session_wake(s, store, name, &o, &w, err);
    if (st != LM_OK) {
        if (st != LM_ERR_CANCELLED)
            *err = first;
        return st == LM_ERR_CANCELLED ? st : first.status;
    }
    (void)c;
    note_f("lemma: %u of %u tokens of session '%s' were computed again%s%s", w.n_replayed, w.n_tokens,
           lm_quoted_z(&q, name), w.reasons[0] != '\0' ? ": " : "", w.reasons);
    return LM_OK;
}

static bool take_messages(void *user, const lm_stored *e)
{
    cli_rest *r = user;
    json_t *j = e->messages != NULL && e->messages[0] != 0 ? json_loads(e->messages, 0, NULL) : NULL;
    if (json_is_array(j))
        r->messages = j;
    else
        json_decref(j);
    (void)snprintf(r->title, sizeof r->title, "%s", e->title);
    json_t *labels = e->labels[0] != 0 ? json_loads(e->labels, 0, NULL) : NULL;
    if (json_is_object(labels)) { /* what is given now counts */
        (void)json_object_update(labels, r->labels);
        json_decref(r->labels);
        r->labels = json_incref(labels);
    }
    json_decref(labels);
    if (e->metadata[0] != 0)
        (void)!lm_strdup_n(e->metadata, strlen(e->metadata), &r->metadata, NULL);
    return true;
}

lm_status cli_wake(cli *c, lm_session *s, cli_rest *r, lm_error *err)
{
    lm_status st = wake(c, s, r->name, r->store, err);
    r->woken = st == LM_OK;
    if (st == LM_ERR_NOT_FOUND) {
        lm_error_clear(err);
        return LM_OK;
    }
    return st == LM_OK ? lm_state_show(r->store, r->name, take_messages, r, err) : st;
}

/* The first question, cut between characters. */
static void title_of(cli_rest *r, const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages) && r->title[0] == 0; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        const char *text = json_string_value(json_object_get(m, "content"));
        if (role == NULL || text == NULL || strcmp(role, "user") != 0)
            continue;
        size_t n = LM_MIN(strcspn(text, "\n"), sizeof r->title - 1);
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        memcpy(r->title, text, n);
        r->title[n] = 0;
    }
}

lm_status cli_sleep(lm_session *s, cli_rest *r, const json_t *messages, lm_error *err)
{
    lm_sleep_options o;
    lm_sleep_defaults(&o);
    char *json = messages != NULL ? json_dumps(messages, JSON_COMPACT) : NULL;
    if (messages != NULL && json == NULL)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
    title_of(r, messages);
    char *labels = r->labels != NULL ? json_dumps(r->labels, JSON_COMPACT) : NULL;
    o.title = r->title;
    o.messages = json;
    o.labels = labels;
    o.metadata = r->metadata;
    lm_status st = lm_session_sleep(s, r->store, r->name, &o, NULL, err);
    free(json);   /* jansson's own allocation */
    free(labels); /* jansson's own allocation */
    return st;
}

lm_status cli_sync(cli *c, lm_session *s, const int32_t *ids, size_t n, const char *hint, lm_error *err)
{
    const int32_t *have = lm_session_tokens(s);
    size_t n_have = lm_session_n_tokens(s), same = 0;
    while (same < n && same < n_have && ids[same] == have[same])
        same++;
    if (same == n && (n_have > n || lm_session_logits(s) == NULL) && same > 0)
        same--; /* the last token is evaluated again for its logits */
    if (n > c->info.context) {
        lm_hint(err, "%s start with a larger -c (up to %u as trained)", hint, c->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "the conversation has %zu tokens, the context holds %u", n,
                       c->info.context);
    }
    LM_TRY(lm_session_truncate(s, (uint32_t)same, err));
    return same < n ? cli_append(c, s, ids + same, n - same, err) : LM_OK;
}

void cli_drop_bos(const cli *c, const lm_session *s, const int32_t **ids, size_t *n)
{
    const lm_text *t = lm_model_text(c->model);
    int32_t *front = NULL;
    size_t n_front = 0;
    if (t == NULL || lm_session_n_tokens(s) == 0 ||
        lm_text_encode(t, "", 0, LM_ENCODE_POST, &front, &n_front, NULL) != LM_OK)
        return;
    if (n_front > 0 && *n > 0 && (*ids)[0] == front[0]) {
        ++*ids;
        --*n;
    }
    lm_give_back(front);
}
