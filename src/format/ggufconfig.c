/* format/ggufconfig.c - GGUF metadata as a JSON object. */
#include "format/ggufconfig.h"

#include <string.h>

#include "base/fail.h"
#include "format/limits.h"

enum { MAX_VOCABULARY = 64 };

/* NULL: not to be shown. */
static json_t *number(const lm_gguf_value *array, uint64_t i)
{
    int64_t whole;
    double real;
    if (array->item == LM_GGUF_BOOL)
        return lm_gguf_item_i64(array, i, &whole) ? json_boolean(whole != 0) : NULL;
    if (lm_gguf_item_i64(array, i, &whole))
        return json_integer(whole);
    return lm_gguf_item_f64(array, i, &real) ? json_real(real) : NULL; /* NULL for NaN and infinity */
}

static json_t *array_of(const lm_gguf_value *v)
{
    lm_gguf_walk w = lm_gguf_strings(v);
    json_t *a = json_array();
    const char *s;
    size_t n;
    for (uint64_t i = 0; a && i < v->n; i++) {
        json_t *x = NULL;
        if (v->item != LM_GGUF_STRING)
            x = number(v, i);
        else if (lm_gguf_next(&w, &s, &n))
            x = json_stringn(s, n);
        if (!x || json_array_append_new(a, x) != 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

/* A vocabulary is no configuration: its arrays, which have readers of their own
 * (text/vocab_gguf.c), would be most of the time that opening a pack takes. */
static bool is_vocabulary(const lm_gguf_value *v)
{
    static const char prefix[] = "tokenizer.";
    return v->n > MAX_VOCABULARY && v->n_key >= sizeof prefix - 1 &&
           memcmp(v->key, prefix, sizeof prefix - 1) == 0;
}

static json_t *value_of(const lm_gguf_value *v, uint64_t *budget)
{
    if (v->type == LM_GGUF_STRING)
        return json_stringn((const char *)v->data, (size_t)v->n);
    if (v->type != LM_GGUF_ARRAY) {
        lm_gguf_value one = { .type = LM_GGUF_ARRAY, .item = v->type, .n = 1, .data = v->data };
        return number(&one, 0);
    }
    if (v->item == LM_GGUF_ARRAY || is_vocabulary(v) || v->n > LM_LIMIT_CONFIG_ITEMS || v->n > *budget)
        return NULL;
    *budget -= v->n;
    return array_of(v);
}

lm_status lm_gguf_config(const lm_gguf *g, json_t **out, lm_error *err)
{
    uint64_t budget = LM_LIMIT_CONFIG_TOTAL;
    json_t *config = json_object();
    if (!config)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the metadata");
    for (size_t i = 0; i < lm_gguf_n_values(g) && i < LM_LIMIT_CONFIG_KEYS; i++) {
        const lm_gguf_value *v = lm_gguf_value_at(g, i);
        json_t *x = value_of(v, &budget);
        if (x && json_object_setn_new(config, v->key, v->n_key, x) != 0) {
            json_decref(config);
            return lm_fail(err, LM_ERR_NOMEM, "no memory for the metadata");
        }
    }
    *out = config;
    return LM_OK;
}
