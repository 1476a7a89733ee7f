/* JSON within limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "format/json.h"
#include "format/limits.h"

static const lm_json_limits plain = { .max_bytes = 4096 };

static void what_python_writes_is_read(void **state)
{
    json_t *o = NULL;
    static const char text[] =
        "{\"a\": NaN, \"b\": [-Infinity, Infinity], \"max\": 1000000000000000019884624838656,"
        " \"edge\": 9223372036854775807, \"over\": -9223372036854775809, \"s\": \"NaN "
        "99999999999999999999\"}";
    (void)state;
    assert_int_equal(lm_json_parse(&o, text, strlen(text), "x", &plain, NULL), LM_OK);
    assert_true(json_is_null(json_object_get(o, "a")));
    assert_true(json_is_null(json_array_get(json_object_get(o, "b"), 0)));
    assert_true(json_is_null(json_array_get(json_object_get(o, "b"), 1)));
    assert_true(json_real_value(json_object_get(o, "max")) == 1e30);
    assert_true(json_integer_value(json_object_get(o, "edge")) == INT64_MAX);
    assert_true(json_real_value(json_object_get(o, "over")) < -9.2e18);
    assert_string_equal(json_string_value(json_object_get(o, "s")), "NaN 99999999999999999999");
    json_decref(o);
}

static void complaints_have_places_and_no_content(void **state)
{
    static const struct {
        const char *text;
        lm_status status;
        const char *says;
    } cases[] = {
        { "{\"secret\": tru}", LM_ERR_CORRUPT, "x, line 1, column 14: this is not JSON" },
        { "{\n \"a\": 1", LM_ERR_TRUNCATED, "x, line 2, column 7: the text ends too early" },
        { "{} {}", LM_ERR_CORRUPT, "x, line 1, column 4: something follows the end" },
        { "{\"a\": \"\xff\"}", LM_ERR_CORRUPT, "x, line 1, column 7: the text is not UTF-8" },
        { "{\"a\": 1e999}", LM_ERR_CORRUPT, "x, line 1, column 11: a number is too large" },
        { "{\"a\\u0000\": 1}", LM_ERR_CORRUPT, "x, line 1, column 10: a string holds a zero byte" },
        { "", LM_ERR_TRUNCATED, "x, line 1, column 0: the text ends too early" },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_error err = { 0 };
        json_t *o = NULL;
        assert_int_equal(lm_json_parse(&o, cases[i].text, strlen(cases[i].text), "x", &plain, &err),
                         cases[i].status);
        assert_null(o);
        assert_string_equal(err.text, cases[i].says);
    }
}

static lm_status nested(unsigned depth, lm_error *err)
{
    char text[512];
    json_t *o = NULL;
    lm_json_limits limits = { .max_bytes = sizeof text };
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    lm_status s = lm_json_parse(&o, text, (size_t)2 * depth, "x", &limits, err);
    json_decref(o);
    return s;
}

static void limits_hold_at_and_one_beyond(void **state)
{
    lm_error err = { 0 };
    json_t *o = NULL;
    lm_json_limits few = { .max_bytes = 20, .max_values = 4, .unique_keys = true };
    (void)state;
    assert_int_equal(nested(LM_LIMIT_JSON_DEPTH, NULL), LM_OK);
    assert_int_equal(nested(LM_LIMIT_JSON_DEPTH + 1, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "x is nested 65 deep, allowed are 64");
    lm_error_clear(&err);
    assert_int_equal(lm_json_parse(&o, "[1,2,3,4]", 9, "x", &few, NULL), LM_OK);
    json_decref(o);
    o = NULL;
    assert_int_equal(lm_json_parse(&o, "[1,2,3,4,5]", 11, "x", &few, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "x has 5 values, allowed are 4");
    lm_error_clear(&err);
    assert_int_equal(lm_json_parse(&o, "[                   ]", 21, "x", &few, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "x has 21 bytes, allowed are 20");
    lm_error_clear(&err);
    assert_int_equal(lm_json_parse(&o, "{\"a\":1,\"a\":2}", 13, "x", &few, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "x, line 1, column 10: a key stands twice");
    assert_int_equal(lm_json_parse(&o, "{\"a\":1,\"a\":2}", 13, "x", &plain, NULL), LM_OK);
    assert_int_equal(json_integer_value(json_object_get(o, "a")), 2);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_python_writes_is_read),
        cmocka_unit_test(complaints_have_places_and_no_content),
        cmocka_unit_test(limits_hold_at_and_one_beyond),
    };
    return cmocka_run_group_tests_name("format/json", tests, NULL, NULL);
}
