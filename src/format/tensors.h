/* format/tensors.h - the list of tensors of a pack, and the check of where each lies.
 *
 * Trust:   lm_place_tensor() is the one place where an offset of a file becomes
 *          a pointer.
 * Threads: one thread at a time while the list grows, any thread afterwards.
 */
#ifndef LM_FORMAT_TENSORS_H
#define LM_FORMAT_TENSORS_H

#include "format/tensor.h"

typedef struct {
    lm_tensor *items;
    size_t n, cap;
    struct lm_name_block *names; /* where the names live */
} lm_tensors;

/* What a file claims about a tensor. */
typedef struct {
    const char *name;
    const char *dtype;
    const lm_quant *quant; /* NULL: elements of `bits` bits each */
    uint32_t bits;
    uint32_t n_dims;
    uint64_t dims[LM_MAX_DIMS]; /* outermost first */
    uint64_t at;                /* byte in the file */
} lm_tensor_decl;

/* Checks counts, block alignment and range of `d` in a file of `size` bytes at
 * `base` and fills *out.  Written on success alone. */
lm_status lm_place_tensor(const uint8_t *base, uint64_t size, const lm_tensor_decl *d, lm_tensor *out,
                          lm_error *err) LM_NODISCARD;

/* Keeps a checked copy of a name: not empty, within LM_LIMIT_NAME, UTF-8 without
 * control characters. */
lm_status lm_tensors_name(lm_tensors *t, const char *bytes, uint64_t n, const char **out,
                          lm_error *err) LM_NODISCARD;
lm_status lm_tensors_add(lm_tensors *t, const lm_tensor *tensor, lm_error *err) LM_NODISCARD;
/* No two of items[first..n) share a byte; they lie in one file. */
lm_status lm_tensors_apart(const lm_tensors *t, size_t first, lm_error *err) LM_NODISCARD;
/* Sorts by name; a name that stands twice is an error. */
lm_status lm_tensors_sort(lm_tensors *t, lm_error *err) LM_NODISCARD;
/* After sorting; NULL: none. */
lm_tensor *lm_tensors_find(const lm_tensors *t, const char *name);
void lm_tensors_clear(lm_tensors *t);

#endif
