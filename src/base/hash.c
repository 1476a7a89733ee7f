/* base/hash.c - thin over OpenSSL and xxHash. */
#include "base/hash.h"

#include <openssl/evp.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fail.h"
#include "base/mem.h"

struct lm_sha {
    EVP_MD_CTX *ctx;
};

lm_status lm_sha_open(lm_sha **out, lm_error *err)
{
    lm_sha *s = NULL;
    LM_TRY(LM_NEW(&s, 1, err));
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(s->ctx);
        lm_free(s);
        return lm_fail(err, LM_ERR_NOMEM, "cannot set up SHA-256");
    }
    *out = s;
    return LM_OK;
}

void lm_sha_add(lm_sha *s, const void *bytes, size_t n)
{
    (void)EVP_DigestUpdate(s->ctx, bytes, n);
}

void lm_sha_field(lm_sha *s, const char *tag, const void *bytes, size_t n)
{
    uint64_t head[2] = { strlen(tag), n };
    lm_sha_add(s, head, sizeof head);
    lm_sha_add(s, tag, strlen(tag));
    lm_sha_add(s, bytes, n);
}

lm_digest lm_sha_close(lm_sha *s)
{
    lm_digest d = { { 0 } };
    (void)EVP_DigestFinal_ex(s->ctx, d.b, NULL);
    EVP_MD_CTX_free(s->ctx);
    lm_free(s);
    return d;
}

lm_status lm_sha256(const void *bytes, size_t n, lm_digest *out, lm_error *err)
{
    lm_sha *s = NULL;
    LM_TRY(lm_sha_open(&s, err));
    lm_sha_add(s, bytes, n);
    *out = lm_sha_close(s);
    return LM_OK;
}

void lm_digest_hex(const lm_digest *d, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        out[2 * i] = hex[d->b[i] >> 4];
        out[2 * i + 1] = hex[d->b[i] & 15];
    }
    out[64] = 0;
}

uint64_t lm_xxh64(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}
