/* backend/cpu/lanes_rows.h - where the rows of a vector lie; WIDTH is known.  Pure functions. */
#ifndef LM_LANES_ROWS_H
#define LM_LANES_ROWS_H

#include "backend/cpu/linear_impl.h"

/* WIDTH rows at equal distances: few registers address them all. */
typedef struct {
    const uint8_t *a, *b; /* row 0 and row 4 */
    size_t s, s3;         /* the distance, and three times that */
} rows;

LM_INLINE rows rows_at(const uint8_t *p, size_t distance)
{
    return (rows){ p, p + 4 * (WIDTH > 4) * distance, distance, 3 * distance };
}

LM_INLINE rows rows_on(rows r, size_t n_bytes)
{
    return (rows){ r.a + n_bytes, r.b + n_bytes, r.s, r.s3 };
}

LM_INLINE const uint8_t *row_of(rows r, int i)
{
    const uint8_t *p = i & 4 ? r.b : r.a;
    switch (i & 3) {
    case 0: return p;
    case 1: return p + r.s;
    case 2: return p + 2 * r.s;
    default: return p + r.s3;
    }
}

#endif
