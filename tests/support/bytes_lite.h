/* support/bytes_lite.h - files byte by byte, as their descriptions say and without our writers. */
#ifndef BYTES_LITE_H
#define BYTES_LITE_H

#include <stdint.h>
#include <string.h>

#include "base/str.h"

static inline void put_le(lm_str *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        lm_str_addc(b, (char)(v >> (8 * i)));
}

static inline void put_u32(lm_str *b, uint32_t v)
{
    put_le(b, v, 4);
}

static inline void put_f32(lm_str *b, float x)
{
    uint32_t v;
    memcpy(&v, &x, sizeof v);
    put_le(b, v, 4);
}

/* A u32 length and the text. */
static inline void put_text(lm_str *b, const char *s)
{
    put_u32(b, (uint32_t)strlen(s));
    lm_str_addz(b, s);
}

#endif
