/* text/unicode.c - properties of characters that the tokenizers library asks for. */
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/tok.h"

bool lm_uni_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c)
{
    return c > 0x10ffff ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)c);
}

bool lm_uni_numeric(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    utf8proc_category_t k = category(c);
    return (k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO) !=
           lm_uni_differs(LM_UNI_NUMERIC, c);
}

bool lm_uni_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    utf8proc_category_t k = category(c);
    return (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) != lm_uni_differs(LM_UNI_PUNCTUATION, c);
}

bool lm_uni_mark(uint32_t c)
{
    utf8proc_category_t k;
    if (c < 0x300)
        return false;
    k = category(c);
    return (k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME) !=
           lm_uni_differs(LM_UNI_MARK, c);
}

bool lm_uni_mark_nonspacing(uint32_t c)
{
    return c >= 0x300 && (category(c) == UTF8PROC_CATEGORY_MN) != lm_uni_differs(LM_UNI_NONSPACING, c);
}

bool lm_uni_other(uint32_t c)
{
    utf8proc_category_t k = category(c);
    if (c < 0x80)
        return c < 0x20 || c == 0x7f;
    return (k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
            k == UTF8PROC_CATEGORY_CS) != lm_uni_differs(LM_UNI_OTHER, c);
}

static bool looks_like_word(uint32_t c)
{
    if (c == 0x200c || c == 0x200d) /* joiners */
        return true;
    /* Other_Alphabetic beyond letters and marks: circled and squared letters */
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189))
        return true;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

bool lm_uni_word(uint32_t c)
{
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return looks_like_word(c) != lm_uni_differs(LM_UNI_WORD, c);
}

bool lm_uni_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* Printable bytes stand for themselves; the other 68, in order, for U+0100 and up. */
static bool stands_for_itself(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
}

uint32_t lm_byte_char(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xa0)
        return 0x121u + (byte - 0x7fu);
    return 0x143; /* 0xad */
}

int lm_char_byte(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

size_t lm_utf8_bad_part(const char *p, size_t n)
{
    /* The longest start of a character that is there, at least one byte. */
    for (size_t k = LM_MIN(n, (size_t)3); k > 1; k--)
        if (lm_utf8_unfinished(p, k) == k)
            return k;
    return 1;
}

const char *lm_tok_find_bytes(const char *p, size_t n, const char *what, size_t n_what)
{
    const char *end = p + n;
    while (n_what && (size_t)(end - p) >= n_what) {
        const char *hit = memchr(p, what[0], (size_t)(end - p) - n_what + 1);
        if (!hit)
            return NULL;
        if (memcmp(hit, what, n_what) == 0)
            return hit;
        p = hit + 1;
    }
    return NULL;
}
