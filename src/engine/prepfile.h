/* engine/prepfile.h - the file of a prepared copy (docs/formats/prepared.md).
 *
 *   | header 4096 | files | matrices | checksums of panels | paths | ... | panels at 4096 n |
 *
 * The header has a checksum of its own and one of the tables; every panel has one
 * that is looked at when the panel is first used (backend/cpu/panels.h).
 *
 * Trust:   the file is outside input: counts, offsets and names are checked here.
 * Threads: any thread.
 */
#ifndef LM_PREPFILE_H
#define LM_PREPFILE_H

#include "base/map.h"
#include "quant/quant.h"

enum { LM_PREP_VERSION = 1, LM_PREP_HEADER = 4096, LM_PREP_MATRICES = 1 << 20, LM_PREP_PATH = 4096 };

/* Stored as it is, checksum last in its 4096 bytes. */
typedef struct {
    char magic[8]; /* "LMPREPAR" */
    uint32_t version, header_bytes;
    uint64_t n_bytes; /* of the file */
    uint32_t n_files, n_matrices;
    uint64_t n_panels, table_bytes, table_checksum;
    uint64_t created;  /* seconds */
    uint64_t checksum; /* of the fields above */
} lm_prep_header;
_Static_assert(sizeof(lm_prep_header) == 72, "stored as it is");

/* One matrix: where the pack has it, and where its panels are. */
typedef struct {
    char format[32]; /* name of the number format, padded with zeros */
    uint32_t rows, cols;
    uint32_t file[LM_QUANT_PLANES], unused;
    uint64_t at[LM_QUANT_PLANES], stride[LM_QUANT_PLANES]; /* planes in these files */
    uint64_t data, first_panel;                            /* offset; index of its first checksum */
} lm_prep_matrix;
_Static_assert(sizeof(lm_prep_matrix) == 120, "stored as it is");

typedef struct {
    lm_prep_header h;
    lm_file_id *files;        /* [n_files], of the pack */
    lm_prep_matrix *matrices; /* [n_matrices] */
    const uint64_t *sums;     /* [n_panels], where they lie */
    const char **paths;       /* [1 + n_files]: the pack, its files */
    char *text;               /* what they point to */
} lm_prep_view;

/* Reads header and tables of `size` bytes at p (8-byte aligned).  LM_ERR_CORRUPT,
 * TRUNCATED or UNSUPPORTED (another version) says what is wrong.  The view keeps p. */
lm_status lm_prep_parse(lm_prep_view *out, const uint8_t *p, uint64_t size, lm_error *err) LM_NODISCARD;
void lm_prep_view_clear(lm_prep_view *v);
/* Fills in both checksums; `table` has h->table_bytes bytes. */
void lm_prep_seal(lm_prep_header *h, const uint8_t *table);

#endif
