/* state/bundle.h - the stream inside a bundle file, before zstd: header, entry, pages.
 *
 * docs/formats/bundle.md has the byte table; store.h has what writes and reads the file.
 *
 * Trust:   hostile: every claim is checked before memory is taken for it, and memory grows
 *          with what really comes.
 * Threads: any thread; a reader belongs to one at a time.
 */
#ifndef LM_STATE_BUNDLE_H
#define LM_STATE_BUNDLE_H

#include "state/entry.h"

/* Where the bytes come from: up to n of them; 0 at the end. */
typedef lm_status (*lm_bundle_pull)(void *ctx, void *bytes, size_t n, size_t *got, lm_error *err);

typedef struct {
    /* The entry, checked; borrowed until the reading ends, and may be changed. */
    lm_status (*entry)(void *ctx, lm_entry *e, lm_error *err);
    /* Page i of a group, in order; adopts `bytes` (lm_new()). */
    lm_status (*page)(void *ctx, uint32_t group, uint32_t i, uint8_t *bytes, lm_error *err);
    /* All is read and good. */
    lm_status (*end)(void *ctx, lm_error *err);
    void *ctx;
} lm_bundle_sink;

/* LM_ERR_STATE, TRUNCATED, UNSUPPORTED, or what the sink says. */
lm_status lm_bundle_read(lm_bundle_pull pull, void *ctx, const lm_bundle_sink *sink,
                         lm_error *err) LM_NODISCARD;

#endif
