/* lemma/text.h - the text side of a pack: tokenizer, chat template, stop tokens.
 *
 * Opened on its own for verbs that need no weights, or borrowed from a model.
 *
 * Trust:   packs, templates and texts are hostile; everything is bounded.
 * Threads: open and close on one thread; the rest from any thread.
 */
#ifndef LM_TEXT_H
#define LM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lemma/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lm_text lm_text;

/* Frees what a call of this library "gives". NULL is fine. */
LM_API void lm_give_back(void *p);

/* `pack` is a path or a name of a pack, or the path of a tokenizer.json or of a
 * .jinja file (then only that part is there).  `cache_dir` holds compiled
 * tokenizers; NULL: none; "": lemma's folder under XDG_CACHE_HOME.  Gives *out,
 * closed with lm_text_close().  LM_ERR_NOT_FOUND: no such pack, or one without
 * tokenizer and template; TRUNCATED, CORRUPT and UNSUPPORTED say what and where. */
LM_API lm_status lm_text_open(lm_text **out, const char *pack, const char *cache_dir, lm_error *err);
/* After everything that borrows from it.  NULL is fine; never a model's own. */
LM_API void lm_text_close(lm_text *t);

LM_API bool lm_text_has_tokenizer(const lm_text *t);
LM_API bool lm_text_has_template(const lm_text *t);
LM_API uint32_t lm_text_n_vocab(const lm_text *t);
/* The template's source; NULL when there is none.  Borrowed. */
LM_API const char *lm_text_template_source(const lm_text *t);
/* SHA-256 of the tokenizer's definition, hex; "" without one.  Borrowed. */
LM_API const char *lm_text_identity(const lm_text *t);

enum {
    LM_ENCODE_POST = 1,      /* add what the post-processor adds (BOS, [CLS] ...) */
    LM_ENCODE_PARSE_ALL = 2, /* chat: control tokens inside messages are parsed too */
};
/* Gives *ids (lm_give_back), also when there are none.  Added tokens are
 * recognised.  LM_ERR_NOT_FOUND without a tokenizer. */
LM_API lm_status lm_text_encode(const lm_text *t, const char *text, size_t n, unsigned flags, int32_t **ids,
                                size_t *n_ids, lm_error *err);
/* Gives *text, which ends with a NUL that is not counted in *n: exactly the bytes,
 * so not always UTF-8.  LM_ERR_NOT_FOUND without a tokenizer. */
LM_API lm_status lm_text_decode(const lm_text *t, const int32_t *ids, size_t n_ids, bool skip_special,
                                char **text, size_t *n, lm_error *err);

/* Chat: `json` is an array of messages, or an object with "messages", "tools",
 * "documents" and any template options ("enable_thinking", "add_generation_prompt",
 * default true).  Spellings of control tokens inside the messages stay text.
 * `now` is seconds since 1970, or -1 for the clock.  Gives *text (may be NULL:
 * not wanted) and *ids.  LM_ERR_NOT_FOUND without a template or a tokenizer; a
 * template that refuses the messages says so in its own words. */
LM_API lm_status lm_text_chat(const lm_text *t, const char *json, size_t n, int64_t now, unsigned flags,
                              char **text, size_t *n_text, int32_t **ids, size_t *n_ids, lm_error *err);
/* Only the rendering, of a context given whole (the template verb); fails alike.
 * Gives *text. */
LM_API lm_status lm_text_render(const lm_text *t, const char *context_json, size_t n, int64_t now,
                                char **text, size_t *n_text, lm_error *err);

/* Tokens that end an answer; borrowed. */
LM_API const int32_t *lm_text_stop_tokens(const lm_text *t, size_t *n);
LM_API bool lm_text_is_special(const lm_text *t, int32_t id);
/* The vocabulary's own spelling of an id; NULL when there is none.  Borrowed. */
LM_API const char *lm_text_token(const lm_text *t, int32_t id, size_t *n);

/* Streaming decode; pieces never end inside a character.  A stream keeps the
 * lm_text, and belongs to one thread at a time.  Gives *out. */
typedef struct lm_stream lm_stream;
LM_API lm_status lm_stream_open(lm_stream **out, const lm_text *t, bool skip_special, lm_error *err);
/* *piece is borrowed until the next call; "" when nothing is certain yet. */
LM_API lm_status lm_stream_push(lm_stream *s, int32_t id, const char **piece, size_t *n, lm_error *err);
/* What was still held back; *piece as above. */
LM_API lm_status lm_stream_finish(lm_stream *s, const char **piece, size_t *n, lm_error *err);
LM_API void lm_stream_close(lm_stream *s); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
