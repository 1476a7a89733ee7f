/* quant/iq3_s.c - GGUF IQ3_S: 256 numbers as 64 points of 4 magnitudes.
 *
 *   byte  0 1   2 ........ 65     66 .... 73      74 ...... 105     106 ... 109
 *        | d  | low 8 bits of  | bit k % 8 of  | sign bits of    | 8 x 4 bits:   |
 *        | f16| index of k     | byte k / 8:   | 8 numbers each  | scale of 32   |
 *        |    |                | ninth bit     |                 | numbers       |
 *
 *   value = sign * (d * (1 + 2 scale)) * magnitude
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 110 };

static void iq3_s_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        for (int k = 0; k < 64; k++) {
            unsigned index = b[2 + k] | ((unsigned)b[66 + k / 8] >> k % 8 & 1) << 8;
            unsigned signs = (unsigned)b[74 + k / 2] >> 4 * (k % 2);
            int scale = b[106 + k / 16] >> 4 * (k / 8 % 2) & 15;
            float step = d * (float)(1 + 2 * scale);
            lm_iq_put(out + i + 4 * k, step, lm_iq3_s_grid[index], signs, 4);
        }
    }
}

const lm_quant lm_quant_iq3_s = {
    .name = "iq3_s",
    .kind = LM_Q_IQ3_S,
    .gguf_type = 21,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq3_s_to_f32,
};
