/* cli/loops.h - guards against a generation that goes round in circles (SPEC 25.4).
 * Threads: one thread. */
#ifndef LM_CLI_LOOPS_H
#define LM_CLI_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { LOOP_TOKENS = 256, LOOP_LINES = 24, LOOP_SENTENCES = 4, LOOP_LEAST_SENTENCE = 16 };

typedef struct {
    int32_t token;
    uint32_t n_tokens, n_lines, n_sentences; /* how often in a row */
    lm_str line, last_line, sentence, last_sentence;
} loop_guard;

void loop_open(loop_guard *g);
void loop_clear(loop_guard *g);
/* What repeats by now ("repeated_token_loop", ...), or NULL. */
const char *loop_see(loop_guard *g, int32_t token, const char *text, size_t n);

#endif
