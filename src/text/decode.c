/* text/decode.c - ids back into text, in pieces.
 *
 * Every decoder is a filter over a stream of tokens: it is given one token, or a
 * part of one, and passes on what is certain.  decode() is the stream pushed from
 * the first id to the last, so streaming and whole agree by construction.
 *
 * Some decoders fuse tokens (ByteLevel, Fuse): what they pass on is one token that
 * ends with the stream.  Filters behind them that need a whole token gather it;
 * Strip and Fuse do not need to. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok.h"

typedef enum { D_BYTES, D_FALLBACK, D_CTC, D_FUSE, D_METASPACE, D_REPLACE, D_STRIP, D_WORDPIECE, D_BPE } kind;

struct lm_dec {
    kind kind;
    bool cleanup, never;
    char *s,
        *with; /* Strip and Metaspace: the character; WordPiece: prefix; BPE: suffix; CTC: pad, delimiter */
    size_t n, n_with, start, stop;
    const lm_tok_regex *re;
};

/* ---- compile ---- */

static lm_status text_of(const json_t *def, const char *key, const char *otherwise, char **out, size_t *n,
                         lm_error *err)
{
    const json_t *v = json_object_get(def, key);
    if (!json_is_string(v) && !otherwise)
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' of the decoder is not a string", key);
    *n = json_is_string(v) ? json_string_length(v) : strlen(otherwise);
    return lm_strdup_n(json_is_string(v) ? json_string_value(v) : otherwise, *n, out, err);
}

static lm_status read_step(lm_dec *s, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    /* long: one case a type */
    const char *type = lm_tok_type(def);
    if (strcmp(type, "ByteLevel") == 0) {
        s->kind = D_BYTES;
    } else if (strcmp(type, "ByteFallback") == 0) {
        s->kind = D_FALLBACK;
    } else if (strcmp(type, "Fuse") == 0) {
        s->kind = D_FUSE;
    } else if (strcmp(type, "CTC") == 0) {
        s->kind = D_CTC;
        s->cleanup = lm_tok_flag(def, "cleanup", true);
        LM_TRY(text_of(def, "pad_token", "<pad>", &s->s, &s->n, err));
        return text_of(def, "word_delimiter_token", "|", &s->with, &s->n_with, err);
    } else if (strcmp(type, "Metaspace") == 0) {
        const char *scheme = json_string_value(json_object_get(def, "prepend_scheme"));
        s->kind = D_METASPACE;
        s->never = scheme ? strcmp(scheme, "never") == 0 : !lm_tok_flag(def, "add_prefix_space", true);
        return text_of(def, "replacement", "\xe2\x96\x81", &s->s, &s->n, err);
    } else if (strcmp(type, "Replace") == 0) {
        const json_t *pattern = json_object_get(def, "pattern"), *re = json_object_get(pattern, "Regex");
        s->kind = D_REPLACE;
        LM_TRY(text_of(def, "content", NULL, &s->with, &s->n_with, err));
        if (json_is_string(re))
            return lm_tok_regex_add(regexes, json_string_value(re), json_string_length(re), &s->re, err);
        return text_of(pattern, "String", NULL, &s->s, &s->n, err);
    } else if (strcmp(type, "Strip") == 0) {
        json_int_t start = json_integer_value(json_object_get(def, "start"));
        json_int_t stop = json_integer_value(json_object_get(def, "stop"));
        s->kind = D_STRIP;
        if (start < 0 || stop < 0 || start > 65536 || stop > 65536)
            return lm_fail(err, LM_ERR_CORRUPT,
                           "a Strip takes %lld and %lld characters, allowed are 0 to 65536", (long long)start,
                           (long long)stop);
        s->start = (size_t)start;
        s->stop = (size_t)stop;
        return text_of(def, "content", " ", &s->s, &s->n, err);
    } else if (strcmp(type, "WordPiece") == 0) {
        s->kind = D_WORDPIECE;
        s->cleanup = lm_tok_flag(def, "cleanup", true);
        return text_of(def, "prefix", "##", &s->s, &s->n, err);
    } else if (strcmp(type, "BPEDecoder") == 0) {
        s->kind = D_BPE;
        return text_of(def, "suffix", "</w>", &s->s, &s->n, err);
    } else {
        return lm_tok_refuse(err, "decoder", type);
    }
    return LM_OK;
}

lm_status lm_dec_compile(lm_dec **out, size_t *n, const json_t *def, lm_tok_regex_set *regexes, lm_error *err)
{
    lm_tok_steps steps = { .n = 0 };
    *out = NULL;
    *n = 0;
    LM_TRY(lm_tok_flatten(&steps, def, "decoders", err));
    LM_TRY(LM_NEW(out, steps.n + 1, err));
    *n = steps.n;
    for (size_t i = 0; i < steps.n; i++)
        LM_TRY(read_step(&(*out)[i], steps.step[i], regexes, err));
    return LM_OK;
}

void lm_dec_free(lm_dec *steps, size_t n)
{
    for (size_t i = 0; steps && i < n; i++) {
        lm_free(steps[i].s);
        lm_free(steps[i].with);
    }
    lm_free(steps);
}

/* ---- the stream ---- */

enum { PIECE = 256 }; /* bytes of a token that need no more memory than a stream has */

typedef struct {
    lm_str held;              /* bytes that wait */
    lm_str text, bytes, copy; /* what a token becomes here; kept for the next (M2) */
    size_t i;                 /* tokens seen */
    size_t n_cut;             /* Strip: characters taken from the start of this token */
    bool cutting;             /* Strip: still at the start */
    bool open;                /* a token was begun downstream and not ended */
    bool any;                 /* CTC: held is the last token */
} memory;

struct lm_detok {
    const lm_tokenizer *t;
    bool skip_special;
    lm_tok_match match;
    memory *m; /* one a step */
    lm_str *out;
    lm_str utf8; /* bytes that are not a character yet */
    size_t n_tokens;
    bool bad; /* out of memory somewhere on the way */
};

/* A part of a token: the first, the last, or both. */
typedef struct {
    const char *s;
    size_t n;
    bool begin, end;
} part;

/* Whole characters go out; ill-formed parts as U+FFFD, each once. */
static void write_utf8(lm_str *out, lm_str *held, const char *s, size_t n, bool last)
{
    size_t keep;
    if (held->n) {
        lm_str_add(held, s, n);
        s = lm_str_z(held);
        n = held->n;
    }
    keep = last ? 0 : lm_utf8_unfinished(s, n);
    for (size_t i = 0, len, run = 0; i <= n - keep; i += len) {
        bool end = i == n - keep;
        len = 1;
        if (end || lm_utf8_get(s + i, n - keep - i, &len) == LM_UTF8_BAD) {
            lm_str_add(out, s + run, i - run);
            if (end)
                break;
            len = lm_utf8_bad_part(s + i, n - keep - i);
            lm_str_add(out, "\xef\xbf\xbd", 3);
            run = i + len;
        }
    }
    if (held->n) {
        memmove(held->s, held->s + n - keep, keep);
        held->n = keep;
    } else {
        lm_str_add(held, s + n - keep, keep);
    }
}

static lm_str *again(lm_str *s)
{
    lm_str_reset(s);
    return s;
}

static void feed(lm_detok *d, size_t i, part p);

static void pass(lm_detok *d, size_t i, const char *s, size_t n)
{
    feed(d, i + 1, (part){ s, n, true, true });
}

static void byte_level(lm_detok *d, size_t i, part p)
{
    memory *m = &d->m[i];
    lm_str *bytes = again(&m->bytes), *text = again(&m->text);
    bool all = true;
    for (size_t k = 0, len; k < p.n && all; k += len) {
        int b = lm_char_byte(lm_utf8_get(p.s + k, p.n - k, &len));
        all = b >= 0;
        if (all)
            lm_str_addc(bytes, (char)b);
    }
    if (!all) { /* a token outside the byte alphabet stands for itself */
        lm_str_reset(bytes);
        lm_str_add(bytes, p.s, p.n);
    }
    write_utf8(text, &m->held, lm_str_z(bytes), bytes->n, false);
    d->bad |= bytes->failed || text->failed;
    if (text->n) {
        feed(d, i + 1, (part){ text->s, text->n, !m->open, false });
        m->open = true;
    }
}

static int hex_byte(const char *s, size_t n)
{
    int v = 0;
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = s[i];
        int x = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (x < 0)
            return -1;
        v = v * 16 + x;
    }
    return v;
}

/* A run of bytes is a text, or so many U+FFFD: known when the run has ended. */
static void end_run(lm_detok *d, size_t i)
{
    memory *m = &d->m[i];
    size_t n = m->held.n;
    if (n == 0)
        return;
    if (lm_utf8_valid(m->held.s, n)) {
        pass(d, i, m->held.s, n);
    } else {
        for (size_t k = 0; k < n; k++)
            pass(d, i, "\xef\xbf\xbd", 3);
    }
    m->held.n = 0;
}

static void metaspace(lm_detok *d, size_t i, part p)
{
    const lm_dec *s = &d->t->dec[i];
    lm_str *out = again(&d->m[i].text);
    bool drop = d->m[i].i == 0 && !s->never;
    for (size_t k = 0; k < p.n;) {
        if (s->n && p.n - k >= s->n && memcmp(p.s + k, s->s, s->n) == 0) {
            if (!drop)
                lm_str_addc(out, ' ');
            k += s->n;
        } else {
            lm_str_addc(out, p.s[k++]);
        }
    }
    d->bad |= out->failed;
    feed(d, i + 1, (part){ lm_str_z(out), out->n, p.begin, p.end });
}

static void replace_all(lm_str *out, const char *p, size_t n, const char *what, size_t n_what,
                        const char *with, size_t n_with)
{
    size_t at = 0;
    const char *hit;
    while (n_what && (hit = lm_tok_find_bytes(p + at, n - at, what, n_what)) != NULL) {
        lm_str_add(out, p + at, (size_t)(hit - p) - at);
        lm_str_add(out, with, n_with);
        at = (size_t)(hit - p) + n_what;
    }
    lm_str_add(out, p + at, n - at);
}

static void replace(lm_detok *d, size_t i, part p)
{
    const lm_dec *s = &d->t->dec[i];
    lm_str *out = again(&d->m[i].text);
    if (s->re) {
        size_t done = 0, at = 0, first, end;
        bool empty_ok = true;
        while (p.n && lm_tok_regex_next(s->re, &d->match, p.s, p.n, at, empty_ok, &first, &end)) {
            lm_str_add(out, p.s + done, first - done);
            lm_str_add(out, s->with, s->n_with);
            done = at = end;
            empty_ok = false;
        }
        lm_str_add(out, p.s + done, p.n - done);
    } else {
        replace_all(out, p.s, p.n, s->s, s->n, s->with, s->n_with);
    }
    d->bad |= out->failed;
    pass(d, i, lm_str_z(out), out->n);
}

/* The contractions that BERT's decoder closes up, in its order. */
static void cleanup(lm_str *text)
{
    static const char *const rules[][2] = {
        { " .", "." },   { " ?", "?" },     { " !", "!" },     { " ,", "," },
        { " ' ", "'" },  { " n't", "n't" }, { " 'm", "'m" },   { " do not", " don't" },
        { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
    };
    for (size_t i = 0; i < LM_LEN(rules); i++) {
        lm_str next = { 0 };
        if (!lm_tok_find_bytes(lm_str_z(text), text->n, rules[i][0], strlen(rules[i][0])))
            continue;
        replace_all(&next, lm_str_z(text), text->n, rules[i][0], strlen(rules[i][0]), rules[i][1],
                    strlen(rules[i][1]));
        lm_str_clear(text);
        *text = next;
    }
}

static void wordpiece(lm_detok *d, size_t i, part p)
{
    const lm_dec *s = &d->t->dec[i];
    lm_str *out = again(&d->m[i].text);
    if (d->m[i].i != 0) {
        if (p.n >= s->n && memcmp(p.s, s->s, s->n) == 0) {
            p.s += s->n;
            p.n -= s->n;
        } else {
            lm_str_addc(out, ' ');
        }
    }
    lm_str_add(out, p.s, p.n);
    if (s->cleanup)
        cleanup(out);
    d->bad |= out->failed;
    pass(d, i, lm_str_z(out), out->n);
}

static void bpe_out(lm_detok *d, size_t i, bool last)
{
    const lm_dec *s = &d->t->dec[i];
    lm_str *out = again(&d->m[i].text);
    replace_all(out, lm_str_z(&d->m[i].held), d->m[i].held.n, s->s, s->n, " ", last ? 0 : 1);
    d->bad |= out->failed;
    pass(d, i, lm_str_z(out), out->n);
}

static void ctc(lm_detok *d, size_t i, part p)
{
    const lm_dec *s = &d->t->dec[i];
    memory *m = &d->m[i];
    lm_str out = { 0 }, next = { 0 };
    if (m->any && m->held.n == p.n && memcmp(lm_str_z(&m->held), p.s, p.n) == 0)
        return;
    m->any = true;
    m->held.n = 0;
    lm_str_add(&m->held, p.s, p.n);
    replace_all(&out, p.s, p.n, s->s, s->n, "", 0);
    if (s->cleanup) {
        cleanup(&out);
        replace_all(&next, lm_str_z(&out), out.n, s->with, s->n_with, " ", 1);
        lm_str_clear(&out);
        out = next;
    }
    d->bad |= out.failed || m->held.failed;
    if (out.n)
        pass(d, i, lm_str_z(&out), out.n);
    lm_str_clear(&out);
}

/* The last `stop` characters of a token wait while they may be the ones to go. */
static void strip(lm_detok *d, size_t i, part p)
{
    const lm_dec *s = &d->t->dec[i];
    memory *m = &d->m[i];
    size_t keep = 0;
    if (p.begin) {
        m->held.n = 0;
        m->n_cut = 0;
        m->cutting = true;
    }
    while (m->cutting && p.n) {
        if (m->n_cut < s->start && p.n >= s->n && s->n && memcmp(p.s, s->s, s->n) == 0) {
            p.s += s->n;
            p.n -= s->n;
            m->n_cut++;
        } else {
            m->cutting = false;
        }
    }
    lm_str_add(&m->held, p.s, p.n);
    d->bad |= m->held.failed;
    while (s->n && keep < s->stop && m->held.n >= (keep + 1) * s->n &&
           memcmp(m->held.s + m->held.n - (keep + 1) * s->n, s->s, s->n) == 0)
        keep++;
    keep *= s->n;
    if (m->held.n > keep || p.begin || p.end)
        feed(d, i + 1, (part){ lm_str_z(&m->held), m->held.n - keep, p.begin, p.end });
    if (p.end) {
        m->held.n = 0;
    } else if (keep) {
        memmove(m->held.s, m->held.s + m->held.n - keep, keep);
        m->held.n = keep;
    } else {
        m->held.n = 0;
    }
}

static void whole(lm_detok *d, size_t i, part p)
{
    memory *m = &d->m[i];
    int b;
    switch (d->t->dec[i].kind) {
    case D_BYTES: byte_level(d, i, p); break;
    case D_FALLBACK:
        b = hex_byte(p.s, p.n);
        if (b >= 0) {
            lm_str_addc(&m->held, (char)b);
            d->bad |= m->held.failed;
        } else {
            end_run(d, i);
            pass(d, i, p.s, p.n);
        }
        break;
    case D_CTC: ctc(d, i, p); break;
    case D_REPLACE: replace(d, i, p); break;
    case D_WORDPIECE: wordpiece(d, i, p); break;
    case D_BPE:
        if (m->any)
            bpe_out(d, i, false);
        m->any = true;
        m->held.n = 0;
        lm_str_add(&m->held, p.s, p.n);
        d->bad |= m->held.failed;
        break;
    default: break;
    }
    m->i++;
}

/* Step i takes a part; the step after the last writes. */
static void feed(lm_detok *d, size_t i, part p) // NOLINT(misc-no-recursion): one level a step
{
    memory *m;
    if (i == d->t->n_dec) {
        write_utf8(d->out, &d->utf8, p.s, p.n, false);
        return;
    }
    m = &d->m[i];
    switch (d->t->dec[i].kind) {
    case D_FUSE:
        if (p.n || !m->open)
            feed(d, i + 1, (part){ p.s, p.n, !m->open, false });
        m->open = true;
        return;
    case D_METASPACE:
        metaspace(d, i, p);
        m->i += p.end;
        return;
    case D_STRIP: strip(d, i, p); return;
    default: break;
    }
    if (p.begin && p.end) {
        whole(d, i, p);
        return;
    }
    /* a token in parts: gathered behind what the step itself holds */
    lm_str_add(&d->utf8, "", 0);
    if (p.begin)
        m->n_cut = m->held.n;
    lm_str_add(&m->held, p.s, p.n);
    d->bad |= m->held.failed;
    if (p.end) {
        lm_str *copy = again(&m->copy);
        lm_str_add(copy, lm_str_z(&m->held) + m->n_cut, m->held.n - m->n_cut);
        if (copy->failed) {
            d->bad = true;
            return;
        }
        m->held.n = m->n_cut;
        whole(d, i, (part){ lm_str_z(copy), copy->n, true, true });
    }
}

/* The stream has ended: each step in turn passes on what it held. */
static void finish(lm_detok *d, size_t i)
{
    memory *m = &d->m[i];
    lm_str *text = again(&m->text);
    switch (d->t->dec[i].kind) {
    case D_BYTES:
        write_utf8(text, &m->held, "", 0, true);
        d->bad |= text->failed;
        feed(d, i + 1, (part){ lm_str_z(text), text->n, !m->open, true });
        break;
    case D_FUSE: feed(d, i + 1, (part){ "", 0, !m->open, true }); break;
    case D_FALLBACK: end_run(d, i); break;
    case D_BPE:
        if (m->any)
            bpe_out(d, i, true);
        break;
    default: break;
    }
    m->open = false;
}

lm_status lm_detok_open(lm_detok **out, const lm_tokenizer *t, bool skip_special, lm_error *err)
{
    lm_detok *d = NULL;
    lm_status st;
    *out = NULL;
    LM_TRY(LM_NEW(&d, 1, err));
    d->t = t;
    d->skip_special = skip_special;
    st = LM_NEW(&d->m, t->n_dec + 1, err);
    if (st != LM_OK) {
        lm_free(d);
        return st;
    }
    lm_str_reserve(&d->utf8, PIECE);
    d->bad |= d->utf8.failed;
    for (size_t i = 0; i < t->n_dec; i++) {
        lm_str *const all[] = { &d->m[i].held, &d->m[i].text, &d->m[i].bytes, &d->m[i].copy };
        for (size_t k = 0; k < LM_LEN(all); k++) {
            lm_str_reserve(all[k], PIECE);
            d->bad |= all[k]->failed;
        }
    }
    if (d->bad) {
        lm_detok_close(d);
        return lm_fail(err, LM_ERR_NOMEM, "no memory to decode tokens");
    }
    *out = d;
    return LM_OK;
}

lm_status lm_detok_push(lm_detok *d, int32_t id, lm_str *out, lm_error *err)
{
    const lm_tokenizer *t = d->t;
    size_t n;
    const char *s = id < 0 ? NULL : lm_tok_decode_text(t, (uint32_t)id, &n);
    if (id < 0 || (uint32_t)id >= t->h->n_vocab)
        return lm_fail(err, LM_ERR_USAGE, "the token id %d is outside the vocabulary, allowed are 0 to %u",
                       id, t->h->n_vocab - 1);
    if (!s || (d->skip_special && (t->kind[id] & LM_TK_SPECIAL)))
        return LM_OK;
    d->out = out;
    if (t->no_decoder && d->n_tokens)
        write_utf8(out, &d->utf8, " ", 1, false);
    d->n_tokens++;
    feed(d, 0, (part){ s, n, true, true });
    return d->bad ? lm_fail(err, LM_ERR_NOMEM, "no memory to decode a token") : lm_str_status(out, err);
}

lm_status lm_detok_finish(lm_detok *d, lm_str *out, lm_error *err)
{
    d->out = out;
    if (d->n_tokens)
        for (size_t i = 0; i < d->t->n_dec; i++)
            finish(d, i);
    write_utf8(out, &d->utf8, "", 0, true);
    return d->bad ? lm_fail(err, LM_ERR_NOMEM, "no memory to decode a token") : lm_str_status(out, err);
}

void lm_detok_close(lm_detok *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->t->n_dec; i++) {
        lm_str_clear(&d->m[i].held);
        lm_str_clear(&d->m[i].text);
        lm_str_clear(&d->m[i].bytes);
        lm_str_clear(&d->m[i].copy);
    }
    lm_str_clear(&d->utf8);
    lm_tok_match_clear(&d->match);
    lm_free(d->m);
    lm_free(d);
}

lm_status lm_tokenizer_decode(const lm_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                              lm_str *out, lm_error *err)
{
    lm_detok *d = NULL;
    lm_status st = lm_detok_open(&d, t, skip_special, err);
    for (size_t i = 0; i < n && st == LM_OK; i++)
        st = lm_detok_push(d, ids[i], out, err);
    if (st == LM_OK)
        st = lm_detok_finish(d, out, err);
    lm_detok_close(d);
    return st;
}
