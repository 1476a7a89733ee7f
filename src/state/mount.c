/* state/mount.c - finding pages and putting them into page tables where they lie.
 *
 * Mounting n pages looks up n names and takes n pointers into mapped runs: nothing is
 * read, copied or decoded.  What a window has passed is left out; recurrent groups need
 * the checkpoint that ends exactly where the prefix does. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store_impl.h"

typedef struct {
    lm_page page;
    lm_mount *mount;
    lm_run *run; /* NULL: not mounted */
    uint32_t slot;
    lm_map *own; /* of a private last page */
} mounted;

struct lm_mount {
    /* One for the handle, one for each page that the engine holds, one for a job that warms
     * it: the disk thread and the engine's thread let go of it independently. */
    atomic_uint refs;
    uint32_t n_tokens, n_groups, n_pages, page_tokens;
    mounted *pages; /* [n_groups][n_pages] */
    lm_run **runs;  /* each once, with a reference */
    size_t n_runs;
    atomic_bool unwanted; /* nobody waits for it to be warm */
    atomic_uint good;     /* tokens whose pages are verified, while warming */
    atomic_bool warmed;
};

/* Where a page of a chain lies; run NULL: nowhere. */
typedef struct {
    lm_run *run;
    uint32_t slot;
    int64_t row; /* of the index, 0 when it was not asked */
} place;

/* What is looked for: groups, their names, and what was found. */
typedef struct {
    uint32_t n_groups, n_pages, page_tokens;
    const lm_geometry *geometry[LM_STATE_GROUPS];
    place *places; /* [n_groups][n_pages] */
    lm_run **runs;
    size_t n_runs, cap_runs;
} search;

/* --- mapped runs -------------------------------------------------------------------------- */

static void sweep(lm_store *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_mapped; i++) {
        /* 1: only this list has it.  A count rises from 1 only under runs_lock. */
        if (lm_run_idle(s->mapped[i]))
            lm_run_release(s->mapped[i]);
        else
            s->mapped[n++] = s->mapped[i];
    }
    s->n_mapped = n;
}

void lm_store_sweep_runs(lm_store *s)
{
    (void)pthread_mutex_lock(&s->runs_lock);
    sweep(s);
    (void)pthread_mutex_unlock(&s->runs_lock);
}

lm_status lm_store_run(lm_store *s, const lm_run_id *id, lm_run **out, lm_error *err)
{
    lm_run *r = NULL;
    lm_status status = LM_OK;
    (void)pthread_mutex_lock(&s->runs_lock);
    for (size_t i = 0; i < s->n_mapped && !r; i++)
        if (memcmp(lm_run_id_get(s->mapped[i]), id, sizeof *id) == 0 &&
            lm_run_check(s->mapped[i], NULL) == LM_OK)
            r = s->mapped[i];
    if (!r) {
        sweep(s);
        status = lm_grow((void **)&s->mapped, &s->cap_mapped, s->n_mapped + 1, sizeof *s->mapped, err);
        if (status == LM_OK)
            status = lm_run_open(&r, s->runs, id, err);
        if (status == LM_OK)
            s->mapped[s->n_mapped++] = r;
    }
    if (status == LM_OK) {
        lm_run_retain(r);
        *out = r;
    }
    (void)pthread_mutex_unlock(&s->runs_lock);
    return status;
}

/* The run for this search: most pages lie in the run of the page before. */
static lm_run *run_for(lm_store *s, search *f, const lm_run_id *id)
{
    lm_run *r = NULL;
    for (size_t i = f->n_runs; i-- > 0;)
        if (memcmp(lm_run_id_get(f->runs[i]), id, sizeof *id) == 0)
            return f->runs[i];
    if (lm_grow((void **)&f->runs, &f->cap_runs, f->n_runs + 1, sizeof *f->runs, NULL) != LM_OK ||
        lm_store_run(s, id, &r, NULL) != LM_OK)
        return NULL;
    return f->runs[f->n_runs++] = r;
}

/* --- choosing ------------------------------------------------------------------------------- */

static lm_status search_init(search *f, uint32_t n_groups, uint32_t n_pages, uint32_t page_tokens,
                             lm_error *err)
{
    *f = (search){ .n_groups = n_groups, .n_pages = n_pages, .page_tokens = page_tokens };
    return LM_NEW(&f->places, (size_t)n_groups * n_pages, err);
}

static void search_clear(search *f)
{
    for (size_t i = 0; i < f->n_runs; i++)
        lm_run_release(f->runs[i]);
    lm_free(f->runs);
    lm_free(f->places);
}

/* First page that the query after n tokens still sees. */
static uint32_t first_seen(const lm_geometry *g, uint32_t n, uint32_t page_tokens)
{
    uint32_t n_pages = (n + page_tokens - 1) / page_tokens;
    if (g->kind == LM_PAGES_CHECKPOINT)
        return n_pages - 1;
    return g->window && n + 1 > g->window ? (n + 1 - g->window) / page_tokens : 0;
}

/* The run's own record must say what the caller expects of page i: nothing else is
 * believed. */
static bool record_fits(const lm_run *r, uint32_t slot, const lm_digest *name, const lm_geometry *g,
                        uint32_t i)
{
    if (slot >= lm_run_n_pages(r))
        return false;
    const lm_run_page *p = lm_run_page_at(r, slot);
    return lm_digest_equal(&p->name, name) && memcmp(&p->geometry, g, sizeof *g) == 0 &&
           p->first == i * g->page_tokens;
}

static bool mountable(const search *f, const uint32_t *back, uint32_t n)
{
    uint32_t n_pages = (n + f->page_tokens - 1) / f->page_tokens;
    for (uint32_t g = 0; g < f->n_groups; g++) {
        uint32_t first = first_seen(f->geometry[g], n, f->page_tokens);
        const place *last = &f->places[g * f->n_pages + n_pages - 1];
        if (first < n_pages && back[g * f->n_pages + n_pages - 1] < n_pages - first)
            return false;
        if (!last->run)
            return false;
        const lm_run_page *p = lm_run_page_at(last->run, last->slot);
        uint32_t end = p->first + p->n_tokens;
        if (f->geometry[g]->kind == LM_PAGES_CHECKPOINT ? end != n : end < n)
            return false;
    }
    return true;
}

/* The most tokens, up to `want`, that can be mounted: `want` itself, or a page border
 * below it. */
static lm_status choose(const search *f, uint32_t want, uint32_t *n, lm_error *err)
{
    uint32_t *back = NULL; /* pages found without a gap up to and with page i */
    LM_TRY(LM_NEW(&back, (size_t)f->n_groups * f->n_pages, err));
    for (uint32_t g = 0; g < f->n_groups; g++)
        for (uint32_t i = 0; i < f->n_pages; i++) {
            size_t k = (size_t)g * f->n_pages + i;
            back[k] = !f->places[k].run ? 0 : i ? back[k - 1] + 1 : 1;
        }
    *n = want;
    while (*n && !mountable(f, back, *n))
        *n = (*n - 1) / f->page_tokens * f->page_tokens;
    lm_free(back);
    return LM_OK;
}

/* --- the mount -------------------------------------------------------------------------------- */

static void unref(lm_mount *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < (size_t)m->n_groups * m->n_pages; i++)
        lm_map_close(m->pages[i].own);
    for (size_t i = 0; i < m->n_runs; i++)
        lm_run_release(m->runs[i]);
    lm_free(m->runs);
    lm_free(m->pages);
    lm_free(m);
}

static void page_gone(lm_page *page)
{
    /* `page` is the first member. */
    unref(((mounted *)(void *)page)->mount);
}

/* Takes the runs over from the search. */
static lm_status make_mount(search *f, uint32_t n_tokens, lm_mount **out, lm_error *err)
{
    lm_mount *m = NULL;
    uint32_t n_pages = (n_tokens + f->page_tokens - 1) / f->page_tokens;
    LM_TRY(LM_NEW(&m, 1, err));
    atomic_init(&m->refs, 1);
    m->n_tokens = n_tokens;
    m->n_groups = f->n_groups;
    m->n_pages = n_pages;
    m->page_tokens = f->page_tokens;
    m->runs = f->runs;
    m->n_runs = f->n_runs;
    f->runs = NULL;
    f->n_runs = 0;
    lm_status status = LM_NEW(&m->pages, (size_t)m->n_groups * n_pages, err);
    if (status != LM_OK)
        m->n_groups = 0;
    for (uint32_t g = 0; g < m->n_groups && status == LM_OK; g++) {
        for (uint32_t i = first_seen(f->geometry[g], n_tokens, f->page_tokens); i < n_pages; i++) {
            mounted *p = &m->pages[(size_t)g * n_pages + i];
            const place *at = &f->places[(size_t)g * f->n_pages + i];
            p->mount = m;
            p->run = at->run;
            p->slot = at->slot;
            /* Never written through: the mapping is read-only, but for the private page. */
            p->page.data = (uint8_t *)(uintptr_t)lm_run_page_at(at->run, at->slot)->bytes;
            p->page.gone = page_gone;
            bool writes_on = f->geometry[g]->kind == LM_PAGES_CHECKPOINT || n_tokens % f->page_tokens != 0;
            if (i + 1 < n_pages || !writes_on)
                continue;
            status = lm_run_map_private(at->run, at->slot, &p->own, err);
            if (status != LM_OK)
                break;
            p->page.data = (uint8_t *)(uintptr_t)lm_map_data(p->own);
        }
    }
    if (status != LM_OK) {
        unref(m);
        return status;
    }
    *out = m;
    return LM_OK;
}

uint32_t lm_mount_n_tokens(const lm_mount *m)
{
    return m->n_tokens;
}

uint32_t lm_mount_n_groups(const lm_mount *m)
{
    return m->n_groups;
}

uint32_t lm_mount_n_pages(const lm_mount *m)
{
    return m->n_pages;
}

lm_page *lm_mount_take(lm_mount *m, uint32_t group, uint32_t i)
{
    if (group >= m->n_groups || i >= m->n_pages)
        return NULL;
    mounted *p = &m->pages[(size_t)group * m->n_pages + i];
    if (!p->run)
        return NULL;
    if (p->page.refs++ == 0)
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return &p->page;
}

lm_status lm_mount_verify(lm_mount *m, uint32_t group, uint32_t i, lm_error *err)
{
    const mounted *p = &m->pages[(size_t)group * m->n_pages + i];
    return p->run ? lm_run_verify(p->run, p->slot, err) : LM_OK;
}

lm_status lm_mount_check(const lm_mount *m, lm_error *err)
{
    for (size_t i = 0; i < m->n_runs; i++)
        LM_TRY(lm_run_check(m->runs[i], err));
    for (uint32_t g = 0; g < m->n_groups; g++) {
        const mounted *last = &m->pages[(size_t)(g + 1) * m->n_pages - 1];
        if (last->own)
            LM_TRY(lm_map_check(last->own, err));
    }
    return LM_OK;
}

void lm_mount_retain(lm_mount *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void lm_mount_close(lm_mount *m)
{
    if (!m)
        return;
    atomic_store_explicit(&m->unwanted, true, memory_order_relaxed);
    unref(m);
}

/* --- warming, touching, reporting: jobs --------------------------------------------------------- */

typedef struct {
    lm_job job;
    lm_mount *mount;
    uint32_t at; /* page that warming goes on with */
    lm_digest name;
} mount_job;

static void submit_mount_job(lm_store *s, lm_mount *m, uint32_t at, const lm_digest *name,
                             lm_status (*run)(lm_store *, lm_job *, lm_error *), bool writes);

static bool others_wait(lm_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool any = s->first != NULL;
    (void)pthread_mutex_unlock(&s->lock);
    return any;
}

static void free_mount_job(lm_job *j)
{
    mount_job *w = (mount_job *)(void *)j;
    if (w->mount)
        unref(w->mount);
    lm_free(w);
}

static lm_status warm(lm_store *s, lm_job *j, lm_error *err)
{
    mount_job *w = (mount_job *)(void *)j;
    lm_mount *m = w->mount;
    bool good = true;
    for (uint32_t i = w->at; i < m->n_pages && good; i++) {
        if (atomic_load(&s->watch.stop) || atomic_load_explicit(&m->unwanted, memory_order_relaxed))
            return lm_fail(err, LM_ERR_CANCELLED, "nobody waits for the pages");
        /* Who sleeps meanwhile does not wait for gigabytes to be read. */
        if (i > w->at && others_wait(s)) {
            submit_mount_job(s, m, i, NULL, warm, false);
            return LM_OK;
        }
        for (uint32_t g = 0; g < m->n_groups && good; g++) {
            const mounted *p = &m->pages[(size_t)g * m->n_pages + i];
            if (p->run)
                good = lm_run_verify(p->run, p->slot, NULL) == LM_OK;
        }
        if (good)
            atomic_store_explicit(&m->good, LM_MIN((i + 1) * m->page_tokens, m->n_tokens),
                                  memory_order_release);
    }
    atomic_store_explicit(&m->warmed, true, memory_order_release);
    return LM_OK;
}

static void submit_mount_job(lm_store *s, lm_mount *m, uint32_t at, const lm_digest *name,
                             lm_status (*run)(lm_store *, lm_job *, lm_error *), bool writes)
{
    mount_job *w = NULL;
    if (LM_NEW(&w, 1, NULL) != LM_OK)
        return;
    w->job = (lm_job){ .run = run, .free = free_mount_job, .automatic = true, .writes = writes };
    w->at = at;
    if (name)
        w->name = *name;
    if (m) {
        w->mount = m;
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    }
    if (lm_disk_submit(s, &w->job, NULL) != LM_OK)
        free_mount_job(&w->job);
}

void lm_mount_warm(lm_store *s, lm_mount *m)
{
    submit_mount_job(s, m, 0, NULL, warm, false);
}

bool lm_mount_warmed(const lm_mount *m, uint32_t *good)
{
    bool done = atomic_load_explicit(&m->warmed, memory_order_acquire);
    *good = atomic_load_explicit(&m->good, memory_order_acquire);
    return done;
}

static lm_status forget_bad(lm_store *s, lm_job *j, lm_error *err)
{
    lm_page_row row;
    uint64_t freed;
    lm_status status = lm_index_find_page(s->writer, &((mount_job *)(void *)j)->name, &row, err);
    if (status != LM_OK)
        return status == LM_ERR_NOT_FOUND ? LM_OK : status;
    return lm_store_drop_pages(s, &row, 1, false, &freed, err);
}

void lm_mount_report_bad(lm_store *s, lm_mount *m, uint32_t group, uint32_t i)
{
    const mounted *p = &m->pages[(size_t)group * m->n_pages + i];
    if (p->run)
        submit_mount_job(s, NULL, 0, &lm_run_page_at(p->run, p->slot)->name, forget_bad, true);
}

static lm_status touch(lm_store *s, lm_job *j, lm_error *err)
{
    (void)j;
    (void)pthread_mutex_lock(&s->lock);
    int64_t *rows = s->touched;
    size_t n = s->n_touched;
    s->touched = NULL;
    s->n_touched = s->cap_touched = 0;
    s->touch_queued = false;
    (void)pthread_mutex_unlock(&s->lock);
    lm_status status = lm_index_begin(s->writer, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        status = lm_index_touch_page(s->writer, rows[i], lm_store_now(), err);
    lm_free(rows);
    return status == LM_OK ? lm_index_commit(s->writer, err) : status;
}

/* Hits are counted in batches: one transaction for all that were found meanwhile. */
static void touch_later(lm_store *s, const search *f, uint32_t n_tokens)
{
    uint32_t n_pages = n_tokens / f->page_tokens;
    bool submit = false;
    (void)pthread_mutex_lock(&s->lock);
    if (s->n_touched < 1 << 16 &&
        lm_grow((void **)&s->touched, &s->cap_touched, s->n_touched + (size_t)n_pages * f->n_groups,
                sizeof *s->touched, NULL) == LM_OK) {
        for (uint32_t g = 0; g < f->n_groups; g++)
            for (uint32_t i = 0; i < n_pages; i++)
                if (f->places[(size_t)g * f->n_pages + i].row)
                    s->touched[s->n_touched++] = f->places[(size_t)g * f->n_pages + i].row;
        submit = !s->touch_queued && !s->o.no_writes;
        s->touch_queued |= submit;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (submit) {
        mount_job *w = NULL;
        if (LM_NEW(&w, 1, NULL) == LM_OK) {
            w->job = (lm_job){ .run = touch, .free = free_mount_job, .automatic = true, .writes = true };
            if (lm_disk_submit(s, &w->job, NULL) == LM_OK)
                return;
            lm_free(w);
        }
        (void)pthread_mutex_lock(&s->lock);
        s->touch_queued = false;
        (void)pthread_mutex_unlock(&s->lock);
    }
}

/* --- finding --------------------------------------------------------------------------------------- */

lm_status lm_store_fresh_reader(lm_store *s, lm_error *err)
{
    if (s->reader && !lm_index_replaced(s->reader, s->dir))
        return LM_OK;
    lm_index_close(s->reader);
    s->reader = NULL;
    return lm_index_open(&s->reader, s->dir, s->folder, false, err);
}

/* Looks page i of a group up; false: not there, or not what the index says. */
static lm_status locate(lm_store *s, search *f, uint32_t g, uint32_t i, const lm_digest *name, place *out,
                        lm_error *err)
{
    lm_page_row row;
    out->run = NULL;
    /* Twice: between looking and opening, a merge may have moved the page. */
    for (int k = 0; k < 2; k++) {
        if (k)
            LM_TRY(lm_index_read(s->reader, false, err));
        lm_status status = lm_index_find_page(s->reader, name, &row, err);
        if (status != LM_OK)
            return status == LM_ERR_NOT_FOUND ? LM_OK : status;
        lm_run *r = run_for(s, f, &row.run);
        if (r && record_fits(r, row.slot, name, f->geometry[g], i)) {
            *out = (place){ r, row.slot, row.row };
            return LM_OK;
        }
    }
    return LM_OK;
}

static bool tokens_equal(const place *at, const int32_t *tokens, uint32_t page_tokens)
{
    const lm_run_page *p = lm_run_page_at(at->run, at->slot);
    return p->n_tokens == page_tokens && !(p->flags & (LM_PAGE_TAIL | LM_PAGE_PRIVATE)) &&
           memcmp(p->tokens, tokens, page_tokens * sizeof *tokens) == 0;
}

static lm_status find_pages(lm_store *s, const lm_space *space, const int32_t *tokens, search *f,
                            lm_error *err)
{
    lm_digest names[LM_STATE_GROUPS];
    for (uint32_t i = 0; i < f->n_pages; i++) {
        const int32_t *here = tokens + (size_t)i * f->page_tokens;
        for (uint32_t g = 0; g < f->n_groups; g++) {
            place *at = &f->places[(size_t)g * f->n_pages + i];
            lm_digest parent = names[g];
            LM_TRY(lm_page_name(&space->roots[g], i ? &parent : NULL, here, f->page_tokens, &names[g], err));
            LM_TRY(locate(s, f, g, i, &names[g], at, err));
            if (at->run && !tokens_equal(at, here, f->page_tokens))
                at->run = NULL;
            /* Without this page no longer prefix can be mounted. */
            if (!at->run && space->groups[g].kind == LM_PAGES_KV && !space->groups[g].window)
                return LM_OK;
        }
    }
    return LM_OK;
}

lm_status lm_store_find(lm_store *s, const lm_space *space, const int32_t *tokens, uint32_t n, lm_mount **out,
                        lm_error *err)
{
    search f;
    uint32_t page_tokens = space->groups[0].page_tokens, found = 0;
    *out = NULL;
    if (n < page_tokens)
        return LM_OK;
    LM_TRY(search_init(&f, space->n_groups, n / page_tokens, page_tokens, err));
    for (uint32_t g = 0; g < space->n_groups; g++)
        f.geometry[g] = &space->groups[g];
    (void)pthread_mutex_lock(&s->read_lock);
    lm_status status = lm_store_fresh_reader(s, err);
    if (status == LM_OK)
        status = lm_index_read(s->reader, true, err);
    if (status == LM_OK)
        status = find_pages(s, space, tokens, &f, err);
    if (s->reader)
        (void)!lm_index_read(s->reader, false, NULL);
    (void)pthread_mutex_unlock(&s->read_lock);
    if (status == LM_OK)
        status = choose(&f, f.n_pages * page_tokens, &found, err);
    if (status == LM_OK && found)
        status = make_mount(&f, found, out, err);
    if (status == LM_OK && found)
        touch_later(s, &f, found);
    search_clear(&f);
    if (status == LM_OK) {
        atomic_fetch_add_explicit(found ? &s->hits : &s->misses, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->tokens_found, found, memory_order_relaxed);
    }
    return status;
}

/* --- entries ------------------------------------------------------------------------------------------ */

lm_status lm_store_entry(lm_store *s, const char *name, lm_entry **out, lm_error *err)
{
    char file[LM_ENTRY_FILE];
    uint8_t *bytes = NULL;
    size_t n = 0;
    lm_quoted_buf q;
    lm_error own = { 0 };
    LM_TRY(lm_entry_file(name, file, err));
    lm_status status = lm_io_read_file(s->entries, file, LM_MAX_ENTRY_BYTES, &bytes, &n, &own);
    if (status == LM_ERR_NOT_FOUND)
        return lm_fail(err, status, "there is no session '%s'", lm_quoted_z(&q, name));
    if (status == LM_OK)
        status = lm_entry_decode(bytes, n, out, &own);
    if (status == LM_OK && strcmp((*out)->name, name) != 0) {
        lm_entry_free(*out);
        *out = NULL;
        status = lm_fail(&own, LM_ERR_STATE, "its file is of another session");
    }
    if (status != LM_OK) {
        if (err && err->status == LM_OK)
            *err = own;
        return lm_wrap(err, status, "session '%s'", lm_quoted_z(&q, name));
    }
    return LM_OK;
}

/* Where the entry says, if that is still true; else where the index says. */
static lm_status locate_entry_page(lm_store *s, search *f, const lm_entry_page *ep, uint32_t g, uint32_t i,
                                   lm_error *err)
{
    place *at = &f->places[(size_t)g * f->n_pages + i];
    lm_run *r = run_for(s, f, &ep->run);
    if (r && record_fits(r, ep->slot, &ep->name, f->geometry[g], i)) {
        *at = (place){ r, ep->slot, 0 };
        return LM_OK;
    }
    (void)pthread_mutex_lock(&s->read_lock);
    lm_status status = lm_store_fresh_reader(s, err);
    if (status == LM_OK)
        status = locate(s, f, g, i, &ep->name, at, err);
    (void)pthread_mutex_unlock(&s->read_lock);
    return status;
}

lm_status lm_store_mount(lm_store *s, const lm_entry *e, uint32_t n_tokens, lm_mount **out, lm_error *err)
{
    search f;
    uint32_t found = 0;
    *out = NULL;
    n_tokens = LM_MIN(n_tokens, e->n_tokens);
    if (n_tokens == 0 || e->n_groups == 0)
        return LM_OK;
    LM_TRY(search_init(&f, e->n_groups, e->groups[0].n_pages, e->groups[0].geometry.page_tokens, err));
    lm_status status = LM_OK;
    for (uint32_t g = 0; g < e->n_groups && status == LM_OK; g++) {
        const lm_entry_group *eg = &e->groups[g];
        f.geometry[g] = &eg->geometry;
        if (eg->geometry.page_tokens != f.page_tokens)
            status = lm_fail(err, LM_ERR_STATE, "an entry has pages of %u and of %u tokens", f.page_tokens,
                             eg->geometry.page_tokens);
        for (uint32_t i = eg->first_page; i < eg->n_pages && status == LM_OK; i++) {
            const place *at = &f.places[(size_t)g * f.n_pages + i];
            status = locate_entry_page(s, &f, &eg->pages[i - eg->first_page], g, i, err);
            /* The page's own tokens against the entry's: what is mounted is what is told. */
            if (status == LM_OK && at->run) {
                const lm_run_page *p = lm_run_page_at(at->run, at->slot);
                if (p->n_tokens > e->n_tokens - p->first ||
                    memcmp(p->tokens, e->tokens + p->first, p->n_tokens * sizeof *p->tokens) != 0)
                    f.places[(size_t)g * f.n_pages + i].run = NULL;
            }
        }
    }
    if (status == LM_OK)
        status = choose(&f, n_tokens, &found, err);
    if (status == LM_OK && found)
        status = make_mount(&f, found, out, err);
    search_clear(&f);
    return status;
}
