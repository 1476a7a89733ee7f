/* model/names.c - what files call the weights that decoders share.
 *
 * The Hugging Face name stands without its prefix ("model.", or a wrapper's) and
 * without ".weight"; a '!' in front means that the prefix is not put there. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "model/net.h"

static const lm_weight_name common[LM_W_COUNT] = {
    { LM_W_EMBED, "embed_tokens", "token_embd" },
    { LM_W_FINAL_NORM, "norm", "output_norm" },
    { LM_W_HEAD, "!lm_head", "output" },
    { LM_W_NORM1, "layers.%u.input_layernorm", "blk.%u.attn_norm" },
    { LM_W_Q, "layers.%u.self_attn.q_proj", "blk.%u.attn_q" },
    { LM_W_K, "layers.%u.self_attn.k_proj", "blk.%u.attn_k" },
    { LM_W_V, "layers.%u.self_attn.v_proj", "blk.%u.attn_v" },
    { LM_W_QKV, "layers.%u.self_attn.qkv_proj", "blk.%u.attn_qkv" },
    { LM_W_O, "layers.%u.self_attn.o_proj", "blk.%u.attn_output" },
    { LM_W_Q_NORM, "layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm" },
    { LM_W_K_NORM, "layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm" },
    { LM_W_POST_ATTN, NULL, "blk.%u.post_attention_norm" },
    { LM_W_NORM2, "layers.%u.post_attention_layernorm", "blk.%u.ffn_norm" },
    { LM_W_GATE, "layers.%u.mlp.gate_proj", "blk.%u.ffn_gate" },
    { LM_W_UP, "layers.%u.mlp.up_proj", "blk.%u.ffn_up" },
    { LM_W_GATE_UP, "layers.%u.mlp.gate_up_proj", "blk.%u.ffn_up" },
    { LM_W_DOWN, "layers.%u.mlp.down_proj", "blk.%u.ffn_down" },
    { LM_W_POST_FFN, NULL, "blk.%u.post_ffw_norm" },
    { LM_W_ROPE_FREQS, NULL, "rope_freqs" },
    { LM_W_ROPE_LONG, NULL, "rope_factors_long" },
    { LM_W_ROPE_SHORT, NULL, "rope_factors_short" },
};

/* Puts the layer's number in the place of "%u". */
static bool spell(char *buf, size_t cap, const char *prefix, const char *pattern, uint32_t layer,
                  const char *suffix)
{
    const char *mark = strstr(pattern, "%u");
    int n;
    if (mark)
        n = snprintf(buf, cap, "%s%.*s%u%s%s", prefix, (int)(mark - pattern), pattern, layer, mark + 2,
                     suffix);
    else
        n = snprintf(buf, cap, "%s%s%s", prefix, pattern, suffix);
    return n > 0 && (size_t)n < cap;
}

const lm_tensor *lm_net_find(lm_net *n, lm_weight_id id, uint32_t layer, bool bias)
{
    char buf[256];
    bool gguf = lm_packfile_kind(n->pack) == LM_PACK_GGUF;
    const lm_weight_name *row = &common[id];
    for (size_t i = 0; i < n->family->n_names; i++)
        if (n->family->names[i].id == id)
            row = &n->family->names[i];
    const char *pattern = gguf ? row->gguf : row->hf;
    if (!pattern)
        return NULL;
    const char *suffix = bias ? ".bias" : ".weight";
    if (gguf)
        return spell(buf, sizeof buf, "", pattern, layer, suffix) ? lm_packfile_find(n->pack, buf) : NULL;
    if (*pattern != '!')
        return spell(buf, sizeof buf, n->prefix, pattern, layer, suffix) ? lm_packfile_find(n->pack, buf)
                                                                         : NULL;
    /* The head stands beside the model, or inside a wrapper. */
    static const char *const wrappers[] = { "", "language_model.", "model.language_model.", "model." };
    for (size_t i = 0; i < LM_LEN(wrappers); i++)
        if (spell(buf, sizeof buf, wrappers[i], pattern + 1, layer, suffix)) {
            const lm_tensor *t = lm_packfile_find(n->pack, buf);
            if (t)
                return t;
        }
    return NULL;
}
