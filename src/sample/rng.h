/* sample/rng.h - random numbers as a function of (seed, position, draw number).
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011).  There is no state to keep, to save or to share, so no
 * request can shift another's draws (N3).
 *
 * Threads: any thread.
 */
#ifndef LM_RNG_H
#define LM_RNG_H

#include <stdint.h>

/* Which of a position's independent numbers is meant. */
enum { LM_DRAW_TOKEN = 0, LM_DRAW_XTC = 1 };

/* The bare generator, exposed for the published test vectors. */
void lm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* Uniform in [0, 1), 53 bits. */
double lm_rng_unit(uint64_t seed, uint64_t position, uint32_t draw);

#endif
