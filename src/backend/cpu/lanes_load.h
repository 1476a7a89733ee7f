/* backend/cpu/lanes_load.h - codes and scales of every integer format, rows as lanes.
 *
 * A row is taken in units: 256 columns of q4_K, q5_K, q6_K and iq4_xs, up to 128 of
 * the others.  16 bytes of each row are turned, so that a vector holds four codes of
 * every row, and go either into sums of products (one token) or into a panel of
 * plain codes (many).  The formats are drawn in src/quant/.
 *
 * Included after lanes_avx2.h or lanes_neon.h.  Everything is inlined with a
 * constant `how`; reads bytes that exist and no others.  Pure functions. */
#ifndef LM_LANES_LOAD_H
#define LM_LANES_LOAD_H

#include "backend/cpu/linear_unpack.h"

typedef struct {
    int kind, bits;
    bool precise, store; /* two planes of activations; codes to a panel */
    int shift;           /* blocks in a group of an affine format, as a power of two; -1: ask */
} how;

LM_INLINE bool by_256(int kind)
{
    return kind == LM_Q_Q4_K || kind == LM_Q_Q5_K || kind == LM_Q_Q6_K || kind == LM_Q_IQ4_XS;
}

LM_INLINE bool has_planes(int kind)
{
    return kind == LM_Q_AFFINE || kind == LM_Q_MLX_MXFP4;
}

/* Codes beyond 127, as signed bytes or as unsigned ones (SIGNED_WIDE). */
LM_INLINE bool wide(int kind, int bits)
{
    return (kind == LM_Q_AFFINE && bits == 8) || kind == LM_Q_Q8_0 || kind == LM_Q_IQ4_NL ||
           kind == LM_Q_IQ4_XS;
}

/* Steps of pile_add() that fit 16 bits: each adds up to 2 * 127 * the largest code. */
LM_INLINE int limit_of(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return bits == 8 ? 0 : bits == 6 ? 2 : bits == 5 ? 4 : 8;
    case LM_Q_Q8_0:
    case LM_Q_IQ4_NL:
    case LM_Q_IQ4_XS: return 0;
    case LM_Q_Q6_K: return 2;
    case LM_Q_Q5_0:
    case LM_Q_Q5_1:
    case LM_Q_Q5_K:
    case LM_Q_MXFP4: /* 24 */
    case LM_Q_MLX_MXFP4: return 4;
    default: return 8;
    }
}

/* Formats with `off`: what it takes away is the value that their sums start from. */
LM_INLINE bool has_start(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return SIGNED_WIDE && bits == 8;
    case LM_Q_Q8_0:
    case LM_Q_IQ4_NL:
    case LM_Q_IQ4_XS: return !SIGNED_WIDE;
    case LM_Q_Q4_1:
    case LM_Q_Q5_1:
    case LM_Q_Q4_K:
    case LM_Q_Q5_K: return false;
    default: return true;
    }
}

/* What the codes here are above (code - off) of linear_impl.h. */
LM_INLINE int off_here(int kind, int bits, int off)
{
    return SIGNED_WIDE && wide(kind, bits) ? (kind == LM_Q_AFFINE ? -128 : 0) : off;
}

LM_INLINE uint32_t block_bytes(int kind, int bits)
{
    switch (kind) {
    case LM_Q_AFFINE: return 4 * (uint32_t)bits;
    case LM_Q_MLX_MXFP4: return 16;
    case LM_Q_MXFP4: return 17;
    case LM_Q_Q4_0:
    case LM_Q_IQ4_NL: return 18;
    case LM_Q_Q4_1: return 20;
    case LM_Q_Q5_0: return 22;
    case LM_Q_Q5_1: return 24;
    default: return 34;
    }
}

/* Of 256 columns. */
LM_INLINE uint32_t super_bytes(int kind)
{
    return kind == LM_Q_Q4_K ? 144 : kind == LM_Q_Q5_K ? 176 : kind == LM_Q_Q6_K ? 210 : 136;
}

/* Where the unit that starts at block b starts in its row. */
LM_INLINE size_t unit_at(int kind, int bits, uint32_t b)
{
    return by_256(kind) ? (size_t)(b / 8) * super_bytes(kind) : (size_t)b * block_bytes(kind, bits);
}

/* One block's way out. */
typedef struct {
    pile hi, lo;
    const int8_t *x, *xlo; /* its 32 activations, in the order of the quads */
    vi *to;                /* or [quad][VECS] */
} sink;

LM_INLINE void emit(how h, sink *s, int step, int quad, vi codes)
{
    if (h.store) {
        s->to[quad * VECS] = codes;
        return;
    }
    pile_add(&s->hi, limit_of(h.kind, h.bits), step, codes, l_quad(s->x + 4 * quad));
    if (h.precise)
        pile_add(&s->lo, limit_of(h.kind, h.bits), step, codes, l_quad(s->xlo + 4 * quad));
}

LM_INLINE vi sum_of_sink(how h, const sink *s)
{
    return h.precise ? l_add(l_shl(s->hi.sum, 7), s->lo.sum) : s->hi.sum;
}

LM_INLINE vi code_table(how h, vi codes)
{
    static const uint8_t iq4_signed[16] = { 129, 152, 173, 191, 207, 221, 234, 246,
                                            1,   13,  25,  38,  53,  69,  89,  113 };
    if (h.kind == LM_Q_MXFP4 || h.kind == LM_Q_MLX_MXFP4)
        return l_table(LM_UP_FP4_CODES, codes);
    if (h.kind == LM_Q_IQ4_NL || h.kind == LM_Q_IQ4_XS)
        return l_table(SIGNED_WIDE ? iq4_signed : LM_UP_IQ4_CODES, codes);
    return codes;
}

/* Where the two codes of a byte are neighbours, not half a block apart. */
LM_INLINE bool even_odd(int kind, int bits)
{
    return (kind == LM_Q_AFFINE && bits == 4) || kind == LM_Q_MLX_MXFP4;
}

/* 16 bytes of two codes: quads 0 to 3 are the low halves of the bytes, or the even
 * columns; the activations of one token are laid out alike. */
LM_INLINE void nibbles(how h, rows p, size_t at, vi fifth, sink *s)
{
    const vi low = l_bytes(15);
    vi a[4];
    load4(p, at, a);
    turn4(a);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vi lo = code_table(h, l_and(a[i], low)), hi = code_table(h, l_and(l_shr(a[i], 4), low));
        int q0 = i, q1 = 4 + i;
        if (h.kind == LM_Q_Q5_0 || h.kind == LM_Q_Q5_1) {
            lo = l_or(lo, l_fifth(fifth, i));
            hi = l_or(hi, l_fifth(fifth, 4 + i));
        }
        if (h.store && even_odd(h.kind, h.bits)) {
            l_interleave(lo, hi, &lo, &hi);
            q0 = 2 * i;
            q1 = q0 + 1;
        }
        emit(h, s, 2 * i, q0, lo);
        emit(h, s, 2 * i + 1, q1, hi);
    }
}

/* Eight codes of `bits` bits in each 64 into bytes, as lm_up_spread(). */
LM_INLINE vi spread(vi u, int bits)
{
    const uint64_t one = (1u << bits) - 1, two = (1u << 2 * bits) - 1, four = ((uint64_t)1 << 4 * bits) - 1;
    const uint64_t each2 = 0x0000000100000001u, each4 = 0x0001000100010001u;
    u = l_or(l_and(u, l_bytes64(four)), l_and(l_shl64(u, 32 - 4 * bits), l_bytes64(four << 32)));
    u = l_or(l_and(u, l_bytes64(two * each2)),
             l_and(l_shl64(u, 16 - 2 * bits), l_bytes64((two << 16) * each2)));
    return l_or(l_and(u, l_bytes64(one * each4)), l_and(l_shl64(u, 8 - bits), l_bytes64((one << 8) * each4)));
}

/* A block of a stream of codes; loads of 16 bytes may reach beyond it. */
LM_INLINE void bit_stream(how h, rows p, size_t at, size_t row_bytes, sink *s)
{
    uint8_t end[WIDTH * 32];
    rows q = rows_on(p, at);
    size_t half = 2 * (size_t)h.bits;
    if (at + half + 16 > row_bytes) {
        memset(end, 0, sizeof end);
        for (int i = 0; i < WIDTH; i++)
            memcpy(end + 32 * i, row_of(q, i), 2 * half);
        q = rows_at(end, 32);
    }
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) {
        vi a[4];
        load4(q, (size_t)part * half, a);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            a[i] = spread(l_two_words(a[i], h.bits), h.bits);
        turn4(a);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            emit(h, s, 4 * part + i, 4 * part + i, a[i]);
    }
}

LM_INLINE void plain_bytes(how h, rows p, size_t at, sink *s)
{
    const bool flip = h.kind == LM_Q_Q8_0 ? !SIGNED_WIDE : SIGNED_WIDE;
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) {
        vi a[4];
        load4(p, at + 16 * (size_t)part, a);
        turn4(a);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            emit(h, s, 4 * part + i, 4 * part + i, flip ? l_xor(a[i], l_bytes(0x80)) : a[i]);
    }
}

/* 64 columns of q4_K and q5_K: blocks 2 * i and 2 * i + 1 of 256. */
LM_INLINE void k45_pair(how h, rows p, size_t at, int i, sink s[2])
{
    const vi low = l_bytes(15), five = l_bytes(16);
    const bool fifth = h.kind == LM_Q_Q5_K;
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) {
        vi a[4], b[4];
        load4(p, at + (fifth ? 48 : 16) + 32 * (size_t)i + 16 * (size_t)part, a);
        turn4(a);
        if (fifth) {
            load4(p, at + 16 + 16 * (size_t)part, b);
            turn4(b);
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            vi lo = l_and(a[j], low), hi = l_and(l_shr(a[j], 4), low);
            if (fifth) { /* bit 2 * i and the next to bit 4 */
                lo = l_or(lo, l_and(i < 2 ? l_shl(b[j], 4 - 2 * i) : l_shr(b[j], 2 * i - 4), five));
                hi = l_or(hi, l_and(i < 2 ? l_shl(b[j], 3 - 2 * i) : l_shr(b[j], 2 * i - 3), five));
            }
            emit(h, &s[0], 4 * part + j, 4 * part + j, lo);
            emit(h, &s[1], 4 * part + j, 4 * part + j, hi);
        }
    }
}

/* 16 columns of each of the four blocks of half `half` of q6_K's 256. */
LM_INLINE void q6_part(how h, rows p, size_t at, int half, int part, sink s[4])
{
    const vi low = l_bytes(15), two = l_bytes(0x30);
    size_t codes = at + 64 * (size_t)half + 16 * (size_t)part;
    vi a[4], b[4], c[4];
    load4(p, codes, a);
    turn4(a);
    load4(p, codes + 32, b);
    turn4(b);
    load4(p, at + 128 + 32 * (size_t)half + 16 * (size_t)part, c);
    turn4(c);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        int q = 4 * part + j;
        emit(h, &s[0], j, q, l_or(l_and(a[j], low), l_and(l_shl(c[j], 4), two)));
        emit(h, &s[1], j, q, l_or(l_and(b[j], low), l_and(l_shl(c[j], 2), two)));
        emit(h, &s[2], j, q, l_or(l_and(l_shr(a[j], 4), low), l_and(c[j], two)));
        emit(h, &s[3], j, q, l_or(l_and(l_shr(b[j], 4), low), l_and(l_shr(c[j], 2), two)));
    }
}

/* What the sums of a unit need beside the weights. */
typedef struct {
    const int8_t *x, *xlo; /* of the unit */
    const int32_t *start;  /* -off * sum, a block (half a block: q6_K) */
} unit_x;

LM_INLINE sink sink_of(how h, const unit_x *u, vi *to, int block)
{
    sink s;
    s.x = h.store ? NULL : u->x + 32 * block;
    s.xlo = h.precise ? u->xlo + 32 * block : NULL;
    s.to = h.store ? to + 8 * VECS * block : NULL;
    return s;
}

/* The unit of n blocks at byte `at` of each row: I of linear_impl.h for each block
 * and row, or codes into to [block][8][VECS]. */
LM_INLINE void unit_codes(how h, rows p, size_t at, size_t row_bytes, int n, const unit_x *u, vi *I, vi *to)
{
    if (h.kind == LM_Q_Q4_K || h.kind == LM_Q_Q5_K) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            sink s[2] = { sink_of(h, u, to, 2 * i), sink_of(h, u, to, 2 * i + 1) };
            k45_pair(h, p, at, i, s);
            for (int j = 0; j < 2 && !h.store; j++)
                I[2 * i + j] = sum_of_sink(h, &s[j]);
        }
        return;
    }
    if (h.kind == LM_Q_Q6_K) {
        vi sc[4];
        if (!h.store) {
            load4(p, at + 192, sc);
            turn4(sc);
        }
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++)
#pragma GCC unroll 2
            for (int part = 0; part < 2; part++) {
                sink s[4];
                for (int j = 0; j < 4; j++)
                    s[j] = sink_of(h, u, to, 4 * half + j);
                q6_part(h, p, at, half, part, s);
                for (int j = 0; j < 4 && !h.store; j++) {
                    int b = 4 * half + j, z = 2 * b + part; /* scale z of 16 */
                    vi sum = l_add(sum_of_sink(h, &s[j]), l_set1(u->start[z]));
                    sum = l_mul(sum, l_sar(l_shl(sc[z / 4], 24 - 8 * (z % 4)), 24));
                    I[b] = part ? l_add(I[b], sum) : sum;
                }
            }
        return;
    }
#pragma GCC unroll 4
    for (int b = 0; b < n; b++) {
        sink s = sink_of(h, u, to, b);
        size_t from =
            at + (h.kind == LM_Q_IQ4_XS ? 8 + 16 * (size_t)b : (size_t)b * block_bytes(h.kind, h.bits));
        vi fifth = l_set1(0);
        switch (h.kind) {
        case LM_Q_AFFINE:
            if (h.bits == 4)
                nibbles(h, p, from, fifth, &s);
            else if (h.bits == 8)
                plain_bytes(h, p, from, &s);
            else
                bit_stream(h, p, from, row_bytes, &s);
            break;
        case LM_Q_Q8_0: plain_bytes(h, p, from + 2, &s); break;
        case LM_Q_Q5_0:
            fifth = words(p, from + 2);
            nibbles(h, p, from + 6, fifth, &s);
            break;
        case LM_Q_Q5_1:
            fifth = words(p, from + 4);
            nibbles(h, p, from + 8, fifth, &s);
            break;
        case LM_Q_MLX_MXFP4:
        case LM_Q_IQ4_XS: nibbles(h, p, from, fifth, &s); break;
        default: nibbles(h, p, from + block_bytes(h.kind, h.bits) - 16, fifth, &s); break;
        }
        if (!h.store)
            I[b] = has_start(h.kind, h.bits) ? l_add(sum_of_sink(h, &s), l_set1(u->start[b]))
                                             : sum_of_sink(h, &s);
    }
}

/* Half of 2^(e - 127), as lm_up_e8m0_half(). */
LM_INLINE vf e8m0(vi e)
{
    vi tiny = l_pick_lt(e, l_set1(1), l_set1(0x00200000), l_set1(0x00400000));
    return l_as_float(l_pick_lt(e, l_set1(2), tiny, l_shl(l_sub(e, l_set1(1)), 23)));
}

/* Scales and minima of a unit of a format that keeps them among the codes. */
LM_INLINE void unit_scales(how h, rows p, size_t at, int n, vf *s, vf *m)
{
    if (h.kind == LM_Q_Q4_K || h.kind == LM_Q_Q5_K) {
        const vi six = l_bytes(63), four = l_bytes(15), top = l_bytes(0x30), byte = l_set1(255);
        vi a[4];
        load4(p, at, a);
        turn4(a); /* [d dmin], then the three words of lm_up_k_scales() */
        vf d = low_half(a[0]), dm = f_neg(low_half(l_shr(a[0], 16)));
        const vi sc[2] = { l_and(a[1], six), l_or(l_and(a[3], four), l_and(l_shr(a[1], 2), top)) };
        const vi mn[2] = { l_and(a[2], six), l_or(l_and(l_shr(a[3], 4), four), l_and(l_shr(a[2], 2), top)) };
        for (int b = 0; b < 8; b++) {
            s[b] = f_mul(d, l_float(l_and(l_shr(sc[b / 4], b % 4 * 8), byte)));
            m[b] = f_mul(dm, l_float(l_and(l_shr(mn[b / 4], b % 4 * 8), byte)));
        }
        return;
    }
    if (h.kind == LM_Q_IQ4_XS) {
        vi head = words(p, at), low = words(p, at + 4);
        vf d = low_half(head);
        for (int b = 0; b < 8; b++) {
            vi u = l_or(l_and(l_shr(low, 4 * b), l_set1(15)),
                        l_and(l_shl(l_shr(head, 16 + 2 * b), 4), l_set1(0x30)));
            s[b] = f_mul(d, l_float(l_sub(u, l_set1(32))));
        }
        return;
    }
    if (h.kind == LM_Q_Q6_K) {
        vf d = halves(p, at + 208);
        for (int b = 0; b < 8; b++)
            s[b] = d;
        return;
    }
    for (int b = 0; b < n; b++) {
        size_t from = at + (size_t)b * block_bytes(h.kind, h.bits);
        s[b] = h.kind == LM_Q_MXFP4 ? e8m0(single_bytes(p, from)) : halves(p, from);
        if (h.kind == LM_Q_Q4_1 || h.kind == LM_Q_Q5_1)
            m[b] = halves(p, from + 2);
    }
}

/* q6_K's integer scales of a unit, two a block. */
LM_INLINE void unit_sub(rows p, size_t at, vi to[16])
{
    vi sc[4];
    load4(p, at + 192, sc);
    turn4(sc);
    for (int z = 0; z < 16; z++)
        to[z] = l_sar(l_shl(sc[z / 4], 24 - 8 * (z % 4)), 24);
}

/* Groups g0 to g0 + n of a plane of scales, to[(g - g0) * step floats]; up to 16
 * more are written. */
LM_INLINE void plane_groups(lm_quant_kind kind, rows p, size_t row_bytes, uint32_t g0, uint32_t n, float *to,
                            size_t step)
{
    const size_t size = kind == LM_Q_F32 ? 4 : kind == LM_Q_MLX_MXFP4 ? 1 : 2, each = 16 / size;
    for (uint32_t g = 0; g < n; g += (uint32_t)each) {
        uint8_t end[WIDTH * 16];
        size_t at = (g0 + g) * size, left = row_bytes - at;
        rows q = rows_on(p, at);
        if (left < 16) {
            memset(end, 0, sizeof end);
            for (int i = 0; i < WIDTH; i++)
                memcpy(end + 16 * i, row_of(q, i), left);
            q = rows_at(end, 16);
        }
        vi a[4];
        load4(q, 0, a);
        turn4(a);
        for (size_t i = 0; i < 4; i++, to += each / 4 * step) {
            if (kind == LM_Q_F32) {
                f_store(to, l_as_float(a[i]));
            } else if (kind == LM_Q_BF16) {
                f_store(to, l_as_float(l_shl(a[i], 16)));
                f_store(to + step, l_as_float(l_and(a[i], l_set1((int32_t)0xffff0000u))));
            } else if (kind == LM_Q_F16) {
                f_store(to, low_half(a[i]));
                f_store(to + step, low_half(l_shr(a[i], 16)));
            } else {
                for (int j = 0; j < 4; j++) { /* 255 is infinite for MLX */
                    vi e = l_and(l_shr(a[i], 8 * j), l_set1(255)), inf = l_set1(0x7f800000);
                    vi of = l_pick_lt(e, l_set1(255), l_from_float(e8m0(e)), inf);
                    f_store(to + (size_t)j * step, l_as_float(of));
                }
            }
        }
    }
}

#endif
