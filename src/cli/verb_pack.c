/* cli/verb_pack.c - lemma pack: list, inspect, check, warm. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "cli/cli.h"

/* The library's JSON as it is, or parsed for a table. */
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

static lm_status list(cli *c, lm_error *err)
{
    const char *dir = cli_take_word(c);
    char *text = NULL;
    json_t *packs = NULL;
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_packs_list(dir, &text, err));
    LM_TRY(parsed(text, &packs, err));
    if (cli_flag(&c->args, OPT_JSON)) {
        lm_status st = out_json(packs, err);
        json_decref(packs);
        return st;
    }
    cli_table t;
    table_open(&t, 4);
    table_add(&t, "NAME");
    table_add(&t, "KIND");
    table_add(&t, "SIZE");
    table_add(&t, "PATH");
    for (size_t i = 0; i < json_array_size(packs); i++) {
        const json_t *p = json_array_get(packs, i);
        char size[32];
        size_text(size, sizeof size, (double)json_integer_value(json_object_get(p, "bytes")));
        table_add(&t, text_of(p, "name"));
        table_add(&t, text_of(p, "kind"));
        table_add(&t, size);
        table_add(&t, text_of(p, "path"));
    }
    if (json_array_size(packs) > 0) {
        table_print(&t, true);
    } else {
        note_f("lemma: no packs %s", dir != NULL ? "in that folder" : "on this machine yet");
        if (dir == NULL)
            note_f(
                "  hint: $LEMMA_MODELS names a folder of packs; 'lemma pack list DIR' looks into any folder");
    }
    table_close(&t);
    json_decref(packs);
    return LM_OK;
}

static lm_status inspect(cli *c, lm_error *err)
{
    const char *pack = NULL;
    char *text = NULL;
    json_t *j = NULL;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_pack_inspect(pack, &text, err));
    LM_TRY(parsed(text, &j, err));
    lm_status st = LM_OK;
    if (cli_flag(&c->args, OPT_JSON))
        st = out_json(j, err);
    else
        table_json(j);
    /* Without a format nothing was opened: there is no pack to describe. */
    if (st == LM_OK && json_object_get(j, "format") == NULL) {
        const json_t *first = json_array_get(json_object_get(j, "issues"), 0);
        st =
            lm_fail(err, LM_ERR_CORRUPT, "%s", first != NULL ? text_of(first, "message") : "this is no pack");
    }
    json_decref(j);
    return st;
}

static lm_status check(cli *c, lm_error *err)
{
    const char *pack = NULL;
    char *text = NULL;
    json_t *j = NULL;
    lm_quoted_buf q;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_pack_check(pack, !cli_flag(&c->args, OPT_QUICK), &text, err));
    LM_TRY(parsed(text, &j, err));
    bool valid = json_is_true(json_object_get(j, "valid"));
    const json_t *issues = json_object_get(j, "issues");
    lm_status st = LM_OK;
    if (cli_flag(&c->args, OPT_JSON)) {
        st = out_json(j, err);
    } else {
        for (size_t i = 0; i < json_array_size(issues); i++) {
            const json_t *x = json_array_get(issues, i);
            lm_str line = { 0 };
            lm_str_addf(&line, "%s %s: %s", text_of(x, "severity"), text_of(x, "code"),
                        text_of(x, "message"));
            if (text_of(x, "path")[0] != '\0')
                lm_str_addf(&line, " (%s)", text_of(x, "path"));
            out_text(lm_str_z(&line), line.n);
            out_z("\n");
            lm_str_clear(&line);
        }
        out_f("%s: %s\n", lm_quoted_z(&q, pack), valid ? "valid" : "not valid");
    }
    if (st == LM_OK && !valid)
        st = lm_fail(err, LM_ERR_CORRUPT, "%s did not pass: %zu issue%s", lm_quoted_z(&q, pack),
                     json_array_size(issues), json_array_size(issues) == 1 ? "" : "s");
    json_decref(j);
    return st;
}

static lm_status warm(cli *c, lm_error *err)
{
    const char *pack = NULL;
    char *text = NULL, size[32], part[32];
    json_t *j = NULL;
    lm_status st = LM_OK;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_pack_warm(pack, &text, err));
    LM_TRY(parsed(text, &j, err));
    if (cli_flag(&c->args, OPT_JSON)) {
        st = out_json(j, err);
    } else {
        const json_t *large = json_object_get(j, "large_bytes");
        size_text(size, sizeof size, (double)json_integer_value(json_object_get(j, "bytes")));
        size_text(part, sizeof part, (double)json_integer_value(large));
        out_f("%s read in %.2f s", size, json_real_value(json_object_get(j, "seconds")));
        if (json_is_integer(large))
            out_f(", %s of it in pages of 2 MiB", json_integer_value(large) > 0 ? part : "none");
        out_z("\n");
    }
    json_decref(j);
    return st;
}

lm_status verb_pack(cli *c, lm_error *err)
{
    const char *what = cli_take_word(c);
    lm_quoted_buf q;
    c->sub = what;
    if (cli_flag(&c->args, OPT_QUICK) && (what == NULL || strcmp(what, "check") != 0))
        return lm_fail(err, LM_ERR_USAGE, "--quick belongs to 'lemma pack check'");
    if (what != NULL && strcmp(what, "list") == 0)
        return list(c, err);
    if (what != NULL && strcmp(what, "inspect") == 0)
        return inspect(c, err);
    if (what != NULL && strcmp(what, "check") == 0)
        return check(c, err);
    if (what != NULL && strcmp(what, "warm") == 0)
        return warm(c, err);
    lm_hint(err, "lemma pack list, lemma pack inspect PACK, lemma pack check PACK, lemma pack warm PACK");
    if (what == NULL)
        return lm_fail(err, LM_ERR_USAGE, "'lemma pack' needs one of list, inspect, check, warm");
    return lm_fail(err, LM_ERR_USAGE,
                   "'lemma pack' does not know '%s', allowed is list, inspect, check or warm",
                   lm_quoted_z(&q, what));
}
