/* backend/cpu/avx512/linear_avx512.c - one token or many: which kernel runs. */
#include "backend/cpu/avx512/linear_avx512.h"

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return LM_MAX(lm_many_scratch(), lm_one_scratch(w));
}

static void q8_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch)
{
    if (n >= LM_FEW) {
        lm_many_run(w, row0, row1, x, n, y, ldy, scratch);
        return;
    }
    for (uint32_t t = 0; t < n; t++)
        lm_one_run(w, row0, row1, x + t * lm_act_q8_bytes(w->cols), y + t * ldy, scratch);
}

const lm_cpu_linear lm_linear_q8_avx512 = { "in place, 8-bit activations, avx512", &lm_act_q8, q8_scratch,
                                            q8_run };
