/* base/map.h - a whole file mapped read-only, and what happens when it breaks.
 *
 * A map is used in place.  If the file is cut or its disk fails while it is
 * mapped, touching the hole raises SIGBUS: the handler (installed by the
 * program, lm_map_install_sigbus()) puts zero pages over the hole and flags the
 * map; whoever computes with it asks lm_map_check() when an operation ends.
 *
 * Trust:   only regular files are opened; FIFOs, devices and folders are
 *          refused by name.  Symbolic links are followed.
 * Threads: open and close from one thread at a time; reading from any thread.
 */
#ifndef LM_MAP_H
#define LM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lemma/error.h"

typedef struct lm_map lm_map;

/* Maps `path` whole.  An empty file is LM_ERR_TRUNCATED. */
lm_status lm_map_open(lm_map **out, const char *path, lm_error *err) LM_NODISCARD;
/* Maps `size` bytes at `at` (a multiple of 4096) of an open regular file that is
 * long enough; `label` stands in messages in place of a path.  `writable`: copy on
 * write, the file never changes.  The descriptor stays the caller's. */
lm_status lm_map_open_fd(lm_map **out, int fd, uint64_t at, uint64_t size, bool writable, const char *label,
                         lm_error *err) LM_NODISCARD;
const uint8_t *lm_map_data(const lm_map *m);
uint64_t lm_map_size(const lm_map *m);
const char *lm_map_path(const lm_map *m);
/* LM_ERR_IO with the path if the mapping was flagged since it was opened. */
lm_status lm_map_check(const lm_map *m, lm_error *err);
void lm_map_close(lm_map *m); /* NULL is fine */

/* Makes the system read these mapped bytes now, in one call instead of a fault every few
 * pages; false: it could not (an old kernel; a file that was cut). */
bool lm_populate(const void *at, size_t n);
/* Reads the file behind the map into the system's cache anew, in pages of 2 MiB where its
 * file system has them: what was just written, or read by programs that do not ask for
 * them, lies there in small ones.  For a map that nobody has touched yet; advice, and
 * may do nothing. */
void lm_map_reread(const lm_map *m, int fd);

/* Identity of the file as it was opened, for caches keyed by it. */
typedef struct {
    uint64_t device, inode, size, mtime_ns, ctime_ns;
} lm_file_id;
lm_file_id lm_map_id(const lm_map *m);

/* Called once by a program, never by the library on its own: SIGBUS inside a
 * map becomes zero pages and a flag; anywhere else it stays fatal. */
lm_status lm_map_install_sigbus(lm_error *err);

/* Reads a small file whole (configuration, template); refuses more than `max`
 * bytes with both numbers.  The text ends with a NUL that is not counted.
 * Gives *out, freed with lm_free(). */
lm_status lm_read_file(const char *path, size_t max, char **out, size_t *n, lm_error *err) LM_NODISCARD;
/* Writes a file so that it appears whole or not at all: temporary name, fsync,
 * rename, fsync of the folder.  mode is 0600 or 0644. */
lm_status lm_write_file(const char *path, const void *bytes, size_t n, unsigned mode,
                        lm_error *err) LM_NODISCARD;

/* Makes a folder and those above it; true if it is there afterwards. */
bool lm_make_folders(const char *path, unsigned mode);

#endif
