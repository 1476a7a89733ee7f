/* base/arena.c - one reserved block, bumped upwards. */
#define _GNU_SOURCE
#include "base/arena.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"

struct lm_arena {
    uint8_t *base;
    size_t cap, used, peak;
    const char *name;
};

lm_status lm_arena_open(lm_arena **out, size_t cap, const char *name, lm_error *err)
{
    lm_arena *a = NULL;
    if (cap > SIZE_MAX / 4)
        return lm_fail(err, LM_ERR_NOMEM, "%s asks for %zu bytes", name, cap);
    cap = (size_t)lm_round_up(cap ? cap : 64, 4096);
    LM_TRY(LM_NEW(&a, 1, err));
    void *p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        lm_free(a);
        return lm_fail(err, LM_ERR_NOMEM, "%s asks for %zu bytes, the system refused", name, cap);
    }
    *a = (lm_arena){ .base = p, .cap = cap, .name = name };
    *out = a;
    return LM_OK;
}

lm_status lm_arena_alloc(lm_arena *a, size_t n, size_t size, void **out, lm_error *err)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > a->cap - a->used ||
        lm_round_up(bytes, 64) > a->cap - a->used)
        return lm_fail(err, LM_ERR_NOMEM, "%s needs %zu x %zu bytes, %zu of %zu are left", a->name, n, size,
                       a->cap - a->used, a->cap);
    *out = a->base + a->used;
    a->used += (size_t)lm_round_up(bytes, 64);
    if (a->used > a->peak)
        a->peak = a->used;
    return LM_OK;
}

lm_mark lm_arena_mark(const lm_arena *a)
{
    return (lm_mark){ a->used };
}

void lm_arena_rewind(lm_arena *a, lm_mark m)
{
    if (m.used <= a->used)
        a->used = m.used;
}

size_t lm_arena_used(const lm_arena *a)
{
    return a->used;
}

size_t lm_arena_peak(const lm_arena *a)
{
    return a->peak;
}

void lm_arena_close(lm_arena *a)
{
    if (!a)
        return;
    (void)munmap(a->base, a->cap);
    lm_free(a);
}
