/* quant/affine.c - MLX affine: groups of 32, 64 or 128 numbers, codes of 1 to 6
 * or 8 bits, a scale and a bias per group in f32, f16 or bf16.
 *
 *   plane 0, byte  0 ................. group * bits / 8 - 1
 *                 | codes, a little-endian stream of bits  |
 *                 | number j: bits j * bits and following  |
 *   plane 1, byte  0 ..            plane 2, byte  0 ..
 *                 | scale |                      | bias |
 *
 *   value = scale * code + bias
 *
 * Eight codes fill `bits` bytes exactly, so a group starts and ends at a byte.
 * MLX calls the planes NAME.weight (as 32-bit words), NAME.scales, NAME.biases.
 */
#include <math.h>

#include "quant/formats.h"

enum { MAX_GROUP = 128 };

/* The 1 to 6 or 8 bytes at p, in loads of whole words: a copy through memory in
 * two pieces would stall the load that follows. */
LM_INLINE uint64_t word(const uint8_t *p, int n)
{
    switch (n) {
    case 1: return p[0];
    case 2: return lm_u16le(p);
    case 3: return lm_u16le(p) | (uint64_t)p[2] << 16;
    case 4: return lm_u32le(p);
    case 5: return lm_u32le(p) | (uint64_t)p[4] << 32;
    case 6: return lm_u32le(p) | (uint64_t)lm_u16le(p + 4) << 32;
    default: return lm_u64le(p);
    }
}

/* Eight codes at a time into the bytes of one word: the stream is cut in halves,
 * quarters and eighths, each moved to the start of its lane.  `bits` is a
 * constant wherever this is inlined. */
LM_INLINE void unpack(const uint8_t *codes, int group, int bits, uint8_t *restrict to)
{
    const uint64_t half = (UINT64_C(1) << 4 * bits) - 1;
    const uint64_t quarter = ((UINT64_C(1) << 2 * bits) - 1) * 0x0000000100000001u;
    const uint64_t eighth = ((UINT64_C(1) << bits) - 1) * 0x0001000100010001u;
    for (int j = 0; j < group; j += 8, codes += bits) {
        uint64_t u = word(codes, bits);
        u = (u & half) | (u & ~half) << (32 - 4 * bits);
        u = (u & quarter) | (u & quarter << 2 * bits) << (16 - 2 * bits);
        u = (u & eighth) | (u & eighth << bits) << (8 - bits);
        memcpy(to + j, &u, sizeof u);
    }
}

static inline void pack(const uint8_t *from, int group, int bits, uint8_t *codes)
{
    for (int j = 0; j < group; j += 8, codes += bits) {
        uint64_t u = 0;
        for (int k = 0; k < 8; k++)
            u |= (uint64_t)from[j + k] << bits * k;
        memcpy(codes, &u, (size_t)bits);
    }
}

/* Number i of a plane of scales or biases. */
static inline float load(const uint8_t *plane, size_t i, lm_quant_kind kind)
{
    if (kind == LM_Q_F32)
        return lm_f32le(plane + 4 * i);
    uint16_t h = lm_u16le(plane + 2 * i);
    return kind == LM_Q_F16 ? lm_quant_half_to_f32(h) : lm_bf16_to_f32(h);
}

static inline void store(uint8_t *plane, size_t i, lm_quant_kind kind, float f)
{
    if (kind == LM_Q_F32) {
        memcpy(plane + 4 * i, &f, sizeof f);
        return;
    }
    uint16_t h = kind == LM_Q_F16 ? lm_quant_f32_to_half(f) : lm_f32_to_bf16(f);
    memcpy(plane + 2 * i, &h, sizeof h);
}

LM_INLINE void decode(const lm_quant *q, const uint8_t *const *planes, size_t n, float *out, int bits)
{
    const uint8_t *codes = planes[0];
    int group = q->block_elems;
    uint8_t code[MAX_GROUP];
    for (size_t g = 0; g < n / q->block_elems; g++, codes += q->block_bytes[0], out += group) {
        float *restrict y = out;
        float scale = load(planes[1], g, q->scale_kind), bias = load(planes[2], g, q->scale_kind);
        unpack(codes, group, bits, code);
        for (int j = 0; j < group; j++)
            y[j] = scale * (float)code[j] + bias;
    }
}

static void affine_to_f32(const lm_quant *q, const uint8_t *const planes[LM_QUANT_PLANES], size_t n,
                          float *out)
{
    switch (q->bits) {
    case 1: decode(q, planes, n, out, 1); break;
    case 2: decode(q, planes, n, out, 2); break;
    case 3: decode(q, planes, n, out, 3); break;
    case 4: decode(q, planes, n, out, 4); break;
    case 5: decode(q, planes, n, out, 5); break;
    case 6: decode(q, planes, n, out, 6); break;
    default: decode(q, planes, n, out, 8); break;
    }
}

/* Scale and bias of a group as MLX chooses them: the edge with the larger
 * magnitude is met exactly and zero falls on a code where it can.  One bit has
 * its codes on the least and the largest number. */
static void choose(const float *x, size_t group, int bits, float *scale, float *bias)
{
    const float tiny = 1e-7f, top = (float)((1 << bits) - 1);
    float least, most;
    lm_quant_range(x, group, &least, &most);
    float step = (most - least) / top;
    step = step > tiny ? step : tiny;
    if (bits == 1) {
        *scale = step;
        *bias = least;
        return;
    }
    bool low = fabsf(least) > fabsf(most);
    float edge = low ? least : most;
    step = low ? step : -step;
    float steps = rintf(edge / step);
    *scale = steps == 0 ? step : edge / steps;
    *bias = steps == 0 ? 0 : edge;
}

/* Codes come from the float32 scale and bias, before those are rounded to
 * their stored type: so does the reference. */
static void affine_from_f32(const lm_quant *q, const float *x, size_t n,
                            uint8_t *const planes[LM_QUANT_PLANES])
{
    uint8_t *codes = planes[0], code[MAX_GROUP];
    size_t group = q->block_elems;
    float top = (float)((1u << q->bits) - 1);
    for (size_t g = 0; g < n / group; g++, codes += q->block_bytes[0], x += group) {
        float scale, bias;
        choose(x, group, q->bits, &scale, &bias);
        for (size_t j = 0; j < group; j++)
            code[j] = lm_quant_code(rintf((x[j] - bias) / scale), top);
        pack(code, (int)group, q->bits, codes);
        store(planes[1], g, q->scale_kind, scale);
        store(planes[2], g, q->scale_kind, bias);
    }
}

/* Error over amax.  Let the least number be -amax and the largest just below
 * amax: zero is the edge's code 2^(b-1), so the codes end 2^(1-b) short of the
 * largest.  No other case is worse (half a step is at most 2^-b; one bit misses
 * by half of its only step).  Rounding scale and bias to a type with relative
 * error `ulp` adds up to 3 ulp. */
#define ERROR_BOUND(b, ulp) ((float)(2.0 / (1 << (b)) + 3 * (ulp)))

#define AFFINE(b, g, type, scale_type, size, ulp)                                                            \
    {                                                                                                        \
        .name = "affine" #b "-g" #g "-" type, .kind = LM_Q_AFFINE, .gguf_type = -1, .block_elems = (g),      \
        .block_bytes = { (g) * (b) / 8, (size), (size) }, .n_planes = 3, .bits = (b),                        \
        .scale_kind = (scale_type), .max_error = ERROR_BOUND(b, ulp), .to_f32 = affine_to_f32,               \
        .from_f32 = affine_from_f32,                                                                         \
    }
#define AFFINE_TYPES(b, g)                                                                                   \
    AFFINE(b, g, "f32", LM_Q_F32, 4, 0x1p-22), AFFINE(b, g, "f16", LM_Q_F16, 2, 0x1p-11),                    \
        AFFINE(b, g, "bf16", LM_Q_BF16, 2, 0x1p-8)
#define AFFINE_GROUPS(b) AFFINE_TYPES(b, 32), AFFINE_TYPES(b, 64), AFFINE_TYPES(b, 128)

const lm_quant lm_quant_affines[LM_QUANT_N_AFFINE] = {
    AFFINE_GROUPS(1), AFFINE_GROUPS(2), AFFINE_GROUPS(3), AFFINE_GROUPS(4),
    AFFINE_GROUPS(5), AFFINE_GROUPS(6), AFFINE_GROUPS(8),
};
