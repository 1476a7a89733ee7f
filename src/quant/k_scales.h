/* quant/k_scales.h - the twelve bytes of 6-bit scales and minima that q4_K and
 * q5_K share, for eight groups (letters a..h; capitals: the group's scale).
 *
 *   byte 0  eeaaaaaa of scales     byte 4  eeaaaaaa of minima
 *   byte 1  ffbbbbbb               byte 5  ffbbbbbb
 *   byte 2  ggcccccc               byte 6  ggcccccc
 *   byte 3  hhdddddd               byte 7  hhdddddd
 *   byte 8 .. 11: low nibbles of e .. h, minimum above, scale below
 *
 * Threads: any thread.
 */
#ifndef LM_QUANT_K_SCALES_H
#define LM_QUANT_K_SCALES_H

#include <stdint.h>

static inline void lm_quant_k_scale(const uint8_t packed[12], int g, int *scale, int *least)
{
    if (g < 4) {
        *scale = packed[g] & 63;
        *least = packed[4 + g] & 63;
    } else {
        *scale = (packed[4 + g] & 15) | (packed[g - 4] >> 6) << 4;
        *least = packed[4 + g] >> 4 | (packed[g] >> 6) << 4;
    }
}

#endif
