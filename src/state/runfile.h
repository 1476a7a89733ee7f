/* state/runfile.h - a run: pages written together, mapped where they lie.
 *
 *   0      header   4096 bytes
 *   4096   table    n_pages records of record_bytes each
 *          (zeros to a multiple of 4096)
 *   data   pages, each at a multiple of 4096
 *
 * A run gets its name (32 hex digits) only when whole (S4) and never changes, but
 * for pages that were given back to the file system: holes, and zeros in place of
 * their token ids.  Whoever has it mapped
 * holds a shared flock on it; holes are made only under the exclusive one, so no page
 * changes under a reader.  docs/formats/run-file.md has the byte table.
 *
 * Trust:   hostile: every count and offset is checked at opening, every page's
 *          checksum by whoever touches it first (S5).
 * Threads: open, retain and release from any thread; pages and flags from any.
 */
#ifndef LM_STATE_RUNFILE_H
#define LM_STATE_RUNFILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/map.h"
#include "state/limits.h"
#include "state/names.h"

typedef struct {
    uint8_t b[16];
} lm_run_id;

enum {
    LM_PAGE_TAIL = 1,    /* fewer tokens than a page holds */
    LM_PAGE_PRIVATE = 2, /* imported: serves its own entry alone (S9) */
    LM_PAGE_FLAGS = 3
};

/* What a run says of one page, and what the writer is given. */
typedef struct {
    lm_digest name, parent, root; /* parent: zeros for the first of a chain */
    lm_geometry geometry;
    uint32_t first, n_tokens; /* absolute position of the first token; tokens of this page */
    uint32_t flags;
    const int32_t *tokens; /* [n_tokens] */
    uint64_t cost_us;      /* what it took to compute */
    uint64_t at;           /* in the file; the reader's */
    uint64_t checksum;     /* XXH3-64 of the bytes; the reader's */
    const uint8_t *bytes;  /* [geometry.page_bytes]; the writer's, or where it is mapped */
} lm_run_page;

typedef struct lm_run lm_run;

enum { LM_RUN_NAME = 37 }; /* 32 hex digits, ".run", NUL */
void lm_run_name(const lm_run_id *id, char out[LM_RUN_NAME]);
bool lm_run_id_of(const char *name, lm_run_id *out);
/* Size of a run of these pages, before it is written (S6). */
uint64_t lm_run_size(const lm_run_page *pages, size_t n);
uint64_t lm_run_data_at(const lm_run_page *pages, size_t n); /* where the first page will lie */
static inline uint64_t lm_page_room(uint64_t page_bytes)     /* bytes of the file that a page takes */
{
    return (page_bytes + LM_STORE_PAGE_ALIGN - 1) / LM_STORE_PAGE_ALIGN * LM_STORE_PAGE_ALIGN;
}

/* How a writer is stopped from outside: `stop` is asked every megabyte; while `reading`
 * is true the pages' bytes are looked at, afterwards never again.  Sequentially
 * consistent: who sets stop and then sees reading false may take the pages away. */
typedef struct {
    atomic_bool stop, reading;
} lm_run_watch;

/* Temporary name, pages, table, header, fsync, rename, fsync of the folder.  `watch` may
 * be NULL; LM_ERR_CANCELLED when it says stop.  On failure no file is left. */
lm_status lm_run_write(int dir, const lm_run_page *pages, size_t n, lm_run_watch *watch, lm_run_id *id,
                       uint64_t *n_bytes, lm_error *err) LM_NODISCARD;

/* Maps the run read-only, takes the shared lock, checks header and table.  A file that
 * contradicts itself: LM_ERR_STATE; a short one: LM_ERR_TRUNCATED. */
lm_status lm_run_open(lm_run **out, int dir, const lm_run_id *id, lm_error *err) LM_NODISCARD;
void lm_run_retain(lm_run *r);
void lm_run_release(lm_run *r);    /* the last one unmaps; NULL is fine */
bool lm_run_idle(const lm_run *r); /* one reference is left */
uint32_t lm_run_n_pages(const lm_run *r);
const lm_run_page *lm_run_page_at(const lm_run *r, uint32_t slot); /* slot < n_pages */
const lm_run_id *lm_run_id_get(const lm_run *r);
uint64_t lm_run_bytes(const lm_run *r); /* length of the file */

/* S5: computes the checksum the first time and remembers the answer.  LM_ERR_STATE
 * for a bad page, every time it is asked; LM_ERR_IO if the file broke under the map. */
lm_status lm_run_verify(lm_run *r, uint32_t slot, lm_error *err);
/* LM_ERR_IO if the file was cut or its disk failed since it was mapped. */
lm_status lm_run_check(const lm_run *r, lm_error *err);
/* Asks the kernel for the page's bytes now (the disk thread, ahead of the reader). */
void lm_run_populate(const lm_run *r, uint32_t slot);
/* A private, writable, copy-on-write mapping of one page, for a session that goes on
 * inside it; closed by lm_map_close(). */
lm_status lm_run_map_private(const lm_run *r, uint32_t slot, lm_map **out, lm_error *err) LM_NODISCARD;

/* Gives pages back to the file system and overwrites their token ids.  LM_ERR_BUSY while
 * anybody has the run mapped: then nothing is done.  LM_ERR_STATE, LM_ERR_TRUNCATED: the run
 * is damaged. */
lm_status lm_run_punch(int dir, const lm_run_id *id, const uint32_t *slots, size_t n, lm_error *err);

/* XXH3-64 of the heads of the table's records, each with the one before as its seed. */
uint64_t lm_run_table_checksum(const uint8_t *table, size_t n, uint32_t record_bytes);
/* For fuzzing: checks a header and table in memory exactly as lm_run_open() does. */
lm_status lm_run_parse(const uint8_t *bytes, size_t n, uint32_t *n_pages, lm_error *err);

#endif
