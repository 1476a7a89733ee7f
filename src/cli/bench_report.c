/* cli/bench_report.c - figures as a table, as JSON with every round, and as pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/plot.h"

void bench_table(const bench *b)
{
    static const char *const head[] = { "TEST", "THREADS", "KV",    "ISA",   "COMPUTE", "MEDIAN",
                                        "LOW",  "HIGH",    "LIMIT", "SHARE", "PRIVATE" };
    cli_table t;
    const lm_model_info *m = &b->c->info;
    char size[32];
    lm_quoted_buf q;
    size_text(size, sizeof size, (double)m->weight_bytes);
    out_f("%s: %s, %s, context %u; prefill and decode in tokens/s, load in ms\n\n", lm_quoted_z(&q, m->path),
          m->family, size, m->context);
    table_open(&t, LM_LEN(head));
    for (size_t i = 0; i < LM_LEN(head); i++)
        table_add(&t, head[i]);
    for (size_t i = 0; i < b->n; i++) {
        const bench_line *l = &b->lines[i];
        bool read = l->test == BENCH_DECODE, load = l->test == BENCH_LOAD;
        table_add(&t, l->label);
        table_addf(&t, "%u", l->threads);
        table_add(&t, l->kv);
        table_add(&t, l->isa);
        table_add(&t, l->compute);
        table_addf(&t, "%.2f", l->median);
        table_addf(&t, "%.2f", l->low);
        table_addf(&t, "%.2f", l->high);
        table_addf(&t, load ? "-" : read ? "%.1f GB/s" : "%.0f GOP/s", l->probe / 1e9);
        table_addf(&t, load ? "-" : "%.1f %%", l->share * 100);
        size_text(size, sizeof size, (double)l->memory.anonymous);
        table_add(&t, load ? "-" : size);
    }
    table_print(&t, true);
    table_close(&t);
    for (size_t i = 0; i < b->n; i++)
        if (b->lines[i].over_bytes > 0) {
            size_text(size, sizeof size, (double)b->lines[i].over_bytes);
            note_f("lemma: %s took %s more than its file, its keys and values and 64 MiB", b->lines[i].label,
                   size);
        }
}

static json_t *line_json(const bench_line *l)
{
    json_t *rounds = json_array();
    bool load = l->test == BENCH_LOAD;
    for (size_t i = 0; i < l->n_rounds; i++) {
        const bench_round *r = &l->rounds[i];
        json_t *o = json_pack("{s:f, s:f}", "value", r->value, "seconds", r->seconds);
        if (!load)
            (void)json_object_update_new(
                o, json_pack("{s:f, s:f, s:f}", "before", r->before, "after", r->after, "share", r->share));
        (void)json_array_append_new(rounds, o);
    }
    json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f}", "test",
                          bench_test_name(l->test), "tokens", (int)l->tokens, "depth", (int)l->depth,
                          "threads", (int)l->threads, "kv", l->kv, "isa", l->isa, "compute", l->compute,
                          "device", l->device, "numerics", l->numerics, "unit", load ? "ms" : "tokens/s",
                          "median", l->median, "low", l->low, "high", l->high);
    if (!load)
        (void)json_object_update_new(o, json_pack("{s:s, s:f, s:f}", "limit",
                                                  l->test == BENCH_DECODE ? "read" : "arithmetic", "probe",
                                                  l->probe, "share", l->share));
    if (l->has_memory)
        (void)json_object_set_new(
            o, "memory",
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "peak", (json_int_t)l->memory.peak, "anonymous",
                      (json_int_t)l->memory.anonymous, "file", (json_int_t)l->memory.file, "kv",
                      (json_int_t)l->kv_bytes, "workspace", (json_int_t)l->workspace_bytes, "over",
                      (json_int_t)l->over_bytes));
    (void)json_object_set_new(o, "rounds", rounds);
    return o;
}

lm_status bench_json(const bench *b, json_t **out, lm_error *err)
{
    const lm_model_info *m = &b->c->info;
    char *facts = NULL, date[32] = "";
    struct tm tm;
    time_t now = time(NULL);
    json_t *list = json_array();
    LM_TRY(lm_machine(&facts, err));
    if (gmtime_r(&now, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    for (size_t i = 0; i < b->n; i++)
        (void)json_array_append_new(list, line_json(&b->lines[i]));
    json_t *machine = json_loads(facts, 0, NULL);
    lm_give_back(facts);
    *out =
        json_pack("{s:i, s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:o}",
                  "lemma_bench", 1, "version", lm_version(), "date", date, "machine",
                  machine != NULL ? machine : json_null(), "pack", cli_json_text(m->path, strlen(m->path)),
                  "family", m->family, "weight_bytes", (json_int_t)m->weight_bytes, "token_bytes",
                  (json_int_t)m->token_bytes, "kv_bytes_per_token", (json_int_t)m->kv_bytes_per_token,
                  "n_params", (json_int_t)m->n_params, "chunk_params", (json_int_t)m->chunk_params, "context",
                  (int)m->context, "chunk", (int)m->chunk, "repeats", (int)b->repeats, "results", list);
    return *out != NULL ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
}

/* --- pictures -------------------------------------------------------------------- */

/* One line of a document. */
typedef struct {
    const json_t *o;
    size_t doc;
    const char *test, *kv, *isa, *compute;
    double tokens, depth, threads, median, low, high, share;
    char series[160]; /* all that varies among lines but for the panel's own axis */
    bool drawn;
} figure;

typedef struct {
    figure *f;
    size_t n, cap;
    const char *const *names;
    size_t n_docs;
} figures;

static double number_of(const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static lm_status collect(figures *z, const json_t *doc, size_t index, lm_error *err)
{
    const json_t *list = json_object_get(doc, "results");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        LM_TRY(lm_grow((void **)&z->f, &z->cap, z->n + 1, sizeof *z->f, err));
        double median = number_of(o, "median", 0);
        z->f[z->n++] = (figure){ .o = o,
                                 .doc = index,
                                 .test = json_string_value(json_object_get(o, "test")),
                                 .kv = json_string_value(json_object_get(o, "kv")),
                                 .isa = json_string_value(json_object_get(o, "isa")),
                                 .compute = json_string_value(json_object_get(o, "compute")),
                                 .tokens = number_of(o, "tokens", 0),
                                 .depth = number_of(o, "depth", 0),
                                 .threads = number_of(o, "threads", 0),
                                 .median = median,
                                 .low = number_of(o, "low", median),
                                 .high = number_of(o, "high", median),
                                 .share = number_of(o, "share", 0) };
    }
    return LM_OK;
}

static bool is_load(const figure *f)
{
    return strcmp(f->test, "load") == 0;
}

typedef enum { BY_DEPTH, BY_THREADS, BY_NOTHING } axis;

static double axis_of(const figure *f, axis a)
{
    return a == BY_DEPTH ? f->depth : f->threads;
}

/* Names each figure by what varies over all, but for what the axis shows. */
static void name_series(figures *z, axis a)
{
    bool tokens = false, depth = false, threads = false, kv = false, isa = false, compute = false;
    const figure *first = NULL;
    for (size_t i = 0; i < z->n; i++) {
        const figure *f = &z->f[i];
        if (is_load(f))
            continue;
        first = first != NULL ? first : f;
        tokens = tokens || (strcmp(f->test, first->test) == 0 &&
                            (f->tokens > first->tokens || f->tokens < first->tokens));
        depth = depth || f->depth > first->depth || f->depth < first->depth;
        threads = threads || f->threads > first->threads || f->threads < first->threads;
        kv = kv || strcmp(f->kv, first->kv) != 0;
        isa = isa || strcmp(f->isa, first->isa) != 0;
        compute = compute || strcmp(f->compute, first->compute) != 0;
    }
    for (size_t i = 0; i < z->n; i++) {
        figure *f = &z->f[i];
        size_t cap = sizeof f->series, n = 0;
#define ADD(...) n += (size_t)snprintf(f->series + LM_MIN(n, cap - 1), cap - LM_MIN(n, cap - 1), __VA_ARGS__)
        if (z->n_docs > 1)
            ADD("%.40s ", z->names[f->doc]);
        ADD("%s", f->test);
        if (f->tokens > 0 && (tokens || a == BY_NOTHING))
            ADD(" %.0f", f->tokens);
        if (a != BY_DEPTH && depth && !is_load(f))
            ADD(" at %.0f", f->depth);
        if (a != BY_THREADS && threads)
            ADD(", -t %.0f", f->threads);
        if (kv)
            ADD(", %s", f->kv);
        if (isa)
            ADD(", %s", f->isa);
        if (compute)
            ADD(", %s", f->compute);
#undef ADD
    }
}

typedef struct {
    plot_series series[16];
    plot_point *points; /* [n figures] */
    size_t n_series;
} lines;

static int by_x(const void *a, const void *b)
{
    double x = ((const plot_point *)a)->x, y = ((const plot_point *)b)->x;
    return (x > y) - (x < y);
}

/* The series of one test that have two places or more on the axis. */
static lm_status make_lines(figures *z, const char *test, axis a, lines *out, lm_error *err)
{
    size_t used = 0;
    *out = (lines){ 0 };
    LM_TRY(LM_NEW(&out->points, LM_MAX(z->n, (size_t)1), err));
    name_series(z, a);
    for (size_t i = 0; i < z->n && out->n_series < LM_LEN(out->series); i++) {
        const figure *f = &z->f[i];
        bool known = strcmp(f->test, test) != 0;
        for (size_t k = 0; k < i && !known; k++)
            known = strcmp(z->f[k].test, test) == 0 && strcmp(z->f[k].series, f->series) == 0;
        if (known)
            continue;
        plot_point *p = out->points + used;
        size_t n = 0;
        for (size_t k = i; k < z->n; k++)
            if (strcmp(z->f[k].test, test) == 0 && strcmp(z->f[k].series, f->series) == 0)
                p[n++] = (plot_point){
                    .x = axis_of(&z->f[k], a), .y = z->f[k].median, .low = z->f[k].low, .high = z->f[k].high
                };
        qsort(p, n, sizeof *p, by_x);
        if (n < 2 || !(p[n - 1].x > p[0].x))
            continue;
        for (size_t k = i; k < z->n; k++)
            z->f[k].drawn |= strcmp(z->f[k].test, test) == 0 && strcmp(z->f[k].series, f->series) == 0;
        out->series[out->n_series++] = (plot_series){ .label = f->series, .points = p, .n = n };
        used += n;
    }
    return LM_OK;
}

/* The names of the series are made anew for each panel: a panel keeps its own. */
static lm_status keep_names(lines *l, char (*names)[160])
{
    for (size_t i = 0; i < l->n_series; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s", l->series[i].label);
        l->series[i].label = names[i];
    }
    return LM_OK;
}

static lm_status make_bars(figures *z, plot_bar **out, size_t *n, lm_error *err)
{
    *n = 0;
    LM_TRY(LM_NEW(out, LM_MAX(z->n, (size_t)1), err));
    name_series(z, BY_NOTHING);
    for (size_t i = 0; i < z->n; i++) {
        const figure *f = &z->f[i];
        if (f->drawn || is_load(f))
            continue;
        plot_bar *b = &(*out)[(*n)++];
        *b = (plot_bar){ .label = f->series, .value = f->median, .low = f->low, .high = f->high };
        if (f->share > 0)
            (void)snprintf(b->note, sizeof b->note, "%.1f (%.0f %% of the limit)", f->median, f->share * 100);
        else
            (void)snprintf(b->note, sizeof b->note, "%.1f", f->median);
    }
    return LM_OK;
}

static lm_status draw(figures *z, const char *title, const char *path, lm_error *err)
{
    static const struct {
        const char *test, *title, *x;
        axis axis;
    } kinds[] = { { "decode", "Decode by depth", "tokens in the context", BY_DEPTH },
                  { "prefill", "Prefill by depth", "tokens in the context", BY_DEPTH },
                  { "decode", "Decode by threads", "threads", BY_THREADS },
                  { "prefill", "Prefill by threads", "threads", BY_THREADS } };
    static const char unit[] = "tokens a second, median; from the lowest to the highest round";
    plot_panel panels[LM_LEN(kinds) + 1];
    lines l[LM_LEN(kinds)] = { 0 };
    char(*names)[160] = NULL;
    plot_bar *bars = NULL;
    size_t n = 0, n_bars = 0;
    lm_status st = lm_new((void **)&names, LM_LEN(kinds) * LM_LEN(l[0].series), sizeof *names, err);
    for (size_t i = 0; i < LM_LEN(kinds) && st == LM_OK; i++) {
        st = make_lines(z, kinds[i].test, kinds[i].axis, &l[i], err);
        if (st != LM_OK || l[i].n_series == 0)
            continue;
        st = keep_names(&l[i], names + i * LM_LEN(l[i].series));
        panels[n++] = (plot_panel){ .title = kinds[i].title,
                                    .unit = unit,
                                    .x_unit = kinds[i].x,
                                    .series = l[i].series,
                                    .n_series = l[i].n_series };
    }
    if (st == LM_OK)
        st = make_bars(z, &bars, &n_bars, err);
    if (st == LM_OK && n_bars > 0)
        panels[n++] =
            (plot_panel){ .title = "Prefill and decode", .unit = unit, .bars = bars, .n_bars = n_bars };
    if (st == LM_OK)
        st = plot_write(path, title, panels, n, err);
    for (size_t i = 0; i < LM_LEN(kinds); i++)
        lm_free(l[i].points);
    lm_free(names);
    lm_free(bars);
    return st;
}

lm_status bench_draw(json_t *const *docs, const char *const *names, size_t n, const char *path, lm_error *err)
{
    figures z = { .names = names, .n_docs = n };
    char title[320];
    lm_status st = LM_OK;
    for (size_t i = 0; i < n && st == LM_OK; i++)
        st = collect(&z, docs[i], i, err);
    const char *pack = json_string_value(json_object_get(docs[0], "pack"));
    const char *cpu = json_string_value(json_object_get(json_object_get(docs[0], "machine"), "cpu"));
    const char *date = json_string_value(json_object_get(docs[0], "date"));
    const char *slash = pack != NULL ? strrchr(pack, '/') : NULL;
    (void)snprintf(title, sizeof title, "%.120s, %.100s, %.10s",
                   slash != NULL  ? slash + 1
                   : pack != NULL ? pack
                                  : "",
                   cpu != NULL ? cpu : "", date != NULL ? date : "");
    if (st == LM_OK)
        st = draw(&z, title, path, err);
    lm_free(z.f);
    return st;
}
