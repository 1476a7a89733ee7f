/* quant/quant.c - the registry of number formats, and single f16 numbers. */
#include "quant/quant.h"

#include <strings.h>

#include "quant/formats.h"

/* In the order people expect in a list. */
static const lm_quant *const PLAIN[] = {
    &lm_quant_f32,   &lm_quant_f16,     &lm_quant_bf16,      &lm_quant_f64,       &lm_quant_q4_0,
    &lm_quant_q4_1,  &lm_quant_q5_0,    &lm_quant_q5_1,      &lm_quant_q8_0,      &lm_quant_q2_k,
    &lm_quant_q3_k,  &lm_quant_q4_k,    &lm_quant_q5_k,      &lm_quant_q6_k,      &lm_quant_iq1_s,
    &lm_quant_iq1_m, &lm_quant_iq2_xxs, &lm_quant_iq2_xs,    &lm_quant_iq2_s,     &lm_quant_iq3_xxs,
    &lm_quant_iq3_s, &lm_quant_iq4_nl,  &lm_quant_iq4_xs,    &lm_quant_tq1_0,     &lm_quant_tq2_0,
    &lm_quant_mxfp4, &lm_quant_nvfp4,   &lm_quant_mlx_mxfp4, &lm_quant_mlx_mxfp8, &lm_quant_mlx_nvfp4,
};

const lm_quant *lm_quant_at(size_t i)
{
    if (i < LM_LEN(PLAIN))
        return PLAIN[i];
    i -= LM_LEN(PLAIN);
    return i < LM_QUANT_N_AFFINE ? &lm_quant_affines[i] : NULL;
}

const lm_quant *lm_quant_by_name(const char *name)
{
    const lm_quant *q;
    if (!name)
        return NULL;
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++)
        if (strcasecmp(q->name, name) == 0) /* people write q4_k and Q4_K */
            return q;
    return NULL;
}

const lm_quant *lm_quant_by_gguf_type(uint32_t type)
{
    for (size_t i = 0; i < LM_LEN(PLAIN); i++)
        if (PLAIN[i]->gguf_type >= 0 && (uint32_t)PLAIN[i]->gguf_type == type)
            return PLAIN[i];
    return NULL;
}

const lm_quant *lm_quant_affine(unsigned bits, unsigned group, lm_quant_kind scale_kind)
{
    for (size_t i = 0; i < LM_QUANT_N_AFFINE; i++) {
        const lm_quant *q = &lm_quant_affines[i];
        if (q->bits == bits && q->block_elems == group && q->scale_kind == scale_kind)
            return q;
    }
    return NULL;
}

const lm_quant *lm_quant_of(lm_quant_kind kind)
{
    for (size_t i = 0; i < LM_LEN(PLAIN); i++)
        if (PLAIN[i]->kind == kind)
            return PLAIN[i];
    return NULL;
}

float lm_f16_to_f32(uint16_t h)
{
    return lm_quant_half_to_f32(h);
}

uint16_t lm_f32_to_f16(float f)
{
    return lm_quant_f32_to_half(f);
}
