/* quant/q3_k.c - GGUF Q3_K: 256 numbers in 16 groups of 16, 3-bit codes.
 *
 *   byte  0 ........ 31   32 ........ 95   96 ... 107   108 109
 *        | third bits   | low two bits   | 16 x 6-bit | d      |
 *        |              |                | scales     | f16    |
 *
 * Low bits as in q2_K; bit e / 32 of byte e % 32 is the third bit of number e.
 * Scale g: low four bits in nibble g / 8 of byte g % 8 of the twelve, high two
 * in bits 2 (g / 4) of byte 8 + g % 4; 32 is taken off.
 *
 *   value = (d * (scale - 32)) * (code - 4)
 */
#include "quant/formats.h"

enum { ELEMS = 256, BYTES = 110 };

static void q3_k_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        const uint8_t *packed = b + 96;
        float d = lm_quant_half_at(b + 108);
        for (int g = 0; g < 16; g++) {
            float *restrict y = out + i + 16 * g;
            const uint8_t *third = b + 16 * (g % 2), *low = b + 32 + 32 * (g / 8) + 16 * (g % 2);
            int scale = (packed[g % 8] >> 4 * (g / 8) & 15) | (packed[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
            int shift = 2 * (g / 2 % 4), bit = g / 2;
            float step = d * (float)(scale - 32);
            for (int j = 0; j < 16; j++)
                y[j] = step * (float)((low[j] >> shift & 3) + 4 * (third[j] >> bit & 1) - 4);
        }
    }
}

const lm_quant lm_quant_q3_k = {
    .name = "q3_K",
    .kind = LM_Q_Q3_K,
    .gguf_type = 11,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 3,
    .to_f32 = q3_k_to_f32,
};
