/* state/interchange/prefixmap.c - the index of a block bundle (SPEC 7; docs/formats/block-bundle.md). */
#include "state/interchange/prefixmap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"

static const char kind[] = "go-mlx/kv-snapshot-bundle-index";
enum { MAX_ENTRIES = 1 << 16, MAX_JSON = 64 << 20, MAX_LABELS = 256 };

typedef struct {
    lm_map_entry e;
    const char **labels;
    lm_chunk_tag *meta;
} entry;

struct lm_prefix_map {
    json_t *o; /* what texts are borrowed from */
    const char *bundle_uri, *snapshot_hash, *encoding, *hash;
    uint32_t token_count, block_size;
    lm_map_model model;
    lm_map_tokenizer tokenizer;
    entry *entries;
    size_t n;
};

void lm_prefix_map_close(lm_prefix_map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        lm_free((void *)m->entries[i].labels);
        lm_free(m->entries[i].meta);
    }
    lm_free(m->entries);
    json_decref(m->o);
    lm_free(m);
}

const char *lm_prefix_map_hash(const lm_prefix_map *m)
{
    return m->hash;
}

size_t lm_prefix_map_count(const lm_prefix_map *m)
{
    return m->n;
}

/* --- hashes -------------------------------------------------------------------------------- */

static const char *text(const char *s)
{
    return s ? s : "";
}

static int by_key(const void *a, const void *b)
{
    const lm_chunk_tag *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static lm_status finish_hash(lm_str *t, char out[65], lm_error *err)
{
    lm_status st = lm_str_status(t, err);
    if (st == LM_OK)
        st = lm_hash_text(lm_str_z(t), t->n, out, err);
    lm_str_clear(t);
    return st;
}

/* SPEC 7.9: fields, labels, metadata sorted by key, joined by |. */
static lm_status entry_hash(const lm_map_entry *e, char out[65], lm_error *err)
{
    lm_str t = { 0 };
    lm_chunk_tag *sorted = NULL;
    LM_TRY(LM_NEW(&sorted, e->n_meta, err));
    if (e->n_meta) {
        memcpy(sorted, e->meta, e->n_meta * sizeof *sorted);
        qsort(sorted, e->n_meta, sizeof *sorted, by_key);
    }
    lm_str_addf(&t, "%s|%s|%s|%u|%u|%" PRIu64 "|%" PRIu64, text(e->uri), text(e->bundle_uri), text(e->title),
                e->token_start, e->token_count, e->byte_start, e->byte_count);
    for (size_t i = 0; i < e->n_labels; i++)
        lm_str_addf(&t, "|%s", e->labels[i]);
    for (size_t i = 0; i < e->n_meta; i++)
        lm_str_addf(&t, "|%s=%s", sorted[i].key, text(sorted[i].value));
    lm_free(sorted);
    return finish_hash(&t, out, err);
}

/* SPEC 7.10. */
static lm_status map_hash(const lm_prefix_map *m, char out[65], lm_error *err)
{
    lm_str t = { 0 };
    lm_str_addf(&t, "%s|%s|%s|%s|%u|%u|%s|%s|%s", kind, m->bundle_uri, m->snapshot_hash, m->encoding,
                m->token_count, m->block_size, m->model.hash, m->tokenizer.hash,
                m->tokenizer.chat_template_hash);
    for (size_t i = 0; i < m->n; i++)
        lm_str_addf(&t, "|%s", m->entries[i].e.hash);
    return finish_hash(&t, out, err);
}

/* --- reading ------------------------------------------------------------------------------- */

static lm_status read_lists(const json_t *o, entry *x, lm_error *err)
{
    const json_t *labels = json_object_get(o, "labels"), *meta = json_object_get(o, "meta");
    const char *key;
    json_t *v;
    size_t n = json_array_size(labels), k = json_object_size(meta);
    if ((labels && !json_is_array(labels) && !json_is_null(labels)) ||
        (meta && !json_is_object(meta) && !json_is_null(meta)) || n > MAX_LABELS || k > MAX_LABELS)
        return lm_fail(err, LM_ERR_CORRUPT, "labels or meta of %zu and %zu entries, allowed are %d", n, k,
                       MAX_LABELS);
    LM_TRY(lm_new((void **)&x->labels, n, sizeof *x->labels, err));
    LM_TRY(LM_NEW(&x->meta, k, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *l = json_array_get(labels, i);
        if (!json_is_string(l))
            return lm_fail(err, LM_ERR_CORRUPT, "label %zu is no text", i);
        x->labels[i] = json_string_value(l);
    }
    json_object_foreach((json_t *)(uintptr_t)meta, key, v)
    {
        if (!json_is_string(v))
            return lm_fail(err, LM_ERR_CORRUPT, "a value of meta is no text");
        x->meta[x->e.n_meta++] = (lm_chunk_tag){ key, json_string_value(v) };
    }
    x->e.labels = x->labels;
    x->e.n_labels = n;
    x->e.meta = x->meta;
    return LM_OK;
}

static lm_status read_entry(const lm_prefix_map *m, const json_t *o, entry *x, lm_error *err)
{
    char hash[65];
    LM_TRY(lm_field_text(o, "uri", &x->e.uri, err));
    LM_TRY(lm_field_text(o, "bundle_uri", &x->e.bundle_uri, err));
    LM_TRY(lm_field_text(o, "title", &x->e.title, err));
    LM_TRY(lm_field_u32(o, "token_start", &x->e.token_start, err));
    LM_TRY(lm_field_u32(o, "token_count", &x->e.token_count, err));
    LM_TRY(lm_field_number(o, "byte_start", INT64_MAX, &x->e.byte_start, err));
    LM_TRY(lm_field_number(o, "byte_count", INT64_MAX, &x->e.byte_count, err));
    LM_TRY(lm_field_text(o, "hash", &x->e.hash, err));
    LM_TRY(read_lists(o, x, err));
    if (!x->e.uri[0])
        return lm_fail(err, LM_ERR_CORRUPT, "it has no URI");
    if (x->e.token_count == 0 || (uint64_t)x->e.token_start + x->e.token_count > m->token_count)
        return lm_fail(err, LM_ERR_CORRUPT, "%u tokens from %u on, the bundle has %u", x->e.token_count,
                       x->e.token_start, m->token_count);
    LM_TRY(entry_hash(&x->e, hash, err));
    if (strcmp(hash, x->e.hash) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "it does not match its hash");
    return LM_OK;
}

static int by_uri(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lm_status check_unique(const lm_prefix_map *m, lm_error *err)
{
    const char **uris = NULL;
    lm_quoted_buf q;
    lm_status st = lm_new((void **)&uris, m->n, sizeof *uris, err);
    for (size_t i = 0; i < m->n && st == LM_OK; i++)
        uris[i] = m->entries[i].e.uri;
    if (st == LM_OK)
        qsort((void *)uris, m->n, sizeof *uris, by_uri);
    for (size_t i = 1; i < m->n && st == LM_OK; i++)
        if (strcmp(uris[i - 1], uris[i]) == 0)
            st = lm_fail(err, LM_ERR_CORRUPT, "two entries are called '%s'", lm_quoted_z(&q, uris[i]));
    lm_free((void *)uris);
    return st;
}

static lm_status read_map(lm_prefix_map *m, lm_error *err)
{
    const json_t *o = m->o, *entries = json_object_get(o, "entries");
    uint64_t version;
    char hash[65];
    LM_TRY(lm_field_is(o, "kind", kind, err));
    LM_TRY(lm_field_number(o, "version", INT32_MAX, &version, err));
    if (version != 1)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "'version' is %" PRIu64 ", this version reads 1", version);
    LM_TRY(lm_field_text(o, "bundle_uri", &m->bundle_uri, err));
    LM_TRY(lm_field_text(o, "snapshot_hash", &m->snapshot_hash, err));
    LM_TRY(lm_field_text(o, "kv_encoding", &m->encoding, err));
    LM_TRY(lm_field_text(o, "hash", &m->hash, err));
    LM_TRY(lm_field_u32(o, "token_count", &m->token_count, err));
    LM_TRY(lm_field_u32(o, "block_size", &m->block_size, err));
    LM_TRY(lm_map_model_of(json_object_get(o, "model"), &m->model, err));
    LM_TRY(lm_map_tokenizer_of(json_object_get(o, "tokenizer"), &m->tokenizer, err));
    size_t n = json_array_size(entries);
    if (m->token_count == 0 || n == 0 || n > MAX_ENTRIES)
        return lm_fail(err, LM_ERR_CORRUPT, "%u tokens and %zu entries, allowed are 1 to %d entries",
                       m->token_count, n, MAX_ENTRIES);
    LM_TRY(LM_NEW(&m->entries, n, err));
    for (size_t i = 0; i < n; i++) {
        m->n++;
        lm_status st = read_entry(m, json_array_get(entries, i), &m->entries[i], err);
        if (st != LM_OK)
            return lm_wrap(err, st, "entry %zu", i);
    }
    LM_TRY(check_unique(m, err));
    LM_TRY(map_hash(m, hash, err));
    if (strcmp(hash, m->hash) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "it does not match its hash");
    return LM_OK;
}

/* Adopts `o`. */
static lm_status of_object(json_t *o, lm_prefix_map **out, lm_error *err)
{
    lm_prefix_map *m = NULL;
    lm_status st = LM_NEW(&m, 1, err);
    if (st != LM_OK) {
        json_decref(o);
        return st;
    }
    m->o = o;
    st = read_map(m, err);
    if (st != LM_OK) {
        lm_prefix_map_close(m);
        return lm_wrap(err, st, "a bundle's index");
    }
    *out = m;
    return LM_OK;
}

lm_status lm_prefix_map_parse(const char *json, size_t n, lm_prefix_map **out, lm_error *err)
{
    json_t *o = NULL;
    lm_json_limits limits = { .max_bytes = MAX_JSON };
    LM_TRY(lm_json_parse(&o, json, n, "a bundle's index", &limits, err));
    return of_object(o, out, err);
}

lm_status lm_prefix_map_read(lm_chunks *c, const char *uri, lm_prefix_map **out, lm_error *err)
{
    lm_chunk chunk;
    LM_TRY(lm_chunks_find(c, uri, &chunk, err));
    lm_status st = lm_prefix_map_parse((const char *)chunk.bytes, chunk.n, out, err);
    lm_chunk_clear(&chunk);
    return st;
}

/* --- making ---------------------------------------------------------------------------------- */

/* SPEC 7.13: from the first block that the span overlaps, over all that it does. */
static void fill_bytes(const lm_blocks *b, lm_map_entry *e)
{
    bool first = true;
    if (e->byte_start || e->byte_count)
        return;
    for (size_t i = 0; i < b->n_blocks; i++) {
        const lm_block_ref *r = &b->blocks[i];
        if (r->token_start >= e->token_start + e->token_count ||
            r->token_start + r->token_count <= e->token_start)
            continue;
        if (first)
            e->byte_start = r->ref.frame_offset;
        first = false;
        e->byte_count += r->n_bytes;
    }
}

static json_t *entry_object(const lm_map_entry *e, const char *hash, bool *failed)
{
    json_t *o = json_object(), *labels = json_array();
    *failed |= !o || !labels;
    lm_set(o, "uri", lm_json_string(e->uri), failed);
    lm_set(o, "bundle_uri", lm_json_string(e->bundle_uri), failed);
    lm_set(o, "title", lm_json_string(e->title), failed);
    lm_set(o, "token_start", json_integer(e->token_start), failed);
    lm_set(o, "token_count", json_integer(e->token_count), failed);
    lm_set(o, "byte_start", json_integer((json_int_t)e->byte_start), failed);
    lm_set(o, "byte_count", json_integer((json_int_t)e->byte_count), failed);
    lm_set(o, "hash", json_string(hash), failed);
    for (size_t i = 0; i < e->n_labels && !*failed; i++)
        *failed |= json_array_append_new(labels, lm_json_string(e->labels[i])) != 0;
    lm_set(o, "labels", labels, failed);
    lm_set(o, "meta", lm_tags_object(e->meta, e->n_meta, failed), failed);
    return o;
}

/* Everything but the map's own hash. */
static lm_status describe(const lm_blocks *b, const char *uri, const lm_map_model *model,
                          const lm_map_tokenizer *tokenizer, const lm_map_entry *entries, size_t n, json_t *o,
                          lm_error *err)
{
    json_t *list = json_array();
    bool failed = !o || !list;
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "kind", json_string(kind), &failed);
    lm_set(o, "bundle_uri", lm_json_string(uri), &failed);
    lm_set(o, "snapshot_hash", json_string(b->snapshot_hash), &failed);
    lm_set(o, "kv_encoding", json_string(lm_snapshot_encoding_name(b->encoding)), &failed);
    lm_set(o, "token_count", json_integer(b->token_count), &failed);
    lm_set(o, "block_size", json_integer(b->block_size), &failed);
    lm_set(o, "model", lm_map_model_object(model, &failed), &failed);
    lm_set(o, "tokenizer", lm_map_tokenizer_object(tokenizer, &failed), &failed);
    for (size_t i = 0; i < n && !failed; i++) {
        lm_map_entry e = entries[i];
        char hash[65];
        e.bundle_uri = e.bundle_uri && e.bundle_uri[0] ? e.bundle_uri : uri;
        fill_bytes(b, &e);
        lm_status st = entry_hash(&e, hash, err);
        if (st != LM_OK) {
            json_decref(list);
            return st;
        }
        failed |= json_array_append_new(list, entry_object(&e, hash, &failed)) != 0;
    }
    lm_set(o, "entries", list, &failed);
    return failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a bundle's index") : LM_OK;
}

/* The hash goes over what reading gives, so the object is read before it has one. */
static lm_status seal(json_t *o, lm_error *err)
{
    lm_prefix_map m = { .o = o };
    char hash[65];
    bool failed = false;
    lm_error first = { 0 };
    lm_set(o, "hash", json_string(""), &failed);
    lm_status st = failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a hash") : read_map(&m, &first);
    /* All but the last check must have held. */
    if (!failed && (m.n == 0 || !m.hash || strcmp(first.text, "it does not match its hash") != 0))
        st = lm_fail(err, first.status == LM_ERR_CORRUPT ? LM_ERR_USAGE : first.status, "%s", first.text);
    else if (!failed)
        st = map_hash(&m, hash, err);
    if (st == LM_OK)
        lm_set(o, "hash", json_string(hash), &failed);
    for (size_t i = 0; i < m.n; i++) {
        lm_free((void *)m.entries[i].labels);
        lm_free(m.entries[i].meta);
    }
    lm_free(m.entries);
    return failed ? LM_ERR_NOMEM : st;
}

lm_status lm_prefix_map_make(const lm_blocks *b, const char *uri, const lm_map_model *model,
                             const lm_map_tokenizer *tokenizer, const lm_map_entry *entries, size_t n,
                             lm_prefix_map **out, lm_error *err)
{
    if (!b || b->token_count == 0 || b->n_blocks == 0) /* R5 */
        return lm_fail(err, LM_ERR_USAGE, "an index needs a bundle with tokens");
    lm_map_entry whole = { .uri = uri && uri[0] ? uri : "mlx://kv/full",
                           .title = "full bundle",
                           .token_count = b->token_count };
    json_t *o = json_object();
    lm_status st = describe(b, text(uri), model, tokenizer, n ? entries : &whole, n ? n : 1, o, err);
    if (st == LM_OK)
        st = seal(o, err);
    if (st != LM_OK) {
        json_decref(o);
        return st;
    }
    return of_object(o, out, err);
}

lm_status lm_prefix_map_json(const lm_prefix_map *m, char **out, size_t *n, lm_error *err)
{
    return lm_json_text(m->o, 0, out, n, err);
}

lm_status lm_prefix_map_put(const lm_prefix_map *m, lm_chunks *c, const char *uri, lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "kv-snapshot-bundle-index" };
    lm_chunk_about about = {
        .uri = uri, .kind = kind, .track = "session-kv-index", .labels = labels, .n_labels = 2
    };
    char *json = NULL;
    size_t n;
    LM_TRY(lm_prefix_map_json(m, &json, &n, err));
    lm_status st = lm_chunks_put(c, json, n, &about, NULL, err);
    lm_free(json);
    return st == LM_OK ? lm_chunks_sync(c, err) : st;
}

/* --- using ------------------------------------------------------------------------------------- */

lm_status lm_prefix_map_find(const lm_prefix_map *m, const char *uri, lm_map_entry *out, lm_error *err)
{
    lm_quoted_buf q;
    if (!uri || !uri[0]) { /* R4 */
        if (m->n != 1)
            return lm_fail(err, LM_ERR_USAGE, "the index has %zu entries: name one by its URI", m->n);
        *out = m->entries[0].e;
        return LM_OK;
    }
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->entries[i].e.uri, uri) == 0) {
            *out = m->entries[i].e;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_NOT_FOUND, "the index has no entry '%s'", lm_quoted_z(&q, uri));
}

uint32_t lm_prefix_map_context(const lm_prefix_map *m)
{
    uint32_t most = 0;
    for (size_t i = 0; i < m->n; i++)
        most = LM_MAX(most, m->entries[i].e.token_start + m->entries[i].e.token_count);
    return most;
}

static bool comparable(const lm_map_model *a)
{
    return text(a->name)[0] || text(a->path)[0];
}

lm_status lm_prefix_map_compatible(const lm_prefix_map *m, const lm_map_model *model,
                                   const lm_map_tokenizer *tokenizer, unsigned flags, lm_map_report *out,
                                   lm_error *err)
{
    static const lm_map_tokenizer none;
    lm_map_report own, *r = out ? out : &own;
    char hash[65];
    const lm_map_tokenizer *t = tokenizer ? tokenizer : &none;
    memset(r, 0, sizeof *r);
    if (flags & LM_MAP_SKIP_CHECK) {
        lm_reason(r->warnings, sizeof r->warnings, "compatibility_check_skipped");
        return LM_OK;
    }
    if (strcmp(m->model.architecture, text(model->architecture)) != 0)
        lm_reason(r->reasons, sizeof r->reasons, "model_architecture_mismatch");
    if (m->model.num_layers != model->num_layers)
        lm_reason(r->reasons, sizeof r->reasons, "model_layer_mismatch");
    if (m->model.quant_bits != model->quant_bits)
        lm_reason(r->reasons, sizeof r->reasons, "model_quantisation_mismatch");
    LM_TRY(lm_map_model_hash(model, hash, err));
    if (comparable(&m->model) && comparable(model) && strcmp(m->model.hash, hash) != 0)
        lm_reason(r->reasons, sizeof r->reasons, "model_hash_mismatch");
    if (lm_prefix_map_context(m) > model->context_length)
        lm_reason(r->reasons, sizeof r->reasons, "context_length_too_small");
    if (strcmp(m->tokenizer.hash, text(t->hash)) != 0)
        lm_reason(r->reasons, sizeof r->reasons, "tokenizer_hash_mismatch");
    const char *template = text(t->chat_template_hash);
    if (!template[0] && text(t->chat_template)[0]) {
        LM_TRY(lm_hash_text(t->chat_template, strlen(t->chat_template), hash, err));
        template = hash;
    }
    if (strcmp(m->tokenizer.chat_template_hash, template) != 0)
        lm_reason(r->reasons, sizeof r->reasons, "chat_template_mismatch");
    return r->reasons[0] ? lm_fail(err, LM_ERR_MISMATCH, "it cannot be woken: %s", r->reasons) : LM_OK;
}

lm_status lm_prefix_map_load(const lm_prefix_map *m, lm_chunks *c, const char *uri, unsigned flags,
                             lm_snapshot **out, lm_error *err)
{
    lm_map_entry e;
    lm_blocks *b = NULL;
    LM_TRY(lm_prefix_map_find(m, uri, &e, err));
    LM_TRY(lm_blocks_read(c, e.bundle_uri[0] ? e.bundle_uri : m->bundle_uri, &b, err));
    lm_status st = LM_OK;
    if (strcmp(b->snapshot_hash, m->snapshot_hash) != 0) /* R2, R3 */
        st = lm_fail(err, LM_ERR_MISMATCH,
                     "the bundle under this URI is %.12s…, the index was made for %.12s…", b->snapshot_hash,
                     m->snapshot_hash);
    if (st == LM_OK)
        st = lm_blocks_load(b, c, e.token_start + e.token_count, flags, out, err);
    lm_blocks_close(b);
    return st;
}
