/* format/safetensors.c - names, shapes and ranges of one .safetensors file. */
#include "format/safetensors.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
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

lm_status lm_safetensors_parse(const uint8_t *bytes, uint64_t size, const lm_map *map, lm_tensors *out,
                               lm_error *err)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_HEADER_BYTES,
                                    .max_depth = LM_LIMIT_HEADER_DEPTH,
                                    .unique_keys = true };
    json_t *header = NULL, *v;
    const char *key;
    size_t first = out->n;
    lm_status status = LM_OK;

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
    LM_TRY(lm_json_parse(&header, (const char *)bytes + 8, (size_t)n, "the header", &limits, err));
    if (!json_is_object(header))
        status = lm_fail(err, LM_ERR_CORRUPT, "the header is no JSON object");
    else
        json_object_foreach(header, key, v)
        {
            if (strcmp(key, "__metadata__") == 0)
                continue;
            status = read_entry(key, v, bytes, size, 8 + n, map, out, err);
            if (status != LM_OK)
                break;
        }
    json_decref(header);
    return status == LM_OK ? lm_tensors_apart(out, first, err) : status;
}
