/* tensor/kv.h - where a key or value of a position lies inside a page.
 *
 * A page belongs to one cache group and holds P = LM_PAGE_TOKENS positions of
 * all its layers: layer by layer, key/value head by head, one block of keys and
 * one of values, each contiguous and 64-byte aligned:
 *
 *   page:   [layer][head] { K block | V block }
 *   K, 16 bit:  [P/16 tiles][dim/2][16 positions][2 dims]      4-byte lanes
 *   V, 16 bit:  [P/2 pairs][dim][2 positions]                  4-byte lanes
 *   K, f32:     [P/16 tiles][dim][16 positions]
 *   V, f32:     [P positions][dim]
 *   K, 8 bit:   [dim/32 scales][P positions], then [P/16 tiles][dim/4][16 positions][4 dims]
 *   V, 8 bit:   [1 scale][P positions], then [P/4][dim][4 positions]
 *   V, 4 bit:   [dim/32 scales][P positions], then [P/4][dim/32][16 dims][4 positions]
 *
 * so that a dot-product instruction on pairs takes both straight from memory
 * with positions (keys) or dimensions (values) as lanes.  The layout is the
 * same for every instruction set (N1) and is what the store keeps (DESIGN 5).
 *
 * 8 and 4 bits: a scale is bf16 and belongs to one position of one head, never to
 * several (N1): keys have one for 32 dimensions, 8-bit values one for the head,
 * 4-bit values one for 32 dimensions.  The scale is the largest magnitude / 127,
 * rounded up.  A key's byte is its code + 128, a value's byte its signed code; the
 * two nibbles of a 4-bit byte are dimensions j and j + 16 of the same position and
 * choose from lm_kv_levels, so no two positions share a byte and threads may write
 * neighbours at once.
 *
 *   format     bytes of a position, head of 128      relative error of a number
 *   f32        K 512  V 512                          0
 *   f16, bf16  K 256  V 256                          2^-12, 2^-9
 *   q8         K 136  V 130                          1/254 of the largest that shares its scale
 *   k-q8-v-q4  K 136  V  72                          K as q8; V a tenth of it
 *
 * Dimensions are padded: keys to a multiple of 2 (16 bit, f32) or 4, values to 16 or
 * (4 bit) 32; padding and positions not yet written hold zeros or older finite values and
 * are masked by position.
 *
 * Threads: plain functions over the caller's memory.
 */
#ifndef LM_KV_H
#define LM_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LM_PAGE_TOKENS = 64, LM_KV_TILE = 16, LM_KV_GROUP = 32, LM_KV_LEVELS = 16 };

typedef enum { LM_KV_F32, LM_KV_F16, LM_KV_BF16, LM_KV_Q8, LM_KV_K8V4, LM_KV_COUNT } lm_kv_format;

const char *lm_kv_name(lm_kv_format f);
bool lm_kv_by_name(const char *name, lm_kv_format *out);

/* What the layers of one cache group share. */
typedef struct {
    uint32_t n_layers;
    uint32_t n_heads; /* key/value heads */
    uint32_t k_dim, v_dim;
    uint32_t window; /* 0: every position; else a query sees its own and window-1 before it */
} lm_cache_group;

typedef struct {
    lm_kv_format format;
    uint32_t k_pad, v_pad;            /* dimensions with padding */
    uint32_t k_groups, v_groups;      /* scales of a position; 0 where numbers are floats */
    size_t k_bytes, v_bytes;          /* of one head's blocks */
    size_t head_stride, layer_stride; /* bytes */
    size_t page_bytes;
} lm_page_layout;

lm_page_layout lm_page_layout_of(const lm_cache_group *g, lm_kv_format format);

static inline size_t lm_page_k(const lm_page_layout *l, uint32_t layer, uint32_t head)
{
    return layer * l->layer_stride + head * l->head_stride;
}

static inline size_t lm_page_v(const lm_page_layout *l, uint32_t layer, uint32_t head)
{
    return lm_page_k(l, layer, head) + l->k_bytes;
}

/* Index, in elements, of dimension d of position pos (0 to P-1) in a block. */
static inline size_t lm_k_index16(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return ((size_t)(pos / LM_KV_TILE) * (l->k_pad / 2) + d / 2) * (2 * LM_KV_TILE) + pos % LM_KV_TILE * 2 +
           d % 2;
}

static inline size_t lm_v_index16(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return (size_t)(pos / 2) * l->v_pad * 2 + (size_t)d * 2 + pos % 2;
}

static inline size_t lm_k_index32(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return ((size_t)(pos / LM_KV_TILE) * l->k_pad + d) * LM_KV_TILE + pos % LM_KV_TILE;
}

static inline size_t lm_v_index32(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return (size_t)pos * l->v_pad + d;
}

/* 8 and 4 bits: bytes of the scales, which lie before the codes. */
static inline size_t lm_kv_scales(uint32_t groups)
{
    return (size_t)groups * LM_PAGE_TOKENS * 2;
}

static inline bool lm_kv_coded(const lm_page_layout *l)
{
    return l->k_groups > 0;
}

/* Byte, in the codes, of dimension d of position pos. */
static inline size_t lm_k_index8(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return ((size_t)(pos / LM_KV_TILE) * (l->k_pad / 4) + d / 4) * (4 * LM_KV_TILE) + pos % LM_KV_TILE * 4 +
           d % 4;
}

static inline size_t lm_v_index8(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return ((size_t)(pos / 4) * l->v_pad + d) * 4 + pos % 4;
}

/* The low nibble's, for d % 32 < 16; the high one is dimension d + 16. */
static inline size_t lm_v_index4(const lm_page_layout *l, uint32_t pos, uint32_t d)
{
    return ((size_t)(pos / 4) * (l->v_pad / 2) + d / 32 * 16 + d % 16) * 4 + pos % 4;
}

/* What a 4-bit code stands for, in units of the scale: the least square error for
 * normal numbers in groups of 32 divided by their largest (Lloyd's algorithm). */
extern const int8_t lm_kv_levels[LM_KV_LEVELS];

/* Writes one position's key and value of one head, rounding to the format;
 * `page` is the page's first byte. */
void lm_page_put(const lm_page_layout *l, uint8_t *page, uint32_t layer, uint32_t head, uint32_t pos,
                 const float *k, uint32_t k_dim, const float *v, uint32_t v_dim);
/* Reads them back as float32, any of the outputs may be NULL. */
void lm_page_get(const lm_page_layout *l, const uint8_t *page, uint32_t layer, uint32_t head, uint32_t pos,
                 float *k, uint32_t k_dim, float *v, uint32_t v_dim);

#endif
