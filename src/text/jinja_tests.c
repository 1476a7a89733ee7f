/* text/jinja_tests.c - what may stand behind "is". */
#include <string.h>

#include "text/jinja_int.h"

#define NO_ARGS(name) lm_jj_args(J, name, a, "", &none)

static bool kind_test(jj *J, const jargs *a, bool yes, bool *out)
{
    jv none;
    *out = yes;
    return NO_ARGS("the test");
}

#define KIND_TEST(name, condition)                                                                           \
    static bool name(jj *J, jv x, const jargs *a, bool *out)                                                 \
    {                                                                                                        \
        return kind_test(J, a, (condition), out);                                                            \
    }
KIND_TEST(t_defined, x.kind != JV_UNDEF)
KIND_TEST(t_undefined, x.kind == JV_UNDEF)
KIND_TEST(t_none, x.kind == JV_NONE)
KIND_TEST(t_boolean, x.kind == JV_BOOL)
KIND_TEST(t_false, x.kind == JV_BOOL && !x.u.i)
KIND_TEST(t_true, x.kind == JV_BOOL && x.u.i)
KIND_TEST(t_integer, x.kind == JV_INT)
KIND_TEST(t_float, x.kind == JV_FLOAT)
KIND_TEST(t_number, lm_jj_is_num(x))
KIND_TEST(t_string, x.kind == JV_STR)
KIND_TEST(t_mapping, x.kind == JV_DICT)
KIND_TEST(t_iterable, lm_jj_iterable(x))
KIND_TEST(t_escaped, x.kind == JV_STR && x.flag)
KIND_TEST(t_sequence, x.kind == JV_UNDEF || x.kind == JV_STR || x.kind == JV_LIST || x.kind == JV_TUPLE ||
                          x.kind == JV_DICT || x.kind == JV_RANGE)
KIND_TEST(t_callable, x.kind == JV_MACRO || x.kind == JV_METHOD || x.kind == JV_FUNC || x.kind == JV_LOOP ||
                          x.kind == JV_JOINER || x.kind == JV_UNDEF)

static bool all_case(jj *J, jv x, bool upper, bool *out)
{
    const jmethod_row *row;
    bool unsafe;
    jv v;
    if (!lm_jj_to_str(J, x, &x) ||
        !lm_jj_method(x, lm_jj_strz(J, upper ? "isupper" : "islower"), &row, &unsafe) ||
        !row->fn(J, x, &(jargs){ 0 }, &v))
        return false;
    *out = v.u.i != 0;
    return true;
}

static bool t_lower(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    return NO_ARGS("lower") && all_case(J, x, false, out);
}

static bool t_upper(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    return NO_ARGS("upper") && all_case(J, x, true, out);
}

static bool remainder_is(jj *J, jv x, jv by, int64_t want, bool *out)
{
    jv r;
    return lm_jj_math(J, T_MOD, x, by, &r) && lm_jj_eq(J, r, lm_jj_int(want), out);
}

static bool t_even(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    return NO_ARGS("even") && remainder_is(J, x, lm_jj_int(2), 0, out);
}

static bool t_odd(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    return NO_ARGS("odd") && remainder_is(J, x, lm_jj_int(2), 1, out);
}

static bool t_divisibleby(jj *J, jv x, const jargs *a, bool *out)
{
    jv num;
    return lm_jj_args(J, "divisibleby", a, "num", &num) && remainder_is(J, x, num, 0, out);
}

static bool t_in(jj *J, jv x, const jargs *a, bool *out)
{
    jv seq;
    return lm_jj_args(J, "in", a, "seq", &seq) && lm_jj_contains(J, seq, x, out);
}

static bool t_sameas(jj *J, jv x, const jargs *a, bool *out)
{
    jv other;
    if (!lm_jj_args(J, "sameas", a, "other", &other))
        return false;
    *out = x.kind == other.kind && x.u.i == other.u.i && x.kind != JV_FLOAT;
    if (*out && x.kind == JV_STR)
        *out = x.u.s.at == other.u.s.at && x.u.s.n == other.u.s.n;
    return true;
}

static bool t_filter(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    if (!lm_jj_hashable(x, 64))
        return lm_jj_unhashable(J, x);
    *out = x.kind == JV_STR && lm_jj_filter_find(lm_jj_p(x), x.u.s.n) != NULL;
    return NO_ARGS("filter");
}

static bool t_test(jj *J, jv x, const jargs *a, bool *out)
{
    jv none;
    if (!lm_jj_hashable(x, 64))
        return lm_jj_unhashable(J, x);
    *out = x.kind == JV_STR && lm_jj_test_find(lm_jj_p(x), x.u.s.n) != NULL;
    return NO_ARGS("test");
}

static bool t_eq(jj *J, jv x, const jargs *a, bool *out)
{
    jv other;
    return lm_jj_args(J, "equalto", a, "other", &other) && lm_jj_eq(J, x, other, out);
}

static bool t_ne(jj *J, jv x, const jargs *a, bool *out)
{
    if (!t_eq(J, x, a, out))
        return false;
    *out = !*out;
    return true;
}

static bool order(jj *J, jv x, const jargs *a, const char *op, bool *out)
{
    jv other;
    int c;
    if (!lm_jj_args(J, "the comparison", a, "other", &other) || !lm_jj_cmp(J, x, other, op, &c))
        return false;
    *out = (op[0] == '<' ? c == -1 : c == 1) || (op[1] && c == 0);
    return true;
}

static bool t_lt(jj *J, jv x, const jargs *a, bool *out)
{
    return order(J, x, a, "<", out);
}

static bool t_le(jj *J, jv x, const jargs *a, bool *out)
{
    return order(J, x, a, "<=", out);
}

static bool t_gt(jj *J, jv x, const jargs *a, bool *out)
{
    return order(J, x, a, ">", out);
}

static bool t_ge(jj *J, jv x, const jargs *a, bool *out)
{
    return order(J, x, a, ">=", out);
}

static const jtest_row tests[] = {
    { "defined", t_defined },
    { "undefined", t_undefined },
    { "none", t_none },
    { "boolean", t_boolean },
    { "false", t_false },
    { "true", t_true },
    { "integer", t_integer },
    { "float", t_float },
    { "number", t_number },
    { "string", t_string },
    { "mapping", t_mapping },
    { "iterable", t_iterable },
    { "sequence", t_sequence },
    { "callable", t_callable },
    { "escaped", t_escaped },
    { "lower", t_lower },
    { "upper", t_upper },
    { "even", t_even },
    { "odd", t_odd },
    { "divisibleby", t_divisibleby },
    { "in", t_in },
    { "sameas", t_sameas },
    { "filter", t_filter },
    { "test", t_test },
    { "==", t_eq },
    { "eq", t_eq },
    { "equalto", t_eq },
    { "!=", t_ne },
    { "ne", t_ne },
    { "<", t_lt },
    { "lt", t_lt },
    { "lessthan", t_lt },
    { "<=", t_le },
    { "le", t_le },
    { ">", t_gt },
    { "gt", t_gt },
    { "greaterthan", t_gt },
    { ">=", t_ge },
    { "ge", t_ge },
};

const jtest_row *lm_jj_test_find(const char *s, size_t n)
{
    for (size_t i = 0; i < LM_LEN(tests); i++)
        if (strlen(tests[i].name) == n && memcmp(tests[i].name, s, n) == 0)
            return &tests[i];
    return NULL;
}

bool lm_jj_test(jj *J, jv name, jv x, const jargs *a, bool *out)
{
    const jtest_row *r = lm_jj_test_find(lm_jj_p(name), name.u.s.n);
    lm_quoted_buf q;
    if (!r)
        return JJ_TYPE(J, "there is no test named '%s'", lm_quoted(&q, lm_jj_p(name), name.u.s.n));
    return lm_jj_charge(J, 1) && r->fn(J, x, a, out) && J->status == LM_OK;
}
