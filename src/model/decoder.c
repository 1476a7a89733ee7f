/* model/decoder.c - the pieces that most decoder layers are made of. */
#include <math.h>

#include "base/fail.h"
#include "base/mem.h"
#include "model/net.h"

static lm_val stick(lm_net_builder *m, lm_status s)
{
    if (m->b.status == LM_OK)
        m->b.status = s;
    return 0;
}

bool lm_net_has(lm_net_builder *m, lm_weight_id id)
{
    return lm_net_find(m->net, id, m->layer, false) != NULL;
}

static lm_val norm(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t group, lm_norm_kind kind)
{
    const float *w = NULL, *bias = NULL;
    if (m->b.status != LM_OK || !x)
        return 0;
    lm_status s = lm_net_vector(m->net, id, m->layer, false, false, group, &w, m->b.err);
    if (s == LM_OK && kind == LM_NORM_LAYER)
        s = lm_net_vector(m->net, id, m->layer, true, true, group, &bias, m->b.err);
    if (s != LM_OK)
        return stick(m, s);
    if (m->c->norm_plus_one && kind == LM_NORM_RMS) {
        float *own = (float *)(uintptr_t)w; /* our own copy in the arena, written once */
        for (uint32_t i = 0; i < group; i++)
            own[i] += 1.0f;
    }
    return lm_build_norm(&m->b, x, kind, group, w, bias, m->c->eps);
}

lm_val lm_net_norm(lm_net_builder *m, lm_val x, lm_weight_id id)
{
    return norm(m, x, id, m->c->width, LM_NORM_RMS);
}

lm_val lm_net_layer_norm(lm_net_builder *m, lm_val x, lm_weight_id id)
{
    return norm(m, x, id, m->c->width, LM_NORM_LAYER);
}

lm_val lm_net_head_norm(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t group)
{
    return norm(m, x, id, group, LM_NORM_RMS);
}

static uint32_t width_of(const lm_net_builder *m, lm_val x)
{
    return m->b.p->values[x].width;
}

lm_val lm_net_linear(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t rows)
{
    lm_matrix w;
    const char *name = "";
    const float *bias = NULL;
    if (m->b.status != LM_OK || !x)
        return 0;
    lm_status s = lm_net_matrix(m->net, id, m->layer, rows, width_of(m, x), &w, &name, m->b.err);
    if (s == LM_OK)
        s = lm_net_vector(m->net, id, m->layer, true, true, rows, &bias, m->b.err);
    if (s != LM_OK)
        return stick(m, s);
    return lm_build_linear(&m->b, x, &w, name, bias);
}

/* Rows [first, first + rows) of a fused matrix of `all` rows. */
static lm_val linear_part(lm_net_builder *m, lm_val x, lm_weight_id id, uint32_t all, uint32_t first,
                          uint32_t rows)
{
    lm_matrix w;
    const char *name = "";
    const float *bias = NULL;
    if (m->b.status != LM_OK || !x)
        return 0;
    lm_status s = lm_net_matrix(m->net, id, m->layer, all, width_of(m, x), &w, &name, m->b.err);
    if (s == LM_OK)
        s = lm_net_vector(m->net, id, m->layer, true, true, all, &bias, m->b.err);
    if (s != LM_OK)
        return stick(m, s);
    w = lm_matrix_rows(w, first, rows);
    return lm_build_linear(&m->b, x, &w, name, bias ? bias + first : NULL);
}

/* The norm of q or k, if the pack has one: over a head, or over the whole width
 * (the length of the weight tells). */
static lm_val qk_norm(lm_net_builder *m, lm_val x, lm_weight_id id)
{
    const lm_tensor *t = m->b.status == LM_OK ? lm_net_find(m->net, id, m->layer, false) : NULL;
    if (!t || !x)
        return x;
    uint32_t group = t->n_elems == width_of(m, x) ? width_of(m, x) : m->c->head_dim;
    return lm_net_head_norm(m, x, id, group);
}

lm_val lm_net_attention(lm_net_builder *m, lm_val h)
{
    const lm_config *c = m->c;
    uint32_t nq = c->n_heads * c->head_dim, nk = c->n_kv_heads * c->head_dim;
    bool sliding = c->sliding && c->sliding[m->layer];
    lm_val q, k, v;
    if (lm_net_has(m, LM_W_QKV)) {
        q = linear_part(m, h, LM_W_QKV, nq + 2 * nk, 0, nq);
        k = linear_part(m, h, LM_W_QKV, nq + 2 * nk, nq, nk);
        v = linear_part(m, h, LM_W_QKV, nq + 2 * nk, nq + nk, nk);
    } else {
        q = lm_net_linear(m, h, LM_W_Q, nq);
        k = lm_net_linear(m, h, LM_W_K, nk);
        v = lm_net_linear(m, h, LM_W_V, nk);
    }
    q = qk_norm(m, q, LM_W_Q_NORM);
    k = qk_norm(m, k, LM_W_K_NORM);
    if (!c->no_rope || !c->no_rope[m->layer]) {
        uint32_t table = sliding ? m->rope_local : m->rope;
        q = lm_build_rope(&m->b, q, c->head_dim, table);
        k = lm_build_rope(&m->b, k, c->head_dim, table);
    }
    lm_attend_spec spec = { .n_heads = c->n_heads,
                            .n_kv_heads = c->n_kv_heads,
                            .k_dim = c->head_dim,
                            .v_dim = c->head_dim,
                            .window = sliding ? c->window : 0,
                            .scale = c->attn_scale > 0 ? c->attn_scale : 1.0f / sqrtf((float)c->head_dim),
                            .softcap = c->attn_softcap };
    return lm_net_linear(m, lm_build_attend(&m->b, q, k, v, &spec), LM_W_O, c->width);
}

lm_val lm_net_gated_mlp(lm_net_builder *m, lm_val h)
{
    const lm_config *c = m->c;
    lm_val gate, up;
    /* GGUF calls the fused matrix "ffn_up" too: without a gate it is both. */
    if (!lm_net_has(m, LM_W_GATE) && lm_net_has(m, LM_W_GATE_UP)) {
        gate = linear_part(m, h, LM_W_GATE_UP, 2 * c->n_ff, 0, c->n_ff);
        up = linear_part(m, h, LM_W_GATE_UP, 2 * c->n_ff, c->n_ff, c->n_ff);
    } else {
        gate = lm_net_linear(m, h, LM_W_GATE, c->n_ff);
        up = lm_net_linear(m, h, LM_W_UP, c->n_ff);
    }
    return lm_net_linear(m, lm_build_glu(&m->b, gate, up, c->act), LM_W_DOWN, c->width);
}

lm_val lm_net_plain_mlp(lm_net_builder *m, lm_val h)
{
    lm_val up = lm_net_linear(m, h, LM_W_UP, m->c->n_ff);
    return lm_net_linear(m, lm_build_act(&m->b, up, m->c->act), LM_W_DOWN, m->c->width);
}

lm_val lm_net_residual(lm_net_builder *m, lm_val x, lm_val y)
{
    return lm_build_add(&m->b, x, lm_build_scale(&m->b, y, m->c->residual_scale));
}

lm_val lm_net_llama_layer(lm_net_builder *m, lm_val x)
{
    x = lm_net_residual(m, x, lm_net_attention(m, lm_net_norm(m, x, LM_W_NORM1)));
    return lm_net_residual(m, x, lm_net_gated_mlp(m, lm_net_norm(m, x, LM_W_NORM2)));
}
