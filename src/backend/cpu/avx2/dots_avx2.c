/* backend/cpu/avx2/dots_avx2.c - eight chains of vpmaddubsw, vpmaddwd, vpaddd: 32
 * products each. */
#include <immintrin.h>

#include "backend/cpu/dots.h"

enum { CHAINS = 8 };

uint64_t lm_cpu_dots_avx2(uint64_t loops)
{
    volatile int seed = 0x01020304;
    __m256i one = _mm256_set1_epi16(1), a[CHAINS], x[CHAINS];
    for (int k = 0; k < CHAINS; k++) {
        a[k] = _mm256_setzero_si256();
        x[k] = _mm256_set1_epi32(seed + k);
    }
    for (uint64_t n = 0; n < loops; n++)
        for (int k = 0; k < CHAINS; k++) {
            /* The sum feeds the next product, so that none is left out. */
            __m256i p = _mm256_maddubs_epi16(x[k], _mm256_or_si256(a[k], x[k]));
            a[k] = _mm256_add_epi32(a[k], _mm256_madd_epi16(p, one));
        }
    for (int k = 1; k < CHAINS; k++)
        a[0] = _mm256_xor_si256(a[0], a[k]);
    volatile int sink = _mm_cvtsi128_si32(_mm256_castsi256_si128(a[0]));
    (void)sink;
    return loops * CHAINS * 32 * 2;
}
