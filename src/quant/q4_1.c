/* quant/q4_1.c - GGUF Q4_1: 32 numbers, scale and minimum, 4-bit codes.
 *
 *   byte  0 1   2 3   4 .......................... 19
 *        | d  |  m  | 16 bytes: low nibble number j, |
 *        | f16| f16 | high nibble number j + 16      |
 *
 *   value = d * code + m
 *
 * The range is at most 2 amax wide: half a step is amax / 15; rounding d and m
 * adds 3 * 2^-11.
 */
#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 20 };

static void q4_1_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b), m = lm_quant_half_at(b + 2);
        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)(b[4 + j] & 15) + m;
            y[j + 16] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

static void q4_1_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES, x += ELEMS) {
        float least, most;
        lm_quant_range(x, ELEMS, &least, &most);
        float d = (most - least) / 15, inverse = lm_quant_inverse(d);
        lm_quant_put_half(b, d);
        lm_quant_put_half(b + 2, least);
        for (int j = 0; j < 16; j++) {
            unsigned lo = lm_quant_code((x[j] - least) * inverse + 0.5f, 15);
            unsigned hi = lm_quant_code((x[j + 16] - least) * inverse + 0.5f, 15);
            b[4 + j] = (uint8_t)(lo | hi << 4);
        }
    }
}

const lm_quant lm_quant_q4_1 = {
    .name = "q4_1",
    .kind = LM_Q_Q4_1,
    .gguf_type = 3,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .max_error = 0.0682f,
    .to_f32 = q4_1_to_f32,
    .from_f32 = q4_1_from_f32,
};
