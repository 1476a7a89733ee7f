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
typedef struct lm_blocks lm_blocks;

typedef struct {
    uint32_t size;                 /* sizeof(lm_blocks_options), set by lm_blocks_defaults() */
    uint32_t block_size;           /* default 512 */
    lm_snapshot_encoding encoding; /* default native */
    const char *uri;               /* of the manifest; NULL: it is not put into the store */
    const char *blocks_uri;        /* blocks are at URI/block/0, ...; NULL: mlx://kv-snapshot-blocks */
    const lm_blocks *parent;       /* blocks with equal range, encoding and hash are not written again */
    uint32_t reuse_limit;          /* only blocks that end within so many tokens; 0: all of the parent */
    bool trust_parent;             /* the session only grew: equal ranges are equal blocks, unlooked at */
    bool (*stop)(void *user);      /* asked between blocks: LM_ERR_CANCELLED; NULL: nobody */
    void *user;
} lm_blocks_options;
LM_API void lm_blocks_defaults(lm_blocks_options *out);
/* Writes the blocks that the parent lacks, then the manifest, and waits for the disk.
 * `o` NULL: the defaults.  Gives *out, closed with lm_blocks_close(). */
LM_API lm_status lm_blocks_save(const lm_snapshot *s, lm_chunks *c, const lm_blocks_options *o,
                                lm_blocks **out, lm_error *err);
/* The manifest under this URI. */
LM_API lm_status lm_blocks_read(lm_chunks *c, const char *uri, lm_blocks **out, lm_error *err);
/* The same from its text, and as text (lm_give_back()). */
LM_API lm_status lm_blocks_parse(const char *json, size_t n, lm_blocks **out, lm_error *err);
LM_API lm_status lm_blocks_json(const lm_blocks *b, char **out, size_t *n, lm_error *err);
LM_API void lm_blocks_close(lm_blocks *b); /* NULL is fine */

typedef struct {
    uint32_t size; /* sizeof(lm_blocks_info), set by the caller */
    const char *snapshot_hash, *architecture;
    lm_snapshot_encoding encoding;
    uint32_t token_count, block_size, n_blocks, reused_blocks;
    uint64_t n_bytes; /* of all payloads */
} lm_blocks_info;
LM_API void lm_blocks_get_info(const lm_blocks *b, lm_blocks_info *out);

/* The snapshot of the first n_tokens, 0: all.  Only the blocks that it covers are read; the
 * last is cut, and a prefix has neither generated tokens nor logits.  Lengths, hashes,
 * ranges and offsets are checked: LM_ERR_CORRUPT names the block.  LM_ERR_USAGE: more tokens
 * than there are. */
LM_API lm_status lm_blocks_load(const lm_blocks *b, lm_chunks *c, uint32_t n_tokens, unsigned flags,
                                lm_snapshot **out, lm_error *err);
/* Token ids alone; gives *ids (lm_give_back()). */
LM_API lm_status lm_blocks_tokens(const lm_blocks *b, lm_chunks *c, uint32_t n_tokens, int32_t **ids,
                                  lm_error *err);
/* Block by block, so that no more than one is in memory; `visit` borrows it and returns false
 * to stop.  `first` is the position of its first token. */
typedef bool (*lm_on_block)(void *user, uint32_t first, const lm_snapshot *block);
LM_API lm_status lm_blocks_each(const lm_blocks *b, lm_chunks *c, uint32_t n_tokens, lm_on_block visit,
                                void *user, lm_error *err);

/* A whole snapshot as one chunk of JSON, for stores that take nothing else.  `uri` NULL:
 * mlx://kv-snapshot/HASH. */
LM_API lm_status lm_snapshot_put(const lm_snapshot *s, lm_chunks *c, const char *uri, lm_snapshot_encoding e,
                                 lm_chunk_ref *ref, lm_error *err);
LM_API lm_status lm_snapshot_get(lm_chunks *c, const char *uri, lm_snapshot **out, lm_error *err);

/* --- prefix maps: the index of a bundle ------------------------------------------------------------ */

/* Names spans of a block bundle and says whose they are. */
typedef struct lm_prefix_map lm_prefix_map;

/* Texts may be NULL: "".  Hashes are SHA-256 in hex, or "". */
typedef struct {
    const char *name, *path, *architecture;
    uint32_t vocab_size, num_layers, hidden_size, quant_bits, quant_group, context_length;
    const char *hash; /* computed where it is written */
} lm_map_model;
typedef struct {
    const char *kind, *path, *version;
    const char *hash;
    uint32_t vocab_size;
    int64_t bos, eos;
    const char *chat_template, *chat_template_hash; /* hash "": computed of the template */
} lm_map_tokenizer;
typedef struct {
    const char *uri, *bundle_uri, *title; /* bundle_uri "": the map's */
    uint32_t token_start, token_count;
    uint64_t byte_start, byte_count; /* both 0: filled in from the blocks */
    const char *const *labels;
    size_t n_labels;
    const lm_chunk_tag *meta;
    size_t n_meta;
    const char *hash; /* computed */
} lm_map_entry;

/* The map of these spans; none: one of the whole bundle.  Checked as a read one is.
 * LM_ERR_USAGE: no bundle, or one without tokens.  Gives *out, closed with
 * lm_prefix_map_close(). */
LM_API lm_status lm_prefix_map_make(const lm_blocks *bundle, const char *bundle_uri,
                                    const lm_map_model *model, const lm_map_tokenizer *tokenizer,
                                    const lm_map_entry *entries, size_t n, lm_prefix_map **out,
                                    lm_error *err);
/* Version, kind, ranges, unique URIs and all hashes are checked: LM_ERR_CORRUPT. */
LM_API lm_status lm_prefix_map_parse(const char *json, size_t n, lm_prefix_map **out, lm_error *err);
LM_API lm_status lm_prefix_map_read(lm_chunks *c, const char *uri, lm_prefix_map **out, lm_error *err);
LM_API lm_status lm_prefix_map_json(const lm_prefix_map *m, char **out, size_t *n, lm_error *err);
/* Under `uri`, and on the disk when this returns. */
LM_API lm_status lm_prefix_map_put(const lm_prefix_map *m, lm_chunks *c, const char *uri, lm_error *err);
LM_API void lm_prefix_map_close(lm_prefix_map *m);             /* NULL is fine */
LM_API const char *lm_prefix_map_hash(const lm_prefix_map *m); /* borrowed */
LM_API size_t lm_prefix_map_count(const lm_prefix_map *m);
/* The span's texts are borrowed.  `uri` NULL or "": the only one, LM_ERR_USAGE where there are
 * several.  LM_ERR_NOT_FOUND: none of that name. */
LM_API lm_status lm_prefix_map_find(const lm_prefix_map *m, const char *uri, lm_map_entry *out,
                                    lm_error *err);
/* Tokens up to the end of the span that needs most. */
LM_API uint32_t lm_prefix_map_context(const lm_prefix_map *m);

enum { LM_MAP_SKIP_CHECK = 1 };
typedef struct {
    char reasons[512];  /* model_architecture_mismatch, ...: as lm_compatibility has them */
    char warnings[128]; /* compatibility_check_skipped */
} lm_map_report;
/* Whether this model may wake spans of the map: LM_ERR_MISMATCH, with every reason in *out
 * (NULL: nobody asks). */
LM_API lm_status lm_prefix_map_compatible(const lm_prefix_map *m, const lm_map_model *model,
                                          const lm_map_tokenizer *tokenizer, unsigned flags,
                                          lm_map_report *out, lm_error *err);
/* The snapshot of the prefix that ends with the span, after all checks: the bundle that lies
 * under the URI must be the one that the map was made for. */
LM_API lm_status lm_prefix_map_load(const lm_prefix_map *m, lm_chunks *c, const char *uri, unsigned flags,
                                    lm_snapshot **out, lm_error *err);

/* --- state bundles and session artifacts -------------------------------------------------------------- */

typedef struct {
    uint32_t size; /* sizeof(lm_record_options), set by lm_record_defaults() */
    const lm_map_model *model;
    const lm_map_tokenizer *tokenizer; /* NULL: nothing is said */
    const char *prompt;                /* text, NULL: none */
    const char *runtime_name, *runtime_version, *runtime_build, *runtime_platform;
    const char *adapter_name, *adapter_path, *adapter_hash; /* all NULL: no adapter */
    const char *const *adapter_keys;
    size_t n_adapter_keys;
    uint32_t adapter_rank;
    double adapter_alpha, adapter_scale;
    const lm_sample_params *sampler;
    uint32_t max_tokens;
    const char *kv_path;             /* of the snapshot's file, as the record is to say it; NULL: not said */
    bool inline_kv;                  /* the snapshot itself, as base64 */
    lm_snapshot_encoding encoding;   /* of it and of its hash */
    const char *ref_uri, *ref_title; /* of a chunk that holds it, ... */
    const lm_chunk_ref *ref;         /* ... and where; NULL: no chunk */
    const lm_chunk_tag *meta;
    size_t n_meta;
    bool no_analysis; /* it takes time */
    const char *kind; /* of an artifact; NULL or "": go-mlx/session-state */
} lm_record_options;
LM_API void lm_record_defaults(lm_record_options *out);

/* One JSON that describes a run that can be resumed: who, what, and where its state is.
 * LM_ERR_USAGE: neither inline, nor a path, nor a chunk.  Gives *json (lm_give_back()). */
LM_API lm_status lm_state_bundle_make(const lm_snapshot *s, const lm_record_options *o, char **json,
                                      size_t *n, lm_error *err);
/* Checks kind, version, hashes, and that the state is somewhere. */
LM_API lm_status lm_state_bundle_check(const char *json, size_t n, lm_error *err);
/* The state: inline, or from `kv_path`, which must be a plain name or relative path below
 * `folder` (NULL: files are not read), or from a chunk of `c` (NULL: none); its hash is
 * checked. */
LM_API lm_status lm_state_bundle_load(const char *json, size_t n, const char *folder, lm_chunks *c,
                                      lm_snapshot **out, lm_error *err);
/* Architecture, layers and adapter against a model's; LM_ERR_MISMATCH with all reasons. */
LM_API lm_status lm_state_bundle_compatible(const char *json, size_t n, const lm_map_model *model,
                                            const lm_record_options *adapter, lm_map_report *out,
                                            lm_error *err);

/* A session's record for indexes and pictures: its summary, analysis, features and SAMI.
 * With `c` it is put there under `uri`; with kv_path the snapshot is written to that file
 * first.  *json may be NULL. */
LM_API lm_status lm_artifact_export(const lm_snapshot *s, const lm_record_options *o, lm_chunks *c,
                                    const char *uri, char **json, size_t *n, lm_error *err);

/* --- the block-prefix service ------------------------------------------------------------------------ */

/* Which prefixes of prompts are warm, in blocks of tokens: known by content in memory, kept in
 * a folder of small files, and in step with a runtime's own cache.
 * Threads: any thread; one lock covers memory, disk and the callbacks, which must not call
 * the service. */
typedef struct lm_prefix_cache lm_prefix_cache;

typedef struct {
    uint32_t size;       /* sizeof(lm_prefix_cache_options), set by lm_prefix_cache_defaults() */
    uint32_t block_size; /* default 512 */
    uint32_t max_blocks; /* the longest unused goes first; default 65536 */
    const char *model_hash, *adapter_hash, *tokenizer_hash; /* "" or NULL matches any */
    const char *disk_path; /* folder, made with 0700; NULL: not kept; default $LEMMA_BLOCK_CACHE_PATH */
    lm_chunks *cold;       /* payloads go there too; kept until the service is closed; NULL: none */
    /* Makes the prompt warm in the runtime; NULL: nothing is made warm. */
    lm_status (*warm)(void *user, const int32_t *tokens, size_t n, lm_error *err);
    lm_status (*clear)(void *user, lm_error *err); /* the runtime forgets; NULL: nothing to forget */
    /* Gives *ids (lm_give_back()); for requests that have a prompt; NULL: they are refused. */
    lm_status (*tokenize)(void *user, const char *prompt, int32_t **ids, size_t *n, lm_error *err);
    void *user;
} lm_prefix_cache_options;
LM_API void lm_prefix_cache_defaults(lm_prefix_cache_options *out);
/* Reads what the folder has.  Records that are damaged are deleted and counted; those of
 * another model, adapter, tokenizer, cache mode or block size are left alone.  Gives *out. */
LM_API lm_status lm_prefix_cache_open(lm_prefix_cache **out, const lm_prefix_cache_options *o, lm_error *err);
LM_API void lm_prefix_cache_close(lm_prefix_cache *c); /* NULL is fine */

/* Borrowed during the visit. */
typedef struct {
    const char *id;              /* 64 hex digits: equal ids, equal whole prefixes */
    const char *kind, *encoding; /* "prefix", "token-prefix/int32" */
    const char *model_hash, *adapter_hash, *tokenizer_hash;
    uint32_t token_start, token_count;
    uint64_t size_bytes;
    const lm_chunk_tag *labels;
    size_t n_labels;
    bool hit; /* by lm_prefix_cache_warm(): it was there */
} lm_cache_ref;
typedef bool (*lm_on_cache_ref)(void *user, const lm_cache_ref *ref); /* false stops */

typedef struct {
    uint32_t size; /* sizeof(lm_cache_request), set by the caller */
    const int32_t *tokens;
    size_t n_tokens;
    const char *prompt;                                     /* where there are no tokens */
    const char *model_hash, *adapter_hash, *tokenizer_hash; /* where the service has none */
    const char *mode;                                       /* NULL: block-prefix */
    const lm_chunk_tag *labels;
    size_t n_labels;
    bool run; /* call `warm` with the tokens */
} lm_cache_request;
/* Counts each block as hit or miss and keeps those that were missing; of a hit the kept
 * record is shown, with its labels.  `visit` may be NULL. */
LM_API lm_status lm_prefix_cache_warm(lm_prefix_cache *c, const lm_cache_request *r, lm_on_cache_ref visit,
                                      void *user, lm_error *err);
/* By start, then id; only those that have all these labels (model_hash, adapter_hash and
 * tokenizer_hash are labels too). */
LM_API lm_status lm_prefix_cache_entries(lm_prefix_cache *c, const lm_chunk_tag *labels, size_t n,
                                         lm_on_cache_ref visit, void *user, lm_error *err);
/* Removes them from memory, disk and runtime together; no labels: everything.  *n_removed may
 * be NULL.  A file that cannot be removed keeps its block. */
LM_API lm_status lm_prefix_cache_clear(lm_prefix_cache *c, const lm_chunk_tag *labels, size_t n,
                                       size_t *n_removed, lm_error *err);

typedef struct {
    uint32_t size; /* sizeof(lm_cache_stats), set by the caller */
    uint64_t blocks, memory_bytes, disk_bytes, hits, misses, evictions;
    double hit_rate, restore_millis;
    const char *cache_mode;
    uint32_t block_size;
    uint64_t cleared, disk_blocks, disk_corrupt;
    bool disk, cold_store;
} lm_cache_stats;
LM_API lm_status lm_prefix_cache_stats(lm_prefix_cache *c, lm_cache_stats *out, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
