/* quant/q4_0.c - GGUF Q4_0: 32 numbers, one scale, 4-bit codes around zero.
 *
 *   byte  0 1   2 .......................... 17
 *        | d  | 16 bytes: low nibble number j, |
 *        | f16| high nibble number j + 16      |
 *
 *   value = d * (code - 8)
 *
 * The number with the largest magnitude gets code 0, so its negative has no
 * code: error up to one step, amax / 8, and d's own rounding.
 */
#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 18 };

static void q4_0_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b);
        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)((b[2 + j] & 15) - 8);
            y[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

static void q4_0_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES, x += ELEMS) {
        float d = lm_quant_extreme(x, ELEMS) / -8, inverse = lm_quant_inverse(d);
        lm_quant_put_half(b, d);
        for (int j = 0; j < 16; j++) {
            unsigned lo = lm_quant_code(x[j] * inverse + 8.5f, 15);
            unsigned hi = lm_quant_code(x[j + 16] * inverse + 8.5f, 15);
            b[2 + j] = (uint8_t)(lo | hi << 4);
        }
    }
}

const lm_quant lm_quant_q4_0 = {
    .name = "q4_0",
    .kind = LM_Q_Q4_0,
    .gguf_type = 2,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .max_error = 0.1256f,
    .to_f32 = q4_0_to_f32,
    .from_f32 = q4_0_from_f32,
};
