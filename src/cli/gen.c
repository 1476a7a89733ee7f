/* cli/gen.c - man pages (scdoc) and completion, from the option table. */
#include "cli/cli.h"
lm_status verb_gen(cli *c, lm_error *err)
{
    (void)c;
    (void)err;
    return LM_OK;
}
