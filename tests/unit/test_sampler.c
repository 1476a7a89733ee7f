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
#include "sample/rng.h"
#include "sample/stages.h"
#include "support/noise.h"
#include "text/tokenizer.h"

/* ---- helpers --------------------------------------------------------------- */

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

static void temperature_0_takes_the_lowest_of_equals_and_no_nan(void **state)
{
    (void)state;
    lm_sample_params p = plain();
    p.temperature = 0.0f;
    lm_sampler *s = opened(&p, 5);
    assert_int_equal(drawn(s, (float[]){ 1, 3, NAN, 3, 2 }, 0), 1);
    assert_int_equal(drawn(s, (float[]){ 1, 3, INFINITY, 3, 2 }, 0), 2);
    lm_sampler_close(s);
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

/* A stand-in for src/text, weak so that the tests also link where the real one
 * is: the nine tokens of letters() below, one letter a token when encoding. */
struct lm_tokenizer {
    int unused;
};
static const char *const spelling[] = { "a", "b", "c", ":", "ab", "xab", "x", "a:b", "aba" };
#define STAND_IN __attribute__((weak))

STAND_IN lm_status lm_tokenizer_open_json(lm_tokenizer **out, const char *json, size_t n, const char *name,
                                          lm_error *err)
{
    (void)json, (void)n, (void)name;
    return LM_NEW(out, 1, err);
}

STAND_IN void lm_tokenizer_close(lm_tokenizer *t)
{
    lm_free(t);
}

STAND_IN uint32_t lm_tokenizer_n_vocab(const lm_tokenizer *t)
{
    (void)t;
    return LM_LEN(spelling);
}

STAND_IN const char *lm_tokenizer_token(const lm_tokenizer *t, int32_t id, size_t *n)
{
    (void)t;
    *n = strlen(spelling[id]);
    return spelling[id];
}

STAND_IN lm_status lm_tokenizer_decode(const lm_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                                       lm_str *out, lm_error *err)
{
    (void)t, (void)skip_special;
    for (size_t i = 0; i < n; i++)
        lm_str_addz(out, spelling[ids[i]]);
    return lm_str_status(out, err);
}

STAND_IN lm_status lm_tokenizer_encode(const lm_tokenizer *t, const char *text, size_t n,
                                       const lm_span *literal, size_t n_literal, unsigned flags, lm_ids *out,
                                       lm_error *err)
{
    (void)t, (void)literal, (void)n_literal, (void)flags;
    for (size_t i = 0; i < n; i++) {
        void *ids = out->ids;
        lm_status st = lm_grow(&ids, &out->cap, out->n + 1, sizeof *out->ids, err);
        out->ids = ids;
        if (st != LM_OK)
            return st;
        out->ids[out->n++] = text[i] == ':' ? 3 : text[i] == 'x' ? 6 : text[i] - 'a';
    }
    return LM_OK;
}

STAND_IN void lm_ids_clear(lm_ids *ids)
{
    lm_free(ids->ids);
    *ids = (lm_ids){ 0 };
}

static lm_tokenizer *letters(void)
{
    static const char json[] =
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,"
        "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\","
        "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
        "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\":\":3,\"ab\":4,"
        "\"xab\":5,\"x\":6,\"a:b\":7,\"aba\":8},\"merges\":[]}}";
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    if (lm_tokenizer_open_json(&t, json, sizeof json - 1, "letters", &err) != LM_OK)
        fail_msg("tokenizer: %s", err.text);
    return t;
}

static void breaker_strings_become_token_sequences(void **state)
{
    lm_tokenizer *t = letters();
    lm_sample_params p = plain();
    const char *strings[] = { ":", "abc" };
    lm_sampler *s = NULL;
    size_t n;
    (void)state;
    p.dry_multiplier = 1.0f;
    p.dry_breakers = strings;
    p.n_dry_breakers = 2;
    assert_int_equal(lm_sampler_open(&s, &p, 9, t, NULL, 0, NULL), LM_OK);
    const lm_breakers *b = &s->dry.breakers;
    const lm_breaker *ways = lm_breakers_find(b, 3, &n); /* ":" */
    assert_int_equal(n, 1);
    assert_int_equal(ways[0].n, 0);
    ways = lm_breakers_find(b, 7, &n); /* "a:b" contains ":" */
    assert_int_equal(n, 1);
    assert_int_equal(ways[0].n, 0);
    ways = lm_breakers_find(b, 0, &n); /* "a", then b, c */
    assert_int_equal(n, 1);
    assert_int_equal(ways[0].n, 2);
    assert_int_equal(b->tails[ways[0].first], 1);
    assert_int_equal(b->tails[ways[0].first + 1], 2);
    ways = lm_breakers_find(b, 5, &n); /* "xab", then c */
    assert_int_equal(n, 1);
    assert_int_equal(ways[0].n, 1);
    assert_int_equal(b->tails[ways[0].first], 2);
    ways = lm_breakers_find(b, 8, &n); /* "aba" ends with "a" */
    assert_int_equal(n, 1);
    assert_int_equal(ways[0].n, 2);
    (void)lm_breakers_find(b, 2, &n); /* "c" begins nothing */
    assert_int_equal(n, 0);
    (void)lm_breakers_find(b, 6, &n);
    assert_int_equal(n, 0);
    lm_sampler_close(s);
    lm_tokenizer_close(t);
}

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
    lm_tokenizer *t = letters();
    const int32_t stops[] = { 1 };
    lm_logit_bias bias[] = { { 2, 1.0f } };
    uint64_t n;
    (void)state;
    p.dry_breakers = (const char *const[]){ "abc", ":" };
    p.n_dry_breakers = 2;
    p.bias = bias;
    p.n_bias = 1;
    for (n = 1; n < 1000; n++) {
        lm_sampler *s = NULL;
        lm_error err = { 0 };
        lm_mem_fail_after(n);
        lm_status st = lm_sampler_open(&s, &p, 9, t, stops, 1, &err);
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
    lm_tokenizer_close(t);

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_agree_with_the_second_implementation),
        cmocka_unit_test(temperature_0_takes_the_lowest_of_equals_and_no_nan),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(dense_draws_reach_every_block),
        cmocka_unit_test(dry_counts_from_behind_the_longest_whole_breaker),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(xtc_acts_as_often_as_its_probability),
        cmocka_unit_test(nothing_to_draw_from_is_an_error),
        cmocka_unit_test(extreme_rows_always_give_a_candidate),
        cmocka_unit_test(stop_tokens_wait_for_min_tokens),
        cmocka_unit_test(a_moving_window_forgets_what_leaves_it),
        cmocka_unit_test(dry_is_linear_in_the_context),
        cmocka_unit_test(breaker_strings_become_token_sequences),
        cmocka_unit_test(breaker_strings_need_a_tokenizer),
        cmocka_unit_test(a_woken_sampler_goes_on_as_if_it_had_not_slept),
        cmocka_unit_test(a_damaged_state_is_refused),
        cmocka_unit_test(failing_allocations_leak_nothing_and_change_nothing),
        cmocka_unit_test(a_draw_never_allocates),
        cmocka_unit_test(tokens_outside_the_vocabulary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
