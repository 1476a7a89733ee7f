/* text/jinja_iter.c - walking over values.
 *
 * What Jinja2's filters return lazily (map, select, items, …) is lazy here too:
 * errors come when an item is drawn, and a generator can be walked once. */
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

bool lm_jj_iterable(jv v)
{
    switch (v.kind) {
    case JV_UNDEF:
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE:
    case JV_ITER:
    case JV_LOOP: return true;
    default: return false;
    }
}

bool lm_jj_iter(jj *J, jv v, jiter *it)
{
    *it = (jiter){ .src = v };
    switch (v.kind) {
    case JV_UNDEF: it->kind = IT_EMPTY; return true;
    case JV_STR:
        it->kind = IT_STR;
        it->n = v.u.s.n;
        return true;
    case JV_LIST:
    case JV_TUPLE:
        it->kind = IT_LIST;
        it->n = v.u.l->n;
        return true;
    case JV_DICT:
    case JV_VIEW:
        it->kind = IT_DICT;
        it->which = v.kind == JV_VIEW ? v.flag : VIEW_KEYS;
        it->n = v.u.d->n;
        return true;
    case JV_RANGE:
        it->kind = IT_RANGE;
        it->n = v.u.r->n;
        return true;
    case JV_ITER: /* shares its position */
        it->kind = IT_LOOP_IF;
        it->in = v.u.it;
        return true;
    default: return JJ_TYPE(J, "'%s' object is not iterable", lm_jj_type(v));
    }
}

bool lm_jj_new_iter(jj *J, jiter it, jv *out)
{
    *out = (jv){ .kind = JV_ITER, .u.it = lm_jj_get(J, 1, sizeof it) };
    if (!out->u.it)
        return false;
    *out->u.it = it;
    return true;
}

/* A filter's input is opened at the first draw, as a Python generator does. */
static bool open_input(jj *J, jiter *it, bool skip_false)
{
    bool truth = true;
    if (it->started)
        return true;
    it->started = true;
    it->in = lm_jj_get(J, 1, sizeof *it->in);
    if (!it->in || (skip_false && !lm_jj_truth(J, it->src, &truth)))
        return false;
    if (!truth) {
        it->in->kind = IT_EMPTY;
        return true;
    }
    return lm_jj_iter(J, it->src, it->in);
}

/* map: attribute= with default=, or a filter by name. */
static bool next_map(jj *J, jiter *it, jv *out, bool *end)
{
    jv item;
    if (!open_input(J, it, true) || !lm_jj_next(J, it->in, &item, end))
        return false;
    if (*end)
        return true;
    if (it->which) {
        if (!lm_jj_getpath(J, item, it->args.pos[0], out))
            return false;
        if (out->kind == JV_UNDEF && it->aux.kind != JV_NONE)
            *out = it->aux;
        return true;
    }
    jargs rest = it->args;
    rest.pos++;
    rest.n--;
    if (it->args.pos[0].kind != JV_STR)
        return JJ_TYPE(J, "map wants the name of a filter");
    return lm_jj_filter(J, it->args.pos[0], item, &rest, out);
}

static bool next_select(jj *J, jiter *it, jv *out, bool *end)
{
    size_t off = it->which & 2 ? 1 : 0;
    jargs rest = it->args;
    bool yes;
    if (!open_input(J, it, true))
        return false;
    if (off && !it->args.n && it->in->kind != IT_EMPTY)
        return JJ_TYPE(J, "selectattr and rejectattr want the name of an attribute");
    if (it->args.n > off) {
        rest.pos += off + 1;
        rest.n -= off + 1;
    }
    for (;;) {
        jv tested;
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, it->in, out, end))
            return false;
        if (*end)
            return true;
        tested = *out;
        if (off && !lm_jj_getpath(J, *out, it->args.pos[0], &tested))
            return false;
        if (it->args.n <= off) {
            if (!lm_jj_truth(J, tested, &yes))
                return false;
        } else if (it->args.pos[off].kind != JV_STR) {
            return JJ_TYPE(J, "select and reject want the name of a test");
        } else if (!lm_jj_test(J, it->args.pos[off], tested, &rest, &yes)) {
            return false;
        }
        if (yes == !(it->which & 1))
            return true;
    }
}

static bool next_unique(jj *J, jiter *it, jv *out, bool *end)
{
    if (!open_input(J, it, false))
        return false;
    if (!it->aux.u.d && !(it->aux = lm_jj_dict(J)).u.d)
        return false;
    for (;;) {
        const jv *seen;
        jv key;
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, it->in, out, end))
            return false;
        if (*end)
            return true;
        key = *out;
        if (it->args.n && !lm_jj_getpath(J, *out, it->args.pos[0], &key))
            return false;
        if (!it->which && key.kind == JV_STR && !lm_jj_case(J, key, CASE_LOWER, &key))
            return false;
        if (!lm_jj_lookup(J, it->aux.u.d, key, &seen))
            return false;
        if (!seen)
            return lm_jj_set(J, it->aux.u.d, key, lm_jj_none());
    }
}

static bool next_batch(jj *J, jiter *it, jv *out, bool *end)
{
    jv item;
    bool last = false;
    if (!open_input(J, it, false))
        return false;
    *out = lm_jj_list(J, JV_LIST, 0);
    while (out->u.l) {
        /* A size below 1 never fills, as in Jinja2: everything is one batch. */
        if (it->n && out->u.l->n == it->n)
            return true;
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, it->in, &item, &last))
            return false;
        if (last)
            break;
        if (!lm_jj_push(J, *out, item))
            return false;
    }
    *end = !out->u.l || out->u.l->n == 0;
    while (!*end && it->aux.kind != JV_NONE && out->u.l->n < it->n)
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *out, it->aux))
            return false;
    return out->u.l != NULL;
}

/* n lists as even as can be; src is a list by now. */
static bool next_slice(jj *J, jiter *it, jv *out, bool *end)
{
    if (it->i >= it->n) {
        *end = true;
        return true;
    }
    if (!it->started) {
        it->started = true;
        if (!lm_jj_collect(J, it->src, &it->src))
            return false;
    }
    size_t len = it->src.u.l->n, per = len / it->n, extra = len % it->n, k = it->i++;
    size_t from = k * per + LM_MIN(k, extra), to = from + per + (k < extra);
    *out = lm_jj_list(J, JV_LIST, to - from);
    for (size_t i = from; i < to; i++)
        if (!lm_jj_push(J, *out, it->src.u.l->v[i]))
            return false;
    if (it->aux.kind != JV_NONE && k >= extra && !lm_jj_push(J, *out, it->aux))
        return false;
    return lm_jj_charge(J, 1) && out->u.l != NULL;
}

static bool next_items(jj *J, jiter *it, jv *out, bool *end)
{
    if (!it->started) {
        it->started = true;
        if (it->src.kind == JV_UNDEF) {
            it->n = 0;
        } else if (it->src.kind != JV_DICT) {
            return JJ_TYPE(J, "items wants a mapping, not %s", lm_jj_type(it->src));
        } else {
            it->n = it->src.u.d->n;
        }
    }
    if (it->i >= it->n) {
        *end = true;
        return true;
    }
    const jentry *e = &it->src.u.d->e[it->i++];
    return lm_jj_pair(J, e->k, e->v, out);
}

static bool next_dict(jj *J, jiter *it, jv *out)
{
    const jentry *e = &it->src.u.d->e[it->i++];
    if (it->which == VIEW_ITEMS)
        return lm_jj_pair(J, e->k, e->v, out);
    *out = it->which == VIEW_KEYS ? e->k : e->v;
    return true;
}

static int64_t range_at(const jrange *r, size_t i)
{
    return r->start + (int64_t)i * r->step;
}

static bool next_reversed(jj *J, jiter *it, jv *out)
{
    size_t i = it->n - ++it->i;
    switch (it->src.kind) {
    case JV_RANGE: *out = lm_jj_int(range_at(it->src.u.r, i)); return true;
    case JV_DICT:
    case JV_VIEW: {
        jiter one = { .kind = IT_DICT, .which = it->which, .src = it->src, .i = i };
        return next_dict(J, &one, out);
    }
    default: *out = it->src.u.l->v[i]; return true;
    }
}

/* {% for x in xs if test %}: the test runs when the item is drawn. */
static bool next_loop_if(jj *J, jiter *it, jv *out, bool *end)
{
    jscope *was = J->scope;
    bool ok, yes = false;
    jv t;
    if (!it->node) /* a shared generator */
        return lm_jj_next(J, it->in, out, end);
    for (;;) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, it->in, out, end))
            return false;
        if (*end)
            return true;
        J->scope = lm_jj_scope(J, it->scope);
        ok = J->scope && lm_jj_assign(J, it->node->a, *out) && lm_jj_eval(J, it->node->c, &t) &&
             lm_jj_truth(J, t, &yes);
        J->scope = was;
        if (!ok)
            return false;
        if (yes)
            return true;
    }
}

static bool next_nested(jj *J, jiter *it, jv *out, bool *end)
{
    switch (it->kind) {
    case IT_MAP: return next_map(J, it, out, end);
    case IT_SELECT: return next_select(J, it, out, end);
    case IT_UNIQUE: return next_unique(J, it, out, end);
    case IT_BATCH: return next_batch(J, it, out, end);
    case IT_SLICE: return next_slice(J, it, out, end);
    case IT_LAZY_ITEMS: return next_items(J, it, out, end);
    default: return next_loop_if(J, it, out, end);
    }
}

bool lm_jj_next(jj *J, jiter *it, jv *out, bool *end)
{
    size_t len;
    bool ok;
    *end = false;
    switch (it->kind) {
    case IT_LIST:
    case IT_STR:
    case IT_DICT:
    case IT_RANGE:
    case IT_REVERSED:
        if (it->i >= it->n) {
            *end = true;
            return true;
        }
        break;
    case IT_EMPTY: *end = true; return true;
    default:
        if (!lm_jj_enter(J))
            return false;
        ok = next_nested(J, it, out, end);
        J->depth--;
        return ok;
    }
    switch (it->kind) {
    case IT_STR:
        (void)lm_utf8_get(lm_jj_p(it->src) + it->i, it->n - it->i, &len);
        *out = lm_jj_sub(it->src, it->i, len);
        out->flag = 0;
        it->i += len;
        return true;
    case IT_DICT: return next_dict(J, it, out);
    case IT_RANGE: *out = lm_jj_int(range_at(it->src.u.r, it->i++)); return true;
    case IT_REVERSED: return next_reversed(J, it, out);
    default: *out = it->src.u.l->v[it->i++]; return true;
    }
}

bool lm_jj_collect(jj *J, jv v, jv *list)
{
    jiter it;
    jv item;
    bool end;
    if (v.kind == JV_LOOP) {
        *list = lm_jj_list(J, JV_LIST, 0);
        for (;;) {
            if (!lm_jj_charge(J, 1) || !lm_jj_loop_next(J, v.u.lp, &item, &end))
                return false;
            if (end)
                return list->u.l != NULL;
            if (!lm_jj_pair(J, item, v, &item) || !lm_jj_push(J, *list, item))
                return false;
        }
    }
    if (!lm_jj_iter(J, v, &it))
        return false;
    *list = lm_jj_list(J, JV_LIST, it.n < 64 ? it.n : 64);
    for (;;) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, &it, &item, &end))
            return false;
        if (end)
            return list->u.l != NULL;
        if (!lm_jj_push(J, *list, item))
            return false;
    }
}
