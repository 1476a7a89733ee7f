/* format/safetensors.h - the header of one .safetensors file.
 *
 *   u64 length | JSON { name: { dtype, shape, data_offsets } } | data
 *
 * Trust:   the bytes are hostile; every claim is checked before a tensor is made.
 * Threads: any thread, one list at a time.
 */
#ifndef LM_FORMAT_SAFETENSORS_H
#define LM_FORMAT_SAFETENSORS_H

#include "format/tensors.h"

/* Adds the tensors of the file's bytes to `out`, in no order.  `map` is noted in
 * them and may be NULL (bytes in memory, which the tensors then point into).
 * On failure some may have been added. */
lm_status lm_safetensors_parse(const uint8_t *bytes, uint64_t size, const lm_map *map, lm_tensors *out,
                               lm_error *err) LM_NODISCARD;

#endif
