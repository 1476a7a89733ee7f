/* format/ggufread.c - typed reads of GGUF metadata, where it lies. */
#include <string.h>

#include "base/checked.h"
#include "format/gguf.h"

static bool read_i64(lm_gguf_type type, const uint8_t *p, int64_t *out)
{
    uint64_t u;
    switch (type) {
    case LM_GGUF_U8:
    case LM_GGUF_BOOL: *out = p[0]; return true;
    case LM_GGUF_I8: *out = (int8_t)p[0]; return true;
    case LM_GGUF_U16: *out = lm_u16le(p); return true;
    case LM_GGUF_I16: *out = (int16_t)lm_u16le(p); return true;
    case LM_GGUF_U32: *out = lm_u32le(p); return true;
    case LM_GGUF_I32: *out = (int32_t)lm_u32le(p); return true;
    case LM_GGUF_U64:
        u = lm_u64le(p);
        if (u > INT64_MAX)
            return false;
        *out = (int64_t)u;
        return true;
    case LM_GGUF_I64: *out = (int64_t)lm_u64le(p); return true;
    default: return false;
    }
}

static bool read_f64(lm_gguf_type type, const uint8_t *p, double *out)
{
    int64_t i;
    if (type == LM_GGUF_F32) {
        *out = (double)lm_f32le(p);
        return true;
    }
    if (type == LM_GGUF_F64) {
        memcpy(out, p, sizeof *out);
        return true;
    }
    if (type == LM_GGUF_U64) {
        *out = (double)lm_u64le(p);
        return true;
    }
    if (!read_i64(type, p, &i))
        return false;
    *out = (double)i;
    return true;
}

bool lm_gguf_i64(const lm_gguf *g, const char *key, int64_t *out)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    return v && v->type != LM_GGUF_BOOL && read_i64(v->type, v->data, out);
}

bool lm_gguf_u64(const lm_gguf *g, const char *key, uint64_t *out)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    int64_t i;
    if (v && v->type == LM_GGUF_U64) {
        *out = lm_u64le(v->data);
        return true;
    }
    if (!v || v->type == LM_GGUF_BOOL || !read_i64(v->type, v->data, &i) || i < 0)
        return false;
    *out = (uint64_t)i;
    return true;
}

bool lm_gguf_f64(const lm_gguf *g, const char *key, double *out)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    return v && v->type != LM_GGUF_BOOL && read_f64(v->type, v->data, out);
}

bool lm_gguf_bool(const lm_gguf *g, const char *key, bool *out)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    if (!v || v->type != LM_GGUF_BOOL)
        return false;
    *out = v->data[0] != 0;
    return true;
}

bool lm_gguf_str(const lm_gguf *g, const char *key, const char **s, size_t *n)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    if (!v || v->type != LM_GGUF_STRING)
        return false;
    *s = (const char *)v->data;
    *n = (size_t)v->n;
    return true;
}

const lm_gguf_value *lm_gguf_array(const lm_gguf *g, const char *key, lm_gguf_type item)
{
    const lm_gguf_value *v = lm_gguf_find(g, key);
    return v && v->type == LM_GGUF_ARRAY && v->item == item ? v : NULL;
}

static const uint8_t *item_at(const lm_gguf_value *array, uint64_t i)
{
    static const uint8_t bytes[LM_GGUF_TYPES] = {
        [LM_GGUF_U8] = 1,  [LM_GGUF_I8] = 1,  [LM_GGUF_U16] = 2, [LM_GGUF_I16] = 2,
        [LM_GGUF_U32] = 4, [LM_GGUF_I32] = 4, [LM_GGUF_F32] = 4, [LM_GGUF_BOOL] = 1,
        [LM_GGUF_U64] = 8, [LM_GGUF_I64] = 8, [LM_GGUF_F64] = 8,
    };
    if (!array || array->type != LM_GGUF_ARRAY || i >= array->n || !bytes[array->item])
        return NULL;
    return array->data + i * bytes[array->item];
}

bool lm_gguf_item_i64(const lm_gguf_value *array, uint64_t i, int64_t *out)
{
    const uint8_t *p = item_at(array, i);
    return p && read_i64(array->item, p, out);
}

bool lm_gguf_item_f64(const lm_gguf_value *array, uint64_t i, double *out)
{
    const uint8_t *p = item_at(array, i);
    return p && read_f64(array->item, p, out);
}

lm_gguf_walk lm_gguf_strings(const lm_gguf_value *array)
{
    if (!array || array->type != LM_GGUF_ARRAY || array->item != LM_GGUF_STRING)
        return (lm_gguf_walk){ 0 };
    return (lm_gguf_walk){ .at = array->data, .left = array->n };
}

bool lm_gguf_next(lm_gguf_walk *w, const char **s, size_t *n)
{
    if (!w->left)
        return false;
    *n = (size_t)lm_u64le(w->at);
    *s = (const char *)w->at + 8;
    w->at += 8 + *n;
    w->left--;
    return true;
}
