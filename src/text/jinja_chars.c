/* text/jinja_chars.c - what Python's str knows about characters: classes, case,
 * counting.  Classes come from utf8proc; where Python and Unicode's simple
 * mappings part (letters whose upper case is longer, the final sigma), from the
 * table below (Unicode SpecialCasing.txt). */
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

static int category(uint32_t cp)
{
    return cp > 0x10ffff ? UTF8PROC_CATEGORY_CN : (int)utf8proc_category((utf8proc_int32_t)cp);
}

bool lm_jj_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

bool lm_jj_alpha(uint32_t cp)
{
    int c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool lm_jj_decimal(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_ND;
}

bool lm_jj_digit(uint32_t cp)
{
    return lm_jj_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468) || (cp >= 0x2474 && cp <= 0x247c) ||
           (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24ea || (cp >= 0x24f5 && cp <= 0x24fd) || cp == 0x24ff ||
           (cp >= 0x2776 && cp <= 0x277e) || (cp >= 0x2780 && cp <= 0x2788) || (cp >= 0x278a && cp <= 0x2792);
}

bool lm_jj_numeric(uint32_t cp)
{
    int c = category(cp);
    return lm_jj_digit(cp) || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool lm_jj_printable(uint32_t cp)
{
    int c = category(cp);
    return cp == ' ' || !(c == UTF8PROC_CATEGORY_CN || c >= UTF8PROC_CATEGORY_ZS);
}

bool lm_jj_is_title(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LT;
}

/* Other_Uppercase and Other_Lowercase of the Basic Multilingual Plane. */
bool lm_jj_is_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU || (cp >= 0x2160 && cp <= 0x216f) ||
           (cp >= 0x24b6 && cp <= 0x24cf);
}

bool lm_jj_is_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || cp == 0xaa || cp == 0xba || (cp >= 0x2b0 && cp <= 0x2b8) ||
           (cp >= 0x2c0 && cp <= 0x2c1) || (cp >= 0x2e0 && cp <= 0x2e4) || cp == 0x345 || cp == 0x37a ||
           (cp >= 0x1d2c && cp <= 0x1d6a) || cp == 0x1d78 || (cp >= 0x1d9b && cp <= 0x1dbf) || cp == 0x2071 ||
           cp == 0x207f || (cp >= 0x2090 && cp <= 0x209c) || (cp >= 0x2170 && cp <= 0x217f) ||
           (cp >= 0x24d0 && cp <= 0x24e9);
}

/* ---- counting ---- */

static size_t ascii_prefix(jbuf *b)
{
    /* A constant was scanned when it was made: nothing is written here then. */
    if (b->scanned)
        return b->ascii;
    while (b->ascii < b->used && (unsigned char)b->p[b->ascii] < 0x80)
        b->ascii++;
    if (b->ascii < b->used)
        b->scanned = true;
    return b->ascii;
}

bool lm_jj_ascii(jv s)
{
    jbuf *b = s.u.s.b;
    if (b->ascii >= s.u.s.at + s.u.s.n)
        return true;
    return ascii_prefix(b) >= s.u.s.at + s.u.s.n;
}

static bool starts(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

size_t lm_jj_n_chars(jv s)
{
    size_t n = 0;
    if (lm_jj_ascii(s))
        return s.u.s.n;
    for (size_t i = 0; i < s.u.s.n; i++)
        n += starts(lm_jj_p(s)[i]);
    return n;
}

size_t lm_jj_byte_of(jv s, size_t i_char)
{
    size_t at = 0;
    if (lm_jj_ascii(s))
        return LM_MIN(i_char, s.u.s.n);
    for (; at < s.u.s.n; at++)
        if (starts(lm_jj_p(s)[at]) && i_char-- == 0)
            return at;
    return s.u.s.n;
}

size_t lm_jj_char_of(jv s, size_t at)
{
    return lm_jj_n_chars(lm_jj_sub(s, 0, at));
}

/* ---- case ---- */

typedef struct {
    uint16_t cp, up[3];
} longer;

/* Lower-case letters whose upper case takes more than one character. */
static const longer specials[] = {
#include "text/jinja_case.inc"
};

static const longer *special(uint32_t cp)
{
    size_t lo = 0, hi = LM_LEN(specials);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (specials[mid].cp == cp)
            return &specials[mid];
        if (specials[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static uint32_t simple(uint32_t cp, int how)
{
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    c = how == CASE_UPPER   ? utf8proc_toupper(c)
        : how == CASE_LOWER ? utf8proc_tolower(c)
                            : utf8proc_totitle(c);
    return (uint32_t)c;
}

static bool cased(uint32_t cp)
{
    return lm_jj_is_upper(cp) || lm_jj_is_lower(cp) || lm_jj_is_title(cp);
}

/* Marks and points that a word may have inside (Case_Ignorable, the usual ones). */
static bool ignorable(uint32_t cp)
{
    int c = category(cp);
    return cp == '\'' || cp == '.' || cp == ':' || cp == 0xb7 || cp == 0x2019 || c == UTF8PROC_CATEGORY_MN ||
           c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_LM ||
           c == UTF8PROC_CATEGORY_SK;
}

/* Sigma ends a word: a cased letter before it and none after. */
static bool final_sigma(jv s, size_t at, size_t len)
{
    const char *p = lm_jj_p(s);
    size_t i = at, n;
    bool before = false;
    while (i > 0) {
        size_t e = i;
        for (i--; i > 0 && !starts(p[i]);)
            i--;
        uint32_t cp = lm_utf8_get(p + i, e - i, &n);
        if (!ignorable(cp)) {
            before = cased(cp);
            break;
        }
    }
    for (i = at + len; before && i < s.u.s.n; i += n) {
        uint32_t cp = lm_utf8_get(p + i, s.u.s.n - i, &n);
        if (!ignorable(cp))
            return !cased(cp);
    }
    return before;
}

static bool put_case(jj *J, jbuf *b, jv s, size_t at, size_t len, uint32_t cp, int how, bool derived)
{
    const longer *l = how == CASE_LOWER ? NULL : special(cp);
    if (l && how == CASE_TITLE && cp >= 0x1f80 && simple(cp, CASE_TITLE) != cp)
        l = NULL;
    if (cp == LM_UTF8_BAD)
        return lm_jj_put(J, b, lm_jj_p(s) + at, len, derived);
    if (l) {
        for (int i = 0; i < 3 && l->up[i]; i++) {
            /* Title case keeps the first letter big: "ß" is "Ss". */
            uint32_t c = i && how == CASE_TITLE ? simple(l->up[i], CASE_LOWER) : l->up[i];
            if (!lm_jj_putu(J, b, c, derived))
                return false;
        }
        return true;
    }
    if (how == CASE_LOWER && cp == 0x130)
        return lm_jj_putu(J, b, 'i', derived) && lm_jj_putu(J, b, 0x307, derived);
    if (how == CASE_LOWER && cp == 0x3a3)
        return lm_jj_putu(J, b, final_sigma(s, at, len) ? 0x3c2 : 0x3c3, derived);
    return lm_jj_putu(J, b, simple(cp, how), derived);
}

/* What Jinja's title filter starts a word after. */
static bool word_break(uint32_t cp)
{
    return cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<' || lm_jj_space(cp);
}

/* Upper or lower case of the ASCII bytes that p[0..n) begins with; *len: how many. */
static bool put_ascii_case(jj *J, jbuf *b, const char *p, size_t n, int how, bool derived, size_t *len)
{
    char part[256];
    size_t i = 0;
    for (; i < n && i < sizeof part && (unsigned char)p[i] < 0x80; i++) {
        char c = p[i];
        if (how == CASE_UPPER ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z')
            c ^= 0x20;
        part[i] = c;
    }
    *len = i;
    return lm_jj_put(J, b, part, i, derived);
}

bool lm_jj_case(jj *J, jv s, int how, jv *out)
{
    jbuf *b = lm_jj_buf(J, s.u.s.n);
    bool fresh = true;         /* the next letter begins a word (or the text) */
    size_t end, len, word = 0; /* word: what the case of a letter may depend on begins here */
    if (!b || !lm_jj_charge(J, s.u.s.n / 8))
        return false;
    for (size_t at = 0; at < s.u.s.n;) {
        bool derived = lm_jj_run(s, at, &end);
        for (; at < end; at += len) {
            if (how <= CASE_LOWER) {
                if (!put_ascii_case(J, b, lm_jj_p(s) + at, end - at, how, derived, &len))
                    return false;
                if (len)
                    continue;
            }
            uint32_t cp = lm_utf8_get(lm_jj_p(s) + at, s.u.s.n - at, &len);
            int as = how;
            if (how == CASE_TITLE) {
                as = fresh ? CASE_TITLE : CASE_LOWER;
                fresh = !cased(cp);
            } else if (how == CASE_CAPITAL) {
                as = fresh ? CASE_TITLE : CASE_LOWER;
                fresh = false;
            } else if (how == CASE_JINJA_TITLE) {
                as = fresh ? CASE_UPPER : CASE_LOWER;
                word = fresh ? at + len : word;
                fresh = word_break(cp);
            } else if (how == CASE_SWAP) {
                as = lm_jj_is_upper(cp) ? CASE_LOWER : CASE_UPPER;
            }
            size_t from = LM_MIN(word, at);
            if (!put_case(J, b, lm_jj_sub(s, from, s.u.s.n - from), at - from, len, cp, as, derived))
                return false;
        }
    }
    *out = lm_jj_whole(b);
    out->flag = s.flag;
    return true;
}
