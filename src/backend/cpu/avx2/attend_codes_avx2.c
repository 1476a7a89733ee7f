/* backend/cpu/avx2/attend_codes_avx2.c - attention over pages of codes: bytes are
 * widened to 16 bits and multiplied in pairs (vpmaddwd). */
#include "backend/cpu/kernels.h"
#include "backend/cpu/vec.h"

#define ATTEND_Q8   lm_attend_q8_avx2
#define ATTEND_K8V4 lm_attend_k8v4_avx2
enum { CODE_ROWS = 2, CODE_LINES = 1, CODE_LINES2 = 1 };

LM_INLINE void put_query(uint8_t *out, uint32_t i, int32_t code)
{
    int16_t x = (int16_t)code;
    memcpy(out + 2 * (size_t)i, &x, sizeof x);
}

LM_INLINE void put_words(uint8_t *out, const v16 w[4])
{
    for (int u = 0; u < 4; u++) {
        __m256i x = _mm256_packs_epi32(_mm256_cvtps_epi32(w[u].a), _mm256_cvtps_epi32(w[u].b));
        x = _mm256_permute4x64_epi64(x, 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * u), x);
    }
}

LM_INLINE __m256 scales8(const uint8_t *at)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

LM_INLINE v16 scales16(const uint8_t *at)
{
    return (v16){ scales8(at), scales8(at + 16) };
}

/* Sums of neighbours of a and of b, in order. */
LM_INLINE __m256i fold(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}

/* As in attend_codes_avx512.c, one line at a time; a quad of codes is four words. */
LM_INLINE void dots(const uint8_t *at, size_t step, size_t line, int n, uint32_t quads, const uint8_t *w,
                    size_t w_stride, int rows, bool keys, const int32_t *start, v16 t[4][4],
                    const uint8_t *next)
{
    for (int j = 0; j < n; j++) {
        __m256i s[2][4];
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < 4; k++)
                s[r][k] = _mm256_setzero_si256();
        for (uint32_t i = 0; i < quads; i++) {
            __m256i q[2];
            if (next)
                LM_FETCH(next + 64 * ((size_t)j * quads + i));
            for (int r = 0; r < rows; r++) {
                int64_t x;
                memcpy(&x, w + (size_t)r * w_stride + 8 * (size_t)i, sizeof x);
                q[r] = _mm256_set1_epi64x(x);
            }
            for (int k = 0; k < 4; k++) {
                __m128i bytes = _mm_loadu_si128(
                    (const __m128i *)(const void *)(at + i * step + (size_t)j * line + 16 * (size_t)k));
                __m256i x = keys ? _mm256_cvtepu8_epi16(bytes) : _mm256_cvtepi8_epi16(bytes);
                for (int r = 0; r < rows; r++)
                    s[r][k] = _mm256_add_epi32(s[r][k], _mm256_madd_epi16(x, q[r]));
            }
        }
        for (int r = 0; r < rows; r++) {
            __m256i from = _mm256_set1_epi32(start[r]);
            t[r][j].a = _mm256_cvtepi32_ps(_mm256_add_epi32(fold(s[r][0], s[r][1]), from));
            t[r][j].b = _mm256_cvtepi32_ps(_mm256_add_epi32(fold(s[r][2], s[r][3]), from));
        }
    }
}

LM_INLINE void unpack4(const uint8_t *from, size_t bytes, uint8_t *to)
{
    __m256i levels =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)lm_kv_levels));
    __m256i low = _mm256_set1_epi8(15);
    for (size_t i = 0; i < bytes; i += 32) {
        size_t out = i / 64 * 128 + i % 64;
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        __m256i a = _mm256_and_si256(x, low), b = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
        _mm256_storeu_si256((__m256i *)(void *)(to + out), _mm256_shuffle_epi8(levels, a));
        _mm256_storeu_si256((__m256i *)(void *)(to + out + 64), _mm256_shuffle_epi8(levels, b));
    }
}

#include "backend/cpu/attend_codes.h"
