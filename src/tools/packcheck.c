/* tools/packcheck.c - one report about one pack. */
#include "tools/packcheck.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/folder.h"
#include "format/json.h"
#include "format/limits.h"
#include "format/packfiles.h"
#include "model/net.h"
#include "tools/packreport.h"

enum { UNUSED_SHOWN = 256 }; /* names of unused tensors in a report */

void lm_report_set(lm_pack_report *r, const char *key, json_t *value)
{
    if (!value || json_object_set_new(r->root, key, value) != 0)
        r->failed |= value != NULL;
}

void lm_report_issue(lm_pack_report *r, bool is_error, const char *code, const char *path, const char *fmt,
                     ...)
{
    char text[sizeof((lm_error *)0)->text];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    lm_quoted_buf q;
    json_t *message = json_string(text);
    if (!message) /* cut inside a character */
        message = json_string(lm_quoted_z(&q, text));
    json_t *where = json_string(path);
    json_t *issue = json_pack("{s:s, s:s, s:o?, s:o?}", "severity", is_error ? "error" : "warning", "code",
                              code, "message", message, "path", where);
    if (!issue || json_array_append_new(r->issues, issue) != 0)
        r->failed = true;
    r->broken |= is_error;
}

/* Which code fits a pack that does not open: asked of its parts in the order in
 * which opening looks at them. */
static const char *code_of(const char *path, lm_status status)
{
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_CONFIG_BYTES,
                                    .max_values = LM_LIMIT_CONFIG_VALUES };
    lm_pack_files files = { 0 };
    const char *code = "invalid_weights";
    char *config = NULL;
    json_t *o = NULL;

    if (lm_path_kind_of(path) == LM_PATH_FILE)
        return lm_ends_with(path, ".safetensors") || lm_is_pickle(path) ? "missing_weights" : "invalid_gguf";
    lm_status found = lm_pack_files_find(&files, path, true, NULL);
    if (found != LM_OK)
        return found == LM_ERR_USAGE                                       ? "multiple_gguf"
               : status == LM_ERR_NOT_FOUND || found == LM_ERR_UNSUPPORTED ? "missing_weights"
                                                                           : "invalid_weights";
    if (files.kind == LM_PACK_GGUF)
        code = "invalid_gguf";
    else if (!files.has_config)
        code = "missing_config";
    else if (lm_path_join(&config, path, "config.json", NULL) == LM_OK &&
             (lm_json_read(&o, config, &limits, NULL) != LM_OK || !json_is_object(o)))
        code = "invalid_config";
    json_decref(o);
    lm_free(config);
    lm_pack_files_clear(&files);
    return code;
}

static void report_unopened(lm_pack_report *r, lm_status status, const lm_error *why)
{
    const char *code = code_of(r->path, status);
    lm_pack_files files = { 0 };
    char *path = NULL;
    bool explained = false;
    if (strcmp(code, "invalid_gguf") == 0) {
        if (lm_path_kind_of(r->path) == LM_PATH_FILE)
            explained = lm_report_gguf_decls(r, r->path);
        else if (lm_pack_files_find(&files, r->path, true, NULL) == LM_OK &&
                 lm_path_join(&path, r->path, files.weights.names[0], NULL) == LM_OK)
            explained = lm_report_gguf_decls(r, path);
    }
    lm_free(path);
    lm_pack_files_clear(&files);
    if (explained)
        return;
    if (lm_starts_with(why->text, "config.json: ")) /* the files are whole, what they say is not */
        code = status == LM_ERR_UNSUPPORTED ? "unsupported_runtime" : "invalid_config";
    lm_report_issue(r, true, code, r->path, "%s", why->text);
}

/* Both kinds of weights in one folder: the safetensors are read. */
static void report_mixed(lm_pack_report *r, const lm_packfile *p)
{
    lm_folder in = { 0 };
    if (lm_packfile_kind(p) != LM_PACK_SAFETENSORS || lm_folder_read(&in, r->path, NULL) != LM_OK)
        return;
    for (size_t i = 0; i < in.n; i++)
        if (lm_ends_with(in.names[i], ".gguf") && !lm_starts_with(in.names[i], "mmproj")) {
            lm_quoted_buf q;
            lm_report_issue(r, false, "mixed_weight_formats", r->path,
                            "the folder has safetensors and %s: the safetensors are read",
                            lm_quoted_z(&q, in.names[i]));
            lm_report_set(r, "format", json_string("mixed"));
            break;
        }
    lm_folder_clear(&in);
}

/* Names that the index promises and the files do not have. */
static void report_index(lm_pack_report *r, const lm_packfile *p)
{
    json_t *index = NULL, *v;
    const char *key, *first = NULL;
    size_t n = 0;
    if (lm_packfile_json(p, "model.safetensors.index.json", LM_LIMIT_INDEX_BYTES, &index, NULL) != LM_OK ||
        !index)
        return;
    json_object_foreach(json_object_get(index, "weight_map"), key, v)
    {
        /* Scales and biases of MLX are part of their weight by now. */
        if (lm_packfile_find(p, key) || lm_ends_with(key, ".scales") || lm_ends_with(key, ".biases"))
            continue;
        if (n++ == 0)
            first = key;
    }
    lm_quoted_buf q;
    if (n)
        lm_report_issue(r, false, "index_mismatch", r->path,
                        "model.safetensors.index.json names %zu tensors that no file has, the first '%s'", n,
                        lm_quoted_z(&q, first));
    json_decref(index);
}

/* Shapes against the family; on success the pack belongs to the net. */
static void report_binding(lm_pack_report *r, lm_packfile **p)
{
    lm_net *net = NULL;
    lm_error why = { 0 };
    const lm_tensor *t;
    json_t *names = json_array();
    size_t n = 0;
    lm_quoted_buf q, first = { "" };

    if (lm_net_open(&net, *p, 0, &why) != LM_OK) {
        if (json_object_get(r->root, "supported_architecture") == json_true())
            lm_report_issue(r, true,
                            why.status == LM_ERR_UNSUPPORTED ? "unsupported_runtime" : "invalid_weights",
                            r->path, "%s", why.text);
        json_decref(names);
        return;
    }
    *p = NULL;
    for (; (t = lm_net_unused(net, n)); n++) {
        if (n == 0)
            lm_quoted_z(&first, t->name);
        if (n < UNUSED_SHOWN)
            (void)json_array_append_new(names, json_string(lm_quoted_z(&q, t->name)));
    }
    if (n)
        lm_report_issue(r, false, "unused_tensors", r->path, "%zu tensors are not used, the first '%s'", n,
                        first.s);
    lm_report_set(r, "unused_tensors", names);
    lm_net_close(net);
}

static lm_status fill(lm_pack_report *r, const lm_packcheck_options *o, lm_error *err)
{
    lm_packfile *p = NULL;
    lm_error why = { 0 };
    lm_status status = lm_packfile_open(&p, r->path, true, &why);
    if (status == LM_ERR_NOMEM)
        return lm_fail(err, status, "%s", why.text);
    if (status != LM_OK) {
        report_unopened(r, status, &why);
        return LM_OK;
    }
    lm_report_describe(r, p, o);
    report_mixed(r, p);
    report_index(r, p);
    if (o->bind)
        lm_report_text(r, p);
    status = o->scan ? lm_report_scan(r, p, o, err) : LM_OK;
    if (status == LM_OK && o->bind)
        report_binding(r, &p);
    lm_packfile_close(p);
    return status;
}

lm_status lm_packcheck(json_t **out, const char *path, const lm_packcheck_options *options, lm_error *err)
{
    lm_pack_report r = { .path = path, .root = json_object(), .issues = json_array() };
    lm_quoted_buf q;
    lm_path_kind kind = lm_path_kind_of(path);
    lm_status status = LM_OK;

    if (kind == LM_PATH_NONE)
        status = lm_fail(err, LM_ERR_NOT_FOUND, "there is no %s", lm_quoted_z(&q, path));
    else if (kind == LM_PATH_OTHER)
        status = lm_fail(err, LM_ERR_USAGE, "%s is neither a file nor a folder", lm_quoted_z(&q, path));
    else if (!r.root || !r.issues)
        status = lm_fail(err, LM_ERR_NOMEM, "no memory for a report");
    else {
        lm_report_set(&r, "path", json_string(path));
        status = fill(&r, options, err);
        lm_report_set(&r, "requires_python_conversion", json_false());
        lm_report_set(&r, "valid", json_boolean(!r.broken));
        lm_report_set(&r, "issues", json_incref(r.issues));
        if (status == LM_OK && r.failed)
            status = lm_fail(err, LM_ERR_NOMEM, "no memory for a report");
    }
    json_decref(r.issues);
    if (status != LM_OK) {
        json_decref(r.root);
        return status;
    }
    *out = r.root;
    return LM_OK;
}
