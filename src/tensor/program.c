/* tensor/program.c - the builder: shapes are checked as operations are added,
 * the first failure sticks and every later call is a no-op. */
#include "tensor/program.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"

const char *lm_op_name(lm_op_kind kind)
{
    static const char *const names[] = {
#define X(name, text) text,
        LM_OP_TABLE(X)
#undef X
    };
    return (unsigned)kind < LM_OP_COUNT ? names[kind] : "?";
}

void lm_program_free(lm_program *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n_ropes; i++)
        lm_free(p->ropes[i].inv_freq);
    lm_free(p->ropes);
    lm_free(p->groups);
    lm_free(p->values);
    lm_free(p->ops);
    lm_free(p);
}

lm_status lm_builder_init(lm_builder *b, lm_error *err)
{
    *b = (lm_builder){ .err = err };
    LM_TRY(LM_NEW(&b->p, 1, err));
    lm_status status = lm_grow((void **)&b->p->values, &b->p->cap_values, 1, sizeof(lm_value), err);
    if (status != LM_OK) {
        lm_builder_abandon(b);
        return status;
    }
    b->p->values[0] = (lm_value){ 0 };
    b->p->n_values = 1;
    return LM_OK;
}

void lm_builder_abandon(lm_builder *b)
{
    lm_program_free(b->p);
    b->p = NULL;
}

static lm_val stick(lm_builder *b, lm_status status)
{
    if (b->status == LM_OK)
        b->status = status;
    return 0;
}

/* A misuse of the builder by a family whose configuration passed its checks; a
 * hostile configuration ends here too, so it is an error and not a bug. */
static lm_val misfit(lm_builder *b, lm_op_kind kind, const char *what, uint32_t seen, uint32_t want)
{
    return stick(b, lm_fail(b->err, LM_ERR_CORRUPT,
                            "layer %" PRIu32 ", %s: %s is %" PRIu32 ", wanted is %" PRIu32, b->layer,
                            lm_op_name(kind), what, seen, want));
}

static uint32_t width_of(const lm_builder *b, lm_val v)
{
    return b->p->values[v].width;
}

static lm_op *push(lm_builder *b, lm_op_kind kind, uint32_t width, bool wanted)
{
    lm_program *p = b->p;
    lm_status s = lm_grow((void **)&p->ops, &p->cap_ops, p->n_ops + 1u, sizeof *p->ops, b->err);
    if (s == LM_OK)
        s = lm_grow((void **)&p->values, &p->cap_values, p->n_values + 1u, sizeof *p->values, b->err);
    if (s != LM_OK) {
        (void)stick(b, s);
        return NULL;
    }
    lm_op *op = &p->ops[p->n_ops];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->layer = b->layer;
    op->name = "";
    op->out = p->n_values;
    p->values[p->n_values++] =
        (lm_value){ .width = width, .wanted = wanted, .first_op = p->n_ops, .last_op = p->n_ops };
    p->n_ops++;
    return op;
}

static bool usable(const lm_builder *b, lm_val x)
{
    return b->status == LM_OK && x != 0 && x < b->p->n_values;
}

lm_val lm_build_embed(lm_builder *b, const lm_matrix *w, const char *name, float scale)
{
    if (b->status != LM_OK)
        return 0;
    lm_op *op = push(b, LM_OP_EMBED, w->cols, false);
    if (!op)
        return 0;
    op->name = name;
    op->u.embed.w = *w;
    op->u.embed.scale = scale;
    return op->out;
}

lm_val lm_build_linear(lm_builder *b, lm_val x, const lm_matrix *w, const char *name, const float *bias)
{
    if (!usable(b, x))
        return 0;
    if (width_of(b, x) != w->cols)
        return misfit(b, LM_OP_LINEAR, "the input's width", width_of(b, x), w->cols);
    lm_op *op = push(b, LM_OP_LINEAR, w->rows, b->p->values[x].wanted);
    if (!op)
        return 0;
    op->in[0] = x;
    op->name = name;
    op->u.linear.w = *w;
    op->u.linear.bias = bias;
    return op->out;
}

lm_val lm_build_norm(lm_builder *b, lm_val x, lm_norm_kind kind, uint32_t group, const float *weight,
                     const float *bias, float eps)
{
    if (!usable(b, x))
        return 0;
    if (group == 0 || width_of(b, x) % group != 0)
        return misfit(b, LM_OP_NORM, "the group", group, width_of(b, x));
    lm_op *op = push(b, LM_OP_NORM, width_of(b, x), b->p->values[x].wanted);
    if (!op)
        return 0;
    op->in[0] = x;
    op->u.norm.kind = kind;
    op->u.norm.group = group;
    op->u.norm.weight = weight;
    op->u.norm.bias = bias;
    op->u.norm.eps = eps;
    return op->out;
}

uint32_t lm_build_rope_table(lm_builder *b, uint32_t n_rot, bool interleaved, float mscale,
                             const float *inv_freq)
{
    lm_program *p = b->p;
    if (b->status != LM_OK)
        return 0;
    for (uint32_t i = 0; i < p->n_ropes; i++) {
        const lm_rope *r = &p->ropes[i];
        if (r->n_rot == n_rot && r->interleaved == interleaved &&
            memcmp(&r->mscale, &mscale, sizeof mscale) == 0 &&
            memcmp(r->inv_freq, inv_freq, n_rot / 2 * sizeof *inv_freq) == 0)
            return i;
    }
    float *copy = NULL;
    lm_status s = lm_grow((void **)&p->ropes, &p->cap_ropes, p->n_ropes + 1u, sizeof *p->ropes, b->err);
    if (s == LM_OK)
        s = LM_NEW(&copy, n_rot / 2, b->err);
    if (s != LM_OK)
        return stick(b, s);
    memcpy(copy, inv_freq, n_rot / 2 * sizeof *copy);
    p->ropes[p->n_ropes] =
        (lm_rope){ .n_rot = n_rot, .interleaved = interleaved, .mscale = mscale, .inv_freq = copy };
    return p->n_ropes++;
}

lm_val lm_build_rope(lm_builder *b, lm_val x, uint32_t head_dim, uint32_t table)
{
    if (!usable(b, x))
        return 0;
    if (head_dim == 0 || width_of(b, x) % head_dim != 0 || b->p->ropes[table].n_rot > head_dim)
        return misfit(b, LM_OP_ROPE, "the head's dimension", head_dim, b->p->ropes[table].n_rot);
    lm_op *op = push(b, LM_OP_ROPE, width_of(b, x), false);
    if (!op)
        return 0;
    op->in[0] = x;
    op->u.rope.head_dim = head_dim;
    op->u.rope.table = table;
    return op->out;
}

/* The group whose layers have this shape; a new one if there is none. */
static lm_status group_of(lm_builder *b, const lm_attend_spec *s, uint32_t *out)
{
    lm_program *p = b->p;
    for (uint32_t i = 0; i < p->n_groups; i++) {
        const lm_cache_group *g = &p->groups[i];
        if (g->n_heads == s->n_kv_heads && g->k_dim == s->k_dim && g->v_dim == s->v_dim &&
            g->window == s->window) {
            *out = i;
            return LM_OK;
        }
    }
    LM_TRY(lm_grow((void **)&p->groups, &p->cap_groups, p->n_groups + 1u, sizeof *p->groups, b->err));
    p->groups[p->n_groups] = (lm_cache_group){
        .n_heads = s->n_kv_heads, .k_dim = s->k_dim, .v_dim = s->v_dim, .window = s->window
    };
    *out = p->n_groups++;
    return LM_OK;
}

lm_val lm_build_attend(lm_builder *b, lm_val q, lm_val k, lm_val v, const lm_attend_spec *s)
{
    if (!usable(b, q) || !usable(b, k) || !usable(b, v))
        return 0;
    if (s->n_kv_heads == 0 || s->n_heads % s->n_kv_heads != 0)
        return misfit(b, LM_OP_ATTEND, "heads for each key/value head", s->n_heads, s->n_kv_heads);
    if (width_of(b, q) != s->n_heads * s->k_dim)
        return misfit(b, LM_OP_ATTEND, "the width of q", width_of(b, q), s->n_heads * s->k_dim);
    if (width_of(b, k) != s->n_kv_heads * s->k_dim)
        return misfit(b, LM_OP_ATTEND, "the width of k", width_of(b, k), s->n_kv_heads * s->k_dim);
    if (width_of(b, v) != s->n_kv_heads * s->v_dim)
        return misfit(b, LM_OP_ATTEND, "the width of v", width_of(b, v), s->n_kv_heads * s->v_dim);
    uint32_t group;
    lm_status status = group_of(b, s, &group);
    if (status != LM_OK)
        return stick(b, status);
    lm_op *op = push(b, LM_OP_ATTEND, s->n_heads * s->v_dim, false);
    if (!op)
        return 0;
    op->in[0] = q;
    op->in[1] = k;
    op->in[2] = v;
    op->u.attend.n_heads = s->n_heads;
    op->u.attend.n_kv_heads = s->n_kv_heads;
    op->u.attend.k_dim = s->k_dim;
    op->u.attend.v_dim = s->v_dim;
    op->u.attend.group = group;
    op->u.attend.slot = b->p->groups[group].n_layers++;
    op->u.attend.scale = s->scale;
    op->u.attend.softcap = s->softcap;
    op->u.attend.sinks = s->sinks;
    return op->out;
}

static lm_val unary(lm_builder *b, lm_op_kind kind, lm_val x, lm_op **out)
{
    if (!usable(b, x))
        return 0;
    lm_op *op = push(b, kind, width_of(b, x), b->p->values[x].wanted);
    if (!op)
        return 0;
    op->in[0] = x;
    *out = op;
    return op->out;
}

static lm_val binary(lm_builder *b, lm_op_kind kind, lm_val x, lm_val y, lm_op **out)
{
    if (!usable(b, x) || !usable(b, y))
        return 0;
    if (width_of(b, x) != width_of(b, y))
        return misfit(b, kind, "the second width", width_of(b, y), width_of(b, x));
    lm_val v = unary(b, kind, x, out);
    if (v)
        (*out)->in[1] = y;
    return v;
}

lm_val lm_build_act(lm_builder *b, lm_val x, lm_act act)
{
    lm_op *op = NULL;
    lm_val v = unary(b, LM_OP_ACT, x, &op);
    if (v)
        op->u.act.act = act;
    return v;
}

lm_val lm_build_glu(lm_builder *b, lm_val gate, lm_val up, lm_act act)
{
    lm_op *op = NULL;
    lm_val v = binary(b, LM_OP_GLU, gate, up, &op);
    if (v)
        op->u.act.act = act;
    return v;
}

lm_val lm_build_add(lm_builder *b, lm_val x, lm_val y)
{
    lm_op *op = NULL;
    return binary(b, LM_OP_ADD, x, y, &op);
}

lm_val lm_build_scale(lm_builder *b, lm_val x, float by)
{
    lm_op *op = NULL;
    if (by >= 1.0f && by <= 1.0f)
        return x;
    lm_val v = unary(b, LM_OP_SCALE, x, &op);
    if (v)
        op->u.number = by;
    return v;
}

lm_val lm_build_softcap(lm_builder *b, lm_val x, float cap)
{
    lm_op *op = NULL;
    if (!(cap > 0))
        return x;
    lm_val v = unary(b, LM_OP_SOFTCAP, x, &op);
    if (v)
        op->u.number = cap;
    return v;
}

lm_val lm_build_rows(lm_builder *b, lm_val x)
{
    if (!usable(b, x))
        return 0;
    lm_op *op = push(b, LM_OP_ROWS, width_of(b, x), true);
    if (!op)
        return 0;
    op->in[0] = x;
    return op->out;
}

lm_status lm_builder_finish(lm_builder *b, lm_val logits, lm_program **out)
{
    lm_program *p = b->p;
    if (b->status == LM_OK && (!usable(b, logits) || !p->values[logits].wanted))
        b->status = lm_fail(b->err, LM_ERR_INTERNAL, "a program must end in wanted rows");
    if (b->status != LM_OK) {
        lm_builder_abandon(b);
        return b->status;
    }
    for (uint32_t i = 0; i < p->n_ops; i++)
        for (int k = 0; k < 3; k++)
            if (p->ops[i].in[k])
                p->values[p->ops[i].in[k]].last_op = i;
    p->values[logits].last_op = p->n_ops;
    p->result = logits;
    p->n_vocab = p->values[logits].width;
    *out = p;
    b->p = NULL;
    return LM_OK;
}
