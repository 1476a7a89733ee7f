/* state/interchange/snapshot.h - snapshots MLXKV001: a session's keys and values, tokens
 * and last logits in one portable file (SPEC 5; docs/formats/snapshot.md).
 *
 * Numbers of K/V tensors are never decoded on reading: a tensor is a view of the file's
 * bytes with its number format, and whoever wants float32 asks for the rows that it
 * needs.  A layer holds its keys and values either as one slab [1, heads, rows, dim] or
 * head by head [rows, dim]; lm_kv_view() shows both alike.  A layer with a window has
 * fewer rows than the snapshot has tokens: the last ones.
 *
 * Trust:   snapshots are hostile: counts are compared with the bytes left before
 *          anything is allocated, and memory stays within a few times the file's size.
 * Threads: one thread at a time; reading calls on one snapshot from any thread.
 */
#ifndef LM_INTERCHANGE_SNAPSHOT_H
#define LM_INTERCHANGE_SNAPSHOT_H

#include "base/map.h"
#include "lemma/interchange.h"
#include "state/interchange/wire.h"

enum {
    LM_SNAPSHOT_VERSION = 6,
    LM_SNAPSHOT_RANK = 8,            /* dimensions of a slab; published ones have 4 */
    LM_SNAPSHOT_MAX_LAYERS = 4096,   /* forty times the deepest model */
    LM_SNAPSHOT_MAX_HEADS = 1 << 16, /* bounds a head's record, not its numbers */
    LM_SNAPSHOT_MAX_DIM = 1 << 16
};

typedef enum {
    LM_KVT_F32,
    LM_KVT_F16,
    LM_KVT_BF16,
    LM_KVT_Q8,       /* int8 times one scale */
    LM_KVT_Q8_NATIVE /* one byte a number, of another program's making: kept, not decoded */
} lm_kvt_dtype;
size_t lm_kvt_size(lm_kvt_dtype d);      /* bytes of a number */
const char *lm_kvt_name(lm_kvt_dtype d); /* as native tensors spell it */

typedef struct {
    lm_kvt_dtype dtype;
    float scale;   /* LM_KVT_Q8 */
    bool raw_only; /* loaded so: written natively or not at all (SPEC 5.4.4) */
    uint32_t n;
    const uint8_t *raw; /* n numbers, little-endian, any alignment */
} lm_kv_tensor;

typedef struct {
    lm_kv_tensor key, value;
} lm_kv_head;

typedef struct {
    const uint8_t *bytes;
    uint32_t n;
} lm_span;

typedef struct {
    int32_t layer, cache_index; /* equal cache_index: the layers share one cache */
    char cache_mode[64];
    uint32_t max_size; /* window or bound of rotation; 0: none */
    lm_span *payloads; /* compressed by another program; kept, not decoded */
    uint32_t n_payloads;
    uint32_t key_rank, value_rank;
    int32_t key_shape[LM_SNAPSHOT_RANK], value_shape[LM_SNAPSHOT_RANK];
    lm_kv_tensor key, value; /* the slabs; n 0: there are none */
    lm_kv_head *heads;
    uint32_t n_heads;
} lm_kv_layer;

struct lm_snapshot {
    uint32_t version;
    char architecture[256];
    uint32_t num_layers, num_heads, seq_len, head_dim, num_query_heads, token_offset;
    int32_t *tokens, *generated;
    uint32_t n_tokens, n_generated;
    int32_t logit_shape[LM_SNAPSHOT_RANK];
    uint32_t logit_rank;
    float *logits;
    uint32_t n_logits;
    lm_kv_layer *layers;
    uint32_t n_layers; /* records; num_layers is what the model has */
    lm_map *map;       /* of the file that views look into, or NULL */
    void **owned;      /* memory that goes with the snapshot */
    size_t n_owned, cap_owned;
};

lm_status lm_snapshot_new(lm_snapshot **out, lm_error *err) LM_NODISCARD;
/* Zeroed memory that lives as long as the snapshot. */
lm_status lm_snapshot_alloc(lm_snapshot *s, size_t n, size_t size, void **out, lm_error *err) LM_NODISCARD;
/* Views look into `bytes`, which are the caller's and outlive the snapshot. */
lm_status lm_snapshot_decode(lm_snapshot **out, const uint8_t *bytes, size_t n, unsigned flags,
                             lm_error *err) LM_NODISCARD;
/* Streams the snapshot; `to` with write NULL computes the exact size. */
lm_status lm_snapshot_encode(const lm_snapshot *s, lm_snapshot_encoding encoding, lm_sink *to,
                             lm_error *err) LM_NODISCARD;
/* Deep copy: keeps nothing of `s`. */
lm_status lm_snapshot_clone(const lm_snapshot *s, lm_snapshot **out, lm_error *err) LM_NODISCARD;
void lm_snapshot_clear_terminal(lm_snapshot *s);   /* generated tokens and logits */
uint32_t lm_snapshot_offset(const lm_snapshot *s); /* token_offset, or the count of tokens */
uint32_t lm_snapshot_seq_len(const lm_snapshot *s);
/* LM_ERR_IO when the file under the views was cut since it was mapped. */
lm_status lm_snapshot_check(const lm_snapshot *s, lm_error *err);
bool lm_snapshot_has_payloads(const lm_snapshot *s);

/* One head's keys or values: rows [rows, dim]. */
typedef struct {
    lm_kv_tensor t;
    uint32_t rows, dim;
} lm_kv_block;
uint32_t lm_kv_layer_heads(const lm_kv_layer *l);
/* LM_ERR_CORRUPT: a slab that is not [1, heads, rows, dim], a head whose numbers are not
 * whole rows of the snapshot's head_dim. */
lm_status lm_kv_view(const lm_snapshot *s, const lm_kv_layer *l, uint32_t head, bool value, lm_kv_block *out,
                     lm_error *err) LM_NODISCARD;
/* Numbers [at, at + n) as float32.  LM_ERR_UNSUPPORTED: LM_KVT_Q8_NATIVE. */
lm_status lm_kv_tensor_get(const lm_kv_tensor *t, uint64_t at, uint64_t n, float *out,
                           lm_error *err) LM_NODISCARD;
/* Rows kept by the layer (0: none), after checking that all heads agree. */
lm_status lm_kv_layer_rows(const lm_snapshot *s, const lm_kv_layer *l, uint32_t *rows,
                           lm_error *err) LM_NODISCARD;
const lm_kv_layer *lm_snapshot_layer(const lm_snapshot *s, int32_t layer); /* NULL: none */

#endif
