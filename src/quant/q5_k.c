/* quant/q5_k.c - GGUF Q5_K: 256 numbers in 8 groups of 32, 5-bit codes.
 *
 *   byte  0 1   2 3    4 ...... 15      16 ...... 47         48 ......... 175
 *        | d  | dmin | scales, minima | bit g of byte j:   | nibbles as in  |
 *        | f16| f16  | (k_scales.h)   | fifth bit, group g | q4_K           |
 *
 *   value = (d * scale) * code - dmin * min
 */
#include "quant/formats.h"
#include "quant/k_scales.h"

enum { ELEMS = 256, BYTES = 176 };

static void q5_k_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b), dmin = lm_quant_half_at(b + 2);
        for (int g = 0; g < 8; g++) {
            float *restrict y = out + i + 32 * g;
            const uint8_t *fifth = b + 16, *codes = b + 48 + 32 * (g / 2);
            int shift = 4 * (g % 2), scale, least;
            lm_quant_k_scale(b + 4, g, &scale, &least);
            float step = d * (float)scale, base = dmin * (float)least;
            for (int j = 0; j < 32; j++)
                y[j] = step * (float)((codes[j] >> shift & 15) + 16 * (fifth[j] >> g & 1)) - base;
        }
    }
}

const lm_quant lm_quant_q5_k = {
    .name = "q5_K",
    .kind = LM_Q_Q5_K,
    .gguf_type = 13,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 5,
    .to_f32 = q5_k_to_f32,
};
