/* gemma.c - Gemma 1: llama with norms stored as w and applied as 1 + w,
 * embeddings times sqrt(width), GELU in the gate.  GGUF stores 1 + w.
 * Evidence: docs/models.md. */
#include <math.h>

#include "base/fail.h"
#include "model/gemma_common.h"

void lm_gemma_defaults(lm_reader *r, lm_config *c)
{
    (void)r;
    c->act = LM_ACT_GELU_TANH;
    c->tied = true;
    c->head_dim = 256;
}

lm_status lm_gemma_configure(lm_reader *r, lm_config *c)
{
    c->embed_scale = sqrtf((float)c->width);
    c->norm_plus_one = !r->gguf;
    /* The first packs said "gelu" and meant its tanh form. */
    c->act = LM_ACT_GELU_TANH;
    return LM_OK;
}

const lm_family lm_family_gemma = {
    .name = "gemma",
    .hf_types = "gemma",
    .gguf_archs = "gemma",
    .defaults = lm_gemma_defaults,
    .configure = lm_gemma_configure,
    .layer = lm_net_llama_layer,
};
