/* text/normalize.c - the normalisers, each from one text into the next. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

typedef enum {
    N_BERT,
    N_STRIP,
    N_STRIP_ACCENTS,
    N_NFC,
    N_NFD,
    N_NFKC,
    N_NFKD,
    N_LOWERCASE,
    N_NMT,
    N_PRECOMPILED,
    N_REPLACE,
    N_PREPEND,
    N_BYTES,
    N_SQUEEZE, /* of GGUF vocabularies: remove_extra_whitespaces */
} kind;

struct lm_norm {
    kind kind;
    bool clean, chinese, accents, lower; /* Bert */
    bool left, right;                    /* Strip */
    const lm_tok_regex *re;              /* Replace */
    char *s;                             /* Replace: what; Prepend: text */
    size_t n;
    char *with;
    size_t n_with;
    const uint8_t *trie; /* Precompiled: units of 4 bytes, then texts */
    size_t n_trie;
    const char *texts;
    size_t n_texts;
};

/* ---- the sink ---- */

void lm_tok_put(lm_tok_sink *s, const char *bytes, size_t n, size_t from)
{
    if (n == 0 || s->failed)
        return;
    if (s->b.n == 0)
        s->lead = from == 0;
    if (s->want) {
        if (lm_grow((void **)&s->from, &s->cap_from, s->b.n + n, sizeof *s->from, NULL) != LM_OK) {
            s->failed = true;
            return;
        }
        for (size_t i = 0; i < n; i++)
            s->from[s->b.n + i] = (uint32_t)from;
    }
    lm_str_add(&s->b, bytes, n);
    s->failed = s->b.failed;
}

void lm_tok_putu(lm_tok_sink *s, uint32_t c, size_t from)
{
    char u[4];
    size_t n = lm_utf8_put(c, u);
    lm_tok_put(s, u, n, from);
}

void lm_tok_sink_clear(lm_tok_sink *s)
{
    lm_str_clear(&s->b);
    lm_free(s->from);
    *s = (lm_tok_sink){ 0 };
}

/* ---- compile ---- */

static lm_status read_bert(lm_norm *s, const json_t *def)
{
    const json_t *accents = json_object_get(def, "strip_accents");
    s->kind = N_BERT;
    s->clean = lm_tok_flag(def, "clean_text", true);
    s->chinese = lm_tok_flag(def, "handle_chinese_chars", true);
    s->lower = lm_tok_flag(def, "lowercase", true);
    s->accents = json_is_boolean(accents) ? json_is_true(accents) : s->lower;
    return LM_OK;
}

static lm_status copy_text(const json_t *def, const char *key, char **out, size_t *n, lm_error *err)
{
    const json_t *v = json_object_get(def, key);
    if (!json_is_string(v))
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' of a %s is not a string", key, lm_tok_type(def));
    *n = json_string_length(v);
    return lm_strdup_n(json_string_value(v), *n, out, err);
}

static lm_status read_replace(lm_norm *s, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    const json_t *pattern = json_object_get(def, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    s->kind = N_REPLACE;
    LM_TRY(copy_text(def, "content", &s->with, &s->n_with, err));
    if (json_is_string(regex))
        return lm_tok_regex_add(regexes, json_string_value(regex), json_string_length(regex), &s->re, err);
    return copy_text(pattern, "String", &s->s, &s->n, err);
}

static lm_status read_precompiled(lm_norm *s, const json_t *def, const uint8_t *maps, size_t n_maps,
                                  lm_error *err)
{
    json_int_t which = json_integer_value(json_object_get(def, "precompiled_charsmap"));
    size_t at = 0;
    uint32_t n = 0, n_units;
    s->kind = N_PRECOMPILED;
    for (json_int_t i = 0;; i++) {
        if (n_maps - at < 4)
            return lm_fail(err, LM_ERR_CORRUPT, "a Precompiled normalizer has no map");
        memcpy(&n, maps + at, 4);
        at += 4;
        if (n > n_maps - at)
            return lm_fail(err, LM_ERR_CORRUPT, "the map of a Precompiled normalizer ends early");
        if (i == which)
            break;
        at += n;
    }
    if (n == 0) /* an empty map changes nothing */
        return LM_OK;
    if (n < 4)
        return lm_fail(err, LM_ERR_CORRUPT, "the precompiled_charsmap has %u bytes, at least 4 are needed",
                       n);
    memcpy(&n_units, maps + at, 4);
    if (n_units > n - 4 || n_units % 4)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "the trie of the precompiled_charsmap has %u bytes, the map has %u", n_units, n);
    s->trie = maps + at + 4;
    s->n_trie = n_units / 4;
    s->texts = (const char *)s->trie + n_units;
    s->n_texts = n - 4 - n_units;
    return LM_OK;
}

static lm_status read_step(lm_norm *s, const json_t *def, const uint8_t *maps, size_t n_maps,
                           lm_tok_regex_set *regexes, lm_error *err)
{
    static const struct {
        const char *name;
        kind kind;
    } plain[] = { { "StripAccents", N_STRIP_ACCENTS },
                  { "NFC", N_NFC },
                  { "NFD", N_NFD },
                  { "NFKC", N_NFKC },
                  { "NFKD", N_NFKD },
                  { "Lowercase", N_LOWERCASE },
                  { "Nmt", N_NMT },
                  { "ByteLevel", N_BYTES },
                  { "LemmaSqueeze", N_SQUEEZE } };
    const char *type = lm_tok_type(def);
    for (size_t i = 0; i < LM_LEN(plain); i++)
        if (strcmp(type, plain[i].name) == 0) {
            s->kind = plain[i].kind;
            return LM_OK;
        }
    if (strcmp(type, "BertNormalizer") == 0)
        return read_bert(s, def);
    if (strcmp(type, "Strip") == 0) {
        s->kind = N_STRIP;
        s->left = lm_tok_flag(def, "strip_left", true);
        s->right = lm_tok_flag(def, "strip_right", true);
        return LM_OK;
    }
    if (strcmp(type, "Precompiled") == 0)
        return read_precompiled(s, def, maps, n_maps, err);
    if (strcmp(type, "Replace") == 0)
        return read_replace(s, def, regexes, err);
    if (strcmp(type, "Prepend") == 0) {
        s->kind = N_PREPEND;
        return copy_text(def, "prepend", &s->s, &s->n, err);
    }
    return lm_tok_refuse(err, "normalizer", type);
}

lm_status lm_norm_compile(lm_norm **out, size_t *n, const json_t *def, const uint8_t *charsmap,
                          size_t n_charsmap, lm_tok_regex_set *regexes, lm_error *err)
{
    lm_tok_steps steps = { .n = 0 };
    *out = NULL;
    *n = 0;
    LM_TRY(lm_tok_flatten(&steps, def, "normalizers", err));
    LM_TRY(LM_NEW(out, steps.n + 1, err));
    *n = steps.n;
    for (size_t i = 0; i < steps.n; i++)
        LM_TRY(read_step(&(*out)[i], steps.step[i], charsmap, n_charsmap, regexes, err));
    return LM_OK;
}

void lm_norm_free(lm_norm *steps, size_t n)
{
    for (size_t i = 0; steps && i < n; i++) {
        lm_free(steps[i].s);
        lm_free(steps[i].with);
    }
    lm_free(steps);
}

/* ---- the steps ---- */

/* Each character through one function: what it becomes, 0 to drop it. */
typedef uint32_t char_map(uint32_t c);
#define DROPPED UINT32_MAX

static void map_chars(const char *p, size_t n, char_map *f, lm_tok_sink *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t c = lm_utf8_get(p + i, n - i, &len), to = f(c);
        if (to == c)
            lm_tok_put(out, p + i, len, i);
        else if (to != DROPPED)
            lm_tok_putu(out, to, i);
    }
}

static uint32_t clean(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return ' ';
    if (c == 0 || c == 0xfffd || lm_uni_other(c))
        return DROPPED;
    return lm_uni_space(c) ? ' ' : c;
}

static uint32_t without_mark(uint32_t c)
{
    return lm_uni_mark(c) ? DROPPED : c;
}

static uint32_t without_nonspacing(uint32_t c)
{
    return lm_uni_mark_nonspacing(c) ? DROPPED : c;
}

static uint32_t nmt(uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return DROPPED;
    if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        return ' ';
    return c;
}

static void lowercase(const char *p, size_t n, lm_tok_sink *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t c = lm_utf8_get(p + i, n - i, &len);
        if (c == 0x130) { /* the only character whose lower case is two */
            lm_tok_put(out, "i\xcc\x87", 3, i);
            continue;
        }
        uint32_t to =
            c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        lm_tok_putu(out, to, i);
    }
}

static void chinese(const char *p, size_t n, lm_tok_sink *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        bool is = lm_uni_chinese(lm_utf8_get(p + i, n - i, &len));
        if (is)
            lm_tok_put(out, " ", 1, i);
        lm_tok_put(out, p + i, len, i);
        if (is)
            lm_tok_put(out, " ", 1, i);
    }
}

/* Canonical order of one run of marks: stable, and never quadratic in its length. */
typedef struct {
    int32_t c;
    uint32_t order;
} mark;

static int class_of(int32_t c)
{
    int k = utf8proc_get_property(c)->combining_class;
    return k && lm_uni_differs(LM_UNI_ORDER, (uint32_t)c) ? 0 : k;
}

static int by_class(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    int d = class_of(x->c) - class_of(y->c);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

static lm_status order_marks(int32_t *c, size_t n, lm_error *err)
{
    mark small[64], *m = small;
    void *heap = NULL;
    if (n > LM_LEN(small)) {
        LM_TRY(lm_new(&heap, n, sizeof *m, err));
        m = heap;
    }
    for (size_t i = 0; i < n; i++)
        m[i] = (mark){ c[i], (uint32_t)i };
    qsort(m, n, sizeof *m, by_class);
    for (size_t i = 0; i < n; i++)
        c[i] = m[i].c;
    lm_free(heap);
    return LM_OK;
}

typedef struct {
    int32_t *c;
    size_t n, cap;
} code_points;

/* A stretch that nothing outside can change: an ASCII character and what follows. */
static lm_status normalise_stretch(const char *p, size_t n, size_t from, bool compat, bool compose,
                                   code_points *buf, lm_tok_sink *out, lm_error *err)
{
    utf8proc_option_t how = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    buf->n = 0;
    for (size_t i = 0, len; i < n; i += len) {
        int32_t c = (int32_t)lm_utf8_get(p + i, n - i, &len);
        int boundary = 0;
        utf8proc_ssize_t k;
        LM_TRY(lm_grow((void **)&buf->c, &buf->cap, buf->n + 32, sizeof *buf->c, err));
        k = utf8proc_decompose_char(c, buf->c + buf->n, 32, how, &boundary);
        if (k <= 0 || k > 32 || (compat && lm_uni_differs(LM_UNI_COMPAT, (uint32_t)c))) {
            buf->c[buf->n] = c;
            k = 1;
        }
        buf->n += (size_t)k;
    }
    for (size_t i = 0, k; i < buf->n; i = k + (k == i)) {
        for (k = i; k < buf->n && class_of(buf->c[k]); k++)
            ;
        if (k - i > 1)
            LM_TRY(order_marks(buf->c + i, k - i, err));
    }
    if (compose) {
        utf8proc_ssize_t k =
            utf8proc_normalize_utf32(buf->c, (utf8proc_ssize_t)buf->n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (k >= 0)
            buf->n = (size_t)k;
    }
    for (size_t i = 0; i < buf->n; i++)
        lm_tok_putu(out, (uint32_t)buf->c[i], from);
    return LM_OK;
}

static lm_status normal_form(const char *p, size_t n, bool compat, bool compose, lm_tok_sink *out,
                             lm_error *err)
{
    code_points buf = { 0 };
    lm_status st = LM_OK;
    /* Below U+0300 nothing composes with its neighbour and NFC changes nothing. */
    bool latin_is_fixed = compose && !compat;
    for (size_t i = 0; i < n && st == LM_OK;) {
        size_t k = i;
        while (k < n && ((unsigned char)p[k] < 0x80 || (latin_is_fixed && (unsigned char)p[k] < 0xcc)))
            k++;
        if (k < n && k > i) { /* the last one may take a mark */
            k--;
            while (k > i && ((unsigned char)p[k] & 0xc0) == 0x80)
                k--;
        }
        if (out->want)
            for (size_t j = i; j < k; j++)
                lm_tok_put(out, p + j, 1, j);
        else
            lm_tok_put(out, p + i, k - i, i);
        if (k < n) {
            size_t e = k + 1;
            while (e < n && (unsigned char)p[e] >= 0x80)
                e++;
            st = normalise_stretch(p + k, e - k, k, compat, compose, &buf, out, err);
            k = e;
        }
        i = k;
    }
    lm_free(buf.c);
    return st;
}

/* ---- Precompiled: a double array of units, as Darts-clone writes it ---- */

static uint32_t unit(const lm_norm *s, size_t i)
{
    uint32_t u;
    memcpy(&u, s->trie + 4 * i, 4);
    return u;
}

static size_t offset_of(uint32_t u)
{
    return (size_t)(u >> 10) << ((u & (1u << 9)) >> 6);
}

/* The text for the shortest key that p[0..n) begins with; NULL: none. */
static const char *precompiled(const lm_norm *s, const char *p, size_t n, size_t *n_out)
{
    size_t at = 0;
    uint32_t u;
    if (s->n_trie == 0)
        return NULL;
    at ^= offset_of(unit(s, 0));
    for (size_t i = 0; i < n && p[i]; i++) {
        at ^= (unsigned char)p[i];
        if (at >= s->n_trie)
            return NULL;
        u = unit(s, at);
        if ((u & (1u << 31 | 0xff)) != (unsigned char)p[i])
            return NULL;
        at ^= offset_of(u);
        if (u >> 8 & 1) {
            size_t value;
            const char *end;
            if (at >= s->n_trie)
                return NULL;
            value = unit(s, at) & 0x7fffffffu;
            if (value >= s->n_texts)
                return NULL;
            end = memchr(s->texts + value, 0, s->n_texts - value);
            *n_out = end ? (size_t)(end - (s->texts + value)) : s->n_texts - value;
            return s->texts + value;
        }
    }
    return NULL;
}

/* Whole grapheme clusters of at most five bytes first, then single characters. */
static void precompiled_run(const lm_norm *s, const char *p, size_t n, lm_tok_sink *out)
{
    for (size_t i = 0, len, k; i < n; i = k) {
        utf8proc_int32_t state = 0;
        uint32_t c = lm_utf8_get(p + i, n - i, &len);
        const char *text;
        size_t n_text;
        for (k = i + len; k < n; k += len) {
            uint32_t d = lm_utf8_get(p + k, n - k, &len);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)d, &state))
                break;
            c = d;
        }
        if (k - i < 6 && (text = precompiled(s, p + i, k - i, &n_text)) != NULL) {
            lm_tok_put(out, text, n_text, i);
            continue;
        }
        for (size_t j = i; j < k; j += len) {
            (void)lm_utf8_get(p + j, k - j, &len);
            if ((text = precompiled(s, p + j, len, &n_text)) != NULL)
                lm_tok_put(out, text, n_text, j);
            else
                lm_tok_put(out, p + j, len, j);
        }
    }
}

static void copy_range(const char *p, size_t first, size_t end, lm_tok_sink *out)
{
    if (!out->want) {
        lm_tok_put(out, p + first, end - first, first);
        return;
    }
    for (size_t i = first; i < end; i++)
        lm_tok_put(out, p + i, 1, i);
}

static void replace(const lm_norm *s, lm_tok_match *m, const char *p, size_t n, lm_tok_sink *out)
{
    size_t at = 0, done = 0, first, end;
    bool empty_ok = true;
    if (!s->re) {
        while (s->n && n - at >= s->n) {
            const char *hit = lm_tok_find_bytes(p + at, n - at, s->s, s->n);
            if (!hit)
                break;
            first = (size_t)(hit - p);
            copy_range(p, at, first, out);
            lm_tok_put(out, s->with, s->n_with, first);
            at = first + s->n;
        }
        copy_range(p, at, n, out);
        return;
    }
    while (n && lm_tok_regex_next(s->re, m, p, n, at, empty_ok, &first, &end)) {
        copy_range(p, done, first, out);
        lm_tok_put(out, s->with, s->n_with, first);
        done = at = end;
        empty_ok = false;
    }
    copy_range(p, done, n, out);
}

static void strip(const lm_norm *s, const char *p, size_t n, lm_tok_sink *out)
{
    size_t first = 0, end = n, len;
    while (s->left && first < end && lm_uni_space(lm_utf8_get(p + first, end - first, &len)))
        first += len;
    while (s->right && end > first) {
        size_t k = end - 1;
        while (k > first && ((unsigned char)p[k] & 0xc0) == 0x80)
            k--;
        if (!lm_uni_space(lm_utf8_get(p + k, end - k, &len)))
            break;
        end = k;
    }
    copy_range(p, first, end, out);
}

/* Runs of spaces become one; those at both ends go. */
static void squeeze(const char *p, size_t n, lm_tok_sink *out)
{
    size_t i = 0;
    while (i < n) {
        size_t k = i;
        while (k < n && p[k] == ' ')
            k++;
        if (k > i && i > 0 && k < n)
            lm_tok_put(out, " ", 1, i);
        i = k;
        while (k < n && p[k] != ' ')
            k++;
        copy_range(p, i, k, out);
        i = k;
    }
}

static lm_status bert(const lm_norm *s, lm_tok_run *r, const char *p, size_t n, lm_tok_sink *out)
{
    lm_tok_sink a = { .want = out->want }, b = { .want = out->want }, *from = &a, *to = &b, *swap;
    lm_status st = LM_OK;
    copy_range(p, 0, n, &a);
#define PASS(call)                                                                                           \
    do {                                                                                                     \
        const char *q = lm_str_z(&from->b);                                                                  \
        size_t m = from->b.n;                                                                                \
        to->b.n = 0;                                                                                         \
        call;                                                                                                \
        if (to->b.n)                                                                                         \
            to->lead = to->lead && from->lead;                                                               \
        for (size_t i = 0; to->want && !to->failed && i < to->b.n; i++)                                      \
            to->from[i] = from->from[to->from[i]];                                                           \
        swap = from, from = to, to = swap;                                                                   \
    } while (0)
    if (s->clean)
        PASS(map_chars(q, m, clean, to));
    if (s->chinese)
        PASS(chinese(q, m, to));
    if (s->accents) {
        PASS(st = normal_form(q, m, false, false, to, r->err));
        PASS(map_chars(q, m, without_nonspacing, to));
    }
    if (s->lower)
        PASS(lowercase(q, m, to));
#undef PASS
    for (size_t i = 0; i < from->b.n; i++)
        if (out->want)
            lm_tok_put(out, from->b.s + i, 1, from->from[i]);
    if (!out->want)
        lm_tok_put(out, lm_str_z(&from->b), from->b.n, from->lead ? 0 : 1);
    out->failed |= a.failed || b.failed;
    lm_tok_sink_clear(&a);
    lm_tok_sink_clear(&b);
    return st;
}

static lm_status run_step(const lm_norm *s, lm_tok_run *r, const char *p, size_t n, lm_tok_sink *out)
{
    switch (s->kind) {
    case N_BERT: return bert(s, r, p, n, out);
    case N_STRIP: strip(s, p, n, out); break;
    case N_STRIP_ACCENTS: map_chars(p, n, without_mark, out); break;
    case N_NFC: return normal_form(p, n, false, true, out, r->err);
    case N_NFD: return normal_form(p, n, false, false, out, r->err);
    case N_NFKC: return normal_form(p, n, true, true, out, r->err);
    case N_NFKD: return normal_form(p, n, true, false, out, r->err);
    case N_LOWERCASE: lowercase(p, n, out); break;
    case N_NMT: map_chars(p, n, nmt, out); break;
    case N_PRECOMPILED: precompiled_run(s, p, n, out); break;
    case N_REPLACE: replace(s, &r->match, p, n, out); break;
    case N_PREPEND:
        if (n)
            lm_tok_put(out, s->s, s->n, 0);
        copy_range(p, 0, n, out);
        break;
    case N_BYTES:
        for (size_t i = 0; i < n; i++)
            lm_tok_putu(out, lm_byte_char((uint8_t)p[i]), i);
        break;
    case N_SQUEEZE: squeeze(p, n, out); break;
    }
    return LM_OK;
}

lm_status lm_norm_run(lm_tok_run *r, const char *text, size_t n, bool want_from, int *which)
{
    const lm_tokenizer *t = r->t;
    int at = 0;
    r->norm[0].b.n = 0;
    r->norm[0].want = want_from;
    r->norm[0].lead = true;
    copy_range(text, 0, n, &r->norm[0]);
    for (size_t i = 0; i < t->n_norm; i++) {
        lm_tok_sink *from = &r->norm[at], *to = &r->norm[!at];
        to->b.n = 0;
        to->want = want_from;
        to->lead = true;
        to->b.max = 64 * n + 4096; /* a Replace must not make a giant of a text */
        LM_TRY(run_step(&t->norm[i], r, lm_str_z(&from->b), from->b.n, to));
        to->lead = to->lead && from->lead;
        if (to->failed || from->failed || to->b.n > LM_TOK_MAX_TEXT)
            return lm_fail(r->err, LM_ERR_NOMEM, "a text of %zu bytes has more than %zu once normalised", n,
                           LM_MIN(to->b.max, (size_t)LM_TOK_MAX_TEXT));
        for (size_t k = 0; want_from && k < to->b.n; k++)
            to->from[k] = from->from[to->from[k]];
        at = !at;
    }
    if (r->norm[at].failed)
        return lm_fail(r->err, LM_ERR_NOMEM, "no memory for the normalised text");
    *which = at;
    return LM_OK;
}
