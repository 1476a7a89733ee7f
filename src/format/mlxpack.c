/* format/mlxpack.c - reads `quantization` of config.json and merges triples.
 *
 * With W words of 32 bits and S scales in a row of `in` numbers, in = S * group
 * and bits * in = 32 * W, so bits * group = 32 * W / S: shapes give the product
 * and one of the two has to come from elsewhere (SPEC 3.1.4, 3.3.4c). */
#include "format/mlxpack.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "format/folder.h"
#include "format/limits.h"

/* An entry of `quantization`: zeros and NULL where it says nothing. */
typedef struct {
    unsigned bits, group;
    const char *mode;
    bool own; /* stands under the layer's own name, so it must fit */
} entry;

typedef struct {
    const json_t *block; /* `quantization`, or NULL */
    entry pack;          /* its defaults */
    unsigned hint;       /* group that hidden_size and the embedding's scales imply, or 0 */
    size_t n_inferred;
} reader;

static unsigned small_number(const json_t *v)
{
    json_int_t i = json_integer_value(v); /* 0 when it is no integer */
    return i > 0 && i <= 4096 ? (unsigned)i : 0;
}

static entry read_entry(const json_t *o)
{
    return (entry){ .bits = small_number(json_object_get(o, "bits")),
                    .group = small_number(json_object_get(o, "group_size")),
                    .mode = json_string_value(json_object_get(o, "mode")) };
}

/* mlx-lm writes the block under both names; a `quantization_config` with a
 * quant_method belongs to another scheme (gptq, awq, fp8 …). */
static const json_t *find_block(const json_t *config)
{
    static const char *const names[] = { "quantization", "quantization_config" };
    const json_t *places[] = { config, json_object_get(config, "text_config") };
    for (size_t p = 0; p < LM_LEN(places); p++)
        for (size_t i = 0; i < LM_LEN(names); i++) {
            const json_t *o = json_object_get(places[p], names[i]);
            if (json_is_object(o) && !json_object_get(o, "quant_method"))
                return o;
        }
    return NULL;
}

/* The entry of layer `base`: by its name, or by its name without the wrappers
 * that multimodal packs put in front (SPEC 3.1.6). */
static const json_t *find_entry(const json_t *block, const char *base)
{
    static const char *const wrappers[] = { "model.language_model.", "language_model.", "model." };
    const json_t *v = json_object_get(block, base);
    for (size_t i = 0; !v && i < LM_LEN(wrappers); i++)
        if (lm_starts_with(base, wrappers[i]))
            v = json_object_get(block, base + strlen(wrappers[i]));
    return v;
}

static bool good_bits(uint64_t bits)
{
    return (bits >= 1 && bits <= 6) || bits == 8;
}

/* Bits and group of an affine layer with bits * group = product. */
static lm_status choose_affine(reader *r, const entry *e, const char *name, uint64_t product, unsigned *bits,
                               unsigned *group, lm_error *err)
{
    if (e->bits && e->group && (uint64_t)e->bits * e->group == product) {
        *bits = e->bits;
        *group = e->group;
        return LM_OK;
    }
    if (e->own && e->bits && e->group)
        return lm_fail(
            err, LM_ERR_CORRUPT,
            "config.json gives '%s' %u bits in groups of %u, its shapes say bits x group = %" PRIu64, name,
            e->bits, e->group, product);
    /* 64 is what MLX writes unless told otherwise. */
    const unsigned groups[] = { e->own ? e->group : 0, r->hint, 64, e->group, 32, 128 };
    for (size_t i = 0; i < LM_LEN(groups); i++)
        if (groups[i] && product % groups[i] == 0 && good_bits(product / groups[i])) {
            *bits = (unsigned)(product / groups[i]);
            *group = groups[i];
            r->n_inferred++;
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_CORRUPT,
                   "the shapes of '%s' say bits x group = %" PRIu64
                   ", which no group of 32, 64 or 128 explains",
                   name, product);
}

/* Modes with one byte a scale have a product each. */
static const struct {
    const char *mode;
    uint64_t product;
    lm_quant_kind kind;
} byte_modes[] = {
    { "mxfp4", 4 * 32, LM_Q_MLX_MXFP4 },
    { "mxfp8", 8 * 32, LM_Q_MLX_MXFP8 },
    { "nvfp4", 4 * 16, LM_Q_MLX_NVFP4 },
};

static lm_status choose_quant(reader *r, const entry *e, const lm_tensor *w, const lm_tensor *s,
                              bool has_biases, const lm_quant **out, lm_error *err)
{
    lm_quoted_buf q, m;
    uint64_t words = w->dims[w->n_dims - 1], scales = s->dims[s->n_dims - 1], product;
    unsigned bits = 0, group = 0;

    lm_quoted_z(&q, w->name);
    if (lm_mul_overflows(words, 32, &product) || product % scales != 0)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "'%s' has %" PRIu64 " words and %" PRIu64 " scales in a row, which do not divide", q.s,
                       words, scales);
    product /= scales;
    if (s->quant) { /* scales in floating point: affine */
        if (e->own && e->mode && strcmp(e->mode, "affine") != 0)
            return lm_fail(err, LM_ERR_CORRUPT, "config.json gives '%s' the mode %s, its scales are %s", q.s,
                           lm_quoted_z(&m, e->mode), s->dtype);
        if (!has_biases)
            return lm_fail(err, LM_ERR_CORRUPT, "'%s' has scales of type %s but no biases", q.s, s->dtype);
        LM_TRY(choose_affine(r, e, q.s, product, &bits, &group, err));
        *out = lm_quant_affine(bits, group, s->quant->kind);
        if (!*out)
            return lm_fail(
                err, LM_ERR_UNSUPPORTED,
                "'%s' has %u bits in groups of %u with scales of type %s, which this version cannot read",
                q.s, bits, group, s->dtype);
        return LM_OK;
    }
    for (size_t i = 0; i < LM_LEN(byte_modes) && !has_biases; i++)
        if (byte_modes[i].product == product) {
            if (e->mode && strcmp(e->mode, byte_modes[i].mode) != 0) {
                if (e->own)
                    return lm_fail(err, LM_ERR_CORRUPT,
                                   "config.json gives '%s' the mode %s, its shapes say %s", q.s,
                                   lm_quoted_z(&m, e->mode), byte_modes[i].mode);
                r->n_inferred++;
            }
            *out = lm_quant_of(byte_modes[i].kind);
            return LM_OK;
        }
    return lm_fail(err, LM_ERR_CORRUPT,
                   "'%s' has scales of type %s and bits x group = %" PRIu64 ", which is no mode of MLX", q.s,
                   s->dtype, product);
}

/* The same leading dimensions; the last ones are compared by the caller. */
static bool rows_agree(const lm_tensor *a, const lm_tensor *b)
{
    return a->n_dims >= 2 && a->n_dims == b->n_dims &&
           memcmp(a->dims, b->dims, (a->n_dims - 1) * sizeof a->dims[0]) == 0;
}

static lm_status merge(reader *r, lm_tensor *w, lm_tensor *s, lm_tensor *b, const char *base, lm_error *err)
{
    lm_quoted_buf q;
    entry e = r->pack;
    const json_t *v = r->block ? find_entry(r->block, base) : NULL;
    const lm_quant *quant = NULL;

    lm_quoted_z(&q, w->name);
    if (json_is_false(v))
        return lm_fail(err, LM_ERR_CORRUPT, "config.json says that '%s' is not quantised, but it has scales",
                       q.s);
    if (json_is_object(v)) {
        e = read_entry(v);
        e.own = true;
    }
    if (!rows_agree(w, s) || (b && (!rows_agree(s, b) || s->dims[s->n_dims - 1] != b->dims[b->n_dims - 1])))
        return lm_fail(err, LM_ERR_CORRUPT, "the shapes of '%s', its scales and its biases do not match",
                       q.s);
    if (b && s->quant != b->quant)
        return lm_fail(err, LM_ERR_CORRUPT, "'%s' has scales of type %s and biases of type %s", q.s, s->dtype,
                       b->dtype);
    LM_TRY(choose_quant(r, &e, w, s, b != NULL, &quant, err));

    uint64_t cols, rows = s->n_elems / s->dims[s->n_dims - 1];
    if (lm_mul_overflows(s->dims[s->n_dims - 1], quant->block_elems, &cols) ||
        lm_mul_overflows(rows, cols, &w->n_elems))
        return lm_fail(err, LM_ERR_CORRUPT, "tensor '%s' is larger than a file can be", q.s);
    w->dims[w->n_dims - 1] = cols;
    w->quant = quant;
    w->dtype = quant->name;
    w->plane[1] = s->plane[0];
    w->n_bytes[1] = s->n_bytes[0];
    w->plane[2] = b ? b->plane[0] : NULL;
    w->n_bytes[2] = b ? b->n_bytes[0] : 0;
    for (int p = 0; p < LM_QUANT_PLANES; p++) {
        uint64_t need = p < quant->n_planes ? rows * lm_quant_row_bytes(quant, p, cols) : 0;
        if (w->n_bytes[p] != need)
            return lm_fail(err, LM_ERR_CORRUPT, "plane %d of '%s' has %" PRIu64 " bytes, %s needs %" PRIu64,
                           p, q.s, w->n_bytes[p], quant->name, need);
    }
    s->n_elems = 0; /* taken */
    if (b)
        b->n_elems = 0;
    return LM_OK;
}

/* The group that the embedding's width and its scales imply. */
static unsigned group_hint(const lm_tensors *t, const json_t *config)
{
    const json_t *text = json_object_get(config, "text_config");
    const json_t *v = json_object_get(json_is_object(text) ? text : config, "hidden_size");
    uint64_t width = json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
    for (size_t i = 0; width && i < t->n; i++) {
        const lm_tensor *s = &t->items[i];
        if (!lm_ends_with(s->name, "embed_tokens.scales") || s->n_dims != 2)
            continue;
        uint64_t group = width / s->dims[1];
        return width % s->dims[1] == 0 && (group == 32 || group == 64 || group == 128) ? (unsigned)group : 0;
    }
    return 0;
}

static lm_tensor *sibling(const lm_tensors *t, const char *base, const char *end)
{
    char name[LM_LIMIT_NAME + 16];
    size_t n = strlen(base), m = strlen(end);
    memcpy(name, base, n);
    memcpy(name + n, end, m + 1);
    return lm_tensors_find(t, name);
}

lm_status lm_mlx_merge(lm_tensors *t, const json_t *config, size_t *n_inferred, lm_error *err)
{
    reader r = { .block = find_block(config), .hint = group_hint(t, config) };
    size_t kept = 0;

    if (r.block)
        r.pack = read_entry(r.block);
    for (size_t i = 0; i < t->n; i++) {
        char base[LM_LIMIT_NAME + 1];
        lm_tensor *s = &t->items[i];
        size_t n = strlen(s->name);
        if (!lm_ends_with(s->name, ".scales") || s->n_elems == 0)
            continue;
        n -= strlen(".scales");
        memcpy(base, s->name, n);
        base[n] = 0;
        lm_tensor *w = sibling(t, base, ".weight"), *b = sibling(t, base, ".biases");
        if (w && strcmp(w->dtype, "U32") == 0)
            LM_TRY(merge(&r, w, s, b, base, err));
    }
    for (size_t i = 0; i < t->n; i++)
        if (t->items[i].n_elems)
            t->items[kept++] = t->items[i];
    t->n = kept;
    if (n_inferred)
        *n_inferred = r.n_inferred;
    return LM_OK;
}
