/* gemma2.c - Gemma 2: Gemma with norms after attention and MLP too, soft caps on
 * scores and logits, every other layer sliding (the first, the third, ...).
 * Evidence: docs/models.md. */
#include <math.h>

#include "base/fail.h"
#include "base/mem.h"
#include "model/gemma_common.h"

const lm_weight_name lm_gemma2_names[LM_GEMMA2_N_NAMES] = {
    { LM_W_POST_ATTN, "layers.%u.post_attention_layernorm", "blk.%u.post_attention_norm" },
    { LM_W_NORM2, "layers.%u.pre_feedforward_layernorm", "blk.%u.ffn_norm" },
    { LM_W_POST_FFN, "layers.%u.post_feedforward_layernorm", "blk.%u.post_ffw_norm" },
};

lm_val lm_gemma2_layer(lm_net_builder *m, lm_val x)
{
    lm_val h = lm_net_attention(m, lm_net_norm(m, x, LM_W_NORM1));
    x = lm_build_add(&m->b, x, lm_net_norm(m, h, LM_W_POST_ATTN));
    h = lm_net_gated_mlp(m, lm_net_norm(m, x, LM_W_NORM2));
    return lm_build_add(&m->b, x, lm_net_norm(m, h, LM_W_POST_FFN));
}

static void defaults(lm_reader *r, lm_config *c)
{
    lm_gemma_defaults(r, c);
    c->window = 4096;
    c->attn_softcap = 50;
    c->final_softcap = 30;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    double scalar = c->head_dim;
    LM_TRY(lm_gemma_configure(r, c));
    lm_read_f64(r, "query_pre_attn_scalar", NULL, 1, LM_MAX_WIDTH, &scalar);
    /* GGUF drops the scalar: the 27B model's is width / heads, known by its 46 layers. */
    if (r->gguf && c->n_layers == 46)
        scalar = (double)c->width / c->n_heads;
    c->attn_scale = (float)(1.0 / sqrt(scalar));
    lm_read_f32(r, "attn_logit_softcapping", "attn_logit_softcapping", 0, 1e6, &c->attn_softcap);
    lm_read_f32(r, "final_logit_softcapping", "final_logit_softcapping", 0, 1e6, &c->final_softcap);
    return lm_config_pattern(r, c, 2);
}

const lm_family lm_family_gemma2 = {
    .name = "gemma2",
    .hf_types = "gemma2",
    .gguf_archs = "gemma2",
    .names = lm_gemma2_names,
    .n_names = LM_GEMMA2_N_NAMES,
    .defaults = defaults,
    .configure = configure,
    .layer = lm_gemma2_layer,
};
