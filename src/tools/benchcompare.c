/* tools/benchcompare.c - what changed between two files of figures beyond the noise.
 *
 * The machine drifts more than code changes: rounds are compared as shares of what
 * the machine could do around each of them, by ranks, so that one bad round decides
 * nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "tools/benchfile.h"

/* Rounds on a side below which ranks can never reach p < 0.05. */
enum { FEW_ROUNDS = 4 };
static const double significant = 0.05;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Two-sided p of the rank test of Mann and Whitney: the normal approximation with the
 * correction for ties and for continuity (4 against 4 apart: 0.030; exactly 0.029).
 * x and y are sorted. */
static double rank_test(const double *x, size_t n, const double *y, size_t m)
{
    double u = 0, ties = 0, all = (double)(n + m), nm = (double)n * (double)m;
    for (size_t i = 0, below = 0, upto = 0; i < n; i++) {
        while (below < m && y[below] < x[i])
            below++;
        upto = below;
        while (upto < m && y[upto] <= x[i])
            upto++;
        u += (double)below + (double)(upto - below) / 2;
    }
    for (size_t i = 0, k = 0; i < n || k < m;) {
        double v = i < n && (k == m || x[i] <= y[k]) ? x[i] : y[k], t = 0;
        for (; i < n && x[i] <= v; i++)
            t++;
        for (; k < m && y[k] <= v; k++)
            t++;
        ties += t * t * t - t;
    }
    double variance = nm / 12 * (all + 1 - ties / (all * (all - 1)));
    double far = fabs(u - nm / 2) - 0.5;
    return variance > 0 && far > 0 ? erfc(far / sqrt(variance) / sqrt(2)) : 1;
}

static double median_of(const double *sorted, size_t n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

typedef struct {
    double ratio, p; /* of medians, B to A */
    int sign;        /* +1: B is faster, -1: slower, 0: no telling */
} change;

/* Sorts both in place. */
static change change_of(double *a, size_t n, double *b, size_t m, double noise)
{
    change c = { 0 };
    qsort(a, n, sizeof *a, by_value);
    qsort(b, m, sizeof *b, by_value);
    c.ratio = median_of(b, m) / median_of(a, n);
    c.p = rank_test(a, n, b, m);
    bool apart = b[0] > a[n - 1] || b[m - 1] < a[0];
    bool sure = n >= FEW_ROUNDS && m >= FEW_ROUNDS ? c.p < significant : n > 1 && m > 1 && apart;
    if (sure && fabs(c.ratio - 1) > noise)
        c.sign = c.ratio > 1 ? 1 : -1;
    return c;
}

/* {label, keys, figures, verdict} of one line. */
static json_t *compare_rows(lm_bench_row *a, lm_bench_row *b, double noise, int *sign)
{
    change raw = change_of(a->speeds, a->n_rounds, b->speeds, b->n_rounds, noise), share = raw;
    bool limited = a->shares && b->shares;
    if (limited)
        share = change_of(a->shares, a->n_rounds, b->shares, b->n_rounds, noise);
    bool unclear = share.sign != 0 && raw.sign == -share.sign;
    unclear = unclear || a->n_rounds < 2 || b->n_rounds < 2;
    *sign = unclear ? 0 : share.sign;
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:s}", "label", a->label,
                  "test", a->test, "tokens", (json_int_t)a->tokens, "depth", (json_int_t)a->depth, "threads",
                  (json_int_t)a->threads, "kv", a->kv, "isa", a->isa, "compute", a->compute, "unit", a->unit,
                  "a", a->median, "b", b->median, "ratio", raw.ratio, "p", share.p, "verdict",
                  unclear     ? "unclear"
                  : *sign > 0 ? "faster"
                  : *sign < 0 ? "slower"
                              : "same");
    (void)json_object_set_new(o, "share_ratio", limited ? json_real(share.ratio) : json_null());
    return o;
}

/* What should be equal for the comparison to mean much, and is not. */
static json_t *differences(const json_t *a, const json_t *b)
{
    static const char *const paths[][2] = { { "pack", NULL },  { "version", NULL },  { "weight_bytes", NULL },
                                            { "chunk", NULL }, { "machine", "cpu" }, { "machine", "cores" } };
    json_t *list = json_array();
    for (size_t i = 0; i < LM_LEN(paths); i++) {
        const json_t *of[2] = { json_object_get(a, paths[i][0]), json_object_get(b, paths[i][0]) };
        char *text[2];
        for (int k = 0; k < 2; k++) {
            if (paths[i][1])
                of[k] = json_object_get(of[k], paths[i][1]);
            text[k] = of[k] ? json_dumps(of[k], JSON_ENCODE_ANY) : NULL;
        }
        if (text[0] && text[1] && strcmp(text[0], text[1]) != 0) {
            lm_quoted_buf qa, qb;
            (void)json_array_append_new(
                list, json_pack("{s:s, s:s, s:s}", "what", paths[i][1] ? paths[i][1] : paths[i][0], "a",
                                lm_quoted_z(&qa, text[0]), "b", lm_quoted_z(&qb, text[1])));
        }
        free(text[0]); /* jansson's own allocation */
        free(text[1]); /* the same */
    }
    return list;
}

static json_t *compare(lm_bench_file *a, lm_bench_file *b, double noise)
{
    json_t *rows = json_array(), *only_a = json_array(), *only_b = json_array();
    int slower = 0, faster = 0;
    for (size_t i = 0; i < a->n_rows; i++) {
        size_t k = 0;
        while (k < b->n_rows && !lm_bench_same(&a->rows[i], &b->rows[k]))
            k++;
        if (k == b->n_rows) {
            (void)json_array_append_new(only_a, json_string(a->rows[i].label));
            continue;
        }
        int sign = 0;
        (void)json_array_append_new(rows, compare_rows(&a->rows[i], &b->rows[k], noise, &sign));
        slower += sign < 0;
        faster += sign > 0;
    }
    for (size_t k = 0; k < b->n_rows; k++) {
        size_t i = 0;
        while (i < a->n_rows && !lm_bench_same(&a->rows[i], &b->rows[k]))
            i++;
        if (i == a->n_rows)
            (void)json_array_append_new(only_b, json_string(b->rows[k].label));
    }
    return json_pack("{s:f, s:i, s:i, s:o, s:o, s:o, s:o}", "noise", noise, "slower", slower, "faster",
                     faster, "differs", differences(a->doc, b->doc), "only_a", only_a, "only_b", only_b,
                     "rows", rows);
}

lm_status lm_bench_compare(const char *a, const char *b, double noise, char **json, lm_error *err)
{
    lm_bench_file fa, fb;
    LM_TRY(lm_bench_file_open(&fa, a, err));
    lm_status s = lm_bench_file_open(&fb, b, err);
    if (s != LM_OK) {
        lm_bench_file_clear(&fa);
        return s;
    }
    json_t *doc = compare(&fa, &fb, noise);
    char *text = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
    json_decref(doc);
    lm_bench_file_clear(&fa);
    lm_bench_file_clear(&fb);
    if (!text)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the comparison");
    *json = text;
    return LM_OK;
}
