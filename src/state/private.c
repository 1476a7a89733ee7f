/* state/private.c - pages that serve one entry alone (S9): of bundles and recoded entries.
 *
 * They stand under roots made with random bytes, so no search for tokens finds them; their
 * entry knows the roots, and what a session computes on top of them stays under these.  Everything is
 * one job of the disk thread: runs of a bounded size, then the entry by the path that every
 * sleep takes.  A crash leaves the old state and pages without an entry, which the next
 * collection removes. */
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store_impl.h"

/* Bytes of pages that are held in memory: a run of its own is worth its fsync. */
#define BATCH_BYTES (UINT64_C(64) << 20)
enum { SWEEP_BATCH = 256 };

static size_t n_names(const lm_entry *e)
{
    size_t n = 0;
    for (uint32_t g = 0; g < e->n_groups; g++)
        n += e->groups[g].n_pages;
    return n;
}

static lm_digest *names_of(const lm_private *p, uint32_t g)
{
    lm_digest *at = p->names;
    for (uint32_t k = 0; k < g; k++)
        at += p->e->groups[k].n_pages;
    return at;
}

/* Bytes of all pages as they will lie, and their number; no claim of a file overflows. */
static lm_status room_for(const lm_entry *e, uint64_t *bytes, size_t *n, lm_error *err)
{
    *bytes = 0;
    *n = 0;
    for (uint32_t g = 0; g < e->n_groups; g++) {
        uint64_t count = e->groups[g].n_pages - e->groups[g].first_page, room;
        /* Each page has a record besides, and each batch a header. */
        uint64_t each = lm_page_room(e->groups[g].geometry.page_bytes) + LM_STORE_PAGE_ALIGN;
        if (lm_mul_overflows(count, each, &room) || lm_add_overflows(*bytes, room, bytes))
            return lm_fail(err, LM_ERR_STATE, "the pages of an entry have more than 2^64 bytes");
        *n += (size_t)count;
    }
    return LM_OK;
}

lm_status lm_private_open(lm_private *p, lm_store *s, lm_entry *e, const char *what, lm_error *err)
{
    lm_geometry groups[LM_STATE_GROUPS];
    lm_space space;
    uint8_t salt[16];
    uint64_t bytes;
    size_t n;
    *p = (lm_private){ .s = s, .e = e };
    for (uint32_t g = 0; g < e->n_groups; g++)
        groups[g] = e->groups[g].geometry;
    LM_TRY(lm_io_random(salt, sizeof salt, err));
    LM_TRY(lm_space_init(&space, &e->id.model, groups, e->n_groups, salt, sizeof salt, err));
    LM_TRY(room_for(e, &bytes, &n, err));
    bytes += (uint64_t)e->n_tokens * 4 + (uint64_t)e->n_logits * 4 + e->n_sampler + strlen(e->messages) +
             strlen(e->metadata) + strlen(e->labels) + (uint64_t)n * 64 + 16384;
    LM_TRY(lm_store_make_room(s, bytes, n, what, err));
    LM_TRY(LM_NEW(&p->names, n_names(e), err));
    for (uint32_t g = 0; g < e->n_groups; g++) {
        e->groups[g].root = space.roots[g];
        LM_TRY(lm_page_names(&space.roots[g], e->tokens, e->n_tokens, groups[g].page_tokens, names_of(p, g),
                             err));
    }
    return LM_OK;
}

static void free_batch(lm_private *p)
{
    for (size_t i = 0; i < p->n; i++)
        lm_free((void *)(uintptr_t)p->pages[i].bytes);
    p->n = 0;
    p->bytes = 0;
}

/* Writes the batch and tells the entry's table where its pages lie. */
static lm_status flush(lm_private *p, lm_error *err)
{
    lm_run_id id;
    if (p->n == 0)
        return LM_OK;
    LM_TRY(lm_store_write_run(p->s, p->pages, p->n, NULL, &id, err));
    for (size_t i = 0; i < p->n; i++) {
        const lm_geometry *geometry = &p->pages[i].geometry;
        lm_entry_group *eg = &p->e->groups[geometry->group];
        lm_entry_page *ep = &eg->pages[p->pages[i].first / geometry->page_tokens - eg->first_page];
        *ep = (lm_entry_page){ p->pages[i].name, id, (uint32_t)i };
    }
    free_batch(p);
    return LM_OK;
}

lm_status lm_private_add(lm_private *p, uint32_t g, uint32_t i, uint8_t *bytes, lm_error *err)
{
    const lm_entry_group *eg = &p->e->groups[g];
    const lm_digest *names = names_of(p, g);
    lm_status status = lm_grow((void **)&p->pages, &p->cap, p->n + 1, sizeof *p->pages, err);
    if (status != LM_OK) {
        lm_free(bytes);
        return status;
    }
    uint32_t first = i * eg->geometry.page_tokens;
    lm_run_page *page = &p->pages[p->n++];
    *page = (lm_run_page){ .name = names[i],
                           .root = eg->root,
                           .geometry = eg->geometry,
                           .first = first,
                           .n_tokens = LM_MIN(eg->geometry.page_tokens, p->e->n_tokens - first),
                           .flags = LM_PAGE_PRIVATE,
                           .tokens = p->e->tokens + first,
                           .bytes = bytes };
    if (i)
        page->parent = names[i - 1];
    if (page->n_tokens < page->geometry.page_tokens)
        page->flags |= LM_PAGE_TAIL;
    p->bytes += eg->geometry.page_bytes;
    return p->bytes >= BATCH_BYTES ? flush(p, err) : LM_OK;
}

lm_status lm_private_commit(lm_private *p, lm_error *err)
{
    uint64_t n_bytes;
    LM_TRY(flush(p, err));
    return lm_store_commit_entry(p->s, p->e, true, &n_bytes, err);
}

void lm_private_close(lm_private *p, bool failed)
{
    uint64_t freed = 0;
    free_batch(p);
    lm_free(p->pages);
    lm_free(p->names);
    if (failed && p->s)
        (void)!lm_private_sweep(p->s, true, &freed, NULL);
    *p = (lm_private){ 0 };
}

lm_status lm_private_sweep(lm_store *s, bool rewrite, uint64_t *freed, lm_error *err)
{
    lm_page_rows rows = { 0 };
    lm_status status;
    do {
        uint64_t now = 0;
        rows.n = 0;
        status = lm_index_lonely(s->writer, SWEEP_BATCH, &rows, err);
        if (status == LM_OK)
            status = lm_store_drop_pages(s, rows.rows, rows.n, rewrite, &now, err);
        *freed += now;
    } while (status == LM_OK && rows.n);
    lm_free(rows.rows);
    return status;
}

static lm_status run_sweep(lm_store *s, lm_job *j, lm_error *err)
{
    uint64_t freed = 0;
    (void)j;
    LM_TRY(lm_private_sweep(s, true, &freed, err));
    return lm_index_scrub(s->writer, err);
}

lm_status lm_store_sweep_private(lm_store *s, lm_error *err)
{
    lm_job j = { .run = run_sweep, .writes = true };
    return lm_disk_wait(s, &j, err);
}
