/* support/state_lite.h - folders, page spaces and random pages for the tests of the store. */
#ifndef STATE_LITE_H
#define STATE_LITE_H

#include <stddef.h>
#include <stdint.h>

#include "state/names.h"

/* A fresh folder with mode 0700 under $TMPDIR or /tmp. */
void state_lite_folder(char out[128]);
void state_lite_remove(const char *folder); /* with all that is in it */
/* Bytes that the folder takes, by blocks, all files. */
uint64_t state_lite_disk_bytes(const char *folder);

uint64_t state_lite_random(uint64_t *seed);
void state_lite_fill(uint64_t seed, void *bytes, size_t n);

/* Two cache groups: one of all positions, one with a window of 100; 16 tokens a page
 * of 4,096 and 5,000 bytes. */
enum { LITE_TOKENS = 16, LITE_BYTES_0 = 4096, LITE_BYTES_1 = 5000, LITE_WINDOW = 100 };
void state_lite_model(lm_model_id *id, uint64_t seed);
void state_lite_space(lm_space *space, const lm_model_id *id, uint32_t n_groups);
/* The page that "computing" these tokens gives: a function of the name alone. */
void state_lite_page(const lm_space *space, uint32_t group, const lm_digest *name, uint8_t *out);
void state_lite_tokens(uint64_t seed, int32_t *out, uint32_t n);

#endif
