/* format/json.h - JSON from outside, read by jansson within limits.
 *
 * A scan ahead of the parser bounds depth and the number of values, so that
 * memory stays within about 150 bytes a value and the stack within the depth.
 * What Python writes and JSON forbids is taken as it is meant: NaN and Infinity
 * become null, integers beyond 64 bits become reals.
 *
 * Trust:   the text is hostile; messages carry positions, never content.
 * Threads: any thread.
 */
#ifndef LM_FORMAT_JSON_H
#define LM_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    size_t max_bytes;
    unsigned max_depth; /* 0: LM_LIMIT_JSON_DEPTH */
    size_t max_values;  /* 0: as many as fit into max_bytes */
    bool unique_keys;   /* refuse a key that stands twice; else the last one counts */
    bool allow_nul;     /* let \u0000 into strings (not into keys) */
} lm_json_limits;

/* Parses an object or an array.  `what` names the text in messages.
 * Gives *out (json_decref). */
lm_status lm_json_parse(json_t **out, const char *text, size_t n, const char *what,
                        const lm_json_limits *limits, lm_error *err) LM_NODISCARD;
/* The same from a file. */
lm_status lm_json_read(json_t **out, const char *path, const lm_json_limits *limits,
                       lm_error *err) LM_NODISCARD;
/* The last part of a path: what messages call a file. */
const char *lm_base_name(const char *path);

#endif
