/* Sleep and wake end to end: another process goes on bit for bit, without a prefill. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "lemma/lemma.h"
#include "support/state_lite.h"

/* 150 tokens: two full pages and a tail; windows of 16 have moved on. */
enum { N_PROMPT = 150, N_BEFORE = 20, N_AFTER = 64, CONTEXT = 384 };

static const lm_wake_options replay = { .size = sizeof replay, .flags = LM_STATE_REPLAY };
static int32_t prompt[N_PROMPT];
static char folder[128];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N_PROMPT; i++)
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

/* In the tree, else beside it. */
static void path_of(const char *name, char *path, size_t cap)
{
    (void)snprintf(path, cap, "%s/%s", LM_TEST_DATA, name);
    if (access(path, R_OK) != 0)
        (void)snprintf(path, cap, "%s/%s", LM_SHARED_DATA, name);
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

static void generate(lm_session *s, uint32_t n)
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
    o.max_tokens = n;
    o.stop_tokens = no_stops;
    if (lm_generate(s, &o, NULL, NULL, &g, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(g.n_tokens, n);
    lm_generated_clear(&g);
}

/* A session at its end: what bit-for-bit means. */
typedef struct {
    uint32_t n_tokens;
    int32_t tokens[CONTEXT];
    float *logits; /* [n_vocab] */
    uint32_t n_vocab;
} outcome;

static outcome outcome_of(const lm_model *m, const lm_session *s)
{
    outcome o = { .n_tokens = lm_session_n_tokens(s) };
    lm_model_info info;
    lm_model_get_info(m, &info);
    o.n_vocab = info.n_vocab;
    assert_true(o.n_tokens <= CONTEXT);
    memcpy(o.tokens, lm_session_tokens(s), o.n_tokens * sizeof *o.tokens);
    assert_int_equal(LM_NEW(&o.logits, o.n_vocab, NULL), LM_OK);
    assert_non_null(lm_session_logits(s));
    memcpy(o.logits, lm_session_logits(s), o.n_vocab * sizeof *o.logits);
    return o;
}

static bool same(const outcome *o, const lm_session *s)
{
    return lm_session_n_tokens(s) == o->n_tokens && lm_session_logits(s) &&
           memcmp(lm_session_tokens(s), o->tokens, o->n_tokens * sizeof *o->tokens) == 0 &&
           memcmp(lm_session_logits(s), o->logits, o->n_vocab * sizeof *o->logits) == 0;
}

/* Prefills, generates, sleeps; goes on as one that never slept, and says how it ended. */
static outcome never_slept(const char *name, const char *backend, const char *kv)
{
    lm_error err = { 0 };
    lm_model *m = open_model(name, backend, kv);
    lm_store *store = open_store();
    lm_session *s = open_session(m);
    lm_sleep_result r = { 0 };
    assert_int_equal(lm_session_append(s, prompt, N_PROMPT, &err), LM_OK);
    generate(s, N_BEFORE);
    if (lm_session_sleep(s, store, "talk", NULL, &r, &err) != LM_OK)
        fail_msg("%s %s %s: %s", name, backend, kv, err.text);
    assert_true(r.pages_written > 0);
    generate(s, N_AFTER);
    outcome o = outcome_of(m, s);
    lm_session_close(s);
    lm_state_close(store);
    lm_model_close(m);
    return o;
}

/* What the woken process found; 0 is good. */
static int woken_goes_on(const char *name, const char *backend, const char *kv, const outcome *want)
{
    lm_error err = { 0 };
    lm_wake_result w;
    lm_metrics figures;
    lm_model *m = open_model(name, backend, kv);
    lm_store *store = open_store();
    lm_session *s = open_session(m);
    int bad = 0;
    if (lm_session_wake(s, store, "talk", NULL, &w, &err) != LM_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        bad |= 1;
    } else {
        bad |= w.n_mounted == N_PROMPT + N_BEFORE && w.n_replayed == 0 && w.reasons[0] == 0 ? 0 : 2;
        bad |= lm_session_logits(s) ? 0 : 4;
        generate(s, N_AFTER);
        lm_session_metrics(s, &figures);
        bad |= figures.prompt_tokens == 0 && figures.cached_tokens == N_PROMPT + N_BEFORE ? 0 : 8;
        bad |= same(want, s) ? 0 : 16;
        /* Asleep again: what the store has is not written again. */
        lm_sleep_result r = { 0 };
        bad |= lm_session_sleep(s, store, "talk", NULL, &r, &err) == LM_OK ? 0 : 32;
        bad |= r.pages_reused > 0 || r.pages_written < 4 ? 0 : 64; /* small windows have moved on */
    }
    lm_session_close(s);
    lm_state_close(store);
    lm_model_close(m);
    return bad;
}

static const char *const packs[] = { "golden/llama",
                                     "golden/llama-q4",
                                     "golden/llama-Q4_0.gguf",
                                     "golden/llama_wrapped",
                                     "golden/llama3_old_keys_sharded",
                                     "golden/qwen3",
                                     "golden/qwen2_window_off",
                                     "golden/gemma2-Q8_0.gguf",
                                     "golden/gemma3_text",
                                     "golden/gemma",
                                     "golden/gemma2",
                                     "golden/glm",
                                     "golden/glm4",
                                     "golden/granite",
                                     "golden/mistral_sliding",
                                     "golden/olmo2",
                                     "golden/phi",
                                     "golden/phi3",
                                     "golden/qwen2",
                                     "golden/smollm3",
                                     "../../models/fable" };
static const char *const backends[] = { "ref", "cpu" };
static const char *const formats[] = { "f32", "f16", "bf16", "q8", "k-q8-v-q4" };

static bool have(const char *name)
{
    char path[1024];
    path_of(name, path, sizeof path);
    return access(path, R_OK) == 0;
}

static void a_woken_session_goes_on_bit_for_bit_in_another_process(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++)
        for (int b = 0; b < 2; b++)
            for (int f = 0; f < (int)LM_LEN(formats); f++) {
                if (!have(packs[p])) {
                    print_message("skipped: no %s\n", packs[p]);
                    continue;
                }
                int status = 0;
                outcome o = never_slept(packs[p], backends[b], formats[f]);
                pid_t child = fork();
                if (child == 0)
                    _exit(woken_goes_on(packs[p], backends[b], formats[f], &o));
                assert_int_equal(waitpid(child, &status, 0), child);
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                    fail_msg("%s %s %s: status %d", packs[p], backends[b], formats[f], status);
                lm_free(o.logits);
            }
}

static void what_forbids_a_mount_is_named_and_the_tokens_are_replayed(void **state)
{
    (void)state;
    outcome o = never_slept("golden/qwen3", "cpu", "bf16");
    lm_store *store = open_store();
    static const struct {
        const char *pack, *backend, *kv, *reason;
    } others[] = { { "golden/qwen3", "cpu", "f32", "runtime_cache_mode_changed" },
                   { "golden/qwen3", "ref", "bf16", "numerics_mismatch" },
                   { "golden/llama", "cpu", "bf16", "model_hash_mismatch" } };
    for (int i = 0; i < 3; i++) {
        lm_model *m = open_model(others[i].pack, others[i].backend, others[i].kv);
        lm_session *s = open_session(m), *fresh = open_session(m);
        lm_wake_result w;
        lm_error err = { 0 };
        assert_int_equal(lm_session_wake(s, store, "talk", NULL, &w, &err), LM_ERR_MISMATCH);
        assert_non_null(strstr(w.reasons, others[i].reason));
        assert_non_null(strstr(err.text, others[i].reason));
        assert_int_equal(lm_session_n_tokens(s), 0);
        memset(&err, 0, sizeof err);
        assert_int_equal(lm_session_wake(s, store, "talk", &replay, &w, &err), LM_OK);
        assert_int_equal(w.n_mounted, 0);
        assert_int_equal(w.n_replayed, N_PROMPT + N_BEFORE);
        assert_int_equal(lm_session_append(fresh, o.tokens, N_PROMPT + N_BEFORE, &err), LM_OK);
        outcome f = outcome_of(m, fresh);
        assert_true(same(&f, s));
        lm_free(f.logits);
        lm_session_close(fresh);
        lm_session_close(s);
        lm_model_close(m);
    }
    lm_free(o.logits);
    lm_state_close(store);
}

static void a_woken_session_that_is_cut_never_writes_into_the_store(void **state)
{
    (void)state;
    outcome o = never_slept("golden/llama", "cpu", "bf16");
    lm_store *store = open_store();
    lm_model *m = open_model("golden/llama", "cpu", "bf16");
    for (uint32_t cut = 1; cut <= N_PROMPT + N_BEFORE; cut += cut < 120 ? 40 : 13) {
        lm_session *s = open_session(m), *fresh = open_session(m);
        lm_error err = { 0 };
        assert_int_equal(lm_session_wake(s, store, "talk", NULL, NULL, &err), LM_OK);
        assert_int_equal(lm_session_truncate(s, cut, &err), LM_OK);
        assert_int_equal(lm_session_append(s, prompt, 70, &err), LM_OK);
        assert_int_equal(lm_session_append(fresh, o.tokens, cut, &err), LM_OK);
        assert_int_equal(lm_session_append(fresh, prompt, 70, &err), LM_OK);
        outcome f = outcome_of(m, fresh);
        assert_true(same(&f, s));
        lm_free(f.logits);
        lm_session_close(s);
        lm_session_close(fresh);
    }
    lm_session *s = open_session(m);
    assert_int_equal(lm_session_wake(s, store, "talk", NULL, NULL, NULL), LM_OK);
    generate(s, N_AFTER);
    assert_true(same(&o, s));
    lm_session_close(s);
    lm_free(o.logits);
    lm_model_close(m);
    lm_state_close(store);
}

/* Flips one bit in the last byte of every run: the end of a page. */
static int damage_runs(void)
{
    char path[512];
    int n = 0;
    (void)snprintf(path, sizeof path, "%s/store/runs", folder);
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        struct stat st;
        uint8_t byte;
        (void)snprintf(path, sizeof path, "%s/store/runs/%.200s", folder, e->d_name);
        int fd = open(path, O_RDWR);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 64 * 1024) {
            off_t at = st.st_size / 2;
            assert_int_equal(pread(fd, &byte, 1, at), 1);
            byte ^= 0x10;
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            n++;
        }
        (void)close(fd);
    }
    if (d)
        (void)closedir(d);
    return n;
}

static void a_damaged_page_costs_a_replay_and_never_a_wrong_token(void **state)
{
    (void)state;
    outcome o = never_slept("golden/qwen3", "cpu", "f32");
    assert_true(damage_runs() > 0);
    lm_store *store = open_store();
    lm_model *m = open_model("golden/qwen3", "cpu", "f32");
    lm_session *s = open_session(m);
    lm_wake_result w;
    lm_error err = { 0 };
    if (lm_session_wake(s, store, "talk", &replay, &w, &err) != LM_OK)
        fail_msg("%s", err.text);
    generate(s, N_AFTER);
    assert_true(same(&o, s));
    lm_metrics figures;
    lm_session_metrics(s, &figures);
    assert_int_equal(figures.cached_tokens, 0);
    assert_true(figures.prompt_tokens >= N_PROMPT + N_BEFORE);
    lm_session_close(s);
    lm_model_close(m);
    lm_state_close(store);
    lm_free(o.logits);
}

static bool count(void *user, const lm_stored *e)
{
    assert_string_equal(e->name, "talk");
    assert_int_equal(e->n_tokens, N_PROMPT + N_BEFORE);
    *(int *)user += 1;
    return true;
}

static void sessions_are_listed_held_and_removed(void **state)
{
    (void)state;
    outcome o = never_slept("golden/llama", "cpu", "bf16");
    lm_store *store = open_store();
    lm_model *m = open_model("golden/llama", "cpu", "bf16");
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    lm_state_hold *mine = NULL, *other = NULL;
    int n = 0;
    assert_int_equal(lm_session_sleep(s, store, "empty", NULL, NULL, &err), LM_ERR_USAGE);
    assert_int_equal(lm_state_list(store, count, &n, NULL), LM_OK);
    assert_int_equal(lm_state_show(store, "talk", count, &n, NULL), LM_OK);
    assert_int_equal(n, 2);
    assert_int_equal(lm_state_take(store, "talk", &mine, NULL), LM_OK);
    assert_int_equal(lm_state_take(store, "talk", &other, NULL), LM_ERR_BUSY);
    lm_state_release(mine);
    assert_int_equal(lm_state_remove(store, "talk", NULL), LM_OK);
    assert_int_equal(lm_session_wake(s, store, "talk", &replay, NULL, NULL), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_state_list(store, count, &n, NULL), LM_OK);
    assert_int_equal(n, 2);
    lm_session_close(s);
    lm_model_close(m);
    lm_state_close(store);
    lm_free(o.logits);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_woken_session_goes_on_bit_for_bit_in_another_process),
        T(what_forbids_a_mount_is_named_and_the_tokens_are_replayed),
        T(a_woken_session_that_is_cut_never_writes_into_the_store),
        T(a_damaged_page_costs_a_replay_and_never_a_wrong_token),
        T(sessions_are_listed_held_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
