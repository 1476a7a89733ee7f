/* engine/prepared.h - prepared copies: making one, finding a model's, using it.
 *
 * They lie in the folder "prepared" of the cache folder, one file a pack, named by
 * device and inode of the pack's files: a pack that was written again finds what was
 * made of the old one, sees that it is out of date, and does not use it.
 *
 * Trust:   files there are outside input.
 * Threads: the engine's thread only.
 */
#ifndef LM_PREPARED_H
#define LM_PREPARED_H

#include "engine/prepfile.h"
#include "lemma/prepare.h"
#include "model/net.h"

enum { LM_PREP_NAME = 5 + 16 + 7 + 1 }; /* "prep-", 16 hex digits, ".lmprep" */
void lm_prep_name(const lm_packfile *pack, char out[LM_PREP_NAME]);
/* "prepared" in the cache folder (asked for as in lm_model_options): its descriptor,
 * or -1.  `path` takes its path, "" if there is no cache folder. */
int lm_prep_folder(const char *cache_dir, bool create, char *path, size_t cap);
bool lm_prep_is_copy(const char *name);

/* The copy of a pack as its header and tables say: LM_PREPARED_NONE, STALE, DAMAGED, or
 * USED for one that is as new as the pack; *bytes takes its size. */
lm_prepared_state lm_prepared_look(const lm_packfile *pack, const char *cache_dir, uint64_t *bytes);

typedef struct lm_prepared lm_prepared;
/* The copy of a pack, bound to the linears of its program.  *state says how it went;
 * only memory can fail.  *out stays NULL unless the copy is in use. */
lm_status lm_prepared_open(lm_prepared **out, lm_net *net, const char *cache_dir, lm_prepared_state *state,
                           lm_error *why, lm_error *err) LM_NODISCARD;
uint64_t lm_prepared_bytes(const lm_prepared *p);
/* Panels that were found bad so far. */
uint32_t lm_prepared_bad(const lm_prepared *p);
/* Whether the file was cut under its mapping: what was computed since is in doubt. */
bool lm_prepared_broken(const lm_prepared *p);
/* The linears no longer use it. */
void lm_prepared_unbind(lm_net *net);
void lm_prepared_close(lm_prepared *p); /* NULL is fine */

#endif
