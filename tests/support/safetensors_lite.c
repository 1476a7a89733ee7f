/* support/safetensors_lite.c - see the header.
 *
 *   byte 0 ..... 7   8 ............ 8 + n - 1   8 + n ...
 *       | n, u64 le | JSON header              | data    |
 *
 * Header: { name: { "dtype", "shape": [..], "data_offsets": [from, to] }, .. },
 * offsets counted from the first byte of data.
 */
#include "safetensors_lite.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/map.h"
#include "base/mem.h"

struct st_file {
    lm_map *map;
    json_t *header;
    const uint8_t *data;
    uint64_t n_data;
};

st_file *st_open(const char *path)
{
    lm_error err = { 0 };
    st_file *f = NULL;
    json_error_t why = { .text = "header longer than the file" };
    if (LM_NEW(&f, 1, &err) != LM_OK || lm_map_open(&f->map, path, &err) != LM_OK) {
        fprintf(stderr, "%s: %s\n", path, err.text);
        lm_free(f);
        return NULL;
    }
    const uint8_t *bytes = lm_map_data(f->map);
    uint64_t size = lm_map_size(f->map), n = size < 8 ? UINT64_MAX : lm_u64le(bytes);
    if (size >= 8 && n <= size - 8) {
        f->header = json_loadb((const char *)bytes + 8, (size_t)n, JSON_REJECT_DUPLICATES, &why);
        f->data = bytes + 8 + n;
        f->n_data = size - 8 - n;
    }
    if (!json_is_object(f->header)) {
        fprintf(stderr, "%s: %s\n", path, why.text);
        st_close(f);
        return NULL;
    }
    return f;
}

bool st_find(const st_file *f, const char *name, st_tensor *out)
{
    const json_t *entry = json_object_get(f->header, name);
    const json_t *shape = json_object_get(entry, "shape"), *at = json_object_get(entry, "data_offsets");
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    uint64_t from = (uint64_t)json_integer_value(json_array_get(at, 0));
    uint64_t to = (uint64_t)json_integer_value(json_array_get(at, 1));
    memset(out, 0, sizeof *out);
    if (!dtype || strlen(dtype) >= sizeof out->dtype || json_array_size(shape) > LM_LEN(out->dims) ||
        from > to || to > f->n_data)
        return false;
    memcpy(out->dtype, dtype, strlen(dtype));
    out->n_dims = (uint32_t)json_array_size(shape);
    out->n_elems = 1;
    for (uint32_t i = 0; i < out->n_dims; i++) {
        out->dims[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
        if (lm_mul_overflows(out->n_elems, out->dims[i], &out->n_elems))
            return false;
    }
    out->data = f->data + from;
    out->n_bytes = (size_t)(to - from);
    return true;
}

const char *st_name(const st_file *f, size_t i)
{
    const char *name;
    json_t *entry;
    json_object_foreach(f->header, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0 && i-- == 0)
            return name;
    }
    return NULL;
}

void st_close(st_file *f)
{
    if (!f)
        return;
    json_decref(f->header);
    lm_map_close(f->map);
    lm_free(f);
}
