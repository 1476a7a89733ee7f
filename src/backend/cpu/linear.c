/* backend/cpu/linear.c - which kernel a linear gets. */
#include "backend/cpu/linear.h"

#include "backend/cpu/linear_impl.h"

lm_lin_class lm_lin_class_of(const lm_quant *q)
{
    switch (q->kind) {
    case LM_Q_Q4_0: return (lm_lin_class){ .blocks = 1, .off = 8 };
    case LM_Q_Q4_1: return (lm_lin_class){ .blocks = 1, .mins = true };
    case LM_Q_Q5_0: return (lm_lin_class){ .blocks = 1, .off = 16 };
    case LM_Q_Q5_1: return (lm_lin_class){ .blocks = 1, .mins = true };
    case LM_Q_Q8_0: return (lm_lin_class){ .blocks = 1, .off = 128, .wide_codes = true };
    case LM_Q_Q4_K:
    case LM_Q_Q5_K: return (lm_lin_class){ .blocks = 1, .mins = true };
    case LM_Q_Q6_K: return (lm_lin_class){ .blocks = 1, .off = 32, .sub16 = true };
    case LM_Q_IQ4_NL:
    case LM_Q_IQ4_XS: return (lm_lin_class){ .blocks = 1, .off = 127, .wide_codes = true };
    case LM_Q_MXFP4:
    case LM_Q_MLX_MXFP4: return (lm_lin_class){ .blocks = 1, .off = 12 };
    case LM_Q_AFFINE:
        return (lm_lin_class){ .blocks = (uint8_t)(q->block_elems / 32),
                               .mins = true,
                               .wide_codes = q->bits == 8 };
    default: return (lm_lin_class){ 0 };
    }
}

/* [instruction set][what the format is to it] */
enum { CODES, CODES_PRECISE, FLOATS, OTHERS };
static const lm_cpu_linear *const KERNELS[LM_ISA_COUNT][4] = {
    [LM_ISA_PORTABLE] = { &lm_linear_q8_portable, &lm_linear_q16_portable, &lm_linear_float_portable,
                          &lm_linear_f32_portable },
#if defined(__x86_64__)
    [LM_ISA_AVX2] = { &lm_linear_q8_avx2, &lm_linear_q16_avx2, &lm_linear_float_avx2, &lm_linear_f32_avx2 },
    [LM_ISA_AVX_VNNI] = { &lm_linear_q8_avx_vnni, &lm_linear_q16_avx_vnni, &lm_linear_float_avx2,
                          &lm_linear_f32_avx2 },
    [LM_ISA_AVX512] = { &lm_linear_q8_avx512, &lm_linear_q16_avx512, &lm_linear_float_avx512,
                        &lm_linear_f32_avx512 },
    [LM_ISA_AMX] = { &lm_linear_q8_amx, &lm_linear_q16_amx, &lm_linear_float_avx512, &lm_linear_f32_avx512 },
#elif defined(__aarch64__)
    [LM_ISA_NEON] = { &lm_linear_q8_neon, &lm_linear_q16_neon, &lm_linear_float_neon, &lm_linear_f32_neon },
    [LM_ISA_NEON_DOTPROD] = { &lm_linear_q8_neon_dotprod, &lm_linear_q16_neon_dotprod, &lm_linear_float_neon,
                              &lm_linear_f32_neon },
    [LM_ISA_NEON_I8MM] = { &lm_linear_q8_neon_i8mm, &lm_linear_q16_neon_i8mm, &lm_linear_float_neon,
                           &lm_linear_f32_neon },
#endif
};

const lm_cpu_linear *lm_cpu_linear_find(lm_isa isa, lm_compute compute, const lm_quant *quant, uint32_t cols)
{
    bool codes = lm_lin_class_of(quant).blocks && cols % quant->block_elems == 0;
    bool floats = quant->kind == LM_Q_F32 || quant->kind == LM_Q_F16 || quant->kind == LM_Q_BF16;
    if ((unsigned)isa >= LM_ISA_COUNT || !KERNELS[isa][0])
        isa = LM_ISA_PORTABLE;
    return KERNELS[isa][codes    ? (compute == LM_COMPUTE_PRECISE ? CODES_PRECISE : CODES)
                        : floats ? FLOATS
                                 : OTHERS];
}
