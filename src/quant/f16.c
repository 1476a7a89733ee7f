/* quant/f16.c - IEEE binary16.
 *
 *   byte  0 1
 *        |val|   little-endian: sign, 5 exponent bits (bias 15), 10 of mantissa
 *
 * Error: half a unit in the last place, 2^-11 of the value, while it is at
 * least 2^-14 and below 65520 (beyond: infinity).
 */
#include "quant/formats.h"

static void f16_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i++)
        out[i] = lm_quant_half_at(b + 2 * i);
}

static void f16_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i++)
        lm_quant_put_half(b + 2 * i, x[i]);
}

const lm_quant lm_quant_f16 = {
    .name = "f16",
    .kind = LM_Q_F16,
    .gguf_type = 1,
    .block_elems = 1,
    .block_bytes = { 2 },
    .n_planes = 1,
    .bits = 16,
    .max_error = 0x1p-11f,
    .to_f32 = f16_to_f32,
    .from_f32 = f16_from_f32,
};
