/* state/interchange/blocks.h - snapshots cut into blocks of tokens, put together again, and
 * kept in a chunk store with a manifest (SPEC 6; docs/formats/block-bundle.md).
 *
 * A block is a snapshot of its own tokens.  Layers with a window are in the blocks that the
 * window overlaps, whole, and empty in the others; generated tokens and logits are in the
 * last block alone.
 *
 * Trust:   manifests and chunks are hostile; every payload is checked against its length
 *          and SHA-256 before it is decoded.
 * Threads: one thread at a time.
 */
#ifndef LM_INTERCHANGE_BLOCKS_H
#define LM_INTERCHANGE_BLOCKS_H

#include "state/interchange/chunks.h"
#include "state/interchange/snapshot.h"

enum {
    LM_BLOCK_TOKENS = 512, /* where nothing else is said (SPEC 6.2.1) */
    LM_BLOCKS_MAX_BLOCKS = 1 << 20,
    LM_BLOCKS_MAX_JSON = 256 << 20
};

/* Borders 0 to seq_len, rising: blocks are [cuts[i], cuts[i + 1]).  Gives *cuts (lm_free()).
 * LM_ERR_USAGE: block size 0; LM_ERR_CORRUPT: tokens and positions differ. */
lm_status lm_snapshot_cuts(const lm_snapshot *s, uint32_t block_size, uint32_t **cuts, size_t *n_blocks,
                           lm_error *err) LM_NODISCARD;
/* Tokens [start, end) of a snapshot that both are borders of; `last`: with what it ends in. */
lm_status lm_snapshot_slice(const lm_snapshot *s, uint32_t start, uint32_t end, bool last, lm_snapshot **out,
                            lm_error *err) LM_NODISCARD;
/* In order, without gaps; LM_ERR_CORRUPT says what differs between two of them. */
lm_status lm_snapshot_join(lm_snapshot *const *blocks, size_t n, lm_snapshot **out,
                           lm_error *err) LM_NODISCARD;

typedef struct {
    uint32_t token_start, token_count;
    char kv_hash[65];
    bool json; /* payload_encoding json-base64; else raw */
    uint64_t n_bytes;
    lm_chunk_ref ref;
} lm_block_ref;

struct lm_blocks {
    char snapshot_hash[65], architecture[256];
    lm_snapshot_encoding encoding;
    uint32_t token_count, token_offset, block_size, num_layers, num_heads, seq_len, head_dim, reused_blocks;
    lm_block_ref *blocks;
    size_t n_blocks;
};

lm_status lm_blocks_object(const lm_blocks *b, json_t **out, lm_error *err) LM_NODISCARD;
lm_status lm_blocks_of_object(const json_t *o, lm_blocks **out, lm_error *err) LM_NODISCARD;
lm_status lm_blocks_hash(const lm_blocks *b, char out[65], lm_error *err) LM_NODISCARD;
/* Reads, checks and decodes block i; `keep` holds the bytes that its views look into. */
lm_status lm_blocks_block(const lm_blocks *b, lm_chunks *c, size_t i, unsigned flags, lm_snapshot **out,
                          lm_error *err) LM_NODISCARD;

/* chunk_id, frame_offset, ... as JSON, and back. */
json_t *lm_chunk_ref_object(const lm_chunk_ref *r);
lm_status lm_chunk_ref_of(const json_t *o, lm_chunk_ref *out, lm_error *err) LM_NODISCARD;

#endif
