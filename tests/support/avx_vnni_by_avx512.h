/* The kernels of backend/cpu/avx_vnni/ for machines that have the same instruction
 * as a part of AVX-512 only; one thread. */
#ifndef LM_TEST_AVX_VNNI_BY_AVX512_H
#define LM_TEST_AVX_VNNI_BY_AVX512_H

#include "backend/cpu/linear.h"

extern const lm_cpu_linear lm_linear_q8_avx_vnni_by_avx512, lm_linear_q16_avx_vnni_by_avx512;

#endif
