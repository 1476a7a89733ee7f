/* Snapshots: what is accepted is written again in every encoding that takes it, read back,
 * and analysed while it is small. */
#include <stdint.h>
#include <stdlib.h>

#include "state/interchange/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned flags = 0; flags <= LM_SNAPSHOT_RAW; flags++) {
        lm_error err = { 0 };
        lm_snapshot *s = NULL, *again = NULL;
        lm_analysis a;
        if (lm_snapshot_decode(&s, data, size, flags, &err) != LM_OK) {
            if (err.text[0] == 0)
                abort();
            continue;
        }
        for (int e = 0; e < 3; e++) {
            lm_str out = { 0 };
            lm_sink to = lm_sink_str(&out);
            if (lm_snapshot_encode(s, (lm_snapshot_encoding)e, &to, NULL) == LM_OK) {
                if (lm_snapshot_decode(&again, (const uint8_t *)out.s, out.n, flags, &err) != LM_OK)
                    abort(); /* we cannot read what we wrote */
                lm_snapshot_close(again);
            }
            lm_str_clear(&out);
        }
        if (size < 4096 && s->num_layers < 64 && lm_snapshot_analyse(s, &a, NULL) == LM_OK)
            lm_analysis_clear(&a);
        lm_snapshot_close(s);
    }
    return 0;
}
