/* support/npy_lite.h - reads a float32 .npy file of the golden data; for tests
 * alone.  Threads: one at a time. */
#ifndef LM_TEST_NPY_LITE_H
#define LM_TEST_NPY_LITE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    float *data;
    size_t n; /* numbers */
} npy;

bool npy_load(const char *path, npy *out);
void npy_free(npy *a);

#endif
