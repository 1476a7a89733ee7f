/* quant/bf16.c - the upper half of a binary32.
 *
 *   byte  0 1
 *        |val|   little-endian: sign, 8 exponent bits, 7 of mantissa
 *
 * Error: half a unit in the last place, 2^-8 of the value.
 */
#include "quant/formats.h"

static void bf16_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i++)
        out[i] = lm_bf16_to_f32(lm_u16le(b + 2 * i));
}

static void bf16_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = lm_f32_to_bf16(x[i]);
        memcpy(b + 2 * i, &h, sizeof h);
    }
}

const lm_quant lm_quant_bf16 = {
    .name = "bf16",
    .kind = LM_Q_BF16,
    .gguf_type = 30,
    .block_elems = 1,
    .block_bytes = { 2 },
    .n_planes = 1,
    .bits = 16,
    .max_error = 0x1p-8f,
    .to_f32 = bf16_to_f32,
    .from_f32 = bf16_from_f32,
};
