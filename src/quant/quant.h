/* quant/quant.h - number formats: one file each, one descriptor each.
 *
 * A format stores a row of numbers in blocks of `block_elems`; a block takes
 * `block_bytes[p]` bytes in plane p.  GGUF formats have one plane.  MLX formats
 * have up to three: packed codes, scales, biases.  Rows are independent: every
 * row starts at a block.
 *
 * Trust:   the functions read exactly the bytes that lm_quant_row_bytes() names
 *          and accept any bytes there (NaN and all); ranges were checked by
 *          whoever made the planes.  No alignment is assumed.
 * Threads: any thread; descriptors are constant.
 */
#ifndef LM_QUANT_H
#define LM_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

enum { LM_QUANT_PLANES = 3 };

typedef enum {
    LM_Q_F32,
    LM_Q_F16,
    LM_Q_BF16,
    LM_Q_F64,
    LM_Q_Q4_0,
    LM_Q_Q4_1,
    LM_Q_Q5_0,
    LM_Q_Q5_1,
    LM_Q_Q8_0,
    LM_Q_Q2_K,
    LM_Q_Q3_K,
    LM_Q_Q4_K,
    LM_Q_Q5_K,
    LM_Q_Q6_K,
    LM_Q_IQ1_S,
    LM_Q_IQ1_M,
    LM_Q_IQ2_XXS,
    LM_Q_IQ2_XS,
    LM_Q_IQ2_S,
    LM_Q_IQ3_XXS,
    LM_Q_IQ3_S,
    LM_Q_IQ4_NL,
    LM_Q_IQ4_XS,
    LM_Q_TQ1_0,
    LM_Q_TQ2_0,
    LM_Q_MXFP4,  /* GGUF: scale byte and codes in one block */
    LM_Q_NVFP4,  /* GGUF */
    LM_Q_AFFINE, /* MLX: bits, group and scale type in the descriptor */
    LM_Q_MLX_MXFP4,
    LM_Q_MLX_MXFP8,
    LM_Q_MLX_NVFP4,
} lm_quant_kind;

typedef struct lm_quant lm_quant;
struct lm_quant {
    const char *name; /* "q4_K", "affine4-g64-bf16": what people see */
    lm_quant_kind kind;
    int gguf_type; /* number in GGUF files, -1 if there is none */
    uint16_t block_elems;
    uint16_t block_bytes[LM_QUANT_PLANES];
    uint8_t n_planes;
    uint8_t bits;             /* of a code; 0 where that says nothing */
    lm_quant_kind scale_kind; /* LM_Q_AFFINE: F32, F16 or BF16 scales and biases */
    /* Of decode(encode(x)), over the block's largest |x|, while that is within 2^-3 .. 2^10;
     * 0: exact or no encoder. */
    float max_error;

    /* planes -> n floats; n is a multiple of block_elems. */
    void (*to_f32)(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out);
    /* n floats -> planes; NULL where the reference has no encoder. */
    void (*from_f32)(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES]);
};

/* NULL when there is no such format. */
const lm_quant *lm_quant_by_name(const char *name);
const lm_quant *lm_quant_by_gguf_type(uint32_t type);
const lm_quant *lm_quant_affine(unsigned bits, unsigned group, lm_quant_kind scale_kind);
const lm_quant *lm_quant_of(lm_quant_kind kind); /* not for LM_Q_AFFINE */
/* Every descriptor in turn, affine ones included; NULL past the last. */
const lm_quant *lm_quant_at(size_t i);

/* Bytes of a row of n elements in one plane; n is a multiple of block_elems. */
static inline uint64_t lm_quant_row_bytes(const lm_quant *q, int plane, uint64_t n)
{
    return n / q->block_elems * q->block_bytes[plane];
}

/* Conversions of single numbers, round to nearest even, used everywhere. */
float lm_f16_to_f32(uint16_t h);
uint16_t lm_f32_to_f16(float f);
static inline float lm_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
/* Ties to even; NaN stays NaN (quiet), denormals are kept. */
static inline uint16_t lm_f32_to_bf16(float f)
{
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

/* A matrix where it lies: `rows` outputs of `cols` inputs each.  Row r of plane
 * p starts at plane[p] + r * stride[p].  Nothing is owned. */
typedef struct {
    const lm_quant *quant;
    const uint8_t *plane[LM_QUANT_PLANES];
    uint64_t stride[LM_QUANT_PLANES];
    uint32_t rows, cols;
    const struct lm_panels
        *panels; /* a prepared copy of all rows beside it (backend/cpu/panels.h), or NULL */
} lm_matrix;

static inline void lm_matrix_row(const lm_matrix *m, uint64_t row, const uint8_t *planes[LM_QUANT_PLANES])
{
    for (int p = 0; p < LM_QUANT_PLANES; p++)
        planes[p] = m->plane[p] ? m->plane[p] + row * m->stride[p] : NULL;
}

/* Rows [first, first + n) of m as a matrix of their own. */
static inline lm_matrix lm_matrix_rows(lm_matrix m, uint32_t first, uint32_t n)
{
    lm_matrix_row(&m, first, m.plane);
    m.rows = n;
    m.panels = NULL;
    return m;
}

#endif
