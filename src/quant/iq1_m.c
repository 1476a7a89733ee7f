/* quant/iq1_m.c - GGUF IQ1_M: 256 numbers as 32 points of a lattice of signs.
 *
 *   byte  0 ............ 31     32 ........... 47        48 ......... 55
 *        | low 8 bits of the  | 32 nibbles, point k:   | 4 x 16 bits:          |
 *        | index of point k   | shift:1 index bits:3   | d's nibble, 4 x scale:3 |
 *
 * d is an f16 cut into four nibbles, the lowest in the first word.  Scale s
 * (16 numbers, points 2s and 2s + 1) is in bits 3 (s % 4) of word s / 4.
 *
 *   value = (d * (2 scale + 1)) * (sign + delta),  delta as in iq1_s
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 56 };

static void iq1_m_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        unsigned half = 0;
        for (int w = 0; w < 4; w++)
            half |= (unsigned)(lm_u16le(b + 48 + 2 * w) >> 12) << 4 * w;
        float d = lm_quant_half_to_f32((uint16_t)half);
        for (int k = 0; k < 32; k++) {
            float *restrict y = out + i + 8 * k;
            int s = k / 2;
            unsigned scale = (unsigned)lm_u16le(b + 48 + 2 * (s / 4)) >> 3 * (s % 4) & 7;
            unsigned nibble = (unsigned)b[32 + k / 2] >> 4 * (k % 2) & 15;
            const int8_t *point = lm_iq1_grid[b[k] | (nibble & 7) << 8];
            float step = d * (float)(2 * scale + 1), delta = nibble & 8 ? -0.125f : 0.125f;
            for (int j = 0; j < 8; j++)
                y[j] = step * ((float)point[j] + delta);
        }
    }
}

const lm_quant lm_quant_iq1_m = {
    .name = "iq1_m",
    .kind = LM_Q_IQ1_M,
    .gguf_type = 29,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .to_f32 = iq1_m_to_f32,
};
