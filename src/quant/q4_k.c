/* quant/q4_k.c - GGUF Q4_K: 256 numbers in 8 groups of 32, 4-bit codes.
 *
 *   byte  0 1   2 3    4 ...... 15      16 .......................... 143
 *        | d  | dmin | scales, minima | 4 x 32 bytes: low nibbles group 2c, |
 *        | f16| f16  | (k_scales.h)   | high nibbles group 2c + 1           |
 *
 *   value = (d * scale) * code - dmin * min
 */
#include "quant/formats.h"
#include "quant/k_scales.h"

enum { ELEMS = 256, BYTES = 144 };

static void q4_k_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b), dmin = lm_quant_half_at(b + 2);
        for (int g = 0; g < 8; g++) {
            float *restrict y = out + i + 32 * g;
            const uint8_t *codes = b + 16 + 32 * (g / 2);
            int shift = 4 * (g % 2), scale, least;
            lm_quant_k_scale(b + 4, g, &scale, &least);
            float step = d * (float)scale, base = dmin * (float)least;
            for (int j = 0; j < 32; j++)
                y[j] = step * (float)(codes[j] >> shift & 15) - base;
        }
    }
}

const lm_quant lm_quant_q4_k = {
    .name = "q4_K",
    .kind = LM_Q_Q4_K,
    .gguf_type = 12,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .to_f32 = q4_k_to_f32,
};
