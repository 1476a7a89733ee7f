/* format/tensor.h - one named tensor of a file, where it lies in the mapping.
 *
 * Dimensions are outermost first in every format (GGUF's order is turned
 * round), in elements and not in packed words: an MLX weight of 64 x 128 at 4
 * bits says { 64, 128 }.  Placement was checked: the planes lie inside the map.
 */
#ifndef LM_FORMAT_TENSOR_H
#define LM_FORMAT_TENSOR_H

#include <stdint.h>

#include "base/map.h"
#include "quant/quant.h"

enum { LM_MAX_DIMS = 8 }; /* text models have 4; the vision tower beside one may have 5 */

typedef struct {
    const char *name;      /* as the user's file spells it; ends with NUL */
    const lm_quant *quant; /* NULL: integers and others that are no number format of ours */
    const char *dtype;     /* as the file calls it: "BF16", "U32", "Q4_K"; never NULL */
    uint32_t n_dims;       /* 0 for a scalar */
    uint64_t dims[LM_MAX_DIMS];
    uint64_t n_elems;
    const uint8_t *plane[LM_QUANT_PLANES]; /* without a quant: plane 0 is the bytes */
    uint64_t n_bytes[LM_QUANT_PLANES];
    const lm_map *map; /* for lm_map_check() and for error messages; NULL in memory */
} lm_tensor;

#endif
