/* backend/cpu/neon/kernels_neon.c - the kernels for aarch64. */
#define LM_NEON
#define KERNELS     lm_cpu_kernels_neon
#define ATTEND_Q8   lm_attend_q8_neon
#define ATTEND_K8V4 lm_attend_k8v4_neon
#define ROWS        2
#define TILES       2
#include "backend/cpu/kernels_body.h"
