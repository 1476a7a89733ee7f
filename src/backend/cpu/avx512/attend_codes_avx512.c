/* backend/cpu/avx512/attend_codes_avx512.c - attention over pages of codes with the
 * instruction that multiplies unsigned by signed bytes (vpdpbusd): keys are its
 * unsigned side, weights are the unsigned side for values.  16-bit codes go through
 * it as two planes: code = 256 * hi + lo, [quad][4 hi, 4 lo]. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/vec.h"

#define ATTEND_Q8   lm_attend_q8_avx512
#define ATTEND_K8V4 lm_attend_k8v4_avx512
enum { CODE_ROWS = 4, CODE_LINES = 2, CODE_LINES2 = 4 };

LM_INLINE void put_query(uint8_t *out, uint32_t i, int32_t code)
{
    int32_t lo = (int8_t)(uint8_t)(code & 255);
    out[i / 4 * 8 + i % 4] = (uint8_t)((code - lo) / 256);
    out[i / 4 * 8 + 4 + i % 4] = (uint8_t)lo;
}

LM_INLINE void put_words(uint8_t *out, const v16 w[4])
{
    static const uint8_t order[64] = { 1,  3,  5,  7,  0,  2,  4,  6,  9,  11, 13, 15, 8,  10, 12, 14,
                                       17, 19, 21, 23, 16, 18, 20, 22, 25, 27, 29, 31, 24, 26, 28, 30,
                                       33, 35, 37, 39, 32, 34, 36, 38, 41, 43, 45, 47, 40, 42, 44, 46,
                                       49, 51, 53, 55, 48, 50, 52, 54, 57, 59, 61, 63, 56, 58, 60, 62 };
    for (int u = 0; u < 2; u++) {
        __m256i a = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(w[2 * u]));
        __m256i b = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(w[2 * u + 1]));
        __m512i x = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
        _mm512_storeu_si512(out + 64 * u, _mm512_permutexvar_epi8(_mm512_loadu_si512(order), x));
    }
}

LM_INLINE v16 scales16(const uint8_t *at)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

LM_INLINE __m512i quad_of(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

/* t[r][j] = sum over `quads` of the four bytes of each lane of line j times the four
 * codes of row r, plus start[r].  Quads lie `step` bytes apart, lines `line`. */
LM_INLINE void dots(const uint8_t *at, size_t step, size_t line, int n, uint32_t quads, const uint8_t *w,
                    size_t w_stride, int rows, bool keys, const int32_t *start, v16 t[4][4],
                    const uint8_t *next)
{
    __m512i hi[4][4], lo[4][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            hi[r][j] = _mm512_setzero_si512();
            lo[r][j] = _mm512_set1_epi32(start[r]);
        }
    for (uint32_t i = 0; i < quads; i++) {
        __m512i x[4];
        for (int j = 0; j < n; j++)
            x[j] = _mm512_loadu_si512(at + i * step + (size_t)j * line);
        if (next)
            for (int j = 0; j < n; j++)
                LM_FETCH(next + 64 * ((size_t)i * (size_t)n + (size_t)j));
        for (int r = 0; r < rows; r++) {
            __m512i a = quad_of(w + (size_t)r * w_stride + 8 * (size_t)i);
            __m512i b = quad_of(w + (size_t)r * w_stride + 8 * (size_t)i + 4);
            for (int j = 0; j < n; j++) {
                hi[r][j] =
                    keys ? _mm512_dpbusd_epi32(hi[r][j], x[j], a) : _mm512_dpbusd_epi32(hi[r][j], a, x[j]);
                lo[r][j] =
                    keys ? _mm512_dpbusd_epi32(lo[r][j], x[j], b) : _mm512_dpbusd_epi32(lo[r][j], b, x[j]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++)
            t[r][j] = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(hi[r][j], 8), lo[r][j]));
}

LM_INLINE void unpack4(const uint8_t *from, size_t bytes, uint8_t *to)
{
    __m512i levels = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)lm_kv_levels));
    __m512i low = _mm512_set1_epi8(15);
    for (size_t i = 0; i < bytes; i += 64) {
        __m512i x = _mm512_loadu_si512(from + i);
        __m512i a = _mm512_and_si512(x, low), b = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
        _mm512_storeu_si512(to + 2 * i, _mm512_shuffle_epi8(levels, a));
        _mm512_storeu_si512(to + 2 * i + 64, _mm512_shuffle_epi8(levels, b));
    }
}

#include "backend/cpu/attend_codes.h"
