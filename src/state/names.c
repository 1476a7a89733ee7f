/* state/names.c - roots, page names, program identity. */
#include "state/names.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "state/limits.h"

static const lm_digest zeros;

bool lm_digest_equal(const lm_digest *a, const lm_digest *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool lm_digest_is_zero(const lm_digest *d)
{
    return lm_digest_equal(d, &zeros);
}

lm_geometry lm_geometry_of(uint32_t group, const lm_cache_group *g, lm_kv_format format)
{
    lm_page_layout l = lm_page_layout_of(g, format);
    lm_geometry out = { .kind = LM_PAGES_KV,
                        .group = group,
                        .n_layers = g->n_layers,
                        .n_heads = g->n_heads,
                        .k_dim = g->k_dim,
                        .v_dim = g->v_dim,
                        .window = g->window,
                        .page_tokens = LM_PAGE_TOKENS,
                        .page_bytes = l.page_bytes };
    const char *name = lm_kv_name(format);
    memcpy(out.format, name, LM_MIN(strlen(name), sizeof out.format - 1));
    return out;
}

lm_status lm_geometry_check(const lm_geometry *g, lm_error *err)
{
    if (!memchr(g->format, 0, sizeof g->format) || g->format[0] == 0)
        return lm_fail(err, LM_ERR_STATE, "a page's cache format has no name");
    if (g->kind > LM_PAGES_CHECKPOINT)
        return lm_fail(err, LM_ERR_STATE, "a page is of kind %u, allowed are 0 and 1", g->kind);
    if (g->group >= LM_STATE_GROUPS)
        return lm_fail(err, LM_ERR_STATE, "a page belongs to cache group %u, allowed are 0 to %d", g->group,
                       LM_STATE_GROUPS - 1);
    if (g->page_tokens == 0 || g->page_tokens > LM_MAX_PAGE_TOKENS || (g->page_tokens & (g->page_tokens - 1)))
        return lm_fail(err, LM_ERR_STATE, "a page holds %u tokens, allowed are powers of two up to %d",
                       g->page_tokens, LM_MAX_PAGE_TOKENS);
    if (g->page_bytes == 0 || g->page_bytes > LM_MAX_PAGE_BYTES)
        return lm_fail(err, LM_ERR_STATE, "a page has %" PRIu64 " bytes, allowed are 1 to %" PRIu64,
                       g->page_bytes, LM_MAX_PAGE_BYTES);
    return LM_OK;
}

static void add_u32(lm_sha *s, const char *tag, uint32_t v)
{
    lm_sha_field(s, tag, &v, sizeof v);
}

lm_status lm_space_init(lm_space *out, const lm_model_id *id, const lm_geometry *groups, uint32_t n_groups,
                        const void *salt, size_t n_salt, lm_error *err)
{
    lm_space space = { .n_groups = n_groups };
    if (lm_digest_is_zero(&id->weights))
        return lm_fail(err, LM_ERR_STATE, "the content of the weights is not known yet");
    if (n_groups == 0 || n_groups > LM_STATE_GROUPS)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the model has %u cache groups, allowed are 1 to %d",
                       n_groups, LM_STATE_GROUPS);
    for (uint32_t i = 0; i < n_groups; i++) {
        const lm_geometry *g = &groups[i];
        lm_sha *s = NULL;
        LM_TRY(lm_geometry_check(g, err));
        if (g->page_tokens != groups[0].page_tokens)
            return lm_fail(err, LM_ERR_UNSUPPORTED, "pages of %u and of %u tokens in one model",
                           groups[0].page_tokens, g->page_tokens);
        LM_TRY(lm_sha_open(&s, err));
        lm_sha_field(s, "lemma", "page root 1", 11);
        lm_sha_field(s, "weights", id->weights.b, sizeof id->weights.b);
        lm_sha_field(s, "adapter", id->adapter.b, sizeof id->adapter.b);
        lm_sha_field(s, "program", id->program.b, sizeof id->program.b);
        lm_sha_field(s, "numerics", id->numerics, strnlen(id->numerics, sizeof id->numerics));
        lm_sha_field(s, "geometry", g, sizeof *g);
        lm_sha_field(s, "salt", n_salt ? salt : "", n_salt);
        space.groups[i] = *g;
        space.roots[i] = lm_sha_close(s);
    }
    *out = space;
    return LM_OK;
}

/* Tag, lengths and fields laid out by hand into one buffer: a page's name is one call
 * of SHA-256 over a few hundred bytes, and a long prompt asks for thousands. */
lm_status lm_page_name(const lm_digest *root, const lm_digest *parent, const int32_t *tokens, uint32_t n,
                       lm_digest *out, lm_error *err)
{
    struct {
        char tag[16];
        uint64_t n_root, n_parent, n_tokens;
        lm_digest root, parent;
        int32_t tokens[LM_MAX_PAGE_TOKENS];
    } b = { .tag = "lemma page 1" };
    if (n == 0 || n > LM_MAX_PAGE_TOKENS)
        return lm_fail(err, LM_ERR_USAGE, "a page of %u tokens, allowed are 1 to %d", n, LM_MAX_PAGE_TOKENS);
    b.n_root = sizeof b.root.b;
    b.n_parent = parent ? sizeof b.parent.b : 0;
    b.n_tokens = n;
    b.root = *root;
    b.parent = parent ? *parent : zeros;
    memcpy(b.tokens, tokens, n * sizeof *tokens);
    return lm_sha256(&b, offsetof(__typeof__(b), tokens) + n * sizeof *tokens, out, err);
}

lm_status lm_page_names(const lm_digest *root, const int32_t *tokens, uint32_t n, uint32_t page_tokens,
                        lm_digest *names, lm_error *err)
{
    for (uint32_t at = 0, i = 0; at < n; at += page_tokens, i++)
        LM_TRY(lm_page_name(root, i ? &names[i - 1] : NULL, tokens + at, LM_MIN(page_tokens, n - at),
                            &names[i], err));
    return LM_OK;
}

lm_status lm_page_name_private(const lm_digest *name, const lm_digest *entry, lm_digest *out, lm_error *err)
{
    lm_sha *s = NULL;
    LM_TRY(lm_sha_open(&s, err));
    lm_sha_field(s, "lemma", "imported page 1", 15);
    lm_sha_field(s, "name", name->b, sizeof name->b);
    lm_sha_field(s, "entry", entry->b, sizeof entry->b);
    *out = lm_sha_close(s);
    return LM_OK;
}

/* --- the program -------------------------------------------------------------- */

static void add_f32(lm_sha *s, const char *tag, float v)
{
    lm_sha_field(s, tag, &v, sizeof v);
}

static void add_vector(lm_sha *s, const char *tag, const float *v, size_t n)
{
    lm_sha_field(s, tag, v ? (const void *)v : "", v ? n * sizeof *v : 0);
}

/* The numbers inside come from the files and are covered by their content; which
 * tensor, format and shape stands here is not. */
static void add_matrix(lm_sha *s, const lm_op *op, const lm_matrix *w)
{
    lm_sha_field(s, "tensor", op->name ? op->name : "", op->name ? strlen(op->name) : 0);
    lm_sha_field(s, "format", w->quant->name, strlen(w->quant->name));
    add_u32(s, "rows", w->rows);
    add_u32(s, "cols", w->cols);
    lm_sha_field(s, "stride", w->stride, sizeof w->stride);
}

static void add_op(lm_sha *s, const lm_op *op) /* long: one case for each operation */
{
    const char *kind = lm_op_name(op->kind);
    lm_sha_field(s, "op", kind, strlen(kind));
    add_u32(s, "out", op->out);
    lm_sha_field(s, "in", op->in, sizeof op->in);
    add_u32(s, "layer", op->layer);
    switch (op->kind) {
    case LM_OP_EMBED:
        add_matrix(s, op, &op->u.embed.w);
        add_f32(s, "scale", op->u.embed.scale);
        break;
    case LM_OP_LINEAR:
        add_matrix(s, op, &op->u.linear.w);
        add_vector(s, "bias", op->u.linear.bias, op->u.linear.w.rows);
        break;
    case LM_OP_NORM:
        add_u32(s, "norm", (uint32_t)op->u.norm.kind);
        add_u32(s, "group", op->u.norm.group);
        add_vector(s, "weight", op->u.norm.weight, op->u.norm.group);
        add_vector(s, "bias", op->u.norm.bias, op->u.norm.group);
        add_f32(s, "eps", op->u.norm.eps);
        break;
    case LM_OP_ROPE:
        add_u32(s, "head", op->u.rope.head_dim);
        add_u32(s, "table", op->u.rope.table);
        break;
    case LM_OP_ATTEND:
        add_u32(s, "heads", op->u.attend.n_heads);
        add_u32(s, "kv heads", op->u.attend.n_kv_heads);
        add_u32(s, "k", op->u.attend.k_dim);
        add_u32(s, "v", op->u.attend.v_dim);
        add_u32(s, "group", op->u.attend.group);
        add_u32(s, "slot", op->u.attend.slot);
        add_f32(s, "scale", op->u.attend.scale);
        add_f32(s, "softcap", op->u.attend.softcap);
        add_vector(s, "sinks", op->u.attend.sinks, op->u.attend.n_heads);
        break;
    case LM_OP_ACT:
    case LM_OP_GLU: add_u32(s, "act", (uint32_t)op->u.act.act); break;
    case LM_OP_SCALE:
    case LM_OP_SOFTCAP: add_f32(s, "number", op->u.number); break;
    case LM_OP_ADD:
    case LM_OP_ROWS:
    case LM_OP_COUNT: break;
    }
}

lm_status lm_program_identity(const lm_program *p, lm_digest *out, lm_error *err)
{
    lm_sha *s = NULL;
    LM_TRY(lm_sha_open(&s, err));
    lm_sha_field(s, "lemma", "program 1", 9);
    add_u32(s, "ops", p->n_ops);
    for (uint32_t i = 0; i < p->n_ops; i++)
        add_op(s, &p->ops[i]);
    add_u32(s, "values", p->n_values);
    for (uint32_t i = 0; i < p->n_values; i++)
        add_u32(s, "width", p->values[i].width);
    add_u32(s, "ropes", p->n_ropes);
    for (uint32_t i = 0; i < p->n_ropes; i++) {
        add_u32(s, "n_rot", p->ropes[i].n_rot);
        add_u32(s, "interleaved", p->ropes[i].interleaved);
        add_f32(s, "mscale", p->ropes[i].mscale);
        add_vector(s, "inv_freq", p->ropes[i].inv_freq, p->ropes[i].n_rot / 2);
    }
    add_u32(s, "groups", p->n_groups);
    for (uint32_t i = 0; i < p->n_groups; i++) {
        const lm_cache_group *g = &p->groups[i];
        uint32_t shape[] = { g->n_layers, g->n_heads, g->k_dim, g->v_dim, g->window };
        lm_sha_field(s, "group", shape, sizeof shape);
    }
    add_u32(s, "vocab", p->n_vocab);
    add_u32(s, "layers", p->n_layers);
    add_u32(s, "result", p->result);
    *out = lm_sha_close(s);
    return LM_OK;
}
