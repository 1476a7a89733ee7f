/* base/hash.h - SHA-256 for identity (OpenSSL), XXH3 for tables and checksums.
 * Threads: any thread. */
#ifndef LM_HASH_H
#define LM_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct {
    uint8_t b[32];
} lm_digest;

typedef struct lm_sha lm_sha;
lm_status lm_sha_open(lm_sha **out, lm_error *err) LM_NODISCARD;
void lm_sha_add(lm_sha *s, const void *bytes, size_t n);
/* A field of a name: tag, length, bytes, so that no two lists of fields collide. */
void lm_sha_field(lm_sha *s, const char *tag, const void *bytes, size_t n);
lm_digest lm_sha_close(lm_sha *s);
lm_status lm_sha256(const void *bytes, size_t n, lm_digest *out, lm_error *err) LM_NODISCARD;
void lm_digest_hex(const lm_digest *d, char out[65]);

uint64_t lm_xxh64(const void *bytes, size_t n, uint64_t seed);

#endif
