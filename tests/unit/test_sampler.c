/* The sampling stages against a second implementation (scripts/
 * gen_sampler_cases.py), and the promises of include/lemma/sample.h. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "sample/chain.h"
#include "sample/order.h"
#include "sample/rng.h"
#include "sample/stages.h"
#include "sample/vexp.h"

/* ---- helpers --------------------------------------------------------------- */

/* The same numbers on every machine. */
static double noise(uint64_t seed, uint64_t i)
{
    return lm_rng_unit(seed ^ UINT64_C(0x7e57), i, 77);
}

static double gauss(uint64_t seed, uint64_t i)
{
    double u = noise(seed, 2 * i), v = noise(seed, 2 * i + 1);
    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

static float *gauss_row(uint32_t n, double spread, uint64_t seed)
{
    float *row = malloc(n * sizeof *row);
    assert_non_null(row);
    for (uint32_t i = 0; i < n; i++)
        row[i] = (float)(spread * gauss(seed, i));
    return row;
}

/* Every stage off: the raw distribution at temperature 1. */
static lm_sample_params plain(void)
{
    lm_sample_params p;
    lm_sample_defaults(&p);
    p.temperature = 1.0f;
    p.top_k = 0;
    p.top_p = 1.0f;
    p.min_p = 0.0f;
    return p;
}

static lm_sampler *opened(const lm_sample_params *p, uint32_t n_vocab)
{
    lm_sampler *s = NULL;
    lm_error err = { 0 };
    if (lm_sampler_open(&s, p, n_vocab, NULL, NULL, 0, &err) != LM_OK)
        fail_msg("open: %s", err.text);
    return s;
}

static void accept_all(lm_sampler *s, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(lm_sampler_accept(s, tokens[i], false, NULL), LM_OK);
}

static int32_t drawn(lm_sampler *s, const float *logits, uint64_t position)
{
    float *row = malloc(s->n_vocab * sizeof *row);
    int32_t token = -1;
    assert_non_null(row);
    memcpy(row, logits, s->n_vocab * sizeof *row);
    assert_int_equal(lm_sampler_draw(s, row, position, &token, NULL), LM_OK);
    free(row);
    return token;
}

static int by_token(const void *a, const void *b)
{
    const lm_cand *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

/* ---- the cases of the second implementation ---------------------------------- */

static double number(const json_t *object, const char *key, double otherwise)
{
    const json_t *v = json_object_get(object, key);
    return v ? json_number_value(v) : otherwise;
}

static lm_sample_params case_params(const json_t *c)
{
    lm_sample_params p;
    lm_sample_defaults(&p);
    p.dry_breakers = (const char *const[]){ "none" }; /* strings need a tokenizer: see below */
    p.n_dry_breakers = 0;
    p.seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(c, "params"), key, v)
    {
#define FLOAT(name)                                                                                          \
    if (strcmp(key, #name) == 0) {                                                                           \
        p.name = (float)json_number_value(v);                                                                \
        continue;                                                                                            \
    }
#define INT(name)                                                                                            \
    if (strcmp(key, #name) == 0) {                                                                           \
        p.name = (int32_t)json_integer_value(v);                                                             \
        continue;                                                                                            \
    }
#define UINT(name)                                                                                           \
    if (strcmp(key, #name) == 0) {                                                                           \
        p.name = (uint32_t)json_integer_value(v);                                                            \
        continue;                                                                                            \
    }
        FLOAT(temperature)
        FLOAT(dynatemp_range)
        FLOAT(dynatemp_exponent)
        INT(top_k)
        FLOAT(top_p)
        FLOAT(min_p)
        FLOAT(typical)
        FLOAT(top_n_sigma)
        FLOAT(xtc_probability)
        FLOAT(xtc_threshold)
        UINT(min_keep)
        INT(penalty_last_n)
        FLOAT(penalty_repeat)
        FLOAT(penalty_frequency)
        FLOAT(penalty_presence)
        FLOAT(dry_multiplier)
        FLOAT(dry_base)
        INT(dry_allowed_length)
        INT(dry_penalty_last_n)
        INT(mirostat)
        FLOAT(mirostat_tau)
        FLOAT(mirostat_eta)
        UINT(min_tokens)
        if (strcmp(key, "ignore_eos") == 0)
            p.ignore_eos = json_is_true(v);
        else
            fail_msg("case has an unknown parameter %s", key);
#undef FLOAT
#undef INT
#undef UINT
    }
    return p;
}

static void set_stages(lm_sample_params *p, const json_t *names)
{
    char text[200] = "";
    size_t i, at = 0;
    json_t *v;
    if (!names)
        return;
    json_array_foreach(names, i, v) at +=
        (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? ";" : "", json_string_value(v));
    assert_int_equal(lm_sample_parse_stages(p, text, NULL), LM_OK);
}

/* At most 128 numbers, null being -infinity. */
static size_t floats(const json_t *a, float out[128])
{
    size_t i;
    json_t *v;
    json_array_foreach(a, i, v) out[i] = json_is_null(v) ? -INFINITY : (float)json_number_value(v);
    return json_array_size(a);
}

static size_t ints(const json_t *a, int32_t out[128])
{
    size_t i;
    json_t *v;
    json_array_foreach(a, i, v) out[i] = (int32_t)json_integer_value(v);
    return json_array_size(a);
}

static void set_history(lm_sampler *s, const json_t *c)
{
    int32_t tokens[128];
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(c, "breakers"), i, v)
    {
        size_t n = ints(v, tokens);
        if (s->dry.window)
            assert_int_equal(lm_breakers_add(&s->dry.breakers, tokens[0], tokens + 1, n - 1, NULL), LM_OK);
    }
    accept_all(s, tokens, ints(json_object_get(c, "history"), tokens));
    s->n_generated = (uint64_t)number(c, "generated", 0);
    s->mu = (float)number(c, "mu", (double)s->mu);
}

static void compare_candidates(lm_sampler *s, const json_t *c, const float *logits, uint64_t position)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *expect = json_object_get(c, "expect");
    const lm_cand *list;
    lm_cand sorted[128];
    float row[128];
    size_t n;
    memcpy(row, logits, s->n_vocab * sizeof *row);
    assert_int_equal(lm_sampler_candidates(s, row, position, &list, &n, NULL), LM_OK);
    if (n != json_array_size(expect))
        fail_msg("%s: %zu candidates, expected %zu", name, n, json_array_size(expect));
    memcpy(sorted, list, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_token);
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(expect, i);
        int token = (int)json_integer_value(json_array_get(pair, 0));
        double p = json_number_value(json_array_get(pair, 1));
        if (sorted[i].token != token)
            fail_msg("%s: candidate %zu is token %d, expected %d", name, i, sorted[i].token, token);
        /* float32 logits of up to 40: exp's argument is known to about 4e-6. */
        if (fabs((double)sorted[i].p - p) > 3e-5 * p + 1e-9)
            fail_msg("%s: token %d has p %.9g, expected %.9g", name, token, (double)sorted[i].p, p);
    }
}

static void compare_draw(lm_sampler *s, const json_t *c, const float *logits, uint64_t position)
{
    const json_t *expect = json_object_get(c, "expect"), *mu = json_object_get(c, "mu_after");
    const int32_t token = drawn(s, logits, position);
    for (size_t i = 0; i < json_array_size(expect); i++) {
        if (json_integer_value(json_array_get(json_array_get(expect, i), 0)) != token)
            continue;
        if (mu)
            assert_true(fabs((double)s->mu - json_number_value(json_array_get(mu, i))) < 1e-4);
        return;
    }
    fail_msg("%s: drew token %d, which is no candidate", json_string_value(json_object_get(c, "name")),
             token);
}

static void stages_agree_with_the_second_implementation(void **state)
{
    json_error_t why;
    json_t *root = json_load_file(LM_TEST_DATA "/sample/cases.json", 0, &why), *c;
    size_t i, n_cases = 0;
    (void)state;
    if (!root)
        fail_msg("cases.json: %s", why.text);
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        float logits[128];
        int32_t stops[128];
        lm_logit_bias bias[8];
        lm_sample_params p = case_params(c);
        const json_t *biases = json_object_get(c, "bias");
        set_stages(&p, json_object_get(c, "stages"));
        for (size_t j = 0; j < json_array_size(biases); j++) {
            const json_t *pair = json_array_get(biases, j), *by = json_array_get(pair, 1);
            bias[j] = (lm_logit_bias){ (int32_t)json_integer_value(json_array_get(pair, 0)),
                                       json_is_null(by) ? -INFINITY : (float)json_number_value(by) };
        }
        p.bias = bias;
        p.n_bias = json_array_size(biases);
        uint32_t n_vocab = (uint32_t)floats(json_object_get(c, "logits"), logits);
        size_t n_stops = ints(json_object_get(c, "stops"), stops);
        uint64_t position = (uint64_t)json_integer_value(json_object_get(c, "position"));
        lm_sampler *s = NULL;
        lm_error err = { 0 };
        if (lm_sampler_open(&s, &p, n_vocab, NULL, stops, n_stops, &err) != LM_OK)
            fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), err.text);
        set_history(s, c);
        compare_candidates(s, c, logits, position);
        compare_draw(s, c, logits, position);
        lm_sampler_close(s);
        n_cases++;
    }
    assert_int_equal(n_cases, 218);
    json_array_foreach(json_object_get(root, "units"), i, c)
    {
        double u = lm_rng_unit((uint64_t)json_integer_value(json_array_get(c, 0)),
                               (uint64_t)json_integer_value(json_array_get(c, 1)),
                               (uint32_t)json_integer_value(json_array_get(c, 2)));
        assert_true(u == strtod(json_string_value(json_array_get(c, 3)), NULL));
    }
    json_decref(root);
}

/* ---- the pieces ------------------------------------------------------------- */

static void philox_gives_the_published_vectors(void **state)
{
    /* Random123 1.14, tests/kat_vectors. */
    static const uint32_t kat[3][10] = {
        { 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
        { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e,
          0xa20bc7c6, 0x6d5451fd },
        { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
          0x5001e420, 0x24126ea1 },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(kat); i++) {
        uint32_t out[4];
        lm_philox(kat[i], kat[i] + 4, out);
        assert_memory_equal(out, kat[i] + 6, sizeof out);
    }
}

static void exp_is_within_its_bound(void **state)
{
    double worst = 0.0;
    (void)state;
    for (int i = 0; i <= 870000; i++) {
        float x = (float)i * -1e-4f;
        double want = exp((double)x), got = (double)lm_exp_neg(x);
        worst = fmax(worst, fabs(got / want - 1.0));
    }
    if (worst > 3e-7)
        fail_msg("relative error %.3g, allowed 3e-7", worst);
    assert_true(lm_exp_neg(0.0f) == 1.0f);
    assert_true(lm_exp_neg(-INFINITY) == 0.0f);
    assert_true(lm_exp_neg(-FLT_MAX) == 0.0f);
}

static int keys_down(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

static void selecting_equals_sorting(void **state)
{
    enum { N = 3000 };
    static uint64_t keys[N], want[N];
    (void)state;
    for (uint32_t shape = 0; shape < 5; shape++) {
        for (uint32_t i = 0; i < N; i++) {
            /* noise, rising, falling, few values, saw */
            float x = shape == 0   ? (float)gauss(shape, i)
                      : shape == 1 ? (float)i
                      : shape == 2 ? -(float)i
                      : shape == 3 ? (float)(i % 3)
                                   : (float)(i % 64) * (i & 1 ? 1.0f : -1.0f);
            want[i] = lm_key(x, i);
            assert_int_equal(lm_key_token(want[i]), i);
            assert_true(lm_key_value(want[i]) == x);
        }
        static const size_t sizes[] = { 1, 2, 24, 25, 1000, N };
        for (size_t z = 0; z < LM_LEN(sizes); z++) {
            size_t n = sizes[z];
            static uint64_t sorted[N];
            memcpy(sorted, want, n * sizeof *sorted);
            qsort(sorted, n, sizeof *sorted, keys_down);
            memcpy(keys, want, n * sizeof *keys);
            lm_keys_sort(keys, n);
            assert_memory_equal(keys, sorted, n * sizeof *keys);
            size_t m = n / 3 + 1;
            memcpy(keys, want, n * sizeof *keys);
            lm_keys_select(keys, n, m);
            qsort(keys, m, sizeof *keys, keys_down);
            assert_memory_equal(keys, sorted, m * sizeof *keys);
        }
    }
}

/* Rows long enough for every block and tail, with ties, in bad orders. */
static void top_k_of_long_rows_equals_a_full_sort(void **state)
{
    static const uint32_t sizes[] = { 1, 15, 16, 17, 255, 1023, 5003 };
    static const int32_t ks[] = { 1, 2, 40, 300, 6000 };
    (void)state;
    for (size_t z = 0; z < LM_LEN(sizes); z++) {
        for (int shape = 0; shape < 4; shape++) {
            const uint32_t n = sizes[z];
            float *row = gauss_row(n, 3.0, z);
            uint64_t *keys = malloc(n * sizeof *keys);
            assert_non_null(keys);
            for (uint32_t i = 0; i < n; i++) {
                row[i] = shape == 1   ? (float)i
                         : shape == 2 ? -(float)i
                         : shape == 3 ? roundf(row[i])
                                      : row[i];
                keys[i] = lm_key(row[i], i);
            }
            qsort(keys, n, sizeof *keys, keys_down);
            for (size_t j = 0; j < LM_LEN(ks); j++) {
                lm_cands c;
                assert_int_equal(lm_cands_init(&c, n, NULL), LM_OK);
                assert_true(lm_cands_begin(&c, row));
                lm_stage_top_k(&c, ks[j], 0);
                assert_int_equal(c.n, LM_MIN((uint32_t)ks[j], n));
                for (uint32_t i = 0; i < c.n; i++)
                    assert_int_equal(c.list[i].token, (int32_t)lm_key_token(keys[i]));
                lm_cands_clear(&c);
            }
            free(keys);
            free(row);
        }
    }
}

/* The same stage on the dense row and on a list of all must leave the same. */
static void dense_and_list_give_the_same_answer(void **state)
{
    enum { N = 4099 };
    (void)state;
    for (int stage = 0; stage < 8; stage++) {
        float *row = gauss_row(N, 2.5, 91), *copy = gauss_row(N, 2.5, 91);
        lm_cands a, b;
        assert_int_equal(lm_cands_init(&a, N, NULL), LM_OK);
        assert_int_equal(lm_cands_init(&b, N, NULL), LM_OK);
        row[7] = copy[7] = -INFINITY;
        assert_true(lm_cands_begin(&a, row));
        assert_true(lm_cands_begin(&b, copy));
        lm_cands_to_list(&b);
        assert_int_equal(b.n, N - 1);
        for (int i = 0; i < 2; i++) {
            lm_cands *c = i ? &b : &a;
            switch (stage) {
            case 0: lm_stage_top_k(c, 77, 0); break;
            case 1: lm_stage_top_p(c, 0.9f, 0); break;
            case 2: lm_stage_min_p(c, 0.02f, 0); break;
            case 3: lm_stage_typical(c, 0.5f, 0); break;
            case 4: lm_stage_top_n_sigma(c, 1.5f); break;
            case 5: lm_stage_xtc(c, 1.0f, 0.003f, 0, 0.5); break;
            case 6: lm_stage_temperature(c, 0.7f, 0.4f, 1.3f); break;
            case 7: lm_stage_mirostat_1(c, 6.0f, N); break;
            }
        }
        lm_cands_to_list(&a);
        lm_cands_softmax(&a);
        lm_cands_softmax(&b);
        assert_int_equal(a.n, b.n);
        assert_true(a.n > 1 && (a.n < N - 1 || stage == 6));
        qsort(a.list, a.n, sizeof *a.list, by_token);
        qsort(b.list, b.n, sizeof *b.list, by_token);
        for (uint32_t i = 0; i < a.n; i++) {
            assert_int_equal(a.list[i].token, b.list[i].token);
            assert_true(fabsf(a.list[i].p - b.list[i].p) <= 1e-5f * b.list[i].p);
        }
        lm_cands_clear(&a);
        lm_cands_clear(&b);
        free(row);
        free(copy);
    }
}

static void argmax_takes_the_lowest_of_equals_and_no_nan(void **state)
{
    float row[3000];
    (void)state;
    for (int i = 0; i < 3000; i++)
        row[i] = -5.0f;
    row[1] = NAN;
    row[1500] = row[2999] = 4.0f;
    assert_int_equal(lm_argmax(row, 3000), 1500);
    row[0] = 4.0f;
    assert_int_equal(lm_argmax(row, 3000), 0);
    row[0] = NAN;
    row[1500] = row[2999] = -INFINITY;
    assert_int_equal(lm_argmax(row, 3000), 2);
    lm_sample_params p = plain();
    p.temperature = 0.0f;
    lm_sampler *s = opened(&p, 5);
    assert_int_equal(drawn(s, (float[]){ 1, 3, NAN, 3, 2 }, 0), 1);
    assert_int_equal(drawn(s, (float[]){ 1, 3, INFINITY, 3, 2 }, 0), 2);
    lm_sampler_close(s);
}

static void logprobs_are_those_of_the_raw_row(void **state)
{
    enum { N = 2051 };
    float *row = gauss_row(N, 3.0, 5), chosen;
    lm_token_logprob top[N + 2];
    double sum = 0.0;
    (void)state;
    row[100] = NAN;
    row[101] = -INFINITY;
    row[5] = row[9] = 30.0f;
    for (int i = 0; i < N; i++)
        sum += isfinite(row[i]) ? exp((double)row[i]) : 0.0;
    lm_logprobs(row, N, 17, &chosen, top, 20);
    assert_true(fabs((double)chosen - ((double)row[17] - log(sum))) < 2e-5);
    assert_int_equal(top[0].token, 5);
    assert_int_equal(top[1].token, 9);
    for (int i = 1; i < 20; i++)
        assert_true(lm_key(top[i - 1].logprob, (uint32_t)top[i - 1].token) >
                    lm_key(top[i].logprob, (uint32_t)top[i].token));
    for (int i = 0; i < N; i++) { /* nothing above the last was missed */
        bool listed = false;
        for (int j = 0; j < 20; j++)
            listed = listed || top[j].token == i;
        assert_true(listed || !((double)row[i] - log(sum) > (double)top[19].logprob + 1e-5));
    }
    lm_logprobs(row, N, 101, &chosen, top, N + 2);
    assert_true(chosen == -INFINITY);
    assert_int_equal(top[N - 2].token, -1); /* one NaN and one -infinity: N - 2 real ones */
    assert_true(top[N - 3].token >= 0);
    lm_logprobs(row, N, 100, &chosen, NULL, 0);
    assert_true(chosen == -INFINITY);
    free(row);
}

/* ---- draws ------------------------------------------------------------------- */

/* Chi-square of 20,000 draws against the candidates' own probabilities; the bound
 * is the 0.9999 quantile (Wilson and Hilferty). */
static void check_frequencies(const lm_sample_params *p, const float *logits, uint32_t n_vocab)
{
    enum { DRAWS = 20000 };
    lm_sampler *s = opened(p, n_vocab);
    const lm_cand *list;
    size_t n;
    float row[64];
    double expected[64] = { 0 }, chi2 = 0.0, rest = 0.0;
    int seen[64] = { 0 }, seen_rest = 0, n_bins = 0;
    memcpy(row, logits, n_vocab * sizeof *row);
    assert_int_equal(lm_sampler_candidates(s, row, 0, &list, &n, NULL), LM_OK);
    for (size_t i = 0; i < n; i++)
        expected[list[i].token] = (double)list[i].p * DRAWS;
    for (uint64_t at = 0; at < DRAWS; at++)
        seen[drawn(s, logits, at)]++;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (expected[i] <= 0.0)
            assert_int_equal(seen[i], 0);
        if (expected[i] < 8.0) { /* too few for a bin of their own */
            rest += expected[i];
            seen_rest += seen[i];
            continue;
        }
        chi2 += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
        n_bins++;
    }
    if (rest >= 8.0) {
        chi2 += (seen_rest - rest) * (seen_rest - rest) / rest;
        n_bins++;
    }
    double df = n_bins - 1, h = 2.0 / (9.0 * df);
    double bound = df * pow(1.0 - h + 3.719 * sqrt(h), 3.0);
    assert_true(n_bins > 3);
    if (chi2 > bound)
        fail_msg("chi-square %.1f with %g degrees of freedom, allowed %.1f", chi2, df, bound);
    lm_sampler_close(s);
}

static void draws_follow_the_probabilities(void **state)
{
    float *row = gauss_row(50, 2.0, 3);
    (void)state;
    lm_sample_params p = plain();
    p.seed = 42;
    check_frequencies(&p, row, 50); /* dense */
    p.top_k = 12;
    p.temperature = 1.3f;
    check_frequencies(&p, row, 50); /* a sorted list */
    p.top_k = 0;
    p.min_p = 0.01f;
    p.seed = UINT64_MAX;
    check_frequencies(&p, row, 50); /* a list in token order */
    free(row);
}

static void dense_draws_reach_every_block(void **state)
{
    enum { N = 10000 };
    float *row = malloc(N * sizeof *row);
    int seen[10] = { 0 };
    (void)state;
    assert_non_null(row);
    for (int i = 0; i < N; i++)
        row[i] = 1.0f;
    lm_sample_params p = plain();
    lm_sampler *s = opened(&p, N);
    for (uint64_t at = 0; at < 2000; at++)
        seen[drawn(s, row, at) / 1000]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(seen[i], 140, 260); /* 200 expected, sigma 13.4 */
    lm_sampler_close(s);
    free(row);
}

/* Every u must land on the token whose share of the running sum holds it; a sum
 * of the same numbers in another order may differ by 1e-6. */
static void dense_draws_follow_the_running_sum(void **state)
{
    enum { N = 5003 };
    float *row = gauss_row(N, 2.0, 17);
    double *below = malloc((N + 1) * sizeof *below), max = -INFINITY;
    (void)state;
    assert_non_null(below);
    row[0] = row[N - 1] = row[1024] = -INFINITY;
    for (int i = 0; i < N; i++)
        max = fmax(max, (double)row[i]);
    below[0] = 0.0;
    for (int i = 0; i < N; i++)
        below[i + 1] = below[i] + exp((double)row[i] - max);
    lm_cands c;
    assert_int_equal(lm_cands_init(&c, N, NULL), LM_OK);
    assert_true(lm_cands_begin(&c, row));
    for (int i = 0; i <= 4000; i++) {
        const double u = i < 4000 ? i / 4000.0 : 1.0 - 0x1p-53;
        float p;
        int32_t t = lm_cands_pick(&c, u, &p);
        assert_true(row[t] > -INFINITY);
        assert_true(below[t] / below[N] <= u + 1e-6 && u <= below[t + 1] / below[N] + 1e-6);
        assert_true(fabs((double)p - (below[t + 1] - below[t]) / below[N]) < 1e-6);
    }
    lm_cands_clear(&c);
    free(below);
    free(row);
}

/* What DRY takes off each of 10 tokens after `tokens`; the memory behind the
 * last token holds a stale 9. */
static void dry_of(const lm_breakers *b, const int32_t *tokens, size_t n, float taken[10])
{
    int32_t run[64];
    float row[10] = { 0 };
    lm_sample_params p = plain();
    p.dry_multiplier = 1.0f;
    p.dry_base = 2.0f;
    p.dry_breakers = (const char *const[]){ "none" };
    lm_dry d;
    lm_cands c;
    memcpy(run, tokens, n * sizeof *run);
    run[n] = 9;
    lm_history h = { .tokens = run, .n = n, .cap = 64, .window = LM_HISTORY_ALL };
    assert_int_equal(lm_dry_init(&d, &p, NULL, 10, NULL), LM_OK);
    for (size_t i = 0; i < b->n; i++) {
        const int32_t *tail = b->items[i].n ? b->tails + b->items[i].first : NULL;
        assert_int_equal(lm_breakers_add(&d.breakers, b->items[i].head, tail, b->items[i].n, NULL), LM_OK);
    }
    assert_int_equal(lm_dry_reserve(&d, 64, NULL), LM_OK);
    assert_int_equal(lm_cands_init(&c, 10, NULL), LM_OK);
    assert_true(lm_cands_begin(&c, row));
    lm_stage_dry(&c, &d, &h, &p);
    for (int i = 0; i < 10; i++)
        taken[i] = -row[i];
    lm_cands_clear(&c);
    lm_dry_clear(&d);
}

static void dry_counts_from_behind_the_longest_whole_breaker(void **state)
{
    static const int32_t tokens[] = { 1, 5, 6, 2, 3, 4, 7, 1, 5, 6, 2, 3 };
    float taken[10];
    lm_breakers b = { 0 };
    (void)state;
    dry_of(&b, tokens, 12, taken); /* 1 5 6 2 3 again: five tokens, 2^(5-2) */
    assert_true(taken[4] == 8.0f);
    for (int i = 0; i < 10; i++)
        assert_true(i == 4 || taken[i] == 0.0f);
    assert_int_equal(lm_breakers_add(&b, 5, NULL, 0, NULL), LM_OK);
    dry_of(&b, tokens, 12, taken); /* behind the 5: 6 2 3 */
    assert_true(taken[4] == 2.0f);
    assert_int_equal(lm_breakers_add(&b, 5, (const int32_t[]){ 6 }, 1, NULL), LM_OK);
    dry_of(&b, tokens, 12, taken); /* behind 5 6: 2 3, whichever way came first */
    assert_true(taken[4] == 1.0f);
    lm_breakers_clear(&b);
    assert_int_equal(lm_breakers_add(&b, 5, (const int32_t[]){ 6 }, 1, NULL), LM_OK);
    assert_int_equal(lm_breakers_add(&b, 5, NULL, 0, NULL), LM_OK);
    dry_of(&b, tokens, 12, taken);
    assert_true(taken[4] == 1.0f);
    lm_breakers_clear(&b);
    /* A breaker that the context has only begun is none yet: the 6 counts. */
    assert_int_equal(lm_breakers_add(&b, 3, (const int32_t[]){ 9 }, 1, NULL), LM_OK);
    assert_int_equal(lm_breakers_add(&b, 6, NULL, 0, NULL), LM_OK);
    dry_of(&b, tokens, 12, taken);
    assert_true(taken[4] == 1.0f);
    lm_breakers_clear(&b);
}

/* N3 */
static void a_draw_depends_on_seed_and_position_alone(void **state)
{
    enum { N = 300, DRAWS = 200 };
    float *row = gauss_row(N, 1.0, 8);
    lm_sample_params p;
    int32_t first[DRAWS];
    int moved = 0, reseeded = 0;
    (void)state;
    lm_sample_defaults(&p);
    p.xtc_probability = 0.5f;
    p.xtc_threshold = 0.01f;
    p.seed = 7;
    lm_sampler *a = opened(&p, N);
    for (uint64_t i = 0; i < DRAWS; i++)
        first[i] = drawn(a, row, i);
    /* Backwards, with another request's draws in between. */
    lm_sampler *b = opened(&p, N);
    p.seed = 8;
    lm_sampler *other = opened(&p, N);
    for (uint64_t i = DRAWS; i-- > 0;) {
        reseeded += drawn(other, row, i) != first[i];
        assert_int_equal(drawn(b, row, i), first[i]);
        moved += i + 1 < DRAWS && first[i] != first[i + 1];
    }
    assert_true(moved > DRAWS / 2);
    assert_true(reseeded > DRAWS / 2);
    lm_sampler_close(a);
    lm_sampler_close(b);
    lm_sampler_close(other);
    free(row);
}

static void xtc_acts_as_often_as_its_probability(void **state)
{
    float logits[] = { 3.0f, 2.5f, 2.0f, -4.0f };
    int acted = 0;
    (void)state;
    lm_sample_params p = plain();
    p.xtc_probability = 0.3f;
    p.seed = 99;
    lm_sampler *s = opened(&p, 4);
    for (uint64_t at = 0; at < 4000; at++) {
        const lm_cand *list;
        size_t n;
        float row[4];
        memcpy(row, logits, sizeof row);
        assert_int_equal(lm_sampler_candidates(s, row, at, &list, &n, NULL), LM_OK);
        assert_true(n == 4 || n == 2);
        acted += n == 2;
    }
    assert_in_range(acted, 1080, 1320); /* 1200, sigma 29 */
    lm_sampler_close(s);
}

static void nothing_to_draw_from_is_an_error(void **state)
{
    lm_sample_params p;
    lm_error err = { 0 };
    int32_t token = 55;
    float row[3] = { NAN, -INFINITY, NAN };
    (void)state;
    lm_sample_defaults(&p);
    lm_sampler *s = opened(&p, 3);
    assert_int_equal(lm_sampler_draw(s, row, 12, &token, &err), LM_ERR_FAILED);
    assert_string_equal(
        err.text, "no token can be drawn at position 12: all 3 logits are NaN, -infinity or suppressed");
    assert_int_equal(token, 55);
    lm_sampler_close(s);
    lm_logit_bias ban[] = { { 0, -INFINITY }, { 1, -INFINITY }, { 2, -INFINITY } };
    p.bias = ban;
    p.n_bias = 3;
    s = opened(&p, 3);
    assert_int_equal(lm_sampler_draw(s, (float[]){ 1, 2, 3 }, 0, &token, NULL), LM_ERR_FAILED);
    lm_sampler_close(s);
}

/* Extreme rows through every stage: there is always an answer, and never a
 * suppressed one. */
static void extreme_rows_always_give_a_candidate(void **state)
{
    static const float odd[] = { INFINITY, -INFINITY, NAN,    FLT_MAX, -FLT_MAX,
                                 0.0f,     -0.0f,     1e-40f, 88.0f,   -1e30f };
    const int32_t stops[] = { 3 };
    (void)state;
    for (uint64_t trial = 0; trial < 3000; trial++) {
        lm_sample_params p;
        lm_sample_defaults(&p);
        p.dry_breakers = (const char *const[]){ "none" };
        float row[20];
        uint32_t n = 4 + (uint32_t)(noise(trial, 1) * 16);
        row[0] = 1.0f;
        for (uint32_t i = 1; i < n; i++)
            row[i] = odd[(size_t)(noise(trial, i + 10) * LM_LEN(odd))];
#define SOMETIMES(k, field, value)                                                                           \
    if (noise(trial, 100 + (k)) < 0.4)                                                                       \
    p.field = (value)
        SOMETIMES(0, temperature, (float)(noise(trial, 40) * 2e-5));
        SOMETIMES(1, top_k, (int32_t)(noise(trial, 41) * 30));
        SOMETIMES(2, top_p, (float)noise(trial, 42));
        SOMETIMES(3, min_p, (float)noise(trial, 43));
        SOMETIMES(4, typical, (float)noise(trial, 44));
        SOMETIMES(5, top_n_sigma, (float)noise(trial, 45));
        SOMETIMES(6, xtc_probability, 1.0f);
        SOMETIMES(7, xtc_threshold, 0.0f);
        SOMETIMES(8, penalty_repeat, 100.0f);
        SOMETIMES(9, dry_multiplier, 1000.0f);
        SOMETIMES(10, dry_base, 1000.0f);
        SOMETIMES(11, mirostat, 1 + (int32_t)(noise(trial, 46) * 2));
        SOMETIMES(12, dynatemp_range, 1.0f);
        SOMETIMES(13, min_keep, 4);
        SOMETIMES(14, mirostat_tau, 1000.0f);
        SOMETIMES(15, dry_allowed_length, 0);
        p.ignore_eos = true;
        lm_sampler *s = NULL;
        assert_int_equal(lm_sampler_open(&s, &p, n, NULL, stops, 1, NULL), LM_OK);
        for (uint32_t i = 0; i < 40; i++)
            assert_int_equal(lm_sampler_accept(s, (int32_t)(i % 3), true, NULL), LM_OK);
        for (uint64_t at = 0; at < 3; at++) {
            int32_t t = drawn(s, row, at);
            assert_in_range(t, 0, (int32_t)n - 1);
            assert_true(t != 3 && !isnan(row[t]) && row[t] > -INFINITY);
            assert_true(isfinite(s->mu));
        }
        lm_sampler_close(s);
    }
}

static void stop_tokens_wait_for_min_tokens(void **state)
{
    lm_sample_params p = plain();
    const int32_t stops[] = { 2, 4 };
    const float logits[] = { 0, 1, 9, 0, 8 };
    lm_sampler *s = NULL;
    (void)state;
    p.temperature = 0.0f;
    p.min_tokens = 2;
    assert_int_equal(lm_sampler_open(&s, &p, 5, NULL, stops, 2, NULL), LM_OK);
    for (int i = 0; i < 4; i++) /* the prompt does not count */
        assert_int_equal(lm_sampler_accept(s, 0, false, NULL), LM_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(drawn(s, logits, 4), 1);
        assert_int_equal(lm_sampler_accept(s, 1, true, NULL), LM_OK);
    }
    assert_int_equal(drawn(s, logits, 6), 2);
    lm_sampler_close(s);
}

/* Counts kept up to date as the window moves equal counts taken afresh. */
static void a_moving_window_forgets_what_leaves_it(void **state)
{
    lm_sample_params p = plain();
    int32_t tokens[500];
    (void)state;
    p.penalty_last_n = 7;
    p.penalty_frequency = 0.5f;
    p.dry_multiplier = 1.0f;
    p.dry_breakers = (const char *const[]){ "none" };
    p.dry_penalty_last_n = 11;
    lm_sampler *s = opened(&p, 9);
    for (int i = 0; i < 500; i++) {
        tokens[i] = (int32_t)(noise(6, (uint64_t)i) * 9);
        assert_int_equal(lm_sampler_accept(s, tokens[i], false, NULL), LM_OK);
        int32_t count[9] = { 0 };
        for (int j = i; j >= 0 && j > i - 7; j--)
            count[tokens[j]]++;
        uint32_t n_seen = 0;
        for (int t = 0; t < 9; t++) {
            assert_int_equal(s->penalties.count[t], count[t]);
            n_seen += count[t] > 0;
        }
        assert_int_equal(s->penalties.n_seen, n_seen);
        size_t n = lm_history_len(&s->history, 11);
        assert_int_equal(n, i < 11 ? i + 1 : 11);
        for (size_t j = 0; j < n; j++)
            assert_int_equal(s->history.tokens[s->history.n - 1 - j], tokens[(size_t)i - j]);
    }
    assert_true(s->history.cap <= 22);
    lm_sampler_close(s);
}

/* A context of one token repeated is what makes the naive comparison quadratic:
 * 2e10 steps here, a minute; the test's own limit would notice. */
static void dry_is_linear_in_the_context(void **state)
{
    lm_sample_params p = plain();
    float logits[4] = { 1, 2, 3, 4 };
    (void)state;
    p.dry_multiplier = 1.0f;
    p.dry_breakers = (const char *const[]){ "none" };
    lm_sampler *s = opened(&p, 4);
    for (int i = 0; i < 200000; i++)
        assert_int_equal(lm_sampler_accept(s, 1, false, NULL), LM_OK);
    for (uint64_t at = 0; at < 20; at++)
        assert_int_not_equal(drawn(s, logits, at), 1);
    lm_sampler_close(s);
}

/* ---- breakers from strings ----------------------------------------------------- */

static void breaker_strings_need_a_tokenizer(void **state)
{
    lm_sample_params p = plain();
    lm_sampler *s = NULL;
    lm_error err = { 0 };
    (void)state;
    p.dry_multiplier = 0.8f;
    assert_int_equal(lm_sampler_open(&s, &p, 9, NULL, NULL, 0, &err), LM_ERR_USAGE);
    assert_null(s);
    assert_string_equal(err.text, "DRY has 4 breaker strings, but there is no tokenizer to find them with");
    p.dry_breakers = (const char *const[]){ "" };
    p.n_dry_breakers = 0;
    assert_int_equal(lm_sampler_open(&s, &p, 9, NULL, NULL, 0, NULL), LM_OK);
    lm_sampler_close(s);
}

/* ---- state at rest ------------------------------------------------------------ */

static lm_sample_params everything(void)
{
    lm_sample_params p;
    lm_sample_defaults(&p);
    p.penalty_repeat = 1.3f;
    p.penalty_last_n = 20;
    p.dry_multiplier = 0.5f;
    p.dry_breakers = (const char *const[]){ "none" };
    p.mirostat = 2;
    p.min_tokens = 30;
    p.seed = 5;
    return p;
}

static void a_woken_sampler_goes_on_as_if_it_had_not_slept(void **state)
{
    enum { N = 64 };
    const lm_sample_params p = everything();
    float *row = gauss_row(N, 2.0, 12);
    lm_sampler *a = opened(&p, N);
    (void)state;
    for (uint64_t at = 0; at < 50; at++) {
        int32_t t = drawn(a, row, at);
        assert_int_equal(lm_sampler_accept(a, t, true, NULL), LM_OK);
    }
    size_t n = lm_sampler_state_bytes(a);
    uint8_t *bytes = malloc(n), *again = malloc(n);
    assert_true(bytes && again);
    lm_sampler_save(a, bytes);
    lm_sampler *b = opened(&p, N);
    for (int i = 0; i < 9; i++) /* a life of its own, to be replaced */
        assert_int_equal(lm_sampler_accept(b, i, true, NULL), LM_OK);
    assert_int_equal(lm_sampler_load(b, bytes, n, NULL), LM_OK);
    assert_int_equal(lm_sampler_state_bytes(b), n);
    lm_sampler_save(b, again);
    assert_memory_equal(bytes, again, n);
    for (uint64_t at = 50; at < 120; at++) {
        int32_t t = drawn(a, row, at);
        assert_int_equal(drawn(b, row, at), t);
        assert_true(a->mu == b->mu);
        assert_int_equal(lm_sampler_accept(a, t, true, NULL), LM_OK);
        assert_int_equal(lm_sampler_accept(b, t, true, NULL), LM_OK);
    }
    lm_sampler_close(a);
    lm_sampler_close(b);
    free(bytes);
    free(again);
    free(row);
}

static void a_damaged_state_is_refused(void **state)
{
    const lm_sample_params p = everything();
    lm_sampler *s = opened(&p, 10);
    uint8_t bytes[256], bad[256];
    lm_error err = { 0 };
    (void)state;
    accept_all(s, (const int32_t[]){ 1, 2, 3, 4 }, 4);
    const size_t n = lm_sampler_state_bytes(s);
    assert_true(n <= sizeof bytes);
    lm_sampler_save(s, bytes);
    const float mu = s->mu;
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(lm_sampler_load(s, bytes, cut, NULL), LM_ERR_STATE);
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(bad, bytes, n);
        bad[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(lm_sampler_load(s, bad, n, NULL), LM_ERR_STATE);
    }
    assert_true(s->mu == mu && s->n_accepted == 4 && s->history.n == 4);
    assert_int_equal(lm_sampler_load(s, bytes, 3, &err), LM_ERR_STATE);
    assert_string_equal(err.text, "sampler state has 3 bytes, at least 56 are needed");
    memcpy(bad, bytes, n);
    bad[4] = 9;
    err = (lm_error){ 0 };
    assert_int_equal(lm_sampler_load(s, bad, n, &err), LM_ERR_STATE);
    assert_string_equal(err.text, "sampler state has version 9, this lemma reads 1");
    lm_sampler *other = opened(&p, 11);
    err = (lm_error){ 0 };
    assert_int_equal(lm_sampler_load(other, bytes, n, &err), LM_ERR_MISMATCH);
    assert_string_equal(err.text, "sampler state is for a vocabulary of 10 tokens, the model has 11");
    lm_sampler_close(other);
    lm_sampler_close(s);
}

static void failing_allocations_leak_nothing_and_change_nothing(void **state)
{
    lm_sample_params p = everything();
    const int32_t stops[] = { 1 };
    lm_logit_bias bias[] = { { 2, 1.0f } };
    uint64_t n;
    (void)state;
    p.bias = bias;
    p.n_bias = 1;
    for (n = 1; n < 1000; n++) {
        lm_sampler *s = NULL;
        lm_error err = { 0 };
        lm_mem_fail_after(n);
        lm_status st = lm_sampler_open(&s, &p, 9, NULL, stops, 1, &err);
        lm_mem_fail_after(0);
        if (st == LM_OK) {
            lm_sampler_close(s);
            break;
        }
        assert_int_equal(st, LM_ERR_NOMEM);
        assert_null(s);
        assert_string_not_equal(err.text, "");
    }
    assert_in_range(n, 9, 999);

    /* Growing the history. */
    p.n_dry_breakers = 0;
    lm_sampler *s = NULL;
    assert_int_equal(lm_sampler_open(&s, &p, 9, NULL, stops, 1, NULL), LM_OK);
    const size_t cap = s->history.cap;
    for (size_t i = 0; i < cap; i++)
        assert_int_equal(lm_sampler_accept(s, (int32_t)(i % 9), true, NULL), LM_OK);
    for (uint64_t fail = 1; fail <= 3; fail++) {
        const uint64_t before = s->n_accepted;
        lm_mem_fail_after(fail);
        lm_status st = lm_sampler_accept(s, 3, true, NULL);
        lm_mem_fail_after(0);
        assert_int_equal(st, LM_ERR_NOMEM);
        assert_int_equal(s->n_accepted, before);
        assert_int_equal(s->history.n, cap);
        if (s->history.cap > cap)
            break; /* the history has its room; DRY's scratch asks again */
    }
    assert_int_equal(lm_sampler_accept(s, 3, true, NULL), LM_OK);
    assert_int_equal(s->dry.cap, s->history.cap);
    lm_sampler_close(s);
}

static void a_draw_never_allocates(void **state)
{
    enum { N = 500 };
    lm_sample_params p = everything();
    float *row = gauss_row(N, 2.0, 33);
    (void)state;
    p.typical = 0.9f;
    p.xtc_probability = 1.0f;
    for (int32_t mirostat = 0; mirostat < 3; mirostat++) {
        p.mirostat = mirostat;
        lm_sampler *s = opened(&p, N);
        for (uint64_t at = 0; at < 300; at++) {
            lm_mem_fail_after(1); /* the next request would fail */
            int32_t t = drawn(s, row, at);
            lm_mem_fail_after(0);
            assert_int_equal(lm_sampler_accept(s, t, true, NULL), LM_OK);
        }
        lm_sampler_close(s);
    }
    free(row);
}

/* ---- parameters ---------------------------------------------------------------- */

static void check_refused(const lm_sample_params *p, const char *text)
{
    lm_error err = { 0 };
    assert_int_equal(lm_sample_check(p, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, text);
}

static void values_out_of_range_are_named(void **state)
{
    lm_sample_params p;
    (void)state;
#define REFUSED(field, value, text)                                                                          \
    do {                                                                                                     \
        lm_sample_defaults(&p);                                                                              \
        p.field = (value);                                                                                   \
        check_refused(&p, text);                                                                             \
    } while (0)
    REFUSED(temperature, -0.5f, "temperature is -0.5, allowed are 0 to 100");
    REFUSED(temperature, NAN, "temperature is nan, allowed are 0 to 100");
    REFUSED(dynatemp_range, -1.0f, "dynatemp_range is -1, allowed are 0 to 100");
    REFUSED(dynatemp_exponent, INFINITY, "dynatemp_exponent is inf, allowed are 0 to 100");
    REFUSED(top_k, -2, "top_k is -2, allowed are -1 to 2147483647");
    REFUSED(top_p, 1.5f, "top_p is 1.5, allowed are 0 to 1");
    REFUSED(min_p, -0.25f, "min_p is -0.25, allowed are 0 to 1");
    REFUSED(typical, 2.0f, "typical is 2, allowed are 0 to 1");
    REFUSED(top_n_sigma, -3.0f, "top_n_sigma is -3, allowed are -1 to 1000");
    REFUSED(xtc_probability, 1.25f, "xtc_probability is 1.25, allowed are 0 to 1");
    REFUSED(xtc_threshold, -1.0f, "xtc_threshold is -1, allowed are 0 to 1");
    REFUSED(penalty_last_n, -2, "penalty_last_n is -2, allowed are -1 to 2147483647");
    REFUSED(penalty_repeat, 0.0f, "penalty_repeat is 0, allowed are 0.01 to 100");
    REFUSED(penalty_frequency, 200.0f, "penalty_frequency is 200, allowed are -100 to 100");
    REFUSED(penalty_presence, -200.0f, "penalty_presence is -200, allowed are -100 to 100");
    REFUSED(dry_multiplier, -1.0f, "dry_multiplier is -1, allowed are 0 to 1000");
    REFUSED(dry_base, 0.5f, "dry_base is 0.5, allowed are 1 to 1000");
    REFUSED(dry_allowed_length, -1, "dry_allowed_length is -1, allowed are 0 to 2147483647");
    REFUSED(dry_penalty_last_n, -2, "dry_penalty_last_n is -2, allowed are -1 to 2147483647");
    REFUSED(mirostat, 3, "mirostat is 3, allowed are 0 to 2");
    REFUSED(mirostat_tau, -1.0f, "mirostat_tau is -1, allowed are 0 to 1000");
    REFUSED(mirostat_eta, -1.0f, "mirostat_eta is -1, allowed are 0 to 1000");
    REFUSED(n_stages, 17, "n_stages is 17, allowed are 0 to 16");
    REFUSED(stages[2], 9, "stages[2] is 9, allowed are 0 to 8");
    REFUSED(stages[2], LM_STAGE_PENALTIES, "stage penalties is listed twice");
    REFUSED(n_bias, 1, "n_bias is 1, but bias is NULL");
    REFUSED(n_dry_breakers, 1, "n_dry_breakers is 1, but dry_breakers is NULL");
#undef REFUSED
    lm_sample_defaults(&p);
    p.size = 8;
    lm_error err = { 0 };
    assert_int_equal(lm_sample_check(&p, &err), LM_ERR_USAGE);
    assert_string_equal(err.hint, "call lm_sample_defaults() first");
    lm_sample_defaults(&p);
    p.bias = (const lm_logit_bias[]){ { 4, INFINITY } };
    p.n_bias = 1;
    check_refused(&p, "the bias of token 4 is inf, allowed are finite numbers and -inf");
    lm_sample_defaults(&p);
    p.dry_breakers = (const char *const[]){ "ok", "" };
    p.n_dry_breakers = 2;
    check_refused(&p, "dry_breakers[1] has 0 bytes, allowed are 1 to 40");
    p.dry_breakers = (const char *const[]){ "12345678901234567890123456789012345678901" };
    p.n_dry_breakers = 1;
    check_refused(&p, "dry_breakers[0] has 41 bytes, allowed are 1 to 40");
    p.n_dry_breakers = 65;
    check_refused(&p, "dry_breakers has 65 strings, allowed are 0 to 64");
    lm_sample_defaults(&p);
    assert_int_equal(lm_sample_check(&p, NULL), LM_OK);
}

static void tokens_outside_the_vocabulary_are_refused(void **state)
{
    lm_sample_params p = plain();
    lm_sampler *s = opened(&p, 8);
    lm_error err = { 0 };
    const int32_t stops[] = { 8 };
    (void)state;
    assert_int_equal(lm_sampler_accept(s, -1, true, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "token -1 is outside the vocabulary, allowed are 0 to 7");
    lm_sampler_close(s);
    s = NULL;
    err = (lm_error){ 0 };
    assert_int_equal(lm_sampler_open(&s, &p, 8, NULL, stops, 1, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "stop token 8 is outside the vocabulary, allowed are 0 to 7");
    p.bias = (const lm_logit_bias[]){ { 99, 1.0f } };
    p.n_bias = 1;
    err = (lm_error){ 0 };
    assert_int_equal(lm_sampler_open(&s, &p, 8, NULL, NULL, 0, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "biased token 99 is outside the vocabulary, allowed are 0 to 7");
    err = (lm_error){ 0 };
    p.n_bias = 0;
    assert_int_equal(lm_sampler_open(&s, &p, 0, NULL, NULL, 0, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "a vocabulary of 0 tokens cannot be sampled, allowed are 1 to 2147483647");
    assert_null(s);
}

static void stages_are_read_as_names_or_letters(void **state)
{
    static const uint8_t names[] = { LM_STAGE_PENALTIES, LM_STAGE_DRY, LM_STAGE_TOP_K, LM_STAGE_TEMPERATURE };
    lm_sample_params p;
    lm_error err = { 0 };
    (void)state;
    lm_sample_defaults(&p);
    assert_int_equal(p.n_stages, 9);
    assert_int_equal(lm_sample_parse_stages(&p, "edskypmxt", NULL), LM_OK);
    for (uint8_t i = 0; i < 9; i++)
        assert_int_equal(p.stages[i], i);
    assert_int_equal(lm_sample_parse_stages(&p, "penalties;dry;top_k;temperature", NULL), LM_OK);
    assert_int_equal(p.n_stages, 4);
    assert_memory_equal(p.stages, names, 4);
    assert_int_equal(lm_sample_parse_stages(&p, "edkt", NULL), LM_OK);
    assert_memory_equal(p.stages, names, 4);
    assert_int_equal(lm_sample_parse_stages(&p, "penalties;dry;top-k;temp", NULL), LM_OK);
    assert_memory_equal(p.stages, names, 4);
    assert_int_equal(lm_sample_parse_stages(&p, "dry", NULL), LM_OK);
    assert_int_equal(p.n_stages, 1);
    assert_int_equal(p.stages[0], LM_STAGE_DRY);

#define BAD(text_in, text_out)                                                                               \
    do {                                                                                                     \
        err = (lm_error){ 0 };                                                                               \
        assert_int_equal(lm_sample_parse_stages(&p, text_in, &err), LM_ERR_USAGE);                           \
        assert_string_equal(err.text, text_out);                                                             \
        assert_string_not_equal(err.hint, text_in);                                                          \
        assert_int_equal(p.n_stages, 1);                                                                     \
    } while (0)
    BAD("", "the list of sampling stages is empty");
    BAD("top_k;;temperature", "there is no sampling stage \"\"");
    BAD("top_k;", "there is no sampling stage \"\"");
    BAD("top_k;topp", "there is no sampling stage \"topp\"");
    BAD("top_k;top_k", "stage top_k is listed twice");
    BAD("kpk", "stage top_k is listed twice");
    BAD("kz", "\"kz\" is neither a sampling stage nor a row of their letters");
    BAD("k\x1b[31m", "\"k?[31m\" is neither a sampling stage nor a row of their letters");
#undef BAD
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_agree_with_the_second_implementation),
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(exp_is_within_its_bound),
        cmocka_unit_test(selecting_equals_sorting),
        cmocka_unit_test(top_k_of_long_rows_equals_a_full_sort),
        cmocka_unit_test(dense_and_list_give_the_same_answer),
        cmocka_unit_test(argmax_takes_the_lowest_of_equals_and_no_nan),
        cmocka_unit_test(logprobs_are_those_of_the_raw_row),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(dense_draws_reach_every_block),
        cmocka_unit_test(dense_draws_follow_the_running_sum),
        cmocka_unit_test(dry_counts_from_behind_the_longest_whole_breaker),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(xtc_acts_as_often_as_its_probability),
        cmocka_unit_test(nothing_to_draw_from_is_an_error),
        cmocka_unit_test(extreme_rows_always_give_a_candidate),
        cmocka_unit_test(stop_tokens_wait_for_min_tokens),
        cmocka_unit_test(a_moving_window_forgets_what_leaves_it),
        cmocka_unit_test(dry_is_linear_in_the_context),
        cmocka_unit_test(breaker_strings_need_a_tokenizer),
        cmocka_unit_test(a_woken_sampler_goes_on_as_if_it_had_not_slept),
        cmocka_unit_test(a_damaged_state_is_refused),
        cmocka_unit_test(failing_allocations_leak_nothing_and_change_nothing),
        cmocka_unit_test(a_draw_never_allocates),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(tokens_outside_the_vocabulary_are_refused),
        cmocka_unit_test(stages_are_read_as_names_or_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
