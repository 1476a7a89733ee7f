/* support/noise.h - the same random numbers on every machine, for tests of the
 * samplers.  Threads: any thread. */
#ifndef LM_TEST_NOISE_H
#define LM_TEST_NOISE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "sample/cands.h"
#include "sample/rng.h"

LM_UNUSED static double noise(uint64_t seed, uint64_t i)
{
    return lm_rng_unit(seed ^ UINT64_C(0x7e57), i, 77);
}

LM_UNUSED static double gauss(uint64_t seed, uint64_t i)
{
    double u = noise(seed, 2 * i), v = noise(seed, 2 * i + 1);
    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

/* free() it. */
LM_UNUSED static float *gauss_row(uint32_t n, double spread, uint64_t seed)
{
    float *row = malloc(n * sizeof *row);
    if (!row)
        abort();
    for (uint32_t i = 0; i < n; i++)
        row[i] = (float)(spread * gauss(seed, i));
    return row;
}

/* For qsort() of lm_cand. */
LM_UNUSED static int by_token(const void *a, const void *b)
{
    const lm_cand *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

#endif
