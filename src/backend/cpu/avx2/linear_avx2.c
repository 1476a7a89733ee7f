/* backend/cpu/avx2/linear_avx2.c - integer linears with 256-bit vectors and FMA. */
#include "backend/cpu/avx2/lanes_avx2.h"

#define LANES_NAME             "avx2"
#define LANES_Q8               lm_linear_q8_avx2
#define LANES_Q16              lm_linear_q16_avx2
#define LANES_PANEL_DONE(p, n) ((void)0)
#include "backend/cpu/lanes_body.h"
