/* format/safetensors.c - names, shapes and ranges of one .safetensors file. */
#include "format/safetensors.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/str.h"
#include "format/json.h"
#include "format/limits.h"

/* The floating-point types that are number formats of ours; the others keep
 * their name and their bytes. */
static const struct {
    const char *name;
    uint8_t bits;
    bool is_float;
    lm_quant_kind kind;
} dtypes[] = {
    { "F32", 32, true, LM_Q_F32 },         { "F16", 16, true, LM_Q_F16 },
    { "BF16", 16, true, LM_Q_BF16 },       { "F64", 64, true, LM_Q_F64 },
    { "BOOL", 8, false, LM_Q_F32 },        { "U8", 8, false, LM_Q_F32 },
    { "I8", 8, false, LM_Q_F32 },          { "U16", 16, false, LM_Q_F32 },
    { "I16", 16, false, LM_Q_F32 },        { "U32", 32, false, LM_Q_F32 },
    { "I32", 32, false, LM_Q_F32 },        { "U64", 64, false, LM_Q_F32 },
    { "I64", 64, false, LM_Q_F32 },        { "C64", 64, false, LM_Q_F32 },
    { "F8_E4M3", 8, false, LM_Q_F32 },     { "F8_E5M2", 8, false, LM_Q_F32 },
    { "F8_E8M0", 8, false, LM_Q_F32 },     { "F8_E4M3FNUZ", 8, false, LM_Q_F32 },
    { "F8_E5M2FNUZ", 8, false, LM_Q_F32 }, { "F4", 4, false, LM_Q_F32 },
    { "F6_E2M3", 6, false, LM_Q_F32 },     { "F6_E3M2", 6, false, LM_Q_F32 },
};

static lm_status read_dtype(const json_t *v, const char *name, lm_tensor_decl *d, lm_error *err)
{
    const char *s = json_string_value(v);
    char upper[16] = "";
    lm_quoted_buf q;
    if (!s)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has no dtype", name);
    for (size_t i = 0; s[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)s[i]);
    for (size_t i = 0; i < LM_LEN(dtypes); i++)
        if (strlen(s) < sizeof upper && strcmp(dtypes[i].name, upper) == 0) {
            d->dtype = dtypes[i].name;
            d->bits = dtypes[i].bits;
            d->quant = dtypes[i].is_float ? lm_quant_of(dtypes[i].kind) : NULL;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_UNSUPPORTED, "tensor '%s' has the dtype '%s', which this version cannot read",
                   name, lm_quoted_z(&q, s));
}

static lm_status read_shape(const json_t *v, const char *name, lm_tensor_decl *d, lm_error *err)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has no shape", name);
    if (n > LM_MAX_DIMS)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' claims %zu dimensions, allowed are 0 to %d", name, n,
                       LM_MAX_DIMS);
    d->n_dims = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0)
            return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has a dimension that is not a count", name);
        d->dims[i] = (uint64_t)json_integer_value(x);
    }
    return LM_OK;
}

static lm_status read_range(const json_t *v, const char *name, uint64_t *from, uint64_t *to, lm_error *err)
{
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0 ||
        json_integer_value(b) < 0)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has no two data_offsets", name);
    *from = (uint64_t)json_integer_value(a);
    *to = (uint64_t)json_integer_value(b);
    if (*from > *to)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tensor '%s' ends at byte %" PRIu64 ", before its start at %" PRIu64, name, *to,
                       *from);
    return LM_OK;
}

static lm_status read_entry(const char *key, const json_t *v, const uint8_t *bytes, uint64_t size,
                            uint64_t data_at, const lm_map *map, lm_tensors *out, lm_error *err)
{
    lm_tensor_decl d = { 0 };
    lm_tensor t;
    lm_quoted_buf q;
    uint64_t from = 0, to = 0;

    LM_TRY(lm_tensors_name(out, key, strlen(key), &d.name, err));
    lm_quoted_z(&q, d.name);
    if (!json_is_object(v))
        return lm_fail(err, LM_ERR_CORRUPT, "the entry of tensor '%s' is no object", q.s);
    LM_TRY(read_dtype(json_object_get(v, "dtype"), q.s, &d, err));
    LM_TRY(read_shape(json_object_get(v, "shape"), q.s, &d, err));
    LM_TRY(read_range(json_object_get(v, "data_offsets"), q.s, &from, &to, err));
    if (lm_add_overflows(data_at, from, &d.at))
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' starts beyond any file", q.s);
    LM_TRY(lm_place_tensor(bytes, size, &d, &t, err));
    if (t.n_bytes[0] != to - from)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "tensor '%s' has %" PRIu64
                       " bytes by its data_offsets, its shape and dtype need %" PRIu64,
                       q.s, to - from, t.n_bytes[0]);
    t.map = map;
    return lm_tensors_add(out, &t, err);
}

/* The header is cut into its entries, and each is parsed by itself: a header of
 * 30 MiB that is nonsense costs no more than its first bad entry. */
typedef struct {
    const char *s;
    size_t n, at;
} text;

static void skip_blanks(text *t)
{
    while (t->at < t->n && strchr(" \t\r\n", t->s[t->at]) && t->s[t->at])
        t->at++;
}

static bool take(text *t, char c)
{
    skip_blanks(t);
    if (t->at >= t->n || t->s[t->at] != c)
        return false;
    t->at++;
    return true;
}

/* Steps over a string whose quote is next; false: it never ends. */
static bool skip_string(text *t)
{
    for (t->at++; t->at < t->n && t->s[t->at] != '"'; t->at++)
        if (t->s[t->at] == '\\')
            t->at++;
    return t->at++ < t->n;
}

/* Steps over whatever stands up to the comma or brace that ends an entry. */
static bool skip_value(text *t)
{
    for (size_t depth = 0; t->at < t->n;) {
        char c = t->s[t->at];
        if (c == '"') {
            if (!skip_string(t))
                return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}'))
            return true;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        t->at++;
    }
    return false;
}

static lm_status cut_off(const text *t, lm_error *err)
{
    return lm_fail_at(err, LM_ERR_CORRUPT, 8 + t->at,
                      "the header is no JSON object: it breaks off at byte %zu", 8 + LM_MIN(t->at, t->n));
}

/* The entry at bytes from to to of the header, whatever it is. */
static lm_status parse_entry(const text *t, size_t from, size_t to, const uint8_t *bytes, uint64_t size,
                             const lm_map *map, lm_tensors *out, lm_error *err)
{
    static const char notes[] = "\"__metadata__\"";
    bool is_notes = to - from > sizeof notes && memcmp(t->s + from, notes, sizeof notes - 1) == 0;
    const lm_json_limits limits = { .max_bytes = is_notes ? LM_LIMIT_HEADER_NOTES : LM_LIMIT_HEADER_ENTRY,
                                    .max_depth = LM_LIMIT_HEADER_DEPTH,
                                    .unique_keys = true };
    lm_str one = { 0 };
    json_t *o = NULL;
    char what[48];

    (void)snprintf(what, sizeof what, "the header's entry at byte %zu", from + 8);
    if (to - from > limits.max_bytes - 2)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %zu bytes, allowed are %zu", what, to - from,
                       limits.max_bytes);
    lm_str_addc(&one, '{');
    lm_str_add(&one, t->s + from, to - from);
    lm_str_addc(&one, '}');
    lm_status status = lm_str_status(&one, err);
    if (status == LM_OK)
        status = lm_json_parse(&o, one.s, one.n, what, &limits, err);
    lm_str_clear(&one);
    if (status == LM_OK && !is_notes) {
        void *it = json_object_iter(o);
        status = it ? read_entry(json_object_iter_key(it), json_object_iter_value(it), bytes, size, 8 + t->n,
                                 map, out, err)
                    : cut_off(t, err);
    }
    json_decref(o);
    return status;
}

static lm_status parse_header(text *t, const uint8_t *bytes, uint64_t size, const lm_map *map,
                              lm_tensors *out, lm_error *err)
{
    if (!take(t, '{'))
        return cut_off(t, err);
    if (!take(t, '}')) {
        do {
            skip_blanks(t);
            size_t from = t->at;
            if (t->at >= t->n || t->s[t->at] != '"' || !skip_value(t))
                return cut_off(t, err);
            LM_TRY(parse_entry(t, from, t->at, bytes, size, map, out, err));
        } while (take(t, ','));
        if (!take(t, '}'))
            return cut_off(t, err);
    }
    skip_blanks(t); /* writers pad with spaces */
    if (t->at < t->n)
        return lm_fail_at(err, LM_ERR_CORRUPT, 8 + t->at, "the header goes on after its end at byte %zu",
                          8 + t->at);
    return LM_OK;
}

lm_status lm_safetensors_parse(const uint8_t *bytes, uint64_t size, const lm_map *map, lm_tensors *out,
                               lm_error *err)
{
    size_t first = out->n;

    if (size < 8)
        return lm_fail(err, LM_ERR_TRUNCATED, "the file has %" PRIu64 " bytes, a header takes more than 8",
                       size);
    uint64_t n = lm_u64le(bytes);
    if (n > LM_LIMIT_HEADER_BYTES)
        return lm_fail_at(err, LM_ERR_CORRUPT, 0, "the header claims %" PRIu64 " bytes, allowed are %d", n,
                          LM_LIMIT_HEADER_BYTES);
    if (n > size - 8) {
        lm_hint(err, "the file is incomplete: fetch it again");
        return lm_fail_at(err, LM_ERR_TRUNCATED, 0,
                          "the header claims %" PRIu64 " bytes, the file has %" PRIu64, n, size);
    }
    text t = { .s = (const char *)bytes + 8, .n = (size_t)n };
    LM_TRY(parse_header(&t, bytes, size, map, out, err));
    return lm_tensors_apart(out, first, err);
}
