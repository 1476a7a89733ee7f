/* cli/verb_state.c - lemma state: sessions at rest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"

/* --- the verb ------------------------------------------------------------------------ */

static void time_text(char *buf, size_t cap, uint64_t seconds)
{
    time_t at = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&at, &tm) == NULL || strftime(buf, cap, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        (void)snprintf(buf, cap, "%llu", (unsigned long long)seconds);
}

static json_t *row_json(const lm_stored *e)
{
    char created[64];
    time_text(created, sizeof created, e->created);
    json_t *labels = e->labels[0] != '\0' ? json_loads(e->labels, 0, NULL) : NULL;
    return json_pack("{s:o, s:o, s:o, s:I, s:b, s:s, s:I, s:o*}", "name",
                     cli_json_text(e->name, strlen(e->name)), "title",
                     cli_json_text(e->title, strlen(e->title)), "parent",
                     cli_json_text(e->parent, strlen(e->parent)), "tokens", (json_int_t)e->n_tokens, "kept",
                     (int)e->kept, "created", created, "entry_bytes", (json_int_t)e->bytes, "labels", labels);
}

static bool add_row(void *user, const lm_stored *e)
{
    return json_array_append_new(user, row_json(e)) == 0;
}

/* Those with all labels of --label. */
static lm_status list_labelled(cli *c, lm_store *store, json_t *rows, lm_error *err)
{
    const opt_value *given = &c->args.v[OPT_LABEL];
    for (size_t i = 0; i < given->n; i++) {
        const char *is = strchr(given->list[i], '=');
        char *key = NULL;
        json_t *found = json_array();
        size_t n = is != NULL ? (size_t)(is - given->list[i]) : strlen(given->list[i]);
        lm_status st = lm_strdup_n(given->list[i], n, &key, err);
        if (st == LM_OK)
            st = lm_state_list_labelled(store, key, is != NULL ? is + 1 : NULL, add_row, found, err);
        lm_free(key);
        for (size_t k = i == 0 ? 0 : json_array_size(rows); k-- > 0;) { /* none of the first label yet */
            const char *name = json_string_value(json_object_get(json_array_get(rows, k), "name"));
            bool both = false;
            for (size_t m = 0; m < json_array_size(found) && !both; m++)
                both =
                    strcmp(name, json_string_value(json_object_get(json_array_get(found, m), "name"))) == 0;
            if (!both)
                (void)json_array_remove(rows, k);
        }
        if (i == 0)
            (void)json_array_extend(rows, found);
        json_decref(found);
        LM_TRY(st);
    }
    return LM_OK;
}

static void print_rows(const json_t *rows)
{
    cli_table t;
    table_open(&t, 3);
    table_add(&t, "NAME");
    table_add(&t, "TOKENS");
    table_add(&t, "CREATED");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        table_add(&t, json_string_value(json_object_get(r, "name")));
        table_addf(&t, "%lld", (long long)json_integer_value(json_object_get(r, "tokens")));
        table_add(&t, json_string_value(json_object_get(r, "created")));
    }
    table_print(&t, true);
    table_close(&t);
}

static lm_status list(cli *c, lm_store *store, lm_error *err)
{
    json_t *rows = json_array();
    lm_status st = LM_OK;
    if (!cli_given(&c->args, OPT_LABEL))
        st = lm_state_list(store, add_row, rows, err);
    else
        st = list_labelled(c, store, rows, err);
    if (st == LM_OK && cli_flag(&c->args, OPT_JSON))
        st = out_json(rows, err);
    else if (st == LM_OK && json_array_size(rows) > 0)
        print_rows(rows);
    else if (st == LM_OK)
        note_f("lemma: no sessions in %s", lm_state_folder(store));
    json_decref(rows);
    return st;
}

static bool describe(void *user, const lm_stored *e)
{
    json_t **out = user, *j = json_pack("{s:o, s:o}", "name", cli_json_text(e->name, strlen(e->name)),
                                        "title", cli_json_text(e->title, strlen(e->title)));
    const struct {
        const char *key, *text;
    } texts[] = { { "parent", e->parent },
                  { "model", e->model },
                  { "architecture", e->architecture },
                  { "quantisation", e->quantisation },
                  { "kv", e->kv },
                  { "backend", e->backend },
                  { "numerics", e->numerics } };
    const struct {
        const char *key, *text;
    } docs[] = { { "labels", e->labels }, { "metadata", e->metadata }, { "messages", e->messages } };
    const struct {
        const char *key;
        bool on;
    } flags[] = {
        { "folded", e->folded }, { "imported", e->imported }, { "recoded", e->recoded }, { "alone", e->alone }
    };
    char created[64];
    for (size_t i = 0; i < LM_LEN(texts); i++)
        (void)json_object_set_new(j, texts[i].key, cli_json_text(texts[i].text, strlen(texts[i].text)));
    time_text(created, sizeof created, e->created);
    (void)json_object_set_new(j, "created", json_string(created));
    for (size_t i = 0; i < LM_LEN(flags); i++)
        if (flags[i].on)
            (void)json_object_set_new(j, flags[i].key, json_true());
    (void)json_object_set_new(j, "pages", json_integer((json_int_t)e->pages));
    (void)json_object_set_new(j, "page_bytes", json_integer((json_int_t)e->page_bytes));
    (void)json_object_set_new(j, "n_tokens", json_integer((json_int_t)e->n_tokens));
    for (size_t i = 0; i < LM_LEN(docs); i++)
        if (docs[i].text[0] != '\0')
            (void)json_object_set_new(j, docs[i].key, json_loads(docs[i].text, JSON_DECODE_ANY, NULL));
    json_t *ids = json_array();
    for (uint32_t i = 0; i < e->n_tokens; i++)
        (void)json_array_append_new(ids, json_integer(e->tokens[i]));
    (void)json_object_set_new(j, "tokens", ids);
    *out = j;
    return true;
}

lm_status state_tell(cli *c, json_t *j, lm_error *err)
{
    lm_status st = j != NULL ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
    if (j != NULL && cli_flag(&c->args, OPT_JSON))
        st = out_json(j, err);
    else if (j != NULL)
        table_json(j);
    json_decref(j);
    return st;
}

/* Message by message, the role in front; what is no such list is shown as JSON. */
static lm_status print_messages(cli *c, json_t *shown, lm_error *err)
{
    const json_t *list = json_object_get(shown, "messages");
    if (cli_flag(&c->args, OPT_JSON)) {
        json_t *empty = json_array();
        lm_status st = out_json(list != NULL ? list : empty, err);
        json_decref(empty);
        return st;
    }
    if (!json_is_array(list)) {
        note_f("lemma: the session has no messages: it is text, and show --json has its tokens");
        return LM_OK;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i), *content = json_object_get(m, "content");
        const char *role = json_string_value(json_object_get(m, "role"));
        out_z(i > 0 ? "\n" : "");
        out_text(role != NULL ? role : "?", role != NULL ? strlen(role) : 1);
        out_z(": ");
        if (json_is_string(content))
            out_text(json_string_value(content), json_string_length(content));
        else
            LM_TRY(out_json(content != NULL ? content : m, err));
        out_z("\n");
    }
    return LM_OK;
}

static lm_status show(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    json_t *j = NULL;
    LM_TRY(lm_state_show(store, word[0], describe, &j, err));
    if (cli_flag(&c->args, OPT_WITH_MESSAGES)) {
        lm_status st = print_messages(c, j, err);
        json_decref(j);
        return st;
    }
    if (!cli_flag(&c->args, OPT_JSON)) { /* thousands of numbers are for programs */
        (void)json_object_del(j, "tokens");
        (void)json_object_del(j, "messages");
    }
    return state_tell(c, j, err);
}

/* What needs no answer on a terminal. */
static lm_status quietly(cli *c, json_t *j, lm_error *err)
{
    if (cli_flag(&c->args, OPT_JSON))
        return state_tell(c, j, err);
    json_decref(j);
    return LM_OK;
}

static lm_status forget(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    LM_TRY(lm_state_remove(store, word[0], err));
    return quietly(c, json_pack("{s:o}", "removed", cli_json_text(word[0], strlen(word[0]))), err);
}

static lm_status fork_it(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    LM_TRY(lm_state_fork(store, word[0], word[1], err));
    return quietly(c,
                   json_pack("{s:o, s:o}", "name", cli_json_text(word[1], strlen(word[1])), "parent",
                             cli_json_text(word[0], strlen(word[0]))),
                   err);
}

/* "30d": seconds. */
static lm_status age_of(const char *text, uint64_t *out, lm_error *err)
{
    static const struct {
        char unit;
        uint32_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
    char *end = NULL;
    lm_quoted_buf q;
    double x = strtod(text, &end);
    for (size_t i = 0; i < LM_LEN(units); i++)
        if (end != text && *end == units[i].unit && end[1] == '\0' && x >= 0 && x * units[i].seconds < 1e12) {
            *out = (uint64_t)(x * units[i].seconds);
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_USAGE, "'--older' is '%s', allowed is an age such as 90m, 12h, 30d or 8w",
                   lm_quoted_z(&q, text));
}

static json_t *swept_json(const lm_state_swept *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "sessions_removed", (json_int_t)s->sessions_removed,
                     "pages_expired", (json_int_t)s->pages_expired, "runs_removed",
                     (json_int_t)s->runs_removed, "runs_merged", (json_int_t)s->runs_merged, "orphans",
                     (json_int_t)s->orphans, "bytes_freed", (json_int_t)s->bytes_freed);
}

/* What was typed in chats lies beside the store: who clears all means it too. */
static lm_status forget_history(const lm_store *store, lm_error *err)
{
    char path[4096];
    lm_quoted_buf q;
    int n = snprintf(path, sizeof path, "%s/chat_history", lm_state_folder(store));
    if (n < 0 || (size_t)n >= sizeof path || unlink(path) == 0 || errno == ENOENT)
        return LM_OK; /* a longer path is none that chat has written */
    return lm_fail(err, LM_ERR_IO, "cannot remove %s: %s", lm_quoted_z(&q, path), strerror(errno));
}

static lm_status clear(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    const char *older = cli_text(&c->args, OPT_OLDER);
    lm_state_swept s = { .size = sizeof s };
    uint64_t age = 0;
    (void)word;
    if ((older != NULL) == cli_flag(&c->args, OPT_ALL))
        return lm_fail(err, LM_ERR_USAGE, "'lemma state clear' needs either --older AGE or --all");
    if (older != NULL)
        LM_TRY(age_of(older, &age, err));
    LM_TRY(lm_state_clear(store, age, true, &s, err));
    if (older == NULL)
        LM_TRY(forget_history(store, err));
    return state_tell(c, swept_json(&s), err);
}

static lm_status collect(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_state_swept s = { .size = sizeof s };
    (void)word;
    LM_TRY(lm_state_gc(store, &s, err));
    return state_tell(c, swept_json(&s), err);
}

static void complain(void *user, const char *text)
{
    lm_quoted_buf q;
    (void)user;
    note_f("lemma: %s", lm_quoted_z(&q, text));
}

static lm_status tell_checked(cli *c, const lm_state_checked *s, lm_error *err)
{
    uint32_t bad = s->bad_runs + s->bad_pages + s->bad_sessions;
    LM_TRY(state_tell(c,
                      json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sessions", (json_int_t)s->sessions,
                                "runs", (json_int_t)s->runs, "pages", (json_int_t)s->pages, "bad_sessions",
                                (json_int_t)s->bad_sessions, "bad_runs", (json_int_t)s->bad_runs, "bad_pages",
                                (json_int_t)s->bad_pages, "missing_pages", (json_int_t)s->missing_pages),
                      err));
    if (bad == 0 && s->missing_pages == 0)
        return LM_OK;
    lm_hint(err, "what is missing is computed again from the tokens when it is needed");
    return lm_fail(err, LM_ERR_STATE, "damaged files and pages: %u; missing pages of sessions: %u", bad,
                   s->missing_pages);
}

static lm_status check(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_state_checked s = { .size = sizeof s };
    (void)word;
    LM_TRY(lm_state_fsck(store, &s, complain, NULL, err));
    return tell_checked(c, &s, err);
}

static lm_status stats(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_state_stats s = { .size = sizeof s };
    const char *folder = lm_state_folder(store);
    (void)word;
    LM_TRY(lm_state_get_stats(store, &s, err));
    return state_tell(c,
                      json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "folder",
                                cli_json_text(folder, strlen(folder)), "budget_bytes", (json_int_t)s.budget,
                                "used_bytes", (json_int_t)s.bytes, "sessions", (json_int_t)s.sessions,
                                "pages", (json_int_t)s.pages, "kept_pages", (json_int_t)s.kept_pages,
                                "page_bytes", (json_int_t)s.page_bytes, "runs", (json_int_t)s.runs),
                      err);
}

/* --- to other machines and formats ------------------------------------------------------ */

static json_t *bundle_json(const lm_bundle_result *r)
{
    json_t *j = json_pack("{s:o, s:I, s:I, s:I}", "name", cli_json_text(r->name, strlen(r->name)), "tokens",
                          (json_int_t)r->n_tokens, "pages", (json_int_t)r->pages, "page_bytes",
                          (json_int_t)r->page_bytes);
    if (j != NULL && r->file_bytes > 0)
        (void)json_object_set_new(j, "file_bytes", json_integer((json_int_t)r->file_bytes));
    return j;
}

static lm_status export_it(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_bundle_result r = { .size = sizeof r };
    const char *format = cli_text(&c->args, OPT_FORMAT);
    lm_quoted_buf q;
    bool blocks = format != NULL && strcmp(format, "blocks") == 0;
    if (blocks || (format != NULL && strcmp(format, "snapshot") == 0))
        return state_export(c, store, word[0], word[1], blocks, err);
    if (format != NULL && strcmp(format, "bundle") != 0)
        return lm_fail(err, LM_ERR_USAGE, "--format is '%s', allowed is one of bundle, snapshot, blocks",
                       lm_quoted_z(&q, format));
    if (cli_given(&c->args, OPT_MODEL))
        return lm_fail(err, LM_ERR_USAGE,
                       "a bundle is written without its pack: --model goes with snapshot and blocks");
    LM_TRY(lm_state_export(store, word[0], word[1], &r, err));
    return state_tell(c, bundle_json(&r), err);
}

static lm_status import_it(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_bundle_result r = { .size = sizeof r };
    bool verify = cli_flag(&c->args, OPT_VERIFY);
    if (verify && cli_text(&c->args, OPT_MODEL) == NULL)
        return lm_fail(err, LM_ERR_USAGE, "'--verify' needs --model, which computes the session again");
    state_format format = state_format_of(word[0]);
    if (format != STATE_BUNDLE)
        return state_import(c, store, word[0], word[1], format, err);
    LM_TRY(lm_state_import(store, word[0], word[1], &r, err));
    if (verify)
        LM_TRY(state_verify(c, store, r.name, err));
    json_t *j = bundle_json(&r);
    if (j != NULL)
        (void)json_object_set_new(j, "verified", json_boolean(verify));
    return state_tell(c, j, err);
}

static lm_status recode(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    lm_bundle_result r = { .size = sizeof r };
    if (c->args.v[OPT_KV].source != FROM_LINE)
        return lm_fail(err, LM_ERR_USAGE, "'lemma state recode' needs --kv, the format to make");
    LM_TRY(lm_state_recode(store, word[0], word[1], cli_text(&c->args, OPT_KV), &r, err));
    return state_tell(c, bundle_json(&r), err);
}

static lm_status analyse(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    const char *pack = cli_text(&c->args, OPT_MODEL);
    char *text = NULL;
    lm_model_options o;
    if (pack != NULL) { /* says which layer is which, where they are not alike */
        LM_TRY(cli_model_options(c, &o, err));
        LM_TRY(cli_open_model(c, pack, &o, err));
    }
    bool json = cli_flag(&c->args, OPT_JSON);
    LM_TRY(lm_state_analyse(store, word[0], c->model, json ? &text : NULL, json ? NULL : &text, err));
    out_z(text);
    if (*text == '\0' || text[strlen(text) - 1] != '\n')
        out_z("\n");
    lm_give_back(text);
    return LM_OK;
}

static lm_status list_it(cli *c, lm_store *store, const char *const *word, lm_error *err)
{
    (void)word;
    return list(c, store, err);
}

/* --- the verb ------------------------------------------------------------------------------ */

#define OPTION(o) (UINT64_C(1) << ((o)-OPT_OLDER))
typedef struct {
    const char *name;
    size_t least, most;   /* words behind it */
    const char *needs[2]; /* what they are */
    lm_status (*run)(cli *c, lm_store *store, const char *const *word, lm_error *err);
    uint64_t own;  /* OPTION(): those that belong to this form */
    bool computes; /* takes --model, --tokens, ... */
} form;

static const char a_session[] = "the name of a session", a_name[] = "a second name";
static const form forms[] = {
    { "ls", 0, 0, { NULL }, list_it, OPTION(OPT_LABEL), false },
    { "show", 1, 1, { a_session }, show, OPTION(OPT_WITH_MESSAGES), false },
    { "sleep", 1, 1, { a_session }, state_sleep, OPTION(OPT_LABEL), true },
    { "wake", 1, 1, { a_session }, state_wake, OPTION(OPT_AT), true },
    { "fork", 2, 2, { a_session, a_name }, fork_it, 0, false },
    { "fold", 2, 2, { a_session, a_name }, state_fold, OPTION(OPT_SUMMARY) | OPTION(OPT_TAIL), true },
    { "recode", 2, 2, { a_session, a_name }, recode, 0, false },
    { "export", 2, 2, { a_session, "a file to write" }, export_it, 0, true },
    { "import", 1, 2, { "a file to read" }, import_it, OPTION(OPT_VERIFY), true },
    { "rm", 1, 1, { a_session }, forget, 0, false },
    { "clear", 0, 0, { NULL }, clear, OPTION(OPT_OLDER) | OPTION(OPT_ALL), false },
    { "gc", 0, 0, { NULL }, collect, 0, false },
    { "fsck", 0, 0, { NULL }, check, OPTION(OPT_REBUILD), false },
    { "analyse", 1, 1, { a_session }, analyse, 0, true },
    { "stats", 0, 0, { NULL }, stats, 0, false },
};

static lm_status choose(const char *what, const form **out, lm_error *err)
{
    lm_quoted_buf q;
    for (size_t i = 0; what != NULL && i < LM_LEN(forms); i++)
        if (strcmp(what, forms[i].name) == 0) {
            *out = &forms[i];
            return LM_OK;
        }
    lm_hint(err, "'lemma help state' shows the forms");
    return lm_fail(err, LM_ERR_USAGE,
                   "'lemma state' needs ls, show, sleep, wake, fork, fold, recode, export, "
                   "import, rm, clear, gc, fsck, analyse or stats%s%s",
                   what != NULL ? ", not " : "", what != NULL ? lm_quoted_z(&q, what) : "");
}

/* An option of another form is refused: nothing is ignored in silence. */
static lm_status belongs(const cli *c, const form *f, lm_error *err)
{
    static const opt_id computing[] = { OPT_MODEL, OPT_TOKENS, OPT_FILE };
    for (size_t i = 0; i < LM_LEN(forms); i++)
        for (int o = OPT_OLDER; o <= OPT_LABEL; o++)
            if ((forms[i].own & OPTION(o)) && !(f->own & OPTION(o)) && cli_given(&c->args, (opt_id)o))
                return lm_fail(err, LM_ERR_USAGE, "--%s belongs to 'lemma state %s'", cli_options[o].name,
                               forms[i].name);
    if (cli_given(&c->args, OPT_FORMAT) && f->run != export_it)
        return lm_fail(err, LM_ERR_USAGE, "--format belongs to 'lemma state export'");
    for (size_t i = 0; i < LM_LEN(computing); i++)
        if (cli_given(&c->args, computing[i]) &&
            (!f->computes || (computing[i] != OPT_MODEL && f->run != state_sleep)))
            return lm_fail(err, LM_ERR_USAGE, "'lemma state %s' does not take --%s", f->name,
                           cli_options[computing[i]].name);
    return LM_OK;
}

lm_status verb_state(cli *c, lm_error *err)
{
    const form *f = NULL;
    const char *word[2] = { NULL, NULL };
    lm_store *store = NULL;
    LM_TRY(choose(cli_take_word(c), &f, err));
    c->sub = f->name;
    for (size_t i = 0; i < f->most; i++)
        if ((word[i] = cli_take_word(c)) == NULL && i < f->least)
            return lm_fail(err, LM_ERR_USAGE, "'lemma state %s' needs %s", f->name, f->needs[i]);
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(belongs(c, f, err));
    if (f->run == check && cli_flag(&c->args, OPT_REBUILD)) {
        lm_state_checked s = { .size = sizeof s };
        LM_TRY(lm_state_rebuild(cli_text(&c->args, OPT_STATE_DIR), &s, err));
        return tell_checked(c, &s, err);
    }
    LM_TRY(cli_open_store(c, &store, err));
    lm_status st = f->run(c, store, word, err);
    lm_model_close(c->model); /* before the store: what it keeps goes there */
    c->model = NULL;
    lm_state_close(store);
    return st;
}
