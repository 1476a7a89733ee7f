/* state/evict.c - the budget: what is taken, what must go, how bytes are given back.
 *
 * A page is forgotten by the index first and its bytes are given back afterwards: a crash
 * between leaves dead bytes, which the next collection finds (gc.c).  Bytes go by removing
 * a run that has no live page, by a hole in one that nobody has mapped, or by writing a
 * mapped run anew without them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store_impl.h"

enum { LEAVES = 64 };

lm_status lm_store_usage(lm_store *s, lm_index *x, uint64_t *bytes, lm_error *err)
{
    lm_index_totals t;
    LM_TRY(lm_index_sum(x, &t, err));
    /* An entry takes whole blocks, and its lock another while it is in use. */
    *bytes = t.run_bytes + t.entry_bytes + t.entries * 2 * LM_STORE_PAGE_ALIGN + lm_index_bytes(s->dir);
    return LM_OK;
}

static uint64_t free_bytes(const lm_store *s)
{
    struct statvfs v;
    return fstatvfs(s->dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : UINT64_MAX;
}

/* What must go before `need` more bytes fit. */
static lm_status deficit(lm_store *s, uint64_t need, uint64_t *used, uint64_t *out, lm_error *err)
{
    uint64_t all;
    *out = 0;
    LM_TRY(lm_store_usage(s, s->writer, used, err));
    if (lm_add_overflows(*used, need, &all) || all > s->o.budget)
        *out = all - s->o.budget;
    if (s->o.min_free != LM_STORE_NO_FLOOR) {
        uint64_t left = free_bytes(s);
        if (left < s->o.min_free || left - s->o.min_free < need)
            *out = LM_MAX(*out, need - (left < s->o.min_free ? 0 : left - s->o.min_free));
    }
    return LM_OK;
}

/* --- giving bytes back --------------------------------------------------------------------- */

static lm_status remove_run(lm_store *s, int64_t row, const lm_run_id *id, lm_error *err)
{
    char name[LM_RUN_NAME];
    lm_run_name(id, name);
    LM_TRY(lm_io_unlink(s->runs, name, err));
    LM_TRY(lm_index_begin(s->writer, err));
    LM_TRY(lm_index_drop_run(s->writer, row, err));
    return lm_index_commit(s->writer, err);
}

/* The dropped pages of one run, of which *run says what is left. */
static lm_status release_bytes(lm_store *s, const lm_run_row *run, const lm_page_row *rows, size_t n,
                               bool rewrite, uint64_t *freed, lm_error *err)
{
    uint32_t *slots = NULL;
    uint64_t sum = 0;
    size_t k = 0;
    bool done = false;
    if (run->n_live == 0) {
        *freed += run->bytes;
        return remove_run(s, run->row, &run->id, err);
    }
    lm_status status = LM_NEW(&slots, n, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        if (rows[i].run_row == run->row) {
            slots[k++] = rows[i].slot;
            sum += lm_page_room(rows[i].bytes);
        }
    LM_TRY(status);
    status = lm_run_punch(s->runs, &run->id, slots, k, NULL);
    lm_free(slots);
    if (status == LM_ERR_STATE || status == LM_ERR_TRUNCATED) { /* nobody can read what else is in it */
        *freed += run->bytes;
        return remove_run(s, run->row, &run->id, err);
    }
    if (status == LM_OK) {
        *freed += sum;
        LM_TRY(lm_index_begin(s->writer, err));
        LM_TRY(lm_index_shrink_run(s->writer, run->row, sum, err));
        return lm_index_commit(s->writer, err);
    }
    if (rewrite) {
        LM_TRY(lm_store_copy_runs(s, run, 1, &done, err));
        /* Both copies did not fit for a moment: other pages make way, if any may. */
        if (!done && lm_store_make_room(s, run->live_bytes + run->n_live * (uint64_t)LM_STORE_PAGE_ALIGN, 0,
                                        "a run without removed pages", NULL) == LM_OK)
            LM_TRY(lm_store_copy_runs(s, run, 1, &done, err));
        *freed += done ? sum : 0;
        if (!done)
            return lm_fail(err, LM_ERR_NOSPACE, "no room to write a run anew without removed pages");
    }
    return LM_OK; /* mapped by a session: dead bytes until it closes */
}

/* The bytes of pages that the index no longer has. */
static lm_status give_back(lm_store *s, const lm_page_row *rows, size_t n, bool rewrite, uint64_t *freed,
                           lm_error *err)
{
    lm_run_rows runs = { 0 };
    lm_store_sweep_runs(s);
    lm_status status = lm_index_runs(s->writer, &runs, err);
    for (size_t k = 0; k < runs.n && status == LM_OK; k++) {
        bool ours = false;
        for (size_t i = 0; i < n && !ours; i++)
            ours = rows[i].run_row == runs.rows[k].row;
        if (ours)
            status = release_bytes(s, &runs.rows[k], rows, n, rewrite, freed, err);
    }
    lm_free(runs.rows);
    return status;
}

lm_status lm_store_drop_pages(lm_store *s, const lm_page_row *rows, size_t n, bool rewrite, uint64_t *freed,
                              lm_error *err)
{
    *freed = 0;
    if (n == 0)
        return LM_OK;
    LM_TRY(lm_index_begin(s->writer, err));
    for (size_t i = 0; i < n; i++)
        LM_TRY(lm_index_drop_page(s->writer, rows[i].row, err));
    LM_TRY(lm_index_commit(s->writer, err));
    return give_back(s, rows, n, rewrite, freed, err);
}

/* --- making room ------------------------------------------------------------------------------ */

/* Forgets the worst leaf, looks whether its parent is a leaf by now, and so on until the
 * bytes make up `want`.  Runs that somebody has mapped cannot give bytes back: they are
 * set aside for this job.  Within a transaction. */
static lm_status forget_worst(lm_store *s, lm_page_rows *leaves, uint64_t want, lm_page_rows *gone,
                              lm_error *err)
{
    uint64_t sum = 0, now = lm_store_now();
    int64_t free_run = 0; /* the last that was asked and is not mapped */
    for (size_t i = 0; i < leaves->n && sum < want; i++) {
        const lm_page_row row = leaves->rows[i];
        lm_page_row parent;
        if (row.run_row != free_run && lm_run_punch(s->runs, &row.run, NULL, 0, NULL) == LM_ERR_BUSY) {
            LM_TRY(lm_index_busy(s->writer, row.run_row, err));
            continue;
        }
        free_run = row.run_row;
        LM_TRY(lm_index_drop_page(s->writer, row.row, err));
        LM_TRY(lm_grow((void **)&gone->rows, &gone->cap, gone->n + 1, sizeof *gone->rows, err));
        gone->rows[gone->n++] = row;
        sum += lm_page_room(row.bytes);
        lm_status status = lm_index_leaf(s->writer, now, &row.parent, &parent, err);
        if (status == LM_OK) {
            /* Those before i are done with: the list goes on behind them. */
            lm_page_rows rest = { leaves->rows + i + 1, leaves->n - i - 1, 0 };
            size_t k = 0;
            while (k < rest.n && rest.rows[k].worth <= parent.worth)
                k++;
            LM_TRY(lm_grow((void **)&leaves->rows, &leaves->cap, leaves->n + 1, sizeof *leaves->rows, err));
            memmove(leaves->rows + i + 2 + k, leaves->rows + i + 1 + k, (rest.n - k) * sizeof *leaves->rows);
            leaves->rows[i + 1 + k] = parent;
            leaves->n++;
        } else if (status != LM_ERR_NOT_FOUND)
            return status;
    }
    return LM_OK;
}

static lm_status no_room(const lm_store *s, const char *what, uint64_t need, uint64_t used, lm_error *err)
{
    uint64_t all;
    if (!lm_add_overflows(used, need, &all) && all <= s->o.budget) {
        lm_hint(err, "free space on that disk, or name a folder on another with --state-dir");
        return lm_fail(err, LM_ERR_NOSPACE,
                       "%s needs %" PRIu64 " bytes, the disk has %" PRIu64 " free of which %" PRIu64
                       " are always left, and nothing may be evicted",
                       what, need, free_bytes(s), s->o.min_free);
    }
    lm_hint(err, "raise --state-budget, or remove sessions");
    return lm_fail(err, LM_ERR_NOSPACE,
                   "%s needs %" PRIu64 " bytes, the store has %" PRIu64 " of its %" PRIu64
                   " in use and nothing that may be evicted",
                   what, need, used, s->o.budget);
}

lm_status lm_store_make_room(lm_store *s, uint64_t n_bytes, size_t n_pages, const char *what, lm_error *err)
{
    lm_page_rows leaves = { 0 }, gone = { 0 };
    uint64_t used = 0, short_of = 0;
    uint64_t need = n_bytes + LM_INDEX_ROOM + (uint64_t)n_pages * 1024;
    lm_status status;
    bool asked = false;
    for (;;) {
        uint64_t freed = 0;
        gone.n = 0;
        status = deficit(s, need, &used, &short_of, err);
        if (status != LM_OK || short_of == 0)
            break;
        /* More than the budget could ever hold: evicting everything would not help. */
        if (need > s->o.budget)
            leaves.n = 0;
        else {
            lm_store_sweep_runs(s);
            status = lm_index_leaves(s->writer, lm_store_now(), 0, LEAVES, &leaves, err);
        }
        if (status != LM_OK)
            break;
        if (leaves.n == 0 && !asked && need <= s->o.budget) {
            asked = true; /* what sessions had mapped when it was forgotten may be free by now */
            status = lm_store_give_back_dead(s, false, &freed, err);
            if (status != LM_OK)
                break;
            continue;
        }
        if (leaves.n == 0) {
            status = no_room(s, what, need, used, err);
            break;
        }
        status = lm_index_begin(s->writer, err);
        if (status == LM_OK)
            status = forget_worst(s, &leaves, short_of, &gone, err);
        if (status == LM_OK)
            status = lm_index_commit(s->writer, err);
        if (status == LM_OK && gone.n)
            status = give_back(s, gone.rows, gone.n, false, &freed, err);
        if (status != LM_OK)
            break;
        atomic_fetch_add_explicit(&s->pages_evicted, gone.n, memory_order_relaxed);
    }
    lm_free(gone.rows);
    lm_free(leaves.rows);
    return status;
}

/* --- writing runs anew -------------------------------------------------------------------------- */

typedef struct {
    lm_run_page page;
    int64_t row;
} copied;

static bool before(const copied *a, const copied *b)
{
    int c = memcmp(&a->page.root, &b->page.root, sizeof a->page.root);
    return c ? c < 0 : a->page.first < b->page.first;
}

/* Chains lie in order, so that a mount reads forward.  Merge sort, bottom up: stable. */
static lm_status sort_copied(copied *v, size_t n, lm_error *err)
{
    copied *tmp = NULL;
    LM_TRY(LM_NEW(&tmp, n, err));
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * w) {
            size_t mid = LM_MIN(lo + w, n), hi = LM_MIN(lo + 2 * w, n), a = lo, b = mid;
            for (size_t k = lo; k < hi; k++)
                tmp[k] = b == hi || (a < mid && !before(&v[b], &v[a])) ? v[a++] : v[b++];
        }
        memcpy(v, tmp, n * sizeof *v);
    }
    lm_free(tmp);
    return LM_OK;
}

/* Pages of a run that are live and good; bad ones are left behind, which forgets them. */
static lm_status gather(lm_store *s, const lm_run_row *run, lm_run *r, copied **v, size_t *n, size_t *cap,
                        lm_error *err)
{
    lm_page_rows rows = { 0 };
    lm_status status = lm_index_pages_of(s->writer, run->row, &rows, err);
    for (size_t i = 0; i < rows.n && status == LM_OK; i++) {
        const lm_page_row *row = &rows.rows[i];
        if (row->slot >= lm_run_n_pages(r) || lm_run_verify(r, row->slot, NULL) != LM_OK ||
            !lm_digest_equal(&lm_run_page_at(r, row->slot)->name, &row->name))
            continue;
        status = lm_grow((void **)v, cap, *n + 1, sizeof **v, err);
        if (status == LM_OK)
            (*v)[(*n)++] = (copied){ *lm_run_page_at(r, row->slot), row->row };
    }
    lm_free(rows.rows);
    return status;
}

static lm_status move_rows(lm_store *s, const lm_run_row *runs, size_t n_runs, const copied *v,
                           const lm_run_page *pages, size_t n, const lm_run_id *id, lm_error *err)
{
    int64_t row = 0;
    LM_TRY(lm_index_begin(s->writer, err));
    if (n) {
        uint64_t at = lm_run_data_at(pages, n);
        LM_TRY(lm_index_add_run(s->writer, id, lm_run_size(pages, n), (uint32_t)n, &row, err));
        for (size_t i = 0; i < n; i++) {
            LM_TRY(lm_index_move_page(s->writer, v[i].row, row, (uint32_t)i, at, err));
            at += lm_page_room(pages[i].geometry.page_bytes);
        }
    }
    for (size_t k = 0; k < n_runs; k++)
        LM_TRY(lm_index_drop_run(s->writer, runs[k].row, err));
    return lm_index_commit(s->writer, err);
}

lm_status lm_store_copy_runs(lm_store *s, const lm_run_row *runs, size_t n_runs, bool *done, lm_error *err)
{
    lm_run **open = NULL;
    lm_run_page *pages = NULL;
    copied *v = NULL;
    size_t n = 0, cap = 0;
    lm_run_id id = { { 0 } };
    uint64_t used, short_of = 0;
    char name[LM_RUN_NAME];
    *done = false;
    lm_status status = lm_new((void **)&open, n_runs, sizeof *open, err);
    for (size_t k = 0; k < n_runs && status == LM_OK; k++) {
        status = lm_run_open(&open[k], s->runs, &runs[k].id, err);
        if (status == LM_OK)
            status = gather(s, &runs[k], open[k], &v, &n, &cap, err);
    }
    if (status == LM_OK)
        status = LM_NEW(&pages, n, err);
    if (status == LM_OK)
        status = sort_copied(v, n, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        pages[i] = v[i].page;
    if (status == LM_OK && n)
        status = deficit(s, lm_run_size(pages, n) + LM_INDEX_ROOM, &used, &short_of, err);
    if (status == LM_OK && short_of == 0) {
        if (n)
            status = lm_run_write(s->runs, pages, n, NULL, &id, NULL, err);
        if (status == LM_OK) {
            status = move_rows(s, runs, n_runs, v, pages, n, &id, err);
            if (status != LM_OK && n) {
                lm_index_rollback(s->writer);
                lm_run_name(&id, name);
                (void)!lm_io_unlink(s->runs, name, NULL);
            }
        }
        *done = status == LM_OK;
    }
    for (size_t k = 0; k < n_runs && open; k++) {
        lm_run_release(open[k]);
        if (*done) {
            lm_run_name(&runs[k].id, name);
            lm_status gone = lm_io_unlink(s->runs, name, err);
            status = status == LM_OK ? gone : status;
        }
    }
    lm_free(open);
    lm_free(pages);
    lm_free(v);
    return status;
}
