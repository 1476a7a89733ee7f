/* base/str.h - a growing run of bytes that always ends with a NUL.
 *
 * Errors are sticky: after a failed append the string keeps what it had and
 * lm_str_status() says so, so that straight-line code checks once at the end.
 *
 * Threads: one thread at a time. */
#ifndef LM_STR_H
#define LM_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    char *s; /* NULL while empty and unused: read it through lm_str_z() */
    size_t n, cap;
    size_t max; /* 0: no limit, else appending past it fails */
    bool failed;
} lm_str;

void lm_str_add(lm_str *b, const char *bytes, size_t n);
void lm_str_addz(lm_str *b, const char *s);
void lm_str_addc(lm_str *b, char c);
void lm_str_addu(lm_str *b, uint32_t code_point); /* as UTF-8 */
void lm_str_addf(lm_str *b, const char *fmt, ...) LM_PRINTF(2, 3);
void lm_str_reserve(lm_str *b, size_t n); /* appending n bytes will not allocate */
void lm_str_reset(lm_str *b);             /* keeps the memory */
void lm_str_clear(lm_str *b);             /* gives the memory back */
const char *lm_str_z(const lm_str *b);
/* Gives the bytes to the caller, who frees them with lm_free(). */
lm_status lm_str_take(lm_str *b, char **out, size_t *n, lm_error *err) LM_NODISCARD;
lm_status lm_str_status(const lm_str *b, lm_error *err) LM_NODISCARD;

/* A heap copy of n bytes and a NUL. */
lm_status lm_strdup_n(const char *s, size_t n, char **out, lm_error *err) LM_NODISCARD;

#endif
