/* cli/config.c - $XDG_CONFIG_HOME/lemma/config: "threads = 4" for every verb that
 * has the option, or under [VERB] for that one alone. */
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/options.h"

/* A configuration is a page of text; a longer one is something else. */
#define CONFIG_MAX ((size_t)64 << 10)

const char *cli_config_path(char *buf, size_t cap)
{
    const char *own = getenv("LEMMA_CONFIG");
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int n;
    if (own != NULL)
        n = snprintf(buf, cap, "%s", own); /* empty: no configuration */
    else if (xdg != NULL && xdg[0] == '/')
        n = snprintf(buf, cap, "%s/lemma/config", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(buf, cap, "%s/.config/lemma/config", home);
    else
        return NULL;
    return n > 0 && (size_t)n < cap ? buf : NULL;
}

typedef struct {
    cli_args *a;
    const char *path;
    lm_error *err;
    lm_status status;
} config_reader;

/* The option with this key of any verb, so that a key for another verb is no error. */
static const opt *known_key(const char *key)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        const opt *o = cli_option_find(&cli_verbs[i], key, strlen(key));
        if (o != NULL && (o->flags & OPT_LINE_ONLY) == 0)
            return o;
    }
    return NULL;
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
    config_reader *r = user;
    lm_quoted_buf q;
    char what[160];
    if (section[0] != '\0') {
        const verb *v = cli_verb_find(section);
        if (v == NULL || v->hidden) {
            r->status = lm_fail(r->err, LM_ERR_USAGE, "section [%s] is no verb", lm_quoted_z(&q, section));
            return 0;
        }
        if (v != r->a->verb)
            return 1;
    }
    const opt *o = cli_option_find(r->a->verb, key, strlen(key));
    if (o != NULL && (o->flags & OPT_LINE_ONLY) != 0)
        o = NULL;
    if (o == NULL && section[0] == '\0' && known_key(key) != NULL)
        return 1; /* for verbs that have it */
    if (o == NULL) {
        const opt *near = cli_nearest_option(r->a->verb, key, strlen(key));
        if (near != NULL && (near->flags & OPT_LINE_ONLY) == 0)
            lm_hint(r->err, "did you mean %s?", near->name);
        r->status = lm_fail(r->err, LM_ERR_USAGE, "there is no key '%s'", lm_quoted_z(&q, key));
        return 0;
    }
    (void)snprintf(what, sizeof what, "'%s'", o->name);
    const char *kept = NULL;
    r->status = cli_args_keep(r->a, value, &kept, r->err);
    if (r->status == LM_OK)
        r->status = cli_args_set(r->a, o, kept, FROM_CONFIG, what, r->err);
    return r->status == LM_OK;
}

lm_status cli_config_read(cli_args *a, lm_error *err)
{
    char path[4096];
    char *text = NULL;
    size_t n = 0;
    lm_quoted_buf q;
    if (cli_config_path(path, sizeof path) == NULL || path[0] == '\0')
        return LM_OK;
    if (access(path, F_OK) != 0)
        return LM_OK;
    LM_TRY(lm_read_file(path, CONFIG_MAX, &text, &n, err));
    config_reader r = { .a = a, .path = path, .err = err };
    lm_status st = LM_OK;
    if (strlen(text) != n)
        st = lm_fail(err, LM_ERR_USAGE, "%s: a NUL byte in a configuration", lm_quoted_z(&q, path));
    else {
        int line = ini_parse_string(text, on_pair, &r);
        if (line > 0 && r.status == LM_OK)
            r.status = lm_fail(err, LM_ERR_USAGE, "not of the form 'key = value'");
        st = r.status;
        if (st != LM_OK)
            st = lm_wrap(err, st, "%s, line %d", lm_quoted_z(&q, path), line);
    }
    lm_free(text);
    return st;
}
