/* support/tempdir.h - a temporary folder for a test, and files in it. */
#ifndef LM_TEST_TEMPDIR_H
#define LM_TEST_TEMPDIR_H

#include <stddef.h>

#include "base/compiler.h"

typedef struct {
    char path[512];
} lm_tempdir;

lm_tempdir lm_tempdir_make(void);
void lm_tempdir_remove(const lm_tempdir *d);
/* Absolute path of a name inside; folders on the way are made. */
const char *lm_tempdir_path(const lm_tempdir *d, const char *name, char out[1024]);
void lm_tempdir_write(const lm_tempdir *d, const char *name, const void *bytes, size_t n);
void lm_tempdir_text(const lm_tempdir *d, const char *name, const char *text);
void lm_tempdir_copy(const lm_tempdir *d, const char *name, const char *from);
/* A .safetensors file: header text, then n_zero zero bytes. */
void lm_tempdir_safetensors(const lm_tempdir *d, const char *name, const char *header, size_t n_zero);

#endif
