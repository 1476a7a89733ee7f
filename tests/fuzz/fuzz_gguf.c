/* A .gguf file in memory: parse, show, walk every array, place and touch every tensor. */
#include <stdint.h>
#include <stdlib.h>

#include "base/fail.h"
#include "format/gguf.h"
#include "format/ggufconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void walk(const lm_gguf *g)
{
    for (size_t i = 0; i < lm_gguf_n_values(g); i++) {
        const lm_gguf_value *v = lm_gguf_value_at(g, i);
        lm_gguf_walk w = lm_gguf_strings(v);
        const char *s;
        size_t n;
        double x = 0;
        while (lm_gguf_next(&w, &s, &n))
            sink += n ? (unsigned char)s[n - 1] : 0u;
        for (uint64_t k = 0; k < v->n && lm_gguf_item_f64(v, k, &x); k++)
            sink += x > 0;
        if (v->type == LM_GGUF_STRING && v->n)
            sink += v->data[v->n - 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_gguf *g = NULL;
    lm_tensors t = { 0 };
    json_t *config = NULL;
    lm_error err = { 0 };

    if (lm_gguf_parse(&g, data, size, &err) != LM_OK)
        return 0;
    walk(g);
    if (lm_gguf_config(g, &config, &err) == LM_OK)
        json_decref(config);
    lm_error_clear(&err);
    if (lm_gguf_place(g, NULL, &t, &err) == LM_OK && lm_tensors_sort(&t, &err) == LM_OK)
        for (size_t i = 0; i < t.n; i++) {
            if (lm_tensors_find(&t, t.items[i].name) != &t.items[i])
                abort();
            sink += t.items[i].plane[0][t.items[i].n_bytes[0] - 1];
        }
    lm_tensors_clear(&t);
    lm_gguf_close(g);
    return 0;
}
