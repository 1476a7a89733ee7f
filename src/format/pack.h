/* format/pack.h - a model on disk, opened: its files mapped, its tensors named.
 *
 * A pack is a folder (config.json with one or many safetensors, an MLX pack
 * among them) or one or many .gguf files.  Opening reads headers only; tensor
 * data stays in the mapping.  MLX triples (weight, scales, biases) appear as
 * one tensor under the weight's name.
 *
 * Trust:   a pack is hostile input; every count, offset and name is checked.
 * Threads: open and close on one thread at a time; reading from any thread.
 */
#ifndef LM_FORMAT_PACK_H
#define LM_FORMAT_PACK_H

#include <jansson.h>

#include "format/tensor.h"

typedef enum { LM_PACK_SAFETENSORS, LM_PACK_GGUF } lm_pack_kind;

typedef struct lm_packfile lm_packfile; /* "pack file(s)", opened */
typedef struct lm_gguf lm_gguf;         /* format/gguf.h */

/* `path` is a folder or a .gguf file (the first of a split one).  Weights may be
 * left out (`with_weights` false) for verbs that need only text and config. */
lm_status lm_packfile_open(lm_packfile **out, const char *path, bool with_weights,
                           lm_error *err) LM_NODISCARD;
void lm_packfile_close(lm_packfile *p); /* NULL is fine */
lm_pack_kind lm_packfile_kind(const lm_packfile *p);
const char *lm_packfile_path(const lm_packfile *p); /* absolute; the file for GGUF */

/* config.json as parsed, or for GGUF an object of every metadata key whose
 * value is a number, boolean, string or an array of at most 65,536 of these
 * ("llama.block_count": 30).  Borrowed. */
const json_t *lm_packfile_config(const lm_packfile *p);
/* The metadata of the first .gguf file, NULL for folders of safetensors. */
const lm_gguf *lm_packfile_gguf(const lm_packfile *p);
/* generation_config.json, tokenizer_config.json and the like: parsed, or NULL
 * when the pack has none.  Gives a reference (json_decref). */
lm_status lm_packfile_json(const lm_packfile *p, const char *name, size_t max_bytes, json_t **out,
                           lm_error *err);
/* Absolute path of a plain file name inside a folder pack, or "" if there is no
 * such name (or the pack is a .gguf). */
const char *lm_packfile_file(const lm_packfile *p, const char *name, char *buf, size_t cap);
/* The status of opening a file that stands in a pack: what is no regular file or
 * leads nowhere is the pack's fault and not the caller's, so LM_ERR_USAGE and
 * LM_ERR_NOT_FOUND become LM_ERR_CORRUPT; the sentence stays. */
lm_status lm_pack_fault(lm_status status, lm_error *err);

size_t lm_packfile_n_tensors(const lm_packfile *p);
const lm_tensor *lm_packfile_tensor(const lm_packfile *p, size_t i);       /* sorted by name */
const lm_tensor *lm_packfile_find(const lm_packfile *p, const char *name); /* NULL: none */
uint64_t lm_packfile_weight_bytes(const lm_packfile *p);                   /* sum over files */
size_t lm_packfile_n_maps(const lm_packfile *p);
const lm_map *lm_packfile_map(const lm_packfile *p, size_t i);
/* MLX layers whose bits or group had to be inferred from shapes. */
size_t lm_packfile_n_inferred(const lm_packfile *p);

#endif
