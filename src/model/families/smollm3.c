/* smollm3.c - SmolLM 3: llama where every n-th layer has no rotary positions.
 * Evidence: docs/models.md. */
#include "base/fail.h"
#include "base/mem.h"
#include "model/family.h"

static void defaults(lm_reader *r, lm_config *c)
{
    (void)r;
    c->rope.base = 2e6;
    c->tied = true;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    uint32_t every = 4;
    const json_t *list = lm_reader_find(r, "no_rope_layers", NULL);
    bool use_window = false;
    c->interleaved = r->gguf;
    lm_read_bool(r, "use_sliding_window", NULL, &use_window);
    if (!use_window)
        c->window = 0;
    lm_read_u32(r, "no_rope_layer_interval", NULL, 1, LM_MAX_LAYERS, &every);
    LM_TRY(LM_NEW(&c->no_rope, c->n_layers, r->err));
    if (json_array_size(list) && json_array_size(list) < c->n_layers)
        return lm_fail(r->err, LM_ERR_CORRUPT, "'no_rope_layers' has %zu entries, the model has %u layers",
                       json_array_size(list), c->n_layers);
    for (uint32_t i = 0; i < c->n_layers; i++) /* in the list 1 means rotated */
        c->no_rope[i] =
            json_array_size(list) ? json_integer_value(json_array_get(list, i)) == 0 : (i + 1) % every == 0;
    return lm_config_pattern(r, c, 0);
}

const lm_family lm_family_smollm3 = {
    .name = "smollm3",
    .hf_types = "smollm3",
    .gguf_archs = "smollm3",
    .defaults = defaults,
    .configure = configure,
    .layer = lm_net_llama_layer,
};
