/* Real models (../shared/real; the files come by `make models`) and the small
 * trained model that ships: logits, greedy text and likelihoods against
 * transformers in float32 over the dequantised weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "lemma/lemma.h"
#include "support/npy_lite.h"

/* A margin below this may fall the other way (shared/real/README.md). */
static const double near_tie = 0.05;

static bool there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static int32_t *ids_of(const json_t *a, size_t *n)
{
    int32_t *out = calloc(json_array_size(a) + 1, sizeof *out);
    *n = json_array_size(a);
    for (size_t i = 0; i < *n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(a, i));
    return out;
}

static lm_model *open_model(const char *path, const char *backend, bool all_rows)
{
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    lm_model_defaults(&o);
    o.backend = backend;
    o.context = 2048;
    o.chunk = all_rows ? 128 : 512;
    o.all_rows = all_rows;
    o.cache_dir = NULL;
    if (lm_model_open(&m, path, &o, &err) != LM_OK)
        fail_msg("%s: %s", path, err.text);
    return m;
}

static double spread_of(const float *x, size_t n)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean);
    return sqrt(square / (double)n);
}

static double logits_differ(const float *got, const float *want, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    return worst / spread_of(want, n);
}

/* Greedy tokens agree up to the first near-tie. */
static void check_greedy(lm_session *s, const json_t *greedy, const json_t *margins, size_t vocab,
                         const char *what)
{
    lm_error err = { 0 };
    for (size_t i = 0; i < json_array_size(greedy); i++) {
        const float *l = lm_session_logits(s);
        int32_t best = 0, want = (int32_t)json_integer_value(json_array_get(greedy, i));
        for (size_t v = 1; v < vocab; v++)
            if (l[v] > l[best])
                best = (int32_t)v;
        if (margins && json_number_value(json_array_get(margins, i)) < near_tie)
            return;
        if (best != want)
            fail_msg("%s: greedy token %zu is %d, the reference says %d", what, i, best, want);
        assert_int_equal(lm_session_append(s, &best, 1, &err), LM_OK);
    }
}

static void check_case(lm_model *m, const json_t *c, const float *want, double bound, const char *what)
{
    lm_model_info info;
    lm_session *s = NULL;
    lm_error err = { 0 };
    size_t n;
    int32_t *ids = ids_of(json_object_get(c, "tokens"), &n);
    lm_model_get_info(m, &info);
    assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
    if (lm_session_append(s, ids, n, &err) != LM_OK)
        fail_msg("%s: %s", what, err.text);
    double d = logits_differ(lm_session_logits(s), want, info.n_vocab);
    print_message("  %s: last logits differ by %.2e of the spread (bound %.0e)\n", what, d, bound);
    if (!(d < bound))
        fail_msg("%s: %g", what, d);
    check_greedy(s, json_object_get(c, "greedy"), json_object_get(c, "greedy_margins"), info.n_vocab, what);
    lm_session_close(s);
    free(ids);
}

/* The text of a case becomes the tokens of the case. */
static void check_text(lm_model *m, const json_t *c, const char *what)
{
    const lm_text *t = lm_model_text(m);
    const char *text = json_string_value(json_object_get(c, "text"));
    lm_error err = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    lm_status s;
    assert_non_null(t);
    if (json_is_true(json_object_get(c, "chat"))) {
        json_t *j = json_pack("[{s:s, s:s}]", "role", "user", "content", text);
        char *messages = json_dumps(j, JSON_COMPACT);
        s = lm_text_chat(t, messages, strlen(messages), 0, 0, NULL, NULL, &ids, &n, &err);
        free(messages);
        json_decref(j);
    } else {
        s = lm_text_encode(t, text, strlen(text), LM_ENCODE_POST, &ids, &n, &err);
    }
    if (s != LM_OK)
        fail_msg("%s: %s", what, err.text);
    const json_t *want = json_object_get(c, "tokens");
    assert_int_equal(n, json_array_size(want));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(want, i)));
    lm_give_back(ids);
}

static void check_long(const char *path, const char *backend, const json_t *l, double bound)
{
    size_t n;
    lm_perplexity p;
    lm_error err = { 0 };
    int32_t *ids = ids_of(json_object_get(l, "tokens"), &n);
    double want = json_number_value(json_object_get(l, "mean_nll"));
    lm_model *m = open_model(path, backend, true);
    if (lm_model_perplexity(m, ids, n, &p, &err) != LM_OK)
        fail_msg("%s", err.text);
    print_message("  %s: nll %.6f, the reference says %.6f\n", backend, p.nll_mean, want);
    if (!(fabs(p.nll_mean - want) < bound * want))
        fail_msg("%s on %s: nll %g, the reference says %g", path, backend, p.nll_mean, want);
    lm_model_close(m);
    free(ids);
}

/* `cpu_logits`: measured on the CPU backend's 8-bit activations, stated in
 * docs/models.md; what users see is the likelihood. */
static void check_real(const char *file, const char *folder, double cpu_logits)
{
    char path[1024], expected[1024], logits[1024];
    npy want;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    (void)snprintf(path, sizeof path, "%s%s/lemma/models/%s",
                   cache  ? cache
                   : home ? home
                          : "",
                   cache ? "" : "/.cache", file);
    (void)snprintf(expected, sizeof expected, "%s/real/%s/expected.json", LM_SHARED_DATA, folder);
    (void)snprintf(logits, sizeof logits, "%s/real/%s/last_logits.npy", LM_SHARED_DATA, folder);
    if (!there(expected) || !there(path)) {
        print_message("skipped: %s\n",
                      there(expected) ? "the model was not fetched (make models)" : "no ../shared");
        return;
    }
    json_t *j = json_load_file(expected, 0, NULL);
    assert_non_null(j);
    assert_true(npy_load(logits, &want));
    static const char *const backends[] = { "ref", "cpu" };
    for (int b = 0; b < 2; b++) {
        lm_model *m = open_model(path, backends[b], false);
        lm_model_info info;
        lm_model_get_info(m, &info);
        const json_t *cases = json_object_get(j, "cases");
        for (size_t i = 0; i < json_array_size(cases); i++) {
            char what[128];
            size_t row = (size_t)json_integer_value(json_object_get(json_array_get(cases, i), "last_row"));
            (void)snprintf(what, sizeof what, "%s %s case %zu", file, backends[b], i);
            check_text(m, json_array_get(cases, i), what);
            check_case(m, json_array_get(cases, i), want.data + row * info.n_vocab, b ? cpu_logits : 1e-3,
                       what);
        }
        lm_model_close(m);
        check_long(path, backends[b], json_object_get(j, "long"), b ? 5e-3 : 1e-3);
    }
    npy_free(&want);
    json_decref(j);
}

static void smollm2_answers_as_the_reference(void **state)
{
    (void)state;
    check_real("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct-q4_1", 0.25);
}

static void gemma3_answers_as_the_reference(void **state)
{
    (void)state;
    check_real("gemma-3-270m-q4_k_m.gguf", "gemma-3-270m-q4_k_m", 0.25);
}

/* The model that ships: always tested. */
static void fable_answers_as_the_reference(void **state)
{
    static const char *const backends[] = { "ref", "cpu" };
    static const char prompt[] = "[{\"role\":\"user\",\"content\":\"Tell me a story called The Golden "
                                 "Apple.\"}]";
    json_t *j = json_load_file(LM_TEST_DATA "/fable/expected.json", 0, NULL);
    npy want;
    (void)state;
    assert_non_null(j);
    assert_true(npy_load(LM_TEST_DATA "/fable/last_logits.npy", &want));
    for (int b = 0; b < 2; b++) {
        lm_model *m = open_model(LM_SOURCE_DIR "/models/fable", backends[b], false);
        json_t *c =
            json_pack("{s:O, s:O, s:O}", "tokens", json_object_get(j, "prompt"), "greedy",
                      json_object_get(j, "greedy"), "greedy_margins", json_object_get(j, "greedy_margins"));
        lm_error err = { 0 };
        int32_t *ids = NULL;
        size_t n = 0;
        assert_int_equal(
            lm_text_chat(lm_model_text(m), prompt, strlen(prompt), 0, 0, NULL, NULL, &ids, &n, &err), LM_OK);
        assert_int_equal(n, json_array_size(json_object_get(j, "prompt")));
        for (size_t i = 0; i < n; i++)
            assert_int_equal(ids[i], json_integer_value(json_array_get(json_object_get(j, "prompt"), i)));
        lm_give_back(ids);
        check_case(m, c, want.data, b ? 0.25 : 1e-3, b ? "fable on cpu" : "fable on ref");
        json_decref(c);
        lm_model_close(m);
        check_long(LM_SOURCE_DIR "/models/fable", backends[b], json_object_get(j, "long"), b ? 5e-3 : 1e-3);
    }
    npy_free(&want);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fable_answers_as_the_reference),
        cmocka_unit_test(smollm2_answers_as_the_reference),
        cmocka_unit_test(gemma3_answers_as_the_reference),
    };
    return cmocka_run_group_tests_name("real models", tests, NULL, NULL);
}
