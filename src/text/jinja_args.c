/* text/jinja_args.c - arguments by position and by name; numbers in strings. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

/* The i-th word of spec, its length without "=" in *n; NULL past the end. */
static const char *spec_word(const char *spec, size_t i, size_t *n, bool *optional)
{
    while (*spec) {
        *n = strcspn(spec, " ");
        if (i-- == 0) {
            *optional = spec[*n - 1] == '=';
            *n -= *optional;
            return spec;
        }
        spec += *n;
        spec += *spec == ' ';
    }
    return NULL;
}

bool lm_jj_args(jj *J, const char *what, const jargs *a, const char *spec, jv *out)
{
    size_t n = 0, len = 0;
    bool optional = false;
    const char *w;
    for (; (w = spec_word(spec, n, &len, &optional)) != NULL; n++)
        out[n] = n < a->n ? a->pos[n] : (jv){ .kind = JV_MISSING };
    if (a->n > n)
        return JJ_TYPE(J, "%s takes at most %zu arguments (%zu given)", what, n, a->n);
    for (size_t k = 0; k < a->n_kw; k++) {
        const jname *name = &J->t->name[a->kw[k].name];
        size_t i = 0;
        while ((w = spec_word(spec, i, &len, &optional)) != NULL &&
               !(len == name->n && memcmp(w, name->s, len) == 0))
            i++;
        lm_quoted_buf q;
        if (!w)
            return JJ_TYPE(J, "%s got an unexpected keyword argument '%s'", what,
                           lm_quoted(&q, name->s, name->n));
        if (out[i].kind != JV_MISSING)
            return JJ_TYPE(J, "%s got multiple values for argument '%s'", what,
                           lm_quoted(&q, name->s, name->n));
        out[i] = a->kw[k].v;
    }
    for (size_t i = 0; i < n; i++) {
        w = spec_word(spec, i, &len, &optional);
        if (out[i].kind == JV_MISSING && !optional)
            return JJ_TYPE(J, "%s is missing the argument '%.*s'", what, (int)len, w);
    }
    return true;
}

/* White space off both ends, underscores between digits out, into buf. */
static bool tidy(jv s, char *buf, size_t cap, int base)
{
    const char *p = lm_jj_p(s);
    size_t n = s.u.s.n, len, o = 0;
    while (n && lm_jj_space(lm_utf8_get(p, n, &len))) {
        p += len;
        n -= len;
    }
    while (n && ((unsigned char)p[n - 1] <= 32 || (n > 1 && (unsigned char)p[n - 1] >= 0x80))) {
        size_t k = n - 1;
        while (k && ((unsigned char)p[k] & 0xc0) == 0x80)
            k--;
        if (!lm_jj_space(lm_utf8_get(p + k, n - k, &len)) || k + len != n)
            break;
        n = k;
    }
    if (n == 0 || n + 1 > cap)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool between = i && i + 1 < n && p[i - 1] != '_' && p[i + 1] != '_';
        if (p[i] == '_' && between && p[i - 1] != '+' && p[i - 1] != '-' && p[i - 1] != '.' &&
            p[i + 1] != '.')
            continue;
        if (p[i] == '_' || p[i] == 0)
            return false;
        buf[o++] = p[i];
    }
    buf[o] = 0;
    (void)base;
    return true;
}

bool lm_jj_parse_int(jj *J, jv s, int64_t base, int64_t *out, bool *ok)
{
    char buf[4400], *end, *p = buf; /* Python reads at most 4300 digits */
    bool minus;
    *ok = false;
    if (base != 0 && (base < 2 || base > 36))
        return true;
    if (!tidy(s, buf, sizeof buf, (int)base))
        return true;
    minus = *p == '-';
    p += *p == '-' || *p == '+';
    if (p[0] == '0' && p[1] && (base == 0 || base == 16 || base == 8 || base == 2)) {
        int x = p[1] | 0x20, is = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
        if (is && (base == 0 || base == is)) {
            p += 2;
            base = is;
        } else if (base == 0) {
            if (strspn(p, "0") != strlen(p))
                return true;
            base = 10;
        }
    }
    base = base ? base : 10;
    if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')))
        return true;
    errno = 0;
    unsigned long long v = strtoull(p, &end, (int)base);
    if (*end || (base == 16 && (p[1] | 0x20) == 'x'))
        return true;
    if (errno == ERANGE || v > (unsigned long long)INT64_MAX + minus)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the number does not fit into a 64-bit integer");
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    *ok = true;
    return true;
}

bool lm_jj_parse_float(jv s, double *out)
{
    char buf[1200], *end;
    const char *p = buf;
    if (!tidy(s, buf, sizeof buf, 10))
        return false;
    p += *p == '-' || *p == '+';
    if (!strchr("0123456789.iInN", *p) || ((p[0] == '0') && (p[1] | 0x20) == 'x') || strchr(p, '('))
        return false;
    *out = strtod(buf, &end);
    return *end == 0;
}
