/* quant/iq2_s.c - GGUF IQ2_S: 256 numbers as 32 points of 8 magnitudes.
 *
 *   byte  0 1   2 ........ 33     34 ...... 65     66 ........ 73        74 ........ 81
 *        | d  | low 8 bits of   | 8 sign bits    | high 2 bits of     | 16 x 4 bits:   |
 *        | f16| index of k      | of point k     | index of k, packed | scale of 2s .. |
 *
 *   value = sign * (d * (1/2 + scale) / 4) * magnitude
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 82 };

static void iq2_s_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int k = 0; k < 32; k++) {
            unsigned index = b[2 + k] | ((unsigned)b[66 + k / 4] >> 2 * (k % 4) & 3) << 8;
            int scale = b[74 + k / 4] >> 4 * (k / 2 % 2) & 15;
            float step = d * (0.5f + (float)scale) * 0.25f;
            lm_iq_put(out + i + 8 * k, step, lm_iq2_s_grid[index], b[34 + k], 8);
        }
    }
}

const lm_quant lm_quant_iq2_s = {
    .name = "iq2_s",
    .kind = LM_Q_IQ2_S,
    .gguf_type = 22,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq2_s_to_f32,
};
