/* state/put.c - publishing pages, putting sessions to sleep, second names.
 *
 * A sleep takes effect at one point, the renaming of its entry file:
 *
 *   1  run file with the pages that the store lacks    (named only when whole)
 *   2  index: the pages; the entry as pending; pins on old and new pages
 *   3  entry file renamed                              <- old state before, new after
 *   4  index: pins of the old entry let go, no longer pending
 *
 * A crash between any two leaves the old entry or the new one with all its pages; a
 * pending row makes the next opening look at the file and finish step 4. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "state/io.h"
#include "state/store_impl.h"

enum { SUPERSEDED_BATCH = 256 };

lm_status lm_store_write_run(lm_store *s, const lm_run_page *pages, size_t n, lm_run_watch *watch,
                             lm_run_id *id, lm_error *err)
{
    uint64_t n_bytes = 0, at = lm_run_data_at(pages, n);
    int64_t row = 0;
    char name[LM_RUN_NAME];
    LM_TRY(lm_run_write(s->runs, pages, n, watch, id, &n_bytes, err));
    lm_status status = lm_index_begin(s->writer, err);
    if (status == LM_OK)
        status = lm_index_add_run(s->writer, id, n_bytes, (uint32_t)n, &row, err);
    for (size_t i = 0; i < n && status == LM_OK; i++) {
        lm_run_page p = pages[i];
        bool added;
        p.at = at;
        at += lm_page_room(p.geometry.page_bytes);
        status = lm_index_add_page(s->writer, row, (uint32_t)i, &p, lm_store_now(), &added, NULL, err);
    }
    if (status == LM_OK)
        status = lm_index_commit(s->writer, err);
    if (status != LM_OK) {
        lm_index_rollback(s->writer);
        lm_run_name(id, name);
        (void)!lm_io_unlink(s->runs, name, NULL);
        return status;
    }
    atomic_fetch_add_explicit(&s->pages_written, n, memory_order_relaxed);
    return LM_OK;
}

/* Each page's part of the cost of computing them together, by bytes. */
static void share_cost(lm_run_page *pages, size_t n, uint64_t cost_us)
{
    double bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += (double)pages[i].geometry.page_bytes;
    for (size_t i = 0; i < n; i++)
        pages[i].cost_us = (uint64_t)((double)cost_us * (double)pages[i].geometry.page_bytes / bytes);
}

static lm_run_page page_of(const lm_space *space, uint32_t g, uint32_t i, const lm_digest *names,
                           const int32_t *tokens, uint32_t n_tokens, const uint8_t *bytes)
{
    uint32_t first = i * space->groups[g].page_tokens;
    lm_run_page p = { .name = names[i],
                      .root = space->roots[g],
                      .geometry = space->groups[g],
                      .first = first,
                      .n_tokens = LM_MIN(space->groups[g].page_tokens, n_tokens - first),
                      .tokens = tokens + first,
                      .bytes = bytes };
    if (i)
        p.parent = names[i - 1];
    if (p.n_tokens < p.geometry.page_tokens)
        p.flags = LM_PAGE_TAIL;
    return p;
}

/* --- automatic pages ---------------------------------------------------------------------- */

typedef struct {
    lm_job job;
    lm_space space;
    int32_t *tokens;
    uint32_t n_tokens;
    lm_store_page *pages;
    size_t n_pages;
    uint64_t cost_us;
} put_job;

static void free_put(lm_job *j)
{
    put_job *p = (put_job *)(void *)j;
    lm_free(p->tokens);
    lm_free(p->pages);
    lm_free(p);
}

static int by_place(const void *a, const void *b)
{
    const lm_store_page *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Insertion sort: lists are short and nearly in order. */
static void sort_pages(lm_store_page *p, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        lm_store_page x = p[i];
        size_t k = i;
        for (; k > 0 && by_place(&p[k - 1], &x) > 0; k--)
            p[k] = p[k - 1];
        p[k] = x;
    }
}

/* The pages of this job that the store lacks and that a search can reach: of a group
 * without a window, a page whose predecessor is neither kept nor written is useless. */
static lm_status lacking(lm_store *s, const put_job *p, uint32_t g, const lm_digest *names, uint32_t n_names,
                         lm_run_page *out, size_t *n, lm_error *err)
{
    const lm_geometry *geometry = &p->space.groups[g];
    bool chain = true;
    size_t at = 0;
    while (at < p->n_pages && p->pages[at].group != g)
        at++;
    for (uint32_t i = 0; i < n_names; i++) {
        lm_page_row row;
        lm_status status = lm_index_find_page(s->writer, &names[i], &row, err);
        bool ours = at < p->n_pages && p->pages[at].group == g && p->pages[at].index == i;
        if (status == LM_OK) {
            /* What this chain stands on must not be evicted to make room for it. */
            LM_TRY(lm_index_keep(s->writer, row.row, err));
            atomic_fetch_add_explicit(&s->pages_reused, ours, memory_order_relaxed);
        } else if (status != LM_ERR_NOT_FOUND)
            return status;
        else if (ours && (chain || geometry->window || geometry->kind == LM_PAGES_CHECKPOINT))
            out[(*n)++] = page_of(&p->space, g, i, names, p->tokens, p->n_tokens, p->pages[at].bytes);
        else
            chain = false;
        while (at < p->n_pages && p->pages[at].group == g && p->pages[at].index <= i)
            at++;
    }
    return LM_OK;
}

static lm_status announce(lm_store *s, lm_error *err)
{
    int64_t before = 0;
    LM_TRY(lm_index_get_number(s->writer, "announced", &before, err));
    if (before)
        return LM_OK;
    LM_TRY(lm_index_set_number(s->writer, "announced", 1, err));
    (void)pthread_mutex_lock(&s->lock);
    s->first_write = true;
    (void)pthread_mutex_unlock(&s->lock);
    return LM_OK;
}

static lm_status run_put(lm_store *s, lm_job *j, lm_error *err)
{
    put_job *p = (put_job *)(void *)j;
    lm_digest *names = NULL;
    lm_run_page *pages = NULL;
    lm_run_id id;
    size_t n = 0;
    uint32_t page_tokens = p->space.groups[0].page_tokens;
    lm_status status = LM_NEW(&pages, p->n_pages, err);
    sort_pages(p->pages, p->n_pages);
    if (status == LM_OK)
        status = LM_NEW(&names, (size_t)p->n_tokens / page_tokens * p->space.n_groups, err);
    for (uint32_t g = 0; g < p->space.n_groups && status == LM_OK; g++) {
        uint32_t n_names = 0;
        for (size_t i = 0; i < p->n_pages; i++)
            if (p->pages[i].group == g)
                n_names = p->pages[i].index + 1;
        lm_digest *mine = names + (size_t)g * (p->n_tokens / page_tokens);
        status = lm_page_names(&p->space.roots[g], p->tokens, n_names * page_tokens, page_tokens, mine, err);
        if (status == LM_OK)
            status = lacking(s, p, g, mine, n_names, pages, &n, err);
    }
    if (status == LM_OK && n) {
        share_cost(pages, n, p->cost_us);
        status = lm_store_make_room(s, lm_run_size(pages, n), n, "keeping what was read", err);
        if (status == LM_OK)
            status = lm_store_write_run(s, pages, n, &s->watch, &id, err);
        if (status == LM_OK)
            status = announce(s, err);
        if (status == LM_OK)
            lm_store_gc_later(s);
    }
    lm_free(pages);
    lm_free(names);
    if (status != LM_OK)
        atomic_fetch_add_explicit(&s->puts_dropped, 1, memory_order_relaxed);
    return status;
}

lm_status lm_store_put(lm_store *s, const lm_store_put_args *a, lm_error *err)
{
    put_job *p = NULL;
    uint32_t page_tokens = a->space->groups[0].page_tokens;
    if (s->o.no_writes)
        return lm_fail(err, LM_ERR_IO, "the store is opened for reading alone");
    (void)pthread_mutex_lock(&s->lock);
    bool off = s->retry_at > lm_store_now();
    lm_error why = s->trouble;
    (void)pthread_mutex_unlock(&s->lock);
    if (off) {
        atomic_fetch_add_explicit(&s->puts_dropped, 1, memory_order_relaxed);
        return lm_fail(err, why.status, "%s", why.text);
    }
    LM_TRY(LM_NEW(&p, 1, err));
    p->job = (lm_job){ .run = run_put,
                       .free = free_put,
                       .writes = true,
                       .automatic = true,
                       .release = a->release,
                       .ctx = a->ctx };
    p->space = *a->space;
    p->cost_us = a->cost_us;
    p->n_tokens = a->n_tokens;
    p->n_pages = a->n_pages;
    lm_status status = LM_NEW(&p->tokens, a->n_tokens, err);
    if (status == LM_OK)
        status = LM_NEW(&p->pages, a->n_pages, err);
    for (size_t i = 0; i < a->n_pages && status == LM_OK; i++) {
        const lm_store_page *x = &a->pages[i];
        if (x->group >= a->space->n_groups || x->index >= a->n_tokens / page_tokens)
            status = lm_fail(err, LM_ERR_USAGE, "page %u of group %u is not full, the chain has %u tokens",
                             x->index, x->group, a->n_tokens);
        else
            p->job.bytes += a->space->groups[x->group].page_bytes;
    }
    if (status == LM_OK) {
        memcpy(p->tokens, a->tokens, a->n_tokens * sizeof *a->tokens);
        memcpy(p->pages, a->pages, a->n_pages * sizeof *a->pages);
        status = lm_disk_submit(s, &p->job, err);
        if (status != LM_OK)
            atomic_fetch_add_explicit(&s->puts_dropped, 1, memory_order_relaxed);
    }
    if (status != LM_OK)
        free_put(&p->job);
    return status;
}

/* --- entries ---------------------------------------------------------------------------------- */

lm_status lm_store_index_entry(lm_store *s, const char *file, const lm_entry *e, uint64_t n_bytes,
                               uint64_t used, bool forget, uint32_t *missing, lm_error *err)
{
    int64_t row = 0;
    *missing = 0;
    LM_TRY(lm_index_put_entry(s->writer, file, e, n_bytes, used, &row, err));
    if (forget)
        LM_TRY(lm_index_forget_uses(s->writer, row, err));
    for (uint32_t g = 0; g < e->n_groups; g++) {
        const lm_entry_group *eg = &e->groups[g];
        for (uint32_t i = 0; i < eg->n_pages - eg->first_page; i++) {
            lm_page_row page;
            lm_status status = lm_index_find_page(s->writer, &eg->pages[i].name, &page, err);
            if (status == LM_ERR_NOT_FOUND) {
                (*missing)++;
                continue;
            }
            LM_TRY(status);
            if (e->flags & LM_ENTRY_KEPT)
                LM_TRY(lm_index_use_page(s->writer, row, page.row, err));
        }
    }
    return LM_OK;
}

/* What the old entry of this name had and the new one has not, ends and answers that were
 * taken back: no second branch stays behind that a removal would have to spare. */
static lm_status drop_superseded(lm_store *s, lm_error *err)
{
    lm_page_rows rows = { 0 };
    uint64_t freed;
    lm_status status;
    do {
        status = lm_index_superseded(s->writer, SUPERSEDED_BATCH, &rows, err);
        if (status == LM_OK)
            status = lm_store_drop_pages(s, rows.rows, rows.n, false, &freed, err);
    } while (status == LM_OK && rows.n);
    lm_free(rows.rows);
    return status;
}

/* Steps 2 to 4 of the drawing above. */
lm_status lm_store_commit_entry(lm_store *s, lm_entry *e, bool whole, uint64_t *n_bytes, lm_error *err)
{
    char file[LM_ENTRY_FILE];
    uint8_t *bytes = NULL;
    size_t n = 0;
    uint32_t missing = 0;
    LM_TRY(lm_entry_file(e->name, file, err));
    LM_TRY(lm_io_random(e->serial, sizeof e->serial, err));
    e->created = lm_store_now();
    LM_TRY(lm_entry_encode(e, &bytes, &n, err));
    lm_status status = lm_index_begin(s->writer, err);
    if (status == LM_OK)
        status = lm_index_pending(s->writer, file, true, err);
    if (status == LM_OK)
        status = lm_index_note_uses(s->writer, file, err);
    if (status == LM_OK)
        status = lm_store_index_entry(s, file, e, n, e->created, false, &missing, err);
    if (status == LM_OK && missing && whole)
        status = lm_fail(err, LM_ERR_STATE, "%u pages of the session are no longer in the store", missing);
    if (status == LM_OK)
        status = lm_index_commit(s->writer, err);
    if (status == LM_OK)
        status = lm_io_put_file(s->entries, file, bytes, n, err);
    lm_free(bytes);
    if (status != LM_OK) {
        lm_index_rollback(s->writer);
        return status;
    }
    *n_bytes = n;
    /* The entry is there: whatever fails now is made good at the next opening. */
    lm_error ignored = { 0 };
    if (lm_index_begin(s->writer, &ignored) == LM_OK &&
        lm_store_index_entry(s, file, e, n, e->created, true, &missing, &ignored) == LM_OK &&
        lm_index_pending(s->writer, file, false, &ignored) == LM_OK &&
        lm_index_commit(s->writer, &ignored) == LM_OK)
        (void)!drop_superseded(s, &ignored);
    lm_index_rollback(s->writer);
    return LM_OK;
}

typedef struct {
    lm_job job;
    lm_entry e; /* its texts, tokens, sampler and logits are copies */
    lm_space space;
    const uint8_t **pages[LM_STATE_GROUPS];
    uint64_t cost_us;
    lm_sleep_report report;
} sleep_job;

static void clear_sleep(sleep_job *w)
{
    const void *const owned[] = { w->e.name,   w->e.title,  w->e.labels,  w->e.metadata, w->e.messages,
                                  w->e.parent, w->e.tokens, w->e.sampler, w->e.logits };
    for (size_t i = 0; i < LM_LEN(owned); i++)
        lm_free((void *)(uintptr_t)owned[i]);
    for (uint32_t g = 0; g < LM_STATE_GROUPS; g++) {
        lm_free(w->e.groups[g].pages);
        lm_free((void *)w->pages[g]);
    }
}

static void free_sleep(lm_job *j)
{
    sleep_job *w = (sleep_job *)(void *)j;
    clear_sleep(w);
    lm_free(w);
}

/* Whether the run really has the page: a sleep that counts on it must not be wrong.  What
 * the index only claims is forgotten there, and written anew. */
static lm_status really_there(lm_store *s, const lm_page_row *row, lm_run **r, bool *there, lm_error *err)
{
    if (!*r || memcmp(lm_run_id_get(*r), &row->run, sizeof row->run) != 0) {
        lm_run_release(*r);
        *r = NULL;
        lm_status status = lm_store_run(s, &row->run, r, NULL);
        /* Gone or damaged is an answer; an error of the system is not. */
        if (status != LM_OK && status != LM_ERR_NOT_FOUND && status != LM_ERR_STATE &&
            status != LM_ERR_TRUNCATED)
            return lm_fail(err, status, "cannot look at a run of the session's pages");
    }
    *there = *r && row->slot < lm_run_n_pages(*r) &&
             lm_digest_equal(&lm_run_page_at(*r, row->slot)->name, &row->name);
    if (*there)
        return LM_OK;
    LM_TRY(lm_index_begin(s->writer, err));
    LM_TRY(lm_index_drop_page(s->writer, row->row, err));
    return lm_index_commit(s->writer, err);
}

/* Looks up what is there, collects what is not. */
static lm_status lacking_of_sleep(lm_store *s, sleep_job *w, uint32_t g, lm_digest *names, lm_run_page *out,
                                  size_t *n, lm_run **r, lm_error *err)
{
    lm_entry_group *eg = &w->e.groups[g];
    LM_TRY(
        lm_page_names(&w->space.roots[g], w->e.tokens, w->e.n_tokens, eg->geometry.page_tokens, names, err));
    for (uint32_t i = eg->first_page; i < eg->n_pages; i++) {
        lm_entry_page *ep = &eg->pages[i - eg->first_page];
        lm_page_row row;
        bool there = false;
        lm_status status = lm_index_find_page(s->writer, &names[i], &row, err);
        ep->name = names[i];
        if (status == LM_OK)
            LM_TRY(really_there(s, &row, r, &there, err));
        if (there) {
            ep->run = row.run;
            ep->slot = row.slot;
            LM_TRY(lm_index_keep(s->writer, row.row, err));
            w->report.pages_reused++;
            continue;
        }
        if (status != LM_OK && status != LM_ERR_NOT_FOUND)
            return status;
        if (!w->pages[g][i])
            return lm_fail(err, LM_ERR_STATE,
                           "page %u of cache group %u is neither in memory nor in the store", i, g);
        /* The slot in the run to come; the run's name is known when it is written. */
        ep->slot = (uint32_t)*n;
        ep->run = (lm_run_id){ { 0 } };
        out[(*n)++] = page_of(&w->space, g, i, names, w->e.tokens, w->e.n_tokens, w->pages[g][i]);
    }
    return LM_OK;
}

static lm_status room_for_sleep(lm_store *s, sleep_job *w, const lm_run_page *pages, size_t n, lm_error *err)
{
    uint8_t *bytes = NULL;
    size_t entry_bytes = 0;
    char what[160];
    lm_quoted_buf q;
    LM_TRY(lm_entry_encode(&w->e, &bytes, &entry_bytes, err));
    lm_free(bytes);
    (void)lm_quoted_z(&q, w->e.name);
    lm_str b = { .max = sizeof what - 1 };
    lm_str_addf(&b, "session '%.100s'", q.s);
    uint64_t need =
        lm_round_up(entry_bytes + LM_STORE_PAGE_ALIGN, LM_STORE_PAGE_ALIGN) + (n ? lm_run_size(pages, n) : 0);
    lm_status status = lm_store_make_room(s, need, n + w->report.pages_reused, lm_str_z(&b), err);
    lm_str_clear(&b);
    return status;
}

static lm_status run_sleep(lm_store *s, lm_job *j, lm_error *err)
{
    sleep_job *w = (sleep_job *)(void *)j;
    lm_run_page *pages = NULL;
    lm_digest *names = NULL;
    size_t n = 0, most = 0;
    lm_run_id id;
    lm_run *r = NULL;
    static const lm_run_id none;
    for (uint32_t g = 0; g < w->e.n_groups; g++)
        most += w->e.groups[g].n_pages;
    lm_status status = LM_NEW(&pages, most, err);
    if (status == LM_OK)
        status = LM_NEW(&names, most, err);
    for (uint32_t g = 0; g < w->e.n_groups && status == LM_OK; g++)
        status = lacking_of_sleep(s, w, g, names, pages, &n, &r, err);
    lm_run_release(r);
    if (status == LM_OK)
        status = room_for_sleep(s, w, pages, n, err);
    if (status == LM_OK && n) {
        share_cost(pages, n, w->cost_us);
        status = lm_store_write_run(s, pages, n, NULL, &id, err);
        w->report.bytes_written = lm_run_size(pages, n);
        w->report.pages_written = (uint32_t)n;
    }
    for (uint32_t g = 0; g < w->e.n_groups && status == LM_OK && n; g++)
        for (uint32_t i = 0; i < w->e.groups[g].n_pages - w->e.groups[g].first_page; i++)
            if (memcmp(&w->e.groups[g].pages[i].run, &none, sizeof none) == 0)
                w->e.groups[g].pages[i].run = id;
    if (status == LM_OK)
        status = lm_store_commit_entry(s, &w->e, true, &w->report.entry_bytes, err);
    w->report.bytes_written += w->report.entry_bytes;
    lm_free(pages);
    lm_free(names);
    return status;
}

static lm_status copy_text(const char *from, const char **to, lm_error *err)
{
    char *copy = NULL;
    LM_TRY(lm_strdup_n(from ? from : "", from ? strlen(from) : 0, &copy, err));
    *to = copy;
    return LM_OK;
}

static lm_status copy_bytes(const void *from, size_t n, const void **to, lm_error *err)
{
    void *copy = NULL;
    LM_TRY(lm_new(&copy, n, 1, err));
    if (n)
        memcpy(copy, from, n);
    *to = copy;
    return LM_OK;
}

static lm_status fill_sleep(sleep_job *w, const lm_sleep *e, lm_error *err)
{
    w->job = (lm_job){ .run = run_sleep, .writes = true };
    w->space = *e->space;
    w->cost_us = e->cost_us;
    w->e.flags = e->flags;
    w->e.id = *e->id;
    w->e.n_tokens = e->n_tokens;
    w->e.n_sampler = e->n_sampler;
    w->e.n_logits = e->n_logits;
    LM_TRY(copy_text(e->name, &w->e.name, err));
    LM_TRY(copy_text(e->title, &w->e.title, err));
    LM_TRY(copy_text(e->labels, &w->e.labels, err));
    LM_TRY(copy_text(e->metadata, &w->e.metadata, err));
    LM_TRY(copy_text(e->messages, &w->e.messages, err));
    LM_TRY(copy_text(e->parent, &w->e.parent, err));
    LM_TRY(copy_bytes(e->tokens, e->n_tokens * sizeof *e->tokens, (const void **)&w->e.tokens, err));
    LM_TRY(copy_bytes(e->sampler, e->n_sampler, (const void **)&w->e.sampler, err));
    LM_TRY(copy_bytes(e->logits, e->n_logits * sizeof *e->logits, (const void **)&w->e.logits, err));
    for (uint32_t g = 0; g < e->space->n_groups; g++) {
        lm_entry_group *eg = &w->e.groups[g];
        const lm_geometry *geometry = &e->space->groups[g];
        eg->geometry = *geometry;
        eg->root = e->space->roots[g];
        eg->n_pages = (e->n_tokens + geometry->page_tokens - 1) / geometry->page_tokens;
        if (geometry->kind == LM_PAGES_CHECKPOINT)
            eg->first_page = eg->n_pages ? eg->n_pages - 1 : 0;
        else if (geometry->window && e->n_tokens + 1 > geometry->window)
            eg->first_page =
                LM_MIN((e->n_tokens + 1 - geometry->window) / geometry->page_tokens, eg->n_pages);
        LM_TRY(LM_NEW(&eg->pages, eg->n_pages - eg->first_page, err));
        LM_TRY(lm_new((void **)&w->pages[g], eg->n_pages, sizeof *w->pages[g], err));
        w->e.n_groups++;
        if (eg->n_pages)
            memcpy((void *)w->pages[g], (const void *)e->pages[g], eg->n_pages * sizeof *w->pages[g]);
    }
    return lm_entry_check(&w->e, err);
}

lm_status lm_store_sleep(lm_store *s, const lm_sleep *e, lm_sleep_report *out, lm_error *err)
{
    sleep_job w = { .cost_us = 0 };
    if (s->o.no_writes)
        return lm_fail(err, LM_ERR_IO, "the store is opened for reading alone");
    lm_status status = fill_sleep(&w, e, err);
    if (status == LM_OK)
        status = lm_disk_wait(s, &w.job, err);
    if (status == LM_OK && out)
        *out = w.report;
    clear_sleep(&w);
    return status;
}

lm_status lm_store_sleep_start(lm_store *s, const lm_sleep *e, lm_store_release release, void *ctx,
                               lm_error *err)
{
    sleep_job *w = NULL;
    if (s->o.no_writes)
        return lm_fail(err, LM_ERR_IO, "the store is opened for reading alone");
    LM_TRY(LM_NEW(&w, 1, err));
    lm_status status = fill_sleep(w, e, err);
    w->job.free = free_sleep;
    w->job.release = release;
    w->job.ctx = ctx;
    if (status == LM_OK)
        status = lm_disk_submit(s, &w->job, err);
    if (status != LM_OK)
        free_sleep(&w->job);
    return status;
}

/* --- a second name ------------------------------------------------------------------------------ */

typedef struct {
    lm_job job;
    const char *name, *new_name;
} fork_job;

lm_status lm_store_must_be_new(lm_store *s, const char *name, lm_error *err)
{
    lm_entry *other = NULL;
    lm_quoted_buf q;
    lm_error own = { 0 };
    lm_status status = lm_store_entry(s, name, &other, &own);
    lm_entry_free(other);
    if (status == LM_ERR_NOT_FOUND)
        return LM_OK;
    if (status == LM_ERR_NOMEM || status == LM_ERR_IO)
        return lm_fail(err, status, "%s", own.text);
    return lm_fail(err, LM_ERR_USAGE, "there is a session '%s' already", lm_quoted_z(&q, name));
}

static lm_status run_fork(lm_store *s, lm_job *j, lm_error *err)
{
    const fork_job *f = (const fork_job *)(const void *)j;
    lm_entry *e = NULL;
    uint64_t n_bytes = 0;
    LM_TRY(lm_store_must_be_new(s, f->new_name, err));
    LM_TRY(lm_store_entry(s, f->name, &e, err));
    e->parent = f->name;
    e->name = f->new_name;
    lm_status status =
        lm_store_make_room(s,
                           LM_STORE_PAGE_ALIGN + (uint64_t)e->n_tokens * 4 + (uint64_t)e->n_logits * 4 +
                               e->n_sampler + strlen(e->messages) + strlen(e->metadata) + 16384,
                           0, "a fork", err);
    if (status == LM_OK)
        status = lm_store_commit_entry(s, e, false, &n_bytes, err);
    lm_entry_free(e);
    return status;
}

lm_status lm_store_fork(lm_store *s, const char *name, const char *new_name, lm_error *err)
{
    fork_job f = { .job = { .run = run_fork, .writes = true }, .name = name, .new_name = new_name };
    LM_TRY(lm_entry_name_check(new_name, err));
    return lm_disk_wait(s, &f.job, err);
}
