/* backend/cpu/avx512/linear_avx512.c - one token or many: which kernel runs. */
#include "backend/cpu/avx512/linear_panels.h"
#include "backend/cpu/linear_quantise.h"

const lm_act_layout lm_act_q8_avx512 = { "q8-32", lm_act_q8_bytes, quantise_q8 };

const lm_act_layout lm_act_q16_avx512 = { "q16-32", lm_act_q16_bytes, quantise_q16 };

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return LM_MAX(lm_many_scratch(false), LM_MAX(lm_one_scratch(w, false), lm_panels_scratch(w->cols)));
}

static size_t q16_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return LM_MAX(lm_many_scratch(true), LM_MAX(lm_one_scratch(w, true), lm_panels_scratch(w->cols)));
}

LM_INLINE void run_codes(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n,
                         float *y, size_t ldy, void *scratch, bool precise)
{
    if (n > LM_ONE_TOKENS) {
        lm_many_run(w, row0, row1, x, n, y, ldy, scratch, precise);
        return;
    }
    (w->panels ? lm_panels_one : lm_one_run)(w, row0, row1, x, n, y, ldy, scratch, precise);
}

static void q8_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, false);
}

static void q16_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, true);
}

const lm_cpu_linear lm_linear_q8_avx512 = { "in place, 8-bit activations, avx512", &lm_act_q8_avx512,
                                            q8_scratch, q8_run };
const lm_cpu_linear lm_linear_q16_avx512 = { "in place, 15-bit activations, avx512", &lm_act_q16_avx512,
                                             q16_scratch, q16_run };
