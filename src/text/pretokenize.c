/* text/pretokenize.c - cuts a normalised text into the pieces that models see.
 *
 * A step cuts every piece of the step before.  Most only set borders in one text;
 * Metaspace and ByteLevel write a new text. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

typedef enum {
    P_BERT,
    P_BYTES,
    P_CHAR,
    P_DIGITS,
    P_FIXED,
    P_METASPACE,
    P_PUNCTUATION,
    P_SPLIT,
    P_SCRIPTS,
    P_WHITESPACE,
    P_WHITESPACE_SPLIT,
} kind;

typedef enum { REMOVED, ISOLATED, CONTIGUOUS, WITH_PREVIOUS, WITH_NEXT } behaviour;
typedef enum { NEVER, FIRST, ALWAYS } scheme;

struct lm_pre {
    kind kind;
    behaviour how;
    bool invert, prefix_space, use_regex, individual, split;
    scheme prepend;
    const lm_tok_regex *re;
    char *s; /* Split: string; Metaspace and CharDelimiterSplit: the character */
    size_t n;
    size_t length; /* FixedLength */
};

static const char BYTE_LEVEL[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- compile ---- */

static lm_status read_behaviour(lm_pre *s, const json_t *def, behaviour otherwise, lm_error *err)
{
    static const char *const names[] = { "Removed", "Isolated", "Contiguous", "MergedWithPrevious",
                                         "MergedWithNext" };
    const char *name = json_string_value(json_object_get(def, "behavior"));
    lm_quoted_buf q;
    s->how = otherwise;
    if (!name)
        return LM_OK;
    for (size_t i = 0; i < LM_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            s->how = (behaviour)i;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_UNSUPPORTED, "the behavior of a %s is '%s'", lm_tok_type(def),
                   lm_quoted_z(&q, name));
}

static lm_status read_char(lm_pre *s, const json_t *def, const char *key, const char *otherwise,
                           lm_error *err)
{
    const json_t *v = json_object_get(def, key);
    const char *c = json_is_string(v) ? json_string_value(v) : otherwise;
    size_t len = 0;
    if (!c || !*c || (lm_utf8_get(c, strlen(c), &len), c[len]))
        return lm_fail(err, LM_ERR_CORRUPT, "the '%s' of a %s is not one character", key, lm_tok_type(def));
    s->n = len;
    return lm_strdup_n(c, len, &s->s, err);
}

static lm_status read_metaspace(lm_pre *s, const json_t *def, lm_error *err)
{
    const char *prepend = json_string_value(json_object_get(def, "prepend_scheme"));
    lm_quoted_buf q;
    s->kind = P_METASPACE;
    s->split = lm_tok_flag(def, "split", true);
    if (!prepend)
        s->prepend = lm_tok_flag(def, "add_prefix_space", true) ? ALWAYS : NEVER;
    else if (strcmp(prepend, "always") == 0)
        s->prepend = ALWAYS;
    else if (strcmp(prepend, "first") == 0)
        s->prepend = FIRST;
    else if (strcmp(prepend, "never") == 0)
        s->prepend = NEVER;
    else
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the prepend_scheme of a Metaspace is '%s'",
                       lm_quoted_z(&q, prepend));
    return read_char(s, def, "replacement", "\xe2\x96\x81", err);
}

static lm_status read_split(lm_pre *s, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    const json_t *pattern = json_object_get(def, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *text = json_object_get(pattern, "String");
    s->kind = P_SPLIT;
    s->invert = lm_tok_flag(def, "invert", false);
    LM_TRY(read_behaviour(s, def, ISOLATED, err));
    if (json_is_string(regex))
        return lm_tok_regex_add(regexes, json_string_value(regex), json_string_length(regex), &s->re, err);
    if (!json_is_string(text))
        return lm_fail(err, LM_ERR_CORRUPT, "a Split has no pattern");
    s->n = json_string_length(text);
    return lm_strdup_n(json_string_value(text), s->n, &s->s, err);
}

static lm_status read_step(lm_pre *s, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    /* long: one case a type */
    const char *type = lm_tok_type(def);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        s->kind = P_BERT;
    } else if (strcmp(type, "ByteLevel") == 0) {
        s->kind = P_BYTES;
        s->prefix_space = lm_tok_flag(def, "add_prefix_space", true);
        s->use_regex = lm_tok_flag(def, "use_regex", true);
        s->how = ISOLATED;
        if (s->use_regex)
            return lm_tok_regex_add(regexes, BYTE_LEVEL, sizeof BYTE_LEVEL - 1, &s->re, err);
    } else if (strcmp(type, "CharDelimiterSplit") == 0) {
        s->kind = P_CHAR;
        return read_char(s, def, "delimiter", NULL, err);
    } else if (strcmp(type, "Digits") == 0) {
        s->kind = P_DIGITS;
        s->individual = lm_tok_flag(def, "individual_digits", false);
    } else if (strcmp(type, "FixedLength") == 0) {
        json_int_t n = json_integer_value(json_object_get(def, "length"));
        s->kind = P_FIXED;
        if (!json_object_get(def, "length"))
            n = 5;
        if (n < 1)
            return lm_fail(err, LM_ERR_CORRUPT, "the length of a FixedLength is %lld, at least 1 is needed",
                           (long long)n);
        s->length = (size_t)n;
    } else if (strcmp(type, "Metaspace") == 0) {
        return read_metaspace(s, def, err);
    } else if (strcmp(type, "Punctuation") == 0) {
        s->kind = P_PUNCTUATION;
        return read_behaviour(s, def, ISOLATED, err);
    } else if (strcmp(type, "Split") == 0) {
        return read_split(s, def, regexes, err);
    } else if (strcmp(type, "UnicodeScripts") == 0) {
        s->kind = P_SCRIPTS;
    } else if (strcmp(type, "Whitespace") == 0) {
        s->kind = P_WHITESPACE;
    } else if (strcmp(type, "WhitespaceSplit") == 0) {
        s->kind = P_WHITESPACE_SPLIT;
    } else {
        return lm_tok_refuse(err, "pre_tokenizer", type);
    }
    return LM_OK;
}

lm_status lm_pre_compile(lm_pre **out, size_t *n, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    lm_tok_steps steps = { .n = 0 };
    *out = NULL;
    *n = 0;
    LM_TRY(lm_tok_flatten(&steps, def, "pretokenizers", err));
    LM_TRY(LM_NEW(out, steps.n + 1, err));
    *n = steps.n;
    for (size_t i = 0; i < steps.n; i++)
        LM_TRY(read_step(&(*out)[i], steps.step[i], regexes, err));
    return LM_OK;
}

void lm_pre_free(lm_pre *steps, size_t n)
{
    for (size_t i = 0; steps && i < n; i++)
        lm_free(steps[i].s);
    lm_free(steps);
}

bool lm_pre_is_bytes(const lm_pre *steps, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (steps[i].kind == P_BYTES)
            return false;
    return n > 0 && steps[n - 1].kind == P_BYTES;
}

/* ---- borders ---- */

typedef struct {
    lm_tok_run *r;
    const char *text;
    const lm_pre *s;
    lm_tok_pieces *out;
    uint32_t first, end; /* the piece being cut */
    bool lead;
    /* the part not written yet: what follows may still belong to it */
    bool have, last_match;
    uint32_t held_first, held_end;
    lm_status st;
} cutter;

static void emit(cutter *c, uint32_t first, uint32_t end)
{
    if (first >= end || c->st != LM_OK)
        return;
    if (c->out->n == c->out->cap)
        c->st = lm_grow((void **)&c->out->p, &c->out->cap, c->out->n + 1, sizeof *c->out->p, c->r->err);
    if (c->st != LM_OK)
        return;
    if (c->out->n == 0)
        c->out->lead = c->lead && first == c->first;
    c->out->p[c->out->n++] = (lm_tok_piece){ first, end };
}

static void flush(cutter *c)
{
    if (c->have)
        emit(c, c->held_first, c->held_end);
    c->have = false;
}

/* Stretches come in order, matches and the gaps between them, never empty gaps. */
static void stretch(cutter *c, uint32_t first, uint32_t end, bool match)
{
    bool join = false;
    match ^= c->s->invert;
    switch (c->s->how) {
    case ISOLATED: emit(c, first, end); return;
    case REMOVED:
        if (!match)
            emit(c, first, end);
        return;
    case CONTIGUOUS: join = c->have && match == c->last_match; break;
    case WITH_PREVIOUS: join = c->have && match && !c->last_match; break;
    case WITH_NEXT: /* read from the end: a match joins what follows unless that is a match */
        join = c->have && c->last_match && !match;
        break;
    }
    if (!join) {
        flush(c);
        c->held_first = first;
    }
    c->held_end = end;
    c->have = true;
    c->last_match = match;
}

typedef bool char_test(uint32_t c);

static void by_char(cutter *c, char_test *test)
{
    uint32_t at = c->first, gap = at;
    while (at < c->end) {
        size_t len;
        bool hit = test(lm_utf8_get(c->text + at, c->end - at, &len));
        if (hit) {
            if (gap < at)
                stretch(c, gap, at, false);
            stretch(c, at, at + (uint32_t)len, true);
            gap = at + (uint32_t)len;
        }
        at += (uint32_t)len;
    }
    if (gap < at)
        stretch(c, gap, at, false);
    flush(c);
}

static void by_regex(cutter *c)
{
    const char *p = c->text + c->first;
    size_t n = c->end - c->first, at = 0, done = 0, first, end;
    bool empty_ok = true;
    while (lm_tok_regex_next(c->s->re, &c->r->match, p, n, at, empty_ok, &first, &end)) {
        if (first > done)
            stretch(c, c->first + (uint32_t)done, c->first + (uint32_t)first, false);
        stretch(c, c->first + (uint32_t)first, c->first + (uint32_t)end, true);
        done = at = end;
        empty_ok = false;
        if (c->st != LM_OK)
            return;
    }
    if (done < n)
        stretch(c, c->first + (uint32_t)done, c->end, false);
    flush(c);
}

static void by_text(cutter *c, const char *what, size_t n_what)
{
    uint32_t at = c->first;
    while (n_what && at < c->end) {
        const char *hit = lm_tok_find_bytes(c->text + at, c->end - at, what, n_what);
        uint32_t first;
        if (!hit)
            break;
        first = (uint32_t)(hit - c->text);
        if (first > at)
            stretch(c, at, first, false);
        at = first + (uint32_t)n_what;
        stretch(c, first, at, true);
    }
    if (at < c->end)
        stretch(c, at, c->end, false);
    flush(c);
}

static void by_length(cutter *c)
{
    uint32_t at = c->first;
    while (at < c->end) {
        uint32_t first = at;
        size_t len;
        for (size_t k = 0; k < c->s->length && at < c->end; k++) {
            (void)lm_utf8_get(c->text + at, c->end - at, &len);
            at += (uint32_t)len;
        }
        emit(c, first, at);
    }
}

/* Runs of word characters and runs of what is neither word nor space. */
static void by_words(cutter *c)
{
    uint32_t at = c->first;
    while (at < c->end) {
        uint32_t first = at;
        int class = -1; /* 0: space, 1: word, 2: other */
        while (at < c->end) {
            size_t len;
            uint32_t ch = lm_utf8_get(c->text + at, c->end - at, &len);
            int k = lm_uni_space(ch) ? 0 : lm_uni_word(ch) ? 1 : 2;
            if (class >= 0 && k != class)
                break;
            class = k;
            at += (uint32_t)len;
        }
        if (class > 0)
            emit(c, first, at);
    }
}

/* The reference cuts where a script begins that differs from the last one, and
 * what stands before the first such border is lost; both are kept as they are. */
static void by_script(cutter *c)
{
    int last = -1;
    uint32_t border = 0, at = c->first;
    bool have = false;
    while (at < c->end) {
        size_t len;
        int script = lm_uni_script(lm_utf8_get(c->text + at, c->end - at, &len));
        if (script != 0 && last != 0 && script != last) {
            if (have)
                emit(c, border, at);
            border = at;
            have = true;
        }
        if (script != 0)
            last = script;
        at += (uint32_t)len;
    }
    if (have)
        emit(c, border, c->end);
}

/* ---- steps that write a new text ---- */

static lm_status rewrite(lm_tok_run *r, const lm_pre *s, const char *text, const lm_tok_pieces *in,
                         lm_tok_pieces *out, lm_str *to)
{
    out->n = 0;
    out->lead = in->lead;
    to->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        const char *p = text + in->p[i].first;
        size_t n = in->p[i].end - in->p[i].first, at = to->n;
        if (s->kind == P_METASPACE) {
            bool begins = (n >= s->n && memcmp(p, s->s, s->n) == 0) || p[0] == ' ';
            if (!begins && (s->prepend == ALWAYS || (s->prepend == FIRST && i == 0 && in->lead)))
                lm_str_add(to, s->s, s->n);
            for (size_t k = 0; k < n;) {
                const char *space = memchr(p + k, ' ', n - k);
                size_t e = space ? (size_t)(space - p) : n;
                lm_str_add(to, p + k, e - k);
                if (space)
                    lm_str_add(to, s->s, s->n);
                k = e + (space != NULL);
            }
        } else {
            if (s->prefix_space && p[0] != ' ')
                lm_str_addc(to, ' ');
            lm_str_add(to, p, n);
        }
        if (to->failed || to->n > LM_TOK_MAX_TEXT)
            return lm_fail(r->err, LM_ERR_NOMEM, "no memory for the pieces of a text");
        LM_TRY(lm_grow((void **)&out->p, &out->cap, i + 1, sizeof *out->p, r->err));
        out->p[out->n++] = (lm_tok_piece){ (uint32_t)at, (uint32_t)to->n };
    }
    return LM_OK;
}

static lm_status map_bytes(lm_tok_run *r, const char *text, const lm_tok_pieces *in, lm_tok_pieces *out,
                           lm_str *to)
{
    out->n = 0;
    out->lead = in->lead;
    to->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        size_t at = to->n;
        for (uint32_t k = in->p[i].first; k < in->p[i].end; k++)
            lm_str_addu(to, lm_byte_char((uint8_t)text[k]));
        if (to->failed || to->n > LM_TOK_MAX_TEXT)
            return lm_fail(r->err, LM_ERR_NOMEM, "no memory for the pieces of a text");
        LM_TRY(lm_grow((void **)&out->p, &out->cap, i + 1, sizeof *out->p, r->err));
        out->p[out->n++] = (lm_tok_piece){ (uint32_t)at, (uint32_t)to->n };
    }
    return LM_OK;
}

static lm_status cut(lm_tok_run *r, const lm_pre *s, const char *text, const lm_tok_pieces *in,
                     lm_tok_pieces *out)
{
    cutter c = { .r = r, .text = text, .s = s, .out = out, .st = LM_OK };
    out->n = 0;
    out->lead = false;
    for (size_t i = 0; i < in->n && c.st == LM_OK; i++) {
        c.first = in->p[i].first;
        c.end = in->p[i].end;
        c.lead = in->lead && i == 0;
        switch (s->kind) {
        case P_CHAR:
        case P_METASPACE: by_text(&c, s->s, s->n); break;
        case P_DIGITS: by_char(&c, lm_uni_numeric); break;
        case P_FIXED: by_length(&c); break;
        case P_PUNCTUATION: by_char(&c, lm_uni_punctuation); break;
        case P_SCRIPTS: by_script(&c); break;
        case P_BERT:
        case P_WHITESPACE_SPLIT: by_char(&c, lm_uni_space); break;
        case P_WHITESPACE: by_words(&c); break;
        case P_SPLIT:
        case P_BYTES:
            if (s->re)
                by_regex(&c);
            else
                by_text(&c, s->s, s->n);
            break;
        }
    }
    return c.st;
}

typedef struct {
    lm_tok_run *r;
    const char *text;
    size_t n;
    int pieces, str; /* which of the run's two is current; str -1: the caller's text */
} state;

static lm_status cut_step(state *a, const lm_pre *s)
{
    LM_TRY(cut(a->r, s, a->text, &a->r->pieces[a->pieces], &a->r->pieces[!a->pieces]));
    a->pieces = !a->pieces;
    return LM_OK;
}

static lm_status write_step(state *a, const lm_pre *s, bool bytes)
{
    int to = a->str == 0 ? 1 : 0;
    lm_tok_pieces *in = &a->r->pieces[a->pieces], *out = &a->r->pieces[!a->pieces];
    LM_TRY(bytes ? map_bytes(a->r, a->text, in, out, &a->r->text[to])
                 : rewrite(a->r, s, a->text, in, out, &a->r->text[to]));
    a->str = to;
    a->text = lm_str_z(&a->r->text[to]);
    a->n = a->r->text[to].n;
    a->pieces = !a->pieces;
    return LM_OK;
}

static lm_status run_step(state *a, const lm_pre *s, bool last)
{
    lm_pre plain = *s;
    switch (s->kind) {
    case P_METASPACE:
        LM_TRY(write_step(a, s, false));
        plain.how = WITH_NEXT;
        return s->split ? cut_step(a, &plain) : LM_OK;
    case P_BYTES:
        if (s->prefix_space)
            LM_TRY(write_step(a, s, false));
        if (s->use_regex)
            LM_TRY(cut_step(a, s));
        return last && a->r->t->bytes_last ? LM_OK : write_step(a, s, true);
    case P_BERT:
        plain.how = REMOVED;
        LM_TRY(cut_step(a, &plain));
        plain.kind = P_PUNCTUATION;
        plain.how = ISOLATED;
        return cut_step(a, &plain);
    case P_DIGITS: plain.how = s->individual ? ISOLATED : CONTIGUOUS; return cut_step(a, &plain);
    case P_CHAR:
    case P_WHITESPACE_SPLIT: plain.how = REMOVED; return cut_step(a, &plain);
    default: return cut_step(a, s);
    }
}

lm_status lm_pre_run(lm_tok_run *r, const char **text, size_t *n, bool lead, lm_tok_pieces **pieces)
{
    const lm_tokenizer *t = r->t;
    state a = { .r = r, .text = *text, .n = *n, .str = -1 };
    lm_tok_pieces *p = &r->pieces[0];
    p->n = 0;
    LM_TRY(lm_grow((void **)&p->p, &p->cap, 1, sizeof *p->p, r->err));
    if (*n)
        p->p[p->n++] = (lm_tok_piece){ 0, (uint32_t)*n };
    p->lead = lead;
    for (size_t i = 0; i < t->n_pre; i++)
        LM_TRY(run_step(&a, &t->pre[i], i + 1 == t->n_pre));
    *text = a.text;
    *n = a.n;
    *pieces = &r->pieces[a.pieces];
    return LM_OK;
}
