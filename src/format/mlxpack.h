/* format/mlxpack.h - MLX packs: weight, scales and biases become one tensor.
 *
 * A linear layer is quantised if and only if X.scales stands beside X.weight
 * (SPEC 3.1.3).  What kind it is follows from the types and shapes; config.json
 * settles what they leave open and must not contradict them.
 *
 * Trust:   config and tensors are hostile; shapes are compared before planes
 *          are made.
 * Threads: one thread at a time.
 */
#ifndef LM_FORMAT_MLXPACK_H
#define LM_FORMAT_MLXPACK_H

#include <jansson.h>

#include "format/tensors.h"

/* Merges the triples of a sorted list in place; it stays sorted.  *n_inferred
 * (may be NULL) counts the layers whose bits or group came from shapes because
 * config has no entry that fits.  On failure the list may be half merged. */
lm_status lm_mlx_merge(lm_tensors *t, const json_t *config, size_t *n_inferred, lm_error *err) LM_NODISCARD;

#endif
