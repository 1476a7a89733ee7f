/* backend/cpu/attend.h - attention over pages: blocks, spans and their merging.
 *
 *   positions   0 … 63 | 64 … 127 | …            blocks: one page, one kernel call
 *               [ span 0: 256 positions ][ span 1 ] …   at absolute positions
 *   one query   (max, sum, acc) over the blocks of a span, in order
 *               spans merged into a total, in order; then acc / sum
 *
 * Which blocks and spans a query passes through depends on its position and the
 * window alone, and so do all sums: not on the other rows of a piece of work, nor
 * on who computes which span (N1).
 *
 * Threads: pure functions over the caller's memory.
 */
#ifndef LM_CPU_ATTEND_H
#define LM_CPU_ATTEND_H

#include "backend/cpu/kernels.h"
#include "tensor/step.h"

enum { LM_SPAN = 256, LM_ATTEND_ROWS = 64 };

typedef struct {
    const lm_cpu_kernels *kernels;
    const lm_attend_kernel *k;
    const lm_page_layout *layout;
    uint32_t n_heads, per_kv; /* query heads, and those that share a key/value head */
    uint32_t k_dim, v_dim, slot, window;
    float scale, softcap;
    const float *sinks; /* [n_heads] or NULL */
} lm_attend;

/* Rows of work at a time: tokens x heads of a group. */
static inline uint32_t lm_attend_tokens(uint32_t per_kv)
{
    return LM_MAX(1u, LM_ATTEND_ROWS / per_kv);
}

/* First position that the query at `pos` sees. */
static inline uint32_t lm_attend_from(uint32_t window, uint32_t pos)
{
    return window && pos + 1 > window ? pos + 1 - window : 0;
}

size_t lm_attend_scratch(const lm_attend *a);
/* Floats of one query's share of one span: max, sum, 14 unused, acc [v_pad]. */
static inline size_t lm_attend_part(const lm_page_layout *l)
{
    return 16 + (size_t)l->v_pad;
}

/* The queries of `n` tokens at pos, pos + 1 …, all heads of one key/value head,
 * over the spans [span0, span1).  q is the first token's row, q_stride floats a
 * token.  With parts == NULL all spans of the queries must be given: out [token]
 * gets the finished rows, out_stride floats a token.  Else one span is given, and
 * part (token t, head h) goes to parts + t * part_token + h * part_head floats. */
typedef struct {
    const lm_page_table *table;
    uint32_t head; /* key/value head */
    uint32_t pos, n, span0, span1;
    const float *q;
    size_t q_stride;
    float *out;
    size_t out_stride;
    float *parts;
    size_t part_token, part_head;
} lm_attend_work;
void lm_attend_run(const lm_attend *a, const lm_attend_work *w, void *scratch);

/* Merges `n` parts of one query, `stride` floats apart, into out [v_dim]. */
void lm_attend_gather(const lm_attend *a, uint32_t head, const float *parts, uint32_t n, size_t stride,
                      float *out, void *scratch);

#endif
