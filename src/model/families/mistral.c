/* mistral.c - Mistral: llama with an optional sliding window on every layer.
 * GGUF files call it llama.  Evidence: docs/models.md. */
#include "model/family.h"

static lm_status configure(lm_reader *r, lm_config *c)
{
    c->interleaved = r->gguf;
    return lm_config_pattern(r, c, 0);
}

const lm_family lm_family_mistral = {
    .name = "mistral",
    .hf_types = "mistral ministral",
    .gguf_archs = "mistral",
    .configure = configure,
    .layer = lm_net_llama_layer,
};
