/* Records of one step: what they hold, and that they change nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "lemma/lemma.h"
#include "support/tempdir.h"

enum { N = 40 };

static lm_model *open_model(const char *backend, uint32_t threads)
{
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    lm_model_defaults(&o);
    o.backend = backend;
    o.threads = threads;
    o.context = 256;
    o.no_text = true;
    if (lm_model_open(&m, LM_SOURCE_DIR "/models/fable", &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

/* Logits after a prompt of N tokens and `more` single ones; freed by the caller. */
static float *logits_of(lm_model *m, int more)
{
    lm_session *s = NULL;
    lm_model_info info;
    lm_model_get_info(m, &info);
    int32_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = (i * 37 + 5) % (int)info.n_vocab;
    assert_int_equal(lm_session_open(&s, m, NULL), LM_OK);
    assert_int_equal(lm_session_append(s, ids, N, NULL), LM_OK);
    for (int i = 0; i < more; i++)
        assert_int_equal(lm_session_append(s, &ids[i], 1, NULL), LM_OK);
    float *out = malloc(info.n_vocab * sizeof *out);
    memcpy(out, lm_session_logits(s), info.n_vocab * sizeof *out);
    lm_session_close(s);
    return out;
}

static json_t *written(lm_model *m, lm_trace_summary *sum)
{
    char path[1024];
    lm_error err = { 0 };
    json_error_t e;
    lm_tempdir d = lm_tempdir_make();
    lm_tempdir_path(&d, "trace.json", path);
    if (lm_model_trace_write(m, path, sum, &err) != LM_OK)
        fail_msg("%s", err.text);
    json_t *j = json_load_file(path, 0, &e);
    if (!j)
        fail_msg("%s at byte %d", e.text, e.position);
    lm_tempdir_remove(&d);
    return j;
}

static double number_of(const json_t *e, const char *key)
{
    return json_number_value(json_object_get(e, key));
}

static void recording_changes_no_bit(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads < 4; threads++)
        for (int prefill = 0; prefill < 2; prefill++) {
            lm_model *m = open_model("cpu", threads);
            lm_model_info info;
            lm_model_get_info(m, &info);
            float *without = logits_of(m, 4);
            assert_int_equal(lm_model_trace(m, prefill, 100, NULL), LM_OK);
            float *with = logits_of(m, 4);
            assert_memory_equal(with, without, info.n_vocab * sizeof *with);
            free(with);
            free(without);
            lm_model_close(m);
        }
}

static void pieces_of_a_thread_follow_each_other_inside_the_step(void **state)
{
    (void)state;
    for (int prefill = 0; prefill < 2; prefill++) {
        lm_model *m = open_model("cpu", 2);
        lm_trace_summary sum;
        double end[2] = { 0, 0 };
        size_t n = 0;
        assert_int_equal(lm_model_trace(m, prefill, 3, NULL), LM_OK);
        free(logits_of(m, 5));
        json_t *j = written(m, &sum), *list = json_object_get(j, "traceEvents");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *e = json_array_get(list, i);
            if (strcmp(json_string_value(json_object_get(e, "ph")), "X") != 0)
                continue;
            int t = (int)number_of(e, "tid");
            assert_in_range(t, 0, 1);
            if (number_of(e, "ts") + 0.0015 < end[t])
                fail_msg("piece %zu begins at %f, the one before ended at %f", i, number_of(e, "ts"), end[t]);
            end[t] = number_of(e, "ts") + number_of(e, "dur");
            n++;
        }
        assert_int_equal(n, sum.n_pieces);
        assert_int_equal(sum.n_lost, 0);
        assert_true(fmax(end[0], end[1]) <= (double)sum.step_ns / 1e3 + 0.01);
        assert_int_equal(sum.n_tokens, prefill ? N : 1);
        assert_int_equal(sum.nth, prefill ? 1 : 3); /* one prompt; the third of five single tokens */
        assert_int_equal(sum.first_pos, prefill ? 0 : N + 2);
        json_decref(j);
        lm_model_close(m);
    }
}

/* All threads together read every weight of the token once. */
static void a_decode_step_reads_the_bytes_that_the_model_says(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads < 4; threads++) {
        lm_model *m = open_model("cpu", threads);
        lm_model_info info;
        double weights = 0, kv = 0;
        lm_model_get_info(m, &info);
        assert_int_equal(lm_model_trace(m, false, 1, NULL), LM_OK);
        free(logits_of(m, 1));
        json_t *j = written(m, NULL), *list = json_object_get(j, "traceEvents");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *e = json_array_get(list, i), *args = json_object_get(e, "args");
            const char *op = json_string_value(json_object_get(args, "op"));
            if (op && strcmp(op, "linear") == 0)
                weights += number_of(args, "bytes");
            if (op && strcmp(op, "attend") == 0)
                kv += number_of(args, "bytes");
        }
        assert_int_equal((uint64_t)weights, info.token_bytes);
        assert_int_equal((uint64_t)kv, (N + 1) * info.kv_bytes_per_token);
        json_decref(j);
        lm_model_close(m);
    }
}

static void what_cannot_be_recorded_is_said(void **state)
{
    (void)state;
    lm_error err = { 0 };
    lm_model *m = open_model("ref", 0);
    assert_int_equal(lm_model_trace(m, false, 1, &err), LM_ERR_UNSUPPORTED);
    assert_string_equal(err.text, "the backend ref records no steps, cpu does");
    err = (lm_error){ 0 };
    assert_int_equal(lm_model_trace_write(m, "nowhere.json", NULL, &err), LM_ERR_NOT_FOUND);
    lm_model_close(m);
    m = open_model("cpu", 1);
    assert_int_equal(lm_model_trace(m, false, 1, NULL), LM_OK);
    free(logits_of(m, 0)); /* a prompt alone */
    err = (lm_error){ 0 };
    assert_int_equal(lm_model_trace_write(m, "nowhere.json", NULL, &err), LM_ERR_NOT_FOUND);
    assert_string_equal(err.text, "no step of the kind to trace was run");
    assert_int_equal(lm_model_trace(m, false, 0, NULL), LM_OK);
    lm_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_changes_no_bit),
        cmocka_unit_test(pieces_of_a_thread_follow_each_other_inside_the_step),
        cmocka_unit_test(a_decode_step_reads_the_bytes_that_the_model_says),
        cmocka_unit_test(what_cannot_be_recorded_is_said),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
