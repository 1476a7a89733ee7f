/* The kernels of backend/cpu/amx/, with tile registers that are memory: for
 * machines with AVX-512 and no AMX, one thread. */
#ifndef LM_TEST_AMX_IN_C_H
#define LM_TEST_AMX_IN_C_H

#include "backend/cpu/linear.h"

extern const lm_cpu_linear lm_linear_q8_amx_in_c, lm_linear_q16_amx_in_c;

#endif
