/* base/fail.c - the error struct: first error wins, context is put in front. */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int exit_code, http;
} table[] = {
#define X(name, text, exit_code, http, type) { #name, text, exit_code, http },
    LM_STATUS_TABLE(X)
#undef X
};

static int known(lm_status status)
{
    return (unsigned)status < LM_LEN(table);
}

const char *lm_status_name(lm_status status)
{
    return known(status) ? table[status].name : "?";
}

const char *lm_status_text(lm_status status)
{
    return known(status) ? table[status].text : "?";
}

int lm_status_exit_code(lm_status status)
{
    return known(status) ? table[status].exit_code : 1;
}

int lm_status_http(lm_status status)
{
    return known(status) ? table[status].http : 500;
}

static lm_status fail(lm_error *err, lm_status status, uint64_t offset, const char *fmt, va_list ap)
    LM_PRINTF(4, 0);

static lm_status fail(lm_error *err, lm_status status, uint64_t offset, const char *fmt, va_list ap)
{
    if (err && err->status == LM_OK) {
        err->status = status;
        err->offset = offset;
        (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    }
    return status;
}

lm_status lm_fail(lm_error *err, lm_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    status = fail(err, status, LM_NO_OFFSET, fmt, ap);
    va_end(ap);
    return status;
}

lm_status lm_fail_at(lm_error *err, lm_status status, uint64_t offset, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    status = fail(err, status, offset, fmt, ap);
    va_end(ap);
    return status;
}

void lm_hint(lm_error *err, const char *fmt, ...)
{
    va_list ap;
    if (!err || err->status != LM_OK)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
}

lm_status lm_wrap(lm_error *err, lm_status status, const char *fmt, ...)
{
    char head[160], tail[sizeof err->text];
    va_list ap;
    if (!err || status == LM_OK)
        return status;
    va_start(ap, fmt);
    (void)vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    /* The old text carries the numbers: when both do not fit, the head is cut. */
    size_t n_head = strlen(head), n_tail = strlen(err->text), room = sizeof err->text - 3;
    memcpy(tail, err->text, n_tail + 1);
    n_tail = LM_MIN(n_tail, room);
    n_head = LM_MIN(n_head, room - n_tail);
    memcpy(err->text, head, n_head);
    memcpy(err->text + n_head, ": ", 2);
    memcpy(err->text + n_head + 2, tail, n_tail);
    err->text[n_head + 2 + n_tail] = 0;
    return status;
}

void lm_error_clear(lm_error *err)
{
    if (err)
        *err = (lm_error){ .status = LM_OK, .offset = LM_NO_OFFSET };
}

/* Well-formed UTF-8 of two bytes and more passes; C0, C1 and DEL become '?'. */
const char *lm_quoted(lm_quoted_buf *buf, const char *bytes, size_t n)
{
    size_t o = 0, i = 0;
    while (i < n && o + 8 < sizeof buf->s) {
        unsigned char c = (unsigned char)bytes[i];
        size_t len = c < 0x80 ? 1 : c >= 0xc3 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 0;
        int ok = len && i + len <= n && !(len == 1 && (c < 0x20 || c == 0x7f));
        for (size_t k = 1; ok && k < len; k++)
            ok = ((unsigned char)bytes[i + k] & 0xc0) == 0x80;
        if (ok) {
            memcpy(buf->s + o, bytes + i, len);
            o += len;
            i += len;
        } else {
            buf->s[o++] = '?';
            i++;
        }
    }
    memcpy(buf->s + o, i < n ? "..." : "", i < n ? 4 : 1);
    return buf->s;
}

const char *lm_quoted_z(lm_quoted_buf *buf, const char *s)
{
    return lm_quoted(buf, s, strlen(s));
}
