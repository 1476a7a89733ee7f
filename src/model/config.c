/* model/config.c - reads hyperparameters from config.json or GGUF metadata. */
#include "model/config.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"

lm_status lm_reader_init(lm_reader *r, const lm_packfile *p, lm_error *err)
{
    lm_quoted_buf q;
    *r = (lm_reader){
        .root = lm_packfile_config(p), .pack = p, .gguf = lm_packfile_kind(p) == LM_PACK_GGUF, .err = err
    };
    const char *key = r->gguf ? "general.architecture" : "model_type";
    r->text = r->root;
    if (!r->gguf) {
        const json_t *inner = json_object_get(r->root, "text_config");
        if (json_is_object(inner))
            r->text = inner;
    }
    /* A multimodal wrapper names itself; the text part knows better. */
    r->arch = json_string_value(json_object_get(r->text, key));
    if (!r->arch)
        r->arch = json_string_value(json_object_get(r->root, key));
    if (!r->arch)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: '%s' is missing, so the architecture is unknown",
                       lm_quoted_z(&q, lm_packfile_path(p)), key);
    return LM_OK;
}

static const json_t *one_key(const json_t *o, const char *key, size_t n)
{
    char buf[128];
    if (n >= sizeof buf)
        return NULL;
    memcpy(buf, key, n);
    buf[n] = 0;
    const json_t *v = json_object_get(o, buf);
    return json_is_null(v) ? NULL : v;
}

const json_t *lm_reader_find(lm_reader *r, const char *hf_keys, const char *gguf_key)
{
    if (r->gguf) {
        char buf[192];
        size_t a = strlen(r->arch), k = gguf_key ? strlen(gguf_key) : 0;
        if (!gguf_key || a + k + 2 > sizeof buf)
            return NULL;
        memcpy(buf, r->arch, a);
        buf[a] = '.';
        memcpy(buf + a + 1, gguf_key, k);
        return one_key(r->root, buf, a + 1 + k);
    }
    for (const char *at = hf_keys; at && *at;) {
        size_t n = strcspn(at, "|");
        const json_t *v = one_key(r->text, at, n);
        /* tie_word_embeddings and the like stand at the top of some wrappers. */
        if (!v && r->text != r->root)
            v = one_key(r->root, at, n);
        if (v)
            return v;
        at += n + (at[n] == '|');
    }
    return NULL;
}

static const char *key_name(const lm_reader *r, const char *hf_keys, const char *gguf_key)
{
    return r->gguf ? gguf_key : hf_keys;
}

static bool number(lm_reader *r, const char *hf_keys, const char *gguf_key, double min, double max,
                   double *out)
{
    const json_t *v = r->status == LM_OK ? lm_reader_find(r, hf_keys, gguf_key) : NULL;
    if (!v)
        return false;
    /* Per-layer arrays of equal numbers are how some packs spell a constant. */
    if (json_is_array(v) && json_array_size(v) > 0)
        v = json_array_get(v, 0);
    if (!json_is_number(v)) {
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "'%s' is not a number", key_name(r, hf_keys, gguf_key));
        return false;
    }
    double x = json_number_value(v);
    if (!(x >= min && x <= max)) {
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "'%s' is %.17g, allowed is %.17g to %.17g",
                            key_name(r, hf_keys, gguf_key), x, min, max);
        return false;
    }
    *out = x;
    return true;
}

void lm_read_u32(lm_reader *r, const char *hf_keys, const char *gguf_key, uint32_t min, uint32_t max,
                 uint32_t *io)
{
    double x;
    if (!number(r, hf_keys, gguf_key, min, max, &x))
        return;
    if (x > floor(x)) {
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "'%s' is %.17g, allowed are whole numbers",
                            key_name(r, hf_keys, gguf_key), x);
        return;
    }
    *io = (uint32_t)x;
}

void lm_read_f64(lm_reader *r, const char *hf_keys, const char *gguf_key, double min, double max, double *io)
{
    double x;
    if (number(r, hf_keys, gguf_key, min, max, &x))
        *io = x;
}

void lm_read_f32(lm_reader *r, const char *hf_keys, const char *gguf_key, double min, double max, float *io)
{
    double x;
    if (number(r, hf_keys, gguf_key, min, max, &x))
        *io = (float)x;
}

void lm_read_bool(lm_reader *r, const char *hf_keys, const char *gguf_key, bool *io)
{
    const json_t *v = r->status == LM_OK ? lm_reader_find(r, hf_keys, gguf_key) : NULL;
    if (json_is_boolean(v))
        *io = json_is_true(v);
}

static void read_activation(lm_reader *r, lm_config *c)
{
    static const struct {
        const char *name;
        lm_act act;
    } names[] = { { "silu", LM_ACT_SILU },
                  { "swish", LM_ACT_SILU },
                  { "gelu", LM_ACT_GELU },
                  { "gelu_new", LM_ACT_GELU_TANH },
                  { "gelu_fast", LM_ACT_GELU_TANH },
                  { "gelu_pytorch_tanh", LM_ACT_GELU_TANH },
                  { "relu", LM_ACT_RELU } };
    lm_quoted_buf q;
    const char *s = json_string_value(lm_reader_find(r, "hidden_activation|hidden_act", NULL));
    if (!s)
        return;
    for (size_t i = 0; i < LM_LEN(names); i++)
        if (strcmp(names[i].name, s) == 0) {
            c->act = names[i].act;
            return;
        }
    if (r->status == LM_OK)
        r->status =
            lm_fail(r->err, LM_ERR_UNSUPPORTED, "the activation '%s' is not known", lm_quoted_z(&q, s));
}

/* A positive, finite number of a rotary description; absent or null: as it was. */
static void rope_number(lm_reader *r, const json_t *o, const char *key, double *io)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v) || r->status != LM_OK)
        return;
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    if (!(x > 0 && x <= 1e15))
        r->status = lm_fail(r->err, LM_ERR_CORRUPT,
                            "rotary scaling: '%s' is not a number, allowed is more than 0 to 1e15", key);
    else
        *io = x;
}

/* What a type cannot do without. */
static void rope_needs(lm_reader *r, const json_t *o, const char *type, const char *key)
{
    if (r->status == LM_OK && !json_is_number(json_object_get(o, key)))
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "rotary scaling of type '%s' needs '%s'", type, key);
}

static void rope_needs_list(lm_reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key), *x;
    size_t i;
    if (r->status == LM_OK && !json_is_array(v))
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "rotary scaling of type 'longrope' needs '%s'", key);
    json_array_foreach((json_t *)(uintptr_t)v, i,
                       x) if (r->status == LM_OK && !(json_is_number(x) && json_number_value(x) > 0))
        r->status =
        lm_fail(r->err, LM_ERR_CORRUPT, "rotary scaling: number %zu of '%s' is not more than 0", i, key);
}

/* rope_parameters, or rope_scaling: the same keys, `type` in the older ones. */
static void read_rope_object(lm_reader *r, const json_t *o, lm_rope_spec *s)
{
    static const struct {
        const char *name;
        lm_rope_kind kind;
    } kinds[] = { { "default", LM_ROPE_PLAIN },     { "none", LM_ROPE_PLAIN },
                  { "linear", LM_ROPE_LINEAR },     { "dynamic", LM_ROPE_DYNAMIC },
                  { "llama3", LM_ROPE_LLAMA3 },     { "yarn", LM_ROPE_YARN },
                  { "longrope", LM_ROPE_LONGROPE }, { "su", LM_ROPE_LONGROPE } };
    lm_quoted_buf q;
    const char *type = json_string_value(json_object_get(o, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(o, "type"));
    if (!type)
        type = "default";
    size_t i = 0;
    while (i < LM_LEN(kinds) && strcmp(kinds[i].name, type) != 0)
        i++;
    if (i == LM_LEN(kinds)) {
        if (r->status == LM_OK)
            r->status = lm_fail(r->err, LM_ERR_UNSUPPORTED, "rotary scaling of type '%s' is not known",
                                lm_quoted_z(&q, type));
        return;
    }
    s->kind = kinds[i].kind;
    if (s->kind == LM_ROPE_LINEAR || s->kind == LM_ROPE_DYNAMIC || s->kind == LM_ROPE_LLAMA3 ||
        s->kind == LM_ROPE_YARN)
        rope_needs(r, o, type, "factor");
    if (s->kind == LM_ROPE_LLAMA3) {
        rope_needs(r, o, type, "low_freq_factor");
        rope_needs(r, o, type, "high_freq_factor");
        rope_needs(r, o, type, "original_max_position_embeddings");
    }
    if (s->kind == LM_ROPE_LONGROPE) {
        rope_needs_list(r, o, "short_factor");
        rope_needs_list(r, o, "long_factor");
    }
    rope_number(r, o, "rope_theta", &s->base);
    rope_number(r, o, "factor", &s->factor);
    rope_number(r, o, "original_max_position_embeddings", &s->original_context);
    rope_number(r, o, "low_freq_factor", &s->low_freq);
    rope_number(r, o, "high_freq_factor", &s->high_freq);
    rope_number(r, o, "beta_fast", &s->beta_fast);
    rope_number(r, o, "beta_slow", &s->beta_slow);
    rope_number(r, o, "mscale", &s->mscale);
    rope_number(r, o, "mscale_all_dim", &s->mscale_all_dim);
    rope_number(r, o, "attention_factor", &s->attention_factor);
    if (json_is_boolean(json_object_get(o, "truncate")))
        s->truncate = json_is_true(json_object_get(o, "truncate"));
    s->short_factor = json_object_get(o, "short_factor");
    s->long_factor = json_object_get(o, "long_factor");
}

static void read_rope_hf(lm_reader *r, lm_config *c)
{
    lm_read_f64(r, "rope_theta|rotary_emb_base", NULL, 1e-3, 1e15, &c->rope.base);
    lm_read_f64(r, "original_max_position_embeddings", NULL, 1, LM_MAX_CONTEXT, &c->rope.original_context);
    lm_read_f64(r, "rope_local_base_freq", NULL, 1e-3, 1e15, &c->rope_local.base);
    lm_read_f64(r, "partial_rotary_factor|rotary_pct", NULL, 0, 1, &c->rotary_fraction);
    const json_t *o = lm_reader_find(r, "rope_parameters|rope_scaling", NULL);
    if (o && !json_is_object(o) && r->status == LM_OK)
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "'rope_parameters' (or 'rope_scaling') is not an object");
    if (!json_is_object(o))
        return;
    const json_t *full = json_object_get(o, "full_attention"),
                 *local = json_object_get(o, "sliding_attention");
    if (json_is_object(full) || json_is_object(local)) {
        if (json_is_object(full))
            read_rope_object(r, full, &c->rope);
        if (json_is_object(local))
            read_rope_object(r, local, &c->rope_local);
        return;
    }
    read_rope_object(r, o, &c->rope);
    rope_number(r, o, "partial_rotary_factor", &c->rotary_fraction);
    if (c->rotary_fraction > 1 && r->status == LM_OK)
        r->status = lm_fail(r->err, LM_ERR_CORRUPT, "'partial_rotary_factor' is %.17g, allowed is 0 to 1",
                            c->rotary_fraction);
}

static void read_rope_gguf(lm_reader *r, lm_config *c)
{
    lm_rope_spec *s = &c->rope;
    lm_read_f64(r, NULL, "rope.freq_base", 1e-3, 1e15, &s->base);
    lm_read_f64(r, NULL, "rope.freq_base_swa", 1e-3, 1e15, &c->rope_local.base);
    lm_read_u32(r, NULL, "rope.dimension_count", 2, LM_MAX_WIDTH, &c->n_rot);
    lm_read_f64(r, NULL, "rope.scaling.factor", 1e-6, 1e6, &s->factor);
    lm_read_f64(r, NULL, "rope.scaling.original_context_length", 1, LM_MAX_CONTEXT, &s->original_context);
    lm_read_f64(r, NULL, "rope.scaling.attn_factor", 0, 1e6, &s->attention_factor);
    const char *type = json_string_value(lm_reader_find(r, NULL, "rope.scaling.type"));
    if (type && strcmp(type, "yarn") == 0)
        s->kind = LM_ROPE_YARN;
    else if (type && strcmp(type, "longrope") == 0)
        s->kind = LM_ROPE_LONGROPE;
    else if (type && strcmp(type, "none") == 0)
        s->factor = 1;
    else if (s->factor > 1)
        s->kind = LM_ROPE_LINEAR; /* the key stood alone in older files */
}

static lm_status read_layer_types(lm_reader *r, lm_config *c)
{
    const json_t *types = lm_reader_find(r, "layer_types", NULL);
    lm_quoted_buf q;
    if (!json_is_array(types))
        return LM_OK;
    if (json_array_size(types) < c->n_layers)
        return lm_fail(r->err, LM_ERR_CORRUPT, "'layer_types' has %zu entries, the model has %u layers",
                       json_array_size(types), c->n_layers);
    LM_TRY(LM_NEW(&c->sliding, c->n_layers, r->err));
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const char *s = json_string_value(json_array_get(types, i));
        if (s && strcmp(s, "sliding_attention") == 0)
            c->sliding[i] = 1;
        else if (!s || strcmp(s, "full_attention") != 0)
            return lm_fail(r->err, LM_ERR_UNSUPPORTED,
                           "layer %u is of type '%s', known are full and sliding attention", i,
                           s ? lm_quoted_z(&q, s) : "?");
    }
    return LM_OK;
}

lm_status lm_config_pattern(lm_reader *r, lm_config *c, uint32_t every)
{
    if (c->sliding || !c->window)
        return LM_OK;
    LM_TRY(LM_NEW(&c->sliding, c->n_layers, r->err));
    for (uint32_t i = 0; i < c->n_layers; i++)
        c->sliding[i] = every == 0 || (i + 1) % every != 0;
    return LM_OK;
}

static lm_status required(lm_reader *r, uint32_t value, const char *hf_key, const char *gguf_key)
{
    if (value)
        return LM_OK;
    return lm_fail(r->err, LM_ERR_CORRUPT, "'%s%s%s' is missing", r->gguf ? r->arch : "", r->gguf ? "." : "",
                   r->gguf ? gguf_key : hf_key);
}

/* Rows of a tensor with one of these names, 0 if there is none. */
static uint32_t rows_of(const lm_packfile *p, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const lm_tensor *t = lm_packfile_find(p, names[i]);
        if (t && t->n_dims == 2 && t->dims[0] <= LM_MAX_VOCAB)
            return (uint32_t)t->dims[0];
    }
    return 0;
}

lm_status lm_config_read(lm_reader *r, const lm_packfile *p, lm_config *c)
{
    static const char *const embeds[] = { "token_embd.weight", "model.embed_tokens.weight",
                                          "model.language_model.embed_tokens.weight",
                                          "language_model.model.embed_tokens.weight" };
    static const char *const queries[] = { "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight",
                                           "model.language_model.layers.0.self_attn.q_proj.weight",
                                           "language_model.model.layers.0.self_attn.q_proj.weight" };
    lm_read_u32(r, "num_hidden_layers|n_layer|num_layers", "block_count", 1, LM_MAX_LAYERS, &c->n_layers);
    lm_read_u32(r, "hidden_size|n_embd", "embedding_length", 1, LM_MAX_WIDTH, &c->width);
    lm_read_u32(r, "intermediate_size|n_inner", "feed_forward_length", 1, LM_MAX_WIDTH, &c->n_ff);
    lm_read_u32(r, "num_attention_heads|n_head", "attention.head_count", 1, LM_MAX_HEADS, &c->n_heads);
    lm_read_u32(r, "num_key_value_heads", "attention.head_count_kv", 1, LM_MAX_HEADS, &c->n_kv_heads);
    lm_read_u32(r, "head_dim", "attention.key_length", 1, LM_MAX_WIDTH, &c->head_dim);
    lm_read_u32(r, "vocab_size", "vocab_size", 1, LM_MAX_VOCAB, &c->n_vocab);
    lm_read_u32(r, "max_position_embeddings|n_positions", "context_length", 1, LM_MAX_CONTEXT,
                &c->max_context);
    lm_read_f32(r, "rms_norm_eps|layer_norm_eps|layer_norm_epsilon|norm_eps",
                "attention.layer_norm_rms_epsilon", 0, 1, &c->eps);
    lm_read_f32(r, NULL, "attention.layer_norm_epsilon", 0, 1, &c->eps);
    lm_read_bool(r, "tie_word_embeddings", NULL, &c->tied);
    lm_read_u32(r, "sliding_window", "attention.sliding_window", 0, LM_MAX_CONTEXT, &c->window);
    read_activation(r, c);
    if (r->gguf)
        read_rope_gguf(r, c);
    else
        read_rope_hf(r, c);
    LM_TRY(r->status);
    if (!c->n_vocab)
        c->n_vocab = rows_of(p, embeds, LM_LEN(embeds));
    LM_TRY(required(r, c->n_layers, "num_hidden_layers", "block_count"));
    LM_TRY(required(r, c->width, "hidden_size", "embedding_length"));
    LM_TRY(required(r, c->n_heads, "num_attention_heads", "attention.head_count"));
    LM_TRY(required(r, c->n_ff, "intermediate_size", "feed_forward_length"));
    LM_TRY(required(r, c->n_vocab, "vocab_size", "vocab_size"));
    if (!c->n_kv_heads)
        c->n_kv_heads = c->n_heads;
    if (!c->head_dim && rows_of(p, queries, LM_LEN(queries)) % c->n_heads == 0)
        c->head_dim = rows_of(p, queries, LM_LEN(queries)) / c->n_heads;
    if (!c->head_dim)
        c->head_dim = c->width / c->n_heads;
    LM_TRY(required(r, c->head_dim, "head_dim", "attention.key_length"));
    if ((uint64_t)c->n_heads * c->head_dim > LM_MAX_WIDTH)
        return lm_fail(r->err, LM_ERR_CORRUPT, "%u heads of %u dimensions, allowed are %d dimensions in all",
                       c->n_heads, c->head_dim, LM_MAX_WIDTH);
    if (c->n_heads % c->n_kv_heads != 0)
        return lm_fail(r->err, LM_ERR_CORRUPT, "%u attention heads cannot share %u key/value heads",
                       c->n_heads, c->n_kv_heads);
    if (!c->n_rot)
        c->n_rot = c->rotary_fraction > 0 ? (uint32_t)(c->head_dim * c->rotary_fraction) : c->head_dim;
    c->n_rot &= ~1u;
    if (c->n_rot == 0 || c->n_rot > c->head_dim)
        return lm_fail(r->err, LM_ERR_CORRUPT, "%u rotary dimensions, a head has %u", c->n_rot, c->head_dim);
    if (!c->max_context)
        c->max_context = 2048;
    return read_layer_types(r, c);
}

void lm_config_clear(lm_config *c)
{
    lm_free(c->sliding);
    lm_free(c->no_rope);
    c->sliding = c->no_rope = NULL;
}
