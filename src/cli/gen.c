/* cli/gen.c - man pages (scdoc source) and completion, from the option table.
 *
 * "lemma gen man VERB FILE" wraps the prose of man/VERB.scd.in: what stands before
 * its line "@OPTIONS@" comes before the options.  Called by the build. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/cli.h"

static bool shown(const opt *o, const verb *v)
{
    return cli_option_of(o, v) && (o->flags & OPT_HIDDEN) == 0;
}

/* Text in which scdoc sees nothing of its own. */
static void plain(const char *s)
{
    for (; *s != '\0'; s++) {
        if (strchr("\\*_[]|#.~<", *s) != NULL && *s != '.')
            out_z("\\");
        out_f("%c", *s);
    }
}

static void man_option(const opt *o)
{
    if (o->letter != 0)
        out_f("*-%c*, ", o->letter);
    if (o->single != NULL)
        out_f("*-%s*, ", o->single);
    out_f("*--%s*", o->name);
    if (o->arg != NULL) {
        out_z(" _");
        plain(o->arg);
        out_z("_");
    }
    out_z("\n\t");
    plain(o->help);
    if (o->choices != NULL && strchr(o->arg, '|') == NULL) {
        out_z(" One of ");
        for (const char *c = o->choices; *c != '\0'; c++)
            out_f("%c%s", *c, *c == ',' ? " " : "");
        out_z(".");
    }
    if (o->shown != NULL || o->fallback != NULL) {
        out_z(" Default: ");
        plain(o->shown != NULL ? o->shown : o->fallback);
        out_z(".");
    }
    if (o->aliases != NULL) {
        out_z(" Also: ");
        for (const char *a = o->aliases; *a != '\0';) {
            size_t n = strcspn(a, ",");
            out_f("--%.*s%s", (int)n, a, a[n] == ',' ? ", " : ".");
            a += n + (a[n] == ',');
        }
    }
    if (o->env != NULL) {
        out_z(" Environment: ");
        plain(o->env);
        out_z(".");
    }
    out_z("\n\n");
}

static void man_options(const verb *v)
{
    for (int g = 0; g < GROUP_COUNT; g++) {
        bool head = false;
        for (size_t i = 0; i < OPT_COUNT; i++) {
            const opt *o = &cli_options[i];
            if ((int)o->group != g || !shown(o, v))
                continue;
            if (!head)
                out_f("## %s\n\n", cli_groups[g]);
            head = true;
            man_option(o);
        }
    }
}

static void man_statuses(void)
{
    out_z("# EXIT STATUS\n\n"
          "*0*\n\tThe work was done, or whoever read the output had seen enough.\n\n"
          "*1*\n\tIt failed: the system refused to read or write, for example.\n\n"
          "*2*\n\tA wrong argument, option or request; a text file that is not there.\n\n"
          "*3*\n\tThe pack is missing, cut off, or contradicts itself.\n\n"
          "*4*\n\tValid, but not supported by this version.\n\n"
          "*5*\n\tToo little memory or disk, or more tokens than the context holds.\n\n"
          "*6*\n\tStored state cannot be used.\n\n"
          "*130*\n\tInterrupted.\n\n");
}

static void man_commands(void)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (!cli_verbs[i].hidden)
            out_f("*lemma %s*\n\t%c%s. See *lemma-%s*(1).\n\n", cli_verbs[i].name,
                  cli_verbs[i].summary[0] - 'a' + 'A', cli_verbs[i].summary + 1, cli_verbs[i].name);
}

static void man_environment(void)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        bool seen = o->env == NULL;
        for (size_t k = 0; k < i && !seen; k++)
            seen = cli_options[k].env != NULL && strcmp(cli_options[k].env, o->env) == 0;
        if (seen)
            continue;
        out_z("*");
        plain(o->env);
        out_f("*\n\tThe value of *--%s*.\n\n", o->name);
    }
}

static void man_see_also(const verb *v)
{
    out_z("# SEE ALSO\n\n");
    if (v != NULL)
        out_z("*lemma*(1)");
    for (size_t i = 0, n = v != NULL; i < VERB_COUNT; i++)
        if (!cli_verbs[i].hidden && &cli_verbs[i] != v)
            out_f("%s*lemma-%s*(1)", n++ > 0 ? ", " : "", cli_verbs[i].name);
    out_z("\n");
}

/* Prose with its markers replaced. */
static void man_prose(const char *text, const verb *v)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        if (n == 9 && memcmp(text, "@OPTIONS@", n) == 0 && v != NULL)
            man_options(v);
        else if (n == 10 && memcmp(text, "@COMMANDS@", n) == 0)
            man_commands();
        else if (n == 13 && memcmp(text, "@ENVIRONMENT@", n) == 0)
            man_environment();
        else
            out_f("%.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static lm_status man(cli *c, lm_error *err)
{
    const char *name = cli_take_word(c), *file = cli_take_word(c);
    char *prose = NULL;
    size_t n = 0;
    const verb *v = name != NULL ? cli_verb_find(name) : NULL;
    bool whole = name != NULL && strcmp(name, "lemma") == 0;
    if (v == NULL && !whole)
        return lm_fail(err, LM_ERR_USAGE, "lemma gen man VERB|lemma [FILE]");
    if (file != NULL)
        LM_TRY(lm_read_file(file, 1 << 20, &prose, &n, err));
    out_f("lemma%s%s(1) \"lemma %s\" \"User Commands\"\n\n# NAME\n\nlemma%s%s - %s\n\n# SYNOPSIS\n\n",
          whole ? "" : "-", whole ? "" : name, lm_version(), whole ? "" : "-", whole ? "" : name,
          whole ? "run language models on this machine" : v->summary);
    if (whole)
        out_z("*lemma* _VERB_ ...\n\n");
    for (size_t i = 0; !whole && v->usage[i] != NULL; i++) {
        out_f("*lemma %s* ", v->name);
        plain(v->usage[i]);
        out_z("\n\n");
    }
    if (prose != NULL)
        man_prose(prose, v);
    else if (v != NULL)
        man_options(v);
    out_z("\n");
    man_statuses();
    man_see_also(v);
    lm_free(prose);
    return LM_OK;
}

static bool files(const opt *o)
{
    return o->type == TYPE_FILE || o->type == TYPE_FOLDER || o->type == TYPE_PACK;
}

static void words_of(const char *list) /* "a,b" as "a b" */
{
    for (; *list != '\0'; list++)
        out_f("%c", *list == ',' ? ' ' : *list);
}

static void spellings(const opt *o, const char *between)
{
    out_f("--%s", o->name);
    if (o->letter != 0)
        out_f("%s-%c", between, o->letter);
    if (o->single != NULL)
        out_f("%s-%s", between, o->single);
}

static const char *words_after(const verb *v) /* what a first word may be; NULL: files */
{
    return v->id == VERB_PACK    ? "list inspect check"
           : v->id == VERB_HELP  ? "@verbs"
           : v->id == VERB_BENCH ? "make"
           : v->id == VERB_STATE ? "ls show rm fork"
                                 : NULL;
}

static bool files_too(const verb *v) /* the first word may also be a file */
{
    return v->id == VERB_BENCH;
}

static void visible_verbs(void)
{
    for (size_t i = 0, n = 0; i < VERB_COUNT; i++)
        if (!cli_verbs[i].hidden)
            out_f("%s%s", n++ > 0 ? " " : "", cli_verbs[i].name);
}

static void bash_verb(const verb *v)
{
    out_f("    %s)\n        case $prev in\n", v->name);
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        if (!shown(o, v) || o->type == TYPE_FLAG)
            continue;
        out_z("        ");
        spellings(o, "|");
        if (o->choices != NULL) {
            out_z(") COMPREPLY=($(compgen -W \"");
            words_of(o->choices);
            out_z("\" -- \"$cur\")); return ;;\n");
        } else if (files(o)) {
            out_f(") compopt -o filenames; COMPREPLY=($(compgen -%c -- \"$cur\")); return ;;\n",
                  o->type == TYPE_FOLDER ? 'd' : 'f');
        } else {
            out_z(") return ;;\n");
        }
    }
    out_z("        esac\n        opts=\"");
    for (size_t i = 0, n = 0; i < OPT_COUNT; i++)
        if (shown(&cli_options[i], v) && cli_options[i].group != GROUP_HARMLESS)
            out_f("%s--%s", n++ > 0 ? " " : "", cli_options[i].name);
    out_z("\"\n");
    const char *words = words_after(v);
    if (words != NULL) {
        out_z("        ((COMP_CWORD == 2)) && words=\"");
        if (words[0] == '@')
            visible_verbs();
        else
            out_z(words);
        out_f("\"%s\n", files_too(v) ? " too=1" : "");
    }
    out_z("        ;;\n");
}

static void bash(void)
{
    out_z("# bash completion of lemma; made from its option table\n"
          "_lemma()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} opts=\"\" words=\"\" "
          "too=\"\"\n"
          "    COMPREPLY=()\n"
          "    if ((COMP_CWORD == 1)); then\n        COMPREPLY=($(compgen -W \"");
    visible_verbs();
    out_z("\" -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (!cli_verbs[i].hidden)
            bash_verb(&cli_verbs[i]);
    out_z("    esac\n"
          "    if [[ $cur == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"))\n"
          "    elif [[ -n $words ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "        [[ -z $too ]] || { compopt -o filenames; COMPREPLY+=($(compgen -f -- \"$cur\")); }\n"
          "    else\n"
          "        compopt -o filenames\n"
          "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "    fi\n}\ncomplete -F _lemma lemma\n");
}

/* A sentence inside single quotes of zsh or fish. */
static void quoted(const char *s, const char *escape)
{
    for (; *s != '\0'; s++) {
        if (*s == '\'')
            out_z("'\\''");
        else if (strchr(escape, *s) != NULL)
            out_f("\\%c", *s);
        else
            out_f("%c", *s);
    }
}

static void zsh_option(const opt *o)
{
    char forms[3][64];
    size_t n = 0;
    (void)snprintf(forms[n++], sizeof forms[0], "--%s", o->name);
    if (o->letter != 0)
        (void)snprintf(forms[n++], sizeof forms[0], "-%c", o->letter);
    if (o->single != NULL)
        (void)snprintf(forms[n++], sizeof forms[0], "-%s", o->single);
    for (size_t i = 0; i < n; i++) {
        out_f("            '%s%s[", o->type == TYPE_TEXTS ? "*" : "", forms[i]);
        quoted(o->help, "[]:\\");
        out_z("]");
        if (o->type != TYPE_FLAG) {
            out_z(":");
            quoted(o->arg, "[]:\\");
            out_z(":");
            if (o->choices != NULL) {
                out_z("(");
                words_of(o->choices);
                out_z(")");
            } else if (files(o)) {
                out_z(o->type == TYPE_FOLDER ? "_files -/" : "_files");
            }
        }
        out_z("' \\\n");
    }
}

static void zsh(void)
{
    out_z("#compdef lemma\n# zsh completion of lemma; made from its option table\n"
          "local -a verbs\nverbs=(\n");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (cli_verbs[i].hidden)
            continue;
        out_f("    '%s:", cli_verbs[i].name);
        quoted(cli_verbs[i].summary, ":\\");
        out_z("'\n");
    }
    out_z(")\nif ((CURRENT == 2)); then\n    _describe verb verbs\n    return\nfi\n"
          "local verb=${words[2]}\nshift words\n((CURRENT--))\ncase $verb in\n");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        const verb *v = &cli_verbs[i];
        if (v->hidden)
            continue;
        out_f("    %s)\n        _arguments \\\n", v->name);
        for (size_t k = 0; k < OPT_COUNT; k++)
            if (shown(&cli_options[k], v) && cli_options[k].group != GROUP_HARMLESS)
                zsh_option(&cli_options[k]);
        const char *words = words_after(v);
        if (words != NULL) {
            out_f("            '1:what:%s(", files_too(v) ? " _alternative \"words:what:" : "");
            if (words[0] == '@')
                visible_verbs();
            else
                out_z(words);
            out_f(")%s' \\\n", files_too(v) ? "\" \"files:file:_files\"" : "");
        }
        out_z("            '*:file:_files'\n        ;;\n");
    }
    out_z("esac\n");
}

static void fish(void)
{
    out_z("# fish completion of lemma; made from its option table\n");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (cli_verbs[i].hidden)
            continue;
        out_f("complete -c lemma -f -n __fish_use_subcommand -a %s -d '", cli_verbs[i].name);
        quoted(cli_verbs[i].summary, "");
        out_z("'\n");
    }
    for (size_t i = 0; i < VERB_COUNT; i++) {
        const verb *v = &cli_verbs[i];
        const char *words = v->hidden ? NULL : words_after(v);
        if (words != NULL) {
            out_f("complete -c lemma %s-n '__fish_seen_subcommand_from %s' -a '", files_too(v) ? "" : "-f ",
                  v->name);
            if (words[0] == '@')
                visible_verbs();
            else
                out_z(words);
            out_z("'\n");
        }
        for (size_t k = 0; k < OPT_COUNT && !v->hidden; k++) {
            const opt *o = &cli_options[k];
            if (!shown(o, v) || o->group == GROUP_HARMLESS)
                continue;
            out_f("complete -c lemma -n '__fish_seen_subcommand_from %s' -l %s", v->name, o->name);
            if (o->letter != 0)
                out_f(" -s %c", o->letter);
            if (o->single != NULL)
                out_f(" -o %s", o->single);
            if (o->choices != NULL) {
                out_z(" -x -a '");
                words_of(o->choices);
                out_z("'");
            } else if (files(o)) {
                out_z(" -r");
            } else if (o->type != TYPE_FLAG) {
                out_z(" -x");
            }
            out_z(" -d '");
            quoted(o->help, "\\");
            out_z("'\n");
        }
    }
}

lm_status verb_gen(cli *c, lm_error *err)
{
    const char *what = cli_take_word(c);
    if (what != NULL && strcmp(what, "man") == 0)
        return man(c, err);
    const char *shell = what != NULL && strcmp(what, "completion") == 0 ? cli_take_word(c) : NULL;
    if (shell != NULL && strcmp(shell, "bash") == 0)
        bash();
    else if (shell != NULL && strcmp(shell, "zsh") == 0)
        zsh();
    else if (shell != NULL && strcmp(shell, "fish") == 0)
        fish();
    else
        return lm_fail(err, LM_ERR_USAGE,
                       "lemma gen man VERB [FILE], or: lemma gen completion bash|zsh|fish");
    return LM_OK;
}
