/* lemma/interchange.h - state in formats of other programs, and what can be read off it.
 *
 *     lm_session_snapshot / lm_state_snapshot -> lm_snapshot_write
 *     lm_snapshot_read -> lm_state_import_snapshot -> lm_session_wake
 *     lm_snapshot_analyse -> lm_analysis_json, lm_sami_json
 *
 * A snapshot (MLXKV001) is a copy of a session's keys and values, tokens and last
 * logits that does not depend on lemma's store: for other programs, for other machines,
 * for looking at.  Waking from the store is quicker and keeps every bit; an imported
 * snapshot is rounded to the model's cache format and serves its own session alone
 * until lm_state_verify() has computed it again.
 *
 * Trust:   files are hostile; memory stays in proportion to their size.
 * Threads: an object belongs to one thread at a time; a model's and a session's calls
 *          come on the model's thread.
 */
#ifndef LM_INTERCHANGE_H
#define LM_INTERCHANGE_H

#include "lemma/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- snapshots ------------------------------------------------------------------------ */

typedef struct lm_snapshot lm_snapshot;
typedef enum { LM_SNAPSHOT_FLOAT32, LM_SNAPSHOT_Q8, LM_SNAPSHOT_NATIVE } lm_snapshot_encoding;
/* "float32", "q8", "native"; constant. */
LM_API const char *lm_snapshot_encoding_name(lm_snapshot_encoding e);
/* "" is float32; LM_ERR_USAGE for anything else. */
LM_API lm_status lm_snapshot_encoding_of(const char *name, lm_snapshot_encoding *out, lm_error *err);

enum { LM_SNAPSHOT_RAW = 1 }; /* native numbers stay raw: written natively or not at all */
/* Maps the file; its numbers are looked at where they lie.  LM_ERR_UNSUPPORTED: a version
 * or number format that is none of the known; LM_ERR_TRUNCATED and LM_ERR_CORRUPT say at
 * which byte.  Gives *out, closed with lm_snapshot_close(). */
LM_API lm_status lm_snapshot_read(lm_snapshot **out, const char *path, unsigned flags, lm_error *err);
LM_API void lm_snapshot_close(lm_snapshot *s); /* NULL is fine */
/* Streams it into a file (0600), which appears whole or not at all.  q8: one scale a
 * tensor, numbers that are not finite stay float32.  LM_ERR_USAGE: raw tensors in another
 * encoding than native. */
LM_API lm_status lm_snapshot_write(const lm_snapshot *s, const char *path, lm_snapshot_encoding e,
                                   lm_error *err);
/* The file's size before it is written. */
LM_API lm_status lm_snapshot_bytes(const lm_snapshot *s, lm_snapshot_encoding e, uint64_t *n, lm_error *err);
/* SHA-256 of the file that would be written, lowercase hex: native where tensors are raw
 * or slabs, else float32. */
LM_API lm_status lm_snapshot_hash(const lm_snapshot *s, char hex[65], lm_error *err);

typedef struct {
    uint32_t size; /* sizeof(lm_snapshot_info), set by the caller */
    uint32_t version;
    const char *architecture; /* this and the arrays: borrowed until lm_snapshot_close() */
    uint32_t num_layers, num_heads, seq_len, head_dim, num_query_heads, token_offset;
    const int32_t *tokens, *generated;
    uint32_t n_tokens, n_generated, n_logits;
    const float *logits;
} lm_snapshot_info;
LM_API void lm_snapshot_get_info(const lm_snapshot *s, lm_snapshot_info *out);

/* --- sessions and snapshots --------------------------------------------------------------- */

/* A copy of the session as it is: numbers in its cache format (f32, f16 and bf16 bit for
 * bit, codes as float32), of layers with a window the last positions alone.
 * LM_ERR_UNSUPPORTED: state that is not keys and values.  Gives *out. */
LM_API lm_status lm_session_snapshot(lm_session *s, lm_snapshot **out, lm_error *err);
/* The same of a session at rest, without its pack where all layers are alike; `m` (NULL:
 * none) says which layer is which, else LM_ERR_USAGE asks for it.  Pages that are gone or
 * damaged: LM_ERR_STATE. */
LM_API lm_status lm_state_snapshot(lm_store *store, const char *name, lm_model *m, lm_snapshot **out,
                                   lm_error *err);
/* Puts a snapshot into the store as the session `name`, in place of an earlier one.  Its
 * numbers are rounded to the model's cache format.  LM_ERR_MISMATCH: other layers, heads,
 * dimensions, or positions that the model's windows need; LM_ERR_TOO_LONG: the context is
 * too small.  `options` as for a sleep; NULL: the defaults. */
LM_API lm_status lm_state_import_snapshot(lm_store *store, const char *name, lm_model *m,
                                          const lm_snapshot *s, const lm_sleep_options *options,
                                          lm_error *err);
typedef struct {
    bool equal;                      /* every number and the logits: the session is an ordinary one now */
    uint32_t group, layer, position; /* of the first key or value that differs, of its cache group */
    double largest;                  /* difference of keys, values and logits, over the largest of each */
} lm_verify_result;
/* Computes an imported session again from its tokens.  Where all is equal it is slept anew
 * as an ordinary one, whose pages serve every session; else nothing changes. */
LM_API lm_status lm_state_verify(lm_store *store, const char *name, lm_model *m, lm_verify_result *out,
                                 lm_error *err);

/* --- analysis ------------------------------------------------------------------------------- */

/* How keys and values lie to each other (docs/formats/analysis.md has the formulas). */
typedef struct {
    bool gqa; /* at most 4 key/value heads: positions are compared, not heads */
    uint32_t num_layers, num_heads, seq_len, head_dim;
    double key_coherence, value_coherence, cross_alignment, head_entropy, phase_lock, kv_coupling;
    double joint_stability;
    uint32_t joint_collapse_count;
    uint32_t composite;                                                      /* 0 to 10000 */
    double *layer_key_coherence, *layer_value_coherence, *layer_kv_coupling; /* [num_layers] */
    double *layer_cross_alignment;                                           /* [num_layers - 1] */
    int32_t *layer_cache_index; /* [num_layers]; equal ones share a cache; -1: not in the snapshot */
} lm_analysis;
enum { LM_ANALYSIS_FEATURES = 7 };
/* Takes time in proportion to the square of the positions, up to 4096 of them.  An empty
 * snapshot gives zeros.  `out` is cleared with lm_analysis_clear(). */
LM_API lm_status lm_snapshot_analyse(const lm_snapshot *s, lm_analysis *out, lm_error *err);
LM_API void lm_analysis_clear(lm_analysis *a);
/* key_coherence, value_coherence, cross_alignment, head_entropy, phase_lock, kv_coupling,
 * joint_stability. */
LM_API void lm_analysis_features(const lm_analysis *a, double out[LM_ANALYSIS_FEATURES]);
LM_API const char *lm_analysis_label(int feature); /* constant; "?" beyond the last */
/* All of it as one JSON object; gives *out, freed with lm_give_back(). */
LM_API lm_status lm_analysis_json(const lm_analysis *a, char **out, size_t *n, lm_error *err);
/* The same for people, a figure a line. */
LM_API lm_status lm_analysis_text(const lm_analysis *a, char **out, size_t *n, lm_error *err);
/* The projection for pictures and indexes; `model` and `prompt` are names, NULL: "". */
LM_API lm_status lm_sami_json(const lm_analysis *a, const lm_snapshot *s, const char *model,
                              const char *prompt, char **out, size_t *n, lm_error *err);
/* lm_state_snapshot(), its analysis and SAMI in one JSON object (*json) and as text
 * (*text): what `lemma state analyse` prints.  Either may be NULL. */
LM_API lm_status lm_state_analyse(lm_store *store, const char *name, lm_model *m, char **json, char **text,
                                  lm_error *err);

/* --- chunk stores ----------------------------------------------------------------------------- */

/* Where chunks of bytes lie under ids and URIs: in memory, or in an append-only log
 * (.mvlog, docs/formats/mvlog.md) of its own or inside a .kv container.
 * Threads: any thread; one at a time works in it. */
typedef struct lm_chunks lm_chunks;

typedef struct {
    uint64_t chunk_id;     /* from 1 on */
    uint64_t frame_offset; /* of the record in its log; 0 is one */
    bool has_frame_offset;
    char codec[32];    /* "memory/plaintext", "state/file-log" */
    char segment[512]; /* path of the log, "" in memory */
} lm_chunk_ref;

typedef struct {
    const char *key, *value;
} lm_chunk_tag;
typedef struct {
    const char *uri, *title, *kind, *track; /* NULL: none; of one URI the last write counts */
    const lm_chunk_tag *tags;
    size_t n_tags;
    const char *const *labels;
    size_t n_labels;
} lm_chunk_about;

typedef struct {
    lm_chunk_ref ref;
    const uint8_t *bytes; /* cleared with lm_chunk_clear(); before lm_chunks_close() */
    size_t n;
    void *owned; /* the library's */
} lm_chunk;

/* `text_only`: chunks are UTF-8, as some stores take nothing else.  Gives *out. */
LM_API lm_status lm_chunks_open_memory(lm_chunks **out, bool text_only, lm_error *err);
enum {
    LM_LOG_CREATE = 1,     /* made when it is missing (0600); what is there is never cut */
    LM_LOG_READ_ONLY = 2,  /* mapped: chunks are borrowed, not copied */
    LM_LOG_META_FIRST = 4, /* new records have their metadata before the payload, as go-inference has it */
};
/* A record that a crash cut short is rolled back (read-only: left out).  LM_ERR_CORRUPT names
 * the byte of a record that is none; LM_ERR_BUSY: another process writes in it. */
LM_API lm_status lm_chunks_open_log(lm_chunks **out, const char *path, unsigned flags, lm_error *err);
/* The log in bytes [at, at + n) of another file, read-only and mapped. */
LM_API lm_status lm_chunks_open_region(lm_chunks **out, const char *path, uint64_t at, uint64_t n,
                                       lm_error *err);
/* Refs that name this segment are taken for the log's own: it was moved or renamed. */
LM_API lm_status lm_chunks_alias(lm_chunks *c, const char *segment, lm_error *err);
/* Writes everything out and closes.  NULL is fine. */
LM_API lm_status lm_chunks_close(lm_chunks *c, lm_error *err);
LM_API size_t lm_chunks_count(lm_chunks *c);
/* `about` NULL: nothing is said; *ref may be NULL.  LM_ERR_USAGE: a store for reading alone,
 * or bytes that are no text in one that takes text. */
LM_API lm_status lm_chunks_put(lm_chunks *c, const void *bytes, size_t n, const lm_chunk_about *about,
                               lm_chunk_ref *ref, lm_error *err);
/* LM_ERR_NOT_FOUND: no such id, or URI.  An empty URI is LM_ERR_USAGE.  Gives *out. */
LM_API lm_status lm_chunks_get(lm_chunks *c, uint64_t id, lm_chunk *out, lm_error *err);
LM_API lm_status lm_chunks_find(lm_chunks *c, const char *uri, lm_chunk *out, lm_error *err);
/* By place where the ref has one; LM_ERR_MISMATCH: of another codec, segment or id. */
LM_API lm_status lm_chunks_resolve(lm_chunks *c, const lm_chunk_ref *ref, lm_chunk *out, lm_error *err);
LM_API void lm_chunk_clear(lm_chunk *chunk);
/* LM_ERR_UNSUPPORTED: a log only grows. */
LM_API lm_status lm_chunks_remove(lm_chunks *c, uint64_t id, lm_error *err);

/* --- .kv containers ----------------------------------------------------------------------------- */

typedef struct {
    uint32_t size; /* sizeof(lm_container_mark), set by the caller */
    const char *store_path, *index_uri, *entry_uri, *bundle_uri; /* NULL: "" */
    uint64_t token_count;
} lm_container_mark;
/* A JSON header that says what to wake, then the whole log `log`, streamed. */
LM_API lm_status lm_container_write(const char *path, const char *log, const lm_container_mark *mark,
                                    lm_error *err);
/* Opens the log where it lies in the container; refs to the store's former path resolve.
 * Gives *out and, unless NULL, *header (JSON, lm_give_back()). */
LM_API lm_status lm_container_open(lm_chunks **out, const char *path, char **header, lm_error *err);

/* --- bundles of blocks -------------------------------------------------------------------------- */

/* A snapshot in blocks of tokens, each a chunk of its own, and a manifest. */
typedef struct lm_bundle lm_bundle;

typedef struct {
    uint32_t size;                 /* sizeof(lm_bundle_options), set by lm_bundle_defaults() */
    uint32_t block_size;           /* default 512 */
    lm_snapshot_encoding encoding; /* default native */
    const char *uri;               /* of the manifest; NULL: it is not put into the store */
    const char *blocks_uri;        /* blocks are at URI/block/0, ...; NULL: mlx://kv-snapshot-blocks */
    const lm_bundle *parent;       /* blocks with equal range, encoding and hash are not written again */
    uint32_t reuse_limit;          /* only blocks that end within so many tokens; 0: all of the parent */
    bool trust_parent;             /* the session only grew: equal ranges are equal blocks, unlooked at */
    bool (*stop)(void *user);      /* asked between blocks: LM_ERR_CANCELLED; NULL: nobody */
    void *user;
} lm_bundle_options;
LM_API void lm_bundle_defaults(lm_bundle_options *out);
/* Writes the blocks that the parent lacks, then the manifest, and waits for the disk.
 * `o` NULL: the defaults.  Gives *out, closed with lm_bundle_close(). */
LM_API lm_status lm_bundle_save(const lm_snapshot *s, lm_chunks *c, const lm_bundle_options *o,
                                lm_bundle **out, lm_error *err);
/* The manifest under this URI. */
LM_API lm_status lm_bundle_read(lm_chunks *c, const char *uri, lm_bundle **out, lm_error *err);
/* The same from its text, and as text (lm_give_back()). */
LM_API lm_status lm_bundle_parse(const char *json, size_t n, lm_bundle **out, lm_error *err);
LM_API lm_status lm_bundle_json(const lm_bundle *b, char **out, size_t *n, lm_error *err);
LM_API void lm_bundle_close(lm_bundle *b); /* NULL is fine */

typedef struct {
    uint32_t size; /* sizeof(lm_bundle_info), set by the caller */
    const char *snapshot_hash, *architecture;
    lm_snapshot_encoding encoding;
    uint32_t token_count, block_size, n_blocks, reused_blocks;
    uint64_t n_bytes; /* of all payloads */
} lm_bundle_info;
LM_API void lm_bundle_get_info(const lm_bundle *b, lm_bundle_info *out);

/* The snapshot of the first n_tokens, 0: all.  Only the blocks that it covers are read; the
 * last is cut, and a prefix has neither generated tokens nor logits.  Lengths, hashes,
 * ranges and offsets are checked: LM_ERR_CORRUPT names the block.  LM_ERR_USAGE: more tokens
 * than there are. */
LM_API lm_status lm_bundle_load(const lm_bundle *b, lm_chunks *c, uint32_t n_tokens, unsigned flags,
                                lm_snapshot **out, lm_error *err);
/* Token ids alone; gives *ids (lm_give_back()). */
LM_API lm_status lm_bundle_tokens(const lm_bundle *b, lm_chunks *c, uint32_t n_tokens, int32_t **ids,
                                  lm_error *err);
/* Block by block, so that no more than one is in memory; `visit` borrows it and returns false
 * to stop.  `first` is the position of its first token. */
typedef bool (*lm_on_block)(void *user, uint32_t first, const lm_snapshot *block);
LM_API lm_status lm_bundle_each(const lm_bundle *b, lm_chunks *c, uint32_t n_tokens, lm_on_block visit,
                                void *user, lm_error *err);

/* A whole snapshot as one chunk of JSON, for stores that take nothing else.  `uri` NULL:
 * mlx://kv-snapshot/HASH. */
LM_API lm_status lm_snapshot_put(const lm_snapshot *s, lm_chunks *c, const char *uri, lm_snapshot_encoding e,
                                 lm_chunk_ref *ref, lm_error *err);
LM_API lm_status lm_snapshot_get(lm_chunks *c, const char *uri, lm_snapshot **out, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
