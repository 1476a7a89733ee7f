/* Opening packs: the small ones in tests/data always, the golden sets when they are there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/folder.h"
#include "format/gguf.h"
#include "format/pack.h"
#include "support/tempdir.h"

static lm_packfile *open_ok(const char *path)
{
    lm_error err = { 0 };
    lm_packfile *p = NULL;
    if (lm_packfile_open(&p, path, true, &err) != LM_OK)
        fail_msg("%s: %s", path, err.text);
    return p;
}

static const lm_tensor *tensor(const lm_packfile *p, const char *name)
{
    const lm_tensor *t = lm_packfile_find(p, name);
    if (!t)
        fail_msg("no tensor %s in %s", name, lm_packfile_path(p));
    return t;
}

static void a_folder_of_safetensors_opens(void **state)
{
    (void)state;
    lm_packfile *p = open_ok(LM_TEST_DATA "/packs/llama");
    const lm_tensor *t = tensor(p, "model.embed_tokens.weight");
    char file[4096];
    json_t *g = NULL;

    assert_int_equal(lm_packfile_kind(p), LM_PACK_SAFETENSORS);
    assert_string_equal(t->dtype, "BF16");
    assert_int_equal(t->quant->kind, LM_Q_BF16);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 320);
    assert_int_equal(t->dims[1], 64);
    assert_int_equal(t->n_elems, 320 * 64);
    assert_int_equal(t->n_bytes[0], 320 * 64 * 2);
    assert_string_equal(json_string_value(json_object_get(lm_packfile_config(p), "model_type")), "llama");
    assert_null(lm_packfile_find(p, "model.embed_tokens"));
    assert_null(lm_packfile_gguf(p));
    assert_true(*lm_packfile_file(p, "config.json", file, sizeof file));
    assert_false(*lm_packfile_file(p, "tokenizer.json", file, sizeof file));
    assert_false(*lm_packfile_file(p, "../llama/config.json", file, sizeof file));
    assert_int_equal(lm_packfile_json(p, "generation_config.json", 1 << 20, &g, NULL), LM_OK);
    assert_true(json_is_object(g));
    json_decref(g);
    assert_int_equal(lm_packfile_json(p, "nothing.json", 1 << 20, &g, NULL), LM_OK);
    assert_null(g);
    lm_packfile_close(p);
}

static void an_mlx_triple_is_one_tensor(void **state)
{
    (void)state;
    lm_packfile *p = open_ok(LM_TEST_DATA "/packs/llama-mlx-q4");
    const lm_tensor *t = tensor(p, "model.layers.0.mlp.down_proj.weight");
    assert_string_equal(t->quant->name, t->dtype);
    assert_int_equal(t->quant->kind, LM_Q_AFFINE);
    assert_int_equal(t->quant->bits, 4);
    assert_int_equal(t->quant->block_elems, 32);
    assert_int_equal(t->quant->scale_kind, LM_Q_BF16);
    assert_int_equal(t->dims[0], 64);
    assert_int_equal(t->dims[1], 96);
    assert_int_equal(t->n_bytes[0], 64 * 48);
    assert_int_equal(t->n_bytes[1], 64 * 3 * 2);
    assert_int_equal(t->n_bytes[2], 64 * 3 * 2);
    assert_null(lm_packfile_find(p, "model.layers.0.mlp.down_proj.scales"));
    assert_null(lm_packfile_find(p, "model.layers.0.mlp.down_proj.biases"));
    assert_int_equal(lm_packfile_n_inferred(p), 0);
    lm_packfile_close(p);
}

static void per_layer_entries_choose_the_bits(void **state)
{
    (void)state;
    lm_packfile *p = open_ok(LM_TEST_DATA "/packs/llama-mlx-mixed");
    assert_int_equal(tensor(p, "model.embed_tokens.weight")->quant->bits, 8);
    assert_int_equal(tensor(p, "model.layers.0.mlp.down_proj.weight")->quant->bits, 6);
    assert_int_equal(tensor(p, "model.layers.0.mlp.down_proj.weight")->dims[1], 96);
    assert_int_equal(tensor(p, "model.layers.0.mlp.up_proj.weight")->quant->bits, 4);
    assert_int_equal(lm_packfile_n_inferred(p), 0);
    lm_packfile_close(p);
}

static void a_gguf_file_opens_with_its_metadata(void **state)
{
    (void)state;
    lm_packfile *p = open_ok(LM_TEST_DATA "/packs/llama-Q4_0.gguf");
    const lm_tensor *t = tensor(p, "blk.0.ffn_down.weight");
    const char *s = NULL;
    size_t n = 0;
    assert_int_equal(lm_packfile_kind(p), LM_PACK_GGUF);
    assert_string_equal(t->dtype, "Q4_0");
    assert_int_equal(t->quant->kind, LM_Q_Q4_0);
    assert_int_equal(t->dims[0], 64); /* outermost first: outputs, then inputs */
    assert_int_equal(t->dims[1], 96);
    assert_int_equal(t->n_bytes[0], 64 * 96 / 32 * 18);
    assert_true(lm_gguf_str(lm_packfile_gguf(p), "general.architecture", &s, &n));
    assert_int_equal(n, 5);
    assert_memory_equal(s, "llama", 5);
    assert_string_equal(json_string_value(json_object_get(lm_packfile_config(p), "general.architecture")),
                        "llama");
    assert_true(json_integer_value(json_object_get(lm_packfile_config(p), "llama.block_count")) > 0);
    lm_packfile_close(p);
}

static void weights_may_be_left_out(void **state)
{
    lm_packfile *p = NULL;
    (void)state;
    assert_int_equal(lm_packfile_open(&p, LM_TEST_DATA "/packs/llama", false, NULL), LM_OK);
    assert_int_equal(lm_packfile_n_tensors(p), 0);
    assert_int_equal(lm_packfile_n_maps(p), 0);
    assert_non_null(json_object_get(lm_packfile_config(p), "model_type"));
    lm_packfile_close(p);
    assert_int_equal(lm_packfile_open(&p, LM_TEST_DATA "/packs/llama-Q4_0.gguf", false, NULL), LM_OK);
    assert_int_equal(lm_packfile_n_tensors(p), 0);
    assert_non_null(lm_packfile_gguf(p));
    lm_packfile_close(p);
}

/* Every tensor of every plane is read once, and the names are in order. */
static void touch(const lm_packfile *p)
{
    unsigned sum = 0;
    assert_true(lm_packfile_n_tensors(p) > 0);
    for (size_t i = 0; i < lm_packfile_n_tensors(p); i++) {
        const lm_tensor *t = lm_packfile_tensor(p, i);
        if (i)
            assert_true(strcmp(lm_packfile_tensor(p, i - 1)->name, t->name) < 0);
        assert_ptr_equal(lm_packfile_find(p, t->name), t);
        if (!t->quant)
            fail_msg("%s: %s has no number format", lm_packfile_path(p), t->name);
        for (int k = 0; k < t->quant->n_planes; k++)
            sum += t->plane[k][0] + t->plane[k][t->n_bytes[k] - 1];
    }
    assert_true(sum > 0);
}

static size_t open_all(const char *folder)
{
    lm_folder f = { 0 };
    size_t n = 0;
    if (lm_folder_read(&f, folder, NULL) != LM_OK) {
        print_message("skipped: no %s\n", folder);
        return 0;
    }
    for (size_t i = 0; i < f.n; i++) {
        char path[4096], config[4200];
        (void)snprintf(path, sizeof path, "%s/%s", folder, f.names[i]);
        (void)snprintf(config, sizeof config, "%s/config.json", path);
        if (!lm_ends_with(path, ".gguf") && lm_path_kind_of(config) != LM_PATH_FILE)
            continue;
        lm_packfile *p = open_ok(path);
        touch(p);
        assert_int_equal(lm_packfile_n_inferred(p), 0);
        lm_packfile_close(p);
        n++;
    }
    lm_folder_clear(&f);
    return n;
}

static void every_golden_pack_opens(void **state)
{
    (void)state;
    assert_int_equal(open_all(LM_TEST_DATA "/packs"), 5);
    size_t n = open_all(LM_SHARED_DATA "/golden"), m = open_all(LM_SHARED_DATA "/golden-mlx"),
           k = open_all(LM_SHARED_DATA "/golden-gguf/models");
    if (n + m + k)
        print_message("opened %zu + %zu + %zu golden packs\n", n, m, k);
    if (n + m + k) {
        assert_int_equal(n, 39);
        assert_int_equal(m, 35);
        assert_int_equal(k, 34);
    }
}

static void put(lm_str *s, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        lm_str_addc(s, (char)(v >> (8 * i)));
}

static void put_str(lm_str *s, const char *text)
{
    put(s, strlen(text), 8);
    lm_str_addz(s, text);
}

/* Part `no` of `count` with one tensor of 8 floats, all of them no + 1. */
static void write_part(const lm_tempdir *d, const char *name, unsigned no, unsigned count, const char *tensor)
{
    lm_str s = { 0 };
    const float x = (float)no + 1;
    lm_str_addz(&s, "GGUF");
    put(&s, 3, 4);
    put(&s, 1, 8);
    put(&s, 3, 8);
    put_str(&s, "split.no");
    put(&s, LM_GGUF_U16, 4);
    put(&s, no, 2);
    put_str(&s, "split.count");
    put(&s, LM_GGUF_U16, 4);
    put(&s, count, 2);
    put_str(&s, "split.tensors.count");
    put(&s, LM_GGUF_I32, 4);
    put(&s, count, 4);
    put_str(&s, tensor);
    put(&s, 1, 4);
    put(&s, 8, 8);
    put(&s, 0, 4);
    put(&s, 0, 8);
    while (s.n % 32)
        lm_str_addc(&s, 0);
    for (int i = 0; i < 8; i++)
        lm_str_add(&s, (const char *)&x, sizeof x);
    lm_tempdir_write(d, name, s.s, s.n);
    lm_str_clear(&s);
}

static void split_gguf_files_are_one_pack(void **state)
{
    lm_tempdir d = lm_tempdir_make();
    char path[1024];
    float x;
    (void)state;
    write_part(&d, "m-00001-of-00003.gguf", 0, 3, "b");
    write_part(&d, "m-00002-of-00003.gguf", 1, 3, "c");
    write_part(&d, "m-00003-of-00003.gguf", 2, 3, "a");
    lm_tempdir_text(&d, "mmproj-m.gguf", "left aside");
    for (int by_folder = 0; by_folder < 2; by_folder++) {
        lm_packfile *p = open_ok(by_folder ? d.path : lm_tempdir_path(&d, "m-00001-of-00003.gguf", path));
        assert_int_equal(lm_packfile_n_maps(p), 3);
        assert_int_equal(lm_packfile_n_tensors(p), 3);
        assert_string_equal(lm_packfile_tensor(p, 0)->name, "a");
        memcpy(&x, tensor(p, "a")->plane[0], sizeof x);
        assert_true(x == 3);
        memcpy(&x, tensor(p, "c")->plane[0], sizeof x);
        assert_true(x == 2);
        assert_ptr_equal(tensor(p, "a")->map, lm_packfile_map(p, 2));
        lm_packfile_close(p);
    }
    lm_tempdir_remove(&d);
}

/* Every allocation of ours fails once: an error each time, nothing left behind
 * (the address sanitizer counts), and in the end the pack opens. */
static void a_failing_allocation_is_an_error(void **state)
{
    static const char *const packs[] = { LM_TEST_DATA "/packs/llama-mlx-q4",
                                         LM_TEST_DATA "/packs/llama-Q4_0.gguf" };
    (void)state;
#ifdef LM_FAULTS
    for (size_t i = 0; i < LM_LEN(packs); i++) {
        lm_status status = LM_ERR_NOMEM;
        uint64_t n = 0;
        while (status != LM_OK) {
            lm_packfile *p = NULL;
            lm_error err = { 0 };
            lm_mem_fail_after(++n);
            status = lm_packfile_open(&p, packs[i], true, &err);
            lm_mem_fail_after(0);
            assert_int_equal(p == NULL, status != LM_OK);
            assert_true(status == LM_OK || status == LM_ERR_NOMEM);
            assert_int_equal(err.status, status);
            lm_packfile_close(p);
        }
        assert_true(n > 10);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_of_safetensors_opens),
        cmocka_unit_test(an_mlx_triple_is_one_tensor),
        cmocka_unit_test(per_layer_entries_choose_the_bits),
        cmocka_unit_test(a_gguf_file_opens_with_its_metadata),
        cmocka_unit_test(weights_may_be_left_out),
        cmocka_unit_test(split_gguf_files_are_one_pack),
        cmocka_unit_test(a_failing_allocation_is_an_error),
        cmocka_unit_test(every_golden_pack_opens),
    };
    return cmocka_run_group_tests_name("format/packfile", tests, NULL, NULL);
}
