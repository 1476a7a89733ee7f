/* quant/f64.c - IEEE binary64, read only: rounded to float32, to nearest.
 *
 *   byte  0 1 2 3 4 5 6 7
 *        |     value     |   little-endian, no blocks
 */
#include "quant/formats.h"

static void f64_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n, float *out)
{
    const uint8_t *b = planes[0];
    (void)q;
    for (size_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, b + 8 * i, sizeof d);
        out[i] = (float)d;
    }
}

const lm_quant lm_quant_f64 = {
    .name = "f64",
    .kind = LM_Q_F64,
    .gguf_type = 28,
    .block_elems = 1,
    .block_bytes = { 8 },
    .n_planes = 1,
    .bits = 64,
    .to_f32 = f64_to_f32,
};
