/* backend/cpu/trace.h - records who did what when in one step, thread by thread.
 *
 * Every thread has a lane of its own, taken when a trace is asked for; a full lane
 * counts what it loses.  Without a lane a piece of work costs one comparison.
 *
 * Threads: a lane belongs to its member of the team while the plan runs.
 */
#ifndef LM_CPU_TRACE_H
#define LM_CPU_TRACE_H

#include "backend/trace.h"
#include "base/compiler.h"
#include "lemma/error.h"
#include "tensor/step.h"

struct lm_plan;

typedef enum {
    LM_DID_MICRO,    /* index: micro; a: token */
    LM_DID_PROLOGUE, /* index: stage; a: tokens */
    LM_DID_LINEAR,   /* index: lin; rows [a, b), c: tokens */
    LM_DID_EPILOGUE, /* index: bundle; rows [a, b), c: tokens */
    LM_DID_ATTEND,   /* index: att; a: head, b: tokens, c: positions read, d: of all queries */
    LM_DID_WAIT      /* index: stage */
} lm_did;

typedef struct {
    uint64_t start, end; /* ns */
    uint32_t what, index, a, b, c, d;
} lm_record;

typedef struct {
    LM_ALIGNED(64) lm_record *at;
    uint32_t n, cap;
    uint64_t lost;
} lm_lane;

typedef struct lm_cpu_trace lm_cpu_trace;

uint64_t lm_trace_now(void);
void lm_lane_put(lm_lane *l, const lm_record *r);

static inline uint64_t lm_lane_begin(const lm_lane *l)
{
    return l ? lm_trace_now() : 0;
}
/* LM_LANE_END(lane, start, .what = …, .index = …): nothing without a lane. */
#define LM_LANE_END(lane, began, ...)                                                                        \
    do {                                                                                                     \
        if (lane)                                                                                            \
            lm_lane_put((lane), &(lm_record){ .start = (began), .end = lm_trace_now(), __VA_ARGS__ });       \
    } while (0)

/* The lanes [n_threads] for this step, or NULL: it is not to be recorded. */
lm_lane *lm_cpu_trace_begin(lm_cpu_trace *t, const lm_step *s);
void lm_cpu_trace_end(lm_cpu_trace *t);
void lm_cpu_trace_free(lm_cpu_trace *t); /* NULL is fine */

lm_status lm_cpu_trace_ask(struct lm_plan *pl, lm_trace_kind kind, uint32_t nth, lm_error *err);
bool lm_cpu_trace_step(const struct lm_plan *pl, lm_trace_step *out);
void lm_cpu_trace_read(const struct lm_plan *pl, void (*each)(void *user, const lm_trace_piece *piece),
                       void *user);

#endif
