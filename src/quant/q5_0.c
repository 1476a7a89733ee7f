/* quant/q5_0.c - GGUF Q5_0: 32 numbers, one scale, 5-bit codes around zero.
 *
 *   byte  0 1   2 .. 5        6 .......................... 21
 *        | d  | bit j: fifth | 16 bytes: low nibble number j, |
 *        | f16| bit of no. j | high nibble number j + 16      |
 *
 *   value = d * (code - 16)
 *
 * As in q4_0 the negative of the extreme has no code: error up to amax / 16.
 */
#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 22 };

static void q5_0_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b);
        uint32_t fifth = lm_u32le(b + 2);
        for (int j = 0; j < 16; j++) {
            int lo = (b[6 + j] & 15) | (int)(fifth >> j & 1) << 4;
            int hi = (b[6 + j] >> 4) | (int)(fifth >> (j + 16) & 1) << 4;
            y[j] = d * (float)(lo - 16);
            y[j + 16] = d * (float)(hi - 16);
        }
    }
}

static void q5_0_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES, x += ELEMS) {
        float d = lm_quant_extreme(x, ELEMS) / -16, inverse = lm_quant_inverse(d);
        uint32_t fifth = 0;
        lm_quant_put_half(b, d);
        for (int j = 0; j < 16; j++) {
            unsigned lo = lm_quant_code(x[j] * inverse + 16.5f, 31);
            unsigned hi = lm_quant_code(x[j + 16] * inverse + 16.5f, 31);
            b[6 + j] = (uint8_t)((lo & 15) | (hi & 15) << 4);
            fifth |= (uint32_t)(lo >> 4) << j | (uint32_t)(hi >> 4) << (j + 16);
        }
        memcpy(b + 2, &fifth, sizeof fifth);
    }
}

const lm_quant lm_quant_q5_0 = {
    .name = "q5_0",
    .kind = LM_Q_Q5_0,
    .gguf_type = 6,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 5,
    .max_error = 0.0630f,
    .to_f32 = q5_0_to_f32,
    .from_f32 = q5_0_from_f32,
};
