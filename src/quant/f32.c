/* quant/f32.c - IEEE binary32.
 *
 *   byte  0 1 2 3
 *        | value |   little-endian, no blocks
 */
#include "quant/formats.h"

static void f32_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    memcpy(out, planes[0], n * sizeof *out);
}

static void f32_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    memcpy(planes[0], x, n * sizeof *x);
}

const lm_quant lm_quant_f32 = {
    .name = "f32",
    .kind = LM_Q_F32,
    .gguf_type = 0,
    .block_elems = 1,
    .block_bytes = { 4 },
    .n_planes = 1,
    .bits = 32,
    .to_f32 = f32_to_f32,
    .from_f32 = f32_from_f32,
};
