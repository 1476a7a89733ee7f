/* engine/rest.h - what puts sessions to rest and finds them again, inside the engine:
 * whose.c (whose state it is), rest.c (sleep, wake), reuse.c (automatic), fold.c.
 *
 * Threads: the engine's thread, but for the reading of weights in whose.c. */
#ifndef LM_REST_H
#define LM_REST_H

#include "engine/engine.h"
#include "lemma/state.h"
#include "sample/sampler.h"
#include "state/store.h"

/* Whose state it is: the same for all sessions of a model. */
struct lm_rest {
    lm_state_id id;
    lm_space space;
    bool known; /* the weights are, so id and space are whole */
    struct lm_reader *reader;
    lm_error failed; /* why they will not be known */
};

/* Fills m->rest; reads the weights now where nobody remembers them. */
lm_status lm_whose(lm_model *m, lm_error *err) LM_NODISCARD;
/* The same without waiting: large packs are read on a thread of their own.  False: not
 * known yet, or not to be known. */
bool lm_whose_soon(lm_model *m);
/* The names under which this session's pages stand; lm_whose() came before. */
lm_status lm_session_space(const lm_session *s, lm_space *out, lm_error *err) LM_NODISCARD;

/* Names that nobody else has, with this salt; lm_whose() came before. */
lm_status lm_salted_space(const lm_model *m, const void *salt, size_t n_salt, lm_space *out,
                          lm_error *err) LM_NODISCARD;

/* lm_session_sleep() with more flags of the entry (LM_ENTRY_...). */
lm_status lm_session_sleep_as(lm_session *s, lm_store *store, const char *name, const lm_sleep_options *o,
                              uint32_t flags, lm_sleep_result *out, lm_error *err) LM_NODISCARD;

/* Pages that a job of the disk thread reads: kept until it is done. */
typedef struct lm_held lm_held;
struct lm_held {
    lm_model *m;
    lm_session *s; /* NULL: closed, or does not ask for the outcome */
    lm_held *next; /* of the session's */
    size_t n, cap;
    struct lm_held_page {
        uint32_t group, index;
        lm_page *page;
    } * pages;
};
lm_status lm_held_open(lm_held **out, lm_model *m, lm_error *err) LM_NODISCARD;
lm_status lm_held_reserve(lm_held *h, size_t n, lm_error *err) LM_NODISCARD; /* n more */
/* After lm_held_reserve(): one more reference on page `index` of a group. */
void lm_held_add(lm_held *h, uint32_t group, uint32_t index, lm_page *page);
void lm_held_close(lm_held *h); /* NULL is fine */

/* Takes a mount's pages into the tables of an empty session, which then begins with
 * `tokens`.  Takes the mount over when it succeeds. */
lm_status lm_session_adopt(lm_session *s, lm_store *store, lm_mount *mount, const int32_t *tokens,
                           lm_error *err) LM_NODISCARD;

/* --- automatic reuse: reuse.c ------------------------------------------------------------- */

/* After a step that began at `from`, before dead pages are dropped. */
void lm_session_stepped(lm_session *s, uint32_t from);
/* Hands full pages to the disk thread; `end`: also few of them. */
void lm_session_publish(lm_session *s, bool end);
/* Forgets what was held to be kept: the tokens change. */
void lm_session_unhold(lm_session *s);

/* --- the sampler between two generations ------------------------------------------------ */

/* Keeps what the next draw depends on. */
lm_status lm_session_rest_sampler(lm_session *s, const lm_sample_params *p, const lm_sampler *sampler,
                                  lm_error *err) LM_NODISCARD;
/* Where the session's last generation stopped is taken up: mirostat's estimate if the
 * parameters are the same, the count of generated tokens if nothing was appended since. */
void lm_session_resume_sampler(const lm_session *s, const lm_sample_params *p, lm_sampler *sampler);
void lm_session_drop_sampler(lm_session *s);

#endif
