/* qwen2.c - Qwen 2 and 2.5: llama with biases on q, k and v; a sliding window
 * from a given layer on, off in nearly every published pack.
 * Evidence: docs/models.md. */
#include "base/mem.h"
#include "model/family.h"

/* use_sliding_window false beside a window means none; else the layers from
 * max_window_layers on slide. */
lm_status lm_qwen_windows(lm_reader *r, lm_config *c);
lm_status lm_qwen_windows(lm_reader *r, lm_config *c)
{
    bool use = false;
    uint32_t from = 28;
    lm_read_bool(r, "use_sliding_window", NULL, &use);
    lm_read_u32(r, "max_window_layers", NULL, 0, LM_MAX_LAYERS, &from);
    if (!use)
        c->window = 0;
    if (!c->window || c->sliding)
        return LM_OK;
    lm_status s = LM_NEW(&c->sliding, c->n_layers, r->err);
    for (uint32_t i = from; s == LM_OK && i < c->n_layers; i++)
        c->sliding[i] = 1;
    return s;
}

const lm_family lm_family_qwen2 = {
    .name = "qwen2",
    .hf_types = "qwen2",
    .gguf_archs = "qwen2",
    .configure = lm_qwen_windows,
    .layer = lm_net_llama_layer,
};
