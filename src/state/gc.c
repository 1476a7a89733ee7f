/* state/gc.c - removing conversations, expiry, dead bytes, merging, statistics. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "state/io.h"
#include "state/store_impl.h"

/* Runs below SMALL are merged when there are more than MANY of them, into runs of at most
 * MERGED bytes: a long life stays a few dozen mappings. */
enum {
    SMALL = 4 << 20,
    MANY = 8,
    TOO_MANY = 32,
    DAY = 86400,
    MERGED = 256 << 20,
    DROP_BATCH = 256,
    TREE_MAX = 1 << 20
};

/* --- removing a conversation ----------------------------------------------------------------- */

static lm_status push(lm_page_rows *rows, const lm_page_row *row, lm_error *err)
{
    LM_TRY(lm_grow((void **)&rows->rows, &rows->cap, rows->n + 1, sizeof *rows->rows, err));
    rows->rows[rows->n++] = *row;
    return LM_OK;
}

/* Whatever automatic pages follow `name`: appended to *out, unless some entry uses one of
 * them, then *used.  Breadth first over the list itself. */
static lm_status subtree(lm_store *s, const lm_digest *name, lm_page_rows *out, bool *used, lm_error *err)
{
    lm_page_rows children = { 0 };
    lm_digest next = *name;
    size_t from = out->n;
    lm_status status = LM_OK;
    for (;;) {
        uint32_t users = 0;
        status = lm_index_children(s->writer, &next, &children, err);
        for (size_t i = 0; i < children.n && status == LM_OK && !*used; i++) {
            status = lm_index_page_users(s->writer, children.rows[i].row, &users, err);
            *used |= users > 0;
            if (status == LM_OK && !*used)
                status = push(out, &children.rows[i], err);
        }
        /* A damaged index may have a ring of parents: bounded. */
        if (status != LM_OK || *used || from == out->n || out->n > TREE_MAX)
            break;
        next = out->rows[from++].name;
    }
    lm_free(children.rows);
    return status;
}

/* From the end of a chain back to where another branch or entry begins. */
static lm_status exclusive_pages(lm_store *s, const lm_entry_group *eg, const lm_digest *names,
                                 lm_page_rows *out, lm_error *err)
{
    bool below = false; /* the page after this one is in the list */
    lm_page_row last = { 0 };
    for (uint32_t i = eg->n_pages; i-- > 0;) {
        lm_page_row row;
        lm_page_rows children = { 0 };
        uint32_t users = 0;
        bool used = false;
        const lm_digest *name = i >= eg->first_page ? &eg->pages[i - eg->first_page].name : &names[i];
        lm_status status = lm_index_find_page(s->writer, name, &row, err);
        if (status == LM_ERR_NOT_FOUND)
            continue;
        LM_TRY(status);
        LM_TRY(lm_index_page_users(s->writer, row.row, &users, err));
        if (users)
            return LM_OK;
        size_t n = out->n;
        if (!below)
            LM_TRY(subtree(s, name, out, &used, err)); /* what went on from here unasked */
        else {
            status = lm_index_children(s->writer, name, &children, err);
            for (size_t k = 0; k < children.n; k++)
                used |= children.rows[k].row != last.row;
            lm_free(children.rows);
            LM_TRY(status);
        }
        if (used) {
            out->n = n;
            /* The tail of the entry has no children; its parent may have. */
            if (below || i + 1 < eg->n_pages)
                return LM_OK;
            continue;
        }
        LM_TRY(push(out, &row, err));
        last = row;
        below = true;
    }
    return LM_OK;
}

static lm_status remove_pages(lm_store *s, const lm_entry *e, uint64_t *freed, lm_error *err)
{
    lm_page_rows rows = { 0 };
    lm_digest *names = NULL;
    uint64_t now = 0;
    lm_status status = LM_OK;
    for (uint32_t g = 0; g < e->n_groups && status == LM_OK; g++) {
        const lm_entry_group *eg = &e->groups[g];
        status = LM_NEW(&names, eg->n_pages, err);
        if (status == LM_OK)
            status = lm_page_names(&eg->root, e->tokens, e->n_tokens, eg->geometry.page_tokens, names, err);
        if (status == LM_OK)
            status = exclusive_pages(s, eg, names, &rows, err);
        lm_free(names);
        names = NULL;
    }
    if (status == LM_OK)
        status = lm_store_drop_pages(s, rows.rows, rows.n, true, &now, err);
    *freed += now;
    lm_free(rows.rows);
    return status;
}

static lm_status remove_entry(lm_store *s, const char *file, const char *name, uint64_t *freed, lm_error *err)
{
    lm_entry *e = NULL;
    uint8_t *bytes = NULL;
    size_t n = 0;
    lm_quoted_buf q;
    lm_status status = lm_io_read_file(s->entries, file, LM_MAX_ENTRY_BYTES, &bytes, &n, NULL);
    if (status == LM_ERR_NOT_FOUND)
        return lm_fail(err, status, "there is no session '%s'", lm_quoted_z(&q, name));
    /* A damaged entry is removed too; its pages expire. */
    if (status == LM_OK)
        (void)!lm_entry_decode(bytes, n, &e, NULL);
    status = lm_io_unlink(s->entries, file, err);
    if (status == LM_OK)
        status = lm_io_sync(s->entries, "the folder", err);
    if (status == LM_OK)
        status = lm_index_begin(s->writer, err);
    if (status == LM_OK)
        status = lm_index_drop_entry(s->writer, file, err);
    if (status == LM_OK)
        status = lm_index_commit(s->writer, err);
    /* Its unfinished end, and those of earlier sleeps: they would look like other branches. */
    if (status == LM_OK)
        status = lm_private_sweep(s, true, freed, err);
    if (status == LM_OK && e)
        status = remove_pages(s, e, freed, err);
    lm_entry_free(e);
    return status;
}

typedef struct {
    lm_job job;
    const char *name;
    uint64_t older;
    bool kept;
    lm_gc_report report;
} gc_job;

static lm_status run_remove(lm_store *s, lm_job *j, lm_error *err)
{
    gc_job *w = (gc_job *)(void *)j;
    char file[LM_ENTRY_FILE];
    LM_TRY(lm_entry_file(w->name, file, err));
    LM_TRY(remove_entry(s, file, w->name, &w->report.bytes_freed, err));
    LM_TRY(lm_store_give_back_dead(s, true, &w->report.bytes_freed, err));
    return lm_index_scrub(s->writer, err);
}

lm_status lm_store_remove(lm_store *s, const char *name, lm_error *err)
{
    gc_job w = { .job = { .run = run_remove, .writes = true }, .name = name };
    lm_entry_lock *lock = NULL;
    LM_TRY(lm_store_lock(s, name, &lock, err));
    lm_status status = lm_disk_wait(s, &w.job, err);
    lm_store_unlock(lock);
    return status;
}

/* --- by age ---------------------------------------------------------------------------------------- */

typedef struct {
    char (*files)[LM_ENTRY_FILE];
    size_t n, cap;
    uint64_t before;
    bool kept, all;
    lm_status status;
} old_entries;

static bool collect_old(void *ctx, const lm_entry_row *row)
{
    old_entries *o = ctx;
    if (!o->all && (row->used >= o->before || ((row->flags & LM_ENTRY_KEPT) && !o->kept)))
        return true;
    o->status = lm_grow((void **)&o->files, &o->cap, o->n + 1, sizeof *o->files, NULL);
    if (o->status == LM_OK)
        memcpy(o->files[o->n++], row->file, LM_ENTRY_FILE);
    return o->status == LM_OK;
}

/* Pages not used since `before`, leaves first until none is left. */
static lm_status expire_pages(lm_store *s, uint64_t before, bool rewrite, lm_gc_report *report, lm_error *err)
{
    lm_page_rows rows = { 0 };
    lm_status status;
    do {
        uint64_t freed = 0;
        status = lm_index_leaves(s->writer, lm_store_now(), before, DROP_BATCH, &rows, err);
        if (status == LM_OK)
            status = lm_store_drop_pages(s, rows.rows, rows.n, rewrite, &freed, err);
        report->pages_expired += (uint32_t)rows.n;
        report->bytes_freed += freed;
    } while (status == LM_OK && rows.n);
    lm_free(rows.rows);
    return status;
}

static lm_status expire_entries(lm_store *s, uint64_t before, bool kept, lm_gc_report *report, lm_error *err)
{
    old_entries o = { .before = before, .kept = kept };
    lm_status status = lm_index_entries(s->writer, collect_old, &o, err);
    if (status == LM_OK)
        status = o.status;
    for (size_t i = 0; i < o.n && status == LM_OK; i++) {
        status = remove_entry(s, o.files[i], "", &report->bytes_freed, err);
        report->entries_expired++;
        if (status == LM_ERR_NOT_FOUND) {
            lm_error_clear(err);
            status = LM_OK;
        }
    }
    lm_free(o.files);
    return status;
}

/* Damaged entries, which the index does not know. */
static lm_status remove_strays(lm_store *s, lm_gc_report *report, lm_error *err)
{
    char **names = NULL;
    size_t n = 0;
    lm_status status = lm_store_names(s->entries, &names, &n, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        if (strlen(names[i]) == LM_ENTRY_FILE - 1) {
            status = remove_entry(s, names[i], "", &report->bytes_freed, err);
            report->entries_expired++;
        }
    lm_store_names_free(names, n);
    return status;
}

static lm_status run_clear(lm_store *s, lm_job *j, lm_error *err)
{
    gc_job *w = (gc_job *)(void *)j;
    uint64_t now = lm_store_now(), before = w->older > now ? 1 : now - w->older + (w->older == 0);
    LM_TRY(expire_entries(s, before, w->kept, &w->report, err));
    if (w->older == 0 && w->kept)
        LM_TRY(remove_strays(s, &w->report, err));
    LM_TRY(expire_pages(s, before, true, &w->report, err));
    LM_TRY(lm_store_give_back_dead(s, true, &w->report.bytes_freed, err));
    return lm_index_scrub(s->writer, err);
}

lm_status lm_store_clear(lm_store *s, uint64_t older_seconds, bool kept, lm_gc_report *out, lm_error *err)
{
    gc_job w = { .job = { .run = run_clear, .writes = true }, .older = older_seconds, .kept = kept };
    lm_status status = lm_disk_wait(s, &w.job, err);
    if (out)
        *out = w.report;
    return status;
}

/* --- collection --------------------------------------------------------------------------------------- */

/* Bytes of pages that the index forgot but the run still has. */
static lm_status give_back_dead(lm_store *s, const lm_run_row *row, bool rewrite, uint64_t *freed,
                                lm_error *err)
{
    lm_run *r = NULL;
    lm_page_rows live = { 0 };
    uint32_t *slots = NULL;
    uint64_t expect = 0, dead;
    size_t n = 0, k = 0;
    bool done = false;
    if (lm_run_open(&r, s->runs, &row->id, NULL) != LM_OK)
        return LM_OK;
    uint32_t n_pages = lm_run_n_pages(r);
    lm_status status = lm_index_pages_of(s->writer, row->row, &live, err);
    if (status == LM_OK)
        status = LM_NEW(&slots, n_pages, err);
    if (status == LM_OK)
        expect = lm_run_page_at(r, 0)->at;
    for (uint32_t i = 0; i < n_pages && status == LM_OK; i++) {
        while (k < live.n && live.rows[k].slot < i)
            k++;
        if (k < live.n && live.rows[k].slot == i)
            expect += lm_page_room(lm_run_page_at(r, i)->geometry.page_bytes);
        else
            slots[n++] = i;
    }
    lm_run_release(r);
    dead = row->bytes > expect ? row->bytes - expect : 0;
    if (status == LM_OK && dead && lm_run_punch(s->runs, &row->id, slots, n, NULL) == LM_OK) {
        status = lm_index_begin(s->writer, err);
        if (status == LM_OK)
            status = lm_index_shrink_run(s->writer, row->row, dead, err);
        if (status == LM_OK)
            status = lm_index_commit(s->writer, err);
        *freed += dead;
    } else if (status == LM_OK && dead && rewrite) {
        status = lm_store_copy_runs(s, row, 1, &done, err);
        *freed += done ? dead : 0;
    }
    lm_free(live.rows);
    lm_free(slots);
    return status;
}

lm_status lm_store_give_back_dead(lm_store *s, bool rewrite, uint64_t *freed, lm_error *err)
{
    lm_run_rows runs = { 0 };
    lm_store_sweep_runs(s);
    lm_status status = lm_index_runs(s->writer, &runs, err);
    for (size_t i = 0; i < runs.n && status == LM_OK; i++)
        if (runs.rows[i].n_live > 0 && runs.rows[i].n_live < runs.rows[i].n_pages)
            status = give_back_dead(s, &runs.rows[i], rewrite, freed, err);
    lm_free(runs.rows);
    return status;
}

static lm_status collect_runs(lm_store *s, lm_gc_report *report, lm_error *err)
{
    lm_run_rows runs = { 0 };
    lm_store_sweep_runs(s);
    lm_status status = lm_index_runs(s->writer, &runs, err);
    for (size_t i = 0; i < runs.n && status == LM_OK; i++) {
        char name[LM_RUN_NAME];
        if (runs.rows[i].n_live)
            continue;
        lm_run_name(&runs.rows[i].id, name);
        status = lm_io_unlink(s->runs, name, err);
        if (status == LM_OK)
            status = lm_index_begin(s->writer, err);
        if (status == LM_OK)
            status = lm_index_drop_run(s->writer, runs.rows[i].row, err);
        if (status == LM_OK)
            status = lm_index_commit(s->writer, err);
        report->runs_removed++;
        report->bytes_freed += runs.rows[i].bytes;
    }
    lm_free(runs.rows);
    return status == LM_OK ? lm_store_give_back_dead(s, false, &report->bytes_freed, err) : status;
}

/* Smallest first; runs that a session has mapped stay, or both copies would take room. */
static lm_status merge(lm_store *s, lm_gc_report *report, lm_error *err)
{
    lm_run_rows runs = { 0 };
    size_t n = 0;
    uint64_t bytes = 0;
    bool done = false;
    lm_status status = lm_index_runs(s->writer, &runs, err);
    for (size_t i = 0; i < runs.n && status == LM_OK; i++) {
        const lm_run_row r = runs.rows[i];
        if (r.live_bytes >= SMALL || bytes + r.live_bytes > MERGED)
            break;
        if (lm_run_punch(s->runs, &r.id, NULL, 0, NULL) != LM_OK)
            continue;
        bytes += r.live_bytes;
        runs.rows[n++] = r;
    }
    if (status == LM_OK && n > MANY) {
        status = lm_store_copy_runs(s, runs.rows, n, &done, err);
        report->runs_merged += done ? (uint32_t)n : 0;
    }
    lm_free(runs.rows);
    return status;
}

/* Entries name the runs of their pages; after a merge they are written anew with the new
 * places, so that a wake need not ask the index for every page. */
static lm_status refresh_entry(lm_store *s, const char *file, lm_error *err)
{
    lm_entry *e = NULL;
    uint8_t *bytes = NULL;
    size_t n = 0;
    uint32_t missing;
    bool moved = false;
    if (lm_io_read_file(s->entries, file, LM_MAX_ENTRY_BYTES, &bytes, &n, NULL) != LM_OK ||
        lm_entry_decode(bytes, n, &e, NULL) != LM_OK)
        return LM_OK;
    lm_status status = LM_OK;
    for (uint32_t g = 0; g < e->n_groups; g++)
        for (uint32_t i = 0; i < e->groups[g].n_pages - e->groups[g].first_page && status == LM_OK; i++) {
            lm_entry_page *p = &e->groups[g].pages[i];
            lm_page_row row;
            status = lm_index_find_page(s->writer, &p->name, &row, err);
            if (status == LM_OK && (memcmp(&p->run, &row.run, sizeof p->run) != 0 || p->slot != row.slot)) {
                p->run = row.run;
                p->slot = row.slot;
                moved = true;
            }
            if (status == LM_ERR_NOT_FOUND)
                status = LM_OK;
        }
    bytes = NULL;
    if (status == LM_OK && moved)
        status = lm_entry_encode(e, &bytes, &n, err);
    if (status == LM_OK && moved)
        status = lm_io_put_file(s->entries, file, bytes, n, err);
    /* Pins are renewed on the way: a page that was bad and written anew is pinned again. */
    if (status == LM_OK)
        status = lm_index_begin(s->writer, err);
    if (status == LM_OK)
        status = lm_store_index_entry(s, file, e, n, e->created, true, &missing, err);
    if (status == LM_OK)
        status = lm_index_commit(s->writer, err);
    lm_free(bytes);
    lm_entry_free(e);
    return status;
}

static lm_status refresh_entries(lm_store *s, lm_error *err)
{
    old_entries o = { .all = true };
    lm_status status = lm_index_entries(s->writer, collect_old, &o, err);
    if (status == LM_OK)
        status = o.status;
    for (size_t i = 0; i < o.n && status == LM_OK; i++)
        status = refresh_entry(s, o.files[i], err);
    lm_free(o.files);
    return status;
}

static lm_status count_small(lm_store *s, int64_t *n, lm_error *err)
{
    lm_run_rows runs = { 0 };
    LM_TRY(lm_index_runs(s->writer, &runs, err));
    *n = 0;
    for (size_t i = 0; i < runs.n && runs.rows[i].live_bytes < SMALL; i++)
        ++*n;
    lm_free(runs.rows);
    return LM_OK;
}

static lm_status run_gc(lm_store *s, lm_job *j, lm_error *err)
{
    gc_job *w = (gc_job *)(void *)j;
    uint64_t now = lm_store_now(), age = (uint64_t)s->o.expire_days * 86400;
    LM_TRY(lm_store_reconcile(s, &w->report, err));
    LM_TRY(expire_entries(s, now > age ? now - age : 0, false, &w->report, err));
    if (now > age)
        LM_TRY(expire_pages(s, now - age, false, &w->report, err));
    LM_TRY(lm_private_sweep(s, false, &w->report.bytes_freed, err));
    LM_TRY(collect_runs(s, &w->report, err));
    LM_TRY(merge(s, &w->report, err));
    LM_TRY(refresh_entries(s, err));
    int64_t left = 0;
    LM_TRY(count_small(s, &left, err));
    LM_TRY(lm_index_set_number(s->writer, "small_left", left, err));
    return lm_index_scrub(s->writer, err);
}

static void free_gc(lm_job *j)
{
    lm_free(j);
}

/* Once a day, and when small runs pile up beyond those that could not be merged the last
 * time; one job, behind what else there is to write. */
static lm_status is_due(lm_store *s, bool *due, lm_error *err)
{
    int64_t last = 0, left = 0, n = 0, now = (int64_t)lm_store_now();
    LM_TRY(lm_index_get_number(s->writer, "collected", &last, err));
    LM_TRY(lm_index_get_number(s->writer, "small_left", &left, err));
    LM_TRY(count_small(s, &n, err));
    *due = n > left + TOO_MANY || (last && (now - last > DAY || now < last));
    if (*due || !last)
        return lm_index_set_number(s->writer, "collected", now, err);
    return LM_OK;
}

void lm_store_gc_later(lm_store *s)
{
    gc_job *w = NULL;
    bool due = false;
    if (is_due(s, &due, NULL) != LM_OK || !due || LM_NEW(&w, 1, NULL) != LM_OK)
        return;
    w->job = (lm_job){ .run = run_gc, .free = free_gc, .writes = true, .automatic = true };
    if (lm_disk_submit(s, &w->job, NULL) != LM_OK)
        lm_free(w);
}

lm_status lm_store_gc(lm_store *s, lm_gc_report *out, lm_error *err)
{
    gc_job w = { .job = { .run = run_gc, .writes = true } };
    lm_status status = lm_disk_wait(s, &w.job, err);
    if (out)
        *out = w.report;
    return status;
}

/* --- reading the index --------------------------------------------------------------------------------- */

lm_status lm_store_list(lm_store *s, bool (*visit)(void *ctx, const lm_entry_row *row), void *ctx,
                        lm_error *err)
{
    (void)pthread_mutex_lock(&s->read_lock);
    lm_status status = lm_store_fresh_reader(s, err);
    if (status == LM_OK)
        status = lm_index_entries(s->reader, visit, ctx, err);
    (void)pthread_mutex_unlock(&s->read_lock);
    return status;
}

lm_status lm_store_get_stats(lm_store *s, lm_store_stats *out, lm_error *err)
{
    *out = (lm_store_stats){ .budget = s->o.budget,
                             .hits = atomic_load(&s->hits),
                             .misses = atomic_load(&s->misses),
                             .tokens_found = atomic_load(&s->tokens_found),
                             .pages_written = atomic_load(&s->pages_written),
                             .pages_reused = atomic_load(&s->pages_reused),
                             .pages_evicted = atomic_load(&s->pages_evicted),
                             .puts_dropped = atomic_load(&s->puts_dropped) };
    lm_store_sweep_runs(s);
    (void)pthread_mutex_lock(&s->runs_lock);
    out->mapped_runs = (uint32_t)s->n_mapped;
    (void)pthread_mutex_unlock(&s->runs_lock);
    (void)pthread_mutex_lock(&s->read_lock);
    lm_status status = lm_store_fresh_reader(s, err);
    if (status == LM_OK)
        status = lm_index_sum(s->reader, &out->index, err);
    if (status == LM_OK)
        status = lm_store_usage(s, s->reader, &out->bytes, err);
    (void)pthread_mutex_unlock(&s->read_lock);
    return status;
}
