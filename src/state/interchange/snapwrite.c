/* state/interchange/snapwrite.c - MLXKV001 as bytes, streamed, in the lowest version that
 * holds what the snapshot has (SPEC 5.5.2). */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/snapshot.h"

enum { CHUNK = 2048 }; /* numbers that are converted at once */

static const char *const encodings[] = { "float32", "q8", "native" };

const char *lm_snapshot_encoding_name(lm_snapshot_encoding e)
{
    return (unsigned)e < LM_LEN(encodings) ? encodings[e] : "?";
}

lm_status lm_snapshot_encoding_of(const char *name, lm_snapshot_encoding *out, lm_error *err)
{
    lm_quoted_buf q;
    for (size_t i = 0; i < LM_LEN(encodings); i++)
        if (strcmp(name, encodings[i]) == 0 || (i == 0 && name[0] == 0)) {
            *out = (lm_snapshot_encoding)i;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_USAGE, "the encoding '%s' is none of float32, q8 and native",
                   lm_quoted_z(&q, name));
}

static lm_status put_text(lm_sink *to, const char *s, lm_error *err)
{
    LM_TRY(lm_sink_u32(to, (uint32_t)strlen(s), err));
    return lm_sink_write(to, s, strlen(s), err);
}

static lm_status put_words(lm_sink *to, const void *p, uint32_t n, lm_error *err)
{
    LM_TRY(lm_sink_u32(to, n, err));
    return lm_sink_write(to, p, (size_t)n * 4, err);
}

/* --- tensors -------------------------------------------------------------------------- */

static lm_status put_f32(lm_sink *to, const lm_kv_tensor *t, lm_error *err)
{
    float x[CHUNK];
    if (t->dtype == LM_KVT_F32)
        return lm_sink_write(to, t->raw, (size_t)t->n * 4, err);
    for (uint32_t at = 0; at < t->n; at += CHUNK) {
        uint32_t n = LM_MIN(t->n - at, (uint32_t)CHUNK);
        LM_TRY(lm_kv_tensor_get(t, at, n, x, err));
        LM_TRY(lm_sink_write(to, x, n * sizeof *x, err));
    }
    return LM_OK;
}

/* Kind 1; *done false and nothing written for numbers that are not finite. */
static lm_status put_q8(lm_sink *to, const lm_kv_tensor *t, bool *done, lm_error *err)
{
    float x[CHUNK], most = 0;
    int8_t q[CHUNK];
    *done = true;
    if (t->dtype == LM_KVT_Q8) { /* as it is: coding it again would move its scale */
        LM_TRY(lm_sink_u32(to, 1, err));
        LM_TRY(lm_sink_u32(to, t->n, err));
        LM_TRY(lm_sink_write(to, &t->scale, sizeof t->scale, err));
        return lm_sink_write(to, t->raw, t->n, err);
    }
    for (uint32_t at = 0; at < t->n; at += CHUNK) {
        uint32_t n = LM_MIN(t->n - at, (uint32_t)CHUNK);
        LM_TRY(lm_kv_tensor_get(t, at, n, x, err));
        for (uint32_t i = 0; i < n; i++) {
            if (!isfinite(x[i])) {
                *done = false;
                return LM_OK;
            }
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        }
    }
    float scale = most > 0 ? most / 127 : 1;
    scale = scale > 0 ? scale : 1; /* the quotient of the smallest numbers */
    LM_TRY(lm_sink_u32(to, 1, err));
    LM_TRY(lm_sink_u32(to, t->n, err));
    LM_TRY(lm_sink_write(to, &scale, sizeof scale, err));
    for (uint32_t at = 0; at < t->n; at += CHUNK) {
        uint32_t n = LM_MIN(t->n - at, (uint32_t)CHUNK);
        LM_TRY(lm_kv_tensor_get(t, at, n, x, err));
        for (uint32_t i = 0; i < n; i++) {
            float r = roundf(x[i] / scale);
            q[i] = (int8_t)(r > 127 ? 127 : r < -127 ? -127 : r);
        }
        LM_TRY(lm_sink_write(to, q, n, err));
    }
    return LM_OK;
}

static lm_status put_tensor(lm_sink *to, const lm_kv_tensor *t, lm_snapshot_encoding e, lm_error *err)
{
    bool done = false;
    if (t->raw_only && e != LM_SNAPSHOT_NATIVE)
        return lm_fail(err, LM_ERR_USAGE,
                       "a tensor that only has raw bytes cannot be written as %s, only native", encodings[e]);
    if (e == LM_SNAPSHOT_Q8)
        LM_TRY(put_q8(to, t, &done, err));
    if (done)
        return LM_OK;
    if (e == LM_SNAPSHOT_NATIVE) {
        lm_kvt_dtype d = t->dtype == LM_KVT_Q8 ? LM_KVT_F32 : t->dtype;
        if ((uint64_t)t->n * lm_kvt_size(d) > UINT32_MAX)
            return lm_fail(err, LM_ERR_UNSUPPORTED,
                           "a tensor of %u numbers of %s is longer than the format's 4 GiB", t->n,
                           lm_kvt_name(d));
        LM_TRY(lm_sink_u32(to, 2, err));
        LM_TRY(lm_sink_u32(to, t->n, err));
        LM_TRY(put_text(to, lm_kvt_name(d), err));
        LM_TRY(lm_sink_u32(to, (uint32_t)(t->n * lm_kvt_size(d)), err));
        return d == t->dtype ? lm_sink_write(to, t->raw, t->n * lm_kvt_size(d), err) : put_f32(to, t, err);
    }
    LM_TRY(lm_sink_u32(to, 0, err));
    LM_TRY(lm_sink_u32(to, t->n, err));
    return put_f32(to, t, err);
}

/* --- the file ---------------------------------------------------------------------------- */

static uint32_t version_for(const lm_snapshot *s, lm_snapshot_encoding e)
{
    uint32_t v = LM_MAX(s->version, 1u);
    if (s->n_generated || s->n_logits || lm_snapshot_offset(s) != s->n_tokens)
        v = LM_MAX(v, 2u);
    if (e != LM_SNAPSHOT_FLOAT32)
        v = LM_MAX(v, 3u);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const lm_kv_layer *l = &s->layers[i];
        if (l->key.n || l->value.n || l->key_rank || l->value_rank)
            v = LM_MAX(v, 4u);
        if (l->n_payloads || l->cache_mode[0])
            v = LM_MAX(v, 5u);
        if (l->max_size)
            v = LM_MAX(v, 6u);
    }
    return v;
}

static lm_status put_layer(lm_sink *to, const lm_kv_layer *l, uint32_t v, lm_snapshot_encoding e,
                           lm_error *err)
{
    LM_TRY(lm_sink_write(to, &l->layer, 4, err));
    LM_TRY(lm_sink_write(to, &l->cache_index, 4, err));
    LM_TRY(lm_sink_u32(to, l->n_heads, err));
    if (v >= 5) {
        LM_TRY(put_text(to, l->cache_mode, err));
        LM_TRY(lm_sink_u32(to, l->n_payloads, err));
        for (uint32_t i = 0; i < l->n_payloads; i++) {
            LM_TRY(lm_sink_u32(to, l->payloads[i].n, err));
            LM_TRY(lm_sink_write(to, l->payloads[i].bytes, l->payloads[i].n, err));
        }
    }
    if (v >= 6)
        LM_TRY(lm_sink_u32(to, l->max_size, err));
    if (v >= 4) {
        LM_TRY(put_words(to, l->key_shape, l->key_rank, err));
        LM_TRY(put_tensor(to, &l->key, e, err));
        LM_TRY(put_words(to, l->value_shape, l->value_rank, err));
        LM_TRY(put_tensor(to, &l->value, e, err));
    }
    for (uint32_t i = 0; i < l->n_heads; i++)
        for (int k = 0; k < 2; k++) {
            const lm_kv_tensor *t = k ? &l->heads[i].value : &l->heads[i].key;
            if (v >= 3) {
                LM_TRY(put_tensor(to, t, e, err));
                continue;
            }
            if (t->raw_only)
                return lm_fail(err, LM_ERR_USAGE,
                               "a tensor that only has raw bytes cannot be written as float32, only native");
            LM_TRY(lm_sink_u32(to, t->n, err));
            LM_TRY(put_f32(to, t, err));
        }
    return LM_OK;
}

lm_status lm_snapshot_encode(const lm_snapshot *s, lm_snapshot_encoding e, lm_sink *to, lm_error *err)
{
    uint32_t v = version_for(s, e);
    const uint32_t geometry[] = { s->num_layers, s->num_heads, s->seq_len, s->head_dim, s->num_query_heads };
    if ((unsigned)e >= LM_LEN(encodings) || v > LM_SNAPSHOT_VERSION)
        return lm_fail(err, LM_ERR_USAGE, "encoding %d of a snapshot of version %u", (int)e, v);
    LM_TRY(lm_sink_write(to, "MLXKV001", 8, err));
    LM_TRY(lm_sink_u32(to, v, err));
    LM_TRY(put_text(to, s->architecture, err));
    LM_TRY(lm_sink_write(to, geometry, sizeof geometry, err));
    if (v >= 2)
        LM_TRY(lm_sink_u32(to, lm_snapshot_offset(s), err));
    LM_TRY(put_words(to, s->tokens, s->n_tokens, err));
    if (v >= 2)
        LM_TRY(put_words(to, s->generated, s->n_generated, err));
    LM_TRY(lm_sink_u32(to, s->n_layers, err));
    for (uint32_t i = 0; i < s->n_layers; i++)
        LM_TRY(put_layer(to, &s->layers[i], v, e, err));
    if (v >= 2) {
        LM_TRY(put_words(to, s->logit_shape, s->logit_rank, err));
        LM_TRY(put_words(to, s->logits, s->n_logits, err));
    }
    return lm_snapshot_check(s, err);
}

typedef struct {
    const lm_snapshot *s;
    lm_snapshot_encoding e;
} writing;

static lm_status fill(void *user, lm_sink *to, lm_error *err)
{
    const writing *w = user;
    return lm_snapshot_encode(w->s, w->e, to, err);
}

lm_status lm_snapshot_write(const lm_snapshot *s, const char *path, lm_snapshot_encoding e, lm_error *err)
{
    writing w = { s, e };
    return lm_write_stream(path, fill, &w, err);
}

lm_status lm_snapshot_bytes(const lm_snapshot *s, lm_snapshot_encoding e, uint64_t *n, lm_error *err)
{
    lm_sink count = { .write = NULL };
    LM_TRY(lm_snapshot_encode(s, e, &count, err));
    *n = count.n;
    return LM_OK;
}

/* SPEC 5.6.4: native where a tensor has raw bytes alone, or is a slab. */
static bool needs_native(const lm_snapshot *s)
{
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const lm_kv_layer *l = &s->layers[i];
        if (l->key.n || l->value.n)
            return true;
        for (uint32_t h = 0; h < l->n_heads; h++)
            if (l->heads[h].key.raw_only || l->heads[h].value.raw_only)
                return true;
    }
    return false;
}

lm_status lm_snapshot_hash(const lm_snapshot *s, char hex[65], lm_error *err)
{
    lm_sha *sha = NULL;
    LM_TRY(lm_sha_open(&sha, err));
    lm_sink to = lm_sink_sha(sha);
    lm_status st =
        lm_snapshot_encode(s, needs_native(s) ? LM_SNAPSHOT_NATIVE : LM_SNAPSHOT_FLOAT32, &to, err);
    lm_digest d = lm_sha_close(sha);
    if (st == LM_OK)
        lm_digest_hex(&d, hex);
    return st;
}
