/* cli/verb_bench.c - lemma bench: how fast, and how near to what the machine can do.
 *
 * Every configuration (threads, cache format, instruction set, arithmetic) opens the
 * pack once and measures all lines in it.  Nothing here touches stored state. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/bench.h"

/* A line to measure.  What nobody asked for and does not fit is left out, and said. */
static lm_status one_line(bench *b, bench_test test, int64_t tokens, int64_t depth, bool asked, lm_error *err)
{
    bench_line *l = NULL;
    if (tokens == 0)
        return LM_OK;
    if (!asked && tokens + depth > (int64_t)b->c->info.context) {
        note_f("lemma: no %s of %lld tokens at depth %lld: the context holds %u", bench_test_name(test),
               (long long)tokens, (long long)depth, b->c->info.context);
        return LM_OK;
    }
    LM_TRY(bench_add(b, &l, err));
    l->test = test;
    l->tokens = (uint32_t)tokens;
    l->depth = (uint32_t)depth;
    (void)snprintf(l->label, sizeof l->label, depth > 0 ? "%s %u at depth %u" : "%s %u",
                   bench_test_name(test), l->tokens, l->depth);
    if (err_is_terminal())
        (void)fprintf(stderr, "\r\033[K%s, %u threads ...", l->label, l->threads);
    lm_status st = bench_measure(b, l, err);
    if (err_is_terminal())
        (void)fputs("\r\033[K", stderr);
    return st;
}

static lm_status all_lines(bench *b, lm_error *err)
{
    const cli_args *a = &b->c->args;
    const opt_value *prompts = &a->v[OPT_BENCH_PROMPT], *gens = &a->v[OPT_BENCH_GEN],
                    *depths = &a->v[OPT_BENCH_DEPTH];
    for (size_t i = 0; i < depths->n; i++) {
        int64_t d = depths->ints[i];
        for (size_t k = 0; k < prompts->n; k++)
            LM_TRY(one_line(b, BENCH_PREFILL, prompts->ints[k], d, depths->set || (prompts->set && d == 0),
                            err));
        for (size_t k = 0; k < gens->n; k++)
            LM_TRY(one_line(b, BENCH_DECODE, gens->ints[k], d, depths->set, err));
    }
    return LM_OK;
}

static lm_status one_config(bench *b, const lm_model_options *o, lm_error *err)
{
    lm_model_close(b->c->model);
    b->c->model = NULL;
    b->kv_most = 0;
    LM_TRY(cli_open_model(b->c, b->pack, o, err));
    uint32_t context = b->c->info.context;
    lm_free(b->ids);
    b->ids = NULL;
    LM_TRY(LM_NEW(&b->ids, context, err));
    for (uint32_t i = 0; i < context; i++)
        b->ids[i] = (int32_t)(((uint64_t)i * 2654435761u + 12345) % b->c->info.n_vocab);
    if (b->n == 0) /* what loading takes does not depend on the configuration */
        LM_TRY(bench_measure_load(b, o, err));
    LM_TRY(lm_session_open(&b->s, b->c->model, err));
    cli_interruptible(b->s);
    lm_status st = all_lines(b, err);
    cli_interruptible(NULL);
    lm_session_close(b->s);
    b->s = NULL;
    return st;
}

/* Item i of a list of choices; of none, what the options said already. */
static const char *item(const opt_value *v, size_t i, const char *otherwise)
{
    return v->n > 0 ? v->list[i] : otherwise;
}

/* A line that is there twice could not be compared with anything. */
static lm_status each_once(const bench *b, lm_error *err)
{
    static const opt_id ids[] = { OPT_BENCH_PROMPT, OPT_BENCH_GEN, OPT_BENCH_DEPTH,  OPT_BENCH_THREADS,
                                  OPT_BENCH_KV,     OPT_BENCH_ISA, OPT_BENCH_COMPUTE };
    for (size_t k = 0; k < LM_LEN(ids); k++) {
        const opt_value *v = &b->c->args.v[ids[k]];
        const char *name = cli_options[ids[k]].name;
        for (size_t i = 0; i < v->n; i++)
            for (size_t j = 0; j < i; j++) {
                if (v->list && strcmp(v->list[i], v->list[j]) == 0)
                    return lm_fail(err, LM_ERR_USAGE, "--%s has %s twice", name, v->list[i]);
                if (!v->list && v->ints[i] == v->ints[j])
                    return lm_fail(err, LM_ERR_USAGE, "--%s has %lld twice", name, (long long)v->ints[i]);
            }
    }
    return LM_OK;
}

/* Every combination of threads, cache format, instruction set and arithmetic. */
static lm_status sweep(bench *b, lm_error *err)
{
    const cli_args *a = &b->c->args;
    const opt_value *threads = &a->v[OPT_BENCH_THREADS], *kv = &a->v[OPT_BENCH_KV],
                    *isa = &a->v[OPT_BENCH_ISA], *compute = &a->v[OPT_BENCH_COMPUTE];
    const opt_value *const lists[] = { compute, isa, kv };
    size_t at[] = { 0, 0, 0 };
    lm_model_options o;
    LM_TRY(each_once(b, err));
    LM_TRY(cli_model_options(b->c, &o, err));
    if (kv->n > 0 && o.kv != NULL)
        return lm_fail(err, LM_ERR_USAGE, "--kv and -ctk or -ctv were given, allowed is one of them");
    const char *only_kv = o.kv;
    for (;;) {
        o.compute = item(compute, at[0], NULL);
        o.isa = item(isa, at[1], NULL);
        o.kv = item(kv, at[2], only_kv);
        for (size_t i = 0; i < LM_MAX(threads->n, (size_t)1); i++) {
            o.threads = threads->n > 0 ? (uint32_t)threads->ints[i] : 0;
            LM_TRY(one_config(b, &o, err));
        }
        size_t k = LM_LEN(lists);
        while (k > 0 && ++at[k - 1] >= LM_MAX(lists[k - 1]->n, (size_t)1))
            at[--k] = 0;
        if (k == 0)
            return LM_OK;
    }
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

static lm_status load_doc(const char *path, json_t **out, lm_error *err)
{
    char *text = NULL;
    LM_TRY(lm_bench_read(path, &text, err));
    *out = json_loads(text, 0, NULL);
    lm_give_back(text);
    return *out != NULL ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the figures");
}

/* lemma bench plot A.json ... --plot FILE.svg */
static lm_status plot_files(cli *c, lm_error *err)
{
    enum { MOST = 8 };
    json_t *docs[MOST] = { NULL };
    const char *names[MOST], *path = cli_text(&c->args, OPT_PLOT), *word;
    size_t n = 0;
    lm_status st = LM_OK;
    if (path == NULL)
        return lm_fail(err, LM_ERR_USAGE, "'lemma bench plot' needs --plot FILE.svg");
    LM_TRY(cli_can_write(path, err));
    while (st == LM_OK && (word = cli_take_word(c)) != NULL) {
        const char *slash = strrchr(word, '/');
        if (n == MOST) {
            st = lm_fail(err, LM_ERR_USAGE, "'lemma bench plot' draws %d files at most", MOST);
            break;
        }
        st = load_doc(word, &docs[n], err);
        names[n++] = slash != NULL ? slash + 1 : word;
    }
    if (st == LM_OK && n == 0)
        st = lm_fail(err, LM_ERR_USAGE, "'lemma bench plot' needs files that 'lemma bench --json' wrote");
    if (st == LM_OK)
        st = bench_draw(docs, names, n, path, err);
    for (size_t i = 0; i < n; i++)
        json_decref(docs[i]);
    return st;
}

static double number_of(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static void print_comparison(const json_t *doc)
{
    static const char *const head[] = { "LINE", "A", "B", "B/A", "SHARE B/A", "P", "VERDICT" };
    cli_table t;
    const json_t *rows = json_object_get(doc, "rows"), *differs = json_object_get(doc, "differs");
    table_open(&t, LM_LEN(head));
    for (size_t i = 0; i < LM_LEN(head); i++)
        table_add(&t, head[i]);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        table_add(&t, text_of(r, "label"));
        table_addf(&t, "%.2f", number_of(r, "a"));
        table_addf(&t, "%.2f", number_of(r, "b"));
        table_addf(&t, "%.3f", number_of(r, "ratio"));
        if (json_is_number(json_object_get(r, "share_ratio")))
            table_addf(&t, "%.3f", number_of(r, "share_ratio"));
        else
            table_add(&t, "-");
        table_addf(&t, "%.3f", number_of(r, "p"));
        table_add(&t, text_of(r, "verdict"));
    }
    table_print(&t, true);
    table_close(&t);
    for (size_t i = 0; i < json_array_size(differs); i++) {
        const json_t *d = json_array_get(differs, i);
        note_f("lemma: %s differs: %s and %s", text_of(d, "what"), text_of(d, "a"), text_of(d, "b"));
    }
    for (int k = 0; k < 2; k++) {
        const json_t *only = json_object_get(doc, k ? "only_b" : "only_a");
        for (size_t i = 0; i < json_array_size(only); i++)
            note_f("lemma: only %s has %s", k ? "B" : "A", json_string_value(json_array_get(only, i)));
    }
}

/* lemma bench compare A.json B.json */
static lm_status compare(cli *c, lm_error *err)
{
    const char *a = cli_take_word(c), *b = cli_take_word(c);
    char *text = NULL;
    if (b == NULL)
        return lm_fail(err, LM_ERR_USAGE,
                       "'lemma bench compare' needs two files that 'lemma bench --json' "
                       "wrote");
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_bench_compare(a, b, cli_real(&c->args, OPT_NOISE) / 100, &text, err));
    json_t *doc = json_loads(text, 0, NULL);
    lm_give_back(text);
    if (doc == NULL)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the comparison");
    lm_status st = LM_OK;
    if (cli_flag(&c->args, OPT_JSON))
        st = out_json(doc, err);
    else
        print_comparison(doc);
    double slower = number_of(doc, "slower");
    if (st == LM_OK && slower > 0 && cli_flag(&c->args, OPT_FAIL_ON_REGRESSION))
        st = lm_fail(err, LM_ERR_FAILED, "%.0f of %zu lines are slower", slower,
                     json_array_size(json_object_get(doc, "rows")));
    json_decref(doc);
    return st;
}

/* Options of ramp and wake, and those of measuring that they do not take. */
static lm_status belongs_to_states(const cli *c, bool states, lm_error *err)
{
    static const opt_id theirs[] = { OPT_START, OPT_TARGET, OPT_APPEND, OPT_TURN, OPT_WATTS, OPT_FILE },
                        others[] = { OPT_BENCH_PROMPT, OPT_BENCH_GEN, OPT_BENCH_DEPTH,
                                     OPT_REPEATS,      OPT_TRACE,     OPT_TRACE_STEP };
    for (size_t i = 0; i < LM_LEN(theirs); i++)
        if (!states && cli_given(&c->args, theirs[i]))
            return lm_fail(err, LM_ERR_USAGE, "--%s belongs to 'lemma bench ramp' and 'lemma bench wake'",
                           cli_options[theirs[i]].name);
    for (size_t i = 0; i < LM_LEN(others); i++)
        if (states && cli_given(&c->args, others[i]))
            return lm_fail(err, LM_ERR_USAGE, "'lemma bench ramp' and 'lemma bench wake' do not take --%s",
                           cli_options[others[i]].name);
    return LM_OK;
}

/* Options of the other forms of the verb. */
static lm_status belongs(const cli *c, bool make, bool comparing, lm_error *err)
{
    static const struct {
        opt_id id;
        bool make;
    } rows[] = { { OPT_FORMAT, true },
                 { OPT_MAKE_OUTPUT, true },
                 { OPT_NOISE, false },
                 { OPT_FAIL_ON_REGRESSION, false } };
    for (size_t i = 0; i < LM_LEN(rows); i++)
        if (cli_given(&c->args, rows[i].id) && !(rows[i].make ? make : comparing))
            return lm_fail(err, LM_ERR_USAGE, "--%s belongs to 'lemma bench %s'",
                           cli_options[rows[i].id].name, rows[i].make ? "make" : "compare");
    return LM_OK;
}

static lm_status measure_and_tell(bench *b, lm_error *err)
{
    const cli_args *a = &b->c->args;
    const char *plot = cli_text(a, OPT_PLOT), *trace = cli_text(a, OPT_TRACE);
    json_t *doc = NULL;
    if (plot != NULL)
        LM_TRY(cli_can_write(plot, err));
    if (trace != NULL)
        LM_TRY(cli_can_write(trace, err));
    if (trace == NULL && cli_given(a, OPT_TRACE_STEP))
        return lm_fail(err, LM_ERR_USAGE, "--trace-step belongs to --trace");
    LM_TRY(sweep(b, err));
    if (b->n == 1) /* loading */
        return lm_fail(err, LM_ERR_USAGE, "there is nothing to measure: --n-prompt and --n-gen are 0");
    if (trace != NULL && !b->traced)
        return lm_fail(err, LM_ERR_USAGE, "--trace-step is %s, of which there is no line",
                       cli_trace_prefill(b->c) ? "prefill" : "decode");
    lm_status st = bench_json(b, &doc, err);
    if (st == LM_OK && cli_flag(a, OPT_JSON))
        st = out_json(doc, err);
    else if (st == LM_OK)
        bench_table(b);
    if (st == LM_OK && plot != NULL)
        st = bench_draw(&doc, NULL, 1, plot, err);
    json_decref(doc);
    return st;
}

lm_status verb_bench(cli *c, lm_error *err)
{
    const char *first = c->args.n_words > 0 ? c->args.words[0] : "";
    bool make = strcmp(first, "make") == 0, comparing = strcmp(first, "compare") == 0;
    bool climb = strcmp(first, "ramp") == 0, wake = strcmp(first, "wake") == 0;
    LM_TRY(belongs(c, make, comparing, err));
    LM_TRY(belongs_to_states(c, climb || wake, err));
    if (climb || wake) {
        c->sub = cli_take_word(c);
        return climb ? bench_ramp(c, err) : bench_wake(c, err);
    }
    if (make || comparing || strcmp(first, "plot") == 0) {
        c->sub = cli_take_word(c);
        return make ? make_pack(c, err) : comparing ? compare(c, err) : plot_files(c, err);
    }
    bench b = { .c = c, .repeats = (size_t)cli_int(&c->args, OPT_REPEATS) };
    LM_TRY(cli_take_pack(c, &b.pack, err));
    LM_TRY(cli_no_more_words(c, err));
    lm_status st = measure_and_tell(&b, err);
    bench_clear(&b);
    return st;
}
