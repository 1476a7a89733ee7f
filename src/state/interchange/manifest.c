/* state/interchange/manifest.c - the manifest of a block bundle, and loading by it (SPEC 6.4, 6.6). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "state/interchange/blocks.h"
#include "state/interchange/envelope.h"
#include "state/limits.h"

static const char kind[] = "go-mlx/kv-snapshot-block-bundle";

void lm_blocks_close(lm_blocks *b)
{
    if (b)
        lm_free(b->blocks);
    lm_free(b);
}

void lm_blocks_get_info(const lm_blocks *b, lm_blocks_info *out)
{
    lm_blocks_info all = { .size = out->size,
                           .snapshot_hash = b->snapshot_hash,
                           .architecture = b->architecture,
                           .encoding = b->encoding,
                           .token_count = b->token_count,
                           .block_size = b->block_size,
                           .n_blocks = (uint32_t)b->n_blocks,
                           .reused_blocks = b->reused_blocks };
    for (size_t i = 0; i < b->n_blocks; i++)
        all.n_bytes += b->blocks[i].n_bytes;
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

lm_status lm_blocks_hash(const lm_blocks *b, char out[65], lm_error *err)
{
    lm_str t = { 0 };
    lm_str_addf(&t, "%s|%s|%u|%u|%u", b->architecture, lm_snapshot_encoding_name(b->encoding), b->token_count,
                b->token_offset, b->block_size);
    for (size_t i = 0; i < b->n_blocks; i++)
        lm_str_addf(&t, "|%s", b->blocks[i].kv_hash);
    lm_status st = lm_str_status(&t, err);
    if (st == LM_OK)
        st = lm_hash_text(lm_str_z(&t), t.n, out, err);
    lm_str_clear(&t);
    return st;
}

/* --- JSON ------------------------------------------------------------------------------- */

json_t *lm_chunk_ref_object(const lm_chunk_ref *r)
{
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "chunk_id", json_integer((json_int_t)r->chunk_id), &failed);
    if (r->has_frame_offset) {
        lm_set(o, "frame_offset", json_integer((json_int_t)r->frame_offset), &failed);
        lm_set(o, "has_frame_offset", json_true(), &failed);
    }
    lm_set(o, "codec", lm_json_string(r->codec), &failed);
    if (r->segment[0])
        lm_set(o, "segment", lm_json_string(r->segment), &failed);
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return o;
}

lm_status lm_chunk_ref_of(const json_t *o, lm_chunk_ref *out, lm_error *err)
{
    const char *codec, *segment;
    memset(out, 0, sizeof *out);
    if (!json_is_object(o))
        return lm_fail(err, LM_ERR_CORRUPT, "a reference to a chunk is no object");
    LM_TRY(lm_field_number(o, "chunk_id", INT64_MAX, &out->chunk_id, err));
    LM_TRY(lm_field_number(o, "frame_offset", INT64_MAX, &out->frame_offset, err));
    LM_TRY(lm_field_text(o, "codec", &codec, err));
    LM_TRY(lm_field_text(o, "segment", &segment, err));
    /* Offset zero is a place; without the flag, any other says that there is one. */
    out->has_frame_offset = json_is_true(json_object_get(o, "has_frame_offset")) || out->frame_offset > 0;
    if (strlen(codec) >= sizeof out->codec || strlen(segment) >= sizeof out->segment)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "a chunk's codec has %zu bytes, its segment %zu; allowed are %zu and %zu",
                       strlen(codec), strlen(segment), sizeof out->codec - 1, sizeof out->segment - 1);
    memcpy(out->codec, codec, strlen(codec) + 1);
    memcpy(out->segment, segment, strlen(segment) + 1);
    return LM_OK;
}

static json_t *block_object(const lm_block_ref *r, size_t i)
{
    json_t *o = json_object();
    bool failed = !o;
    lm_set(o, "index", json_integer((json_int_t)i), &failed);
    lm_set(o, "token_start", json_integer(r->token_start), &failed);
    lm_set(o, "token_count", json_integer(r->token_count), &failed);
    lm_set(o, "kv_hash", json_string(r->kv_hash), &failed);
    lm_set(o, "payload_encoding", json_string(r->json ? "json-base64" : "raw"), &failed);
    lm_set(o, "payload_byte_count", json_integer((json_int_t)r->n_bytes), &failed);
    lm_set(o, "state", lm_chunk_ref_object(&r->ref), &failed);
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return o;
}

lm_status lm_blocks_object(const lm_blocks *b, json_t **out, lm_error *err)
{
    json_t *o = json_object(), *blocks = json_array();
    bool failed = !o || !blocks;
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = { { "token_count", b->token_count }, { "token_offset", b->token_offset },
                    { "block_size", b->block_size },   { "num_layers", b->num_layers },
                    { "num_heads", b->num_heads },     { "seq_len", b->seq_len },
                    { "head_dim", b->head_dim },       { "reused_blocks", b->reused_blocks } };
    lm_set(o, "version", json_integer(1), &failed);
    lm_set(o, "kind", json_string(kind), &failed);
    lm_set(o, "snapshot_hash", json_string(b->snapshot_hash), &failed);
    lm_set(o, "kv_encoding", json_string(lm_snapshot_encoding_name(b->encoding)), &failed);
    lm_set(o, "architecture", lm_json_string(b->architecture), &failed);
    for (size_t i = 0; i < LM_LEN(numbers); i++)
        lm_set(o, numbers[i].key, json_integer(numbers[i].value), &failed);
    for (size_t i = 0; i < b->n_blocks && !failed; i++)
        failed = json_array_append_new(blocks, block_object(&b->blocks[i], i)) != 0;
    lm_set(o, "blocks", blocks, &failed);
    if (failed) {
        json_decref(o);
        return lm_fail(err, LM_ERR_NOMEM, "no memory for a bundle's manifest");
    }
    *out = o;
    return LM_OK;
}

static lm_status read_block(const json_t *o, size_t i, uint64_t start, lm_block_ref *r, lm_error *err)
{
    uint64_t index;
    const char *hash, *encoding;
    lm_quoted_buf q;
    LM_TRY(lm_field_number(o, "index", INT32_MAX, &index, err));
    LM_TRY(lm_field_u32(o, "token_start", &r->token_start, err));
    LM_TRY(lm_field_u32(o, "token_count", &r->token_count, err));
    LM_TRY(lm_field_text(o, "kv_hash", &hash, err));
    LM_TRY(lm_field_text(o, "payload_encoding", &encoding, err));
    LM_TRY(lm_field_number(o, "payload_byte_count", INT64_MAX, &r->n_bytes, err));
    if (index != i)
        return lm_fail(err, LM_ERR_CORRUPT, "its index is %" PRIu64, index);
    if (r->token_start != start || r->token_count == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "%u tokens from %u on, it must begin at %" PRIu64, r->token_count,
                       r->token_start, start);
    if (!lm_is_hex64(hash))
        return lm_fail(err, LM_ERR_CORRUPT, "its kv_hash '%s' is no SHA-256", lm_quoted_z(&q, hash));
    memcpy(r->kv_hash, hash, 65);
    r->json = strcmp(encoding, "json-base64") == 0;
    if (!r->json && encoding[0] && strcmp(encoding, "raw") != 0)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "its payload_encoding is '%s', allowed are raw and json-base64",
                       lm_quoted_z(&q, encoding));
    const json_t *ref = json_object_get(o, "state");
    return lm_chunk_ref_of(ref ? ref : json_object_get(o, "memvid"), &r->ref, err);
}

static lm_status read_object(const json_t *o, lm_blocks *b, lm_error *err)
{
    const char *hash, *encoding, *architecture;
    uint64_t version, at = 0;
    char computed[65];
    LM_TRY(lm_field_is(o, "kind", kind, err));
    LM_TRY(lm_field_number(o, "version", INT32_MAX, &version, err));
    if (version != 1)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "'version' is %" PRIu64 ", this version reads 1", version);
    LM_TRY(lm_field_text(o, "snapshot_hash", &hash, err));
    LM_TRY(lm_field_text(o, "kv_encoding", &encoding, err));
    LM_TRY(lm_field_text(o, "architecture", &architecture, err));
    LM_TRY(lm_field_u32(o, "token_count", &b->token_count, err));
    LM_TRY(lm_field_u32(o, "token_offset", &b->token_offset, err));
    LM_TRY(lm_field_u32(o, "block_size", &b->block_size, err));
    LM_TRY(lm_field_u32(o, "num_layers", &b->num_layers, err));
    LM_TRY(lm_field_u32(o, "num_heads", &b->num_heads, err));
    LM_TRY(lm_field_u32(o, "seq_len", &b->seq_len, err));
    LM_TRY(lm_field_u32(o, "head_dim", &b->head_dim, err));
    LM_TRY(lm_field_u32(o, "reused_blocks", &b->reused_blocks, err));
    if (lm_snapshot_encoding_of(encoding, &b->encoding, err) != LM_OK)
        return LM_ERR_CORRUPT;
    if (!lm_is_hex64(hash) || strlen(architecture) >= sizeof b->architecture)
        return lm_fail(err, LM_ERR_CORRUPT, "'snapshot_hash' is no SHA-256, or an architecture of %zu bytes",
                       strlen(architecture));
    memcpy(b->snapshot_hash, hash, 65);
    memcpy(b->architecture, architecture, strlen(architecture) + 1);
    const json_t *blocks = json_object_get(o, "blocks");
    size_t n = json_array_size(blocks);
    if (n == 0 || n > LM_BLOCKS_MAX_BLOCKS)
        return lm_fail(err, LM_ERR_CORRUPT, "'blocks' has %zu entries, allowed are 1 to %d", n,
                       LM_BLOCKS_MAX_BLOCKS);
    LM_TRY(LM_NEW(&b->blocks, n, err));
    for (size_t i = 0; i < n; i++) {
        lm_status st = read_block(json_array_get(blocks, i), i, at, &b->blocks[i], err);
        if (st != LM_OK)
            return lm_wrap(err, st, "block %zu", i);
        at += b->blocks[i].token_count;
        b->n_blocks++;
    }
    if (at != b->token_count || b->token_count > LM_MAX_ENTRY_TOKENS)
        return lm_fail(err, LM_ERR_CORRUPT, "blocks of %" PRIu64 " tokens in a bundle of %u", at,
                       b->token_count);
    LM_TRY(lm_blocks_hash(b, computed, err));
    if (strcmp(computed, b->snapshot_hash) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "'snapshot_hash' is %.12s…, its blocks give %.12s…",
                       b->snapshot_hash, computed);
    return LM_OK;
}

lm_status lm_blocks_of_object(const json_t *o, lm_blocks **out, lm_error *err)
{
    lm_blocks *b = NULL;
    LM_TRY(LM_NEW(&b, 1, err));
    lm_status st = read_object(o, b, err);
    if (st != LM_OK) {
        lm_blocks_close(b);
        return lm_wrap(err, st, "a block bundle");
    }
    *out = b;
    return LM_OK;
}

lm_status lm_blocks_parse(const char *json, size_t n, lm_blocks **out, lm_error *err)
{
    json_t *o = NULL;
    lm_json_limits limits = { .max_bytes = LM_BLOCKS_MAX_JSON };
    LM_TRY(lm_json_parse(&o, json, n, "a block bundle", &limits, err));
    lm_status st = lm_blocks_of_object(o, out, err);
    json_decref(o);
    return st;
}

lm_status lm_blocks_json(const lm_blocks *b, char **out, size_t *n, lm_error *err)
{
    json_t *o = NULL;
    LM_TRY(lm_blocks_object(b, &o, err));
    lm_status st = lm_json_text(o, 0, out, n, err);
    json_decref(o);
    return st;
}

lm_status lm_blocks_read(lm_chunks *c, const char *uri, lm_blocks **out, lm_error *err)
{
    lm_chunk chunk;
    lm_quoted_buf q;
    LM_TRY(lm_chunks_find(c, uri, &chunk, err));
    lm_status st = lm_blocks_parse((const char *)chunk.bytes, chunk.n, out, err);
    lm_chunk_clear(&chunk);
    return st == LM_OK ? st : lm_wrap(err, st, "%s", lm_quoted_z(&q, uri));
}

/* --- loading ------------------------------------------------------------------------------ */

static lm_status check_block(const lm_blocks *b, const lm_block_ref *r, const lm_snapshot *s, lm_error *err)
{
    uint32_t base = b->token_offset > b->seq_len ? b->token_offset - b->seq_len : 0;
    uint64_t end = (uint64_t)base + r->token_start + r->token_count;
    if (s->n_tokens != r->token_count || lm_snapshot_seq_len(s) != r->token_count)
        return lm_fail(err, LM_ERR_CORRUPT, "it has %u tokens for %u positions, the manifest says %u",
                       s->n_tokens, lm_snapshot_seq_len(s), r->token_count);
    if (lm_snapshot_offset(s) != end)
        return lm_fail(err, LM_ERR_CORRUPT, "it ends at token %u, the manifest says %" PRIu64,
                       lm_snapshot_offset(s), end);
    if (strcmp(s->architecture, b->architecture) != 0 || s->num_layers != b->num_layers ||
        s->num_heads != b->num_heads || s->head_dim != b->head_dim)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "it has %u layers, %u heads, %u dimensions, the manifest says %u, %u, %u",
                       s->num_layers, s->num_heads, s->head_dim, b->num_layers, b->num_heads, b->head_dim);
    return LM_OK;
}

/* Takes the chunk's bytes over into the snapshot's care. */
static lm_status decode_payload(const lm_blocks *b, const lm_block_ref *r, size_t i, lm_chunk *chunk,
                                unsigned flags, lm_snapshot **out, lm_error *err)
{
    uint8_t *own = NULL;
    const uint8_t *bytes = chunk->bytes;
    size_t n = chunk->n;
    char hash[65];
    lm_snapshot *s = NULL;
    if (r->json) {
        LM_TRY(lm_block_envelope_open(b, r, i, chunk, &own, &n, err));
        bytes = own;
    } else { /* a copy where the chunk is borrowed: the snapshot may outlive the store */
        LM_TRY(LM_NEW(&own, n, err));
        if (n)
            memcpy(own, bytes, n);
        bytes = own;
    }
    lm_status st = LM_OK;
    if (n != r->n_bytes)
        st = lm_fail(err, n < r->n_bytes ? LM_ERR_TRUNCATED : LM_ERR_CORRUPT,
                     "its payload has %zu bytes, the manifest says %" PRIu64, n, r->n_bytes);
    if (st == LM_OK)
        st = lm_hash_text((const char *)bytes, n, hash, err);
    if (st == LM_OK && strcmp(hash, r->kv_hash) != 0)
        st = lm_fail(err, LM_ERR_CORRUPT, "its payload does not match its hash");
    if (st == LM_OK)
        st = lm_snapshot_decode(&s, bytes, n, flags, err);
    if (st == LM_OK)
        st = check_block(b, r, s, err);
    if (st == LM_OK)
        st = lm_grow((void **)&s->owned, &s->cap_owned, s->n_owned + 1, sizeof *s->owned, err);
    if (st != LM_OK) {
        lm_snapshot_close(s);
        lm_free(own);
        return st;
    }
    s->owned[s->n_owned++] = own;
    *out = s;
    return LM_OK;
}

lm_status lm_blocks_block(const lm_blocks *b, lm_chunks *c, size_t i, unsigned flags, lm_snapshot **out,
                          lm_error *err)
{
    lm_chunk chunk;
    lm_status st = lm_chunks_resolve(c, &b->blocks[i].ref, &chunk, err);
    if (st == LM_OK) {
        st = decode_payload(b, &b->blocks[i], i, &chunk, flags, out, err);
        lm_chunk_clear(&chunk);
    }
    return st == LM_OK ? st : lm_wrap(err, st, "block %zu", i);
}

/* One block, cut where the prefix ends; *end says whether it was the last. */
static lm_status covering(const lm_blocks *b, lm_chunks *c, size_t i, uint32_t n, unsigned flags,
                          lm_snapshot **out, bool *end, lm_error *err)
{
    const lm_block_ref *r = &b->blocks[i];
    lm_snapshot *s = NULL;
    LM_TRY(lm_blocks_block(b, c, i, flags, &s, err));
    *end = r->token_start + r->token_count >= n;
    if (n < b->token_count)
        lm_snapshot_clear_terminal(s);
    if (r->token_start + r->token_count > n) {
        lm_snapshot *cut = NULL;
        lm_status st = lm_snapshot_slice(s, 0, n - r->token_start, false, &cut, err);
        lm_snapshot_close(s);
        LM_TRY(st);
        s = cut;
    }
    *out = s;
    return LM_OK;
}

static lm_status wanted(const lm_blocks *b, uint32_t *n, lm_error *err)
{
    *n = *n ? *n : b->token_count;
    if (*n > b->token_count)
        return lm_fail(err, LM_ERR_USAGE, "%u tokens of a bundle of %u", *n, b->token_count);
    return LM_OK;
}

lm_status lm_blocks_each(const lm_blocks *b, lm_chunks *c, uint32_t n, lm_on_block visit, void *user,
                         lm_error *err)
{
    bool end = false;
    LM_TRY(wanted(b, &n, err));
    for (size_t i = 0; i < b->n_blocks && !end; i++) {
        lm_snapshot *s = NULL;
        LM_TRY(covering(b, c, i, n, 0, &s, &end, err));
        bool go_on = visit(user, b->blocks[i].token_start, s);
        lm_snapshot_close(s);
        if (!go_on)
            return LM_OK;
    }
    return LM_OK;
}

lm_status lm_blocks_load(const lm_blocks *b, lm_chunks *c, uint32_t n, unsigned flags, lm_snapshot **out,
                         lm_error *err)
{
    lm_snapshot **blocks = NULL;
    size_t k = 0;
    bool end = false;
    LM_TRY(wanted(b, &n, err));
    LM_TRY(lm_new((void **)&blocks, b->n_blocks, sizeof *blocks, err));
    lm_status st = LM_OK;
    while (k < b->n_blocks && !end && st == LM_OK) {
        st = covering(b, c, k, n, flags, &blocks[k], &end, err);
        k += st == LM_OK;
    }
    if (st == LM_OK)
        st = lm_snapshot_join(blocks, k, out, err);
    for (size_t i = 0; i < k; i++)
        lm_snapshot_close(blocks[i]);
    lm_free(blocks);
    return st;
}

typedef struct {
    int32_t *ids;
    uint32_t n;
} ids_of;

static bool take_ids(void *user, uint32_t first, const lm_snapshot *s)
{
    ids_of *t = user;
    memcpy(t->ids + first, s->tokens, s->n_tokens * sizeof *t->ids);
    t->n = first + s->n_tokens;
    return true;
}

lm_status lm_blocks_tokens(const lm_blocks *b, lm_chunks *c, uint32_t n, int32_t **ids, lm_error *err)
{
    ids_of t = { .n = 0 };
    LM_TRY(wanted(b, &n, err));
    LM_TRY(LM_NEW(&t.ids, n, err));
    lm_status st = lm_blocks_each(b, c, n, take_ids, &t, err);
    if (st != LM_OK) {
        lm_free(t.ids);
        return st;
    }
    *ids = t.ids;
    return LM_OK;
}
