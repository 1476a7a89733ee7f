/* format/filewrite.h - writes packs: .gguf and safetensors, tensor by tensor.
 *
 * The declaration of every tensor comes first (names, formats, shapes), then
 * their bytes in the same order, streamed; so a pack larger than memory can be
 * written.  The file appears under its name when it is whole (S4).
 *
 * Threads: one thread at a time a writer.
 */
#ifndef LM_FILEWRITE_H
#define LM_FILEWRITE_H

#include <stdint.h>

#include "base/compiler.h"
#include "quant/quant.h"

typedef struct lm_filewriter lm_filewriter;

typedef enum { LM_WRITE_GGUF, LM_WRITE_SAFETENSORS } lm_write_kind;

lm_status lm_filewriter_open(lm_filewriter **out, lm_write_kind kind, const char *path,
                             lm_error *err) LM_NODISCARD;

/* GGUF metadata; a safetensors file has none and ignores it. */
void lm_filewriter_u32(lm_filewriter *w, const char *key, uint32_t value);
void lm_filewriter_f32(lm_filewriter *w, const char *key, float value);
void lm_filewriter_string(lm_filewriter *w, const char *key, const char *value);
/* An array of n strings made one by one; `make` writes at most cap bytes. */
void lm_filewriter_strings(lm_filewriter *w, const char *key, uint64_t n,
                           size_t (*make)(void *user, uint64_t i, char *buf, size_t cap), void *user);

/* A tensor of rows x cols (rows 0: a vector of cols).  `plane` of a format with
 * several: each is a tensor of its own in safetensors, under its own name; `dtype`
 * is what the file says there ("U32", "BF16"). */
void lm_filewriter_tensor(lm_filewriter *w, const char *name, const lm_quant *quant, const char *dtype,
                          uint64_t rows, uint64_t cols, uint64_t n_bytes);
/* Ends the declarations: header to disk, room for the data. */
lm_status lm_filewriter_begin(lm_filewriter *w, lm_error *err) LM_NODISCARD;
/* The next bytes of the data, in the order of the declarations; padding between
 * tensors is the writer's business. */
lm_status lm_filewriter_add(lm_filewriter *w, const void *bytes, size_t n, lm_error *err) LM_NODISCARD;
/* Checks that all was written, syncs, names the file.  Frees `w` either way. */
lm_status lm_filewriter_close(lm_filewriter *w, lm_error *err) LM_NODISCARD;
void lm_filewriter_abandon(lm_filewriter *w); /* leaves nothing; NULL is fine */

#endif
