/* quant/q6_k.c - GGUF Q6_K: 256 numbers in 16 groups of 16, 6-bit codes.
 *
 *   byte  0 ........ 127   128 ...... 191   192 .... 207   208 209
 *        | low four bits | high two bits  | 16 signed    | d      |
 *        |               |                | scales       | f16    |
 *
 * Low bits: 2 halves of 64 bytes; nibble s of byte j of half h belongs to
 * number 128 h + 64 s + j.  High bits: 2 halves of 32 bytes; bits 2s, 2s+1 of
 * byte j of half h belong to number 128 h + 32 s + j.
 *
 *   value = (d * scale) * (code - 32)
 */
#include "quant/formats.h"

enum { ELEMS = 256, BYTES = 210 };

static void q6_k_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b + 208);
        for (int g = 0; g < 16; g++) {
            float *restrict y = out + i + 16 * g;
            const uint8_t *low = b + 64 * (g / 8) + 16 * (g % 4);
            const uint8_t *high = b + 128 + 32 * (g / 8) + 16 * (g % 2);
            int low_shift = 4 * (g / 4 % 2), high_shift = 2 * (g / 2 % 4);
            float step = d * (float)(int8_t)b[192 + g];
            for (int j = 0; j < 16; j++) {
                int code = (low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4;
                y[j] = step * (float)(code - 32);
            }
        }
    }
}

const lm_quant lm_quant_q6_k = {
    .name = "q6_K",
    .kind = LM_Q_Q6_K,
    .gguf_type = 14,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 6,
    .to_f32 = q6_k_to_f32,
};
