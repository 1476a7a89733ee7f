/* Header and table of a run file.  The checksums are made to match, so that the
 * checks behind them are reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "state/runfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t n_pages = 0, record_bytes, claimed;
    uint64_t sum;
    lm_error err = { 0 };
    (void)!lm_run_parse(data, size, &n_pages, &err);
    if (size < LM_STORE_PAGE_ALIGN)
        return 0;
    uint8_t *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    memcpy(&claimed, copy + 24, 4);
    memcpy(&record_bytes, copy + 28, 4);
    uint64_t table = (uint64_t)claimed * record_bytes;
    if (table <= size - LM_STORE_PAGE_ALIGN) {
        sum = lm_run_table_checksum(copy + LM_STORE_PAGE_ALIGN, claimed, record_bytes);
        memcpy(copy + 80, &sum, 8);
    }
    sum = size;
    memcpy(copy + 48, &sum, 8); /* its length */
    sum = lm_xxh64(copy, 120, 0);
    memcpy(copy + 120, &sum, 8);
    err = (lm_error){ 0 };
    lm_status status = lm_run_parse(copy, size, &n_pages, &err);
    if (status == LM_OK ? n_pages == 0 || n_pages > LM_MAX_RUN_PAGES : err.text[0] == 0)
        abort();
    free(copy);
    return 0;
}
