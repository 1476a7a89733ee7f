/* Tokenizers against the reference's ids and texts: fifteen small tokenizers of
 * every kind, 150 strings each (tests/data/tokenizers). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

static const char *const kinds[] = {
    "albert", "bert-cased", "bert-uncased",      "deepseek", "digits", "gemma", "gpt2", "gpt2-prefix",
    "llama2", "llama3",     "mistral-metaspace", "o200k",    "qwen",   "t5",    "xlmr"
};

static lm_tokenizer *open_kind(const char *kind)
{
    char path[512], *json = NULL;
    size_t n = 0;
    lm_error err = { 0 };
    lm_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, LM_TEST_DATA "/tokenizers/%s/tokenizer.json", kind);
    if (lm_read_file(path, 16 << 20, &json, &n, &err) != LM_OK ||
        lm_tokenizer_open_json(&t, json, n, kind, &err) != LM_OK)
        fail_msg("%s: %s", kind, err.text);
    lm_free(json);
    return t;
}

static void ids_are(const char *kind, size_t i, const char *what, const lm_ids *have, const json_t *want)
{
    bool same = have->n == json_array_size(want);
    for (size_t k = 0; same && k < have->n; k++)
        same = have->ids[k] == json_integer_value(json_array_get(want, k));
    if (!same) {
        printf("%s case %zu %s:\n have", kind, i, what);
        for (size_t k = 0; k < have->n; k++)
            printf(" %d", have->ids[k]);
        printf("\n want");
        for (size_t k = 0; k < json_array_size(want); k++)
            printf(" %d", (int)json_integer_value(json_array_get(want, k)));
        printf("\n");
        fail_msg("%s case %zu: %s differ", kind, i, what);
    }
}

static void text_is(const char *kind, size_t i, const char *what, const lm_str *have, const json_t *want)
{
    if (have->n != json_string_length(want) || memcmp(lm_str_z(have), json_string_value(want), have->n) != 0)
        fail_msg("%s case %zu %s:\n have '%s'\n want '%s'", kind, i, what, lm_str_z(have),
                 json_string_value(want));
}

/* Token by token; every piece is whole characters. */
static void stream_is(const lm_tokenizer *t, const int32_t *ids, size_t n, bool skip, const lm_str *want)
{
    lm_detok *d = NULL;
    lm_str all = { 0 };
    assert_int_equal(lm_detok_open(&d, t, skip, NULL), LM_OK);
    for (size_t i = 0; i <= n; i++) {
        lm_str piece = { 0 };
        assert_int_equal(i < n ? lm_detok_push(d, ids[i], &piece, NULL) : lm_detok_finish(d, &piece, NULL),
                         LM_OK);
        assert_true(lm_utf8_valid(lm_str_z(&piece), piece.n));
        lm_str_add(&all, lm_str_z(&piece), piece.n);
        lm_str_clear(&piece);
    }
    lm_detok_close(d);
    assert_int_equal(all.n, want->n);
    assert_memory_equal(lm_str_z(&all), lm_str_z(want), all.n);
    lm_str_clear(&all);
}

static void one_case(const lm_tokenizer *t, const char *kind, size_t i, const json_t *c)
{
    const json_t *text = json_object_get(c, "text");
    lm_ids ids = { 0 }, special = { 0 };
    lm_str out = { 0 };
    lm_error err = { 0 };
    if (lm_tokenizer_encode(t, json_string_value(text), json_string_length(text), NULL, 0, 0, &ids, &err) !=
            LM_OK ||
        lm_tokenizer_encode(t, json_string_value(text), json_string_length(text), NULL, 0, LM_TOK_POST,
                            &special, &err) != LM_OK)
        fail_msg("%s case %zu: %s", kind, i, err.text);
    ids_are(kind, i, "ids", &ids, json_object_get(c, "ids"));
    ids_are(kind, i, "ids with special tokens", &special, json_object_get(c, "with_special"));
    assert_int_equal(lm_tokenizer_decode(t, ids.ids, ids.n, false, &out, &err), LM_OK);
    text_is(kind, i, "decoded", &out, json_object_get(c, "decoded"));
    stream_is(t, ids.ids, ids.n, false, &out);
    lm_str_reset(&out);
    assert_int_equal(lm_tokenizer_decode(t, special.ids, special.n, true, &out, &err), LM_OK);
    text_is(kind, i, "decoded without special tokens", &out, json_object_get(c, "decoded_skip"));
    stream_is(t, special.ids, special.n, true, &out);
    lm_str_clear(&out);
    lm_ids_clear(&ids);
    lm_ids_clear(&special);
}

static void every_kind_agrees_with_the_reference(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char path[512];
        json_error_t jerr;
        json_t *root, *cases;
        lm_tokenizer *t = open_kind(kinds[k]);
        (void)snprintf(path, sizeof path, LM_TEST_DATA "/tokenizers/%s/cases.json", kinds[k]);
        root = json_load_file(path, JSON_ALLOW_NUL, &jerr);
        cases = json_object_get(root, "cases");
        assert_true(json_array_size(cases) >= 100);
        for (size_t i = 0; i < json_array_size(cases); i++)
            one_case(t, kinds[k], i, json_array_get(cases, i));
        json_decref(root);
        lm_tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
