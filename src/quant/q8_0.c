/* quant/q8_0.c - GGUF Q8_0: 32 numbers, one scale, signed bytes.
 *
 *   byte  0 1   2 ......... 33
 *        | d  | 32 signed bytes |
 *        | f16|                 |
 *
 *   value = d * code
 *
 * Half a step is amax / 254; rounding d adds 2^-11.
 */
#include <math.h>

#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 34 };

static void q8_0_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b);
        for (int j = 0; j < ELEMS; j++)
            y[j] = d * (float)(int8_t)b[2 + j];
    }
}

static void q8_0_from_f32(const lm_quant *q, const float *x, size_t n, uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES, x += ELEMS) {
        float d = lm_quant_amax(x, ELEMS) / 127, inverse = lm_quant_inverse(d);
        lm_quant_put_half(b, d);
        for (int j = 0; j < ELEMS; j++) {
            float c = roundf(x[j] * inverse);          /* halves away from zero */
            c = c > -127 ? c : (c <= -127 ? -127 : 0); /* NaN: 0 */
            b[2 + j] = (uint8_t)(int)(c < 127 ? c : 127);
        }
    }
}

const lm_quant lm_quant_q8_0 = {
    .name = "q8_0",
    .kind = LM_Q_Q8_0,
    .gguf_type = 8,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 8,
    .max_error = 0.00443f,
    .to_f32 = q8_0_to_f32,
    .from_f32 = q8_0_from_f32,
};
