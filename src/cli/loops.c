/* cli/loops.c - one token, one line, one sentence, again and again. */
#include "cli/loops.h"

#include <string.h>

enum { LONGEST = 4096 };

void loop_open(loop_guard *g)
{
    *g = (loop_guard){ .token = -1,
                       .line = { .max = LONGEST },
                       .last_line = { .max = LONGEST },
                       .sentence = { .max = LONGEST },
                       .last_sentence = { .max = LONGEST } };
}

void loop_clear(loop_guard *g)
{
    lm_str_clear(&g->line);
    lm_str_clear(&g->last_line);
    lm_str_clear(&g->sentence);
    lm_str_clear(&g->last_sentence);
}

/* The piece has ended: counts it, and makes it the last one. */
static uint32_t ended(lm_str *now, lm_str *last, uint32_t n, size_t least)
{
    const char *a = lm_str_z(now);
    a += strspn(a, " \t\n");
    uint32_t count = 1;
    if (strlen(a) < least)
        count = n; /* too short to say anything */
    else {
        if (strcmp(a, lm_str_z(last)) == 0)
            count = n + 1;
        lm_str_reset(last);
        lm_str_addz(last, a);
    }
    lm_str_reset(now);
    return count;
}

const char *loop_see(loop_guard *g, int32_t token, const char *text, size_t n)
{
    g->n_tokens = token == g->token ? g->n_tokens + 1 : 1;
    g->token = token;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\n')
            g->n_lines = ended(&g->line, &g->last_line, g->n_lines, 1);
        else
            lm_str_addc(&g->line, c);
        lm_str_addc(&g->sentence, c);
        if (c == '.' || c == '!' || c == '?')
            g->n_sentences = ended(&g->sentence, &g->last_sentence, g->n_sentences, LOOP_LEAST_SENTENCE);
    }
    return g->n_tokens >= LOOP_TOKENS         ? "repeated_token_loop"
           : g->n_lines >= LOOP_LINES         ? "repeated_line_loop"
           : g->n_sentences >= LOOP_SENTENCES ? "repeated_sentence_loop"
                                              : NULL;
}
