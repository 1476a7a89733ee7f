/* config.json with a quantisation block: four bytes choose the shape of one MLX
 * triple, the rest is the text. */
#include <stdint.h>
#include <string.h>

#include "format/json.h"
#include "format/limits.h"
#include "format/mlxpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t bytes[1 << 16];
static volatile unsigned sink;

static lm_tensor make(const char *name, lm_quant_kind kind, const char *dtype, uint64_t rows, uint64_t cols,
                      uint64_t size)
{
    lm_tensor t = {
        .name = name, .dtype = dtype, .n_dims = 2, .dims = { rows, cols }, .n_elems = rows * cols
    };
    t.quant = strcmp(dtype, "U8") == 0 || strcmp(dtype, "U32") == 0 ? NULL : lm_quant_of(kind);
    t.plane[0] = bytes;
    t.n_bytes[0] = rows * cols * size;
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *dtype;
        lm_quant_kind kind;
        uint64_t size;
    } scales[] = {
        { "BF16", LM_Q_BF16, 2 }, { "F16", LM_Q_F16, 2 }, { "F32", LM_Q_F32, 4 }, { "U8", LM_Q_F32, 1 }
    };
    const lm_json_limits limits = { .max_bytes = LM_LIMIT_CONFIG_BYTES };
    json_t *config = NULL;
    lm_tensor items[3];
    lm_error err = { 0 };

    if (size < 4 ||
        lm_json_parse(&config, (const char *)data + 4, size - 4, "config.json", &limits, &err) != LM_OK)
        return 0;
    uint64_t rows = 1 + data[0] % 4, words = 1 + data[1], n = 1 + data[2] % 64, k = data[3] % 4;
    lm_tensors t = { .items = items };
    if (data[3] & 128)
        items[t.n++] =
            make("a.embed_tokens.biases", scales[k].kind, scales[k].dtype, rows, n, scales[k].size);
    items[t.n++] = make("a.embed_tokens.scales", scales[k].kind, scales[k].dtype, rows, n, scales[k].size);
    items[t.n++] = make("a.embed_tokens.weight", LM_Q_F32, "U32", rows, words, 4);
    if (lm_mlx_merge(&t, config, NULL, &err) == LM_OK)
        for (size_t i = 0; i < t.n; i++)
            for (int p = 0; p < LM_QUANT_PLANES; p++)
                sink += t.items[i].n_bytes[p] ? t.items[i].plane[p][t.items[i].n_bytes[p] - 1] : 0u;
    json_decref(config);
    return 0;
}
