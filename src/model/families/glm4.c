/* glm4.c - GLM 4-0414: GLM with norms after attention and after the MLP.
 * Evidence: docs/models.md. */
#include "model/family.h"

static const lm_weight_name names[] = {
    { LM_W_POST_ATTN, "layers.%u.post_self_attn_layernorm", "blk.%u.post_attention_norm" },
    { LM_W_POST_FFN, "layers.%u.post_mlp_layernorm", "blk.%u.post_ffw_norm" },
};

static void defaults(lm_reader *r, lm_config *c)
{
    (void)r;
    c->eps = 1.5625e-7f;
    c->rotary_fraction = 0.5;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    (void)r;
    c->interleaved = true;
    c->window = 0;
    return LM_OK;
}

static lm_val layer(lm_net_builder *m, lm_val x)
{
    lm_val h = lm_net_attention(m, lm_net_norm(m, x, LM_W_NORM1));
    x = lm_build_add(&m->b, x, lm_net_norm(m, h, LM_W_POST_ATTN));
    h = lm_net_gated_mlp(m, lm_net_norm(m, x, LM_W_NORM2));
    return lm_build_add(&m->b, x, lm_net_norm(m, h, LM_W_POST_FFN));
}

const lm_family lm_family_glm4 = {
    .name = "glm4",
    .hf_types = "glm4",
    .gguf_archs = "glm4",
    .names = names,
    .n_names = LM_LEN(names),
    .defaults = defaults,
    .configure = configure,
    .layer = layer,
};
