/* tools/perplexity.c - the mean negative log-likelihood of a text, one window. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "lemma/tools.h"

static double nll_of(const float *logits, uint32_t n, int32_t token)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum) - (double)logits[token];
}

static lm_status walk(lm_session *s, const int32_t *ids, size_t n, float *rows, double *total, lm_error *err)
{
    uint32_t vocab = s->m->info.n_vocab, piece = s->m->plan_options.max_rows;
    for (size_t at = 0; at < n; at += piece) {
        lm_eval_item it = { s, ids + at, LM_MIN(n - at, (size_t)piece), rows };
        LM_TRY(lm_model_eval(s->m, &it, 1, err));
        for (size_t i = 0; i < it.n && at + i + 1 < n; i++)
            *total += nll_of(rows + i * vocab, vocab, ids[at + i + 1]);
    }
    return LM_OK;
}

lm_status lm_model_perplexity(lm_model *m, const int32_t *ids, size_t n, lm_perplexity *out, lm_error *err)
{
    lm_session *s = NULL;
    float *rows = NULL;
    double total = 0;
    if (n < 2)
        return lm_fail(err, LM_ERR_USAGE, "the text has %zu tokens, wanted are at least 2", n);
    if (n > m->info.context) {
        lm_hint(err, "cut the text, or raise the context with -c, up to %u for this pack",
                m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "the text has %zu tokens, the context holds %u", n,
                       m->info.context);
    }
    LM_TRY(lm_new((void **)&rows, (size_t)m->plan_options.max_rows * m->info.n_vocab, sizeof *rows, err));
    lm_status status = lm_session_open(&s, m, err);
    if (status == LM_OK)
        status = walk(s, ids, n, rows, &total, err);
    lm_session_close(s);
    lm_free(rows);
    if (status != LM_OK)
        return status;
    *out = (lm_perplexity){ .n_tokens = n, .nll_mean = total / (double)(n - 1) };
    out->perplexity = exp(out->nll_mean);
    return LM_OK;
}
