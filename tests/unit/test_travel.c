/* Sessions that travel, with a model: they go on there bit for bit, are trusted once they
 * were computed again, and a lie in them is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lemma/lemma.h"
#include "support/state_lite.h"

/* Two full pages and a tail; 64 more after the wake. */
enum { N_PROMPT = 150, N_AFTER = 64, CONTEXT = 384 };
static int32_t prompt[N_PROMPT];
static char folder[128], file[160];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + i * 89 % 313;
    state_lite_folder(folder);
    (void)snprintf(file, sizeof file, "%s/talk.lemma", folder);
    return folder[0] == 0;
}

static int tear_down(void **state)
{
    (void)state;
    state_lite_remove(folder);
    return 0;
}

static lm_model *open_model(const char *name, const char *kv)
{
    char path[1024];
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    (void)snprintf(path, sizeof path, "%s/%s", LM_TEST_DATA, name);
    if (access(path, R_OK) != 0)
        (void)snprintf(path, sizeof path, "%s/%s", LM_SHARED_DATA, name);
    lm_model_defaults(&o);
    o.kv = kv;
    o.context = CONTEXT;
    o.cache_dir = folder;
    o.threads = 1;
    if (lm_model_open(&m, path, &o, &err) != LM_OK)
        fail_msg("%s: %s", name, err.text);
    return m;
}

static lm_store *open_store(const char *name)
{
    lm_state_options o;
    lm_store *s = NULL;
    lm_error err = { 0 };
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    lm_state_defaults(&o);
    o.folder = path;
    o.budget = UINT64_C(1) << 30;
    o.min_free = UINT64_MAX;
    if (lm_state_open(&s, &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return s;
}

/* The next tokens, drawn with one seed. */
static void go_on(lm_session *s, int32_t out[N_AFTER])
{
    static const int32_t no_stops[1];
    lm_generate_options o;
    lm_sample_params p;
    lm_generated g;
    lm_error err = { 0 };
    lm_generate_defaults(&o);
    lm_sample_defaults(&p);
    p.temperature = 1.0f;
    p.seed = 42;
    o.sample = &p;
    o.max_tokens = N_AFTER;
    o.stop_tokens = no_stops;
    if (lm_generate(s, &o, NULL, NULL, &g, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(g.n_tokens, N_AFTER);
    memcpy(out, g.tokens, N_AFTER * sizeof *out);
    lm_generated_clear(&g);
}

/* Slept as "talk" and exported; `after` is how it went on here. */
static void make_bundle(lm_model *m, int32_t after[N_AFTER])
{
    lm_error err = { 0 };
    lm_session *s = NULL;
    lm_store *store = open_store("here");
    assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    assert_int_equal(lm_session_sleep(s, store, "talk", NULL, NULL, &err), LM_OK);
    (void)unlink(file);
    if (lm_state_export(store, "talk", file, NULL, &err) != LM_OK)
        fail_msg("%s", err.text);
    go_on(s, after);
    lm_session_close(s);
    lm_state_close(store);
}

/* How many of the prompt's tokens a new session finds by itself. */
static size_t found(lm_model *m, lm_store *store)
{
    lm_error err = { 0 };
    lm_session *s = NULL;
    size_t n = 0;
    assert_int_equal(lm_model_remember(m, store, &err), LM_OK);
    assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
    assert_int_equal(lm_session_recall(s, prompt, N_PROMPT, &n, &err), LM_OK);
    lm_session_close(s);
    assert_int_equal(lm_model_remember(m, NULL, &err), LM_OK);
    return n;
}

static const char *const packs[] = { "golden/llama", "golden/llama-q4", "golden/qwen3" };

static void a_verified_import_serves_everybody(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof packs / sizeof *packs; k++) {
        lm_error err = { 0 };
        lm_wake_result w;
        int32_t want[N_AFTER], got[N_AFTER];
        char there[32];
        lm_session *s = NULL;
        lm_model *m = open_model(packs[k], NULL);
        make_bundle(m, want);
        (void)snprintf(there, sizeof there, "there %zu", k);
        lm_store *store = open_store(there);
        if (lm_state_import(store, file, NULL, NULL, &err) != LM_OK)
            fail_msg("%s", err.text);
        /* It goes on without a prefill, sleeps, goes on again: private all the way. */
        assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
        if (lm_session_wake(s, store, "talk", NULL, &w, &err) != LM_OK)
            fail_msg("%s", err.text);
        assert_int_equal(w.n_mounted, N_PROMPT);
        assert_int_equal(w.n_replayed, 0);
        go_on(s, got);
        assert_memory_equal(got, want, sizeof got);
        lm_sleep_result slept;
        assert_int_equal(lm_session_sleep(s, store, "longer", NULL, &slept, &err), LM_OK);
        assert_true(slept.pages_reused > 0); /* on top of what was imported */
        assert_int_equal(lm_session_wake(s, store, "longer", NULL, &w, &err), LM_OK);
        assert_int_equal(w.n_mounted, N_PROMPT + N_AFTER);
        assert_int_equal(found(m, store), 0);
        /* Computed again and compared, its pages are everybody's. */
        lm_verify_result v;
        if (lm_state_verify(store, "talk", m, &v, &err) != LM_OK)
            fail_msg("%s: %s", packs[k], err.text);
        assert_true(v.equal);
        assert_int_equal(found(m, store), 128);
        assert_int_equal(lm_session_wake(s, store, "talk", NULL, &w, &err), LM_OK);
        assert_int_equal(w.n_replayed, 0);
        go_on(s, got);
        assert_memory_equal(got, want, sizeof got);
        lm_session_close(s);
        lm_state_close(store);
        lm_model_close(m);
    }
}

/* One number of the first page is another, every checksum is right. */
static void tamper(void)
{
    static uint8_t packed[1 << 22], plain[1 << 22];
    uint64_t n_entry, n_page;
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    size_t n = fread(packed, 1, sizeof packed, f);
    (void)fclose(f);
    n = ZSTD_decompress(plain, sizeof plain, packed, n);
    assert_false(ZSTD_isError(n));
    memcpy(&n_entry, plain + 16, 8);
    uint8_t *head = plain + 64 + (n_entry + 7) / 8 * 8;
    memcpy(&n_page, head, 8);
    head[16 + 1] ^= 1;
    uint64_t sum = lm_xxh64(head + 16, (size_t)n_page, 0);
    memcpy(head + 8, &sum, 8);
    n = ZSTD_compress(packed, sizeof packed, plain, n, 1);
    assert_false(ZSTD_isError(n));
    f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(packed, 1, n, f), n);
    (void)fclose(f);
}

static void a_lie_in_a_bundle_never_serves_another(void **state)
{
    lm_error err = { 0 };
    lm_session *s = NULL;
    int32_t after[N_AFTER];
    (void)state;
    lm_model *m = open_model("golden/llama", NULL);
    make_bundle(m, after);
    tamper();
    lm_store *store = open_store("there");
    assert_int_equal(lm_state_import(store, file, NULL, NULL, &err), LM_OK);
    assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
    lm_verify_result v;
    assert_int_equal(lm_state_verify(store, "talk", m, &v, &err), LM_OK);
    assert_false(v.equal);
    assert_int_equal(v.layer + v.position, 0);
    assert_int_equal(found(m, store), 0);
    assert_int_equal(lm_session_wake(s, store, "talk", NULL, NULL, &err), LM_OK); /* still its own */
    lm_session_close(s);
    lm_state_close(store);
    lm_model_close(m);
}

static void a_recoded_session_goes_on_in_its_format(void **state)
{
    static const char *const formats[] = { "f16", "f32", "q8", "k-q8-v-q4" };
    int32_t after[N_AFTER];
    (void)state;
    lm_model *m = open_model("golden/llama", "bf16");
    make_bundle(m, after);
    lm_model_close(m);
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        lm_error err = { 0 };
        lm_wake_result w;
        lm_metrics figures;
        lm_session *s = NULL;
        lm_store *store = open_store("here");
        if (lm_state_recode(store, "talk", formats[k], formats[k], NULL, &err) != LM_OK)
            fail_msg("%s", err.text);
        m = open_model("golden/llama", formats[k]);
        assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
        if (lm_session_wake(s, store, formats[k], NULL, &w, &err) != LM_OK)
            fail_msg("%s: %s", formats[k], err.text);
        assert_int_equal(w.n_mounted, N_PROMPT);
        go_on(s, after);
        lm_session_metrics(s, &figures);
        assert_int_equal(figures.prompt_tokens, 0);
        assert_int_equal(found(m, store), 0); /* rounded afterwards is not computed so */
        lm_verify_result v;
        assert_int_equal(lm_state_verify(store, formats[k], m, &v, &err), LM_OK);
        assert_false(v.equal);
        lm_session_close(s);
        lm_state_close(store);
        lm_model_close(m);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_verified_import_serves_everybody),
        T(a_lie_in_a_bundle_never_serves_another),
        T(a_recoded_session_goes_on_in_its_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
