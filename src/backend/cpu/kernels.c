/* backend/cpu/kernels.c - the table of each instruction set, and the name of its bits. */
#include "backend/cpu/kernels.h"

#include <stdio.h>

const lm_cpu_kernels *lm_cpu_kernels_of(lm_isa isa)
{
#if defined(__x86_64__)
    if (isa == LM_ISA_AVX512 || isa == LM_ISA_AMX)
        return &lm_cpu_kernels_avx512;
    if (isa == LM_ISA_AVX2 || isa == LM_ISA_AVX_VNNI)
        return &lm_cpu_kernels_avx2;
#elif defined(__aarch64__)
    if (isa == LM_ISA_NEON || isa == LM_ISA_NEON_DOTPROD || isa == LM_ISA_NEON_I8MM)
        return &lm_cpu_kernels_neon;
#endif
    (void)isa;
    return &lm_cpu_kernels_portable;
}

void lm_cpu_numerics(lm_isa isa, lm_compute compute, lm_kv_format kv, char *out, size_t n)
{
    const char *own = lm_cpu_kernels_of(isa)->attend[kv]->own_bits;
    (void)snprintf(out, n, "cpu-1%s%s%s", compute == LM_COMPUTE_PRECISE ? "-precise" : "", own ? "-" : "",
                   own ? own : "");
}
