/* tools/packreport.c - what a pack says of itself, and what its weights hold. */
#include "tools/packreport.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/folder.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/packconfig.h"
#include "model/net.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum { MAX_TOKENIZER_BYTES = 256 << 20, MAX_SIDE_BYTES = 16 << 20 };

/* general.file_type of GGUF (SPEC 19.3.5). */
static const char *const file_types[] = {
    [0] = "f32",     [1] = "f16",     [2] = "q4_0",     [3] = "q4_1",    [7] = "q8_0",     [8] = "q5_0",
    [9] = "q5_1",    [10] = "q2_k",   [11] = "q3_k_s",  [12] = "q3_k_m", [13] = "q3_k_l",  [14] = "q4_k_s",
    [15] = "q4_k_m", [16] = "q5_k_s", [17] = "q5_k_m",  [18] = "q6_k",   [19] = "iq2_xxs", [20] = "iq2_xs",
    [21] = "q2_k_s", [22] = "iq3_xs", [23] = "iq3_xxs", [24] = "iq1_s",  [25] = "iq4_nl",  [26] = "iq3_s",
    [27] = "iq3_m",  [28] = "iq2_s",  [29] = "iq2_m",   [30] = "iq4_xs", [31] = "iq1_m",   [32] = "bf16",
    [36] = "tq1_0",  [37] = "tq2_0",  [38] = "mxfp4",   [39] = "nvfp4",
};

/* Families of SPEC 19.3.6, by what a normalised name holds or begins with. */
static const char *family_of(const char *type)
{
    static const char *const starts[][2] = {
        { "iq", "iq" },     { "tq", "tq" },         { "mxfp", "mxfp" },     { "mlx_mxfp", "mxfp" },
        { "nvfp", "nvfp" }, { "mlx_nvfp", "nvfp" }, { "affine", "affine" }, { "q8", "q8" },
        { "q5", "q5" },     { "q4", "q4" },         { "q3", "q3" },         { "q2", "q2" }
    };
    if (type[0] == 'q' && strstr(type, "_k"))
        return "qk";
    for (size_t i = 0; i < LM_LEN(starts); i++)
        if (lm_starts_with(type, starts[i][0]))
            return starts[i][1];
    return "dense";
}

/* Lower case, '-' and ' ' to '_'. */
static void normalise(char *out, size_t cap, const char *s)
{
    size_t i = 0;
    for (; s[i] && i + 1 < cap; i++) {
        char c = s[i];
        out[i] = c == '-' || c == ' ' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out[i] = 0;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* The format that most quantised elements are in (of all, if none is quantised). */
static const lm_quant *majority(const lm_packfile *p, bool *mixed)
{
    const lm_quant *found[64];
    uint64_t n[64] = { 0 };
    size_t n_found = 0, best = 0;
    bool any = false;
    *mixed = false;
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        size_t k = 0;
        if (!t->quant || (any && t->quant->block_elems == 1))
            continue;
        if (!any && t->quant->block_elems > 1) {
            any = true; /* the plain ones no longer count */
            n_found = 0;
            memset(n, 0, sizeof n);
        }
        while (k < n_found && found[k] != t->quant)
            k++;
        if (k == LM_LEN(found))
            continue;
        found[k] = t->quant;
        n_found = LM_MAX(n_found, k + 1);
        n[k] += t->n_elems;
    }
    for (size_t k = 1; k < n_found; k++)
        best = n[k] > n[best] ? k : best;
    *mixed = any && n_found > 1;
    return n_found ? found[best] : NULL;
}

/* Of a pack that calls itself "q4_k_m": the tensors in q4_K, though a large
 * embedding in another format may outweigh them. */
static const lm_quant *named_quant(const lm_packfile *p, const char *type)
{
    char name[64];
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        if (!t->quant)
            continue;
        normalise(name, sizeof name, t->quant->name);
        size_t n = strlen(name);
        if (lm_starts_with(type, name) && (type[n] == 0 || type[n] == '_'))
            return t->quant;
    }
    return NULL;
}

static void describe_quant(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o)
{
    static const char *const explicit_keys[] = { "general.quantization_type", "quantization.type",
                                                 "quantization.name", "general.quantization" };
    const json_t *c = lm_packfile_config(p);
    bool mixed;
    const lm_quant *q = majority(p, &mixed);
    char type[64] = "";
    if (!q)
        return;
    normalise(type, sizeof type, q->name);
    if (lm_packfile_kind(p) == LM_PACK_GGUF) {
        const json_t *ft = json_object_get(c, "general.file_type");
        json_int_t i = json_is_integer(ft) ? json_integer_value(ft) : -1;
        bool named = false;
        for (size_t k = 0; k < LM_LEN(explicit_keys) && !named; k++)
            if (text_of(c, explicit_keys[k])) {
                normalise(type, sizeof type, text_of(c, explicit_keys[k]));
                named = true;
            }
        if (!named && i >= 0 && (size_t)i < LM_LEN(file_types) && file_types[i])
            normalise(type, sizeof type, file_types[i]);
        const lm_quant *of_name = named_quant(p, type);
        q = of_name ? of_name : q;
    }
    lm_report_set(r, "quant_type", json_string(type));
    lm_report_set(r, "quant_family", json_string(family_of(type)));
    lm_report_set(r, "quant_mixed", json_boolean(mixed));
    if (q->block_elems > 1)
        lm_report_set(r, "quant_group", json_integer(q->block_elems));
    unsigned bits = q->bits ? q->bits : (unsigned)(q->block_bytes[0] * 8 / q->block_elems);
    lm_report_set(r, "quant_bits", json_integer(bits));
    if (o->expected_bits && o->expected_bits != bits)
        lm_report_issue(r, true, "quantization_mismatch", r->path,
                        "the weights have %u bits (%s), expected are %u", bits, type, o->expected_bits);
    if (lm_packfile_n_inferred(p))
        lm_report_issue(r, false, "quantization_mismatch", r->path,
                        "config.json does not say how %zu layers are quantised; their shapes do",
                        lm_packfile_n_inferred(p));
}

static void describe_tensors(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o)
{
    json_t *types = json_object(), *list = o->list_tensors ? json_array() : NULL;
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        json_int_t n = json_integer_value(json_object_get(types, t->dtype));
        r->failed |= json_object_set_new(types, t->dtype, json_integer(n + 1)) != 0;
        if (!list)
            continue;
        json_t *shape = json_array();
        for (uint32_t k = 0; k < t->n_dims; k++)
            r->failed |= json_array_append_new(shape, json_integer((json_int_t)t->dims[k])) != 0;
        json_t *x = json_pack("{s:s, s:s, s:o, s:I, s:I, s:b}", "name", t->name, "dtype", t->dtype, "shape",
                              shape, "elements", (json_int_t)t->n_elems, "bytes",
                              (json_int_t)(t->n_bytes[0] + t->n_bytes[1] + t->n_bytes[2]), "quantized",
                              t->quant && t->quant->block_elems > 1);
        r->failed |= json_array_append_new(list, x) != 0;
    }
    lm_report_set(r, "tensor_count", json_integer((json_int_t)lm_packfile_n_tensors(p)));
    lm_report_set(r, "tensor_types", types);
    lm_report_set(r, "tensors", list);
}

static void describe_files(lm_pack_report *r, const lm_packfile *p)
{
    char path[4096];
    json_t *files = json_array();
    for (size_t i = 0; i < lm_packfile_n_maps(p); i++)
        r->failed |= json_array_append_new(files, json_string(lm_map_path(lm_packfile_map(p, i)))) != 0;
    lm_report_set(r, "root", json_string(lm_packfile_path(p)));
    lm_report_set(r, "format", json_string(lm_packfile_kind(p) == LM_PACK_GGUF ? "gguf" : "safetensors"));
    lm_report_set(r, "weight_files", files);
    lm_report_set(r, "weight_bytes", json_integer((json_int_t)lm_packfile_weight_bytes(p)));
    if (*lm_packfile_file(p, "config.json", path, sizeof path))
        lm_report_set(r, "config_path", json_string(path));
    if (*lm_packfile_file(p, "tokenizer.json", path, sizeof path))
        lm_report_set(r, "tokenizer_path", json_string(path));
    if (*lm_packfile_file(p, "tokenizer_config.json", path, sizeof path))
        lm_report_set(r, "tokenizer_config_path", json_string(path));
}

/* Where the chat template is, or NULL. */
static const char *template_source(lm_pack_report *r, const lm_packfile *p)
{
    char path[4096];
    const char *found = NULL;
    json_t *o = NULL;
    lm_error why = { 0 };
    if (lm_packfile_kind(p) == LM_PACK_GGUF)
        return text_of(lm_packfile_config(p), "tokenizer.chat_template") ? "tokenizer.chat_template" : NULL;
    if (*lm_packfile_file(p, "chat_template.jinja", path, sizeof path))
        return "chat_template.jinja";
    if (lm_packfile_json(p, "tokenizer_config.json", MAX_SIDE_BYTES, &o, &why) != LM_OK)
        lm_report_issue(r, true, "invalid_config", r->path, "%s", why.text);
    else if (json_object_get(o, "chat_template"))
        found = "tokenizer_config.json";
    else if (*lm_packfile_file(p, "chat_template.json", path, sizeof path))
        found = "chat_template.json";
    json_decref(o);
    return found;
}

static bool has_tokenizer(lm_pack_report *r, const lm_packfile *p)
{
    json_t *o = NULL;
    lm_error why = { 0 };
    if (lm_packfile_kind(p) == LM_PACK_GGUF)
        return lm_gguf_array(lm_packfile_gguf(p), "tokenizer.ggml.tokens", LM_GGUF_STRING) != NULL;
    if (lm_packfile_json(p, "tokenizer.json", MAX_TOKENIZER_BYTES, &o, &why) != LM_OK)
        lm_report_issue(r, true, "invalid_tokenizer", r->path, "%s", why.text);
    else if (o && !json_is_object(json_object_get(o, "model")))
        lm_report_issue(r, true, "invalid_tokenizer", r->path, "tokenizer.json has no model");
    bool there = o != NULL || why.status != LM_OK;
    json_decref(o);
    return there;
}

static void describe_text(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o)
{
    bool tokenizer = has_tokenizer(r, p);
    const char *source = template_source(r, p);
    lm_report_set(r, "has_tokenizer", json_boolean(tokenizer));
    lm_report_set(r, "has_chat_template", json_boolean(source != NULL));
    if (source)
        lm_report_set(r, "chat_template_source", json_string(source));
    if (!tokenizer)
        lm_report_issue(r, false, "missing_tokenizer", r->path,
                        "the pack has no %s: it can be run on token numbers only",
                        lm_packfile_kind(p) == LM_PACK_GGUF ? "tokenizer.ggml.tokens" : "tokenizer.json");
    if (!source && (tokenizer || o->require_chat_template))
        lm_report_issue(r, o->require_chat_template, "missing_chat_template", r->path,
                        "the pack has no chat template");
}

static bool has_issue(const lm_pack_report *r, const char *code)
{
    const json_t *v;
    size_t i;
    json_array_foreach(r->issues, i, v)
    {
        if (strcmp(text_of(v, "code"), code) == 0)
            return true;
    }
    return false;
}

void lm_report_text(lm_pack_report *r, const lm_packfile *p)
{
    json_t *o = NULL;
    lm_tokenizer *t = NULL;
    lm_chat *chat = NULL;
    lm_error why = { 0 };
    if (!has_issue(r, "invalid_tokenizer")) {
        lm_status status = lm_tokenizer_open_pack(&t, p, NULL, &why);
        if (status != LM_OK && status != LM_ERR_NOT_FOUND)
            lm_report_issue(r, true, "invalid_tokenizer", r->path, "%s", why.text);
        lm_tokenizer_close(t);
    }
    lm_error_clear(&why);
    if (lm_packfile_json(p, "generation_config.json", MAX_SIDE_BYTES, &o, &why) != LM_OK)
        lm_report_issue(r, true, "invalid_config", r->path, "%s", why.text);
    json_decref(o);
    o = NULL;
    lm_error_clear(&why);
    if (lm_packfile_json(p, "tokenizer_config.json", MAX_SIDE_BYTES, &o, &why) != LM_OK) {
        if (!has_issue(r, "invalid_config"))
            lm_report_issue(r, true, "invalid_config", r->path, "%s", why.text);
        return; /* the template may stand in it */
    }
    json_decref(o);
    lm_status status = lm_chat_open(&chat, p, &why);
    if (status != LM_OK && status != LM_ERR_NOT_FOUND)
        lm_report_issue(r, true, "invalid_chat_template", r->path, "%s", why.text);
    lm_chat_close(chat);
}

static void describe_model(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o)
{
    const json_t *c = lm_packfile_config(p), *text = json_object_get(c, "text_config");
    bool gguf = lm_packfile_kind(p) == LM_PACK_GGUF;
    const char *arch = text_of(c, gguf ? "general.architecture" : "model_type");
    const lm_family *family = NULL;
    lm_config config = { 0 };
    lm_error why = { 0 };
    lm_quoted_buf q;

    if (!arch && !gguf)
        arch = text_of(text, "model_type");
    if (!arch) {
        lm_report_issue(r, true, "missing_architecture", r->path, "the pack does not say its %s",
                        gguf ? "general.architecture" : "model_type");
        return;
    }
    lm_report_set(r, "architecture", json_string(arch));
    lm_status status = lm_net_describe(p, &family, &config, &why);
    bool known = status == LM_OK || family || lm_family_find(arch, gguf) ||
                 (text_of(text, "model_type") && lm_family_find(text_of(text, "model_type"), gguf));
    lm_report_set(r, "supported_architecture", json_boolean(known));
    lm_report_set(r, "native_loadable", json_boolean(status == LM_OK));
    if (!known)
        lm_report_issue(r, true, "unsupported_architecture", r->path, "the architecture %s is not supported",
                        lm_quoted_z(&q, arch));
    else if (status != LM_OK)
        lm_report_issue(r, true, status == LM_ERR_UNSUPPORTED ? "unsupported_runtime" : "invalid_config",
                        r->path, "%s", why.text);
    if (status != LM_OK)
        return;
    lm_report_set(r, "family", json_string(family->name));
    lm_report_set(r, "context_length", json_integer(config.max_context));
    lm_report_set(r, "num_layers", json_integer(config.n_layers));
    lm_report_set(r, "hidden_size", json_integer(config.width));
    lm_report_set(r, "num_heads", json_integer(config.n_heads));
    lm_report_set(r, "num_kv_heads", json_integer(config.n_kv_heads));
    lm_report_set(r, "head_dim", json_integer(config.head_dim));
    lm_report_set(r, "vocab_size", json_integer(config.n_vocab));
    if (o->max_context && config.max_context > o->max_context)
        lm_report_issue(r, true, "context_too_large", r->path,
                        "the context is %" PRIu32 " tokens, allowed are %" PRIu64, config.max_context,
                        o->max_context);
    lm_config_clear(&config);
}

void lm_report_describe(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o)
{
    const json_t *c = lm_packfile_config(p), *map = json_object_get(c, "auto_map");
    describe_files(r, p);
    describe_model(r, p, o);
    describe_quant(r, p, o);
    describe_tensors(r, p, o);
    describe_text(r, p, o);
    if (o->list_tensors)
        lm_report_speed(r, p);
    if (lm_packfile_gguf(p))
        lm_report_set(r, "gguf",
                      json_pack("{s:i, s:I, s:O*, s:O*}", "version",
                                (int)lm_gguf_version(lm_packfile_gguf(p)), "keys",
                                (json_int_t)lm_gguf_n_values(lm_packfile_gguf(p)), "name",
                                json_object_get(c, "general.name"), "file_type",
                                json_object_get(c, "general.file_type")));
    if (map && lm_packfile_kind(p) == LM_PACK_SAFETENSORS) {
        lm_report_set(r, "auto_map", json_deep_copy(map));
        lm_report_issue(r, false, "auto_map", r->path,
                        "config.json names Python code of its own (auto_map), which lemma never runs");
    }
    const char *method = lm_pack_quant_method(c);
    lm_quoted_buf q;
    /* Over weights that it did encode the pack would not have opened. */
    if (method && lm_packfile_kind(p) == LM_PACK_SAFETENSORS)
        lm_report_issue(r, false, "quantization_mismatch", r->path,
                        "config.json speaks of a quantisation with %s, which the weights do not have",
                        lm_quoted_z(&q, method));
    if (json_object_get(c, "codebook_config") || json_object_get(c, "codebook"))
        lm_report_issue(r, true, "unsupported_codebook", r->path, "codebook weights are not supported");
}

bool lm_report_gguf_decls(lm_pack_report *r, const char *path)
{
    lm_map *m = NULL;
    lm_gguf *g = NULL;
    size_t before = json_array_size(r->issues);
    if (lm_map_open(&m, path, NULL) == LM_OK &&
        lm_gguf_parse(&g, lm_map_data(m), lm_map_size(m), NULL) == LM_OK)
        for (size_t i = 0; i < lm_gguf_n_decls(g) && json_array_size(r->issues) < before + 64; i++) {
            const lm_gguf_decl *d = lm_gguf_decl_at(g, i);
            const lm_quant *quant = lm_quant_by_gguf_type(d->type);
            bool zero = false;
            lm_quoted_buf q;
            lm_quoted(&q, d->name, (size_t)d->n_name);
            for (uint32_t k = 0; k < d->n_dims; k++)
                zero |= d->dims[k] == 0;
            if (!quant && (d->type < 24 || d->type > 27)) /* not one of the integer types */
                lm_report_issue(r, true, "unknown_tensor_type", path, "tensor '%s' has type %" PRIu32, q.s,
                                d->type);
            if (d->n_dims == 0)
                lm_report_issue(r, true, "invalid_tensor_shape", path, "tensor '%s' has no dimensions", q.s);
            else if (zero)
                lm_report_issue(r, true, "invalid_tensor_dimension", path, "tensor '%s' has a dimension of 0",
                                q.s);
            else if (quant && d->dims[0] % quant->block_elems != 0)
                lm_report_issue(r, true, "tensor_shape_not_block_aligned", path,
                                "tensor '%s' has rows of %" PRIu64 ", %s needs a multiple of %u", q.s,
                                d->dims[0], quant->name, (unsigned)quant->block_elems);
        }
    lm_gguf_close(g);
    lm_map_close(m);
    return json_array_size(r->issues) > before;
}

typedef struct {
    uint64_t n_nan, n_inf, first; /* first: element, in the order of the file */
} findings;

/* Rows follow each other without gaps in every plane, so the tensor is one run
 * of blocks. */
static void scan_tensor(const lm_tensor *t, findings *f)
{
    enum { CHUNK = 4096 }; /* a multiple of every block */
    float x[CHUNK];
    for (uint64_t at = 0; at < t->n_elems; at += CHUNK) {
        const uint8_t *planes[LM_QUANT_PLANES] = { 0 };
        size_t n = (size_t)LM_MIN((uint64_t)CHUNK, t->n_elems - at);
        for (int k = 0; k < LM_QUANT_PLANES; k++)
            planes[k] = t->plane[k] ? t->plane[k] + lm_quant_row_bytes(t->quant, k, at) : NULL;
        t->quant->to_f32(t->quant, planes, n, x);
        for (size_t i = 0; i < n; i++) {
            if (isfinite(x[i]))
                continue;
            if (f->n_nan + f->n_inf == 0)
                f->first = at + i;
            f->n_nan += isnan(x[i]) ? 1 : 0;
            f->n_inf += isnan(x[i]) ? 0 : 1;
        }
    }
}

lm_status lm_report_scan(lm_pack_report *r, const lm_packfile *p, const lm_packcheck_options *o,
                         lm_error *err)
{
    uint64_t done = 0;
    lm_quoted_buf q;
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        findings f = { 0 };
        if (!t->quant)
            continue;
        scan_tensor(t, &f);
        if (t->map)
            LM_TRY(lm_map_check(t->map, err));
        if (f.n_nan + f.n_inf)
            lm_report_issue(r, true, "non_finite_weights", t->map ? lm_map_path(t->map) : r->path,
                            "tensor '%s' has %" PRIu64 " NaN and %" PRIu64
                            " infinities, the first at element %" PRIu64,
                            lm_quoted_z(&q, t->name), f.n_nan, f.n_inf, f.first);
        done += t->n_bytes[0] + t->n_bytes[1] + t->n_bytes[2];
        if (o->progress && !o->progress(o->user, done, lm_packfile_weight_bytes(p)))
            return lm_fail(err, LM_ERR_CANCELLED, "the check was stopped");
    }
    lm_report_set(r, "scanned_bytes", json_integer((json_int_t)done));
    return LM_OK;
}
