/* GGUF metadata, limits, and what a flipped bit does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/gguf.h"
#include "format/ggufconfig.h"
#include "format/limits.h"

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

static void head(lm_str *s, uint64_t n_tensors, uint64_t n_keys)
{
    lm_str_addz(s, "GGUF");
    put(s, 3, 4);
    put(s, n_tensors, 8);
    put(s, n_keys, 8);
}

static void number(lm_str *s, const char *key, unsigned type, uint64_t bits, int n)
{
    put_str(s, key);
    put(s, type, 4);
    put(s, bits, n);
}

static uint64_t f64_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}

static uint64_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static lm_gguf *parse(const lm_str *s)
{
    lm_gguf *g = NULL;
    lm_error err = { 0 };
    if (lm_gguf_parse(&g, (const uint8_t *)s->s, s->n, &err) != LM_OK)
        fail_msg("%s", err.text);
    return g;
}

/* long: one table of cases */
static void every_type_of_value_is_read(void **state)
{
    lm_str s = { 0 };
    (void)state;
    head(&s, 0, 12);
    number(&s, "u8", LM_GGUF_U8, 255, 1);
    number(&s, "i8", LM_GGUF_I8, 255, 1);
    number(&s, "u16", LM_GGUF_U16, 65535, 2);
    number(&s, "i16", LM_GGUF_I16, 65535, 2);
    number(&s, "u32", LM_GGUF_U32, 4294967295u, 4);
    number(&s, "i32", LM_GGUF_I32, 4294967295u, 4);
    number(&s, "u64", LM_GGUF_U64, UINT64_MAX, 8);
    number(&s, "i64", LM_GGUF_I64, UINT64_MAX, 8);
    number(&s, "f32", LM_GGUF_F32, f32_bits(0.5f), 4);
    number(&s, "f64", LM_GGUF_F64, f64_bits(-2.25), 8);
    number(&s, "yes", LM_GGUF_BOOL, 1, 1);
    put_str(&s, "text");
    put(&s, LM_GGUF_STRING, 4);
    put_str(&s, "gr\xc3\xbc\xc3\x9f");
    lm_gguf *g = parse(&s);

    static const struct {
        const char *key;
        int64_t value;
    } whole[] = { { "u8", 255 },         { "i8", -1 },  { "u16", 65535 }, { "i16", -1 },
                  { "u32", 4294967295 }, { "i32", -1 }, { "i64", -1 } };
    for (size_t i = 0; i < LM_LEN(whole); i++) {
        int64_t v = 7;
        double d = 7;
        uint64_t u = 7;
        assert_true(lm_gguf_i64(g, whole[i].key, &v));
        assert_true(v == whole[i].value);
        assert_true(lm_gguf_f64(g, whole[i].key, &d));
        assert_true(d == (double)whole[i].value);
        assert_int_equal(lm_gguf_u64(g, whole[i].key, &u), whole[i].value >= 0);
        assert_true(u == (whole[i].value >= 0 ? (uint64_t)whole[i].value : 7));
    }
    uint64_t u = 0;
    int64_t v = 7;
    double d = 0;
    bool b = false;
    const char *text = NULL;
    size_t n = 0;
    assert_true(lm_gguf_u64(g, "u64", &u));
    assert_true(u == UINT64_MAX);
    assert_false(lm_gguf_i64(g, "u64", &v));
    assert_false(lm_gguf_i64(g, "f32", &v));
    assert_false(lm_gguf_i64(g, "yes", &v));
    assert_false(lm_gguf_i64(g, "text", &v));
    assert_false(lm_gguf_i64(g, "absent", &v));
    assert_int_equal(v, 7);
    assert_true(lm_gguf_f64(g, "f32", &d) && d == 0.5);
    assert_true(lm_gguf_f64(g, "f64", &d) && d == -2.25);
    assert_true(lm_gguf_bool(g, "yes", &b) && b);
    assert_false(lm_gguf_bool(g, "u8", &b));
    assert_true(lm_gguf_str(g, "text", &text, &n));
    assert_int_equal(n, 6);
    assert_memory_equal(text, "gr\xc3\xbc\xc3\x9f", 6);
    assert_false(lm_gguf_str(g, "u8", &text, &n));
    assert_int_equal(lm_gguf_n_values(g), 12);
    assert_int_equal(lm_gguf_version(g), 3);

    json_t *config = NULL;
    assert_int_equal(lm_gguf_config(g, &config, NULL), LM_OK);
    assert_int_equal(json_object_size(config), 12);
    assert_int_equal(json_integer_value(json_object_get(config, "i8")), -1);
    assert_true(json_is_true(json_object_get(config, "yes")));
    assert_true(json_is_real(json_object_get(config, "u64"))); /* beyond what JSON integers hold here */
    json_decref(config);
    lm_gguf_close(g);
    lm_str_clear(&s);
}

/* long: one table of cases */
static void arrays_are_walked_where_they_lie(void **state)
{
    static const char *const tokens[] = { "<s>", "", "\xe2\x96\x81the", "\xff" };
    lm_str s = { 0 };
    (void)state;
    head(&s, 0, 4);
    put_str(&s, "tokens");
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, LM_GGUF_STRING, 4);
    put(&s, 4, 8);
    for (size_t i = 0; i < 4; i++)
        put_str(&s, tokens[i]);
    put_str(&s, "scores");
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, LM_GGUF_F32, 4);
    put(&s, 3, 8);
    for (int i = 0; i < 3; i++)
        put(&s, f32_bits(-0.5f * (float)i), 4);
    put_str(&s, "types");
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, LM_GGUF_I32, 4);
    put(&s, 2, 8);
    put(&s, 6, 4);
    put(&s, 0xffffffffu, 4);
    put_str(&s, "nested");
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, 1, 8);
    put(&s, LM_GGUF_U8, 4);
    put(&s, 2, 8);
    put(&s, 0x0201, 2);
    lm_gguf *g = parse(&s);

    const lm_gguf_value *a = lm_gguf_array(g, "tokens", LM_GGUF_STRING);
    const char *text;
    size_t n, i = 0;
    lm_gguf_walk w = lm_gguf_strings(a);
    for (; lm_gguf_next(&w, &text, &n); i++) {
        assert_int_equal(n, strlen(tokens[i]));
        assert_memory_equal(text, tokens[i], n);
    }
    assert_int_equal(i, 4);
    double x = 9;
    int64_t v = 9;
    a = lm_gguf_array(g, "scores", LM_GGUF_F32);
    assert_int_equal(a->n, 3);
    assert_true(lm_gguf_item_f64(a, 2, &x) && x == -1.0);
    assert_false(lm_gguf_item_f64(a, 3, &x));
    assert_false(lm_gguf_item_i64(a, 0, &v));
    a = lm_gguf_array(g, "types", LM_GGUF_I32);
    assert_true(lm_gguf_item_i64(a, 1, &v) && v == -1);
    w = lm_gguf_strings(a);
    assert_false(lm_gguf_next(&w, &text, &n));
    assert_null(lm_gguf_array(g, "types", LM_GGUF_U32));
    assert_null(lm_gguf_array(g, "absent", LM_GGUF_U32));
    assert_non_null(lm_gguf_find(g, "nested"));

    json_t *config = NULL;
    assert_int_equal(lm_gguf_config(g, &config, NULL), LM_OK);
    assert_null(json_object_get(config, "tokens")); /* one of them is no UTF-8 */
    assert_null(json_object_get(config, "nested"));
    assert_int_equal(json_array_size(json_object_get(config, "scores")), 3);
    json_decref(config);
    lm_gguf_close(g);
    lm_str_clear(&s);
}

static lm_status with_array(uint64_t n, uint64_t bytes)
{
    lm_str s = { 0 };
    lm_gguf *g = NULL;
    head(&s, 0, 1);
    put_str(&s, "a");
    put(&s, LM_GGUF_ARRAY, 4);
    put(&s, LM_GGUF_U8, 4);
    put(&s, n, 8);
    for (uint64_t i = 0; i < bytes; i++)
        lm_str_addc(&s, 0);
    lm_status status = lm_gguf_parse(&g, (const uint8_t *)s.s, s.n, NULL);
    lm_gguf_close(g);
    lm_str_clear(&s);
    return status;
}

static lm_status with_names(size_t key, size_t name)
{
    lm_str s = { 0 };
    lm_gguf *g = NULL;
    lm_tensors t = { 0 };
    head(&s, 1, 1);
    put(&s, key, 8);
    for (size_t i = 0; i < key; i++)
        lm_str_addc(&s, 'k');
    put(&s, LM_GGUF_U8, 4);
    put(&s, 1, 1);
    put(&s, name, 8);
    for (size_t i = 0; i < name; i++)
        lm_str_addc(&s, 'n');
    put(&s, 1, 4);
    put(&s, 8, 8);
    put(&s, 0, 4);
    put(&s, 0, 8);
    while (s.n % 32)
        lm_str_addc(&s, 0);
    for (int i = 0; i < 32; i++)
        lm_str_addc(&s, 0);
    lm_status status = lm_gguf_parse(&g, (const uint8_t *)s.s, s.n, NULL);
    if (status == LM_OK)
        status = lm_gguf_place(g, NULL, &t, NULL);
    lm_tensors_clear(&t);
    lm_gguf_close(g);
    lm_str_clear(&s);
    return status;
}

static void limits_hold_at_and_one_beyond(void **state)
{
    (void)state;
    assert_int_equal(with_array(LM_LIMIT_GGUF_ARRAY, LM_LIMIT_GGUF_ARRAY), LM_OK);
    assert_int_equal(with_array(LM_LIMIT_GGUF_ARRAY + 1, LM_LIMIT_GGUF_ARRAY + 1), LM_ERR_CORRUPT);
    assert_int_equal(with_array(LM_LIMIT_GGUF_ARRAY, LM_LIMIT_GGUF_ARRAY - 1), LM_ERR_TRUNCATED);
    assert_int_equal(with_names(LM_LIMIT_GGUF_KEY, LM_LIMIT_NAME), LM_OK);
    assert_int_equal(with_names(LM_LIMIT_GGUF_KEY + 1, LM_LIMIT_NAME), LM_ERR_CORRUPT);
    assert_int_equal(with_names(LM_LIMIT_GGUF_KEY, LM_LIMIT_NAME + 1), LM_ERR_CORRUPT);
}

/* Every prefix of a real file is refused, and every flipped bit of its header
 * gives an answer; the bytes stand at the end of their allocation, so that the
 * address sanitizer sees a step too far. */
static void cut_and_flipped_files_get_an_answer(void **state)
{
    char *file = NULL;
    size_t n = 0, header = 0, refused = 0;
    clock_t start = clock();
    (void)state;
    assert_int_equal(lm_read_file(LM_TEST_DATA "/packs/llama-Q4_0.gguf", 1 << 20, &file, &n, NULL), LM_OK);
    for (size_t cut = 0; cut < n; cut += cut < 4096 ? 7 : 997) {
        char *bytes = NULL;
        lm_gguf *g = NULL;
        lm_tensors t = { 0 };
        assert_int_equal(lm_new((void **)&bytes, cut, 1, NULL), LM_OK);
        memcpy(bytes, file, cut);
        lm_status status = lm_gguf_parse(&g, (const uint8_t *)bytes, cut, NULL);
        if (status == LM_OK) {
            header = header ? header : cut;
            status = lm_gguf_place(g, NULL, &t, NULL);
        }
        assert_int_not_equal(status, LM_OK);
        lm_tensors_clear(&t);
        lm_gguf_close(g);
        lm_free(bytes);
    }
    assert_true(header > 1000);
    for (size_t bit = 0; bit < 8 * header; bit += 3) {
        lm_gguf *g = NULL;
        lm_tensors t = { 0 };
        file[bit / 8] = (char)(file[bit / 8] ^ (1 << bit % 8));
        lm_status status = lm_gguf_parse(&g, (const uint8_t *)file, n, NULL);
        if (status == LM_OK)
            status = lm_gguf_place(g, NULL, &t, NULL);
        refused += status != LM_OK;
        for (size_t i = 0; status == LM_OK && i < t.n; i++)
            assert_true(t.items[i].plane[0] >= (const uint8_t *)file &&
                        t.items[i].plane[0] + t.items[i].n_bytes[0] <= (const uint8_t *)file + n);
        lm_tensors_clear(&t);
        lm_gguf_close(g);
        file[bit / 8] = (char)(file[bit / 8] ^ (1 << bit % 8));
    }
    print_message("%zu of %zu flipped bits are refused; %.2f s\n", refused, 8 * header / 3,
                  (double)(clock() - start) / CLOCKS_PER_SEC);
    assert_true(refused > header / 3);
    lm_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_value_is_read),
        cmocka_unit_test(arrays_are_walked_where_they_lie),
        cmocka_unit_test(limits_hold_at_and_one_beyond),
        cmocka_unit_test(cut_and_flipped_files_get_an_answer),
    };
    return cmocka_run_group_tests_name("format/gguf", tests, NULL, NULL);
}
