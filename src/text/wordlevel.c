/* text/wordlevel.c - a piece is an entry or unknown. */
#include "text/tok.h"

lm_status lm_wordlevel_run(lm_tok_run *r, const char *s, size_t n)
{
    int32_t id = lm_tok_entry(r, s, n);
    return id >= 0 ? lm_tok_push(r->out, id, r->err) : lm_tok_unk(r);
}
