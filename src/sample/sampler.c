/* A sampler's life: open, accept, close. */
#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "sample/chain.h"

static lm_status check_token(int32_t token, uint32_t n_vocab, const char *what, lm_error *err)
{
    if (token >= 0 && (uint32_t)token < n_vocab)
        return LM_OK;
    return lm_fail(err, LM_ERR_USAGE, "%s %" PRId32 " is outside the vocabulary, allowed are 0 to %" PRIu32,
                   what, token, n_vocab - 1);
}

static lm_status copy_lists(lm_sampler *s, const lm_sample_params *p, const int32_t *stops, size_t n_stops,
                            lm_error *err)
{
    for (size_t i = 0; i < p->n_bias; i++)
        LM_TRY(check_token(p->bias[i].token, s->n_vocab, "biased token", err));
    for (size_t i = 0; i < n_stops; i++)
        LM_TRY(check_token(stops[i], s->n_vocab, "stop token", err));
    if (p->n_bias) {
        LM_TRY(LM_NEW(&s->bias, p->n_bias, err));
        memcpy(s->bias, p->bias, p->n_bias * sizeof *s->bias);
        s->n_bias = p->n_bias;
    }
    if (n_stops) {
        LM_TRY(LM_NEW(&s->stops, n_stops, err));
        memcpy(s->stops, stops, n_stops * sizeof *s->stops);
        s->n_stops = n_stops;
    }
    return LM_OK;
}

static bool lists(const lm_sample_params *p, lm_stage stage)
{
    for (size_t i = 0; i < p->n_stages; i++)
        if (p->stages[i] == stage)
            return true;
    return false;
}

static lm_status fill(lm_sampler *s, const lm_sample_params *p, const lm_tokenizer *tokenizer,
                      const int32_t *stops, size_t n_stops, lm_error *err)
{
    LM_TRY(copy_lists(s, p, stops, n_stops, err));
    LM_TRY(lm_cands_init(&s->cands, s->n_vocab, err));
    size_t window = 0;
    if (lists(p, LM_STAGE_PENALTIES)) {
        LM_TRY(lm_penalties_init(&s->penalties, lm_penalties_window(p), s->n_vocab, err));
        window = s->penalties.window;
    }
    if (lists(p, LM_STAGE_DRY)) {
        LM_TRY(lm_dry_init(&s->dry, p, tokenizer, s->n_vocab, err));
        window = LM_MAX(window, s->dry.window);
    }
    lm_history_init(&s->history, window);
    LM_TRY(lm_history_reserve(&s->history, err));
    LM_TRY(lm_dry_reserve(&s->dry, s->history.cap, err));
    s->mu = 2.0f * p->mirostat_tau;
    return LM_OK;
}

lm_status lm_sampler_open(lm_sampler **out, const lm_sample_params *p, uint32_t n_vocab,
                          const lm_tokenizer *tokenizer, const int32_t *stops, size_t n_stops, lm_error *err)
{
    LM_TRY(lm_sample_check(p, err));
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return lm_fail(err, LM_ERR_USAGE,
                       "a vocabulary of %" PRIu32 " tokens cannot be sampled, allowed are 1 to %d", n_vocab,
                       INT32_MAX);
    lm_sampler *s = NULL;
    LM_TRY(LM_NEW(&s, 1, err));
    s->p = *p;
    s->p.dry_breakers = NULL;
    s->p.bias = NULL;
    s->n_vocab = n_vocab;
    lm_status st = fill(s, p, tokenizer, stops, n_stops, err);
    if (st != LM_OK) {
        lm_sampler_close(s);
        return st;
    }
    *out = s;
    return LM_OK;
}

void lm_sampler_close(lm_sampler *s)
{
    if (!s)
        return;
    lm_dry_clear(&s->dry);
    lm_penalties_clear(&s->penalties);
    lm_history_clear(&s->history);
    lm_cands_clear(&s->cands);
    lm_free(s->stops);
    lm_free(s->bias);
    lm_free(s);
}

lm_status lm_sampler_accept(lm_sampler *s, int32_t token, bool generated, lm_error *err)
{
    LM_TRY(check_token(token, s->n_vocab, "token", err));
    LM_TRY(lm_history_reserve(&s->history, err));
    LM_TRY(lm_dry_reserve(&s->dry, s->history.cap, err));
    lm_penalties_accept(&s->penalties, &s->history, token);
    lm_history_push(&s->history, token);
    s->n_accepted++;
    s->n_generated += generated;
    return LM_OK;
}
