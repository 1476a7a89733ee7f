/* Automatic reuse, forks, prefixes and the sampler at rest: nothing shows but the time. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lemma/lemma.h"
#include "support/state_lite.h"

enum { N_PROMPT = 300, CONTEXT = 384 };

static int32_t prompt[CONTEXT];
static char folder[128];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < CONTEXT; i++)
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

static lm_model *open_as(const char *name, const char *backend, const char *isa, const char *compute)
{
    char path[1024];
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    path_of(name, path, sizeof path);
    lm_model_defaults(&o);
    o.backend = backend;
    o.isa = isa;
    o.compute = compute;
    o.context = CONTEXT;
    o.cache_dir = folder;
    o.threads = 1;
    lm_status st = lm_model_open(&m, path, &o, &err);
    if (st == LM_ERR_UNSUPPORTED || st == LM_ERR_USAGE)
        return NULL; /* not on this machine */
    if (st != LM_OK)
        fail_msg("%s: %s", name, err.text);
    return m;
}

static lm_model *open_model(const char *name)
{
    return open_as(name, "cpu", NULL, NULL);
}

static lm_store *open_store(uint64_t budget)
{
    lm_state_options o;
    lm_store *s = NULL;
    lm_error err = { 0 };
    char path[160];
    (void)snprintf(path, sizeof path, "%s/store", folder);
    lm_state_defaults(&o);
    o.folder = path;
    o.budget = budget;
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

static void append(lm_session *s, const int32_t *ids, size_t n)
{
    lm_error err = { 0 };
    if (lm_session_append(s, ids, n, &err) != LM_OK)
        fail_msg("%s", err.text);
}

static lm_sample_params warm(void)
{
    lm_sample_params p;
    lm_sample_defaults(&p);
    p.temperature = 0.8f;
    p.seed = 42;
    return p;
}

static void generate(lm_session *s, uint32_t n, const lm_sample_params *p)
{
    lm_generate_options o;
    lm_generated g;
    lm_error err = { 0 };
    static const int32_t stops[] = { 7 }; /* what min-tokens withholds */
    lm_generate_defaults(&o);
    o.sample = p;
    o.max_tokens = n;
    o.stop_tokens = stops;
    o.n_stop_tokens = p->min_tokens ? 1 : 0;
    if (lm_generate(s, &o, NULL, NULL, &g, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_generated_clear(&g);
}

static bool same(lm_model *m, const lm_session *a, const lm_session *b)
{
    lm_model_info info;
    lm_model_get_info(m, &info);
    uint32_t n = lm_session_n_tokens(a);
    return n == lm_session_n_tokens(b) && lm_session_logits(a) && lm_session_logits(b) &&
           memcmp(lm_session_tokens(a), lm_session_tokens(b), n * sizeof(int32_t)) == 0 &&
           memcmp(lm_session_logits(a), lm_session_logits(b), info.n_vocab * sizeof(float)) == 0;
}

static uint64_t cached(const lm_session *s)
{
    lm_metrics m;
    lm_session_metrics(s, &m);
    return m.cached_tokens;
}

static const char *const packs[] = {
    "golden/llama",
    "golden/llama-q4",
    "golden/llama-Q4_0.gguf",
    "golden/mistral_sliding",
    "golden/qwen2",
    "golden/qwen3",
    "golden/gemma",
    "golden/gemma2",
    "golden/gemma3_text",
    "golden/gemma2-Q8_0.gguf",
    "golden/phi",
    "golden/phi3",
    "golden/glm",
    "golden/glm4",
    "golden/granite",
    "golden/olmo2",
    "golden/smollm3",
    "../../models/fable",
};

static bool have(const char *name)
{
    char path[1024];
    path_of(name, path, sizeof path);
    return access(path, R_OK) == 0;
}

/* Another process: the first n of `prompt`, `more` other tokens.  It is forked while this
 * one has no threads, and begins when it is told to. */
typedef struct {
    pid_t pid;
    int go, result;
} helper;

static helper another_process(const char *name, uint32_t n, uint32_t more)
{
    int fd[2], go[2], count = -1;
    char byte;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        lm_model *m = open_model(name);
        lm_session *fresh = open_session(m);
        int32_t *ids = NULL;
        if (LM_NEW(&ids, n + more, NULL) != LM_OK)
            _exit(1);
        for (uint32_t i = 0; i < n + more; i++)
            ids[i] = i < n ? prompt[i] : 5 + (int32_t)i % 11;
        append(fresh, ids, n + more);
        lm_store *store = open_store(UINT64_C(1) << 30);
        if (lm_model_remember(m, store, NULL) != LM_OK)
            _exit(1);
        lm_session_reset(fresh); /* its pages must not be found in memory */
        append(fresh, ids, 1);
        lm_session *s = open_session(m), *check = open_session(m);
        append(s, ids, n + more);
        count = (int)cached(s);
        (void)lm_model_remember(m, NULL, NULL);
        append(check, ids, n + more);
        if (cached(check) != 0 || !same(m, s, check))
            count = -1;
        (void)!write(fd[1], &count, sizeof count);
        lm_session_close(s);
        lm_session_close(check);
        lm_session_close(fresh);
        lm_state_close(store);
        lm_model_close(m);
        lm_free(ids);
        _exit(0);
    }
    (void)close(fd[1]);
    (void)close(go[0]);
    return (helper){ child, go[1], fd[0] };
}

/* The cached count, or -1 when the outcome is not that of a session without a store. */
static int outcome_of(helper h)
{
    int count, status;
    assert_int_equal(write(h.go, "", 1), 1);
    assert_int_equal(read(h.result, &count, sizeof count), sizeof count);
    (void)close(h.go);
    (void)close(h.result);
    assert_int_equal(waitpid(h.pid, &status, 0), h.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return count;
}

static int in_another_process(const char *name, uint32_t n, uint32_t more)
{
    return outcome_of(another_process(name, n, more));
}

static void keep_prompt(lm_model *m, uint32_t n)
{
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(m);
    lm_error err = { 0 };
    if (lm_model_remember(m, store, &err) != LM_OK)
        fail_msg("%s", err.text);
    append(s, prompt, n);
    lm_session_close(s);
    lm_state_close(store);
}

static void a_prompt_begins_where_another_process_stopped(void **state)
{
    (void)state;
    int n_packs = 0;
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++) {
        if (!have(packs[p])) {
            print_message("skipped: no ../shared/%s\n", packs[p]);
            continue;
        }
        char store[160];
        (void)snprintf(store, sizeof store, "%s/store", folder);
        lm_model *m = open_model(packs[p]);
        keep_prompt(m, N_PROMPT);
        lm_model_close(m);
        /* The same prompt and more; the same prompt again: its last token is computed. */
        assert_int_equal(in_another_process(packs[p], N_PROMPT, 30), N_PROMPT / 64 * 64);
        assert_int_equal(in_another_process(packs[p], 257, 0), 256);
        /* A prefix that ends below: what a window does not have any more is computed. */
        int n = in_another_process(packs[p], 140, 20);
        if (n != 0 && n != 128)
            fail_msg("%s: %d tokens of 140", packs[p], n);
        assert_int_equal(in_another_process(packs[p], 10, 280), 0);
        n_packs++;
        state_lite_remove(store);
    }
    assert_true(n_packs >= 4);
}

static void two_processes_share_what_either_stored(void **state)
{
    (void)state;
    helper other = another_process("golden/qwen3", N_PROMPT, 0);
    lm_model *m = open_model("golden/qwen3");
    lm_store *store = open_store(UINT64_C(1) << 30);
    assert_int_equal(lm_model_remember(m, store, NULL), LM_OK);
    /* The other one stores while this one has the store open. */
    assert_int_equal(outcome_of(other), 0);
    lm_session *s = open_session(m);
    append(s, prompt, N_PROMPT);
    assert_int_equal(cached(s), 256);
    lm_session_close(s);
    lm_state_close(store);
    lm_model_close(m);
}

static void short_prompts_are_not_kept(void **state)
{
    (void)state;
    lm_model *m = open_model("golden/llama");
    lm_state_stats stats = { .size = sizeof stats };
    keep_prompt(m, 255);
    lm_store *store = open_store(UINT64_C(1) << 30);
    assert_int_equal(lm_state_get_stats(store, &stats, NULL), LM_OK);
    assert_int_equal(stats.pages, 0);
    lm_state_close(store);
    keep_prompt(m, 256);
    store = open_store(UINT64_C(1) << 30);
    assert_int_equal(lm_state_get_stats(store, &stats, NULL), LM_OK);
    assert_true(stats.pages >= 4);
    lm_state_close(store);
    lm_model_close(m);
}

/* S2: another arithmetic or instruction set has other bits, and other names. */
static void pages_of_another_arithmetic_are_never_found(void **state)
{
    (void)state;
    static const struct {
        const char *backend, *isa, *compute;
    } ways[] = { { "cpu", NULL, "fast" },       { "cpu", NULL, "precise" },   { "cpu", "avx2", "fast" },
                 { "cpu", "portable", "fast" }, { "cpu", "avx2", "precise" }, { "ref", NULL, NULL } };
    lm_store *store = open_store(UINT64_C(1) << 30);
    char seen[6][96];
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        lm_model *m = open_as("golden/llama-Q4_0.gguf", ways[i].backend, ways[i].isa, ways[i].compute);
        lm_model_info info;
        bool known = false;
        if (!m) {
            seen[i][0] = 0;
            continue;
        }
        lm_model_get_info(m, &info);
        for (size_t k = 0; k < i; k++)
            known |= strcmp(seen[k], info.numerics) == 0;
        memcpy(seen[i], info.numerics, sizeof seen[i]);
        assert_int_equal(lm_model_remember(m, store, NULL), LM_OK);
        lm_session *s = open_session(m);
        append(s, prompt, N_PROMPT);
        assert_int_equal(cached(s), known ? 256 : 0);
        lm_session_close(s);
        (void)lm_model_remember(m, NULL, NULL);
        lm_model_close(m);
    }
    assert_string_not_equal(seen[0], seen[1]);
    lm_state_close(store);
}

static void a_neighbour_in_memory_is_shared_before_anything_is_written(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++) {
        if (!have(packs[p]))
            continue;
        lm_model *m = open_model(packs[p]);
        lm_store *store = open_store(1); /* takes nothing */
        lm_session *a = open_session(m), *b = open_session(m), *fresh = open_session(m);
        append(fresh, prompt, 200);
        generate(fresh, 5, (lm_sample_params[]){ warm() });
        int32_t all[205];
        memcpy(all, lm_session_tokens(fresh), sizeof all);
        lm_session_reset(fresh);
        append(fresh, all, 205);
        assert_int_equal(lm_model_remember(m, store, NULL), LM_OK);
        append(a, prompt, 200);
        append(b, all, 205);
        assert_true(cached(b) == 192 || cached(b) == 0);
        assert_true(same(m, b, fresh));
        /* What one does does not show in the other. */
        generate(a, 20, (lm_sample_params[]){ warm() });
        assert_int_equal(lm_session_truncate(b, 100, NULL), LM_OK);
        append(b, prompt + 150, 60);
        lm_session_reset(fresh);
        (void)lm_model_remember(m, NULL, NULL);
        append(fresh, all, 100);
        append(fresh, prompt + 150, 60);
        assert_true(same(m, b, fresh));
        lm_session_close(a);
        lm_session_close(b);
        lm_session_close(fresh);
        lm_state_close(store);
        lm_model_close(m);
    }
}

static void a_store_that_is_full_is_told_once_and_the_run_goes_on(void **state)
{
    (void)state;
    lm_model *m = open_model("golden/llama");
    lm_store *store = open_store(1);
    lm_state_news news;
    int told = 0;
    assert_int_equal(lm_model_remember(m, store, NULL), LM_OK);
    for (int i = 0; i < 3; i++) {
        lm_session *s = open_session(m);
        append(s, prompt + i, N_PROMPT);
        generate(s, 3, (lm_sample_params[]){ warm() });
        lm_session_close(s);
        for (int k = 0; k < 100 && i == 0 && told == 0; k++) {
            told += lm_state_get_news(store, &news) && news.trouble.status == LM_ERR_NOSPACE;
            (void)usleep(10000);
        }
    }
    assert_int_equal(told, 1);
    assert_false(lm_state_get_news(store, &news));
    lm_state_close(store);
    lm_model_close(m);
}

static void the_first_page_ever_is_told_once(void **state)
{
    (void)state;
    lm_state_news news;
    for (int i = 0; i < 2; i++) {
        lm_model *m = open_model("golden/llama");
        lm_store *store = open_store(UINT64_C(1) << 30);
        lm_session *s = open_session(m);
        bool told = false;
        assert_int_equal(lm_model_remember(m, store, NULL), LM_OK);
        append(s, prompt + 50 * i, N_PROMPT);
        lm_session_close(s);
        for (int k = 0; k < 100 && !told; k++) {
            told = lm_state_get_news(store, &news) && news.first_write;
            (void)usleep(i ? 1000 : 10000);
        }
        assert_int_equal(told, i == 0);
        lm_state_close(store);
        lm_model_close(m);
    }
}

/* --- the sampler at rest ------------------------------------------------------------------- */

static void twice_half_is_the_whole_with_every_sampler(void **state)
{
    (void)state;
    for (int way = 0; way < 6; way++) {
        lm_sample_params p = warm();
        p.mirostat = way == 1 ? 1 : way == 2 ? 2 : 0;
        p.min_tokens = way == 3 ? 40 : 0;
        p.penalty_repeat = way == 4 ? 1.3f : 1.0f;
        p.penalty_frequency = way == 4 ? 0.5f : 0.0f;
        p.dry_multiplier = way == 5 ? 0.8f : 0.0f;
        lm_model *m = open_model("../../models/fable");
        lm_store *store = open_store(UINT64_C(1) << 30);
        lm_session *whole = open_session(m), *first = open_session(m), *second = open_session(m);
        lm_error err = { 0 };
        uint64_t seed = 0;
        append(whole, prompt, 40);
        generate(whole, 64, &p);
        append(first, prompt, 40);
        generate(first, 32, &p);
        if (lm_session_sleep(first, store, "half", NULL, NULL, &err) != LM_OK)
            fail_msg("%s", err.text);
        if (lm_session_wake(second, store, "half", NULL, NULL, &err) != LM_OK)
            fail_msg("%s", err.text);
        assert_true(lm_session_seed(second, &seed));
        assert_int_equal(seed, 42);
        if (lm_session_n_tokens(whole) > 72) { /* else a stop token ended both */
            generate(second, 32, &p);
            generate(first, 32, &p);
        }
        assert_true(same(m, whole, second));
        assert_true(same(m, whole, first));
        lm_session_close(whole);
        lm_session_close(first);
        lm_session_close(second);
        lm_state_close(store);
        lm_model_close(m);
    }
}

/* --- forks, prefixes, sleeping behind the back ----------------------------------------------- */

static void a_fork_in_memory_shares_pages_and_nothing_else(void **state)
{
    (void)state;
    static const char *const some[] = { "golden/llama", "golden/gemma3_text", "golden/gemma2-Q8_0.gguf" };
    for (int i = 0; i < 3; i++) {
        lm_model *m = open_model(some[i]);
        lm_sample_params p = warm();
        lm_session *a = open_session(m), *b = NULL, *fresh = open_session(m);
        append(a, prompt, 150);
        generate(a, 10, &p);
        assert_int_equal(lm_session_fork(a, &b, NULL), LM_OK);
        assert_true(same(m, a, b));
        /* Both write into what was the last page; the fork cuts into a shared one too. */
        append(b, prompt + 7, 30);
        generate(a, 20, &p);
        append(fresh, prompt, 150);
        generate(fresh, 30, &p);
        assert_true(same(m, a, fresh));
        assert_int_equal(lm_session_truncate(b, 100, NULL), LM_OK);
        append(b, prompt + 7, 70);
        generate(a, 20, &p);
        generate(fresh, 20, &p);
        assert_true(same(m, a, fresh));
        lm_session_reset(fresh);
        append(fresh, prompt, 100);
        append(fresh, prompt + 7, 70);
        assert_true(same(m, b, fresh));
        lm_session_close(a);
        generate(b, 5, &p);
        generate(fresh, 5, &p);
        assert_true(same(m, b, fresh));
        lm_session_close(b);
        lm_session_close(fresh);
        lm_model_close(m);
    }
}

static void a_prefix_is_woken_at_any_token(void **state)
{
    (void)state;
    static const char *const some[] = { "golden/qwen3", "golden/gemma3_text" };
    for (int i = 0; i < 2; i++) {
        lm_model *m = open_model(some[i]);
        lm_store *store = open_store(UINT64_C(1) << 30);
        lm_session *s = open_session(m), *fresh = open_session(m);
        lm_error err = { 0 };
        append(s, prompt, N_PROMPT);
        assert_int_equal(lm_session_sleep(s, store, "all", NULL, NULL, NULL), LM_OK);
        for (uint32_t at = 1; at <= N_PROMPT; at += at < 60 ? 31 : 37) {
            lm_wake_options o;
            lm_wake_result w;
            lm_wake_defaults(&o);
            o.at = at;
            o.flags = LM_STATE_REPLAY;
            if (lm_session_wake(s, store, "all", &o, &w, &err) != LM_OK)
                fail_msg("%s", err.text);
            assert_int_equal(w.n_tokens, at);
            assert_int_equal(w.n_mounted + w.n_replayed, at);
            if (i == 0)
                assert_int_equal(w.n_replayed, at == N_PROMPT ? 0 : 1);
            lm_session_reset(fresh);
            append(fresh, prompt, at);
            assert_true(same(m, s, fresh));
        }
        lm_wake_options o;
        lm_wake_defaults(&o);
        o.at = N_PROMPT + 1;
        assert_int_equal(lm_session_wake(s, store, "all", &o, NULL, NULL), LM_ERR_USAGE);
        lm_session_close(s);
        lm_session_close(fresh);
        lm_state_close(store);
        lm_model_close(m);
    }
}

static void a_sleep_behind_the_back_keeps_what_was_then(void **state)
{
    (void)state;
    lm_model *m = open_model("golden/gemma3_text");
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(m), *woken = open_session(m), *then = NULL;
    lm_sample_params p = warm();
    lm_sleep_options o;
    lm_error err = { 0 };
    lm_sleep_defaults(&o);
    o.behind = true;
    append(s, prompt, 150);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lm_session_fork(s, &then, NULL), LM_OK);
        if (lm_session_sleep(s, store, "live", &o, NULL, &err) != LM_OK)
            fail_msg("%s", err.text);
        generate(s, 7, &p); /* writes into the page that is being written */
        assert_int_equal(lm_session_flush(s, NULL), LM_OK);
        assert_int_equal(lm_session_wake(woken, store, "live", NULL, NULL, NULL), LM_OK);
        assert_true(same(m, woken, then));
        lm_session_close(then);
    }
    assert_int_equal(lm_session_sleep(s, store, "live", &o, NULL, NULL), LM_OK);
    lm_session_close(s); /* written all the same */
    lm_session_close(woken);
    lm_state_close(store);
    lm_model_close(m);
}

static void an_overridden_wake_mounts_and_its_pages_serve_nobody_else(void **state)
{
    (void)state;
    lm_model *a = open_as("golden/llama-Q4_0.gguf", "cpu", NULL, "fast");
    lm_model *b = open_as("golden/llama-Q4_0.gguf", "cpu", NULL, "precise");
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(a), *t = open_session(b), *u = open_session(b);
    lm_compatibility c;
    lm_wake_options o;
    lm_wake_result w;
    append(s, prompt, N_PROMPT);
    assert_int_equal(lm_session_sleep(s, store, "fast", NULL, NULL, NULL), LM_OK);
    assert_int_equal(lm_state_compatible(store, "fast", a, &c, NULL), LM_OK);
    assert_true(c.mounts && c.n_mountable == N_PROMPT && c.reasons[0] == 0);
    assert_int_equal(lm_state_compatible(store, "fast", b, &c, NULL), LM_OK);
    assert_true(!c.mounts && c.replays);
    assert_string_equal(c.reasons, "numerics_mismatch");
    lm_wake_defaults(&o);
    assert_int_equal(lm_session_wake(t, store, "fast", &o, NULL, NULL), LM_ERR_MISMATCH);
    o.flags = LM_STATE_OVERRIDE;
    assert_int_equal(lm_session_wake(t, store, "fast", &o, &w, NULL), LM_OK);
    assert_int_equal(w.n_mounted, N_PROMPT);
    assert_string_equal(w.reasons, "numerics_mismatch");
    append(t, prompt, 30);
    assert_int_equal(lm_session_sleep(t, store, "mixed", NULL, NULL, NULL), LM_OK);
    /* What the mixture computed is no page of the precise model. */
    assert_int_equal(lm_model_remember(b, store, NULL), LM_OK);
    append(u, prompt, N_PROMPT);
    assert_int_equal(cached(u), 0);
    o.flags = 0;
    assert_int_equal(lm_session_wake(u, store, "mixed", &o, NULL, NULL), LM_ERR_MISMATCH);
    lm_session_close(s);
    lm_session_close(t);
    lm_session_close(u);
    lm_state_close(store);
    lm_model_close(a);
    lm_model_close(b);
}

/* --- folds and projects ------------------------------------------------------------------------ */

typedef struct {
    char parent[64], messages[2048];
    uint32_t n_tokens;
} seen;

static bool look(void *user, const lm_stored *e)
{
    seen *x = user;
    (void)snprintf(x->parent, sizeof x->parent, "%s", e->parent);
    (void)snprintf(x->messages, sizeof x->messages, "%s", e->messages ? e->messages : "");
    x->n_tokens = e->n_tokens;
    return true;
}

static const char talk[] =
    "[{\"role\":\"system\",\"content\":\"Be kind.\"},"
    "{\"role\":\"user\",\"content\":\"Tell me of the fox and the grapes and the tree.\"},"
    "{\"role\":\"assistant\",\"content\":\"Once upon a time there was a fox.\"},"
    "{\"role\":\"user\",\"content\":\"And then?\"},"
    "{\"role\":\"assistant\",\"content\":\"He ran.\"}]";

static void a_fold_begins_anew_with_summary_and_tail(void **state)
{
    (void)state;
    lm_model *m = open_model("../../models/fable");
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(m), *t = open_session(m);
    lm_fold_options o;
    lm_fold_result r;
    lm_error err = { 0 };
    seen x = { .n_tokens = 0 };
    lm_fold_defaults(&o);
    o.tail = 40;
    append(s, prompt, 200);
    /* R39: an empty summary is no memory; nothing is written. */
    o.summary = " \n";
    o.n_summary = 2;
    assert_int_equal(lm_session_fold(s, store, "old", "new", &o, &r, NULL), LM_ERR_USAGE);
    o.summary = "A fox.";
    o.n_summary = 6;
    assert_int_equal(lm_session_fold(s, store, "old", "old", &o, &r, NULL), LM_ERR_USAGE);
    assert_int_equal(lm_session_wake(t, store, "old", NULL, NULL, NULL), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_session_n_tokens(s), 200);
    if (lm_session_fold(s, store, "old", "new", &o, &r, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(r.n_tail, 40);
    assert_int_equal(lm_session_n_tokens(s), r.n_tokens);
    assert_memory_equal(lm_session_tokens(s) + r.n_tokens - 40, prompt + 160, 40 * sizeof *prompt);
    assert_int_equal(lm_state_show(store, "new", look, &x, NULL), LM_OK);
    assert_string_equal(x.parent, "old");
    assert_int_equal(lm_session_wake(t, store, "old", NULL, NULL, NULL), LM_OK);
    assert_int_equal(lm_session_n_tokens(t), 200);
    assert_int_equal(lm_session_wake(t, store, "new", NULL, NULL, NULL), LM_OK);
    assert_true(same(m, s, t));
    /* A fold that is not shorter is refused and leaves everything. */
    o.tail = 8192;
    assert_int_equal(lm_session_fold(s, store, "new", "third", &o, &r, NULL), LM_ERR_USAGE);
    assert_true(same(m, s, t));
    lm_session_close(s);
    lm_session_close(t);
    lm_state_close(store);
    lm_model_close(m);
}

static void a_fold_of_a_chat_keeps_whole_messages(void **state)
{
    (void)state;
    lm_model *m = open_model("../../models/fable");
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(m);
    lm_fold_options o;
    lm_fold_result r;
    lm_error err = { 0 };
    seen x = { .n_tokens = 0 };
    lm_fold_defaults(&o);
    o.messages = talk;
    o.tail = 12;
    o.summary = "Foxes.";
    o.n_summary = 6;
    append(s, prompt, 250);
    if (lm_session_fold(s, store, "old", "new", &o, &r, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(r.n_tail, 2);
    assert_int_equal(lm_state_show(store, "new", look, &x, NULL), LM_OK);
    assert_non_null(strstr(x.messages, "Foxes."));
    assert_non_null(strstr(x.messages, "And then?"));
    assert_null(strstr(x.messages, "grapes"));
    assert_int_equal(x.n_tokens, r.n_tokens);
    assert_int_equal(lm_state_show(store, "old", look, &x, NULL), LM_OK);
    assert_string_equal(x.messages, talk);
    lm_session_close(s);
    lm_state_close(store);
    lm_model_close(m);
}

static void a_project_goes_on_from_its_checkpoint_its_fold_or_its_seed(void **state)
{
    (void)state;
    lm_model *m = open_model("golden/llama"), *other = open_as("golden/llama", "ref", NULL, NULL);
    lm_store *store = open_store(UINT64_C(1) << 30);
    lm_session *s = open_session(m), *t = open_session(other);
    char name[LM_STATE_NAME];
    lm_wake_options replay;
    static const uint32_t lengths[] = { 70, 90, 80 };
    lm_wake_defaults(&replay);
    replay.flags = LM_STATE_REPLAY;
    assert_int_equal(lm_session_continue(s, store, "p", LM_CONTINUE_HYBRID, NULL, name, NULL, NULL), LM_OK);
    assert_string_equal(name, "");
    for (int part = 0; part < 3; part++) {
        lm_session_reset(s);
        append(s, prompt + part, lengths[part]);
        assert_int_equal(lm_project_name("p", (lm_project_part)part, name, sizeof name, NULL), LM_OK);
        assert_int_equal(lm_session_sleep(s, store, name, NULL, NULL, NULL), LM_OK);
        static const uint32_t want[3][4] = { { 70, 70, 70, 70 }, { 90, 70, 70, 90 }, { 90, 70, 80, 90 } };
        for (int how = 0; how < 4; how++) {
            lm_session_reset(s);
            assert_int_equal(lm_session_continue(s, store, "p", (lm_continuation)how, NULL, name, NULL, NULL),
                             LM_OK);
            assert_int_equal(lm_session_n_tokens(s), want[part][how]);
        }
    }
    /* A checkpoint that does not mount: hybrid takes the fold. */
    assert_int_equal(lm_session_continue(t, store, "p", LM_CONTINUE_HYBRID, &replay, name, NULL, NULL),
                     LM_OK);
    assert_string_equal(name, "projects/p/folded/latest");
    assert_int_equal(lm_session_n_tokens(t), 80);
    assert_int_equal(lm_session_continue(t, store, "p", LM_CONTINUE_CURRENT, &replay, name, NULL, NULL),
                     LM_OK);
    assert_int_equal(lm_session_n_tokens(t), 80);
    assert_int_equal(lm_project_name("a/b", LM_PROJECT_SEED, name, sizeof name, NULL), LM_ERR_USAGE);
    assert_int_equal(lm_project_name("", LM_PROJECT_SEED, name, sizeof name, NULL), LM_ERR_USAGE);
    lm_session_close(s);
    lm_session_close(t);
    lm_state_close(store);
    lm_model_close(m);
    lm_model_close(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_prompt_begins_where_another_process_stopped),
        T(two_processes_share_what_either_stored),
        T(short_prompts_are_not_kept),
        T(pages_of_another_arithmetic_are_never_found),
        T(a_neighbour_in_memory_is_shared_before_anything_is_written),
        T(a_store_that_is_full_is_told_once_and_the_run_goes_on),
        T(the_first_page_ever_is_told_once),
        T(twice_half_is_the_whole_with_every_sampler),
        T(a_fork_in_memory_shares_pages_and_nothing_else),
        T(a_prefix_is_woken_at_any_token),
        T(a_sleep_behind_the_back_keeps_what_was_then),
        T(a_fold_begins_anew_with_summary_and_tail),
        T(a_fold_of_a_chat_keeps_whole_messages),
        T(a_project_goes_on_from_its_checkpoint_its_fold_or_its_seed),
        T(an_overridden_wake_mounts_and_its_pages_serve_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
