/* text/jinja_call.c - what can be called: globals, macros, methods, loops. */
#include <string.h>

#include "text/jinja_int.h"

/* ---- globals ---- */

/* The sandbox of the reference stops at as many. */
enum { MAX_RANGE = 100000 };

static bool g_range(jj *J, const jargs *a, jv *out)
{
    int64_t v[3] = { 0, 0, 1 };
    const int64_t far = INT64_C(1) << 60;
    if (a->n_kw || a->n == 0 || a->n > 3)
        return JJ_TYPE(J, "range takes one to three numbers");
    for (size_t i = 0; i < a->n; i++) {
        if (!lm_jj_index(J, a->pos[i], &v[a->n == 1 ? 1 : i]))
            return false;
        if (a->pos[i].u.i > far || a->pos[i].u.i < -far)
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "range reaches too far");
    }
    if (v[2] == 0)
        return JJ_TYPE(J, "range() arg 3 must not be zero");
    int64_t n = v[2] > 0 ? (v[1] > v[0] ? (v[1] - v[0] - 1) / v[2] + 1 : 0)
                         : (v[0] > v[1] ? (v[0] - v[1] - 1) / -v[2] + 1 : 0);
    if (n > MAX_RANGE)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a range of %lld numbers, allowed are %d", (long long)n,
                          MAX_RANGE);
    *out = (jv){ .kind = JV_RANGE, .u.r = lm_jj_get(J, 1, sizeof(jrange)) };
    if (!out->u.r)
        return false;
    *out->u.r = (jrange){ v[0], v[2], v[1], (size_t)n };
    return true;
}

/* Python's dict(mapping or pairs, **names). */
static bool g_dict(jj *J, const jargs *a, jv *out)
{
    *out = lm_jj_dict(J);
    if (!out->u.d)
        return false;
    if (a->n > 1)
        return JJ_TYPE(J, "dict expected at most 1 argument, got %zu", a->n);
    if (a->n && (a->pos[0].kind == JV_DICT)) {
        const jdict *d = a->pos[0].u.d;
        for (size_t i = 0; i < d->n; i++)
            if (!lm_jj_set(J, out->u.d, d->e[i].k, d->e[i].v))
                return false;
    } else if (a->n) {
        jv list, pair;
        if (!lm_jj_collect(J, a->pos[0], &list))
            return false;
        for (size_t i = 0; i < list.u.l->n; i++) {
            if (!lm_jj_collect(J, list.u.l->v[i], &pair))
                return false;
            if (pair.u.l->n != 2)
                return JJ_TYPE(J, "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                               pair.u.l->n);
            if (!lm_jj_set(J, out->u.d, pair.u.l->v[0], pair.u.l->v[1]))
                return false;
        }
    }
    for (size_t i = 0; i < a->n_kw; i++)
        if (!lm_jj_set(J, out->u.d, lm_jj_whole(J->t->name[a->kw[i].name].b), a->kw[i].v))
            return false;
    return true;
}

static bool g_namespace(jj *J, const jargs *a, jv *out)
{
    if (!g_dict(J, a, out))
        return false;
    out->kind = JV_NS;
    return true;
}

static bool g_raise(jj *J, const jargs *a, jv *out)
{
    jv arg[1], s;
    char text[240];
    if (!lm_jj_args(J, "raise_exception", a, "message", arg) || !lm_jj_to_str(J, arg[0], &s))
        return false;
    size_t n = LM_MIN(s.u.s.n, sizeof text - 1);
    while (n < s.u.s.n && n && ((unsigned char)lm_jj_p(s)[n] & 0xc0) == 0x80)
        n--; /* not inside a character */
    for (size_t i = 0; i < n; i++)
        text[i] = (unsigned char)lm_jj_p(s)[i] < ' ' || lm_jj_p(s)[i] == 0x7f ? ' ' : lm_jj_p(s)[i];
    text[n] = 0;
    *out = lm_jj_none();
    return lm_jj_fail(J, LM_ERR_USAGE, "%s", text);
}

static bool g_strftime(jj *J, const jargs *a, jv *out)
{
    jv format;
    return lm_jj_args(J, "strftime_now", a, "format", &format) && lm_jj_strftime(J, format, out);
}

static bool g_cycler(jj *J, const jargs *a, jv *out)
{
    jv items = lm_jj_list(J, JV_LIST, a->n);
    if (!a->n || a->n_kw)
        return JJ_TYPE(J, "at least one item has to be provided");
    for (size_t i = 0; i < a->n; i++)
        if (!lm_jj_push(J, items, a->pos[i]))
            return false;
    *out = (jv){ .kind = JV_CYCLER, .u.cy = lm_jj_get(J, 1, sizeof(jcycle)) };
    if (!out->u.cy)
        return false;
    out->u.cy->items = items.u.l;
    return true;
}

static bool g_joiner(jj *J, const jargs *a, jv *out)
{
    jv sep;
    if (!lm_jj_args(J, "joiner", a, "sep=", &sep))
        return false;
    *out = (jv){ .kind = JV_JOINER, .u.cy = lm_jj_get(J, 1, sizeof(jcycle)) };
    if (!out->u.cy)
        return false;
    out->u.cy->sep = sep.kind == JV_MISSING ? lm_jj_strz(J, ", ") : sep;
    return J->status == LM_OK;
}

static bool g_lipsum(jj *J, const jargs *a, jv *out)
{
    (void)a;
    (void)out;
    return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the function 'lipsum' is not supported");
}

static const struct {
    const char *name;
    bool (*fn)(jj *J, const jargs *a, jv *out);
} globals[] = {
    { "range", g_range },           { "dict", g_dict },
    { "namespace", g_namespace },   { "raise_exception", g_raise },
    { "strftime_now", g_strftime }, { "cycler", g_cycler },
    { "joiner", g_joiner },         { "lipsum", g_lipsum },
};

bool lm_jj_global(jj *J, jv name, jv *out)
{
    (void)J;
    for (size_t i = 0; i < LM_LEN(globals); i++)
        if (lm_jj_str_is(name, globals[i].name)) {
            *out = (jv){ .kind = JV_FUNC, .flag = (uint8_t)i };
            return true;
        }
    return false;
}

/* ---- loop.* ---- */

static bool peek(jj *J, jloop *lp)
{
    bool end;
    if (lp->has_after || lp->ended)
        return true;
    if (!lm_jj_next(J, lp->it, &lp->after, &end))
        return false;
    lp->has_after = !end;
    lp->ended = end;
    return true;
}

bool lm_jj_loop_next(jj *J, jloop *lp, jv *out, bool *end)
{
    if (!peek(J, lp))
        return false;
    *end = !lp->has_after;
    if (*end)
        return true;
    lp->has_after = false;
    lp->index0++;
    lp->before = lp->cur;
    lp->cur = *out = lp->after;
    return true;
}

static bool loop_length(jj *J, jloop *lp, int64_t *out)
{
    jv rest, item;
    bool end;
    if (lp->length < 0 && lp->sized) {
        if (!lm_jj_len(J, lp->src, &lp->length))
            return false;
    } else if (lp->length < 0) {
        rest = lm_jj_list(J, JV_LIST, 0);
        while (rest.u.l && !lp->ended) {
            if (!lm_jj_charge(J, 1) || !lm_jj_next(J, lp->it, &item, &end))
                return false;
            if (end)
                break;
            if (!lm_jj_push(J, rest, item))
                return false;
        }
        if (!rest.u.l)
            return false;
        lp->length = (int64_t)rest.u.l->n + lp->index0 + 1 + lp->has_after;
        *lp->it = (jiter){ .kind = IT_LIST, .src = rest, .n = rest.u.l->n };
    }
    *out = lp->length;
    return true;
}

static bool m_cycle(jj *J, jv loop, const jargs *a, jv *out)
{
    if (!a->n)
        return JJ_TYPE(J, "no items for cycling given");
    *out = a->pos[(size_t)LM_MAX(loop.u.lp->index0, 0) % a->n];
    return true;
}

static bool m_changed(jj *J, jv loop, const jargs *a, jv *out)
{
    jv now = lm_jj_list(J, JV_TUPLE, a->n);
    bool same = false;
    for (size_t i = 0; i < a->n; i++)
        if (!lm_jj_push(J, now, a->pos[i]))
            return false;
    if (!now.u.l || (loop.u.lp->changed.kind == JV_TUPLE && !lm_jj_eq(J, now, loop.u.lp->changed, &same)))
        return false;
    loop.u.lp->changed = now;
    *out = lm_jj_bool(!same);
    return true;
}

static bool bound_method(jj *J, jv self, jmethod_fn fn, const char *name, jv *out)
{
    *out = (jv){ .kind = JV_METHOD, .u.me = lm_jj_get(J, 1, sizeof(jmethod)) };
    if (!out->u.me)
        return false;
    *out->u.me = (jmethod){ self, fn, name };
    return true;
}

bool lm_jj_loop_attr(jj *J, jv loop, jv name, jv *out, bool *found)
{
    jloop *lp = loop.u.lp;
    int64_t n = 0;
    *found = true;
    if (lm_jj_str_is(name, "index"))
        *out = lm_jj_int(lp->index0 + 1);
    else if (lm_jj_str_is(name, "index0"))
        *out = lm_jj_int(lp->index0);
    else if (lm_jj_str_is(name, "first"))
        *out = lm_jj_bool(lp->index0 == 0);
    else if (lm_jj_str_is(name, "last")) {
        if (!peek(J, lp))
            return false;
        *out = lm_jj_bool(!lp->has_after);
    } else if (lm_jj_str_is(name, "length") || lm_jj_str_is(name, "revindex") ||
               lm_jj_str_is(name, "revindex0")) {
        if (!loop_length(J, lp, &n))
            return false;
        *out = lm_jj_int(lm_jj_str_is(name, "length")     ? n
                         : lm_jj_str_is(name, "revindex") ? n - lp->index0
                                                          : n - lp->index0 - 1);
    } else if (lm_jj_str_is(name, "previtem")) {
        *out = lp->index0 == 0 ? lm_jj_undef_text(J, "there is no previous item") : lp->before;
    } else if (lm_jj_str_is(name, "nextitem")) {
        if (!peek(J, lp))
            return false;
        *out = lp->has_after ? lp->after : lm_jj_undef_text(J, "there is no next item");
    } else if (lm_jj_str_is(name, "depth") || lm_jj_str_is(name, "depth0")) {
        *out = lm_jj_int(lp->depth0 + lm_jj_str_is(name, "depth"));
    } else if (lm_jj_str_is(name, "cycle")) {
        return bound_method(J, loop, m_cycle, "cycle", out);
    } else if (lm_jj_str_is(name, "changed")) {
        return bound_method(J, loop, m_changed, "changed", out);
    } else {
        *found = false;
    }
    return J->status == LM_OK;
}

/* ---- cycler ---- */

static bool m_next(jj *J, jv self, const jargs *a, jv *out)
{
    jcycle *c = self.u.cy;
    if (!lm_jj_args(J, "next", a, "", out))
        return false;
    *out = c->items->v[c->at];
    c->at = (c->at + 1) % c->items->n;
    return true;
}

static bool m_reset(jj *J, jv self, const jargs *a, jv *out)
{
    self.u.cy->at = 0;
    *out = lm_jj_none();
    return lm_jj_args(J, "reset", a, "", out);
}

bool lm_jj_cycler_attr(jj *J, jv self, jv name, jv *out, bool *found)
{
    *found = true;
    if (lm_jj_str_is(name, "next"))
        return bound_method(J, self, m_next, "next", out);
    if (lm_jj_str_is(name, "reset"))
        return bound_method(J, self, m_reset, "reset", out);
    *found = lm_jj_str_is(name, "current");
    if (*found)
        *out = self.u.cy->items->v[self.u.cy->at];
    return true;
}

/* ---- macros ---- */

static bool too_many(jj *J, const jnode *m)
{
    lm_quoted_buf q;
    return JJ_TYPE(J, "macro '%s' takes not more than %u argument(s)",
                   lm_quoted(&q, lm_jj_p(m->v), m->v.u.s.n), m->n);
}

/* The keyword argument `name`, taken off the list: *used marks it. */
static const jv *keyword(const jargs *a, bool *used, uint32_t name)
{
    for (size_t i = 0; i < a->n_kw; i++)
        if (a->kw[i].name == name) {
            used[i] = true;
            return &a->kw[i].v;
        }
    return NULL;
}

/* Defines the parameters in the macro's own scope, which is J->scope by now. */
static bool bind(jj *J, const jnode *m, const jargs *a)
{
    bool *used = lm_jj_get(J, a->n_kw, sizeof *used);
    uint32_t n_default = m->b->n;
    if (!used)
        return false;
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t name = m->kid[i]->name;
        const jv *given = i < a->n ? &a->pos[i] : keyword(a, used, name);
        jv v;
        if (given)
            v = *given;
        else if (i + n_default >= m->n) {
            if (!lm_jj_eval(J, m->b->kid[i + n_default - m->n], &v))
                return false;
        } else {
            v = lm_jj_undef_name(J, m->kid[i]->v);
        }
        if (!lm_jj_define(J, J->scope, name, v))
            return false;
    }
    if ((m->flag & 4) && !(m->flag & 8)) {
        const jv *caller = keyword(a, used, NAME_caller);
        if (!lm_jj_define(J, J->scope, NAME_caller,
                          caller ? *caller : lm_jj_undef_text(J, "No caller defined")))
            return false;
    }
    jv rest = lm_jj_list(J, JV_TUPLE, 0), names = lm_jj_dict(J);
    for (size_t i = 0; i < a->n_kw; i++) {
        lm_quoted_buf q;
        const jname *name = &J->t->name[a->kw[i].name];
        if (used[i])
            continue;
        if (!(m->flag & 2))
            return JJ_TYPE(J, "a macro takes no keyword argument '%s'", lm_quoted(&q, name->s, name->n));
        if (!lm_jj_set(J, names.u.d, lm_jj_whole(name->b), a->kw[i].v))
            return false;
    }
    if (a->n > m->n && !(m->flag & 1))
        return too_many(J, m);
    for (size_t i = m->n; i < a->n; i++)
        if (!lm_jj_push(J, rest, a->pos[i]))
            return false;
    return (!(m->flag & 2) || lm_jj_define(J, J->scope, NAME_kwargs, names)) &&
           (!(m->flag & 1) || lm_jj_define(J, J->scope, NAME_varargs, rest));
}

static bool call_macro(jj *J, const jmacro *m, const jargs *a, jv *out)
{
    jscope *was = J->scope;
    jflow flow = J->flow;
    bool ok;
    J->scope = lm_jj_scope(J, m->scope);
    J->flow = FLOW_NEXT;
    ok = J->scope && bind(J, m->node, a) && lm_jj_capture(J, m->node->a, out);
    J->scope = was;
    J->flow = flow;
    return ok;
}

static bool call_loop(jj *J, jloop *lp, const jargs *a, jv *out)
{
    jbuf *was = J->out, *b;
    jflow flow = J->flow;
    jv over;
    bool ok;
    if (!lp->node->flag)
        return JJ_TYPE(J, "The loop must have the 'recursive' marker to be called recursively.");
    if (!lm_jj_args(J, "loop", a, "iterable", &over))
        return false;
    b = J->out = lm_jj_buf(J, 0);
    J->flow = FLOW_NEXT;
    ok = b && lm_jj_run_loop(J, lp->node, over, lp->scope, lp->depth0 + 1);
    J->out = was;
    J->flow = flow;
    if (ok)
        *out = lm_jj_whole(b);
    return ok;
}

static bool call_any(jj *J, jv fn, const jargs *a, jv *out)
{
    switch (fn.kind) {
    case JV_FUNC: return globals[fn.flag].fn(J, a, out);
    case JV_METHOD:
        if (!fn.u.me->fn)
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the method '%s' is not supported", fn.u.me->name);
        return fn.u.me->fn(J, fn.u.me->self, a, out);
    case JV_MACRO: return call_macro(J, fn.u.m, a, out);
    case JV_LOOP: return call_loop(J, fn.u.lp, a, out);
    case JV_JOINER:
        *out = fn.u.cy->used ? fn.u.cy->sep : lm_jj_strz(J, "");
        fn.u.cy->used = true;
        return true;
    case JV_UNDEF: return lm_jj_undef_fail(J, fn);
    default: return JJ_TYPE(J, "'%s' object is not callable", lm_jj_type(fn));
    }
}

bool lm_jj_call(jj *J, jv fn, const jargs *a, jv *out)
{
    bool ok;
    if (!lm_jj_enter(J))
        return false;
    ok = call_any(J, fn, a, out) && J->status == LM_OK;
    J->depth--;
    return ok;
}
