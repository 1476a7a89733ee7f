/* tools/perplexity.c - the mean negative log-likelihood of a text, one window. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "lemma/tools.h"
#include "tools/predict.h"

double lm_log_sum(const float *logits, uint32_t n)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

static lm_status walk(lm_session *s, const int32_t *ids, size_t n, float *rows, lm_on_row *on_row, void *user,
                      lm_error *err)
{
    uint32_t vocab = s->m->info.n_vocab, piece = s->m->plan_options.max_rows;
    for (size_t at = 0; at < n; at += piece) {
        lm_eval_item it = { s, ids + at, LM_MIN(n - at, (size_t)piece), rows };
        LM_TRY(lm_model_eval(s->m, &it, 1, err));
        for (size_t i = 0; i < it.n && at + i + 1 < n; i++)
            LM_TRY(on_row(user, at + i, rows + i * vocab, ids[at + i + 1], err));
        if (s->m->on_progress)
            s->m->on_progress(s->m->progress_user, at + it.n, n);
    }
    return LM_OK;
}

void lm_model_watch(lm_model *m, lm_on_progress on_progress, void *user)
{
    m->on_progress = on_progress;
    m->progress_user = user;
}

lm_status lm_each_prediction(lm_model *m, const int32_t *ids, size_t n, lm_on_row *on_row, void *user,
                             lm_error *err)
{
    lm_session *s = NULL;
    float *rows = NULL;
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
        status = walk(s, ids, n, rows, on_row, user, err);
    lm_session_close(s);
    lm_free(rows);
    return status;
}

typedef struct {
    uint32_t vocab;
    double total;
} likelihood;

static lm_status add_likelihood(void *user, size_t i, const float *logits, int32_t next, lm_error *err)
{
    likelihood *l = user;
    (void)i;
    (void)err;
    l->total += lm_log_sum(logits, l->vocab) - (double)logits[next];
    return LM_OK;
}

lm_status lm_model_perplexity(lm_model *m, const int32_t *ids, size_t n, lm_perplexity *out, lm_error *err)
{
    likelihood l = { .vocab = m->info.n_vocab };
    LM_TRY(lm_each_prediction(m, ids, n, add_likelihood, &l, err));
    *out = (lm_perplexity){ .n_tokens = n, .nll_mean = l.total / (double)(n - 1) };
    out->perplexity = exp(out->nll_mean);
    return LM_OK;
}
