/* support/npy_lite.c - version 1 headers, little-endian float32, C order. */
#include "support/npy_lite.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool npy_load(const char *path, npy *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    (void)fseek(f, 0, SEEK_END);
    long size = ftell(f);
    (void)fseek(f, 0, SEEK_SET);
    uint8_t head[10];
    bool ok = fread(head, 1, 10, f) == 10 && memcmp(head, "\x93NUMPY\x01", 7) == 0;
    long start = 10 + head[8] + 256 * head[9];
    out->n = ok && size > start ? (size_t)(size - start) / sizeof(float) : 0;
    out->data = malloc(out->n * sizeof(float) + 1);
    ok = ok && fseek(f, start, SEEK_SET) == 0 && fread(out->data, sizeof(float), out->n, f) == out->n;
    (void)fclose(f);
    return ok;
}

void npy_free(npy *a)
{
    free(a->data);
    a->data = NULL;
}
