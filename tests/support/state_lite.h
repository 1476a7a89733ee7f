/* support/state_lite.h - folders, page spaces and random pages for the tests of the store. */
#ifndef STATE_LITE_H
#define STATE_LITE_H

#include <stddef.h>
#include <stdint.h>

#include "state/store.h"

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

/* A conversation of n tokens: token k of conversation `seed` is the same whatever n is,
 * and its pages, sampler, logits and messages are functions of the tokens alone. */
typedef struct {
    lm_model_id model;
    lm_space space;
    lm_state_id id;
    uint32_t n_groups, n_tokens, n_pages;
    int32_t *tokens;
    uint8_t **pages[2]; /* [n_pages] */
    lm_digest *names[2];
    float logits[32];
    uint8_t sampler[40];
    char messages[64];
} lite_session;
void lite_open(lite_session *l, uint64_t seed, uint32_t n_tokens, uint32_t n_groups);
void lite_close(lite_session *l);
lm_status lite_sleep(lm_store *s, const lite_session *l, const char *name, uint32_t flags,
                     lm_sleep_report *out, lm_error *err);
/* Puts the full pages [from, to) of every group; returns the call's status. */
lm_status lite_put(lm_store *s, const lite_session *l, uint32_t from, uint32_t to, uint64_t cost_us,
                   lm_error *err);
/* Tokens of the longest prefix that is found; every mounted byte is compared with what
 * computing it gives: a wrong byte that passes its check aborts the test. */
uint32_t lite_find(lm_store *s, const lite_session *l);
/* The entry's first `want` tokens, mounted and compared in the same way; UINT32_MAX when
 * the entry cannot be read (*err says why).  Entry and session must be the same
 * conversation; the entry may be shorter or longer. */
uint32_t lite_wake(lm_store *s, const lite_session *l, const char *name, uint32_t want,
                   uint32_t *entry_tokens, lm_error *err);
lm_store *lite_store(const char *folder, uint64_t budget, lm_error *err);

#endif
