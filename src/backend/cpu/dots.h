/* backend/cpu/dots.h - how many products of bytes an instruction set sums a second.
 *
 * Independent chains of the widest dot product there is, operands in registers:
 * the ceiling that prefill is judged by, and nothing else.
 *
 * Threads: pure functions.
 */
#ifndef LM_CPU_DOTS_H
#define LM_CPU_DOTS_H

#include "backend/cpu/linear.h"

/* Does `loops` loops; gives the multiplications and additions that they were. */
uint64_t lm_cpu_dots(lm_isa isa, uint64_t loops);

uint64_t lm_cpu_dots_avx512(uint64_t loops);
uint64_t lm_cpu_dots_avx2(uint64_t loops);

#endif
