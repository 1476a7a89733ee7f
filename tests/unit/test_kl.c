/* KL against a base file: writing, comparing, and bases that are not right. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lemma/lemma.h"

static const int32_t text[] = { 261, 71, 13, 189, 80, 138, 20, 142, 38, 310, 9, 70, 304, 63, 194, 7 };
enum { N = sizeof text / sizeof *text };

static char folder[64], base[96];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/lemma-kl-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(base, sizeof base, "%s/base", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    (void)unlink(base);
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static lm_model *open_model(const char *name, const char *backend, const char *kv)
{
    char path[1024];
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    (void)snprintf(path, sizeof path, "%s/golden/%s", LM_TEST_DATA, name);
    lm_model_defaults(&o);
    o.backend = backend;
    o.kv = kv;
    o.context = 64;
    o.no_text = true;
    o.all_rows = true;
    if (lm_model_open(&m, path, &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

static lm_kl measure(const char *name, const char *backend, const char *kv)
{
    lm_model *m = open_model(name, backend, kv);
    lm_kl k;
    lm_error err = { 0 };
    if (lm_model_kl(m, text, N, base, &k, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_model_close(m);
    return k;
}

static void a_base_is_written_once_and_equals_itself(void **state)
{
    lm_perplexity p;
    lm_error err = { 0 };
    (void)state;
    lm_kl first = measure("llama-Q4_0.gguf", "ref", "f32");
    assert_true(first.written);
    lm_kl again = measure("llama-Q4_0.gguf", "ref", "f32");
    assert_false(again.written);
    assert_true(again.kl_mean >= 0 && again.kl_mean < 1e-9 && again.kl_max < 1e-8);
    assert_true(again.top1_agreement == 1.0);
    lm_model *m = open_model("llama-Q4_0.gguf", "ref", "f32");
    assert_int_equal(lm_model_perplexity(m, text, N, &p, &err), LM_OK);
    assert_true(p.nll_mean == first.text.nll_mean && p.nll_mean == again.text.nll_mean);
    lm_model_close(m);
}

/* By hand, from the logits of both. */
static void the_figures_are_those_of_the_definition(void **state)
{
    (void)state;
    lm_kl k = measure("llama-Q4_0.gguf", "cpu", "bf16");
    double kl[N - 1], sum = 0, largest = 0, agreed = 0, late = 0, late_agreed = 0;
    float *rows[2];
    lm_model_info info;
    for (int side = 0; side < 2; side++) {
        lm_model *m = open_model("llama-Q4_0.gguf", side ? "cpu" : "ref", side ? "bf16" : "f32");
        lm_session *s = NULL;
        lm_error err = { 0 };
        lm_model_get_info(m, &info);
        rows[side] = calloc((size_t)N * info.n_vocab, sizeof(float));
        assert_non_null(rows[side]);
        assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
        lm_eval_item it = { s, text, N, rows[side] };
        assert_int_equal(lm_model_eval(m, &it, 1, &err), LM_OK);
        lm_session_close(s);
        lm_model_close(m);
    }
    for (size_t i = 0; i + 1 < N; i++) {
        const float *a = rows[0] + i * info.n_vocab, *b = rows[1] + i * info.n_vocab;
        double za = 0, zb = 0;
        uint32_t ta = 0, tb = 0;
        for (uint32_t v = 0; v < info.n_vocab; v++) {
            za += exp((double)a[v]);
            zb += exp((double)b[v]);
            ta = a[v] > a[ta] ? v : ta;
            tb = b[v] > b[tb] ? v : tb;
        }
        kl[i] = 0;
        for (uint32_t v = 0; v < info.n_vocab; v++)
            kl[i] += exp((double)a[v]) / za * ((double)a[v] - log(za) - (double)b[v] + log(zb));
        sum += kl[i];
        largest = fmax(largest, kl[i]);
        agreed += ta == tb;
        late += i >= N / 2 ? kl[i] : 0;
        late_agreed += i >= N / 2 && ta == tb;
    }
    assert_true(k.kl_mean > 1e-7); /* there is something to measure */
    assert_true(fabs(k.kl_mean - sum / (N - 1)) < 1e-6 * k.kl_mean + 1e-9);
    assert_true(fabs(k.kl_max - largest) < 1e-6 * largest + 1e-8);
    assert_true(fabs(k.top1_agreement - agreed / (N - 1)) < 1e-12);
    double half = N - 1 - N / 2; /* rows from the middle on */
    assert_true(fabs(k.late_kl_mean - late / half) < 1e-6 * k.late_kl_mean + 1e-9);
    assert_true(fabs(k.late_top1_agreement - late_agreed / half) < 1e-12);
    size_t below = 0;
    for (size_t i = 0; i + 1 < N; i++)
        below += kl[i] < k.kl_median - 1e-9;
    assert_int_equal(below, (N - 1) / 2);
    free(rows[0]);
    free(rows[1]);
}

static void expect(lm_model *m, const int32_t *ids, size_t n, lm_status want, const char *says)
{
    lm_kl k;
    lm_error err = { 0 };
    assert_int_equal(lm_model_kl(m, ids, n, base, &k, &err), want);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
}

static void poke(long at, const void *bytes, size_t n)
{
    FILE *f = fopen(base, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void bases_of_other_texts_and_broken_ones_are_refused(void **state)
{
    lm_model *m = open_model("llama-Q4_0.gguf", "ref", "f32");
    lm_model_info info;
    int32_t other[N];
    (void)state;
    lm_model_get_info(m, &info);
    memcpy(other, text, sizeof other);
    other[N - 1]++;
    expect(m, other, N, LM_ERR_USAGE, "not these 16");
    expect(m, text, N - 1, LM_ERR_USAGE, "not these 15");
    expect(m, text, 1, LM_ERR_USAGE, "at least 2");
    float nan_and_large[2] = { NAN, 3 };
    float *row = calloc(1, 4);
    assert_non_null(row);
    FILE *f = fopen(base, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 64, SEEK_SET), 0);
    assert_int_equal(fread(row, 4, 1, f), 1);
    (void)fclose(f);
    for (int i = 0; i < 2; i++) {
        poke(64, &nan_and_large[i], 4);
        expect(m, text, N, LM_ERR_CORRUPT, "row 0");
    }
    poke(64, row, 4);
    free(row);
    assert_int_equal(truncate(base, 64 + 15 * (long)info.n_vocab * 4 - 1), 0);
    expect(m, text, N, LM_ERR_TRUNCATED, "bytes, should be");
    assert_int_equal(truncate(base, 64 + 15 * (long)info.n_vocab * 4 + 1), 0);
    expect(m, text, N, LM_ERR_CORRUPT, "bytes, should be");
    poke(12, "\xff\xff\xff\xff", 4);
    expect(m, text, N, LM_ERR_USAGE, "vocabulary of 4294967295");
    poke(8, "\2", 1);
    expect(m, text, N, LM_ERR_UNSUPPORTED, "version 2, known is 1");
    poke(0, "X", 1);
    expect(m, text, N, LM_ERR_CORRUPT, "no base");
    assert_int_equal(truncate(base, 7), 0);
    expect(m, text, N, LM_ERR_CORRUPT, "no base");
    lm_model_close(m);
}

static void a_failed_run_leaves_no_base(void **state)
{
    lm_model *m = open_model("llama-Q4_0.gguf", "ref", "f32");
    int32_t bad[N];
    lm_kl k;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(unlink(base), 0);
    memcpy(bad, text, sizeof bad);
    bad[3] = -1;
    assert_int_equal(lm_model_kl(m, bad, N, base, &k, &err), LM_ERR_USAGE);
    assert_int_not_equal(access(base, F_OK), 0);
    lm_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_base_is_written_once_and_equals_itself),
        cmocka_unit_test(the_figures_are_those_of_the_definition),
        cmocka_unit_test(bases_of_other_texts_and_broken_ones_are_refused),
        cmocka_unit_test(a_failed_run_leaves_no_base),
    };
    return cmocka_run_group_tests_name("kl", tests, make_folder, drop_folder);
}
