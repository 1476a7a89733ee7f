/* backend/cpu/avx2/float_avx2.c - float linears with 256-bit vectors and FMA. */
#define FLOAT_NAME   "avx2"
#define FLOAT_FLOAT  lm_linear_float_avx2
#define FLOAT_OTHERS lm_linear_f32_avx2
#include "backend/cpu/float_body.h"
