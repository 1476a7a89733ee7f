/* Entry files.  The checksum is made to match, so that the checks behind it are reached;
 * what is accepted must be written again byte for byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "state/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const uint8_t *data, size_t size)
{
    lm_error err = { 0 };
    lm_entry *e = NULL;
    uint8_t *copy = NULL, *again = NULL;
    size_t n = 0;
    if (lm_new((void **)&copy, size + 1, 1, NULL) != LM_OK)
        return;
    memcpy(copy, data, size);
    if (lm_entry_decode(copy, size, &e, &err) != LM_OK) {
        if (err.text[0] == 0)
            abort();
        return;
    }
    for (uint32_t i = 0; i < e->n_tokens; i++)
        n += (size_t)e->tokens[i];
    if (lm_entry_encode(e, &again, &n, NULL) == LM_OK)
        lm_free(again);
    lm_entry_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one(data, size);
    if (size < 64)
        return 0;
    uint8_t *copy = malloc(size), head[64];
    uint64_t sum = size;
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    memcpy(copy + 16, &sum, 8);
    memset(copy + 24, 0, 8);
    memcpy(head, copy, 64);
    sum = lm_xxh64(copy + 64, size - 64, lm_xxh64(head, 64, 0));
    memcpy(copy + 24, &sum, 8);
    one(copy, size);
    free(copy);
    return 0;
}
