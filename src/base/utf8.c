/* base/utf8.c - strict UTF-8, table 3-7 of the Unicode standard. */
#include "base/utf8.h"

uint32_t lm_utf8_get(const char *p, size_t n, size_t *len)
{
    const unsigned char *u = (const unsigned char *)p;
    unsigned char c = u[0];
    unsigned char lo = 0x80, hi = 0xbf;
    size_t need;
    uint32_t cp;

    *len = 1;
    if (c < 0x80)
        return c;
    if (c >= 0xc2 && c <= 0xdf) {
        need = 2;
        cp = c & 0x1fu;
    } else if (c >= 0xe0 && c <= 0xef) {
        need = 3;
        cp = c & 0x0fu;
        lo = c == 0xe0 ? 0xa0 : 0x80;
        hi = c == 0xed ? 0x9f : 0xbf;
    } else if (c >= 0xf0 && c <= 0xf4) {
        need = 4;
        cp = c & 0x07u;
        lo = c == 0xf0 ? 0x90 : 0x80;
        hi = c == 0xf4 ? 0x8f : 0xbf;
    } else {
        return LM_UTF8_BAD;
    }
    if (n < need || u[1] < lo || u[1] > hi)
        return LM_UTF8_BAD;
    cp = cp << 6 | (u[1] & 0x3fu);
    for (size_t i = 2; i < need; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return LM_UTF8_BAD;
        cp = cp << 6 | (u[i] & 0x3fu);
    }
    *len = need;
    return cp;
}

size_t lm_utf8_put(uint32_t cp, char out[4])
{
    if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        cp = 0xfffd;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool lm_utf8_valid(const char *p, size_t n)
{
    for (size_t i = 0, len; i < n; i += len)
        if (lm_utf8_get(p + i, n - i, &len) == LM_UTF8_BAD)
            return false;
    return true;
}

size_t lm_utf8_unfinished(const char *p, size_t n)
{
    /* Walk back over at most three continuation bytes to a lead byte, then ask
     * whether what is there could still become a character. */
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)p[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t need = c >= 0xc2 && c <= 0xdf   ? 2
                      : c >= 0xe0 && c <= 0xef ? 3
                      : c >= 0xf0 && c <= 0xf4 ? 4
                                               : 1;
        if (back >= need)
            return 0;
        /* The second byte must already be possible. */
        if (back >= 2) {
            unsigned char d = (unsigned char)p[n - back + 1];
            if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) ||
                (c == 0xf4 && d > 0x8f))
                return 0;
        }
        return back;
    }
    return 0;
}
