/* text/json_scan.c - walks JSON text in place.
 *
 * A tokenizer.json of 30 MB is nearly all vocabulary and merges: building a tree
 * of it would cost ten times its size.  These few functions step over values and
 * read strings and numbers; nesting is counted, not recursed into. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/utf8.h"
#include "text/tok.h"

#define MAX_NESTING 4096u

static lm_status bad(const lm_jscan *j, lm_error *err, const char *what)
{
    return lm_fail_at(err, LM_ERR_CORRUPT, j->at, "%s: %s at byte %zu", j->name, what, j->at);
}

char lm_jscan_peek(lm_jscan *j)
{
    while (j->at < j->n && (j->s[j->at] == ' ' || (j->s[j->at] >= 9 && j->s[j->at] <= 13)))
        j->at++;
    return j->at < j->n ? j->s[j->at] : '\0';
}

lm_status lm_jscan_take(lm_jscan *j, char c, lm_error *err)
{
    char what[32] = "there is no 'x'";
    if (lm_jscan_peek(j) == c && j->at < j->n) {
        j->at++;
        return LM_OK;
    }
    what[13] = c;
    return bad(j, err, what);
}

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static lm_status escape(lm_jscan *j, lm_str *out, lm_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = j->at < j->n ? j->s[j->at++] : '\0';
    const char *p = c ? strchr(from, c) : NULL;
    int u, low;
    if (p) {
        lm_str_addc(out, to[p - from]);
        return LM_OK;
    }
    if (c != 'u' || j->n - j->at < 4 || (u = hex4(j->s + j->at)) < 0)
        return bad(j, err, "a string has a bad escape");
    j->at += 4;
    if (u >= 0xd800 && u <= 0xdbff && j->n - j->at >= 6 && j->s[j->at] == '\\' && j->s[j->at + 1] == 'u') {
        low = hex4(j->s + j->at + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            j->at += 6;
            lm_str_addu(out, 0x10000u + (((uint32_t)u & 0x3ff) << 10) + ((uint32_t)low & 0x3ff));
            return LM_OK;
        }
    }
    if (u >= 0xd800 && u <= 0xdfff)
        return bad(j, err, "a string has half a surrogate pair");
    lm_str_addu(out, (uint32_t)u);
    return LM_OK;
}

lm_status lm_jscan_string(lm_jscan *j, lm_str *out, lm_error *err)
{
    size_t from;
    if (out)
        lm_str_reset(out);
    if (lm_jscan_peek(j) != '"')
        return bad(j, err, "there is no string");
    from = ++j->at;
    for (;;) {
        unsigned char c;
        if (j->at >= j->n)
            return bad(j, err, "a string does not end");
        c = (unsigned char)j->s[j->at];
        if (c < 0x20)
            return bad(j, err, "a string holds a control character");
        if (c != '"' && c != '\\') {
            j->at++;
            continue;
        }
        if (out)
            lm_str_add(out, j->s + from, j->at - from);
        j->at++;
        if (c == '"')
            break;
        if (out)
            LM_TRY(escape(j, out, err));
        else if (j->at < j->n)
            j->at++;
        from = j->at;
    }
    if (!out)
        return LM_OK;
    LM_TRY(lm_str_status(out, err));
    if (!lm_utf8_valid(lm_str_z(out), out->n))
        return bad(j, err, "a string is not UTF-8");
    return LM_OK;
}

lm_status lm_jscan_number(lm_jscan *j, double *out, lm_error *err)
{
    char buf[64];
    size_t k = 0;
    char *end;
    (void)lm_jscan_peek(j);
    while (j->at + k < j->n && k < sizeof buf - 1 && j->s[j->at + k] &&
           strchr("+-.0123456789eE", j->s[j->at + k])) {
        buf[k] = j->s[j->at + k];
        k++;
    }
    buf[k] = '\0';
    if ((end = strchr(buf, '.')) != NULL)
        *end = *localeconv()->decimal_point; /* strtod reads the locale's */
    *out = strtod(buf, &end);
    if (k == 0 || *end)
        return bad(j, err, "there is no number");
    j->at += k;
    return LM_OK;
}

lm_status lm_jscan_skip(lm_jscan *j, lm_error *err)
{
    unsigned depth = 0;
    do {
        char c = lm_jscan_peek(j);
        switch (c) {
        case '"': LM_TRY(lm_jscan_string(j, NULL, err)); break;
        case '{':
        case '[':
            if (++depth > MAX_NESTING)
                return bad(j, err, "values are nested deeper than 4096");
            j->at++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return bad(j, err, "there is no value");
            depth--;
            j->at++;
            break;
        case ',':
        case ':':
            if (depth == 0)
                return bad(j, err, "there is no value");
            j->at++;
            break;
        default: {
            size_t k = 0;
            while (j->at + k < j->n && j->s[j->at + k] && strchr("+-.0123456789eEtrufalsn", j->s[j->at + k]))
                k++;
            if (k == 0)
                return bad(j, err, j->at < j->n ? "there is no value" : "the text ends early");
            j->at += k;
        }
        }
    } while (depth > 0);
    return LM_OK;
}
