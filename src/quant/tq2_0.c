/* quant/tq2_0.c - GGUF TQ2_0: 256 numbers of three values, 2-bit codes.
 *
 *   byte  0 ................................ 63   64 65
 *        | 2 halves of 32 bytes; bits 2s, 2s+1  | d   |
 *        | of byte j: number 128 h + 32 s + j   | f16 |
 *
 *   value = d * (code - 1)
 *
 * Numbers round to -d, 0 or d: error up to amax / 2, and d's own rounding.
 */
#include <math.h>

#include "quant/formats.h"

enum { ELEMS = 256, BYTES = 66, D_AT = 64 };

static void tq2_0_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b + D_AT);
        for (int g = 0; g < 8; g++) {
            float *restrict y = out + i + 32 * g;
            const uint8_t *codes = b + 32 * (g / 4);
            int shift = 2 * (g % 4);
            for (int j = 0; j < 32; j++)
                y[j] = d * (float)((codes[j] >> shift & 3) - 1);
        }
    }
}

static void tq2_0_from_f32(const lm_quant *q, const float *x, size_t n,
                           uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_amax(x + i, ELEMS), inverse = lm_quant_inverse(d);
        for (int j = 0; j < 64; j++) {
            const float *from = x + i + 128 * (j / 32) + j % 32;
            unsigned byte = 0;
            for (int s = 0; s < 4; s++) /* halves away from zero */
                byte |= (unsigned)lm_quant_code(roundf(from[32 * s] * inverse) + 1, 2) << 2 * s;
            b[j] = (uint8_t)byte;
        }
        lm_quant_put_half(b + D_AT, d);
    }
}

const lm_quant lm_quant_tq2_0 = {
    .name = "tq2_0",
    .kind = LM_Q_TQ2_0,
    .gguf_type = 35,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 2,
    .max_error = 0.5005f,
    .to_f32 = tq2_0_to_f32,
    .from_f32 = tq2_0_from_f32,
};
