/* Tokenizers: the bytes up to the first NUL are a tokenizer.json, what follows is
 * a text (the definition itself without one); its ids are decoded whole and
 * streamed, which must agree. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "text/tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const lm_tokenizer *t, const char *text, size_t n)
{
    lm_span literal = { n / 3, n / 2 };
    lm_ids ids = { 0 };
    lm_str whole = { 0 }, streamed = { 0 };
    lm_detok *d = NULL;
    lm_error err = { 0 };
    if (lm_tokenizer_encode(t, text, n, n & 1 ? &literal : NULL, 1, LM_TOK_POST, &ids, &err) == LM_OK &&
        lm_tokenizer_decode(t, ids.ids, ids.n, n & 2, &whole, &err) == LM_OK &&
        lm_detok_open(&d, t, n & 2, &err) == LM_OK) {
        for (size_t i = 0; i < ids.n; i++)
            if (lm_detok_push(d, ids.ids[i], &streamed, &err) != LM_OK)
                __builtin_trap();
        if (lm_detok_finish(d, &streamed, &err) != LM_OK)
            __builtin_trap();
        if (whole.n != streamed.n || memcmp(lm_str_z(&whole), lm_str_z(&streamed), whole.n) != 0)
            __builtin_trap();
    }
    lm_detok_close(d);
    lm_ids_clear(&ids);
    lm_str_clear(&whole);
    lm_str_clear(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    if (lm_tokenizer_open_json(&t, (const char *)data, n, "fuzz", &err) == LM_OK) {
        if (cut)
            use(t, (const char *)cut + 1, size - n - 1);
        else
            use(t, (const char *)data, n);
        lm_tokenizer_close(t);
    }
    return 0;
}
