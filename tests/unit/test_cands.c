/* The pieces under the samplers: random numbers, exp, selection, candidates. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sample/order.h"
#include "sample/rng.h"
#include "sample/sampler.h"
#include "sample/stages.h"
#include "sample/vexp.h"
#include "support/noise.h"

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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(exp_is_within_its_bound),
        cmocka_unit_test(selecting_equals_sorting),
        cmocka_unit_test(top_k_of_long_rows_equals_a_full_sort),
        cmocka_unit_test(dense_and_list_give_the_same_answer),
        cmocka_unit_test(logprobs_are_those_of_the_raw_row),
        cmocka_unit_test(dense_draws_follow_the_running_sum),
        cmocka_unit_test(argmax_takes_the_lowest_of_equals_and_no_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
