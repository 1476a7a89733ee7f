/* text/jinja_methods.c - methods of dictionaries, lists, tuples and numbers.
 *
 * A method that Python has and we do not is in the tables too: it must hide a
 * key of that name, as it does in Python, and says its name when it is called.
 * Those that would change their object are marked: the sandbox forbids them. */
#include <math.h>

#include "text/jinja_int.h"

static bool view(jj *J, jv d, const jargs *a, int which, jv *out)
{
    if (!lm_jj_args(J, "the method", a, "", out))
        return false;
    *out = (jv){ .kind = JV_VIEW, .flag = (uint8_t)which, .u.d = d.u.d };
    return true;
}

static bool m_items(jj *J, jv d, const jargs *a, jv *out)
{
    return view(J, d, a, VIEW_ITEMS, out);
}

static bool m_keys(jj *J, jv d, const jargs *a, jv *out)
{
    return view(J, d, a, VIEW_KEYS, out);
}

static bool m_values(jj *J, jv d, const jargs *a, jv *out)
{
    return view(J, d, a, VIEW_VALUES, out);
}

static bool m_get(jj *J, jv d, const jargs *a, jv *out)
{
    jv arg[2];
    const jv *found;
    if (a->n_kw)
        return JJ_TYPE(J, "dict.get() takes no keyword arguments");
    if (!lm_jj_args(J, "get", a, "key default=", arg) || !lm_jj_lookup(J, d.u.d, arg[0], &found))
        return false;
    *out = found ? *found : arg[1].kind == JV_MISSING ? lm_jj_none() : arg[1];
    return true;
}

static bool m_copy_dict(jj *J, jv d, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "copy", a, "", out))
        return false;
    *out = d; /* nothing can change it */
    return true;
}

static bool m_index(jj *J, jv l, const jargs *a, jv *out)
{
    jv arg[3];
    int64_t n = (int64_t)l.u.l->n, from = 0, to = n;
    bool same = false;
    if (!lm_jj_args(J, "index", a, "value start= stop=", arg) ||
        (arg[1].kind != JV_MISSING && !lm_jj_index(J, arg[1], &from)) ||
        (arg[2].kind != JV_MISSING && !lm_jj_index(J, arg[2], &to)))
        return false;
    from = from < 0 ? LM_MAX(from + n, 0) : from;
    to = to < 0 ? to + n : LM_MIN(to, n);
    for (int64_t i = from; i < to; i++) {
        if (!lm_jj_charge(J, 1) || !lm_jj_eq(J, l.u.l->v[i], arg[0], &same))
            return false;
        if (same) {
            *out = lm_jj_int(i);
            return true;
        }
    }
    return JJ_TYPE(J, "the value is not in the %s", lm_jj_type(l));
}

static bool m_count(jj *J, jv l, const jargs *a, jv *out)
{
    jv arg[1];
    int64_t n = 0;
    bool same;
    if (!lm_jj_args(J, "count", a, "value", arg))
        return false;
    for (size_t i = 0; i < l.u.l->n; i++) {
        if (!lm_jj_charge(J, 1) || !lm_jj_eq(J, l.u.l->v[i], arg[0], &same))
            return false;
        n += same;
    }
    *out = lm_jj_int(n);
    return true;
}

static bool m_copy_list(jj *J, jv l, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "copy", a, "", out))
        return false;
    *out = l;
    return true;
}

static bool m_is_integer(jj *J, jv v, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "is_integer", a, "", out))
        return false;
    *out = lm_jj_bool(v.kind != JV_FLOAT || (isfinite(v.u.f) && v.u.f == floor(v.u.f)));
    return true;
}

static bool m_bit_length(jj *J, jv v, const jargs *a, jv *out)
{
    uint64_t u = v.u.i < 0 ? 0 - (uint64_t)v.u.i : (uint64_t)v.u.i;
    int64_t n = 0;
    if (!lm_jj_args(J, "bit_length", a, "", out))
        return false;
    for (; u; u >>= 1)
        n++;
    *out = lm_jj_int(n);
    return true;
}

const jmethod_row lm_jj_dict_methods[] = {
    { "items", m_items },    { "keys", m_keys },   { "values", m_values },  { "get", m_get },
    { "copy", m_copy_dict }, { "fromkeys", NULL }, { "!pop", NULL },        { "!popitem", NULL },
    { "!clear", NULL },      { "!update", NULL },  { "!setdefault", NULL }, { NULL, NULL },
};
const jmethod_row lm_jj_list_methods[] = {
    { "index", m_index }, { "count", m_count }, { "copy", m_copy_list }, { "!append", NULL },
    { "!pop", NULL },     { "!extend", NULL },  { "!insert", NULL },     { "!remove", NULL },
    { "!sort", NULL },    { "!reverse", NULL }, { "!clear", NULL },      { NULL, NULL },
};
const jmethod_row lm_jj_tuple_methods[] = { { "index", m_index }, { "count", m_count }, { NULL, NULL } };
const jmethod_row lm_jj_number_methods[] = { { "is_integer", m_is_integer },
                                             { "bit_length", m_bit_length },
                                             { "as_integer_ratio", NULL },
                                             { "conjugate", NULL },
                                             { "to_bytes", NULL },
                                             { "from_bytes", NULL },
                                             { "bit_count", NULL },
                                             { "hex", NULL },
                                             { NULL, NULL } };
const jmethod_row lm_jj_range_methods[] = { { "index", NULL }, { "count", NULL }, { NULL, NULL } };

bool lm_jj_method(jv obj, jv name, const jmethod_row **row, bool *unsafe)
{
    const jmethod_row *r;
    switch (obj.kind) {
    case JV_STR: r = lm_jj_str_methods; break;
    case JV_DICT: r = lm_jj_dict_methods; break;
    case JV_LIST: r = lm_jj_list_methods; break;
    case JV_TUPLE: r = lm_jj_tuple_methods; break;
    case JV_RANGE: r = lm_jj_range_methods; break;
    case JV_BOOL:
    case JV_INT:
    case JV_FLOAT: r = lm_jj_number_methods; break;
    default: return false;
    }
    for (; r->name; r++) {
        *unsafe = r->name[0] == '!';
        if (lm_jj_str_is(name, r->name + *unsafe)) {
            *row = r;
            return true;
        }
    }
    return false;
}
