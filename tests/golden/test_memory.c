/* What a model takes beside its file: private memory after a long prompt and after
 * decoding stays within the keys and values, and 64 MiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lemma/lemma.h"

enum { PROMPT = 1500, DECODE = 48 };
static const uint64_t spare = 64u << 20;

static void check_private(const char *what, const lm_session *s, uint64_t before)
{
    lm_memory now;
    lm_metrics m;
    lm_process_memory(&now);
    lm_session_metrics(s, &m);
    uint64_t taken = now.anonymous > before ? now.anonymous - before : 0;
    print_message("%s: %llu KiB private, of that %llu KiB keys and values\n", what,
                  (unsigned long long)taken >> 10, (unsigned long long)m.cache_bytes >> 10);
    if (taken > m.cache_bytes + spare)
        fail_msg("%s: %llu bytes private, keys and values have %llu, allowed beside them are %llu", what,
                 (unsigned long long)taken, (unsigned long long)m.cache_bytes, (unsigned long long)spare);
}

static void check_model(const char *path, const char *compute)
{
    lm_model_options o;
    lm_model *m = NULL;
    lm_session *s = NULL;
    lm_error err = { 0 };
    lm_memory at_start;
    lm_model_info info;
    int32_t ids[PROMPT];
    lm_process_memory(&at_start);
    lm_model_defaults(&o);
    o.context = 2048;
    o.compute = compute;
    if (lm_model_open(&m, path, &o, &err) != LM_OK || lm_session_open(&s, m, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_model_get_info(m, &info);
    check_private("open", s, at_start.anonymous);
    for (uint32_t i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)((i * 7919u + 11) % info.n_vocab);
    assert_int_equal(lm_session_append(s, ids, PROMPT, NULL), LM_OK);
    check_private("prompt", s, at_start.anonymous);
    for (int i = 0; i < DECODE; i++)
        assert_int_equal(lm_session_append(s, &ids[i], 1, NULL), LM_OK);
    check_private("decode", s, at_start.anonymous);
    lm_session_close(s);
    lm_model_close(m);
}

static void check_real(const char *file)
{
    char path[1024];
    struct stat st;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    (void)snprintf(path, sizeof path, "%s%s/lemma/models/%s",
                   cache  ? cache
                   : home ? home
                          : "",
                   cache ? "" : "/.cache", file);
    if (stat(path, &st) != 0) {
        print_message("skipped: %s was not fetched (make models)\n", file);
        return;
    }
    check_model(path, "fast");
    check_model(path, "precise");
}

static void smollm2_takes_its_state_and_little_more(void **state)
{
    (void)state;
    check_real("SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void gemma3_takes_its_state_and_little_more(void **state)
{
    (void)state;
    check_real("gemma-3-270m-q4_k_m.gguf");
}

static void fable_takes_its_state_and_little_more(void **state)
{
    (void)state;
    check_model(LM_SOURCE_DIR "/models/fable", "fast");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fable_takes_its_state_and_little_more),
        cmocka_unit_test(smollm2_takes_its_state_and_little_more),
        cmocka_unit_test(gemma3_takes_its_state_and_little_more),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
