/* backend/trace.h - what a backend tells of one recorded step.
 *
 * A step is recorded on request alone: the memory for it is taken beforehand, and
 * a plan that records nothing asks one pointer a piece of work.  Recording reads
 * a clock and changes no number.
 *
 * Threads: as the plan's.
 */
#ifndef LM_BACKEND_TRACE_H
#define LM_BACKEND_TRACE_H

#include <stdbool.h>
#include <stdint.h>

/* Which steps: those that give every session one token, or the others. */
typedef enum { LM_TRACE_DECODE, LM_TRACE_PREFILL } lm_trace_kind;

typedef struct {
    uint32_t n_tokens, n_rows, n_segments, n_threads;
    uint32_t first_pos;        /* of the first segment */
    uint64_t start_ns, end_ns; /* on the monotonic clock */
    uint64_t n_pieces, n_lost; /* recorded; beyond the room for them */
    uint32_t nth;              /* of the steps of its kind since the request, from 1 */
} lm_trace_step;

typedef struct {
    const char *name;   /* "linear", "attend", "norm", "wait" … */
    const char *kernel; /* or "" */
    const char *weight; /* its name in the user's file, or "" */
    char shape[96];
    uint32_t thread, layer, stage;
    uint64_t start_ns, end_ns;
    uint64_t bytes; /* of weights, keys and values that it had to read */
    uint64_t ops;   /* multiplications and additions of these */
} lm_trace_piece;

#endif
