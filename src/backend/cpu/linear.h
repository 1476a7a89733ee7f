/* backend/cpu/linear.h - one linear of the CPU backend: y = x W^T, in place.
 *
 * A kernel belongs to (number format, instruction set).  It reads the weight
 * where the file has it and takes activations in a layout of its own choosing,
 * made once per value by quantise() and shared by all linears that ask for the
 * same layout.
 *
 * The chain of accumulation is one per format: for output row r and token t it
 * goes over the groups of the row in order, exact integer sums inside a group,
 * one or two fused multiply-adds a group outside.  It is the same for one token
 * and for many, for every cut of the rows, and (where that costs nothing) for
 * every instruction set, so N1 holds.  docs/design/cpu.md draws it.
 *
 * Threads: pure functions over the caller's memory.
 */
#ifndef LM_CPU_LINEAR_H
#define LM_CPU_LINEAR_H

#include "base/compiler.h"
#include "quant/quant.h"

typedef enum {
    LM_ISA_PORTABLE,
    LM_ISA_AVX2,
    LM_ISA_AVX_VNNI, /* AVX2 with its dot instruction */
    LM_ISA_AVX512,
    LM_ISA_AMX,
    LM_ISA_NEON,
    LM_ISA_NEON_DOTPROD,
    LM_ISA_NEON_I8MM,
    LM_ISA_COUNT
} lm_isa;

/* What stands in front of quantised weights: 8 bits a number, or 15. */
typedef enum { LM_COMPUTE_FAST, LM_COMPUTE_PRECISE } lm_compute;

enum { LM_PANEL = 16 }; /* output rows that share the lanes of a vector */

/* How activations are laid out for kernels; row by row, so that a token's bytes
 * depend on that token alone. */
typedef struct lm_act_layout {
    const char *name; /* "q8-32", "q16-32", "f32" … */
    /* Bytes of one token's row of `cols` numbers; a multiple of 64. */
    size_t (*row_bytes)(uint32_t cols);
    /* x [cols] -> out [row_bytes]. */
    void (*quantise)(const float *x, uint32_t cols, uint8_t *out);
} lm_act_layout;

typedef struct lm_cpu_linear {
    const char *name; /* "affine4 in place, avx512", "panel decode, portable": for inspect and traces */
    const lm_act_layout *layout;
    size_t (*scratch_bytes)(const lm_matrix *w, uint32_t max_tokens); /* for each thread */
    /* y[t * ldy + r] = sum, for rows [row0, row1) (row0 a multiple of LM_PANEL) and
     * n tokens whose activations start at x, stride row_bytes(cols).  Does not
     * add a bias.  y may be NULL-strided: only the rows asked for are written.  scratch is
     * 64-byte aligned. */
    void (*run)(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                size_t ldy, void *scratch);
} lm_cpu_linear;

/* Never NULL for a format with a descriptor: formats without a kernel of their
 * own get the panel-decode kernel of the instruction set. */
const lm_cpu_linear *lm_cpu_linear_find(lm_isa isa, lm_compute compute, const lm_quant *quant, uint32_t cols);

/* The best that this machine has. */
lm_isa lm_isa_best(void);
bool lm_isa_has(lm_isa isa);
const char *lm_isa_name(lm_isa isa);
/* Why lm_isa_has() says no where that is more than "the processor has no such
 * instructions": NULL or a sentence part ("the kernel does not allow …"). */
const char *lm_isa_why(lm_isa isa);

#endif
