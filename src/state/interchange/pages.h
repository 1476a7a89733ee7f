/* state/interchange/pages.h - pages of a session to a snapshot's tensors and back.
 *
 * A page holds 64 positions of all layers of one cache group in the order of attention's
 * kernels (tensor/kv.h); a snapshot holds, layer by layer, [1, heads, rows, dim].
 *
 * Trust:   snapshots are hostile, and checked whole before memory is asked for.
 * Threads: any thread.
 */
#ifndef LM_INTERCHANGE_PAGES_H
#define LM_INTERCHANGE_PAGES_H

#include "state/interchange/snapshot.h"
#include "state/names.h"

/* Where a layer of the model has its cache; several layers may name the same place. */
typedef struct {
    uint32_t layer, group, slot;
} lm_layer_place;

typedef struct {
    const lm_geometry *groups; /* [n_groups] */
    uint32_t n_groups;
    const lm_layer_place *places; /* [n_places], by layer */
    uint32_t n_places, n_layers;  /* n_layers: of the model */
} lm_page_map;

/* The first position whose keys and values the next token still sees. */
uint32_t lm_first_needed(const lm_geometry *g, uint32_t n_tokens);

/* Fills `s` (its layers, geometry and shapes) from pages[group][page], NULL behind a
 * window.  The snapshot's numbers are copies. */
lm_status lm_snapshot_from_pages(lm_snapshot *s, const lm_page_map *m, uint32_t n_tokens,
                                 const uint8_t *const *const *pages, lm_error *err) LM_NODISCARD;

/* LM_ERR_MISMATCH with both numbers unless the snapshot's layers fill these pages. */
lm_status lm_snapshot_fits(const lm_snapshot *s, const lm_page_map *m, lm_error *err) LM_NODISCARD;
/* After lm_snapshot_fits(): gives pages[group][page] (64-byte aligned, each lm_free());
 * freed together with lm_pages_free(). */
typedef struct {
    uint8_t **pages[LM_STATE_GROUPS];
    uint32_t n_groups, n_pages;
} lm_page_set;
lm_status lm_snapshot_to_pages(const lm_snapshot *s, const lm_page_map *m, lm_page_set *out,
                               lm_error *err) LM_NODISCARD;
void lm_pages_free(lm_page_set *p);

#endif
