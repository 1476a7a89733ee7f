/* tools/packcheck.h - `lemma pack inspect` and `lemma pack check` as one call.
 *
 * The report is a JSON object with the fields of SPEC 19.1.2 that the pack has,
 * a list of issues { severity, code, message, path } and "valid": true when no
 * issue is an error.  A broken pack gives a report, not a failure.
 *
 * Trust:   the pack is hostile; every text in the report is UTF-8 from JSON or
 *          checked, and may hold anything printable.
 * Threads: any thread.
 */
#ifndef LM_TOOLS_PACKCHECK_H
#define LM_TOOLS_PACKCHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    bool list_tensors;          /* "tensors": name, shape, type and bytes of each */
    bool bind;                  /* open all that running opens: shapes against the family, text side */
    bool scan;                  /* read every weight: NaN and infinity */
    bool require_chat_template; /* its absence is an error and no warning */
    unsigned expected_bits;     /* 0: any; else another width is quantization_mismatch */
    uint64_t max_context;       /* 0: any; else a longer one is context_too_large */
    /* Called during the scan with bytes done and in all; false stops it. */
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} lm_packcheck_options;

/* Gives *out (json_decref).  Fails when there is no such path, when memory is
 * short, or with LM_ERR_CANCELLED. */
lm_status lm_packcheck(json_t **out, const char *path, const lm_packcheck_options *options,
                       lm_error *err) LM_NODISCARD;

#endif
