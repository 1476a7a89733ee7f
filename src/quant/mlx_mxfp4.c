/* quant/mlx_mxfp4.c - MLX mxfp4: 32 E2M1 numbers under one power of two.
 *
 *   plane 0, byte  0 ....................................... 15
 *                 | low nibble number 2j, high nibble 2j + 1   |
 *   plane 1, byte  0
 *                 | s |     2^(s - 127); 255 reads as infinity, as MLX does
 *
 *   value = 2^(s - 127) * E2M1[code]
 *
 * The encoder takes the smallest power of two that keeps amax within 6, so
 * amax is above 3 scaled; the widest miss is 1 at 5: error up to 1 / 5.
 */
#include "quant/formats.h"

enum { ELEMS = 32, BYTES = 16 };

static const int8_t TWICE[16] = LM_QUANT_E2M1_TWICE;

static void mlx_mxfp4_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                             float *out)
{
    (void)q;
    const uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += BYTES, scales++) {
        float *restrict y = out + i;
        float s = lm_quant_e8m0_to_f32(*scales);
        for (int j = 0; j < BYTES; j++) { /* halving is exact: small integers */
            y[2 * j] = s * (0.5f * (float)TWICE[codes[j] & 15]);
            y[2 * j + 1] = s * (0.5f * (float)TWICE[codes[j] >> 4]);
        }
    }
}

static void mlx_mxfp4_from_f32(const lm_quant *q, const float *x, size_t n,
                               uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += BYTES, scales++) {
        *scales = lm_quant_e8m0_above(lm_quant_amax(x + i, ELEMS) / 6);
        float s = lm_quant_e8m0_to_f32(*scales);
        for (size_t j = 0; j < BYTES; j++)
            codes[j] = (uint8_t)(lm_quant_f32_to_e2m1(x[i + 2 * j] / s) |
                                 lm_quant_f32_to_e2m1(x[i + 2 * j + 1] / s) << 4);
    }
}

const lm_quant lm_quant_mlx_mxfp4 = {
    .name = "mlx-mxfp4",
    .kind = LM_Q_MLX_MXFP4,
    .gguf_type = -1,
    .block_elems = ELEMS,
    .block_bytes = { BYTES, 1 },
    .n_planes = 2,
    .bits = 4,
    .max_error = 0.2f,
    .to_f32 = mlx_mxfp4_to_f32,
    .from_f32 = mlx_mxfp4_from_f32,
};
