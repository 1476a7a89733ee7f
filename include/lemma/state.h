/* lemma/state.h - sessions at rest: slept into a folder, woken in place.
 *
 *     lm_state_open -> lm_session_sleep ... lm_session_wake -> lm_generate
 *
 * A slept session is a named entry of a store: token ids, pages of keys and values,
 * the logits after the last token.  Waking maps its pages where they lie: nothing is
 * copied or computed, and the next token is bit for bit what it would have been.
 *
 * Trust:   the folder's contents are hostile until checked; names never become paths.
 * Threads: a store may be used from any thread; sessions as in lemma/model.h.
 */
#ifndef LM_STATE_H
#define LM_STATE_H

#include <stdbool.h>

#include "lemma/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lm_store lm_store;

typedef struct {
    uint32_t size;      /* sizeof(lm_state_options), set by lm_state_defaults() */
    const char *folder; /* NULL: $LEMMA_STATE_DIR, else $XDG_STATE_HOME/lemma, else ~/.local/state/lemma */
    uint64_t budget;   /* bytes of everything in it; 0: 8 GiB, or a tenth of the free space if that is less */
    uint64_t min_free; /* bytes left free on the disk; 0: 5 GiB; UINT64_MAX: none */
    bool read_only;    /* wake alone */
} lm_state_options;
LM_API void lm_state_defaults(lm_state_options *out);
/* `options` NULL: the defaults.  The folder is made when it is missing.  LM_ERR_STATE: a
 * damaged index; a folder of another user, one that others may enter, a symbolic
 * link or a network file system is refused by name.  Gives *out, closed with
 * lm_state_close(). */
LM_API lm_status lm_state_open(lm_store **out, const lm_state_options *options, lm_error *err);
/* After the sessions that were woken from it; NULL is fine. */
LM_API void lm_state_close(lm_store *s);
LM_API const char *lm_state_folder(const lm_store *s); /* borrowed */

typedef struct {
    uint32_t pages_written, pages_reused;
    uint64_t bytes_written;
} lm_sleep_result;
/* Writes the session under `name`, in place of an earlier one of that name, whole or
 * not at all; the session goes on unchanged.  Only pages that the store lacks are
 * written.  The first time, the pack's weights are read once to know them by content.
 * `title` and `messages` (JSON) are kept with it, NULL: none.  *out may be NULL.
 * LM_ERR_USAGE: an empty session, or a name that is none; LM_ERR_NOSPACE has both sizes. */
LM_API lm_status lm_session_sleep(lm_session *s, lm_store *store, const char *name, const char *title,
                                  const char *messages, lm_sleep_result *out, lm_error *err);

enum { LM_STATE_REPLAY = 1 }; /* what cannot be mounted is computed again from its tokens */
typedef struct {
    uint32_t n_tokens;   /* of the session now */
    uint32_t n_mounted;  /* of them in place */
    uint32_t n_replayed; /* of them computed again */
    char reasons[512];   /* what differs, comma-separated, or "" */
    uint64_t wake_ns;    /* all of the call, but for knowing the weights */
    uint64_t identity_ns;
} lm_wake_result;
/* Puts what was slept under `name` in place of the session's content.  *out may be
 * NULL, and is filled on a mismatch too.  Without LM_STATE_REPLAY: LM_ERR_MISMATCH names
 * what forbids mounting, LM_ERR_STATE says which pages are gone.  With it they are
 * computed from the tokens, unless the tokenizer is another.  LM_ERR_NOT_FOUND: no such
 * session; LM_ERR_TOO_LONG: the context is too small.  Of a failed call the session is
 * as it was, but for a replay that failed: then it has the tokens that were finished.
 * Pages are checked before the first step that reads them; a damaged one makes that
 * step begin with a replay.  Keeps the store. */
LM_API lm_status lm_session_wake(lm_session *s, lm_store *store, const char *name, unsigned flags,
                                 lm_wake_result *out, lm_error *err);

/* Held by whoever goes on in a session; another holder: LM_ERR_BUSY with its pid.
 * Gives *out, given up with lm_state_release(). */
typedef struct lm_state_hold lm_state_hold;
LM_API lm_status lm_state_take(lm_store *s, const char *name, lm_state_hold **out, lm_error *err);
LM_API void lm_state_release(lm_state_hold *h); /* NULL is fine */

/* Borrowed during the visit; texts are "" and never NULL. */
typedef struct {
    const char *name, *title, *parent;
    uint32_t n_tokens;
    bool kept;
    uint64_t created, used; /* seconds since 1970; used 0: see lm_state_list() */
    uint64_t bytes;         /* of the entry, without its pages */
    /* By lm_state_show() alone, else NULL: */
    const char *messages, *model, *architecture, *quantisation, *kv, *backend, *numerics;
    const int32_t *tokens;
    uint32_t pages; /* of all cache groups */
    uint64_t page_bytes;
} lm_stored;
typedef bool (*lm_on_stored)(void *user, const lm_stored *e); /* false stops */
LM_API lm_status lm_state_list(lm_store *s, lm_on_stored visit, void *user, lm_error *err);
/* One session, without its pack.  LM_ERR_NOT_FOUND: no such session. */
LM_API lm_status lm_state_show(lm_store *s, const char *name, lm_on_stored visit, void *user, lm_error *err);
/* A second name for the same state; LM_ERR_USAGE if there is one of that name already. */
LM_API lm_status lm_state_fork(lm_store *s, const char *name, const char *new_name, lm_error *err);
/* Removes it and the pages that nothing else uses; the bytes are gone when this returns. */
LM_API lm_status lm_state_remove(lm_store *s, const char *name, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
