/* base/str.c - growing bytes with sticky failure. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"

static bool room(lm_str *b, size_t more)
{
    if (b->failed)
        return false;
    if (more > SIZE_MAX / 4 - b->n || (b->max && b->n + more > b->max) ||
        lm_grow((void **)&b->s, &b->cap, b->n + more + 1, 1, NULL) != LM_OK) {
        b->failed = true;
        return false;
    }
    return true;
}

void lm_str_add(lm_str *b, const char *bytes, size_t n)
{
    if (!room(b, n))
        return;
    if (n)
        memcpy(b->s + b->n, bytes, n);
    b->n += n;
    b->s[b->n] = 0;
}

void lm_str_reserve(lm_str *b, size_t n)
{
    lm_str_add(b, "", 0);
    (void)room(b, n);
}

void lm_str_addz(lm_str *b, const char *s)
{
    lm_str_add(b, s, strlen(s));
}

void lm_str_addc(lm_str *b, char c)
{
    lm_str_add(b, &c, 1);
}

void lm_str_addu(lm_str *b, uint32_t code_point)
{
    char u[4];
    lm_str_add(b, u, lm_utf8_put(code_point, u));
}

void lm_str_addf(lm_str *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && room(b, (size_t)n)) {
        (void)vsnprintf(b->s + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void lm_str_reset(lm_str *b)
{
    b->n = 0;
    b->failed = false;
    if (b->s)
        b->s[0] = 0;
}

void lm_str_clear(lm_str *b)
{
    lm_free(b->s);
    *b = (lm_str){ .max = b->max };
}

const char *lm_str_z(const lm_str *b)
{
    return b->s ? b->s : "";
}

lm_status lm_str_status(const lm_str *b, lm_error *err)
{
    if (!b->failed)
        return LM_OK;
    if (b->max)
        return lm_fail(err, LM_ERR_NOMEM, "text is longer than the %zu bytes allowed", b->max);
    return lm_fail(err, LM_ERR_NOMEM, "no memory for a text of more than %zu bytes", b->n);
}

lm_status lm_str_take(lm_str *b, char **out, size_t *n, lm_error *err)
{
    if (!b->s)
        (void)room(b, 0);
    LM_TRY(lm_str_status(b, err));
    b->s[b->n] = 0;
    *out = b->s;
    if (n)
        *n = b->n;
    *b = (lm_str){ .max = b->max };
    return LM_OK;
}

lm_status lm_strdup_n(const char *s, size_t n, char **out, lm_error *err)
{
    char *p = NULL;
    LM_TRY(LM_NEW(&p, n + 1, err));
    if (n)
        memcpy(p, s, n);
    *out = p;
    return LM_OK;
}
