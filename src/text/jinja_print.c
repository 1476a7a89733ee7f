/* text/jinja_print.c - values as text: Python's str() and repr(), and JSON the
 * way json.dumps writes it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

/* The shortest digits that read back as f, laid out like Python's repr(). */
size_t lm_jj_float_repr(double f, char *buf, size_t cap)
{
    char d[40];
    int digits = 1, n = 0;
    if (isnan(f))
        return (size_t)snprintf(buf, cap, "nan");
    if (isinf(f))
        return (size_t)snprintf(buf, cap, f < 0 ? "-inf" : "inf");
    do {
        (void)snprintf(d, sizeof d, "%.*e", digits - 1, f);
    } while (strtod(d, NULL) != f && digits++ < 17);
    char *e = strchr(d, 'e');
    int exp = atoi(e + 1);
    char only[24];
    for (const char *p = d; p < e; p++)
        if (*p >= '0' && *p <= '9' && n < 20)
            only[n++] = *p;
    only[n] = 0;
    const char *sign = d[0] == '-' ? "-" : "";
    if (exp < -4 || exp >= 16)
        return (size_t)snprintf(buf, cap, "%s%c%s%se%c%02d", sign, only[0], n > 1 ? "." : "", only + 1,
                                exp < 0 ? '-' : '+', abs(exp));
    if (exp < 0)
        return (size_t)snprintf(buf, cap, "%s0.%.*s%s", sign, -exp - 1, "0000", only);
    if (n <= exp + 1)
        return (size_t)snprintf(buf, cap, "%s%s%.*s.0", sign, only, exp + 1 - n, "0000000000000000");
    return (size_t)snprintf(buf, cap, "%s%.*s.%s", sign, exp + 1, only, only + exp + 1);
}

static bool put_number(jj *J, jbuf *b, jv v)
{
    char buf[64];
    size_t n;
    if (v.kind == JV_FLOAT)
        n = lm_jj_float_repr(v.u.f, buf, sizeof buf);
    else
        n = (size_t)snprintf(buf, sizeof buf, "%" PRId64, v.u.i);
    return lm_jj_put(J, b, buf, n, false);
}

static bool opaque(jj *J, jv v)
{
    return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a %s has no text of its own%s", lm_jj_type(v),
                      v.kind == JV_ITER ? ": make it a list first (| list)" : "");
}

bool lm_jj_put_value(jj *J, jbuf *b, jv v)
{
    switch (v.kind) {
    case JV_UNDEF: return true;
    case JV_STR: return lm_jj_put_str(J, b, v);
    default: return lm_jj_put_repr(J, b, v);
    }
}

bool lm_jj_to_str(jj *J, jv v, jv *out)
{
    if (v.kind == JV_STR) {
        *out = v;
        return true;
    }
    jbuf *b = lm_jj_buf(J, 0);
    if (!b || !lm_jj_put_value(J, b, v))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

/* ---- repr ---- */

static bool repr_char(jj *J, jbuf *b, uint32_t cp, const char *p, size_t len, char quote, bool derived)
{
    char esc[12];
    int n = 0;
    if (cp == '\\' || cp == (uint32_t)quote)
        n = snprintf(esc, sizeof esc, "\\%c", (int)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        n = snprintf(esc, sizeof esc, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp != LM_UTF8_BAD && !lm_jj_printable(cp))
        n = snprintf(esc, sizeof esc,
                     cp < 0x100     ? "\\x%02" PRIx32
                     : cp < 0x10000 ? "\\u%04" PRIx32
                                    : "\\U%08" PRIx32,
                     cp);
    return n ? lm_jj_put(J, b, esc, (size_t)n, derived) : lm_jj_put(J, b, p, len, derived);
}

static bool repr_str(jj *J, jbuf *b, jv s)
{
    const char *p = lm_jj_p(s);
    char quote = s.u.s.n && memchr(p, '\'', s.u.s.n) && !memchr(p, '"', s.u.s.n) ? '"' : '\'';
    size_t end = 0, len;
    if (!lm_jj_charge(J, s.u.s.n / 64) || (s.flag && !lm_jj_putz(J, b, "Markup(")) ||
        !lm_jj_put(J, b, &quote, 1, false))
        return false;
    for (size_t at = 0; at < s.u.s.n;) {
        bool derived = lm_jj_run(s, at, &end);
        while (at < end) {
            /* A stretch of plain characters at once. */
            size_t from = at;
            while (at < end && p[at] >= ' ' && p[at] < 0x7f && p[at] != '\\' && p[at] != quote)
                at++;
            if (!lm_jj_put(J, b, p + from, at - from, derived))
                return false;
            if (at == end)
                break;
            uint32_t cp = lm_utf8_get(p + at, end - at, &len);
            if (!repr_char(J, b, cp, p + at, len, quote, derived))
                return false;
            at += len;
        }
    }
    return lm_jj_put(J, b, &quote, 1, false) && (!s.flag || lm_jj_putz(J, b, ")"));
}

static bool repr_list(jj *J, jbuf *b, const jlist *l, const char *open, const char *close)
{
    bool one_tuple = open[0] == '(' && l->n == 1;
    if (!lm_jj_putz(J, b, open))
        return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !lm_jj_putz(J, b, ", ")) || !lm_jj_put_repr(J, b, l->v[i]))
            return false;
    return (!one_tuple || lm_jj_putz(J, b, ",")) && lm_jj_putz(J, b, close);
}

static bool repr_dict(jj *J, jbuf *b, const jdict *d)
{
    if (!lm_jj_putz(J, b, "{"))
        return false;
    for (size_t i = 0; i < d->n; i++)
        if ((i && !lm_jj_putz(J, b, ", ")) || !lm_jj_put_repr(J, b, d->e[i].k) || !lm_jj_putz(J, b, ": ") ||
            !lm_jj_put_repr(J, b, d->e[i].v))
            return false;
    return lm_jj_putz(J, b, "}");
}

static bool repr_view(jj *J, jbuf *b, jv v)
{
    static const char *const open[] = { "dict_keys([", "dict_values([", "dict_items([" };
    if (!lm_jj_putz(J, b, open[v.flag]))
        return false;
    for (size_t i = 0; i < v.u.d->n; i++) {
        const jentry *e = &v.u.d->e[i];
        bool ok = (!i || lm_jj_putz(J, b, ", ")) && (v.flag != VIEW_ITEMS || lm_jj_putz(J, b, "(")) &&
                  (v.flag == VIEW_VALUES || lm_jj_put_repr(J, b, e->k)) &&
                  (v.flag != VIEW_ITEMS || lm_jj_putz(J, b, ", ")) &&
                  (v.flag == VIEW_KEYS || lm_jj_put_repr(J, b, e->v)) &&
                  (v.flag != VIEW_ITEMS || lm_jj_putz(J, b, ")"));
        if (!ok)
            return false;
    }
    return lm_jj_putz(J, b, "])");
}

static bool repr_range(jj *J, jbuf *b, const jrange *r)
{
    char text[96];
    int64_t stop = r->stop;
    int n = r->step == 1 ? snprintf(text, sizeof text, "range(%" PRId64 ", %" PRId64 ")", r->start, stop)
                         : snprintf(text, sizeof text, "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                                    r->start, stop, r->step);
    return lm_jj_put(J, b, text, (size_t)n, false);
}

static bool repr_nested(jj *J, jbuf *b, jv v)
{
    switch (v.kind) {
    case JV_LIST: return repr_list(J, b, v.u.l, "[", "]");
    case JV_TUPLE: return repr_list(J, b, v.u.l, "(", ")");
    case JV_DICT: return repr_dict(J, b, v.u.d);
    case JV_NS: return lm_jj_putz(J, b, "<Namespace ") && repr_dict(J, b, v.u.d) && lm_jj_putz(J, b, ">");
    default: return repr_view(J, b, v);
    }
}

bool lm_jj_put_repr(jj *J, jbuf *b, jv v)
{
    bool ok;
    switch (v.kind) {
    case JV_UNDEF: return lm_jj_putz(J, b, "Undefined");
    case JV_NONE: return lm_jj_putz(J, b, "None");
    case JV_BOOL: return lm_jj_putz(J, b, v.u.i ? "True" : "False");
    case JV_INT:
    case JV_FLOAT: return put_number(J, b, v);
    case JV_STR: return repr_str(J, b, v);
    case JV_RANGE: return repr_range(J, b, v.u.r);
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_NS:
    case JV_VIEW:
        if (!lm_jj_enter(J))
            return false;
        ok = repr_nested(J, b, v);
        J->depth--;
        return ok;
    default: return opaque(J, v);
    }
}

/* ---- JSON ---- */

typedef struct {
    jj *J;
    jbuf *b;
    bool ascii, sort, pretty;
    jv indent; /* one level of it */
    jv item_sep, key_sep;
    uint32_t level;
} dump;

static bool json_char(dump *D, uint32_t cp, const char *p, size_t len, bool derived)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    char esc[16];
    int n;
    const char *known = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (known)
        n = snprintf(esc, sizeof esc, "\\%c", to[known - from]);
    else if (cp < 0x20 || (D->ascii && cp >= 0x7f && cp < 0x10000 && cp != 0x7f))
        n = snprintf(esc, sizeof esc, "\\u%04" PRIx32, cp);
    else if (D->ascii && cp >= 0x10000 && cp != LM_UTF8_BAD)
        n = snprintf(esc, sizeof esc, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + ((cp - 0x10000) >> 10),
                     0xdc00 + ((cp - 0x10000) & 0x3ff));
    else
        return lm_jj_put(D->J, D->b, p, len, derived);
    return lm_jj_put(D->J, D->b, esc, (size_t)n, derived);
}

static bool json_str(dump *D, jv s)
{
    const char *p = lm_jj_p(s);
    size_t end, len;
    if (!lm_jj_charge(D->J, s.u.s.n / 64) || !lm_jj_putz(D->J, D->b, "\""))
        return false;
    for (size_t at = 0; at < s.u.s.n;) {
        bool derived = lm_jj_run(s, at, &end);
        while (at < end) {
            size_t from = at;
            while (at < end && (unsigned char)p[at] >= ' ' && p[at] != '"' && p[at] != '\\' &&
                   !(D->ascii && (unsigned char)p[at] >= 0x80))
                at++;
            if (!lm_jj_put(D->J, D->b, p + from, at - from, derived))
                return false;
            if (at == end)
                break;
            uint32_t cp = lm_utf8_get(p + at, end - at, &len);
            if (!json_char(D, cp, p + at, len, derived))
                return false;
            at += len;
        }
    }
    return lm_jj_putz(D->J, D->b, "\"");
}

static bool newline(dump *D)
{
    if (!D->pretty)
        return true;
    if (!lm_jj_putz(D->J, D->b, "\n"))
        return false;
    for (uint32_t i = 0; i < D->level; i++)
        if (!lm_jj_put_str(D->J, D->b, D->indent))
            return false;
    return true;
}

static bool json_scalar(dump *D, jv v)
{
    switch (v.kind) {
    case JV_NONE: return lm_jj_putz(D->J, D->b, "null");
    case JV_BOOL: return lm_jj_putz(D->J, D->b, v.u.i ? "true" : "false");
    case JV_FLOAT:
        if (isnan(v.u.f))
            return lm_jj_putz(D->J, D->b, "NaN");
        if (isinf(v.u.f))
            return lm_jj_putz(D->J, D->b, v.u.f < 0 ? "-Infinity" : "Infinity");
        return put_number(D->J, D->b, v);
    default: return put_number(D->J, D->b, v);
    }
}

static bool json_value(dump *D, jv v);

static bool json_key(dump *D, jv k)
{
    if (k.kind == JV_STR)
        return json_str(D, k);
    if (k.kind != JV_NONE && !lm_jj_is_num(k))
        return JJ_TYPE(D->J, "keys must be str, int, float, bool or None, not %s", lm_jj_type(k));
    return lm_jj_putz(D->J, D->b, "\"") && json_scalar(D, k) && lm_jj_putz(D->J, D->b, "\"");
}

static bool json_dict(dump *D, const jdict *d)
{
    jj *J = D->J;
    jv *items = NULL;
    if (!d->n)
        return lm_jj_putz(J, D->b, "{}");
    if (D->sort) {
        jv *keys = lm_jj_get(J, d->n, sizeof *keys);
        items = lm_jj_get(J, d->n, sizeof *items);
        if (!keys || !items)
            return false;
        for (size_t i = 0; i < d->n; i++) {
            keys[i] = d->e[i].k;
            items[i] = lm_jj_int((int64_t)i);
        }
        if (!lm_jj_sort(J, items, keys, d->n, false))
            return false;
    }
    D->level++;
    if (!lm_jj_putz(J, D->b, "{"))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        const jentry *e = &d->e[items ? (size_t)items[i].u.i : i];
        if ((i && !lm_jj_put_str(J, D->b, D->item_sep)) || !newline(D) || !json_key(D, e->k) ||
            !lm_jj_put_str(J, D->b, D->key_sep) || !json_value(D, e->v))
            return false;
    }
    D->level--;
    return newline(D) && lm_jj_putz(J, D->b, "}");
}

static bool json_list(dump *D, const jlist *l)
{
    if (!l->n)
        return lm_jj_putz(D->J, D->b, "[]");
    D->level++;
    if (!lm_jj_putz(D->J, D->b, "["))
        return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !lm_jj_put_str(D->J, D->b, D->item_sep)) || !newline(D) || !json_value(D, l->v[i]))
            return false;
    D->level--;
    return newline(D) && lm_jj_putz(D->J, D->b, "]");
}

static bool json_value(dump *D, jv v)
{
    bool ok;
    if (!lm_jj_enter(D->J))
        return false;
    switch (v.kind) {
    case JV_STR: ok = json_str(D, v); break;
    case JV_NONE:
    case JV_BOOL:
    case JV_INT:
    case JV_FLOAT: ok = json_scalar(D, v); break;
    case JV_LIST:
    case JV_TUPLE: ok = json_list(D, v.u.l); break;
    case JV_DICT: ok = json_dict(D, v.u.d); break;
    default: ok = JJ_TYPE(D->J, "Object of type %s is not JSON serializable", lm_jj_type(v)); break;
    }
    D->J->depth--;
    return ok;
}

bool lm_jj_put_json(jj *J, jbuf *b, jv v, const jargs *a)
{
    jv arg[4];
    dump D = { .J = J, .b = b, .key_sep = lm_jj_strz(J, ": ") };
    if (!lm_jj_args(J, "tojson", a, "ensure_ascii= indent= separators= sort_keys=", arg))
        return false;
    if (arg[0].kind != JV_MISSING && !lm_jj_truth(J, arg[0], &D.ascii))
        return false;
    if (arg[3].kind != JV_MISSING && !lm_jj_truth(J, arg[3], &D.sort))
        return false;
    D.pretty = arg[1].kind != JV_MISSING && arg[1].kind != JV_NONE;
    if (D.pretty && arg[1].kind == JV_STR) {
        D.indent = arg[1];
    } else if (D.pretty) {
        int64_t n;
        if (!lm_jj_index(J, arg[1], &n) || !lm_jj_repeat(J, lm_jj_strz(J, " "), LM_MAX(n, 0), &D.indent))
            return false;
    }
    D.item_sep = lm_jj_strz(J, D.pretty ? "," : ", ");
    if (arg[2].kind != JV_MISSING && arg[2].kind != JV_NONE) {
        const jlist *l = arg[2].u.l;
        if ((arg[2].kind != JV_TUPLE && arg[2].kind != JV_LIST) || l->n != 2 || l->v[0].kind != JV_STR ||
            l->v[1].kind != JV_STR)
            return JJ_TYPE(J, "tojson wants two strings as separators");
        D.item_sep = l->v[0];
        D.key_sep = l->v[1];
    }
    return J->status == LM_OK && json_value(&D, v);
}
