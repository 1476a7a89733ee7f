/* cli/verb_bench.c - lemma bench. */
#include "base/fail.h"
#include "cli/cli.h"

lm_status verb_bench(cli *c, lm_error *err)
{
    (void)c;
    return lm_fail(err, LM_ERR_UNSUPPORTED, "'lemma bench' is not written yet");
}
