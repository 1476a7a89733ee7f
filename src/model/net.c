/* model/net.c - finds the family, reads the configuration, binds weights, builds. */
#include "model/net.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"

static const char *prefix_of(const lm_packfile *p)
{
    static const char *const known[] = { "model.language_model.model.",
                                         "model.language_model.",
                                         "language_model.model.",
                                         "language_model.",
                                         "model.model.",
                                         "model.",
                                         "transformer.",
                                         "" };
    char buf[96];
    for (size_t i = 0; i < LM_LEN(known); i++) {
        size_t n = strlen(known[i]);
        memcpy(buf, known[i], n);
        memcpy(buf + n, "embed_tokens.weight", sizeof "embed_tokens.weight");
        if (lm_packfile_find(p, buf))
            return known[i];
    }
    return "model.";
}

static lm_status describe(lm_reader *r, const lm_packfile *pack, const lm_family **family, lm_config *c,
                          lm_error *err)
{
    lm_quoted_buf q;
    LM_TRY(lm_reader_init(r, pack, err));
    *family = lm_family_find(r->arch, r->gguf);
    if (!*family) {
        lm_hint(err, "docs/models.md lists the architectures that run");
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the architecture '%s' is not supported",
                       lm_quoted_z(&q, r->arch));
    }
    *c = (lm_config){ .embed_scale = 1,
                      .residual_scale = 1,
                      .logit_scale = 1,
                      .eps = 1e-6f,
                      .act = LM_ACT_SILU,
                      .rope = { .base = 10000,
                                .factor = 1,
                                .beta_fast = 32,
                                .beta_slow = 1,
                                .truncate = true,
                                .low_freq = 1,
                                .high_freq = 4 } };
    c->rope_local = c->rope;
    c->rope_local.base = 0; /* not given */
    if ((*family)->defaults)
        (*family)->defaults(r, c);
    lm_status s = lm_config_read(r, pack, c);
    if (s == LM_OK && (*family)->configure)
        s = (*family)->configure(r, c);
    if (s == LM_OK)
        s = r->status;
    if (s != LM_OK) {
        lm_config_clear(c);
        return lm_wrap(err, s, "%s", lm_quoted_z(&q, lm_packfile_path(pack)));
    }
    c->has_rope_local = c->rope_local.base > 0;
    return LM_OK;
}

lm_status lm_net_describe(const lm_packfile *pack, const lm_family **family, lm_config *config, lm_error *err)
{
    lm_reader r;
    return describe(&r, pack, family, config, err);
}

static lm_status wrong_shape(const lm_tensor *t, uint64_t rows, uint64_t cols, lm_error *err)
{
    lm_quoted_buf q;
    if (t->n_dims == 1)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tensor '%s' has %" PRIu64 " numbers, the configuration wants %" PRIu64,
                       lm_quoted_z(&q, t->name), t->dims[0], rows * cols);
    return lm_fail(err, LM_ERR_CORRUPT,
                   "tensor '%s' is %" PRIu64 " x %" PRIu64
                   " of %u dimensions, the configuration wants %" PRIu64 " x %" PRIu64,
                   lm_quoted_z(&q, t->name), t->dims[0], t->n_dims > 1 ? t->dims[1] : 1, t->n_dims, rows,
                   cols);
}

static lm_status missing(lm_net *n, lm_weight_id id, uint32_t layer, lm_error *err)
{
    static const char *const what[LM_W_COUNT] = { "the token embedding",
                                                  "the final norm",
                                                  "the output head",
                                                  "the norm before attention",
                                                  "the query matrix",
                                                  "the key matrix",
                                                  "the value matrix",
                                                  "the query/key/value matrix",
                                                  "the attention's output matrix",
                                                  "the query norm",
                                                  "the key norm",
                                                  "the norm after attention",
                                                  "the norm before the feed-forward part",
                                                  "the gate matrix",
                                                  "the up matrix",
                                                  "the gate/up matrix",
                                                  "the down matrix",
                                                  "the norm after the feed-forward part",
                                                  "the rotary divisors",
                                                  "the long rotary divisors",
                                                  "the short rotary divisors" };
    lm_quoted_buf q;
    lm_hint(err, "`lemma pack check` lists what is missing and what is not used");
    return lm_fail(err, LM_ERR_CORRUPT, "%s has no tensor for %s of layer %u",
                   lm_quoted_z(&q, lm_packfile_path(n->pack)), what[id], layer);
}

static void mark(lm_net *n, const lm_tensor *t)
{
    /* Tensors stand in one array: the pointer tells the index. */
    n->used[t - lm_packfile_tensor(n->pack, 0)] = 1;
}

lm_status lm_net_matrix(lm_net *n, lm_weight_id id, uint32_t layer, uint32_t rows, uint32_t cols,
                        lm_matrix *out, const char **name, lm_error *err)
{
    const lm_tensor *t = lm_net_find(n, id, layer, false);
    lm_quoted_buf q;
    if (!t)
        return missing(n, id, layer, err);
    if (!t->quant)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "tensor '%s' is not of a number format that can be computed with",
                       lm_quoted_z(&q, t->name));
    if (t->n_dims != 2 || t->dims[0] != rows || t->dims[1] != cols)
        return wrong_shape(t, rows, cols, err);
    mark(n, t);
    *out = (lm_matrix){ .quant = t->quant, .rows = rows, .cols = cols };
    for (int p = 0; p < t->quant->n_planes; p++) {
        out->plane[p] = t->plane[p];
        out->stride[p] = lm_quant_row_bytes(t->quant, p, cols);
    }
    *name = t->name;
    return LM_OK;
}

lm_status lm_net_vector(lm_net *n, lm_weight_id id, uint32_t layer, bool bias, bool optional, uint32_t len,
                        const float **out, lm_error *err)
{
    const lm_tensor *t = lm_net_find(n, id, layer, bias);
    lm_quoted_buf q;
    void *p = NULL;
    *out = NULL;
    if (!t)
        return optional ? LM_OK : missing(n, id, layer, err);
    if (t->n_elems != len || t->n_dims != 1)
        return wrong_shape(t, 1, len, err);
    if (!t->quant || len % t->quant->block_elems != 0)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "tensor '%s' is not of a number format that can be computed with",
                       lm_quoted_z(&q, t->name));
    mark(n, t);
    LM_TRY(lm_arena_alloc(n->vectors, len, sizeof(float), &p, err));
    t->quant->to_f32(t->quant, t->plane, len, p);
    *out = p;
    return LM_OK;
}

/* Every vector that a program may ask for, with room for the arena's rounding. */
static size_t vector_bytes(const lm_packfile *p)
{
    size_t n = 1 << 16;
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        if (t->n_dims == 1 && t->n_elems <= LM_MAX_VOCAB)
            n += (size_t)t->n_elems * sizeof(float) + 128;
    }
    return n;
}

static lm_status rope_tables(lm_net_builder *m, lm_error *err)
{
    const lm_config *c = m->c;
    const float *divisors = NULL;
    float *inv = NULL, mscale;
    lm_weight_id id = LM_W_ROPE_FREQS;
    if (c->rope.kind == LM_ROPE_LONGROPE) {
        double original = c->rope.original_context > 0 ? c->rope.original_context : c->max_context;
        id = m->net->context > original ? LM_W_ROPE_LONG : LM_W_ROPE_SHORT;
    } else if (lm_net_find(m->net, LM_W_ROPE_SHORT, 0, false)) {
        id = m->net->context > c->rope.original_context ? LM_W_ROPE_LONG : LM_W_ROPE_SHORT;
    }
    LM_TRY(lm_net_vector(m->net, id, 0, false, true, c->n_rot / 2, &divisors, err));
    LM_TRY(LM_NEW(&inv, c->n_rot / 2, err));
    lm_status s = lm_rope_resolve(&c->rope, c, c->n_rot, m->net->context, divisors, inv, &mscale, err);
    if (s == LM_OK)
        m->rope = m->rope_local = lm_build_rope_table(&m->b, c->n_rot, c->interleaved, mscale, inv);
    if (s == LM_OK && c->has_rope_local) {
        s = lm_rope_resolve(&c->rope_local, c, c->n_rot, m->net->context, NULL, inv, &mscale, err);
        if (s == LM_OK)
            m->rope_local = lm_build_rope_table(&m->b, c->n_rot, c->interleaved, mscale, inv);
    }
    lm_free(inv);
    return s;
}

static lm_status build(lm_net *n, lm_error *err)
{
    const lm_config *c = &n->config;
    lm_net_builder m = { .c = c, .net = n };
    lm_matrix embed, head;
    const char *embed_name, *head_name;
    const float *head_bias = NULL;
    LM_TRY(lm_net_matrix(n, LM_W_EMBED, 0, c->n_vocab, c->width, &embed, &embed_name, err));
    head = embed;
    head_name = embed_name;
    if (lm_net_find(n, LM_W_HEAD, 0, false))
        LM_TRY(lm_net_matrix(n, LM_W_HEAD, 0, c->n_vocab, c->width, &head, &head_name, err));
    else if (!c->tied && lm_packfile_kind(n->pack) != LM_PACK_GGUF)
        return missing(n, LM_W_HEAD, 0, err);
    LM_TRY(lm_net_vector(n, LM_W_HEAD, 0, true, true, c->n_vocab, &head_bias, err));
    LM_TRY(lm_builder_init(&m.b, err));
    lm_status s = rope_tables(&m, err);
    if (s != LM_OK) {
        lm_builder_abandon(&m.b);
        return s;
    }
    lm_val x = lm_build_embed(&m.b, &embed, embed_name, c->embed_scale);
    for (uint32_t i = 0; i < c->n_layers && m.b.status == LM_OK; i++) {
        m.layer = m.b.layer = i;
        x = n->family->layer(&m, x);
    }
    m.layer = m.b.layer = c->n_layers;
    x = lm_build_rows(&m.b, x);
    bool layer_norm = lm_net_find(n, LM_W_FINAL_NORM, 0, true) != NULL;
    x = layer_norm ? lm_net_layer_norm(&m, x, LM_W_FINAL_NORM) : lm_net_norm(&m, x, LM_W_FINAL_NORM);
    x = lm_build_linear(&m.b, x, &head, head_name, head_bias);
    x = lm_build_scale(&m.b, x, c->logit_scale);
    x = lm_build_softcap(&m.b, x, c->final_softcap);
    LM_TRY(lm_builder_finish(&m.b, x, &n->program));
    n->program->n_layers = c->n_layers;
    return LM_OK;
}

lm_status lm_net_open(lm_net **out, lm_packfile *pack, uint32_t context, lm_error *err)
{
    lm_net *n = NULL;
    lm_quoted_buf q;
    lm_reader r;
    LM_TRY(LM_NEW(&n, 1, err));
    n->pack = pack;
    n->prefix = prefix_of(pack);
    lm_status s = describe(&r, pack, &n->family, &n->config, err);
    n->context = context ? context : n->config.max_context;
    if (s == LM_OK)
        s = LM_NEW(&n->used, lm_packfile_n_tensors(pack), err);
    if (s == LM_OK)
        s = lm_arena_open(&n->vectors, vector_bytes(pack), "the model's vectors", err);
    if (s == LM_OK) {
        s = build(n, err);
        if (s != LM_OK)
            s = lm_wrap(err, s, "%s", lm_quoted_z(&q, lm_packfile_path(pack)));
    }
    if (s != LM_OK) {
        n->pack = NULL; /* stays the caller's */
        lm_net_close(n);
        return s;
    }
    *out = n;
    return LM_OK;
}

void lm_net_close(lm_net *n)
{
    if (!n)
        return;
    lm_program_free(n->program);
    lm_arena_close(n->vectors);
    lm_free(n->used);
    lm_config_clear(&n->config);
    lm_packfile_close(n->pack);
    lm_free(n);
}

const lm_tensor *lm_net_unused(const lm_net *n, size_t i)
{
    for (size_t k = 0; k < lm_packfile_n_tensors(n->pack); k++)
        if (!n->used[k] && i-- == 0)
            return lm_packfile_tensor(n->pack, k);
    return NULL;
}

lm_status lm_net_check_maps(const lm_net *n, lm_error *err)
{
    for (size_t i = 0; i < lm_packfile_n_maps(n->pack); i++)
        LM_TRY(lm_map_check(lm_packfile_map(n->pack, i), err));
    return LM_OK;
}
