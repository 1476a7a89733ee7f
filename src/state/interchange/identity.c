/* state/interchange/identity.c - models and tokenizers as records say them (SPEC 7.4, 7.5, 7.8). */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/prefixmap.h"

static const char *text(const char *s)
{
    return s ? s : "";
}

lm_status lm_map_model_hash(const lm_map_model *m, char out[65], lm_error *err)
{
    lm_str t = { 0 };
    lm_str_addf(&t, "%s\n%s\n%s\n%u\n%u\n%u\n%u", text(m->name), text(m->path), text(m->architecture),
                m->vocab_size, m->num_layers, m->quant_bits, m->context_length);
    lm_status st = lm_str_status(&t, err);
    if (st == LM_OK)
        st = lm_hash_text(lm_str_z(&t), t.n, out, err);
    lm_str_clear(&t);
    return st;
}

json_t *lm_map_model_object(const lm_map_model *m, bool *failed)
{
    static const lm_map_model none;
    char hash[65];
    json_t *o = json_object();
    m = m ? m : &none;
    if (!o || lm_map_model_hash(m, hash, NULL) != LM_OK) {
        *failed = true;
        return o;
    }
    lm_set(o, "name", lm_json_string(m->name), failed);
    lm_set(o, "path", lm_json_string(m->path), failed);
    lm_set(o, "architecture", lm_json_string(m->architecture), failed);
    lm_set(o, "vocab_size", json_integer(m->vocab_size), failed);
    lm_set(o, "num_layers", json_integer(m->num_layers), failed);
    lm_set(o, "hidden_size", json_integer(m->hidden_size), failed);
    lm_set(o, "quant_bits", json_integer(m->quant_bits), failed);
    lm_set(o, "quant_group", json_integer(m->quant_group), failed);
    lm_set(o, "context_length", json_integer(m->context_length), failed);
    lm_set(o, "hash", json_string(hash), failed);
    return o;
}

json_t *lm_map_tokenizer_object(const lm_map_tokenizer *t, bool *failed)
{
    static const lm_map_tokenizer none;
    char hash[65] = "";
    json_t *o = json_object();
    t = t ? t : &none;
    if (!o) {
        *failed = true;
        return NULL;
    }
    const char *given = text(t->chat_template_hash), *source = text(t->chat_template);
    if (!given[0] && source[0] && lm_hash_text(source, strlen(source), hash, NULL) != LM_OK)
        *failed = true;
    lm_set(o, "kind", lm_json_string(t->kind), failed);
    lm_set(o, "path", lm_json_string(t->path), failed);
    lm_set(o, "version", lm_json_string(t->version), failed);
    lm_set(o, "hash", lm_json_string(t->hash), failed);
    lm_set(o, "vocab_size", json_integer(t->vocab_size), failed);
    lm_set(o, "bos", json_integer(t->bos), failed);
    lm_set(o, "eos", json_integer(t->eos), failed);
    lm_set(o, "chat_template", lm_json_string(source), failed);
    lm_set(o, "chat_template_hash", lm_json_string(given[0] ? given : hash), failed);
    return o;
}

static lm_status hash_field(const json_t *o, const char *key, const char **out, lm_error *err)
{
    lm_quoted_buf q;
    LM_TRY(lm_field_text(o, key, out, err));
    if ((*out)[0] && !lm_is_hex64(*out))
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' is '%s', no SHA-256", key, lm_quoted_z(&q, *out));
    return LM_OK;
}

lm_status lm_map_model_of(const json_t *o, lm_map_model *out, lm_error *err)
{
    *out = (lm_map_model){ .name = "" };
    LM_TRY(lm_field_text(o, "name", &out->name, err));
    LM_TRY(lm_field_text(o, "path", &out->path, err));
    LM_TRY(lm_field_text(o, "architecture", &out->architecture, err));
    LM_TRY(lm_field_u32(o, "vocab_size", &out->vocab_size, err));
    LM_TRY(lm_field_u32(o, "num_layers", &out->num_layers, err));
    LM_TRY(lm_field_u32(o, "hidden_size", &out->hidden_size, err));
    LM_TRY(lm_field_u32(o, "quant_bits", &out->quant_bits, err));
    LM_TRY(lm_field_u32(o, "quant_group", &out->quant_group, err));
    LM_TRY(lm_field_u32(o, "context_length", &out->context_length, err));
    return hash_field(o, "hash", &out->hash, err);
}

/* bos and eos may be missing, and negative where there are none. */
static int64_t id_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : 0;
}

lm_status lm_map_tokenizer_of(const json_t *o, lm_map_tokenizer *out, lm_error *err)
{
    *out = (lm_map_tokenizer){ .bos = id_of(o, "bos"), .eos = id_of(o, "eos") };
    LM_TRY(lm_field_text(o, "kind", &out->kind, err));
    LM_TRY(lm_field_text(o, "path", &out->path, err));
    LM_TRY(lm_field_text(o, "version", &out->version, err));
    LM_TRY(lm_field_text(o, "chat_template", &out->chat_template, err));
    LM_TRY(lm_field_u32(o, "vocab_size", &out->vocab_size, err));
    LM_TRY(hash_field(o, "hash", &out->hash, err));
    return hash_field(o, "chat_template_hash", &out->chat_template_hash, err);
}

json_t *lm_tags_object(const lm_chunk_tag *tags, size_t n, bool *failed)
{
    json_t *o = json_object();
    *failed |= !o;
    for (size_t i = 0; i < n; i++)
        lm_set(o, tags[i].key, lm_json_string(tags[i].value), failed);
    return o;
}

void lm_reason(char *s, size_t cap, const char *reason)
{
    size_t n = strlen(s);
    (void)snprintf(s + n, cap - n, "%s%s", n ? ", " : "", reason);
}
