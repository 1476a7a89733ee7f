/* state/entry.h - an entry file: a named session at rest, whole in itself.
 *
 * It holds everything that the next token depends on besides the pages (S3): token
 * ids, page table, sampler state, last logits; what says whether it may be mounted
 * (S8); and the conversation itself, so that a state that cannot be mounted costs a
 * replay and never the conversation.  docs/formats/entry.md has the byte table.
 *
 * Trust:   hostile: every length is checked against what is left, the whole file has a
 *          checksum.
 * Threads: any thread; an entry belongs to one at a time.
 */
#ifndef LM_STATE_ENTRY_H
#define LM_STATE_ENTRY_H

#include "state/runfile.h"

enum {
    LM_ENTRY_KEPT = 1,     /* a person named it: never evicted (S9) */
    LM_ENTRY_IMPORTED = 2, /* its pages serve it alone */
    LM_ENTRY_FOLDED = 4,   /* made from a summary and a tail */
    LM_ENTRY_RECODED = 8,  /* imported from this store, in another cache format */
    LM_ENTRY_FLAGS = 15
};

/* Who computed the state, for the report of what differs at a wake (S8). */
typedef struct {
    lm_model_id model;
    lm_digest tokenizer, chat_template; /* zeros: none */
    char model_name[128], architecture[64], quantisation[64], backend[64], adapter_path[256];
    uint32_t n_layers, n_vocab, adapter_rank, context; /* context: of the model that wakes */
    char cache[16];                                    /* format of its pages */
    uint32_t zero[4];
} lm_state_id;
_Static_assert(sizeof(lm_state_id) == 96 + 64 + 64 + 128 + 64 * 3 + 256 + 16 + 16 + 16, "stored as it is");

/* Reasons in the order of SPEC 8.5.3; the first LM_WAKE_WARNINGS forbid mounting. */
#define LM_WAKE_TABLE(X)                                                                                     \
    X(MODEL_HASH, "model_hash_mismatch")                                                                     \
    X(ARCHITECTURE, "model_architecture_mismatch")                                                           \
    X(LAYERS, "model_layer_mismatch")                                                                        \
    X(QUANTISATION, "model_quantisation_mismatch")                                                           \
    X(CONTEXT, "context_length_too_small")                                                                   \
    X(TOKENIZER, "tokenizer_hash_mismatch")                                                                  \
    X(TEMPLATE, "chat_template_mismatch")                                                                    \
    X(ADAPTER_MISSING, "adapter_missing")                                                                    \
    X(ADAPTER_UNEXPECTED, "adapter_unexpected")                                                              \
    X(ADAPTER_HASH, "adapter_hash_mismatch")                                                                 \
    X(ADAPTER_RANK, "adapter_rank_mismatch")                                                                 \
    X(PROGRAM, "program_mismatch")                                                                           \
    X(NUMERICS, "numerics_mismatch")                                                                         \
    X(ADAPTER_PATH, "adapter_path_mismatch")                                                                 \
    X(BACKEND, "runtime_backend_changed")                                                                    \
    X(CACHE, "runtime_cache_mode_changed")
typedef enum {
#define X(name, text) LM_WAKE_##name,
    LM_WAKE_TABLE(X)
#undef X
        LM_WAKE_COUNT
} lm_wake_reason;
enum { LM_WAKE_WARNINGS = LM_WAKE_ADAPTER_PATH };
const char *lm_wake_text(lm_wake_reason r);
/* Bit r of the result: reason r holds.  `n_tokens` is what the entry needs. */
uint32_t lm_state_id_compare(const lm_state_id *stored, const lm_state_id *now, uint32_t n_tokens);

typedef struct {
    lm_digest name;
    lm_run_id run; /* where it lay when the entry was written: a hint, checked by name */
    uint32_t slot;
} lm_entry_page;

/* Pages first_page to n_pages - 1 of a chain; those before are behind the window. */
typedef struct {
    lm_geometry geometry;
    lm_digest root;
    uint32_t first_page, n_pages;
    lm_entry_page *pages; /* [n_pages - first_page] */
} lm_entry_group;

typedef struct {
    uint8_t serial[16]; /* random: tells two writes of one name apart */
    uint32_t flags;
    uint64_t created; /* seconds since 1970 */
    /* UTF-8, never NULL; labels, metadata and messages are JSON that the store does not
     * look into. */
    const char *name, *title, *labels, *metadata, *messages, *parent;
    lm_state_id id;
    const int32_t *tokens;
    uint32_t n_tokens, n_groups;
    lm_entry_group groups[LM_STATE_GROUPS];
    const uint8_t *sampler;
    size_t n_sampler;
    const float *logits; /* after the last token */
    uint32_t n_logits;   /* 0: not kept */
    uint8_t *bytes;      /* the file that the pointers above look into, or NULL */
} lm_entry;

/* Checks names and lengths of an entry that is to be written. */
lm_status lm_entry_check(const lm_entry *e, lm_error *err) LM_NODISCARD;
/* Gives the file's bytes (lm_free()). */
lm_status lm_entry_encode(const lm_entry *e, uint8_t **out, size_t *n, lm_error *err) LM_NODISCARD;
/* Adopts `bytes` (of lm_new()) in any case.  Gives *out. */
lm_status lm_entry_decode(uint8_t *bytes, size_t n, lm_entry **out, lm_error *err) LM_NODISCARD;
void lm_entry_free(lm_entry *e); /* NULL is fine */

/* Names never become paths (T4): the file is called by the hash of the name. */
enum { LM_ENTRY_FILE = 69 }; /* 64 hex digits, ".ent", NUL */
lm_status lm_entry_file(const char *name, char out[LM_ENTRY_FILE], lm_error *err) LM_NODISCARD;
lm_status lm_entry_name_check(const char *name, lm_error *err) LM_NODISCARD;

#endif
