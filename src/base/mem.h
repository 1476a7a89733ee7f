/* base/mem.h - the only place that asks the C library for heap memory.
 *
 * With LM_FAULTS (test builds) lm_mem_fail_after(n) makes the n-th request from
 * now fail once, so that a test can walk through every one of them.
 *
 * Threads: any thread.
 */
#ifndef LM_MEM_H
#define LM_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

/* Sizes are checked for overflow.  On failure: LM_ERR_NOMEM with the size. */
lm_status lm_new(void **out, size_t n, size_t size, lm_error *err) LM_NODISCARD;   /* zeroed */
lm_status lm_resize(void **io, size_t n, size_t size, lm_error *err) LM_NODISCARD; /* not zeroed */
/* 64-byte aligned and not zeroed; freed with lm_free() like the others. */
lm_status lm_new_aligned(void **out, size_t n_bytes, lm_error *err) LM_NODISCARD;
void lm_free(void *p); /* NULL is fine */

/* Tells the system that [at, at + n) is read from end to end, again and again: it may
 * then use pages of 2 MiB (files: where its file system has them, as they are read
 * in).  With pages of 4 KiB looking up addresses costs a fifth of a decode step.
 * Advice: nothing happens below 2 MiB or where it is not known. */
void lm_advise_huge(const void *at, size_t n);

/* Grows an array to hold at least `need` items, doubling: *cap is in items. */
lm_status lm_grow(void **items, size_t *cap, size_t need, size_t size, lm_error *err) LM_NODISCARD;

/* NULL on failure, for libraries that bring their own allocator hook. */
void *lm_mem_alloc(size_t n);
void *lm_mem_realloc(void *p, size_t n);

/* Test hook: 0 switches it off. */
void lm_mem_fail_after(uint64_t n);

/* LM_NEW(&p, n, err): n zeroed objects of the type that p points to. */
#define LM_NEW(pp, n, err) lm_new((void **)(pp), (n), sizeof **(pp), (err))

#endif
