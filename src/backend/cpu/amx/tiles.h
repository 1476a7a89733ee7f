/* backend/cpu/amx/tiles.h - the tile registers: instructions, or C that does the same.
 *
 * With LM_TILES_IN_C the eight registers are memory and every operation a plain
 * loop, so that tests on machines without AMX run the kernels' own source.
 *
 * A register is a number from 0 to 7, a constant.  Tiles of activations (A) hold
 * 16 rows of `k` codes, tiles of weights (B) k / 4 rows of 16 lanes of four
 * codes, sums (C) 16 rows of 16 lanes:
 *
 *   C[token][row] += sum over i of A[token][i] * B[i / 4][row][i % 4]
 *
 * Source: Intel, Architecture Instruction Set Extensions, chapter on AMX.
 * Threads: registers belong to the thread (here: LM_TILES_IN_C is for one thread).
 */
#ifndef LM_TILES_H
#define LM_TILES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* The 64 bytes that configure the registers: palette 1, then bytes a row and rows
 * of each register. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} lm_tile_config;

#ifdef LM_TILES_IN_C

static struct {
    lm_tile_config config;
    uint8_t at[8][16][64];
} lm_tiles;

static void lm_tile_configure(const lm_tile_config *c)
{
    memset(&lm_tiles, 0, sizeof lm_tiles);
    lm_tiles.config = *c;
}

static void lm_tile_done(void)
{
    memset(&lm_tiles, 0, sizeof lm_tiles);
}

static void lm_tile_zero(int t)
{
    memset(lm_tiles.at[t], 0, sizeof lm_tiles.at[t]);
}

static void lm_tile_load(int t, const void *from, size_t stride)
{
    lm_tile_zero(t);
    for (int r = 0; r < lm_tiles.config.rows[t]; r++)
        memcpy(lm_tiles.at[t][r], (const uint8_t *)from + (size_t)r * stride, lm_tiles.config.row_bytes[t]);
}

static void lm_tile_store(int t, void *to, size_t stride)
{
    for (int r = 0; r < lm_tiles.config.rows[t]; r++)
        memcpy((uint8_t *)to + (size_t)r * stride, lm_tiles.at[t][r], lm_tiles.config.row_bytes[t]);
}

static void lm_tile_dot(int c, int a, int b, int is_signed)
{
    for (int r = 0; r < lm_tiles.config.rows[c]; r++)
        for (int n = 0; n < lm_tiles.config.row_bytes[c] / 4; n++) {
            int32_t sum;
            memcpy(&sum, lm_tiles.at[c][r] + 4 * n, 4);
            for (int i = 0; i < lm_tiles.config.row_bytes[a]; i++) {
                uint8_t w = lm_tiles.at[b][i / 4][4 * n + i % 4];
                sum += (int8_t)lm_tiles.at[a][r][i] * (is_signed ? (int8_t)w : w);
            }
            memcpy(lm_tiles.at[c][r] + 4 * n, &sum, 4);
        }
}

#else

/* The compiler does not know that a load reads memory: what it still holds back
 * must be written before. */
#define lm_tile_configure(c)      _tile_loadconfig(c)
#define lm_tile_done()            _tile_release()
#define lm_tile_zero(t)           _tile_zero(t)
#define lm_tile_load(t, from, by) _tile_loadd(t, from, by)
#define lm_tile_store(t, to, by)  _tile_stored(t, to, by)
#define lm_tile_dot(c, a, b, is_signed)                                                                      \
    do {                                                                                                     \
        if (is_signed)                                                                                       \
            _tile_dpbssd(c, a, b);                                                                           \
        else                                                                                                 \
            _tile_dpbsud(c, a, b);                                                                           \
    } while (0)

#endif

#endif
