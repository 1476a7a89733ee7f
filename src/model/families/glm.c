/* glm.c - GLM 4 (the -hf packs of 9B): llama with biases on q, k and v, gate and
 * up in one matrix, half of each head rotated, neighbours as pairs.
 * Evidence: docs/models.md. */
#include "model/family.h"

static void defaults(lm_reader *r, lm_config *c)
{
    (void)r;
    c->eps = 1.5625e-7f;
    c->rotary_fraction = 0.5;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    c->interleaved = true;
    c->window = 0;
    /* A converter that did not know the -hf spelling of the keys wrote its own
     * defaults: 1e-5, and the width as the context.  GLM 4's own values stand in. */
    if (r->gguf && c->max_context == c->width && c->eps > 9.9e-6f) {
        c->eps = 1.5625e-7f;
        c->max_context = 131072;
    }
    return LM_OK;
}

const lm_family lm_family_glm = {
    .name = "glm",
    .hf_types = "glm",
    .gguf_archs = "chatglm",
    .defaults = defaults,
    .configure = configure,
    .layer = lm_net_llama_layer,
};
