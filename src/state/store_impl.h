/* state/store_impl.h - the inside of a store, shared by store.c, disk.c, put.c, mount.c,
 * evict.c and fsck.c; nobody else includes it.
 *
 * Threads: what each lock guards stands beside it. */
#ifndef LM_STORE_IMPL_H
#define LM_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "state/store.h"

enum { LM_STORE_QUEUE = 64, LM_STORE_RETRY_SECONDS = 60, LM_STORE_LOCK_MS = 30000 };

typedef struct lm_job lm_job;
struct lm_job {
    lm_job *next;
    /* On the disk thread, with the writer lock if `writes`. */
    lm_status (*run)(lm_store *s, lm_job *j, lm_error *err);
    void (*free)(lm_job *j); /* NULL: the job is its waiter's */
    bool writes, automatic, done;
    uint64_t bytes; /* of pages that it holds */
    lm_store_release release;
    void *ctx;
    lm_status status;
    lm_error err;
};

struct lm_listener {
    void (*closing)(void *ctx);
    void *ctx;
};

struct lm_store {
    char *folder; /* absolute, without symbolic links */
    int dir, runs, entries, locks;
    lm_store_options o; /* resolved: no zeros */
    lm_index *writer;   /* the disk thread's alone */

    struct lm_listener *listeners; /* the thread's that opens and closes */
    size_t n_listeners, cap_listeners;

    pthread_mutex_t read_lock; /* guards reader */
    lm_index *reader;

    pthread_mutex_t runs_lock; /* guards the list of mapped runs */
    lm_run **mapped;
    size_t n_mapped, cap_mapped;

    pthread_mutex_t lock; /* guards all below but atomics */
    pthread_cond_t work, idle;
    lm_job *first, *last, *finished, *running;
    size_t n_jobs;
    uint64_t queued_bytes;
    bool stopping, thread_runs, orphaned;
    unsigned waited_ms; /* of LM_STORE_CLOSE_MS, before closing */
    pthread_t thread;
    lm_error trouble;
    bool trouble_told, first_write, first_told;
    uint64_t retry_at; /* seconds: automatic writing is off until then */
    int64_t *touched;  /* rows of pages that were found since the last touch job */
    size_t n_touched, cap_touched;
    bool touch_queued;

    lm_run_watch watch; /* stop: automatic jobs end at their next megabyte */
    atomic_uint_fast64_t hits, misses, tokens_found, pages_written, pages_reused, pages_evicted, puts_dropped;
};

/* --- disk.c */
lm_status lm_disk_start(lm_store *s, lm_error *err);
/* Queues; a job that is not automatic is always taken.  The queue owns it if j->free. */
lm_status lm_disk_submit(lm_store *s, lm_job *j, lm_error *err);
/* Queues a job on the caller's stack and waits for it. */
lm_status lm_disk_wait(lm_store *s, lm_job *j, lm_error *err);
/* The end; gives true when the thread still runs and frees the store itself. */
bool lm_disk_stop(lm_store *s);

/* --- store.c */
void lm_store_free(lm_store *s);
uint64_t lm_store_now(void); /* seconds since 1970 */
/* The one writer: LM_ERR_BUSY after wait_ms, or when `automatic` and the store closes.
 * Reopens an index that was rebuilt. */
lm_status lm_store_writer_lock(lm_store *s, unsigned wait_ms, bool automatic, int *fd,
                               lm_error *err) LM_NODISCARD;
void lm_store_writer_unlock(int fd);
/* Opens the four folders into s->dir, runs, entries, locks and s->folder. */
lm_status lm_store_folders(lm_store *s, const char *folder, lm_error *err) LM_NODISCARD;
/* What crashes left: temporary files, runs and entries that the index does not know.
 * Under the writer lock. */
lm_status lm_store_reconcile(lm_store *s, lm_gc_report *report, lm_error *err) LM_NODISCARD;
/* Names in a folder that end so, one after the other; freed by the caller. */
lm_status lm_store_names(int dir, char ***names, size_t *n, lm_error *err) LM_NODISCARD;
void lm_store_names_free(char **names, size_t n);

/* --- mount.c */
/* The run, mapped once for the process; gives a reference. */
lm_status lm_store_run(lm_store *s, const lm_run_id *id, lm_run **out, lm_error *err) LM_NODISCARD;
/* Within read_lock: opens the reader again when the index was rebuilt. */
lm_status lm_store_fresh_reader(lm_store *s, lm_error *err) LM_NODISCARD;
/* Unmaps the runs that nobody uses. */
void lm_store_sweep_runs(lm_store *s);

/* --- put.c */
/* Writes these pages as a run and indexes them; within the writer lock.  Slots are the
 * pages' order. */
lm_status lm_store_write_run(lm_store *s, const lm_run_page *pages, size_t n, lm_run_watch *watch,
                             lm_run_id *id, lm_error *err) LM_NODISCARD;
/* Enters an entry and the pages it pins; *missing counts those that are not there.  With
 * `forget`, the pages of an earlier entry of this name are let go. */
lm_status lm_store_index_entry(lm_store *s, const char *file, const lm_entry *e, uint64_t n_bytes,
                               uint64_t used, bool forget, uint32_t *missing, lm_error *err) LM_NODISCARD;

/* Names the entry: index, file, index again (the drawing in put.c).  `whole`: every page
 * must be there.  Fills serial and created. */
lm_status lm_store_commit_entry(lm_store *s, lm_entry *e, bool whole, uint64_t *n_bytes,
                                lm_error *err) LM_NODISCARD;

/* --- private.c: pages that serve one entry alone, written batch by batch within one job */
typedef struct {
    lm_store *s;
    lm_entry *e;        /* its groups' geometry, root and counts are set; places are filled here */
    lm_digest *names;   /* [n_groups][n_pages] */
    lm_run_page *pages; /* of the batch; their bytes are ours */
    size_t n, cap;
    uint64_t bytes;
} lm_private;
/* Makes salt, roots and names for e's tokens, and room for its pages. */
lm_status lm_private_open(lm_private *p, lm_store *s, lm_entry *e, const char *what,
                          lm_error *err) LM_NODISCARD;
/* Page i of group g; adopts `bytes` (lm_new()) in any case. */
lm_status lm_private_add(lm_private *p, uint32_t g, uint32_t i, uint8_t *bytes, lm_error *err) LM_NODISCARD;
/* Writes what is left and names the entry. */
lm_status lm_private_commit(lm_private *p, lm_error *err) LM_NODISCARD;
/* Frees; after a failure removes what was written.  Fine on a zeroed one. */
void lm_private_close(lm_private *p, bool failed);
/* Pages that neither a search nor an entry can reach (lm_index_lonely()), within the writer
 * lock; `rewrite` as in lm_store_drop_pages(). */
lm_status lm_private_sweep(lm_store *s, bool rewrite, uint64_t *freed, lm_error *err) LM_NODISCARD;
/* LM_ERR_USAGE when there is an entry of that name. */
lm_status lm_store_must_be_new(lm_store *s, const char *name, lm_error *err) LM_NODISCARD;

/* --- evict.c, gc.c (all within the writer lock, on the disk thread) */
/* Bytes of everything in the folder, by the index and the index's own files. */
lm_status lm_store_usage(lm_store *s, lm_index *x, uint64_t *bytes, lm_error *err) LM_NODISCARD;
/* Makes room for n_bytes and n_pages more rows, or LM_ERR_NOSPACE with both sizes. */
lm_status lm_store_make_room(lm_store *s, uint64_t n_bytes, size_t n_pages, const char *what,
                             lm_error *err) LM_NODISCARD;
/* After automatic pages were written: a collection, if one is due. */
void lm_store_gc_later(lm_store *s);
/* Forgets these pages and gives their bytes back: whole runs are removed, holes are made
 * in others; with `rewrite`, a run that is mapped is written anew without them. */
lm_status lm_store_drop_pages(lm_store *s, const lm_page_row *rows, size_t n, bool rewrite, uint64_t *freed,
                              lm_error *err) LM_NODISCARD;
/* Gives back what the index has forgotten and the runs still have: bytes that a session had
 * mapped, or that a crash left. */
lm_status lm_store_give_back_dead(lm_store *s, bool rewrite, uint64_t *freed, lm_error *err) LM_NODISCARD;
/* Writes the live pages of these runs into one new run and removes the old ones; nothing
 * happens when the budget does not hold both for a moment. */
lm_status lm_store_copy_runs(lm_store *s, const lm_run_row *runs, size_t n, bool *done,
                             lm_error *err) LM_NODISCARD;

#endif
