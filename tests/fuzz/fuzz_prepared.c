/* Header and tables of a prepared copy.  The checksums are made to match, so that the
 * checks behind them are reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/panels.h"
#include "engine/prepfile.h"

/* Every byte that a matrix claims is there. */
static void touch(const lm_prep_view *v, const uint8_t *p, size_t size)
{
    for (uint32_t i = 0; i < v->h.n_matrices; i++) {
        const lm_prep_matrix *m = &v->matrices[i];
        uint64_t n = (m->rows + 15u) / 16u;
        uint64_t bytes = n * lm_panel_bytes(lm_quant_by_name(m->format), m->cols);
        if (bytes == 0 || m->data + bytes > size || p[m->data] + p[m->data + bytes - 1] > 510 ||
            v->sums[m->first_panel] + v->sums[m->first_panel + n - 1] == 1)
            abort();
    }
    for (uint32_t i = 0; i <= v->h.n_files; i++)
        if (strlen(v->paths[i]) > size)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_prep_view v;
    lm_prep_header h;
    lm_error err = { 0 };
    uint8_t *copy = calloc(size + 1, 1);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    if (lm_prep_parse(&v, copy, size, &err) == LM_OK)
        lm_prep_view_clear(&v);
    if (size >= LM_PREP_HEADER) {
        memcpy(&h, copy, sizeof h);
        h.n_bytes = size;
        if (h.table_bytes <= size - LM_PREP_HEADER)
            lm_prep_seal(&h, copy + LM_PREP_HEADER);
        memcpy(copy, &h, sizeof h);
        err = (lm_error){ 0 };
        if (lm_prep_parse(&v, copy, size, &err) == LM_OK) {
            touch(&v, copy, size);
            lm_prep_view_clear(&v);
        } else if (err.text[0] == 0) {
            abort();
        }
    }
    free(copy);
    return 0;
}
