/* quant/iq4_xs.c - GGUF IQ4_XS: 256 numbers in 8 groups of 32, 16 uneven levels.
 *
 *   byte  0 1   2 3           4 ..... 7       8 ....................... 135
 *        | d  | 8 x 2 high  | 8 x 4 low bits | 8 x 16 bytes: low nibbles  |
 *        | f16| scale bits  | of the scales  | number j, high j + 16      |
 *
 *   value = (d * (scale - 32)) * level[code]
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 256, BYTES = 136 };

static const int8_t LEVELS[16] = LM_IQ4_LEVELS;

static void iq4_xs_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                          float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b);
        int high = lm_u16le(b + 2);
        for (int g = 0; g < 8; g++) {
            float *restrict y = out + i + 32 * g;
            const uint8_t *codes = b + 8 + 16 * g;
            int scale = (b[4 + g / 2] >> 4 * (g % 2) & 15) | (high >> 2 * g & 3) << 4;
            float step = d * (float)(scale - 32);
            for (int j = 0; j < 16; j++) {
                y[j] = step * (float)LEVELS[codes[j] & 15];
                y[j + 16] = step * (float)LEVELS[codes[j] >> 4];
            }
        }
    }
}

const lm_quant lm_quant_iq4_xs = {
    .name = "iq4_xs",
    .kind = LM_Q_IQ4_XS,
    .gguf_type = 23,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .to_f32 = iq4_xs_to_f32,
};
