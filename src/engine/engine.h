/* engine/engine.h - the inside of a model and its sessions (lemma/model.h).
 *
 * The engine cuts what sessions want evaluated into ragged steps, finds pages for
 * the new positions, runs the plan and keeps the last logits.
 *
 * Threads: the engine's thread only, but for the cancel flag.
 */
#ifndef LM_ENGINE_H
#define LM_ENGINE_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "lemma/model.h"
#include "lemma/tools.h"
#include "model/net.h"
#include "state/names.h"
#include "state/pool.h"

struct lm_model {
    lm_on_progress on_progress; /* NULL: nobody watches */
    void *progress_user;
    lm_net *net;
    lm_text *text; /* NULL: none */
    const lm_backend *backend;
    lm_device *device;
    lm_plan *plan;
    lm_plan_options plan_options;
    uint32_t chunk, n_groups;
    lm_page_layout *layouts; /* [n_groups] */
    lm_pool **pools;         /* [n_groups] */
    lm_model_info info;
    lm_sample_params sampling; /* the pack's defaults */
    /* scratch of a step, sized once: [max_tokens], [max_rows], [max_segments] */
    int32_t *ids;
    uint32_t *rows;
    lm_segment *segments;
    lm_page_table *tables;        /* [max_segments * n_groups] */
    float *logits;                /* [max_rows, n_vocab] */
    char *cache_dir;              /* as in lm_model_options; NULL: none */
    struct lm_prepared *prepared; /* the copy that linears read; NULL: none */
    struct lm_store *store;       /* of lm_model_remember(), or NULL */
    struct lm_session *sessions;  /* all that are open */
    struct lm_rest *rest;         /* what says whose state it is; NULL until somebody asks (rest.c) */
};

/* One cache group of a session: page i holds positions [64 i, 64 i + 64); NULL
 * where a window lost interest. */
typedef struct {
    lm_page **pages;
    uint8_t **data; /* the same pages' bytes, as steps want them */
    uint32_t n_pages;
    size_t cap, cap_data;
    uint32_t n_dropped; /* pages before this one are gone */
} lm_group_state;

struct lm_session {
    lm_model *m;
    lm_session *next, *before; /* of the model's */
    int32_t *tokens;
    size_t cap_tokens;
    uint32_t n_tokens;      /* evaluated: their state is in the pages */
    lm_group_state *groups; /* [m->n_groups] */
    float *logits;          /* [n_vocab], after the last token */
    bool has_logits;
    /* Of a woken session: its pages' mount, the store, how many tokens were mounted. */
    struct lm_mount *mount;
    struct lm_store *store;
    uint32_t n_mounted;
    bool verified; /* every mounted page was read and is good */
    /* At rest: what the sampler was, whose name it bears, what is being written. */
    uint8_t *sampler;
    size_t n_sampler, cap_sampler;
    char name[256], parent[256]; /* "": none */
    bool replaying;              /* its pages are bad: nothing is looked for */
    bool foreign;                /* pages of another model, mounted all the same: under names of their own */
    bool imported;               /* foreign too, and the names are those of its entry: imported_roots */
    uint8_t salt[16];
    lm_digest imported_roots[LM_STATE_GROUPS];
    struct lm_held *sleeping; /* jobs behind its back that tell it how they ended */
    struct lm_store *sleeps_in;
    lm_status sleep_failed;
    /* To be kept automatically: pages of sliding groups at the last border, and at borders
     * of the stride that were not handed over yet. */
    struct lm_held *edge, *strides;
    uint64_t computing_since; /* what the pages cost: since then */
    uint32_t n_published;     /* tokens whose pages the store has or was given */
    atomic_bool cancel;
    lm_metrics metrics;
};

/* Room for `n` more tokens: token list and pages; all or nothing. */
lm_status lm_session_grow(lm_session *s, uint32_t n, lm_error *err) LM_NODISCARD;
/* lm_model_eval() inside a longer call: heeds a cancel that came before it. */
lm_status lm_eval_items(lm_model *m, const lm_eval_item *items, size_t n, lm_error *err) LM_NODISCARD;
/* Gives back the pages that no later query will see. */
void lm_session_drop_dead(lm_session *s);
/* Forgets all tokens, pages and the mount. */
void lm_session_forget(lm_session *s);
/* Before a step reads pages of a woken session: checks them once; where one is bad,
 * the session is computed again from its tokens (S5). */
lm_status lm_rest_verify(lm_session *s, lm_error *err) LM_NODISCARD;
/* After a step: LM_ERR_IO when a file was cut under the mapping. */
lm_status lm_rest_check(const lm_session *s, lm_error *err) LM_NODISCARD;
/* Makes the page that position n_tokens goes into writable memory (S1). */
lm_status lm_rest_own_tail(lm_session *s, lm_error *err) LM_NODISCARD;
void lm_rest_free(struct lm_rest *r); /* NULL is fine */
/* The file of the prepared copy was cut under its mapping: without it from here on. */
void lm_prepared_drop(lm_model *m);
uint64_t lm_now_ns(void);
uint64_t lm_peak_rss(void);

#endif
