/* quant/iq1_s.c - GGUF IQ1_S: 256 numbers as 32 points of a lattice of signs.
 *
 *   byte  0 1   2 ............ 33     34 ........... 49
 *        | d  | low 8 bits of the   | 8 x 16 bits, group g of 32 numbers:     |
 *        | f16| index of point k    | shift:1 scale:3 and 4 x 3 index bits    |
 *
 *   value = (d * (2 scale + 1)) * (sign + delta),  sign in -1, 0, 1
 *   delta = 1/8, negative when the shift bit is set
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 50 };

static void iq1_s_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int g = 0; g < 8; g++) {
            unsigned head = lm_u16le(b + 34 + 2 * g);
            float step = d * (float)(2 * (head >> 12 & 7) + 1), delta = head & 0x8000 ? -0.125f : 0.125f;
            for (int k = 0; k < 4; k++) {
                float *restrict y = out + i + 32 * g + 8 * k;
                const int8_t *point = lm_iq1_grid[b[2 + 4 * g + k] | (head >> 3 * k & 7) << 8];
                for (int j = 0; j < 8; j++)
                    y[j] = step * ((float)point[j] + delta);
            }
        }
    }
}

const lm_quant lm_quant_iq1_s = {
    .name = "iq1_s",
    .kind = LM_Q_IQ1_S,
    .gguf_type = 19,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq1_s_to_f32,
};
