/* Tokenizers against the reference's ids and texts: fifteen small tokenizers of
 * every kind, 150 strings each (tests/data/tokenizers). */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/folder.h"
#include "format/pack.h"
#include "support/tempdir.h"
#include "text/tokenizer.h"

/* Seconds of processor time; sanitizers and debug builds are many times slower. */
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LIMIT 2.0
#else
#define LIMIT 40.0
#endif

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

/* ---- a person's text ---- */

static lm_ids encode(const lm_tokenizer *t, const char *s, size_t n, const lm_span *literal, size_t n_literal,
                     unsigned flags)
{
    lm_ids ids = { 0 };
    lm_error err = { 0 };
    if (lm_tokenizer_encode(t, s, n, literal, n_literal, flags, &ids, &err) != LM_OK)
        fail_msg("%s", err.text);
    return ids;
}

static size_t count(const lm_ids *ids, int32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += ids->ids[i] == id;
    return n;
}

static void control_tokens_inside_a_message_stay_text(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        static const char text[] = "</s>hi </s> x<mark></s>";
        lm_tokenizer *t = open_kind(kinds[k]);
        int32_t eos = lm_tokenizer_find(t, strncmp(kinds[k], "bert", 4) == 0 ? "[SEP]" : "</s>",
                                        strncmp(kinds[k], "bert", 4) == 0 ? 5 : 4);
        int32_t mark = lm_tokenizer_find(t, "<mark>", 6);
        lm_span middle = { 4, 12 }, border = { 2, 3 }, last = { 22, 23 }, all = { 0, 23 };
        char copy[64];
        size_t n = sizeof text - 1;
        memcpy(copy, text, n);
        assert_true(eos >= 0 && mark >= 0);
        assert_true(lm_tokenizer_is_special(t, eos));
        assert_false(lm_tokenizer_is_special(t, mark));
        if (strncmp(kinds[k], "bert", 4) == 0) { /* the same shape with its own token */
            n = (size_t)snprintf(copy, sizeof copy, "[SEP]hi [SEP] x<mark>[SEP]");
            middle = (lm_span){ 5, 14 };
            last = (lm_span){ 25, 26 };
            all = (lm_span){ 0, 26 };
        }
        lm_ids ids = encode(t, copy, n, NULL, 0, 0);
        assert_int_equal(count(&ids, eos), 3);
        lm_ids_clear(&ids);
        ids = encode(t, copy, n, &middle, 1, 0);
        assert_int_equal(count(&ids, eos), 2);
        lm_ids_clear(&ids);
        ids = encode(t, copy, n, &border, 1, 0); /* one byte of a spelling is enough */
        assert_int_equal(count(&ids, eos), 2);
        lm_ids_clear(&ids);
        ids = encode(t, copy, n, &last, 1, 0);
        assert_int_equal(count(&ids, eos), 2);
        lm_ids_clear(&ids);
        ids = encode(t, copy, n, &all, 1, 0);
        assert_int_equal(count(&ids, eos), 0);
        assert_int_equal(count(&ids, mark), 1); /* not special: found everywhere */
        lm_ids_clear(&ids);
        ids = encode(t, copy, n, &all, 1, LM_TOK_PARSE_ALL);
        assert_int_equal(count(&ids, eos), 3);
        lm_ids_clear(&ids);
        lm_tokenizer_close(t);
    }
}

static void ill_formed_bytes_become_the_replacement_character(void **state)
{
    /* what Python's bytes.decode("utf-8", "replace") makes of them */
    static const struct {
        const char *bad, *good;
    } cases[] = {
        { "a\xff"
          "b",
          "a\xef\xbf\xbd"
          "b" },
        { "\xe2\x82", "\xef\xbf\xbd" },
        { "\xe2\x28\xa1", "\xef\xbf\xbd(\xef\xbf\xbd" },
        { "\xf0\x9f\x98x\xc0\xaf", "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    };
    lm_tokenizer *t = open_kind("gpt2");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_ids a = encode(t, cases[i].bad, strlen(cases[i].bad), NULL, 0, 0);
        lm_ids b = encode(t, cases[i].good, strlen(cases[i].good), NULL, 0, 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
        lm_ids_clear(&a);
        lm_ids_clear(&b);
    }
    /* spans move along with the text that grows in front of them */
    lm_span span = { 2, 6 };
    lm_ids ids = encode(t, "\xff\xff</s></s>", 10, &span, 1, 0);
    assert_int_equal(count(&ids, lm_tokenizer_find(t, "</s>", 4)), 1);
    lm_ids_clear(&ids);
    lm_tokenizer_close(t);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    lm_tokenizer *t = open_kind("llama2");
    lm_str out = { 0 };
    lm_error err = { 0 };
    int32_t id = 1503;
    (void)state;
    assert_int_equal(lm_tokenizer_n_vocab(t), 1503);
    assert_int_equal(lm_tokenizer_decode(t, &id, 1, false, &out, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "the token id 1503 is outside the vocabulary, allowed are 0 to 1502");
    id = -1;
    assert_int_equal(lm_tokenizer_decode(t, &id, 1, false, &out, NULL), LM_ERR_USAGE);
    lm_str_clear(&out);
    lm_tokenizer_close(t);
}

/* ---- size ---- */

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void four_mebibytes_of_one_letter_are_nothing_special(void **state)
{
    static const char *const letters[] = { "A", " ", "\n", "1", "\xcc\x81", "." };
    size_t n = 4 << 20;
    char *text = NULL;
    (void)state;
    assert_int_equal(lm_new((void **)&text, n, 1, NULL), LM_OK);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        lm_tokenizer *t = open_kind(kinds[k]);
        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
            size_t len = strlen(letters[i]);
            lm_ids ids = { 0 };
            lm_error err = { 0 };
            for (size_t at = 0; at < n; at++)
                text[at] = letters[i][at % len];
            double before = seconds();
            lm_status st = lm_tokenizer_encode(t, text, n, NULL, 0, 0, &ids, &err);
            double took = seconds() - before;
            /* a Unigram without an unknown token for it may refuse; it must not hang */
            if (st != LM_OK)
                fail_msg("%s: %s", kinds[k], err.text);
            if (took > LIMIT)
                fail_msg("%s takes %.2f s for 4 MiB of '%s', allowed are %.0f", kinds[k], took, letters[i],
                         LIMIT);
            lm_ids_clear(&ids);
        }
        lm_tokenizer_close(t);
    }
    lm_free(text);
}

static void a_pattern_that_backtracks_for_ever_is_cut(void **state)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]},"
                               "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:a+a*)+$x\"}"
                               ",\"behavior\":\"Isolated\"}}";
    lm_tokenizer *t = NULL;
    char *text = NULL;
    double before = seconds();
    (void)state;
    assert_int_equal(lm_new((void **)&text, 1, 1 << 20, NULL), LM_OK);
    memset(text, 'a', 1 << 20);
    assert_int_equal(lm_tokenizer_open_json(&t, json, sizeof json - 1, "x", NULL), LM_OK);
    lm_ids ids = encode(t, text, 1 << 20, NULL, 0, 0);
    assert_int_equal(ids.n, 1 << 20); /* cut or not: every letter is there */
    assert_true(seconds() - before < 10 * LIMIT);
    lm_ids_clear(&ids);
    lm_tokenizer_close(t);
    lm_free(text);
}

/* ---- the compiled file ---- */

static char dir[] = "/tmp/lemma-tok-XXXXXX";

static void put_file(const char *name, const char *bytes, size_t n)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(lm_write_file(path, bytes, n, 0600, NULL), LM_OK);
}

static char *only_cache_file(char *path, size_t cap)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    path[0] = 0;
    while (d && (e = readdir(d)))
        if (strstr(e->d_name, ".lmtok"))
            (void)snprintf(path, cap, "%s/%s", dir, e->d_name);
    if (d)
        (void)closedir(d);
    return path[0] ? path : NULL;
}

static lm_tokenizer *open_cached(void)
{
    lm_packfile *p = NULL;
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    if (lm_packfile_open(&p, dir, false, &err) != LM_OK || lm_tokenizer_open_pack(&t, p, dir, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_packfile_close(p);
    return t;
}

static void a_damaged_or_stale_compiled_file_is_a_miss(void **state)
{
    static const char text[] = "It's a b\xc3\xa9tise: <mark>12345 </s>";
    char path[512], *json = NULL, *image = NULL;
    size_t n_json, n_image;
    (void)state;
    assert_non_null(mkdtemp(dir));
    put_file("config.json", "{\"model_type\":\"llama\"}", 22);
    assert_int_equal(
        lm_read_file(LM_TEST_DATA "/tokenizers/llama3/tokenizer.json", 1 << 24, &json, &n_json, NULL), LM_OK);
    put_file("tokenizer.json", json, n_json);
    lm_tokenizer *t = open_cached();
    lm_ids want = encode(t, text, sizeof text - 1, NULL, 0, LM_TOK_POST);
    char identity[65];
    (void)snprintf(identity, sizeof identity, "%s", lm_tokenizer_identity(t));
    assert_int_equal(strlen(identity), 64);
    lm_tokenizer_close(t);
    assert_non_null(only_cache_file(path, sizeof path));
    assert_int_equal(lm_read_file(path, 1 << 24, &image, &n_image, NULL), LM_OK);
    for (size_t step = 0; step < 60; step++) {
        size_t at = step * n_image / 60;
        if (step) { /* step 0: the file as it was written */
            image[at] = (char)(image[at] ^ 0x41);
            assert_int_equal(lm_write_file(path, image, step == 59 ? n_image / 2 : n_image, 0600, NULL),
                             LM_OK);
            image[at] = (char)(image[at] ^ 0x41);
        }
        t = open_cached();
        lm_ids ids = encode(t, text, sizeof text - 1, NULL, 0, LM_TOK_POST);
        assert_int_equal(ids.n, want.n);
        assert_memory_equal(ids.ids, want.ids, ids.n * sizeof *ids.ids);
        assert_string_equal(lm_tokenizer_identity(t), identity);
        lm_ids_clear(&ids);
        lm_tokenizer_close(t);
    }
    /* another tokenizer under the same name */
    lm_free(json);
    assert_int_equal(
        lm_read_file(LM_TEST_DATA "/tokenizers/t5/tokenizer.json", 1 << 24, &json, &n_json, NULL), LM_OK);
    put_file("tokenizer.json", json, n_json);
    t = open_cached();
    assert_string_not_equal(lm_tokenizer_identity(t), identity);
    lm_tokenizer_close(t);
    lm_free(json);
    lm_free(image);
    lm_ids_clear(&want);
    for (const char *const *name = (const char *const[]){ "config.json", "tokenizer.json", NULL }; *name;
         name++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, *name);
        (void)unlink(path);
    }
    while (only_cache_file(path, sizeof path))
        (void)unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

static size_t count_compiled(const char *folder)
{
    lm_folder in = { 0 };
    size_t n = 0;
    assert_int_equal(lm_folder_read(&in, folder, NULL), LM_OK);
    for (size_t i = 0; i < in.n; i++)
        n += lm_ends_with(in.names[i], ".lmtok");
    lm_folder_clear(&in);
    return n;
}

static void only_the_sixteen_newest_compiled_files_stay(void **state)
{
    static const char json[] = "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0},\"unk_token\":\"a\"}}";
    lm_tempdir d = lm_tempdir_make();
    char path[1024], name[64];
    (void)state;
    lm_tempdir_text(&d, "tok-0.txt", "not ours");
    for (unsigned i = 0; i < 19; i++) {
        (void)snprintf(name, sizeof name, "tok-%04u.lmtok", i);
        lm_tempdir_text(&d, name, "old");
        struct timespec when[2] = { { .tv_sec = 1000 - (time_t)i }, { .tv_sec = 1000 - (time_t)i } };
        assert_int_equal(utimensat(AT_FDCWD, lm_tempdir_path(&d, name, path), when, 0), 0);
    }
    lm_tempdir_text(&d, "pack/config.json", "{}");
    lm_tempdir_text(&d, "pack/tokenizer.json", json);
    lm_packfile *p = NULL;
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    assert_int_equal(lm_packfile_open(&p, lm_tempdir_path(&d, "pack", path), false, &err), LM_OK);
    if (lm_tokenizer_open_pack(&t, p, d.path, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(count_compiled(d.path), 16);
    for (unsigned i = 0; i < 19; i++) { /* 15 old ones, those with the latest times */
        (void)snprintf(name, sizeof name, "tok-%04u.lmtok", i);
        assert_int_equal(access(lm_tempdir_path(&d, name, path), F_OK) == 0, i < 15);
    }
    assert_int_equal(access(lm_tempdir_path(&d, "tok-0.txt", path), F_OK), 0);
    lm_tokenizer_close(t);
    assert_int_equal(lm_tokenizer_open_pack(&t, p, d.path, &err), LM_OK); /* a hit takes nothing away */
    assert_int_equal(count_compiled(d.path), 16);
    lm_tokenizer_close(t);
    lm_packfile_close(p);
    lm_tempdir_remove(&d);
}

/* For tests/prop/tokenizer_diff.py: a line of hexadecimal bytes in, a line of ids
 * out, then a line with the text of those ids in hexadecimal. */
static int serve(const char *path)
{
    char *json = NULL, line[1 << 16];
    size_t n = 0;
    lm_error err = { 0 };
    lm_tokenizer *t = NULL;
    if (lm_read_file(path, 64 << 20, &json, &n, &err) != LM_OK ||
        lm_tokenizer_open_json(&t, json, n, path, &err) != LM_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        lm_ids ids = { 0 };
        lm_str out = { 0 };
        size_t k = 0;
        unsigned byte;
        for (const char *p = line; sscanf(p, "%2x", &byte) == 1; p += 2)
            line[k++] = (char)byte;
        if (lm_tokenizer_encode(t, line, k, NULL, 0, 0, &ids, &err) != LM_OK ||
            lm_tokenizer_decode(t, ids.ids, ids.n, false, &out, &err) != LM_OK)
            return 1;
        for (size_t i = 0; i < ids.n; i++)
            (void)printf("%d ", ids.ids[i]);
        (void)putchar('\n');
        for (size_t i = 0; i < out.n; i++)
            (void)printf("%02x", (unsigned char)out.s[i]);
        (void)putchar('\n');
        (void)fflush(stdout);
        lm_ids_clear(&ids);
        lm_str_clear(&out);
    }
    lm_tokenizer_close(t);
    lm_free(json);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_agrees_with_the_reference),
        cmocka_unit_test(control_tokens_inside_a_message_stay_text),
        cmocka_unit_test(ill_formed_bytes_become_the_replacement_character),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(four_mebibytes_of_one_letter_are_nothing_special),
        cmocka_unit_test(a_pattern_that_backtracks_for_ever_is_cut),
        cmocka_unit_test(a_damaged_or_stale_compiled_file_is_a_miss),
        cmocka_unit_test(only_the_sixteen_newest_compiled_files_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
