/* format/gguf.h - one .gguf file, version 2 or 3: metadata and tensor list.
 *
 *   "GGUF" u32 version  u64 n_tensors  u64 n_keys
 *   n_keys    x { string key, u32 type, value }
 *   n_tensors x { string name, u32 n_dims, u64 dims[], u32 type, u64 offset }
 *   padding to general.alignment, then the data that the offsets count from
 *
 * Nothing is copied: strings and arrays are read where they lie, and a list of
 * 262,144 tokens costs nothing until it is walked.
 *
 * Trust:   the bytes are hostile; lengths were checked when parsing, so the
 *          walkers below cannot leave the file.  Strings are length and bytes,
 *          not ended by NUL; keys are UTF-8, values may be anything.
 * Threads: parsing on one thread, reading from any.
 */
#ifndef LM_FORMAT_GGUF_H
#define LM_FORMAT_GGUF_H

#include "format/tensors.h"

typedef enum {
    LM_GGUF_U8,
    LM_GGUF_I8,
    LM_GGUF_U16,
    LM_GGUF_I16,
    LM_GGUF_U32,
    LM_GGUF_I32,
    LM_GGUF_F32,
    LM_GGUF_BOOL,
    LM_GGUF_STRING,
    LM_GGUF_ARRAY,
    LM_GGUF_U64,
    LM_GGUF_I64,
    LM_GGUF_F64,
    LM_GGUF_TYPES
} lm_gguf_type;

/* A value of the metadata, or an entry of one. */
typedef struct {
    const char *key; /* n_key bytes, no NUL */
    size_t n_key;
    lm_gguf_type type;
    lm_gguf_type item;   /* arrays: type of the entries */
    uint64_t n;          /* arrays: entries; strings: bytes; else 1 */
    const uint8_t *data; /* first byte of the number, the text or the first entry */
} lm_gguf_value;

/* A tensor as the file declares it, before it is checked. */
typedef struct {
    const char *name; /* n_name bytes, no NUL */
    uint64_t n_name;
    uint32_t n_dims, type;
    uint64_t dims[4]; /* as in the file: innermost first */
    uint64_t offset;  /* from the start of the data */
} lm_gguf_decl;

typedef struct lm_gguf lm_gguf;

/* Reads everything but the data.  Keeps `bytes`, which the caller holds until
 * lm_gguf_close(). */
lm_status lm_gguf_parse(lm_gguf **out, const uint8_t *bytes, uint64_t size, lm_error *err) LM_NODISCARD;
void lm_gguf_close(lm_gguf *g); /* NULL is fine */

/* Checks every tensor (type, dimensions, blocks, range, overlap) and adds it to
 * `out`; `map` is noted in them.  On failure some may have been added. */
lm_status lm_gguf_place(const lm_gguf *g, const lm_map *map, lm_tensors *out, lm_error *err) LM_NODISCARD;

uint32_t lm_gguf_version(const lm_gguf *g);
size_t lm_gguf_n_decls(const lm_gguf *g);
const lm_gguf_decl *lm_gguf_decl_at(const lm_gguf *g, size_t i);
size_t lm_gguf_n_values(const lm_gguf *g);
const lm_gguf_value *lm_gguf_value_at(const lm_gguf *g, size_t i);    /* in the file's order */
const lm_gguf_value *lm_gguf_find(const lm_gguf *g, const char *key); /* NULL: none */

/* Typed reads: false when there is no such key or it is of another kind, and
 * *out stays.  Whole numbers of every width and sign count as one kind; f64
 * takes whole numbers too. */
bool lm_gguf_u64(const lm_gguf *g, const char *key, uint64_t *out);
bool lm_gguf_i64(const lm_gguf *g, const char *key, int64_t *out);
bool lm_gguf_f64(const lm_gguf *g, const char *key, double *out);
bool lm_gguf_bool(const lm_gguf *g, const char *key, bool *out);
bool lm_gguf_str(const lm_gguf *g, const char *key, const char **s, size_t *n);
/* An array whose entries are of type `item`; NULL otherwise. */
const lm_gguf_value *lm_gguf_array(const lm_gguf *g, const char *key, lm_gguf_type item);

/* Entry i of an array of numbers or booleans; false beyond the end, for strings
 * and, in i64, for numbers that are not whole or do not fit. */
bool lm_gguf_item_i64(const lm_gguf_value *array, uint64_t i, int64_t *out);
bool lm_gguf_item_f64(const lm_gguf_value *array, uint64_t i, double *out);

/* Walks an array of strings in order:
 *   lm_gguf_walk w = lm_gguf_strings(array);
 *   while (lm_gguf_next(&w, &s, &n)) ... */
typedef struct {
    const uint8_t *at;
    uint64_t left;
} lm_gguf_walk;
lm_gguf_walk lm_gguf_strings(const lm_gguf_value *array); /* none left for other arrays and NULL */
bool lm_gguf_next(lm_gguf_walk *w, const char **s, size_t *n);

/* The number of a tensor type as GGUF calls it, "Q4_K"; NULL when unknown. */
const char *lm_gguf_type_name(uint32_t type);

#endif
