/* state/io.h - the system calls of the store, each with a place to fail.
 *
 * Files of the store are opened relative to a folder descriptor and never through
 * a symbolic link; names are made here (hex digits), never taken from a client
 * (T4).  With LM_FAULTS (test builds) every call counts as a failpoint: the n-th
 * one can be made to fail, or to kill the process (tests/unit/test_store_crash.c).
 *
 * Trust:   what lies in the folder is outside input; sizes are checked.
 * Threads: any thread.
 */
#ifndef LM_STATE_IO_H
#define LM_STATE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef enum { LM_FAULT_OFF, LM_FAULT_ERROR, LM_FAULT_ERROR_ALL, LM_FAULT_KILL } lm_fault_mode;
/* The n-th failpoint from now (1 is the next) fails with `error` in errno, once
 * or from then on, or kills the process. */
void lm_fault_set(lm_fault_mode mode, uint64_t n, int error);
uint64_t lm_fault_count(void); /* failpoints passed since lm_fault_set() */
/* Whether this call is the one that fails; then errno is set. */
bool lm_fault_here(void);

/* A folder: made with 0700 when `create`, refused when it is a symbolic link. */
lm_status lm_io_folder(int at, const char *name, bool create, int *fd, lm_error *err) LM_NODISCARD;
/* A regular file, never through a symbolic link, 0600 when it is created. */
lm_status lm_io_open(int dir, const char *name, int flags, int *fd, lm_error *err) LM_NODISCARD;
void lm_io_close(int fd); /* negative is fine */
lm_status lm_io_write_at(int fd, uint64_t at, const void *bytes, size_t n, const char *what,
                         lm_error *err) LM_NODISCARD;
lm_status lm_io_read_at(int fd, uint64_t at, void *bytes, size_t n, const char *what,
                        lm_error *err) LM_NODISCARD;
lm_status lm_io_sync(int fd, const char *what, lm_error *err) LM_NODISCARD;
/* rename and fsync of the folder: the file has its name when this returns. */
lm_status lm_io_name(int dir, const char *from, const char *to, lm_error *err) LM_NODISCARD;
/* A missing file is fine. */
lm_status lm_io_unlink(int dir, const char *name, lm_error *err) LM_NODISCARD;
/* Gives the bytes of a range back to the file system. */
lm_status lm_io_punch(int fd, uint64_t at, uint64_t n, lm_error *err) LM_NODISCARD;
/* Appears whole or not at all (S4). */
lm_status lm_io_put_file(int dir, const char *name, const void *bytes, size_t n, lm_error *err) LM_NODISCARD;
/* Reads whole, at most `max` bytes; gives *out, freed with lm_free(). */
lm_status lm_io_read_file(int dir, const char *name, size_t max, uint8_t **out, size_t *n,
                          lm_error *err) LM_NODISCARD;
/* ".tmp-" and 16 random hex digits: what a crash leaves is known by its name. */
enum { LM_TMP_NAME = 24 };
lm_status lm_io_tmp_name(char out[LM_TMP_NAME], lm_error *err) LM_NODISCARD;
bool lm_io_is_tmp(const char *name);
lm_status lm_io_random(void *out, size_t n, lm_error *err) LM_NODISCARD;
void lm_io_hex(const uint8_t *bytes, size_t n, char *out); /* 2n + 1 */
bool lm_io_unhex(const char *hex, uint8_t *bytes, size_t n);

#endif
