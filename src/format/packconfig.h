/* format/packconfig.h - what config.json says that no weights could follow.
 *
 * Trust:   config.json is hostile.
 * Threads: any thread. */
#ifndef LM_FORMAT_PACKCONFIG_H
#define LM_FORMAT_PACKCONFIG_H

#include <jansson.h>

#include "format/tensors.h"

/* A key of the wrong type that would otherwise be passed over in silence. */
lm_status lm_pack_check_config(const json_t *config, lm_error *err) LM_NODISCARD;
/* The name of a quantisation that is not MLX's (gptq, awq, fp8 ...), or NULL. */
const char *lm_pack_quant_method(const json_t *config);
/* LM_ERR_UNSUPPORTED when such a method left tensors that are no numbers by
 * themselves; `t` has been through lm_mlx_merge(). */
lm_status lm_pack_check_method(const json_t *config, const lm_tensors *t, lm_error *err) LM_NODISCARD;

#endif
