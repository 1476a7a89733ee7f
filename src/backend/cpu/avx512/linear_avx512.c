/* backend/cpu/avx512/linear_avx512.c - one token or many: which kernel runs. */
#include "backend/cpu/avx512/linear_panels.h"
#include "backend/cpu/linear_act.h"

/* Sixteen numbers of which n exist. */
LM_INLINE __m512 load_some(const float *x, uint32_t n)
{
    return _mm512_maskz_loadu_ps(n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1), x);
}

/* As lm_quantise_q8(), bit for bit: vcvtps2dq rounds ties to even too. */
static void quantise_q8(const float *x, uint32_t cols, uint8_t *out)
{
    uint32_t padded = lm_act_padded(cols);
    size_t tail = (size_t)padded + padded / 4 + padded / 8;
    float *d = (float *)(void *)(out + padded), *xs = d + padded / 32;
    int16_t *sum = (int16_t *)(void *)(xs + padded / 32);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (uint32_t k = 0; k < padded; k += 32) {
        uint32_t left = k < cols ? cols - k : 0;
        __m512 a = load_some(x + k, left), b = load_some(x + k + 16, left > 16 ? left - 16 : 0);
        __m512i most = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                        _mm512_and_si512(_mm512_castps_si512(b), magnitude));
        uint32_t top = _mm512_reduce_max_epu32(most);
        float amax = lm_act_float(top);
        bool dead = top < LM_TINY_BITS || top >= LM_INF_BITS;
        __mmask16 live = dead ? 0 : 0xffff;
        __m512 inverse = _mm512_set1_ps(dead ? 0 : 127.0f / amax);
        __m512i ca = _mm512_cvtps_epi32(_mm512_maskz_mul_ps(live, a, inverse));
        __m512i cb = _mm512_cvtps_epi32(_mm512_maskz_mul_ps(live, b, inverse));
        _mm_storeu_si128((__m128i *)(void *)(out + k), _mm512_cvtepi32_epi8(ca));
        _mm_storeu_si128((__m128i *)(void *)(out + k + 16), _mm512_cvtepi32_epi8(cb));
        d[k / 32] = top < LM_TINY_BITS ? 0 : amax / 127.0f;
    }
    for (uint32_t k = 0; k < padded; k += 64) { /* four sums of 16 at a time */
        __m512i v =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_loadu_si512(out + k));
        v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
        v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
        v = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), v);
        _mm_storel_epi64((__m128i *)(void *)(sum + k / 16), _mm256_castsi256_si128(_mm512_cvtepi32_epi16(v)));
    }
    for (uint32_t b = 0; b < padded / 32; b++)
        xs[b] = d[b] * (float)(sum[2 * b] + sum[2 * b + 1]);
    memset(out + tail, 0, lm_act_q8_bytes(cols) - tail);
}

const lm_act_layout lm_act_q8_avx512 = { "q8-32", lm_act_q8_bytes, quantise_q8 };

static void quantise_q16(const float *x, uint32_t cols, uint8_t *out)
{
    lm_quantise_q16(x, cols, out);
}

const lm_act_layout lm_act_q16_avx512 = { "q16-32", lm_act_q16_bytes, quantise_q16 };

static size_t q8_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return LM_MAX(lm_many_scratch(false), LM_MAX(lm_one_scratch(w, false), lm_panels_scratch(w->cols)));
}

static size_t q16_scratch(const lm_matrix *w, uint32_t max_tokens)
{
    (void)max_tokens;
    return LM_MAX(lm_many_scratch(true), LM_MAX(lm_one_scratch(w, true), lm_panels_scratch(w->cols)));
}

LM_INLINE void run_codes(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n,
                         float *y, size_t ldy, void *scratch, bool precise)
{
    if (n > LM_ONE_TOKENS) {
        lm_many_run(w, row0, row1, x, n, y, ldy, scratch, precise);
        return;
    }
    (w->panels ? lm_panels_one : lm_one_run)(w, row0, row1, x, n, y, ldy, scratch, precise);
}

static void q8_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                   size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, false);
}

static void q16_run(const lm_matrix *w, uint32_t row0, uint32_t row1, const uint8_t *x, uint32_t n, float *y,
                    size_t ldy, void *scratch)
{
    run_codes(w, row0, row1, x, n, y, ldy, scratch, true);
}

const lm_cpu_linear lm_linear_q8_avx512 = { "in place, 8-bit activations, avx512", &lm_act_q8_avx512,
                                            q8_scratch, q8_run };
const lm_cpu_linear lm_linear_q16_avx512 = { "in place, 15-bit activations, avx512", &lm_act_q16_avx512,
                                             q16_scratch, q16_run };
