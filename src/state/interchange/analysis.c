/* state/interchange/analysis.c - how keys and values lie to each other (SPEC 9.3), SAMI (9.2).
 *
 * Two ways, by the number of key/value heads.  More than four: heads are compared, each
 * flattened over all positions.  Four and fewer: within each head, positions are compared,
 * every pair of them; above 4096 positions every stride-th one is taken, so the work is
 * bounded by 8 Mi pairs a head. */
#include "state/interchange/analysis.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"

#define COHERENCE 0.7
#define COLLAPSE  0.5
enum { GQA_HEADS = 4, MAX_POSITIONS = 4096, LANES = 8 };

static const char *const labels[LM_ANALYSIS_FEATURES] = { "key_coherence",   "value_coherence",
                                                          "cross_alignment", "head_entropy",
                                                          "phase_lock",      "kv_coupling",
                                                          "joint_stability" };

/* A layer's heads as float32: [heads][rows * dim]. */
typedef struct {
    uint32_t n_heads;
    float **key, **value;
    uint32_t *key_rows, *value_rows, *key_dim, *value_dim;
} loaded;

static void unload(loaded *l)
{
    for (uint32_t h = 0; h < l->n_heads; h++) {
        lm_free(l->key ? l->key[h] : NULL);
        lm_free(l->value ? l->value[h] : NULL);
    }
    lm_free(l->key);
    lm_free(l->value);
    lm_free(l->key_rows);
    lm_free(l->value_rows);
    lm_free(l->key_dim);
    lm_free(l->value_dim);
    *l = (loaded){ .n_heads = 0 };
}

static lm_status load_head(const lm_snapshot *s, const lm_kv_layer *l, uint32_t h, bool value, float **out,
                           uint32_t *rows, uint32_t *dim, lm_error *err)
{
    lm_kv_block b;
    LM_TRY(lm_kv_view(s, l, h, value, &b, err));
    LM_TRY(LM_NEW(out, b.t.n, err));
    *rows = b.rows;
    *dim = b.dim;
    return lm_kv_tensor_get(&b.t, 0, b.t.n, *out, err);
}

static lm_status load(const lm_snapshot *s, const lm_kv_layer *l, loaded *out, lm_error *err)
{
    uint32_t n = lm_kv_layer_heads(l);
    *out = (loaded){ .n_heads = n };
    lm_status st = LM_NEW(&out->key, n, err);
    if (st == LM_OK)
        st = LM_NEW(&out->value, n, err);
    if (st == LM_OK)
        st = LM_NEW(&out->key_rows, n, err);
    if (st == LM_OK)
        st = LM_NEW(&out->value_rows, n, err);
    if (st == LM_OK)
        st = LM_NEW(&out->key_dim, n, err);
    if (st == LM_OK)
        st = LM_NEW(&out->value_dim, n, err);
    for (uint32_t h = 0; h < n && st == LM_OK; h++) {
        st = load_head(s, l, h, false, &out->key[h], &out->key_rows[h], &out->key_dim[h], err);
        if (st == LM_OK)
            st = load_head(s, l, h, true, &out->value[h], &out->value_rows[h], &out->value_dim[h], err);
    }
    return st;
}

/* 0 where lengths differ or a vector is zero. */
static double cosine(const float *a, size_t n_a, const float *b, size_t n_b)
{
    double dot = 0, aa = 0, bb = 0;
    if (n_a != n_b)
        return 0;
    for (size_t i = 0; i < n_a; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    double d = sqrt(aa) * sqrt(bb);
    return d > 0 ? dot / d : 0;
}

typedef struct {
    double sum;
    uint64_t locked, pairs;
} tally;

/* More than four heads: every pair of them. */
static tally compare_heads(float *const *v, const uint32_t *rows, const uint32_t *dim, uint32_t n)
{
    tally t = { 0, 0, 0 };
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++) {
            double c = cosine(v[i], (size_t)rows[i] * dim[i], v[j], (size_t)rows[j] * dim[j]);
            t.sum += c;
            t.pairs++;
            t.locked += c >= COHERENCE;
        }
    return t;
}

/* [m, dim] rows scaled to length 1; a row of zeros stays. */
static void unit_rows(const float *x, uint32_t rows, uint32_t dim, uint32_t stride, float *out, uint32_t *m)
{
    *m = 0;
    for (uint32_t r = 0; r < rows; r += stride, ++*m) {
        double sum = 0;
        for (uint32_t d = 0; d < dim; d++)
            sum += (double)x[(size_t)r * dim + d] * x[(size_t)r * dim + d];
        double by = sum > 0 ? 1 / sqrt(sum) : 0;
        for (uint32_t d = 0; d < dim; d++)
            out[(size_t)*m * dim + d] = (float)(x[(size_t)r * dim + d] * by);
    }
}

/* Lanes of their own keep the additions independent, so that compilers may use vectors. */
static double dot(const float *a, const float *b, uint32_t n)
{
    float lane[LANES] = { 0 }, rest = 0;
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t k = 0; k < LANES; k++)
            lane[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        rest += a[i] * b[i];
    double sum = rest;
    for (uint32_t k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

/* Four heads and fewer: every pair of positions within each head. */
static lm_status compare_positions(float *const *v, const uint32_t *rows, const uint32_t *dim, uint32_t n,
                                   uint32_t seq, tally *out, lm_error *err)
{
    uint32_t stride = seq > MAX_POSITIONS ? (seq + MAX_POSITIONS - 1) / MAX_POSITIONS : 1;
    *out = (tally){ 0, 0, 0 };
    for (uint32_t h = 0; h < n; h++) {
        float *u = NULL;
        uint32_t m;
        if (rows[h] < 2)
            continue;
        LM_TRY(LM_NEW(&u, (size_t)((rows[h] + stride - 1) / stride) * dim[h], err));
        unit_rows(v[h], rows[h], dim[h], stride, u, &m);
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t j = i + 1; j < m; j++) {
                double c = dot(u + (size_t)i * dim[h], u + (size_t)j * dim[h], dim[h]);
                out->sum += c;
                out->pairs++;
                out->locked += c < 1 - COHERENCE;
            }
        lm_free(u);
    }
    return LM_OK;
}

/* Shannon entropy of the rows' lengths, over that of equal lengths. */
static double entropy(const float *x, uint32_t rows, uint32_t dim, uint32_t seq)
{
    double total = 0, sum = 0;
    if (seq < 2 || rows == 0)
        return 0;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t r = 0; r < rows; r++) {
            double n = 0;
            for (uint32_t d = 0; d < dim; d++)
                n += (double)x[(size_t)r * dim + d] * x[(size_t)r * dim + d];
            n = sqrt(n);
            if (pass == 0)
                total += n;
            else if (n > 0 && total > 0)
                sum -= n / total * log2(n / total);
        }
    return sum / log2(seq);
}

/* Mean over heads of keys followed by values; heads of another length than the first are
 * left out.  *n 0: there is nothing. */
static lm_status layer_state(const loaded *l, float **out, size_t *n, lm_error *err)
{
    size_t k0 = 0, v0 = 0;
    uint32_t count = 0;
    *n = 0;
    for (uint32_t h = 0; h < l->n_heads; h++) {
        size_t k = (size_t)l->key_rows[h] * l->key_dim[h], v = (size_t)l->value_rows[h] * l->value_dim[h];
        if (k + v == 0)
            continue;
        if (count == 0) {
            LM_TRY(LM_NEW(out, k + v, err));
            *n = k + v;
            k0 = k;
            v0 = v;
        }
        if (k + v != *n || k != k0)
            continue;
        for (size_t i = 0; i < k0; i++)
            (*out)[i] += l->key[h][i];
        for (size_t i = 0; i < v0; i++)
            (*out)[k0 + i] += l->value[h][i];
        count++;
    }
    for (size_t i = 0; i < *n; i++)
        (*out)[i] /= (float)count;
    return LM_OK;
}

/* Sums on the way to the means. */
typedef struct {
    double key, value, entropy, coupling, cross;
    uint64_t layers, entropies, couplings, crosses, locked, pairs;
    float *state; /* of the layer before, more than four heads */
    size_t n_state;
    uint32_t state_layer;
} sums;

static lm_status one_layer(const lm_snapshot *s, const loaded *x, uint32_t layer, lm_analysis *a, sums *z,
                           lm_error *err)
{
    tally k, v;
    uint32_t seq = lm_snapshot_seq_len(s);
    if (a->gqa) {
        LM_TRY(compare_positions(x->key, x->key_rows, x->key_dim, x->n_heads, seq, &k, err));
        LM_TRY(compare_positions(x->value, x->value_rows, x->value_dim, x->n_heads, seq, &v, err));
    } else {
        k = compare_heads(x->key, x->key_rows, x->key_dim, x->n_heads);
        v = compare_heads(x->value, x->value_rows, x->value_dim, x->n_heads);
    }
    double ck = k.pairs ? k.sum / (double)k.pairs : 0, cv = v.pairs ? v.sum / (double)v.pairs : 0;
    a->layer_key_coherence[layer] = a->gqa && k.pairs ? 1 - ck : ck;
    a->layer_value_coherence[layer] = a->gqa && v.pairs ? 1 - cv : cv;
    z->key += a->layer_key_coherence[layer];
    z->value += a->layer_value_coherence[layer];
    z->layers++;
    z->locked += k.locked + v.locked;
    z->pairs += k.pairs + v.pairs;
    double coupling = 0;
    uint32_t n = 0;
    for (uint32_t h = 0; h < x->n_heads; h++) {
        size_t nk = (size_t)x->key_rows[h] * x->key_dim[h], nv = (size_t)x->value_rows[h] * x->value_dim[h];
        if (nk && nv) {
            coupling += cosine(x->key[h], nk, x->value[h], nv);
            n++;
        }
        if (nk) {
            z->entropy += entropy(x->key[h], x->key_rows[h], x->key_dim[h], seq);
            z->entropies++;
        }
        if (nv) {
            z->entropy += entropy(x->value[h], x->value_rows[h], x->value_dim[h], seq);
            z->entropies++;
        }
    }
    if (n) {
        a->layer_kv_coupling[layer] = coupling / n;
        z->coupling += coupling / n;
        z->couplings++;
    }
    return LM_OK;
}

static void crossing(lm_analysis *a, sums *z, uint32_t layer, double c)
{
    a->layer_cross_alignment[layer] = c;
    z->cross += c;
    z->crosses++;
    a->joint_collapse_count += c < COLLAPSE;
}

/* More than four heads: the mean vector of this layer against the one of the layer before. */
static lm_status cross_states(const loaded *x, uint32_t layer, lm_analysis *a, sums *z, lm_error *err)
{
    float *state = NULL;
    size_t n;
    LM_TRY(layer_state(x, &state, &n, err));
    if (layer && n && z->n_state && z->state_layer + 1 == layer)
        crossing(a, z, layer - 1, cosine(z->state, z->n_state, state, n));
    lm_free(z->state);
    z->state = state;
    z->n_state = n;
    z->state_layer = layer;
    return LM_OK;
}

static double mean(double sum, uint64_t n)
{
    return n ? sum / (double)n : 0;
}

static uint32_t composite(const lm_analysis *a)
{
    double c = a->gqa ? .30 * a->key_coherence + .20 * a->value_coherence + .20 * a->cross_alignment +
                            .15 * a->kv_coupling + .10 * a->head_entropy + .05 * a->joint_stability
                      : .22 * a->key_coherence + .18 * a->value_coherence + .20 * a->cross_alignment +
                            .15 * a->phase_lock + .15 * a->kv_coupling + .05 * a->head_entropy +
                            .05 * a->joint_stability;
    c *= 10000;
    return c > 0 ? c < 10000 ? (uint32_t)c : 10000 : 0; /* not a number: 0 */
}

static lm_status analyse(const lm_snapshot *s, lm_analysis *a, sums *z, lm_error *err)
{
    uint32_t n = a->num_layers;
    LM_TRY(LM_NEW(&a->layer_key_coherence, n, err));
    LM_TRY(LM_NEW(&a->layer_value_coherence, n, err));
    LM_TRY(LM_NEW(&a->layer_kv_coupling, n, err));
    LM_TRY(LM_NEW(&a->layer_cross_alignment, n, err));
    LM_TRY(LM_NEW(&a->layer_cache_index, n, err));
    for (uint32_t i = 0; i < n; i++) {
        const lm_kv_layer *l = lm_snapshot_layer(s, (int32_t)i);
        loaded x;
        a->layer_cache_index[i] = l ? l->cache_index : -1;
        if (!l || lm_kv_layer_heads(l) == 0)
            continue;
        lm_status st = load(s, l, &x, err);
        if (st == LM_OK)
            st = one_layer(s, &x, i, a, z, err);
        if (st == LM_OK && !a->gqa)
            st = cross_states(&x, i, a, z, err);
        unload(&x);
        LM_TRY(st);
    }
    if (a->gqa)
        for (uint32_t i = 0; i + 1 < n; i++)
            crossing(a, z, i,
                     1 - (fabs(a->layer_key_coherence[i + 1] - a->layer_key_coherence[i]) +
                          fabs(a->layer_value_coherence[i + 1] - a->layer_value_coherence[i])) /
                             2);
    a->key_coherence = mean(z->key, z->layers);
    a->value_coherence = mean(z->value, z->layers);
    a->cross_alignment = mean(z->cross, z->crosses);
    a->head_entropy = mean(z->entropy, z->entropies);
    a->kv_coupling = mean(z->coupling, z->couplings);
    a->phase_lock = mean((double)z->locked, z->pairs);
    a->joint_stability = fmax(0, 1 - 0.2 * a->joint_collapse_count);
    a->composite = composite(a);
    return lm_snapshot_check(s, err);
}

lm_status lm_snapshot_analyse(const lm_snapshot *s, lm_analysis *out, lm_error *err)
{
    sums z = { .layers = 0 };
    *out = (lm_analysis){ .num_layers = 0 };
    if (s->n_layers == 0)
        return LM_OK;
    uint32_t heads = s->num_heads ? s->num_heads : lm_kv_layer_heads(&s->layers[0]);
    *out = (lm_analysis){ .gqa = heads <= GQA_HEADS,
                          .num_layers = s->num_layers,
                          .num_heads = heads,
                          .seq_len = lm_snapshot_seq_len(s),
                          .head_dim = s->head_dim };
    lm_status st = analyse(s, out, &z, err);
    lm_free(z.state);
    if (st != LM_OK)
        lm_analysis_clear(out);
    return st;
}

void lm_analysis_clear(lm_analysis *a)
{
    lm_free(a->layer_key_coherence);
    lm_free(a->layer_value_coherence);
    lm_free(a->layer_kv_coupling);
    lm_free(a->layer_cross_alignment);
    lm_free(a->layer_cache_index);
    *a = (lm_analysis){ .num_layers = 0 };
}

void lm_analysis_features(const lm_analysis *a, double out[LM_ANALYSIS_FEATURES])
{
    const double f[] = { a->key_coherence, a->value_coherence, a->cross_alignment, a->head_entropy,
                         a->phase_lock,    a->kv_coupling,     a->joint_stability };
    memcpy(out, f, sizeof f);
}

const char *lm_analysis_label(int feature)
{
    return feature >= 0 && feature < LM_ANALYSIS_FEATURES ? labels[feature] : "?";
}
