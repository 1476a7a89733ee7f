/* format/json.c - limits around jansson. */
#include "format/json.h"

#include <string.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/limits.h"

const char *lm_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Where the scan stands, and what it found. */
typedef struct {
    const char *s;
    size_t n, at;
    size_t n_values;
    unsigned depth, deepest;
    size_t deepest_at;
    lm_str *fixed; /* NULL while only counting */
    size_t copied; /* bytes of s that `fixed` has already */
    size_t n_fixes;
} scan;

static void replace(scan *z, size_t from, size_t to, const char *by)
{
    z->n_fixes++;
    if (!z->fixed)
        return;
    lm_str_add(z->fixed, z->s + z->copied, from - z->copied);
    lm_str_addz(z->fixed, by);
    z->copied = to;
}

static void skip_string(scan *z)
{
    for (z->at++; z->at < z->n && z->s[z->at] != '"'; z->at++)
        if (z->s[z->at] == '\\')
            z->at++;
    z->at++;
}

static bool word_at(const scan *z, size_t at, const char *word)
{
    size_t len = strlen(word);
    return at + len <= z->n && memcmp(z->s + at, word, len) == 0;
}

/* A number, or Python's NaN, Infinity and -Infinity. */
static void skip_number(scan *z)
{
    size_t from = z->at, digits = from + (z->s[from] == '-');
    bool whole = true;
    const char *word = word_at(z, digits, "Infinity") ? "Infinity" : "NaN";
    if (word_at(z, digits, word)) {
        z->at = digits + strlen(word);
        replace(z, from, z->at, "null");
        return;
    }
    for (z->at = digits; z->at < z->n; z->at++) {
        char c = z->s[z->at];
        if (c >= '0' && c <= '9')
            continue;
        if (c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-')
            break;
        whole = false;
    }
    /* 2^63 - 1 has 19 digits; one that is larger would be refused by jansson,
     * and tokenizer_config.json is fond of int(1e30). */
    size_t len = z->at - digits;
    if (whole && (len > 19 || (len == 19 && memcmp(z->s + digits, "9223372036854775807", 19) > 0)))
        replace(z, z->at, z->at, ".0");
    if (z->at == from)
        z->at++;
}

static void run_scan(scan *z)
{
    while (z->at < z->n) {
        char c = z->s[z->at];
        if (c == '"') {
            skip_string(z);
            continue;
        }
        if (c == '-' || (c >= '0' && c <= '9') || c == 'N' || c == 'I') {
            skip_number(z);
            continue;
        }
        if (c == '{' || c == '[') {
            z->n_values++;
            if (++z->depth > z->deepest) {
                z->deepest = z->depth;
                z->deepest_at = z->at;
            }
        } else if (c == '}' || c == ']') {
            z->depth -= z->depth > 0;
        } else if (c == ',') {
            z->n_values++;
        }
        z->at++;
    }
    if (z->fixed)
        lm_str_add(z->fixed, z->s + z->copied, z->n - z->copied);
}

static const char *reason(enum json_error_code code)
{
    switch (code) {
    case json_error_premature_end_of_input: return "the text ends too early";
    case json_error_end_of_input_expected: return "something follows the end";
    case json_error_invalid_utf8: return "the text is not UTF-8";
    case json_error_duplicate_key: return "a key stands twice";
    case json_error_numeric_overflow: return "a number is too large";
    case json_error_null_character:
    case json_error_null_byte_in_key: return "a string holds a zero byte";
    default: return "this is not JSON";
    }
}

lm_status lm_json_parse(json_t **out, const char *text, size_t n, const char *what,
                        const lm_json_limits *limits, lm_error *err)
{
    unsigned max_depth = limits->max_depth ? limits->max_depth : LM_LIMIT_JSON_DEPTH;
    scan z = { .s = text, .n = n };
    lm_str fixed = { 0 };
    lm_quoted_buf q;
    json_error_t why;
    json_t *root;

    lm_quoted_z(&q, what);
    if (n > limits->max_bytes)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %zu bytes, allowed are %zu", q.s, n, limits->max_bytes);
    run_scan(&z);
    if (z.deepest > max_depth)
        return lm_fail_at(err, LM_ERR_CORRUPT, z.deepest_at, "%s is nested %u deep, allowed are %u", q.s,
                          z.deepest, max_depth);
    if (limits->max_values && z.n_values > limits->max_values)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %zu values, allowed are %zu", q.s, z.n_values,
                       limits->max_values);
    if (z.n_fixes) {
        z = (scan){ .s = text, .n = n, .fixed = &fixed };
        run_scan(&z);
        if (lm_str_status(&fixed, err) != LM_OK) {
            lm_str_clear(&fixed);
            return LM_ERR_NOMEM;
        }
        text = fixed.s;
        n = fixed.n;
    }
    size_t flags =
        (limits->unique_keys ? JSON_REJECT_DUPLICATES : 0u) | (limits->allow_nul ? JSON_ALLOW_NUL : 0u);
    root = json_loadb(text, n, flags, &why);
    lm_str_clear(&fixed);
    if (!root) {
        enum json_error_code code = json_error_code(&why);
        if (code == json_error_out_of_memory)
            return lm_fail(err, LM_ERR_NOMEM, "no memory for the %zu bytes of %s", n, q.s);
        return lm_fail_at(err, code == json_error_premature_end_of_input ? LM_ERR_TRUNCATED : LM_ERR_CORRUPT,
                          why.position > 0 ? (uint64_t)why.position : 0, "%s, line %d, column %d: %s", q.s,
                          why.line, why.column, reason(code));
    }
    *out = root;
    return LM_OK;
}

lm_status lm_json_read(json_t **out, const char *path, const lm_json_limits *limits, lm_error *err)
{
    char *text = NULL;
    size_t n = 0;
    LM_TRY(lm_read_file(path, limits->max_bytes, &text, &n, err));
    lm_status status = lm_json_parse(out, text, n, lm_base_name(path), limits, err);
    lm_free(text);
    return status;
}
