/* state/interchange/blocksave.c - blocks into a chunk store, what a parent has left out (SPEC 6.5). */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/blocks.h"
#include "state/interchange/envelope.h"

void lm_blocks_defaults(lm_blocks_options *out)
{
    *out = (lm_blocks_options){ .size = sizeof *out,
                                .block_size = LM_BLOCK_TOKENS,
                                .encoding = LM_SNAPSHOT_NATIVE };
}

typedef struct {
    const lm_snapshot *s;
    lm_chunks *c;
    lm_blocks_options o;
    lm_blocks *b;
} saving;

/* The parent's block of the same range and encoding, if it may be used again. */
static const lm_block_ref *parents(const saving *w, size_t i, uint32_t start, uint32_t count)
{
    const lm_blocks *p = w->o.parent;
    if (!p || i >= p->n_blocks || p->encoding != w->b->encoding ||
        strcmp(p->architecture, w->b->architecture) != 0)
        return NULL;
    const lm_block_ref *r = &p->blocks[i];
    uint32_t limit = w->o.reuse_limit ? w->o.reuse_limit : p->token_count;
    return r->token_start == start && r->token_count == count && start + count <= limit ? r : NULL;
}

typedef struct {
    const lm_snapshot *s;
    lm_snapshot_encoding e;
} one;

static lm_status fill(void *user, lm_sink *to, lm_error *err)
{
    const one *w = user;
    return lm_snapshot_encode(w->s, w->e, to, err);
}

static lm_status put_block(const saving *w, size_t i, const lm_snapshot *block, lm_block_ref *r,
                           lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "kv-snapshot-block" };
    char uri[512], numbers[3][24];
    const char *base = w->o.blocks_uri && w->o.blocks_uri[0] ? w->o.blocks_uri : "mlx://kv-snapshot-blocks";
    int n = snprintf(uri, sizeof uri, "%s/block/%zu", base, i);
    if (n < 0 || (size_t)n >= sizeof uri)
        return lm_fail(err, LM_ERR_USAGE, "a URI of %d bytes, allowed are %zu", n, sizeof uri - 1);
    (void)snprintf(numbers[0], sizeof numbers[0], "%zu", i);
    (void)snprintf(numbers[1], sizeof numbers[1], "%u", r->token_start);
    (void)snprintf(numbers[2], sizeof numbers[2], "%u", r->token_count);
    r->json = w->c->text_only;
    const lm_chunk_tag tags[] = { { "kv_hash", r->kv_hash },
                                  { "kv_encoding", lm_snapshot_encoding_name(w->b->encoding) },
                                  { "payload_encoding", r->json ? "json-base64" : "raw" },
                                  { "block_index", numbers[0] },
                                  { "token_start", numbers[1] },
                                  { "token_count", numbers[2] } };
    lm_chunk_about about = { .uri = uri,
                             .kind = "go-mlx/kv-snapshot-block",
                             .track = "session-kv-blocks",
                             .tags = tags,
                             .n_tags = LM_LEN(tags),
                             .labels = labels,
                             .n_labels = LM_LEN(labels) };
    one x = { block, w->b->encoding };
    if (!r->json)
        return lm_chunks_stream(w->c, r->n_bytes, &about, fill, &x, &r->ref, err);
    lm_str bytes = { 0 }, text = { 0 };
    lm_sink to = lm_sink_str(&bytes);
    lm_status st = lm_snapshot_encode(block, w->b->encoding, &to, err);
    if (st == LM_OK)
        st = lm_block_envelope(w->b, r, i, &bytes, &text, err);
    if (st == LM_OK)
        st = lm_chunks_put(w->c, text.s, text.n, &about, &r->ref, err);
    lm_str_clear(&bytes);
    lm_str_clear(&text);
    return st;
}

static lm_status hash_block(const lm_snapshot *block, lm_snapshot_encoding e, lm_block_ref *r, lm_error *err)
{
    lm_sha *sha = NULL;
    LM_TRY(lm_sha_open(&sha, err));
    lm_sink to = lm_sink_sha(sha);
    lm_status st = lm_snapshot_encode(block, e, &to, err);
    lm_digest d = lm_sha_close(sha);
    lm_digest_hex(&d, r->kv_hash);
    r->n_bytes = to.n;
    return st;
}

static lm_status save_block(saving *w, size_t i, uint32_t start, uint32_t end, bool last, lm_error *err)
{
    lm_block_ref *r = &w->b->blocks[i];
    lm_snapshot *block = NULL;
    const lm_block_ref *old = parents(w, i, start, end - start);
    if (old && w->o.trust_parent && w->o.parent->block_size == w->b->block_size && !last) {
        *r = *old;
        w->b->reused_blocks++;
        return LM_OK;
    }
    LM_TRY(lm_snapshot_slice(w->s, start, end, last, &block, err));
    *r = (lm_block_ref){ .token_start = start, .token_count = end - start };
    lm_status st = hash_block(block, w->b->encoding, r, err);
    if (st == LM_OK && old && strcmp(old->kv_hash, r->kv_hash) == 0) {
        *r = *old;
        w->b->reused_blocks++;
    } else if (st == LM_OK)
        st = put_block(w, i, block, r, err);
    lm_snapshot_close(block);
    return st;
}

static lm_status put_manifest(const saving *w, lm_error *err)
{
    static const char *const labels[] = { "go-mlx", "kv-snapshot-block-bundle" };
    lm_chunk_about about = { .uri = w->o.uri,
                             .kind = "go-mlx/kv-snapshot-block-bundle",
                             .track = "session-kv-blocks",
                             .labels = labels,
                             .n_labels = LM_LEN(labels) };
    char *text = NULL;
    size_t n;
    LM_TRY(lm_blocks_json(w->b, &text, &n, err));
    lm_status st = lm_chunks_put(w->c, text, n, &about, NULL, err);
    lm_free(text);
    return st;
}

static lm_status save(saving *w, const uint32_t *cuts, size_t n, lm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (w->o.stop && w->o.stop(w->o.user))
            return lm_fail(err, LM_ERR_CANCELLED, "saving a bundle was stopped at block %zu of %zu", i, n);
        lm_status st = save_block(w, i, cuts[i], cuts[i + 1], i + 1 == n, err);
        if (st != LM_OK)
            return lm_wrap(err, st, "block %zu", i);
        w->b->n_blocks++;
    }
    LM_TRY(lm_blocks_hash(w->b, w->b->snapshot_hash, err));
    /* Blocks are on the disk before anything names them. */
    LM_TRY(lm_chunks_sync(w->c, err));
    if (!w->o.uri || !w->o.uri[0])
        return LM_OK;
    LM_TRY(put_manifest(w, err));
    return lm_chunks_sync(w->c, err);
}

lm_status lm_blocks_save(const lm_snapshot *s, lm_chunks *c, const lm_blocks_options *options,
                         lm_blocks **out, lm_error *err)
{
    saving w = { .s = s, .c = c };
    uint32_t *cuts = NULL;
    size_t n;
    lm_blocks_defaults(&w.o);
    if (options)
        memcpy(&w.o, options, LM_MIN(sizeof w.o, (size_t)options->size));
    if (!s || !c)
        return lm_fail(err, LM_ERR_USAGE, "there is no %s to save", s ? "store" : "snapshot");
    LM_TRY(lm_snapshot_cuts(s, w.o.block_size, &cuts, &n, err));
    lm_status st = n <= LM_BLOCKS_MAX_BLOCKS
                       ? LM_NEW(&w.b, 1, err)
                       : lm_fail(err, LM_ERR_USAGE, "%zu blocks, allowed are %d", n, LM_BLOCKS_MAX_BLOCKS);
    if (st == LM_OK)
        st = LM_NEW(&w.b->blocks, n, err);
    if (st == LM_OK) {
        w.b->encoding = w.o.encoding;
        memcpy(w.b->architecture, s->architecture, sizeof w.b->architecture);
        w.b->token_count = s->n_tokens;
        w.b->token_offset = lm_snapshot_offset(s);
        w.b->block_size = w.o.block_size;
        w.b->num_layers = s->num_layers;
        w.b->num_heads = s->num_heads;
        w.b->seq_len = lm_snapshot_seq_len(s);
        w.b->head_dim = s->head_dim;
        st = save(&w, cuts, n, err);
    }
    lm_free(cuts);
    if (st != LM_OK) {
        lm_blocks_close(w.b);
        return st;
    }
    *out = w.b;
    return LM_OK;
}
