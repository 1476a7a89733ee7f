/* olmo2.c - OLMo 2: no norms before attention and MLP, norms after them, and
 * norms over the whole width of q and k.  Evidence: docs/models.md. */
#include "model/family.h"

static const lm_weight_name names[] = {
    { LM_W_POST_ATTN, "layers.%u.post_attention_layernorm", "blk.%u.post_attention_norm" },
    { LM_W_POST_FFN, "layers.%u.post_feedforward_layernorm", "blk.%u.post_ffw_norm" },
};

static lm_val layer(lm_net_builder *m, lm_val x)
{
    x = lm_build_add(&m->b, x, lm_net_norm(m, lm_net_attention(m, x), LM_W_POST_ATTN));
    return lm_build_add(&m->b, x, lm_net_norm(m, lm_net_gated_mlp(m, x), LM_W_POST_FFN));
}

const lm_family lm_family_olmo2 = {
    .name = "olmo2",
    .hf_types = "olmo2",
    .gguf_archs = "olmo2",
    .names = names,
    .n_names = LM_LEN(names),
    .layer = layer,
};
