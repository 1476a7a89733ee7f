/* model/net.h - a pack with its family's program bound to its weights.
 *
 * Binding never copies a matrix (DESIGN 3.6): linears point into the mapping.
 * Vectors (norms, biases) are float32 copies.
 *
 * Trust:   the pack is hostile; every shape is checked against the configuration.
 * Threads: made on one thread; read from any.
 */
#ifndef LM_NET_H
#define LM_NET_H

#include "base/arena.h"
#include "model/family.h"

typedef struct lm_net {
    lm_packfile *pack; /* adopted */
    const lm_family *family;
    lm_config config;
    lm_program *program;
    lm_arena *vectors;
    const char *prefix; /* of the names of the text model's tensors */
    uint8_t *used;      /* [tensors of the pack] */
    uint32_t context;   /* positions that rotary tables were resolved for */
} lm_net;

/* `context` 0: as trained.  Adopts `pack` on success only. */
lm_status lm_net_open(lm_net **out, lm_packfile *pack, uint32_t context, lm_error *err) LM_NODISCARD;
void lm_net_close(lm_net *n);
/* The family and configuration of a pack without binding: for inspect and check. */
lm_status lm_net_describe(const lm_packfile *pack, const lm_family **family, lm_config *config,
                          lm_error *err) LM_NODISCARD;
/* Tensors that the program does not read, in order; NULL past the last. */
const lm_tensor *lm_net_unused(const lm_net *n, size_t i);
/* LM_ERR_IO if one of the pack's files broke under its mapping. */
lm_status lm_net_check_maps(const lm_net *n, lm_error *err);

/* Used by decoder.c and families. */
const lm_tensor *lm_net_find(lm_net *n, lm_weight_id id, uint32_t layer, bool bias);
lm_status lm_net_matrix(lm_net *n, lm_weight_id id, uint32_t layer, uint32_t rows, uint32_t cols,
                        lm_matrix *out, const char **name, lm_error *err);
/* *out stays NULL when the tensor does not exist and `optional` is set. */
lm_status lm_net_vector(lm_net *n, lm_weight_id id, uint32_t layer, bool bias, bool optional, uint32_t len,
                        const float **out, lm_error *err);

#endif
