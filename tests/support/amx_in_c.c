/* The kernels for tiles with tiles in C; compiled for AVX-512 (cmake/tests.cmake). */
#if defined(__x86_64__)
#define LM_TILES_IN_C
#define LM_AMX_NAME(x) x##_in_c
#include "support/amx_in_c.h"

#include "backend/cpu/amx/linear_amx.c"
#else
typedef int lm_amx_in_c_is_for_x86;
#endif
