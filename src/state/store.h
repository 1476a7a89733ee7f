/* state/store.h - the durable store: what the engine and the verbs are written against.
 *
 *   lm_store_find()    the longest prefix of these tokens that is kept, mounted
 *   lm_store_put()     full pages of a live session, written behind its back
 *   lm_store_sleep()   a session as an entry: only what the store lacks is written
 *   lm_store_entry(), lm_store_mount()   the entry, and its pages in place
 *
 * One disk thread does all writing, in order.  Nothing here waits for it but what says
 * so.  Several processes may use one store: one writes at a time (a locked file),
 * readers are never blocked.  docs/design/state.md has the invariants.
 *
 * Trust:   the folder's contents are hostile until checked; names of sessions come
 *          from clients and never become paths (T4).
 * Threads: calls on one store from any thread, unless said otherwise; a mount and its
 *          pages belong to the engine's thread.
 */
#ifndef LM_STORE_H
#define LM_STORE_H

#include "state/index.h"
#include "state/pool.h"

typedef struct lm_store lm_store;

enum { LM_STORE_EXPIRE_DAYS = 30, LM_STORE_MIN_TOKENS = 256, LM_STORE_CLOSE_MS = 100 };
#define LM_STORE_BUDGET   (UINT64_C(8) << 30) /* or a tenth of the free space if that is less */
#define LM_STORE_MIN_FREE (UINT64_C(5) << 30)
#define LM_STORE_NO_FLOOR UINT64_MAX

typedef struct {
    const char *folder;       /* absolute or relative; made when missing */
    uint64_t budget;          /* bytes of everything in the folder; 0: the rule above */
    uint64_t min_free;        /* bytes left free on the disk; 0: LM_STORE_MIN_FREE; LM_STORE_NO_FLOOR: none */
    uint32_t expire_days;     /* of automatic pages; 0: LM_STORE_EXPIRE_DAYS */
    uint32_t max_queue;       /* jobs that may wait; 0: 64 */
    uint64_t max_queue_bytes; /* of pages that may wait; 0: 1 GiB */
    bool no_writes;           /* find and wake alone */
} lm_store_options;

/* LM_STATE_DIR, else $XDG_STATE_HOME/lemma, else ~/.local/state/lemma; gives *out. */
lm_status lm_store_default_folder(char **out, lm_error *err) LM_NODISCARD;
/* Refuses by name a folder of another user, one that others may enter, symbolic links
 * and network file systems (on which SQLite's log fails).  A damaged index:
 * LM_ERR_STATE, and lm_store_rebuild() repairs it. */
lm_status lm_store_open(lm_store **out, const lm_store_options *o, lm_error *err) LM_NODISCARD;
/* Waits at most LM_STORE_CLOSE_MS for automatic pages, and for what was slept until it
 * is written.  Every page that was handed over is released.  NULL is fine.  Mounts may
 * outlive the store. */
void lm_store_close(lm_store *s);
/* `closing` is called when the store begins to close, on that thread, while it still
 * takes pages; one for each ctx. */
lm_status lm_store_listen(lm_store *s, void (*closing)(void *ctx), void *ctx, lm_error *err) LM_NODISCARD;
void lm_store_unlisten(lm_store *s, const void *ctx);
/* Waits until the queue is empty, or ms; lm_store_close() then waits so much less. */
void lm_store_wait(lm_store *s, unsigned ms);
/* Waits until the queue is empty. */
void lm_store_flush(lm_store *s);
const char *lm_store_folder(const lm_store *s);
/* NULL, or the name of a file system that stores are refused on (of statfs). */
const char *lm_store_refused_fs(long type);

/* --- automatic pages ---------------------------------------------------------------- */

typedef struct {
    uint32_t group, index; /* of a full page of the chain */
    const uint8_t *bytes;  /* immutable, kept until it is released */
} lm_store_page;

/* Told on the thread that calls lm_store_poll() or lm_store_close(): the pages may go. */
typedef void (*lm_store_release)(void *ctx, lm_status status);

typedef struct {
    const lm_space *space;
    const int32_t *tokens; /* of the chain from its start; copied */
    uint32_t n_tokens;
    const lm_store_page *pages; /* the list is copied, the bytes are kept */
    size_t n_pages;
    uint64_t cost_us; /* what computing these pages took; shared out by bytes */
    lm_store_release release;
    void *ctx;
} lm_store_put_args;

/* Returns at once.  LM_ERR_BUSY when the queue is full, LM_ERR_NOSPACE or LM_ERR_IO
 * while the disk refuses: then nothing was kept and `release` is not called. */
lm_status lm_store_put(lm_store *s, const lm_store_put_args *a, lm_error *err) LM_NODISCARD;
/* Calls the releases that are due.  Cheap: the engine calls it between steps. */
void lm_store_poll(lm_store *s);

enum {
    LM_STORE_FIRST_WRITE = 1, /* the first automatic page ever of this store was written */
    LM_STORE_TROUBLE = 2      /* automatic writing stopped: *err has why */
};
/* What the person should be told, each thing once. */
uint32_t lm_store_events(lm_store *s, lm_error *err);

/* --- mounts --------------------------------------------------------------------------- */

typedef struct lm_mount lm_mount;

/* The longest prefix of `tokens` whose pages are kept for this space, at page borders,
 * never more than `n`; tokens are compared.  *out is NULL when there is none. */
lm_status lm_store_find(lm_store *s, const lm_space *space, const int32_t *tokens, uint32_t n, lm_mount **out,
                        lm_error *err) LM_NODISCARD;
uint32_t lm_mount_n_tokens(const lm_mount *m);
uint32_t lm_mount_n_groups(const lm_mount *m);
uint32_t lm_mount_n_pages(const lm_mount *m); /* of each group's table */
/* Page i of a group with one more reference (lm_pool_drop() gives it back), or NULL
 * behind a window.  A last page that is not full is private memory, copied on write;
 * every other page is read-only. */
lm_page *lm_mount_take(lm_mount *m, uint32_t group, uint32_t i);
/* S5: the page is what was written, or LM_ERR_STATE; computed once, remembered. */
lm_status lm_mount_verify(lm_mount *m, uint32_t group, uint32_t i, lm_error *err);
/* After a step that read it: LM_ERR_IO when a file was cut under the mapping. */
lm_status lm_mount_check(const lm_mount *m, lm_error *err);
/* Faults in and verifies every page on the disk thread, in order, until the mount is
 * closed; other jobs go first. */
void lm_mount_warm(lm_store *s, lm_mount *m);
/* Whether warming ended; *good is the number of tokens whose pages are all good. */
bool lm_mount_warmed(const lm_mount *m, uint32_t *good);
/* Tells the store of a page that failed its check, so that it is written anew. */
void lm_mount_report_bad(lm_store *s, lm_mount *m, uint32_t group, uint32_t i);
/* One more handle on the same mount. */
void lm_mount_retain(lm_mount *m);
/* Gives up the handle; pages that were taken keep what they need. */
void lm_mount_close(lm_mount *m);

/* --- entries ---------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    const char *title, *labels, *metadata, *messages, *parent; /* NULL: "" */
    uint32_t flags;                                            /* LM_ENTRY_… */
    const lm_state_id *id;
    const lm_space *space;
    const int32_t *tokens;
    uint32_t n_tokens;
    /* For each group [ceil(n_tokens / page_tokens)] pages' bytes; NULL behind a window, or
     * where the store is known to have the page. */
    const uint8_t *const *pages[LM_STATE_GROUPS];
    uint64_t cost_us; /* of the pages that the store lacks */
    const void *sampler;
    size_t n_sampler;
    const float *logits;
    uint32_t n_logits;
} lm_sleep;

typedef struct {
    uint32_t pages_written, pages_reused;
    uint64_t bytes_written; /* run file and entry file */
    uint64_t entry_bytes;
} lm_sleep_report;

/* Returns when the entry is durable, or failed and left the old one.  LM_ERR_NOSPACE
 * tells both sizes when the budget does not take it. */
lm_status lm_store_sleep(lm_store *s, const lm_sleep *e, lm_sleep_report *out, lm_error *err) LM_NODISCARD;
/* The same behind the session's back: everything but the pages' bytes is copied, they
 * are kept until `release`, whose status is the outcome. */
lm_status lm_store_sleep_start(lm_store *s, const lm_sleep *e, lm_store_release release, void *ctx,
                               lm_error *err) LM_NODISCARD;
/* Reads and checks the entry.  Gives *out (lm_entry_free()). */
lm_status lm_store_entry(lm_store *s, const char *name, lm_entry **out, lm_error *err) LM_NODISCARD;
/* Mounts the first n_tokens of it, or fewer: as many as its pages allow (0: *out is
 * NULL, everything is replayed). */
lm_status lm_store_mount(lm_store *s, const lm_entry *e, uint32_t n_tokens, lm_mount **out,
                         lm_error *err) LM_NODISCARD;
/* A second name for the same pages; its parent is `name`.  LM_ERR_USAGE if it exists. */
lm_status lm_store_fork(lm_store *s, const char *name, const char *new_name, lm_error *err) LM_NODISCARD;
/* Removes the entry and the pages that only its conversation uses; their bytes are gone
 * when this returns. */
lm_status lm_store_remove(lm_store *s, const char *name, lm_error *err) LM_NODISCARD;
lm_status lm_store_list(lm_store *s, bool (*visit)(void *ctx, const lm_entry_row *row), void *ctx,
                        lm_error *err) LM_NODISCARD;

/* Held by whoever goes on in an entry.  LM_ERR_BUSY names the holder's pid. */
typedef struct lm_entry_lock lm_entry_lock;
lm_status lm_store_lock(lm_store *s, const char *name, lm_entry_lock **out, lm_error *err) LM_NODISCARD;
void lm_store_unlock(lm_entry_lock *l); /* NULL is fine */

/* --- entries that travel: bundle.c, recode.c --------------------------------------------------- */

typedef struct {
    uint32_t n_tokens, pages;
    uint64_t page_bytes, file_bytes; /* of the pages as they lie in the store; of the bundle */
} lm_bundle_report;
/* Writes the entry with its pages as one zstd file (docs/formats/bundle.md), whole or not
 * at all; refuses to write over a file.  LM_ERR_STATE: a page is missing or damaged. */
lm_status lm_store_export(lm_store *s, const char *name, const char *path, lm_bundle_report *out,
                          lm_error *err) LM_NODISCARD;
/* Reads a bundle into an entry of its own name or `new_name` (not NULL), which must not be
 * there.  Its pages serve it alone (S9).  LM_ERR_STATE, TRUNCATED, UNSUPPORTED: the file;
 * LM_ERR_NOSPACE has both sizes.  `name` [LM_MAX_ENTRY_NAME + 1] takes the entry's name. */
lm_status lm_store_import(lm_store *s, const char *path, const char *new_name, char *name,
                          lm_bundle_report *out, lm_error *err) LM_NODISCARD;
/* The entry's pages in another cache format, as a new entry; they serve it alone, since
 * computing in that format would have given others. */
lm_status lm_store_recode(lm_store *s, const char *name, const char *new_name, const char *format,
                          lm_bundle_report *out, lm_error *err) LM_NODISCARD;
/* Removes private pages that no entry uses: of a bundle that was verified, or of an import
 * that failed. */
lm_status lm_store_sweep_private(lm_store *s, lm_error *err) LM_NODISCARD;

/* --- housekeeping ------------------------------------------------------------------------- */

typedef struct {
    uint64_t budget, bytes; /* bytes: of everything in the folder */
    lm_index_totals index;
    uint64_t hits, misses, tokens_found; /* of lm_store_find(), this process */
    uint64_t pages_written, pages_reused, pages_evicted, puts_dropped;
    uint32_t mapped_runs;
} lm_store_stats;
lm_status lm_store_get_stats(lm_store *s, lm_store_stats *out, lm_error *err) LM_NODISCARD;

typedef struct {
    uint32_t runs_merged, runs_removed, pages_expired, orphans, entries_expired;
    uint64_t bytes_freed;
} lm_gc_report;
/* Entries (kept ones too if `kept`) and automatic pages not used for so long; their bytes
 * are gone when this returns.  *out may be NULL. */
lm_status lm_store_clear(lm_store *s, uint64_t older_seconds, bool kept, lm_gc_report *out,
                         lm_error *err) LM_NODISCARD;
/* Expiry, dead bytes, what crashes left, merging of small runs. */
lm_status lm_store_gc(lm_store *s, lm_gc_report *out, lm_error *err) LM_NODISCARD;

typedef struct {
    uint32_t runs, pages, entries;
    uint32_t bad_runs, bad_pages, bad_entries, missing_pages;
} lm_fsck_report;
/* Reads everything.  `complain` (may be NULL) hears of each damage, one sentence each. */
lm_status lm_store_fsck(lm_store *s, lm_fsck_report *out, void (*complain)(void *ctx, const char *text),
                        void *ctx, lm_error *err) LM_NODISCARD;
/* Makes the index anew from run files and entry files; for a store that does not open
 * too, so it takes the folder.  Other processes go on with the new one. */
lm_status lm_store_rebuild(const char *folder, lm_fsck_report *out, lm_error *err) LM_NODISCARD;

#endif
