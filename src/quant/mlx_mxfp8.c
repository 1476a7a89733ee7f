/* quant/mlx_mxfp8.c - MLX mxfp8: 32 E4M3 numbers under one power of two.
 *
 *   plane 0, byte  0 ........... 31
 *                 | E4M3 number j  |   1 sign, 4 exponent, 3 mantissa bits
 *   plane 1, byte  0
 *                 | s |     2^(s - 127); 255 reads as infinity, as MLX does
 *
 *   value = 2^(s - 127) * E4M3[code];  codes 0x7f and 0xff are NaN
 *
 * The encoder takes the smallest power of two that keeps amax within 448; the
 * widest miss is half a step of 32 just above 256: error up to 16 / 272.
 */
#include "quant/formats.h"

enum { ELEMS = 32 };

static void mlx_mxfp8_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                             float *out)
{
    (void)q;
    const uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += ELEMS, scales++) {
        float *restrict y = out + i;
        float s = lm_quant_e8m0_to_f32(*scales);
        for (int j = 0; j < ELEMS; j++)
            y[j] = s * lm_quant_e4m3_to_f32(codes[j]);
    }
}

static void mlx_mxfp8_from_f32(const lm_quant *q, const float *x, size_t n,
                               uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += ELEMS, scales++) {
        *scales = lm_quant_e8m0_above(lm_quant_amax(x + i, ELEMS) / 448);
        float s = lm_quant_e8m0_to_f32(*scales);
        for (size_t j = 0; j < ELEMS; j++)
            codes[j] = lm_quant_f32_to_e4m3(x[i + j] / s);
    }
}

const lm_quant lm_quant_mlx_mxfp8 = {
    .name = "mlx-mxfp8",
    .kind = LM_Q_MLX_MXFP8,
    .gguf_type = -1,
    .block_elems = ELEMS,
    .block_bytes = { ELEMS, 1 },
    .n_planes = 2,
    .bits = 8,
    .max_error = 0.0589f,
    .to_f32 = mlx_mxfp8_to_f32,
    .from_f32 = mlx_mxfp8_from_f32,
};
