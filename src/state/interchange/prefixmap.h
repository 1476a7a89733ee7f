/* state/interchange/prefixmap.h - identities as JSON, shared by prefix maps, state bundles and
 * artifacts.
 *
 * Trust:   what is read is hostile.  Threads: any thread. */
#ifndef LM_INTERCHANGE_PREFIXMAP_H
#define LM_INTERCHANGE_PREFIXMAP_H

#include "state/interchange/blocks.h"

/* SHA-256 over name, path, architecture, vocabulary, layers, bits and context, one a line. */
lm_status lm_map_model_hash(const lm_map_model *m, char out[65], lm_error *err) LM_NODISCARD;
/* NULL on failure, told in *failed. */
json_t *lm_map_model_object(const lm_map_model *m, bool *failed);
json_t *lm_map_tokenizer_object(const lm_map_tokenizer *t, bool *failed);
/* Texts are borrowed from `o`. */
lm_status lm_map_model_of(const json_t *o, lm_map_model *out, lm_error *err) LM_NODISCARD;
lm_status lm_map_tokenizer_of(const json_t *o, lm_map_tokenizer *out, lm_error *err) LM_NODISCARD;
json_t *lm_tags_object(const lm_chunk_tag *tags, size_t n, bool *failed);
/* Adds a reason, comma-separated. */
void lm_reason(char *text, size_t cap, const char *reason);

#endif
