/* backend/cpu/weigh.h - the softmax of attention, one row of one block.
 *
 * Shared by the kernels of all page formats; compiled per instruction set, equal
 * bits on all.  Threads: pure functions.
 */
#ifndef LM_CPU_WEIGH_H
#define LM_CPU_WEIGH_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/vmath.h"

LM_INLINE float first_exp(float x)
{
    float t[LANES];
    v_store(t, v_exp(v_set1(x)));
    return t[0];
}

/* Scores of a block -> weights p, the new maximum, its sum and the factor for the
 * older ones.  The chain: softcap; maximum over the live positions; exp of the
 * differences; the four sixteens added pairwise, then folded. */
LM_INLINE void weights_of(const float *scores, uint32_t lo, uint32_t hi, float softcap, float *max,
                          float *sum, float *c, v16 p[4])
{
    for (int u = 0; u < 4; u++) {
        p[u] = v_load(scores + u * LANES);
        if (softcap > 0)
            p[u] = v_softcap(p[u], softcap);
    }
    if (lo > 0 || hi < LM_BLOCK - 1) {
        v16 from = v_set1((float)lo), to = v_set1((float)hi), dead = v_set1(-INFINITY);
        for (int u = 0; u < 4; u++) {
            v16 at = v_add(v_iota(), v_set1((float)(u * LANES)));
            p[u] = v_pick_lt(at, from, dead, v_pick_lt(to, at, dead, p[u]));
        }
    }
    float m = v_hmax(v_max(v_max(p[0], p[1]), v_max(p[2], p[3])));
    *c = 1.0f;
    if (m > *max) {
        *c = first_exp(*max - m);
        *max = m;
    }
    v16 shift = v_set1(*max);
    for (int u = 0; u < 4; u++)
        p[u] = v_exp(v_sub(p[u], shift));
    *sum = fmaf(*sum, *c, v_sum(v_add(v_add(p[0], p[1]), v_add(p[2], p[3]))));
}

#endif
