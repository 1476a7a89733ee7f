/* format/packstore.h - where packs live on this machine, and finding one by name.
 *
 * Places, in order: the folders of $LEMMA_MODELS (colon between them), lemma's
 * cache ($XDG_CACHE_HOME/lemma/models or ~/.cache/lemma/models) and, only ever
 * read, the stores of Hugging Face ($HF_HUB_CACHE, $HF_HOME/hub or
 * ~/.cache/huggingface/hub), LM Studio (~/.lmstudio/models,
 * ~/.cache/lm-studio/models) and Ollama ($OLLAMA_MODELS or ~/.ollama/models).
 *
 * Trust:   names and manifests in these places are checked; what they lead to
 *          is checked when it is opened.
 * Threads: any thread (the environment is read).
 */
#ifndef LM_FORMAT_PACKSTORE_H
#define LM_FORMAT_PACKSTORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    char *name;        /* what PACK may say: "org/model", "model/file", "llama3:8b" */
    char *path;        /* what lm_packfile_open() takes */
    const char *kind;  /* "safetensors", "mlx", "gguf" */
    const char *place; /* "lemma", "huggingface", "lmstudio", "ollama", "folder" */
    uint64_t n_bytes;  /* of the weight files */
} lm_pack_item;

typedef struct {
    lm_pack_item *items; /* by place, then by name */
    size_t n, cap;
} lm_pack_list;

/* Every pack in `folder`, or with NULL in all places.  Packs are not opened, so
 * a broken one is listed too. */
lm_status lm_pack_list_read(lm_pack_list *out, const char *folder, lm_error *err) LM_NODISCARD;
void lm_pack_list_clear(lm_pack_list *l);

/* The path of PACK: a path that exists, or the name of a pack in one of the
 * places: whole ("org/model"), or its last part when only one pack has it.
 * Gives *path (lm_free()).  LM_ERR_NOT_FOUND says where it looked and, as a
 * hint, which names are near. */
lm_status lm_pack_find(char **path, const char *pack, lm_error *err) LM_NODISCARD;

#endif
