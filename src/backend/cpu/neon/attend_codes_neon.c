/* backend/cpu/neon/attend_codes_neon.c - attention over pages of codes for aarch64:
 * bytes are widened to 16 bits and multiplied into 32 (smlal). */
#define LM_NEON
#include "backend/cpu/kernels.h"
#include "backend/cpu/vec.h"

#define ATTEND_Q8   lm_attend_q8_neon
#define ATTEND_K8V4 lm_attend_k8v4_neon
enum { CODE_ROWS = 2, CODE_LINES = 1, CODE_LINES2 = 1 };

LM_INLINE void put_query(uint8_t *out, uint32_t i, int32_t code)
{
    int16_t x = (int16_t)code;
    memcpy(out + 2 * (size_t)i, &x, sizeof x);
}

LM_INLINE void put_words(uint8_t *out, const v16 w[4])
{
    for (int u = 0; u < 4; u++)
        for (int i = 0; i < 4; i++) {
            int16x4_t x = vqmovn_s32(vcvtnq_s32_f32(w[u].q[i]));
            vst1_u8(out + 32 * u + 8 * i, vreinterpret_u8_s16(x));
        }
}

LM_INLINE v16 scales16(const uint8_t *at)
{
    return v_load_bf16(at);
}

/* As in attend_codes_avx512.c, one line at a time; a quad of codes is four words. */
LM_INLINE void dots(const uint8_t *at, size_t step, size_t line, int n, uint32_t quads, const uint8_t *w,
                    size_t w_stride, int rows, bool keys, const int32_t *start, v16 t[4][4],
                    const uint8_t *next)
{
    for (int j = 0; j < n; j++)
        for (int r = 0; r < rows; r++) {
            int32x4_t s[4];
            for (int k = 0; k < 4; k++)
                s[k] = vdupq_n_s32(start[r]);
            for (uint32_t i = 0; i < quads; i++) {
                int16x4_t q = vreinterpret_s16_u8(vld1_u8(w + (size_t)r * w_stride + 8 * (size_t)i));
                if (next && r == 0)
                    LM_FETCH(next + 64 * ((size_t)j * quads + i));
                for (int k = 0; k < 4; k++) {
                    const uint8_t *from = at + i * step + (size_t)j * line + 16 * (size_t)k;
                    int16x8_t lo, hi;
                    if (keys) {
                        lo = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from)));
                        hi = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from + 8)));
                    } else {
                        lo = vmovl_s8(vreinterpret_s8_u8(vld1_u8(from)));
                        hi = vmovl_s8(vreinterpret_s8_u8(vld1_u8(from + 8)));
                    }
                    int32x4_t a = vpaddq_s32(vmull_s16(vget_low_s16(lo), q), vmull_s16(vget_high_s16(lo), q));
                    int32x4_t b = vpaddq_s32(vmull_s16(vget_low_s16(hi), q), vmull_s16(vget_high_s16(hi), q));
                    s[k] = vaddq_s32(s[k], vpaddq_s32(a, b));
                }
            }
            for (int k = 0; k < 4; k++)
                t[r][j].q[k] = vcvtq_f32_s32(s[k]);
        }
}

LM_INLINE void unpack4(const uint8_t *from, size_t bytes, uint8_t *to)
{
    uint8x16_t levels = vld1q_u8((const uint8_t *)lm_kv_levels), low = vdupq_n_u8(15);
    for (size_t i = 0; i < bytes; i += 16) {
        size_t out = i / 64 * 128 + i % 64;
        uint8x16_t x = vld1q_u8(from + i);
        vst1q_u8(to + out, vqtbl1q_u8(levels, vandq_u8(x, low)));
        vst1q_u8(to + out + 64, vqtbl1q_u8(levels, vshrq_n_u8(x, 4)));
    }
}

#include "backend/cpu/attend_codes.h"
