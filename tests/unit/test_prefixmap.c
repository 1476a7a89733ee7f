/* Indexes of bundles: hashes, ranges, who may wake; bundles that were put under another's URI. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/interchange/prefixmap.h"

static const lm_map_model model = { .name = "m",
                                    .path = "/p/m",
                                    .architecture = "made",
                                    .vocab_size = 100,
                                    .num_layers = 1,
                                    .hidden_size = 8,
                                    .quant_bits = 4,
                                    .quant_group = 64,
                                    .context_length = 64 };
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static const lm_map_tokenizer tokenizer = {
    .kind = "bpe", .hash = HEX, .bos = 1, .eos = -1, .chat_template = "{{x}}"
};

static lm_snapshot *make(int32_t first, uint32_t seq)
{
    lm_snapshot *s = NULL;
    float *x = NULL;
    assert_int_equal(lm_snapshot_new(&s, NULL), LM_OK);
    (void)snprintf(s->architecture, sizeof s->architecture, "made");
    s->num_layers = s->n_layers = s->num_heads = s->head_dim = 1;
    s->seq_len = s->n_tokens = s->token_offset = seq;
    assert_int_equal(lm_snapshot_alloc(s, seq, 4, (void **)&s->tokens, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, seq, 4, (void **)&x, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, sizeof *s->layers, (void **)&s->layers, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, sizeof *s->layers->heads, (void **)&s->layers->heads, NULL),
                     LM_OK);
    s->layers->n_heads = 1;
    for (uint32_t i = 0; i < seq; i++) {
        s->tokens[i] = first + (int32_t)i;
        x[i] = (float)i;
    }
    s->layers->heads->key = s->layers->heads->value = (lm_kv_tensor){ .n = seq, .raw = (const uint8_t *)x };
    return s;
}

/* A store with a bundle of 20 tokens in blocks of 8 under mlx://b. */
static lm_chunks *store(int32_t first, lm_blocks **b)
{
    lm_chunks *c = NULL;
    lm_blocks_options o;
    lm_snapshot *s = make(first, 20);
    assert_int_equal(lm_chunks_open_memory(&c, false, NULL), LM_OK);
    lm_blocks_defaults(&o);
    o.block_size = 8;
    o.uri = "mlx://b";
    assert_int_equal(lm_blocks_save(s, c, &o, b, NULL), LM_OK);
    lm_snapshot_close(s);
    return c;
}

static const char *const chapter_labels[] = { "book", "chapter" };
static const lm_chunk_tag chapter_meta[] = { { "z", "last" }, { "a", "first" } };
static const lm_map_entry spans[] = {
    { .uri = "mlx://1",
      .title = "one",
      .token_start = 0,
      .token_count = 5,
      .labels = chapter_labels,
      .n_labels = 2,
      .meta = chapter_meta,
      .n_meta = 2 },
    { .uri = "mlx://2", .title = "two", .token_start = 5, .token_count = 10 }
};

static void hashes_are_those_of_the_description(void **state)
{
    (void)state;
    lm_blocks *b = NULL;
    lm_prefix_map *m = NULL, *again = NULL;
    lm_map_entry e;
    lm_error err = { 0 };
    lm_chunks *c = store(1, &b);
    char want[65], model_hash[65], template_hash[65], one[65], two[65], text[1024];
    if (lm_prefix_map_make(b, "mlx://b", &model, &tokenizer, spans, 2, &m, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(lm_prefix_map_find(m, "mlx://1", &e, NULL), LM_OK);
    /* uri|bundle_uri|title|token_start|token_count|byte_start|byte_count|labels|sorted meta */
    (void)snprintf(text, sizeof text, "mlx://1|mlx://b|one|0|5|0|%llu|book|chapter|a=first|z=last",
                   (unsigned long long)b->blocks[0].n_bytes);
    assert_int_equal(lm_hash_text(text, strlen(text), one, NULL), LM_OK);
    assert_string_equal(e.hash, one);
    assert_int_equal(lm_prefix_map_find(m, "mlx://2", &e, NULL), LM_OK);
    (void)snprintf(text, sizeof text, "mlx://2|mlx://b|two|5|10|0|%llu",
                   (unsigned long long)(b->blocks[0].n_bytes + b->blocks[1].n_bytes));
    assert_int_equal(lm_hash_text(text, strlen(text), two, NULL), LM_OK);
    assert_string_equal(e.hash, two);
    assert_int_equal(lm_hash_text("m\n/p/m\nmade\n100\n1\n4\n64", 22, model_hash, NULL), LM_OK);
    assert_int_equal(lm_hash_text("{{x}}", 5, template_hash, NULL), LM_OK);
    (void)snprintf(text, sizeof text, "go-mlx/kv-snapshot-bundle-index|mlx://b|%s|native|20|8|%s|%s|%s|%s|%s",
                   b->snapshot_hash, model_hash, HEX, template_hash, one, two);
    assert_int_equal(lm_hash_text(text, strlen(text), want, NULL), LM_OK);
    assert_string_equal(lm_prefix_map_hash(m), want);
    assert_int_equal(lm_prefix_map_context(m), 15);
    /* Through the store and back. */
    assert_int_equal(lm_prefix_map_put(m, c, "mlx://b/index", NULL), LM_OK);
    assert_int_equal(lm_prefix_map_read(c, "mlx://b/index", &again, NULL), LM_OK);
    assert_string_equal(lm_prefix_map_hash(again), want);
    assert_int_equal(lm_prefix_map_count(again), 2);
    lm_prefix_map_close(again);
    lm_prefix_map_close(m);
    /* Nothing named: the whole bundle. */
    assert_int_equal(lm_prefix_map_make(b, "mlx://b", &model, NULL, NULL, 0, &m, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_find(m, NULL, &e, NULL), LM_OK);
    assert_string_equal(e.title, "full bundle");
    assert_string_equal(e.uri, "mlx://b");
    assert_int_equal(e.token_count, 20);
    lm_prefix_map_close(m);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

static void an_index_of_nothing_is_refused(void **state)
{
    (void)state;
    lm_prefix_map *m = NULL;
    lm_error err = { 0 };
    lm_blocks empty = { .token_count = 0 };
    assert_int_equal(lm_prefix_map_make(NULL, "u", &model, NULL, NULL, 0, &m, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "an index needs a bundle with tokens");
    assert_int_equal(lm_prefix_map_make(&empty, "u", &model, NULL, NULL, 0, &m, NULL), LM_ERR_USAGE);
    lm_blocks *b = NULL;
    lm_chunks *c = store(1, &b);
    const struct {
        lm_map_entry e[2];
        const char *text;
    } bad[] = { { { { .uri = "a", .token_count = 0 }, { .uri = "b", .token_count = 1 } },
                  "entry 0: 0 tokens from 0 on, the bundle has 20" },
                { { { .uri = "a", .token_start = 15, .token_count = 6 }, { .uri = "b", .token_count = 1 } },
                  "entry 0: 6 tokens from 15 on, the bundle has 20" },
                { { { .uri = "a", .token_count = 1 }, { .uri = "a", .token_count = 2 } },
                  "two entries are called 'a'" },
                { { { .uri = "", .token_count = 1 }, { .uri = "a", .token_count = 2 } },
                  "entry 0: it has no URI" } };
    for (size_t i = 0; i < LM_LEN(bad); i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(lm_prefix_map_make(b, "u", &model, NULL, bad[i].e, 2, &m, &err), LM_ERR_USAGE);
        assert_string_equal(err.text, bad[i].text);
    }
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

static void a_span_needs_a_name_where_there_are_several(void **state)
{
    (void)state;
    lm_blocks *b = NULL;
    lm_prefix_map *m = NULL;
    lm_map_entry e;
    lm_error err = { 0 };
    lm_chunks *c = store(1, &b);
    assert_int_equal(lm_prefix_map_make(b, "mlx://b", &model, &tokenizer, spans, 2, &m, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_find(m, "", &e, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "the index has 2 entries: name one by its URI");
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_prefix_map_find(m, "mlx://3", &e, &err), LM_ERR_NOT_FOUND);
    lm_prefix_map_close(m);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

static void a_prefix_is_loaded_and_another_bundle_is_found_out(void **state)
{
    (void)state;
    lm_blocks *b = NULL, *other = NULL;
    lm_prefix_map *m = NULL;
    lm_snapshot *s = NULL;
    lm_error err = { 0 };
    lm_chunks *c = store(1, &b);
    assert_int_equal(lm_prefix_map_make(b, "mlx://b", &model, &tokenizer, spans, 2, &m, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_load(m, c, "mlx://2", 0, &s, NULL), LM_OK);
    assert_int_equal(s->n_tokens, 15);
    assert_int_equal(s->tokens[14], 15);
    lm_snapshot_close(s);
    /* R2: the URI points to something else by now. */
    lm_snapshot *o = make(500, 20);
    lm_blocks_options opt;
    lm_blocks_defaults(&opt);
    opt.block_size = 8;
    opt.uri = "mlx://b";
    assert_int_equal(lm_blocks_save(o, c, &opt, &other, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_load(m, c, "mlx://2", 0, &s, &err), LM_ERR_MISMATCH);
    assert_non_null(strstr(err.text, "the index was made for"));
    lm_snapshot_close(o);
    lm_blocks_close(other);
    lm_prefix_map_close(m);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

static void every_mismatch_has_its_reason(void **state)
{
    (void)state;
    lm_blocks *b = NULL;
    lm_prefix_map *m = NULL;
    lm_map_report r;
    lm_chunks *c = store(1, &b);
    assert_int_equal(lm_prefix_map_make(b, "mlx://b", &model, &tokenizer, spans, 2, &m, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_compatible(m, &model, &tokenizer, 0, &r, NULL), LM_OK);
    assert_string_equal(r.reasons, "");
    for (int k = 0; k < 7; k++) {
        static const char *const want[] = { "model_architecture_mismatch, model_hash_mismatch",
                                            "model_layer_mismatch, model_hash_mismatch",
                                            "model_quantisation_mismatch, model_hash_mismatch",
                                            "model_hash_mismatch",
                                            "model_hash_mismatch, context_length_too_small",
                                            "tokenizer_hash_mismatch",
                                            "chat_template_mismatch" };
        lm_map_model x = model;
        lm_map_tokenizer t = tokenizer;
        lm_error err = { 0 };
        switch (k) {
        case 0: x.architecture = "other"; break;
        case 1: x.num_layers = 2; break;
        case 2: x.quant_bits = 8; break;
        case 3: x.name = "another"; break;
        case 4: x.context_length = 14; break;
        case 5: t.hash = ""; break;
        default: t.chat_template = "{{y}}";
        }
        assert_int_equal(lm_prefix_map_compatible(m, &x, &t, 0, &r, &err), LM_ERR_MISMATCH);
        assert_string_equal(r.reasons, want[k]);
        assert_non_null(strstr(err.text, want[k]));
        assert_int_equal(lm_prefix_map_compatible(m, &x, &t, LM_MAP_SKIP_CHECK, &r, NULL), LM_OK);
        assert_string_equal(r.warnings, "compatibility_check_skipped");
    }
    /* Without a name or a path, hashes say nothing. */
    lm_map_model nameless = model;
    nameless.name = nameless.path = NULL;
    assert_int_equal(lm_prefix_map_compatible(m, &nameless, &tokenizer, 0, &r, NULL), LM_OK);
    lm_prefix_map_close(m);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

/* One character anywhere: refused, or of no meaning to the map. */
static void a_changed_index_is_refused(void **state)
{
    (void)state;
    lm_blocks *b = NULL;
    lm_prefix_map *m = NULL, *x = NULL;
    lm_chunks *c = store(1, &b);
    char *json = NULL;
    size_t n, accepted = 0;
    assert_int_equal(lm_prefix_map_make(b, "mlx://b", &model, &tokenizer, spans, 2, &m, NULL), LM_OK);
    assert_int_equal(lm_prefix_map_json(m, &json, &n, NULL), LM_OK);
    for (size_t i = 0; i < n; i++) {
        lm_error err = { 0 };
        json[i] ^= 1;
        if (lm_prefix_map_parse(json, n, &x, &err) == LM_OK) {
            /* The model's and tokenizer's fields are covered by their own hashes, or by none. */
            assert_string_equal(lm_prefix_map_hash(x), lm_prefix_map_hash(m));
            accepted++;
            lm_prefix_map_close(x);
        } else
            assert_true(err.text[0] != 0);
        json[i] ^= 1;
    }
    assert_true(accepted < n / 3);
    for (uint64_t k = 1; k < 60; k++) {
        lm_mem_fail_after(k);
        lm_status st = lm_prefix_map_parse(json, n, &x, NULL);
        lm_mem_fail_after(0);
        if (st == LM_OK)
            lm_prefix_map_close(x);
        else
            assert_int_equal(st, LM_ERR_NOMEM);
    }
    lm_free(json);
    lm_prefix_map_close(m);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_description),
        cmocka_unit_test(an_index_of_nothing_is_refused),
        cmocka_unit_test(a_span_needs_a_name_where_there_are_several),
        cmocka_unit_test(a_prefix_is_loaded_and_another_bundle_is_found_out),
        cmocka_unit_test(every_mismatch_has_its_reason),
        cmocka_unit_test(a_changed_index_is_refused),
    };
    return cmocka_run_group_tests_name("state/interchange/prefixmap", tests, NULL, NULL);
}
