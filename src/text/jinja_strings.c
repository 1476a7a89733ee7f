/* text/jinja_strings.c - the methods of strings.
 *
 * Positions that a template sees count characters; inside, everything is
 * bytes.  Results are views into their string wherever that is possible. */
#define _GNU_SOURCE /* memmem */
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

size_t lm_jj_find_bytes(const char *s, size_t from, size_t to, const char *needle, size_t n)
{
    const char *hit;
    if (from > to)
        return SIZE_MAX;
    if (n == 0)
        return from;
    hit = memmem(s + from, to - from, needle, n);
    return hit ? (size_t)(hit - s) : SIZE_MAX;
}

size_t lm_jj_rfind_bytes(const char *s, size_t from, size_t to, const char *needle, size_t n)
{
    if (from > to || n > to - from)
        return SIZE_MAX;
    for (size_t at = to - n + 1; at-- > from;)
        if (memcmp(s + at, needle, n) == 0)
            return at;
    return SIZE_MAX;
}

/* Length of the last character of p[0..n). */
static size_t last_char(const char *p, size_t n, uint32_t *cp)
{
    size_t k = n - 1, len;
    while (k && n - k < 4 && ((unsigned char)p[k] & 0xc0) == 0x80)
        k--;
    *cp = lm_utf8_get(p + k, n - k, &len);
    if (k + len == n)
        return len;
    *cp = LM_UTF8_BAD;
    return 1;
}

static bool in_chars(jv chars, const char *c, size_t len)
{
    return lm_jj_find_bytes(lm_jj_p(chars), 0, chars.u.s.n, c, len) != SIZE_MAX;
}

bool lm_jj_strip(jj *J, jv s, jv chars, int sides, jv *out)
{
    const char *p = lm_jj_p(s);
    size_t a = 0, b = s.u.s.n, len;
    bool set = chars.kind != JV_MISSING && chars.kind != JV_NONE;
    uint32_t cp;
    if (set && chars.kind != JV_STR)
        return JJ_TYPE(J, "strip arg must be None or str, not %s", lm_jj_type(chars));
    for (; (sides & 1) && a < b; a += len) {
        cp = lm_utf8_get(p + a, b - a, &len);
        if (set ? !in_chars(chars, p + a, len) : !lm_jj_space(cp))
            break;
    }
    for (; (sides & 2) && b > a; b -= len) {
        len = last_char(p + a, b - a, &cp);
        if (set ? !in_chars(chars, p + b - len, len) : !lm_jj_space(cp))
            break;
    }
    *out = lm_jj_sub(s, a, b - a);
    return lm_jj_charge(J, (s.u.s.n - (b - a)) * (set ? chars.u.s.n + 1 : 1) / 64);
}

/* new_ between all characters: what Python does for an empty old. */
static bool interleave(jj *J, jv s, jv new_, int64_t count, jv *out)
{
    jbuf *b = lm_jj_buf(J, s.u.s.n);
    size_t at = 0, len, end;
    for (int64_t done = 0; b; done++) {
        if (done < count && !lm_jj_put_str(J, b, new_))
            return false;
        if (at >= s.u.s.n)
            break;
        (void)lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
        if (!lm_jj_put(J, b, lm_jj_p(s) + at, len, lm_jj_run(s, at, &end)))
            return false;
        at += len;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return lm_jj_charge(J, s.u.s.n / 8);
}

bool lm_jj_replace(jj *J, jv s, jv old, jv new_, int64_t count, jv *out)
{
    size_t at = 0, hit;
    jbuf *b = NULL;
    if (count < 0)
        count = INT64_MAX;
    if (!lm_jj_charge(J, s.u.s.n / 64))
        return false;
    if (old.u.s.n == 0 && count)
        return interleave(J, s, new_, count, out);
    for (; count > 0; count--) {
        hit = lm_jj_find_bytes(lm_jj_p(s), at, s.u.s.n, lm_jj_p(old), old.u.s.n);
        if (hit == SIZE_MAX)
            break;
        if (!b && !(b = lm_jj_buf(J, s.u.s.n)))
            return false;
        if (!lm_jj_put_str(J, b, lm_jj_sub(s, at, hit - at)) || !lm_jj_put_str(J, b, new_) ||
            !lm_jj_charge(J, 1))
            return false;
        at = hit + old.u.s.n;
    }
    if (!b) {
        *out = s;
        return true;
    }
    if (!lm_jj_put_str(J, b, lm_jj_sub(s, at, s.u.s.n - at)))
        return false;
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return true;
}

static bool want_str(jj *J, jv v, const char *what)
{
    if (v.kind == JV_STR)
        return true;
    if (v.kind == JV_UNDEF && v.u.u && !v.u.u->text && v.u.u->has_obj)
        return JJ_TYPE(J, "%s must be str, not Undefined", what);
    return JJ_TYPE(J, "%s must be str, not %s", what, lm_jj_type(v));
}

static bool opt_int(jj *J, jv v, int64_t def, int64_t *out)
{
    *out = def;
    return v.kind == JV_MISSING || lm_jj_index(J, v, out);
}

/* ---- splitting ---- */

static bool split_space(jj *J, jv s, int64_t max, jv *list)
{
    const char *p = lm_jj_p(s);
    size_t at = 0, len, n = s.u.s.n;
    for (;;) {
        while (at < n && lm_jj_space(lm_utf8_get(p + at, n - at, &len)))
            at += len;
        if (at == n)
            return true;
        size_t from = at;
        if (max-- == 0)
            return lm_jj_push(J, *list, lm_jj_sub(s, from, n - from));
        while (at < n && !lm_jj_space(lm_utf8_get(p + at, n - at, &len)))
            at += len;
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *list, lm_jj_sub(s, from, at - from)))
            return false;
    }
}

static void reverse(jv *v, size_t n)
{
    for (size_t i = 0; i + 1 < n - i; i++) {
        jv t = v[i];
        v[i] = v[n - 1 - i];
        v[n - 1 - i] = t;
    }
}

static bool rsplit_space(jj *J, jv s, int64_t max, jv *list)
{
    const char *p = lm_jj_p(s);
    size_t n = s.u.s.n, len;
    uint32_t cp;
    while (n) {
        while (n && (len = last_char(p, n, &cp), lm_jj_space(cp)))
            n -= len;
        if (!n)
            break;
        size_t end = n;
        if (max-- == 0) {
            if (!lm_jj_push(J, *list, lm_jj_sub(s, 0, end)))
                return false;
            break;
        }
        while (n && (len = last_char(p, n, &cp), !lm_jj_space(cp)))
            n -= len;
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *list, lm_jj_sub(s, n, end - n)))
            return false;
    }
    reverse(list->u.l->v, list->u.l->n);
    return true;
}

static bool split_at(jj *J, jv s, jv sep, int64_t max, jv *list)
{
    size_t at = 0, hit;
    while (max-- != 0 &&
           (hit = lm_jj_find_bytes(lm_jj_p(s), at, s.u.s.n, lm_jj_p(sep), sep.u.s.n)) != SIZE_MAX) {
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *list, lm_jj_sub(s, at, hit - at)))
            return false;
        at = hit + sep.u.s.n;
    }
    return lm_jj_push(J, *list, lm_jj_sub(s, at, s.u.s.n - at));
}

static bool rsplit_at(jj *J, jv s, jv sep, int64_t max, jv *list)
{
    size_t end = s.u.s.n, hit;
    if (!lm_jj_charge(J, s.u.s.n / 8))
        return false;
    while (max-- != 0 && (hit = lm_jj_rfind_bytes(lm_jj_p(s), 0, end, lm_jj_p(sep), sep.u.s.n)) != SIZE_MAX) {
        size_t from = hit + sep.u.s.n;
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *list, lm_jj_sub(s, from, end - from)))
            return false;
        end = hit;
    }
    if (!lm_jj_push(J, *list, lm_jj_sub(s, 0, end)))
        return false;
    reverse(list->u.l->v, list->u.l->n);
    return true;
}

static bool split_either(jj *J, jv s, const jargs *a, bool right, jv *out)
{
    jv arg[2];
    int64_t max;
    if (!lm_jj_args(J, right ? "rsplit" : "split", a, "sep= maxsplit=", arg) ||
        !opt_int(J, arg[1], -1, &max) || !lm_jj_charge(J, s.u.s.n / 64))
        return false;
    *out = lm_jj_list(J, JV_LIST, 0);
    if (!out->u.l)
        return false;
    if (arg[0].kind == JV_MISSING || arg[0].kind == JV_NONE)
        return right ? rsplit_space(J, s, max, out) : split_space(J, s, max, out);
    if (!want_str(J, arg[0], "the separator"))
        return false;
    if (arg[0].u.s.n == 0)
        return JJ_TYPE(J, "empty separator");
    return right ? rsplit_at(J, s, arg[0], max, out) : split_at(J, s, arg[0], max, out);
}

bool lm_jj_splitlines(jj *J, jv s, bool keep, jv *list)
{
    const char *p = lm_jj_p(s);
    size_t from = 0, len, n = s.u.s.n;
    if (list->u.l == NULL || !lm_jj_charge(J, n / 64))
        return false;
    for (size_t at = 0; at < n;) {
        uint32_t cp = lm_utf8_get(p + at, n - at, &len);
        bool brk =
            (cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
        size_t end = at;
        at += len;
        if (!brk)
            continue;
        if (cp == '\r' && at < n && p[at] == '\n')
            at++;
        if (!lm_jj_charge(J, 1) || !lm_jj_push(J, *list, lm_jj_sub(s, from, (keep ? at : end) - from)))
            return false;
        from = at;
    }
    return from == n || lm_jj_push(J, *list, lm_jj_sub(s, from, n - from));
}

/* ---- searching ---- */

/* Optional start and end, in characters, as bytes of s. */
static bool window(jj *J, jv s, jv start, jv stop, size_t *from, size_t *to, bool *inside)
{
    int64_t len = (int64_t)lm_jj_n_chars(s), a = 0, b = len;
    if (start.kind != JV_MISSING && start.kind != JV_NONE && !lm_jj_index(J, start, &a))
        return false;
    if (stop.kind != JV_MISSING && stop.kind != JV_NONE && !lm_jj_index(J, stop, &b))
        return false;
    a = a < 0 ? LM_MAX(a + len, 0) : a;
    b = b < 0 ? LM_MAX(b + len, 0) : LM_MIN(b, len);
    *inside = a <= len && a <= b;
    *from = *inside ? lm_jj_byte_of(s, (size_t)a) : s.u.s.n;
    *to = *inside ? lm_jj_byte_of(s, (size_t)b) : s.u.s.n;
    return lm_jj_charge(J, s.u.s.n / 64);
}

static bool find_any(jj *J, jv s, const jargs *a, bool right, bool must, jv *out)
{
    jv arg[3];
    size_t from, to, hit = SIZE_MAX;
    bool inside;
    if (!lm_jj_args(J, "find", a, "sub start= end=", arg) || !want_str(J, arg[0], "what is looked for") ||
        !window(J, s, arg[1], arg[2], &from, &to, &inside))
        return false;
    if (right && !lm_jj_charge(J, s.u.s.n / 8)) /* looks at every byte */
        return false;
    if (inside && right)
        hit = lm_jj_rfind_bytes(lm_jj_p(s), from, to, lm_jj_p(arg[0]), arg[0].u.s.n);
    else if (inside)
        hit = lm_jj_find_bytes(lm_jj_p(s), from, to, lm_jj_p(arg[0]), arg[0].u.s.n);
    if (must && hit == SIZE_MAX)
        return JJ_TYPE(J, "substring not found");
    *out = lm_jj_int(hit == SIZE_MAX ? -1 : (int64_t)lm_jj_char_of(s, hit));
    return true;
}

static bool m_find(jj *J, jv s, const jargs *a, jv *out)
{
    return find_any(J, s, a, false, false, out);
}

static bool m_rfind(jj *J, jv s, const jargs *a, jv *out)
{
    return find_any(J, s, a, true, false, out);
}

static bool m_index(jj *J, jv s, const jargs *a, jv *out)
{
    return find_any(J, s, a, false, true, out);
}

static bool m_rindex(jj *J, jv s, const jargs *a, jv *out)
{
    return find_any(J, s, a, true, true, out);
}

static bool m_count(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[3];
    size_t from, to, hit;
    int64_t n = 0;
    bool inside;
    if (!lm_jj_args(J, "count", a, "sub start= end=", arg) || !want_str(J, arg[0], "what is counted") ||
        !window(J, s, arg[1], arg[2], &from, &to, &inside))
        return false;
    if (inside && arg[0].u.s.n == 0)
        n = (int64_t)lm_jj_n_chars(lm_jj_sub(s, from, to - from)) + 1;
    while (inside && arg[0].u.s.n &&
           (hit = lm_jj_find_bytes(lm_jj_p(s), from, to, lm_jj_p(arg[0]), arg[0].u.s.n)) != SIZE_MAX) {
        n++;
        from = hit + arg[0].u.s.n;
    }
    *out = lm_jj_int(n);
    return true;
}

static bool at_end(jv s, size_t from, size_t to, jv what, bool start)
{
    if (to < from || what.u.s.n > to - from)
        return false;
    return memcmp(lm_jj_p(s) + (start ? from : to - what.u.s.n), lm_jj_p(what), what.u.s.n) == 0;
}

static bool starts_or_ends(jj *J, jv s, const jargs *a, bool start, jv *out)
{
    jv arg[3];
    size_t from, to;
    bool inside, yes = false;
    if (!lm_jj_args(J, start ? "startswith" : "endswith", a, "affix start= end=", arg))
        return false;
    if (a->n < 2) { /* the usual case needs no counting */
        from = 0;
        to = s.u.s.n;
        inside = true;
    } else if (!window(J, s, arg[1], arg[2], &from, &to, &inside)) {
        return false;
    }
    if (arg[0].kind == JV_TUPLE) {
        for (size_t i = 0; i < arg[0].u.l->n; i++) {
            if (!want_str(J, arg[0].u.l->v[i], "an element of the tuple"))
                return false;
            yes = yes || (inside && at_end(s, from, to, arg[0].u.l->v[i], start));
        }
    } else if (!want_str(J, arg[0], start ? "the argument of startswith" : "the argument of endswith")) {
        return false;
    } else {
        yes = inside && at_end(s, from, to, arg[0], start);
    }
    *out = lm_jj_bool(yes);
    return true;
}

static bool m_startswith(jj *J, jv s, const jargs *a, jv *out)
{
    return starts_or_ends(J, s, a, true, out);
}

static bool m_endswith(jj *J, jv s, const jargs *a, jv *out)
{
    return starts_or_ends(J, s, a, false, out);
}

static bool remove_affix(jj *J, jv s, const jargs *a, bool start, jv *out)
{
    jv arg[1];
    if (!lm_jj_args(J, "removeprefix", a, "affix", arg) || !want_str(J, arg[0], "the argument"))
        return false;
    *out = s;
    if (at_end(s, 0, s.u.s.n, arg[0], start))
        *out = lm_jj_sub(s, start ? arg[0].u.s.n : 0, s.u.s.n - arg[0].u.s.n);
    return true;
}

static bool m_removeprefix(jj *J, jv s, const jargs *a, jv *out)
{
    return remove_affix(J, s, a, true, out);
}

static bool m_removesuffix(jj *J, jv s, const jargs *a, jv *out)
{
    return remove_affix(J, s, a, false, out);
}

static bool part3(jj *J, jv a, jv b, jv c, jv *out)
{
    *out = lm_jj_list(J, JV_TUPLE, 3);
    return lm_jj_push(J, *out, a) && lm_jj_push(J, *out, b) && lm_jj_push(J, *out, c);
}

static bool partition(jj *J, jv s, const jargs *a, bool right, jv *out)
{
    jv sep;
    if (!lm_jj_args(J, "partition", a, "sep", &sep) || !want_str(J, sep, "the separator"))
        return false;
    if (sep.u.s.n == 0)
        return JJ_TYPE(J, "empty separator");
    size_t hit = right ? lm_jj_rfind_bytes(lm_jj_p(s), 0, s.u.s.n, lm_jj_p(sep), sep.u.s.n)
                       : lm_jj_find_bytes(lm_jj_p(s), 0, s.u.s.n, lm_jj_p(sep), sep.u.s.n);
    jv none = lm_jj_sub(s, 0, 0);
    if (hit == SIZE_MAX)
        return right ? part3(J, none, none, s, out) : part3(J, s, none, none, out);
    size_t after = hit + sep.u.s.n;
    return part3(J, lm_jj_sub(s, 0, hit), sep, lm_jj_sub(s, after, s.u.s.n - after), out);
}

static bool m_partition(jj *J, jv s, const jargs *a, jv *out)
{
    return partition(J, s, a, false, out);
}

static bool m_rpartition(jj *J, jv s, const jargs *a, jv *out)
{
    return partition(J, s, a, true, out);
}

/* ---- the rest ---- */

static bool m_split(jj *J, jv s, const jargs *a, jv *out)
{
    return split_either(J, s, a, false, out);
}

static bool m_rsplit(jj *J, jv s, const jargs *a, jv *out)
{
    return split_either(J, s, a, true, out);
}

static bool m_splitlines(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[1];
    bool keep = false;
    if (!lm_jj_args(J, "splitlines", a, "keepends=", arg) ||
        (arg[0].kind != JV_MISSING && !lm_jj_truth(J, arg[0], &keep)))
        return false;
    *out = lm_jj_list(J, JV_LIST, 0);
    return lm_jj_splitlines(J, s, keep, out);
}

static bool strip_with(jj *J, jv s, const jargs *a, int sides, jv *out)
{
    jv chars;
    return lm_jj_args(J, "strip", a, "chars=", &chars) && lm_jj_strip(J, s, chars, sides, out);
}

static bool m_strip(jj *J, jv s, const jargs *a, jv *out)
{
    return strip_with(J, s, a, 3, out);
}

static bool m_lstrip(jj *J, jv s, const jargs *a, jv *out)
{
    return strip_with(J, s, a, 1, out);
}

static bool m_rstrip(jj *J, jv s, const jargs *a, jv *out)
{
    return strip_with(J, s, a, 2, out);
}

static bool m_replace(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[3];
    int64_t count;
    return lm_jj_args(J, "replace", a, "old new count=", arg) &&
           want_str(J, arg[0], "replace() argument 1") && want_str(J, arg[1], "replace() argument 2") &&
           opt_int(J, arg[2], -1, &count) && lm_jj_replace(J, s, arg[0], arg[1], count, out);
}

static bool m_join(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[1], items;
    if (!lm_jj_args(J, "join", a, "iterable", arg) || !lm_jj_collect(J, arg[0], &items))
        return false;
    jbuf *b = lm_jj_buf(J, 0);
    for (size_t i = 0; i < items.u.l->n; i++) {
        jv v = items.u.l->v[i];
        if (v.kind != JV_STR)
            return JJ_TYPE(J, "sequence item %zu: expected str instance, %s found", i, lm_jj_type(v));
        if ((i && !lm_jj_put_str(J, b, s)) || !lm_jj_put_str(J, b, v))
            return false;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return true;
}

#define CASE_METHOD(name, how)                                                                               \
    static bool name(jj *J, jv s, const jargs *a, jv *out)                                                   \
    {                                                                                                        \
        return lm_jj_args(J, &#name[2], a, "", out) && lm_jj_case(J, s, how, out);                           \
    }
CASE_METHOD(m_upper, CASE_UPPER)
CASE_METHOD(m_lower, CASE_LOWER)
CASE_METHOD(m_title, CASE_TITLE)
CASE_METHOD(m_capitalize, CASE_CAPITAL)
CASE_METHOD(m_swapcase, CASE_SWAP)

/* All characters are of a class, and there is one. */
static bool all_of(jj *J, jv s, const jargs *a, bool (*is)(uint32_t cp), bool empty, jv *out)
{
    size_t len;
    bool yes = s.u.s.n > 0 || empty;
    if (!lm_jj_args(J, "the method", a, "", out))
        return false;
    for (size_t at = 0; yes && at < s.u.s.n; at += len)
        yes = is(lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len));
    *out = lm_jj_bool(yes);
    return lm_jj_charge(J, s.u.s.n / 64);
}

static bool alnum(uint32_t cp)
{
    return lm_jj_alpha(cp) || lm_jj_numeric(cp);
}

static bool ascii(uint32_t cp)
{
    return cp < 0x80;
}

#define CLASS_METHOD(name, is, empty)                                                                        \
    static bool name(jj *J, jv s, const jargs *a, jv *out)                                                   \
    {                                                                                                        \
        return all_of(J, s, a, is, empty, out);                                                              \
    }
CLASS_METHOD(m_isalpha, lm_jj_alpha, false)
CLASS_METHOD(m_isdigit, lm_jj_digit, false)
CLASS_METHOD(m_isdecimal, lm_jj_decimal, false)
CLASS_METHOD(m_isnumeric, lm_jj_numeric, false)
CLASS_METHOD(m_isalnum, alnum, false)
CLASS_METHOD(m_isspace, lm_jj_space, false)
CLASS_METHOD(m_isascii, ascii, true)
CLASS_METHOD(m_isprintable, lm_jj_printable, true)

static bool is_case(jj *J, jv s, const jargs *a, bool upper, jv *out)
{
    size_t len;
    bool any = false, wrong = false;
    if (!lm_jj_args(J, "the method", a, "", out))
        return false;
    for (size_t at = 0; at < s.u.s.n; at += len) {
        uint32_t cp = lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
        any = any || (upper ? lm_jj_is_upper(cp) : lm_jj_is_lower(cp));
        wrong = wrong || lm_jj_is_title(cp) || (upper ? lm_jj_is_lower(cp) : lm_jj_is_upper(cp));
    }
    *out = lm_jj_bool(any && !wrong);
    return lm_jj_charge(J, s.u.s.n / 64);
}

static bool m_isupper(jj *J, jv s, const jargs *a, jv *out)
{
    return is_case(J, s, a, true, out);
}

static bool m_islower(jj *J, jv s, const jargs *a, jv *out)
{
    return is_case(J, s, a, false, out);
}

static bool m_istitle(jj *J, jv s, const jargs *a, jv *out)
{
    size_t len;
    bool any = false, in_word = false, wrong = false;
    if (!lm_jj_args(J, "istitle", a, "", out))
        return false;
    for (size_t at = 0; at < s.u.s.n; at += len) {
        uint32_t cp = lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
        bool up = lm_jj_is_upper(cp) || lm_jj_is_title(cp), low = lm_jj_is_lower(cp);
        wrong = wrong || (up && in_word) || (low && !in_word);
        any = any || up || low;
        in_word = up || low;
    }
    *out = lm_jj_bool(any && !wrong);
    return true;
}

static bool m_isidentifier(jj *J, jv s, const jargs *a, jv *out)
{
    size_t len;
    bool yes = s.u.s.n > 0;
    if (!lm_jj_args(J, "isidentifier", a, "", out))
        return false;
    for (size_t at = 0; yes && at < s.u.s.n; at += len) {
        uint32_t cp = lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
        yes = lm_jj_alpha(cp) || cp == '_' || (at && lm_jj_decimal(cp));
    }
    *out = lm_jj_bool(yes);
    return true;
}

/* left: spaces that go to the left, of `missing`. */
static bool justify(jj *J, jv s, const jargs *a, int how, jv *out)
{
    jv arg[2], run;
    int64_t width, missing, left;
    if (!lm_jj_args(J, "the method", a, "width fillchar=", arg) || !lm_jj_index(J, arg[0], &width))
        return false;
    if (arg[1].kind == JV_MISSING)
        arg[1] = lm_jj_strz(J, " ");
    if (arg[1].kind != JV_STR || lm_jj_n_chars(arg[1]) != 1)
        return JJ_TYPE(J, "the fill character must be exactly one character long");
    missing = width - (int64_t)lm_jj_n_chars(s);
    *out = s;
    if (missing <= 0)
        return true;
    left = how == 'l' ? 0 : how == 'r' ? missing : missing / 2 + (missing & width & 1);
    jbuf *b = lm_jj_buf(J, 0);
    if (!b || !lm_jj_repeat(J, arg[1], left, &run) || !lm_jj_put_str(J, b, run) || !lm_jj_put_str(J, b, s) ||
        !lm_jj_repeat(J, arg[1], missing - left, &run) || !lm_jj_put_str(J, b, run))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

static bool m_center(jj *J, jv s, const jargs *a, jv *out)
{
    return justify(J, s, a, 'c', out);
}

static bool m_ljust(jj *J, jv s, const jargs *a, jv *out)
{
    return justify(J, s, a, 'l', out);
}

static bool m_rjust(jj *J, jv s, const jargs *a, jv *out)
{
    return justify(J, s, a, 'r', out);
}

static bool m_zfill(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[1], zeros;
    int64_t width;
    size_t sign;
    if (!lm_jj_args(J, "zfill", a, "width", arg) || !lm_jj_index(J, arg[0], &width))
        return false;
    sign = s.u.s.n && (lm_jj_p(s)[0] == '+' || lm_jj_p(s)[0] == '-');
    jbuf *b = lm_jj_buf(J, 0);
    if (!b || !lm_jj_repeat(J, lm_jj_strz(J, "0"), width - (int64_t)lm_jj_n_chars(s), &zeros) ||
        !lm_jj_put_str(J, b, lm_jj_sub(s, 0, sign)) || !lm_jj_put_str(J, b, zeros) ||
        !lm_jj_put_str(J, b, lm_jj_sub(s, sign, s.u.s.n - sign)))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

static bool m_expandtabs(jj *J, jv s, const jargs *a, jv *out)
{
    jv arg[1], run;
    int64_t size, column = 0;
    size_t len, end;
    if (!lm_jj_args(J, "expandtabs", a, "tabsize=", arg) || !opt_int(J, arg[0], 8, &size))
        return false;
    jbuf *b = lm_jj_buf(J, s.u.s.n);
    for (size_t at = 0; b && at < s.u.s.n; at += len) {
        (void)lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
        char c = lm_jj_p(s)[at];
        int64_t n = c != '\t' ? 0 : size > 0 ? size - column % size : 0;
        if (c == '\t' ? !lm_jj_repeat(J, lm_jj_strz(J, " "), n, &run) || !lm_jj_put_str(J, b, run)
                      : !lm_jj_put(J, b, lm_jj_p(s) + at, len, lm_jj_run(s, at, &end)))
            return false;
        column = c == '\n' || c == '\r' ? 0 : column + (c == '\t' ? n : 1);
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    return true;
}

const jmethod_row lm_jj_str_methods[] = {
    { "strip", m_strip },
    { "lstrip", m_lstrip },
    { "rstrip", m_rstrip },
    { "split", m_split },
    { "rsplit", m_rsplit },
    { "splitlines", m_splitlines },
    { "startswith", m_startswith },
    { "endswith", m_endswith },
    { "replace", m_replace },
    { "upper", m_upper },
    { "lower", m_lower },
    { "casefold", NULL },
    { "title", m_title },
    { "capitalize", m_capitalize },
    { "swapcase", m_swapcase },
    { "find", m_find },
    { "rfind", m_rfind },
    { "index", m_index },
    { "rindex", m_rindex },
    { "count", m_count },
    { "join", m_join },
    { "format", lm_jj_format },
    { "format_map", NULL },
    { "removeprefix", m_removeprefix },
    { "removesuffix", m_removesuffix },
    { "partition", m_partition },
    { "rpartition", m_rpartition },
    { "isalpha", m_isalpha },
    { "isdigit", m_isdigit },
    { "isdecimal", m_isdecimal },
    { "isnumeric", m_isnumeric },
    { "isalnum", m_isalnum },
    { "isspace", m_isspace },
    { "isascii", m_isascii },
    { "isprintable", m_isprintable },
    { "isupper", m_isupper },
    { "islower", m_islower },
    { "istitle", m_istitle },
    { "isidentifier", m_isidentifier },
    { "center", m_center },
    { "ljust", m_ljust },
    { "rjust", m_rjust },
    { "zfill", m_zfill },
    { "expandtabs", m_expandtabs },
    { "encode", NULL },
    { "maketrans", NULL },
    { "translate", NULL },
    { NULL, NULL },
};
