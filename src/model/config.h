/* model/config.h - the hyperparameters of a decoder, whatever file they came from.
 *
 * config.json (in every spelling that packs have used over the years) and GGUF
 * metadata end in the same struct.  A family may set defaults before and correct
 * after the common reading.
 *
 * Trust:   values come from the pack: ranges are checked here, once.
 * Threads: plain data.
 */
#ifndef LM_CONFIG_H
#define LM_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "format/pack.h"
#include "tensor/program.h"

enum {
    LM_MAX_LAYERS = 1024,
    LM_MAX_WIDTH = 1 << 20,
    LM_MAX_HEADS = 4096,
    LM_MAX_VOCAB = 1 << 24,
    LM_MAX_CONTEXT = 1 << 28,
};

typedef enum {
    LM_ROPE_PLAIN,
    LM_ROPE_LINEAR,
    LM_ROPE_DYNAMIC, /* resolved once, by the session's context length (N1) */
    LM_ROPE_LLAMA3,
    LM_ROPE_YARN,
    LM_ROPE_LONGROPE, /* the same */
} lm_rope_kind;

/* One rotary table as the pack describes it. */
typedef struct {
    lm_rope_kind kind;
    double base;
    double factor;                                   /* 1: none */
    double original_context;                         /* 0: max_context */
    double low_freq, high_freq;                      /* llama3 */
    double beta_fast, beta_slow;                     /* yarn */
    double mscale, mscale_all_dim, attention_factor; /* 0: not given */
    bool truncate;                                   /* yarn, default true */
    const json_t *short_factor, *long_factor;        /* longrope; borrowed from the pack's config */
} lm_rope_spec;

typedef struct {
    uint32_t n_layers, width, n_ff, n_heads, n_kv_heads, head_dim, n_vocab;
    uint32_t max_context;   /* as trained */
    uint32_t n_rot;         /* rotated dimensions of a head */
    double rotary_fraction; /* 0: not given */
    float eps;
    lm_act act;
    bool tied;

    uint32_t window;               /* 0: none */
    uint8_t *sliding;              /* [n_layers] 1 where the window counts */
    uint8_t *no_rope;              /* [n_layers] 1 where positions are not rotated */
    lm_rope_spec rope, rope_local; /* rope_local: sliding layers, where they differ */
    bool has_rope_local;

    float attn_scale; /* of q . k; 0: 1 / sqrt(head_dim) */
    float attn_softcap, final_softcap;
    float embed_scale, residual_scale, logit_scale; /* 1: none */
    bool norm_plus_one;                             /* norms are stored as w and mean 1 + w */
    bool interleaved;                               /* rotary pairs are neighbours */
} lm_config;

/* Where values are read from: a config.json object (the text part of it), or GGUF
 * metadata with the architecture's prefix. */
typedef struct {
    const json_t *root; /* the whole config */
    const lm_packfile *pack;
    const json_t *text; /* text_config or the root */
    const char *arch;   /* "llama": GGUF prefix, or model_type */
    bool gguf;
    lm_error *err;
    lm_status status; /* sticky */
} lm_reader;

lm_status lm_reader_init(lm_reader *r, const lm_packfile *p, lm_error *err) LM_NODISCARD;
/* The value under one of the keys ("a|b") of config.json, or of GGUF (without the
 * prefix), or NULL.  JSON null counts as absent. */
const json_t *lm_reader_find(lm_reader *r, const char *hf_keys, const char *gguf_key);
/* Leave *io alone when the key is absent; complain when the value is not a number
 * or outside [min, max]. */
void lm_read_u32(lm_reader *r, const char *hf_keys, const char *gguf_key, uint32_t min, uint32_t max,
                 uint32_t *io);
void lm_read_f64(lm_reader *r, const char *hf_keys, const char *gguf_key, double min, double max, double *io);
void lm_read_f32(lm_reader *r, const char *hf_keys, const char *gguf_key, double min, double max, float *io);
void lm_read_bool(lm_reader *r, const char *hf_keys, const char *gguf_key, bool *io);

/* The part that all decoders share.  *out holds the family's defaults. */
lm_status lm_config_read(lm_reader *r, const lm_packfile *p, lm_config *out) LM_NODISCARD;
/* Marks every layer whose (index + 1) is not a multiple of `every` as sliding,
 * unless layer_types already said so. */
lm_status lm_config_pattern(lm_reader *r, lm_config *c, uint32_t every) LM_NODISCARD;
void lm_config_clear(lm_config *c);

/* inv_freq [n_rot / 2] and the factor on cos and sin for a session of `context`
 * positions.  `divisors` (GGUF's rope_freqs tensor) may be NULL.  Formulas: the
 * Hugging Face rotary initialisers of the same names. */
lm_status lm_rope_resolve(const lm_rope_spec *s, const lm_config *c, uint32_t n_rot, uint32_t context,
                          const float *divisors, float *inv_freq, float *mscale, lm_error *err) LM_NODISCARD;

#endif
