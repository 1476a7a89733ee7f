/* Rotary scalings against the numbers that transformers 5.23 computes for a head
 * of 16 dimensions and a trained context of 2,048. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "lemma/lemma.h"
#include "model/config.h"

static const char factors[] = "{\"short\": [1.0,1.1,1.2,1.3,1.4,1.5,1.6,1.7], \"long\": [1,2,3,4,5,6,7,8]}";

static const struct {
    const char *what;
    lm_rope_spec s;
    uint32_t context;
    double mscale;
    double want[8];
} cases[] = {
    { "linear",
      { .kind = LM_ROPE_LINEAR, .base = 1e4, .factor = 4 },
      2048,
      1.0,
      { 0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
        7.90569466e-05 } },
    { "dynamic, beyond the trained context",
      { .kind = LM_ROPE_DYNAMIC, .base = 1e4, .factor = 2 },
      8192,
      1.0,
      { 1.0, 0.239481375, 0.057351321, 0.0137345716, 0.00328917382, 0.00078769587, 0.000188638471,
        4.51753949e-05 } },
    { "dynamic, inside it",
      { .kind = LM_ROPE_DYNAMIC, .base = 1e4, .factor = 2 },
      1024,
      1.0,
      { 1.0, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005,
        0.000316227786 } },
    { "longrope, long",
      { .kind = LM_ROPE_LONGROPE, .base = 1e4, .factor = 1, .original_context = 512 },
      2048,
      1.1055415967851334,
      { 1.0, 0.158113882, 0.0333333351, 0.00790569466, 0.00200000009, 0.00052704633, 0.000142857141,
        3.95284733e-05 } },
    { "longrope, short",
      { .kind = LM_ROPE_LONGROPE, .base = 1e4, .factor = 1, .original_context = 512 },
      256,
      1.1055415967851334,
      { 1.0, 0.287479758, 0.0833333358, 0.0243252143, 0.00714285718, 0.00210818532, 0.000624999986,
        0.000186016332 } },
    { "yarn",
      { .kind = LM_ROPE_YARN,
        .base = 1e4,
        .factor = 4,
        .original_context = 512,
        .beta_fast = 32,
        .beta_slow = 1,
        .truncate = true },
      2048,
      1.138629436111989,
      { 1.0, 0.25693506, 0.0625, 0.0138349654, 0.00249999994, 0.000790569466, 0.000250000012,
        7.90569466e-05 } },
    { "llama3",
      { .kind = LM_ROPE_LLAMA3,
        .base = 5e5,
        .factor = 8,
        .original_context = 512,
        .low_freq = 1,
        .high_freq = 4 },
      2048,
      1.0,
      { 1.0, 0.193922758, 0.0273441337, 0.000911583134, 0.000176776681, 3.42810235e-05, 6.64786967e-06,
        1.28917316e-06 } },
};

static void scalings_agree_with_the_reference(void **state)
{
    json_t *lists = json_loads(factors, 0, NULL);
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_config c = { .max_context = 2048, .head_dim = 16 };
        lm_rope_spec s = cases[i].s;
        float inv[8], mscale;
        lm_error err = { 0 };
        s.short_factor = json_object_get(lists, "short");
        s.long_factor = json_object_get(lists, "long");
        print_message("  case: %s\n", cases[i].what);
        assert_int_equal(lm_rope_resolve(&s, &c, 16, cases[i].context, NULL, inv, &mscale, &err), LM_OK);
        assert_true(fabs((double)mscale - cases[i].mscale) < 1e-6);
        for (int k = 0; k < 8; k++)
            if (fabs((double)inv[k] - cases[i].want[k]) > 2e-6 * cases[i].want[k])
                fail_msg("%s: frequency %d is %.9g, the reference says %.9g", cases[i].what, k,
                         (double)inv[k], cases[i].want[k]);
    }
    json_decref(lists);
}

static void nonsense_is_refused(void **state)
{
    lm_config c = { .max_context = 2048, .head_dim = 16 };
    lm_rope_spec s = { .kind = LM_ROPE_LONGROPE, .base = 1e4, .original_context = 512 };
    float inv[8], mscale;
    lm_error err = { 0 };
    (void)state;
    s.long_factor = json_pack("[i, i]", 1, 2);
    assert_int_equal(lm_rope_resolve(&s, &c, 16, 2048, NULL, inv, &mscale, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "long_factor has 2 numbers, wanted are 8");
    json_decref((json_t *)(uintptr_t)s.long_factor);
    static const float zeros[8];
    s = (lm_rope_spec){ .base = 1e4 };
    err = (lm_error){ 0 };
    assert_int_equal(lm_rope_resolve(&s, &c, 16, 2048, zeros, inv, &mscale, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "rotary frequency 0 is not a number");
}

/* A golden pack whose rope_scaling was replaced; the weights are a link. */
static void open_with(const char *folder, const char *rope, lm_error *err, lm_status *status)
{
    char path[512];
    json_t *c = json_load_file(LM_TEST_DATA "/golden/llama/config.json", 0, NULL);
    json_object_del(c, "rope_parameters");
    json_object_set_new(c, "rope_scaling", json_loads(rope, JSON_DECODE_ANY, NULL));
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(c, path, 0), 0);
    json_decref(c);
    lm_model_options o;
    lm_model *m = NULL;
    lm_model_defaults(&o);
    o.no_text = true;
    *status = lm_model_open(&m, folder, &o, err);
    lm_model_close(m);
}

/* What is wrong or missing is named, never replaced by a guess. */
static void an_incomplete_scaling_is_refused(void **state)
{
    static const struct {
        const char *rope, *text;
    } bad[] = {
        { "[]", "'rope_parameters' (or 'rope_scaling') is not an object" },
        { "\"x\"", "'rope_parameters' (or 'rope_scaling') is not an object" },
        { "{\"type\":\"linear\"}", "rotary scaling of type 'linear' needs 'factor'" },
        { "{\"type\":\"linear\",\"factor\":-2}",
          "rotary scaling: 'factor' is not a number, allowed is more than 0 to 1e15" },
        { "{\"rope_type\":\"llama3\",\"factor\":8}",
          "rotary scaling of type 'llama3' needs 'low_freq_factor'" },
        { "{\"rope_type\":\"longrope\"}", "rotary scaling of type 'longrope' needs 'short_factor'" },
        { "{\"rope_type\":\"spiral\"}", "rotary scaling of type 'spiral' is not known" },
    };
    char folder[] = "/tmp/lemma-test-rope-XXXXXX", link_path[64], config[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(link_path, sizeof link_path, "%s/model.safetensors", folder);
    (void)snprintf(config, sizeof config, "%s/config.json", folder);
    assert_int_equal(symlink(LM_TEST_DATA "/golden/llama/model.safetensors", link_path), 0);
    for (size_t i = 0; i < LM_LEN(bad); i++) {
        lm_error err = { 0 };
        lm_status status;
        open_with(folder, bad[i].rope, &err, &status);
        print_message("  case: %s\n", bad[i].rope);
        assert_true(status == LM_ERR_CORRUPT || status == LM_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, bad[i].text));
    }
    lm_error err = { 0 };
    lm_status status;
    open_with(folder, "null", &err, &status);
    assert_int_equal(status, LM_OK);
    (void)unlink(link_path);
    (void)unlink(config);
    (void)rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalings_agree_with_the_reference),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(an_incomplete_scaling_is_refused),
    };
    return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
