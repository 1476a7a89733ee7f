/* quant/mlx_nvfp4.c - MLX nvfp4: 16 E2M1 numbers under an E4M3 scale.
 *
 *   plane 0, byte  0 ........................................ 7
 *                 | low nibble number 2j, high nibble 2j + 1   |
 *   plane 1, byte  0
 *                 | s |     an E4M3 number
 *
 *   value = E4M3[s] * E2M1[code]
 *
 * The scale is amax / 6 to three mantissa bits, so amax / s lies within
 * 6 * 17/18 and 6 * 17/16; the widest miss is 1 at 5: error up to 3 / 17 while
 * amax is at least 6 * 2^-6.  Below that the scale loses bits, below 6 * 2^-10
 * the block becomes zero; above 6 * 448 it saturates.
 */
#include "quant/formats.h"

enum { ELEMS = 16, BYTES = 8 };

static const int8_t TWICE[16] = LM_QUANT_E2M1_TWICE;

static void mlx_nvfp4_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                             float *out)
{
    (void)q;
    const uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += BYTES, scales++) {
        float *restrict y = out + i;
        float s = lm_quant_e4m3_to_f32(*scales);
        for (int j = 0; j < BYTES; j++) { /* halving is exact: small integers */
            y[2 * j] = s * (0.5f * (float)TWICE[codes[j] & 15]);
            y[2 * j + 1] = s * (0.5f * (float)TWICE[codes[j] >> 4]);
        }
    }
}

static void mlx_nvfp4_from_f32(const lm_quant *q, const float *x, size_t n,
                               uint8_t *const planes[LM_QUANT_PLANES])
{
    (void)q;
    uint8_t *codes = planes[0], *scales = planes[1];
    for (size_t i = 0; i < n; i += ELEMS, codes += BYTES, scales++) {
        *scales = lm_quant_f32_to_e4m3(lm_quant_amax(x + i, ELEMS) / 6);
        float s = lm_quant_e4m3_to_f32(*scales);
        if (s == 0) { /* too small for any scale */
            memset(codes, 0, BYTES);
            continue;
        }
        for (size_t j = 0; j < BYTES; j++)
            codes[j] = (uint8_t)(lm_quant_f32_to_e2m1(x[i + 2 * j] / s) |
                                 lm_quant_f32_to_e2m1(x[i + 2 * j + 1] / s) << 4);
    }
}

const lm_quant lm_quant_mlx_nvfp4 = {
    .name = "mlx-nvfp4",
    .kind = LM_Q_MLX_NVFP4,
    .gguf_type = -1,
    .block_elems = ELEMS,
    .block_bytes = { BYTES, 1 },
    .n_planes = 2,
    .bits = 4,
    .max_error = 0.1765f,
    .to_f32 = mlx_nvfp4_to_f32,
    .from_f32 = mlx_nvfp4_from_f32,
};
