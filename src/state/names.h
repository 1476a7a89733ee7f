/* state/names.h - what a page is called, and why equal names mean equal bytes (S2).
 *
 *   root  = SHA-256 over what the bytes depend on besides tokens: weights, adapter,
 *           program, numerics, geometry of the cache group, salt
 *   name  = SHA-256(root, name of the page before it or zeros, the page's tokens)
 *
 * Every field goes in with a tag and its length, so no two lists of fields share a
 * name.  A page that is not full has a name of the same kind over its fewer tokens.
 *
 * Threads: any thread.
 */
#ifndef LM_STATE_NAMES_H
#define LM_STATE_NAMES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "format/pack.h"
#include "tensor/program.h"

enum { LM_STATE_GROUPS = 8 }; /* cache groups of a model: full, sliding, recurrent, and room */

typedef enum {
    LM_PAGES_KV,        /* keys and values of the page's own tokens */
    LM_PAGES_CHECKPOINT /* recurrent state after the page's last token */
} lm_pages_kind;

/* What all pages of one cache group share; 56 bytes, stored as it is. */
typedef struct {
    char format[16]; /* "bf16", padded with zeros */
    uint32_t kind;   /* lm_pages_kind */
    uint32_t group;  /* index in the program */
    uint32_t n_layers, n_heads, k_dim, v_dim;
    uint32_t window; /* 0: every position */
    uint32_t page_tokens;
    uint64_t page_bytes;
} lm_geometry;
_Static_assert(sizeof(lm_geometry) == 56, "stored as it is");

lm_geometry lm_geometry_of(uint32_t group, const lm_cache_group *g, lm_kv_format format);
/* Numbers that no page can have are refused with the seen and the allowed. */
lm_status lm_geometry_check(const lm_geometry *g, lm_error *err) LM_NODISCARD;

/* Whose state it is.  A digest of zeros: none (adapter), or not known yet (weights:
 * then nothing may be published or reused). */
typedef struct {
    lm_digest weights, adapter, program;
    char numerics[64]; /* lm_device_info.numerics */
} lm_model_id;

/* One model's cache groups under one salt: everything that names need. */
typedef struct {
    uint32_t n_groups;
    lm_geometry groups[LM_STATE_GROUPS];
    lm_digest roots[LM_STATE_GROUPS];
} lm_space;

/* LM_ERR_STATE while id->weights is zero.  `salt` separates tenants (S7). */
lm_status lm_space_init(lm_space *out, const lm_model_id *id, const lm_geometry *groups, uint32_t n_groups,
                        const void *salt, size_t n_salt, lm_error *err) LM_NODISCARD;

bool lm_digest_equal(const lm_digest *a, const lm_digest *b);
bool lm_digest_is_zero(const lm_digest *d);

/* Name of one page; `parent` NULL: the first of its chain. */
lm_status lm_page_name(const lm_digest *root, const lm_digest *parent, const int32_t *tokens, uint32_t n,
                       lm_digest *out, lm_error *err) LM_NODISCARD;
/* Names of pages 0 to ceil(n / page_tokens) - 1 of a chain; the last may be partial. */
lm_status lm_page_names(const lm_digest *root, const int32_t *tokens, uint32_t n, uint32_t page_tokens,
                        lm_digest *names, lm_error *err) LM_NODISCARD;
/* The name an imported page bears until it was recomputed: it serves `entry` alone
 * (S9), since no chain of tokens leads to it. */
lm_status lm_page_name_private(const lm_digest *name, const lm_digest *entry, lm_digest *out,
                               lm_error *err) LM_NODISCARD;

/* Over every operation, shape, constant, rotary table and vector of the program:
 * whatever was resolved from configuration and overrides. */
lm_status lm_program_identity(const lm_program *p, lm_digest *out, lm_error *err) LM_NODISCARD;

/* SHA-256 over the bytes of the pack's weight files.  Reads them all the first time
 * (the disk thread's work), then knows each by device, inode, size, mtime and ctime
 * from small files in the folder `cache` (NULL: never remembered).  `stop` may be
 * NULL; LM_ERR_CANCELLED when it is set. */
lm_status lm_pack_identity(const lm_packfile *pack, const char *cache, const atomic_bool *stop,
                           lm_digest *out, lm_error *err) LM_NODISCARD;
/* The same from the cache alone, in microseconds; LM_ERR_NOT_FOUND when some file is
 * not known. */
lm_status lm_pack_identity_known(const lm_packfile *pack, const char *cache, lm_digest *out,
                                 lm_error *err) LM_NODISCARD;

#endif
