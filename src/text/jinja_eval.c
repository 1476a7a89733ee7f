/* text/jinja_eval.c - runs the nodes.
 *
 * Scopes are what Jinja2 compiles them to: for, macro, call, filter, with and
 * set blocks have one of their own; if has none. */
#include <string.h>

#include "text/jinja_int.h"

/* ---- scopes ---- */

jscope *lm_jj_scope(jj *J, jscope *up)
{
    jscope *s = lm_jj_get(J, 1, sizeof *s);
    if (s)
        s->up = up;
    return s;
}

bool lm_jj_define(jj *J, jscope *s, uint32_t name, jv v)
{
    size_t cap_n = s->cap, cap_v = s->cap;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->name[i] == name) {
            s->v[i] = v;
            return true;
        }
    if (!lm_jj_more(J, &s->name, &cap_n, s->n + 1, sizeof *s->name) ||
        !lm_jj_more(J, &s->v, &cap_v, s->n + 1, sizeof *s->v))
        return false;
    s->cap = (uint32_t)LM_MIN(cap_n, cap_v);
    s->name[s->n] = name;
    s->v[s->n++] = v;
    return true;
}

static void capture_scopes(jscope *s)
{
    for (; s && !s->captured; s = s->up)
        s->captured = true;
}

static bool name_value(jj *J, const jnode *e, jv *out)
{
    for (const jscope *s = J->scope; s; s = s->up)
        for (uint32_t i = 0; i < s->n; i++)
            if (s->name[i] == e->name) {
                *out = s->v[i];
                return true;
            }
    *out = J->ctx[e->name];
    if (out->kind != JV_MISSING || lm_jj_global(J, e->v, out))
        return true;
    *out = lm_jj_undef_name(J, e->v);
    return J->status == LM_OK;
}

static bool unpack(jj *J, const jnode *target, jv v)
{
    jiter it;
    jv item;
    bool end;
    if (!lm_jj_iter(J, v, &it))
        return false;
    for (uint32_t i = 0;; i++) {
        if (!lm_jj_next(J, &it, &item, &end))
            return false;
        if (end != (i == target->n))
            return end ? JJ_TYPE(J, "not enough values to unpack (expected %u, got %u)", target->n, i)
                       : JJ_TYPE(J, "too many values to unpack (expected %u)", target->n);
        if (end)
            return true;
        if (!lm_jj_assign(J, target->kid[i], item))
            return false;
    }
}

bool lm_jj_assign(jj *J, const jnode *target, jv v)
{
    jv ns;
    if (target->kind == N_NAME)
        return lm_jj_define(J, J->scope, target->name, v);
    if (target->kind == N_TUPLE)
        return unpack(J, target, v);
    if (!name_value(J, target->a, &ns))
        return false;
    if (ns.kind != JV_NS)
        return JJ_TYPE(J, "cannot assign attribute on non-namespace object");
    return lm_jj_set(J, ns.u.d, target->v, v);
}

/* ---- expressions ---- */

static bool eval_all(jj *J, jnode *const *e, uint32_t n, jv list)
{
    jv v;
    for (uint32_t i = 0; i < n; i++)
        if (!lm_jj_eval(J, e[i], &v) || !lm_jj_push(J, list, v))
            return false;
    return list.u.l != NULL;
}

static bool eval_list(jj *J, const jnode *e, jv *out)
{
    *out = lm_jj_list(J, e->kind == N_LIST ? JV_LIST : JV_TUPLE, e->n);
    return eval_all(J, e->kid, e->n, *out);
}

static bool eval_dict(jj *J, const jnode *e, jv *out)
{
    jv k, v;
    *out = lm_jj_dict(J);
    for (uint32_t i = 0; i + 1 < e->n; i += 2)
        if (!lm_jj_eval(J, e->kid[i], &k) || !lm_jj_eval(J, e->kid[i + 1], &v) ||
            !lm_jj_set(J, out->u.d, k, v))
            return false;
    return out->u.d != NULL;
}

static bool eval_slice(jj *J, const jnode *e, jv *out)
{
    const jnode *part[3] = { e->a, e->b, e->c };
    *out = (jv){ .kind = JV_SLICE, .u.slice = lm_jj_get(J, 3, sizeof(jv)) };
    for (int i = 0; out->u.slice && i < 3; i++) {
        out->u.slice[i] = lm_jj_none();
        if (part[i] && !lm_jj_eval(J, part[i], &out->u.slice[i]))
            return false;
    }
    return out->u.slice != NULL;
}

static bool spread(jj *J, const jcall *c, jv pos, jargs *a, size_t *cap_kw)
{
    jv v, more;
    if (c->star) {
        if (!lm_jj_eval(J, c->star, &v) || !lm_jj_collect(J, v, &more))
            return false;
        for (size_t i = 0; i < more.u.l->n; i++)
            if (!lm_jj_push(J, pos, more.u.l->v[i]))
                return false;
    }
    if (!c->dstar)
        return true;
    if (!lm_jj_eval(J, c->dstar, &v))
        return false;
    if (v.kind != JV_DICT)
        return JJ_TYPE(J, "argument after ** must be a mapping, not %s", lm_jj_type(v));
    for (size_t i = 0; i < v.u.d->n; i++) {
        const jentry *e = &v.u.d->e[i];
        uint32_t name = NAME_COUNT;
        if (e->k.kind != JV_STR)
            return JJ_TYPE(J, "keywords must be strings");
        /* A name that the template does not have can fit no parameter. */
        for (name = 0; name < J->t->n_names; name++)
            if (J->t->name[name].n == e->k.u.s.n &&
                memcmp(J->t->name[name].s, lm_jj_p(e->k), e->k.u.s.n) == 0)
                break;
        if (name == J->t->n_names)
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "** passes a name that the template does not mention");
        if (!lm_jj_charge(J, 1) || !lm_jj_more(J, &a->kw, cap_kw, a->n_kw + 1, sizeof *a->kw))
            return false;
        a->kw[a->n_kw++] = (jkw){ name, e->v };
    }
    return true;
}

static bool eval_args(jj *J, const jcall *c, jargs *a)
{
    jlist list = { 0 };
    jv pos = { .kind = JV_LIST, .u.l = &list };
    size_t cap_kw = 0;
    *a = (jargs){ 0 };
    if (c->n && !lm_jj_more(J, &list.v, &list.cap, c->n, sizeof *list.v))
        return false;
    if (!eval_all(J, c->pos, c->n, pos))
        return false;
    for (uint32_t i = 0; i < c->n_kw; i++) {
        jv v;
        if (!lm_jj_eval(J, c->kw[i], &v) || !lm_jj_more(J, &a->kw, &cap_kw, a->n_kw + 1, sizeof *a->kw))
            return false;
        a->kw[a->n_kw++] = (jkw){ c->kw_name[i], v };
    }
    if ((c->star || c->dstar) && !spread(J, c, pos, a, &cap_kw))
        return false;
    a->pos = list.v;
    a->n = list.n;
    return true;
}

static bool eval_call(jj *J, const jnode *e, const jv *caller, jv *out)
{
    jv fn;
    jargs a;
    if (!lm_jj_eval(J, e->a, &fn) || !eval_args(J, e->call, &a))
        return false;
    if (caller) {
        jkw *kw = lm_jj_get(J, a.n_kw + 1, sizeof *kw);
        if (!kw)
            return false;
        if (a.n_kw)
            memcpy(kw, a.kw, a.n_kw * sizeof *kw);
        kw[a.n_kw++] = (jkw){ NAME_caller, *caller };
        a.kw = kw;
    }
    J->line = e->line;
    return lm_jj_call(J, fn, &a, out);
}

static bool eval_filter(jj *J, const jnode *e, jv *out)
{
    jv x;
    jargs a;
    if (e->a) {
        if (!lm_jj_eval(J, e->a, &x))
            return false;
    } else {
        x = J->piped;
    }
    if (!eval_args(J, e->call, &a))
        return false;
    J->line = e->line;
    return lm_jj_filter(J, e->v, x, &a, out);
}

static bool eval_test(jj *J, const jnode *e, jv *out)
{
    jv x;
    jargs a;
    bool yes;
    if (!lm_jj_eval(J, e->a, &x) || !eval_args(J, e->call, &a))
        return false;
    J->line = e->line;
    if (!lm_jj_test(J, e->v, x, &a, &yes))
        return false;
    *out = lm_jj_bool(yes);
    return true;
}

static bool eval_math(jj *J, const jnode *e, jv *out)
{
    jv right;
    if (!lm_jj_eval(J, e->kid[0], out))
        return false;
    for (uint32_t i = 1; i < e->n; i++) {
        if (!lm_jj_eval(J, e->kid[i], &right))
            return false;
        J->line = e->line;
        if (!lm_jj_math(J, e->op[i - 1], *out, right, out))
            return false;
    }
    return true;
}

static bool eval_concat(jj *J, const jnode *e, jv *out)
{
    jv v, s;
    if (!lm_jj_eval(J, e->kid[0], &v) || !lm_jj_to_str(J, v, out))
        return false;
    out->flag = 0;
    for (uint32_t i = 1; i < e->n; i++) {
        if (!lm_jj_eval(J, e->kid[i], &v) || !lm_jj_to_str(J, v, &s))
            return false;
        s.flag = 0;
        if (!lm_jj_concat(J, *out, s, out))
            return false;
    }
    return true;
}

static bool compare(jj *J, int op, jv a, jv b, bool *out)
{
    static const char *const text[] = { [T_LT] = "<", [T_LTEQ] = "<=", [T_GT] = ">", [T_GTEQ] = ">=" };
    int c;
    switch (op) {
    case T_EQ: return lm_jj_eq(J, a, b, out);
    case T_NE:
        if (!lm_jj_eq(J, a, b, out))
            return false;
        *out = !*out;
        return true;
    case T_IN:
    case T_NOTIN:
        if (!lm_jj_contains(J, b, a, out))
            return false;
        *out = *out != (op == T_NOTIN);
        return true;
    default:
        if (!lm_jj_cmp(J, a, b, text[op], &c))
            return false;
        *out = op == T_LT     ? c == -1
               : op == T_LTEQ ? c == -1 || c == 0
               : op == T_GT   ? c == 1
                              : c == 1 || c == 0;
        return true;
    }
}

static bool eval_compare(jj *J, const jnode *e, jv *out)
{
    jv left, right;
    bool yes = true;
    if (!lm_jj_eval(J, e->kid[0], &left))
        return false;
    for (uint32_t i = 1; yes && i < e->n; i++) {
        if (!lm_jj_eval(J, e->kid[i], &right))
            return false;
        J->line = e->line;
        if (!compare(J, e->op[i - 1], left, right, &yes))
            return false;
        left = right;
    }
    *out = lm_jj_bool(yes);
    return true;
}

/* and, or: the last value that was looked at, as in Python. */
static bool eval_logic(jj *J, const jnode *e, jv *out)
{
    bool truth;
    for (uint32_t i = 0; i < e->n; i++) {
        if (!lm_jj_eval(J, e->kid[i], out))
            return false;
        if (i + 1 == e->n)
            break;
        if (!lm_jj_truth(J, *out, &truth))
            return false;
        if (truth == (e->kind == N_OR))
            break;
    }
    return true;
}

static bool eval_cond(jj *J, const jnode *e, jv *out)
{
    bool truth;
    jv v;
    for (;;) {
        if (!lm_jj_eval(J, e->b, &v) || !lm_jj_truth(J, v, &truth))
            return false;
        if (truth)
            return lm_jj_eval(J, e->a, out);
        if (!e->c) {
            *out = lm_jj_undef_text(
                J, "the inline if-expression evaluated to false and no else section was defined");
            return J->status == LM_OK;
        }
        if (e->c->kind != N_COND)
            return lm_jj_eval(J, e->c, out);
        e = e->c;
    }
}

static bool eval_unary(jj *J, const jnode *e, jv *out)
{
    jv v;
    bool truth;
    if (!lm_jj_eval(J, e->a, &v))
        return false;
    if (e->kind != N_NOT)
        return lm_jj_neg(J, v, e->kind == N_POS, out);
    if (!lm_jj_truth(J, v, &truth))
        return false;
    *out = lm_jj_bool(!truth);
    return true;
}

static bool eval_access(jj *J, const jnode *e, jv *out)
{
    jv obj, key;
    if (!lm_jj_eval(J, e->a, &obj))
        return false;
    if (e->kind == N_ATTR) {
        J->line = e->line;
        return lm_jj_getattr(J, obj, e->v, out);
    }
    if (!lm_jj_eval(J, e->b, &key))
        return false;
    J->line = e->line;
    if (key.kind == JV_SLICE)
        return lm_jj_slice(J, obj, key.u.slice, out);
    return lm_jj_getitem(J, obj, key, out);
}

static bool eval_deep(jj *J, const jnode *e, jv *out)
{
    switch (e->kind) {
    case N_LIST:
    case N_TUPLE: return eval_list(J, e, out);
    case N_DICT: return eval_dict(J, e, out);
    case N_ATTR:
    case N_ITEM: return eval_access(J, e, out);
    case N_SLICE: return eval_slice(J, e, out);
    case N_CALL: return eval_call(J, e, NULL, out);
    case N_FILTER: return eval_filter(J, e, out);
    case N_TEST: return eval_test(J, e, out);
    case N_NEG:
    case N_POS:
    case N_NOT: return eval_unary(J, e, out);
    case N_MATH: return eval_math(J, e, out);
    case N_CONCAT: return eval_concat(J, e, out);
    case N_COMPARE: return eval_compare(J, e, out);
    case N_AND:
    case N_OR: return eval_logic(J, e, out);
    default: return eval_cond(J, e, out);
    }
}

bool lm_jj_eval(jj *J, const jnode *e, jv *out)
{
    bool ok;
    if (e->kind == N_CONST) {
        *out = e->v;
        return lm_jj_charge(J, 1);
    }
    if (e->kind == N_NAME)
        return lm_jj_charge(J, 1) && name_value(J, e, out);
    if (!lm_jj_enter(J))
        return false;
    ok = eval_deep(J, e, out);
    J->depth--;
    return ok;
}

/* ---- statements ---- */

static bool in_scope(jj *J, jscope *up, const jnode *body)
{
    jscope *was = J->scope;
    bool ok;
    J->scope = lm_jj_scope(J, up);
    ok = J->scope && lm_jj_exec(J, body);
    J->scope = was;
    return ok;
}

bool lm_jj_capture(jj *J, const jnode *body, jv *out)
{
    jbuf *was = J->out, *b = lm_jj_buf(J, 0);
    bool ok;
    J->out = b;
    ok = b && lm_jj_exec(J, body);
    J->out = was;
    if (ok)
        *out = lm_jj_whole(b);
    return ok;
}

static bool capture_in_scope(jj *J, const jnode *body, jv *out)
{
    jscope *was = J->scope;
    bool ok;
    J->scope = lm_jj_scope(J, was);
    ok = J->scope && lm_jj_capture(J, body, out);
    J->scope = was;
    return ok;
}

static bool open_loop(jj *J, const jnode *f, jv over, jscope *around, jloop *lp)
{
    lp->src = over;
    lp->sized = !f->c && over.kind != JV_ITER && over.kind != JV_LOOP;
    lp->index0 = -1;
    lp->length = -1;
    lp->node = (jnode *)(uintptr_t)f;
    lp->scope = around;
    lp->it = lm_jj_get(J, 1, sizeof *lp->it);
    if (!lp->it || !lm_jj_iter(J, over, lp->it))
        return false;
    if (!f->c)
        return true;
    jiter *in = lp->it;
    lp->it = lm_jj_get(J, 1, sizeof *lp->it);
    if (!lp->it)
        return false;
    *lp->it = (jiter){ .kind = IT_LOOP_IF, .in = in, .node = lp->node, .scope = around };
    return true;
}

static bool loop_body(jj *J, const jnode *f, jloop *lp, jscope *around)
{
    jscope *s = NULL;
    jv item, self = { .kind = JV_LOOP, .u.lp = lp };
    bool end;
    for (;;) {
        if (!lm_jj_charge(J, 1) || !lm_jj_loop_next(J, lp, &item, &end))
            return false;
        if (end)
            return true;
        if (s && !s->captured)
            s->n = 0; /* nobody kept it: use its memory again */
        else if (!(s = lm_jj_scope(J, around)))
            return false;
        J->scope = s;
        if (!lm_jj_define(J, s, NAME_loop, self) || !lm_jj_assign(J, f->a, item) ||
            !lm_jj_exec(J, f->d->kid[0]))
            return false;
        J->scope = around;
        /* As Jinja2 has it: else is for loops of which no turn came to its end. */
        lp->completed |= J->flow == FLOW_NEXT;
        if (J->flow == FLOW_BREAK) {
            J->flow = FLOW_NEXT;
            return true;
        }
        J->flow = FLOW_NEXT;
    }
}

bool lm_jj_run_loop(jj *J, const jnode *f, jv over, jscope *around, int64_t depth0)
{
    jscope *was = J->scope;
    jloop *lp = lm_jj_get(J, 1, sizeof *lp);
    bool ok;
    if (!lp || !lm_jj_enter(J))
        return false;
    lp->depth0 = depth0;
    J->scope = around;
    ok = open_loop(J, f, over, around, lp) && loop_body(J, f, lp, around);
    J->scope = around;
    if (ok && !lp->completed && f->d->n > 1)
        ok = in_scope(J, around, f->d->kid[1]);
    J->scope = was;
    J->depth--;
    return ok;
}

static bool exec_for(jj *J, const jnode *f)
{
    jv over;
    if (!lm_jj_eval(J, f->b, &over))
        return false;
    J->line = f->line;
    if (f->flag) /* a recursive loop may be called from anywhere inside */
        capture_scopes(J->scope);
    return lm_jj_run_loop(J, f, over, J->scope, 0);
}

static bool exec_if(jj *J, const jnode *s)
{
    bool truth;
    jv v;
    uint32_t i = 0;
    for (; i + 1 < s->n; i += 2) {
        if (!lm_jj_eval(J, s->kid[i], &v) || !lm_jj_truth(J, v, &truth))
            return false;
        if (truth)
            return lm_jj_exec(J, s->kid[i + 1]);
    }
    return i == s->n || lm_jj_exec(J, s->kid[i]);
}

static bool make_macro(jj *J, const jnode *m, jv *out)
{
    *out = (jv){ .kind = JV_MACRO, .u.m = lm_jj_get(J, 1, sizeof(jmacro)) };
    if (!out->u.m)
        return false;
    *out->u.m = (jmacro){ .node = (jnode *)(uintptr_t)m, .scope = J->scope };
    capture_scopes(J->scope);
    return true;
}

static bool exec_call_block(jj *J, const jnode *s)
{
    jv caller, v;
    return make_macro(J, s->a, &caller) && eval_call(J, s->b, &caller, &v) && lm_jj_put_value(J, J->out, v);
}

static bool pipe(jj *J, const jnode *filters, jv *v)
{
    J->piped = *v;
    return lm_jj_eval(J, filters, v);
}

static bool exec_with(jj *J, const jnode *s)
{
    jscope *was = J->scope, *inner = lm_jj_scope(J, was);
    jv list = lm_jj_list(J, JV_LIST, s->n / 2), v;
    bool ok = inner && list.u.l;
    for (uint32_t i = 1; ok && i < s->n; i += 2)
        ok = lm_jj_eval(J, s->kid[i], &v) && lm_jj_push(J, list, v);
    if (ok)
        J->scope = inner;
    for (uint32_t i = 0; ok && i < s->n; i += 2)
        ok = lm_jj_assign(J, s->kid[i], list.u.l->v[i / 2]);
    ok = ok && lm_jj_exec(J, s->a);
    J->scope = was;
    return ok;
}

static bool exec_print(jj *J, const jnode *s)
{
    jv v;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!lm_jj_eval(J, s->kid[i], &v))
            return false;
        J->line = s->line;
        if (!lm_jj_put_value(J, J->out, v))
            return false;
    }
    return true;
}

static bool exec_set(jj *J, const jnode *s)
{
    jv v;
    if (s->kind == N_SET) {
        if (!lm_jj_eval(J, s->b, &v))
            return false;
    } else {
        if (!capture_in_scope(J, s->c, &v) || (s->b && J->flow == FLOW_NEXT && !pipe(J, s->b, &v)))
            return false;
        if (J->flow != FLOW_NEXT)
            return true;
    }
    J->line = s->line;
    return lm_jj_assign(J, s->a, v);
}

static bool exec_one(jj *J, const jnode *s)
{
    jv v;
    switch (s->kind) {
    case N_DATA: return lm_jj_put(J, J->out, lm_jj_p(s->v), s->v.u.s.n, false);
    case N_PRINT: return exec_print(J, s);
    case N_FOR: return exec_for(J, s);
    case N_IF: return exec_if(J, s);
    case N_SET:
    case N_SETBLOCK: return exec_set(J, s);
    case N_MACRO: return make_macro(J, s, &v) && lm_jj_define(J, J->scope, s->name, v);
    case N_CALLBLOCK: return exec_call_block(J, s);
    case N_FILTERBLOCK:
        return capture_in_scope(J, s->a, &v) &&
               (J->flow != FLOW_NEXT || (pipe(J, s->b, &v) && lm_jj_put_value(J, J->out, v)));
    case N_WITH: return exec_with(J, s);
    case N_SCOPE: return in_scope(J, s->flag ? J->root : J->scope, s->a);
    case N_BREAK: J->flow = FLOW_BREAK; return true;
    default: J->flow = FLOW_CONTINUE; return true;
    }
}

bool lm_jj_exec(jj *J, const jnode *body)
{
    for (uint32_t i = 0; i < body->n && J->flow == FLOW_NEXT; i++) {
        J->line = body->kid[i]->line;
        if (!lm_jj_charge(J, 1) || !exec_one(J, body->kid[i]) || J->status != LM_OK)
            return false;
    }
    return true;
}
