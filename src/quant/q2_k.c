/* quant/q2_k.c - GGUF Q2_K: 256 numbers in 16 groups of 16, 2-bit codes.
 *
 *   byte  0 ......... 15   16 ............. 79   80 81   82 83
 *        | 16 x          | 64 bytes of codes   |  d    | dmin |
 *        | min:4 scale:4 |                     | f16   | f16  |
 *
 * Codes: 2 halves of 32 bytes; bits 2s, 2s+1 of byte j of half h belong to
 * number 128 h + 32 s + j.
 *
 *   value = (d * scale) * code - dmin * min
 */
#include "quant/formats.h"

enum { ELEMS = 256, BYTES = 84 };

static void q2_k_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_half_at(b + 80), dmin = lm_quant_half_at(b + 82);
        for (int g = 0; g < 16; g++) {
            float *restrict y = out + i + 16 * g;
            const uint8_t *codes = b + 16 + 32 * (g / 8) + 16 * (g % 2);
            int shift = 2 * (g / 2 % 4);
            float scale = d * (float)(b[g] & 15), least = dmin * (float)(b[g] >> 4);
            for (int j = 0; j < 16; j++)
                y[j] = scale * (float)(codes[j] >> shift & 3) - least;
        }
    }
}

const lm_quant lm_quant_q2_k = {
    .name = "q2_K",
    .kind = LM_Q_Q2_K,
    .gguf_type = 10,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 2,
    .to_f32 = q2_k_to_f32,
};
