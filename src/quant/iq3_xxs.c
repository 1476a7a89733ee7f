/* quant/iq3_xxs.c - GGUF IQ3_XXS: 256 numbers as 64 points of 4 magnitudes.
 *
 *   byte  0 1   2 ........ 65     66 .............. 97
 *        | d  | index of point | 8 x 32 bits, group g of 32 numbers: |
 *        | f16| k, 8 bits      | scale:4, 4 x 7 sign bits            |
 *
 *   value = sign * (d * (1/2 + scale) / 2) * magnitude
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 98 };

static void iq3_xxs_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                           float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = b + 2 + 8 * g;
            uint32_t tail = lm_u32le(b + 66 + 4 * g);
            float step = d * (0.5f + (float)(tail >> 28)) * 0.5f;
            for (int k = 0; k < 4; k++) {
                float *y = out + i + 32 * g + 8 * k;
                unsigned signs = lm_iq_signs(tail >> 7 * k & 127);
                lm_iq_put(y, step, lm_iq3_xxs_grid[index[2 * k]], signs, 4);
                lm_iq_put(y + 4, step, lm_iq3_xxs_grid[index[2 * k + 1]], signs >> 4, 4);
            }
        }
    }
}

const lm_quant lm_quant_iq3_xxs = {
    .name = "iq3_xxs",
    .kind = LM_Q_IQ3_XXS,
    .gguf_type = 18,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq3_xxs_to_f32,
};
