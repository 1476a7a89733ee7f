/* tensor/program.h - what a family writes: a flat list of operations.
 *
 * A program is straight-line code over values.  A value is a float32 matrix
 * [tokens, width]: the number of tokens is symbolic and given by each step; after
 * LM_OP_ROWS it is the number of wanted rows.  Every value is written once.
 * Weights are matrices where the file has them (lm_matrix), in any number
 * format; vectors (norms, biases) are float32 copies that the model owns.
 *
 * The list of operations is closed: adding one means the reference, the CPU
 * backend, a test in tests/ops and a row in docs/design/tensor.md.
 *
 *   embed    ids -> rows of a matrix, times a scale
 *   linear   y = x W^T + bias; W [out, in] in any format
 *   norm     rms or layer norm over groups of `group` numbers (a head, or all)
 *   rope     rotates the first n_rot dimensions of each head by its position
 *   attend   writes this step's K and V to their pages, then attends over the pages
 *   act      an activation, number by number
 *   glu      act(gate) * up
 *   add      x + y
 *   scale    x times a constant
 *   softcap  c * tanh(x / c)
 *   rows     keeps the rows that the step wants
 *
 * Threads: built by one thread, then read by any.
 */
#ifndef LM_PROGRAM_H
#define LM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "quant/quant.h"
#include "tensor/kv.h"

#define LM_OP_TABLE(X)                                                                                       \
    X(EMBED, "embed")                                                                                        \
    X(LINEAR, "linear")                                                                                      \
    X(NORM, "norm")                                                                                          \
    X(ROPE, "rope")                                                                                          \
    X(ATTEND, "attend")                                                                                      \
    X(ACT, "act")                                                                                            \
    X(GLU, "glu")                                                                                            \
    X(ADD, "add")                                                                                            \
    X(SCALE, "scale")                                                                                        \
    X(SOFTCAP, "softcap")                                                                                    \
    X(ROWS, "rows")

typedef enum {
#define X(name, text) LM_OP_##name,
    LM_OP_TABLE(X)
#undef X
        LM_OP_COUNT
} lm_op_kind;

typedef enum { LM_ACT_SILU, LM_ACT_GELU, LM_ACT_GELU_TANH, LM_ACT_RELU } lm_act;
typedef enum { LM_NORM_RMS, LM_NORM_LAYER } lm_norm_kind;

/* Index of a value; 0 is "none" (and what a failed builder call returns). */
typedef uint32_t lm_val;

/* One rotary table, shared by the layers that rotate alike.  Dimension pair i of
 * a position turns by position * inv_freq[i]; cos and sin are times `mscale`.
 * Halves: pair (i, i + n_rot/2); interleaved: pair (2i, 2i+1). */
typedef struct {
    uint32_t n_rot; /* even */
    bool interleaved;
    float mscale;
    float *inv_freq; /* [n_rot / 2] */
} lm_rope;

typedef struct {
    lm_op_kind kind;
    lm_val out;
    lm_val in[3];
    uint32_t layer;   /* of the model, for messages, traces and probes */
    const char *name; /* of the weight in the user's file, or ""; borrowed from the pack */
    union {
        struct {
            lm_matrix w; /* [vocab, width] */
            float scale;
        } embed;
        struct {
            lm_matrix w;       /* [out, in] */
            const float *bias; /* [out] or NULL */
        } linear;
        struct {
            lm_norm_kind kind;
            uint32_t group;      /* numbers normed together; divides the width */
            const float *weight; /* [group]; NULL: ones */
            const float *bias;   /* the same, or NULL */
            float eps;
        } norm;
        struct {
            uint32_t head_dim;
            uint32_t table; /* index into the program's ropes */
        } rope;
        struct {
            uint32_t n_heads, n_kv_heads, k_dim, v_dim;
            uint32_t group, slot; /* cache group, and layer inside it */
            float scale;          /* of q . k */
            float softcap;        /* 0: none */
            const float *sinks;   /* [n_heads] extra logits without a value, or NULL */
            /* in[0] q, in[1] k, in[2] v; k and v 0: the pages of group and slot
             * were written by another layer of this step. */
        } attend;
        struct {
            lm_act act;
        } act;        /* LM_OP_ACT, LM_OP_GLU: in[0] gate, in[1] up */
        float number; /* LM_OP_SCALE, LM_OP_SOFTCAP */
    } u;
} lm_op;

typedef struct {
    uint32_t width;
    bool wanted;                /* rows are the step's wanted rows, not its tokens */
    uint32_t first_op, last_op; /* written by, last read by */
} lm_value;

typedef struct lm_program {
    lm_op *ops;
    uint32_t n_ops;
    lm_value *values; /* values[0] is unused */
    uint32_t n_values;
    lm_rope *ropes;
    uint32_t n_ropes;
    lm_cache_group *groups;
    uint32_t n_groups;
    uint32_t n_vocab;
    uint32_t n_layers;
    lm_val result; /* [wanted rows, n_vocab] */
    size_t cap_ops, cap_values, cap_ropes, cap_groups;
} lm_program;

const char *lm_op_name(lm_op_kind kind);
void lm_program_free(lm_program *p); /* NULL is fine */

/* --- the builder: straight-line, errors are sticky ------------------------- */

typedef struct {
    lm_program *p;
    lm_error *err;    /* where the first failure is told */
    lm_status status; /* of the first failure */
    uint32_t layer;   /* stamped on every operation */
} lm_builder;

lm_status lm_builder_init(lm_builder *b, lm_error *err) LM_NODISCARD;
/* Sets the result, computes the lives of values, gives the program; on a sticky
 * error frees it and returns that. */
lm_status lm_builder_finish(lm_builder *b, lm_val logits, lm_program **out) LM_NODISCARD;
void lm_builder_abandon(lm_builder *b);

lm_val lm_build_embed(lm_builder *b, const lm_matrix *w, const char *name, float scale);
lm_val lm_build_linear(lm_builder *b, lm_val x, const lm_matrix *w, const char *name, const float *bias);
lm_val lm_build_norm(lm_builder *b, lm_val x, lm_norm_kind kind, uint32_t group, const float *weight,
                     const float *bias, float eps);
/* A rotary table; equal tables are shared.  `inv_freq` [n_rot/2] is copied. */
uint32_t lm_build_rope_table(lm_builder *b, uint32_t n_rot, bool interleaved, float mscale,
                             const float *inv_freq);
lm_val lm_build_rope(lm_builder *b, lm_val x, uint32_t head_dim, uint32_t table);

typedef struct {
    uint32_t n_heads, n_kv_heads, k_dim, v_dim, window;
    float scale, softcap;
    const float *sinks;
} lm_attend_spec;
/* Takes the next slot of the cache group of this shape. */
lm_val lm_build_attend(lm_builder *b, lm_val q, lm_val k, lm_val v, const lm_attend_spec *spec);
lm_val lm_build_act(lm_builder *b, lm_val x, lm_act act);
lm_val lm_build_glu(lm_builder *b, lm_val gate, lm_val up, lm_act act);
lm_val lm_build_add(lm_builder *b, lm_val x, lm_val y);
lm_val lm_build_scale(lm_builder *b, lm_val x, float by);    /* 1 adds nothing */
lm_val lm_build_softcap(lm_builder *b, lm_val x, float cap); /* 0 adds nothing */
lm_val lm_build_rows(lm_builder *b, lm_val x);

#endif
