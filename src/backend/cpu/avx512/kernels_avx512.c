/* backend/cpu/avx512/kernels_avx512.c - the kernels for AVX-512; bf16 pages have
 * theirs in attend_bf16_avx512.c. */
#define KERNELS     lm_cpu_kernels_avx512
#define ATTEND_Q8   lm_attend_q8_avx512
#define ATTEND_K8V4 lm_attend_k8v4_avx512
#define ATTEND_BF16 lm_attend_bf16_avx512
#define ROWS        4
#define TILES       4
#include "backend/cpu/kernels_body.h"
