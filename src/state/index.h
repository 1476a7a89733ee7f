/* state/index.h - where pages lie and what they are worth: SQLite in WAL mode.
 *
 * The index is a convenience: it can be rebuilt from run files and entry files, and
 * nothing that it says is believed without looking (a page's name and tokens are read
 * in the run's own table).  A damaged index is therefore a miss or a named error.
 *
 * One connection writes, under the store's writer lock; another reads and is never
 * blocked by it.
 *
 * Trust:   rows are checked where they are used.
 * Threads: a connection belongs to one thread at a time.
 */
#ifndef LM_STATE_INDEX_H
#define LM_STATE_INDEX_H

#include <stdint.h>

#include "state/entry.h"

typedef struct lm_index lm_index;

#define LM_INDEX_FILE "index.db"
enum { LM_INDEX_ROOM = 512 << 10 }; /* what a transaction may add besides its pages (S6) */

/* `folder` is absolute and without symbolic links.  Makes the file (0600) when it is
 * missing.  A damaged one: LM_ERR_STATE with the hint to rebuild it. */
lm_status lm_index_open(lm_index **out, int dir, const char *folder, bool writer, lm_error *err) LM_NODISCARD;
void lm_index_close(lm_index *x); /* NULL is fine */
/* Whether the file under the index's name is another one by now (rebuilt). */
bool lm_index_replaced(const lm_index *x, int dir);
uint64_t lm_index_bytes(int dir); /* of its files on disk */

lm_status lm_index_begin(lm_index *x, lm_error *err) LM_NODISCARD;
lm_status lm_index_commit(lm_index *x, lm_error *err) LM_NODISCARD; /* durable; rolled back on failure */
/* One snapshot for many reads: three times cheaper than a read at a time. */
lm_status lm_index_read(lm_index *x, bool on, lm_error *err) LM_NODISCARD;
void lm_index_rollback(lm_index *x); /* fine without a transaction */
/* Empties the log, so that what was deleted is nowhere (secure_delete). */
lm_status lm_index_scrub(lm_index *x, lm_error *err) LM_NODISCARD;
/* LM_ERR_STATE with SQLite's first complaint. */
lm_status lm_index_check(lm_index *x, lm_error *err) LM_NODISCARD;
lm_status lm_index_empty(lm_index *x, lm_error *err) LM_NODISCARD; /* forgets everything */

/* --- runs and pages ------------------------------------------------------------ */

typedef struct {
    int64_t row;
    lm_run_id id;
    uint64_t bytes; /* that it takes on disk, without holes */
    uint32_t n_pages, n_live;
    uint64_t live_bytes;
} lm_run_row;

typedef struct {
    int64_t row, run_row;
    lm_digest name, parent;
    lm_run_id run;
    uint32_t slot, flags;
    uint64_t at, bytes;
    double worth; /* of a leaf: seconds it is expected to save, per byte */
} lm_page_row;

lm_status lm_index_add_run(lm_index *x, const lm_run_id *id, uint64_t n_bytes, uint32_t n_pages, int64_t *row,
                           lm_error *err) LM_NODISCARD;
lm_status lm_index_drop_run(lm_index *x, int64_t row, lm_error *err) LM_NODISCARD; /* and its pages */
lm_status lm_index_shrink_run(lm_index *x, int64_t row, uint64_t n_bytes, lm_error *err) LM_NODISCARD;
/* *added is false when a page of that name is there already. */
lm_status lm_index_add_page(lm_index *x, int64_t run_row, uint32_t slot, const lm_run_page *p, uint64_t now,
                            bool *added, int64_t *row, lm_error *err) LM_NODISCARD;
/* LM_ERR_NOT_FOUND leaves *err alone: a miss is no failure. */
lm_status lm_index_find_page(lm_index *x, const lm_digest *name, lm_page_row *out,
                             lm_error *err) LM_NODISCARD;
lm_status lm_index_drop_page(lm_index *x, int64_t row, lm_error *err) LM_NODISCARD;
lm_status lm_index_move_page(lm_index *x, int64_t row, int64_t run_row, uint32_t slot, uint64_t at,
                             lm_error *err) LM_NODISCARD;
lm_status lm_index_touch_page(lm_index *x, int64_t row, uint64_t now, lm_error *err) LM_NODISCARD;

/* Growing lists, freed with lm_free(). */
typedef struct {
    lm_page_row *rows;
    size_t n, cap;
} lm_page_rows;
typedef struct {
    lm_run_row *rows;
    size_t n, cap;
} lm_run_rows;

lm_status lm_index_runs(lm_index *x, lm_run_rows *out, lm_error *err) LM_NODISCARD; /* smallest first */
lm_status lm_index_pages_of(lm_index *x, int64_t run_row, lm_page_rows *out, lm_error *err) LM_NODISCARD;
/* Pages that no search finds, private ones and unfinished ends, and that no entry uses. */
lm_status lm_index_lonely(lm_index *x, size_t max, lm_page_rows *out, lm_error *err) LM_NODISCARD;
/* Notes what the entry uses now; later, those of them that no entry uses and no page follows. */
lm_status lm_index_note_uses(lm_index *x, const char *file, lm_error *err) LM_NODISCARD;
lm_status lm_index_superseded(lm_index *x, size_t max, lm_page_rows *out, lm_error *err) LM_NODISCARD;
/* The pages that no other page follows, no kept entry uses, lm_index_keep() does not
 * protect and that do not lie in a run of lm_index_busy(): worst first by expected
 * seconds saved per byte.  `before` 0: all; else only those not used since then. */
lm_status lm_index_leaves(lm_index *x, uint64_t now, uint64_t before, size_t max, lm_page_rows *out,
                          lm_error *err) LM_NODISCARD;
/* The same of one page by its name: whether it is such a leaf by now. */
lm_status lm_index_leaf(lm_index *x, uint64_t now, const lm_digest *name, lm_page_row *out,
                        lm_error *err) LM_NODISCARD;
lm_status lm_index_children(lm_index *x, const lm_digest *parent, lm_page_rows *out,
                            lm_error *err) LM_NODISCARD;
/* For the rest of this job: this page is not a leaf; this run cannot be punched. */
lm_status lm_index_keep(lm_index *x, int64_t page_row, lm_error *err) LM_NODISCARD;
lm_status lm_index_busy(lm_index *x, int64_t run_row, lm_error *err) LM_NODISCARD;
lm_status lm_index_forget_marks(lm_index *x, lm_error *err) LM_NODISCARD;

/* --- entries ---------------------------------------------------------------------- */

typedef struct {
    int64_t row;
    char file[LM_ENTRY_FILE];
    uint8_t serial[16];
    char *name, *title, *labels, *metadata, *parent; /* freed with lm_entry_row_clear() */
    uint32_t n_tokens, flags;
    uint64_t bytes, created, used;
} lm_entry_row;
void lm_entry_row_clear(lm_entry_row *r);

/* Adds or replaces the row; lm_index_forget_uses() then lets go of the pages that an
 * earlier entry of this file used. */
lm_status lm_index_put_entry(lm_index *x, const char *file, const lm_entry *e, uint64_t n_bytes, uint64_t now,
                             int64_t *row, lm_error *err) LM_NODISCARD;
lm_status lm_index_forget_uses(lm_index *x, int64_t entry_row, lm_error *err) LM_NODISCARD;
lm_status lm_index_use_page(lm_index *x, int64_t entry_row, int64_t page_row, lm_error *err) LM_NODISCARD;
lm_status lm_index_page_users(lm_index *x, int64_t page_row, uint32_t *n, lm_error *err) LM_NODISCARD;
lm_status lm_index_drop_entry(lm_index *x, const char *file, lm_error *err) LM_NODISCARD;
lm_status lm_index_touch_entry(lm_index *x, const char *file, uint64_t now, lm_error *err) LM_NODISCARD;
/* By name, or every one in turn; `visit` returns false to stop. */
lm_status lm_index_entries(lm_index *x, bool (*visit)(void *ctx, const lm_entry_row *row), void *ctx,
                           lm_error *err) LM_NODISCARD;
/* Entries whose file may be newer than their row (a crash between the two). */
lm_status lm_index_pending(lm_index *x, const char *file, bool on, lm_error *err) LM_NODISCARD;
lm_status lm_index_pending_first(lm_index *x, char file[LM_ENTRY_FILE], bool *any,
                                 lm_error *err) LM_NODISCARD;

typedef struct {
    uint64_t pages, page_bytes, runs, run_bytes, entries, entry_bytes, kept_pages, hits;
} lm_index_totals;
lm_status lm_index_sum(lm_index *x, lm_index_totals *out, lm_error *err) LM_NODISCARD;
/* Small numbers that live with the store; a missing one is 0. */
lm_status lm_index_get_number(lm_index *x, const char *key, int64_t *out, lm_error *err) LM_NODISCARD;
lm_status lm_index_set_number(lm_index *x, const char *key, int64_t value, lm_error *err) LM_NODISCARD;

#endif
