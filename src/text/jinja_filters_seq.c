/* text/jinja_filters_seq.c - filters on lists, dictionaries and generators. */
#include <string.h>

#include "text/jinja_int.h"

static bool given(jv v)
{
    return v.kind != JV_MISSING;
}

static bool flag(jj *J, jv v, bool *out)
{
    *out = false;
    return !given(v) || lm_jj_truth(J, v, out);
}

static bool f_length(jj *J, jv x, const jargs *a, jv *out)
{
    int64_t n;
    if (!lm_jj_args(J, "length", a, "", out) || !lm_jj_len(J, x, &n))
        return false;
    *out = lm_jj_int(n);
    return true;
}

static bool f_first(jj *J, jv x, const jargs *a, jv *out)
{
    jiter it;
    bool end;
    if (!lm_jj_args(J, "first", a, "", out) || !lm_jj_iter(J, x, &it) || !lm_jj_next(J, &it, out, &end))
        return false;
    if (end)
        *out = lm_jj_undef_text(J, "No first item, sequence was empty.");
    return true;
}

/* Python's reversed(): not for generators and sets. */
static bool reversed(jj *J, jv x, jiter *it)
{
    *it = (jiter){ .kind = IT_REVERSED, .src = x };
    switch (x.kind) {
    case JV_UNDEF: it->kind = IT_EMPTY; return true;
    case JV_LIST:
    case JV_TUPLE: it->n = x.u.l->n; return true;
    case JV_RANGE: it->n = x.u.r->n; return true;
    case JV_DICT:
    case JV_VIEW:
        it->n = x.u.d->n;
        it->which = x.kind == JV_VIEW ? x.flag : VIEW_KEYS;
        return true;
    case JV_STR:
        if (!lm_jj_collect(J, x, &it->src))
            return false;
        it->n = it->src.u.l->n;
        return true;
    default: return JJ_TYPE(J, "'%s' object is not reversible", lm_jj_type(x));
    }
}

static bool f_last(jj *J, jv x, const jargs *a, jv *out)
{
    jiter it;
    bool end;
    if (!lm_jj_args(J, "last", a, "", out) || !reversed(J, x, &it) || !lm_jj_next(J, &it, out, &end))
        return false;
    if (end)
        *out = lm_jj_undef_text(J, "No last item, sequence was empty.");
    return true;
}

static bool f_reverse(jj *J, jv x, const jargs *a, jv *out)
{
    static const jv none = { .kind = JV_NONE };
    jv part[3] = { none, none, lm_jj_int(-1) };
    jiter it;
    if (!lm_jj_args(J, "reverse", a, "", out))
        return false;
    if (x.kind == JV_STR)
        return lm_jj_slice(J, x, part, out);
    if (x.kind == JV_ITER) {
        if (!lm_jj_collect(J, x, out))
            return false;
        for (size_t i = 0, n = out->u.l->n; i + 1 < n - i; i++) {
            jv t = out->u.l->v[i];
            out->u.l->v[i] = out->u.l->v[n - 1 - i];
            out->u.l->v[n - 1 - i] = t;
        }
        return true;
    }
    if (!lm_jj_iterable(x))
        return JJ_TYPE(J, "argument must be iterable");
    return reversed(J, x, &it) && lm_jj_new_iter(J, it, out);
}

static bool f_list(jj *J, jv x, const jargs *a, jv *out)
{
    return lm_jj_args(J, "list", a, "", out) && lm_jj_collect(J, x, out);
}

static bool f_items(jj *J, jv x, const jargs *a, jv *out)
{
    return lm_jj_args(J, "items", a, "", out) &&
           lm_jj_new_iter(J, (jiter){ .kind = IT_LAZY_ITEMS, .src = x }, out);
}

static bool f_join(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[2], item, sep;
    jiter it;
    bool end;
    if (!lm_jj_args(J, "join", a, "d= attribute=", arg) || !lm_jj_iter(J, x, &it))
        return false;
    jbuf *b = lm_jj_buf(J, 0);
    if (!lm_jj_to_str(J, given(arg[0]) ? arg[0] : lm_jj_strz(J, ""), &sep))
        return false;
    for (bool first = true; b; first = false) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, &it, &item, &end))
            return false;
        if (end)
            break;
        if ((given(arg[1]) && !lm_jj_getpath(J, item, arg[1], &item)) ||
            (!first && !lm_jj_put_str(J, b, sep)) || !lm_jj_put_value(J, b, item))
            return false;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    return true;
}

/* ---- ordering ---- */

static bool fold_case(jj *J, jv *v, bool sensitive)
{
    return sensitive || v->kind != JV_STR || lm_jj_case(J, *v, CASE_LOWER, v);
}

/* "a,b.c": a list of keys; no attribute: the item itself, alone in a list. */
static bool multi_key(jj *J, jv item, jv attribute, bool sensitive, jv *out)
{
    size_t at = 0;
    jv key;
    *out = lm_jj_list(J, JV_LIST, 1);
    do {
        jv path = attribute;
        size_t comma = SIZE_MAX;
        if (attribute.kind == JV_STR) {
            comma = lm_jj_find_bytes(lm_jj_p(attribute), at, attribute.u.s.n, ",", 1);
            path = lm_jj_sub(attribute, at, (comma == SIZE_MAX ? attribute.u.s.n : comma) - at);
            at = comma + 1;
        }
        if (!lm_jj_getpath(J, item, path, &key) || !fold_case(J, &key, sensitive) ||
            !lm_jj_push(J, *out, key))
            return false;
        if (comma == SIZE_MAX)
            return true;
    } while (true);
}

static bool f_sort(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[3];
    bool reverse, sensitive;
    if (!lm_jj_args(J, "sort", a, "reverse= case_sensitive= attribute=", arg) || !flag(J, arg[0], &reverse) ||
        !flag(J, arg[1], &sensitive) || !lm_jj_collect(J, x, out))
        return false;
    jv *key = lm_jj_get(J, out->u.l->n, sizeof *key);
    for (size_t i = 0; i < out->u.l->n; i++)
        if (!key || !multi_key(J, out->u.l->v[i], arg[2], sensitive, &key[i]))
            return false;
    return key && lm_jj_sort(J, out->u.l->v, key, out->u.l->n, reverse);
}

static bool f_dictsort(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[3];
    bool sensitive, reverse, by_value;
    if (!lm_jj_args(J, "dictsort", a, "case_sensitive= by= reverse=", arg) || !flag(J, arg[0], &sensitive) ||
        !flag(J, arg[2], &reverse))
        return false;
    by_value = given(arg[1]) && arg[1].kind == JV_STR && lm_jj_str_is(arg[1], "value");
    if (given(arg[1]) && !by_value && !(arg[1].kind == JV_STR && lm_jj_str_is(arg[1], "key")))
        return JJ_TYPE(J, "You can only sort by either \"key\" or \"value\"");
    if (x.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, x);
    if (x.kind != JV_DICT)
        return JJ_TYPE(J, "'%s' object has no attribute 'items'", lm_jj_type(x));
    *out = lm_jj_list(J, JV_LIST, x.u.d->n);
    jv *key = lm_jj_get(J, x.u.d->n, sizeof *key);
    for (size_t i = 0; i < x.u.d->n; i++) {
        const jentry *e = &x.u.d->e[i];
        jv pair;
        if (!key || !lm_jj_pair(J, e->k, e->v, &pair) || !lm_jj_push(J, *out, pair))
            return false;
        key[i] = by_value ? e->v : e->k;
        if (!fold_case(J, &key[i], sensitive))
            return false;
    }
    return key && lm_jj_sort(J, out->u.l->v, key, x.u.d->n, reverse);
}

static bool extreme(jj *J, jv x, const jargs *a, bool max, jv *out)
{
    jv arg[2], item, key, best = lm_jj_none();
    bool sensitive, end, any = false, better;
    jiter it;
    if (!lm_jj_args(J, max ? "max" : "min", a, "case_sensitive= attribute=", arg) ||
        !flag(J, arg[0], &sensitive) || !lm_jj_iter(J, x, &it))
        return false;
    for (;; any = true) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, &it, &item, &end))
            return false;
        if (end)
            break;
        if (!lm_jj_getpath(J, item, arg[1], &key) || !fold_case(J, &key, sensitive))
            return false;
        better = !any;
        if (any) {
            int c;
            if (!(max ? lm_jj_cmp(J, key, best, ">", &c) : lm_jj_cmp(J, key, best, "<", &c)))
                return false;
            better = c == (max ? 1 : -1);
        }
        if (better) {
            best = key;
            *out = item;
        }
    }
    if (!any)
        *out = lm_jj_undef_text(J, "No aggregated item, sequence was empty.");
    return true;
}

static bool f_min(jj *J, jv x, const jargs *a, jv *out)
{
    return extreme(J, x, a, false, out);
}

static bool f_max(jj *J, jv x, const jargs *a, jv *out)
{
    return extreme(J, x, a, true, out);
}

static bool f_sum(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[2], item;
    jiter it;
    bool end;
    if (!lm_jj_args(J, "sum", a, "attribute= start=", arg) || !lm_jj_iter(J, x, &it))
        return false;
    *out = given(arg[1]) ? arg[1] : lm_jj_int(0);
    if (out->kind == JV_STR)
        return JJ_TYPE(J, "sum() can't sum strings");
    for (;;) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, &it, &item, &end))
            return false;
        if (end)
            return true;
        if (!lm_jj_getpath(J, item, arg[0], &item) || !lm_jj_math(J, T_ADD, *out, item, out))
            return false;
    }
}

static bool same_group(jj *J, jv a, jv b, bool *out)
{
    return lm_jj_eq(J, a, b, out);
}

static bool f_groupby(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[3], items, group = lm_jj_none(), shown;
    bool sensitive, same = false;
    if (!lm_jj_args(J, "groupby", a, "attribute default= case_sensitive=", arg) ||
        !flag(J, arg[2], &sensitive) || !lm_jj_collect(J, x, &items))
        return false;
    size_t n = items.u.l->n;
    jv *key = lm_jj_get(J, n, sizeof *key);
    for (size_t i = 0; i < n; i++) {
        if (!key || !lm_jj_getpath(J, items.u.l->v[i], arg[0], &key[i]))
            return false;
        if (key[i].kind == JV_UNDEF && given(arg[1]) && arg[1].kind != JV_NONE)
            key[i] = arg[1];
        if (!fold_case(J, &key[i], sensitive))
            return false;
    }
    *out = lm_jj_list(J, JV_LIST, 0);
    if (!key || !out->u.l || !lm_jj_sort(J, items.u.l->v, key, n, false))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (i && !same_group(J, key[i - 1], key[i], &same))
            return false;
        if (!same || i == 0) {
            jv pair;
            if (!lm_jj_getpath(J, items.u.l->v[i], arg[0], &shown))
                return false;
            if (shown.kind == JV_UNDEF && given(arg[1]) && arg[1].kind != JV_NONE)
                shown = arg[1];
            group = lm_jj_list(J, JV_LIST, 0);
            if (!group.u.l || !lm_jj_pair(J, shown, group, &pair))
                return false;
            pair.flag = 1;
            if (!lm_jj_push(J, *out, pair))
                return false;
        }
        if (!lm_jj_push(J, group, items.u.l->v[i]))
            return false;
    }
    return true;
}

/* ---- lazy ones ---- */

static bool copy_args(jj *J, const jargs *a, jargs *out)
{
    *out = *a;
    out->pos = lm_jj_get(J, a->n, sizeof *a->pos);
    out->kw = lm_jj_get(J, a->n_kw, sizeof *a->kw);
    if (!out->pos || !out->kw)
        return false;
    if (a->n)
        memcpy(out->pos, a->pos, a->n * sizeof *a->pos);
    if (a->n_kw)
        memcpy(out->kw, a->kw, a->n_kw * sizeof *a->kw);
    return true;
}

static bool f_map(jj *J, jv x, const jargs *a, jv *out)
{
    jiter it = { .kind = IT_MAP, .src = x, .aux = lm_jj_none() };
    bool by_attribute = false;
    for (size_t i = 0; i < a->n_kw; i++)
        by_attribute = by_attribute || a->kw[i].name == NAME_attribute;
    if (!a->n && by_attribute) {
        jv arg[2];
        if (!lm_jj_args(J, "map", a, "attribute default=", arg))
            return false;
        jargs one = { .pos = arg, .n = 1 };
        it.which = 1;
        it.aux = given(arg[1]) ? arg[1] : lm_jj_none();
        return copy_args(J, &one, &it.args) && lm_jj_new_iter(J, it, out);
    }
    if (!a->n) {
        bool truth;
        if (!lm_jj_truth(J, x, &truth))
            return false;
        if (truth)
            return JJ_TYPE(J, "map requires a filter argument");
        return lm_jj_new_iter(J, (jiter){ .kind = IT_EMPTY }, out);
    }
    return copy_args(J, a, &it.args) && lm_jj_new_iter(J, it, out);
}

static bool pick(jj *J, jv x, const jargs *a, uint8_t how, jv *out)
{
    jiter it = { .kind = IT_SELECT, .which = how, .src = x };
    return copy_args(J, a, &it.args) && lm_jj_new_iter(J, it, out);
}

static bool f_select(jj *J, jv x, const jargs *a, jv *out)
{
    return pick(J, x, a, 0, out);
}

static bool f_reject(jj *J, jv x, const jargs *a, jv *out)
{
    return pick(J, x, a, 1, out);
}

static bool f_selectattr(jj *J, jv x, const jargs *a, jv *out)
{
    return pick(J, x, a, 2, out);
}

static bool f_rejectattr(jj *J, jv x, const jargs *a, jv *out)
{
    return pick(J, x, a, 3, out);
}

static bool f_unique(jj *J, jv x, const jargs *a, jv *out)
{
    jiter it = { .kind = IT_UNIQUE, .src = x, .aux = lm_jj_none() };
    jv arg[2];
    bool sensitive;
    if (!lm_jj_args(J, "unique", a, "case_sensitive= attribute=", arg) || !flag(J, arg[0], &sensitive))
        return false;
    jargs one = { .pos = &arg[1], .n = given(arg[1]) };
    it.which = sensitive;
    return copy_args(J, &one, &it.args) && lm_jj_new_iter(J, it, out);
}

static bool chunks(jj *J, jv x, const jargs *a, jiter_kind kind, jv *out)
{
    jiter it = { .kind = kind, .src = x };
    jv arg[2];
    int64_t n;
    if (!lm_jj_args(J, kind == IT_BATCH ? "batch" : "slice", a,
                    kind == IT_BATCH ? "linecount fill_with=" : "slices fill_with=", arg) ||
        !lm_jj_index(J, arg[0], &n))
        return false;
    if (n == 0 && kind == IT_SLICE)
        return JJ_TYPE(J, "integer division or modulo by zero");
    it.n = n > 0 ? (size_t)n : 0;
    it.aux = given(arg[1]) ? arg[1] : lm_jj_none();
    return lm_jj_new_iter(J, it, out);
}

static bool f_batch(jj *J, jv x, const jargs *a, jv *out)
{
    return chunks(J, x, a, IT_BATCH, out);
}

static bool f_slice(jj *J, jv x, const jargs *a, jv *out)
{
    return chunks(J, x, a, IT_SLICE, out);
}

const jfilter_row lm_jj_seq_filters[] = {
    { "batch", f_batch },     { "count", f_length },    { "dictsort", f_dictsort },
    { "first", f_first },     { "groupby", f_groupby }, { "items", f_items },
    { "join", f_join },       { "last", f_last },       { "length", f_length },
    { "list", f_list },       { "map", f_map },         { "max", f_max },
    { "min", f_min },         { "reject", f_reject },   { "rejectattr", f_rejectattr },
    { "reverse", f_reverse }, { "select", f_select },   { "selectattr", f_selectattr },
    { "slice", f_slice },     { "sort", f_sort },       { "sum", f_sum },
    { "unique", f_unique },   { NULL, NULL },
};
