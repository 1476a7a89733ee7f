/* quant/iq4_nl.c - GGUF IQ4_NL: 32 numbers, one scale, 16 uneven levels.
 *
 *   byte  0 1   2 .......................... 17
 *        | d  | 16 bytes: low nibble number j, |
 *        | f16| high nibble number j + 16      |
 *
 *   value = d * level[code]
 */
#include "quant/formats.h"
#include "quant/iq.h"

enum { ELEMS = 32, BYTES = 18 };

static const int8_t LEVELS[16] = LM_IQ4_LEVELS;

static void iq4_nl_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                          float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b);
        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)LEVELS[b[2 + j] & 15];
            y[j + 16] = d * (float)LEVELS[b[2 + j] >> 4];
        }
    }
}

const lm_quant lm_quant_iq4_nl = {
    .name = "iq4_nl",
    .kind = LM_Q_IQ4_NL,
    .gguf_type = 20,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .to_f32 = iq4_nl_to_f32,
};
