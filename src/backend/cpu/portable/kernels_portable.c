/* backend/cpu/portable/kernels_portable.c - the kernels in plain C. */
#define KERNELS lm_cpu_kernels_portable
#define ROWS    1
#define TILES   1
#include "backend/cpu/kernels_body.h"
