/* backend/cpu/portable/attend_codes_portable.c - attention over pages of codes in
 * plain C. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/vec.h"
#include "base/checked.h"

#define ATTEND_Q8   lm_attend_q8_portable
#define ATTEND_K8V4 lm_attend_k8v4_portable
enum { CODE_ROWS = 2, CODE_LINES = 1, CODE_LINES2 = 1 };

LM_INLINE void put_query(uint8_t *out, uint32_t i, int32_t code)
{
    int16_t x = (int16_t)code;
    memcpy(out + 2 * (size_t)i, &x, sizeof x);
}

LM_INLINE void put_words(uint8_t *out, const v16 w[4])
{
    for (uint32_t i = 0; i < 4 * LANES; i++) {
        float x = w[i / LANES].f[i % LANES];
        put_query(out, i, x > 0 && x <= LM_WORD_MAX ? (int32_t)x : 0); /* NaN has no code */
    }
}

LM_INLINE v16 scales16(const uint8_t *at)
{
    v16 x;
    for (size_t i = 0; i < LANES; i++)
        x.f[i] = lm_bf16_to_f32(lm_u16le(at + 2 * i));
    return x;
}

/* As in attend_codes_avx512.c; a quad of codes is four words. */
LM_INLINE void dots(const uint8_t *at, size_t step, size_t line, int n, uint32_t quads, const uint8_t *w,
                    size_t w_stride, int rows, bool keys, const int32_t *start, v16 t[4][4],
                    const uint8_t *next)
{
    (void)next;
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            int32_t s[LANES];
            for (int k = 0; k < LANES; k++)
                s[k] = start[r];
            for (uint32_t i = 0; i < quads; i++) {
                const uint8_t *x = at + i * step + (size_t)j * line;
                int16_t q[4];
                memcpy(q, w + (size_t)r * w_stride + 8 * (size_t)i, sizeof q);
                for (int k = 0; k < LANES; k++)
                    for (int b = 0; b < 4; b++)
                        s[k] += q[b] * (keys ? (int32_t)x[4 * k + b] : (int32_t)(int8_t)x[4 * k + b]);
            }
            for (int k = 0; k < LANES; k++)
                t[r][j].f[k] = (float)s[k];
        }
}

LM_INLINE void unpack4(const uint8_t *from, size_t bytes, uint8_t *to)
{
    for (size_t i = 0; i < bytes; i++) {
        uint8_t *out = to + i / 64 * 128 + i % 64;
        out[0] = (uint8_t)lm_kv_levels[from[i] & 15];
        out[64] = (uint8_t)lm_kv_levels[from[i] >> 4];
    }
}

#include "backend/cpu/attend_codes.h"
