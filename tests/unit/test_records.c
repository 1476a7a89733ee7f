/* State bundles and session artifacts: what they say, where the state is, who may resume. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/prefixmap.h"
#include "support/tempdir.h"

static const lm_map_model model = { .name = "m", .architecture = "made", .num_layers = 1 };

static lm_snapshot *make(void)
{
    lm_snapshot *s = NULL;
    float *x = NULL;
    assert_int_equal(lm_snapshot_new(&s, NULL), LM_OK);
    (void)snprintf(s->architecture, sizeof s->architecture, "made");
    s->num_layers = s->n_layers = s->num_heads = 1;
    s->head_dim = 2;
    s->seq_len = s->n_tokens = s->token_offset = 3;
    assert_int_equal(lm_snapshot_alloc(s, 3, 4, (void **)&s->tokens, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 6, 4, (void **)&x, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, sizeof *s->layers, (void **)&s->layers, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, sizeof *s->layers->heads, (void **)&s->layers->heads, NULL),
                     LM_OK);
    s->layers->n_heads = 1;
    for (int i = 0; i < 6; i++)
        x[i] = (float)(i % 4) - 1;
    s->layers->heads->key = s->layers->heads->value = (lm_kv_tensor){ .n = 6, .raw = (const uint8_t *)x };
    return s;
}

static void same(const lm_snapshot *a, const lm_snapshot *b)
{
    char x[65], y[65];
    assert_int_equal(lm_snapshot_hash(a, x, NULL), LM_OK);
    assert_int_equal(lm_snapshot_hash(b, y, NULL), LM_OK);
    assert_string_equal(x, y);
}

static void a_bundle_has_its_state_inside_in_a_file_or_in_a_chunk(void **state)
{
    (void)state;
    lm_tempdir dir = lm_tempdir_make();
    lm_snapshot *s = make(), *t = NULL;
    lm_chunks *c = NULL;
    lm_chunk_ref ref;
    lm_str bytes = { 0 };
    lm_sink to = lm_sink_str(&bytes);
    char path[1024], *json = NULL;
    size_t n;
    assert_int_equal(lm_chunks_open_memory(&c, false, NULL), LM_OK);
    assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_NATIVE, &to, NULL), LM_OK);
    assert_int_equal(lm_chunks_put(c, bytes.s, bytes.n, NULL, &ref, NULL), LM_OK);
    lm_tempdir_write(&dir, "sub/s.mlxkv", bytes.s, bytes.n);
    for (int k = 0; k < 3; k++) {
        lm_record_options o;
        lm_error err = { 0 };
        lm_record_defaults(&o);
        o.model = &model;
        o.prompt = "hello";
        o.inline_kv = k == 0;
        o.kv_path = k == 1 ? "sub/s.mlxkv" : NULL;
        o.ref = k == 2 ? &ref : NULL;
        o.ref_uri = "mlx://x";
        if (lm_state_bundle_make(s, &o, &json, &n, &err) != LM_OK)
            fail_msg("%s", err.text);
        assert_int_equal(lm_state_bundle_check(json, n, NULL), LM_OK);
        if (lm_state_bundle_load(json, n, dir.path, c, &t, &err) != LM_OK)
            fail_msg("%d: %s", k, err.text);
        same(s, t);
        lm_snapshot_close(t);
        if (k > 0)
            assert_int_equal(lm_state_bundle_load(json, n, NULL, NULL, &t, &err), LM_ERR_USAGE);
        json_t *b = json_loadb(json, n, 0, NULL);
        char hash[65];
        assert_string_equal(json_string_value(json_object_get(b, "kind")), "go-mlx/state-bundle");
        assert_int_equal(lm_hash_text(bytes.s, bytes.n, hash, NULL), LM_OK);
        assert_string_equal(json_string_value(json_object_get(b, "kv_hash")), hash);
        assert_int_equal(lm_hash_text("hello", 5, hash, NULL), LM_OK);
        assert_string_equal(json_string_value(json_object_get(json_object_get(b, "prompt"), "hash")), hash);
        assert_true(json_is_object(json_object_get(b, "sami")));
        assert_null(json_object_get(b, "adapter"));
        json_decref(b);
        lm_free(json);
    }
    /* Another file by now. */
    lm_record_options o;
    lm_error err = { 0 };
    lm_record_defaults(&o);
    o.kv_path = "sub/s.mlxkv";
    assert_int_equal(lm_state_bundle_make(s, &o, &json, &n, NULL), LM_OK);
    bytes.s[bytes.n - 12] ^= 1;
    lm_tempdir_write(&dir, "sub/s.mlxkv", bytes.s, bytes.n);
    assert_int_equal(lm_state_bundle_load(json, n, dir.path, NULL, &t, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "the state in 'sub/s.mlxkv' does not match its hash");
    lm_free(json);
    memset(&err, 0, sizeof err);
    o.kv_path = NULL;
    assert_int_equal(lm_state_bundle_make(s, &o, &json, &n, &err), LM_ERR_USAGE);
    (void)lm_tempdir_path(&dir, "x", path);
    lm_str_clear(&bytes);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_snapshot_close(s);
    lm_tempdir_remove(&dir);
}

/* T4: a bundle says where its state is, and that is nowhere else. */
static void paths_lead_down_only(void **state)
{
    (void)state;
    static const char *const paths[] = { "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a/.", "a/" };
    lm_snapshot *s = make(), *t = NULL;
    for (size_t i = 0; i < LM_LEN(paths); i++) {
        lm_record_options o;
        lm_error err = { 0 };
        char *json = NULL;
        size_t n;
        lm_record_defaults(&o);
        o.no_analysis = true;
        o.kv_path = paths[i];
        assert_int_equal(lm_state_bundle_make(s, &o, &json, &n, NULL), LM_OK);
        lm_status st = lm_state_bundle_load(json, n, "/tmp", NULL, &t, &err);
        if (strcmp(paths[i], "a/") == 0) /* a folder, or nothing */
            assert_int_not_equal(st, LM_OK);
        else {
            assert_int_equal(st, LM_ERR_CORRUPT);
            assert_non_null(strstr(err.text, "allowed are paths below the bundle's folder"));
        }
        lm_free(json);
    }
    lm_snapshot_close(s);
}

static void a_bundle_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        { "{}", "a state bundle: 'kind' is \"\", allowed is \"go-mlx/state-bundle\"" },
        { "{\"kind\":\"go-mlx/state-bundle\",\"version\":2}",
          "a state bundle: 'version' is 2, this version reads 1" },
        { "{\"kind\":\"go-mlx/state-bundle\",\"version\":1}",
          "a state bundle: it has neither a state, nor a path, nor a reference to one" },
        { "{\"kind\":\"go-mlx/state-bundle\",\"version\":1,\"kv_path\":\"a\",\"kv_hash\":\"xyz\"}",
          "a state bundle: 'kv_hash' is 'xyz', no SHA-256" },
        { "{\"kind\":\"go-mlx/state-bundle\",\"version\":1,\"refs\":[{\"kind\":\"video\"}]}",
          "a state bundle: reference 0 is a 'video', or its hash no SHA-256" },
        { "{\"kind\":\"go-mlx/state-bundle\",\"version\":1,\"kv_path\":7}",
          "a state bundle: 'kv_path' is no text" },
    };
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_error err = { 0 };
        assert_int_not_equal(lm_state_bundle_check(cases[i].json, strlen(cases[i].json), &err), LM_OK);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void who_may_resume_is_checked(void **state)
{
    (void)state;
    lm_snapshot *s = make();
    lm_record_options o, a;
    char *json = NULL;
    size_t n;
    lm_map_report r;
    lm_record_defaults(&o);
    o.model = &model;
    o.inline_kv = o.no_analysis = true;
    o.adapter_name = "lora";
    o.adapter_path = "p";
    o.adapter_hash = "h";
    o.adapter_rank = 8;
    o.adapter_alpha = 16;
    assert_int_equal(lm_state_bundle_make(s, &o, &json, &n, NULL), LM_OK);
    assert_int_equal(lm_state_bundle_compatible(json, n, &model, &o, &r, NULL), LM_OK);
    assert_int_equal(lm_state_bundle_compatible(json, n, &model, NULL, &r, NULL), LM_ERR_MISMATCH);
    assert_string_equal(r.reasons, "adapter_missing");
    a = o;
    a.adapter_hash = "x";
    a.adapter_path = "y";
    a.adapter_rank = 4;
    a.adapter_alpha = 1;
    lm_map_model other = { .architecture = "else", .num_layers = 2 };
    lm_error err = { 0 };
    assert_int_equal(lm_state_bundle_compatible(json, n, &other, &a, &r, &err), LM_ERR_MISMATCH);
    assert_string_equal(r.reasons,
                        "model_architecture_mismatch, model_layer_mismatch, adapter_hash_mismatch, "
                        "adapter_path_mismatch, adapter_rank_mismatch, adapter_alpha_mismatch");
    lm_free(json);
    o.adapter_name = o.adapter_path = o.adapter_hash = NULL;
    assert_int_equal(lm_state_bundle_make(s, &o, &json, &n, NULL), LM_OK);
    assert_int_equal(lm_state_bundle_compatible(json, n, &model, &a, &r, NULL), LM_ERR_MISMATCH);
    assert_string_equal(r.reasons, "adapter_unexpected");
    lm_free(json);
    lm_snapshot_close(s);
}

static void an_artifact_always_has_a_kind(void **state)
{
    (void)state;
    lm_tempdir dir = lm_tempdir_make();
    lm_snapshot *s = make(), *t = NULL;
    lm_chunks *c = NULL;
    lm_chunk k;
    lm_record_options o;
    char path[1024], *json = NULL;
    size_t n;
    struct stat st;
    lm_record_defaults(&o);
    o.model = &model;
    o.kind = "";
    o.kv_path = lm_tempdir_path(&dir, "s.mlxkv", path);
    assert_int_equal(lm_chunks_open_memory(&c, true, NULL), LM_OK);
    assert_int_equal(lm_artifact_export(s, &o, c, "mlx://artifact", &json, &n, NULL), LM_OK);
    assert_int_equal(lm_chunks_find(c, "mlx://artifact", &k, NULL), LM_OK);
    assert_int_equal(k.n, n);
    assert_memory_equal(k.bytes, json, n);
    lm_chunk_clear(&k);
    json_t *a = json_loadb(json, n, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(a, "kind")), "go-mlx/session-state");
    assert_int_equal(json_array_size(json_object_get(a, "features")), 7);
    assert_string_equal(json_string_value(json_array_get(json_object_get(a, "feature_labels"), 6)),
                        "joint_stability");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(a, "snapshot"), "token_count")), 3);
    json_decref(a);
    lm_free(json);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(lm_snapshot_read(&t, path, 0, NULL), LM_OK);
    same(s, t);
    lm_snapshot_close(t);
    lm_snapshot_close(s);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_tempdir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bundle_has_its_state_inside_in_a_file_or_in_a_chunk),
        cmocka_unit_test(paths_lead_down_only),
        cmocka_unit_test(a_bundle_that_lies_is_refused),
        cmocka_unit_test(who_may_resume_is_checked),
        cmocka_unit_test(an_artifact_always_has_a_kind),
    };
    return cmocka_run_group_tests_name("state/interchange/records", tests, NULL, NULL);
}
