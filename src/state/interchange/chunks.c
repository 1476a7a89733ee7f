/* state/interchange/chunks.c - chunk stores: the index of records, and the store in memory
 * (SPEC 6.8). */
#include "state/interchange/chunks.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"

lm_status lm_chunks_new(lm_chunks **out, const char *codec, lm_error *err)
{
    LM_TRY(LM_NEW(out, 1, err));
    (void)pthread_mutex_init(&(*out)->lock, NULL);
    (*out)->codec = codec;
    (*out)->next_id = 1;
    (*out)->fd = -1;
    return LM_OK;
}

void lm_chunks_free(lm_chunks *c)
{
    for (size_t i = 0; i < c->n; i++) {
        lm_free(c->records[i].bytes);
        lm_free(c->records[i].uri);
    }
    for (size_t i = 0; i < c->n_aliases; i++)
        lm_free(c->aliases[i]);
    lm_free(c->aliases);
    lm_free(c->records);
    lm_free(c->by_uri);
    lm_free(c->path);
    lm_map_close(c->map);
    (void)pthread_mutex_destroy(&c->lock);
    lm_free(c);
}

lm_status lm_chunks_open_memory(lm_chunks **out, bool text_only, lm_error *err)
{
    LM_TRY(lm_chunks_new(out, "memory/plaintext", err));
    (*out)->writable = true;
    (*out)->text_only = text_only;
    return LM_OK;
}

lm_status lm_chunks_close(lm_chunks *c, lm_error *err)
{
    if (!c)
        return LM_OK;
    lm_status st = c->log ? lm_log_close(c, err) : LM_OK;
    lm_chunks_free(c);
    return st;
}

/* --- the index -------------------------------------------------------------------------- */

/* The slot of this URI, or the free one where it belongs. */
static size_t slot_of(const lm_chunks *c, const char *uri)
{
    size_t i = (size_t)lm_xxh64(uri, strlen(uri), 0) & (c->n_by_uri - 1);
    while (c->by_uri[i] && strcmp(c->records[c->by_uri[i] - 1].uri, uri) != 0)
        i = (i + 1) & (c->n_by_uri - 1);
    return i;
}

static lm_status index_uri(lm_chunks *c, size_t record, lm_error *err)
{
    if (2 * (c->n_uris + 1) > c->n_by_uri) {
        uint32_t *old = c->by_uri, *fresh = NULL;
        size_t n_old = c->n_by_uri, n = n_old ? 2 * n_old : 16;
        LM_TRY(LM_NEW(&fresh, n, err));
        c->by_uri = fresh;
        c->n_by_uri = n;
        for (size_t i = 0; i < n_old; i++)
            if (old[i])
                c->by_uri[slot_of(c, c->records[old[i] - 1].uri)] = old[i];
        lm_free(old);
    }
    size_t i = slot_of(c, c->records[record].uri);
    c->n_uris += c->by_uri[i] == 0;
    c->by_uri[i] = (uint32_t)record + 1;
    return LM_OK;
}

lm_status lm_chunks_add(lm_chunks *c, lm_chunk_record *r, lm_error *err)
{
    lm_status st = c->n < UINT32_MAX - 1 ? lm_grow((void **)&c->records, &c->cap, c->n + 1, sizeof *r, err)
                                         : lm_fail(err, LM_ERR_UNSUPPORTED, "more than 2^32 chunks");
    if (st == LM_OK) {
        c->records[c->n] = *r;
        if (r->uri)
            st = index_uri(c, c->n, err);
    }
    if (st != LM_OK) {
        lm_free(r->bytes);
        lm_free(r->uri);
        return st;
    }
    c->n++;
    if (r->id >= c->next_id && r->id < INT64_MAX)
        c->next_id = r->id + 1;
    return LM_OK;
}

/* Ids mostly count from 1; else the last record of an id counts. */
lm_chunk_record *lm_chunks_by_id(lm_chunks *c, uint64_t id)
{
    if (id && id <= c->n && c->records[id - 1].id == id && c->next_id == c->n + 1)
        return c->records[id - 1].gone ? NULL : &c->records[id - 1];
    for (size_t i = c->n; i-- > 0;)
        if (c->records[i].id == id)
            return c->records[i].gone ? NULL : &c->records[i];
    return NULL;
}

lm_chunk_record *lm_chunks_by_uri(lm_chunks *c, const char *uri)
{
    if (c->n_by_uri == 0)
        return NULL;
    uint32_t k = c->by_uri[slot_of(c, uri)];
    return k && !c->records[k - 1].gone ? &c->records[k - 1] : NULL;
}

lm_status lm_chunk_meta(const lm_chunk_about *about, char **out, size_t *n, lm_error *err)
{
    static const lm_chunk_about nothing;
    const lm_chunk_about *a = about ? about : &nothing;
    json_t *o = json_object();
    bool failed = !o;
    const struct {
        const char *key, *text;
    } texts[] = { { "uri", a->uri }, { "title", a->title }, { "kind", a->kind }, { "track", a->track } };
    for (size_t i = 0; i < LM_LEN(texts); i++)
        if (texts[i].text && texts[i].text[0])
            lm_set(o, texts[i].key, lm_json_string(texts[i].text), &failed);
    json_t *tags = a->n_tags ? json_object() : NULL, *labels = a->n_labels ? json_array() : NULL;
    for (size_t i = 0; tags && i < a->n_tags; i++)
        lm_set(tags, a->tags[i].key, lm_json_string(a->tags[i].value), &failed);
    for (size_t i = 0; labels && i < a->n_labels; i++)
        failed |= json_array_append_new(labels, lm_json_string(a->labels[i])) != 0;
    if (a->n_tags)
        lm_set(o, "tags", tags, &failed);
    if (a->n_labels)
        lm_set(o, "labels", labels, &failed);
    lm_status st = failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a chunk's metadata")
                          : lm_json_text(o, 0, out, n, err);
    json_decref(o);
    if (st == LM_OK && *n > LM_CHUNK_META_MAX) {
        lm_free(*out);
        return lm_fail(err, LM_ERR_USAGE, "a chunk's metadata of %zu bytes, allowed are %d", *n,
                       LM_CHUNK_META_MAX);
    }
    return st;
}

/* --- putting ------------------------------------------------------------------------------- */

static void ref_of(const lm_chunks *c, const lm_chunk_record *r, lm_chunk_ref *out)
{
    memset(out, 0, sizeof *out);
    out->chunk_id = r->id;
    out->frame_offset = r->at;
    out->has_frame_offset = c->log;
    (void)snprintf(out->codec, sizeof out->codec, "%s", c->codec);
    if (c->path)
        (void)snprintf(out->segment, sizeof out->segment, "%s", c->path);
}

/* Into memory of the declared length. */
typedef struct {
    uint8_t *to;
    uint64_t n, at;
} exact;

static lm_status into_exact(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    exact *x = s->to;
    if (n > x->n - x->at)
        return lm_fail(err, LM_ERR_USAGE, "a chunk of %llu bytes was declared, more were written",
                       (unsigned long long)x->n);
    memcpy(x->to + x->at, bytes, n);
    x->at += n;
    return LM_OK;
}

static lm_status memory_stream(lm_chunks *c, uint64_t n, const lm_chunk_about *about, lm_fill fill,
                               void *user, lm_chunk_record *r, lm_error *err)
{
    exact x = { .n = n };
    lm_sink s = { .write = into_exact, .to = &x };
    *r = (lm_chunk_record){ .id = c->next_id, .n = n };
    LM_TRY(lm_new((void **)&r->bytes, (size_t)n, 1, err));
    x.to = r->bytes;
    lm_status st = fill(user, &s, err);
    if (st == LM_OK && x.at != n)
        st = lm_fail(err, LM_ERR_USAGE, "a chunk of %llu bytes was declared, %llu were written",
                     (unsigned long long)n, (unsigned long long)x.at);
    if (st == LM_OK && c->text_only && !lm_utf8_valid((const char *)r->bytes, (size_t)n))
        st = lm_fail(err, LM_ERR_USAGE, "this store takes text alone");
    if (st == LM_OK && about && about->uri && about->uri[0])
        st = lm_strdup_n(about->uri, strlen(about->uri), &r->uri, err);
    if (st != LM_OK)
        lm_free(r->bytes);
    return st;
}

lm_status lm_chunks_stream(lm_chunks *c, uint64_t n, const lm_chunk_about *about, lm_fill fill, void *user,
                           lm_chunk_ref *ref, lm_error *err)
{
    lm_chunk_record r;
    if (!c)
        return lm_fail(err, LM_ERR_USAGE, "there is no store to write to");
    if (!c->writable)
        return lm_fail(err, LM_ERR_USAGE, "the store is opened for reading alone");
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = c->log ? lm_log_stream(c, n, about, fill, user, &r, err)
                          : memory_stream(c, n, about, fill, user, &r, err);
    if (st == LM_OK)
        st = lm_chunks_add(c, &r, err);
    if (st == LM_OK && ref)
        ref_of(c, &r, ref);
    (void)pthread_mutex_unlock(&c->lock);
    return st;
}

typedef struct {
    const void *bytes;
    size_t n;
} run;

static lm_status write_run(void *user, lm_sink *to, lm_error *err)
{
    const run *r = user;
    return lm_sink_write(to, r->bytes, r->n, err);
}

lm_status lm_chunks_put(lm_chunks *c, const void *bytes, size_t n, const lm_chunk_about *about,
                        lm_chunk_ref *ref, lm_error *err)
{
    run r = { bytes, n };
    return lm_chunks_stream(c, n, about, write_run, &r, ref, err);
}

/* --- getting ---------------------------------------------------------------------------------- */

static lm_status give(lm_chunks *c, const lm_chunk_record *r, lm_chunk *out, lm_error *err)
{
    *out = (lm_chunk){ .n = 0 };
    if (c->log)
        LM_TRY(lm_log_read(c, r, out, err));
    else {
        /* A copy: the record may be removed while the caller looks (R11). */
        LM_TRY(lm_new(&out->owned, (size_t)r->n + 1, 1, err));
        if (r->n)
            memcpy(out->owned, r->bytes, (size_t)r->n);
        out->bytes = out->owned;
        out->n = (size_t)r->n;
    }
    ref_of(c, r, &out->ref);
    return LM_OK;
}

lm_status lm_chunks_get(lm_chunks *c, uint64_t id, lm_chunk *out, lm_error *err)
{
    (void)pthread_mutex_lock(&c->lock);
    const lm_chunk_record *r = lm_chunks_by_id(c, id);
    lm_status st = r ? give(c, r, out, err)
                     : lm_fail(err, LM_ERR_NOT_FOUND, "there is no chunk %llu", (unsigned long long)id);
    (void)pthread_mutex_unlock(&c->lock);
    return st;
}

lm_status lm_chunks_find(lm_chunks *c, const char *uri, lm_chunk *out, lm_error *err)
{
    lm_quoted_buf q;
    if (!uri || !uri[0])
        return lm_fail(err, LM_ERR_USAGE, "a chunk is looked for by an empty URI");
    (void)pthread_mutex_lock(&c->lock);
    const lm_chunk_record *r = lm_chunks_by_uri(c, uri);
    lm_status st = r ? give(c, r, out, err)
                     : lm_fail(err, LM_ERR_NOT_FOUND, "there is no chunk '%s'", lm_quoted_z(&q, uri));
    (void)pthread_mutex_unlock(&c->lock);
    return st;
}

static bool codec_fits(const lm_chunks *c, const char *codec)
{
    static const char *const logs[] = { "", "state/file-log", "memvid/file-log" };
    static const char *const memory[] = { "", "memory/plaintext", "memory/plaintext" };
    const char *const *known = c->log ? logs : memory;
    return strcmp(codec, known[0]) == 0 || strcmp(codec, known[1]) == 0 || strcmp(codec, known[2]) == 0;
}

static bool segment_fits(const lm_chunks *c, const char *segment)
{
    bool fits = !segment[0] || (c->path && strcmp(segment, c->path) == 0);
    for (size_t i = 0; i < c->n_aliases && !fits; i++)
        fits = strcmp(segment, c->aliases[i]) == 0;
    return fits;
}

static lm_status resolve(lm_chunks *c, const lm_chunk_ref *ref, lm_chunk *out, lm_error *err)
{
    lm_quoted_buf q;
    lm_chunk_record at;
    if (!codec_fits(c, ref->codec))
        return lm_fail(err, LM_ERR_MISMATCH, "a chunk of the codec '%s' in a store of '%s'",
                       lm_quoted_z(&q, ref->codec), c->codec);
    if (!segment_fits(c, ref->segment))
        return lm_fail(err, LM_ERR_MISMATCH, "a chunk of the segment '%s' in another store",
                       lm_quoted_z(&q, ref->segment));
    if (!c->log || !ref->has_frame_offset) {
        const lm_chunk_record *r = lm_chunks_by_id(c, ref->chunk_id);
        return r ? give(c, r, out, err)
                 : lm_fail(err, LM_ERR_NOT_FOUND, "there is no chunk %llu",
                           (unsigned long long)ref->chunk_id);
    }
    LM_TRY(lm_log_record_at(c, ref->frame_offset, &at, err));
    if (ref->chunk_id && at.id != ref->chunk_id)
        return lm_fail(err, LM_ERR_MISMATCH, "the chunk at byte %llu is %llu, not %llu",
                       (unsigned long long)ref->frame_offset, (unsigned long long)at.id,
                       (unsigned long long)ref->chunk_id);
    return give(c, &at, out, err);
}

lm_status lm_chunks_resolve(lm_chunks *c, const lm_chunk_ref *ref, lm_chunk *out, lm_error *err)
{
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = resolve(c, ref, out, err);
    (void)pthread_mutex_unlock(&c->lock);
    return st;
}

void lm_chunk_clear(lm_chunk *chunk)
{
    lm_free(chunk->owned);
    *chunk = (lm_chunk){ .n = 0 };
}

lm_status lm_chunks_alias(lm_chunks *c, const char *segment, lm_error *err)
{
    char *copy = NULL;
    (void)pthread_mutex_lock(&c->lock);
    lm_status st = lm_grow((void **)&c->aliases, &c->cap_aliases, c->n_aliases + 1, sizeof copy, err);
    if (st == LM_OK)
        st = lm_strdup_n(segment, strlen(segment), &copy, err);
    if (st == LM_OK)
        c->aliases[c->n_aliases++] = copy;
    (void)pthread_mutex_unlock(&c->lock);
    return st;
}

size_t lm_chunks_count(lm_chunks *c)
{
    (void)pthread_mutex_lock(&c->lock);
    size_t n = c->n - c->n_gone;
    (void)pthread_mutex_unlock(&c->lock);
    return n;
}

lm_status lm_chunks_remove(lm_chunks *c, uint64_t id, lm_error *err)
{
    if (c->log)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a log only grows: chunk %llu stays", (unsigned long long)id);
    (void)pthread_mutex_lock(&c->lock);
    lm_chunk_record *r = lm_chunks_by_id(c, id);
    if (r) {
        lm_free(r->bytes);
        r->bytes = NULL;
        r->gone = true;
        c->n_gone++;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return r ? LM_OK : lm_fail(err, LM_ERR_NOT_FOUND, "there is no chunk %llu", (unsigned long long)id);
}
