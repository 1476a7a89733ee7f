/* text/jinja.h - the part of Jinja2 that chat templates use.
 *
 * A template is compiled once into a tree and rendered over a JSON context.  It
 * cannot reach anything but that context: no attributes of objects, no files,
 * no imports.  Steps, depth and output are limited.
 *
 * The renderer knows where each character came from: bytes that stem from a
 * string inside the context's "messages" (or "tools", "documents") are reported
 * as spans, so that the tokenizer can keep control tokens in them plain text.
 *
 * Trust:   template and context are hostile.
 * Threads: a compiled template may be rendered from any thread.
 */
#ifndef LM_JINJA_H
#define LM_JINJA_H

#include <jansson.h>
#include <stdint.h>

#include "base/str.h"
#include "text/tokenizer.h" /* lm_span */

typedef struct lm_jinja lm_jinja;

typedef struct {
    int64_t now;        /* seconds since 1970 for strftime_now; local time = UTC */
    uint64_t max_steps; /* 0: 10,000,000 */
    size_t max_output;  /* bytes; 0: 64 MiB */
    uint32_t max_depth; /* nesting of expressions, macros and loops; 0: 200 */
} lm_jinja_options;

typedef struct {
    lm_span *spans;
    size_t n, cap;
} lm_spans;
void lm_spans_clear(lm_spans *s);

lm_status lm_jinja_compile(lm_jinja **out, const char *source, size_t n, lm_error *err) LM_NODISCARD;
/* `context` is borrowed and not changed.  raise_exception() in the template is
 * LM_ERR_USAGE with the template's message; an undefined function, a limit and
 * the like are LM_ERR_UNSUPPORTED or LM_ERR_CORRUPT with the line.  `literal`
 * may be NULL. */
lm_status lm_jinja_render(const lm_jinja *t, const json_t *context, const lm_jinja_options *options,
                          lm_str *out, lm_spans *literal, lm_error *err) LM_NODISCARD;
void lm_jinja_close(lm_jinja *t);

#endif
