/* backend/cpu/avx_vnni/linear_avx_vnni.c - integer linears of AVX2 with the dot
 * instruction; everything else of this instruction set is AVX2's. */
#include "backend/cpu/avx2/lanes_avx2.h"

#define LANES_NAME             "avx-vnni"
#define LANES_Q8               lm_linear_q8_avx_vnni
#define LANES_Q16              lm_linear_q16_avx_vnni
#define LANES_PANEL_DONE(p, n) ((void)0)
#include "backend/cpu/lanes_body.h"
