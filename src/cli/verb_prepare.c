/* cli/verb_prepare.c - lemma prepare: make, list and remove prepared copies. */
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "cli/cli.h"

static lm_status parsed(char *text, json_t **out, lm_error *err)
{
    json_error_t e;
    *out = json_loads(text, JSON_ALLOW_NUL, &e);
    lm_give_back(text);
    return *out != NULL ? LM_OK : lm_fail(err, LM_ERR_INTERNAL, "the library's JSON: %s", e.text);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

static double number_of(const json_t *object, const char *key)
{
    return (double)json_integer_value(json_object_get(object, key));
}

static lm_status list(cli *c, lm_error *err)
{
    char *text = NULL;
    json_t *j = NULL;
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_prepared_list("", &text, err));
    LM_TRY(parsed(text, &j, err));
    const json_t *copies = json_object_get(j, "copies");
    lm_status st = LM_OK;
    if (cli_flag(&c->args, OPT_JSON)) {
        st = out_json(j, err);
    } else if (json_array_size(copies) == 0) {
        note_f("lemma: no pack has a prepared copy");
    } else {
        cli_table t;
        table_open(&t, 4);
        table_add(&t, "SIZE");
        table_add(&t, "STATE");
        table_add(&t, "USED");
        table_add(&t, "PACK");
        for (size_t i = 0; i < json_array_size(copies); i++) {
            const json_t *x = json_array_get(copies, i);
            char size[32], used[32] = "";
            time_t at = (time_t)number_of(x, "used");
            struct tm tm;
            size_text(size, sizeof size, number_of(x, "bytes"));
            if (gmtime_r(&at, &tm) != NULL)
                (void)strftime(used, sizeof used, "%Y-%m-%d", &tm);
            table_add(&t, size);
            table_add(&t, text_of(x, "state"));
            table_add(&t, used);
            table_add(&t, text_of(x, json_is_null(json_object_get(x, "pack")) ? "path" : "pack"));
        }
        table_print(&t, true);
        table_close(&t);
    }
    json_decref(j);
    return st;
}

static lm_status take_away(cli *c, lm_error *err)
{
    const char *pack = NULL;
    char *text = NULL, size[32];
    json_t *j = NULL;
    lm_status st = LM_OK;
    if (!cli_flag(&c->args, OPT_ALL))
        LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if (pack == NULL && cli_text(&c->args, OPT_MODEL) != NULL)
        return lm_fail(err, LM_ERR_USAGE, "--all and a pack contradict each other");
    LM_TRY(lm_prepared_remove("", pack, &text, err));
    LM_TRY(parsed(text, &j, err));
    double n = number_of(j, "removed");
    size_text(size, sizeof size, number_of(j, "bytes"));
    if (cli_flag(&c->args, OPT_JSON))
        st = out_json(j, err);
    else
        out_f("%.0f cop%s removed, %s\n", n, n == 1 ? "y" : "ies", size);
    json_decref(j);
    return st;
}

static bool show_progress(void *user, uint64_t done, uint64_t total)
{
    progress_at(user, done >> 20, total >> 20);
    return !cli_interrupted();
}

static lm_status make(cli *c, lm_error *err)
{
    const char *pack = NULL;
    char *text = NULL, size[32];
    json_t *j = NULL;
    cli_progress p;
    lm_prepare_options o;
    lm_status st = LM_OK;
    lm_prepare_defaults(&o);
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(cli_size(c, OPT_PREPARED_BUDGET, &o.budget_bytes, err));
    o.on_progress = show_progress;
    o.user = &p;
    progress_start(&p, "preparing", "MiB");
    st = lm_prepare(pack, &o, &text, err);
    progress_end(&p);
    LM_TRY(st);
    LM_TRY(parsed(text, &j, err));
    size_text(size, sizeof size, number_of(j, "bytes"));
    const json_t *evicted = json_object_get(j, "evicted");
    for (size_t i = 0; i < json_array_size(evicted); i++)
        note_f("lemma: the copy of %s made room", json_string_value(json_array_get(evicted, i)));
    if (cli_flag(&c->args, OPT_JSON))
        st = out_json(j, err);
    else
        out_f("%s: %s\n",
              json_is_true(json_object_get(j, "made")) ? "prepared" : "prepared already, and good", size);
    json_decref(j);
    return st;
}

lm_status verb_prepare(cli *c, lm_error *err)
{
    bool lists = cli_flag(&c->args, OPT_PREPARED_LIST), removes = cli_flag(&c->args, OPT_REMOVE);
    if (lists && removes)
        return lm_fail(err, LM_ERR_USAGE, "--list and --remove contradict each other");
    if (cli_flag(&c->args, OPT_ALL) && !removes)
        return lm_fail(err, LM_ERR_USAGE, "--all belongs to 'lemma prepare --remove'");
    return lists ? list(c, err) : removes ? take_away(c, err) : make(c, err);
}
