/* base/fail.h - how the library's own code reports a failure.
 *
 * The lm_error is the caller's, the last argument, and may be NULL.  First error
 * wins: the cause, not the consequence.  Names that come from a file are passed
 * through lm_quoted() first, so that no control character reaches a message.
 *
 * Threads: any thread.
 */
#ifndef LM_FAIL_H
#define LM_FAIL_H

#include <stddef.h>

#include "base/compiler.h"
#include "lemma/error.h"

/* Writes status and sentence unless one is there already; returns `status`. */
lm_status lm_fail(lm_error *err, lm_status status, const char *fmt, ...) LM_PRINTF(3, 4);
/* The same with the byte of the input at which it was seen. */
lm_status lm_fail_at(lm_error *err, lm_status status, uint64_t offset, const char *fmt, ...) LM_PRINTF(4, 5);
/* What to do about it; called just before lm_fail(), obeys first-wins too. */
void lm_hint(lm_error *err, const char *fmt, ...) LM_PRINTF(2, 3);
/* Puts "context: " in front of the text on the way up; returns the status. */
lm_status lm_wrap(lm_error *err, lm_status status, const char *fmt, ...) LM_PRINTF(3, 4);
/* Forgets what is there, for a caller that recovered. */
void lm_error_clear(lm_error *err);

/* A printable, cut copy of outside bytes for a message.  The buffer is the
 * caller's and must hold at least 8 bytes; returns it. */
typedef struct {
    char s[104];
} lm_quoted_buf;
const char *lm_quoted(lm_quoted_buf *buf, const char *bytes, size_t n);
const char *lm_quoted_z(lm_quoted_buf *buf, const char *s);

#define LM_TRY(expr)                                                                                         \
    do {                                                                                                     \
        lm_status lm_try_status_ = (expr);                                                                   \
        if (lm_try_status_ != LM_OK)                                                                         \
            return lm_try_status_;                                                                           \
    } while (0)

/* A broken invariant of our own, never anything derived from input. */
#ifdef LM_DEBUG
#define LM_BUG(cond, err) ((cond) ? (__builtin_trap(), LM_ERR_INTERNAL) : LM_OK)
#else
#define LM_BUG(cond, err)                                                                                    \
    ((cond) ? lm_fail(err, LM_ERR_INTERNAL, "internal error at %s:%d", __FILE__, __LINE__) : LM_OK)
#endif

#endif
