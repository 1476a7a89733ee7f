/* backend/cpu/portable/kernels_portable.c - the kernels in plain C. */
#define KERNELS     lm_cpu_kernels_portable
#define ATTEND_Q8   lm_attend_q8_portable
#define ATTEND_K8V4 lm_attend_k8v4_portable
#define ROWS        1
#define TILES       1
#include "backend/cpu/kernels_body.h"
