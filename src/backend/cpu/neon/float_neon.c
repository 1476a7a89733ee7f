/* backend/cpu/neon/float_neon.c - float linears for any aarch64. */
#define FLOAT_NAME   "neon"
#define FLOAT_FLOAT  lm_linear_float_neon
#define FLOAT_OTHERS lm_linear_f32_neon
#include "backend/cpu/float_body.h"
