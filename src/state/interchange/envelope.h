/* state/interchange/envelope.h - payloads inside JSON texts, for stores that take text alone.
 *
 * Trust:   envelopes are hostile.  Threads: any thread. */
#ifndef LM_INTERCHANGE_ENVELOPE_H
#define LM_INTERCHANGE_ENVELOPE_H

#include "state/interchange/blocks.h"

/* The text of block i's envelope; `bytes` is its encoded snapshot. */
lm_status lm_block_envelope(const lm_blocks *b, const lm_block_ref *r, size_t i, const lm_str *bytes,
                            lm_str *out, lm_error *err) LM_NODISCARD;
/* Checks kind, version, encoding, range and length; gives the payload (lm_free()). */
lm_status lm_block_envelope_open(const lm_blocks *b, const lm_block_ref *r, size_t i, const lm_chunk *chunk,
                                 uint8_t **out, size_t *n, lm_error *err) LM_NODISCARD;

#endif
