/* format/packfiles.h - which files of a folder make up a pack.
 *
 * Trust:   names in an index come from outside: plain names inside the folder.
 * Threads: any thread. */
#ifndef LM_FORMAT_PACKFILES_H
#define LM_FORMAT_PACKFILES_H

#include "format/folder.h"
#include "format/pack.h"

typedef struct {
    lm_pack_kind kind;
    lm_folder weights; /* file names: all .safetensors of the pack, or the first .gguf */
    bool has_config;
} lm_pack_files;

/* Safetensors: the files that model.safetensors.index.json names, else
 * model*.safetensors, else the only other *.safetensors (or one set of shards)
 * with no pickle beside; adapters, gradients and the like never.  Else one .gguf (or one split
 * set; mmproj files are left aside).  With neither: pickles are refused by name,
 * and without weights wanted the folder may hold none. */
lm_status lm_pack_files_find(lm_pack_files *out, const char *folder, bool need_weights,
                             lm_error *err) LM_NODISCARD;
void lm_pack_files_clear(lm_pack_files *f);

/* By their ending: .bin, .pt, .pth, .ckpt, .pkl, .pickle. */
bool lm_is_pickle(const char *name);
/* "x-00002-of-00005.gguf": stem is the length of "x". */
bool lm_split_name(const char *name, size_t *stem, unsigned *no, unsigned *of);

#endif
