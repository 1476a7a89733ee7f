/* quant/iq2_xs.c - GGUF IQ2_XS: 256 numbers as 32 points of 8 magnitudes.
 *
 *   byte  0 1   2 ................ 65     66 ............ 73
 *        | d  | 32 x 16 bits, point k:  | 16 x 4 bits: scale s  |
 *        | f16| sign bits:7, index:9    | of points 2s, 2s + 1  |
 *
 *   value = sign * (d * (1/2 + scale) / 4) * magnitude
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 74 };

static void iq2_xs_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                          float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int k = 0; k < 32; k++) {
            unsigned head = lm_u16le(b + 2 + 2 * k);
            int scale = b[66 + k / 4] >> 4 * (k / 2 % 2) & 15;
            float step = d * (0.5f + (float)scale) * 0.25f;
            lm_iq_put(out + i + 8 * k, step, lm_iq2_xs_grid[head & 511], lm_iq_signs(head >> 9), 8);
        }
    }
}

const lm_quant lm_quant_iq2_xs = {
    .name = "iq2_xs",
    .kind = LM_Q_IQ2_XS,
    .gguf_type = 17,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq2_xs_to_f32,
};
