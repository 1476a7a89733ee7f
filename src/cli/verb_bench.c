/* cli/verb_bench.c - lemma bench: how fast, and how near to what the memory allows.
 *
 * Every line is bracketed by a probe of the machine's bandwidth, and its figure
 * given as a share of it: bytes that had to be read (weights once a step, keys
 * and values of all positions before) over what the machine could have read in
 * that time.  Prefill computes more than it reads, so its share is small; decode
 * is bound by it.  Nothing here touches stored state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/plot.h"

typedef struct {
    bool decode;
    uint32_t threads, tokens, depth;
    double rate, low, high; /* tokens a second: median, extremes */
    double bandwidth;       /* bytes a second, the better of the two probes */
    double share;           /* 0 to 1 of it */
    char label[64];
} line;

typedef struct {
    cli *c;
    line *lines;
    size_t n, cap;
    double *rates; /* [repeats] */
    size_t repeats;
    int32_t *ids; /* [context] deterministic tokens */
    lm_session *s;
} bench;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one measurement. */
static lm_status once(bench *b, const line *l, double *seconds, lm_error *err)
{
    lm_session *s = b->s;
    uint32_t have = lm_session_n_tokens(s);
    /* Depth is read once and kept from repeat to repeat. */
    if (have > l->depth)
        LM_TRY(lm_session_truncate(s, l->depth, err));
    have = lm_session_n_tokens(s);
    if (have < l->depth)
        LM_TRY(cli_append(b->c, s, b->ids + have, l->depth - have, err));
    uint64_t start = cli_now_ns();
    if (!l->decode)
        LM_TRY(lm_session_append(s, b->ids + l->depth, l->tokens, err));
    for (uint32_t i = 0; l->decode && i < l->tokens; i++)
        LM_TRY(lm_session_append(s, b->ids + l->depth + i, 1, err));
    *seconds = (double)(cli_now_ns() - start) / 1e9;
    return LM_OK;
}

static double bytes_read(const bench *b, const line *l)
{
    const lm_model_info *m = &b->c->info;
    double kv = (double)m->kv_bytes_per_token, weights = (double)m->token_bytes;
    double steps = l->decode ? (double)l->tokens : (double)((l->tokens + m->chunk - 1) / m->chunk);
    double each = (double)l->tokens / steps;
    /* Step i sees the depth and the i * each tokens before it. */
    return steps * (weights + kv * ((double)l->depth + each * (steps + 1) / 2));
}

static lm_status measure(bench *b, line *l, lm_error *err)
{
    double seconds = 0, before, after;
    if ((uint64_t)l->depth + l->tokens > b->c->info.context) {
        lm_hint(err, "-c raises the context, up to %u for this pack; -d, -p and -n choose what is measured",
                b->c->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "%s needs %u tokens, the context holds %u", l->label,
                       l->depth + l->tokens, b->c->info.context);
    }
    LM_TRY(once(b, l, &seconds, err)); /* faults the weights in; not counted */
    before = lm_probe_bandwidth(b->c->info.threads);
    for (size_t i = 0; i < b->repeats; i++) {
        LM_TRY(once(b, l, &seconds, err));
        b->rates[i] = (double)l->tokens / seconds;
        if (cli_interrupted())
            return lm_fail(err, LM_ERR_CANCELLED, "interrupted");
    }
    after = lm_probe_bandwidth(b->c->info.threads);
    qsort(b->rates, b->repeats, sizeof *b->rates, by_value);
    size_t mid = b->repeats / 2;
    l->rate = b->repeats % 2 ? b->rates[mid] : (b->rates[mid - 1] + b->rates[mid]) / 2;
    l->low = b->rates[0];
    l->high = b->rates[b->repeats - 1];
    l->bandwidth = before > after ? before : after;
    l->share = l->bandwidth > 0 ? bytes_read(b, l) * l->rate / (double)l->tokens / l->bandwidth : 0;
    return LM_OK;
}

static void table_head(cli_table *t)
{
    static const char *const head[] = { "TEST", "THREADS", "TOKENS/S", "LOW", "HIGH", "BANDWIDTH", "SHARE" };
    table_open(t, LM_LEN(head));
    for (size_t i = 0; i < LM_LEN(head); i++)
        table_add(t, head[i]);
}

static void print_table(const bench *b)
{
    cli_table t;
    const lm_model_info *m = &b->c->info;
    char size[32];
    lm_quoted_buf q;
    size_text(size, sizeof size, (double)m->weight_bytes);
    out_f("%s: %s, %s, %s, keys and values %s, context %u\n\n", lm_quoted_z(&q, m->path), m->family, size,
          m->device, m->kv, m->context);
    table_head(&t);
    for (size_t i = 0; i < b->n; i++) {
        const line *l = &b->lines[i];
        table_add(&t, l->label);
        table_addf(&t, "%u", l->threads);
        table_addf(&t, "%.2f", l->rate);
        table_addf(&t, "%.2f", l->low);
        table_addf(&t, "%.2f", l->high);
        table_addf(&t, "%.1f GB/s", l->bandwidth / 1e9);
        table_addf(&t, "%.1f %%", l->share * 100);
    }
    table_print(&t, true);
    table_close(&t);
}

static lm_status print_json(const bench *b, lm_error *err)
{
    const lm_model_info *m = &b->c->info;
    json_t *list = json_array();
    for (size_t i = 0; i < b->n; i++) {
        const line *l = &b->lines[i];
        (void)json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "test",
                            l->decode ? "decode" : "prefill", "tokens", (int)l->tokens, "depth",
                            (int)l->depth, "threads", (int)l->threads, "tokens_per_second", l->rate, "low",
                            l->low, "high", l->high, "bandwidth", l->bandwidth, "share", l->share));
    }
    json_t *j = json_pack("{s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:o}", "pack",
                          cli_json_text(m->path, strlen(m->path)), "family", m->family, "device", m->device,
                          "numerics", m->numerics, "kv", m->kv, "weight_bytes", (json_int_t)m->weight_bytes,
                          "token_bytes", (json_int_t)m->token_bytes, "kv_bytes_per_token",
                          (json_int_t)m->kv_bytes_per_token, "context", (int)m->context, "repeats",
                          (int)b->repeats, "results", list);
    lm_status st = j != NULL ? out_json(j, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
    json_decref(j);
    return st;
}

static lm_status draw(const bench *b, const char *path, lm_error *err)
{
    plot_bar *bars = NULL;
    char title[256];
    const char *name = strrchr(b->c->info.path, '/');
    LM_TRY(LM_NEW(&bars, b->n, err));
    for (size_t i = 0; i < b->n; i++) {
        const line *l = &b->lines[i];
        bars[i] = (plot_bar){ .label = l->label, .value = l->rate, .low = l->low, .high = l->high };
        (void)snprintf(bars[i].note, sizeof bars[i].note, "%.1f (%.0f %% of bandwidth)", l->rate,
                       l->share * 100);
    }
    (void)snprintf(title, sizeof title, "%.120s, %s", name != NULL ? name + 1 : b->c->info.path,
                   b->c->info.device);
    lm_status st = plot_write(path, title, "tokens a second, median", bars, b->n, err);
    lm_free(bars);
    return st;
}

/* A line to measure: kept, so that all are printed together.  What nobody asked
 * for and does not fit is left out, and said. */
static lm_status add(bench *b, bool decode, int64_t tokens, int64_t depth, bool asked, lm_error *err)
{
    if (tokens == 0)
        return LM_OK;
    if (!asked && tokens + depth > (int64_t)b->c->info.context) {
        note_f("lemma: no %s of %lld tokens at depth %lld: the context holds %u",
               decode ? "decode" : "prefill", (long long)tokens, (long long)depth, b->c->info.context);
        return LM_OK;
    }
    LM_TRY(lm_grow((void **)&b->lines, &b->cap, b->n + 1, sizeof *b->lines, err));
    line *l = &b->lines[b->n++];
    *l = (line){
        .decode = decode, .threads = b->c->info.threads, .tokens = (uint32_t)tokens, .depth = (uint32_t)depth
    };
    (void)snprintf(l->label, sizeof l->label, depth > 0 ? "%s %u at depth %u" : "%s %u",
                   decode ? "decode" : "prefill", l->tokens, l->depth);
    return LM_OK;
}

static lm_status measure_all(bench *b, size_t from, lm_error *err)
{
    for (size_t i = from; i < b->n; i++) {
        if (err_is_terminal())
            (void)fprintf(stderr, "\r\033[K%s, %u threads ...", b->lines[i].label, b->lines[i].threads);
        lm_status st = measure(b, &b->lines[i], err);
        if (err_is_terminal())
            (void)fputs("\r\033[K", stderr);
        LM_TRY(st);
    }
    return LM_OK;
}

/* Everything for one number of threads. */
static lm_status with_threads(bench *b, const char *pack, int64_t threads, lm_error *err)
{
    const cli_args *a = &b->c->args;
    const opt_value *prompts = &a->v[OPT_BENCH_PROMPT], *gens = &a->v[OPT_BENCH_GEN],
                    *depths = &a->v[OPT_BENCH_DEPTH];
    lm_model_options o;
    size_t from = b->n;
    LM_TRY(cli_model_options(b->c, &o, err));
    o.threads = (uint32_t)threads;
    o.no_text = true;
    lm_model_close(b->c->model);
    b->c->model = NULL;
    LM_TRY(cli_open_model(b->c, pack, &o, err));
    uint32_t context = b->c->info.context;
    lm_free(b->ids);
    b->ids = NULL;
    LM_TRY(LM_NEW(&b->ids, context, err));
    for (uint32_t i = 0; i < context; i++)
        b->ids[i] = (int32_t)(((uint64_t)i * 2654435761u + 12345) % b->c->info.n_vocab);
    for (size_t i = 0; i < prompts->n; i++)
        LM_TRY(add(b, false, prompts->ints[i], 0, prompts->set, err));
    for (size_t i = 0; i < depths->n; i++)
        for (size_t k = 0; k < gens->n; k++)
            LM_TRY(add(b, true, gens->ints[k], depths->ints[i], depths->set, err));
    LM_TRY(lm_session_open(&b->s, b->c->model, err));
    cli_interruptible(b->s);
    lm_status st = measure_all(b, from, err);
    cli_interruptible(NULL);
    lm_session_close(b->s);
    b->s = NULL;
    return st;
}

/* lemma bench make SHAPE --format F -o PATH */
static lm_status make_pack(cli *c, lm_error *err)
{
    const char *shape = cli_take_word(c), *format = cli_text(&c->args, OPT_FORMAT),
               *path = cli_text(&c->args, OPT_MAKE_OUTPUT);
    struct stat st;
    lm_quoted_buf q;
    LM_TRY(cli_no_more_words(c, err));
    if (shape == NULL || format == NULL || path == NULL) {
        lm_hint(err,
                "lemma bench make qwen3-0.6b --format affine4-g64-bf16 -o DIR; 'lemma help bench' has more");
        return lm_fail(err, LM_ERR_USAGE, "'lemma bench make' needs %s",
                       shape == NULL    ? "a shape: qwen3-0.6b, llama-1b, qwen3-4b or llama-8b"
                       : format == NULL ? "--format"
                                        : "--output");
    }
    if (stat(path, &st) == 0)
        return lm_fail(err, LM_ERR_USAGE, "%s is there already: name another place", lm_quoted_z(&q, path));
    LM_TRY(cli_can_write(path, err));
    LM_TRY(lm_bench_make(shape, format, path, err));
    note_f("lemma: %s is written; lemma bench %s", lm_quoted_z(&q, path), lm_quoted_z(&q, path));
    return LM_OK;
}

lm_status verb_bench(cli *c, lm_error *err)
{
    const char *pack = NULL;
    const opt_value *threads = &c->args.v[OPT_BENCH_THREADS];
    bench b = { .c = c, .repeats = (size_t)cli_int(&c->args, OPT_REPEATS) };
    if (c->args.n_words > 0 && strcmp(c->args.words[0], "make") == 0) {
        c->sub = cli_take_word(c);
        return make_pack(c, err);
    }
    if (cli_given(&c->args, OPT_FORMAT) || cli_given(&c->args, OPT_MAKE_OUTPUT))
        return lm_fail(err, LM_ERR_USAGE, "--%s belongs to 'lemma bench make'",
                       cli_given(&c->args, OPT_FORMAT) ? "format" : "output");
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if (cli_text(&c->args, OPT_PLOT) != NULL)
        LM_TRY(cli_can_write(cli_text(&c->args, OPT_PLOT), err));
    lm_status st = LM_NEW(&b.rates, b.repeats, err);
    for (size_t i = 0; i < threads->n && st == LM_OK; i++)
        st = with_threads(&b, pack, threads->ints[i], err);
    if (st == LM_OK && b.n == 0)
        st = lm_fail(err, LM_ERR_USAGE, "there is nothing to measure: --n-prompt and --n-gen are 0");
    if (st == LM_OK && cli_flag(&c->args, OPT_JSON))
        st = print_json(&b, err);
    else if (st == LM_OK)
        print_table(&b);
    if (st == LM_OK && cli_text(&c->args, OPT_PLOT) != NULL)
        st = draw(&b, cli_text(&c->args, OPT_PLOT), err);
    lm_free(b.rates);
    lm_free(b.lines);
    lm_free(b.ids);
    return st;
}
