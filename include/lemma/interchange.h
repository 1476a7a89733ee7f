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

#ifdef __cplusplus
}
#endif
#endif
