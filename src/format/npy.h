/* format/npy.h - float32 arrays as NumPy's .npy, written row by row.
 *
 * The file appears under its name when it is whole.  Threads: one thread at a
 * time a writer.
 */
#ifndef LM_FORMAT_NPY_H
#define LM_FORMAT_NPY_H

#include "base/compiler.h"
#include "lemma/error.h"
#include <stddef.h>
#include <stdint.h>

enum { LM_NPY_DIMS = 4 };

typedef struct lm_npy lm_npy;
/* Starts a file of the given shape (1 to LM_NPY_DIMS dimensions). */
lm_status lm_npy_open(lm_npy **out, const char *path, uint32_t n_dims, const uint64_t *dims,
                      lm_error *err) LM_NODISCARD;
lm_status lm_npy_add(lm_npy *w, const float *x, size_t n, lm_error *err) LM_NODISCARD;
/* Ends it: with fewer numbers than the shape has, LM_ERR_USAGE and no file.
 * Frees `w` either way. */
lm_status lm_npy_close(lm_npy *w, lm_error *err) LM_NODISCARD;
void lm_npy_drop(lm_npy *w); /* gives up; NULL is fine */

/* All at once. */
lm_status lm_npy_write(const char *path, const float *x, uint32_t n_dims, const uint64_t *dims,
                       lm_error *err) LM_NODISCARD;
/* Reads '<f4' in C order.  Gives *x (lm_free()). */
lm_status lm_npy_read(const char *path, float **x, uint32_t *n_dims, uint64_t dims[LM_NPY_DIMS],
                      lm_error *err) LM_NODISCARD;

#endif
