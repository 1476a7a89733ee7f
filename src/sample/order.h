/* sample/order.h - one total order over candidates, as integers.
 *
 * A key holds the logit in its upper half, mapped so that integers compare as
 * the floats do, and the complement of the token in its lower half: the largest
 * key is the likeliest token, and the lowest token wins a tie.  No two keys are
 * equal, so every selection has one answer.
 *
 * Threads: any thread.
 */
#ifndef LM_ORDER_H
#define LM_ORDER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

/* x is no NaN. */
LM_INLINE uint64_t lm_key(float x, uint32_t token)
{
    float y = x + 0.0f; /* -0 becomes +0, which it equals */
    uint32_t u;
    memcpy(&u, &y, sizeof u);
    u ^= (u >> 31) ? UINT32_C(0xffffffff) : UINT32_C(0x80000000);
    return (uint64_t)u << 32 | (uint32_t)~token;
}

LM_INLINE uint32_t lm_key_token(uint64_t key)
{
    return ~(uint32_t)key;
}

LM_INLINE float lm_key_value(uint64_t key)
{
    uint32_t u = (uint32_t)(key >> 32);
    u ^= (u >> 31) ? UINT32_C(0x80000000) : UINT32_C(0xffffffff);
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Largest first.  n log n whatever the input. */
void lm_keys_sort(uint64_t *keys, size_t n);
/* Puts the m largest in front, in any order.  n log n whatever the input, n for
 * nearly all. */
void lm_keys_select(uint64_t *keys, size_t n, size_t m);

#endif
