/* backend/cpu/avx2/kernels_avx2.c - the kernels for AVX2 with FMA and F16C. */
#define KERNELS     lm_cpu_kernels_avx2
#define ATTEND_Q8   lm_attend_q8_avx2
#define ATTEND_K8V4 lm_attend_k8v4_avx2
#define ROWS        2
#define TILES       2
#include "backend/cpu/kernels_body.h"
