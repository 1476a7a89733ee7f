/* backend/ref/ref.c - every operation in plain, slow, readable C: the oracle.
 *
 * All arithmetic is float32 (rotary angles as the reference implementations
 * compute them: float32 products).  Every row of an output is computed by one
 * chain that depends on that row's inputs alone, so chunks, batches and the
 * order of requests do not show in the bits (N1).  One thread.
 *
 * The values of a program share a workspace; a buffer is used again once its value
 * was read for the last time.
 */
#include <math.h>
#include <string.h>

#include "backend/backend.h"
#include "base/fail.h"
#include "base/mem.h"

struct lm_device {
    int unused;
};

struct lm_plan {
    const lm_program *p;
    lm_plan_options o;
    lm_page_layout *layouts; /* one for each cache group */
    float **values;          /* [n_values] */
    float *work;             /* all values, one block */
    float *row;              /* a decoded row of a weight */
    float *scores;           /* [max_context] */
    float *kv;               /* a key or a value of one position */
    uint64_t bytes;
};

static lm_status ref_open(lm_device **out, const lm_device_options *o, lm_error *err)
{
    lm_device *d = NULL;
    (void)o; /* one thread, no instruction sets: harmless */
    LM_TRY(LM_NEW(&d, 1, err));
    *out = d;
    return LM_OK;
}

static void ref_close(lm_device *d)
{
    lm_free(d);
}

static void ref_info(const lm_device *d, lm_kv_format kv, lm_device_info *out)
{
    (void)d;
    (void)kv;
    *out = (lm_device_info){ .name = "ref, 1 thread", .numerics = "ref-1", .n_threads = 1 };
}

static void ref_plan_free(lm_plan *pl)
{
    if (!pl)
        return;
    lm_free(pl->layouts);
    lm_free(pl->values);
    lm_free(pl->work);
    lm_free(pl->row);
    lm_free(pl->scores);
    lm_free(pl->kv);
    lm_free(pl);
}

/* Gives every value a buffer; a buffer is used again once its value was read for
 * the last time.  buffers[i] is its size in numbers; *n of them; place[v] says
 * which one value v has. */
static lm_status share_buffers(const lm_plan *pl, size_t *sizes, uint32_t *place, uint8_t *busy, uint32_t *n)
{
    const lm_program *p = pl->p;
    *n = 0;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        lm_val v = p->ops[i].out;
        size_t want = (size_t)p->values[v].width * (p->values[v].wanted ? pl->o.max_rows : pl->o.max_tokens);
        uint32_t best = *n;
        for (uint32_t k = 0; k < *n; k++)
            if (!busy[k] && sizes[k] >= want && (best == *n || sizes[k] < sizes[best]))
                best = k;
        if (best == *n)
            sizes[(*n)++] = want;
        busy[best] = 1;
        place[v] = best;
        for (int k = 0; k < 3; k++) {
            lm_val in = p->ops[i].in[k];
            if (in && p->values[in].last_op == i)
                busy[place[in]] = 0;
        }
    }
    return LM_OK;
}

static lm_status place_values(lm_plan *pl, lm_error *err)
{
    const lm_program *p = pl->p;
    size_t *sizes = NULL, total = 0;
    uint32_t *place = NULL, n = 0;
    uint8_t *busy = NULL;
    lm_status s = LM_NEW(&sizes, p->n_values, err);
    if (s == LM_OK)
        s = LM_NEW(&place, p->n_values, err);
    if (s == LM_OK)
        s = LM_NEW(&busy, p->n_values, err);
    if (s == LM_OK)
        s = share_buffers(pl, sizes, place, busy, &n);
    for (uint32_t k = 0; s == LM_OK && k < n; k++) {
        size_t at = total;
        total += sizes[k];
        sizes[k] = at; /* from here on: where it starts */
    }
    if (s == LM_OK)
        s = LM_NEW(&pl->work, total, err);
    for (uint32_t v = 1; s == LM_OK && v < p->n_values; v++)
        pl->values[v] = pl->work + sizes[place[v]];
    pl->bytes += total * sizeof(float);
    lm_free(sizes);
    lm_free(place);
    lm_free(busy);
    return s;
}

static lm_status plan_memory(lm_plan *pl, lm_error *err)
{
    const lm_program *p = pl->p;
    size_t widest = 0, dims = 0;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        const lm_op *op = &p->ops[i];
        if (op->kind == LM_OP_LINEAR)
            widest = LM_MAX(widest, op->u.linear.w.cols);
        if (op->kind == LM_OP_EMBED)
            widest = LM_MAX(widest, op->u.embed.w.cols);
        if (op->kind == LM_OP_ATTEND)
            dims = LM_MAX(dims, (size_t)op->u.attend.k_dim + op->u.attend.v_dim);
    }
    LM_TRY(LM_NEW(&pl->layouts, p->n_groups, err));
    LM_TRY(LM_NEW(&pl->values, p->n_values, err));
    LM_TRY(LM_NEW(&pl->row, widest, err));
    LM_TRY(LM_NEW(&pl->scores, pl->o.max_context + 1u, err));
    LM_TRY(LM_NEW(&pl->kv, dims, err));
    pl->bytes = (widest + pl->o.max_context + 1u + dims) * sizeof(float);
    for (uint32_t i = 0; i < p->n_groups; i++)
        pl->layouts[i] = lm_page_layout_of(&p->groups[i], pl->o.kv);
    return place_values(pl, err);
}

static lm_status ref_compile(lm_device *d, const lm_program *p, const lm_plan_options *o, lm_plan **out,
                             lm_error *err)
{
    lm_plan *pl = NULL;
    (void)d;
    LM_TRY(LM_NEW(&pl, 1, err));
    pl->p = p;
    pl->o = *o;
    lm_status status = plan_memory(pl, err);
    if (status != LM_OK) {
        ref_plan_free(pl);
        return status;
    }
    *out = pl;
    return LM_OK;
}

static uint64_t ref_plan_bytes(const lm_plan *pl)
{
    return pl->bytes;
}

/* One chain for every dot product: 16 partial sums over the elements i mod 16,
 * then folded in halves.  Products and sums are rounded separately, so the
 * clones for wider registers give the same bits as the plain one. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) &&                           \
    !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static float
dot(const float *a, const float *b, size_t n)
{
    float s[16] = { 0 };
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            s[k] += a[i + k] * b[i + k];
    for (size_t k = 0; i + k < n; k++)
        s[k] += a[i + k] * b[i + k];
    for (size_t half = 8; half; half /= 2)
        for (size_t k = 0; k < half; k++)
            s[k] += s[k + half];
    return s[0];
}

/* Row r of a matrix as float32. */
static void decode_row(const lm_matrix *m, uint64_t r, float *out)
{
    const uint8_t *planes[LM_QUANT_PLANES];
    lm_matrix_row(m, r, planes);
    m->quant->to_f32(m->quant, planes, m->cols, out);
}

static void embed(const lm_plan *pl, const lm_op *op, const lm_step *s)
{
    uint32_t w = op->u.embed.w.cols;
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        float *y = pl->values[op->out] + (size_t)t * w;
        decode_row(&op->u.embed.w, (uint64_t)s->ids[t], y);
        for (uint32_t i = 0; i < w; i++)
            y[i] *= op->u.embed.scale;
    }
}

/* x [n, in] -> y [n, out]: the weight's row is decoded once for all tokens. */
static void linear(const lm_plan *pl, const lm_op *op, uint32_t n)
{
    const lm_matrix *w = &op->u.linear.w;
    const float *x = pl->values[op->in[0]];
    float *y = pl->values[op->out];
    for (uint32_t r = 0; r < w->rows; r++) {
        decode_row(w, r, pl->row);
        float bias = op->u.linear.bias ? op->u.linear.bias[r] : 0;
        for (uint32_t t = 0; t < n; t++)
            y[(size_t)t * w->rows + r] = dot(pl->row, x + (size_t)t * w->cols, w->cols) + bias;
    }
}

static void norm(const lm_plan *pl, const lm_op *op, uint32_t n)
{
    uint32_t g = op->u.norm.group;
    size_t total = (size_t)n * pl->p->values[op->out].width;
    const float *weight = op->u.norm.weight, *bias = op->u.norm.bias;
    for (size_t at = 0; at < total; at += g) {
        const float *x = pl->values[op->in[0]] + at;
        float *y = pl->values[op->out] + at;
        double mean = 0, square = 0;
        if (op->u.norm.kind == LM_NORM_LAYER) {
            for (uint32_t i = 0; i < g; i++)
                mean += (double)x[i];
            mean /= g;
        }
        for (uint32_t i = 0; i < g; i++)
            square += ((double)x[i] - mean) * ((double)x[i] - mean);
        float scale = (float)(1.0 / sqrt(square / g + (double)op->u.norm.eps));
        for (uint32_t i = 0; i < g; i++)
            y[i] = (x[i] - (float)mean) * scale * (weight ? weight[i] : 1.0f) + (bias ? bias[i] : 0.0f);
    }
}

static void rope_row(const lm_rope *r, float *x, uint32_t pos)
{
    uint32_t half = r->n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        float angle = (float)pos * r->inv_freq[i];
        float c = cosf(angle) * r->mscale, s = sinf(angle) * r->mscale;
        uint32_t ia = r->interleaved ? 2 * i : i, ib = r->interleaved ? 2 * i + 1 : i + half;
        float a = x[ia], b = x[ib];
        x[ia] = a * c - b * s;
        x[ib] = b * c + a * s;
    }
}

static void rope(const lm_plan *pl, const lm_op *op, const lm_step *s)
{
    uint32_t w = pl->p->values[op->out].width, hd = op->u.rope.head_dim;
    const lm_rope *r = &pl->p->ropes[op->u.rope.table];
    float *y = pl->values[op->out];
    memcpy(y, pl->values[op->in[0]], (size_t)s->n_tokens * w * sizeof *y);
    for (uint32_t g = 0; g < s->n_segments; g++)
        for (uint32_t t = 0; t < s->segments[g].count; t++)
            for (uint32_t h = 0; h < w; h += hd)
                rope_row(r, y + (size_t)(s->segments[g].first + t) * w + h, s->segments[g].pos + t);
}

/* One query of one head over the positions [from, to] of its pages. */
static void attend_one(const lm_plan *pl, const lm_op *op, const lm_page_table *table, uint32_t head,
                       const float *q, uint32_t from, uint32_t to, float *out)
{
    const lm_page_layout *l = &pl->layouts[op->u.attend.group];
    uint32_t kd = op->u.attend.k_dim, vd = op->u.attend.v_dim;
    uint32_t kvh = head / (op->u.attend.n_heads / op->u.attend.n_kv_heads);
    float cap = op->u.attend.softcap, max = -INFINITY, sum = 0;
    for (uint32_t p = from; p <= to; p++) {
        lm_page_get(l, table->pages[p / LM_PAGE_TOKENS], op->u.attend.slot, kvh, p % LM_PAGE_TOKENS, pl->kv,
                    kd, NULL, 0);
        float score = dot(q, pl->kv, kd) * op->u.attend.scale;
        if (cap > 0)
            score = cap * tanhf(score / cap);
        pl->scores[p - from] = score;
        max = fmaxf(max, score);
    }
    if (op->u.attend.sinks) {
        max = fmaxf(max, op->u.attend.sinks[head]);
        sum = expf(op->u.attend.sinks[head] - max);
    }
    memset(out, 0, vd * sizeof *out);
    for (uint32_t p = from; p <= to; p++) {
        float e = expf(pl->scores[p - from] - max);
        sum += e;
        lm_page_get(l, table->pages[p / LM_PAGE_TOKENS], op->u.attend.slot, kvh, p % LM_PAGE_TOKENS, NULL, 0,
                    pl->kv, vd);
        for (uint32_t d = 0; d < vd; d++)
            out[d] += e * pl->kv[d];
    }
    for (uint32_t d = 0; d < vd; d++)
        out[d] /= sum;
}

static void attend(const lm_plan *pl, const lm_op *op, const lm_step *s)
{
    const lm_page_layout *l = &pl->layouts[op->u.attend.group];
    uint32_t nh = op->u.attend.n_heads, nkv = op->u.attend.n_kv_heads, kd = op->u.attend.k_dim,
             vd = op->u.attend.v_dim;
    uint32_t window = pl->p->groups[op->u.attend.group].window;
    for (uint32_t g = 0; g < s->n_segments; g++) {
        const lm_segment *seg = &s->segments[g];
        const lm_page_table *table = &seg->tables[op->u.attend.group];
        for (uint32_t t = 0; op->in[1] && t < seg->count; t++)
            for (uint32_t h = 0; h < nkv; h++) {
                size_t row = (size_t)seg->first + t;
                uint32_t pos = seg->pos + t;
                lm_page_put(l, table->pages[pos / LM_PAGE_TOKENS], op->u.attend.slot, h, pos % LM_PAGE_TOKENS,
                            pl->values[op->in[1]] + (row * nkv + h) * kd, kd,
                            pl->values[op->in[2]] + (row * nkv + h) * vd, vd);
            }
        for (uint32_t t = 0; t < seg->count; t++)
            for (uint32_t h = 0; h < nh; h++) {
                size_t row = (size_t)seg->first + t;
                uint32_t to = seg->pos + t, from = window && to + 1 > window ? to + 1 - window : 0;
                attend_one(pl, op, table, h, pl->values[op->in[0]] + (row * nh + h) * kd, from, to,
                           pl->values[op->out] + (row * nh + h) * vd);
            }
    }
}

static float activate(lm_act act, float x)
{
    switch (act) {
    case LM_ACT_SILU: return x / (1.0f + expf(-x));
    case LM_ACT_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case LM_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case LM_ACT_RELU: return x > 0 ? x : 0;
    }
    return 0;
}

static void elementwise(const lm_plan *pl, const lm_op *op, uint32_t n)
{
    size_t total = (size_t)n * pl->p->values[op->out].width;
    const float *x = pl->values[op->in[0]], *z = pl->values[op->in[1]];
    float *y = pl->values[op->out];
    for (size_t i = 0; i < total; i++)
        switch (op->kind) {
        case LM_OP_ACT: y[i] = activate(op->u.act.act, x[i]); break;
        case LM_OP_GLU: y[i] = activate(op->u.act.act, x[i]) * z[i]; break;
        case LM_OP_ADD: y[i] = x[i] + z[i]; break;
        case LM_OP_SCALE: y[i] = x[i] * op->u.number; break;
        default: y[i] = op->u.number * tanhf(x[i] / op->u.number); break; /* softcap */
        }
}

static void rows(const lm_plan *pl, const lm_op *op, const lm_step *s)
{
    uint32_t w = pl->p->values[op->out].width;
    for (uint32_t r = 0; r < s->n_rows; r++)
        memcpy(pl->values[op->out] + (size_t)r * w, pl->values[op->in[0]] + (size_t)s->rows[r] * w,
               w * sizeof(float));
}

static lm_status ref_run(lm_plan *pl, const lm_step *s, lm_error *err)
{
    const lm_program *p = pl->p;
    if (s->n_tokens > pl->o.max_tokens || s->n_rows > pl->o.max_rows)
        return lm_fail(err, LM_ERR_INTERNAL, "a step of %u tokens and %u rows, planned were %u and %u",
                       s->n_tokens, s->n_rows, pl->o.max_tokens, pl->o.max_rows);
    for (uint32_t i = 0; i < p->n_ops; i++) {
        const lm_op *op = &p->ops[i];
        uint32_t n = p->values[op->out].wanted ? s->n_rows : s->n_tokens;
        if (s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed))
            return lm_fail(err, LM_ERR_CANCELLED, "cancelled");
        switch (op->kind) {
        case LM_OP_EMBED: embed(pl, op, s); break;
        case LM_OP_LINEAR: linear(pl, op, n); break;
        case LM_OP_NORM: norm(pl, op, n); break;
        case LM_OP_ROPE: rope(pl, op, s); break;
        case LM_OP_ATTEND: attend(pl, op, s); break;
        case LM_OP_ROWS: rows(pl, op, s); break;
        default: elementwise(pl, op, n); break;
        }
    }
    memcpy(s->logits, pl->values[p->result], (size_t)s->n_rows * p->n_vocab * sizeof(float));
    return LM_OK;
}

const lm_backend lm_backend_ref = {
    .name = "ref",
    .default_kv = LM_KV_F32,
    .open = ref_open,
    .close = ref_close,
    .info = ref_info,
    .compile = ref_compile,
    .plan_bytes = ref_plan_bytes,
    .run = ref_run,
    .plan_free = ref_plan_free,
};
