/* backend/cpu/kernels.h - what each instruction set brings, linears apart.
 *
 * Token-wise kernels see one row of one token.  Attention kernels see one block
 * of 64 positions of one key/value head and a few query rows; attend.c drives
 * them over pages and spans.  All chains (order and rounding of sums) are the
 * same for one row and for many.
 *
 * Threads: pure functions over the caller's memory.
 */
#ifndef LM_CPU_KERNELS_H
#define LM_CPU_KERNELS_H

#include "backend/cpu/linear.h"
#include "tensor/kv.h"
#include "tensor/program.h"

enum { LM_BLOCK = LM_PAGE_TOKENS };

/* The codes of queries and of weights go up to it (16 bits, two planes of 8). */
#define LM_WORD_MAX 32512.0f

typedef struct lm_attend_kernel {
    const char *name;
    /* q [k_dim] times scale -> a row of k_pad numbers, as the kernel wants it,
     * in at most 4 * k_pad bytes; padding is 0. */
    void (*query)(const lm_page_layout *l, const float *q, float scale, uint32_t k_dim, uint8_t *out);
    /* scores[r * 64 + i] = q_r . k_i for the 64 positions of a block.  `next`, if
     * not NULL, is the block that is read next: prefetched. */
    void (*score)(const lm_page_layout *l, const uint8_t *k, const uint8_t *q, size_t q_stride, uint32_t rows,
                  float *scores, const uint8_t *next);
    /* acc_r = acc_r * c_r + sum over i of p_ri v_i; p as weigh() leaves it, p_stride
     * bytes a row; acc is [rows][v_pad]; scratch holds 64 * v_pad bytes. */
    void (*value)(const lm_page_layout *l, const uint8_t *v, const uint8_t *p, size_t p_stride, uint32_t rows,
                  const float *c, float *acc, const uint8_t *next, uint8_t *scratch);
    /* One row of scores -> weights p (lm_attend_weights() bytes), in place of the
     * running maximum and sum; *c is what the older sums are to be multiplied by; v
     * is the block that value() gets.  Positions outside [lo, hi] of the block are
     * left out; lo <= hi. */
    void (*weigh)(const lm_page_layout *l, const uint8_t *v, const float *scores, uint32_t lo, uint32_t hi,
                  float softcap, float *max, float *sum, float *c, uint8_t *p);
    /* lm_page_put() into one head's blocks, or NULL. */
    void (*put)(const lm_page_layout *l, uint8_t *k_block, uint32_t pos, const float *k, uint32_t k_dim,
                const float *v, uint32_t v_dim);
    const char *own_bits; /* NULL: the bits that every instruction set gives; else a name for them */
} lm_attend_kernel;

/* Bytes of a row of weights: 64 floats or less; or for each group its scale and 64
 * words. */
static inline size_t lm_attend_weights(const lm_page_layout *l)
{
    size_t n = l->v_groups;
    return lm_kv_coded(l) ? (4 * n + 63) / 64 * 64 + 128 * n : 256;
}

typedef struct lm_cpu_kernels {
    void (*norm)(lm_norm_kind kind, uint32_t width, uint32_t group, const float *weight, const float *bias,
                 float eps, const float *x, float *y);
    /* cs: cos [n_rot/2], sin [n_rot/2] */
    void (*rope)(const lm_rope *r, const float *cs, uint32_t width, uint32_t head_dim, const float *x,
                 float *y);
    void (*act)(lm_act act, const float *x, float *y, size_t n);
    void (*glu)(lm_act act, const float *gate, const float *up, float *y, size_t n);
    void (*add)(const float *x, const float *z, float *y, size_t n);
    void (*scale)(const float *x, float by, float *y, size_t n);
    void (*softcap)(const float *x, float cap, float *y, size_t n);
    /* Adds the span (max, sum, acc) to the total (*tmax, *tsum, tacc), in that order. */
    void (*merge)(float *tmax, float *tsum, float *tacc, float max, float sum, const float *acc, uint32_t n);
    void (*finish)(const float *acc, float sum, float *out, uint32_t n); /* acc / sum */
    const lm_attend_kernel *attend[LM_KV_COUNT];
    /* For tests of equal bits: exp, tanh, erf. */
    void (*math)(int which, const float *x, float *y, size_t n);
} lm_cpu_kernels;

const lm_cpu_kernels *lm_cpu_kernels_of(lm_isa isa);

/* The name of all bits that a plan gives: equal exactly where the bits are (N1).  No
 * linear and no token-wise kernel depends on the instruction set; attention does where
 * its kernel says so. */
void lm_cpu_numerics(lm_isa isa, lm_compute compute, lm_kv_format kv, char *out, size_t n);

extern const lm_cpu_kernels lm_cpu_kernels_portable, lm_cpu_kernels_avx2, lm_cpu_kernels_avx512,
    lm_cpu_kernels_neon;
/* bf16 pages through the dot-product instruction. */
extern const lm_attend_kernel lm_attend_bf16_avx512;
/* Pages of codes: the same bits from all. */
extern const lm_attend_kernel lm_attend_q8_portable, lm_attend_q8_avx2, lm_attend_q8_avx512;
extern const lm_attend_kernel lm_attend_q8_neon, lm_attend_k8v4_neon;
extern const lm_attend_kernel lm_attend_k8v4_portable, lm_attend_k8v4_avx2, lm_attend_k8v4_avx512;

#endif
