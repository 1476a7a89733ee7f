/* backend/cpu/panels.c - layout, making and checking of panels, in plain C. */
#include "backend/cpu/panels.h"

#include "backend/cpu/linear_impl.h"
#include "backend/cpu/linear_unpack.h"
#include "base/hash.h"

enum { UNKNOWN, GOOD, BAD };

static bool by_256(const lm_quant *q)
{
    return q->kind == LM_Q_Q4_K || q->kind == LM_Q_Q5_K || q->kind == LM_Q_Q6_K || q->kind == LM_Q_IQ4_XS;
}

/* Bytes of a scale or a minimum. */
static uint32_t scale_bytes(const lm_quant *q)
{
    if (q->kind == LM_Q_AFFINE)
        return q->scale_kind == LM_Q_F32 ? 4 : 2;
    return q->kind == LM_Q_MXFP4 || q->kind == LM_Q_MLX_MXFP4 ? 1 : 2;
}

bool lm_isa_reads_panels(lm_isa isa)
{
    return isa == LM_ISA_AVX512 || isa == LM_ISA_AMX;
}

bool lm_panels_exist(const lm_quant *q, uint32_t cols)
{
    return lm_lin_class_of(q).blocks && cols > 0 && cols % q->block_elems == 0;
}

int lm_panel_bits(const lm_quant *q)
{
    switch (q->kind) {
    case LM_Q_AFFINE: return q->bits;
    case LM_Q_Q5_0:
    case LM_Q_Q5_1:
    case LM_Q_Q5_K: return 5;
    case LM_Q_Q6_K: return 6;
    case LM_Q_Q8_0: return 8;
    default: return 4;
    }
}

lm_panel_parts lm_panel_parts_of(const lm_quant *q, uint32_t cols)
{
    lm_lin_class c = lm_lin_class_of(q);
    bool super = by_256(q);
    size_t blocks = cols / 32, groups = super ? cols / 256 : blocks / c.blocks, at = 0;
    size_t floats = groups * LM_PANEL * scale_bytes(q);
    lm_panel_parts p = { 0 };
    if (c.mins) {
        p.mn = floats;
        at = lm_round_up(floats + (super ? blocks * LM_PANEL : 0), 64);
    }
    p.s = at;
    p.sc = at + floats;
    at += lm_round_up(floats + (super ? blocks * LM_PANEL * (c.sub16 ? 2 : 1) : 0), 64);
    p.codes = at;
    p.bytes = at + blocks * 64 * (size_t)lm_panel_bits(q);
    return p;
}

uint64_t lm_panel_bytes(const lm_quant *q, uint32_t cols)
{
    uint64_t whole = cols / LM_LIN_SLAB;
    if (!lm_panels_exist(q, cols))
        return 0;
    return whole * lm_panel_parts_of(q, LM_LIN_SLAB).bytes +
           (cols % LM_LIN_SLAB ? lm_panel_parts_of(q, cols % LM_LIN_SLAB).bytes : 0);
}

/* --- making ---------------------------------------------------------------------- */

/* One row, unpacked. */
typedef struct {
    uint8_t *codes;
    float *s, *m;
    int8_t *sc;
} row;

static row row_at(void *scratch, uint32_t cols)
{
    uint32_t p = lm_act_padded(cols);
    uint8_t *at = scratch;
    return (row){ at, (float *)(void *)(at + p), (float *)(void *)(at + p + p / 8),
                  (int8_t *)(at + p + p / 4) };
}

size_t lm_panel_scratch(uint32_t cols)
{
    size_t p = lm_act_padded(cols);
    return p + p / 4 + p / 16;
}

/* Formats whose codes are entries of a table keep the index: four bits, not eight.
 * (FP4 has two zeros; either is as good.) */
static void to_index(const uint8_t table[16], uint8_t *codes, uint32_t n)
{
    uint8_t index[256] = { 0 };
    for (uint8_t i = 16; i-- > 0;)
        index[table[i]] = i;
    for (uint32_t i = 0; i < n; i++)
        codes[i] = index[codes[i]];
}

/* A block's 32 codes of row r into the planes at `to`, which hold zeros there. */
static void put_codes(const uint8_t *codes, int bits, uint32_t r, uint8_t *to)
{
    int taken = 0;
    for (int w = 8; w > 0; w /= 2) {
        if (!(bits & w))
            continue;
        uint32_t mask = ((1u << w) - 1) * 0x01010101u;
        for (int quad = 0; quad < 8; quad++) {
            uint32_t v = lm_u32le(codes + 4 * quad) >> taken & mask;
            uint8_t *at = to + 64 * (quad * w / 8) + 4 * r;
            v = lm_u32le(at) | v << (quad * w % 8);
            memcpy(at, &v, 4);
        }
        to += 64 * w;
        taken += w;
    }
}

/* Scales and minima of row r, slab of `cols` columns from column k; p is the row's
 * planes at column 0. */
static void put_scales(const lm_quant *q, const uint8_t *const p[LM_QUANT_PLANES], uint32_t k, uint32_t cols,
                       uint32_t r, lm_panel_parts at, uint8_t *to)
{
    uint32_t size = scale_bytes(q);
    bool mins = lm_lin_class_of(q).mins;
    if (by_256(q)) {
        for (uint32_t i = 0; i < cols / 256; i++) {
            const uint8_t *from = p[0] + (k / 256 + i) * q->block_bytes[0];
            uint8_t *sc = to + at.sc + (size_t)i * 8 * 16 + r, *mn = to + at.mn + (size_t)i * 8 * 16 + r;
            memcpy(to + at.s + (16 * i + r) * 2, from + (q->kind == LM_Q_Q6_K ? 208 : 0), 2);
            if (mins) {
                uint8_t s8[8], m8[8];
                memcpy(to + at.m + (16 * i + r) * 2, from + 2, 2);
                lm_up_k_scales(from + 4, s8, m8);
                for (int b = 0; b < 8; b++) {
                    sc[16 * b] = s8[b];
                    mn[16 * b] = m8[b];
                }
            } else if (q->kind == LM_Q_Q6_K) {
                sc += (size_t)i * 8 * 16; /* two a block */
                for (int b = 0; b < 16; b++)
                    sc[16 * b] = from[192 + b];
            } else {
                uint32_t high = lm_u16le(from + 2);
                for (int b = 0; b < 8; b++) /* u - 32, as two's complement */
                    sc[16 * b] = (uint8_t)((((uint32_t)from[4 + b / 2] >> 4 * (b & 1) & 15u) |
                                            (high >> 2 * b & 3) << 4) -
                                           32u);
            }
        }
        return;
    }
    for (uint32_t g = 0; g < cols / q->block_elems; g++) {
        size_t i = k / q->block_elems + g;
        const uint8_t *s = q->n_planes > 1 ? p[1] + i * size : p[0] + i * q->block_bytes[0];
        const uint8_t *m = q->n_planes > 2 ? p[2] + i * size : s + size;
        memcpy(to + at.s + (16 * (size_t)g + r) * size, s, size);
        if (mins)
            memcpy(to + at.m + (16 * (size_t)g + r) * size, m, size);
    }
}

void lm_panel_make(const lm_matrix *w, uint32_t i, uint8_t *out, void *scratch)
{
    const lm_quant *q = w->quant;
    const int bits = lm_panel_bits(q);
    row u = row_at(scratch, w->cols);
    memset(out, 0, (size_t)lm_panel_bytes(q, w->cols));
    for (uint32_t r = 0; r < LM_PANEL && i * LM_PANEL + r < w->rows; r++) {
        const uint8_t *planes[LM_QUANT_PLANES];
        uint8_t *to = out;
        lm_matrix_row(w, i * LM_PANEL + r, planes);
        lm_unpack_row(q, planes, w->cols, u.codes, u.s, u.m, u.sc);
        if (q->kind == LM_Q_MXFP4 || q->kind == LM_Q_MLX_MXFP4)
            to_index(LM_UP_FP4_CODES, u.codes, w->cols);
        else if (q->kind == LM_Q_IQ4_NL || q->kind == LM_Q_IQ4_XS)
            to_index(LM_UP_IQ4_CODES, u.codes, w->cols);
        for (uint32_t k = 0; k < w->cols; k += LM_LIN_SLAB) {
            uint32_t cols = LM_MIN(w->cols - k, (uint32_t)LM_LIN_SLAB);
            lm_panel_parts at = lm_panel_parts_of(q, cols);
            put_scales(q, planes, k, cols, r, at, to);
            for (uint32_t b = 0; b < cols / 32; b++)
                put_codes(u.codes + k + 32 * b, bits, r, to + at.codes + (size_t)b * 64 * (size_t)bits);
            to += at.bytes;
        }
    }
}

/* --- checking -------------------------------------------------------------------- */

bool lm_panel_good(const lm_panels *p, uint32_t i)
{
    /* Relaxed: whoever finds nothing there looks for himself and comes to the same. */
    uint8_t state = atomic_load_explicit(&p->state[i], memory_order_relaxed);
    if (state == UNKNOWN) {
        state = lm_xxh64(p->data + i * p->bytes, (size_t)p->bytes, 0) == p->sums[i] ? GOOD : BAD;
        atomic_store_explicit(&p->state[i], state, memory_order_relaxed);
        if (state == BAD)
            atomic_fetch_add_explicit(p->bad, 1u, memory_order_relaxed);
    }
    return state == GOOD;
}
