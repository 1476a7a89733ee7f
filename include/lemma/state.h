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
/* Waits until everything that was handed over is written, at most so long; what was
 * waited counts for lm_state_close(), which waits LM_STATE_CLOSE_MS for what is kept
 * automatically, and for what was slept until it is written. */
enum { LM_STATE_CLOSE_MS = 100 };
LM_API void lm_state_wait(lm_store *s, unsigned ms);
LM_API const char *lm_state_folder(const lm_store *s); /* borrowed */

/* Figures of the store and of what this process had of it. */
typedef struct {
    uint32_t size;                        /* sizeof(lm_state_stats), set by the caller */
    uint64_t budget, bytes;               /* bytes: of everything in the folder */
    uint64_t pages, page_bytes;           /* in the index */
    uint64_t runs, sessions, kept_pages;  /* kept: of sessions that a person named */
    uint64_t hits, misses, tokens_found;  /* prefixes that were looked for, this process */
    uint64_t pages_written, pages_reused; /* this process */
    uint64_t pages_evicted, puts_dropped; /* this process; dropped: the disk was too slow or full */
} lm_state_stats;
LM_API lm_status lm_state_get_stats(lm_store *s, lm_state_stats *out, lm_error *err);

typedef struct {
    bool first_write; /* the first page ever that this store kept by itself was written */
    lm_error trouble; /* LM_OK, or why nothing more is kept by itself for now */
} lm_state_news;
/* What a person should be told, each thing once.  True when there is something. */
LM_API bool lm_state_get_news(lm_store *s, lm_state_news *out);

/* --- automatic reuse -------------------------------------------------------------- */

/* From now on every session of the model begins where the store, or another session of
 * the model, has already been: lm_session_append() takes the longest prefix whose tokens
 * are equal and computes the rest, and full pages of sessions of 256 tokens and more
 * are kept behind its back.  Nothing is kept or found before the weights are known by
 * content; large packs are read for that on a thread of their own.  `store` NULL ends it.
 * Keeps the store: it is closed before the model, or after it, when its sessions are.
 * lm_metrics.cached_tokens counts tokens that were not computed.  Evaluations that ask
 * for rows neither find nor keep anything.  LM_ERR_UNSUPPORTED: a model whose state has
 * no pages. */
LM_API lm_status lm_model_remember(lm_model *m, lm_store *store, lm_error *err);
/* Takes the longest known prefix of the session's tokens followed by `ids`: *n_taken of
 * them are in the session then, which has no logits until the rest (one id at least) is
 * appended.  lm_session_append() does it by itself; who appends in pieces calls it before
 * the first. */
LM_API lm_status lm_session_recall(lm_session *s, const int32_t *ids, size_t n, size_t *n_taken,
                                   lm_error *err);

/* --- sleep -------------------------------------------------------------------------- */

typedef struct {
    uint32_t size;        /* sizeof(lm_sleep_options), set by lm_sleep_defaults() */
    const char *title;    /* all texts: UTF-8, NULL: none */
    const char *messages; /* JSON array; kept with it, not looked into */
    const char *labels;   /* JSON object of texts */
    const char *metadata; /* JSON object */
    const char *parent;   /* name of the session that this one came from; NULL: the one it was woken from,
                             unless that is its own name */
    bool behind;          /* do not wait: the outcome is told by the next sleep, or lm_state_flush() */
} lm_sleep_options;
LM_API void lm_sleep_defaults(lm_sleep_options *out);
typedef struct {
    uint32_t pages_written, pages_reused;
    uint64_t bytes_written;
} lm_sleep_result;
/* Writes the session under `name`, in place of an earlier one of that name, whole or
 * not at all; the session goes on unchanged.  Only pages that the store lacks are
 * written.  The first time, the pack's weights are read once to know them by content.
 * `o` NULL: the defaults; *out may be NULL, and is zeros with `behind`.
 * LM_ERR_USAGE: an empty session, or a name that is none; LM_ERR_NOSPACE has both sizes. */
LM_API lm_status lm_session_sleep(lm_session *s, lm_store *store, const char *name, const lm_sleep_options *o,
                                  lm_sleep_result *out, lm_error *err);
/* Waits for everything that is being written; the first sleep of `s` that failed behind
 * its back is the outcome. */
LM_API lm_status lm_session_flush(lm_session *s, lm_error *err);
/* Appends, then sleeps.  A failed append does not sleep; after a failed sleep the
 * session has the tokens. */
LM_API lm_status lm_session_append_and_sleep(lm_session *s, lm_store *store, const char *name,
                                             const int32_t *ids, size_t n, const lm_sleep_options *o,
                                             lm_sleep_result *out, lm_error *err);
/* Generates, then sleeps; *out as lm_generate() gives it, also when only the sleep failed. */
LM_API lm_status lm_session_generate_and_sleep(lm_session *s, lm_store *store, const char *name,
                                               const lm_generate_options *g, lm_on_token on_token, void *user,
                                               const lm_sleep_options *o, lm_generated *out,
                                               lm_sleep_result *slept, lm_error *err);

/* --- wake ----------------------------------------------------------------------------- */

enum {
    LM_STATE_REPLAY = 1,  /* what cannot be mounted is computed again from its tokens */
    LM_STATE_OVERRIDE = 2 /* mount although it was made for another model, or computed otherwise, as long as
                             the pages have this model's shape: the answers are the caller's affair, and the
                             session's pages never serve another */
};
typedef struct {
    uint32_t size; /* sizeof(lm_wake_options), set by lm_wake_defaults() */
    unsigned flags;
    uint32_t at; /* only the first so many tokens; 0: all */
} lm_wake_options;
LM_API void lm_wake_defaults(lm_wake_options *out);
typedef struct {
    uint32_t n_tokens;   /* of the session now */
    uint32_t n_mounted;  /* of them in place */
    uint32_t n_replayed; /* of them computed again */
    char reasons[512];   /* what differs, comma-separated, or "" */
    uint64_t wake_ns;    /* all of the call, but for knowing the weights */
    uint64_t identity_ns;
} lm_wake_result;
/* Puts what was slept under `name` in place of the session's content: its tokens, pages,
 * sampler, and the logits after its last token (of a prefix: computed).  `o` NULL: the
 * defaults; *out may be NULL, and is filled on a mismatch too.  Without LM_STATE_REPLAY:
 * LM_ERR_MISMATCH names what forbids mounting, LM_ERR_STATE says which pages are gone.
 * With it they are computed from the tokens, unless the tokenizer is another.
 * LM_ERR_NOT_FOUND: no such session; LM_ERR_TOO_LONG: the context is too small;
 * LM_ERR_USAGE: `at` beyond its end.  Of a failed call the session is as it was, but for
 * a replay that failed: then it has the tokens that were finished.  Pages are checked
 * before the first step that reads them; a damaged one makes that step begin with a
 * replay.  Keeps the store. */
LM_API lm_status lm_session_wake(lm_session *s, lm_store *store, const char *name, const lm_wake_options *o,
                                 lm_wake_result *out, lm_error *err);

/* What would happen at a wake, without one. */
typedef struct {
    uint32_t n_tokens;
    uint32_t n_mountable; /* tokens whose pages are there; 0 when something forbids */
    bool mounts;          /* all of it, without a replay */
    bool replays;         /* what does not mount can be computed from its tokens */
    char reasons[512];    /* what forbids mounting: model_hash_mismatch, ... (docs/guide/memory.md) */
    char warnings[256];   /* what differs and does not: runtime_backend_changed, ... */
} lm_compatibility;
LM_API lm_status lm_state_compatible(lm_store *s, const char *name, lm_model *m, lm_compatibility *out,
                                     lm_error *err);

/* --- in memory ------------------------------------------------------------------------ */

/* A second session with the same content, which shares every full page.  Gives *out. */
LM_API lm_status lm_session_fork(lm_session *s, lm_session **out, lm_error *err);
/* Forgets everything; the session is as if new. */
LM_API void lm_session_reset(lm_session *s);
/* The seed of the session's last generation, also of one before it slept; false: none. */
LM_API bool lm_session_seed(const lm_session *s, uint64_t *seed);

/* --- fold ------------------------------------------------------------------------------- */

typedef struct {
    uint32_t size;       /* sizeof(lm_fold_options), set by lm_fold_defaults() */
    const char *summary; /* text of what is left out; LM_ERR_USAGE when there is none */
    size_t n_summary;
    uint32_t tail;        /* tokens of the end that stay as they are, at most; default 8192 */
    const char *messages; /* JSON array of the whole conversation; NULL: the session is text, not a chat */
    const char *title;    /* NULL: none */
    bool keep_old;        /* `name` is there already, and is not slept again */
} lm_fold_options;
LM_API void lm_fold_defaults(lm_fold_options *out);
typedef struct {
    uint32_t n_tokens; /* of the folded session */
    uint32_t n_tail;   /* of them kept word for word (of a chat: messages) */
    uint64_t summary_bytes, recent_tail_bytes, folded_prompt_bytes;
} lm_fold_result;
/* An exhausted session is slept as `name`; then `s` becomes a fresh one with the summary
 * and the recent tail, slept as `new_name`, which names `name` as its parent and has
 * folded_state in its metadata.  Of a chat the tail is whole messages, the newest that
 * fit, and the summary stands in the system message; else it stands before the tail's
 * text.  A fold that would not be shorter is LM_ERR_USAGE.  On failure after the first
 * sleep the session may be woken again from `name`. */
LM_API lm_status lm_session_fold(lm_session *s, lm_store *store, const char *name, const char *new_name,
                                 const lm_fold_options *o, lm_fold_result *out, lm_error *err);

/* --- project seeds -------------------------------------------------------------------------- */

/* A project has a seed, which sessions of it begin with, and a latest checkpoint. */
typedef enum { LM_PROJECT_SEED, LM_PROJECT_CHECKPOINT, LM_PROJECT_FOLDED } lm_project_part;
/* "projects/ID/seed", "projects/ID/checkpoints/latest", "projects/ID/folded/latest"; `id`
 * NULL: "default". */
LM_API lm_status lm_project_name(const char *id, lm_project_part part, char *buf, size_t cap, lm_error *err);
typedef enum {
    LM_CONTINUE_CHECKPOINT, /* state_checkpoint: the latest checkpoint, else the seed */
    LM_CONTINUE_CURRENT,    /* reuse_current: the session as it is; an empty one: the seed */
    LM_CONTINUE_SUMMARY,    /* summary_window: the latest fold, else the seed */
    LM_CONTINUE_HYBRID      /* hybrid: the checkpoint if all of it mounts, else the fold, else the seed */
} lm_continuation;
/* Wakes the first of these that is there; `woken` has its name, "" when there was none. */
enum { LM_STATE_NAME = 256 };
LM_API lm_status lm_session_continue(lm_session *s, lm_store *store, const char *project, lm_continuation how,
                                     const lm_wake_options *o, char woken[LM_STATE_NAME], lm_wake_result *out,
                                     lm_error *err);

/* --- names ----------------------------------------------------------------------------------- */

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
    const char *labels;     /* JSON object of texts, "": none */
    /* By lm_state_show() alone, else NULL: */
    const char *messages, *model, *architecture, *quantisation, *kv, *backend, *numerics;
    const int32_t *tokens;
    uint32_t pages; /* of all cache groups */
    uint64_t page_bytes;
    const char *metadata;
    bool imported, folded, recoded;
    bool alone; /* its pages serve it and what went on from it, and nobody else */
} lm_stored;
typedef bool (*lm_on_stored)(void *user, const lm_stored *e); /* false stops */
LM_API lm_status lm_state_list(lm_store *s, lm_on_stored visit, void *user, lm_error *err);
/* Those that have the label `key`; with `value` (NULL: any), those where it says that. */
LM_API lm_status lm_state_list_labelled(lm_store *s, const char *key, const char *value, lm_on_stored visit,
                                        void *user, lm_error *err);
/* One session, without its pack.  LM_ERR_NOT_FOUND: no such session. */
LM_API lm_status lm_state_show(lm_store *s, const char *name, lm_on_stored visit, void *user, lm_error *err);
/* A second name for the same state; LM_ERR_USAGE if there is one of that name already. */
LM_API lm_status lm_state_fork(lm_store *s, const char *name, const char *new_name, lm_error *err);
/* Removes it and the pages that nothing else uses; the bytes are gone when this returns. */
LM_API lm_status lm_state_remove(lm_store *s, const char *name, lm_error *err);

/* --- housekeeping ------------------------------------------------------------------------------ */

typedef struct {
    uint32_t size; /* sizeof(lm_state_swept), set by the caller */
    uint32_t runs_merged, runs_removed, pages_expired, sessions_removed, orphans;
    uint64_t bytes_freed;
} lm_state_swept;
/* Expiry, dead bytes, what crashes left, merging of small runs; *out may be NULL. */
LM_API lm_status lm_state_gc(lm_store *s, lm_state_swept *out, lm_error *err);
/* Removes sessions, and pages kept automatically, that were not used for so long (0: all);
 * their bytes are gone when this returns.  `named`: sessions that a person named too. */
LM_API lm_status lm_state_clear(lm_store *s, uint64_t older_seconds, bool named, lm_state_swept *out,
                                lm_error *err);
typedef struct {
    uint32_t size; /* sizeof(lm_state_checked), set by the caller */
    uint32_t runs, pages, sessions;
    uint32_t bad_runs, bad_pages, bad_sessions;
    uint32_t missing_pages; /* of sessions: they are replayed */
} lm_state_checked;
/* Reads everything.  `complain` (may be NULL) hears of each damage, one sentence each. */
LM_API lm_status lm_state_fsck(lm_store *s, lm_state_checked *out,
                               void (*complain)(void *user, const char *text), void *user, lm_error *err);
/* Makes the index anew from the other files, also where lm_state_open() fails; `folder`
 * NULL: the default one. */
LM_API lm_status lm_state_rebuild(const char *folder, lm_state_checked *out, lm_error *err);

/* --- to another machine, and other formats ------------------------------------------------------- */

typedef struct {
    uint32_t size; /* sizeof(lm_bundle_result), set by the caller */
    uint32_t n_tokens, pages;
    uint64_t page_bytes, file_bytes;
    char name[LM_STATE_NAME]; /* of the session in the store */
} lm_bundle_result;
/* One zstd file with everything of the session (docs/formats/bundle.md), whole or not at
 * all.  LM_ERR_USAGE: the file is there already; LM_ERR_STATE: a page is missing or damaged. */
LM_API lm_status lm_state_export(lm_store *s, const char *name, const char *path, lm_bundle_result *out,
                                 lm_error *err);
/* A session from such a file, under its own name or `new_name` (not NULL), which must be
 * free.  Its pages serve it alone, until lm_state_verify() (lemma/interchange.h) has computed
 * it again.
 * LM_ERR_STATE, TRUNCATED, UNSUPPORTED: the file; LM_ERR_NOSPACE has both sizes. */
LM_API lm_status lm_state_import(lm_store *s, const char *path, const char *new_name, lm_bundle_result *out,
                                 lm_error *err);
/* Its pages in another format of keys and values ("q8"), as a new session, which serves
 * itself alone: a model that computes in that format would have other numbers. */
LM_API lm_status lm_state_recode(lm_store *s, const char *name, const char *new_name, const char *format,
                                 lm_bundle_result *out, lm_error *err);
#ifdef __cplusplus
}
#endif
#endif
