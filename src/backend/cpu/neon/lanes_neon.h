/* backend/cpu/neon/lanes_neon.h - four rows as lanes: what lanes_body.h is written in, for aarch64.
 *
 * Compiled three times: with vdot, with vdot and vmmla (i8mm), and with neither,
 * where products of bytes are added in 16 and then in 32 bits.  Codes beyond 127
 * are signed bytes.
 *
 * Pure functions, inlined. */
#ifndef LM_LANES_NEON_H
#define LM_LANES_NEON_H

#include <arm_neon.h>

#include "backend/cpu/linear_impl.h"

typedef uint32x4_t vi; /* 4 rows of 32 bits, or of four bytes */
typedef float32x4_t vf;

enum { WIDTH = 4, VECS = LM_PANEL / WIDTH, TILE = 4, SIGNED_WIDE = 1, DOT = 1 };

#include "backend/cpu/lanes_rows.h"

/* clang-format off */
LM_INLINE vi l_set1(int32_t x) { return vdupq_n_u32((uint32_t)x); }
LM_INLINE vi l_bytes(uint8_t x) { return vreinterpretq_u32_u8(vdupq_n_u8(x)); }
LM_INLINE vi l_and(vi a, vi b) { return vandq_u32(a, b); }
LM_INLINE vi l_or(vi a, vi b) { return vorrq_u32(a, b); }
LM_INLINE vi l_xor(vi a, vi b) { return veorq_u32(a, b); }
LM_INLINE vi l_add(vi a, vi b) { return vaddq_u32(a, b); }
LM_INLINE vi l_sub(vi a, vi b) { return vsubq_u32(a, b); }
LM_INLINE vi l_mul(vi a, vi b) { return vmulq_u32(a, b); }
LM_INLINE vi l_shl(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(n)); }
LM_INLINE vi l_shr(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(-n)); }
LM_INLINE vi l_sar(vi a, int n) { return vreinterpretq_u32_s32(vshlq_s32(vreinterpretq_s32_u32(a), vdupq_n_s32(-n))); }
LM_INLINE vi l_shl64(vi a, int n) { return vreinterpretq_u32_u64(vshlq_u64(vreinterpretq_u64_u32(a), vdupq_n_s64(n))); }
LM_INLINE vi l_bytes64(uint64_t x) { return vreinterpretq_u32_u64(vdupq_n_u64(x)); }
LM_INLINE vf l_float(vi a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }
LM_INLINE vf l_as_float(vi a) { return vreinterpretq_f32_u32(a); }
LM_INLINE vi l_from_float(vf a) { return vreinterpretq_u32_f32(a); }
LM_INLINE vf f_set1(float x) { return vdupq_n_f32(x); }
LM_INLINE vf f_mul(vf a, vf b) { return vmulq_f32(a, b); }
LM_INLINE vf f_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
LM_INLINE vf f_neg(vf a) { return vnegq_f32(a); }
LM_INLINE vf f_load(const float *p) { return vld1q_f32(p); }
LM_INLINE void f_store(float *p, vf a) { vst1q_f32(p, a); }
LM_INLINE vi l_load(const void *p) { return vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)p)); }
LM_INLINE void l_store(void *p, vi a) { vst1q_u8((uint8_t *)p, vreinterpretq_u8_u32(a)); }
/* clang-format on */

LM_INLINE vi l_quad(const int8_t *x)
{
    uint32_t u;
    memcpy(&u, x, 4);
    return vdupq_n_u32(u);
}

LM_INLINE void load4(rows p, size_t at, vi a[4])
{
    for (int i = 0; i < 4; i++)
        a[i] = l_load(row_of(p, i) + at);
}

LM_INLINE void turn4(vi a[4])
{
    vi t0 = vzip1q_u32(a[0], a[2]), t1 = vzip2q_u32(a[0], a[2]);
    vi t2 = vzip1q_u32(a[1], a[3]), t3 = vzip2q_u32(a[1], a[3]);
    a[0] = vzip1q_u32(t0, t2);
    a[1] = vzip2q_u32(t0, t2);
    a[2] = vzip1q_u32(t1, t3);
    a[3] = vzip2q_u32(t1, t3);
}

LM_INLINE vi l_two_words(vi a, int n)
{
    static const uint8_t first[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7 };
    uint8x16_t at = vaddq_u8(vld1q_u8(first), vcombine_u8(vdup_n_u8(0), vdup_n_u8((uint8_t)n)));
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), at));
}

LM_INLINE vi words(rows p, size_t at)
{
    uint32_t u[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        memcpy(&u[i], row_of(p, i) + at, 4);
    return vld1q_u32(u);
}

LM_INLINE vi single_bytes(rows p, size_t at)
{
    const uint32_t u[WIDTH] = { row_of(p, 0)[at], row_of(p, 1)[at], row_of(p, 2)[at], row_of(p, 3)[at] };
    return vld1q_u32(u);
}

LM_INLINE vf to_floats(uint16x4_t h)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

LM_INLINE vf halves(rows p, size_t at)
{
    uint16_t u[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        memcpy(&u[i], row_of(p, i) + at, 2);
    return to_floats(vld1_u16(u));
}

LM_INLINE vf low_half(vi a)
{
    return to_floats(vmovn_u32(a));
}

LM_INLINE vi l_pick_lt(vi a, vi b, vi x, vi y)
{
    return vbslq_u32(vcltq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)), x, y);
}

LM_INLINE vi l_table(const uint8_t table[16], vi index)
{
    return vreinterpretq_u32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_u32(index)));
}

LM_INLINE vi l_fifth(vi bits, int j)
{
    static const uint8_t first[16] = { 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12 };
    uint8x16_t at = vaddq_u8(vld1q_u8(first), vdupq_n_u8((uint8_t)(j / 2)));
    uint8x16_t mask = vreinterpretq_u8_u32(vdupq_n_u32(j & 1 ? 0x80402010u : 0x08040201u));
    uint8x16_t set = vtstq_u8(vqtbl1q_u8(vreinterpretq_u8_u32(bits), at), mask);
    return vreinterpretq_u32_u8(vandq_u8(set, vdupq_n_u8(16)));
}

LM_INLINE void l_interleave(vi a, vi b, vi *first, vi *second)
{
    vi lo = vreinterpretq_u32_u8(vzip1q_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
    vi hi = vreinterpretq_u32_u8(vzip2q_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
    *first = vuzp1q_u32(lo, hi);
    *second = vuzp2q_u32(lo, hi);
}

typedef struct {
    vi sum;
} pile;

LM_INLINE void pile_add(pile *a, int limit, int step, vi codes, vi x)
{
    int8x16_t c = vreinterpretq_s8_u32(codes), v = vreinterpretq_s8_u32(x);
    int32x4_t sum = step ? vreinterpretq_s32_u32(a->sum) : vdupq_n_s32(0);
    (void)limit;
#ifdef __ARM_FEATURE_DOTPROD
    sum = vdotq_s32(sum, c, v);
#else
    int32x4_t lo = vpaddlq_s16(vmull_s8(vget_low_s8(c), vget_low_s8(v)));
    int32x4_t hi = vpaddlq_s16(vmull_high_s8(c, v));
    sum = vaddq_s32(sum, vpaddq_s32(lo, hi));
#endif
    a->sum = vreinterpretq_u32_s32(sum);
}

#endif
