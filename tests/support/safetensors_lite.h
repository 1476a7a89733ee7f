/* support/safetensors_lite.h - reads golden numbers out of a safetensors file.
 *
 * For tests alone: it trusts the file more than the library's reader does, and
 * shares no line with it.  Threads: one at a time.
 */
#ifndef LM_TEST_SAFETENSORS_LITE_H
#define LM_TEST_SAFETENSORS_LITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct st_file st_file;
typedef struct {
    char dtype[8]; /* "F32", "BF16", "U32" ... */
    uint32_t n_dims;
    uint64_t dims[8]; /* outermost first */
    uint64_t n_elems;
    const uint8_t *data; /* inside the file's memory */
    size_t n_bytes;
} st_tensor;

/* NULL, with a line on stderr, when the file cannot be read. */
st_file *st_open(const char *path);
/* False when there is no such tensor; it says nothing about it. */
bool st_find(const st_file *f, const char *name, st_tensor *out);
/* Tensor names in the file's order; NULL past the last. */
const char *st_name(const st_file *f, size_t i);
void st_close(st_file *f); /* NULL is fine */

#endif
