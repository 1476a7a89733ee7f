/* quant/nvfp4.c - GGUF NVFP4: 64 E2M1 numbers in 4 groups of 16.
 *
 *   byte  0 .... 3        4 ............................. 35
 *        | 4 unsigned   | 4 x 8 bytes: low nibble number j, |
 *        | E4M3 scales  | high nibble number j + 8          |
 *
 *   value = scale * E2M1[code]
 *
 * The sign bit of a scale is not read; 0x7f counts as zero (0xff does not), as
 * the reference decoder has it.
 */
#include "quant/formats.h"

enum { ELEMS = 64, BYTES = 36 };

static const int8_t TWICE[16] = LM_QUANT_E2M1_TWICE;

/* Half of the scale, for the doubled numbers. */
static inline float half_scale(unsigned b)
{
    unsigned e = b >> 3 & 15, m = b & 7;
    float raw = e == 0 ? (float)m * 0x1p-9f : lm_quant_float_of((e + 120) << 23 | m << 20);
    return b == 0x7f ? 0 : 0.5f * raw;
}

static void nvfp4_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        for (int g = 0; g < 4; g++) {
            float *restrict y = out + i + 16 * g;
            const uint8_t *codes = b + 4 + 8 * g;
            float d = half_scale(b[g]);
            for (int j = 0; j < 8; j++) {
                y[j] = d * (float)TWICE[codes[j] & 15];
                y[j + 8] = d * (float)TWICE[codes[j] >> 4];
            }
        }
    }
}

const lm_quant lm_quant_nvfp4 = {
    .name = "nvfp4",
    .kind = LM_Q_NVFP4,
    .gguf_type = 40,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .to_f32 = nvfp4_to_f32,
};
