/* quant/mxfp4.c - GGUF MXFP4: 32 E2M1 numbers under one power of two.
 *
 *   byte  0    1 .......................... 16
 *        | e | 16 bytes: low nibble number j, |
 *        |   | high nibble number j + 16      |
 *
 *   value = 2^(e - 127) * E2M1[code]
 *
 * (computed as 2^(e - 128) times the doubled numbers, which are integers).  The
 * encoder puts amax into [4, 8) scaled; 6 is the largest code: error up to
 * 2 / 8.  MLX stores the same numbers otherwise: mlx_mxfp4.c.
 */
#include <math.h>

#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 17 };

static const int8_t TWICE[16] = LM_QUANT_E2M1_TWICE;

/* 2^(e - 128); subnormal for e below 2. */
static inline float half_scale(unsigned e)
{
    return lm_quant_float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

static void mxfp4_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                         float *out)
{
    (void)q;
    const uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float *restrict y = out + i;
        float d = half_scale(b[0]);
        for (int j = 0; j < 16; j++) {
            y[j] = d * (float)TWICE[b[1 + j] & 15];
            y[j + 16] = d * (float)TWICE[b[1 + j] >> 4];
        }
    }
}

/* The first of the nearest codes; NaN gives 0. */
static unsigned nearest(float x, float d)
{
    unsigned best = 0;
    float least = fabsf(x);
    for (unsigned c = 1; c < 16; c++) {
        float miss = fabsf(d * (float)TWICE[c] - x);
        best = miss < least ? c : best;
        least = miss < least ? miss : least;
    }
    return best;
}

static void mxfp4_from_f32(const lm_quant *q, const float *x, size_t n,
                           uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *b = planes[0];
    for (size_t i = 0; i < n; i += ELEMS, b += BYTES) {
        float amax = lm_quant_amax(x + i, ELEMS);
        /* the rounding of log2f near powers of two belongs to the reference */
        unsigned e = amax > 0 ? lm_quant_code(floorf(log2f(amax)) + 125, 254) : 0;
        float d = half_scale(e);
        b[0] = (uint8_t)e;
        for (int j = 0; j < 16; j++)
            b[1 + j] = (uint8_t)(nearest(x[i + (size_t)j], d) | nearest(x[i + (size_t)j + 16], d) << 4);
    }
}

const lm_quant lm_quant_mxfp4 = {
    .name = "mxfp4",
    .kind = LM_Q_MXFP4,
    .gguf_type = 39,
    .block_elems = ELEMS,
    .block_bytes = { BYTES },
    .n_planes = 1,
    .bits = 4,
    .max_error = 0.25f,
    .to_f32 = mxfp4_to_f32,
    .from_f32 = mxfp4_from_f32,
};
