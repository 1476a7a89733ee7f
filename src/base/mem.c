/* base/mem.c - heap memory with checked sizes and a fault hook. */
#define _GNU_SOURCE /* madvise */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "base/fail.h"

/* Counts down to the request that fails; 0 is off.  Relaxed: only tests write
 * it, and they write it before the calls that read it. */
static atomic_uint_fast64_t fail_in;

void lm_mem_fail_after(uint64_t n)
{
    atomic_store_explicit(&fail_in, n, memory_order_relaxed);
}

static int refused(void)
{
#ifdef LM_FAULTS
    uint_fast64_t n = atomic_load_explicit(&fail_in, memory_order_relaxed);
    if (n == 0)
        return 0;
    return atomic_fetch_sub_explicit(&fail_in, 1, memory_order_relaxed) == 1;
#else
    return 0;
#endif
}

static lm_status no_memory(lm_error *err, size_t n, size_t size)
{
    return lm_fail(err, LM_ERR_NOMEM, "cannot get %zu x %zu bytes of memory", n, size);
}

void *lm_mem_alloc(size_t n)
{
    return refused() ? NULL : malloc(n ? n : 1);
}

void *lm_mem_realloc(void *p, size_t n)
{
    return refused() ? NULL : realloc(p, n ? n : 1);
}

lm_status lm_new(void **out, size_t n, size_t size, lm_error *err)
{
    void *p = refused() ? NULL : calloc(n ? n : 1, size ? size : 1);
    if (!p)
        return no_memory(err, n, size);
    *out = p;
    return LM_OK;
}

lm_status lm_resize(void **io, size_t n, size_t size, lm_error *err)
{
    size_t bytes;
    void *p;
    if (__builtin_mul_overflow(n, size, &bytes) || !(p = lm_mem_realloc(*io, bytes)))
        return no_memory(err, n, size);
    *io = p;
    return LM_OK;
}

lm_status lm_new_aligned(void **out, size_t n_bytes, lm_error *err)
{
    void *p = NULL;
    if (refused() || n_bytes > SIZE_MAX / 2 || posix_memalign(&p, 64, n_bytes ? n_bytes : 64) != 0)
        return no_memory(err, n_bytes, 1);
    *out = p;
    return LM_OK;
}

void lm_free(void *p)
{
    free(p);
}

void lm_advise_huge(const void *at, size_t n)
{
#ifdef MADV_HUGEPAGE
    if (n >= 2u << 20)
        (void)madvise((void *)(uintptr_t)at, n, MADV_HUGEPAGE);
#else
    (void)at;
    (void)n;
#endif
}

lm_status lm_grow(void **items, size_t *cap, size_t need, size_t size, lm_error *err)
{
    size_t want = *cap < 8 ? 8 : *cap;
    if (need <= *cap)
        return LM_OK;
    while (want < need)
        if (__builtin_mul_overflow(want, (size_t)2, &want))
            return no_memory(err, need, size);
    LM_TRY(lm_resize(items, want, size, err));
    *cap = want;
    return LM_OK;
}
