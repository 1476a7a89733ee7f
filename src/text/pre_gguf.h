/* text/pre_gguf.h - what tokenizer.ggml.pre stands for.  Threads: any thread. */
#ifndef LM_PRE_GGUF_H
#define LM_PRE_GGUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *names;      /* separated by blanks */
    const char *pattern[7]; /* one after the other, each match a piece */
    bool plain;             /* UTF-8 as it is, no byte alphabet */
    bool spaces;            /* spaces become U+2581 */
    bool ignore_merges, no_merges;
    bool add_bos, add_sep; /* what holds when the file does not say */
} lm_pre_gguf;

const lm_pre_gguf *lm_pre_gguf_find(const char *name, size_t n); /* NULL: unknown */

#endif
