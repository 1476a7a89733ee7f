/* state/interchange/envelope.c - blocks and whole snapshots as JSON with base64 (SPEC 6.5.3, 6.7). */
#include "state/interchange/envelope.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"

static const char block_kind[] = "go-mlx/kv-snapshot-block", snapshot_kind[] = "go-mlx/kv-snapshot";
enum { ENVELOPE_MAX = 1 << 30 };

/* {... ,"data":"base64"}: the fields, then the data, which no JSON value holds a copy of. */
static lm_status seal(json_t *o, bool failed, const lm_str *bytes, lm_str *out, lm_error *err)
{
    char *text = NULL;
    size_t n = 0;
    lm_status st =
        failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for an envelope") : lm_json_text(o, 0, &text, &n, err);
    json_decref(o);
    if (st != LM_OK)
        return st;
    lm_str_add(out, text, n - 1); /* without the brace */
    lm_str_addz(out, ",\"data\":\"");
    lm_base64_add(out, (const uint8_t *)bytes->s, bytes->n);
    lm_str_addz(out, "\"}");
    lm_free(text);
    return lm_str_status(out, err);
}

lm_status lm_block_envelope(const lm_blocks *b, const lm_block_ref *r, size_t i, const lm_str *bytes,
                            lm_str *out, lm_error *err)
{
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "kind", json_string(block_kind), &failed);
    lm_set(o, "block_index", json_integer((json_int_t)i), &failed);
    lm_set(o, "token_start", json_integer(r->token_start), &failed);
    lm_set(o, "token_count", json_integer(r->token_count), &failed);
    lm_set(o, "kv_hash", json_string(r->kv_hash), &failed);
    lm_set(o, "kv_encoding", json_string(lm_snapshot_encoding_name(b->encoding)), &failed);
    lm_set(o, "binary_encoding", json_string("base64"), &failed);
    lm_set(o, "payload_byte_count", json_integer((json_int_t)bytes->n), &failed);
    return seal(o, failed, bytes, out, err);
}

/* The envelope's object; `data` is taken out of it. */
static lm_status unseal(const lm_chunk *chunk, const char *kind, json_t **out, uint8_t **bytes, size_t *n,
                        lm_error *err)
{
    json_t *o = NULL;
    uint64_t version = 0, said = 0;
    lm_json_limits limits = { .max_bytes = ENVELOPE_MAX, .max_values = 256 };
    *bytes = NULL;
    LM_TRY(lm_json_parse(&o, (const char *)chunk->bytes, chunk->n, "an envelope", &limits, err));
    const json_t *data = json_object_get(o, "data");
    lm_status st = lm_field_is(o, "kind", kind, err);
    if (st == LM_OK)
        st = lm_field_number(o, "version", INT32_MAX, &version, err);
    if (st == LM_OK && version != 1)
        st = lm_fail(err, LM_ERR_UNSUPPORTED, "'version' is %" PRIu64 ", this version reads 1", version);
    if (st == LM_OK)
        st = lm_field_is(o, "binary_encoding", "base64", err);
    if (st == LM_OK)
        st = lm_field_number(o, "payload_byte_count", INT64_MAX, &said, err);
    if (st == LM_OK && !json_is_string(data))
        st = lm_fail(err, LM_ERR_CORRUPT, "'data' is no text");
    if (st == LM_OK)
        st = lm_base64_take(json_string_value(data), json_string_length(data), bytes, n, err);
    if (st == LM_OK && *n != said)
        st = lm_fail(err, LM_ERR_CORRUPT, "'data' has %zu bytes, 'payload_byte_count' is %" PRIu64, *n, said);
    if (st != LM_OK) {
        lm_free(*bytes);
        json_decref(o);
        return st;
    }
    *out = o;
    return LM_OK;
}

lm_status lm_block_envelope_open(const lm_blocks *b, const lm_block_ref *r, size_t i, const lm_chunk *chunk,
                                 uint8_t **out, size_t *n, lm_error *err)
{
    json_t *o = NULL;
    uint64_t index = 0, start = 0, count = 0;
    LM_TRY(unseal(chunk, block_kind, &o, out, n, err));
    lm_status st = lm_field_number(o, "block_index", INT32_MAX, &index, err);
    if (st == LM_OK)
        st = lm_field_number(o, "token_start", INT32_MAX, &start, err);
    if (st == LM_OK)
        st = lm_field_number(o, "token_count", INT32_MAX, &count, err);
    if (st == LM_OK)
        st = lm_field_is(o, "kv_encoding", lm_snapshot_encoding_name(b->encoding), err);
    if (st == LM_OK)
        st = lm_field_is(o, "kv_hash", r->kv_hash, err);
    if (st == LM_OK && (index != i || start != r->token_start || count != r->token_count))
        st = lm_fail(err, LM_ERR_CORRUPT,
                     "its envelope is of block %" PRIu64 ", %" PRIu64 " tokens from %" PRIu64 " on", index,
                     count, start);
    json_decref(o);
    if (st != LM_OK)
        lm_free(*out);
    return st;
}

/* --- whole snapshots ----------------------------------------------------------------------- */

static lm_status whole(const lm_snapshot *s, lm_snapshot_encoding e, const lm_str *bytes, const char *hash,
                       lm_str *out, lm_error *err)
{
    json_t *o = json_object();
    bool failed = !o;
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = { { "token_count", s->n_tokens },
                    { "token_offset", lm_snapshot_offset(s) },
                    { "generated_tokens", s->n_generated },
                    { "num_layers", s->num_layers },
                    { "num_heads", s->num_heads },
                    { "seq_len", lm_snapshot_seq_len(s) },
                    { "head_dim", s->head_dim },
                    { "num_query_heads", s->num_query_heads } };
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "kind", json_string(snapshot_kind), &failed);
    lm_set(o, "kv_version", json_integer((json_int_t)(uint8_t)bytes->s[8]), &failed); /* as it was raised */
    lm_set(o, "kv_encoding", json_string(lm_snapshot_encoding_name(e)), &failed);
    lm_set(o, "binary_encoding", json_string("base64"), &failed);
    lm_set(o, "kv_hash", json_string(hash), &failed);
    lm_set(o, "architecture", lm_json_string(s->architecture), &failed);
    for (size_t i = 0; i < LM_LEN(numbers); i++)
        lm_set(o, numbers[i].key, json_integer(numbers[i].value), &failed);
    lm_set(o, "payload_byte_count", json_integer((json_int_t)bytes->n), &failed);
    return seal(o, failed, bytes, out, err);
}

lm_status lm_snapshot_put(const lm_snapshot *s, lm_chunks *c, const char *uri, lm_snapshot_encoding e,
                          lm_chunk_ref *ref, lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "kv-snapshot" };
    lm_str bytes = { 0 }, text = { 0 }, at = { 0 };
    lm_sink to = lm_sink_str(&bytes);
    char hash[65] = "";
    lm_status st = lm_snapshot_encode(s, e, &to, err);
    if (st == LM_OK)
        st = lm_hash_text(bytes.s, bytes.n, hash, err);
    if (st == LM_OK)
        st = whole(s, e, &bytes, hash, &text, err);
    if (uri)
        lm_str_addz(&at, uri);
    else
        lm_str_addf(&at, "mlx://kv-snapshot/%s", hash);
    if (st == LM_OK)
        st = lm_str_status(&at, err);
    const lm_chunk_tag tags[] = { { "kv_hash", hash }, { "kv_encoding", lm_snapshot_encoding_name(e) } };
    lm_chunk_about about = { .uri = lm_str_z(&at),
                             .kind = snapshot_kind,
                             .track = "session-kv",
                             .tags = tags,
                             .n_tags = LM_LEN(tags),
                             .labels = labels,
                             .n_labels = LM_LEN(labels) };
    if (st == LM_OK)
        st = lm_chunks_put(c, text.s, text.n, &about, ref, err);
    lm_str_clear(&bytes);
    lm_str_clear(&text);
    lm_str_clear(&at);
    return st;
}

lm_status lm_snapshot_get(lm_chunks *c, const char *uri, lm_snapshot **out, lm_error *err)
{
    lm_chunk chunk;
    json_t *o = NULL;
    uint8_t *bytes = NULL;
    size_t n = 0;
    char hash[65];
    lm_snapshot *s = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_chunks_find(c, uri, &chunk, err));
    lm_status st = unseal(&chunk, snapshot_kind, &o, &bytes, &n, err);
    lm_chunk_clear(&chunk);
    if (st == LM_OK)
        st = lm_hash_text((const char *)bytes, n, hash, err);
    if (st == LM_OK)
        st = lm_field_is(o, "kv_hash", hash, err);
    if (st == LM_OK)
        st = lm_snapshot_decode(&s, bytes, n, 0, err);
    if (st == LM_OK)
        st = lm_grow((void **)&s->owned, &s->cap_owned, s->n_owned + 1, sizeof *s->owned, err);
    json_decref(o);
    if (st != LM_OK) {
        lm_snapshot_close(s);
        if (o)
            lm_free(bytes);
        return lm_wrap(err, st, "%s", lm_quoted_z(&q, uri));
    }
    s->owned[s->n_owned++] = bytes;
    *out = s;
    return LM_OK;
}
