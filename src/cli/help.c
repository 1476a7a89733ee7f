/* cli/help.c - help on the screen, from the option table. */
#include <string.h>

#include "base/fail.h"
#include "cli/cli.h"

enum { WIDTH = 88, INDENT = 30 };

/* `text` from column `at` on, wrapped, later lines indented. */
static void wrap(const char *text, size_t at, size_t indent)
{
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (at > indent && at + 1 + n > WIDTH) {
            out_f("\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            out_z(" ");
            at++;
        }
        out_f("%.*s", (int)n, text);
        at += n;
        text += n + (text[n] == ' ');
    }
    out_z("\n");
}

static void print_option(const opt *o)
{
    lm_str s = { 0 };
    lm_str text = { 0 };
    if (o->letter != 0)
        lm_str_addf(&s, "  -%c, ", o->letter);
    else if (o->single != NULL)
        lm_str_addf(&s, "  -%s, ", o->single);
    else
        lm_str_addz(&s, "      ");
    lm_str_addf(&s, "--%s%s%s", o->name, o->arg != NULL ? " " : "", o->arg != NULL ? o->arg : "");
    lm_str_addz(&text, o->help);
    const char *shown = o->shown != NULL ? o->shown : o->fallback;
    if (o->choices != NULL && (o->arg == NULL || strchr(o->arg, '|') == NULL)) {
        lm_str_addz(&text, " One of ");
        for (const char *c = o->choices; *c != '\0'; c++)
            lm_str_addf(&text, "%c%s", *c, *c == ',' ? " " : "");
        lm_str_addz(&text, ".");
    }
    if (shown != NULL)
        lm_str_addf(&text, " [%s]", shown);
    if (o->env != NULL)
        lm_str_addf(&text, " (%s)", o->env);
    size_t at = s.n + 1;
    out_z(lm_str_z(&s));
    if (at < INDENT)
        out_f("%*s", (int)(INDENT - s.n), "");
    else
        out_f("\n%*s", INDENT, "");
    wrap(lm_str_z(&text), INDENT, INDENT);
    lm_str_clear(&s);
    lm_str_clear(&text);
}

void help_verb(const verb *v)
{
    out_f("lemma %s: %s\n\n", v->name, v->summary);
    for (size_t i = 0; v->usage[i] != NULL; i++)
        out_f("%s lemma %s %s\n", i == 0 ? "usage:" : "      ", v->name, v->usage[i]);
    for (int g = 0; g < GROUP_COUNT; g++) {
        bool head = false;
        for (size_t i = 0; i < OPT_COUNT; i++) {
            const opt *o = &cli_options[i];
            if ((int)o->group != g || !cli_option_of(o, v) || (o->flags & OPT_HIDDEN) != 0)
                continue;
            if (!head)
                out_f("\n%s\n", cli_groups[g]);
            head = true;
            print_option(o);
        }
    }
    if (v->id == VERB_CHAT)
        out_f("\nCommands\n%s", cli_chat_commands);
    out_f("\nman lemma-%s says more.\n", v->name);
}

void help_overview(void)
{
    out_z("lemma runs language models on this machine.\n\nusage: lemma VERB ...\n\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (!cli_verbs[i].hidden)
            out_f("  %-12s%s\n", cli_verbs[i].name, cli_verbs[i].summary);
    out_z("\nA first try:\n"
          "  lemma pack list                    what models are on this machine\n"
          "  lemma run PACK \"a question\"        one answer\n"
          "  lemma chat PACK                    a conversation\n"
          "\n'lemma help VERB' explains a verb, 'man lemma' the whole.\n");
}

static json_t *texts(const char *list)
{
    json_t *a = json_array();
    for (const char *c = list; c != NULL && *c != '\0';) {
        size_t n = strcspn(c, ",");
        (void)json_array_append_new(a, json_stringn(c, n));
        c += n + (c[n] == ',');
    }
    return a;
}

static json_t *option_json(const opt *o)
{
    static const char *const types[] = {
        [TYPE_FLAG] = "flag",   [TYPE_INT] = "integer",   [TYPE_REAL] = "number",    [TYPE_TEXT] = "text",
        [TYPE_FILE] = "file",   [TYPE_FOLDER] = "folder", [TYPE_PACK] = "pack",      [TYPE_CHOICE] = "choice",
        [TYPE_TEXTS] = "texts", [TYPE_INTS] = "integers", [TYPE_CHOICES] = "choices"
    };
    char letter[2] = { o->letter, '\0' };
    json_t *j =
        json_pack("{s:s, s:s*, s:s, s:s*, s:s*, s:s*, s:s}", "name", o->name, "short",
                  o->letter != 0 ? letter : o->single, "type", types[o->type], "value", o->arg, "default",
                  o->shown != NULL ? o->shown : o->fallback, "environment", o->env, "help", o->help);
    if (o->aliases != NULL)
        (void)json_object_set_new(j, "aliases", texts(o->aliases));
    if (o->choices != NULL)
        (void)json_object_set_new(j, "choices", texts(o->choices));
    return j;
}

/* The table as help shows it: of one verb, or of all. */
static lm_status help_json(const verb *only, lm_error *err)
{
    json_t *verbs = json_array();
    for (size_t i = 0; i < VERB_COUNT; i++) {
        const verb *v = &cli_verbs[i];
        if (v->hidden || (only != NULL && only != v))
            continue;
        json_t *usage = json_array(), *options = json_array();
        for (size_t u = 0; v->usage[u] != NULL; u++)
            (void)json_array_append_new(usage, json_sprintf("lemma %s %s", v->name, v->usage[u]));
        for (size_t k = 0; k < OPT_COUNT; k++)
            if (cli_option_of(&cli_options[k], v) && (cli_options[k].flags & OPT_HIDDEN) == 0)
                (void)json_array_append_new(options, option_json(&cli_options[k]));
        (void)json_array_append_new(verbs, json_pack("{s:s, s:s, s:o, s:o}", "name", v->name, "summary",
                                                     v->summary, "usage", usage, "options", options));
    }
    json_t *j = json_pack("{s:o}", "verbs", verbs);
    lm_status st = out_json(j, err);
    json_decref(j);
    return st;
}

lm_status verb_help(cli *c, lm_error *err)
{
    const char *word = cli_take_word(c);
    lm_quoted_buf q;
    LM_TRY(cli_no_more_words(c, err));
    if (word == NULL) {
        if (cli_flag(&c->args, OPT_JSON))
            return help_json(NULL, err);
        help_overview();
        return LM_OK;
    }
    const verb *v = cli_verb_find(word);
    if (v == NULL) {
        const char *near = cli_nearest_verb(word);
        if (near != NULL)
            lm_hint(err, "did you mean: lemma help %s", near);
        else
            lm_hint(err, "'lemma help' lists the verbs");
        return lm_fail(err, LM_ERR_USAGE, "there is no verb '%s'", lm_quoted_z(&q, word));
    }
    if (cli_flag(&c->args, OPT_JSON))
        return help_json(v, err);
    help_verb(v);
    return LM_OK;
}

lm_status verb_version(cli *c, lm_error *err)
{
    LM_TRY(cli_no_more_words(c, err));
    if (!cli_flag(&c->args, OPT_JSON)) {
        out_f("lemma %s\n", lm_version());
        return LM_OK;
    }
    json_t *j = json_pack("{s:s}", "version", lm_version());
    lm_status st = out_json(j, err);
    json_decref(j);
    return st;
}
