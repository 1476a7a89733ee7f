/* The stream inside a bundle.  Header and entry are sealed anew, so that the checks behind
 * their checksums are reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "state/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *at;
    size_t n, seen;
} input;

static lm_status pull(void *ctx, void *out, size_t n, size_t *got, lm_error *err)
{
    input *m = ctx;
    (void)err;
    *got = n < m->n ? n : m->n;
    if (*got)
        memcpy(out, m->at, *got);
    m->at += *got;
    m->n -= *got;
    return LM_OK;
}

static lm_status see_entry(void *ctx, lm_entry *e, lm_error *err)
{
    (void)err;
    ((input *)ctx)->seen += e->n_tokens;
    return LM_OK;
}

static lm_status see_page(void *ctx, uint32_t g, uint32_t i, uint8_t *page, lm_error *err)
{
    (void)g, (void)i, (void)err;
    ((input *)ctx)->seen += page[0];
    lm_free(page);
    return LM_OK;
}

static lm_status see_end(void *ctx, lm_error *err)
{
    (void)ctx, (void)err;
    return LM_OK;
}

static void one(const uint8_t *data, size_t size)
{
    input m = { data, size, 0 };
    lm_error err = { 0 };
    const lm_bundle_sink sink = { see_entry, see_page, see_end, &m };
    if (lm_bundle_read(pull, &m, &sink, &err) != LM_OK && err.text[0] == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t n, sum;
    one(data, size);
    if (size < 64)
        return 0;
    uint8_t *copy = malloc(size), head[64];
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    memcpy(&n, copy + 16, 8);
    if (n >= 64 && n <= size - 64) {
        uint8_t *e = copy + 64; /* the entry's own checksum first */
        memcpy(e + 16, &n, 8);
        memset(e + 24, 0, 8);
        memcpy(head, e, 64);
        sum = lm_xxh64(e + 64, (size_t)n - 64, lm_xxh64(head, 64, 0));
        memcpy(e + 24, &sum, 8);
        sum = lm_xxh64(e, (size_t)n, 0);
        memcpy(copy + 40, &sum, 8);
    }
    sum = lm_xxh64(copy, 56, 0);
    memcpy(copy + 56, &sum, 8);
    one(copy, size);
    free(copy);
    return 0;
}
