/* text/chat.h - what turns messages into a prompt, and tells where an answer ends.
 *
 *   pack -> template (default, and tool_use where there is one) + special tokens
 *   messages, tools, documents, options -> prompt text + spans that came from them
 *   pack + template + vocabulary -> stop tokens, reasoning markers
 *
 * A template is looked for in chat_template.jinja, tokenizer_config.json,
 * chat_template.json, or GGUF's tokenizer.chat_template and
 * tokenizer.chat_template.NAME, in this order.
 *
 * Trust:   packs and requests are hostile.
 * Threads: open and close on one thread; rendering from any.
 */
#ifndef LM_CHAT_H
#define LM_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "format/pack.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

/* ---- the template of a pack ---- */

/* The template `name` ("default", "tool_use", …) of a pack as text, freed with
 * lm_free().  LM_ERR_NOT_FOUND when the pack has none of that name. */
lm_status lm_chat_template_find(const lm_packfile *p, const char *name, char **out, size_t *n,
                                lm_error *err) LM_NODISCARD;

typedef struct lm_chat lm_chat;

/* Compiles the pack's templates and reads its special tokens.
 * LM_ERR_NOT_FOUND: the pack has no template. */
lm_status lm_chat_open(lm_chat **out, const lm_packfile *p, lm_error *err) LM_NODISCARD;
/* The same from a template in memory; `tokenizer_config` (may be NULL) supplies
 * bos_token and its kin. */
lm_status lm_chat_open_text(lm_chat **out, const char *source, size_t n, const json_t *tokenizer_config,
                            lm_error *err) LM_NODISCARD;
void lm_chat_close(lm_chat *c); /* NULL is fine */
/* The default template as text. */
const char *lm_chat_source(const lm_chat *c, size_t *n);

/* ---- rendering ---- */

typedef struct {
    const json_t *messages;     /* an array of objects with a role; borrowed, like the rest */
    const json_t *tools;        /* array or NULL */
    const json_t *documents;    /* array or NULL */
    const json_t *options;      /* object or NULL: more names for the template, these win */
    bool add_generation_prompt; /* ends with the opening of the assistant's turn */
    int think;                  /* enable_thinking and its kin: 1 on, 0 off, -1 the template's own way */
    lm_jinja_options limits;    /* and the clock */
} lm_chat_request;

/* Appends the prompt to *out and its message-derived spans to *literal (may be
 * NULL).  LM_ERR_USAGE: messages of a wrong shape, or refused by the template. */
lm_status lm_chat_render(const lm_chat *c, const lm_chat_request *r, lm_str *out, lm_spans *literal,
                         lm_error *err) LM_NODISCARD;

/* human, gpt, model, developer … in the words of templates: "user", "assistant",
 * "system"; NULL for others, which keep their name. */
const char *lm_chat_role(const char *role);

/* ---- where an answer ends ---- */

/* Id of a *special* token of that spelling, -1 if there is none. */
typedef int32_t (*lm_chat_find_fn)(const void *vocabulary, const char *token, size_t n);

/* Adds to *out, each once, the tokens after which generation stops: eos_token_id
 * of generation_config.json (of config.json where that lacks it), the eos_token
 * of tokenizer_config.json, GGUF's eos, eot and eom ids, and the end-of-turn
 * markers that stand in the template and are special tokens. */
lm_status lm_chat_stops(const lm_packfile *p, const char *source, size_t n, lm_chat_find_fn find,
                        const void *vocabulary, lm_ids *out, lm_error *err) LM_NODISCARD;

/* The find function of a tokenizer. */
static inline int32_t lm_chat_find_special(const void *tokenizer, const char *token, size_t n)
{
    int32_t id = lm_tokenizer_find(tokenizer, token, n);
    return id >= 0 && lm_tokenizer_is_special(tokenizer, id) ? id : -1;
}

/* ---- reasoning ---- */

/* A pair of markers around what a model thinks before it answers. */
typedef struct {
    const char *family; /* as SPEC 14.1 names them; "" for the generic pairs */
    const char *open, *close;
    const char *kind; /* "thinking", "reasoning" or "analysis" */
} lm_reasoning;

/* Row i of the table, NULL past the end. */
const lm_reasoning *lm_reasoning_row(size_t i);
/* The first row whose open and close markers both stand in the template; NULL:
 * the template knows no reasoning. */
const lm_reasoning *lm_reasoning_of(const char *source, size_t n);

#endif
