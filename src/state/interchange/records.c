/* state/interchange/records.c - state bundles and session artifacts: one JSON each (SPEC 9.1, 9.4). */
#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "state/interchange/analysis.h"
#include "state/interchange/prefixmap.h"

static const char bundle_kind[] = "go-mlx/state-bundle", artifact_kind[] = "go-mlx/session-state";
enum { MAX_JSON = 1 << 30 };

void lm_record_defaults(lm_record_options *out)
{
    *out = (lm_record_options){ .size = sizeof *out, .encoding = LM_SNAPSHOT_NATIVE };
}

static const char *text(const char *s)
{
    return s ? s : "";
}

/* The encoded snapshot's hash, and its bytes as base64 where they are wanted. */
static lm_status encoded(const lm_snapshot *s, const lm_record_options *o, char hash[65], lm_str *base64,
                         lm_error *err)
{
    lm_str bytes = { 0 };
    lm_sink to = lm_sink_str(&bytes);
    lm_sha *sha = NULL;
    if (!o->inline_kv) {
        LM_TRY(lm_sha_open(&sha, err));
        to = lm_sink_sha(sha);
        lm_status st = lm_snapshot_encode(s, o->encoding, &to, err);
        lm_digest d = lm_sha_close(sha);
        lm_digest_hex(&d, hash);
        return st;
    }
    lm_status st = lm_snapshot_encode(s, o->encoding, &to, err);
    if (st == LM_OK)
        st = lm_hash_text(bytes.s, bytes.n, hash, err);
    if (st == LM_OK) {
        lm_base64_add(base64, (const uint8_t *)bytes.s, bytes.n);
        st = lm_str_status(base64, err);
    }
    lm_str_clear(&bytes);
    return st;
}

static json_t *prompt_object(const lm_snapshot *s, const lm_record_options *o, bool *failed)
{
    char hash[65] = "";
    json_t *p = json_object();
    *failed |= !p;
    if (o->prompt && lm_hash_text(o->prompt, strlen(o->prompt), hash, NULL) != LM_OK)
        *failed = true;
    lm_set(p, "text", lm_json_string(o->prompt), failed);
    lm_set(p, "hash", json_string(hash), failed);
    lm_set(p, "token_count", json_integer(s->n_tokens), failed);
    lm_set(p, "token_offset", json_integer(lm_snapshot_offset(s)), failed);
    return p;
}

static json_t *adapter_object(const lm_record_options *o, bool *failed)
{
    json_t *a = json_object(), *keys = json_array();
    *failed |= !a || !keys;
    lm_set(a, "name", lm_json_string(o->adapter_name), failed);
    lm_set(a, "path", lm_json_string(o->adapter_path), failed);
    lm_set(a, "hash", lm_json_string(o->adapter_hash), failed);
    lm_set(a, "rank", json_integer(o->adapter_rank), failed);
    lm_set(a, "alpha", json_real(o->adapter_alpha), failed);
    lm_set(a, "scale", json_real(o->adapter_scale), failed);
    for (size_t i = 0; i < o->n_adapter_keys && !*failed; i++)
        *failed |= json_array_append_new(keys, lm_json_string(o->adapter_keys[i])) != 0;
    lm_set(a, "target_keys", keys, failed);
    return a;
}

static json_t *sampler_object(const lm_record_options *o, bool *failed)
{
    json_t *p = json_object();
    const lm_sample_params *s = o->sampler;
    *failed |= !p;
    lm_set(p, "max_tokens", json_integer(o->max_tokens), failed);
    if (s) {
        lm_set(p, "temperature", json_real((double)s->temperature), failed);
        lm_set(p, "top_k", json_integer(s->top_k), failed);
        lm_set(p, "top_p", json_real((double)s->top_p), failed);
        lm_set(p, "min_p", json_real((double)s->min_p), failed);
        lm_set(p, "repeat_penalty", json_real((double)s->penalty_repeat), failed);
    }
    lm_set(p, "stop_tokens", json_array(), failed);
    return p;
}

static json_t *runtime_object(const lm_record_options *o, bool *failed)
{
    json_t *r = json_object();
    *failed |= !r;
    lm_set(r, "name", lm_json_string(o->runtime_name ? o->runtime_name : "lemma"), failed);
    lm_set(r, "version", lm_json_string(o->runtime_version ? o->runtime_version : LM_VERSION), failed);
    lm_set(r, "build", lm_json_string(o->runtime_build), failed);
    lm_set(r, "platform", lm_json_string(o->runtime_platform), failed);
    return r;
}

static json_t *refs_array(const lm_record_options *o, const char *hash, bool *failed)
{
    json_t *list = json_array(), *r = json_object();
    *failed |= !list || !r;
    lm_set(r, "kind", json_string("state"), failed);
    lm_set(r, "uri", lm_json_string(o->ref_uri), failed);
    lm_set(r, "hash", json_string(hash), failed);
    lm_set(r, "title", lm_json_string(o->ref_title), failed);
    lm_set(r, "track", json_string("session-kv"), failed);
    lm_set(r, "chunk", lm_chunk_ref_object(o->ref), failed);
    if (json_array_append_new(list, r) != 0)
        *failed = true;
    return list;
}

/* Analysis and SAMI into `to`. */
static lm_status add_analysis(const lm_snapshot *s, const lm_record_options *o, bool features, json_t *to,
                              bool *failed, lm_error *err)
{
    lm_analysis a;
    json_t *analysis = NULL, *sami = NULL, *list = json_array(), *names = json_array();
    double f[LM_ANALYSIS_FEATURES];
    LM_TRY(lm_snapshot_analyse(s, &a, err));
    lm_status st = lm_analysis_object(&a, &analysis, err);
    if (st == LM_OK)
        st = lm_sami_object(&a, s, o->model ? o->model->name : "", o->prompt, &sami, err);
    lm_analysis_features(&a, f);
    *failed |= !list || !names;
    for (int i = 0; i < LM_ANALYSIS_FEATURES && !*failed; i++)
        *failed |= json_array_append_new(list, json_real(f[i] == f[i] ? f[i] : 0)) != 0 ||
                   json_array_append_new(names, json_string(lm_analysis_label(i))) != 0;
    lm_analysis_clear(&a);
    if (st == LM_OK) {
        lm_set(to, "analysis", json_incref(analysis), failed);
        if (features) {
            lm_set(to, "features", json_incref(list), failed);
            lm_set(to, "feature_labels", json_incref(names), failed);
        }
        lm_set(to, "sami", json_incref(sami), failed);
    }
    json_decref(analysis);
    json_decref(sami);
    json_decref(list);
    json_decref(names);
    return st;
}

/* --- state bundles ------------------------------------------------------------------------ */

static lm_status fill_bundle(const lm_snapshot *s, const lm_record_options *o, json_t *b, lm_error *err)
{
    char hash[65];
    bool failed = !b;
    lm_str base64 = { 0 };
    lm_status st = encoded(s, o, hash, &base64, err);
    if (st != LM_OK) {
        lm_str_clear(&base64);
        return st;
    }
    lm_set(b, "version", json_integer(1), &failed);
    lm_set(b, "kind", json_string(bundle_kind), &failed);
    lm_set(b, "model", lm_map_model_object(o->model, &failed), &failed);
    lm_set(b, "prompt", prompt_object(s, o, &failed), &failed);
    lm_set(b, "tokenizer", lm_map_tokenizer_object(o->tokenizer, &failed), &failed);
    lm_set(b, "runtime", runtime_object(o, &failed), &failed);
    if (o->adapter_name || o->adapter_path || o->adapter_hash)
        lm_set(b, "adapter", adapter_object(o, &failed), &failed);
    lm_set(b, "sampler", sampler_object(o, &failed), &failed);
    if (o->inline_kv) {
        json_t *kv = json_object();
        failed |= !kv;
        lm_set(kv, "kv_encoding", json_string(lm_snapshot_encoding_name(o->encoding)), &failed);
        lm_set(kv, "binary_encoding", json_string("base64"), &failed);
        lm_set(kv, "data", json_stringn(lm_str_z(&base64), base64.n), &failed);
        lm_set(b, "kv", kv, &failed);
    }
    lm_str_clear(&base64);
    if (o->kv_path)
        lm_set(b, "kv_path", lm_json_string(o->kv_path), &failed);
    lm_set(b, "kv_hash", json_string(hash), &failed);
    if (o->ref)
        lm_set(b, "refs", refs_array(o, hash, &failed), &failed);
    lm_set(b, "meta", lm_tags_object(o->meta, o->n_meta, &failed), &failed);
    if (!o->no_analysis)
        LM_TRY(add_analysis(s, o, false, b, &failed, err));
    return failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a state bundle") : LM_OK;
}

lm_status lm_state_bundle_make(const lm_snapshot *s, const lm_record_options *options, char **json, size_t *n,
                               lm_error *err)
{
    lm_record_options o;
    lm_record_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    if (!o.inline_kv && !o.kv_path && !o.ref)
        return lm_fail(err, LM_ERR_USAGE, "a state bundle needs its state: inline, in a file or in a chunk");
    json_t *b = json_object();
    lm_status st = fill_bundle(s, &o, b, err);
    if (st == LM_OK)
        st = lm_json_text(b, 2, json, n, err);
    json_decref(b);
    return st;
}

static lm_status check_bundle(const json_t *b, lm_error *err)
{
    uint64_t version;
    const char *hash, *path;
    lm_map_model model;
    lm_map_tokenizer tokenizer;
    lm_quoted_buf q;
    LM_TRY(lm_field_is(b, "kind", bundle_kind, err));
    LM_TRY(lm_field_number(b, "version", INT32_MAX, &version, err));
    if (version != 1)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "'version' is %" PRIu64 ", this version reads 1", version);
    LM_TRY(lm_field_text(b, "kv_hash", &hash, err));
    LM_TRY(lm_field_text(b, "kv_path", &path, err));
    if (hash[0] && !lm_is_hex64(hash))
        return lm_fail(err, LM_ERR_CORRUPT, "'kv_hash' is '%s', no SHA-256", lm_quoted_z(&q, hash));
    LM_TRY(lm_map_model_of(json_object_get(b, "model"), &model, err));
    LM_TRY(lm_map_tokenizer_of(json_object_get(b, "tokenizer"), &tokenizer, err));
    const json_t *prompt = json_object_get(b, "prompt"), *refs = json_object_get(b, "refs");
    LM_TRY(lm_field_text(prompt, "hash", &hash, err));
    if (hash[0] && !lm_is_hex64(hash))
        return lm_fail(err, LM_ERR_CORRUPT, "the prompt's hash is '%s', no SHA-256", lm_quoted_z(&q, hash));
    for (size_t i = 0; i < json_array_size(refs); i++) {
        const json_t *r = json_array_get(refs, i);
        const char *kind;
        LM_TRY(lm_field_text(r, "kind", &kind, err));
        LM_TRY(lm_field_text(r, "hash", &hash, err));
        if ((strcmp(kind, "state") != 0 && strcmp(kind, "memvid") != 0) || (hash[0] && !lm_is_hex64(hash)))
            return lm_fail(err, LM_ERR_CORRUPT, "reference %zu is a '%s', or its hash no SHA-256", i,
                           lm_quoted_z(&q, kind));
    }
    if (!json_is_object(json_object_get(b, "kv")) && !path[0] && json_array_size(refs) == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "it has neither a state, nor a path, nor a reference to one");
    return LM_OK;
}

/* Gives the checked object (json_decref()). */
static lm_status open_bundle(const char *json, size_t n, json_t **out, lm_error *err)
{
    lm_json_limits limits = { .max_bytes = MAX_JSON, .max_values = 1 << 20 };
    LM_TRY(lm_json_parse(out, json, n, "a state bundle", &limits, err));
    lm_status st = check_bundle(*out, err);
    if (st != LM_OK) {
        json_decref(*out);
        return lm_wrap(err, st, "a state bundle");
    }
    return LM_OK;
}

lm_status lm_state_bundle_check(const char *json, size_t n, lm_error *err)
{
    json_t *b = NULL;
    LM_TRY(open_bundle(json, n, &b, err));
    json_decref(b);
    return LM_OK;
}

/* T4: a name or a relative path that goes down only. */
static bool stays_below(const char *path)
{
    if (path[0] == '/' || strlen(path) > 1024)
        return false;
    for (const char *p = path; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
    }
    return path[0] != 0;
}

/* Adopts `bytes`. */
static lm_status decode(uint8_t *bytes, size_t n, const char *hash, lm_snapshot **out, lm_error *err)
{
    char computed[65];
    lm_snapshot *s = NULL;
    lm_status st = lm_hash_text((const char *)bytes, n, computed, err);
    if (st == LM_OK && hash[0] && strcmp(hash, computed) != 0)
        st = lm_fail(err, LM_ERR_CORRUPT, "the state does not match its hash");
    if (st == LM_OK)
        st = lm_snapshot_decode(&s, bytes, n, 0, err);
    if (st == LM_OK)
        st = lm_grow((void **)&s->owned, &s->cap_owned, s->n_owned + 1, sizeof *s->owned, err);
    if (st != LM_OK) {
        lm_snapshot_close(s);
        lm_free(bytes);
        return st;
    }
    s->owned[s->n_owned++] = bytes;
    *out = s;
    return LM_OK;
}

static lm_status from_file(const char *folder, const char *path, const char *hash, lm_snapshot **out,
                           lm_error *err)
{
    lm_str full = { 0 };
    lm_map *m = NULL;
    char computed[65];
    lm_quoted_buf q;
    if (!folder)
        return lm_fail(err, LM_ERR_USAGE, "the state lies in a file, and files are not read here");
    if (!stays_below(path))
        return lm_fail(err, LM_ERR_CORRUPT, "'kv_path' is '%s', allowed are paths below the bundle's folder",
                       lm_quoted_z(&q, path));
    lm_str_addf(&full, "%s/%s", folder, path);
    lm_status st = lm_str_status(&full, err);
    if (st == LM_OK)
        st = lm_map_open(&m, lm_str_z(&full), err);
    if (st == LM_OK)
        st = lm_hash_text((const char *)lm_map_data(m), (size_t)lm_map_size(m), computed, err);
    if (st == LM_OK && hash[0] && strcmp(hash, computed) != 0)
        st = lm_fail(err, LM_ERR_CORRUPT, "the state in '%s' does not match its hash", lm_quoted_z(&q, path));
    if (st == LM_OK)
        st = lm_snapshot_decode(out, lm_map_data(m), (size_t)lm_map_size(m), 0, err);
    if (st == LM_OK)
        (*out)->map = m;
    else
        lm_map_close(m);
    lm_str_clear(&full);
    return st;
}

static lm_status from_chunk(const json_t *refs, lm_chunks *c, const char *hash, lm_snapshot **out,
                            lm_error *err)
{
    lm_chunk_ref ref;
    lm_chunk chunk;
    const json_t *r = json_array_get(refs, 0);
    const char *uri;
    uint8_t *bytes = NULL;
    if (!c)
        return lm_fail(err, LM_ERR_USAGE, "the state lies in a chunk, and there is no store to look in");
    LM_TRY(lm_field_text(r, "uri", &uri, err));
    const json_t *place = json_object_get(r, "chunk");
    if (place) {
        LM_TRY(lm_chunk_ref_of(place, &ref, err));
        LM_TRY(lm_chunks_resolve(c, &ref, &chunk, err));
    } else
        LM_TRY(lm_chunks_find(c, uri, &chunk, err));
    lm_status st = LM_NEW(&bytes, chunk.n, err);
    size_t n = chunk.n;
    if (st == LM_OK && n)
        memcpy(bytes, chunk.bytes, n);
    lm_chunk_clear(&chunk);
    return st == LM_OK ? decode(bytes, n, hash, out, err) : st;
}

lm_status lm_state_bundle_load(const char *json, size_t n, const char *folder, lm_chunks *c,
                               lm_snapshot **out, lm_error *err)
{
    json_t *b = NULL;
    const char *hash = "", *path = "";
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    LM_TRY(open_bundle(json, n, &b, err));
    const json_t *kv = json_object_get(b, "kv"), *data = json_object_get(kv, "data");
    lm_status st = lm_field_text(b, "kv_hash", &hash, err);
    if (st == LM_OK)
        st = lm_field_text(b, "kv_path", &path, err);
    if (st == LM_OK && json_is_object(kv)) {
        st = json_is_string(data)
                 ? lm_base64_take(json_string_value(data), json_string_length(data), &bytes, &n_bytes, err)
                 : lm_fail(err, LM_ERR_UNSUPPORTED, "the state inside the bundle is no base64");
        if (st == LM_OK)
            st = decode(bytes, n_bytes, hash, out, err);
    } else if (st == LM_OK && path[0])
        st = from_file(folder, path, hash, out, err);
    else if (st == LM_OK)
        st = from_chunk(json_object_get(b, "refs"), c, hash, out, err);
    json_decref(b);
    return st;
}

lm_status lm_state_bundle_compatible(const char *json, size_t n, const lm_map_model *model,
                                     const lm_record_options *adapter, lm_map_report *out, lm_error *err)
{
    static const lm_record_options none;
    lm_map_report own, *r = out ? out : &own;
    const lm_record_options *a = adapter ? adapter : &none;
    json_t *b = NULL;
    const char *architecture = "", *path = "", *hash = "", *name = "";
    uint32_t layers = 0, rank = 0;
    memset(r, 0, sizeof *r);
    LM_TRY(open_bundle(json, n, &b, err));
    const json_t *m = json_object_get(b, "model"), *x = json_object_get(b, "adapter");
    lm_status st = lm_field_text(m, "architecture", &architecture, err);
    if (st == LM_OK)
        st = lm_field_u32(m, "num_layers", &layers, err);
    if (st == LM_OK)
        st = lm_field_text(x, "name", &name, err);
    if (st == LM_OK)
        st = lm_field_text(x, "path", &path, err);
    if (st == LM_OK)
        st = lm_field_text(x, "hash", &hash, err);
    if (st == LM_OK)
        st = lm_field_u32(x, "rank", &rank, err);
    double alpha = json_number_value(json_object_get(x, "alpha"));
    bool had = name[0] || path[0] || hash[0];
    bool has = text(a->adapter_name)[0] || text(a->adapter_path)[0] || text(a->adapter_hash)[0];
    const struct {
        bool differs;
        const char *reason;
    } checks[] = { { strcmp(architecture, text(model->architecture)) != 0, "model_architecture_mismatch" },
                   { layers != model->num_layers, "model_layer_mismatch" },
                   { had && !has, "adapter_missing" },
                   { has && !had, "adapter_unexpected" },
                   { had && has && strcmp(hash, text(a->adapter_hash)) != 0, "adapter_hash_mismatch" },
                   { had && has && strcmp(path, text(a->adapter_path)) != 0, "adapter_path_mismatch" },
                   { had && has && rank != a->adapter_rank, "adapter_rank_mismatch" },
                   { had && has && (alpha < a->adapter_alpha || alpha > a->adapter_alpha),
                     "adapter_alpha_mismatch" } };
    for (size_t i = 0; i < LM_LEN(checks) && st == LM_OK; i++)
        if (checks[i].differs)
            lm_reason(r->reasons, sizeof r->reasons, checks[i].reason);
    json_decref(b);
    if (st == LM_OK && r->reasons[0])
        st = lm_fail(err, LM_ERR_MISMATCH, "it cannot be resumed: %s", r->reasons);
    return st;
}

/* --- artifacts ------------------------------------------------------------------------------- */

static json_t *summary(const lm_snapshot *s, bool *failed)
{
    json_t *o = json_object();
    *failed |= !o;
    lm_set(o, "architecture", lm_json_string(s->architecture), failed);
    lm_set(o, "token_count", json_integer(s->n_tokens), failed);
    lm_set(o, "num_layers", json_integer(s->num_layers), failed);
    lm_set(o, "num_heads", json_integer(s->num_heads), failed);
    lm_set(o, "seq_len", json_integer(lm_snapshot_seq_len(s)), failed);
    lm_set(o, "head_dim", json_integer(s->head_dim), failed);
    lm_set(o, "num_query_heads", json_integer(s->num_query_heads), failed);
    return o;
}

static lm_status fill_artifact(const lm_snapshot *s, const lm_record_options *o, const char *kind, json_t *b,
                               lm_error *err)
{
    bool failed = !b;
    lm_set(b, "version", json_integer(1), &failed);
    lm_set(b, "kind", lm_json_string(kind), &failed);
    lm_set(b, "model", lm_map_model_object(o->model, &failed), &failed);
    lm_set(b, "prompt", prompt_object(s, o, &failed), &failed);
    lm_set(b, "snapshot", summary(s, &failed), &failed);
    LM_TRY(add_analysis(s, o, true, b, &failed, err));
    if (o->kv_path)
        lm_set(b, "kv_path", lm_json_string(o->kv_path), &failed);
    if (o->ref)
        lm_set(b, "chunk_ref", lm_chunk_ref_object(o->ref), &failed);
    return failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for an artifact") : LM_OK;
}

lm_status lm_artifact_export(const lm_snapshot *s, const lm_record_options *options, lm_chunks *c,
                             const char *uri, char **json, size_t *n, lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "session-state" };
    lm_record_options o;
    char *out = NULL;
    size_t n_out = 0;
    lm_record_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    const char *kind = text(o.kind)[0] ? o.kind : artifact_kind; /* R6 */
    json_t *b = json_object();
    lm_status st = fill_artifact(s, &o, kind, b, err);
    if (st == LM_OK)
        st = lm_json_text(b, 2, &out, &n_out, err);
    json_decref(b);
    if (st == LM_OK && o.kv_path)
        st = lm_snapshot_write(s, o.kv_path, o.encoding, err);
    lm_chunk_about about = {
        .uri = uri, .kind = kind, .track = "session-kv", .labels = labels, .n_labels = 2
    };
    if (st == LM_OK && c)
        st = lm_chunks_put(c, out, n_out, &about, NULL, err);
    if (st == LM_OK && json) {
        *json = out;
        if (n)
            *n = n_out;
    } else
        lm_free(out);
    return st;
}
