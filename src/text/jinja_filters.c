/* text/jinja_filters.c - filters on texts and numbers, and the table of all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

static bool given(jv v)
{
    return v.kind != JV_MISSING;
}

static bool flag(jj *J, jv v, bool def, bool *out)
{
    *out = def;
    return !given(v) || lm_jj_truth(J, v, out);
}

#define CASE_FILTER(name, how)                                                                               \
    static bool name(jj *J, jv x, const jargs *a, jv *out)                                                   \
    {                                                                                                        \
        return lm_jj_args(J, &#name[2], a, "", out) && lm_jj_to_str(J, x, &x) && lm_jj_case(J, x, how, out); \
    }
CASE_FILTER(f_upper, CASE_UPPER)
CASE_FILTER(f_lower, CASE_LOWER)
CASE_FILTER(f_capitalize, CASE_CAPITAL)
CASE_FILTER(f_title, CASE_JINJA_TITLE)

static bool f_trim(jj *J, jv x, const jargs *a, jv *out)
{
    jv chars;
    return lm_jj_args(J, "trim", a, "chars=", &chars) && lm_jj_to_str(J, x, &x) &&
           lm_jj_strip(J, x, chars, 3, out);
}

static bool f_replace(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[3];
    int64_t count = -1;
    if (!lm_jj_args(J, "replace", a, "old new count=", arg) || !lm_jj_to_str(J, x, &x) ||
        !lm_jj_to_str(J, arg[0], &arg[0]) || !lm_jj_to_str(J, arg[1], &arg[1]) ||
        (given(arg[2]) && arg[2].kind != JV_NONE && !lm_jj_index(J, arg[2], &count)))
        return false;
    if (!lm_jj_replace(J, x, arg[0], arg[1], count, out))
        return false;
    out->flag = 0;
    return true;
}

static bool f_string(jj *J, jv x, const jargs *a, jv *out)
{
    return lm_jj_args(J, "string", a, "", out) && lm_jj_to_str(J, x, out);
}

static bool f_safe(jj *J, jv x, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "safe", a, "", out) || !lm_jj_to_str(J, x, out))
        return false;
    out->flag = 1;
    return true;
}

static bool f_escape(jj *J, jv x, const jargs *a, jv *out)
{
    return lm_jj_args(J, "escape", a, "", out) && lm_jj_escape(J, x, out);
}

static bool f_forceescape(jj *J, jv x, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "forceescape", a, "", out) || !lm_jj_to_str(J, x, &x))
        return false;
    x.flag = 0;
    return lm_jj_escape(J, x, out);
}

static bool f_format(jj *J, jv x, const jargs *a, jv *out)
{
    jv values;
    if (!lm_jj_to_str(J, x, &x))
        return false;
    if (a->n && a->n_kw)
        return JJ_TYPE(J, "format takes values by position or by name, not both");
    if (a->n_kw) {
        values = lm_jj_dict(J);
        for (size_t i = 0; i < a->n_kw; i++)
            if (!lm_jj_set(J, values.u.d, lm_jj_whole(J->t->name[a->kw[i].name].b), a->kw[i].v))
                return false;
    } else {
        values = lm_jj_list(J, JV_TUPLE, a->n);
        for (size_t i = 0; i < a->n; i++)
            if (!lm_jj_push(J, values, a->pos[i]))
                return false;
    }
    return lm_jj_percent(J, x, values, out);
}

static bool f_tojson(jj *J, jv x, const jargs *a, jv *out)
{
    jbuf *b = lm_jj_buf(J, 0);
    if (!b || !lm_jj_put_json(J, b, x, a))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

static bool f_indent(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[3], by, lines;
    bool first, blank;
    int64_t width = 4;
    if (!lm_jj_args(J, "indent", a, "width= first= blank=", arg) || !flag(J, arg[1], false, &first) ||
        !flag(J, arg[2], false, &blank))
        return false;
    if (x.kind != JV_STR)
        return x.kind == JV_UNDEF ? lm_jj_undef_fail(J, x)
                                  : JJ_TYPE(J, "indent wants a str, not %s", lm_jj_type(x));
    if (given(arg[0]) && arg[0].kind == JV_STR)
        by = arg[0];
    else if ((given(arg[0]) && !lm_jj_index(J, arg[0], &width)) ||
             !lm_jj_repeat(J, lm_jj_strz(J, " "), width, &by))
        return false;
    lines = lm_jj_list(J, JV_LIST, 0);
    jbuf *b = lm_jj_buf(J, x.u.s.n);
    if (!b || !lm_jj_splitlines(J, x, false, &lines))
        return false;
    /* Jinja2 appends a newline and splits: a text that ends with one keeps an empty last line. */
    if (x.u.s.n == 0 || lm_jj_p(x)[x.u.s.n - 1] == '\n' || lines.u.l->n == 0) {
        if (!lm_jj_push(J, lines, lm_jj_sub(x, x.u.s.n, 0)))
            return false;
    } else {
        uint32_t cp;
        size_t k = x.u.s.n - 1, len;
        while (k && ((unsigned char)lm_jj_p(x)[k] & 0xc0) == 0x80)
            k--;
        cp = lm_utf8_get(lm_jj_p(x) + k, x.u.s.n - k, &len);
        /* Other line breaks end a line too, except that "\r" joins the "\n". */
        if ((cp == 11 || cp == 12 || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029) &&
            !lm_jj_push(J, lines, lm_jj_sub(x, x.u.s.n, 0)))
            return false;
    }
    for (size_t i = 0; i < lines.u.l->n; i++) {
        jv line = lines.u.l->v[i];
        bool pad = i ? blank || line.u.s.n : first;
        if ((i && !lm_jj_putz(J, b, "\n")) || (pad && !lm_jj_put_str(J, b, by)) || !lm_jj_put_str(J, b, line))
            return false;
    }
    *out = lm_jj_whole(b);
    out->flag = x.flag;
    return true;
}

static bool f_center(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[1], name = lm_jj_strz(J, "center");
    const jmethod_row *row;
    bool unsafe;
    if (!lm_jj_args(J, "center", a, "width=", arg) || !lm_jj_to_str(J, x, &x) || J->status != LM_OK)
        return false;
    jv width = given(arg[0]) ? arg[0] : lm_jj_int(80);
    jargs one = { .pos = &width, .n = 1 };
    return lm_jj_method(x, name, &row, &unsafe) && row->fn(J, x, &one, out);
}

static bool f_truncate(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[4], end, head;
    int64_t length = 255, leeway = 5, n;
    bool kill;
    if (!lm_jj_args(J, "truncate", a, "length= killwords= end= leeway=", arg) ||
        (given(arg[0]) && !lm_jj_index(J, arg[0], &length)) || !flag(J, arg[1], false, &kill) ||
        (given(arg[3]) && arg[3].kind != JV_NONE && !lm_jj_index(J, arg[3], &leeway)) || !lm_jj_len(J, x, &n))
        return false;
    end = given(arg[2]) ? arg[2] : lm_jj_strz(J, "...");
    *out = x;
    if (x.kind != JV_STR && end.kind == JV_STR && n <= length + leeway && leeway >= 0 &&
        length >= (int64_t)lm_jj_n_chars(end))
        return true; /* short enough: nobody looks at what it is */
    if (x.kind != JV_STR || end.kind != JV_STR)
        return JJ_TYPE(J, "truncate wants texts");
    int64_t tail = (int64_t)lm_jj_n_chars(end);
    if (length < tail || leeway < 0)
        return JJ_TYPE(J, "truncate wants a length of at least %lld", (long long)tail);
    *out = x;
    if (n <= length + leeway)
        return true;
    head = lm_jj_sub(x, 0, lm_jj_byte_of(x, (size_t)(length - tail)));
    if (!kill) {
        size_t space = lm_jj_rfind_bytes(lm_jj_p(head), 0, head.u.s.n, " ", 1);
        if (space != SIZE_MAX)
            head = lm_jj_sub(head, 0, space);
    }
    jbuf *b = lm_jj_buf(J, head.u.s.n + end.u.s.n);
    if (!b || !lm_jj_put_str(J, b, head) || !lm_jj_put_str(J, b, end))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

static bool f_wordcount(jj *J, jv x, const jargs *a, jv *out)
{
    size_t len;
    int64_t n = 0;
    bool in = false;
    if (!lm_jj_args(J, "wordcount", a, "", out) || !lm_jj_to_str(J, x, &x))
        return false;
    for (size_t at = 0; at < x.u.s.n; at += len) {
        uint32_t cp = lm_utf8_get(lm_jj_p(x) + at, x.u.s.n - at, &len);
        bool word = lm_jj_alpha(cp) || lm_jj_numeric(cp) || cp == '_';
        n += word && !in;
        in = word;
    }
    *out = lm_jj_int(n);
    return lm_jj_charge(J, x.u.s.n / 64);
}

static bool f_urlencode(jj *J, jv x, const jargs *a, jv *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t end;
    if (!lm_jj_args(J, "urlencode", a, "", out))
        return false;
    if (x.kind != JV_STR && lm_jj_iterable(x))
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "urlencode takes a text here, not a %s", lm_jj_type(x));
    if (!lm_jj_to_str(J, x, &x))
        return false;
    jbuf *b = lm_jj_buf(J, x.u.s.n);
    for (size_t i = 0; b && i < x.u.s.n; i++) {
        unsigned char c = (unsigned char)lm_jj_p(x)[i];
        char e[3] = { '%', hex[c >> 4], hex[c & 15] };
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     (c && strchr("_.-~/", c));
        if (!lm_jj_put(J, b, plain ? (const char *)&c : e, plain ? 1 : 3, lm_jj_run(x, i, &end)))
            return false;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    return true;
}

/* ---- numbers ---- */

static bool f_abs(jj *J, jv x, const jargs *a, jv *out)
{
    if (!lm_jj_args(J, "abs", a, "", out))
        return false;
    if (x.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, x);
    if (!lm_jj_is_num(x))
        return JJ_TYPE(J, "bad operand type for abs(): '%s'", lm_jj_type(x));
    if (x.kind == JV_FLOAT) {
        *out = lm_jj_float(fabs(x.u.f));
        return true;
    }
    return lm_jj_neg(J, x, x.u.i >= 0, out);
}

static bool to_int(jj *J, double d, jv def, jv *out)
{
    *out = def;
    if (isnan(d) || isinf(d))
        return true;
    if (fabs(d) >= 9.2e18)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the number does not fit into a 64-bit integer");
    *out = lm_jj_int((int64_t)d);
    return true;
}

static bool f_int(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[2];
    int64_t base = 10, v;
    double d;
    bool ok;
    if (!lm_jj_args(J, "int", a, "default= base=", arg) || (given(arg[1]) && !lm_jj_index(J, arg[1], &base)))
        return false;
    *out = given(arg[0]) ? arg[0] : lm_jj_int(0);
    if (x.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, x);
    if (lm_jj_is_int(x)) {
        *out = lm_jj_int(x.u.i);
        return true;
    }
    if (x.kind == JV_FLOAT) {
        if (isinf(x.u.f))
            return JJ_TYPE(J, "cannot convert float infinity to integer");
        return to_int(J, x.u.f, *out, out);
    }
    if (x.kind != JV_STR)
        return true;
    if (!lm_jj_parse_int(J, x, base, &v, &ok))
        return false;
    if (ok)
        *out = lm_jj_int(v);
    else if (lm_jj_parse_float(x, &d)) /* "42.23" is 42 */
        return to_int(J, d, *out, out);
    return true;
}

static bool f_float(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[1];
    double d;
    if (!lm_jj_args(J, "float", a, "default=", arg))
        return false;
    *out = given(arg[0]) ? arg[0] : lm_jj_float(0.0);
    if (x.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, x);
    if (lm_jj_is_num(x))
        *out = lm_jj_float(x.kind == JV_FLOAT ? x.u.f : (double)x.u.i);
    else if (x.kind == JV_STR && lm_jj_parse_float(x, &d))
        *out = lm_jj_float(d);
    return true;
}

/* round() of an integer to tens, hundreds …: half to even. */
static bool round_int(jj *J, int64_t v, int64_t places, jv *out)
{
    int64_t unit = 1, low;
    *out = lm_jj_int(v);
    if (places >= 0)
        return true;
    for (; places < 0; places++)
        if (__builtin_mul_overflow(unit, (int64_t)10, &unit)) {
            *out = lm_jj_int(0);
            return true;
        }
    low = v % unit;
    low += low < 0 ? unit : 0;
    if (__builtin_sub_overflow(v, low, &v))
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the result does not fit into a 64-bit integer");
    if (low > unit - low || (low == unit - low && (v / unit) % 2 != 0))
        if (__builtin_add_overflow(v, unit, &v))
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the result does not fit into a 64-bit integer");
    *out = lm_jj_int(v);
    return true;
}

static bool f_round(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[2];
    int64_t places = 0;
    char buf[800];
    if (!lm_jj_args(J, "round", a, "precision= method=", arg) ||
        (given(arg[0]) && !lm_jj_index(J, arg[0], &places)))
        return false;
    bool common = !given(arg[1]) || (arg[1].kind == JV_STR && lm_jj_str_is(arg[1], "common"));
    bool ceil_ = !common && arg[1].kind == JV_STR && lm_jj_str_is(arg[1], "ceil");
    bool floor_ = !common && arg[1].kind == JV_STR && lm_jj_str_is(arg[1], "floor");
    if (!common && !ceil_ && !floor_)
        return JJ_TYPE(J, "method must be common, ceil or floor");
    if (x.kind == JV_UNDEF)
        return lm_jj_undef_fail(J, x);
    if (!lm_jj_is_num(x))
        return JJ_TYPE(J, "type %s doesn't define __round__ method", lm_jj_type(x));
    if (common && x.kind != JV_FLOAT)
        return round_int(J, x.u.i, places, out);
    double v = x.kind == JV_FLOAT ? x.u.f : (double)x.u.i;
    if (!common) {
        double scale = pow(10.0, (double)LM_MAX(LM_MIN(places, 400), -400));
        double m = v * scale;
        if (isnan(m) || isinf(m) || scale == 0.0)
            return JJ_TYPE(J, "the number is too large to be rounded");
        *out = lm_jj_float((ceil_ ? ceil(m) : floor(m)) / scale);
        return true;
    }
    *out = x;
    if (isnan(v) || isinf(v) || places > 300)
        return true;
    if (places >= 0) {
        (void)snprintf(buf, sizeof buf, "%.*f", (int)places, v);
        *out = lm_jj_float(strtod(buf, NULL));
        return true;
    }
    if (places < -308) {
        *out = lm_jj_float(copysign(0.0, v));
        return true;
    }
    double unit = pow(10.0, (double)-places), q = nearbyint(v / unit);
    *out = lm_jj_float(q * unit);
    return true;
}

static bool f_filesizeformat(jj *J, jv x, const jargs *a, jv *out)
{
    static const char si[] = "kMGTPEZY", *const iec = "KMGTPEZY";
    jv arg[1], v, none = lm_jj_none();
    bool binary;
    char buf[64];
    if (!lm_jj_args(J, "filesizeformat", a, "binary=", arg) || !flag(J, arg[0], false, &binary) ||
        !f_float(J, x, &(jargs){ .pos = &none, .n = 1 }, &v))
        return false;
    if (v.kind != JV_FLOAT)
        return JJ_TYPE(J, "filesizeformat wants a number, not this %s", lm_jj_type(x));
    double base = binary ? 1024 : 1000, n = v.u.f, unit = base;
    int i = 0;
    if (n == 1)
        (void)snprintf(buf, sizeof buf, "1 Byte");
    else if (n < base)
        (void)snprintf(buf, sizeof buf, "%lld Bytes", (long long)LM_MAX(n, -9e18));
    else {
        for (unit = base * base; n >= unit && i < 7; i++)
            unit *= base;
        (void)snprintf(buf, sizeof buf, "%.1f %c%sB", base * n / unit, binary ? iec[i] : si[i],
                       binary ? "i" : "");
    }
    jbuf *b = lm_jj_buf(J, 64);
    if (!b || !lm_jj_putz(J, b, buf))
        return false;
    *out = lm_jj_whole(b);
    return true;
}

static bool f_default(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[2];
    bool boolean, truth = true;
    if (!lm_jj_args(J, "default", a, "default_value= boolean=", arg) || !flag(J, arg[1], false, &boolean) ||
        (boolean && !lm_jj_truth(J, x, &truth)))
        return false;
    *out = x.kind != JV_UNDEF && truth ? x : given(arg[0]) ? arg[0] : lm_jj_strz(J, "");
    return true;
}

static bool f_attr(jj *J, jv x, const jargs *a, jv *out)
{
    jv arg[1];
    if (!lm_jj_args(J, "attr", a, "name", arg))
        return false;
    if (arg[0].kind != JV_STR)
        return JJ_TYPE(J, "attribute name must be string");
    if (x.kind == JV_DICT && lm_jj_find(x.u.d, lm_jj_p(arg[0]), arg[0].u.s.n)) {
        const jmethod_row *row;
        bool unsafe;
        if (!lm_jj_method(x, arg[0], &row, &unsafe)) { /* keys are no attributes */
            *out = lm_jj_undef_attr(J, x, arg[0]);
            return true;
        }
    }
    return lm_jj_getattr(J, x, arg[0], out);
}

const jfilter_row lm_jj_text_filters[] = {
    { "abs", f_abs },
    { "attr", f_attr },
    { "capitalize", f_capitalize },
    { "center", f_center },
    { "d", f_default },
    { "default", f_default },
    { "e", f_escape },
    { "escape", f_escape },
    { "filesizeformat", f_filesizeformat },
    { "float", f_float },
    { "forceescape", f_forceescape },
    { "format", f_format },
    { "indent", f_indent },
    { "int", f_int },
    { "lower", f_lower },
    { "replace", f_replace },
    { "round", f_round },
    { "safe", f_safe },
    { "string", f_string },
    { "title", f_title },
    { "tojson", f_tojson },
    { "trim", f_trim },
    { "truncate", f_truncate },
    { "upper", f_upper },
    { "urlencode", f_urlencode },
    { "wordcount", f_wordcount },
    { "pprint", NULL },
    { "random", NULL },
    { "striptags", NULL },
    { "urlize", NULL },
    { "wordwrap", NULL },
    { "xmlattr", NULL },
    { NULL, NULL },
};

const jfilter_row *lm_jj_filter_find(const char *s, size_t n)
{
    const jfilter_row *const tables[] = { lm_jj_text_filters, lm_jj_seq_filters };
    for (size_t t = 0; t < LM_LEN(tables); t++)
        for (const jfilter_row *r = tables[t]; r->name; r++)
            if (strlen(r->name) == n && memcmp(r->name, s, n) == 0)
                return r;
    return NULL;
}

bool lm_jj_filter(jj *J, jv name, jv x, const jargs *a, jv *out)
{
    const jfilter_row *r = lm_jj_filter_find(lm_jj_p(name), name.u.s.n);
    lm_quoted_buf q;
    bool ok;
    if (!r)
        return JJ_TYPE(J, "there is no filter named '%s'", lm_quoted(&q, lm_jj_p(name), name.u.s.n));
    if (!r->fn)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the filter '%s' is not supported", r->name);
    if (!lm_jj_enter(J))
        return false;
    ok = r->fn(J, x, a, out) && J->status == LM_OK;
    J->depth--;
    return ok;
}
