/* text/chat.c - templates of a pack, and the context they are rendered over. */
#include "text/chat.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/gguf.h"

/* tokenizer_config.json lists every added token: megabytes at times. */
#define MAX_CONFIG   ((size_t)64 << 20)
#define MAX_TEMPLATE ((size_t)4 << 20)

struct lm_chat {
    char *source;
    size_t n;
    lm_jinja *main, *tool_use; /* tool_use: NULL where the pack has no such template */
    json_t *tokens;            /* bos_token and its kin, by name */
};

/* ---- finding ---- */

static lm_status copy(const char *s, size_t n, char **out, size_t *n_out, lm_error *err)
{
    if (n > MAX_TEMPLATE)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the chat template has %zu bytes, allowed are %zu", n,
                       MAX_TEMPLATE);
    *n_out = n;
    return lm_strdup_n(s, n, out, err);
}

/* chat_template of a JSON file: one text, or a list of {name, template}. */
static lm_status from_json(const json_t *config, const char *file, const char *name, char **out, size_t *n,
                           lm_error *err)
{
    const json_t *t = json_object_get(config, "chat_template"), *row;
    size_t i;
    if (json_is_string(t) && strcmp(name, "default") == 0)
        return copy(json_string_value(t), json_string_length(t), out, n, err);
    if (t && !json_is_string(t) && !json_is_array(t) && !json_is_null(t))
        return lm_fail(err, LM_ERR_CORRUPT, "%s: chat_template is neither a text nor a list", file);
    json_array_foreach(t, i, row)
    {
        const char *called = json_string_value(json_object_get(row, "name"));
        const json_t *text = json_object_get(row, "template");
        if (!called || !json_is_string(text))
            return lm_fail(err, LM_ERR_CORRUPT, "%s: chat_template[%zu] lacks its name or its template", file,
                           i);
        if (strcmp(called, name) == 0)
            return copy(json_string_value(text), json_string_length(text), out, n, err);
    }
    return LM_ERR_NOT_FOUND;
}

static lm_status from_gguf(const lm_gguf *g, const char *name, char **out, size_t *n, lm_error *err)
{
    char key[128];
    const char *s;
    size_t len;
    bool is_default = strcmp(name, "default") == 0;
    if (snprintf(key, sizeof key, "tokenizer.chat_template%s%s", is_default ? "" : ".",
                 is_default ? "" : name) >= (int)sizeof key)
        return LM_ERR_NOT_FOUND;
    if (!lm_gguf_str(g, key, &s, &len))
        return LM_ERR_NOT_FOUND;
    return copy(s, len, out, n, err);
}

static lm_status from_folder(const lm_packfile *p, const char *name, char **out, size_t *n, lm_error *err)
{
    static const char *const files[] = { "tokenizer_config.json", "chat_template.json" };
    char path[4096];
    lm_status s = LM_ERR_NOT_FOUND;
    if (strcmp(name, "default") == 0 && *lm_packfile_file(p, "chat_template.jinja", path, sizeof path))
        return lm_pack_fault(lm_read_file(path, MAX_TEMPLATE, out, n, err), err);
    for (size_t i = 0; s == LM_ERR_NOT_FOUND && i < LM_LEN(files); i++) {
        json_t *config = NULL;
        LM_TRY(lm_packfile_json(p, files[i], MAX_CONFIG, &config, err));
        if (config)
            s = from_json(config, files[i], name, out, n, err);
        json_decref(config);
    }
    return s;
}

lm_status lm_chat_template_find(const lm_packfile *p, const char *name, char **out, size_t *n, lm_error *err)
{
    const lm_gguf *g = lm_packfile_gguf(p);
    lm_quoted_buf q;
    lm_status s = g ? from_gguf(g, name, out, n, err) : from_folder(p, name, out, n, err);
    if (s == LM_ERR_NOT_FOUND)
        return lm_fail(err, s, "the pack has no chat template '%s'", lm_quoted_z(&q, name));
    return s;
}

/* ---- special tokens ---- */

static const char *const token_names[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                           "sep_token", "cls_token", "mask_token" };

/* "eos_token": "</s>", or an object with its content. */
static lm_status tokens_of_config(const json_t *config, json_t *out, lm_error *err)
{
    for (size_t i = 0; i < LM_LEN(token_names); i++) {
        json_t *v = json_object_get(config, token_names[i]);
        if (json_is_object(v))
            v = json_object_get(v, "content");
        if (json_is_string(v) && json_object_set(out, token_names[i], v) != 0)
            return lm_fail(err, LM_ERR_NOMEM, "no memory for the special tokens");
    }
    return LM_OK;
}

static lm_status tokens_of_gguf(const lm_gguf *g, json_t *out, lm_error *err)
{
    static const char *const keys[] = { "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.unknown_token_id",
                                        "tokenizer.ggml.padding_token_id" };
    uint64_t id[LM_LEN(keys)];
    lm_gguf_walk w = lm_gguf_strings(lm_gguf_array(g, "tokenizer.ggml.tokens", LM_GGUF_STRING));
    const char *s;
    size_t n;
    for (size_t i = 0; i < LM_LEN(keys); i++) {
        id[i] = UINT64_MAX;
        (void)lm_gguf_u64(g, keys[i], &id[i]);
    }
    for (uint64_t at = 0; lm_gguf_next(&w, &s, &n); at++)
        for (size_t i = 0; i < LM_LEN(keys); i++)
            if (id[i] == at) {
                json_t *text = json_stringn(s, n); /* NULL where it is not UTF-8 */
                if (text && json_object_set_new(out, token_names[i], text) != 0)
                    return lm_fail(err, LM_ERR_NOMEM, "no memory for the special tokens");
            }
    return LM_OK;
}

/* ---- opening ---- */

static lm_status new_chat(lm_chat **out, lm_error *err)
{
    LM_TRY(LM_NEW(out, 1, err));
    (*out)->tokens = json_object();
    if ((*out)->tokens)
        return LM_OK;
    lm_chat_close(*out);
    return lm_fail(err, LM_ERR_NOMEM, "no memory for the special tokens");
}

static lm_status load(lm_chat *c, const lm_packfile *p, lm_error *err)
{
    char *tool_use = NULL;
    size_t n = 0;
    lm_error none = { 0 };
    json_t *config = NULL;
    LM_TRY(lm_chat_template_find(p, "default", &c->source, &c->n, err));
    LM_TRY(lm_jinja_compile(&c->main, c->source, c->n, err));
    lm_status s = lm_chat_template_find(p, "tool_use", &tool_use, &n, &none);
    if (s == LM_OK)
        s = lm_jinja_compile(&c->tool_use, tool_use, n, err);
    lm_free(tool_use);
    if (s != LM_OK && s != LM_ERR_NOT_FOUND)
        return s;
    if (lm_packfile_gguf(p))
        return tokens_of_gguf(lm_packfile_gguf(p), c->tokens, err);
    LM_TRY(lm_packfile_json(p, "tokenizer_config.json", MAX_CONFIG, &config, err));
    s = config ? tokens_of_config(config, c->tokens, err) : LM_OK;
    json_decref(config);
    return s;
}

lm_status lm_chat_open(lm_chat **out, const lm_packfile *p, lm_error *err)
{
    lm_chat *c = NULL;
    LM_TRY(new_chat(&c, err));
    lm_status s = load(c, p, err);
    if (s != LM_OK) {
        lm_chat_close(c);
        return lm_wrap(err, s, "chat template");
    }
    *out = c;
    return LM_OK;
}

lm_status lm_chat_open_text(lm_chat **out, const char *source, size_t n, const json_t *tokenizer_config,
                            lm_error *err)
{
    lm_chat *c = NULL;
    LM_TRY(new_chat(&c, err));
    lm_status s = copy(source, n, &c->source, &c->n, err);
    if (s == LM_OK)
        s = lm_jinja_compile(&c->main, source, n, err);
    if (s == LM_OK && tokenizer_config)
        s = tokens_of_config(tokenizer_config, c->tokens, err);
    if (s != LM_OK) {
        lm_chat_close(c);
        return s;
    }
    *out = c;
    return LM_OK;
}

void lm_chat_close(lm_chat *c)
{
    if (!c)
        return;
    lm_jinja_close(c->main);
    lm_jinja_close(c->tool_use);
    json_decref(c->tokens);
    lm_free(c->source);
    lm_free(c);
}

const char *lm_chat_source(const lm_chat *c, size_t *n)
{
    *n = c->n;
    return c->source;
}

/* ---- rendering ---- */

static lm_status check_messages(const json_t *messages, lm_error *err)
{
    size_t i;
    const json_t *m;
    if (!json_is_array(messages))
        return lm_fail(err, LM_ERR_USAGE, "messages must be a list");
    json_array_foreach(messages, i, m)
    {
        if (!json_is_object(m))
            return lm_fail(err, LM_ERR_USAGE, "messages[%zu] is not an object", i);
        if (!json_is_string(json_object_get(m, "role")))
            return lm_fail(err, LM_ERR_USAGE, "messages[%zu] has no role", i);
    }
    return LM_OK;
}

/* Keeps a reference of its own; a missing one becomes null, as the templates'
 * authors are used to. */
static bool put(json_t *context, const char *name, const json_t *v)
{
    return json_object_set_new(context, name, v ? json_incref((json_t *)(uintptr_t)v) : json_null()) == 0;
}

static lm_status fill(json_t *context, const lm_chat *c, const lm_chat_request *r, lm_error *err)
{
    bool ok =
        json_object_update(context, c->tokens) == 0 && put(context, "messages", r->messages) &&
        put(context, "tools", r->tools) && put(context, "documents", r->documents) &&
        json_object_set_new(context, "add_generation_prompt", json_boolean(r->add_generation_prompt)) == 0;
    /* Qwen, GLM, Gemma and SmolLM ask for the one name; Granite, DeepSeek and Kimi for the other. */
    if (ok && r->think >= 0)
        ok = json_object_set_new(context, "enable_thinking", json_boolean(r->think)) == 0 &&
             json_object_set_new(context, "thinking", json_boolean(r->think)) == 0;
    if (ok && r->options)
        ok = json_object_update(context, (json_t *)(uintptr_t)r->options) == 0;
    return ok ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the template's context");
}

lm_status lm_chat_render(const lm_chat *c, const lm_chat_request *r, lm_str *out, lm_spans *literal,
                         lm_error *err)
{
    json_t *context;
    lm_status s;
    LM_TRY(check_messages(r->messages, err));
    if (r->tools && !json_is_array(r->tools) && !json_is_null(r->tools))
        return lm_fail(err, LM_ERR_USAGE, "tools must be a list");
    if (r->documents && !json_is_array(r->documents) && !json_is_null(r->documents))
        return lm_fail(err, LM_ERR_USAGE, "documents must be a list");
    if (r->options && !json_is_object(r->options))
        return lm_fail(err, LM_ERR_USAGE, "template options must be an object");
    context = json_object();
    if (!context)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the template's context");
    s = fill(context, c, r, err);
    if (s == LM_OK)
        s = lm_jinja_render(c->tool_use && json_array_size(r->tools) ? c->tool_use : c->main, context,
                            &r->limits, out, literal, err);
    json_decref(context);
    return s;
}

const char *lm_chat_role(const char *role)
{
    static const char *const words[][2] = {
        { "user", "user" },     { "human", "user" },       { "assistant", "assistant" },
        { "gpt", "assistant" }, { "bot", "assistant" },    { "model", "assistant" },
        { "system", "system" }, { "developer", "system" },
    };
    for (size_t i = 0; i < LM_LEN(words); i++)
        if (strcmp(role, words[i][0]) == 0)
            return words[i][1];
    return NULL;
}
