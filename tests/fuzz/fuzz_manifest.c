/* JSON of bundles, their indexes and state bundles: what is accepted is written again and
 * read back. */
#include <stdint.h>
#include <stdlib.h>

#include "state/interchange/prefixmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    lm_error err = { 0 }, err2 = { 0 }, err3 = { 0 };
    lm_blocks *b = NULL, *again = NULL;
    lm_prefix_map *m = NULL, *m2 = NULL;
    lm_map_entry e;
    char *json = NULL;
    size_t n;
    if (lm_blocks_parse(text, size, &b, &err) == LM_OK) {
        if (lm_blocks_json(b, &json, &n, NULL) != LM_OK || lm_blocks_parse(json, n, &again, NULL) != LM_OK)
            abort();
        lm_give_back(json);
        lm_blocks_close(again);
        lm_blocks_close(b);
    } else if (err.text[0] == 0)
        abort();
    if (lm_prefix_map_parse(text, size, &m, &err2) == LM_OK) {
        if (lm_prefix_map_json(m, &json, &n, NULL) != LM_OK ||
            lm_prefix_map_parse(json, n, &m2, NULL) != LM_OK)
            abort();
        (void)!lm_prefix_map_find(m, "", &e, NULL);
        (void)lm_prefix_map_context(m);
        lm_give_back(json);
        lm_prefix_map_close(m2);
        lm_prefix_map_close(m);
    } else if (err2.text[0] == 0)
        abort();
    if (lm_state_bundle_check(text, size, &err3) == LM_OK) {
        lm_snapshot *s = NULL;
        if (lm_state_bundle_load(text, size, NULL, NULL, &s, NULL) == LM_OK)
            lm_snapshot_close(s);
    } else if (err3.text[0] == 0)
        abort();
    return 0;
}
