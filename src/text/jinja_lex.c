/* text/jinja_lex.c - template text to tokens.
 *
 * Outside tags text is data; what Jinja2 does to the white space around tags
 * under trim_blocks and lstrip_blocks is done here, so that the parser sees the
 * final text.  Comments and the borders of raw blocks leave no token. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

typedef struct {
    jj *J;
    char *s; /* normalised: \n only, at most one newline less at the end */
    size_t n, at;
    jtok *tok;
    size_t n_tok, cap_tok;
    bool line_starting; /* the last thing ended with a newline, or nothing was yet */
    uint32_t line;
} lex;

static bool push(lex *L, jtok_kind kind, jv v, uint32_t name)
{
    if (!lm_jj_more(L->J, &L->tok, &L->cap_tok, L->n_tok + 1, sizeof *L->tok))
        return false;
    L->tok[L->n_tok++] = (jtok){ .kind = (uint8_t)kind, .line = L->line, .v = v, .name = name };
    return true;
}

static bool fail(lex *L, const char *what)
{
    L->J->line = L->line;
    return lm_jj_fail(L->J, LM_ERR_CORRUPT, "%s", what);
}

/* Moves on to `to`, counting lines. */
static void go(lex *L, size_t to)
{
    if (to > L->at)
        L->line_starting = L->s[to - 1] == '\n';
    for (; L->at < to; L->at++)
        L->line += L->s[L->at] == '\n';
}

static size_t space_len(const lex *L, size_t at)
{
    size_t len;
    if (at >= L->n || !lm_jj_space(lm_utf8_get(L->s + at, L->n - at, &len)))
        return 0;
    return len;
}

static size_t skip_space(const lex *L, size_t at)
{
    size_t len;
    while ((len = space_len(L, at)) != 0)
        at += len;
    return at;
}

static bool has(const lex *L, size_t at, const char *z)
{
    size_t n = strlen(z);
    return at <= L->n && n <= L->n - at && memcmp(L->s + at, z, n) == 0;
}

/* Where the tag end at `at` leads: "-%}" swallows white space, "%}" one newline
 * if `trim`.  0: no tag end there. */
static size_t tag_end(const lex *L, size_t at, const char *end, bool trim, bool plus)
{
    char dashed[4] = { '-', end[0], end[1], 0 }, plussed[4] = { '+', end[0], end[1], 0 };
    if (has(L, at, dashed))
        return skip_space(L, at + 3);
    if (plus && has(L, at, plussed))
        return at + 3;
    if (has(L, at, end))
        return trim && at + 2 < L->n && L->s[at + 2] == '\n' ? at + 3 : at + 2;
    return 0;
}

/* Emits s[from..to) as data, its end cut as the tag that follows wants it. */
static bool data(lex *L, size_t from, size_t to, char sign, bool is_var)
{
    size_t end = to;
    if (sign == '-') {
        /* Backwards over white space, a character at a time. */
        while (end > from) {
            size_t p = end - 1, len;
            while (p > from && ((unsigned char)L->s[p] & 0xc0) == 0x80)
                p--;
            if (!lm_jj_space(lm_utf8_get(L->s + p, end - p, &len)) || len != end - p)
                break;
            end = p;
        }
    } else if (sign != '+' && !is_var) {
        size_t bol = to;
        while (bol > from && L->s[bol - 1] != '\n')
            bol--;
        if ((bol > from || L->line_starting) && bol < to && skip_space(L, bol) >= to)
            end = bol;
    }
    if (end > from) {
        jbuf *b = lm_jj_borrow(L->J, L->s + from, end - from, false);
        if (!b || !push(L, T_DATA, lm_jj_whole(b), 0))
            return false;
        (void)lm_jj_ascii(lm_jj_whole(b));
    }
    return true;
}

/* ---- inside tags ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool numbered_escape(lex *L, jbuf *b, size_t *at, size_t stop, int digits)
{
    uint32_t cp = 0;
    for (int i = 0; i < digits; i++, ++*at) {
        int h = *at < stop ? hex_digit(L->s[*at]) : -1;
        if (h < 0)
            return fail(L, "a \\x, \\u or \\U escape has too few hexadecimal digits");
        cp = cp << 4 | (uint32_t)h;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return fail(L, "an escape names no character");
    return lm_jj_putu(L->J, b, cp, false);
}

static bool escape(lex *L, jbuf *b, size_t *at, size_t stop)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = L->s[(*at)++];
    const char *known = strchr(from, c);
    if (c && known)
        return lm_jj_put(L->J, b, &to[known - from], 1, false);
    if (c == '\n')
        return true;
    if (c == 'x' || c == 'u' || c == 'U')
        return numbered_escape(L, b, at, stop, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (c == 'N')
        return fail(L, "\\N{...} escapes are not supported");
    if (c >= '0' && c <= '7') {
        uint32_t v = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *at < stop && L->s[*at] >= '0' && L->s[*at] <= '7'; i++)
            v = v * 8 + (uint32_t)(L->s[(*at)++] - '0');
        return lm_jj_putu(L->J, b, v, false);
    }
    return lm_jj_put(L->J, b, "\\", 1, false) && lm_jj_put(L->J, b, &c, 1, false);
}

static bool string(lex *L)
{
    char q = L->s[L->at];
    size_t at = L->at + 1, stop = at;
    while (stop < L->n && L->s[stop] != q)
        stop += L->s[stop] == '\\' ? 2 : 1;
    if (stop >= L->n)
        return fail(L, "a string has no closing quote");
    jbuf *b = lm_jj_buf(L->J, stop - at);
    while (b && at < stop) {
        const char *slash = memchr(L->s + at, '\\', stop - at);
        size_t to = slash ? (size_t)(slash - L->s) : stop;
        if (!lm_jj_put(L->J, b, L->s + at, to - at, false))
            return false;
        at = to;
        if (slash) {
            at++;
            if (!escape(L, b, &at, stop))
                return false;
        }
    }
    if (!b || !push(L, T_STRING, lm_jj_whole(b), 0))
        return false;
    (void)lm_jj_ascii(lm_jj_whole(b));
    b->cap = 0; /* a constant: nobody appends to it */
    go(L, stop + 1);
    return true;
}

static bool digit(const lex *L, size_t at)
{
    return at < L->n && L->s[at] >= '0' && L->s[at] <= '9';
}

/* (\d+_)*\d+ : the end of a run of digits with single underscores inside. */
static size_t digits(const lex *L, size_t at)
{
    while (digit(L, at) || (at < L->n && L->s[at] == '_' && digit(L, at + 1)))
        at++;
    return at;
}

static size_t exponent(const lex *L, size_t at)
{
    if (at >= L->n || (L->s[at] | 0x20) != 'e')
        return 0;
    at++;
    if (at < L->n && (L->s[at] == '+' || L->s[at] == '-'))
        at++;
    return digit(L, at) ? digits(L, at) : 0;
}

/* Digits without their underscores, for the C library. */
static bool plain(lex *L, size_t to, char *buf, size_t cap)
{
    size_t n = 0;
    for (size_t i = L->at; i < to; i++)
        if (L->s[i] != '_') {
            if (n + 1 >= cap)
                return fail(L, "a number has too many digits");
            buf[n++] = L->s[i];
        }
    buf[n] = 0;
    return true;
}

static bool number(lex *L)
{
    char buf[400];
    size_t end = digits(L, L->at), e;
    bool after_dot = L->at > 0 && L->s[L->at - 1] == '.';
    if (!after_dot) {
        size_t frac = 0;
        if (end < L->n && L->s[end] == '.' && digit(L, end + 1))
            frac = digits(L, end + 1);
        e = exponent(L, frac ? frac : end);
        if (frac || e) {
            end = e ? e : frac;
            if (!plain(L, end, buf, sizeof buf) || !push(L, T_FLOAT, lm_jj_float(strtod(buf, NULL)), 0))
                return false;
            go(L, end);
            return true;
        }
    }
    int base = 10, skip = 0;
    if (L->s[L->at] == '0') {
        char x = L->at + 1 < L->n ? (char)(L->s[L->at + 1] | 0x20) : 0;
        base = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 10;
        if (base != 10) {
            size_t at = L->at + 2;
            while (at < L->n && (L->s[at] == '_' || (hex_digit(L->s[at]) >= 0 && hex_digit(L->s[at]) < base)))
                at++;
            if (at > L->at + 2 && L->s[at - 1] != '_') {
                end = at;
                skip = 2;
            } else {
                base = 10;
            }
        }
        if (base == 10)
            for (end = L->at; end < L->n && (L->s[end] == '0' ||
                                             (L->s[end] == '_' && end + 1 < L->n && L->s[end + 1] == '0'));)
                end++;
    }
    if (!plain(L, end, buf, sizeof buf))
        return false;
    errno = 0;
    long long v = strtoll(buf + skip, NULL, base);
    if (errno == ERANGE)
        return fail(L, "an integer does not fit into 64 bits");
    if (!push(L, T_INT, lm_jj_int(v), 0))
        return false;
    go(L, end);
    return true;
}

static bool name_char(const lex *L, size_t at, bool first, size_t *len)
{
    unsigned char c;
    if (at >= L->n)
        return false;
    c = (unsigned char)L->s[at];
    *len = 1;
    if (c < 0x80)
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (!first && c >= '0' && c <= '9');
    uint32_t cp = lm_utf8_get(L->s + at, L->n - at, len);
    return lm_jj_alpha(cp) || (!first && lm_jj_decimal(cp));
}

static bool name(lex *L)
{
    size_t end = L->at, len;
    while (name_char(L, end, end == L->at, &len))
        end += len;
    if (!push(L, T_NAME, lm_jj_none(), lm_jj_intern(L->J, L->s + L->at, end - L->at)))
        return false;
    go(L, end);
    return L->J->status == LM_OK;
}

static bool operator_(lex *L, char *stack, size_t *depth)
{
    static const struct {
        char s[3];
        uint8_t kind;
    } ops[] = { { "//", T_FLOORDIV }, { "**", T_POW },     { "==", T_EQ },    { "!=", T_NE },
                { ">=", T_GTEQ },     { "<=", T_LTEQ },    { "+", T_ADD },    { "-", T_SUB },
                { "/", T_DIV },       { "*", T_MUL },      { "%", T_MOD },    { "~", T_TILDE },
                { "[", T_LBRACKET },  { "]", T_RBRACKET }, { "(", T_LPAREN }, { ")", T_RPAREN },
                { "{", T_LBRACE },    { "}", T_RBRACE },   { ">", T_GT },     { "<", T_LT },
                { "=", T_ASSIGN },    { ".", T_DOT },      { ":", T_COLON },  { "|", T_PIPE },
                { ",", T_COMMA },     { ";", T_SEMICOLON } };
    for (size_t i = 0; i < LM_LEN(ops); i++) {
        if (!has(L, L->at, ops[i].s))
            continue;
        int k = ops[i].kind;
        if (k == T_LPAREN || k == T_LBRACKET || k == T_LBRACE) {
            if (*depth >= JJ_MAX_EXPR)
                return fail(L, "more than 200 brackets are open");
            stack[(*depth)++] = k == T_LPAREN ? ')' : k == T_LBRACKET ? ']' : '}';
        } else if (k == T_RPAREN || k == T_RBRACKET || k == T_RBRACE) {
            if (*depth == 0 || stack[--*depth] != L->s[L->at])
                return fail(L, "a closing bracket has no partner");
        }
        if (!push(L, (jtok_kind)k, lm_jj_none(), 0))
            return false;
        go(L, L->at + strlen(ops[i].s));
        return true;
    }
    L->J->line = L->line;
    lm_quoted_buf q;
    size_t len;
    (void)lm_utf8_get(L->s + L->at, L->n - L->at, &len);
    return lm_jj_fail(L->J, LM_ERR_CORRUPT, "unexpected character '%s'", lm_quoted(&q, L->s + L->at, len));
}

/* From behind "{%" or "{{" to behind its end. */
static bool tag(lex *L, bool is_var)
{
    char stack[JJ_MAX_EXPR];
    size_t depth = 0, end, len;
    const char *close = is_var ? "}}" : "%}";
    uint32_t begun = L->line;
    if (!push(L, is_var ? T_VAR_BEGIN : T_BLOCK_BEGIN, lm_jj_none(), 0))
        return false;
    while (L->at < L->n) {
        if (depth == 0 && (end = tag_end(L, L->at, close, !is_var, !is_var)) != 0) {
            if (!push(L, is_var ? T_VAR_END : T_BLOCK_END, lm_jj_none(), 0))
                return false;
            go(L, end);
            return true;
        }
        if ((len = space_len(L, L->at)) != 0) {
            go(L, L->at + len);
            continue;
        }
        char c = L->s[L->at];
        bool ok = c == '"' || c == '\''             ? string(L)
                  : c >= '0' && c <= '9'            ? number(L)
                  : name_char(L, L->at, true, &len) ? name(L)
                                                    : operator_(L, stack, &depth);
        if (!ok)
            return false;
    }
    L->line = begun;
    return fail(L, is_var ? "'{{' is never closed" : "'{%' is never closed");
}

static bool comment(lex *L)
{
    uint32_t begun = L->line;
    const char *end = NULL;
    size_t at = L->at;
    for (; at + 1 < L->n; at++)
        if (L->s[at] == '#' && L->s[at + 1] == '}') {
            end = L->s + at;
            break;
        }
    if (!end) {
        if (L->at == L->n) /* Jinja2 lets "{#" stand as the very last thing */
            return true;
        L->line = begun;
        return fail(L, "'{#' is never closed");
    }
    /* The sign belongs to the end unless it is the comment's first character. */
    if (at > L->at && (L->s[at - 1] == '-' || L->s[at - 1] == '+'))
        at--;
    go(L, tag_end(L, at, "#}", true, true));
    return true;
}

/* Length of "raw %}" (or "endraw %}") at `at`, white space around it; 0: no. */
static size_t raw_tag(const lex *L, size_t at, const char *word, bool closing)
{
    size_t from = at;
    at = skip_space(L, at);
    if (!has(L, at, word))
        return 0;
    at = skip_space(L, at + strlen(word));
    size_t end = tag_end(L, at, "%}", closing, closing);
    return end ? end - from : 0;
}

static bool raw(lex *L)
{
    uint32_t begun = L->line;
    size_t from = L->at;
    for (size_t at = from; at + 1 < L->n; at++) {
        if (L->s[at] != '{' || L->s[at + 1] != '%')
            continue;
        char sign = at + 2 < L->n ? L->s[at + 2] : 0;
        size_t skip = sign == '-' || sign == '+' ? 3 : 2, len = raw_tag(L, at + skip, "endraw", true);
        if (!len)
            continue;
        if (!data(L, from, at, skip == 3 ? sign : 0, false))
            return false;
        go(L, at + skip + len);
        return true;
    }
    if (from == L->n)
        return true;
    L->line = begun;
    return fail(L, "'{% raw %}' is never closed");
}

static bool root(lex *L)
{
    while (L->at < L->n) {
        size_t at = L->at;
        while (at < L->n &&
               !(L->s[at] == '{' && at + 1 < L->n && strchr("%{#", L->s[at + 1]) && L->s[at + 1]))
            at++;
        if (at >= L->n)
            return data(L, L->at, L->n, '+', true);
        char what = L->s[at + 1], sign = at + 2 < L->n ? L->s[at + 2] : 0;
        size_t skip = sign == '-' || sign == '+' ? 3 : 2;
        if (!data(L, L->at, at, skip == 3 ? sign : 0, what == '{'))
            return false;
        go(L, at + skip);
        size_t raw_len = what == '%' ? raw_tag(L, L->at, "raw", false) : 0;
        if (raw_len)
            go(L, L->at + raw_len);
        if (raw_len ? !raw(L) : what == '#' ? !comment(L) : !tag(L, what == '{'))
            return false;
    }
    return true;
}

/* \r\n and \r become \n; one newline at the very end is dropped. */
static bool normalise(lex *L, const char *source, size_t n)
{
    L->s = lm_jj_get(L->J, n + 1, 1);
    if (!L->s)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n')
            continue;
        L->s[L->n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (L->n && L->s[L->n - 1] == '\n')
        L->n--;
    return true;
}

bool lm_jj_lex(jj *J, const char *source, size_t n, jtok **out, size_t *n_out)
{
    lex L = { .J = J, .line_starting = true, .line = 1 };
    if (!lm_utf8_valid(source, n))
        return lm_jj_fail(J, LM_ERR_CORRUPT, "the template is not UTF-8");
    if (!normalise(&L, source, n) || !root(&L) || !push(&L, T_EOF, lm_jj_none(), 0))
        return false;
    *out = L.tok;
    *n_out = L.n_tok;
    return true;
}
