/* Vocabularies inside GGUF files: small ones made here, and (when ../shared is
 * there) those of published models against their expected ids. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "format/pack.h"
#include "text/tokenizer.h"

/* ---- a GGUF file of metadata alone ---- */

typedef struct {
    lm_str body;
    uint64_t n_keys;
} gguf;

static void number(lm_str *s, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lm_str_addc(s, (char)(v >> 8 * i & 0xff));
}

static void string(lm_str *s, const char *z)
{
    number(s, strlen(z), 8);
    lm_str_addz(s, z);
}

static void key(gguf *g, const char *name, uint32_t type)
{
    string(&g->body, name);
    number(&g->body, type, 4);
    g->n_keys++;
}

static void text(gguf *g, const char *name, const char *value)
{
    key(g, name, 8);
    string(&g->body, value);
}

static void strings(gguf *g, const char *name, const char *const *list)
{
    uint64_t n = 0;
    while (list[n])
        n++;
    key(g, name, 9);
    number(&g->body, 8, 4);
    number(&g->body, n, 8);
    for (uint64_t i = 0; i < n; i++)
        string(&g->body, list[i]);
}

static void numbers(gguf *g, const char *name, uint32_t type, const double *list, size_t n)
{
    key(g, name, 9);
    number(&g->body, type, 4);
    number(&g->body, n, 8);
    for (size_t i = 0; i < n; i++) {
        float f = (float)list[i];
        uint32_t u = (uint32_t)(int32_t)list[i];
        if (type == 6)
            memcpy(&u, &f, sizeof u);
        number(&g->body, u, 4);
    }
}

static lm_status open_it(gguf *g, lm_tokenizer **t, lm_error *err)
{
    char dir[] = "/tmp/lemma-vocab-XXXXXX", path[64];
    lm_packfile *p = NULL;
    lm_str file = { 0 };
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x.gguf", dir);
    text(g, "general.architecture", "llama");
    lm_str_addz(&file, "GGUF");
    number(&file, 3, 4);
    number(&file, 0, 8);
    number(&file, g->n_keys, 8);
    lm_str_add(&file, lm_str_z(&g->body), g->body.n);
    assert_int_equal(lm_write_file(path, lm_str_z(&file), file.n, 0600, NULL), LM_OK);
    lm_status st = lm_packfile_open(&p, path, false, err);
    if (st == LM_OK)
        st = lm_tokenizer_open_pack(t, p, NULL, err);
    lm_packfile_close(p);
    (void)unlink(path);
    (void)rmdir(dir);
    lm_str_clear(&file);
    lm_str_clear(&g->body);
    return st;
}

static void ids_are(const lm_tokenizer *t, const char *s, unsigned flags, const int32_t *want, size_t n)
{
    lm_ids ids = { 0 };
    lm_error err = { 0 };
    if (lm_tokenizer_encode(t, s, strlen(s), NULL, 0, flags, &ids, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    lm_ids_clear(&ids);
}

#define IDS_ARE(t, s, flags, ...)                                                                            \
    ids_are(t, s, flags, (const int32_t[]){ __VA_ARGS__ },                                                   \
            sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t))

static void an_unknown_pre_tokenizer_is_named(void **state)
{
    gguf g = { 0 };
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    (void)state;
    text(&g, "tokenizer.ggml.model", "gpt2");
    text(&g, "tokenizer.ggml.pre", "brand-new");
    strings(&g, "tokenizer.ggml.tokens", (const char *const[]){ "a", "b", "ab", NULL });
    strings(&g, "tokenizer.ggml.merges", (const char *const[]){ "a b", NULL });
    assert_int_equal(open_it(&g, &t, &err), LM_ERR_UNSUPPORTED);
    assert_string_equal(err.text, "the pre-tokenizer 'brand-new' (tokenizer.ggml.pre) is unknown");
}

static void lists_of_another_length_are_refused(void **state)
{
    gguf g = { 0 };
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    (void)state;
    text(&g, "tokenizer.ggml.model", "llama");
    strings(&g, "tokenizer.ggml.tokens", (const char *const[]){ "<unk>", "a", "b", NULL });
    numbers(&g, "tokenizer.ggml.scores", 6, (const double[]){ 0, -1 }, 2);
    assert_int_equal(open_it(&g, &t, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "tokenizer.ggml.scores has 2 entries, the vocabulary has 3");
}

static void equal_scores_merge_from_the_left(void **state)
{
    gguf g = { 0 };
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    (void)state;
    text(&g, "tokenizer.ggml.model", "llama");
    strings(&g, "tokenizer.ggml.tokens",
            (const char *const[]){ "<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "b", "ab", "bb", "<0x63>",
                                   "<0xC3>", "<0xA9>",
                                   "\xe2\x96\x81"
                                   "ab",
                                   NULL });
    numbers(&g, "tokenizer.ggml.scores", 6, (const double[]){ 0, 0, 0, -9, -9, -9, -1, -1, 0, 0, 0, -3 }, 12);
    numbers(&g, "tokenizer.ggml.token_type", 5, (const double[]){ 2, 3, 3, 1, 1, 1, 1, 1, 6, 6, 6, 1 }, 12);
    assert_int_equal(open_it(&g, &t, &err), LM_OK);
    IDS_ARE(t, "abb", 0, 11, 5);             /* U+2581 ab, b: "ab" is further left than "bb" */
    IDS_ARE(t, "c\xc3\xa9", 0, 3, 8, 9, 10); /* bytes */
    IDS_ARE(t, "a</s>", LM_TOK_POST, 1, 3, 4, 2);
    assert_int_equal(lm_tokenizer_bos(t), 1);
    assert_int_equal(lm_tokenizer_eos(t), 2);
    lm_str out = { 0 };
    assert_int_equal(lm_tokenizer_decode(t, (const int32_t[]){ 11, 5, 9, 10 }, 4, false, &out, &err), LM_OK);
    assert_string_equal(lm_str_z(&out), "abb\xc3\xa9");
    lm_str_clear(&out);
    lm_tokenizer_close(t);
}

/* ---- vocabularies of published models ---- */

static char *slurp(const char *path, size_t *n)
{
    char *s = NULL;
    if (lm_read_file(path, 64 << 20, &s, n, NULL) != LM_OK)
        fail_msg("cannot read %s", path);
    return s;
}

/* Strings behind each other with a line between, ids a line each. */
static size_t compare(const lm_tokenizer *t, const char *name, const char *inp, size_t n_inp, const char *out)
{
    static const char between[] = "\n__ggml_vocab_test__\n";
    const char *s = inp, *end = inp + n_inp;
    size_t i = 0;
    for (; s <= end; i++) {
        const char *e = strstr(s, between);
        size_t n = e ? (size_t)(e - s) : (size_t)(end - s);
        lm_span all = { 0, n }; /* the expected ids have no control tokens */
        lm_ids ids = { 0 };
        assert_int_equal(lm_tokenizer_encode(t, s, n, &all, 1, 0, &ids, NULL), LM_OK);
        for (size_t k = 0; k < ids.n; k++) {
            char *next;
            long want = strtol(out, &next, 10);
            if (next == out || want != ids.ids[k])
                fail_msg("%s, string %zu, token %zu: have %d, want %ld", name, i, k, ids.ids[k], want);
            out = next;
        }
        out += strspn(out, " ");
        if (*out && *out != '\n')
            fail_msg("%s, string %zu: too few ids", name, i);
        out += *out == '\n';
        lm_ids_clear(&ids);
        if (!e)
            return i + 1;
        s = e + sizeof between - 1;
    }
    return i;
}

static void published_vocabularies_give_the_expected_ids(void **state)
{
    DIR *d = opendir(LM_SHARED_DATA "/vocab");
    struct dirent *e;
    size_t n_files = 0;
    (void)state;
    if (!d) {
        print_message("skipped: no ../shared\n");
        skip();
    }
    while ((e = readdir(d))) {
        char path[1024];
        size_t n = strlen(e->d_name), n_inp, n_out;
        lm_packfile *p = NULL;
        lm_tokenizer *t = NULL;
        lm_error err = { 0 };
        if (n < 5 || strcmp(e->d_name + n - 5, ".gguf") != 0)
            continue;
        (void)snprintf(path, sizeof path, LM_SHARED_DATA "/vocab/%s", e->d_name);
        if (lm_packfile_open(&p, path, false, &err) != LM_OK ||
            lm_tokenizer_open_pack(&t, p, NULL, &err) != LM_OK)
            fail_msg("%s: %s", e->d_name, err.text);
        lm_packfile_close(p);
        (void)snprintf(path, sizeof path, LM_SHARED_DATA "/vocab/%s.inp", e->d_name);
        char *inp = slurp(path, &n_inp);
        (void)snprintf(path, sizeof path, LM_SHARED_DATA "/vocab/%s.out", e->d_name);
        char *out = slurp(path, &n_out);
        assert_true(compare(t, e->d_name, inp, n_inp, out) >= 40);
        n_files++;
        lm_free(inp);
        lm_free(out);
        lm_tokenizer_close(t);
    }
    (void)closedir(d);
    assert_true(n_files >= 10);
}

static void llama_3_gives_the_expected_ids(void **state)
{
    size_t n, n_inp, n_out;
    lm_tokenizer *t = NULL;
    lm_error err = { 0 };
    (void)state;
    if (access(LM_SHARED_DATA "/vocab/llama3/tokenizer.json", R_OK) != 0) {
        print_message("skipped: no ../shared\n");
        skip();
    }
    char *json = slurp(LM_SHARED_DATA "/vocab/llama3/tokenizer.json", &n);
    char *inp = slurp(LM_SHARED_DATA "/vocab/llama3/cases.inp", &n_inp);
    char *out = slurp(LM_SHARED_DATA "/vocab/llama3/cases.out", &n_out);
    if (lm_tokenizer_open_json(&t, json, n, "llama3", &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_true(compare(t, "llama3", inp, n_inp, out) >= 40);
    lm_tokenizer_close(t);
    lm_free(json);
    lm_free(inp);
    lm_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_pre_tokenizer_is_named),
        cmocka_unit_test(lists_of_another_length_are_refused),
        cmocka_unit_test(equal_scores_merge_from_the_left),
        cmocka_unit_test(published_vocabularies_give_the_expected_ids),
        cmocka_unit_test(llama_3_gives_the_expected_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
