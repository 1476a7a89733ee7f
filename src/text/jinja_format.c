/* text/jinja_format.c - "%s" % x, "{}".format(x), and HTML escapes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

typedef struct {
    jv fill; /* one character; n 0: the default of the type */
    char align, sign, type;
    bool alt, zero, comma, under;
    int64_t width, precision; /* -1: none */
} fspec;

enum { MAX_WIDTH = 1 << 20, MAX_PRECISION = 300 };

static bool pad(jj *J, jbuf *b, jv fill, int64_t n)
{
    jv run;
    return n <= 0 || (lm_jj_repeat(J, fill, n, &run) && lm_jj_put_str(J, b, run));
}

/* body, already as text, filled to the width; `head` characters are its sign or
 * prefix, which '=' alignment keeps in front. */
static bool aligned(jj *J, jbuf *b, const fspec *f, jv body, size_t head, char def)
{
    char align = f->align ? f->align : def;
    int64_t missing = f->width - (int64_t)lm_jj_n_chars(body), left = 0;
    jv fill = f->fill.kind == JV_STR ? f->fill : lm_jj_strz(J, f->zero ? "0" : " ");
    if (missing < 0)
        missing = 0;
    left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    if (align == '=')
        return lm_jj_put_str(J, b, lm_jj_sub(body, 0, head)) && pad(J, b, fill, missing) &&
               lm_jj_put_str(J, b, lm_jj_sub(body, head, body.u.s.n - head));
    return pad(J, b, fill, left) && lm_jj_put_str(J, b, body) && pad(J, b, fill, missing - left);
}

static size_t radix(uint64_t u, unsigned base, bool upper, char *out)
{
    char tmp[72];
    size_t n = 0, o = 0;
    do {
        tmp[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u);
    while (n)
        out[o++] = tmp[--n];
    return o;
}

/* Commas between groups of three of the leading digits of `s`. */
static bool grouped(jj *J, jbuf *b, const char *s, size_t n, char sep)
{
    size_t digits = 0;
    while (digits < n && s[digits] >= '0' && s[digits] <= '9')
        digits++;
    for (size_t i = 0; i < digits; i++) {
        if (i && (digits - i) % 3 == 0 && !lm_jj_put(J, b, &sep, 1, false))
            return false;
        if (!lm_jj_put(J, b, s + i, 1, false))
            return false;
    }
    return lm_jj_put(J, b, s + digits, n - digits, false);
}

static bool with_sign(jj *J, jbuf *b, const fspec *f, bool minus, const char *prefix, const char *s, size_t n)
{
    jbuf *t = lm_jj_buf(J, n + 8);
    const char *sign = minus ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
    size_t head;
    if (!t || !lm_jj_putz(J, t, sign) || !lm_jj_putz(J, t, prefix))
        return false;
    head = t->used;
    if (f->comma || f->under ? !grouped(J, t, s, n, f->comma ? ',' : '_') : !lm_jj_put(J, t, s, n, false))
        return false;
    return aligned(J, b, f, lm_jj_whole(t), head, f->zero && !f->align ? '=' : '>');
}

static bool put_int(jj *J, jbuf *b, const fspec *f, int64_t v)
{
    char text[400];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    unsigned base = f->type == 'x' || f->type == 'X' ? 16 : f->type == 'o' ? 8 : f->type == 'b' ? 2 : 10;
    const char *prefix = !f->alt || base == 10 ? ""
                         : f->type == 'X'      ? "0X"
                         : base == 16          ? "0x"
                         : base == 8           ? "0o"
                                               : "0b";
    size_t n = radix(u, base, f->type == 'X', text);
    if (f->precision > (int64_t)n) { /* %.5d */
        size_t zeros = (size_t)LM_MIN(f->precision, MAX_PRECISION) - n;
        memmove(text + zeros, text, n);
        memset(text, '0', zeros);
        n += zeros;
    }
    return with_sign(J, b, f, v < 0, prefix, text, n);
}

static bool put_float(jj *J, jbuf *b, const fspec *f, double v)
{
    char text[800], pattern[16];
    char type = f->type;
    int precision = f->precision < 0 ? 6 : (int)LM_MIN(f->precision, MAX_PRECISION), n;
    bool minus = signbit(v) && !isnan(v);
    v = fabs(v);
    if (type == 0 && f->precision < 0) {
        n = (int)lm_jj_float_repr(v, text, sizeof text);
    } else if (isnan(v) || isinf(v)) {
        n = snprintf(text, sizeof text, "%s%s", isnan(v) ? "nan" : "inf", type == '%' ? "%" : "");
    } else if (type == '%') {
        n = snprintf(text, sizeof text, "%.*f%%", precision, v * 100.0);
    } else {
        (void)snprintf(pattern, sizeof pattern, "%%%s.*%c", f->alt ? "#" : "", type ? type : 'g');
        if (!strchr("eEfFgG", type ? type : 'g'))
            return JJ_TYPE(J, "unknown format code '%c' for a float", type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        n = snprintf(text, sizeof text, pattern, precision, v); /* pattern: one of six, made above */
#pragma GCC diagnostic pop
        /* Without a type a float keeps a point: "1.0", not "1". */
        if (!type && !strpbrk(text, ".e") && n + 3 < (int)sizeof text) {
            memcpy(text + n, ".0", 3);
            n += 2;
        }
    }
    if (n < 0 || n >= (int)sizeof text)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a formatted number is longer than %zu characters",
                          sizeof text);
    return with_sign(J, b, f, minus, "", text, (size_t)n);
}

/* ---- "%" ---- */

typedef struct {
    jj *J;
    jbuf *b;
    jv values;
    size_t next; /* of a tuple */
    bool mapped;
} percent;

static bool next_value(percent *P, jv *out)
{
    size_t have = P->values.kind == JV_TUPLE ? P->values.u.l->n : 1;
    if (P->next >= have)
        return JJ_TYPE(P->J, "not enough arguments for format string");
    *out = P->values.kind == JV_TUPLE ? P->values.u.l->v[P->next] : P->values;
    P->next++;
    return true;
}

static bool number_or_star(percent *P, jv f, size_t *at, int64_t *out)
{
    jv v = lm_jj_none();
    const char *p = lm_jj_p(f);
    if (*at < f.u.s.n && p[*at] == '*') {
        ++*at;
        if (!next_value(P, &v))
            return false;
        if (!lm_jj_is_int(v))
            return JJ_TYPE(P->J, "* wants int");
        *out = v.u.i;
    } else {
        *out = 0;
        for (; *at < f.u.s.n && p[*at] >= '0' && p[*at] <= '9'; ++*at)
            *out = LM_MIN(*out * 10 + (p[*at] - '0'), MAX_WIDTH + 1);
    }
    if (*out > MAX_WIDTH || *out < -MAX_WIDTH)
        return lm_jj_fail(P->J, LM_ERR_UNSUPPORTED, "a field may be %d characters wide at most", MAX_WIDTH);
    return true;
}

static bool convert(percent *P, fspec *s, char type, jv v)
{
    jj *J = P->J;
    jv text;
    s->type = type;
    switch (type) {
    case 's':
    case 'r':
    case 'a': {
        jbuf *t = lm_jj_buf(J, 0);
        if (type == 's' ? !lm_jj_to_str(J, v, &text) : !t || !lm_jj_put_repr(J, t, v))
            return false;
        if (type != 's')
            text = lm_jj_whole(t);
        if (s->precision >= 0)
            text = lm_jj_sub(text, 0, lm_jj_byte_of(text, (size_t)s->precision));
        s->zero = false;
        return aligned(J, P->b, s, text, 0, '>');
    }
    case 'd':
    case 'i':
    case 'u':
        if (v.kind == JV_UNDEF || !lm_jj_is_num(v))
            return JJ_TYPE(J, "%%%c format: a real number is required, not %s", type, lm_jj_type(v));
        if (v.kind == JV_FLOAT && !(fabs(v.u.f) < 9.2e18))
            return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the number does not fit into a 64-bit integer");
        return put_int(J, P->b, s, v.kind == JV_FLOAT ? (int64_t)v.u.f : v.u.i);
    case 'x':
    case 'X':
    case 'o':
        if (!lm_jj_is_int(v))
            return JJ_TYPE(J, "%%%c format: an integer is required, not %s", type, lm_jj_type(v));
        return put_int(J, P->b, s, v.u.i);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (!lm_jj_is_num(v))
            return JJ_TYPE(J, "must be real number, not %s", lm_jj_type(v));
        return put_float(J, P->b, s, v.kind == JV_FLOAT ? v.u.f : (double)v.u.i);
    case 'c':
        if (v.kind == JV_STR && lm_jj_n_chars(v) == 1)
            return aligned(J, P->b, s, v, 0, '>');
        if (lm_jj_is_int(v) && v.u.i >= 0 && v.u.i < 0x110000 && !(v.u.i >= 0xd800 && v.u.i < 0xe000)) {
            jbuf *t = lm_jj_buf(J, 4);
            return t && lm_jj_putu(J, t, (uint32_t)v.u.i, false) &&
                   aligned(J, P->b, s, lm_jj_whole(t), 0, '>');
        }
        return JJ_TYPE(J, "%%c requires int or char");
    default: return JJ_TYPE(J, "unsupported format character '%c'", type >= ' ' && type < 0x7f ? type : '?');
    }
}

/* One conversion; *at stands behind the '%'. */
static bool conversion(percent *P, jv f, size_t *at)
{
    jj *J = P->J;
    const char *p = lm_jj_p(f);
    fspec s = { .precision = -1 };
    jv v = lm_jj_none();
    bool keyed = false;
    if (*at < f.u.s.n && p[*at] == '(') {
        size_t close = ++*at;
        int open = 1;
        for (; close < f.u.s.n && open; close++)
            open += p[close] == '(' ? 1 : p[close] == ')' ? -1 : 0;
        if (open)
            return JJ_TYPE(J, "incomplete format key");
        if (P->values.kind != JV_DICT)
            return JJ_TYPE(J, "format requires a mapping");
        const jv *found = lm_jj_find(P->values.u.d, p + *at, close - 1 - *at);
        if (!found)
            return JJ_TYPE(J, "a format names a key that is not there");
        v = *found;
        keyed = P->mapped = true;
        *at = close;
    }
    for (; *at < f.u.s.n && p[*at] && strchr("-+ #0", p[*at]); ++*at) {
        s.align = p[*at] == '-' ? '<' : s.align;
        s.sign = p[*at] == '+' ? '+' : p[*at] == ' ' && s.sign != '+' ? ' ' : s.sign;
        s.alt |= p[*at] == '#';
        s.zero |= p[*at] == '0';
    }
    if (!number_or_star(P, f, at, &s.width))
        return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    if (s.align == '<')
        s.zero = false;
    if (*at < f.u.s.n && p[*at] == '.') {
        ++*at;
        if (!number_or_star(P, f, at, &s.precision))
            return false;
        s.precision = LM_MAX(s.precision, 0);
    }
    while (*at < f.u.s.n && strchr("hlL", p[*at]) && p[*at])
        ++*at;
    if (*at >= f.u.s.n)
        return JJ_TYPE(J, "incomplete format");
    char type = p[(*at)++];
    if (type == '%')
        return lm_jj_putz(J, P->b, "%");
    return (keyed || next_value(P, &v)) && convert(P, &s, type, v);
}

bool lm_jj_percent(jj *J, jv format, jv values, jv *out)
{
    percent P = { .J = J, .b = lm_jj_buf(J, format.u.s.n), .values = values };
    size_t at = 0, end;
    if (values.kind == JV_DICT || values.kind == JV_LIST || values.kind == JV_UNDEF ||
        values.kind == JV_RANGE)
        P.mapped = true; /* Python lets these be left over */
    while (P.b && at < format.u.s.n) {
        bool derived = lm_jj_run(format, at, &end);
        const char *p = lm_jj_p(format), *hit = memchr(p + at, '%', end - at);
        size_t to = hit ? (size_t)(hit - p) : end;
        if (!lm_jj_put(J, P.b, p + at, to - at, derived))
            return false;
        at = to;
        if (hit) {
            at++;
            if (!conversion(&P, format, &at))
                return false;
        }
    }
    if (!P.b)
        return false;
    if (!P.mapped && P.next < (values.kind == JV_TUPLE ? values.u.l->n : 1))
        return JJ_TYPE(J, "not all arguments converted during string formatting");
    *out = lm_jj_whole(P.b);
    out->flag = format.flag;
    return true;
}

/* ---- str.format ---- */

static bool parse_spec(jj *J, jv s, fspec *f)
{
    const char *p = lm_jj_p(s);
    size_t n = s.u.s.n, at = 0, len = 0;
    *f = (fspec){ .precision = -1 };
    if (n)
        (void)lm_utf8_get(p, n, &len);
    if (n > len && len && strchr("<>=^", p[len])) {
        f->fill = lm_jj_sub(s, 0, len);
        f->align = p[len];
        at = len + 1;
    } else if (n && strchr("<>=^", p[0]) && p[0]) {
        f->align = p[0];
        at = 1;
    }
    if (at < n && (p[at] == '+' || p[at] == '-' || p[at] == ' '))
        f->sign = p[at++];
    if (at < n && p[at] == '#') {
        f->alt = true;
        at++;
    }
    if (at < n && p[at] == '0') {
        f->zero = true;
        at++;
    }
    for (; at < n && p[at] >= '0' && p[at] <= '9'; at++)
        f->width = LM_MIN(f->width * 10 + (p[at] - '0'), MAX_WIDTH + 1);
    f->comma = at < n && p[at] == ',';
    f->under = at < n && p[at] == '_';
    at += f->comma || f->under;
    if (at < n && p[at] == '.') {
        at++;
        f->precision = 0;
        if (at >= n || p[at] < '0' || p[at] > '9')
            return JJ_TYPE(J, "a format specifier lacks its precision");
        for (; at < n && p[at] >= '0' && p[at] <= '9'; at++)
            f->precision = LM_MIN(f->precision * 10 + (p[at] - '0'), MAX_WIDTH + 1);
    }
    if (at < n)
        f->type = p[at++];
    if (at < n)
        return JJ_TYPE(J, "invalid format specifier");
    if (f->width > MAX_WIDTH || f->precision > MAX_WIDTH)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a field may be %d characters wide at most", MAX_WIDTH);
    return true;
}

static bool put_formatted(jj *J, jbuf *b, jv v, jv spec)
{
    fspec f;
    if (spec.u.s.n == 0)
        return lm_jj_put_value(J, b, v);
    if (!parse_spec(J, spec, &f))
        return false;
    if (v.kind == JV_STR) {
        if (f.type && f.type != 's')
            return JJ_TYPE(J, "unknown format code for a str");
        if (f.sign || f.align == '=' || f.comma || f.under)
            return JJ_TYPE(J, "a str takes no sign, comma or '='");
        if (f.precision >= 0)
            v = lm_jj_sub(v, 0, lm_jj_byte_of(v, (size_t)f.precision));
        return aligned(J, b, &f, v, 0, '<');
    }
    if (lm_jj_is_int(v) && (f.type == 0 || strchr("dnxXob", f.type))) {
        if (f.precision >= 0)
            return JJ_TYPE(J, "precision not allowed in integer format specifier");
        return put_int(J, b, &f, v.u.i);
    }
    if (lm_jj_is_num(v) && strchr("eEfFgG%", f.type))
        return put_float(J, b, &f, v.kind == JV_FLOAT ? v.u.f : (double)v.u.i);
    if (lm_jj_is_num(v))
        return JJ_TYPE(J, "unknown format code for a %s", lm_jj_type(v));
    return JJ_TYPE(J, "unsupported format string passed to %s.__format__", lm_jj_type(v));
}

/* "0.name[key]" looked up in the arguments. */
static bool field(jj *J, jv name, const jargs *a, int64_t *automatic, jv *out)
{
    const char *p = lm_jj_p(name);
    size_t n = name.u.s.n, at = 0, end;
    int64_t i = 0;
    while (at < n && p[at] != '.' && p[at] != '[')
        at++;
    bool digits = at > 0;
    for (size_t k = 0; k < at; k++) {
        digits = digits && p[k] >= '0' && p[k] <= '9';
        i = digits ? LM_MIN(i * 10 + (p[k] - '0'), INT32_MAX) : i;
    }
    if (at == 0 || digits) {
        if ((at == 0) != (*automatic >= 0) && *automatic != 0)
            return JJ_TYPE(J, "cannot switch between automatic and manual field numbering");
        if (at == 0)
            i = (*automatic)++;
        else
            *automatic = -1;
        if (i >= (int64_t)a->n)
            return JJ_TYPE(J, "Replacement index %lld out of range for positional args tuple", (long long)i);
        *out = a->pos[i];
    } else {
        size_t k = 0;
        while (k < a->n_kw &&
               !(J->t->name[a->kw[k].name].n == at && memcmp(J->t->name[a->kw[k].name].s, p, at) == 0))
            k++;
        if (k == a->n_kw)
            return JJ_TYPE(J, "a format names a keyword that is not there");
        *out = a->kw[k].v;
    }
    while (at < n) {
        bool dot = p[at++] == '.';
        for (end = at; end < n && (dot ? p[end] != '.' && p[end] != '[' : p[end] != ']');)
            end++;
        if (end == at || (!dot && end == n))
            return JJ_TYPE(J, "Empty attribute in format string");
        jv key = lm_jj_sub(name, at, end - at);
        int64_t num;
        bool ok = false;
        if (!dot && p[at] >= '0' && p[at] <= '9' && (!lm_jj_parse_int(J, key, 10, &num, &ok)))
            return false;
        if (ok)
            key = lm_jj_int(num);
        if (dot ? !lm_jj_getattr(J, *out, key, out) : !lm_jj_getitem(J, *out, key, out))
            return false;
        at = dot ? end : end + 1;
    }
    return true;
}

static bool replacement(jj *J, jbuf *b, jv part, const jargs *a, int64_t *automatic)
{
    const char *p = lm_jj_p(part);
    size_t n = part.u.s.n, colon = 0, bang;
    jv v, spec, text;
    for (bool inside = false; colon < n && (inside || (p[colon] != ':' && p[colon] != '!')); colon++)
        inside = p[colon] == '[' || (inside && p[colon] != ']');
    bang = colon < n && p[colon] == '!' ? colon : n;
    if (!field(J, lm_jj_sub(part, 0, colon), a, automatic, &v))
        return false;
    if (bang < n) {
        char how = bang + 1 < n ? p[bang + 1] : 0;
        jbuf *t = lm_jj_buf(J, 0);
        if (how != 's' && how != 'r')
            return JJ_TYPE(J, "unknown conversion in a format");
        if (how == 's' ? !lm_jj_to_str(J, v, &text) : !t || !lm_jj_put_repr(J, t, v))
            return false;
        v = how == 's' ? text : lm_jj_whole(t);
        colon = bang + 2;
        if (colon < n && p[colon] != ':')
            return JJ_TYPE(J, "expected ':' after conversion specifier");
    }
    spec = colon < n ? lm_jj_sub(part, colon + 1, n - colon - 1) : lm_jj_sub(part, 0, 0);
    if (memchr(lm_jj_p(spec), '{', spec.u.s.n))
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "fields inside a format specifier are not supported");
    return put_formatted(J, b, v, spec);
}

bool lm_jj_format(jj *J, jv format, const jargs *a, jv *out)
{
    jbuf *b = lm_jj_buf(J, format.u.s.n);
    size_t at = 0, n = format.u.s.n, end;
    int64_t automatic = 0;
    while (b && at < n) {
        bool derived = lm_jj_run(format, at, &end);
        const char *p = lm_jj_p(format);
        size_t to = at;
        while (to < end && p[to] != '{' && p[to] != '}')
            to++;
        if (!lm_jj_put(J, b, p + at, to - at, derived))
            return false;
        at = to;
        if (at == end)
            continue;
        if (at + 1 < n && p[at + 1] == p[at]) {
            if (!lm_jj_put(J, b, p + at, 1, derived))
                return false;
            at += 2;
            continue;
        }
        const char *close = p[at] == '{' ? memchr(p + at, '}', n - at) : NULL;
        if (!close)
            return JJ_TYPE(J, "Single '%c' encountered in format string", p[at]);
        to = (size_t)(close - p);
        if (!lm_jj_charge(J, 1) || !replacement(J, b, lm_jj_sub(format, at + 1, to - at - 1), a, &automatic))
            return false;
        at = to + 1;
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = format.flag;
    return true;
}

/* ---- HTML ---- */

bool lm_jj_escape(jj *J, jv v, jv *out)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    jv s;
    size_t end;
    if (!lm_jj_to_str(J, v, &s))
        return false;
    if (s.flag) {
        *out = s;
        return true;
    }
    jbuf *b = lm_jj_buf(J, s.u.s.n);
    for (size_t at = 0; b && at < s.u.s.n;) {
        bool derived = lm_jj_run(s, at, &end);
        while (at < end) {
            size_t plain = at;
            while (at < end && !(lm_jj_p(s)[at] && strchr(from, lm_jj_p(s)[at])))
                at++;
            if (!lm_jj_put(J, b, lm_jj_p(s) + plain, at - plain, derived))
                return false;
            if (at < end) {
                const char *e = to[strchr(from, lm_jj_p(s)[at]) - from];
                if (!lm_jj_put(J, b, e, strlen(e), derived))
                    return false;
                at++;
            }
        }
    }
    if (!b)
        return false;
    *out = lm_jj_whole(b);
    out->flag = 1;
    return true;
}
