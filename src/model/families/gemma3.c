/* gemma3.c - Gemma 3 (text): Gemma 2's four norms, a norm on each head of q and
 * k, no soft caps, five sliding layers to one that sees everything, and a rotary
 * base of its own for the sliding ones.  Published packs leave most keys to the
 * defaults below, and so do GGUF files.  Evidence: docs/models.md. */
#include <math.h>

#include "base/fail.h"
#include "model/gemma_common.h"

static void defaults(lm_reader *r, lm_config *c)
{
    lm_gemma_defaults(r, c);
    if (!r->gguf) { /* a multimodal pack's text_config names only what differs */
        c->n_heads = 8;
        c->n_kv_heads = 4;
        c->n_vocab = 262208;
        c->max_context = 131072;
    }
    c->window = 4096;
    c->rope.base = 1e6;
    c->rope_local.base = 1e4;
}

static lm_status configure(lm_reader *r, lm_config *c)
{
    double scalar = c->head_dim;
    uint32_t every = 6;
    LM_TRY(lm_gemma_configure(r, c));
    if (!r->gguf)
        scalar = 256;
    lm_read_f64(r, "query_pre_attn_scalar", NULL, 1, LM_MAX_WIDTH, &scalar);
    if (r->gguf && c->n_layers == 62) /* the 27B model: width / heads */
        scalar = (double)c->width / c->n_heads;
    c->attn_scale = (float)(1.0 / sqrt(scalar));
    lm_read_u32(r, "sliding_window_pattern|_sliding_window_pattern", "attention.sliding_window_pattern", 1,
                LM_MAX_LAYERS, &every);
    lm_read_f32(r, "attn_logit_softcapping", "attn_logit_softcapping", 0, 1e6, &c->attn_softcap);
    lm_read_f32(r, "final_logit_softcapping", "final_logit_softcapping", 0, 1e6, &c->final_softcap);
    return lm_config_pattern(r, c, every);
}

const lm_family lm_family_gemma3 = {
    .name = "gemma3",
    .hf_types = "gemma3 gemma3_text",
    .gguf_archs = "gemma3",
    .names = lm_gemma2_names,
    .n_names = LM_GEMMA2_N_NAMES,
    .defaults = defaults,
    .configure = configure,
    .layer = lm_gemma2_layer,
};
