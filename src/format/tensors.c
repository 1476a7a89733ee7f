/* format/tensors.c - placing tensors, and the sorted list of them. */
#include "format/tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/json.h"
#include "format/limits.h"

enum { NAME_BLOCK = 16384 }; /* bytes; holds at least one name of any length */

struct lm_name_block {
    struct lm_name_block *next;
    size_t used;
    char bytes[NAME_BLOCK];
};

/* The order is the point: the element count may overflow, so may the byte count
 * of a block format, and only a range proven inside the file becomes a pointer. */
lm_status lm_place_tensor(const uint8_t *base, uint64_t size, const lm_tensor_decl *d, lm_tensor *out,
                          lm_error *err)
{
    lm_quoted_buf q;
    uint64_t n_elems = 1, n_bytes, bits;
    uint64_t cols = d->n_dims ? d->dims[d->n_dims - 1] : 1;

    lm_quoted_z(&q, d->name);
    for (uint32_t i = 0; i < d->n_dims; i++) {
        if (d->dims[i] == 0)
            return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has no elements", q.s);
        if (lm_mul_overflows(n_elems, d->dims[i], &n_elems))
            return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' is larger than a file can be", q.s);
    }
    if (d->quant && cols % d->quant->block_elems != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' has rows of %" PRIu64 ", %s needs a multiple of %u",
                       q.s, cols, d->quant->name, (unsigned)d->quant->block_elems);
    bool huge = d->quant
                    ? lm_mul_overflows(n_elems / d->quant->block_elems, d->quant->block_bytes[0], &n_bytes)
                    : lm_mul_overflows(n_elems, d->bits, &bits);
    if (huge)
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' is larger than a file can be", q.s);
    if (!d->quant) {
        if (bits % 8 != 0)
            return lm_fail(err, LM_ERR_CORRUPT,
                           "tensor '%s' has %" PRIu64 " elements of %" PRIu32
                           " bits, which do not fill bytes",
                           q.s, n_elems, d->bits);
        n_bytes = bits / 8;
    }
    if (!lm_inside(d->at, n_bytes, size)) {
        lm_hint(err, "the file is incomplete: fetch it again");
        return lm_fail_at(err, LM_ERR_TRUNCATED, d->at,
                          "tensor '%s' needs %" PRIu64 " bytes at byte %" PRIu64 ", the file has %" PRIu64,
                          q.s, n_bytes, d->at, size);
    }
    *out = (lm_tensor){ .name = d->name,
                        .quant = d->quant,
                        .dtype = d->dtype,
                        .n_dims = d->n_dims,
                        .n_elems = n_elems,
                        .plane = { base + d->at },
                        .n_bytes = { n_bytes } };
    memcpy(out->dims, d->dims, sizeof out->dims);
    return LM_OK;
}

lm_status lm_tensors_name(lm_tensors *t, const char *bytes, uint64_t n, const char **out, lm_error *err)
{
    struct lm_name_block *b = t->names;
    lm_quoted_buf q;

    if (n == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "a tensor has an empty name");
    if (n > LM_LIMIT_NAME)
        return lm_fail(err, LM_ERR_CORRUPT, "a tensor's name has %" PRIu64 " bytes, allowed are %d", n,
                       LM_LIMIT_NAME);
    size_t len = (size_t)n;
    bool plain = lm_utf8_valid(bytes, len);
    for (size_t i = 0; i < len && plain; i++)
        plain = (unsigned char)bytes[i] >= 0x20 && bytes[i] != 0x7f;
    if (!plain)
        return lm_fail(err, LM_ERR_CORRUPT, "the tensor name '%s' holds control characters or is not UTF-8",
                       lm_quoted(&q, bytes, len));
    if (!b || NAME_BLOCK - b->used < len + 1) {
        LM_TRY(LM_NEW(&b, 1, err));
        b->next = t->names;
        t->names = b;
    }
    char *p = b->bytes + b->used;
    memcpy(p, bytes, len);
    p[len] = 0;
    b->used += len + 1;
    *out = p;
    return LM_OK;
}

lm_status lm_tensors_add(lm_tensors *t, const lm_tensor *tensor, lm_error *err)
{
    if (t->n >= LM_LIMIT_TENSORS)
        return lm_fail(err, LM_ERR_CORRUPT, "the pack has more than %d tensors", LM_LIMIT_TENSORS);
    LM_TRY(lm_grow((void **)&t->items, &t->cap, t->n + 1, sizeof *t->items, err));
    t->items[t->n++] = *tensor;
    return LM_OK;
}

static int by_place(const void *a, const void *b)
{
    const lm_tensor *x = *(const lm_tensor *const *)a, *y = *(const lm_tensor *const *)b;
    return (x->plane[0] > y->plane[0]) - (x->plane[0] < y->plane[0]);
}

lm_status lm_tensors_apart(const lm_tensors *t, size_t first, lm_error *err)
{
    const lm_tensor **order = NULL;
    lm_quoted_buf q, r;
    lm_status status = LM_OK;
    size_t n = t->n - first;

    if (n < 2)
        return LM_OK;
    LM_TRY(LM_NEW(&order, n, err));
    for (size_t i = 0; i < n; i++)
        order[i] = &t->items[first + i];
    qsort(order, n, sizeof *order, by_place);
    for (size_t i = 1; i < n && status == LM_OK; i++)
        if ((uint64_t)(order[i]->plane[0] - order[i - 1]->plane[0]) < order[i - 1]->n_bytes[0])
            status = lm_fail(err, LM_ERR_CORRUPT, "the tensors '%s' and '%s' overlap",
                             lm_quoted_z(&q, order[i - 1]->name), lm_quoted_z(&r, order[i]->name));
    lm_free(order);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const lm_tensor *)a)->name, ((const lm_tensor *)b)->name);
}

lm_status lm_tensors_sort(lm_tensors *t, lm_error *err)
{
    lm_quoted_buf q, a, b;
    if (t->n)
        qsort(t->items, t->n, sizeof *t->items, by_name);
    for (size_t i = 1; i < t->n; i++) {
        const lm_tensor *x = &t->items[i - 1], *y = &t->items[i];
        if (strcmp(x->name, y->name) != 0)
            continue;
        if (x->map && y->map && x->map != y->map) {
            const char *f = lm_quoted_z(&a, lm_base_name(lm_map_path(x->map)));
            const char *g = lm_quoted_z(&b, lm_base_name(lm_map_path(y->map)));
            bool swap = strcmp(f, g) > 0; /* qsort does not keep the order of equals */
            return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' stands in %s and in %s",
                           lm_quoted_z(&q, x->name), swap ? g : f, swap ? f : g);
        }
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' stands twice", lm_quoted_z(&q, x->name));
    }
    return LM_OK;
}

lm_tensor *lm_tensors_find(const lm_tensors *t, const char *name)
{
    lm_tensor key = { .name = name };
    return t->n ? bsearch(&key, t->items, t->n, sizeof *t->items, by_name) : NULL;
}

void lm_tensors_clear(lm_tensors *t)
{
    while (t->names) {
        struct lm_name_block *next = t->names->next;
        lm_free(t->names);
        t->names = next;
    }
    lm_free(t->items);
    *t = (lm_tensors){ 0 };
}
