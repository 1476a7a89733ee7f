/* cli/setup.c - from options to an open model, its sampling and a filled session. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

uint64_t cli_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char *cli_take_word(cli *c)
{
    return c->i_word < c->args.n_words ? c->args.words[c->i_word++] : NULL;
}

lm_status cli_no_more_words(cli *c, lm_error *err)
{
    lm_quoted_buf q;
    if (c->i_word >= c->args.n_words)
        return LM_OK;
    verb_id id = c->args.verb->id;
    if (id == VERB_RUN || id == VERB_TOKENIZE)
        lm_hint(err, "put a text of several words in quotes; 'lemma help %s' shows the form",
                c->args.verb->name);
    else if (id == VERB_CHAT)
        lm_hint(err, "lemma chat asks for what to say; one answer: lemma run PACK \"your question\"");
    else
        lm_hint(err, "'lemma help %s' shows the form", c->args.verb->name);
    return lm_fail(err, LM_ERR_USAGE, "'lemma %s' does not expect '%s'", c->args.verb->name,
                   lm_quoted_z(&q, c->args.words[c->i_word]));
}

lm_status cli_take_pack(cli *c, const char **pack, lm_error *err)
{
    *pack = cli_text(&c->args, OPT_MODEL);
    if (*pack == NULL)
        *pack = cli_take_word(c);
    if (*pack != NULL && **pack != '\0')
        return LM_OK;
    verb_id id = c->args.verb->id;
    const char *name = c->args.verb->name, *sub = c->sub != NULL ? c->sub : "";
    const char *gap = *sub != '\0' ? " " : "";
    lm_hint(err, "'lemma pack list' shows the packs on this machine, then: lemma %s%s%s PACK%s", name, gap,
            sub,
            id == VERB_RUN                                           ? " \"your question\""
            : id == VERB_PACK || id == VERB_CHAT || id == VERB_BENCH ? ""
                                                                     : " ...");
    return lm_fail(err, LM_ERR_USAGE, "'lemma %s%s%s' needs a pack: a path or a name", name, gap, sub);
}

/* --kv, -ctk and -ctv say the same thing or are refused. */
static lm_status kv_of(const cli *c, const char **kv, lm_error *err)
{
    static const opt_id ids[] = { OPT_KV, OPT_CACHE_TYPE_K, OPT_CACHE_TYPE_V };
    const char *seen = NULL;
    *kv = NULL;
    for (size_t i = 0; i < LM_LEN(ids); i++) {
        const char *v = cli_text(&c->args, ids[i]);
        if (v == NULL || !cli_given(&c->args, ids[i]))
            continue;
        if (*kv != NULL && strcmp(*kv, v) != 0) {
            if (ids[i] != OPT_KV && c->args.v[OPT_KV].source < FROM_LINE &&
                seen == cli_options[OPT_KV].name) {
                *kv = v; /* the line beats environment and file */
                seen = cli_options[ids[i]].name;
                continue;
            }
            return lm_fail(err, LM_ERR_USAGE, "--%s is %s and --%s is %s, keys and values have one format",
                           seen, *kv, cli_options[ids[i]].name, v);
        }
        *kv = v;
        seen = cli_options[ids[i]].name;
    }
    return LM_OK;
}

/* What the environment or the configuration says for every run does not speak of ref, and
 * -t N is kept by one thread. */
static lm_status not_with_ref(const cli *c, lm_error *err)
{
    static const opt_id ids[] = { OPT_ISA,       OPT_COMPUTE,       OPT_CPU_MASK,
                                  OPT_BENCH_ISA, OPT_BENCH_COMPUTE, OPT_BENCH_THREADS };
    for (size_t i = 0; i < LM_LEN(ids); i++)
        if (c->args.v[ids[i]].set && c->args.v[ids[i]].source == FROM_LINE)
            return lm_fail(err, LM_ERR_USAGE,
                           "--%s belongs to --backend cpu: ref computes in float32, in one thread of plain C",
                           cli_options[ids[i]].name);
    return LM_OK;
}

lm_status cli_model_options(cli *c, lm_model_options *o, lm_error *err)
{
    const char *backend = cli_text(&c->args, OPT_BACKEND);
    if (backend != NULL && strcmp(backend, "ref") == 0)
        LM_TRY(not_with_ref(c, err));
    lm_model_defaults(o);
    o->backend = backend;
    o->isa = cli_text(&c->args, OPT_ISA);
    o->compute = cli_text(&c->args, OPT_COMPUTE);
    o->no_prepared = cli_flag(&c->args, OPT_NO_PREPARED);
    o->threads = (uint32_t)cli_int(&c->args, OPT_THREADS);
    o->cpu_mask = cli_text(&c->args, OPT_CPU_MASK);
    o->context = (uint32_t)cli_int(&c->args, OPT_CTX);
    o->chunk = (uint32_t)cli_int(&c->args, OPT_CHUNK);
    return kv_of(c, &o->kv, err);
}

static void note_prepared(const lm_model_info *i)
{
    note_f("lemma: %s", i->prepared_note);
    note_f("  hint: 'lemma prepare PACK' makes it again, 'lemma prepare --remove PACK' takes it away");
}

lm_status cli_open_model(cli *c, const char *pack, const lm_model_options *options, lm_error *err)
{
    c->opened_ns = cli_now_ns();
    LM_TRY(lm_model_open(&c->model, pack, options, err));
    lm_model_get_info(c->model, &c->info);
    if (c->info.trained_context > 0 && c->info.context > c->info.trained_context)
        note_f("lemma: the context is %u tokens, the model was trained to %u: beyond that answers degrade",
               c->info.context, c->info.trained_context);
    if (c->info.context_reduced)
        note_f("lemma: the context is %u tokens of the %u trained: more would not fit in memory (-c chooses)",
               c->info.context, c->info.trained_context);
    if (c->info.prepared_note[0] != '\0')
        note_prepared(&c->info);
    return cli_interrupted() ? lm_fail(err, LM_ERR_CANCELLED, "interrupted") : LM_OK;
}

void cli_note_prepared(cli *c)
{
    lm_model_info now;
    if (c->model == NULL)
        return;
    lm_model_get_info(c->model, &now);
    if (now.prepared_note[0] != '\0' && c->info.prepared_note[0] == '\0')
        note_prepared(&now);
}

static uint64_t fresh_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = cli_now_ns();
    return seed & 0x1fffffffffffffu; /* 53 bits: exact in any reader of JSON */
}

static lm_status add_bias(cli *c, cli_sampling *s, int64_t id, float bias, const char *what, lm_error *err)
{
    if (id < 0 || id >= (int64_t)c->info.n_vocab)
        return lm_fail(err, LM_ERR_USAGE, "%s names token %lld, allowed is 0 to %u", what, (long long)id,
                       c->info.n_vocab - 1);
    LM_TRY(lm_grow((void **)&s->bias, &s->cap_bias, s->n_bias + 1, sizeof *s->bias, err));
    s->bias[s->n_bias++] = (lm_logit_bias){ (int32_t)id, bias };
    return LM_OK;
}

/* ID=X, or llama.cpp's ID+X and ID-X. */
static lm_status parse_bias(cli *c, cli_sampling *s, const char *text, lm_error *err)
{
    char *end = NULL;
    lm_quoted_buf q;
    errno = 0;
    long long id = strtoll(text, &end, 10);
    bool ok = end != text && errno == 0 && (*end == '=' || *end == '+' || *end == '-');
    if (ok) {
        const char *value = *end == '=' ? end + 1 : end;
        float x = strtof(value, &end);
        ok = end != value && *end == '\0' && !isnan(x) && !(isinf(x) && x > 0);
        if (ok)
            return add_bias(c, s, id, x, "'--logit-bias'", err);
    }
    return lm_fail(err, LM_ERR_USAGE,
                   "'--logit-bias' is '%s', allowed is ID=X such as 15043=-1.5 or 15043=-inf",
                   lm_quoted_z(&q, text));
}

static lm_status parse_ban(cli *c, cli_sampling *s, const char *text, lm_error *err)
{
    const lm_text *t = lm_model_text(c->model);
    lm_quoted_buf q;
    size_t n = strlen(text);
    if (n > 0 && n < 10 && strspn(text, "0123456789") == n)
        return add_bias(c, s, strtoll(text, NULL, 10), -INFINITY, "'--ban'", err);
    if (t == NULL || !lm_text_has_tokenizer(t))
        return lm_fail(err, LM_ERR_USAGE, "'--ban %s' needs a tokenizer, which this pack lacks; give an id",
                       lm_quoted_z(&q, text));
    int32_t *ids = NULL;
    size_t n_ids = 0;
    LM_TRY(lm_text_encode(t, text, n, 0, &ids, &n_ids, err));
    lm_status st = n_ids == 1
                       ? add_bias(c, s, ids[0], -INFINITY, "'--ban'", err)
                       : lm_fail(err, LM_ERR_USAGE, "'--ban' is '%s', which is %zu tokens, allowed is one",
                                 lm_quoted_z(&q, text), n_ids);
    lm_give_back(ids);
    return st;
}

#define SET_REAL(id, field)                                                                                  \
    if (cli_given(a, id))                                                                                    \
    p->field = (float)cli_real(a, id)
#define SET_INT(id, field)                                                                                   \
    if (cli_given(a, id))                                                                                    \
    p->field = (int32_t)cli_int(a, id)

static void set_numbers(const cli_args *a, lm_sample_params *p)
{
    SET_REAL(OPT_TEMP, temperature);
    SET_INT(OPT_TOP_K, top_k);
    SET_REAL(OPT_TOP_P, top_p);
    SET_REAL(OPT_MIN_P, min_p);
    SET_REAL(OPT_TYPICAL, typical);
    SET_REAL(OPT_TOP_N_SIGMA, top_n_sigma);
    SET_REAL(OPT_XTC_PROBABILITY, xtc_probability);
    SET_REAL(OPT_XTC_THRESHOLD, xtc_threshold);
    SET_REAL(OPT_DYNATEMP_RANGE, dynatemp_range);
    SET_REAL(OPT_DYNATEMP_EXP, dynatemp_exponent);
    SET_REAL(OPT_REPEAT_PENALTY, penalty_repeat);
    SET_INT(OPT_REPEAT_LAST_N, penalty_last_n);
    SET_REAL(OPT_PRESENCE_PENALTY, penalty_presence);
    SET_REAL(OPT_FREQUENCY_PENALTY, penalty_frequency);
    SET_REAL(OPT_DRY_MULTIPLIER, dry_multiplier);
    SET_REAL(OPT_DRY_BASE, dry_base);
    SET_INT(OPT_DRY_ALLOWED_LENGTH, dry_allowed_length);
    SET_INT(OPT_DRY_PENALTY_LAST_N, dry_penalty_last_n);
    SET_INT(OPT_MIROSTAT, mirostat);
    SET_REAL(OPT_MIROSTAT_ENT, mirostat_tau);
    SET_REAL(OPT_MIROSTAT_LR, mirostat_eta);
    if (cli_given(a, OPT_MIN_TOKENS))
        p->min_tokens = (uint32_t)cli_int(a, OPT_MIN_TOKENS);
    if (cli_given(a, OPT_MIN_KEEP))
        p->min_keep = (uint32_t)cli_int(a, OPT_MIN_KEEP);
    p->ignore_eos = cli_flag(a, OPT_IGNORE_EOS);
}

lm_status cli_sampling_of(cli *c, cli_sampling *out, lm_error *err)
{
    const cli_args *a = &c->args;
    lm_sample_params *p = &out->p;
    static const char *const no_breakers[1] = { "" };
    *out = (cli_sampling){ 0 };
    lm_model_sampling(c->model, p);
    bool hot = cli_given(a, OPT_TEMP) && cli_real(a, OPT_TEMP) > 0;
    if (cli_flag(a, OPT_GREEDY) && hot)
        return lm_fail(err, LM_ERR_USAGE, "--greedy and --temp %g contradict each other",
                       cli_real(a, OPT_TEMP));
    if (cli_flag(a, OPT_GREEDY) || (cli_given(a, OPT_TEMP) && !hot)) {
        lm_sample_defaults(p); /* no penalty of the pack moves the likeliest token */
        p->temperature = 0;
    }
    set_numbers(a, p);
    p->seed =
        cli_given(a, OPT_SEED) && cli_int(a, OPT_SEED) >= 0 ? (uint64_t)cli_int(a, OPT_SEED) : fresh_seed();
    if (cli_given(a, OPT_SAMPLERS))
        LM_TRY(lm_sample_parse_stages(p, cli_text(a, OPT_SAMPLERS), err));
    if (cli_given(a, OPT_DRY_BREAKER)) {
        const opt_value *v = &a->v[OPT_DRY_BREAKER];
        bool none = v->n == 1 && strcmp(v->list[0], "none") == 0;
        p->dry_breakers = none ? no_breakers : v->list;
        p->n_dry_breakers = none ? 0 : v->n;
    }
    for (size_t i = 0; i < a->v[OPT_LOGIT_BIAS].n; i++)
        LM_TRY(parse_bias(c, out, a->v[OPT_LOGIT_BIAS].list[i], err));
    for (size_t i = 0; i < a->v[OPT_BAN].n; i++)
        LM_TRY(parse_ban(c, out, a->v[OPT_BAN].list[i], err));
    if (out->n_bias > 0) {
        p->bias = out->bias;
        p->n_bias = out->n_bias;
    }
    return lm_sample_check(p, err);
}

void cli_sampling_clear(cli_sampling *s)
{
    lm_free(s->bias);
    *s = (cli_sampling){ 0 };
}

lm_status cli_append(cli *c, lm_session *s, const int32_t *ids, size_t n, lm_error *err)
{
    cli_progress p;
    /* All at once where nobody watches, or where it cannot fit and the library
     * says so; slices of whole steps otherwise, which changes no bit (N1). */
    if (!err_is_terminal() || lm_session_n_tokens(s) + n > c->info.context)
        return lm_session_append(s, ids, n, err);
    size_t taken = 0;
    LM_TRY(lm_session_recall(s, ids, n, &taken, err));
    ids += taken;
    n -= taken;
    lm_status st = LM_OK;
    progress_start(&p, "reading", "tokens");
    for (size_t at = 0; at < n && st == LM_OK;) {
        size_t k = LM_MIN(n - at, (size_t)c->info.chunk);
        st = lm_session_append(s, ids + at, k, err);
        at += k;
        progress_at(&p, at, n);
    }
    progress_end(&p);
    return st;
}

void cli_note_timings(cli *c, const lm_metrics *m, uint64_t first_token_ns, uint64_t seed)
{
    char mem[32];
    char cached[48] = "";
    size_text(mem, sizeof mem, (double)m->peak_rss_bytes);
    if (m->cached_tokens > 0)
        (void)snprintf(cached, sizeof cached, " and %llu cached", (unsigned long long)m->cached_tokens);
    note_f("load %.0f ms | prompt %llu tokens%s, %.1f/s | first token %.0f ms | decode %llu tokens, %.1f/s | "
           "peak memory %s | seed %llu",
           (double)c->info.load_ns / 1e6, (unsigned long long)m->prompt_tokens, cached,
           m->prefill_tokens_per_second, (double)first_token_ns / 1e6,
           (unsigned long long)m->generated_tokens, m->decode_tokens_per_second, mem,
           (unsigned long long)seed);
}
