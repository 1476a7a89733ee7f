/* lemma/model.h - a pack ready to run, and its sessions.
 *
 *     lm_model_open -> lm_session_open -> lm_session_append -> lm_generate
 *
 * Weights are mapped and used where they lie.  A session is a conversation's
 * live state: its tokens, its pages of keys and values, the logits after its
 * last token.  The logits of a position depend on the tokens before it and on
 * nothing else, bit for bit on one machine (N1): not on chunks, other sessions
 * in the step, or threads.
 *
 * Trust:   packs are hostile.
 * Threads: a model and all its sessions belong to one thread at a time, except
 * lm_session_cancel(), which any thread may call.  The model has threads of its
 * own to compute with; callbacks come on the caller's thread.
 */
#ifndef LM_MODEL_H
#define LM_MODEL_H

#include "lemma/sample.h"
#include "lemma/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lm_model lm_model;
typedef struct lm_session lm_session;

typedef struct {
    uint32_t size;         /* sizeof(lm_model_options), set by lm_model_defaults() */
    const char *backend;   /* "cpu" (default) or "ref" */
    const char *isa;       /* NULL: the best; "amx", "avx512", "avx2", "portable" */
    uint32_t threads;      /* 0: the physical cores that this process may use */
    const char *kv;        /* NULL: the backend's default; "f32", "f16", "bf16", "q8", "k-q8-v-q4" */
    uint32_t context;      /* positions of a session; 0: as trained, or what memory allows */
    uint32_t chunk;        /* tokens of a prefill step; 0: 512 */
    uint32_t sessions;     /* that may share a step; 0: 1 */
    bool all_rows;         /* logits of every token will be asked for */
    bool no_text;          /* do not look for a tokenizer */
    const char *cache_dir; /* as in lm_text_open(); NULL: none; default "" */
    const char *compute;   /* NULL: "fast"; "precise": activations in 15 bits instead of 8 on "cpu" */
    const char *cpu_mask;  /* NULL: any; "0-3,8" or "0x10f": processors of the model's threads and of the
                            * thread that opens it, until the model is closed */
    bool no_prepared;      /* leave a prepared copy (lemma/prepare.h) alone */
} lm_model_options;

/* What became of a prepared copy. */
typedef enum {
    LM_PREPARED_NONE,   /* there is none, or it was not asked for */
    LM_PREPARED_USED,   /* weights are read from it */
    LM_PREPARED_UNREAD, /* this backend or instruction set reads the pack itself */
    LM_PREPARED_STALE,  /* of an earlier state of the pack: not used */
    LM_PREPARED_DAMAGED /* not used, or no longer wherever it is damaged */
} lm_prepared_state;
/* "none", "used", "unread", "stale", "damaged"; constant. */
LM_API const char *lm_prepared_state_name(lm_prepared_state s);

/* Fills `out`; fields are changed afterwards. */
LM_API void lm_model_defaults(lm_model_options *out);
/* `pack` is a path or a name; `options` NULL: the defaults.  Gives *out, closed
 * with lm_model_close().  Memory is checked before anything is loaded:
 * LM_ERR_NOMEM says what is needed and what there is.  LM_ERR_NOT_FOUND, TRUNCATED
 * and CORRUPT are about the pack, LM_ERR_UNSUPPORTED names the first family,
 * format or operation that cannot be run, LM_ERR_USAGE an option. */
LM_API lm_status lm_model_open(lm_model **out, const char *pack, const lm_model_options *options,
                               lm_error *err);
LM_API void lm_model_close(lm_model *m); /* after its sessions; NULL is fine */
/* NULL when the pack has no tokenizer (or no_text was set).  The model's:
 * borrowed until lm_model_close(). */
LM_API const lm_text *lm_model_text(const lm_model *m);

typedef struct {
    char path[4096];
    char family[32];
    char device[96];   /* "cpu avx512, 2 threads" */
    char numerics[96]; /* equal ids give equal bits */
    char kv[16];
    uint32_t n_layers, n_vocab, width, n_heads, n_kv_heads, head_dim;
    uint32_t context, trained_context, chunk, threads;
    uint64_t n_params;     /* numbers in the bound matrices */
    uint64_t weight_bytes; /* of the pack's files */
    uint64_t token_bytes;  /* weights read to decode one token */
    uint64_t chunk_params; /* of n_params, those that every token of a prompt passes: not the head */
    uint64_t kv_bytes_per_token;
    uint64_t workspace_bytes; /* exact */
    uint64_t load_ns;
    bool context_reduced; /* memory allowed less than was trained */
    lm_prepared_state prepared;
    uint64_t prepared_bytes; /* of the copy in use */
    char prepared_note[192]; /* what is wrong with it, as a sentence; "" */
} lm_model_info;
/* Of this moment: damage to a prepared copy shows when its weights are first read. */
LM_API void lm_model_get_info(const lm_model *m, lm_model_info *out);

/* An empty session.  Keeps the model.  Gives *out, closed with
 * lm_session_close().  Pages are taken as tokens come. */
LM_API lm_status lm_session_open(lm_session **out, lm_model *m, lm_error *err);
LM_API void lm_session_close(lm_session *s); /* NULL is fine */
/* Evaluates tokens at the end of the session.  More than the context holds:
 * LM_ERR_TOO_LONG with both numbers, an id that is no token: LM_ERR_USAGE, nothing
 * changed.  LM_ERR_CANCELLED, LM_ERR_IO (a weights file failed) and LM_ERR_NOMEM (no
 * page was to be had): the session keeps the tokens of the steps that were
 * finished, and has no logits until something is appended. */
LM_API lm_status lm_session_append(lm_session *s, const int32_t *ids, size_t n, lm_error *err);
LM_API uint32_t lm_session_n_tokens(const lm_session *s);
/* Borrowed until the session's next change; NULL when it never had a token. */
LM_API const int32_t *lm_session_tokens(const lm_session *s);
/* Logits after the last token, [n_vocab]; NULL where there are none: in an empty
 * session, after lm_session_truncate() and after a failure.  Borrowed until the
 * session's next change. */
LM_API const float *lm_session_logits(const lm_session *s);
/* Forgets all tokens from position n on; n beyond the end changes nothing.  The
 * logits are gone until something is appended (n tokens are evaluated again if a
 * sliding window lost their pages, which may fail as lm_session_append() does). */
LM_API lm_status lm_session_truncate(lm_session *s, uint32_t n, lm_error *err);
/* May be called from any thread: the call that runs on this session ends soon, a
 * generation with LM_STOP_CANCELLED, an append with LM_ERR_CANCELLED.  When no
 * call runs it does nothing. */
LM_API void lm_session_cancel(lm_session *s);

/* One ragged batch: every item's tokens go to the end of its session; all items
 * share the steps.  rows [n, n_vocab] takes the logits after every token of the
 * item, NULL: only the session's last ones are kept.  A session stands in one item
 * at most.  A step holds as many sessions, and rows, as the model's options
 * `sessions` and all_rows foresee; what is beyond goes into further steps.
 * All items are checked before anything is computed; fails as
 * lm_session_append() does, for all items together.  The first item's session
 * is the one that cancels. */
typedef struct {
    lm_session *session;
    const int32_t *ids;
    size_t n;
    float *rows;
} lm_eval_item;
LM_API lm_status lm_model_eval(lm_model *m, const lm_eval_item *items, size_t n, lm_error *err);

typedef enum { LM_STOP_EOS, LM_STOP_STRING, LM_STOP_LENGTH, LM_STOP_CANCELLED, LM_STOP_CONTEXT } lm_stop;
/* "eos", "string", "length", "cancelled", "context"; constant. */
LM_API const char *lm_stop_name(lm_stop s);

typedef struct {
    int32_t token;
    float logprob;
} lm_top_token;

typedef struct {
    int32_t token;
    const char *text; /* what became certain; may be ""; UTF-8; borrowed, as all of the event */
    size_t n_text;
    float logprob;           /* when n_top or want_logprobs is set */
    const lm_top_token *top; /* [n_top] */
    size_t n_top;
    bool last;
} lm_token_event;
/* Called on the thread of lm_generate().  Return false to stop
 * (LM_STOP_CANCELLED).  Must not change the session. */
typedef bool (*lm_on_token)(void *user, const lm_token_event *e);

typedef struct {
    uint32_t size;                   /* set by lm_generate_defaults() */
    const lm_sample_params *sample;  /* NULL: the pack's generation_config over the library's defaults */
    uint32_t max_tokens;             /* 0: until a stop token or the context's end */
    const char *const *stop_strings; /* end the text, and are not part of it */
    size_t n_stop_strings;
    const int32_t *stop_tokens; /* NULL: the pack's */
    size_t n_stop_tokens;
    bool keep_special; /* special tokens appear in the text */
    bool skip_last;    /* the session ends with this answer: its last token is not evaluated */
    bool want_logprobs;
    uint32_t n_top;
} lm_generate_options;
/* Fills `out`; what its fields point to is borrowed by lm_generate(). */
LM_API void lm_generate_defaults(lm_generate_options *out);
/* The pack's own sampling defaults: generation_config.json, else the library's. */
LM_API void lm_model_sampling(const lm_model *m, lm_sample_params *out);

/* Times in nanoseconds. */
typedef struct {
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
    uint64_t first_token_ns, prefill_ns, decode_ns, total_ns;
    double prefill_tokens_per_second, decode_tokens_per_second;
    uint64_t peak_rss_bytes, active_bytes, cache_bytes;
} lm_metrics;

typedef struct {
    lm_stop stop;
    int32_t *tokens; /* includes the stop token; given, lm_give_back() */
    size_t n_tokens;
    char *text; /* without the stop token or string; given; NULL without a tokenizer */
    size_t n_text;
    uint64_t seed;
    lm_metrics metrics;
} lm_generated;

/* Draws tokens from the session's logits and appends them until something stops
 * it.  The last drawn token is in the session's token list and evaluated (unless
 * the context is full), so that generating twice 64 equals generating 128.  `o`
 * NULL: the defaults; `on_token` may be NULL.  Gives what is in *out, freed with
 * lm_generated_clear().  LM_ERR_USAGE: a sampling parameter out of range, or no
 * logits to go on from; LM_ERR_TOO_LONG: the context was full already; both change
 * nothing.  Cancelled is no failure: *out has what was generated. */
LM_API lm_status lm_generate(lm_session *s, const lm_generate_options *o, lm_on_token on_token, void *user,
                             lm_generated *out, lm_error *err);
/* Frees what lm_generate() gave; may be called twice, and on a zeroed struct. */
LM_API void lm_generated_clear(lm_generated *g);
/* Of everything appended and generated since the session was opened. */
LM_API void lm_session_metrics(const lm_session *s, lm_metrics *out);

#ifdef __cplusplus
}
#endif
#endif
