/* lemma/prepare.h - prepared copies of packs: faster weights for the same bits.
 *
 * A prepared copy holds the quantised matrices of a pack in the order in which the
 * CPU's kernels read them.  It lies in the cache folder; models take it when it is
 * there and as good as new, and compute the same bits with it as without.
 *
 * Trust:   packs and copies are hostile.
 * Threads: one thread at a time.
 */
#ifndef LM_PREPARE_H
#define LM_PREPARE_H

#include "lemma/tools.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes written, and in all; on the caller's thread.  Return false to stop. */
typedef bool (*lm_on_prepare)(void *user, uint64_t done, uint64_t total);

typedef struct {
    uint32_t size;             /* sizeof(lm_prepare_options), set by lm_prepare_defaults() */
    const char *cache_dir;     /* as in lm_model_options; default "" */
    uint64_t budget_bytes;     /* of all copies together; 0: 32 GiB */
    lm_on_prepare on_progress; /* may be NULL */
    void *user;
} lm_prepare_options;
LM_API void lm_prepare_defaults(lm_prepare_options *out);

/* Makes the copy of a pack, whole or not at all, or checks the one that is there.
 * Others make room, the one that was used longest ago first.  Gives *json
 * (lm_give_back): {"path", "pack", "bytes", "matrices", "made", "evicted"}; made is
 * false where a good copy was there already.  LM_ERR_UNSUPPORTED: nothing in the pack is
 * in a format that copies know; LM_ERR_NOSPACE: it would not fit into the budget or on
 * the disk, with the numbers; LM_ERR_MISMATCH: the pack changed meanwhile; LM_ERR_CANCELLED. */
LM_API lm_status lm_prepare(const char *pack, const lm_prepare_options *o, char **json, lm_error *err);
/* {"folder", "bytes", "copies": [{"path", "pack", "bytes", "created", "used", "state"}]};
 * times in seconds; state is "current", "stale" (the pack changed or is gone) or "damaged".
 * Gives *json. */
LM_API lm_status lm_prepared_list(const char *cache_dir, char **json, lm_error *err);
/* Removes the copy of a pack (a path or a name; it may be gone), or all of them: NULL.
 * Gives *json: {"removed", "bytes"}.  LM_ERR_NOT_FOUND: that pack has none. */
LM_API lm_status lm_prepared_remove(const char *cache_dir, const char *pack, char **json, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
