/* tools/benchfile.c - reads figures back, and believes nothing. */
#include "tools/benchfile.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"

typedef struct {
    const char *file;
    size_t row;
    lm_error *err;
} reader;

static lm_status bad(const reader *r, const char *key, const char *allowed)
{
    lm_quoted_buf q;
    return lm_fail(r->err, LM_ERR_CORRUPT, "%s: '%s' of results[%zu] is not %s",
                   lm_quoted_z(&q, lm_base_name(r->file)), key, r->row, allowed);
}

/* A word of ours: short, of harmless characters, so that it may be shown as it is. */
static lm_status word(const reader *r, const json_t *o, const char *key, const char **out)
{
    const char *s = json_string_value(json_object_get(o, key));
    size_t n = s ? strlen(s) : 0;
    if (n < 1 || n > 32 ||
        strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./ ") != n)
        return bad(r, key, "a word of 1 to 32 letters and digits");
    *out = s;
    return LM_OK;
}

static lm_status whole(const reader *r, const json_t *o, const char *key, uint32_t *out)
{
    const json_t *v = json_object_get(o, key);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || n > UINT32_MAX)
        return bad(r, key, "a whole number from 0 to 4294967295");
    *out = (uint32_t)n;
    return LM_OK;
}

static bool good(const json_t *v)
{
    double x = json_number_value(v);
    return json_is_number(v) && isfinite(x) && x > 1e-12 && x < 1e18;
}

static lm_status read_rounds(const reader *r, const json_t *rounds, lm_bench_row *row)
{
    bool slow = strcmp(row->unit, "ms") == 0, shares = row->n_rounds > 0;
    for (size_t i = 0; i < row->n_rounds; i++) {
        const json_t *o = json_array_get(rounds, i), *share = json_object_get(o, "share");
        if (!good(json_object_get(o, "value")))
            return bad(r, "rounds[].value", "a positive number");
        row->speeds[i] = json_number_value(json_object_get(o, "value"));
        if (slow)
            row->speeds[i] = 1 / row->speeds[i];
        shares = shares && good(share);
        row->shares[i] = shares ? json_number_value(share) : 0;
    }
    if (!shares)
        row->shares = NULL;
    return LM_OK;
}

static lm_status read_row(const reader *r, const json_t *o, lm_bench_row *row)
{
    const json_t *rounds = json_object_get(o, "rounds"), *median = json_object_get(o, "median");
    LM_TRY(word(r, o, "test", &row->test));
    LM_TRY(word(r, o, "kv", &row->kv));
    LM_TRY(word(r, o, "isa", &row->isa));
    LM_TRY(word(r, o, "compute", &row->compute));
    LM_TRY(word(r, o, "unit", &row->unit));
    LM_TRY(whole(r, o, "tokens", &row->tokens));
    LM_TRY(whole(r, o, "depth", &row->depth));
    LM_TRY(whole(r, o, "threads", &row->threads));
    if (strcmp(row->unit, "ms") != 0 && strcmp(row->unit, "tokens/s") != 0)
        return bad(r, "unit", "'tokens/s' or 'ms'");
    if (!good(median))
        return bad(r, "median", "a positive number");
    static const char *const optional[] = { "low", "high", "share", "probe" };
    for (size_t i = 0; i < LM_LEN(optional); i++) {
        const json_t *v = json_object_get(o, optional[i]);
        if (v && !json_is_null(v) && !good(v))
            return bad(r, optional[i], "a positive number");
    }
    row->json = o;
    row->median = json_number_value(median);
    LM_TRY(read_rounds(r, rounds, row));
    int n = snprintf(row->label, sizeof row->label, "%s", row->test);
    if (row->tokens > 0)
        n += snprintf(row->label + n, sizeof row->label - (size_t)n, " %" PRIu32, row->tokens);
    if (row->depth > 0)
        n += snprintf(row->label + n, sizeof row->label - (size_t)n, " at depth %" PRIu32, row->depth);
    (void)snprintf(row->label + n, sizeof row->label - (size_t)n, ", -t %" PRIu32 " %s %s %s", row->threads,
                   row->kv, row->isa, row->compute);
    return LM_OK;
}

bool lm_bench_same(const lm_bench_row *a, const lm_bench_row *b)
{
    return a->tokens == b->tokens && a->depth == b->depth && a->threads == b->threads &&
           strcmp(a->test, b->test) == 0 && strcmp(a->kv, b->kv) == 0 && strcmp(a->isa, b->isa) == 0 &&
           strcmp(a->compute, b->compute) == 0 && strcmp(a->unit, b->unit) == 0;
}

static lm_status read_rows(reader *r, lm_bench_file *f)
{
    const json_t *results = json_object_get(f->doc, "results");
    size_t total = 0;
    lm_quoted_buf q;
    f->n_rows = json_array_size(results);
    for (r->row = 0; r->row < f->n_rows; r->row++) {
        const json_t *rounds = json_object_get(json_array_get(results, r->row), "rounds");
        size_t n = json_array_size(rounds);
        if (n < 1 || n > LM_BENCH_ROUNDS)
            return bad(r, "rounds", "a list of 1 to 1000 rounds");
        total += n;
    }
    LM_TRY(LM_NEW(&f->rows, LM_MAX(f->n_rows, (size_t)1), r->err));
    LM_TRY(LM_NEW(&f->numbers, LM_MAX(2 * total, (size_t)1), r->err));
    double *at = f->numbers;
    for (r->row = 0; r->row < f->n_rows; r->row++) {
        lm_bench_row *row = &f->rows[r->row];
        const json_t *o = json_array_get(results, r->row);
        row->n_rounds = json_array_size(json_object_get(o, "rounds"));
        row->speeds = at;
        row->shares = at + row->n_rounds;
        at += 2 * row->n_rounds;
        LM_TRY(read_row(r, o, row));
        for (size_t i = 0; i < r->row; i++)
            if (lm_bench_same(&f->rows[i], row))
                return lm_fail(r->err, LM_ERR_CORRUPT, "%s: results[%zu] and results[%zu] are both %s",
                               lm_quoted_z(&q, lm_base_name(r->file)), i, r->row, row->label);
    }
    return LM_OK;
}

static lm_status check_head(const char *path, const json_t *doc, lm_error *err)
{
    lm_quoted_buf q;
    const json_t *form = json_object_get(doc, "lemma_bench");
    size_t n = json_array_size(json_object_get(doc, "results"));
    (void)lm_quoted_z(&q, lm_base_name(path));
    if (!json_is_integer(form))
        return lm_fail(err, LM_ERR_CORRUPT, "%s is no file that 'lemma bench --json' wrote", q.s);
    if (json_integer_value(form) != 1)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s is of form %lld, this version reads form 1", q.s,
                       (long long)json_integer_value(form));
    if (n < 1 || n > LM_BENCH_ROWS)
        return lm_fail(err, LM_ERR_CORRUPT, "%s: 'results' has %zu lines, allowed are 1 to %d", q.s, n,
                       LM_BENCH_ROWS);
    return LM_OK;
}

lm_status lm_bench_file_open(lm_bench_file *out, const char *path, lm_error *err)
{
    lm_json_limits limits = { .max_bytes = LM_BENCH_BYTES, .max_depth = 16, .unique_keys = true };
    reader r = { .file = path, .err = err };
    *out = (lm_bench_file){ 0 };
    LM_TRY(lm_json_read(&out->doc, path, &limits, err));
    lm_status s = check_head(path, out->doc, err);
    if (s == LM_OK)
        s = read_rows(&r, out);
    if (s != LM_OK)
        lm_bench_file_clear(out);
    return s;
}

void lm_bench_file_clear(lm_bench_file *f)
{
    json_decref(f->doc);
    lm_free(f->rows);
    lm_free(f->numbers);
    *f = (lm_bench_file){ 0 };
}

lm_status lm_bench_read(const char *path, char **json, lm_error *err)
{
    lm_bench_file f;
    LM_TRY(lm_bench_file_open(&f, path, err));
    char *text = json_dumps(f.doc, JSON_COMPACT);
    lm_bench_file_clear(&f);
    if (!text)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the figures");
    *json = text;
    return LM_OK;
}
