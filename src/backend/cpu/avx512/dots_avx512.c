/* backend/cpu/avx512/dots_avx512.c - twelve chains of vpdpbusd: 64 products each. */
#include <immintrin.h>

#include "backend/cpu/dots.h"

enum { CHAINS = 12 };

uint64_t lm_cpu_dots_avx512(uint64_t loops)
{
    volatile int seed = 0x01020304;
    __m512i x = _mm512_set1_epi32(seed), y = _mm512_set1_epi32(seed), a[CHAINS];
    for (int k = 0; k < CHAINS; k++)
        a[k] = _mm512_setzero_si512();
    for (uint64_t n = 0; n < loops; n++)
        for (int k = 0; k < CHAINS; k++)
            a[k] = _mm512_dpbusd_epi32(a[k], x, y);
    for (int k = 1; k < CHAINS; k++)
        a[0] = _mm512_xor_si512(a[0], a[k]);
    volatile int sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(a[0]));
    (void)sink;
    return loops * CHAINS * 64 * 2;
}
