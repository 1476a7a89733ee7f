/* text/jinja_undef.c - what a missing name or attribute is, and what it says. */
#include "text/jinja_int.h"

static jv make(jj *J, const char *text, bool has_obj, jv obj, jv name)
{
    jv v = { .kind = JV_UNDEF, .u.u = lm_jj_get(J, 1, sizeof(jundef)) };
    if (v.u.u)
        *v.u.u = (jundef){ text, has_obj, obj, name };
    return v;
}

jv lm_jj_undef_name(jj *J, jv name)
{
    return make(J, NULL, false, lm_jj_none(), name);
}

jv lm_jj_undef_attr(jj *J, jv obj, jv name)
{
    return make(J, NULL, true, obj, name);
}

jv lm_jj_undef_text(jj *J, const char *text)
{
    return make(J, text, false, lm_jj_none(), lm_jj_none());
}

bool lm_jj_undef_fail(jj *J, jv v)
{
    lm_quoted_buf q;
    const jundef *u = v.u.u;
    if (!u)
        return false;
    if (u->text)
        return JJ_TYPE(J, "%s", u->text);
    if (!u->has_obj)
        return JJ_TYPE(J, "'%s' is undefined", lm_quoted(&q, lm_jj_p(u->name), u->name.u.s.n));
    const char *type = u->obj.kind == JV_NONE ? "None" : lm_jj_type(u->obj);
    const char *object = u->obj.kind == JV_NONE ? "" : " object";
    if (u->name.kind == JV_STR)
        return JJ_TYPE(J, "'%s%s' has no attribute '%s'", type, object,
                       lm_quoted(&q, lm_jj_p(u->name), u->name.u.s.n));
    if (lm_jj_is_int(u->name))
        return JJ_TYPE(J, "%s%s has no element %lld", type, object, (long long)u->name.u.i);
    return JJ_TYPE(J, "%s%s has no such element", type, object);
}
