/* engine/generate.c - draws tokens until something stops it. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/rest.h"
#include "engine/textside.h"
#include "sample/sampler.h"

const char *lm_stop_name(lm_stop s)
{
    static const char *const names[] = { "eos", "string", "length", "cancelled", "context" };
    return (unsigned)s < LM_LEN(names) ? names[s] : "?";
}

void lm_generate_defaults(lm_generate_options *out)
{
    *out = (lm_generate_options){ .size = sizeof *out };
}

void lm_generated_clear(lm_generated *g)
{
    lm_free(g->tokens);
    lm_free(g->text);
    *g = (lm_generated){ 0 };
}

enum { MAX_TOP = 1024 };

/* One run of lm_generate(). */
typedef struct {
    lm_session *s;
    const lm_generate_options *o;
    lm_on_token on_token;
    void *user;
    lm_sampler *sampler;
    lm_stream *stream; /* NULL without a tokenizer */
    const int32_t *stops;
    size_t n_stops;
    int32_t *tokens;
    size_t n_tokens, cap_tokens;
    lm_str text; /* all text so far, stop string included until it is cut */
    size_t told; /* bytes of it that the caller has seen */
    size_t longest_stop;
    float *row; /* scratch copy of the logits */
    lm_token_logprob *top;
    lm_top_token *top_out;
} run;

static bool is_stop(const run *r, int32_t token)
{
    for (size_t i = 0; i < r->n_stops; i++)
        if (r->stops[i] == token)
            return true;
    return false;
}

/* Where a stop string begins in text[from..), or SIZE_MAX. */
static size_t find_stop(const run *r, size_t from)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < r->o->n_stop_strings; i++) {
        const char *stop = r->o->stop_strings[i];
        size_t n = strlen(stop);
        for (size_t at = from; n && at + n <= r->text.n && at < best; at++)
            if (memcmp(r->text.s + at, stop, n) == 0)
                best = at;
    }
    return best;
}

/* How many bytes at the end of the text could be the beginning of a stop string. */
static size_t held_back(const run *r)
{
    size_t hold = 0;
    for (size_t i = 0; i < r->o->n_stop_strings; i++) {
        const char *stop = r->o->stop_strings[i];
        size_t n = strlen(stop);
        for (size_t k = LM_MIN(n ? n - 1 : 0, r->text.n - r->told); k > hold; k--)
            if (memcmp(r->text.s + r->text.n - k, stop, k) == 0) {
                hold = k;
                break;
            }
    }
    return hold;
}

static lm_status set_up(run *r, const lm_sample_params *p, lm_error *err)
{
    const lm_model *m = r->s->m;
    r->stops = r->o->stop_tokens;
    r->n_stops = r->o->n_stop_tokens;
    if (!r->stops && m->text)
        r->stops = lm_text_stop_tokens(m->text, &r->n_stops);
    for (size_t i = 0; i < r->o->n_stop_strings; i++)
        r->longest_stop = LM_MAX(r->longest_stop, strlen(r->o->stop_strings[i]));
    if (r->o->n_stop_strings && !m->text)
        return lm_fail(err, LM_ERR_USAGE, "stop strings need a tokenizer, the pack has none");
    if (r->o->n_top > MAX_TOP)
        return lm_fail(err, LM_ERR_USAGE, "%u log-probabilities a token, allowed is 0 to %d", r->o->n_top,
                       MAX_TOP);
    LM_TRY(lm_sampler_open(&r->sampler, p, m->info.n_vocab, m->text ? lm_text_tokenizer(m->text) : NULL,
                           r->stops, r->n_stops, err));
    if (m->text)
        LM_TRY(lm_stream_open(&r->stream, m->text, !r->o->keep_special, err));
    LM_TRY(LM_NEW(&r->row, m->info.n_vocab, err));
    LM_TRY(LM_NEW(&r->top, r->o->n_top, err));
    LM_TRY(LM_NEW(&r->top_out, r->o->n_top, err));
    for (uint32_t i = 0; i < r->s->n_tokens; i++)
        LM_TRY(lm_sampler_accept(r->sampler, r->s->tokens[i], false, err));
    lm_session_resume_sampler(r->s, p, r->sampler);
    uint32_t left = m->info.context - r->s->n_tokens;
    uint32_t n = r->o->max_tokens ? LM_MIN(r->o->max_tokens, left) : left;
    r->cap_tokens = (size_t)n + 1;
    lm_str_reserve(&r->text, 16 * (size_t)LM_MIN(n, 65536u)); /* M2: more than most texts have */
    LM_TRY(lm_str_status(&r->text, err));
    return LM_NEW(&r->tokens, r->cap_tokens, err);
}

static void tear_down(run *r)
{
    lm_sampler_close(r->sampler);
    lm_stream_close(r->stream);
    lm_str_clear(&r->text);
    lm_free(r->tokens);
    lm_free(r->row);
    lm_free(r->top);
    lm_free(r->top_out);
}

static lm_status draw(run *r, int32_t *token, lm_token_event *e, lm_error *err)
{
    lm_session *s = r->s;
    memcpy(r->row, s->logits, s->m->info.n_vocab * sizeof *r->row);
    LM_TRY(lm_sampler_draw(r->sampler, r->row, s->n_tokens, token, err));
    if (r->o->want_logprobs || r->o->n_top) {
        lm_logprobs(s->logits, s->m->info.n_vocab, *token, &e->logprob, r->top, r->o->n_top);
        for (uint32_t i = 0; i < r->o->n_top; i++)
            r->top_out[i] = (lm_top_token){ r->top[i].token, r->top[i].logprob };
        e->top = r->top_out;
        e->n_top = r->o->n_top;
    }
    return lm_sampler_accept(r->sampler, *token, true, err);
}

/* Adds what became certain to the text; *ended when a stop string is in it. */
static lm_status extend_text(run *r, int32_t token, bool eos, bool *ended, lm_error *err)
{
    const char *piece = "";
    size_t n = 0, from = r->text.n > r->longest_stop ? r->text.n - r->longest_stop : 0;
    if (!r->stream)
        return LM_OK;
    if (!eos) {
        LM_TRY(lm_stream_push(r->stream, token, &piece, &n, err));
        lm_str_add(&r->text, piece, n);
    }
    LM_TRY(lm_str_status(&r->text, err));
    size_t at = find_stop(r, LM_MAX(from, r->told));
    if (at != SIZE_MAX) {
        r->text.n = at;
        r->text.s[at] = 0;
        *ended = true;
    }
    return LM_OK;
}

static lm_status finish_text(run *r, lm_error *err)
{
    const char *piece = "";
    size_t n = 0;
    if (!r->stream)
        return LM_OK;
    LM_TRY(lm_stream_finish(r->stream, &piece, &n, err));
    lm_str_add(&r->text, piece, n);
    return lm_str_status(&r->text, err);
}

static bool tell(run *r, lm_token_event *e, int32_t token, bool last)
{
    size_t hold = last ? 0 : held_back(r);
    size_t upto = r->text.n > hold ? r->text.n - hold : 0;
    e->token = token;
    e->text = r->text.s ? r->text.s + r->told : "";
    e->n_text = upto > r->told ? upto - r->told : 0;
    e->last = last;
    r->told = LM_MAX(r->told, upto);
    return r->on_token ? r->on_token(r->user, e) : true;
}

/* Evaluates one drawn token; a step of one. */
static lm_status evaluate(run *r, int32_t token, lm_error *err)
{
    uint64_t start = lm_now_ns();
    lm_eval_item it = { .session = r->s, .ids = &token, .n = 1 };
    lm_status s = lm_eval_items(r->s->m, &it, 1, err);
    r->s->metrics.prompt_tokens -= s == LM_OK; /* generated, not prompt */
    r->s->metrics.prefill_ns -= LM_MIN(r->s->metrics.prefill_ns, lm_now_ns() - start);
    return s;
}

static lm_status loop(run *r, lm_stop *why, uint64_t start, uint64_t *first_ns, lm_error *err)
{
    lm_session *s = r->s;
    for (;;) {
        lm_token_event e = { 0 };
        int32_t token;
        bool ended = false;
        LM_TRY(draw(r, &token, &e, err));
        if (r->n_tokens == 0)
            *first_ns = lm_now_ns() - start;
        r->tokens[r->n_tokens++] = token;
        bool eos = is_stop(r, token);
        LM_TRY(extend_text(r, token, eos, &ended, err));
        bool length = r->o->max_tokens && r->n_tokens >= r->o->max_tokens;
        bool full = s->n_tokens + 1 >= s->m->info.context;
        bool last = eos || ended || length || full;
        if (last && !ended)
            LM_TRY(finish_text(r, err));
        bool go_on = tell(r, &e, token, last);
        *why = eos      ? LM_STOP_EOS
               : ended  ? LM_STOP_STRING
               : length ? LM_STOP_LENGTH
               : full   ? LM_STOP_CONTEXT
                        : LM_STOP_CANCELLED;
        if (s->n_tokens < s->m->info.context && !(last && r->o->skip_last)) {
            lm_status status = evaluate(r, token, err);
            if (status == LM_ERR_CANCELLED) {
                lm_error_clear(err);
                *why = LM_STOP_CANCELLED;
                return LM_OK;
            }
            LM_TRY(status);
        }
        if (last || !go_on)
            return LM_OK;
    }
}

lm_status lm_generate(lm_session *s, const lm_generate_options *options, lm_on_token on_token, void *user,
                      lm_generated *out, lm_error *err)
{
    lm_generate_options o;
    lm_sample_params p = s->m->sampling;
    lm_generate_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    if (o.sample)
        p = *o.sample;
    *out = (lm_generated){ .seed = p.seed };
    if (!s->has_logits)
        return lm_fail(err, LM_ERR_USAGE, "nothing to go on from: append a prompt first");
    atomic_store_explicit(&s->cancel, false, memory_order_relaxed);
    run r = { .s = s, .o = &o, .on_token = on_token, .user = user };
    uint64_t start = lm_now_ns(), first = 0;
    lm_status status = set_up(&r, &p, err);
    if (status == LM_OK)
        status = loop(&r, &out->stop, start, &first, err);
    s->metrics.generated_tokens += r.n_tokens;
    s->metrics.decode_ns += lm_now_ns() - start;
    if (s->metrics.first_token_ns == 0)
        s->metrics.first_token_ns = s->metrics.prefill_ns + first;
    atomic_store_explicit(&s->cancel, false, memory_order_relaxed);
    if (status == LM_OK)
        status = lm_session_rest_sampler(s, &p, r.sampler, err);
    lm_session_publish(s, true);
    if (status == LM_OK) {
        out->tokens = r.tokens;
        out->n_tokens = r.n_tokens;
        r.tokens = NULL;
        if (r.stream)
            status = lm_str_take(&r.text, &out->text, &out->n_text, err);
    }
    tear_down(&r);
    if (status != LM_OK) {
        lm_generated_clear(out);
        return status;
    }
    lm_session_metrics(s, &out->metrics);
    return LM_OK;
}
