/* backend/cpu/neon/linear_neon_dotprod.c - integer linears with sdot (Armv8.2 DotProd). */
#include "backend/cpu/neon/lanes_neon.h"

#define LANES_NAME             "neon-dotprod"
#define LANES_Q8               lm_linear_q8_neon_dotprod
#define LANES_Q16              lm_linear_q16_neon_dotprod
#define LANES_PANEL_DONE(p, n) ((void)0)
#include "backend/cpu/lanes_body.h"
