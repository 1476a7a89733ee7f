/* cli/chat.h - the parts of lemma chat: what was said, and what a person types.
 * Threads: one thread. */
#ifndef LM_CLI_CHAT_H
#define LM_CLI_CHAT_H

#include "cli/cli.h"

/* Reads lines with editing and history on a terminal, plainly otherwise. */
typedef struct line_reader line_reader;
/* `history` is the file that keeps what was typed, or NULL for none. */
lm_status line_reader_open(line_reader **out, const char *history, lm_error *err);
void line_reader_close(line_reader *r);
/* One input: a line; several lines when pasted at once, between two lines of
 * three double quotes, or ended by a backslash.  *text is borrowed until the
 * next call.  False at the end of the input. */
bool line_reader_next(line_reader *r, const char **text, size_t *n);

#endif
