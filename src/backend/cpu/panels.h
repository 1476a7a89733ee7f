/* backend/cpu/panels.h - an interleaved copy of a matrix: panels of 16 output rows.
 *
 * What the kernels of linear.h unpack from the file's rows lies ready here: 4
 * columns of 16 rows are one vector, scales of 16 rows another.  A panel is one
 * run of bytes, slab after slab (2048 columns, the last may be shorter), each
 *
 *   | m, mn | s, sc | codes [block of 32 columns][64 * bits] |    each part at a multiple of 64
 *
 * m, s   [group][16 rows] in the file's own number format (f16, bf16, f32, e8m0);
 *        q4_K, q5_K, q6_K, iq4_xs: f16 for 256 columns
 * mn, sc [block][16 rows] integer factors of those; q6_K: [half block][16 rows]
 * codes  a block's `bits` bits as planes of 8, or of 4, 2 and 1 bits, low bits first
 *        (5 = 4 + 1).  In a plane of w bits vector i has quads of columns i * 8 / w on,
 *        one above the other: byte 4 * row + column of bits w * j is quad i * 8 / w + j.
 *
 * The bytes follow from the weights alone, on every machine.  docs/design/cpu.md
 * draws them; docs/formats/prepared.md is the file that holds them.
 *
 * Every panel has a checksum, looked at once, by the thread that first needs the
 * panel; a bad one is not used, the rows in the file are.  Both give the same bits
 * (N1), so that may happen anywhere.
 *
 * Trust:   the bytes are outside bytes; nothing in them is an address or a count.
 * Threads: any thread; the state of a panel is atomic and only ever settles.
 */
#ifndef LM_CPU_PANELS_H
#define LM_CPU_PANELS_H

#include <stdatomic.h>

#include "backend/cpu/linear.h"

typedef struct lm_panels {
    const uint8_t *data;    /* 64-byte aligned; panel i at i * bytes */
    uint64_t bytes;         /* of a panel */
    const uint64_t *sums;   /* XXH3 of each panel */
    _Atomic uint8_t *state; /* of each panel; 0 at first */
    _Atomic uint32_t *bad;  /* counts panels that were found bad */
} lm_panels;

/* Where the parts of a slab begin. */
typedef struct {
    size_t m, mn, s, sc, codes, bytes;
} lm_panel_parts;

/* Whether the kernels of an instruction set read panels; the others read the file. */
bool lm_isa_reads_panels(lm_isa isa);
/* Whether there is such a copy of a matrix in this format. */
bool lm_panels_exist(const lm_quant *q, uint32_t cols);
/* 0 where there is none. */
uint64_t lm_panel_bytes(const lm_quant *q, uint32_t cols);
lm_panel_parts lm_panel_parts_of(const lm_quant *q, uint32_t cols);
/* Bits of a code in panels. */
int lm_panel_bits(const lm_quant *q);

/* Makes panel i of w: lm_panel_bytes() bytes; `scratch` has lm_panel_scratch() bytes.
 * Rows past the matrix are zeros. */
size_t lm_panel_scratch(uint32_t cols);
void lm_panel_make(const lm_matrix *w, uint32_t i, uint8_t *out, void *scratch);

/* Whether panel i is as it was made; reads it whole the first time. */
bool lm_panel_good(const lm_panels *p, uint32_t i);

#endif
