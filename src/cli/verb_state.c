/* cli/verb_state.c - lemma state: sessions at rest. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"
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
    return json_pack("{s:o, s:o, s:o, s:I, s:b, s:s, s:I}", "name", cli_json_text(e->name, strlen(e->name)),
                     "title", cli_json_text(e->title, strlen(e->title)), "parent",
                     cli_json_text(e->parent, strlen(e->parent)), "tokens", (json_int_t)e->n_tokens, "kept",
                     (int)e->kept, "created", created, "entry_bytes", (json_int_t)e->bytes);
}

static bool add_row(void *user, const lm_stored *e)
{
    return json_array_append_new(user, row_json(e)) == 0;
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
    lm_status st = lm_state_list(store, add_row, rows, err);
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
    char created[64];
    for (size_t i = 0; i < LM_LEN(texts); i++)
        (void)json_object_set_new(j, texts[i].key, cli_json_text(texts[i].text, strlen(texts[i].text)));
    time_text(created, sizeof created, e->created);
    (void)json_object_set_new(j, "created", json_string(created));
    (void)json_object_set_new(j, "pages", json_integer((json_int_t)e->pages));
    (void)json_object_set_new(j, "page_bytes", json_integer((json_int_t)e->page_bytes));
    (void)json_object_set_new(j, "n_tokens", json_integer((json_int_t)e->n_tokens));
    json_t *ids = json_array();
    for (uint32_t i = 0; i < e->n_tokens; i++)
        (void)json_array_append_new(ids, json_integer(e->tokens[i]));
    (void)json_object_set_new(j, "tokens", ids);
    *out = j;
    return true;
}

static lm_status show(cli *c, lm_store *store, const char *name, lm_error *err)
{
    json_t *j = NULL;
    lm_status st = LM_OK;
    LM_TRY(lm_state_show(store, name, describe, &j, err));
    if (cli_flag(&c->args, OPT_JSON)) {
        st = out_json(j, err);
    } else {
        (void)json_object_del(j, "tokens"); /* thousands of numbers are for programs */
        table_json(j);
    }
    json_decref(j);
    return st;
}

lm_status verb_state(cli *c, lm_error *err)
{
    static const char *const names[] = { "ls", "show", "rm", "fork" };
    static const size_t n_words[] = { 0, 1, 1, 2 };
    const char *what = cli_take_word(c), *word[2] = { NULL, NULL };
    lm_quoted_buf q;
    lm_store *store = NULL;
    size_t k = 0;
    while (what != NULL && k < LM_LEN(names) && strcmp(what, names[k]) != 0)
        k++;
    if (what == NULL || k == LM_LEN(names))
        return lm_fail(err, LM_ERR_USAGE, "'lemma state' needs ls, show NAME, rm NAME or fork NAME NEW%s%s",
                       what != NULL ? ", not " : "", what != NULL ? lm_quoted_z(&q, what) : "");
    for (size_t i = 0; i < n_words[k]; i++)
        if ((word[i] = cli_take_word(c)) == NULL)
            return lm_fail(err, LM_ERR_USAGE, "'lemma state %s' needs %s", what,
                           i == 0 ? "the name of a session" : "a second name");
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(cli_open_store(c, &store, err));
    lm_status st = k == 0   ? list(c, store, err)
                   : k == 1 ? show(c, store, word[0], err)
                   : k == 2 ? lm_state_remove(store, word[0], err)
                            : lm_state_fork(store, word[0], word[1], err);
    lm_state_close(store);
    return st;
}
