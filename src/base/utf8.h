/* base/utf8.h - one code point at a time, strictly (no surrogates, no overlong
 * forms, nothing above U+10FFFF).  Threads: any thread. */
#ifndef LM_UTF8_H
#define LM_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LM_UTF8_BAD UINT32_MAX

/* Reads one code point at p (n > 0 bytes are there) and sets *len to the bytes
 * taken.  Ill-formed: returns LM_UTF8_BAD and *len = 1. */
uint32_t lm_utf8_get(const char *p, size_t n, size_t *len);
/* Writes 1 to 4 bytes; a value that is no code point becomes U+FFFD. */
size_t lm_utf8_put(uint32_t code_point, char out[4]);
bool lm_utf8_valid(const char *p, size_t n);
/* How many bytes at the end of p[0..n) are the start of a character that is not
 * complete yet (0 to 3); ill-formed bytes count as complete. */
size_t lm_utf8_unfinished(const char *p, size_t n);

#endif
