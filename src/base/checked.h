/* base/checked.h - arithmetic and reads on numbers that came from outside.
 *
 * Sizes from a file are multiplied and added only here, compared with what is
 * left, and turned into pointers afterwards.  Threads: any thread. */
#ifndef LM_CHECKED_H
#define LM_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool lm_mul_overflows(uint64_t a, uint64_t b, uint64_t *out)
{
    return __builtin_mul_overflow(a, b, out);
}

static inline bool lm_add_overflows(uint64_t a, uint64_t b, uint64_t *out)
{
    return __builtin_add_overflow(a, b, out);
}

/* Whether `n` bytes from `at` lie inside `size`; never wraps. */
static inline bool lm_inside(uint64_t at, uint64_t n, uint64_t size)
{
    return at <= size && n <= size - at;
}

/* Little-endian reads of unaligned bytes; lemma runs on little-endian hosts. */
static inline uint16_t lm_u16le(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t lm_u32le(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t lm_u64le(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float lm_f32le(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t lm_round_up(uint64_t n, uint64_t to) /* `to` is a power of two */
{
    return (n + to - 1) & ~(to - 1);
}

#endif
