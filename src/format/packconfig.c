/* format/packconfig.c - conflicts between config.json and what can be computed. */
#include "format/packconfig.h"

#include <string.h>

#include "base/fail.h"

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    default: return "null";
    }
}

lm_status lm_pack_check_config(const json_t *config, lm_error *err)
{
    const json_t *places[] = { config, json_object_get(config, "text_config") };
    for (size_t i = 0; i < LM_LEN(places); i++) {
        const json_t *v = json_object_get(places[i], "tie_word_embeddings");
        if (v && !json_is_null(v) && !json_is_boolean(v))
            return lm_fail(err, LM_ERR_CORRUPT,
                           "config.json: 'tie_word_embeddings' is %s, allowed are true and false",
                           type_name(v));
    }
    return LM_OK;
}

const char *lm_pack_quant_method(const json_t *config)
{
    const json_t *places[] = { config, json_object_get(config, "text_config") };
    for (size_t i = 0; i < LM_LEN(places); i++) {
        const json_t *block = json_object_get(places[i], "quantization_config");
        const char *method = json_string_value(json_object_get(block, "quant_method"));
        if (method && strcmp(method, "mlx") != 0)
            return method;
    }
    return NULL;
}

/* I64 and BOOL are positions and masks, which some packs keep beside weights. */
static bool coded(const lm_tensor *t)
{
    return !t->quant && t->n_dims >= 2 && strcmp(t->dtype, "I64") != 0 && strcmp(t->dtype, "BOOL") != 0;
}

lm_status lm_pack_check_method(const json_t *config, const lm_tensors *t, lm_error *err)
{
    const char *method = lm_pack_quant_method(config);
    lm_quoted_buf m, q;
    for (size_t i = 0; method && i < t->n; i++) {
        if (!coded(&t->items[i]))
            continue;
        lm_hint(err, "look for the same model as MLX, GGUF or plain safetensors");
        return lm_fail(
            err, LM_ERR_UNSUPPORTED,
            "config.json: the weights are quantised with %s ('%s' is %s), which this version cannot read",
            lm_quoted_z(&m, method), lm_quoted_z(&q, t->items[i].name), t->items[i].dtype);
    }
    return LM_OK;
}
