/* cli/args.c - reading arguments by the table. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/options.h"

const verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(cli_verbs[i].name, name) == 0)
            return &cli_verbs[i];
    return NULL;
}

bool cli_option_of(const opt *o, const verb *v)
{
    return (o->verbs >> v->id & 1u) != 0;
}

static bool named(const opt *o, const char *name, size_t n)
{
    if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
        return true;
    for (const char *a = o->aliases; a != NULL && *a != '\0';) {
        size_t len = strcspn(a, ",");
        if (len == n && memcmp(a, name, n) == 0)
            return true;
        a += len + (a[len] == ',');
    }
    return false;
}

const opt *cli_option_find(const verb *v, const char *name, size_t n)
{
    for (size_t i = 0; i < OPT_COUNT; i++)
        if (cli_option_of(&cli_options[i], v) && named(&cli_options[i], name, n))
            return &cli_options[i];
    return NULL;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b; long names
 * are compared by their first 31 bytes. */
static size_t edits(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[3][33];
    na = LM_MIN(na, 31);
    nb = LM_MIN(nb, 31);
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            best = LM_MIN(best, up[j] + 1);
            best = LM_MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = LM_MIN(best, up2[j - 2] + 1);
            row[j] = best;
        }
    }
    return d[na % 3][nb];
}

/* How far a name may be from what was typed to be worth suggesting. */
static size_t near_enough(size_t n)
{
    return n <= 3 ? 1 : n <= 6 ? 2 : 3;
}

const char *cli_nearest_verb(const char *name)
{
    size_t n = strlen(name), best = near_enough(n) + 1;
    const char *found = NULL;
    for (size_t i = 0; i < VERB_COUNT; i++) {
        size_t e = edits(name, n, cli_verbs[i].name, strlen(cli_verbs[i].name));
        if (!cli_verbs[i].hidden && e < best) {
            best = e;
            found = cli_verbs[i].name;
        }
    }
    return found;
}

const opt *cli_nearest_option(const verb *v, const char *name, size_t n)
{
    size_t best = near_enough(n) + 1;
    const opt *found = NULL;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        if (!cli_option_of(o, v) || (o->flags & OPT_HIDDEN) != 0)
            continue;
        for (const char *a = o->name; a != NULL;) {
            size_t len = strcspn(a, ",");
            size_t e = edits(name, n, a, len);
            if (e < best) {
                best = e;
                found = o;
            }
            if (a == o->name)
                a = o->aliases;
            else
                a = a[len] == ',' ? a + len + 1 : NULL;
        }
    }
    return found;
}

lm_status cli_args_keep(cli_args *a, const char *s, const char **out, lm_error *err)
{
    LM_TRY(lm_grow((void **)&a->kept, &a->cap_kept, a->n_kept + 1, sizeof *a->kept, err));
    LM_TRY(lm_strdup_n(s, strlen(s), &a->kept[a->n_kept], err));
    *out = a->kept[a->n_kept++];
    return LM_OK;
}

static lm_status number(const opt *o, const char *what, const char *s, size_t n, double *out, lm_error *err)
{
    char buf[64];
    lm_quoted_buf q;
    if (n > 0 && n < sizeof buf) {
        char *end = NULL;
        memcpy(buf, s, n);
        buf[n] = '\0';
        errno = 0;
        *out = strtod(buf, &end);
        bool plain = strspn(buf, "+-0123456789.eE") == n;
        bool whole = o->type == TYPE_REAL || strspn(buf, "+-0123456789") == n;
        if (*end == '\0' && plain && whole && isfinite(*out)) {
            if (o->min == o->max && *out != o->min)
                return lm_fail(err, LM_ERR_USAGE, "%s is %s, allowed is %.15g", what, buf, o->min);
            if (*out < o->min && o->max >= INT32_MAX)
                return lm_fail(err, LM_ERR_USAGE, "%s is %s, allowed is %.15g or more", what, buf, o->min);
            if (*out < o->min || *out > o->max)
                return lm_fail(err, LM_ERR_USAGE, "%s is %s, allowed is %.15g to %.15g", what, buf, o->min,
                               o->max);
            return LM_OK;
        }
    }
    return lm_fail(err, LM_ERR_USAGE, "%s wants a %snumber, got '%s'", what,
                   o->type == TYPE_REAL ? "" : "whole ", lm_quoted(&q, s, n));
}

static lm_status set_ints(opt_value *v, const opt *o, const char *what, const char *s, lm_error *err)
{
    v->n = 0;
    for (;;) {
        size_t len = strcspn(s, ",");
        double x = 0;
        LM_TRY(number(o, what, s, len, &x, err));
        LM_TRY(lm_grow((void **)&v->ints, &v->cap, v->n + 1, sizeof *v->ints, err));
        v->ints[v->n++] = (int64_t)x;
        if (s[len] == '\0')
            return LM_OK;
        s += len + 1;
    }
}

/* s [n] must be one of the choices. */
static lm_status check_choice(const opt *o, const char *what, const char *s, size_t n, lm_error *err)
{
    lm_quoted_buf q;
    for (const char *c = o->choices; *c != '\0';) {
        size_t len = strcspn(c, ",");
        if (len == n && memcmp(c, s, n) == 0)
            return LM_OK;
        c += len + (c[len] == ',');
    }
    lm_str list = { 0 };
    for (const char *c = o->choices; *c != '\0'; c++)
        lm_str_addf(&list, "%c%s", *c, *c == ',' ? " " : "");
    (void)lm_fail(err, LM_ERR_USAGE, "%s is '%s', allowed is one of %s", what, lm_quoted(&q, s, n),
                  lm_str_z(&list));
    lm_str_clear(&list);
    return LM_ERR_USAGE;
}

static lm_status set_choices(cli_args *a, opt_value *v, const opt *o, const char *what, const char *s,
                             lm_error *err)
{
    v->n = 0;
    for (;;) {
        char word[64];
        size_t len = strcspn(s, ",");
        LM_TRY(check_choice(o, what, s, len, err));
        memcpy(word, s, LM_MIN(len, sizeof word - 1)); /* as long as a choice of ours */
        word[LM_MIN(len, sizeof word - 1)] = '\0';
        LM_TRY(lm_grow((void **)&v->list, &v->cap, v->n + 1, sizeof *v->list, err));
        LM_TRY(cli_args_keep(a, word, &v->list[v->n], err));
        v->n++;
        if (s[len] == '\0')
            return LM_OK;
        s += len + 1;
    }
}

lm_status cli_args_set(cli_args *a, const opt *o, const char *value, opt_source source, const char *what,
                       lm_error *err)
{
    opt_value *v = &a->v[o->id];
    if (v->set && source < v->source)
        return LM_OK; /* the nearer source has spoken */
    if (source != v->source)
        v->n = 0;
    switch (o->type) {
    case TYPE_FLAG:
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
            lm_quoted_buf q;
            return lm_fail(err, LM_ERR_USAGE, "%s is '%s', allowed is on or off", what,
                           lm_quoted_z(&q, value));
        }
        v->i = value[1] == 'n';
        break;
    case TYPE_INT:
    case TYPE_REAL: {
        double x = 0;
        LM_TRY(number(o, what, value, strlen(value), &x, err));
        v->f = x;
        v->i = o->type == TYPE_INT ? (int64_t)x : 0;
        v->s = value;
        break;
    }
    case TYPE_INTS: LM_TRY(set_ints(v, o, what, value, err)); break;
    case TYPE_CHOICE:
        LM_TRY(check_choice(o, what, value, strlen(value), err));
        v->s = value;
        break;
    case TYPE_CHOICES: LM_TRY(set_choices(a, v, o, what, value, err)); break;
    case TYPE_TEXTS:
        if ((o->flags & OPT_NOT_EMPTY) != 0 && *value == '\0')
            return lm_fail(err, LM_ERR_USAGE, "%s is empty, allowed is a text of one character or more",
                           what);
        LM_TRY(lm_grow((void **)&v->list, &v->cap, v->n + 1, sizeof *v->list, err));
        v->list[v->n++] = value;
        break;
    case TYPE_TEXT:
    case TYPE_FILE:
    case TYPE_FOLDER:
    case TYPE_PACK: v->s = value; break;
    }
    v->source = source;
    v->set = source != FROM_TABLE;
    return LM_OK;
}

/* "no such option" with the nearest one, or the verbs that do have it. */
static lm_status unknown(const verb *v, const char *given, const char *name, size_t n, lm_error *err)
{
    lm_quoted_buf q;
    lm_str verbs = { 0 };
    for (size_t i = 0; i < VERB_COUNT && n > 1; i++)
        if (!cli_verbs[i].hidden && cli_option_find(&cli_verbs[i], name, n) != NULL)
            lm_str_addf(&verbs, "%s%s", verbs.n > 0 ? ", " : "", cli_verbs[i].name);
    const opt *near = cli_nearest_option(v, name, n);
    if (v->id == VERB_CHAT && n == 4 && memcmp(name, "json", n) == 0)
        lm_hint(err, "a conversation is for people; 'lemma run --json' answers with a JSON document");
    else if (verbs.n > 0)
        lm_hint(err, "it belongs to: %s; see 'lemma help %s'", lm_str_z(&verbs), v->name);
    else if (near != NULL && n > 1)
        lm_hint(err, "did you mean --%s? See 'lemma help %s'", near->name, v->name);
    else
        lm_hint(err, "'lemma help %s' lists the options", v->name);
    lm_str_clear(&verbs);
    return lm_fail(err, LM_ERR_USAGE, "'lemma %s' has no option '%s'", v->name, lm_quoted_z(&q, given));
}

typedef struct {
    cli_args *a;
    int argc;
    char **argv;
    int at;
} reader;

/* Sets `o` to `value`, to the next argument, or, for a flag, to on. */
static lm_status take(reader *r, const opt *o, const char *what, const char *value, lm_error *err)
{
    if (o->type == TYPE_FLAG) {
        if (value != NULL)
            return lm_fail(err, LM_ERR_USAGE, "%s takes no value", what);
        return cli_args_set(r->a, o, "on", FROM_LINE, what, err);
    }
    if (value == NULL) {
        if (r->at >= r->argc)
            return lm_fail(err, LM_ERR_USAGE, "%s wants a value: %s", what, o->arg);
        value = r->argv[r->at++];
    }
    return cli_args_set(r->a, o, value, FROM_LINE, what, err);
}

static lm_status read_long(reader *r, const char *arg, lm_error *err)
{
    const char *name = arg + 2;
    size_t n = strcspn(name, "=");
    const opt *o = cli_option_find(r->a->verb, name, n);
    char what[80];
    lm_quoted_buf q;
    if (o == NULL)
        return unknown(r->a->verb, arg, name, n, err);
    (void)lm_quoted(&q, arg, n + 2);
    size_t len = LM_MIN(strlen(q.s), sizeof what - 3);
    what[0] = '\'';
    memcpy(what + 1, q.s, len);
    memcpy(what + 1 + len, "'", 2);
    return take(r, o, what, name[n] == '=' ? name + n + 1 : NULL, err);
}

static lm_status read_short(reader *r, const char *arg, lm_error *err)
{
    const verb *v = r->a->verb;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        if (o->single != NULL && cli_option_of(o, v) && strcmp(o->single, arg + 1) == 0) {
            char what[16] = "'-";
            memcpy(what + 2, o->single, strlen(o->single));
            memcpy(what + 2 + strlen(o->single), "'", 2);
            return take(r, o, what, NULL, err);
        }
    }
    for (const char *c = arg + 1; *c != '\0'; c++) {
        const opt *o = NULL;
        for (size_t i = 0; i < OPT_COUNT && o == NULL; i++)
            if (cli_options[i].letter == *c && cli_option_of(&cli_options[i], v))
                o = &cli_options[i];
        if (o == NULL)
            return unknown(v, arg, arg + 1, strlen(arg + 1), err);
        char what[] = { '\'', '-', *c, '\'', '\0' };
        if (o->type != TYPE_FLAG)
            return take(r, o, what, c[1] != '\0' ? c + 1 : NULL, err);
        LM_TRY(take(r, o, what, NULL, err));
    }
    return LM_OK;
}

static lm_status read_line(reader *r, lm_error *err)
{
    bool only_words = false;
    while (r->at < r->argc) {
        const char *arg = r->argv[r->at++];
        if (!only_words && strcmp(arg, "--") == 0) {
            only_words = true;
        } else if (!only_words && arg[0] == '-' && arg[1] == '-') {
            LM_TRY(read_long(r, arg, err));
        } else if (!only_words && arg[0] == '-' && arg[1] != '\0') {
            LM_TRY(read_short(r, arg, err));
        } else {
            cli_args *a = r->a;
            LM_TRY(lm_grow((void **)&a->words, &a->cap_words, a->n_words + 1, sizeof *a->words, err));
            a->words[a->n_words++] = arg;
        }
    }
    return LM_OK;
}

static lm_status read_environment(cli_args *a, lm_error *err)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        if (o->env == NULL || !cli_option_of(o, a->verb))
            continue;
        const char *value = getenv(o->env);
        if (value != NULL && *value != '\0')
            LM_TRY(cli_args_set(a, o, value, FROM_ENV, o->env, err));
    }
    return LM_OK;
}

lm_status cli_args_parse(cli_args *a, const verb *v, int argc, char **argv, lm_error *err)
{
    reader r = { .a = a, .argc = argc, .argv = argv };
    *a = (cli_args){ .verb = v };
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const opt *o = &cli_options[i];
        if (o->fallback != NULL)
            LM_TRY(cli_args_set(a, o, o->fallback, FROM_TABLE, o->name, err));
    }
    LM_TRY(read_line(&r, err));
    if (cli_flag(a, OPT_HELP) || cli_flag(a, OPT_VERSION))
        return LM_OK; /* help is given even with a broken configuration */
    LM_TRY(read_environment(a, err));
    return cli_config_read(a, err);
}

void cli_args_clear(cli_args *a)
{
    for (size_t i = 0; i < OPT_COUNT; i++) {
        lm_free(a->v[i].list);
        lm_free(a->v[i].ints);
    }
    for (size_t i = 0; i < a->n_kept; i++)
        lm_free(a->kept[i]);
    lm_free(a->kept);
    lm_free(a->words);
    *a = (cli_args){ 0 };
}

bool cli_given(const cli_args *a, opt_id id)
{
    return a->v[id].set;
}

bool cli_flag(const cli_args *a, opt_id id)
{
    return a->v[id].i != 0;
}

int64_t cli_int(const cli_args *a, opt_id id)
{
    return a->v[id].i;
}

double cli_real(const cli_args *a, opt_id id)
{
    return a->v[id].f;
}

const char *cli_text(const cli_args *a, opt_id id)
{
    return a->v[id].s;
}

bool cli_state_off(const cli_args *a)
{
    const char *state = cli_text(a, OPT_STATE);
    return cli_flag(a, OPT_NO_STATE) || (state != NULL && strcmp(state, "off") == 0);
}
