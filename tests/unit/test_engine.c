/* Sessions and generation: limits, truncation, cancelling, what repeats. */
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

#include "base/mem.h"
#include "lemma/lemma.h"
#include "support/tempdir.h"

static const int32_t prompt[] = { 261, 71, 13,  189, 80,  138, 20,  142, 38, 310,
                                  9,   70, 304, 63,  194, 7,   316, 285, 61, 46 };
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static lm_model *open_model(const char *name, const char *backend, uint32_t context)
{
    char path[1024];
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    (void)snprintf(path, sizeof path, "%s/golden/%s", LM_TEST_DATA, name);
    lm_model_defaults(&o);
    o.backend = backend;
    o.context = context;
    o.no_text = true;
    o.sessions = 4;
    if (lm_model_open(&m, path, &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

static lm_session *open_session(lm_model *m)
{
    lm_session *s = NULL;
    lm_error err = { 0 };
    assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
    return s;
}

static lm_generated generate(lm_session *s, uint32_t n, float temperature)
{
    lm_generate_options o;
    lm_sample_params p;
    lm_generated g;
    lm_error err = { 0 };
    lm_generate_defaults(&o);
    lm_sample_defaults(&p);
    p.temperature = temperature;
    p.seed = 42;
    o.sample = &p;
    o.max_tokens = n;
    if (lm_generate(s, &o, NULL, NULL, &g, &err) != LM_OK)
        fail_msg("%s", err.text);
    return g;
}

static const char *const backends[] = { "ref", "cpu" };

static void generating_twice_equals_generating_once(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        lm_model *m = open_model("qwen3", backends[b], 256);
        lm_session *one = open_session(m), *two = open_session(m);
        assert_int_equal(lm_session_append(one, prompt, N_PROMPT, NULL), LM_OK);
        assert_int_equal(lm_session_append(two, prompt, N_PROMPT, NULL), LM_OK);
        lm_generated g = generate(one, 24, 1.0f), h = generate(two, 12, 1.0f), k = generate(two, 12, 1.0f);
        assert_int_equal(g.n_tokens, 24);
        assert_int_equal(g.stop, LM_STOP_LENGTH);
        assert_memory_equal(g.tokens, h.tokens, 12 * sizeof *g.tokens);
        assert_memory_equal(g.tokens + 12, k.tokens, 12 * sizeof *g.tokens);
        lm_model_info info;
        lm_model_get_info(m, &info);
        assert_memory_equal(lm_session_logits(one), lm_session_logits(two), info.n_vocab * sizeof(float));
        assert_int_equal(lm_session_n_tokens(one), N_PROMPT + 24);
        lm_generated_clear(&g);
        lm_generated_clear(&h);
        lm_generated_clear(&k);
        lm_session_close(one);
        lm_session_close(two);
        lm_model_close(m);
    }
}

/* gemma3_text has windows of 16: pages are dropped and must be computed again. */
static void a_truncated_session_is_as_if_never_longer(void **state)
{
    static const char *const packs[] = { "llama", "gemma3_text" };
    (void)state;
    for (int i = 0; i < 4; i++) {
        lm_model *m = open_model(packs[i % 2], backends[i / 2], 400);
        lm_session *s = open_session(m), *fresh = open_session(m);
        lm_model_info info;
        lm_error err = { 0 };
        lm_model_get_info(m, &info);
        for (int k = 0; k < 10; k++)
            assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
        assert_int_equal(lm_session_truncate(s, 50, &err), LM_OK);
        assert_int_equal(lm_session_n_tokens(s), 50);
        assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
        for (int k = 0; k < 3; k++)
            assert_int_equal(lm_session_append(fresh, prompt, k < 2 ? N_PROMPT : N_PROMPT / 2, &err), LM_OK);
        assert_int_equal(lm_session_append(fresh, prompt, N_PROMPT, &err), LM_OK);
        assert_memory_equal(lm_session_tokens(s), lm_session_tokens(fresh), 70 * sizeof(int32_t));
        assert_memory_equal(lm_session_logits(s), lm_session_logits(fresh), info.n_vocab * sizeof(float));
        lm_session_close(s);
        lm_session_close(fresh);
        lm_model_close(m);
    }
}

static void a_full_context_is_refused_with_both_numbers(void **state)
{
    (void)state;
    lm_model *m = open_model("llama", "cpu", 64);
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    for (int i = 0; i < 3; i++)
        assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_ERR_TOO_LONG);
    assert_string_equal(err.text, "80 tokens, the context holds 64");
    assert_int_equal(lm_session_n_tokens(s), 60);
    lm_generated g = generate(s, 0, 0);
    assert_int_equal(g.stop, LM_STOP_CONTEXT);
    assert_int_equal(g.n_tokens, 4);
    lm_generated_clear(&g);
    /* A prompt that fills the context still has a next token. */
    assert_int_equal(lm_session_n_tokens(s), 64);
    g = generate(s, 8, 0);
    assert_int_equal(g.stop, LM_STOP_CONTEXT);
    assert_int_equal(g.n_tokens, 1);
    lm_generated_clear(&g);
    lm_session_close(s);
    lm_model_close(m);
}

static void tokens_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    lm_model *m = open_model("llama", "cpu", 64);
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    const int32_t bad[] = { 5, 320 }, negative[] = { -1 };
    assert_int_equal(lm_session_append(s, bad, 2, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "token 1 is 320, allowed is 0 to 319");
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_session_append(s, negative, 1, &err), LM_ERR_USAGE);
    assert_int_equal(lm_session_n_tokens(s), 0);
    lm_generated g;
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_generate(s, NULL, NULL, NULL, &g, &err), LM_ERR_USAGE);
    lm_session_close(s);
    lm_model_close(m);
}

static bool stop_at_five(void *user, const lm_token_event *e)
{
    (void)e;
    return ++*(int *)user < 5;
}

static void a_caller_can_stop(void **state)
{
    (void)state;
    lm_model *m = open_model("llama", "cpu", 256);
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    lm_generated g;
    lm_generate_options o;
    int n = 0;
    lm_generate_defaults(&o);
    o.max_tokens = 100;
    o.n_top = 3;
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    assert_int_equal(lm_generate(s, &o, stop_at_five, &n, &g, &err), LM_OK);
    assert_int_equal(g.stop, LM_STOP_CANCELLED);
    assert_int_equal(g.n_tokens, 5);
    lm_generated_clear(&g);
    /* A cancel while nothing runs is not meant for the next call. */
    lm_session_cancel(s);
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    lm_session_close(s);
    lm_model_close(m);
}

static bool cancel_at_three(void *user, const lm_token_event *e)
{
    lm_session *s = user;
    (void)e;
    if (lm_session_n_tokens(s) == N_PROMPT + 3)
        lm_session_cancel(s); /* as another thread would */
    return true;
}

static void a_cancel_ends_the_call_that_runs(void **state)
{
    (void)state;
    lm_model *m = open_model("llama", "cpu", 256);
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    lm_generated g;
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    assert_int_equal(lm_generate(s, NULL, cancel_at_three, s, &g, &err), LM_OK);
    assert_int_equal(g.stop, LM_STOP_CANCELLED);
    assert_int_equal(g.n_tokens, 4);
    lm_generated_clear(&g);
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK); /* once only */
    lm_session_close(s);
    lm_model_close(m);
}

static void options_are_refused_by_name(void **state)
{
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    (void)state;
    lm_model_defaults(&o);
    o.backend = "tpu";
    assert_int_equal(lm_model_open(&m, LM_TEST_DATA "/golden/llama", &o, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "there is no backend 'tpu', known are cpu and ref");
    memset(&err, 0, sizeof err);
    lm_model_defaults(&o);
    o.kv = "q3";
    assert_int_equal(lm_model_open(&m, LM_TEST_DATA "/golden/llama", &o, &err), LM_ERR_USAGE);
    memset(&err, 0, sizeof err);
    lm_model_defaults(&o);
    o.threads = 5000;
    assert_int_equal(lm_model_open(&m, LM_TEST_DATA "/golden/llama", &o, &err), LM_ERR_USAGE);
    memset(&err, 0, sizeof err);
    lm_model_defaults(&o);
    o.isa = "sse9";
    assert_int_equal(lm_model_open(&m, LM_TEST_DATA "/golden/llama", &o, &err), LM_ERR_USAGE);
    memset(&err, 0, sizeof err);
    lm_model_defaults(&o);
    o.context = 1u << 28;
    o.sessions = 1000;
    assert_int_equal(lm_model_open(&m, LM_TEST_DATA "/golden/llama", &o, &err), LM_ERR_NOMEM);
    assert_null(m);
}

/* Workers touch the hole too, so there are two of them. */
static void weights_cut_while_mapped_are_a_named_error(void **state)
{
    static const char *const kinds[] = { "ref", "cpu" };
    (void)state;
    assert_int_equal(lm_guard_mappings(NULL), LM_OK);
    for (int b = 0; b < 2; b++) {
        lm_tempdir d = lm_tempdir_make();
        lm_model_options o;
        lm_model *m = NULL;
        lm_error err = { 0 };
        char path[1024];
        lm_tempdir_copy(&d, "config.json", LM_TEST_DATA "/golden/llama/config.json");
        lm_tempdir_copy(&d, "model.safetensors", LM_TEST_DATA "/golden/llama/model.safetensors");
        lm_model_defaults(&o);
        o.no_text = true;
        o.backend = kinds[b];
        o.threads = 2;
        assert_int_equal(lm_model_open(&m, d.path, &o, &err), LM_OK);
        lm_session *s = open_session(m);
        assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
        assert_int_equal(truncate(lm_tempdir_path(&d, "model.safetensors", path), 20000), 0);
        assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_ERR_IO);
        assert_non_null(strstr(err.text, "model.safetensors can no longer be read"));
        lm_session_close(s);
        lm_model_close(m);
        lm_tempdir_remove(&d);
    }
}

/* Every request for memory fails once: a status, nothing leaks (the address
 * sanitizer watches), the next try works. */
static void failing_allocations_leave_nothing(void **state)
{
    lm_model_options o;
    (void)state;
    lm_model_defaults(&o);
    o.no_text = true;
    o.context = 128;
    for (uint64_t n = 1; n < 4000; n++) {
        lm_model *m = NULL;
        lm_session *s = NULL;
        lm_error err = { 0 };
        lm_mem_fail_after(n);
        lm_status status = lm_model_open(&m, LM_TEST_DATA "/golden/llama-q4", &o, &err);
        if (status == LM_OK)
            status = lm_session_open(&s, m, &err);
        if (status == LM_OK)
            status = lm_session_append(s, prompt, N_PROMPT, &err);
        lm_mem_fail_after(0);
        lm_session_close(s);
        lm_model_close(m);
        if (status == LM_OK)
            return; /* past the last request */
        if (status != LM_ERR_NOMEM)
            fail_msg("request %llu: %s, %s", (unsigned long long)n, lm_status_name(status), err.text);
    }
    fail_msg("more than 4000 requests for memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generating_twice_equals_generating_once),
        cmocka_unit_test(a_truncated_session_is_as_if_never_longer),
        cmocka_unit_test(a_full_context_is_refused_with_both_numbers),
        cmocka_unit_test(tokens_outside_the_vocabulary_are_refused),
        cmocka_unit_test(a_caller_can_stop),
        cmocka_unit_test(a_cancel_ends_the_call_that_runs),
        cmocka_unit_test(options_are_refused_by_name),
        cmocka_unit_test(weights_cut_while_mapped_are_a_named_error),
        cmocka_unit_test(failing_allocations_leave_nothing),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
