/* text/tok_regex.h - patterns of pre-tokenisers, under limits.
 *
 * Patterns are written for Oniguruma (Ruby syntax); tok_regex.c rewrites what PCRE2
 * reads differently.  A match that runs into a limit falls back from the JIT to
 * the interpreter, then cuts the text hard; a call never fails for a pattern's
 * sake and never takes more than a bounded number of steps.
 *
 * Threads: a compiled pattern is shared; an lm_tok_match is one call's.
 */
#ifndef LM_TOK_REGEX_H
#define LM_TOK_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/str.h"

typedef struct lm_tok_regex lm_tok_regex;
typedef struct {
    lm_tok_regex **r;
    size_t n, cap;
} lm_tok_regex_set; /* owns the patterns of a tokenizer */

typedef struct {
    void *data, *context, *stack; /* PCRE2's */
    unsigned n_failed;            /* matches that ran into a limit */
} lm_tok_match;

lm_status lm_tok_regex_add(lm_tok_regex_set *set, const char *pattern, size_t n, const lm_tok_regex **out,
                           lm_error *err) LM_NODISCARD;
void lm_tok_regex_clear(lm_tok_regex_set *set);
/* The next match at or after `at`; false: none.  An empty match at `at` counts
 * only when `empty_ok`.  The text is valid UTF-8. */
bool lm_tok_regex_next(const lm_tok_regex *re, lm_tok_match *m, const char *text, size_t n, size_t at,
                       bool empty_ok, size_t *first, size_t *end);
void lm_tok_match_clear(lm_tok_match *m);
/* The pattern as PCRE2 gets it. */
lm_status lm_tok_regex_translate(lm_str *out, const char *pattern, size_t n, lm_error *err) LM_NODISCARD;

#endif
