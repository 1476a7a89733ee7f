/* quant/q5_1.c - GGUF Q5_1: 32 numbers, scale and minimum, 5-bit codes.
 *
 *   byte  0 1   2 3   4 .. 7        8 .......................... 23
 *        | d  |  m  | bit j: fifth | 16 bytes: low nibble number j, |
 *        | f16| f16 | bit of no. j | high nibble number j + 16      |
 *
 *   value = d * code + m
 *
 * Half a step is amax / 31; rounding d and m adds 3 * 2^-11.
 */
#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 24 };

static void q5_1_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b), m = lm_quant_half_at(b + 2);
        uint32_t fifth = lm_u32le(b + 4);
        for (int j = 0; j < 16; j++) {
            int lo = (b[8 + j] & 15) | (int)(fifth >> j & 1) << 4;
            int hi = (b[8 + j] >> 4) | (int)(fifth >> (j + 16) & 1) << 4;
            y[j] = d * (float)lo + m;
            y[j + 16] = d * (float)hi + m;
        }
    }
}

static void q5_1_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES, x += ELEMS) {
        float least, most;
        uint32_t fifth = 0;
        lm_quant_range(x, ELEMS, &least, &most);
        float d = (most - least) / 31, inverse = lm_quant_inverse(d);
        lm_quant_put_half(b, d);
        lm_quant_put_half(b + 2, least);
        for (int j = 0; j < 16; j++) {
            unsigned lo = lm_quant_code((x[j] - least) * inverse + 0.5f, 31);
            unsigned hi = lm_quant_code((x[j + 16] - least) * inverse + 0.5f, 31);
            b[8 + j] = (uint8_t)((lo & 15) | (hi & 15) << 4);
            fifth |= (uint32_t)(lo >> 4) << j | (uint32_t)(hi >> 4) << (j + 16);
        }
        memcpy(b + 4, &fifth, sizeof fifth);
    }
}

const lm_quant lm_quant_q5_1 = {
    .name = "q5_1",
    .kind = LM_Q_Q5_1,
    .gguf_type = 7,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 5,
    .max_error = 0.0338f,
    .to_f32 = q5_1_to_f32,
    .from_f32 = q5_1_from_f32,
};
