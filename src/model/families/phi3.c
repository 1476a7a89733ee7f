/* phi3.c - Phi 3, 3.5 and 4: llama with q, k, v in one matrix and gate, up in
 * one, longrope for long contexts, a sliding window on every layer where given.
 * Evidence: docs/models.md. */
#include "model/family.h"

static lm_status configure(lm_reader *r, lm_config *c)
{
    return lm_config_pattern(r, c, 0);
}

const lm_family lm_family_phi3 = {
    .name = "phi3",
    .hf_types = "phi3",
    .gguf_archs = "phi3",
    .configure = configure,
    .layer = lm_net_llama_layer,
};
