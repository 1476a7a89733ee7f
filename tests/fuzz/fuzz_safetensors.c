/* A .safetensors file in memory: parse, sort, merge MLX triples, touch every plane. */
#include <stdint.h>
#include <stdlib.h>

#include "format/mlxpack.h"
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_tensors t = { 0 };
    lm_error err = { 0 };

    if (lm_safetensors_parse(data, size, NULL, &t, &err) == LM_OK && lm_tensors_sort(&t, &err) == LM_OK &&
        lm_mlx_merge(&t, NULL, NULL, &err) == LM_OK)
        for (size_t i = 0; i < t.n; i++) {
            const lm_tensor *x = &t.items[i];
            if (lm_tensors_find(&t, x->name) != x)
                abort();
            for (int p = 0; p < LM_QUANT_PLANES; p++)
                sink += x->n_bytes[p] ? x->plane[p][x->n_bytes[p] - 1] : 0u;
        }
    lm_tensors_clear(&t);
    return 0;
}
