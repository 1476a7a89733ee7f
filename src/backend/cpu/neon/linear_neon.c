/* backend/cpu/neon/linear_neon.c - integer linears for any aarch64. */
#include "backend/cpu/neon/lanes_neon.h"

#define LANES_NAME             "neon"
#define LANES_Q8               lm_linear_q8_neon
#define LANES_Q16              lm_linear_q16_neon
#define LANES_PANEL_DONE(p, n) ((void)0)
#include "backend/cpu/lanes_body.h"
