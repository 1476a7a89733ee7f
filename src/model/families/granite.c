/* granite.c - Granite 3 (dense): llama with four multipliers: embeddings,
 * attention scores, residuals, logits (a divisor).  Evidence: docs/models.md. */
#include "base/fail.h"
#include "model/family.h"

static lm_status configure(lm_reader *r, lm_config *c)
{
    float divisor = 1;
    c->interleaved = r->gguf;
    c->window = 0;
    lm_read_f32(r, "embedding_multiplier", "embedding_scale", 1e-6, 1e6, &c->embed_scale);
    lm_read_f32(r, "attention_multiplier", "attention.scale", 1e-6, 1e6, &c->attn_scale);
    lm_read_f32(r, "residual_multiplier", "residual_scale", 1e-6, 1e6, &c->residual_scale);
    lm_read_f32(r, "logits_scaling", "logit_scale", 1e-6, 1e6, &divisor);
    c->logit_scale = 1.0f / divisor;
    return LM_OK;
}

const lm_family lm_family_granite = {
    .name = "granite",
    .hf_types = "granite",
    .gguf_archs = "granite",
    .configure = configure,
    .layer = lm_net_llama_layer,
};
