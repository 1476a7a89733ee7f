/* state/pool.h - pages in memory: taken, shared by count, given back.
 *
 * All pages of a pool have one size (a cache group has its own pool).  A page is
 * zeroed when it is taken, so nothing of another session is ever seen through
 * positions that are not written yet.  Memory is reserved in slabs of address
 * space: taking a page that was reserved asks the system for nothing (M2).
 *
 * Threads: one thread at a time (the engine's).
 */
#ifndef LM_POOL_H
#define LM_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct lm_pool lm_pool;

/* A page in memory.  `data` is page_bytes long and 64-byte aligned.  A page that
 * belongs to somebody else (a mount of the store) has `gone`: lm_pool_drop() of its
 * last reference calls it in place of taking the page back; such a page may be
 * read-only memory unless its owner says otherwise. */
typedef struct lm_page {
    uint8_t *data;
    uint32_t refs;
    struct lm_page *next_free;
    void (*gone)(struct lm_page *page); /* NULL: the pool's own */
} lm_page;

/* `max_pages` is a hard budget (S6). */
lm_status lm_pool_open(lm_pool **out, size_t page_bytes, uint64_t max_pages, lm_error *err) LM_NODISCARD;
void lm_pool_close(lm_pool *p); /* NULL is fine; all its pages are gone */
/* Makes sure that n pages can be taken without asking the system. */
lm_status lm_pool_reserve(lm_pool *p, uint64_t n, lm_error *err) LM_NODISCARD;
lm_status lm_pool_take(lm_pool *p, lm_page **out, lm_error *err) LM_NODISCARD; /* refs = 1 */
void lm_pool_keep(lm_page *page);                                              /* refs + 1 */
void lm_pool_drop(lm_pool *p, lm_page *page);                                  /* refs - 1 */
size_t lm_pool_page_bytes(const lm_pool *p);
uint64_t lm_pool_bytes_in_use(const lm_pool *p);

#endif
