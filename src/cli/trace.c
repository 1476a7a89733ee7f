/* cli/trace.c - --trace: asks for one step's record, and writes it. */
#include <string.h>

#include "base/fail.h"
#include "cli/cli.h"

/* A decode step after the first few is like all that follow; of a prompt's steps
 * the first is full. */
enum { NTH_DECODE = 8, NTH_PREFILL = 1 };

bool cli_trace_prefill(const cli *c)
{
    return strcmp(cli_text(&c->args, OPT_TRACE_STEP), "prefill") == 0;
}

lm_status cli_trace_begin(cli *c, lm_error *err)
{
    const char *path = cli_text(&c->args, OPT_TRACE);
    bool prefill = cli_trace_prefill(c);
    if (path == NULL && cli_given(&c->args, OPT_TRACE_STEP))
        return lm_fail(err, LM_ERR_USAGE, "--trace-step belongs to --trace");
    if (path == NULL)
        return LM_OK;
    LM_TRY(cli_can_write(path, err));
    return lm_model_trace(c->model, prefill, prefill ? NTH_PREFILL : NTH_DECODE, err);
}

lm_status cli_trace_end(cli *c, lm_error *err)
{
    const char *path = cli_text(&c->args, OPT_TRACE);
    lm_trace_summary t;
    lm_quoted_buf q;
    if (path == NULL)
        return LM_OK;
    LM_TRY(lm_model_trace_write(c->model, path, &t, err));
    note_f("lemma: %s holds a step of %u token%s at position %u, %.2f ms: linear %.0f %%, attention %.0f %%, "
           "other %.0f %%, waiting %.0f %% of the threads' time",
           lm_quoted_z(&q, path), t.n_tokens, t.n_tokens == 1 ? "" : "s", t.first_pos,
           (double)t.step_ns / 1e6, t.linear * 100, t.attend * 100, t.other * 100, t.wait * 100);
    if (t.n_lost > 0)
        note_f("lemma: %llu pieces of work had no room in it", (unsigned long long)t.n_lost);
    return LM_OK;
}
