/* Sessions to snapshots and back: the same bits, nobody else's pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "lemma/lemma.h"
#include "support/state_lite.h"

enum { N = 150, CONTEXT = 384, AFTER = 24 };

static int32_t prompt[N];
static char folder[128];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++)
        prompt[i] = 3 + i * 89 % 313;
    state_lite_folder(folder);
    return folder[0] == 0;
}

static int tear_down(void **state)
{
    (void)state;
    state_lite_remove(folder);
    return 0;
}

static void path_of(const char *name, char *path, size_t cap)
{
    (void)snprintf(path, cap, "%s/%s", LM_TEST_DATA, name);
    if (access(path, R_OK) != 0)
        (void)snprintf(path, cap, "%s/%s", LM_SHARED_DATA, name);
}

static bool have(const char *name)
{
    char path[1024];
    path_of(name, path, sizeof path);
    if (access(path, R_OK) == 0)
        return true;
    print_message("skipped: no ../shared (%s)\n", name);
    return false;
}

static lm_model *open_model(const char *name, const char *backend, const char *kv)
{
    char path[1024];
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    path_of(name, path, sizeof path);
    lm_model_defaults(&o);
    o.backend = backend;
    o.kv = kv;
    o.context = CONTEXT;
    o.cache_dir = folder;
    o.threads = 1;
    if (lm_model_open(&m, path, &o, &err) != LM_OK)
        fail_msg("%s: %s", name, err.text);
    return m;
}

static lm_store *open_store(void)
{
    lm_state_options o;
    lm_store *s = NULL;
    lm_error err = { 0 };
    char path[160];
    (void)snprintf(path, sizeof path, "%s/store", folder);
    lm_state_defaults(&o);
    o.folder = path;
    o.budget = UINT64_C(1) << 30;
    o.min_free = UINT64_MAX;
    if (lm_state_open(&s, &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return s;
}

static lm_session *open_session(lm_model *m)
{
    lm_session *s = NULL;
    assert_int_equal(lm_session_open(&s, m, NULL), LM_OK);
    return s;
}

static void equal(const lm_model *m, const lm_session *a, const lm_session *b, const char *what)
{
    lm_model_info info;
    lm_model_get_info(m, &info);
    uint32_t n = lm_session_n_tokens(a);
    assert_int_equal(n, lm_session_n_tokens(b));
    assert_memory_equal(lm_session_tokens(a), lm_session_tokens(b), n * sizeof(int32_t));
    assert_non_null(lm_session_logits(b));
    if (memcmp(lm_session_logits(a), lm_session_logits(b), info.n_vocab * sizeof(float)) != 0)
        fail_msg("%s: other logits", what);
}

static void try_(lm_status st, const lm_error *err, const char *what)
{
    if (st != LM_OK)
        fail_msg("%s: %s", what, err->text);
}

static const char *const packs[] = {
    "golden/llama",       "golden/qwen3",           "golden/gemma2-Q8_0.gguf",
    "golden/gemma3_text", "golden/mistral_sliding", "golden/phi3"
};
static const char *const formats[] = { "f32", "f16", "bf16" };

/* Session -> snapshot -> file -> snapshot -> store -> session of another process's kind. */
static void an_exported_session_is_imported_and_goes_on_bit_for_bit(void **state)
{
    (void)state;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/a.mlxkv", folder);
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++)
        for (int f = 0; f < 3 && have(packs[p]); f++) {
            lm_error err = { 0 };
            lm_wake_result w;
            lm_snapshot *out = NULL, *in = NULL;
            lm_model *m = open_model(packs[p], f == 0 ? "ref" : "cpu", formats[f]);
            lm_store *store = open_store();
            lm_session *s = open_session(m), *t = open_session(m);
            try_(lm_session_append(s, prompt, N, &err), &err, packs[p]);
            try_(lm_session_snapshot(s, &out, &err), &err, packs[p]);
            try_(lm_snapshot_write(out, path, LM_SNAPSHOT_NATIVE, &err), &err, packs[p]);
            try_(lm_snapshot_read(&in, path, LM_SNAPSHOT_RAW, &err), &err, packs[p]);
            try_(lm_state_import_snapshot(store, "in", m, in, NULL, &err), &err, packs[p]);
            try_(lm_session_wake(t, store, "in", NULL, &w, &err), &err, packs[p]);
            assert_int_equal(w.n_mounted, N);
            assert_int_equal(w.n_replayed, 0);
            assert_string_equal(w.reasons, "");
            equal(m, s, t, "woken");
            try_(lm_session_append(s, prompt, AFTER, &err), &err, packs[p]);
            try_(lm_session_append(t, prompt, AFTER, &err), &err, packs[p]);
            equal(m, s, t, packs[p]);
            /* Asleep again it is still imported, and what it has is not written again. */
            lm_sleep_result r = { 0 };
            try_(lm_session_sleep(t, store, "in", NULL, &r, &err), &err, "sleep");
            /* The last page of each cache group is; where all layers slide, the others are behind the windows. */
            assert_true(r.pages_written <= 2);
            lm_session_reset(t);
            try_(lm_session_wake(t, store, "in", NULL, &w, &err), &err, "second wake");
            assert_int_equal(w.n_mounted, N + AFTER);
            equal(m, s, t, "second wake");
            lm_snapshot_close(out);
            lm_snapshot_close(in);
            lm_session_close(s);
            lm_session_close(t);
            lm_state_close(store);
            lm_model_close(m);
        }
}

/* What lies in the store is what a live session has. */
static void a_session_at_rest_gives_the_same_snapshot(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++) {
        if (!have(packs[p]))
            continue;
        lm_error err = { 0 };
        lm_snapshot *live = NULL, *rest = NULL;
        char a[65], b[65];
        lm_model *m = open_model(packs[p], "cpu", p % 2 ? "q8" : "bf16");
        lm_store *store = open_store();
        lm_session *s = open_session(m);
        try_(lm_session_append(s, prompt, N, &err), &err, packs[p]);
        try_(lm_session_sleep(s, store, "rest", NULL, NULL, &err), &err, packs[p]);
        try_(lm_session_snapshot(s, &live, &err), &err, packs[p]);
        try_(lm_state_snapshot(store, "rest", m, &rest, &err), &err, packs[p]);
        assert_int_equal(lm_snapshot_hash(live, a, NULL), LM_OK);
        assert_int_equal(lm_snapshot_hash(rest, b, NULL), LM_OK);
        assert_string_equal(a, b);
        lm_snapshot_close(rest);
        /* Without its pack: where one group has all layers. */
        rest = NULL;
        lm_status st = lm_state_snapshot(store, "rest", NULL, &rest, &err);
        lm_snapshot_info i = { .size = sizeof i };
        if (st == LM_OK) {
            lm_snapshot_get_info(rest, &i);
            assert_int_equal(i.n_tokens, N);
        } else {
            assert_int_equal(st, LM_ERR_USAGE);
            assert_non_null(strstr(err.text, "its layers are not all alike"));
        }
        lm_snapshot_close(rest);
        lm_snapshot_close(live);
        lm_session_close(s);
        lm_state_close(store);
        lm_model_close(m);
    }
}

/* S9: until it was computed again, an import is nobody else's beginning. */
static void imported_pages_serve_their_own_session_until_verified(void **state)
{
    (void)state;
    lm_error err = { 0 };
    lm_snapshot *snap = NULL;
    lm_verify_result v;
    lm_metrics metrics;
    size_t taken = 1;
    lm_model *m = open_model("golden/qwen3", "cpu", "bf16");
    lm_store *store = open_store();
    lm_session *s = open_session(m);
    int32_t long_prompt[2 * N];
    for (int i = 0; i < 2 * N; i++)
        long_prompt[i] = 5 + i * 31 % 301;
    try_(lm_session_append(s, long_prompt, 2 * N, &err), &err, "append");
    try_(lm_session_snapshot(s, &snap, &err), &err, "snapshot");
    try_(lm_state_import_snapshot(store, "in", m, snap, NULL, &err), &err, "import");
    lm_session_close(s);
    assert_int_equal(lm_model_remember(m, store, &err), LM_OK);
    s = open_session(m);
    try_(lm_session_recall(s, long_prompt, 2 * N, &taken, &err), &err, "recall");
    assert_int_equal(taken, 0);
    lm_session_close(s);
    try_(lm_state_verify(store, "in", m, &v, &err), &err, "verify");
    assert_true(v.equal);
    assert_true(v.largest == 0);
    s = open_session(m);
    try_(lm_session_recall(s, long_prompt, 2 * N, &taken, &err), &err, "recall");
    assert_true(taken >= 256);
    lm_session_metrics(s, &metrics);
    lm_session_close(s);
    assert_int_equal(lm_state_verify(store, "in", m, &v, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "session 'in' was not imported");
    lm_snapshot_close(snap);
    lm_state_wait(store, 10000);
    lm_model_close(m);
    lm_state_close(store);
}

/* An import whose numbers are others is found out, and stays what it was. */
static void a_wrong_import_is_found_out(void **state)
{
    (void)state;
    lm_error err = { 0 };
    lm_snapshot *snap = NULL, *eighth = NULL;
    lm_verify_result v;
    char path[160];
    lm_model *m = open_model("golden/llama", "cpu", "bf16");
    lm_store *store = open_store();
    lm_session *s = open_session(m);
    (void)snprintf(path, sizeof path, "%s/q8.mlxkv", folder);
    try_(lm_session_append(s, prompt, N, &err), &err, "append");
    try_(lm_session_snapshot(s, &snap, &err), &err, "snapshot");
    try_(lm_snapshot_write(snap, path, LM_SNAPSHOT_Q8, &err), &err, "write");
    try_(lm_snapshot_read(&eighth, path, 0, &err), &err, "read");
    try_(lm_state_import_snapshot(store, "in", m, eighth, NULL, &err), &err, "import");
    try_(lm_state_verify(store, "in", m, &v, &err), &err, "verify");
    assert_false(v.equal);
    assert_true(v.largest > 0 && v.largest < 0.02); /* half of 1/127 of the largest, and bf16 */
    assert_int_equal(v.position, 0);
    try_(lm_state_verify(store, "in", m, &v, &err), &err, "still imported");
    lm_snapshot_close(snap);
    lm_snapshot_close(eighth);
    lm_session_close(s);
    lm_model_close(m);
    lm_state_close(store);
}

static void what_does_not_fit_is_refused_with_both_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        lm_status status;
        const char *text;
    } cases[] = { { "golden/llama", "golden/gemma2-Q8_0.gguf", LM_ERR_MISMATCH,
                    "the snapshot is of the architecture 'llama', the model of 'gemma2'" },
                  { "golden/qwen3", "golden/gemma3_text", LM_ERR_MISMATCH,
                    "the snapshot is of the architecture 'qwen3', the model of 'gemma3'" } };
    lm_store *store = open_store();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_error err = { 0 };
        lm_snapshot *snap = NULL;
        lm_model *a = open_model(cases[i].from, "cpu", "bf16"), *b = open_model(cases[i].to, "cpu", "bf16");
        lm_session *s = open_session(a);
        try_(lm_session_append(s, prompt, 20, &err), &err, "append");
        try_(lm_session_snapshot(s, &snap, &err), &err, "snapshot");
        lm_status st = lm_state_import_snapshot(store, "none", b, snap, NULL, &err);
        if (st != cases[i].status)
            fail_msg("%s into %s: %s %s", cases[i].from, cases[i].to, lm_status_name(st), err.text);
        assert_string_equal(err.text, cases[i].text);
        lm_session_close(s);
        lm_snapshot_close(snap);
        lm_model_close(a);
        lm_model_close(b);
    }
    assert_int_equal(lm_state_show(store, "none", NULL, NULL, NULL), LM_ERR_NOT_FOUND);
    lm_state_close(store);
}

static void a_session_at_rest_is_analysed(void **state)
{
    (void)state;
    lm_error err = { 0 };
    char *json = NULL, *text = NULL;
    lm_model *m = open_model("golden/qwen3", "cpu", "bf16");
    lm_store *store = open_store();
    lm_session *s = open_session(m);
    try_(lm_session_append(s, prompt, N, &err), &err, "append");
    try_(lm_session_sleep(s, store, "a", NULL, NULL, &err), &err, "sleep");
    lm_session_close(s);
    lm_model_close(m);
    try_(lm_state_analyse(store, "a", NULL, &json, &text, &err), &err, "analyse");
    json_t *o = json_loads(json, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "name")), "a");
    assert_int_equal(json_integer_value(json_object_get(o, "token_count")), N);
    const json_t *a = json_object_get(o, "analysis");
    assert_int_equal(json_integer_value(json_object_get(a, "seq_len")), N);
    json_int_t composite = json_integer_value(json_object_get(a, "composite"));
    assert_true(composite > 0 && composite <= 10000);
    assert_true(json_is_object(json_object_get(o, "sami")));
    assert_non_null(strstr(text, "composite"));
    json_decref(o);
    lm_give_back(json);
    lm_give_back(text);
    assert_int_equal(lm_state_analyse(store, "b", NULL, &json, &text, &err), LM_ERR_NOT_FOUND);
    lm_state_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_exported_session_is_imported_and_goes_on_bit_for_bit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_session_at_rest_gives_the_same_snapshot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(imported_pages_serve_their_own_session_until_verified, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_import_is_found_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_with_both_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_at_rest_is_analysed, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("engine/interchange", tests, NULL, NULL);
}
