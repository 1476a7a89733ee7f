/* Folders that are nearly packs: what is no file, what is not the weights, and what config.json
 * says that the weights cannot follow. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/pack.h"
#include "support/tempdir.h"
#include "text/chat.h"
#include "text/tokenizer.h"

static const char one_weight[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}";

static lm_tempdir plain_pack(void)
{
    lm_tempdir d = lm_tempdir_make();
    lm_tempdir_text(&d, "config.json", "{\"model_type\":\"llama\"}");
    lm_tempdir_safetensors(&d, "model.safetensors", one_weight, 16);
    return d;
}

/* Opens as `run` does: weights, tokenizer, template, generation settings. */
static lm_status open_all(const char *path, lm_error *err)
{
    lm_packfile *p = NULL;
    lm_tokenizer *t = NULL;
    char *template = NULL;
    json_t *j = NULL;
    size_t n = 0;
    *err = (lm_error){ 0 };
    lm_status s = lm_packfile_open(&p, path, true, err);
    if (s != LM_OK)
        return s;
    s = lm_tokenizer_open_pack(&t, p, NULL, err);
    if (s == LM_OK || s == LM_ERR_NOT_FOUND) {
        lm_error_clear(err);
        s = lm_chat_template_find(p, "default", &template, &n, err);
    }
    if (s == LM_OK || s == LM_ERR_NOT_FOUND) {
        lm_error_clear(err);
        s = lm_packfile_json(p, "generation_config.json", 1 << 20, &j, err);
    }
    if (s == LM_OK)
        lm_error_clear(err);
    json_decref(j);
    lm_free(template);
    lm_tokenizer_close(t);
    lm_packfile_close(p);
    return s;
}

static void expect(const lm_tempdir *d, lm_status status, const char *text)
{
    lm_error err;
    assert_int_equal(open_all(d->path, &err), status);
    assert_int_equal(err.status, status);
    if (text && !strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
}

static void what_is_no_file_breaks_the_pack_and_is_no_wrong_use(void **state)
{
    static const char *const names[] = {
        "config.json",         "model.safetensors",     "model.safetensors.index.json", "tokenizer.json",
        "chat_template.jinja", "tokenizer_config.json", "generation_config.json"
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(names); i++) {
        lm_tempdir d = plain_pack();
        char path[1024];
        expect(&d, LM_OK, NULL);
        (void)remove(lm_tempdir_path(&d, names[i], path));
        assert_int_equal(mkfifo(path, 0600), 0);
        expect(&d, LM_ERR_CORRUPT, "is a FIFO, not a file");
        assert_int_equal(remove(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        expect(&d, LM_ERR_CORRUPT, "is a folder, not a file");
        assert_int_equal(remove(path), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        expect(&d, LM_ERR_CORRUPT, "is a device, not a file");
        assert_int_equal(remove(path), 0);
        assert_int_equal(symlink(names[i], path), 0); /* to itself */
        bool weights = strcmp(names[i], "model.safetensors") == 0;
        expect(&d, weights ? LM_ERR_NOT_FOUND : LM_ERR_CORRUPT, "symbolic links");
        lm_tempdir_remove(&d);
    }
    lm_tempdir d = lm_tempdir_make();
    char path[1024];
    assert_int_equal(mkfifo(lm_tempdir_path(&d, "m.gguf", path), 0600), 0);
    expect(&d, LM_ERR_CORRUPT, "is a FIFO, not a file");
    lm_error err;
    assert_int_equal(open_all(path, &err), LM_ERR_USAGE); /* named by the caller */
    lm_tempdir_remove(&d);
}

static void rename_in(const lm_tempdir *d, const char *from, const char *to)
{
    char a[1024], b[1024];
    assert_int_equal(rename(lm_tempdir_path(d, from, a), lm_tempdir_path(d, to, b)), 0);
}

static void weights_of_another_name_are_taken_only_without_doubt(void **state)
{
    static const char *const by_products[] = { "adapter_model.safetensors", "my-adapters.safetensors",
                                               "optimizer.safetensors", "grads_10.safetensors" };
    lm_tempdir d = plain_pack();
    (void)state;
    lm_tempdir_text(&d, "pytorch_model.bin", "x"); /* beside the usual name it is no question */
    expect(&d, LM_OK, NULL);
    rename_in(&d, "model.safetensors", "weights.safetensors");
    expect(&d, LM_ERR_UNSUPPORTED, "weights.safetensors or the pickle pytorch_model.bin");
    rename_in(&d, "pytorch_model.bin", "training_args.bin");
    for (size_t i = 0; i < LM_LEN(by_products); i++)
        lm_tempdir_text(&d, by_products[i], "not read");
    expect(&d, LM_OK, NULL);
    lm_tempdir_safetensors(&d, "other.safetensors", one_weight, 16);
    expect(&d, LM_ERR_CORRUPT, "several others, other.safetensors and weights.safetensors");
    rename_in(&d, "other.safetensors", "a-00001-of-00002.safetensors");
    rename_in(&d, "weights.safetensors", "a-00002-of-00003.safetensors");
    expect(&d, LM_ERR_CORRUPT, "several others");
    rename_in(&d, "a-00002-of-00003.safetensors", "a-00002-of-00002.safetensors");
    lm_tempdir_safetensors(&d, "a-00002-of-00002.safetensors",
                           "{\"v\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16);
    expect(&d, LM_OK, NULL);
    lm_tempdir_remove(&d);
    d = lm_tempdir_make();
    lm_tempdir_text(&d, "config.json", "{}");
    lm_tempdir_text(&d, "adapter_model.safetensors", "x");
    expect(&d, LM_ERR_NOT_FOUND, "has no weights");
    lm_tempdir_remove(&d);
}

static void a_tie_that_is_no_boolean_is_named(void **state)
{
    static const struct {
        const char *value, *text;
    } cases[] = { { "\"false\"", "'tie_word_embeddings' is a string, allowed are true and false" },
                  { "0", "'tie_word_embeddings' is a number" },
                  { "null", NULL },
                  { "false", NULL } };
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++)
        for (int inner = 0; inner < 2; inner++) {
            lm_tempdir d = plain_pack();
            char text[256];
            (void)snprintf(text, sizeof text,
                           inner ? "{\"text_config\":{\"tie_word_embeddings\":%s}}"
                                 : "{\"tie_word_embeddings\":%s}",
                           cases[i].value);
            lm_tempdir_text(&d, "config.json", text);
            expect(&d, cases[i].text ? LM_ERR_CORRUPT : LM_OK, cases[i].text);
            lm_tempdir_remove(&d);
        }
}

static void another_quantisation_is_refused_by_its_name(void **state)
{
    static const char *const methods[] = { "gptq", "awq", "fp8", "bitsandbytes" };
    lm_tempdir d = plain_pack();
    char text[256];
    (void)state;
    for (size_t i = 0; i < LM_LEN(methods); i++) {
        (void)snprintf(text, sizeof text, "{\"quantization_config\":{\"quant_method\":\"%s\"}}", methods[i]);
        lm_tempdir_text(&d, "config.json", text);
        lm_tempdir_safetensors(&d, "model.safetensors", one_weight, 16);
        expect(&d, LM_OK, NULL); /* over plain numbers */
        lm_tempdir_safetensors(&d, "model.safetensors",
                               "{\"w.qweight\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}",
                               16);
        (void)snprintf(text, sizeof text, "quantised with %s ('w.qweight' is I32)", methods[i]);
        expect(&d, LM_ERR_UNSUPPORTED, text);
    }
    lm_tempdir_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_file_breaks_the_pack_and_is_no_wrong_use),
        cmocka_unit_test(weights_of_another_name_are_taken_only_without_doubt),
        cmocka_unit_test(a_tie_that_is_no_boolean_is_named),
        cmocka_unit_test(another_quantisation_is_refused_by_its_name),
    };
    return cmocka_run_group_tests_name("format/packfaults", tests, NULL, NULL);
}
