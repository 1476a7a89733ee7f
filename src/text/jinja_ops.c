/* text/jinja_ops.c - arithmetic, subscripts, attributes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "text/jinja_int.h"

bool lm_jj_index(jj *J, jv v, int64_t *out)
{
    if (v.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, v);
    if (!lm_jj_is_int(v))
        return JJ_TYPE(J, "'%s' object cannot be interpreted as an integer", lm_jj_type(v));
    *out = v.u.i;
    return true;
}

/* Appends in place when a is the newest text of a buffer of this rendering. */
bool lm_jj_concat(jj *J, jv a, jv b, jv *out)
{
    jbuf *buf = a.u.s.b;
    jv e;
    if (a.flag != b.flag) { /* what is marked safe escapes what is not */
        if (!lm_jj_escape(J, a.flag ? b : a, &e))
            return false;
        return a.flag ? lm_jj_concat(J, a, e, out) : lm_jj_concat(J, e, b, out);
    }
    if (a.u.s.n == 0 || b.u.s.n == 0) {
        *out = a.u.s.n ? a : b;
        return true;
    }
    /* b must not be the buffer that grows: its bytes would move underneath. */
    if (buf->cap && !buf->all && buf != b.u.s.b && a.u.s.at + a.u.s.n == buf->used && a.u.s.n >= 64) {
        if (!lm_jj_put_str(J, buf, b))
            return false;
        *out = a;
        out->u.s.n += b.u.s.n;
        return true;
    }
    buf = lm_jj_buf(J, a.u.s.n + b.u.s.n);
    if (!buf || !lm_jj_put_str(J, buf, a) || !lm_jj_put_str(J, buf, b))
        return false;
    *out = lm_jj_whole(buf);
    out->flag = a.flag;
    return true;
}

bool lm_jj_repeat(jj *J, jv s, int64_t n, jv *out)
{
    size_t total;
    if (n <= 0 || s.u.s.n == 0) {
        *out = lm_jj_sub(s, 0, 0);
        return true;
    }
    if (__builtin_mul_overflow(s.u.s.n, (size_t)n, &total) || total > SIZE_MAX / 4)
        total = SIZE_MAX / 4;
    jbuf *b = lm_jj_buf(J, total);
    for (int64_t i = 0; b && i < n; i++)
        if ((i % 64 == 0 && !lm_jj_charge(J, 1)) || !lm_jj_put_str(J, b, s))
            return false;
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return true;
}

static bool join_lists(jj *J, jv a, jv b, jv *out)
{
    *out = lm_jj_list(J, (jkind)a.kind, a.u.l->n + b.u.l->n);
    if (!out->u.l || !lm_jj_charge(J, (a.u.l->n + b.u.l->n) / 8))
        return false;
    if (a.u.l->n)
        memcpy(out->u.l->v, a.u.l->v, a.u.l->n * sizeof *a.u.l->v);
    if (b.u.l->n)
        memcpy(out->u.l->v + a.u.l->n, b.u.l->v, b.u.l->n * sizeof *b.u.l->v);
    out->u.l->n = a.u.l->n + b.u.l->n;
    return true;
}

static bool repeat_list(jj *J, jv l, int64_t n, jv *out)
{
    size_t total = 0;
    if (n > 0 && __builtin_mul_overflow((size_t)n, l.u.l->n, &total))
        total = SIZE_MAX / 4;
    *out = lm_jj_list(J, (jkind)l.kind, total);
    for (int64_t i = 0; out->u.l && l.u.l->n && i < n; i++)
        for (size_t k = 0; k < l.u.l->n; k++)
            if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *out, l.u.l->v[k]))
                return false;
    return out->u.l != NULL;
}

static bool overflow(jj *J)
{
    return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the result does not fit into a 64-bit integer");
}

static bool int_pow(jj *J, int64_t a, int64_t n, jv *out)
{
    int64_t r = 1;
    if (n < 0) {
        if (a == 0)
            return JJ_TYPE(J, "0.0 cannot be raised to a negative power");
        *out = lm_jj_float(pow((double)a, (double)n));
        return true;
    }
    if (a == 0 || a == 1 || a == -1) {
        *out = lm_jj_int(n == 0 || a == 1 ? 1 : a == 0 ? 0 : n % 2 ? -1 : 1);
        return true;
    }
    for (; n > 0; n--) /* at most 63 turns before it overflows */
        if (__builtin_mul_overflow(r, a, &r))
            return overflow(J);
    *out = lm_jj_int(r);
    return true;
}

static bool int_math(jj *J, int op, int64_t a, int64_t b, jv *out)
{
    int64_t r = 0;
    bool over = false;
    switch (op) {
    case T_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case T_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case T_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case T_POW: return int_pow(J, a, b, out);
    default:
        if (b == 0)
            return JJ_TYPE(J, op == T_DIV ? "division by zero" : "integer division or modulo by zero");
        if (op == T_DIV) {
            *out = lm_jj_float((double)((long double)a / (long double)b));
            return true;
        }
        over = a == INT64_MIN && b == -1;
        if (over && op == T_MOD) {
            *out = lm_jj_int(0);
            return true;
        }
        if (!over) {
            r = op == T_MOD ? a % b : a / b;
            if (a % b != 0 && (a < 0) != (b < 0))
                r += op == T_MOD ? b : -1;
        }
        break;
    }
    if (over)
        return overflow(J);
    *out = lm_jj_int(r);
    return true;
}

static double as_double(jv v)
{
    return v.kind == JV_FLOAT ? v.u.f : (double)v.u.i;
}

static bool float_math(jj *J, int op, double a, double b, jv *out)
{
    double r = 0, m;
    switch (op) {
    case T_ADD: r = a + b; break;
    case T_SUB: r = a - b; break;
    case T_MUL: r = a * b; break;
    case T_POW:
        if (a == 0.0 && b < 0.0)
            return JJ_TYPE(J, "0.0 cannot be raised to a negative power");
        if (a < 0.0 && b != floor(b))
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "complex numbers are not supported");
        r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b))
            return JJ_TYPE(J, "the result is too large");
        break;
    default:
        if (b == 0.0)
            return JJ_TYPE(J, op == T_DIV ? "division by zero" : "float floor division or modulo by zero");
        if (op == T_DIV) {
            r = a / b;
            break;
        }
        m = fmod(a, b);
        if (m != 0.0 && (b < 0.0) != (m < 0.0))
            m += b;
        else if (m == 0.0)
            m = copysign(0.0, b);
        if (op == T_MOD) {
            r = m;
            break;
        }
        r = (a - m) / b;
        if (r != 0.0) {
            double f = floor(r);
            r = r - f > 0.5 ? f + 1.0 : f;
        } else {
            r = copysign(0.0, a / b);
        }
        break;
    }
    *out = lm_jj_float(r);
    return true;
}

static const char *op_name(int op)
{
    switch (op) {
    case T_ADD: return "+";
    case T_SUB: return "-";
    case T_MUL: return "*";
    case T_DIV: return "/";
    case T_FLOORDIV: return "//";
    case T_MOD: return "%";
    default: return "** or pow()";
    }
}

static bool sequence_times(jj *J, jv s, jv n, jv *out)
{
    return s.kind == JV_STR ? lm_jj_repeat(J, s, n.u.i, out) : repeat_list(J, s, n.u.i, out);
}

static bool repeatable(jv v)
{
    return v.kind == JV_STR || v.kind == JV_LIST || v.kind == JV_TUPLE;
}

bool lm_jj_math(jj *J, int op, jv a, jv b, jv *out)
{
    if (op == T_MOD && a.kind == JV_STR)
        return lm_jj_percent(J, a, b, out);
    if (a.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, a);
    if (b.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, b);
    if (lm_jj_is_int(a) && lm_jj_is_int(b))
        return int_math(J, op, a.u.i, b.u.i, out);
    if (lm_jj_is_num(a) && lm_jj_is_num(b))
        return float_math(J, op, as_double(a), as_double(b), out);
    if (op == T_ADD && a.kind == JV_STR && b.kind == JV_STR)
        return lm_jj_concat(J, a, b, out);
    if (op == T_ADD && a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE))
        return join_lists(J, a, b, out);
    if (op == T_MUL && repeatable(a) && lm_jj_is_int(b))
        return sequence_times(J, a, b, out);
    if (op == T_MUL && lm_jj_is_int(a) && repeatable(b))
        return sequence_times(J, b, a, out);
    if (op == T_ADD && a.kind == JV_STR)
        return JJ_TYPE(J, "can only concatenate str (not \"%s\") to str", lm_jj_type(b));
    return JJ_TYPE(J, "unsupported operand type(s) for %s: '%s' and '%s'", op_name(op), lm_jj_type(a),
                   lm_jj_type(b));
}

bool lm_jj_neg(jj *J, jv a, bool plus, jv *out)
{
    if (a.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, a);
    if (a.kind == JV_FLOAT) {
        *out = lm_jj_float(plus ? a.u.f : -a.u.f);
        return true;
    }
    if (!lm_jj_is_int(a))
        return JJ_TYPE(J, "bad operand type for unary %c: '%s'", plus ? '+' : '-', lm_jj_type(a));
    if (!plus && a.u.i == INT64_MIN)
        return overflow(J);
    *out = lm_jj_int(plus ? a.u.i : -a.u.i);
    return true;
}

/* ---- subscripts ---- */

static bool bound(jj *J, jv v, int64_t len, int64_t step, int64_t missing, int64_t *out)
{
    if (v.kind == JV_NONE) {
        *out = missing;
        return true;
    }
    if (v.kind == JV_UNDEF || !lm_jj_is_int(v))
        return JJ_TYPE(J, "slice indices must be integers or None");
    *out = v.u.i;
    if (*out < 0)
        *out = *out < -len ? (step < 0 ? -1 : 0) : *out + len;
    else if (*out > len)
        *out = len;
    if (step < 0 && *out >= len)
        *out = len - 1;
    return true;
}

static bool slice_str(jj *J, jv s, int64_t from, int64_t n, int64_t step, jv *out)
{
    jbuf *b;
    if (!lm_jj_charge(J, s.u.s.n / 64))
        return false;
    if (n <= 0) {
        *out = lm_jj_sub(s, 0, 0);
        return true;
    }
    if (step == 1) {
        size_t a = lm_jj_byte_of(s, (size_t)from);
        jv rest = lm_jj_sub(s, a, s.u.s.n - a);
        *out = lm_jj_sub(rest, 0, lm_jj_byte_of(rest, (size_t)n));
        return true;
    }
    /* Where each character starts, so that a step costs no search. */
    size_t *at = NULL, len = 0;
    bool ascii = lm_jj_ascii(s);
    if (!ascii) {
        at = lm_jj_get(J, s.u.s.n + 1, sizeof *at);
        if (!at)
            return false;
        for (size_t i = 0; i < s.u.s.n; i++)
            if (((unsigned char)lm_jj_p(s)[i] & 0xc0) != 0x80)
                at[len++] = i;
        at[len] = s.u.s.n;
    }
    b = lm_jj_buf(J, (size_t)n);
    for (int64_t i = 0; b && i < n; i++) {
        size_t c = (size_t)(from + i * step);
        size_t first = ascii ? c : at[c], end = ascii ? c + 1 : at[c + 1], stop;
        if (!lm_jj_put(J, b, lm_jj_p(s) + first, end - first, lm_jj_run(s, first, &stop)))
            return false;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return true;
}

bool lm_jj_slice(jj *J, jv obj, const jv *part, jv *out)
{
    if (obj.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, obj);
    if (obj.kind != JV_STR && obj.kind != JV_LIST && obj.kind != JV_TUPLE && obj.kind != JV_RANGE)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a %s cannot be sliced", lm_jj_type(obj));
    int64_t len = 0, step = 1, from = 0, to = 0, n;
    if (!lm_jj_len(J, obj, &len))
        return false;
    if (part[2].kind != JV_NONE) {
        if (!lm_jj_is_int(part[2]))
            return JJ_TYPE(J, "slice indices must be integers or None");
        step = part[2].u.i;
        if (step == 0)
            return JJ_TYPE(J, "slice step cannot be zero");
        step = LM_MAX(LM_MIN(step, INT32_MAX), -INT32_MAX);
    }
    if (!bound(J, part[0], len, step, step < 0 ? len - 1 : 0, &from) ||
        !bound(J, part[1], len, step, step < 0 ? -1 : len, &to))
        return false;
    n = step > 0 ? (to > from ? (to - from - 1) / step + 1 : 0)
                 : (from > to ? (from - to - 1) / -step + 1 : 0);
    if (obj.kind == JV_STR)
        return slice_str(J, obj, from, n, step, out);
    if (obj.kind == JV_RANGE) {
        *out = (jv){ .kind = JV_RANGE, .u.r = lm_jj_get(J, 1, sizeof(jrange)) };
        if (!out->u.r)
            return false;
        const jrange *r = obj.u.r; /* the two ends lie within reach: the range does */
        *out->u.r = (jrange){ .start = r->start + from * r->step, .step = 1, .n = (size_t)n };
        if (n > 1)
            out->u.r->step = r->step * step;
        out->u.r->stop = r->start + to * r->step;
        return true;
    }
    *out = lm_jj_list(J, (jkind)obj.kind, (size_t)n);
    for (int64_t i = 0; out->u.l && i < n; i++)
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *out, obj.u.l->v[from + i * step]))
            return false;
    return out->u.l != NULL;
}

/* Python's obj[key]; *found is false where it raises TypeError or LookupError. */
static bool item(jj *J, jv obj, jv key, jv *out, bool *found)
{
    const jv *v;
    int64_t i = key.u.i, len;
    *found = false;
    switch (obj.kind) {
    case JV_DICT:
        if (!lm_jj_hashable(key, 64))
            return true;
        if (!lm_jj_lookup(J, obj.u.d, key, &v))
            return false;
        if (v) {
            *out = *v;
            *found = true;
        }
        return true;
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_RANGE:
        if (!lm_jj_is_int(key))
            return true;
        if (!lm_jj_len(J, obj, &len))
            return false;
        if (i < 0)
            i += len;
        if (i < 0 || i >= len)
            return true;
        *found = true;
        if (obj.kind == JV_STR)
            return slice_str(J, obj, i, 1, 1, out);
        *out = obj.kind == JV_RANGE ? lm_jj_int(obj.u.r->start + i * obj.u.r->step) : obj.u.l->v[i];
        return true;
    default: return true;
    }
}

static bool starts_with(jv s, const char *z)
{
    size_t n = strlen(z);
    return s.u.s.n >= n && memcmp(lm_jj_p(s), z, n) == 0;
}

static jv unsafe(jj *J, jv obj, jv name)
{
    lm_quoted_buf q;
    jbuf *b = lm_jj_buf(J, 64);
    const char *shown = lm_quoted(&q, lm_jj_p(name), name.u.s.n);
    if (!b || !lm_jj_putz(J, b, "access to attribute '") || !lm_jj_putz(J, b, shown) ||
        !lm_jj_putz(J, b, "' of '") || !lm_jj_putz(J, b, lm_jj_type(obj)) ||
        !lm_jj_putz(J, b, "' object is unsafe") || !lm_jj_put(J, b, "", 1, false))
        return lm_jj_none();
    return lm_jj_undef_text(J, b->p);
}

static bool macro_attr(jj *J, jv m, jv name, jv *out, bool *found)
{
    const jnode *n = m.u.m->node;
    *found = true;
    if (lm_jj_str_is(name, "name")) {
        *out = n->v;
        return true;
    }
    if (lm_jj_str_is(name, "arguments")) {
        *out = lm_jj_list(J, JV_TUPLE, n->n);
        for (uint32_t i = 0; i < n->n; i++)
            if (!lm_jj_push(J, *out, n->kid[i]->v))
                return false;
        return out->u.l != NULL;
    }
    *out = lm_jj_bool(lm_jj_str_is(name, "catch_varargs")  ? n->flag & 1
                      : lm_jj_str_is(name, "catch_kwargs") ? n->flag & 2
                                                           : n->flag & 4);
    *found = lm_jj_str_is(name, "catch_varargs") || lm_jj_str_is(name, "catch_kwargs") ||
             lm_jj_str_is(name, "caller");
    return true;
}

/* Python's getattr(obj, name). */
static bool attribute(jj *J, jv obj, jv name, jv *out, bool *found)
{
    const jmethod_row *row;
    bool changes;
    *found = true;
    if (obj.kind == JV_LOOP) {
        if (!lm_jj_loop_attr(J, obj, name, out, found) || *found)
            return J->status == LM_OK;
    } else if (obj.kind == JV_CYCLER) {
        if (!lm_jj_cycler_attr(J, obj, name, out, found) || *found)
            return J->status == LM_OK;
    } else if (obj.kind == JV_NS) {
        const jv *v = lm_jj_find(obj.u.d, lm_jj_p(name), name.u.s.n);
        if (v) {
            *out = *v;
            return true;
        }
    } else if (obj.kind == JV_MACRO) {
        if (!macro_attr(J, obj, name, out, found) || *found)
            return J->status == LM_OK;
    } else if (obj.kind == JV_TUPLE && obj.flag &&
               (lm_jj_str_is(name, "grouper") || lm_jj_str_is(name, "list"))) {
        *out = obj.u.l->v[lm_jj_str_is(name, "list")];
        return true;
    } else if (lm_jj_method(obj, name, &row, &changes)) {
        if (changes) {
            *out = unsafe(J, obj, name);
            return J->status == LM_OK;
        }
        *out = (jv){ .kind = JV_METHOD, .u.me = lm_jj_get(J, 1, sizeof(jmethod)) };
        if (!out->u.me)
            return false;
        *out->u.me = (jmethod){ obj, row->fn, row->name };
        return true;
    }
    /* Every Python object has __class__ and its kin: those stay out of reach. */
    if (starts_with(name, "__") && name.u.s.n > 4 && memcmp(lm_jj_p(name) + name.u.s.n - 2, "__", 2) == 0) {
        *out = unsafe(J, obj, name);
        return J->status == LM_OK;
    }
    *found = false;
    return true;
}

bool lm_jj_getattr(jj *J, jv obj, jv name, jv *out)
{
    bool found;
    if (obj.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, obj);
    if (!attribute(J, obj, name, out, &found))
        return false;
    if (!found && !item(J, obj, name, out, &found))
        return false;
    if (!found)
        *out = lm_jj_undef_attr(J, obj, name);
    return J->status == LM_OK;
}

bool lm_jj_getitem(jj *J, jv obj, jv key, jv *out)
{
    bool found;
    if (obj.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, obj);
    if (!item(J, obj, key, out, &found))
        return false;
    if (!found && key.kind == JV_STR && !attribute(J, obj, key, out, &found))
        return false;
    if (!found)
        *out = lm_jj_undef_attr(J, obj, key);
    return J->status == LM_OK;
}

static bool all_digits(jv s)
{
    for (size_t i = 0; i < s.u.s.n; i++)
        if (lm_jj_p(s)[i] < '0' || lm_jj_p(s)[i] > '9')
            return false;
    return s.u.s.n > 0 && s.u.s.n < 18;
}

bool lm_jj_getpath(jj *J, jv obj, jv path, jv *out)
{
    size_t at = 0;
    *out = obj;
    if (path.kind == JV_NONE || path.kind == JV_MISSING)
        return true;
    if (path.kind != JV_STR)
        return lm_jj_getitem(J, obj, path, out);
    for (;;) {
        size_t dot = lm_jj_find_bytes(lm_jj_p(path), at, path.u.s.n, ".", 1);
        jv part = lm_jj_sub(path, at, (dot == SIZE_MAX ? path.u.s.n : dot) - at), key = part;
        if (all_digits(part)) {
            key = lm_jj_int(0);
            for (size_t i = 0; i < part.u.s.n; i++)
                key.u.i = key.u.i * 10 + (lm_jj_p(part)[i] - '0');
        }
        if (!lm_jj_getitem(J, *out, key, out))
            return false;
        if (dot == SIZE_MAX)
            return true;
        at = dot + 1;
    }
}
