/* quant/tq1_0.c - GGUF TQ1_0: 256 numbers of three values, five to a byte.
 *
 *   byte  0 ........ 31    32 ....... 47    48 .... 51   52 53
 *        | 5 x 32        | 5 x 16         | 4 x 4      | d   |
 *        | numbers       | numbers        | numbers    | f16 |
 *
 * A byte is the fraction 0.t0 t1 t2 t3 t4 in base three, as 256ths rounded up:
 * multiplying its low 8 bits by 3^k and taking the top digit of the product
 * gives digit k.  Digit k of byte j of a part of width w is number k w + j of
 * that part; the third part leaves its fifth digit empty.
 *
 *   value = d * (digit - 1)
 *
 * Numbers round to -d, 0 or d: error up to amax / 2, and d's own rounding.
 */
#include <math.h>

#include "quant/formats.h"

enum { ELEMS = 256, BYTES = 54, D_AT = 52 };

static const uint8_t POW3[5] = { 1, 3, 9, 27, 81 };
static const struct {
    uint8_t at, width, digits;
} PARTS[3] = { { 0, 32, 5 }, { 32, 16, 5 }, { 48, 4, 4 } };

static void tq1_0_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = lm_quant_half_at(b + D_AT);
        for (int p = 0; p < 3; p++)
            for (int k = 0; k < PARTS[p].digits; k++, y += PARTS[p].width)
                for (int j = 0; j < PARTS[p].width; j++) {
                    int fraction = b[PARTS[p].at + j] * POW3[k] & 255;
                    y[j] = d * (float)((fraction * 3 >> 8) - 1);
                }
    }
}

static void tq1_0_from_f32(const lm_quant *q, const float *x, size_t n,
                           uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float d = lm_quant_amax(x + i, ELEMS), inverse = lm_quant_inverse(d);
        const float *from = x + i;
        for (int p = 0; p < 3; p++) {
            for (int j = 0; j < PARTS[p].width; j++) {
                unsigned sum = 0;
                for (int k = 0; k < PARTS[p].digits; k++) /* halves away from zero */
                    sum += lm_quant_code(roundf(from[k * PARTS[p].width + j] * inverse) + 1, 2) *
                           (unsigned)POW3[4 - k];
                b[PARTS[p].at + j] = (uint8_t)((sum * 256 + 242) / 243);
            }
            from += PARTS[p].width * PARTS[p].digits;
        }
        lm_quant_put_half(b + D_AT, d);
    }
}

const lm_quant lm_quant_tq1_0 = {
    .name = "tq1_0",
    .kind = LM_Q_TQ1_0,
    .gguf_type = 34,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .max_error = 0.5005f,
    .to_f32 = tq1_0_to_f32,
    .from_f32 = tq1_0_from_f32,
};
