/* backend/cpu/plan.h - what the CPU makes of a program: stages between barriers.
 *
 *   stage   prologue: token-wise operations and quantising of activations
 *           main:     linears, cut by output rows, with what follows a linear
 *                     number by number (epilogue); attention, cut by segment,
 *                     head, queries or spans
 *           barrier
 *
 * A step of few tokens runs every prologue on every thread, each into memory of
 * its own, so that no barrier is needed between prologue and main.  A step of
 * many tokens shares them out by token and puts a barrier there.  The same chain
 * makes a token's numbers in both cases, so N1 does not see the difference.
 *
 * Threads: made by one; run by the team; everything but the workspace is
 * constant after compile.
 */
#ifndef LM_CPU_PLAN_H
#define LM_CPU_PLAN_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "backend/cpu/attend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/team.h"
#include "backend/cpu/trace.h"
#include "base/cpus.h"

/* Tokens (and wanted rows) up to which every thread does the prologues. */
enum { LM_FEW = 4, LM_MAX_SHAPES = 8, LM_TOKEN_PIECE = 96 };

struct lm_device {
    lm_isa isa;
    lm_compute compute;
    const lm_cpu_kernels *kernels;
    lm_team *team;
    uint32_t n_threads;
    lm_cpus before; /* affinity of the opening thread, where `bound` */
    bool bound;
};

/* Something with a row for each token or wanted row: a value of the program, a
 * rotary table of the step, a quantised activation. */
typedef enum {
    LM_MADE_APART,    /* by the prologue: own copies when tokens are few */
    LM_MADE_TOGETHER, /* by all threads, each its rows */
    LM_MADE_ATTEND    /* by all threads; gathered into own copies when spans are split */
} lm_made;

typedef struct {
    size_t row_bytes;
    lm_made made;
    bool wanted, used;
    uint32_t root;        /* the slot whose memory it shares; itself, if none */
    uint32_t first, last; /* stages */
    size_t shared, own;   /* offsets in bytes */
    uint32_t shape;       /* LM_MADE_ATTEND */
} lm_slot;

typedef enum { LM_MICRO_OP, LM_MICRO_TABLE, LM_MICRO_QUANTISE, LM_MICRO_PUT, LM_MICRO_GATHER } lm_micro_kind;

typedef struct {
    lm_micro_kind kind;
    uint32_t op;   /* OP, PUT, GATHER: index; TABLE: of the rope */
    uint32_t from; /* QUANTISE: value */
    uint32_t to;   /* TABLE, QUANTISE: slot */
    const lm_act_layout *layout;
    uint32_t stage;
    bool wanted;
    uint32_t columns, att; /* OP of an open stage: columns of one key/value head, whose input */
} lm_micro;

typedef struct {
    const lm_op *op;
    const lm_cpu_linear *kernel;
    uint32_t x; /* slot of the quantised input */
    uint32_t bundle, stage;
} lm_lin;

/* Linears whose rows are cut alike because an epilogue takes them together. */
typedef struct {
    uint32_t rows, stage;
    uint32_t lin0, n_lins, epi0, n_epis;
    uint64_t panel_cost; /* bytes of 16 rows */
} lm_bundle;

typedef struct {
    const lm_op *op;
    uint32_t bundle;
} lm_epi;

/* Attends that cut a step alike: same cache group, same heads. */
typedef struct {
    uint32_t group, n_heads, n_kv, per_kv, window;
    uint32_t max_spans; /* of one query; 0: spans are never split */
    size_t parts;       /* offset; [LM_FEW][n_heads][max_spans][part] floats */
    size_t units;       /* offset; lm_unit [cap_units] */
    uint32_t cap_units;
} lm_shape;

typedef struct {
    uint32_t segment, first, n; /* tokens of the segment */
    uint32_t span0, span1;
    bool part;
} lm_unit;

typedef struct {
    lm_attend a;
    const lm_op *op;
    uint32_t shape, stage;
    uint32_t heads, n_left; /* of an open stage: index into lm_plan.heads; heads without an owner */
} lm_att;

typedef struct {
    uint32_t micro0, n_micros, bundle0, n_bundles, att0, n_atts;
    uint32_t layer;
    uint32_t panels;          /* of all bundles */
    uint32_t piece, n_pieces; /* panels of a piece, pieces at the end of each share that are claimed */
    bool few_rows;            /* all linears are of wanted rows */
    bool open;                /* with few tokens, threads begin with heads of their own, without meeting */
    bool sync;                /* prologue and main may not overlap even when tokens are few */
} lm_stage;

/* The state of one run, written by the caller before the team starts. */
typedef struct {
    const lm_step *step;
    bool few;
    uint32_t n_units[LM_MAX_SHAPES];
    bool split[LM_MAX_SHAPES]; /* units are spans, queries are gathered afterwards */
    _Atomic uint32_t stop;     /* stage after which to stop, plus 1; 0: none */
    lm_lane *lanes;            /* [threads]; NULL: nobody watches */
} lm_run;

struct lm_plan {
    lm_device *d;
    const lm_program *p;
    lm_plan_options o;
    lm_page_layout *layouts; /* [n_groups] */
    lm_slot *slots;          /* values, then ropes, then activations */
    uint32_t n_slots, rope0, act0, cap_slots;
    lm_micro *micros;
    lm_lin *lins;
    lm_bundle *bundles;
    lm_epi *epis;
    lm_att *atts;
    lm_stage *stages;
    uint32_t *cuts;  /* [n_bundles][threads + 1] panels, for few tokens */
    uint32_t *heads; /* of each attend: [threads][2] from and to, then those left over */
    uint32_t n_micros, cap_micros, n_lins, n_bundles, n_epis, n_atts, n_stages;
    lm_shape shapes[LM_MAX_SHAPES];
    uint32_t n_shapes;
    uint8_t *work;            /* the workspace, one block */
    size_t own_at, own_bytes; /* of thread i: own_at + i * own_bytes; scratch follows in it */
    size_t scratch_at;
    size_t pos_at, segment_at; /* uint32_t [max_tokens] each */
    uint64_t bytes;            /* all that was allocated */
    lm_run run;
    lm_cpu_trace *trace; /* NULL until somebody asks */
};

static inline uint32_t *lm_plan_positions(const lm_plan *pl)
{
    return (uint32_t *)(void *)(pl->work + pl->pos_at);
}
static inline uint32_t *lm_plan_segments(const lm_plan *pl)
{
    return (uint32_t *)(void *)(pl->work + pl->segment_at);
}
static inline lm_unit *lm_plan_units(const lm_plan *pl, uint32_t shape)
{
    return (lm_unit *)(void *)(pl->work + pl->shapes[shape].units);
}

lm_status lm_cpu_compile(lm_device *d, const lm_program *p, const lm_plan_options *o, lm_plan **out,
                         lm_error *err);
lm_status lm_cpu_run(lm_plan *pl, const lm_step *s, lm_error *err);
void lm_cpu_plan_free(lm_plan *pl);

/* Fills in cuts, pieces, heads and open stages (own.c). */
lm_status lm_cpu_share_out(lm_plan *pl, lm_error *err);
/* Where the share of a thread begins among a stage's panels laid end to end. */
uint32_t lm_cpu_share_begins(const lm_plan *pl, const lm_stage *st, uint32_t thread);

/* cos and sin of a position, times mscale: cs [n_rot/2] and [n_rot/2]. */
void lm_cpu_rope_table(const lm_rope *r, uint32_t pos, float *cs);

#endif
