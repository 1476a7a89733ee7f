/* qwen3.c - Qwen 3 (dense): llama with a norm on each head of q and k.
 * Evidence: docs/models.md. */
#include "model/family.h"

lm_status lm_qwen_windows(lm_reader *r, lm_config *c); /* qwen2.c */

const lm_family lm_family_qwen3 = {
    .name = "qwen3",
    .hf_types = "qwen3",
    .gguf_archs = "qwen3",
    .configure = lm_qwen_windows,
    .layer = lm_net_llama_layer,
};
