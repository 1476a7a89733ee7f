/* Ranges of the sampling parameters, and the order of the stages as text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lemma/sample.h"

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
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(stages_are_read_as_names_or_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
