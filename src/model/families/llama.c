/* llama.c - Llama 1 to 3 and everything built alike (Hermes, TinyLlama, SmolLM 1
 * and 2, DeepSeek's dense models): RMS norms, rotary positions with llama3, yarn,
 * linear or dynamic scaling, SwiGLU.  Evidence: docs/models.md. */
#include "model/family.h"

static lm_status configure(lm_reader *r, lm_config *c)
{
    /* GGUF keeps q and k with their rows permuted so that pairs are neighbours;
     * the same rotation is then interleaved (DESIGN 3.6). */
    c->interleaved = r->gguf;
    c->window = 0;
    return LM_OK;
}

const lm_family lm_family_llama = {
    .name = "llama",
    .hf_types = "llama hermes",
    .gguf_archs = "llama hermes",
    .configure = configure,
    .layer = lm_net_llama_layer,
};
