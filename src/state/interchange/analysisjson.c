/* state/interchange/analysisjson.c - analysis and SAMI as JSON and as text. */
#include <math.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/analysis.h"

/* JSON has no word for what is not finite: it becomes 0. */
static json_t *real(double x)
{
    return json_real(isfinite(x) ? x : 0);
}

static json_t *reals(const double *x, uint32_t n)
{
    json_t *a = json_array();
    for (uint32_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, real(x[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *whole(uint32_t x)
{
    return json_integer((json_int_t)x);
}

/* Layers that share a cache: only groups of two or more (SPEC 9.3.10). */
static json_t *shared(const lm_analysis *a)
{
    json_t *groups = json_object();
    bool failed = !groups;
    for (uint32_t i = 0; i < a->num_layers && !failed; i++) {
        int32_t index = a->layer_cache_index[i];
        bool first = index >= 0;
        for (uint32_t k = 0; k < i && first; k++)
            first = a->layer_cache_index[k] != index;
        json_t *layers = first ? json_array() : NULL;
        for (uint32_t k = i; layers && k < a->num_layers; k++)
            if (a->layer_cache_index[k] == index && json_array_append_new(layers, whole(k)) != 0)
                failed = true;
        if (layers && json_array_size(layers) > 1) {
            lm_str key = { 0 };
            lm_str_addf(&key, "%d", (int)index);
            lm_set(groups, lm_str_z(&key), json_incref(layers), &failed);
            lm_str_clear(&key);
        }
        json_decref(layers);
    }
    if (failed) {
        json_decref(groups);
        return NULL;
    }
    return groups;
}

static lm_status finish(json_t *o, bool failed, json_t **out, lm_error *err)
{
    if (failed) {
        json_decref(o);
        return lm_fail(err, LM_ERR_NOMEM, "no memory for a JSON object");
    }
    *out = o;
    return LM_OK;
}

lm_status lm_analysis_object(const lm_analysis *a, json_t **out, lm_error *err)
{
    json_t *o = json_object();
    double f[LM_ANALYSIS_FEATURES];
    bool failed = !o;
    lm_analysis_features(a, f);
    lm_set(o, "gqa", json_boolean(a->gqa), &failed);
    lm_set(o, "num_layers", whole(a->num_layers), &failed);
    lm_set(o, "num_heads", whole(a->num_heads), &failed);
    lm_set(o, "seq_len", whole(a->seq_len), &failed);
    lm_set(o, "head_dim", whole(a->head_dim), &failed);
    for (int i = 0; i < LM_ANALYSIS_FEATURES; i++)
        lm_set(o, lm_analysis_label(i), real(f[i]), &failed);
    lm_set(o, "joint_collapse_count", whole(a->joint_collapse_count), &failed);
    lm_set(o, "composite", whole(a->composite), &failed);
    lm_set(o, "layer_key_coherence", reals(a->layer_key_coherence, a->num_layers), &failed);
    lm_set(o, "layer_value_coherence", reals(a->layer_value_coherence, a->num_layers), &failed);
    lm_set(o, "layer_cross_alignment", reals(a->layer_cross_alignment, a->num_layers ? a->num_layers - 1 : 0),
           &failed);
    lm_set(o, "layer_kv_coupling", reals(a->layer_kv_coupling, a->num_layers), &failed);
    lm_set(o, "shared_cache_layers", shared(a), &failed);
    return finish(o, failed, out, err);
}

static double clamp01(double x)
{
    return x > 0 ? x < 1 ? x : 1 : 0;
}

lm_status lm_sami_object(const lm_analysis *a, const lm_snapshot *s, const char *model, const char *prompt,
                         json_t **out, lm_error *err)
{
    json_t *o = json_object(), *coherence = json_array(), *cross = json_array();
    bool failed = !o || !coherence || !cross;
    double mean = (clamp01(a->key_coherence) + clamp01(a->value_coherence)) / 2;
    uint32_t layers = s->num_layers;
    for (uint32_t i = 0; i < layers && !failed; i++) {
        bool there = i < a->num_layers && a->layer_cache_index[i] >= 0;
        double c =
            there ? (clamp01(a->layer_key_coherence[i]) + clamp01(a->layer_value_coherence[i])) / 2 : mean;
        double x = there && i + 1 < a->num_layers ? clamp01(a->layer_cross_alignment[i])
                                                  : clamp01(a->cross_alignment);
        failed = json_array_append_new(coherence, real(c)) != 0 || json_array_append_new(cross, real(x)) != 0;
    }
    lm_set(o, "model", lm_json_string(model), &failed);
    lm_set(o, "prompt", lm_json_string(prompt), &failed);
    lm_set(o, "architecture", lm_json_string(s->architecture), &failed);
    lm_set(o, "num_layers", whole(layers), &failed);
    lm_set(o, "num_heads", whole(s->num_heads), &failed);
    lm_set(o, "seq_len", whole(lm_snapshot_seq_len(s)), &failed);
    lm_set(o, "head_dim", whole(s->head_dim), &failed);
    lm_set(o, "mean_coherence", real(mean), &failed);
    lm_set(o, "mean_cross_alignment", real(clamp01(a->cross_alignment)), &failed);
    lm_set(o, "mean_head_entropy", real(clamp01(a->head_entropy)), &failed);
    lm_set(o, "phase_lock_score", real(clamp01(a->phase_lock)), &failed);
    lm_set(o, "joint_collapse_count", whole(LM_MIN(a->joint_collapse_count, layers)), &failed);
    lm_set(o, "layer_coherence", coherence, &failed);
    lm_set(o, "layer_cross_alignment", cross, &failed);
    lm_set(o, "composite", real(LM_MIN((double)a->composite / 100, 100.0)), &failed);
    return finish(o, failed, out, err);
}

lm_status lm_analysis_json(const lm_analysis *a, char **out, size_t *n, lm_error *err)
{
    json_t *o = NULL;
    LM_TRY(lm_analysis_object(a, &o, err));
    lm_status st = lm_json_text(o, 2, out, n, err);
    json_decref(o);
    return st;
}

lm_status lm_sami_json(const lm_analysis *a, const lm_snapshot *s, const char *model, const char *prompt,
                       char **out, size_t *n, lm_error *err)
{
    json_t *o = NULL;
    LM_TRY(lm_sami_object(a, s, model, prompt, &o, err));
    lm_status st = lm_json_text(o, 2, out, n, err);
    json_decref(o);
    return st;
}

lm_status lm_analysis_text(const lm_analysis *a, char **out, size_t *n, lm_error *err)
{
    lm_str b = { 0 };
    double f[LM_ANALYSIS_FEATURES];
    lm_analysis_features(a, f);
    lm_str_addf(&b, "%-18s %u of 10000\n", "composite", a->composite);
    lm_str_addf(&b, "%-18s %u layers, %u key/value heads of %u, %u positions; %s compared\n", "shape",
                a->num_layers, a->num_heads, a->head_dim, a->seq_len, a->gqa ? "positions" : "heads");
    for (int i = 0; i < LM_ANALYSIS_FEATURES; i++)
        lm_str_addf(&b, "%-18s %.4f\n", lm_analysis_label(i), f[i]);
    lm_str_addf(&b, "%-18s %u\n", "joint_collapses", a->joint_collapse_count);
    if (a->num_layers)
        lm_str_addf(&b, "%5s %10s %10s %10s %10s\n", "layer", "keys", "values", "coupling", "to next");
    for (uint32_t i = 0; i < a->num_layers; i++) {
        lm_str_addf(&b, "%5u %10.4f %10.4f %10.4f", i, a->layer_key_coherence[i], a->layer_value_coherence[i],
                    a->layer_kv_coupling[i]);
        if (i + 1 < a->num_layers)
            lm_str_addf(&b, " %10.4f", a->layer_cross_alignment[i]);
        lm_str_addc(&b, '\n');
    }
    lm_status st = lm_str_take(&b, out, n, err);
    lm_str_clear(&b);
    return st;
}
