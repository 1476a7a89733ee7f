/* text/jinja_value.c - lists, dictionaries, equality, order, truth, length. */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "text/jinja_int.h"

const char *lm_jj_type(jv v)
{
    static const char *const names[] = {
        [JV_MISSING] = "missing", [JV_UNDEF] = "Undefined",  [JV_NONE] = "NoneType",  [JV_BOOL] = "bool",
        [JV_INT] = "int",         [JV_FLOAT] = "float",      [JV_STR] = "str",        [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",     [JV_DICT] = "dict",        [JV_VIEW] = "dict view", [JV_RANGE] = "range",
        [JV_ITER] = "generator",  [JV_NS] = "Namespace",     [JV_MACRO] = "Macro",    [JV_METHOD] = "method",
        [JV_FUNC] = "function",   [JV_LOOP] = "LoopContext", [JV_CYCLER] = "Cycler",  [JV_JOINER] = "Joiner",
        [JV_SLICE] = "slice",
    };
    if (v.kind == JV_STR && v.flag)
        return "Markup";
    return names[v.kind];
}

/* ---- containers ---- */

jv lm_jj_list(jj *J, jkind kind, size_t cap)
{
    jv v = { .kind = (uint8_t)kind };
    v.u.l = lm_jj_get(J, 1, sizeof *v.u.l);
    if (v.u.l && cap && !lm_jj_more(J, &v.u.l->v, &v.u.l->cap, cap, sizeof *v.u.l->v))
        v.u.l = NULL;
    return v;
}

bool lm_jj_push(jj *J, jv list, jv v)
{
    jlist *l = list.u.l;
    if (!l || !lm_jj_more(J, &l->v, &l->cap, l->n + 1, sizeof *l->v))
        return false;
    l->v[l->n++] = v;
    return true;
}

bool lm_jj_pair(jj *J, jv a, jv b, jv *out)
{
    *out = lm_jj_list(J, JV_TUPLE, 2);
    return lm_jj_push(J, *out, a) && lm_jj_push(J, *out, b);
}

jv lm_jj_dict(jj *J)
{
    return (jv){ .kind = JV_DICT, .u.d = lm_jj_get(J, 1, sizeof(jdict)) };
}

static uint64_t hash_int(int64_t i)
{
    return lm_xxh64(&i, sizeof i, 1);
}

bool lm_jj_unhashable(jj *J, jv v)
{
    return JJ_TYPE(J, "unhashable type: '%s'", lm_jj_type(v));
}

bool lm_jj_hashable(jv v, int depth)
{
    if (v.kind != JV_TUPLE)
        return v.kind != JV_LIST && v.kind != JV_DICT;
    for (size_t i = 0; depth > 0 && i < v.u.l->n; i++)
        if (!lm_jj_hashable(v.u.l->v[i], depth - 1))
            return false;
    return true;
}

/* Equal values hash alike: 1, 1.0 and True. */
static bool hash(jj *J, jv v, uint64_t *out)
{
    double whole;
    switch (v.kind) {
    case JV_STR: *out = lm_xxh64(lm_jj_p(v), v.u.s.n, 0); return true;
    case JV_NONE: *out = 2; return true;
    case JV_UNDEF: *out = 3; return true;
    case JV_BOOL:
    case JV_INT: *out = hash_int(v.u.i); return true;
    case JV_FLOAT:
        if (modf(v.u.f, &whole) == 0.0 && fabs(whole) < 9.2e18)
            *out = hash_int((int64_t)whole);
        else
            *out = lm_xxh64(&v.u.f, sizeof v.u.f, 2);
        return true;
    case JV_TUPLE: {
        uint64_t h = 5;
        if (!lm_jj_enter(J))
            return false;
        for (size_t i = 0; i < v.u.l->n; i++) {
            uint64_t part[2] = { h, 0 };
            if (!hash(J, v.u.l->v[i], &part[1]))
                return false;
            h = lm_xxh64(part, sizeof part, 3);
        }
        J->depth--;
        *out = h;
        return true;
    }
    case JV_LIST:
    case JV_DICT: return lm_jj_unhashable(J, v);
    default: *out = lm_xxh64(&v.u.i, sizeof v.u.i, 4); return true; /* objects: identity */
    }
}

/* Position of key k in e, SIZE_MAX if it is not there. */
static bool locate(jj *J, const jdict *d, jv k, uint64_t h, size_t *at)
{
    bool same;
    *at = SIZE_MAX;
    size_t i = d->n_slot ? (size_t)h & (d->n_slot - 1) : 0;
    for (;; i++) {
        size_t e;
        if (d->n_slot) {
            i &= d->n_slot - 1;
            if (!d->slot[i])
                return true;
            e = d->slot[i] - 1;
        } else {
            if (i == d->n)
                return true;
            e = i;
        }
        if (d->e[e].hash != h)
            continue;
        if (!lm_jj_eq(J, d->e[e].k, k, &same))
            return false;
        if (same) {
            *at = e;
            return true;
        }
    }
}

static bool index_slots(jj *J, jdict *d)
{
    size_t n = d->n_slot ? d->n_slot * 2 : 32;
    while (n < d->n * 2)
        n *= 2;
    d->slot = lm_jj_get(J, n, sizeof *d->slot);
    d->n_slot = d->slot ? n : 0;
    for (size_t i = 0; d->slot && i < d->n; i++) {
        size_t at = (size_t)d->e[i].hash & (n - 1);
        while (d->slot[at])
            at = (at + 1) & (n - 1);
        d->slot[at] = (uint32_t)i + 1;
    }
    return d->slot != NULL;
}

bool lm_jj_set(jj *J, jdict *d, jv k, jv v)
{
    uint64_t h = 0;
    size_t at;
    if (!d || !hash(J, k, &h) || !locate(J, d, k, h, &at))
        return false;
    if (at != SIZE_MAX) {
        d->e[at].v = v;
        return true;
    }
    if (d->n >= UINT32_MAX / 2 || !lm_jj_more(J, &d->e, &d->cap, d->n + 1, sizeof *d->e))
        return false;
    d->e[d->n++] = (jentry){ k, v, h };
    if (d->n <= 8)
        return true;
    if (d->n * 2 > d->n_slot)
        return index_slots(J, d);
    at = (size_t)h & (d->n_slot - 1);
    while (d->slot[at])
        at = (at + 1) & (d->n_slot - 1);
    d->slot[at] = (uint32_t)d->n;
    return true;
}

bool lm_jj_lookup(jj *J, const jdict *d, jv k, const jv **out)
{
    uint64_t h = 0;
    size_t at;
    *out = NULL;
    if (!hash(J, k, &h) || !locate(J, d, k, h, &at))
        return false;
    if (at != SIZE_MAX)
        *out = &d->e[at].v;
    return true;
}

const jv *lm_jj_find(const jdict *d, const char *s, size_t n)
{
    for (size_t i = 0; i < d->n; i++) {
        jv k = d->e[i].k;
        if (k.kind == JV_STR && k.u.s.n == n && memcmp(lm_jj_p(k), s, n) == 0)
            return &d->e[i].v;
    }
    return NULL;
}

/* ---- equality and order ---- */

static int cmp_num(jv a, jv b, bool *unordered)
{
    /* long double holds every 64-bit integer and every double exactly. */
    long double x = a.kind == JV_FLOAT ? (long double)a.u.f : (long double)a.u.i;
    long double y = b.kind == JV_FLOAT ? (long double)b.u.f : (long double)b.u.i;
    *unordered = isnan(x) || isnan(y);
    return x < y ? -1 : x > y;
}

static int cmp_str(jv a, jv b)
{
    /* UTF-8 sorts like the code points it spells. */
    size_t n = LM_MIN(a.u.s.n, b.u.s.n);
    int c = n ? memcmp(lm_jj_p(a), lm_jj_p(b), n) : 0;
    return c ? (c < 0 ? -1 : 1) : a.u.s.n < b.u.s.n ? -1 : a.u.s.n > b.u.s.n;
}

static bool eq_list(jj *J, const jlist *a, const jlist *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++)
        if (!lm_jj_eq(J, a->v[i], b->v[i], out))
            return false;
    return true;
}

static bool eq_dict(jj *J, const jdict *a, const jdict *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const jv *other;
        if (!lm_jj_lookup(J, b, a->e[i].k, &other))
            return false;
        *out = other != NULL;
        if (other && !lm_jj_eq(J, a->e[i].v, *other, out))
            return false;
    }
    return true;
}

static bool eq_range(const jrange *a, const jrange *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool lm_jj_eq(jj *J, jv a, jv b, bool *out)
{
    bool nan = false, ok;
    *out = false;
    if (lm_jj_is_num(a) && lm_jj_is_num(b)) {
        *out = cmp_num(a, b, &nan) == 0 && !nan;
        return true;
    }
    if (a.kind != b.kind)
        return true;
    switch (a.kind) {
    case JV_NONE:
    case JV_UNDEF: *out = true; return true;
    case JV_STR:
        if (!lm_jj_charge(J, LM_MIN(a.u.s.n, b.u.s.n) / 256))
            return false;
        *out = a.u.s.n == b.u.s.n && cmp_str(a, b) == 0;
        return true;
    case JV_RANGE: *out = eq_range(a.u.r, b.u.r); return true;
    case JV_METHOD: *out = a.u.me->fn == b.u.me->fn && a.u.me->self.u.i == b.u.me->self.u.i; return true;
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
        if (!lm_jj_enter(J))
            return false;
        ok = a.kind == JV_DICT ? eq_dict(J, a.u.d, b.u.d, out) : eq_list(J, a.u.l, b.u.l, out);
        J->depth--;
        return ok;
    default: *out = a.flag == b.flag && a.u.i == b.u.i; return true;
    }
}

bool lm_jj_cmp(jj *J, jv a, jv b, const char *op, int *out)
{
    bool nan, same;
    if (a.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, a);
    if (b.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, b);
    if (lm_jj_is_num(a) && lm_jj_is_num(b)) {
        *out = cmp_num(a, b, &nan);
        if (nan)
            *out = 2; /* neither less, equal nor more */
        return true;
    }
    if (a.kind == JV_STR && b.kind == JV_STR) {
        *out = cmp_str(a, b);
        return lm_jj_charge(J, LM_MIN(a.u.s.n, b.u.s.n) / 256);
    }
    if (a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE)) {
        const jlist *x = a.u.l, *y = b.u.l;
        size_t n = LM_MIN(x->n, y->n);
        for (size_t i = 0; i < n; i++) {
            if (!lm_jj_enter(J) || !lm_jj_eq(J, x->v[i], y->v[i], &same))
                return false;
            if (!same && !lm_jj_cmp(J, x->v[i], y->v[i], op, out))
                return false;
            J->depth--;
            if (!same)
                return true;
        }
        *out = x->n < y->n ? -1 : x->n > y->n;
        return true;
    }
    return JJ_TYPE(J, "'%s' not supported between instances of '%s' and '%s'", op, lm_jj_type(a),
                   lm_jj_type(b));
}

bool lm_jj_less(jj *J, jv a, jv b, bool *out)
{
    int c;
    if (!lm_jj_cmp(J, a, b, "<", &c))
        return false;
    *out = c == -1;
    return true;
}

/* Stable merge sort; key[i] belongs to v[i]. */
bool lm_jj_sort(jj *J, jv *v, jv *key, size_t n, bool reverse)
{
    jv *v2 = lm_jj_get(J, n, sizeof *v2), *k2 = lm_jj_get(J, n, sizeof *k2);
    if (!v2 || !k2)
        return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = LM_MIN(lo + width, n), hi = LM_MIN(lo + 2 * width, n), a = lo, b = mid, o = lo;
            while (a < mid || b < hi) {
                bool right = a == mid;
                if (a < mid && b < hi &&
                    (!lm_jj_charge(J, 1) || !(reverse ? lm_jj_less(J, key[a], key[b], &right)
                                                      : lm_jj_less(J, key[b], key[a], &right))))
                    return false;
                size_t from = right ? b++ : a++;
                v2[o] = v[from];
                k2[o++] = key[from];
            }
        }
        memcpy(v, v2, n * sizeof *v);
        memcpy(key, k2, n * sizeof *key);
    }
    return true;
}

/* ---- truth, length, membership ---- */

bool lm_jj_len(jj *J, jv v, int64_t *out)
{
    switch (v.kind) {
    case JV_UNDEF: *out = 0; return true;
    case JV_STR: *out = (int64_t)lm_jj_n_chars(v); return lm_jj_charge(J, v.u.s.n / 256);
    case JV_LIST:
    case JV_TUPLE: *out = (int64_t)v.u.l->n; return true;
    case JV_DICT:
    case JV_VIEW: *out = (int64_t)v.u.d->n; return true;
    case JV_RANGE: *out = (int64_t)v.u.r->n; return true;
    case JV_LOOP: {
        jv n;
        bool found;
        if (!lm_jj_loop_attr(J, v, lm_jj_strz(J, "length"), &n, &found))
            return false;
        *out = n.u.i;
        return true;
    }
    default: return JJ_TYPE(J, "object of type '%s' has no len()", lm_jj_type(v));
    }
}

bool lm_jj_truth(jj *J, jv v, bool *out)
{
    int64_t n = 1;
    switch (v.kind) {
    case JV_NONE:
    case JV_UNDEF: *out = false; return true;
    case JV_BOOL:
    case JV_INT: *out = v.u.i != 0; return true;
    case JV_FLOAT: *out = v.u.f != 0.0; return true;
    case JV_STR: *out = v.u.s.n != 0; return true;
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE:
    case JV_LOOP:
        if (!lm_jj_len(J, v, &n))
            return false;
        break;
    default: break;
    }
    *out = n != 0;
    return true;
}

bool lm_jj_contains(jj *J, jv seq, jv x, bool *out)
{
    const jv *found;
    jiter it;
    jv item;
    bool end;
    *out = false;
    if (seq.kind == JV_STR) {
        if (x.kind == JV_UNDEF)
            return JJ_TYPE(J, "'in <string>' requires string as left operand, not Undefined");
        if (x.kind != JV_STR)
            return JJ_TYPE(J, "'in <string>' requires string as left operand, not %s", lm_jj_type(x));
        *out = lm_jj_find_bytes(lm_jj_p(seq), 0, seq.u.s.n, lm_jj_p(x), x.u.s.n) != SIZE_MAX;
        return lm_jj_charge(J, seq.u.s.n / 64);
    }
    if (seq.kind == JV_DICT || (seq.kind == JV_VIEW && seq.flag == VIEW_KEYS)) {
        if (!lm_jj_lookup(J, seq.u.d, x, &found))
            return false;
        *out = found != NULL;
        return true;
    }
    if (!lm_jj_iterable(seq))
        return JJ_TYPE(J, "argument of type '%s' is not iterable", lm_jj_type(seq));
    if (!lm_jj_iter(J, seq, &it))
        return false;
    while (!*out) {
        if (!lm_jj_charge(J, 1) || !lm_jj_next(J, &it, &item, &end))
            return false;
        if (end)
            break;
        if (!lm_jj_eq(J, item, x, out))
            return false;
    }
    return true;
}

/* ---- JSON ---- */

static bool from_object(jj *J, const json_t *j, bool derived, int depth, jv *out)
{
    const char *key;
    json_t *item;
    *out = lm_jj_dict(J);
    json_object_foreach((json_t *)(uintptr_t)j, key, item)
    {
        jbuf *b = lm_jj_borrow(J, key, strlen(key), derived);
        jv v;
        if (!b || !lm_jj_from_json(J, item, derived, depth, &v) || !lm_jj_set(J, out->u.d, lm_jj_whole(b), v))
            return false;
    }
    return out->u.d != NULL;
}

bool lm_jj_from_json(jj *J, const json_t *j, bool derived, int depth, jv *out)
{
    jbuf *b;
    jv v;
    *out = lm_jj_none();
    if (depth <= 0)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the context nests deeper than the levels allowed");
    switch (json_typeof(j)) {
    case JSON_NULL: return true;
    case JSON_TRUE: *out = lm_jj_bool(true); return true;
    case JSON_FALSE: *out = lm_jj_bool(false); return true;
    case JSON_INTEGER: *out = lm_jj_int(json_integer_value(j)); return true;
    case JSON_REAL: *out = lm_jj_float(json_real_value(j)); return true;
    case JSON_STRING:
        b = lm_jj_borrow(J, json_string_value(j), json_string_length(j), derived);
        if (b)
            *out = lm_jj_whole(b);
        return b != NULL;
    case JSON_OBJECT: return from_object(J, j, derived, depth - 1, out);
    case JSON_ARRAY:
    default:
        *out = lm_jj_list(J, JV_LIST, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++)
            if (!lm_jj_from_json(J, json_array_get(j, i), derived, depth - 1, &v) || !lm_jj_push(J, *out, v))
                return false;
        return out->u.l != NULL;
    }
}
