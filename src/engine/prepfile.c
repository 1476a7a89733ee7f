/* engine/prepfile.c - header and tables of a prepared copy. */
#include "engine/prepfile.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "backend/cpu/panels.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/limits.h"

void lm_prep_seal(lm_prep_header *h, const uint8_t *table)
{
    h->table_checksum = lm_xxh64(table, (size_t)h->table_bytes, 0);
    h->checksum = lm_xxh64(h, offsetof(lm_prep_header, checksum), 0);
}

static lm_status bad(lm_error *err, const char *what, uint64_t seen, uint64_t allowed)
{
    return lm_fail(err, LM_ERR_CORRUPT, "%s is %" PRIu64 ", allowed is %" PRIu64, what, seen, allowed);
}

static lm_status check_header(const lm_prep_header *h, uint64_t size, lm_error *err)
{
    if (memcmp(h->magic, "LMPREPAR", 8) != 0)
        return lm_fail(err, LM_ERR_CORRUPT, "this is no prepared copy");
    if (h->version != LM_PREP_VERSION)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the copy has version %" PRIu32 ", this is version %d",
                       h->version, LM_PREP_VERSION);
    if (h->checksum != lm_xxh64(h, offsetof(lm_prep_header, checksum), 0))
        return lm_fail(err, LM_ERR_CORRUPT, "the checksum of the header is wrong");
    if (h->header_bytes != LM_PREP_HEADER)
        return bad(err, "the header's length", h->header_bytes, LM_PREP_HEADER);
    if (h->n_bytes != size)
        return lm_fail(err, LM_ERR_TRUNCATED, "the copy says %" PRIu64 " bytes, the file has %" PRIu64,
                       h->n_bytes, size);
    if (h->n_files == 0 || h->n_files > LM_LIMIT_FILES)
        return bad(err, "the number of files", h->n_files, LM_LIMIT_FILES);
    if (h->n_matrices == 0 || h->n_matrices > LM_PREP_MATRICES)
        return bad(err, "the number of matrices", h->n_matrices, LM_PREP_MATRICES);
    if (!lm_inside(LM_PREP_HEADER, h->table_bytes, size))
        return bad(err, "the length of the tables", h->table_bytes, size - LM_PREP_HEADER);
    return LM_OK;
}

/* Format, planes and panels of one matrix. */
static lm_status check_matrix(const lm_prep_view *v, const lm_prep_matrix *m, lm_error *err)
{
    uint64_t panels = ((uint64_t)m->rows + LM_PANEL - 1) / LM_PANEL, bytes;
    const lm_quant *q = m->format[sizeof m->format - 1] == 0 ? lm_quant_by_name(m->format) : NULL;
    if (!q || !lm_panels_exist(q, m->cols) || m->rows == 0)
        return lm_fail(err, LM_ERR_CORRUPT, "a matrix of %" PRIu32 " x %" PRIu32 " in no known format",
                       m->rows, m->cols);
    for (int p = 0; p < LM_QUANT_PLANES; p++)
        if (m->file[p] >= v->h.n_files)
            return bad(err, "the file of a matrix", m->file[p], v->h.n_files - 1);
    if (!lm_inside(m->first_panel, panels, v->h.n_panels))
        return bad(err, "the first panel of a matrix", m->first_panel, v->h.n_panels);
    if (lm_mul_overflows(panels, lm_panel_bytes(q, m->cols), &bytes) || m->data % 64 ||
        m->data < LM_PREP_HEADER + v->h.table_bytes || !lm_inside(m->data, bytes, v->h.n_bytes))
        return bad(err, "the place of a matrix", m->data, v->h.n_bytes);
    return LM_OK;
}

static lm_status read_tables(lm_prep_view *v, const uint8_t *p, lm_error *err)
{
    const lm_prep_header *h = &v->h;
    uint64_t left = h->table_bytes, files = (uint64_t)h->n_files * sizeof *v->files;
    uint64_t matrices = (uint64_t)h->n_matrices * sizeof *v->matrices, sums;
    if (lm_mul_overflows(h->n_panels, sizeof *v->sums, &sums) || files > left || matrices > left - files ||
        sums > left - files - matrices)
        return bad(err, "the number of panels", h->n_panels, left / sizeof *v->sums);
    left -= files + matrices + sums;
    if (left > (h->n_files + 1ull) * LM_PREP_PATH)
        return bad(err, "the length of the paths", left, (h->n_files + 1ull) * LM_PREP_PATH);
    p += LM_PREP_HEADER;
    LM_TRY(LM_NEW(&v->files, h->n_files, err));
    LM_TRY(LM_NEW(&v->matrices, h->n_matrices, err));
    LM_TRY(LM_NEW(&v->paths, h->n_files + 1u, err));
    memcpy(v->files, p, (size_t)files);
    memcpy(v->matrices, p + files, (size_t)matrices);
    v->sums = (const uint64_t *)(const void *)(p + files + matrices);
    LM_TRY(lm_strdup_n((const char *)p + files + matrices + sums, (size_t)left, &v->text, err));
    for (uint32_t i = 0, at = 0; i <= h->n_files; i++) {
        const char *path = v->text + at;
        if (at >= left)
            return lm_fail(err, LM_ERR_CORRUPT, "path %" PRIu32 " of the copy is missing", i);
        v->paths[i] = path;
        at += (uint32_t)strlen(path) + 1;
    }
    for (uint32_t i = 0; i < h->n_matrices; i++)
        LM_TRY(check_matrix(v, &v->matrices[i], err));
    return LM_OK;
}

lm_status lm_prep_parse(lm_prep_view *out, const uint8_t *p, uint64_t size, lm_error *err)
{
    *out = (lm_prep_view){ 0 };
    if (size < LM_PREP_HEADER)
        return lm_fail(err, LM_ERR_TRUNCATED, "the copy has %" PRIu64 " bytes, its header alone %d", size,
                       LM_PREP_HEADER);
    memcpy(&out->h, p, sizeof out->h);
    LM_TRY(check_header(&out->h, size, err));
    if (lm_xxh64(p + LM_PREP_HEADER, (size_t)out->h.table_bytes, 0) != out->h.table_checksum)
        return lm_fail(err, LM_ERR_CORRUPT, "the checksum of the tables is wrong");
    lm_status status = read_tables(out, p, err);
    if (status != LM_OK)
        lm_prep_view_clear(out);
    return status;
}

void lm_prep_view_clear(lm_prep_view *v)
{
    lm_free(v->files);
    lm_free(v->matrices);
    lm_free((void *)v->paths);
    lm_free(v->text);
    *v = (lm_prep_view){ 0 };
}
