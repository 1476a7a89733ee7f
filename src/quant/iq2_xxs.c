/* quant/iq2_xxs.c - GGUF IQ2_XXS: 256 numbers as 32 points of 8 magnitudes.
 *
 *   byte  0 1   2 ....................................... 65
 *        | d  | 8 groups of 32 numbers, 8 bytes each:      |
 *        | f16| 4 point indices | scale:4, 4 x 7 sign bits |
 *
 *   value = sign * (d * (1/2 + scale) / 4) * magnitude
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 66 };

static void iq2_xxs_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                           float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int g = 0; g < 8; g++) {
            const uint8_t *group = b + 2 + 8 * g;
            uint32_t tail = lm_u32le(group + 4);
            float step = d * (0.5f + (float)(tail >> 28)) * 0.25f;
            for (int k = 0; k < 4; k++)
                lm_iq_put(out + i + 32 * g + 8 * k, step, lm_iq2_xxs_grid[group[k]],
                          lm_iq_signs(tail >> 7 * k & 127), 8);
        }
    }
}

const lm_quant lm_quant_iq2_xxs = {
    .name = "iq2_xxs",
    .kind = LM_Q_IQ2_XXS,
    .gguf_type = 16,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq2_xxs_to_f32,
};
