/* The kernels of AVX-VNNI with the dot instruction in AVX-512's encoding; compiled
 * for AVX2 with AVX-512 VNNI and VL (cmake/tests.cmake). */
#if defined(__x86_64__)
#include "support/avx_vnni_by_avx512.h"

#include "backend/cpu/avx2/lanes_avx2.h"

#define LANES_NAME             "avx-vnni by avx512"
#define LANES_Q8               lm_linear_q8_avx_vnni_by_avx512
#define LANES_Q16              lm_linear_q16_avx_vnni_by_avx512
#define LANES_PANEL_DONE(p, n) ((void)0)
#include "backend/cpu/lanes_body.h"
_Static_assert(DOT, "compiled without the dot instruction");
#else
typedef int lm_avx_vnni_by_avx512_is_for_x86;
#endif
