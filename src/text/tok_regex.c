/* text/tok_regex.c - Oniguruma's patterns under PCRE2.
 *
 * What differs and is rewritten:
 *   \s \w \d \h \b    Unicode White_Space, Alphabetic + M + Nd + Pc, Nd, hexadecimal digits
 *   ^ $               always at line ends (PCRE2_MULTILINE); . never matches \n
 *   (?m               is (?s
 *   X{n,m}+           is (?:X{n,m})+, not possessive
 *   \uHHHH            \x{HHHH}
 *   \p{Han}           the script, not the script extensions; long category names
 *   [a[b]] [a&&b]     nested classes and intersections, as alternation and look-ahead
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_regex.h"

#define MAX_PATTERN  65536u
#define MAX_CLASSES  64u       /* nesting of [ in [ */
#define MATCH_LIMIT  20000000u /* steps of one match: about 0.2 s */
#define HEAP_LIMIT   65536u    /* KiB of backtracking */
#define MAX_FAILURES 4u        /* after this many the rest of a text is cut hard */
#define HARD_CUT     4096u     /* bytes of such a piece */

struct lm_tok_regex {
    pcre2_code *code;
    bool jit;
};

static void *take(PCRE2_SIZE n, void *data)
{
    (void)data;
    return lm_mem_alloc(n);
}

static void give(void *p, void *data)
{
    (void)data;
    lm_free(p);
}

/* ---- translation ---- */

typedef struct {
    const char *s;
    size_t n, at;
    lm_str *out;
    lm_error *err;
} reader;

static lm_status bad(reader *r, const char *what)
{
    return lm_fail_at(r->err, LM_ERR_UNSUPPORTED, r->at, "pattern: %s at byte %zu", what, r->at);
}

static const char SPACE[] =
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
static const char WORD[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

static const struct {
    const char *name, *is;
} properties[] = {
    { "Letter", "L" },
    { "Cased_Letter", "L&" },
    { "Uppercase_Letter", "Lu" },
    { "Lowercase_Letter", "Ll" },
    { "Titlecase_Letter", "Lt" },
    { "Modifier_Letter", "Lm" },
    { "Other_Letter", "Lo" },
    { "Mark", "M" },
    { "Nonspacing_Mark", "Mn" },
    { "Spacing_Mark", "Mc" },
    { "Enclosing_Mark", "Me" },
    { "Number", "N" },
    { "Decimal_Number", "Nd" },
    { "Letter_Number", "Nl" },
    { "Other_Number", "No" },
    { "Punctuation", "P" },
    { "Connector_Punctuation", "Pc" },
    { "Dash_Punctuation", "Pd" },
    { "Open_Punctuation", "Ps" },
    { "Close_Punctuation", "Pe" },
    { "Initial_Punctuation", "Pi" },
    { "Final_Punctuation", "Pf" },
    { "Other_Punctuation", "Po" },
    { "Symbol", "S" },
    { "Math_Symbol", "Sm" },
    { "Currency_Symbol", "Sc" },
    { "Modifier_Symbol", "Sk" },
    { "Other_Symbol", "So" },
    { "Separator", "Z" },
    { "Space_Separator", "Zs" },
    { "Line_Separator", "Zl" },
    { "Paragraph_Separator", "Zp" },
    { "Other", "C" },
    { "Control", "Cc" },
    { "Format", "Cf" },
    { "Unassigned", "Cn" },
    { "Private_Use", "Co" },
    { "Surrogate", "Cs" },
    { "Alpha", "Alphabetic" },
    { "Alphabetic", "Alphabetic" },
    { "Upper", "Uppercase" },
    { "Uppercase", "Uppercase" },
    { "Lower", "Lowercase" },
    { "Lowercase", "Lowercase" },
    { "Digit", "Nd" },
    { "Space", "White_Space" },
    { "White_Space", "White_Space" },
    { "Punct", "P" },
    { "Cntrl", "Cc" },
    { "Any", "Any" },
};

/* Letters without blanks, hyphens and underscores, in lower case. */
static bool same_name(const char *a, size_t n, const char *b)
{
    size_t i = 0;
    for (;; b++) {
        while (i < n && (a[i] == '_' || a[i] == ' ' || a[i] == '-'))
            i++;
        if (*b == '_')
            continue;
        if (!*b)
            return i == n;
        if (i == n || (a[i] | 32) != (*b | 32))
            return false;
        i++;
    }
}

static lm_status property(reader *r, bool negated)
{
    const char *close = memchr(r->s + r->at, '}', r->n - r->at), *name = r->s + r->at + 1;
    size_t n;
    if (r->s[r->at] != '{' || !close) { /* \pL */
        if (r->at >= r->n)
            return bad(r, "\\p without a name");
        lm_str_addf(r->out, "\\%c%c", negated ? 'P' : 'p', r->s[r->at++]);
        return LM_OK;
    }
    n = (size_t)(close - name);
    r->at += n + 2;
    if (n && *name == '^') {
        negated = !negated;
        name++;
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == ' ' || c == '-' || c == '=' || c == ':' || c == '&'))
            return bad(r, "\\p has a strange name");
    }
    for (size_t i = 0; i < LM_LEN(properties); i++)
        if (same_name(name, n, properties[i].name)) {
            lm_str_addf(r->out, "\\%c{%s}", negated ? 'P' : 'p', properties[i].is);
            return LM_OK;
        }
    if (n > 3 && (name[0] | 32) == 'i' && (name[1] | 32) == 's' && name[2] != '_') { /* \p{IsHan} */
        name += 2;
        n -= 2;
    }
    lm_str_addf(r->out, "\\%c{%s%.*s}", negated ? 'P' : 'p',
                n > 2 && !memchr(name, '=', n) && !memchr(name, ':', n) ? "sc:" : "", (int)n, name);
    return LM_OK;
}

/* After a backslash; `in_class` says where. */
static lm_status escape(reader *r, bool in_class)
{
    char c;
    if (r->at >= r->n)
        return bad(r, "it ends in a backslash");
    c = r->s[r->at++];
    switch (c) {
    case 's': lm_str_addf(r->out, in_class ? "%s" : "[%s]", SPACE); return LM_OK;
    case 'w': lm_str_addf(r->out, in_class ? "%s" : "[%s]", WORD); return LM_OK;
    case 'd': lm_str_addz(r->out, "\\p{Nd}"); return LM_OK;
    case 'D': lm_str_addz(r->out, "\\P{Nd}"); return LM_OK;
    case 'S':
        if (in_class)
            lm_str_addz(r->out, "\\P{White_Space}");
        else
            lm_str_addf(r->out, "[^%s]", SPACE);
        return LM_OK;
    case 'W':
        if (in_class)
            return bad(r, "\\W inside a class is not supported");
        lm_str_addf(r->out, "[^%s]", WORD);
        return LM_OK;
    case 'b':
    case 'B':
        if (in_class)
            break;
        lm_str_addf(r->out,
                    c == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                             : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                    WORD, WORD, WORD, WORD);
        return LM_OK;
    case 'h': lm_str_addz(r->out, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]"); return LM_OK;
    case 'H':
        if (in_class)
            return bad(r, "\\H inside a class is not supported");
        lm_str_addz(r->out, "[^0-9a-fA-F]");
        return LM_OK;
    case 'p': return property(r, false);
    case 'P': return property(r, true);
    case 'u':
        if (r->n - r->at < 4)
            return bad(r, "\\u wants four digits");
        for (size_t i = 0; i < 4; i++)
            if (!memchr("0123456789abcdefABCDEF", r->s[r->at + i], 22))
                return bad(r, "\\u wants four digits");
        lm_str_addf(r->out, "\\x{%.4s}", r->s + r->at);
        r->at += 4;
        return LM_OK;
    default: break;
    }
    lm_str_addc(r->out, '\\');
    lm_str_addc(r->out, c);
    return LM_OK;
}

/* [:name:] behind its '['; false: it is none. */
static bool posix_class(reader *r, lm_str *items)
{
    static const struct {
        const char *name, *is;
    } known[] = { { "alpha", "\\p{Alphabetic}" },
                  { "alnum", "\\p{Alphabetic}\\p{Nd}" },
                  { "upper", "\\p{Uppercase}" },
                  { "lower", "\\p{Lowercase}" },
                  { "digit", "\\p{Nd}" },
                  { "punct", "\\p{P}$+<=>^`|~" },
                  { "space", SPACE },
                  { "word", WORD },
                  { "cntrl", "\\p{Cc}" },
                  { "xdigit", "0-9a-fA-F" },
                  { "blank", "\\p{Zs}\\x09" } };
    const char *name = r->s + r->at + 1, *e = memchr(r->s + r->at, ']', r->n - r->at);
    size_t n;
    if (!e || e - name < 2 || e[-1] != ':')
        return false;
    n = (size_t)(e - 1 - name);
    r->at += n + 3;
    for (size_t i = 0; i < LM_LEN(known); i++)
        if (strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0) {
            lm_str_addz(items, known[i].is);
            return true;
        }
    lm_str_addz(items, "[:"); /* as PCRE2 reads it */
    lm_str_add(items, name, n);
    lm_str_addz(items, ":]");
    return true;
}

/* One class, behind its '['.  Written as [items], or when it has parts (nested
 * classes, intersections) as an expression that matches one character. */
static lm_status class_(reader *r, unsigned depth) // NOLINT(misc-no-recursion): depth is limited
{
    /* long: one pass over a class */
    lm_str items = { 0 }, nested = { 0 }, all = { 0 }, *out = r->out;
    bool negated = false, first = true, more = true;
    lm_status st = LM_OK;
    if (depth > MAX_CLASSES)
        return bad(r, "classes are nested deeper than 64");
    if (r->at < r->n && r->s[r->at] == '^') {
        negated = true;
        r->at++;
    }
    while (more) { /* one operand of && a round */
        lm_str_reset(&items);
        lm_str_reset(&nested);
        for (;;) {
            char c;
            if (r->at >= r->n) {
                st = bad(r, "a class does not end");
                goto out;
            }
            c = r->s[r->at++];
            if (c == ']' && !first) {
                more = false;
                break;
            }
            first = false;
            if (c == '&' && r->at < r->n && r->s[r->at] == '&') {
                r->at++;
                break;
            }
            if (c == '[' && r->at < r->n && r->s[r->at] == ':' && posix_class(r, &items))
                continue;
            if (c == '[') {
                r->out = &nested;
                if (nested.n)
                    lm_str_addc(&nested, '|');
                st = class_(r, depth + 1);
                r->out = out;
            } else if (c == '\\') {
                r->out = &items;
                st = escape(r, true);
                r->out = out;
            } else {
                lm_str_addc(&items, c);
            }
            if (st != LM_OK)
                goto out;
        }
        /* `all` collects look-aheads for the operands before the last one. */
        if (items.n && nested.n)
            lm_str_addf(&all, more ? "(?=[%s]|%s)" : "(?:[%s]|%s)", items.s, nested.s);
        else if (items.n)
            lm_str_addf(&all, more ? "(?=[%s])" : "[%s]", items.s);
        else if (nested.n)
            lm_str_addf(&all, more ? "(?=%s)" : "(?:%s)", nested.s);
        else if (!more)
            lm_str_addz(&all, "(?s:.)");
    }
    if (items.failed || nested.failed || all.failed) {
        st = lm_fail(r->err, LM_ERR_NOMEM, "no memory for a pattern");
        goto out;
    }
    if (negated && items.n && !nested.n && all.n == items.n + 2) /* a plain class */
        lm_str_addf(out, "[^%s]", items.s);
    else if (negated)
        lm_str_addf(out, "(?:(?!%s)(?s:.))", lm_str_z(&all));
    else if (all.n == items.n + 2)
        lm_str_addz(out, lm_str_z(&all));
    else
        lm_str_addf(out, "(?:%s)", lm_str_z(&all));
out:
    r->out = out;
    lm_str_clear(&items);
    lm_str_clear(&nested);
    lm_str_clear(&all);
    return st;
}

/* {n}, {n,}, {,m} or {n,m} at p: its length, else 0. */
static size_t interval(const char *p, size_t n)
{
    size_t i = 1, digits = 0;
    if (n < 3 || *p != '{')
        return 0;
    while (i < n && ((p[i] >= '0' && p[i] <= '9') || p[i] == ',')) {
        digits += p[i] != ',';
        i++;
    }
    return digits && i < n && p[i] == '}' ? i + 1 : 0;
}

lm_status lm_tok_regex_translate(lm_str *out, const char *pattern, size_t n, lm_error *err)
{
    /* long: one case a construct */
    reader r = { pattern, n, 0, out, err };
    size_t atom = 0;             /* where in *out the last atom begins */
    size_t open[256], depth = 0; /* where the open groups begin */
    if (n > MAX_PATTERN)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a pattern has %zu bytes, at most %u are allowed", n,
                       MAX_PATTERN);
    while (r.at < r.n) {
        char c = r.s[r.at];
        size_t k, here = out->n, len;
        switch (c) {
        case '\\':
            r.at++;
            LM_TRY(escape(&r, false));
            atom = here;
            break;
        case '[':
            r.at++;
            LM_TRY(class_(&r, 0));
            atom = here;
            break;
        case '(':
            if (depth == LM_LEN(open))
                return bad(&r, "groups are nested deeper than 256");
            open[depth++] = here;
            lm_str_addc(out, c);
            r.at++;
            if (r.at < r.n && r.s[r.at] == '?') { /* flags: Ruby's m is PCRE's s */
                lm_str_addc(out, '?');
                r.at++;
                while (r.at < r.n && memchr("imx-", r.s[r.at], 4)) {
                    lm_str_addc(out, r.s[r.at] == 'm' ? 's' : r.s[r.at]);
                    r.at++;
                }
            } else if (r.at < r.n && r.s[r.at] == '*') {
                return bad(&r, "verbs are not supported");
            }
            break;
        case ')':
            if (depth == 0)
                return bad(&r, "a ) has no (");
            atom = open[--depth];
            lm_str_addc(out, c);
            r.at++;
            break;
        case '{':
            k = interval(r.s + r.at, r.n - r.at);
            if (k == 0) {
                lm_str_addz(out, "\\{");
                atom = here;
                r.at++;
                break;
            }
            if (r.s[r.at + 1] == ',') { /* {,m} */
                lm_str_addz(out, "{0");
                lm_str_add(out, r.s + r.at + 1, k - 1);
            } else {
                lm_str_add(out, r.s + r.at, k);
            }
            r.at += k;
            if (r.at < r.n && r.s[r.at] == '+') { /* not possessive in this syntax */
                lm_str whole = { 0 };
                lm_str_addf(&whole, "(?:%s)+", out->s + atom);
                if (whole.failed || out->failed)
                    return lm_fail(err, LM_ERR_NOMEM, "no memory for a pattern");
                out->n = atom;
                lm_str_add(out, whole.s, whole.n);
                lm_str_clear(&whole);
                r.at++;
            }
            break;
        default:
            if (!memchr("*+?|^$.", c, 7))
                atom = here;
            else if (c == '.')
                atom = here;
            (void)lm_utf8_get(r.s + r.at, r.n - r.at, &len);
            lm_str_add(out, r.s + r.at, len);
            r.at += len;
        }
    }
    return lm_str_status(out, err);
}

/* ---- compile and match ---- */

lm_status lm_tok_regex_add(lm_tok_regex_set *set, const char *pattern, size_t n, const lm_tok_regex **out,
                           lm_error *err)
{
    lm_str text = { 0 };
    lm_tok_regex *re = NULL;
    pcre2_general_context *general = NULL;
    pcre2_compile_context *context = NULL;
    int code = 0;
    PCRE2_SIZE at = 0;
    lm_quoted_buf q;
    lm_status st = lm_tok_regex_translate(&text, pattern, n, err);
    if (st != LM_OK) {
        (void)lm_wrap(err, st, "'%s'", lm_quoted(&q, pattern, n));
        goto out;
    }
    if ((st = LM_NEW(&re, 1, err)) != LM_OK ||
        (st = lm_grow((void **)&set->r, &set->cap, set->n + 1, sizeof *set->r, err)) != LM_OK)
        goto out;
    general = pcre2_general_context_create(take, give, NULL);
    context = general ? pcre2_compile_context_create(general) : NULL;
    if (!context) {
        st = lm_fail(err, LM_ERR_NOMEM, "no memory for a pattern");
        goto out;
    }
    (void)pcre2_set_parens_nest_limit(context, 250);
    (void)pcre2_set_max_pattern_length(context, 16 * MAX_PATTERN);
    re->code =
        pcre2_compile((PCRE2_SPTR)lm_str_z(&text), text.n,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    if (!re->code) {
        char why[120] = "";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = lm_fail(err, LM_ERR_UNSUPPORTED, "the pattern '%s' is refused: %s", lm_quoted(&q, pattern, n),
                     why);
        goto out;
    }
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    set->r[set->n++] = re;
    *out = re;
    re = NULL;
out:
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    lm_free(re);
    lm_str_clear(&text);
    return st;
}

void lm_tok_regex_clear(lm_tok_regex_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        pcre2_code_free(set->r[i]->code);
        lm_free(set->r[i]);
    }
    lm_free(set->r);
    *set = (lm_tok_regex_set){ 0 };
}

static bool prepare(lm_tok_match *m)
{
    pcre2_general_context *general;
    if (m->data)
        return true;
    general = pcre2_general_context_create(take, give, NULL);
    if (general) {
        m->data = pcre2_match_data_create(1, general);
        m->context = pcre2_match_context_create(general);
        m->stack = pcre2_jit_stack_create(32 << 10, 4 << 20, general);
    }
    pcre2_general_context_free(general);
    if (!m->data || !m->context) {
        lm_tok_match_clear(m);
        return false;
    }
    (void)pcre2_set_match_limit(m->context, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(m->context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(m->context, HEAP_LIMIT);
    if (m->stack)
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return true;
}

void lm_tok_match_clear(lm_tok_match *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    *m = (lm_tok_match){ 0 };
}

/* What a limit leaves: a piece of at most HARD_CUT bytes. */
static bool cut(const char *text, size_t n, size_t at, size_t *first, size_t *end)
{
    size_t e = LM_MIN(n, at + HARD_CUT);
    while (e < n && ((unsigned char)text[e] & 0xc0) == 0x80)
        e++;
    *first = at;
    *end = e;
    return true;
}

bool lm_tok_regex_next(const lm_tok_regex *re, lm_tok_match *m, const char *text, size_t n, size_t at,
                       bool empty_ok, size_t *first, size_t *end)
{
    uint32_t options = empty_ok ? 0 : PCRE2_NOTEMPTY_ATSTART;
    PCRE2_SPTR s = (PCRE2_SPTR)text;
    const PCRE2_SIZE *v;
    int rc = PCRE2_ERROR_MATCHLIMIT;
    if (at > n || (at == n && !empty_ok))
        return false;
    if (m->n_failed >= MAX_FAILURES || !prepare(m))
        return at < n && cut(text, n, at, first, end);
    if (re->jit)
        rc = pcre2_jit_match(re->code, s, n, at, options, m->data, m->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return false;
    if (rc < 0) /* the JIT's stack or its limit: once more without it */
        rc =
            pcre2_match(re->code, s, n, at, options | PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return false;
    if (rc < 0) {
        m->n_failed++;
        return at < n && cut(text, n, at, first, end);
    }
    v = pcre2_get_ovector_pointer(m->data);
    if (v[0] > v[1] || v[1] > n || v[0] < at) /* \K in a look-ahead */
        return false;
    *first = v[0];
    *end = v[1];
    return true;
}
