/* Safetensors headers, and MLX triples in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/limits.h"
#include "format/mlxpack.h"
#include "format/pack.h"
#include "format/safetensors.h"
#include "support/tempdir.h"

static uint8_t bytes[1 << 17];
static size_t n_bytes;

static void make(const char *header, size_t n_data)
{
    uint64_t n = strlen(header);
    assert_true(8 + n + n_data <= sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    n_bytes = (size_t)(8 + n + n_data);
}

static lm_status parse(const char *header, size_t n_data, lm_tensors *t, lm_error *err)
{
    make(header, n_data);
    lm_status status = lm_safetensors_parse(bytes, n_bytes, NULL, t, err);
    return status == LM_OK ? lm_tensors_sort(t, err) : status;
}

static void every_dtype_has_its_size(void **state)
{
    static const struct {
        const char *name;
        int bits;
        const char *quant;
    } types[] = {
        { "F32", 32, "f32" }, { "F16", 16, "f16" },   { "BF16", 16, "bf16" }, { "F64", 64, "f64" },
        { "BOOL", 8, NULL },  { "U8", 8, NULL },      { "I8", 8, NULL },      { "U16", 16, NULL },
        { "I16", 16, NULL },  { "U32", 32, NULL },    { "I32", 32, NULL },    { "U64", 64, NULL },
        { "I64", 64, NULL },  { "F8_E4M3", 8, NULL }, { "F8_E5M2", 8, NULL }, { "bf16", 16, "bf16" },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(types); i++) {
        char header[256];
        lm_tensors t = { 0 };
        lm_error err = { 0 };
        int size = types[i].bits / 8 * 6;
        (void)snprintf(header, sizeof header,
                       "{\"w\":{\"dtype\":\"%s\",\"shape\":[2,3],\"data_offsets\":[0,%d]}}", types[i].name,
                       size);
        if (parse(header, (size_t)size, &t, &err) != LM_OK)
            fail_msg("%s: %s", types[i].name, err.text);
        assert_int_equal(t.n, 1);
        assert_int_equal(t.items[0].n_bytes[0], size);
        assert_int_equal(t.items[0].n_elems, 6);
        if (types[i].quant)
            assert_string_equal(t.items[0].quant->name, types[i].quant);
        else
            assert_null(t.items[0].quant);
        assert_ptr_equal(t.items[0].plane[0], bytes + n_bytes - size);
        lm_tensors_clear(&t);
    }
}

static void what_writers_do_is_accepted(void **state)
{
    lm_tensors t = { 0 };
    (void)state;
    /* notes, spaces, a scalar, an escaped name, five dimensions, a hole, bytes after the end */
    assert_int_equal(parse(" { \"__metadata__\" : {\"format\":\"pt\",\"x\":\"}\\\"{\"},\n"
                           "\"a\\u00e4\":{\"shape\":[],\"data_offsets\":[0,4],\"dtype\":\"F32\"},"
                           "\"v\":{\"dtype\":\"U8\",\"shape\":[1,2,1,2,1],\"data_offsets\":[8,12]} }   ",
                           32, &t, NULL),
                     LM_OK);
    assert_int_equal(t.n, 2);
    assert_int_equal(lm_tensors_find(&t, "a\xc3\xa4")->n_dims, 0);
    assert_int_equal(lm_tensors_find(&t, "v")->n_dims, 5);
    lm_tensors_clear(&t);
    assert_int_equal(parse("{}", 0, &t, NULL), LM_OK);
    assert_int_equal(t.n, 0);
    lm_tensors_clear(&t);
}

static void names_hold_at_the_limit(void **state)
{
    (void)state;
    for (int beyond = 0; beyond < 2; beyond++) {
        lm_str s = { 0 };
        lm_tensors t = { 0 };
        lm_str_addz(&s, "{\"");
        for (int i = 0; i < LM_LIMIT_NAME + beyond; i++)
            lm_str_addc(&s, 'x');
        lm_str_addz(&s, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
        assert_int_equal(parse(s.s, 1, &t, NULL), beyond ? LM_ERR_CORRUPT : LM_OK);
        lm_tensors_clear(&t);
        lm_str_clear(&s);
    }
}

static void shards_are_one_pack(void **state)
{
    lm_tempdir d = lm_tempdir_make();
    lm_packfile *p = NULL;
    (void)state;
    lm_tempdir_text(&d, "config.json", "{\"model_type\":\"llama\"}");
    lm_tempdir_safetensors(&d, "model-00001-of-00002.safetensors",
                           "{\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
    lm_tempdir_safetensors(&d, "model-00002-of-00002.safetensors",
                           "{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]}}", 8);
    lm_tempdir_safetensors(&d, "adapter_model.safetensors", "{}", 0);
    for (int with_index = 0; with_index < 2; with_index++) {
        if (with_index)
            lm_tempdir_text(
                &d, "model.safetensors.index.json",
                "{\"metadata\":{\"total_size\":24},\"weight_map\":{"
                "\"b\":\"model-00001-of-00002.safetensors\",\"a\":\"model-00002-of-00002.safetensors\"}}");
        assert_int_equal(lm_packfile_open(&p, d.path, true, NULL), LM_OK);
        assert_int_equal(lm_packfile_n_tensors(p), 2);
        assert_int_equal(lm_packfile_n_maps(p), 2);
        assert_string_equal(lm_packfile_tensor(p, 0)->name, "a");
        assert_ptr_equal(lm_packfile_find(p, "b")->map, lm_packfile_map(p, 0));
        lm_packfile_close(p);
    }
    lm_tempdir_remove(&d);
}

/* One triple l.weight / l.scales / l.biases of `experts` x 2 rows. */
static lm_tensors triple(int experts, int words, int scales, const char *scale_type, int scale_size,
                         bool biases)
{
    lm_str s = { 0 };
    lm_tensors t = { 0 };
    lm_error err = { 0 };
    char lead[16] = "";
    int at = 0, rows = 2 * experts;
    if (experts > 1)
        (void)snprintf(lead, sizeof lead, "%d,", experts);
    lm_str_addf(&s,
                "{\"m.embed_tokens.weight\":{\"dtype\":\"U32\",\"shape\":[%s2,%d],\"data_offsets\":[0,%d]}",
                lead, words, rows * words * 4);
    at = rows * words * 4;
    for (int i = 0; i < 1 + biases; i++, at += rows * scales * scale_size)
        lm_str_addf(&s,
                    ",\"m.embed_tokens.%s\":{\"dtype\":\"%s\",\"shape\":[%s2,%d],\"data_offsets\":[%d,%d]}",
                    i ? "biases" : "scales", scale_type, lead, scales, at, at + rows * scales * scale_size);
    lm_str_addc(&s, '}');
    if (parse(s.s, (size_t)at, &t, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_str_clear(&s);
    return t;
}

/* long: one table of cases */
static void quantisation_comes_from_config_and_shapes(void **state)
{
    static const struct {
        const char *what, *config;
        int words, scales;
        const char *type;
        int size;
        bool biases;
        const char *quant;
        int cols;
        size_t n_inferred;
    } cases[] = {
        { "config fits", "{\"quantization\":{\"bits\":4,\"group_size\":64}}", 8, 1, "BF16", 2, true,
          "affine4-g64-bf16", 64, 0 },
        { "quantization_config too", "{\"quantization_config\":{\"bits\":4,\"group_size\":64}}", 8, 1, "F16",
          2, true, "affine4-g64-f16", 64, 0 },
        { "3 bits", "{\"quantization\":{\"bits\":3,\"group_size\":64}}", 6, 1, "F32", 4, true,
          "affine3-g64-f32", 64, 0 },
        { "no config: 64 first", "{}", 8, 1, "BF16", 2, true, "affine4-g64-bf16", 64, 1 },
        { "no config: 32 x 1 when 64 would be half a bit", "{}", 1, 1, "BF16", 2, true, "affine1-g32-bf16",
          32, 1 },
        { "hidden_size settles it: 8 bits of 32", "{\"hidden_size\":32}", 8, 1, "BF16", 2, true,
          "affine8-g32-bf16", 32, 1 },
        { "and inside text_config", "{\"text_config\":{\"hidden_size\":128}}", 8, 1, "BF16", 2, true,
          "affine2-g128-bf16", 128, 1 },
        { "own entry",
          "{\"quantization\":{\"bits\":4,\"group_size\":64,\"m.embed_tokens\":{\"bits\":8,\"group_size\":32}}"
          "}",
          8, 1, "BF16", 2, true, "affine8-g32-bf16", 32, 0 },
        { "own entry with bits alone",
          "{\"quantization\":{\"bits\":4,\"group_size\":64,\"m.embed_tokens\":{\"bits\":8}}}", 16, 1, "BF16",
          2, true, "affine8-g64-bf16", 64, 1 },
        { "true means the default",
          "{\"quantization\":{\"bits\":4,\"group_size\":64,\"m.embed_tokens\":true}}", 8, 1, "BF16", 2, true,
          "affine4-g64-bf16", 64, 0 },
        { "mxfp4 by default, affine 8 by shapes (SPEC 3.3.4c)",
          "{\"quantization\":{\"bits\":4,\"group_size\":32,\"mode\":\"mxfp4\"}}", 16, 1, "BF16", 2, true,
          "affine8-g64-bf16", 64, 1 },
        { "mxfp4", "{\"quantization\":{\"bits\":4,\"group_size\":32,\"mode\":\"mxfp4\"}}", 8, 2, "U8", 1,
          false, "mlx-mxfp4", 64, 0 },
        { "mxfp8 without a word in config", "{}", 16, 2, "U8", 1, false, "mlx-mxfp8", 64, 0 },
        { "nvfp4", "{\"quantization\":{\"mode\":\"nvfp4\"}}", 8, 4, "U8", 1, false, "mlx-nvfp4", 64, 0 },
        { "another scheme's block is not ours",
          "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":8,"
          "\"group_size\":32}}",
          8, 1, "BF16", 2, true, "affine4-g64-bf16", 64, 1 },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(cases); i++)
        for (int experts = 1; experts <= 3; experts += 2) {
            if (experts > 1 && strstr(cases[i].config, "hidden_size"))
                continue; /* experts have no width to go by */
            lm_tensors t = triple(experts, cases[i].words, cases[i].scales, cases[i].type, cases[i].size,
                                  cases[i].biases);
            json_t *config = json_loads(cases[i].config, 0, NULL);
            size_t n_inferred = 99;
            lm_error err = { 0 };
            assert_non_null(config);
            if (lm_mlx_merge(&t, config, &n_inferred, &err) != LM_OK)
                fail_msg("%s: %s", cases[i].what, err.text);
            assert_int_equal(t.n, 1);
            const lm_tensor *w = &t.items[0];
            if (strcmp(w->quant->name, cases[i].quant) != 0 || n_inferred != cases[i].n_inferred)
                fail_msg("%s: %s, %zu inferred", cases[i].what, w->quant->name, n_inferred);
            assert_int_equal(w->n_dims, experts > 1 ? 3 : 2);
            assert_int_equal(w->dims[w->n_dims - 1], cases[i].cols);
            assert_int_equal(w->n_elems, 2 * experts * cases[i].cols);
            assert_int_equal(w->plane[1] - w->plane[0] > 0, 1);
            json_decref(config);
            lm_tensors_clear(&t);
        }
}

static void scales_without_packed_weights_stay_tensors(void **state)
{
    lm_tensors t = { 0 };
    (void)state;
    assert_int_equal(parse("{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                           "\"l.scales\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[16,24]},"
                           "\"k.scales\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[24,28]}}",
                           28, &t, NULL),
                     LM_OK);
    assert_int_equal(lm_mlx_merge(&t, NULL, NULL, NULL), LM_OK);
    assert_int_equal(t.n, 3);
    lm_tensors_clear(&t);
}

/* Every prefix is refused; every flipped bit of the header gets an answer. */
static void cut_and_flipped_files_get_an_answer(void **state)
{
    char *file = NULL;
    size_t n = 0, refused = 0;
    uint64_t header = 0;
    (void)state;
    assert_int_equal(
        lm_read_file(LM_TEST_DATA "/packs/llama-mlx-q4/model.safetensors", 1 << 20, &file, &n, NULL), LM_OK);
    memcpy(&header, file, 8);
    for (size_t cut = 0; cut < n; cut += 1009) {
        char *part = NULL;
        lm_tensors t = { 0 };
        assert_int_equal(lm_new((void **)&part, cut, 1, NULL), LM_OK);
        memcpy(part, file, cut);
        assert_int_not_equal(lm_safetensors_parse((const uint8_t *)part, cut, NULL, &t, NULL), LM_OK);
        lm_tensors_clear(&t);
        lm_free(part);
    }
    for (size_t bit = 0; bit < 8 * (8 + header); bit += 41) {
        lm_tensors t = { 0 };
        file[bit / 8] = (char)(file[bit / 8] ^ (1 << bit % 8));
        lm_status status = lm_safetensors_parse((const uint8_t *)file, n, NULL, &t, NULL);
        if (status == LM_OK)
            status = lm_tensors_sort(&t, NULL);
        if (status == LM_OK)
            status = lm_mlx_merge(&t, NULL, NULL, NULL);
        refused += status != LM_OK;
        for (size_t i = 0; status == LM_OK && i < t.n; i++)
            for (int k = 0; k < LM_QUANT_PLANES; k++)
                assert_true(!t.items[i].plane[k] ||
                            (t.items[i].plane[k] >= (const uint8_t *)file &&
                             t.items[i].plane[k] + t.items[i].n_bytes[k] <= (const uint8_t *)file + n));
        lm_tensors_clear(&t);
        file[bit / 8] = (char)(file[bit / 8] ^ (1 << bit % 8));
    }
    print_message("%zu of %zu flipped bits are refused\n", refused, (size_t)(8 * (8 + header) / 41));
    assert_true(refused > header / 41);
    lm_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_has_its_size),
        cmocka_unit_test(what_writers_do_is_accepted),
        cmocka_unit_test(names_hold_at_the_limit),
        cmocka_unit_test(shards_are_one_pack),
        cmocka_unit_test(quantisation_comes_from_config_and_shapes),
        cmocka_unit_test(scales_without_packed_weights_stay_tensors),
        cmocka_unit_test(cut_and_flipped_files_get_an_answer),
    };
    return cmocka_run_group_tests_name("format/safetensors", tests, NULL, NULL);
}
