/* state/limits.h - how much a file of the store may claim, and why.
 *
 * Threads: constants. */
#ifndef LM_STATE_LIMITS_H
#define LM_STATE_LIMITS_H

#include <stdint.h>

enum {
    LM_STORE_PAGE_ALIGN = 4096,      /* what mmap takes; pages start there */
    LM_MAX_PAGE_TOKENS = 1024,       /* 16 times what we write; bounds a record's length */
    LM_MAX_RUN_PAGES = 1 << 20,      /* 64 Mi tokens in one run: ten times the longest context */
    LM_MAX_ENTRY_BYTES = 1 << 28,    /* tokens, messages and a page table of millions of tokens */
    LM_MAX_ENTRY_NAME = 255,         /* bytes */
    LM_MAX_ENTRY_TEXT = 64 << 20,    /* messages or metadata: a book is one megabyte */
    LM_MAX_ENTRY_TOKENS = 1 << 24,   /* 16 Mi */
    LM_MAX_ENTRY_VOCAB = 1 << 22,    /* logits: 16 MiB */
    LM_MAX_ENTRY_SAMPLER = 64 << 20, /* history of every token */
};
#define LM_MAX_PAGE_BYTES (UINT64_C(1) << 32) /* 64 tokens of a 100-layer model in f32 are 1 GiB */

#endif
