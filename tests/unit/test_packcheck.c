/* Reports about packs: what they say, and the code of each issue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "support/tempdir.h"
#include "tools/packcheck.h"

static const lm_packcheck_options everything = { .list_tensors = true, .bind = true, .scan = true };

static json_t *report(const char *path, const lm_packcheck_options *o)
{
    json_t *r = NULL;
    lm_error err = { 0 };
    if (lm_packcheck(&r, path, o, &err) != LM_OK)
        fail_msg("%s: %s", path, err.text);
    return r;
}

/* The issue with this code, or NULL. */
static const json_t *issue(const json_t *r, const char *code)
{
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(r, "issues"), i, v)
    {
        if (strcmp(json_string_value(json_object_get(v, "code")), code) == 0)
            return v;
    }
    return NULL;
}

static void expect_issue(const json_t *r, const char *code, const char *severity, const char *message)
{
    const json_t *v = issue(r, code);
    if (!v) {
        char *s = json_dumps(r, 0);
        fail_msg("no %s in %s", code, s);
    }
    assert_string_equal(json_string_value(json_object_get(v, "severity")), severity);
    if (message)
        assert_string_equal(json_string_value(json_object_get(v, "message")), message);
    assert_int_equal(json_is_true(json_object_get(r, "valid")), strcmp(severity, "error") != 0);
}

static void expect_text(const json_t *r, const char *key, const char *text)
{
    assert_non_null(json_object_get(r, key));
    assert_string_equal(json_string_value(json_object_get(r, key)), text);
}

static void expect_number(const json_t *r, const char *key, int n)
{
    assert_int_equal(json_integer_value(json_object_get(r, key)), n);
}

static void good_packs_are_valid(void **state)
{
    (void)state;
    json_t *r = report(LM_TEST_DATA "/packs/llama-mlx-mixed", &everything);
    expect_text(r, "format", "safetensors");
    expect_text(r, "architecture", "llama");
    expect_text(r, "quant_family", "affine");
    expect_number(r, "quant_bits", 4);
    expect_number(r, "quant_group", 32);
    expect_number(r, "hidden_size", 64);
    expect_number(r, "vocab_size", 320);
    assert_true(json_is_true(json_object_get(r, "quant_mixed")));
    assert_true(json_is_true(json_object_get(r, "valid")));
    assert_true(json_is_true(json_object_get(r, "native_loadable")));
    assert_int_equal(json_array_size(json_object_get(r, "unused_tensors")), 0);
    assert_int_equal(json_array_size(json_object_get(r, "tensors")),
                     json_integer_value(json_object_get(r, "tensor_count")));
    expect_issue(r, "missing_tokenizer", "warning", NULL);
    json_decref(r);

    r = report(LM_TEST_DATA "/packs/llama-Q4_0.gguf", &everything);
    expect_text(r, "format", "gguf");
    expect_text(r, "architecture", "llama");
    expect_text(r, "quant_type", "q4_0");
    expect_text(r, "quant_family", "q4");
    expect_number(r, "quant_bits", 4);
    expect_number(r, "quant_group", 32);
    assert_true(json_is_true(json_object_get(r, "valid")));
    json_decref(r);
}

static void expectations_are_held_against_the_pack(void **state)
{
    const lm_packcheck_options o = { .expected_bits = 8, .max_context = 16, .require_chat_template = true };
    (void)state;
    json_t *r = report(LM_TEST_DATA "/packs/llama-mlx-q4", &o);
    expect_issue(r, "quantization_mismatch", "error",
                 "the weights have 4 bits (affine4_g32_bf16), expected are 8");
    expect_issue(r, "context_too_large", "error", NULL);
    expect_issue(r, "missing_chat_template", "error", "the pack has no chat template");
    json_decref(r);
}

/* A copy of data/packs/llama with something changed. */
static lm_tempdir copy_llama(void)
{
    lm_tempdir d = lm_tempdir_make();
    lm_tempdir_copy(&d, "config.json", LM_TEST_DATA "/packs/llama/config.json");
    lm_tempdir_copy(&d, "model.safetensors", LM_TEST_DATA "/packs/llama/model.safetensors");
    return d;
}

static void nan_and_infinity_are_found(void **state)
{
    lm_tempdir d = copy_llama();
    char *bytes = NULL;
    size_t n = 0;
    char path[1024];
    (void)state;
    assert_int_equal(lm_read_file(lm_tempdir_path(&d, "model.safetensors", path), 1 << 24, &bytes, &n, NULL),
                     LM_OK);
    char *name = NULL; /* of the tensor whose data comes first */
    for (size_t i = 0; i + 24 < n && !name; i++)
        if (memcmp(bytes + i, "\"data_offsets\":[0,", 18) == 0)
            name = bytes + i;
    assert_non_null(name);
    uint64_t header;
    memcpy(&header, bytes, 8);
    memcpy(bytes + 8 + header + 2 * 5, "\xc0\x7f", 2); /* a NaN as the sixth number */
    memcpy(bytes + 8 + header + 2 * 7, "\x80\xff", 2); /* minus infinity as the eighth */
    lm_tempdir_write(&d, "model.safetensors", bytes, n);
    lm_free(bytes);
    json_t *r = report(d.path, &everything);
    const json_t *v = issue(r, "non_finite_weights");
    assert_non_null(v);
    assert_non_null(strstr(json_string_value(json_object_get(v, "message")),
                           "has 1 NaN and 1 infinities, the first at element 5"));
    assert_true(json_is_false(json_object_get(r, "valid")));
    json_decref(r);
    lm_tempdir_remove(&d);
}

static void what_surrounds_the_weights_is_reported(void **state)
{
    lm_tempdir d = copy_llama();
    char path[1024];
    json_t *config = NULL;
    (void)state;
    config = json_load_file(lm_tempdir_path(&d, "config.json", path), 0, NULL);
    assert_non_null(config);
    (void)json_object_set_new(config, "auto_map", json_pack("{s:s}", "AutoModel", "evil.Model"));
    char *text = json_dumps(config, 0);
    lm_tempdir_text(&d, "config.json", text);
    free(text);
    lm_tempdir_text(&d, "old.gguf", "GGUF");
    lm_tempdir_text(&d, "tokenizer.json", "{\"version\":\"1.0\"}");
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"chat_template\":\"{{ messages }}\"}");
    json_t *r = report(d.path, &everything);
    assert_string_equal(json_string_value(json_object_get(issue(r, "auto_map"), "message")),
                        "config.json names Python code of its own (auto_map), which lemma never runs");
    assert_string_equal(json_string_value(json_object_get(json_object_get(r, "auto_map"), "AutoModel")),
                        "evil.Model");
    expect_text(r, "format", "mixed");
    assert_non_null(issue(r, "mixed_weight_formats"));
    expect_text(r, "chat_template_source", "tokenizer_config.json");
    expect_issue(r, "invalid_tokenizer", "error", "tokenizer.json has no model");
    json_decref(r);
    json_decref(config);
    lm_tempdir_remove(&d);
}

static void what_running_would_open_is_opened(void **state)
{
    static const struct {
        const char *name, *text, *code, *message;
    } cases[] = {
        { "tokenizer.json", "{\"model\":{\"type\":\"Quipu\"}}", "invalid_tokenizer", NULL },
        { "generation_config.json", "{\"top_k\":", "invalid_config",
          "generation_config.json, line 1, column 9: the text ends too early" },
        { "tokenizer_config.json", "[", "invalid_config",
          "tokenizer_config.json, line 1, column 1: the text ends too early" },
        { "chat_template.jinja", "{% for m in %}", "invalid_chat_template", NULL },
        { "config.json", "{\"model_type\":\"llama\",\"tie_word_embeddings\":\"no\"}", "invalid_config",
          "config.json: 'tie_word_embeddings' is a string, allowed are true and false" },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_tempdir d = copy_llama();
        lm_tempdir_text(&d, cases[i].name, cases[i].text);
        json_t *r = report(d.path, &everything);
        expect_issue(r, cases[i].code, "error", cases[i].message);
        json_decref(r);
        lm_tempdir_remove(&d);
    }
}

static void another_quantisation_is_an_issue(void **state)
{
    lm_tempdir d = copy_llama();
    char path[1024];
    (void)state;
    json_t *config = json_load_file(lm_tempdir_path(&d, "config.json", path), 0, NULL);
    assert_non_null(config);
    (void)json_object_set_new(config, "quantization_config", json_pack("{s:s}", "quant_method", "gptq"));
    char *text = json_dumps(config, 0);
    lm_tempdir_text(&d, "config.json", text);
    json_t *r = report(d.path, &everything);
    expect_issue(r, "quantization_mismatch", "warning",
                 "config.json speaks of a quantisation with gptq, which the weights do not have");
    json_decref(r);
    lm_tempdir_safetensors(&d, "model.safetensors",
                           "{\"w.qweight\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16);
    r = report(d.path, &everything);
    expect_issue(r, "unsupported_runtime", "error", NULL);
    json_decref(r);
    free(text);
    json_decref(config);
    lm_tempdir_remove(&d);
}

static void broken_packs_have_codes(void **state)
{
    static const struct {
        const char *name, *text, *code;
    } cases[] = {
        { "config.json", NULL, "missing_weights" },
        { "config.json", "{\"model_type\":\"llama\"}", "missing_weights" },
        { "pytorch_model.bin", "x", "missing_weights" },
        { "m.gguf", "GGUF", "invalid_gguf" },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_tempdir d = lm_tempdir_make();
        if (cases[i].text)
            lm_tempdir_text(&d, cases[i].name, cases[i].text);
        json_t *r = report(d.path, &everything);
        expect_issue(r, cases[i].code, "error", NULL);
        json_decref(r);
        lm_tempdir_remove(&d);
    }
    lm_tempdir d = copy_llama();
    lm_tempdir_text(&d, "config.json", "{\"model_type\":");
    json_t *r = report(d.path, &everything);
    expect_issue(r, "invalid_config", "error", "config.json, line 1, column 14: the text ends too early");
    json_decref(r);
    lm_tempdir_text(&d, "config.json", "{}");
    r = report(d.path, &everything);
    expect_issue(r, "missing_architecture", "error", "the pack does not say its model_type");
    json_decref(r);
    lm_tempdir_text(&d, "config.json", "{\"model_type\":\"perceptron\"}");
    r = report(d.path, &everything);
    expect_issue(r, "unsupported_architecture", "error", "the architecture perceptron is not supported");
    json_decref(r);
    char path[1024];
    assert_int_equal(remove(lm_tempdir_path(&d, "config.json", path)), 0);
    r = report(d.path, &everything);
    expect_issue(r, "missing_config", "error", NULL);
    json_decref(r);
    lm_tempdir_remove(&d);
    d = lm_tempdir_make();
    lm_tempdir_copy(&d, "a.gguf", LM_TEST_DATA "/packs/llama-Q4_0.gguf");
    lm_tempdir_copy(&d, "b.gguf", LM_TEST_DATA "/packs/llama-Q4_0.gguf");
    r = report(d.path, &everything);
    expect_issue(r, "multiple_gguf", "error", NULL);
    json_decref(r);
    lm_tempdir_remove(&d);
}

/* One tensor declaration of a .gguf with no metadata. */
static json_t *gguf_report(lm_tempdir *d, uint32_t type, uint32_t n_dims, uint64_t rows)
{
    uint8_t b[256] = "GGUF\3";
    size_t at = 24;
    const uint64_t offset = 0, len = 1;
    b[8] = 1;
    memcpy(b + at, &len, 8);
    b[at + 8] = 'w';
    memcpy(b + at + 9, &n_dims, 4);
    at += 13;
    for (uint32_t i = 0; i < n_dims; i++, at += 8)
        memcpy(b + at, &rows, 8);
    memcpy(b + at, &type, 4);
    memcpy(b + at + 4, &offset, 8);
    lm_tempdir_write(d, "m.gguf", b, sizeof b);
    return report(d->path, &everything);
}

static void tensor_declarations_have_codes(void **state)
{
    lm_tempdir d = lm_tempdir_make();
    (void)state;
    json_t *r = gguf_report(&d, 99, 1, 8);
    expect_issue(r, "unknown_tensor_type", "error", "tensor 'w' has type 99");
    json_decref(r);
    r = gguf_report(&d, 0, 0, 0);
    expect_issue(r, "invalid_tensor_shape", "error", "tensor 'w' has no dimensions");
    json_decref(r);
    r = gguf_report(&d, 0, 1, 0);
    expect_issue(r, "invalid_tensor_dimension", "error", "tensor 'w' has a dimension of 0");
    json_decref(r);
    r = gguf_report(&d, 2, 1, 16);
    expect_issue(r, "tensor_shape_not_block_aligned", "error",
                 "tensor 'w' has rows of 16, q4_0 needs a multiple of 32");
    json_decref(r);
    lm_tempdir_remove(&d);
}

static void missing_and_unused_tensors_are_named(void **state)
{
    lm_tempdir d = lm_tempdir_make();
    (void)state;
    lm_tempdir_copy(&d, "config.json", LM_TEST_DATA "/packs/llama/config.json");
    lm_tempdir_safetensors(&d, "model.safetensors",
                           "{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
    json_t *r = report(d.path, &everything);
    expect_issue(r, "invalid_weights", "error", NULL);
    json_decref(r);
    lm_tempdir_copy(&d, "model-a.safetensors", LM_TEST_DATA "/packs/llama/model.safetensors");
    r = report(d.path, &everything);
    expect_issue(r, "unused_tensors", "warning", "1 tensors are not used, the first 'x'");
    json_decref(r);
    lm_tempdir_text(&d, "model.safetensors.index.json",
                    "{\"weight_map\":{\"x\":\"model.safetensors\",\"gone\":\"model-a.safetensors\"}}");
    r = report(d.path, &everything);
    expect_issue(r, "index_mismatch", "warning",
                 "model.safetensors.index.json names 1 tensors that no file has, the first 'gone'");
    json_decref(r);
    lm_tempdir_remove(&d);
}

static bool stop(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return --*(int *)user > 0;
}

static void a_scan_can_be_stopped(void **state)
{
    int calls = 3;
    const lm_packcheck_options o = { .scan = true, .progress = stop, .user = &calls };
    json_t *r = NULL;
    (void)state;
    assert_int_equal(lm_packcheck(&r, LM_TEST_DATA "/packs/llama", &o, NULL), LM_ERR_CANCELLED);
    assert_null(r);
    assert_int_equal(calls, 0);
    assert_int_equal(lm_packcheck(&r, "/nonexistent", &o, NULL), LM_ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_packs_are_valid),
        cmocka_unit_test(expectations_are_held_against_the_pack),
        cmocka_unit_test(nan_and_infinity_are_found),
        cmocka_unit_test(what_surrounds_the_weights_is_reported),
        cmocka_unit_test(what_running_would_open_is_opened),
        cmocka_unit_test(another_quantisation_is_an_issue),
        cmocka_unit_test(broken_packs_have_codes),
        cmocka_unit_test(tensor_declarations_have_codes),
        cmocka_unit_test(missing_and_unused_tensors_are_named),
        cmocka_unit_test(a_scan_can_be_stopped),
    };
    return cmocka_run_group_tests_name("tools/packcheck", tests, NULL, NULL);
}
