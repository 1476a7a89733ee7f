/* lemma/pack.h - packs on disk: find, list, inspect, check.
 *
 * Answers are JSON texts, given: free with lm_give_back() (lemma/text.h).
 * docs/guide/packs.md names their fields.
 *
 * Trust:   packs are hostile.  Threads: any thread.
 */
#ifndef LM_PACK_H
#define LM_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "lemma/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Path of a pack given by path or name ($LEMMA_MODELS, lemma's cache, and the
 * Hugging Face, LM Studio and Ollama stores).  Gives *path.  LM_ERR_NOT_FOUND
 * names the places that were searched; the hint names packs that are near. */
LM_API lm_status lm_pack_resolve(const char *pack, char **path, lm_error *err);
/* [{"name", "path", "kind", "place", "bytes"}]; `dir` NULL: all stores.  Gives
 * *json.  LM_ERR_NOT_FOUND for a `dir` that is not there. */
LM_API lm_status lm_packs_list(const char *dir, char **json, lm_error *err);
/* What the pack is: family, shapes, formats, tensors, template, issues, the kernels
 * that read each format on this machine, its prepared copy; reads headers only.  Gives *json; a pack with issues is no failure, only one that
 * cannot be found or read is. */
LM_API lm_status lm_pack_inspect(const char *pack, char **json, lm_error *err);
/* Everything that can be wrong: {"valid": bool, "issues": [{"severity", "code",
 * "message", "path"}]}.  Reads every weight when `weights` is set.  Gives *json;
 * LM_OK too when "valid" is false. */
LM_API lm_status lm_pack_check(const char *pack, bool weights, char **json, lm_error *err);
/* Reads the pack's weights from the disk into the system's cache, in pages of 2 MiB where
 * the file system has them: looking up small ones costs a tenth to a fifth of decode.
 * Gives *json: {"bytes", "large_bytes", "seconds"}; large_bytes null where the system does
 * not tell.  Changes nothing on the disk. */
LM_API lm_status lm_pack_warm(const char *pack, char **json, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
