/* state/pool.c - slabs of pages behind a free list. */
#define _GNU_SOURCE
#include "state/pool.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"

/* A slab is at least this long, so that small pages share a mapping. */
enum { SLAB_BYTES = 32 << 20 };

typedef struct slab {
    struct slab *next;
    uint8_t *base;
    size_t bytes;
    lm_page *pages; /* [n] */
} slab;

struct lm_pool {
    size_t page_bytes, stride;
    uint64_t max_pages, n_pages, n_free, n_fresh;
    lm_page *free_list;  /* used before: zeroed when taken */
    lm_page *fresh_list; /* never touched: zero already */
    slab *slabs;
};

lm_status lm_pool_open(lm_pool **out, size_t page_bytes, uint64_t max_pages, lm_error *err)
{
    lm_pool *p = NULL;
    LM_TRY(LM_NEW(&p, 1, err));
    p->page_bytes = page_bytes;
    p->stride = (size_t)lm_round_up(page_bytes ? page_bytes : 64, 4096);
    p->max_pages = max_pages;
    *out = p;
    return LM_OK;
}

void lm_pool_close(lm_pool *p)
{
    if (!p)
        return;
    for (slab *s = p->slabs, *next; s; s = next) {
        next = s->next;
        (void)munmap(s->base, s->bytes);
        lm_free(s->pages);
        lm_free(s);
    }
    lm_free(p);
}

static lm_status add_slab(lm_pool *p, uint64_t n, lm_error *err)
{
    slab *s = NULL;
    uint64_t bytes;
    if (lm_mul_overflows(n, p->stride, &bytes) || bytes > SIZE_MAX / 2)
        return lm_fail(err, LM_ERR_NOMEM, "%" PRIu64 " pages of %zu bytes are too many", n, p->page_bytes);
    LM_TRY(LM_NEW(&s, 1, err));
    lm_status status = LM_NEW(&s->pages, (size_t)n, err);
    if (status != LM_OK) {
        lm_free(s);
        return status;
    }
    void *base =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        lm_free(s->pages);
        lm_free(s);
        return lm_fail(err, LM_ERR_NOMEM, "no memory for %" PRIu64 " pages of %zu bytes", n, p->page_bytes);
    }
    lm_advise_huge(base, (size_t)bytes);
    s->base = base;
    s->bytes = (size_t)bytes;
    for (uint64_t i = n; i-- > 0;) {
        s->pages[i].data = s->base + i * p->stride;
        s->pages[i].next_free = p->fresh_list;
        p->fresh_list = &s->pages[i];
    }
    s->next = p->slabs;
    p->slabs = s;
    p->n_pages += n;
    p->n_fresh += n;
    return LM_OK;
}

lm_status lm_pool_reserve(lm_pool *p, uint64_t n, lm_error *err)
{
    if (p->n_free + p->n_fresh >= n)
        return LM_OK;
    uint64_t need = n - p->n_free - p->n_fresh;
    if (need > p->max_pages - p->n_pages)
        return lm_fail(err, LM_ERR_NOMEM, "%" PRIu64 " more pages of %zu bytes, the budget leaves %" PRIu64,
                       need, p->page_bytes, p->max_pages - p->n_pages);
    uint64_t slab_pages = LM_MAX(need, SLAB_BYTES / p->stride);
    return add_slab(p, LM_MIN(LM_MAX(slab_pages, 1), p->max_pages - p->n_pages), err);
}

lm_status lm_pool_take(lm_pool *p, lm_page **out, lm_error *err)
{
    lm_page *page;
    LM_TRY(lm_pool_reserve(p, 1, err));
    if (p->free_list) {
        page = p->free_list;
        p->free_list = page->next_free;
        p->n_free--;
        memset(page->data, 0, p->page_bytes);
    } else {
        page = p->fresh_list;
        p->fresh_list = page->next_free;
        p->n_fresh--;
    }
    page->refs = 1;
    page->next_free = NULL;
    *out = page;
    return LM_OK;
}

void lm_pool_keep(lm_page *page)
{
    page->refs++;
}

void lm_pool_drop(lm_pool *p, lm_page *page)
{
    if (!page || --page->refs > 0)
        return;
    if (page->gone) {
        page->gone(page);
        return;
    }
    page->next_free = p->free_list;
    p->free_list = page;
    p->n_free++;
}

size_t lm_pool_page_bytes(const lm_pool *p)
{
    return p->page_bytes;
}

uint64_t lm_pool_bytes_in_use(const lm_pool *p)
{
    return (p->n_pages - p->n_free - p->n_fresh) * p->stride;
}
