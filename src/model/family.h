/* model/family.h - what a family of models is made of.
 *
 * A family is one file under families/: names, defaults, corrections of the
 * configuration, names of weights that differ from the common ones, and a
 * function that writes one layer.  It knows no files, formats, devices or
 * batches.  docs/contributing/add-a-family.md walks through one.
 *
 * Threads: constant data and pure functions.
 */
#ifndef LM_FAMILY_H
#define LM_FAMILY_H

#include "model/config.h"
#include "tensor/program.h"

/* The weights that decoders have; the common names stand in names.c. */
typedef enum {
    LM_W_EMBED,
    LM_W_FINAL_NORM,
    LM_W_HEAD,
    LM_W_NORM1, /* before attention */
    LM_W_Q,
    LM_W_K,
    LM_W_V,
    LM_W_QKV, /* q, k and v rows in one */
    LM_W_O,
    LM_W_Q_NORM,
    LM_W_K_NORM,
    LM_W_POST_ATTN, /* after attention, before its residual */
    LM_W_NORM2,     /* before the feed-forward part */
    LM_W_GATE,
    LM_W_UP,
    LM_W_GATE_UP, /* both in one */
    LM_W_DOWN,
    LM_W_POST_FFN,   /* after it, before its residual */
    LM_W_ROPE_FREQS, /* GGUF: divisors of the frequencies */
    LM_W_ROPE_LONG,
    LM_W_ROPE_SHORT,
    LM_W_COUNT
} lm_weight_id;

typedef struct {
    lm_weight_id id;
    const char *hf, *gguf; /* "layers.%u.mlp.up_proj", "blk.%u.ffn_up"; NULL: does not exist */
} lm_weight_name;

/* A family being built: the builder, the configuration, the pack. */
typedef struct lm_net_builder {
    lm_builder b;
    const lm_config *c;
    struct lm_net *net;
    uint32_t rope, rope_local; /* tables */
    uint32_t layer;
} lm_net_builder;

typedef struct lm_family {
    const char *name;
    const char *hf_types;        /* model_type values, separated by spaces */
    const char *gguf_archs;      /* general.architecture values */
    const lm_weight_name *names; /* overrides of the common names */
    size_t n_names;
    /* Before the common reading: what published packs leave out. */
    void (*defaults)(lm_reader *r, lm_config *c);
    /* After it: keys of this family alone, corrections, checks. */
    lm_status (*configure)(lm_reader *r, lm_config *c);
    /* x [tokens, width] -> x after layer m->layer. */
    lm_val (*layer)(lm_net_builder *m, lm_val x);
} lm_family;

/* By model_type or general.architecture; NULL: no such family. */
const lm_family *lm_family_find(const char *type, bool gguf);
const lm_family *lm_family_at(size_t i); /* NULL past the last */

/* --- pieces that layers are written with (decoder.c) ------------------------ */

bool lm_net_has(lm_net_builder *m, lm_weight_id id);
lm_val lm_net_norm(lm_net_builder *m, lm_val x, lm_weight_id id);       /* RMS over the width */
lm_val lm_net_layer_norm(lm_net_builder *m, lm_val x, lm_weight_id id); /* with bias */
lm_val lm_net_head_norm(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t group);
lm_val lm_net_linear(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t rows);
/* q, k, v (fused or not), optional norms of q and k, rotation, attention, o. */
lm_val lm_net_attention(lm_net_builder *m, lm_val h);
lm_val lm_net_gated_mlp(lm_net_builder *m, lm_val h);          /* fused or not */
lm_val lm_net_plain_mlp(lm_net_builder *m, lm_val h);          /* act(up) then down */
lm_val lm_net_residual(lm_net_builder *m, lm_val x, lm_val y); /* x + residual_scale * y */
/* norm1, attention, residual, norm2, gated mlp, residual: most decoders. */
lm_val lm_net_llama_layer(lm_net_builder *m, lm_val x);

#endif
