/* phi.c - Phi 1, 1.5 and 2: layer norms with biases, attention and MLP side by
 * side on the same normed input, partial rotation, a plain GELU MLP.
 * Evidence: docs/models.md. */
#include "base/fail.h"
#include "model/family.h"

static const lm_weight_name names[] = {
    { LM_W_O, "layers.%u.self_attn.dense", "blk.%u.attn_output" },
    { LM_W_UP, "layers.%u.mlp.fc1", "blk.%u.ffn_up" },
    { LM_W_DOWN, "layers.%u.mlp.fc2", "blk.%u.ffn_down" },
    { LM_W_FINAL_NORM, "final_layernorm", "output_norm" },
};

static void defaults(lm_reader *r, lm_config *c)
{
    (void)r;
    c->act = LM_ACT_GELU_TANH;
    c->eps = 1e-5f;
    c->rotary_fraction = 0.5;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    bool qk_norm = false;
    lm_read_bool(r, "qk_layernorm", NULL, &qk_norm);
    if (qk_norm)
        return lm_fail(r->err, LM_ERR_UNSUPPORTED, "'qk_layernorm' is true, known is false");
    /* Some converters write four times the width; the matrix knows better. */
    const lm_tensor *up = r->gguf ? lm_packfile_find(r->pack, "blk.0.ffn_up.weight") : NULL;
    if (up && up->n_dims == 2 && up->dims[0] <= LM_MAX_WIDTH)
        c->n_ff = (uint32_t)up->dims[0];
    return LM_OK;
}

static lm_val layer(lm_net_builder *m, lm_val x)
{
    lm_val h = lm_net_layer_norm(m, x, LM_W_NORM1);
    lm_val y = lm_build_add(&m->b, lm_net_attention(m, h), lm_net_plain_mlp(m, h));
    return lm_build_add(&m->b, x, y);
}

const lm_family lm_family_phi = {
    .name = "phi",
    .hf_types = "phi",
    .gguf_archs = "phi2",
    .names = names,
    .n_names = LM_LEN(names),
    .defaults = defaults,
    .configure = configure,
    .layer = layer,
};
