/* lemma/error.h - how every call of the library says what went wrong.
 *
 * A call returns a status; if the caller passed an lm_error, the first failure
 * also leaves a sentence there: what failed, the value seen, the value allowed.
 * The library never prints, logs, exits or aborts.
 *
 * In all headers: the lm_error is the caller's, zeroed before the first call; it
 * may be NULL; a struct that holds a failure keeps it (the first one wins), so
 * zero it before it is used again.  A call borrows its arguments unless it says
 * otherwise: "keeps" (the caller holds it alive until close), "gives" (the
 * caller's now, freed as the text says).  Of a call that fails nothing is given,
 * and nothing changed unless the text says what did.  Any call that returns a
 * status may return LM_ERR_NOMEM.
 *
 * Threads: an lm_error belongs to one thread at a time; the functions may be
 * called from any thread.
 */
#ifndef LM_ERROR_H
#define LM_ERROR_H

#include <stdint.h>

#if defined(__GNUC__)
#define LM_API __attribute__((visibility("default")))
#else
#define LM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One row per status: name, what it means, exit code of the command line, HTTP
 * status, type in an OpenAI error body.  Everything that needs the list
 * includes the list. */
#define LM_STATUS_TABLE(X)                                                                                   \
    X(OK, "no error", 0, 200, "")                                                                            \
    X(FAILED, "the work did not succeed", 1, 500, "server_error")                                            \
    X(USAGE, "wrong argument or option", 2, 400, "invalid_request_error")                                    \
    X(NOT_FOUND, "no such file, pack or session", 3, 404, "not_found_error")                                 \
    X(TRUNCATED, "file ends too early", 3, 422, "invalid_request_error")                                     \
    X(CORRUPT, "file contradicts itself", 3, 422, "invalid_request_error")                                   \
    X(UNSUPPORTED, "valid, but not in this version", 4, 501, "invalid_request_error")                        \
    X(MISMATCH, "made for another model", 6, 409, "invalid_request_error")                                   \
    X(TOO_LONG, "more tokens than the context holds", 5, 400, "invalid_request_error")                       \
    X(NOMEM, "would not fit in memory", 5, 507, "server_error")                                              \
    X(NOSPACE, "would not fit on disk", 5, 507, "server_error")                                              \
    X(IO, "the system refused to read or write", 1, 500, "server_error")                                     \
    X(BUSY, "all slots are taken", 5, 503, "rate_limit_error")                                               \
    X(STATE, "stored state cannot be used", 6, 422, "invalid_request_error")                                 \
    X(CANCELLED, "the caller went away", 130, 499, "")                                                       \
    X(DEVICE, "the accelerator failed", 1, 500, "server_error")                                              \
    X(INTERNAL, "a bug in this library", 1, 500, "server_error")

typedef enum {
#define X(name, text, exit_code, http, type) LM_ERR_##name,
    LM_STATUS_TABLE(X)
#undef X
        LM_STATUS_COUNT
} lm_status;
#define LM_OK LM_ERR_OK

#define LM_NO_OFFSET UINT64_MAX

typedef struct {
    lm_status status; /* LM_OK until something failed */
    uint64_t offset;  /* byte in the input, or LM_NO_OFFSET */
    char text[320];   /* one sentence: what, the value seen, the value allowed */
    char hint[160];   /* what to do, or "" */
} lm_error;

/* "CORRUPT" and the like; "?" for a number that is no status.  Constant. */
LM_API const char *lm_status_name(lm_status status);
/* The second column of the table.  Constant. */
LM_API const char *lm_status_text(lm_status status);
/* Exit code of the command line for `status`: 0, 1 failed, 2 usage, 3 pack,
 * 4 unsupported, 5 resources, 6 state, 130 interrupted. */
LM_API int lm_status_exit_code(lm_status status);
/* The fourth column of the table. */
LM_API int lm_status_http(lm_status status);

#ifdef __cplusplus
}
#endif
#endif
