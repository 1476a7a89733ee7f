/* state/interchange/prefixcache.c - the block-prefix service (SPEC 10; docs/formats/block-cache.md).
 *
 * P1  An id covers the whole prefix up to the block's end, so equal ids mean equal prefixes.
 * P2  A hit shows the record that was kept, labels included (R10).
 * P3  Records serve only equal model, adapter, tokenizer, cache mode and block size (R9).
 * P4  Clearing takes a block out of disk, memory and runtime under one lock (R8). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "state/interchange/blocks.h"
#include "state/io.h"
#include "state/store_impl.h"

static const char mode[] = "block-prefix", encoding[] = "token-prefix/int32";
enum { MAX_BLOCKS = 1 << 16, MAX_BLOCK_SIZE = 1 << 20, FILE_NAME = 70, TAGS = 64 };

typedef struct {
    char id[65], file[FILE_NAME];
    char *model, *adapter, *tokenizer;
    uint32_t start, count;
    uint64_t used; /* turn of its last use */
    json_t *labels;
} record;

struct lm_prefix_cache {
    pthread_mutex_t lock;
    lm_prefix_cache_options o;
    char *model, *adapter, *tokenizer, *path;
    int dir;         /* -1: not kept */
    record *records; /* by id */
    size_t n, cap;
    uint64_t turn, hits, misses, evictions, cleared, corrupt;
    double restore_millis;
};

void lm_prefix_cache_defaults(lm_prefix_cache_options *out)
{
    *out = (lm_prefix_cache_options){ .size = sizeof *out,
                                      .block_size = LM_BLOCK_TOKENS,
                                      .max_blocks = MAX_BLOCKS,
                                      .disk_path = getenv("LEMMA_BLOCK_CACHE_PATH") };
}

static const char *text(const char *s)
{
    return s ? s : "";
}

static lm_status copy(const char *from, char **to, lm_error *err)
{
    return lm_strdup_n(text(from), strlen(text(from)), to, err);
}

static void clear_record(record *r)
{
    lm_free(r->model);
    lm_free(r->adapter);
    lm_free(r->tokenizer);
    json_decref(r->labels);
}

/* Where this id is, or belongs. */
static size_t place(const lm_prefix_cache *c, const char *id, bool *there)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (strcmp(c->records[mid].id, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *there = low < c->n && strcmp(c->records[low].id, id) == 0;
    return low;
}

static lm_status add(lm_prefix_cache *c, const record *r, lm_error *err)
{
    bool there;
    size_t i = place(c, r->id, &there);
    LM_TRY(lm_grow((void **)&c->records, &c->cap, c->n + 1, sizeof *r, err));
    if (there) {
        clear_record(&c->records[i]);
        c->records[i] = *r;
        return LM_OK;
    }
    memmove(&c->records[i + 1], &c->records[i], (c->n - i) * sizeof *r);
    c->records[i] = *r;
    c->n++;
    return LM_OK;
}

static void drop(lm_prefix_cache *c, size_t i)
{
    clear_record(&c->records[i]);
    c->n--;
    memmove(&c->records[i], &c->records[i + 1], (c->n - i) * sizeof *c->records);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *ref_object(const record *r, bool *failed)
{
    json_t *o = json_object();
    *failed |= !o;
    lm_set(o, "id", json_string(r->id), failed);
    lm_set(o, "kind", json_string("prefix"), failed);
    lm_set(o, "model_hash", lm_json_string(r->model), failed);
    lm_set(o, "adapter_hash", lm_json_string(r->adapter), failed);
    lm_set(o, "tokenizer_hash", lm_json_string(r->tokenizer), failed);
    lm_set(o, "token_start", json_integer(r->start), failed);
    lm_set(o, "token_count", json_integer(r->count), failed);
    lm_set(o, "size_bytes", json_integer((json_int_t)r->count * 4), failed);
    lm_set(o, "encoding", json_string(encoding), failed);
    lm_set(o, "labels", json_incref(r->labels), failed);
    return o;
}

static json_t *tokens_array(const int32_t *tokens, size_t n, bool *failed)
{
    json_t *a = json_array();
    *failed |= !a;
    for (size_t i = 0; i < n && !*failed; i++)
        *failed |= json_array_append_new(a, json_integer(tokens[i])) != 0;
    return a;
}

static lm_status read_ref(const json_t *o, record *r, lm_error *err)
{
    const char *id, *model, *adapter, *tokenizer, *key;
    json_t *v;
    LM_TRY(lm_field_text(o, "id", &id, err));
    LM_TRY(lm_field_is(o, "kind", "prefix", err));
    LM_TRY(lm_field_is(o, "encoding", encoding, err));
    LM_TRY(lm_field_text(o, "model_hash", &model, err));
    LM_TRY(lm_field_text(o, "adapter_hash", &adapter, err));
    LM_TRY(lm_field_text(o, "tokenizer_hash", &tokenizer, err));
    LM_TRY(lm_field_u32(o, "token_start", &r->start, err));
    LM_TRY(lm_field_u32(o, "token_count", &r->count, err));
    json_t *labels = json_object_get(o, "labels");
    if (!lm_is_hex64(id) || r->count == 0 || !json_is_object(labels) || json_object_size(labels) > TAGS)
        return lm_fail(err, LM_ERR_CORRUPT, "a block '%.8s' of %u tokens with %zu labels", id, r->count,
                       json_object_size(labels));
    json_object_foreach(labels, key, v) if (!json_is_string(v)) return lm_fail(err, LM_ERR_CORRUPT,
                                                                               "a label is no text");
    memcpy(r->id, id, 65);
    (void)snprintf(r->file, sizeof r->file, "%s.json", id);
    LM_TRY(copy(model, &r->model, err));
    LM_TRY(copy(adapter, &r->adapter, err));
    LM_TRY(copy(tokenizer, &r->tokenizer, err));
    r->labels = json_incref(labels);
    return LM_OK;
}

/* --- disk ---------------------------------------------------------------------------------------- */

static size_t record_max(const lm_prefix_cache *c)
{
    return (size_t)c->o.block_size * 16 + (64 << 10); /* a token takes 11 digits and a comma */
}

static bool same(const char *a, const char *b)
{
    return !a[0] || !b[0] || strcmp(a, b) == 0;
}

/* P3; a record without these labels is of another make. */
static bool compatible(const lm_prefix_cache *c, const record *r)
{
    char size[16];
    (void)snprintf(size, sizeof size, "%u", c->o.block_size);
    const char *m = json_string_value(json_object_get(r->labels, "cache_mode"));
    const char *b = json_string_value(json_object_get(r->labels, "block_size"));
    return same(c->model, r->model) && same(c->adapter, r->adapter) && same(c->tokenizer, r->tokenizer) &&
           strcmp(text(m), mode) == 0 && strcmp(text(b), size) == 0;
}

static lm_status read_record(lm_prefix_cache *c, const char *file, record *r, lm_error *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    json_t *o = NULL;
    uint64_t version = 0;
    lm_json_limits limits = { .max_bytes = record_max(c) };
    LM_TRY(lm_io_read_file(c->dir, file, limits.max_bytes, &bytes, &n, err));
    lm_status st = lm_json_parse(&o, (const char *)bytes, n, "a cache record", &limits, err);
    lm_free(bytes);
    LM_TRY(st);
    st = lm_field_number(o, "version", INT32_MAX, &version, err);
    if (st == LM_OK && version != 1)
        st = lm_fail(err, LM_ERR_CORRUPT, "'version' is %" PRIu64, version);
    if (st == LM_OK)
        st = read_ref(json_object_get(o, "ref"), r, err);
    const json_t *tokens = json_object_get(o, "tokens"), *place_of = json_object_get(o, "state_ref");
    if (st == LM_OK && strcmp(r->file, file) != 0)
        st = lm_fail(err, LM_ERR_CORRUPT, "the file of another block");
    if (st == LM_OK && json_array_size(tokens) != r->count && !json_is_object(place_of))
        st = lm_fail(err, LM_ERR_CORRUPT, "a block of %u tokens has %zu", r->count, json_array_size(tokens));
    json_decref(o);
    return st;
}

static bool is_record(const char *name)
{
    size_t n = strlen(name);
    char id[65] = "";
    if (n != 69 || strcmp(name + 64, ".json") != 0)
        return false;
    memcpy(id, name, 64);
    return lm_is_hex64(id);
}

static lm_status load(lm_prefix_cache *c, lm_error *err)
{
    char **names = NULL;
    size_t n = 0;
    LM_TRY(lm_store_names(c->dir, &names, &n, err));
    lm_status st = LM_OK;
    for (size_t i = 0; i < n && st == LM_OK; i++) {
        record r = { .used = 0 };
        lm_error why = { 0 };
        if (!is_record(names[i]))
            continue;
        lm_status s = read_record(c, names[i], &r, &why);
        if (s == LM_OK && compatible(c, &r) && c->n < c->o.max_blocks) {
            st = add(c, &r, err);
            if (st == LM_OK)
                continue;
        } else if (s == LM_ERR_NOMEM || s == LM_ERR_IO)
            st = lm_fail(err, s, "%s", why.text);
        else if (s != LM_OK && s != LM_ERR_NOT_FOUND) {
            st = lm_io_unlink(c->dir, names[i], err);
            c->corrupt++;
            c->evictions++;
        }
        clear_record(&r);
    }
    lm_store_names_free(names, n);
    return st;
}

static lm_status set_label(json_t *labels, const char *key, const char *value, lm_error *err)
{
    bool failed = false;
    lm_set(labels, key, lm_json_string(value), &failed);
    return failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a label") : LM_OK;
}

/* SPEC 10.11. */
static lm_status put_cold(lm_prefix_cache *c, const record *r, const int32_t *tokens, lm_chunk_ref *ref,
                          lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "block-cache", mode };
    const lm_chunk_tag tags[] = { { "block_id", r->id },
                                  { "model_hash", r->model },
                                  { "adapter_hash", r->adapter },
                                  { "tokenizer_hash", r->tokenizer },
                                  { "encoding", encoding } };
    char uri[96], *json = NULL;
    size_t n = 0;
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "block_id", json_string(r->id), &failed);
    lm_set(o, "ref", ref_object(r, &failed), &failed);
    lm_set(o, "tokens", tokens_array(tokens, r->count, &failed), &failed);
    lm_set(o, "encoding", json_string(encoding), &failed);
    lm_set(o, "cache_mode", json_string(mode), &failed);
    lm_set(o, "payload_format", json_string("token-prefix/int32-json"), &failed);
    lm_status st =
        failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a block") : lm_json_text(o, 0, &json, &n, err);
    json_decref(o);
    (void)snprintf(uri, sizeof uri, "mlx://cache/block/%s", r->id);
    lm_chunk_about about = { .uri = uri,
                             .title = "prefix block",
                             .kind = "kv-block-prefix",
                             .track = mode,
                             .tags = tags,
                             .n_tags = LM_LEN(tags),
                             .labels = labels,
                             .n_labels = LM_LEN(labels) };
    if (st == LM_OK)
        st = lm_chunks_put(c->o.cold, json, n, &about, ref, err);
    lm_free(json);
    return st;
}

static lm_status label_cold(const lm_chunk_ref *ref, json_t *labels, lm_error *err)
{
    char id[24], at[24];
    (void)snprintf(id, sizeof id, "%" PRIu64, ref->chunk_id);
    (void)snprintf(at, sizeof at, "%" PRIu64, ref->frame_offset);
    LM_TRY(set_label(labels, "cold_store", "state", err));
    LM_TRY(set_label(labels, "state_chunk_id", id, err));
    LM_TRY(set_label(labels, "state_codec", ref->codec, err));
    if (ref->segment[0])
        LM_TRY(set_label(labels, "state_segment", ref->segment, err));
    return ref->has_frame_offset ? set_label(labels, "state_frame_offset", at, err) : LM_OK;
}

/* To the cold store, then to the folder. */
static lm_status keep(lm_prefix_cache *c, const record *r, const int32_t *tokens, lm_error *err)
{
    lm_chunk_ref ref;
    char *json = NULL, path[4400];
    size_t n = 0;
    if (c->o.cold) {
        LM_TRY(put_cold(c, r, tokens, &ref, err));
        LM_TRY(label_cold(&ref, r->labels, err));
    }
    if (c->dir < 0)
        return LM_OK;
    (void)snprintf(path, sizeof path, "%s/%s", c->path, r->file);
    LM_TRY(set_label(r->labels, "disk", "true", err));
    LM_TRY(set_label(r->labels, "disk_path", path, err));
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "ref", ref_object(r, &failed), &failed);
    if (c->o.cold)
        lm_set(o, "state_ref", lm_chunk_ref_object(&ref), &failed);
    else
        lm_set(o, "tokens", tokens_array(tokens, r->count, &failed), &failed);
    lm_status st =
        failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a record") : lm_json_text(o, 0, &json, &n, err);
    json_decref(o);
    if (st == LM_OK)
        st = lm_io_put_file(c->dir, r->file, json, n, err);
    lm_free(json);
    return st;
}

/* --- opening -------------------------------------------------------------------------------------- */

static lm_status begin(lm_prefix_cache *c, lm_error *err)
{
    if (c->o.block_size == 0 || c->o.block_size > MAX_BLOCK_SIZE || c->o.max_blocks == 0)
        return lm_fail(err, LM_ERR_USAGE, "blocks of %u tokens, %u of them; allowed are 1 to %d tokens",
                       c->o.block_size, c->o.max_blocks, MAX_BLOCK_SIZE);
    LM_TRY(copy(c->o.model_hash, &c->model, err));
    LM_TRY(copy(c->o.adapter_hash, &c->adapter, err));
    LM_TRY(copy(c->o.tokenizer_hash, &c->tokenizer, err));
    if (!c->o.disk_path || !c->o.disk_path[0])
        return LM_OK;
    if (strlen(c->o.disk_path) >= 4096)
        return lm_fail(err, LM_ERR_USAGE, "the cache's folder has a path of %zu bytes",
                       strlen(c->o.disk_path));
    LM_TRY(copy(c->o.disk_path, &c->path, err));
    LM_TRY(lm_io_folder(AT_FDCWD, c->path, true, &c->dir, err));
    return load(c, err);
}

lm_status lm_prefix_cache_open(lm_prefix_cache **out, const lm_prefix_cache_options *options, lm_error *err)
{
    lm_prefix_cache *c = NULL;
    LM_TRY(LM_NEW(&c, 1, err));
    (void)pthread_mutex_init(&c->lock, NULL);
    c->dir = -1;
    lm_prefix_cache_defaults(&c->o);
    if (options)
        memcpy(&c->o, options, LM_MIN(sizeof c->o, (size_t)options->size));
    lm_status st = begin(c, err);
    if (st != LM_OK) {
        lm_prefix_cache_close(c);
        return st;
    }
    *out = c;
    return LM_OK;
}

void lm_prefix_cache_close(lm_prefix_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        clear_record(&c->records[i]);
    lm_free(c->records);
    lm_free(c->model);
    lm_free(c->adapter);
    lm_free(c->tokenizer);
    lm_free(c->path);
    lm_io_close(c->dir);
    (void)pthread_mutex_destroy(&c->lock);
    lm_free(c);
}

/* --- warming ------------------------------------------------------------------------------------------ */

typedef struct {
    const char *model, *adapter, *tokenizer, *mode;
    const int32_t *tokens;
    size_t n;
    const lm_cache_request *r;
} warming;

/* P1: u32 length and bytes of the four texts, then the tokens. */
static lm_status block_id(const warming *w, size_t end, char id[65], lm_error *err)
{
    lm_sha *s = NULL;
    const char *const texts[] = { w->model, w->adapter, w->tokenizer, w->mode };
    LM_TRY(lm_sha_open(&s, err));
    for (size_t i = 0; i < LM_LEN(texts); i++) {
        uint32_t n = (uint32_t)strlen(texts[i]);
        lm_sha_add(s, &n, sizeof n);
        lm_sha_add(s, texts[i], n);
    }
    lm_sha_add(s, w->tokens, end * sizeof *w->tokens);
    lm_digest d = lm_sha_close(s);
    lm_digest_hex(&d, id);
    return LM_OK;
}

static lm_status label(const lm_prefix_cache *c, const warming *w, size_t index, size_t end, json_t *labels,
                       lm_error *err)
{
    char number[3][24];
    (void)snprintf(number[0], sizeof number[0], "%zu", index);
    (void)snprintf(number[1], sizeof number[1], "%zu", end);
    (void)snprintf(number[2], sizeof number[2], "%u", c->o.block_size);
    const lm_cache_request *r = w->r;
    const lm_chunk_tag tags[] = {
        { "block_index", number[0] },
        { "prefix_tokens", number[1] },
        { "cache_mode", mode },
        { "block_size", number[2] },
        { "model_match", same(c->model, text(r->model_hash)) ? "true" : "false" },
        { "adapter_match", same(c->adapter, text(r->adapter_hash)) ? "true" : "false" },
        { "tokenizer_match", same(c->tokenizer, text(r->tokenizer_hash)) ? "true" : "false" }
    };
    for (size_t i = 0; i < r->n_labels; i++)
        LM_TRY(set_label(labels, r->labels[i].key, r->labels[i].value, err));
    for (size_t i = 0; i < LM_LEN(tags); i++)
        LM_TRY(set_label(labels, tags[i].key, tags[i].value, err));
    return LM_OK;
}

static bool show(const record *r, bool hit, lm_on_cache_ref visit, void *user)
{
    lm_chunk_tag tags[2 * TAGS];
    size_t n = 0;
    const char *key;
    json_t *v;
    if (!visit)
        return true;
    json_object_foreach(r->labels, key, v) if (n < LM_LEN(tags)) tags[n++] =
        (lm_chunk_tag){ key, json_string_value(v) };
    lm_cache_ref ref = { .id = r->id,
                         .kind = "prefix",
                         .encoding = encoding,
                         .model_hash = r->model,
                         .adapter_hash = r->adapter,
                         .tokenizer_hash = r->tokenizer,
                         .token_start = r->start,
                         .token_count = r->count,
                         .size_bytes = (uint64_t)r->count * 4,
                         .labels = tags,
                         .n_labels = n,
                         .hit = hit };
    return visit(user, &ref);
}

static lm_status forget(lm_prefix_cache *c, size_t i, lm_error *err)
{
    if (c->dir >= 0)
        LM_TRY(lm_io_unlink(c->dir, c->records[i].file, err));
    if (c->o.cold) {
        const char *id = json_string_value(json_object_get(c->records[i].labels, "state_chunk_id"));
        if (id) /* a log keeps it: it only grows */
            (void)!lm_chunks_remove(c->o.cold, strtoull(id, NULL, 10), NULL);
    }
    drop(c, i);
    return LM_OK;
}

static lm_status make_room(lm_prefix_cache *c, lm_error *err)
{
    while (c->n >= c->o.max_blocks) {
        size_t oldest = 0;
        for (size_t i = 1; i < c->n; i++)
            if (c->records[i].used < c->records[oldest].used)
                oldest = i;
        LM_TRY(forget(c, oldest, err));
        c->evictions++;
    }
    return LM_OK;
}

static lm_status one_block(lm_prefix_cache *c, const warming *w, size_t index, size_t start, size_t end,
                           const char *id, bool *go_on, lm_on_cache_ref visit, void *user, lm_error *err)
{
    bool there;
    size_t i = place(c, id, &there);
    if (there) {
        c->hits++;
        c->records[i].used = ++c->turn;
        *go_on = show(&c->records[i], true, visit, user); /* P2 */
        return LM_OK;
    }
    c->misses++;
    record r = { .start = (uint32_t)start, .count = (uint32_t)(end - start), .used = ++c->turn };
    memcpy(r.id, id, 65);
    (void)snprintf(r.file, sizeof r.file, "%s.json", id);
    lm_status st = make_room(c, err);
    if (st == LM_OK)
        st = copy(w->model, &r.model, err);
    if (st == LM_OK)
        st = copy(w->adapter, &r.adapter, err);
    if (st == LM_OK)
        st = copy(w->tokenizer, &r.tokenizer, err);
    if (st == LM_OK && !(r.labels = json_object()))
        st = lm_fail(err, LM_ERR_NOMEM, "no memory for labels");
    if (st == LM_OK)
        st = label(c, w, index, end, r.labels, err);
    if (st == LM_OK)
        st = keep(c, &r, w->tokens + start, err);
    if (st == LM_OK)
        st = add(c, &r, err);
    if (st != LM_OK) {
        clear_record(&r);
        return st;
    }
    *go_on = show(&c->records[place(c, id, &there)], false, visit, user);
    return LM_OK;
}

static double millis(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static const char *either(const char *a, const char *b)
{
    return a[0] ? a : text(b);
}

static lm_status warm(lm_prefix_cache *c, const lm_cache_request *r, const int32_t *tokens, size_t n,
                      lm_on_cache_ref visit, void *user, lm_error *err)
{
    warming w = { .model = either(c->model, r->model_hash),
                  .adapter = either(c->adapter, r->adapter_hash),
                  .tokenizer = either(c->tokenizer, r->tokenizer_hash),
                  .mode = r->mode && r->mode[0] ? r->mode : mode,
                  .tokens = tokens,
                  .n = n,
                  .r = r };
    bool go_on = true;
    if (n > UINT32_MAX / 4 || r->n_labels > TAGS / 2)
        return lm_fail(err, LM_ERR_USAGE, "%zu tokens and %zu labels, allowed are %u and %d", n, r->n_labels,
                       UINT32_MAX / 4, TAGS / 2);
    for (size_t start = 0, i = 0; start < n && go_on; start += c->o.block_size, i++) {
        size_t end = LM_MIN(n, start + c->o.block_size);
        char id[65];
        LM_TRY(block_id(&w, end, id, err));
        LM_TRY(one_block(c, &w, i, start, end, id, &go_on, visit, user, err));
    }
    if (!r->run || !c->o.warm)
        return LM_OK;
    double before = millis();
    lm_status st = c->o.warm(c->o.user, tokens, n, err);
    c->restore_millis += millis() - before;
    return st;
}

lm_status lm_prefix_cache_warm(lm_prefix_cache *c, const lm_cache_request *request, lm_on_cache_ref visit,
                               void *user, lm_error *err)
{
    lm_cache_request r = { .size = sizeof r };
    int32_t *ids = NULL;
    memcpy(&r, request, LM_MIN(sizeof r, (size_t)request->size));
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = LM_OK;
    const int32_t *tokens = r.tokens;
    size_t n = r.n_tokens;
    if (n == 0 && text(r.prompt)[0]) {
        st = c->o.tokenize
                 ? c->o.tokenize(c->o.user, r.prompt, &ids, &n, err)
                 : lm_fail(err, LM_ERR_USAGE, "a prompt is to be made warm, and there is no tokenizer");
        tokens = ids;
    }
    if (st == LM_OK)
        st = warm(c, &r, tokens, n, visit, user, err);
    (void)pthread_mutex_unlock(&c->lock);
    lm_free(ids);
    return st;
}

/* --- looking, clearing ------------------------------------------------------------------------------------ */

static bool matches(const record *r, const lm_chunk_tag *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *have = strcmp(labels[i].key, "model_hash") == 0     ? r->model
                           : strcmp(labels[i].key, "adapter_hash") == 0 ? r->adapter
                           : strcmp(labels[i].key, "tokenizer_hash") == 0
                               ? r->tokenizer
                               : json_string_value(json_object_get(r->labels, labels[i].key));
        if (strcmp(text(have), text(labels[i].value)) != 0)
            return false;
    }
    return true;
}

static int by_start(const void *a, const void *b)
{
    const record *x = *(const record *const *)a, *y = *(const record *const *)b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : strcmp(x->id, y->id);
}

lm_status lm_prefix_cache_entries(lm_prefix_cache *c, const lm_chunk_tag *labels, size_t n,
                                  lm_on_cache_ref visit, void *user, lm_error *err)
{
    const record **list = NULL;
    size_t k = 0;
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = lm_new((void **)&list, c->n, sizeof *list, err);
    for (size_t i = 0; i < c->n && st == LM_OK; i++)
        if (matches(&c->records[i], labels, n))
            list[k++] = &c->records[i];
    if (k)
        qsort((void *)list, k, sizeof *list, by_start);
    for (size_t i = 0; i < k; i++)
        if (!show(list[i], false, visit, user))
            break;
    (void)pthread_mutex_unlock(&c->lock);
    lm_free((void *)list);
    return st;
}

/* What the folder has besides: records that were not compatible. */
static lm_status empty_folder(lm_prefix_cache *c, lm_error *err)
{
    char **names = NULL;
    size_t n = 0;
    if (c->dir < 0)
        return LM_OK;
    LM_TRY(lm_store_names(c->dir, &names, &n, err));
    lm_status st = LM_OK;
    for (size_t i = 0; i < n && st == LM_OK; i++)
        if (is_record(names[i]))
            st = lm_io_unlink(c->dir, names[i], err);
    lm_store_names_free(names, n);
    return st;
}

lm_status lm_prefix_cache_clear(lm_prefix_cache *c, const lm_chunk_tag *labels, size_t n, size_t *n_removed,
                                lm_error *err)
{
    size_t removed = 0;
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = LM_OK;
    for (size_t i = c->n; i-- > 0 && st == LM_OK;)
        if (matches(&c->records[i], labels, n)) {
            st = forget(c, i, err);
            removed += st == LM_OK;
        }
    if (st == LM_OK && n == 0)
        st = empty_folder(c, err);
    c->cleared += removed;
    /* What is gone is forgotten by the runtime even when more could not be removed. */
    if ((removed || n == 0) && c->o.clear) {
        lm_error own = { 0 };
        lm_status s = c->o.clear(c->o.user, &own);
        if (st == LM_OK && s != LM_OK)
            st = lm_fail(err, s, "%s", own.text);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (n_removed)
        *n_removed = removed;
    return st;
}

lm_status lm_prefix_cache_stats(lm_prefix_cache *c, lm_cache_stats *out, lm_error *err)
{
    char **names = NULL;
    size_t n = 0;
    (void)pthread_mutex_lock(&c->lock);
    lm_cache_stats s = { .size = out->size,
                         .blocks = c->n,
                         .hits = c->hits,
                         .misses = c->misses,
                         .evictions = c->evictions,
                         .hit_rate =
                             c->hits + c->misses ? (double)c->hits / (double)(c->hits + c->misses) : 0,
                         .restore_millis = c->restore_millis,
                         .cache_mode = mode,
                         .block_size = c->o.block_size,
                         .cleared = c->cleared,
                         .disk_corrupt = c->corrupt,
                         .disk = c->dir >= 0,
                         .cold_store = c->o.cold != NULL };
    for (size_t i = 0; i < c->n; i++)
        s.memory_bytes += (uint64_t)c->records[i].count * 4;
    lm_status st = c->dir >= 0 ? lm_store_names(c->dir, &names, &n, err) : LM_OK;
    for (size_t i = 0; i < n && st == LM_OK; i++) {
        struct stat f;
        if (!is_record(names[i]) || fstatat(c->dir, names[i], &f, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        s.disk_blocks++;
        s.disk_bytes += (uint64_t)f.st_size;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (names)
        lm_store_names_free(names, n);
    memcpy(out, &s, LM_MIN(sizeof s, (size_t)out->size));
    return st;
}
