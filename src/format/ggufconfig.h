/* format/ggufconfig.h - GGUF metadata as a JSON object.  Threads: any thread. */
#ifndef LM_FORMAT_GGUFCONFIG_H
#define LM_FORMAT_GGUFCONFIG_H

#include <jansson.h>

#include "format/gguf.h"

/* Every key whose value is a number, a boolean, a string or a short array of
 * these; strings that are not UTF-8, NaN, long arrays and
 * those of a vocabulary are left out.  Gives
 * *out (json_decref). */
lm_status lm_gguf_config(const lm_gguf *g, json_t **out, lm_error *err) LM_NODISCARD;

#endif
