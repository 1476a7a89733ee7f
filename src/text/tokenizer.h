/* text/tokenizer.h - text to token ids and back.
 *
 * One tokenizer serves tokenizer.json (BPE, Unigram, WordPiece with every
 * normaliser, pre-tokeniser, post-processor and decoder of the tokenizers
 * library) and the vocabularies inside GGUF files.
 *
 * Trust:   definition and text are hostile: patterns run under PCRE2's limits,
 *          time is linear or n log n in the text.
 * Threads: open and close on one thread; encode and decode from any thread.
 */
#ifndef LM_TOKENIZER_H
#define LM_TOKENIZER_H

#include <stdbool.h>

#include "base/str.h"

typedef struct lm_tokenizer lm_tokenizer;
typedef struct lm_packfile lm_packfile;

typedef struct {
    int32_t *ids;
    size_t n, cap;
} lm_ids;
void lm_ids_clear(lm_ids *ids);

/* Bytes [first, end) of a text. */
typedef struct {
    size_t first, end;
} lm_span;

/* The pack's own: tokenizer.json, or the vocabulary of its GGUF file; through
 * the compiled file in `cache_dir` when that is not NULL.  A pack without one:
 * LM_ERR_NOT_FOUND. */
lm_status lm_tokenizer_open_pack(lm_tokenizer **out, const lm_packfile *p, const char *cache_dir,
                                 lm_error *err) LM_NODISCARD;
/* tokenizer.json in memory; `name` is for messages. */
lm_status lm_tokenizer_open_json(lm_tokenizer **out, const char *json, size_t n, const char *name,
                                 lm_error *err) LM_NODISCARD;
void lm_tokenizer_close(lm_tokenizer *t);

enum {
    LM_TOK_POST = 1,      /* add the post-processor's tokens (BOS, [CLS] …) */
    LM_TOK_PARSE_ALL = 2, /* control tokens are parsed inside `literal` spans too */
};
/* Appends the ids of text[0..n) to *out.  `literal` (sorted, may be NULL) names
 * the bytes that came from a person's message: there and across its borders the
 * spellings of special tokens are plain text. */
lm_status lm_tokenizer_encode(const lm_tokenizer *t, const char *text, size_t n, const lm_span *literal,
                              size_t n_literal, unsigned flags, lm_ids *out, lm_error *err) LM_NODISCARD;
/* Appends the text of ids; ids outside the vocabulary are LM_ERR_USAGE. */
lm_status lm_tokenizer_decode(const lm_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                              lm_str *out, lm_error *err) LM_NODISCARD;

/* Streaming decode: what comes out in pieces is what decode() says at the end,
 * and never ends inside a character. */
typedef struct lm_detok lm_detok;
lm_status lm_detok_open(lm_detok **out, const lm_tokenizer *t, bool skip_special, lm_error *err) LM_NODISCARD;
/* Appends to *out the text that is now certain. */
lm_status lm_detok_push(lm_detok *d, int32_t id, lm_str *out, lm_error *err) LM_NODISCARD;
lm_status lm_detok_finish(lm_detok *d, lm_str *out, lm_error *err) LM_NODISCARD;
void lm_detok_close(lm_detok *d);

uint32_t lm_tokenizer_n_vocab(const lm_tokenizer *t);                          /* highest id + 1 */
int32_t lm_tokenizer_find(const lm_tokenizer *t, const char *token, size_t n); /* -1: none */
/* The entry as the vocabulary spells it (not decoded); NULL for a hole. */
const char *lm_tokenizer_token(const lm_tokenizer *t, int32_t id, size_t *n);
bool lm_tokenizer_is_special(const lm_tokenizer *t, int32_t id);
/* What GGUF metadata or the post-processor declare; -1: nothing. */
int32_t lm_tokenizer_bos(const lm_tokenizer *t);
int32_t lm_tokenizer_eos(const lm_tokenizer *t);
/* SHA-256 over the definition, hex: part of a session's identity. */
const char *lm_tokenizer_identity(const lm_tokenizer *t);

#endif
