/* Snapshots MLXKV001: every version and encoding from bytes written here, both ways, damage. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/snapshot.h"
#include "support/bytes_lite.h"
#include "support/tempdir.h"

enum { LAYERS = 2, HEADS = 2, SEQ = 3, DIM = 2, NUMBERS = SEQ * DIM };

/* Number i of head h of layer l, keys (0) or values (1): exact in every format but q8. */
static float number(int l, int h, int kv, int i)
{
    return (float)(l * 64 + h * 16 + kv * 8 + i) / 4 - 5;
}

static uint16_t bf16(float x) /* exact for these numbers */
{
    uint32_t v;
    memcpy(&v, &x, sizeof v);
    return (uint16_t)(v >> 16);
}

typedef enum { KIND_F32, KIND_Q8, KIND_BF16 } kind;

/* SPEC 5.4, by hand. */
static void put_tensor(lm_str *b, kind k, int l, int kv, int first_head, int n_heads)
{
    if (k == KIND_F32) {
        put_u32(b, 0);
        put_u32(b, (uint32_t)(n_heads * NUMBERS));
    } else if (k == KIND_Q8) {
        put_u32(b, 1);
        put_u32(b, (uint32_t)(n_heads * NUMBERS));
        put_f32(b, 0.25f);
    } else {
        put_u32(b, 2);
        put_u32(b, (uint32_t)(n_heads * NUMBERS));
        put_text(b, "bfloat16");
        put_u32(b, (uint32_t)(n_heads * NUMBERS * 2));
    }
    for (int h = first_head; h < first_head + n_heads; h++)
        for (int i = 0; i < NUMBERS; i++) {
            float x = number(l, h, kv, i);
            if (k == KIND_F32)
                put_f32(b, x);
            else if (k == KIND_Q8)
                lm_str_addc(b, (char)(int8_t)lrintf(x / 0.25f));
            else
                put_le(b, bf16(x), 2);
        }
}

/* SPEC 5.3, by hand.  Slabs from version 4 on, else head by head. */
static void put_snapshot(lm_str *b, uint32_t version, kind k)
{
    lm_str_addz(b, "MLXKV001");
    put_u32(b, version);
    put_text(b, "qwen3");
    put_u32(b, LAYERS);
    put_u32(b, HEADS);
    put_u32(b, SEQ);
    put_u32(b, DIM);
    put_u32(b, 8);
    if (version >= 2)
        put_u32(b, 3);
    put_u32(b, SEQ);
    for (uint32_t i = 0; i < SEQ; i++)
        put_u32(b, 100 + i);
    if (version >= 2) {
        put_u32(b, 1);
        put_u32(b, 77);
    }
    put_u32(b, LAYERS);
    for (int l = 0; l < LAYERS; l++) {
        put_u32(b, (uint32_t)l);
        put_u32(b, (uint32_t)(10 + l));
        put_u32(b, version >= 4 ? 0 : HEADS);
        if (version >= 5) {
            put_text(b, "rotating");
            put_u32(b, 0);
        }
        if (version >= 6)
            put_u32(b, 512);
        for (int kv = 0; kv < 2 && version >= 4; kv++) {
            put_u32(b, 4);
            put_u32(b, 1);
            put_u32(b, HEADS);
            put_u32(b, SEQ);
            put_u32(b, DIM);
            put_tensor(b, k, l, kv, 0, HEADS);
        }
        for (int h = 0; h < HEADS && version < 4; h++)
            for (int kv = 0; kv < 2; kv++) {
                if (version == 3) {
                    put_tensor(b, k, l, kv, h, 1);
                    continue;
                }
                put_u32(b, NUMBERS);
                for (int i = 0; i < NUMBERS; i++)
                    put_f32(b, number(l, h, kv, i));
            }
    }
    if (version >= 2) {
        put_u32(b, 2);
        put_u32(b, 1);
        put_u32(b, 4);
        put_u32(b, 4);
        for (int i = 0; i < 4; i++)
            put_f32(b, (float)i - 1.5f);
    }
}

static lm_snapshot *decode(const lm_str *b, unsigned flags)
{
    lm_snapshot *s = NULL;
    lm_error err = { 0 };
    if (lm_snapshot_decode(&s, (const uint8_t *)b->s, b->n, flags, &err) != LM_OK)
        fail_msg("%s", err.text);
    return s;
}

static void check(const lm_snapshot *s, uint32_t version)
{
    assert_int_equal(s->version, version);
    assert_string_equal(s->architecture, "qwen3");
    assert_int_equal(s->num_layers, LAYERS);
    assert_int_equal(s->num_heads, HEADS);
    assert_int_equal(s->seq_len, SEQ);
    assert_int_equal(s->head_dim, DIM);
    assert_int_equal(s->num_query_heads, 8);
    assert_int_equal(s->token_offset, 3);
    assert_int_equal(s->n_tokens, SEQ);
    assert_int_equal(s->tokens[2], 102);
    assert_int_equal(s->n_generated, version >= 2);
    assert_int_equal(s->n_logits, version >= 2 ? 4 : 0);
    if (version >= 2) {
        assert_int_equal(s->generated[0], 77);
        assert_int_equal(s->logit_rank, 2);
        assert_int_equal(s->logit_shape[1], 4);
        assert_true(s->logits[3] == 1.5f);
    }
    assert_int_equal(s->n_layers, LAYERS);
    for (int l = 0; l < LAYERS; l++) {
        const lm_kv_layer *layer = lm_snapshot_layer(s, l);
        assert_int_equal(layer->cache_index, 10 + l);
        assert_string_equal(layer->cache_mode, version >= 5 ? "rotating" : "");
        assert_int_equal(layer->max_size, version >= 6 ? 512 : 0);
        assert_int_equal(lm_kv_layer_heads(layer), HEADS);
        for (uint32_t h = 0; h < HEADS; h++)
            for (int kv = 0; kv < 2; kv++) {
                lm_kv_block b;
                float x[NUMBERS];
                assert_int_equal(lm_kv_view(s, layer, h, kv, &b, NULL), LM_OK);
                assert_int_equal(b.rows, SEQ);
                assert_int_equal(b.dim, DIM);
                assert_int_equal(lm_kv_tensor_get(&b.t, 0, NUMBERS, x, NULL), LM_OK);
                for (int i = 0; i < NUMBERS; i++)
                    assert_true(x[i] == number(l, (int)h, kv, i));
            }
    }
}

static void all_versions(void (*visit)(uint32_t version, kind k, const lm_str *b))
{
    for (uint32_t v = 1; v <= 6; v++)
        for (int k = 0; k < (v >= 3 ? 3 : 1); k++) {
            lm_str b = { 0 };
            put_snapshot(&b, v, (kind)k);
            visit(v, (kind)k, &b);
            lm_str_clear(&b);
        }
}

static void is_read(uint32_t version, kind k, const lm_str *b)
{
    (void)k;
    lm_snapshot *s = decode(b, 0);
    check(s, version);
    lm_snapshot_close(s);
}

static void every_version_and_encoding_is_read(void **state)
{
    (void)state;
    all_versions(is_read);
}

static lm_snapshot_encoding encoding_of(kind k)
{
    return k == KIND_F32 ? LM_SNAPSHOT_FLOAT32 : k == KIND_Q8 ? LM_SNAPSHOT_Q8 : LM_SNAPSHOT_NATIVE;
}

static void is_written_again(uint32_t version, kind k, const lm_str *b)
{
    lm_snapshot *s = decode(b, 0), *c = NULL;
    lm_str again = { 0 };
    lm_sink to = lm_sink_str(&again);
    uint64_t n = 0;
    (void)version;
    assert_int_equal(lm_snapshot_encode(s, encoding_of(k), &to, NULL), LM_OK);
    assert_int_equal(again.n, b->n);
    assert_memory_equal(again.s, b->s, b->n);
    assert_int_equal(lm_snapshot_bytes(s, encoding_of(k), &n, NULL), LM_OK);
    assert_int_equal(n, b->n);
    /* A copy keeps nothing of the bytes that it came from. */
    assert_int_equal(lm_snapshot_clone(s, &c, NULL), LM_OK);
    lm_snapshot_close(s);
    memset(b->s, 0xee, b->n);
    lm_str_reset(&again);
    to = lm_sink_str(&again);
    assert_int_equal(lm_snapshot_encode(c, encoding_of(k), &to, NULL), LM_OK);
    lm_snapshot *d = decode(&again, 0);
    check(d, version);
    lm_snapshot_close(d);
    lm_snapshot_close(c);
    lm_str_clear(&again);
}

static void what_is_read_is_written_byte_for_byte(void **state)
{
    (void)state;
    all_versions(is_written_again);
}

static void the_version_is_raised_as_far_as_needed(void **state)
{
    (void)state;
    lm_str b = { 0 };
    put_snapshot(&b, 1, KIND_F32);
    lm_snapshot *s = decode(&b, 0);
    const struct {
        lm_snapshot_encoding e;
        uint32_t max_size;
        const char *mode;
        uint32_t version;
    } cases[] = { { LM_SNAPSHOT_FLOAT32, 0, "", 1 },
                  { LM_SNAPSHOT_Q8, 0, "", 3 },
                  { LM_SNAPSHOT_NATIVE, 0, "", 3 },
                  { LM_SNAPSHOT_FLOAT32, 0, "fixed", 5 },
                  { LM_SNAPSHOT_FLOAT32, 9, "", 6 } };
    for (size_t i = 0; i < LM_LEN(cases); i++) {
        lm_str out = { 0 };
        lm_sink to = lm_sink_str(&out);
        s->layers[1].max_size = cases[i].max_size;
        (void)snprintf(s->layers[0].cache_mode, sizeof s->layers[0].cache_mode, "%s", cases[i].mode);
        assert_int_equal(lm_snapshot_encode(s, cases[i].e, &to, NULL), LM_OK);
        assert_int_equal(out.s[8], cases[i].version);
        lm_snapshot_close(decode(&out, 0));
        lm_str_clear(&out);
    }
    s->layers[0].cache_mode[0] = 0;
    s->layers[1].max_size = 0;
    int32_t one = 5;
    lm_str out = { 0 };
    lm_sink to = lm_sink_str(&out);
    s->generated = &one;
    s->n_generated = 1;
    assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_FLOAT32, &to, NULL), LM_OK);
    assert_int_equal(out.s[8], 2);
    lm_str_clear(&out);
    lm_snapshot_close(s);
    lm_str_clear(&b);
}

/* One layer, one head of float32 in version 3. */
static lm_snapshot *of_numbers(lm_str *b, const float *x, uint32_t n)
{
    lm_str_addz(b, "MLXKV001");
    put_u32(b, 3);
    put_text(b, "t");
    const uint32_t geometry[] = { 1, 1, n, 1, 1, 0 };
    for (size_t i = 0; i < LM_LEN(geometry); i++)
        put_u32(b, geometry[i]);
    put_u32(b, n);
    for (uint32_t i = 0; i < n; i++)
        put_u32(b, i);
    put_u32(b, 0);
    put_u32(b, 1);
    put_u32(b, 0);
    put_u32(b, 0);
    put_u32(b, 1);
    for (int kv = 0; kv < 2; kv++) {
        put_u32(b, 0);
        put_u32(b, n);
        for (uint32_t i = 0; i < n; i++)
            put_f32(b, x[i]);
    }
    put_u32(b, 0);
    put_u32(b, 0);
    return decode(b, 0);
}

static void eight_bits_are_rounded_and_what_is_not_finite_stays(void **state)
{
    (void)state;
    const float x[] = { 0.0f, 2.54f, -2.54f, 0.01f, 0.0099f, -0.03f };
    const int8_t want[] = { 0, 127, -127, 1, 0, -2 };
    lm_str b = { 0 }, out = { 0 };
    lm_sink to = lm_sink_str(&out);
    lm_snapshot *s = of_numbers(&b, x, 6);
    assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_Q8, &to, NULL), LM_OK);
    lm_snapshot *q = decode(&out, 0);
    const lm_kv_tensor *t = &q->layers[0].heads[0].key;
    assert_int_equal(t->dtype, LM_KVT_Q8);
    assert_true(t->scale == 2.54f / 127);
    assert_memory_equal(t->raw, want, sizeof want);
    lm_snapshot_close(q);
    lm_snapshot_close(s);
    for (int k = 0; k < 3; k++) { /* all zero; NaN; infinity */
        const float odd[] = { k == 0 ? 0.0f : 1.0f, k == 1 ? NAN : k == 2 ? -INFINITY : 0.0f };
        lm_str_clear(&b);
        lm_str_reset(&out);
        to = lm_sink_str(&out);
        s = of_numbers(&b, odd, 2);
        assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_Q8, &to, NULL), LM_OK);
        q = decode(&out, 0);
        t = &q->layers[0].heads[0].value;
        assert_int_equal(t->dtype, k ? LM_KVT_F32 : LM_KVT_Q8);
        if (k == 0)
            assert_true(t->scale == 1.0f);
        else
            assert_memory_equal(t->raw, odd, sizeof odd);
        lm_snapshot_close(q);
        lm_snapshot_close(s);
    }
    lm_str_clear(&b);
    lm_str_clear(&out);
}

static void raw_tensors_are_written_natively_or_not_at_all(void **state)
{
    (void)state;
    lm_str b = { 0 }, out = { 0 };
    lm_sink to = lm_sink_str(&out);
    lm_error err = { 0 };
    put_snapshot(&b, 6, KIND_BF16);
    lm_snapshot *s = decode(&b, LM_SNAPSHOT_RAW);
    /* Views of the file's bytes, no copies (R23). */
    assert_true(s->layers[0].key.raw > (const uint8_t *)b.s &&
                s->layers[0].key.raw < (const uint8_t *)b.s + b.n);
    assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_FLOAT32, &to, &err), LM_ERR_USAGE);
    assert_string_equal(err.text,
                        "a tensor that only has raw bytes cannot be written as float32, only native");
    lm_str_reset(&out);
    to = lm_sink_str(&out);
    assert_int_equal(lm_snapshot_encode(s, LM_SNAPSHOT_NATIVE, &to, NULL), LM_OK);
    assert_int_equal(out.n, b.n);
    assert_memory_equal(out.s, b.s, b.n);
    lm_snapshot_close(s);
    lm_str_clear(&b);
    lm_str_clear(&out);
}

static void the_hash_is_that_of_the_encoded_bytes(void **state)
{
    (void)state;
    lm_str b = { 0 };
    char hex[65], want[65];
    put_snapshot(&b, 3, KIND_F32);
    lm_snapshot *s = decode(&b, 0);
    assert_int_equal(lm_snapshot_hash(s, hex, NULL), LM_OK);
    assert_int_equal(lm_hash_text(b.s, b.n, want, NULL), LM_OK);
    assert_string_equal(hex, want);
    lm_snapshot_close(s);
    lm_str_clear(&b);
    put_snapshot(&b, 6, KIND_BF16);
    s = decode(&b, LM_SNAPSHOT_RAW);
    assert_int_equal(lm_snapshot_hash(s, hex, NULL), LM_OK);
    assert_int_equal(lm_hash_text(b.s, b.n, want, NULL), LM_OK);
    assert_string_equal(hex, want);
    lm_snapshot_close(s);
    lm_str_clear(&b);
}

static void a_file_is_written_whole_and_private(void **state)
{
    (void)state;
    lm_tempdir dir = lm_tempdir_make();
    char path[1024];
    struct stat st;
    lm_str b = { 0 };
    lm_snapshot_info info = { .size = sizeof info };
    put_snapshot(&b, 6, KIND_BF16);
    lm_tempdir_write(&dir, "a.kv", b.s, b.n);
    lm_snapshot *s = NULL, *t = NULL;
    assert_int_equal(lm_snapshot_read(&s, lm_tempdir_path(&dir, "a.kv", path), 0, NULL), LM_OK);
    assert_int_equal(lm_snapshot_write(s, lm_tempdir_path(&dir, "b.kv", path), LM_SNAPSHOT_NATIVE, NULL),
                     LM_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, b.n);
    assert_int_equal(lm_snapshot_read(&t, path, 0, NULL), LM_OK);
    check(t, 6);
    lm_snapshot_get_info(t, &info);
    assert_string_equal(info.architecture, "qwen3");
    assert_int_equal(info.n_tokens, SEQ);
    assert_int_equal(info.n_logits, 4);
    lm_snapshot_close(t);
    lm_snapshot_close(s);
    lm_error err = { 0 };
    assert_int_equal(lm_snapshot_read(&t, lm_tempdir_path(&dir, "none", path), 0, &err), LM_ERR_NOT_FOUND);
    lm_str_clear(&b);
    lm_tempdir_remove(&dir);
}

static void cut_anywhere_is_refused(uint32_t version, kind k, const lm_str *b)
{
    (void)version, (void)k;
    for (size_t n = 0; n < b->n; n++) {
        lm_snapshot *s = NULL;
        lm_error err = { 0 };
        uint8_t *exact = NULL;
        assert_int_equal(LM_NEW(&exact, n, NULL), LM_OK);
        memcpy(exact, b->s, n);
        lm_status st = lm_snapshot_decode(&s, exact, n, 0, &err);
        if (st != LM_ERR_TRUNCATED)
            fail_msg("cut at %zu of %zu: %s %s", n, b->n, lm_status_name(st), err.text);
        assert_null(s);
        assert_true(err.text[0] != 0);
        lm_free(exact);
    }
}

static void a_snapshot_that_is_cut_anywhere_is_refused(void **state)
{
    (void)state;
    all_versions(cut_anywhere_is_refused);
}

static void every_failing_allocation_leaves_nothing(void **state)
{
    (void)state;
    lm_str b = { 0 };
    put_snapshot(&b, 3, KIND_Q8);
    for (uint64_t n = 1;; n++) {
        lm_snapshot *s = NULL, *c = NULL;
        lm_mem_fail_after(n);
        lm_status st = lm_snapshot_decode(&s, (const uint8_t *)b.s, b.n, 0, NULL);
        if (st == LM_OK)
            st = lm_snapshot_clone(s, &c, NULL);
        lm_mem_fail_after(0);
        lm_snapshot_close(c);
        lm_snapshot_close(s);
        if (st == LM_OK)
            break;
        assert_int_equal(st, LM_ERR_NOMEM);
    }
    lm_str_clear(&b);
}

static void encodings_have_names(void **state)
{
    (void)state;
    lm_snapshot_encoding e;
    lm_error err = { 0 };
    assert_int_equal(lm_snapshot_encoding_of("", &e, NULL), LM_OK);
    assert_int_equal(e, LM_SNAPSHOT_FLOAT32);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            lm_snapshot_encoding_of(lm_snapshot_encoding_name((lm_snapshot_encoding)i), &e, NULL), LM_OK);
        assert_int_equal(e, i);
    }
    assert_int_equal(lm_snapshot_encoding_of("zip", &e, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "the encoding 'zip' is none of float32, q8 and native");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_and_encoding_is_read),
        cmocka_unit_test(what_is_read_is_written_byte_for_byte),
        cmocka_unit_test(the_version_is_raised_as_far_as_needed),
        cmocka_unit_test(eight_bits_are_rounded_and_what_is_not_finite_stays),
        cmocka_unit_test(raw_tensors_are_written_natively_or_not_at_all),
        cmocka_unit_test(the_hash_is_that_of_the_encoded_bytes),
        cmocka_unit_test(a_file_is_written_whole_and_private),
        cmocka_unit_test(a_snapshot_that_is_cut_anywhere_is_refused),
        cmocka_unit_test(every_failing_allocation_leaves_nothing),
        cmocka_unit_test(encodings_have_names),
    };
    return cmocka_run_group_tests_name("state/interchange/snapshot", tests, NULL, NULL);
}
