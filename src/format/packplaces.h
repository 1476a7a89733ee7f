/* format/packplaces.h - the folders that packstore.h names, from the environment.
 * Threads: any thread. */
#ifndef LM_FORMAT_PACKPLACES_H
#define LM_FORMAT_PACKPLACES_H

#include <stddef.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    char *path;
    const char *kind; /* "lemma", "huggingface", "lmstudio", "ollama" */
} lm_pack_place;

typedef struct {
    lm_pack_place *items; /* in the order of search; they need not exist */
    size_t n, cap;
} lm_pack_places;

lm_status lm_pack_places_read(lm_pack_places *out, lm_error *err) LM_NODISCARD;
void lm_pack_places_clear(lm_pack_places *p);

#endif
