/* backend/cpu/dots.c - the rate of products: portable, and which one to take. */
#include "backend/cpu/dots.h"

enum { LANES = 16, CHAINS = 8 };

/* What a compiler makes of bytes, widened and summed. */
static uint64_t dots_portable(uint64_t loops)
{
    int32_t sum[CHAINS][LANES] = { { 0 } };
    volatile int8_t seed = 3;
    int8_t x[LANES], y[LANES];
    for (int i = 0; i < LANES; i++) {
        x[i] = (int8_t)(seed + i);
        y[i] = (int8_t)(seed - i);
    }
    for (uint64_t n = 0; n < loops; n++)
        for (int k = 0; k < CHAINS; k++)
            for (int i = 0; i < LANES; i++)
                sum[k][i] = (int32_t)((uint32_t)sum[k][i] + (uint32_t)(x[i] * y[(i + k) % LANES]));
    int32_t total = 0;
    for (int k = 0; k < CHAINS; k++)
        total ^= sum[k][k];
    *(volatile int32_t *)&total = total; /* the sums are wanted */
    return loops * CHAINS * LANES * 2;
}

uint64_t lm_cpu_dots(lm_isa isa, uint64_t loops)
{
#if defined(__x86_64__)
    /* Tiles multiply faster still; the vectors beside them are what is compared with. */
    if (isa == LM_ISA_AVX512 || isa == LM_ISA_AMX)
        return lm_cpu_dots_avx512(loops);
    if (isa == LM_ISA_AVX2 || isa == LM_ISA_AVX_VNNI)
        return lm_cpu_dots_avx2(loops);
#endif
    (void)isa;
    return dots_portable(loops);
}
