/* Analysis and SAMI (SPEC 9.2, 9.3) against figures that numpy gives. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "state/interchange/analysis.h"

/* Number i of all, counted layer by layer, head by head, keys before values, position by
 * position.  The figures below come from the formulas over the same numbers in numpy:
 * cosines as dot / (norm * norm), of positions through u @ u.T of unit rows and its upper
 * triangle, entropies with log2, means with numpy.mean. */
static float number(long i, uint32_t layer, int kv, uint32_t pos)
{
    return (float)((double)((i * 7919 + 13) % 101 - 50) / 50 + (pos % 3) * 0.5 * (layer % 2) +
                   (kv ? 0.3 : 0.8));
}

static lm_snapshot *make(uint32_t layers, uint32_t heads, uint32_t seq, uint32_t dim)
{
    lm_snapshot *s = NULL;
    long i = 0;
    assert_int_equal(lm_snapshot_new(&s, NULL), LM_OK);
    s->num_layers = s->n_layers = layers;
    s->num_heads = heads;
    s->seq_len = seq;
    s->head_dim = dim;
    (void)snprintf(s->architecture, sizeof s->architecture, "made");
    assert_int_equal(lm_snapshot_alloc(s, layers, sizeof *s->layers, (void **)&s->layers, NULL), LM_OK);
    for (uint32_t l = 0; l < layers; l++) {
        lm_kv_layer *k = &s->layers[l];
        k->layer = (int32_t)l;
        k->cache_index = (int32_t)(l / 2);
        k->n_heads = heads;
        assert_int_equal(lm_snapshot_alloc(s, heads, sizeof *k->heads, (void **)&k->heads, NULL), LM_OK);
        for (uint32_t h = 0; h < heads; h++)
            for (int kv = 0; kv < 2; kv++) {
                float *x = NULL;
                assert_int_equal(lm_snapshot_alloc(s, (size_t)seq * dim, sizeof *x, (void **)&x, NULL),
                                 LM_OK);
                for (uint32_t p = 0; p < seq; p++)
                    for (uint32_t d = 0; d < dim; d++)
                        x[p * dim + d] = number(i++, l, kv, p);
                lm_kv_tensor t = { .dtype = LM_KVT_F32, .n = seq * dim, .raw = (const uint8_t *)x };
                *(kv ? &k->heads[h].value : &k->heads[h].key) = t;
            }
    }
    return s;
}

static const struct {
    uint32_t layers, heads, seq, dim;
    bool gqa;
    double features[LM_ANALYSIS_FEATURES];
    uint32_t composite;
    double cross0, key1;
} cases[] = {
    { 3,
      2,
      9,
      4,
      true,
      { 0.317215355981, 0.782956386156, 0.745592012384, 0.988203755998, 0.324074074074, 0.316234976426, 1.0 },
      5971,
      0.75098519,
      0.185106375 },
    { 3,
      6,
      5,
      4,
      false,
      { 0.668184648225, 0.300553291306, 0.877680185547, 0.984745635182, 0.277777777778, 0.653250654739, 1.0 },
      6155,
      0.885020695,
      0.799302544 },
    /* Above 4096 positions: every second one. */
    { 2,
      1,
      4100,
      4,
      true,
      { 0.27122003464, 0.642730615985, 0.765030388239, 0.996115469131, 0.248226380507, 0.392677605628, 1.0 },
      5714,
      0.765030388,
      0.199844765 },
};

static void figures_are_those_of_numpy(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        lm_snapshot *s = make(cases[c].layers, cases[c].heads, cases[c].seq, cases[c].dim);
        lm_analysis a;
        double f[LM_ANALYSIS_FEATURES];
        assert_int_equal(lm_snapshot_analyse(s, &a, NULL), LM_OK);
        lm_analysis_features(&a, f);
        assert_int_equal(a.gqa, cases[c].gqa);
        for (int i = 0; i < LM_ANALYSIS_FEATURES; i++) /* pairs are multiplied in float32 */
            if (fabs(f[i] - cases[c].features[i]) > 2e-6)
                fail_msg("case %zu: %s is %.9f, numpy says %.9f", c, lm_analysis_label(i), f[i],
                         cases[c].features[i]);
        assert_int_equal(a.composite, cases[c].composite);
        assert_true(fabs(a.layer_cross_alignment[0] - cases[c].cross0) < 2e-6);
        assert_true(fabs(a.layer_key_coherence[1] - cases[c].key1) < 2e-6);
        lm_analysis_clear(&a);
        lm_snapshot_close(s);
    }
}

/* Layers that point elsewhere each time: every crossing is a collapse. */
static void collapses_lower_the_stability(void **state)
{
    (void)state;
    lm_snapshot *s = make(8, 5, 2, 8);
    lm_analysis a;
    for (uint32_t l = 0; l < 8; l++)
        for (uint32_t h = 0; h < 5; h++)
            for (int kv = 0; kv < 2; kv++) {
                const lm_kv_tensor *t = kv ? &s->layers[l].heads[h].value : &s->layers[l].heads[h].key;
                float *x = (float *)(uintptr_t)t->raw;
                for (uint32_t i = 0; i < t->n; i++)
                    x[i] = i % 8 == l ? 2.0f : 0.0f;
            }
    assert_int_equal(lm_snapshot_analyse(s, &a, NULL), LM_OK);
    assert_int_equal(a.joint_collapse_count, 7);
    assert_true(a.joint_stability == 0 && a.cross_alignment == 0);
    assert_true(fabs(a.key_coherence - 1) < 1e-12 && a.phase_lock == 1 && fabs(a.kv_coupling - 1) < 1e-12);
    assert_true(fabs(a.head_entropy - 1) < 1e-12); /* both rows are as long */
    /* .22 + .18 + .15 + .15 + .05 */
    assert_true(a.composite == 7499 || a.composite == 7500);
    lm_analysis_clear(&a);
    lm_snapshot_close(s);
}

static void nothing_gives_zeros(void **state)
{
    (void)state;
    lm_snapshot *s = NULL;
    lm_analysis a;
    char *text = NULL;
    size_t n;
    assert_int_equal(lm_snapshot_new(&s, NULL), LM_OK);
    assert_int_equal(lm_snapshot_analyse(s, &a, NULL), LM_OK);
    assert_int_equal(a.composite, 0);
    assert_true(a.key_coherence == 0 && a.head_entropy == 0);
    assert_int_equal(lm_analysis_text(&a, &text, &n, NULL), LM_OK);
    assert_non_null(strstr(text, "composite          0 of 10000"));
    lm_free(text);
    lm_analysis_clear(&a);
    lm_snapshot_close(s);
    s = make(3, 2, 1, 4); /* one position has no pairs and no entropy */
    assert_int_equal(lm_snapshot_analyse(s, &a, NULL), LM_OK);
    assert_true(a.key_coherence == 0 && a.head_entropy == 0 && a.phase_lock == 0);
    assert_true(a.cross_alignment == 1); /* nothing changes from layer to layer */
    lm_analysis_clear(&a);
    lm_snapshot_close(s);
}

static void sami_and_analysis_are_json(void **state)
{
    (void)state;
    lm_snapshot *s = make(3, 2, 9, 4);
    lm_analysis a;
    char *text = NULL;
    size_t n;
    json_t *o;
    assert_int_equal(lm_snapshot_analyse(s, &a, NULL), LM_OK);
    assert_int_equal(lm_analysis_json(&a, &text, &n, NULL), LM_OK);
    o = json_loadb(text, n, 0, NULL);
    assert_non_null(o);
    assert_int_equal(json_integer_value(json_object_get(o, "composite")), 5971);
    /* Layers 0 and 1 share cache 0; layer 2 is alone and not listed. */
    const json_t *shared = json_object_get(o, "shared_cache_layers");
    assert_int_equal(json_object_size(shared), 1);
    assert_int_equal(json_array_size(json_object_get(shared, "0")), 2);
    json_decref(o);
    lm_free(text);
    assert_int_equal(lm_sami_json(&a, s, "model", "prompt", &text, &n, NULL), LM_OK);
    o = json_loadb(text, n, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "model")), "model");
    assert_true(fabs(json_real_value(json_object_get(o, "mean_coherence")) -
                     (0.317215355981 + 0.782956386156) / 2) < 2e-6);
    assert_true(json_real_value(json_object_get(o, "composite")) == 59.71);
    assert_int_equal(json_array_size(json_object_get(o, "layer_coherence")), 3);
    json_decref(o);
    lm_free(text);
    /* A model of more layers than the snapshot has: the mean stands in. */
    s->num_layers = 5;
    assert_int_equal(lm_sami_json(&a, s, NULL, NULL, &text, &n, NULL), LM_OK);
    o = json_loadb(text, n, 0, NULL);
    const json_t *layers = json_object_get(o, "layer_coherence");
    assert_int_equal(json_array_size(layers), 5);
    assert_true(json_real_value(json_array_get(layers, 4)) ==
                json_real_value(json_object_get(o, "mean_coherence")));
    json_decref(o);
    lm_free(text);
    lm_analysis_clear(&a);
    lm_snapshot_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_numpy),
        cmocka_unit_test(collapses_lower_the_stability),
        cmocka_unit_test(nothing_gives_zeros),
        cmocka_unit_test(sami_and_analysis_are_json),
    };
    return cmocka_run_group_tests_name("state/interchange/analysis", tests, NULL, NULL);
}
