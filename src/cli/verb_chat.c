/* cli/verb_chat.c - lemma chat. */
#include "base/fail.h"
#include "cli/cli.h"

lm_status verb_chat(cli *c, lm_error *err)
{
    (void)c;
    return lm_fail(err, LM_ERR_UNSUPPORTED, "'lemma chat' is not written yet");
}
