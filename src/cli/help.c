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
    if (o->type == TYPE_CHOICE && (o->arg == NULL || strchr(o->arg, '|') == NULL)) {
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

lm_status verb_help(cli *c, lm_error *err)
{
    const char *word = cli_take_word(c);
    lm_quoted_buf q;
    LM_TRY(cli_no_more_words(c, err));
    if (word == NULL) {
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
