/* state/interchange/wire.h - bytes in and out of the formats of other programs.
 *
 * A cursor takes little-endian numbers and runs of bytes out of memory and never
 * reads behind the end; a sink takes bytes and passes them on (into memory, a hash, a
 * file, or nowhere but a count).
 *
 * Trust:   what a cursor reads is hostile: every count is compared with the bytes that
 *          are left before anything is allocated for it.
 * Threads: one thread at a time.
 */
#ifndef LM_INTERCHANGE_WIRE_H
#define LM_INTERCHANGE_WIRE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/hash.h"
#include "base/str.h"

typedef struct {
    const uint8_t *bytes;
    size_t n, at;
    const char *what; /* "a snapshot": begins messages */
} lm_cursor;

/* `part` is what messages call the field.  LM_ERR_TRUNCATED when it is not there. */
lm_status lm_cursor_u32(lm_cursor *c, const char *part, uint32_t *out, lm_error *err) LM_NODISCARD;
lm_status lm_cursor_bytes(lm_cursor *c, const char *part, uint64_t n, const uint8_t **out,
                          lm_error *err) LM_NODISCARD;
/* A count of items of `size` bytes (at least) that must all be there still. */
lm_status lm_cursor_count(lm_cursor *c, const char *part, size_t size, uint32_t *out,
                          lm_error *err) LM_NODISCARD;
/* A u32 length and UTF-8 text without NUL, copied; at most cap - 1 bytes. */
lm_status lm_cursor_text(lm_cursor *c, const char *part, char *out, size_t cap, lm_error *err) LM_NODISCARD;

typedef struct lm_sink lm_sink;
struct lm_sink {
    lm_status (*write)(lm_sink *s, const void *bytes, size_t n, lm_error *err); /* NULL: counts alone */
    void *to;
    uint64_t n; /* bytes that were written */
};
lm_status lm_sink_write(lm_sink *s, const void *bytes, size_t n, lm_error *err) LM_NODISCARD;
lm_status lm_sink_u32(lm_sink *s, uint32_t v, lm_error *err) LM_NODISCARD;
lm_sink lm_sink_str(lm_str *to);
lm_sink lm_sink_sha(lm_sha *to);

/* A new file that gets its name when whole (S4), mode 0600.  `fill` writes it. */
typedef lm_status (*lm_fill)(void *user, lm_sink *to, lm_error *err);
lm_status lm_write_stream(const char *path, lm_fill fill, void *user, lm_error *err) LM_NODISCARD;

void lm_base64_add(lm_str *to, const uint8_t *bytes, size_t n);
/* Strict: the alphabet with + and /, padded, no spaces.  Gives *out (lm_free()). */
lm_status lm_base64_take(const char *text, size_t n, uint8_t **out, size_t *n_out,
                         lm_error *err) LM_NODISCARD;

/* Fields of a JSON object from outside.  A missing text is "", a missing number 0;
 * another type, or a number outside 0 to max, is LM_ERR_CORRUPT with the key. */
lm_status lm_field_text(const json_t *o, const char *key, const char **out, lm_error *err) LM_NODISCARD;
lm_status lm_field_number(const json_t *o, const char *key, uint64_t max, uint64_t *out,
                          lm_error *err) LM_NODISCARD;
lm_status lm_field_u32(const json_t *o, const char *key, uint32_t *out, lm_error *err) LM_NODISCARD;
/* LM_ERR_CORRUPT unless the text is this one. */
lm_status lm_field_is(const json_t *o, const char *key, const char *want, lm_error *err) LM_NODISCARD;
/* The object's text; `indent` 0: compact.  Gives *out (lm_free()). */
lm_status lm_json_text(const json_t *o, unsigned indent, char **out, size_t *n, lm_error *err) LM_NODISCARD;
/* json_object_set_new() that remembers a failure. */
void lm_set(json_t *o, const char *key, json_t *value, bool *failed);
json_t *lm_json_string(const char *s); /* NULL and ill-formed UTF-8: "" */

bool lm_is_hex64(const char *s);
/* 64 lowercase hex digits of SHA-256 over the text. */
lm_status lm_hash_text(const char *text, size_t n, char out[65], lm_error *err) LM_NODISCARD;

#endif
