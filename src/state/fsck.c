/* state/fsck.c - reading everything, and making the index anew. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "state/io.h"
#include "state/store_impl.h"

typedef struct {
    lm_job job;
    lm_fsck_report *out;
    void (*complain)(void *ctx, const char *text);
    void *ctx;
} fsck_job;

static void say(const fsck_job *w, const char *what, const lm_error *err)
{
    lm_str b = { .max = 600 };
    if (!w->complain)
        return;
    lm_str_addz(&b, what);
    if (err && err->text[0])
        lm_str_addf(&b, ": %s", err->text);
    w->complain(w->ctx, lm_str_z(&b));
    lm_str_clear(&b);
}

static lm_status check_run(lm_store *s, const fsck_job *w, const lm_run_row *row, lm_error *err)
{
    lm_run *r = NULL;
    lm_page_rows pages = { 0 };
    lm_error own = { 0 };
    w->out->runs++;
    if (lm_run_open(&r, s->runs, &row->id, &own) != LM_OK) {
        w->out->bad_runs++;
        say(w, "a run cannot be used", &own);
        return LM_OK;
    }
    lm_status status = lm_index_pages_of(s->writer, row->row, &pages, err);
    for (size_t i = 0; i < pages.n && status == LM_OK; i++) {
        const lm_page_row *p = &pages.rows[i];
        lm_error_clear(&own);
        w->out->pages++;
        if (p->slot >= lm_run_n_pages(r) || !lm_digest_equal(&lm_run_page_at(r, p->slot)->name, &p->name)) {
            (void)lm_fail(&own, LM_ERR_STATE, "the index says page %u, the run does not", p->slot);
        } else if (lm_run_verify(r, p->slot, &own) == LM_OK)
            continue;
        w->out->bad_pages++;
        say(w, "a page cannot be used", &own);
    }
    lm_run_release(r);
    lm_free(pages.rows);
    return status;
}

static lm_status check_entry(lm_store *s, const fsck_job *w, const char *file, lm_error *err)
{
    lm_entry *e = NULL;
    uint8_t *bytes = NULL;
    size_t n = 0;
    lm_error own = { 0 };
    if (lm_io_is_tmp(file))
        return LM_OK;
    w->out->entries++;
    if (lm_io_read_file(s->entries, file, LM_MAX_ENTRY_BYTES, &bytes, &n, &own) != LM_OK ||
        lm_entry_decode(bytes, n, &e, &own) != LM_OK) {
        w->out->bad_entries++;
        say(w, "an entry cannot be used", &own);
        return LM_OK;
    }
    lm_status status = LM_OK;
    uint32_t missing = 0;
    for (uint32_t g = 0; g < e->n_groups; g++)
        for (uint32_t i = 0; i < e->groups[g].n_pages - e->groups[g].first_page && status == LM_OK; i++) {
            lm_page_row row;
            status = lm_index_find_page(s->writer, &e->groups[g].pages[i].name, &row, err);
            if (status == LM_ERR_NOT_FOUND) {
                missing++;
                status = LM_OK;
            }
        }
    w->out->missing_pages += missing;
    if (missing) {
        (void)lm_fail(&own, LM_ERR_STATE, "%u pages of its state are missing, it will be replayed", missing);
        say(w, e->name, &own);
    }
    lm_entry_free(e);
    return status;
}

static lm_status run_fsck(lm_store *s, lm_job *j, lm_error *err)
{
    const fsck_job *w = (const fsck_job *)(const void *)j;
    lm_run_rows runs = { 0 };
    char **names = NULL;
    size_t n = 0;
    LM_TRY(lm_index_check(s->writer, err));
    lm_status status = lm_index_runs(s->writer, &runs, err);
    for (size_t i = 0; i < runs.n && status == LM_OK; i++)
        status = check_run(s, w, &runs.rows[i], err);
    lm_free(runs.rows);
    if (status == LM_OK)
        status = lm_store_names(s->entries, &names, &n, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        status = check_entry(s, w, names[i], err);
    lm_store_names_free(names, n);
    return status;
}

lm_status lm_store_fsck(lm_store *s, lm_fsck_report *out, void (*complain)(void *ctx, const char *text),
                        void *ctx, lm_error *err)
{
    fsck_job w = { .job = { .run = run_fsck, .writes = true }, .out = out, .complain = complain, .ctx = ctx };
    *out = (lm_fsck_report){ 0 };
    return lm_disk_wait(s, &w.job, err);
}

static lm_status rebuild(lm_store *s, lm_fsck_report *out, lm_error *err)
{
    static const char *const names[] = { LM_INDEX_FILE, LM_INDEX_FILE "-wal", LM_INDEX_FILE "-shm" };
    lm_gc_report report = { 0 };
    fsck_job w = { .out = out };
    int lock = -1;
    /* A folder of its own means: do not open the index while taking the lock. */
    char *folder = s->folder;
    s->folder = NULL;
    lm_status status = lm_store_writer_lock(s, LM_STORE_LOCK_MS, false, &lock, err);
    s->folder = folder;
    /* Processes that have the old index open see another inode at their next turn. */
    for (size_t i = 0; i < LM_LEN(names) && status == LM_OK; i++)
        status = lm_io_unlink(s->dir, names[i], err);
    if (status == LM_OK)
        status = lm_index_open(&s->writer, s->dir, s->folder, true, err);
    if (status == LM_OK)
        status = lm_store_reconcile(s, &report, err);
    if (status == LM_OK)
        status = run_fsck(s, &w.job, err);
    lm_store_writer_unlock(lock);
    return status;
}

lm_status lm_store_rebuild(const char *folder, lm_fsck_report *out, lm_error *err)
{
    lm_store *s = NULL;
    *out = (lm_fsck_report){ 0 };
    LM_TRY(LM_NEW(&s, 1, err));
    s->dir = s->runs = s->entries = s->locks = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->read_lock, NULL);
    (void)pthread_mutex_init(&s->runs_lock, NULL);
    (void)pthread_cond_init(&s->work, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    s->o.min_free = LM_STORE_NO_FLOOR;
    s->o.budget = UINT64_MAX;
    lm_status status = lm_store_folders(s, folder, err);
    if (status == LM_OK)
        status = rebuild(s, out, err);
    lm_store_free(s);
    return status;
}
