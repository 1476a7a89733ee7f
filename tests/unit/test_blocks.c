/* Snapshots in blocks: cut, kept, reused, loaded whole and as a prefix; lies are found out. */
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
#include "state/interchange/blocks.h"

enum { SEQ = 21, HEADS = 2, DIM = 4, WINDOW = 6, BLOCK = 8 };

static float number(uint32_t layer, uint32_t head, int kv, uint32_t pos, uint32_t d)
{
    return (float)(layer * 1000 + head * 300 + (uint32_t)kv * 100 + pos * 4 + d) / 8;
}

/* Layer 0 a slab of all positions, layer 1 heads of all, layer 2 heads of the last WINDOW,
 * layer 3 nothing (it shares cache 0). */
static lm_snapshot *make(uint32_t seq, bool slabs)
{
    lm_snapshot *s = NULL;
    assert_int_equal(lm_snapshot_new(&s, NULL), LM_OK);
    s->num_layers = s->n_layers = 4;
    s->num_heads = HEADS;
    s->seq_len = s->n_tokens = s->token_offset = seq;
    s->head_dim = DIM;
    s->n_generated = 1;
    s->n_logits = s->logit_rank = 1;
    s->logit_shape[0] = 1;
    (void)snprintf(s->architecture, sizeof s->architecture, "made");
    assert_int_equal(lm_snapshot_alloc(s, seq, 4, (void **)&s->tokens, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, 4, (void **)&s->generated, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 1, 4, (void **)&s->logits, NULL), LM_OK);
    assert_int_equal(lm_snapshot_alloc(s, 4, sizeof *s->layers, (void **)&s->layers, NULL), LM_OK);
    s->generated[0] = 4711;
    s->logits[0] = 0.5f;
    for (uint32_t i = 0; i < seq; i++)
        s->tokens[i] = (int32_t)(1000 + i);
    for (uint32_t l = 0; l < 4; l++) {
        lm_kv_layer *k = &s->layers[l];
        k->layer = (int32_t)l;
        k->cache_index = l == 3 ? 0 : (int32_t)l;
        if (l == 3)
            continue;
        uint32_t rows = l == 2 ? WINDOW : seq;
        k->max_size = l == 2 ? WINDOW : 0;
        bool slab = l == 0 && slabs;
        k->n_heads = slab ? 0 : HEADS;
        if (!slab)
            assert_int_equal(lm_snapshot_alloc(s, HEADS, sizeof *k->heads, (void **)&k->heads, NULL), LM_OK);
        for (int kv = 0; kv < 2; kv++) {
            float *x = NULL;
            assert_int_equal(lm_snapshot_alloc(s, (size_t)HEADS * rows * DIM, 4, (void **)&x, NULL), LM_OK);
            for (uint32_t h = 0; h < HEADS; h++) {
                for (uint32_t r = 0; r < rows; r++)
                    for (uint32_t d = 0; d < DIM; d++)
                        x[(h * rows + r) * DIM + d] = number(l, h, kv, seq - rows + r, d);
                lm_kv_tensor t = { .n = rows * DIM, .raw = (const uint8_t *)(x + h * rows * DIM) };
                if (!slab)
                    *(kv ? &k->heads[h].value : &k->heads[h].key) = t;
            }
            if (slab) {
                lm_kv_tensor t = { .n = HEADS * rows * DIM, .raw = (const uint8_t *)x };
                const int32_t shape[] = { 1, HEADS, (int32_t)rows, DIM };
                *(kv ? &k->value : &k->key) = t;
                *(kv ? &k->value_rank : &k->key_rank) = 4;
                memcpy(kv ? k->value_shape : k->key_shape, shape, sizeof shape);
            }
        }
    }
    return s;
}

static lm_chunks *store(bool text)
{
    lm_chunks *c = NULL;
    assert_int_equal(lm_chunks_open_memory(&c, text, NULL), LM_OK);
    return c;
}

/* Positions [first, seq) of every layer are what make() put there. */
static void check(const lm_snapshot *s, uint32_t seq, uint32_t window_end)
{
    assert_int_equal(s->n_tokens, seq);
    assert_int_equal(lm_snapshot_seq_len(s), seq);
    for (uint32_t i = 0; i < seq; i++)
        assert_int_equal(s->tokens[i], 1000 + i);
    for (uint32_t l = 0; l < 3; l++) {
        const lm_kv_layer *k = lm_snapshot_layer(s, (int32_t)l);
        uint32_t rows, first = l == 2 ? window_end - WINDOW : 0;
        assert_int_equal(lm_kv_layer_rows(s, k, &rows, NULL), LM_OK);
        assert_int_equal(rows, seq > first ? seq - first : 0);
        for (uint32_t h = 0; h < (rows ? HEADS : 0); h++)
            for (int kv = 0; kv < 2; kv++) {
                lm_kv_block b;
                float x[SEQ * DIM];
                assert_int_equal(lm_kv_view(s, k, h, kv, &b, NULL), LM_OK);
                assert_int_equal(lm_kv_tensor_get(&b.t, 0, rows * DIM, x, NULL), LM_OK);
                for (uint32_t r = 0; r < rows; r++)
                    for (uint32_t d = 0; d < DIM; d++)
                        assert_true(x[r * DIM + d] == number(l, h, kv, first + r, d));
            }
    }
    assert_int_equal(lm_snapshot_layer(s, 3)->cache_index, 0);
}

static void cuts_are_multiples_and_windows(void **state)
{
    (void)state;
    const uint32_t want[] = { 0, 8, 15, 16, 21 };
    lm_snapshot *s = make(SEQ, true);
    uint32_t *cuts = NULL;
    size_t n = 0;
    lm_error err = { 0 };
    assert_int_equal(lm_snapshot_cuts(s, BLOCK, &cuts, &n, NULL), LM_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(cuts, want, sizeof want);
    lm_free(cuts);
    assert_int_equal(lm_snapshot_cuts(s, 0, &cuts, &n, &err), LM_ERR_USAGE);
    memset(&err, 0, sizeof err);
    s->n_tokens--;
    assert_int_equal(lm_snapshot_cuts(s, BLOCK, &cuts, &n, &err), LM_ERR_CORRUPT);
    s->n_tokens++;
    lm_span p = { (const uint8_t *)"zip", 3 };
    s->layers[1].payloads = &p;
    s->layers[1].n_payloads = 1;
    assert_int_equal(lm_snapshot_cuts(s, BLOCK, &cuts, &n, NULL), LM_OK);
    assert_int_equal(n, 1); /* payloads are not cut */
    lm_free(cuts);
    s->layers[1].n_payloads = 0;
    lm_snapshot_close(s);
}

static void blocks_put_together_are_the_snapshot(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) { /* raw or JSON, float32, native or q8 */
        lm_snapshot *s = make(SEQ, true), *t = NULL;
        lm_chunks *c = store(variant % 2);
        lm_blocks *b = NULL, *again = NULL;
        lm_blocks_options o;
        lm_error err = { 0 };
        lm_blocks_info info = { .size = sizeof info };
        lm_blocks_defaults(&o);
        o.block_size = BLOCK;
        o.encoding = (lm_snapshot_encoding)(variant / 2);
        o.uri = "mlx://b/bundle";
        o.blocks_uri = "mlx://b/bundle/blocks";
        if (lm_blocks_save(s, c, &o, &b, &err) != LM_OK)
            fail_msg("%s", err.text);
        lm_blocks_get_info(b, &info);
        assert_int_equal(info.n_blocks, 4);
        assert_int_equal(info.token_count, SEQ);
        if (lm_blocks_read(c, "mlx://b/bundle", &again, &err) != LM_OK)
            fail_msg("%s", err.text);
        assert_string_equal(again->snapshot_hash, b->snapshot_hash);
        if (lm_blocks_load(again, c, 0, 0, &t, &err) != LM_OK)
            fail_msg("%s", err.text);
        if (o.encoding != LM_SNAPSHOT_Q8) {
            char ha[65], hb[65];
            check(t, SEQ, SEQ);
            assert_int_equal(lm_snapshot_hash(s, ha, NULL), LM_OK);
            assert_int_equal(lm_snapshot_hash(t, hb, NULL), LM_OK);
            assert_string_equal(ha, hb); /* byte for byte */
        }
        assert_int_equal(t->n_generated, 1);
        assert_int_equal(t->generated[0], 4711);
        assert_true(t->logits[0] == 0.5f);
        lm_snapshot_close(t);
        lm_blocks_close(again);
        lm_blocks_close(b);
        assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
        lm_snapshot_close(s);
    }
}

static bool count_blocks(void *user, uint32_t first, const lm_snapshot *block)
{
    uint32_t *n = user;
    assert_int_equal(first, *n);
    *n += block->n_tokens;
    return true;
}

static void a_prefix_reads_only_what_it_covers(void **state)
{
    (void)state;
    lm_snapshot *s = make(SEQ, true), *t = NULL;
    lm_chunks *c = store(false);
    lm_blocks *b = NULL;
    lm_blocks_options o;
    lm_error err = { 0 };
    lm_blocks_defaults(&o);
    o.block_size = BLOCK;
    assert_int_equal(lm_blocks_save(s, c, &o, &b, NULL), LM_OK);
    for (uint32_t n = 1; n <= SEQ; n++) {
        int32_t *ids = NULL;
        uint32_t seen = 0;
        assert_int_equal(lm_blocks_load(b, c, n, 0, &t, NULL), LM_OK);
        check(t, n, SEQ);
        assert_int_equal(t->n_logits, n == SEQ);
        assert_int_equal(t->n_generated, n == SEQ);
        assert_int_equal(lm_snapshot_offset(t), n);
        lm_snapshot_close(t);
        assert_int_equal(lm_blocks_tokens(b, c, n, &ids, NULL), LM_OK);
        assert_int_equal(ids[n - 1], 1000 + n - 1);
        lm_free(ids);
        assert_int_equal(lm_blocks_each(b, c, n, count_blocks, &seen, NULL), LM_OK);
        assert_int_equal(seen, n);
    }
    assert_int_equal(lm_blocks_load(b, c, SEQ + 1, 0, &t, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "22 tokens of a bundle of 21");
    /* The third block is gone: prefixes before it still load. */
    assert_int_equal(lm_chunks_remove(c, b->blocks[2].ref.chunk_id, NULL), LM_OK);
    assert_int_equal(lm_blocks_load(b, c, 15, 0, &t, NULL), LM_OK);
    lm_snapshot_close(t);
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_blocks_load(b, c, 16, 0, &t, &err), LM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "block 2: "));
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_snapshot_close(s);
}

static void a_parents_blocks_are_not_written_again(void **state)
{
    (void)state;
    lm_snapshot *a = make(16, true), *b = make(SEQ, true), *t = NULL;
    a->layers[2] = (lm_kv_layer){ .layer = 2, .cache_index = 2 }; /* windows move: their blocks change */
    b->layers[2] = (lm_kv_layer){ .layer = 2, .cache_index = 2 };
    lm_chunks *c = store(false);
    lm_blocks *first = NULL, *second = NULL;
    lm_blocks_options o;
    lm_blocks_defaults(&o);
    o.block_size = BLOCK;
    assert_int_equal(lm_blocks_save(a, c, &o, &first, NULL), LM_OK);
    for (int trust = 0; trust < 2; trust++) {
        size_t before = lm_chunks_count(c);
        o.parent = first;
        o.trust_parent = trust;
        assert_int_equal(lm_blocks_save(b, c, &o, &second, NULL), LM_OK);
        /* Its second block had the logits of the end; unlooked at, it would be taken. */
        assert_int_equal(second->reused_blocks, trust ? 2 : 1);
        assert_int_equal(lm_chunks_count(c) - before, trust ? 1 : 2);
        assert_int_equal(second->blocks[0].ref.chunk_id, first->blocks[0].ref.chunk_id);
        assert_int_equal(lm_blocks_load(second, c, 0, 0, &t, NULL), LM_OK);
        assert_int_equal(t->n_tokens, SEQ);
        lm_snapshot_close(t);
        lm_blocks_close(second);
    }
    o.trust_parent = false;
    o.reuse_limit = 7;
    assert_int_equal(lm_blocks_save(b, c, &o, &second, NULL), LM_OK);
    assert_int_equal(second->reused_blocks, 0);
    lm_blocks_close(second);
    lm_blocks_close(first);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_snapshot_close(a);
    lm_snapshot_close(b);
}

/* SPEC 6.4.4 over the manifest's own fields, and what a changed manifest says. */
static void a_manifest_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *text;
    } lies[] = {
        { "\"kind\":\"go-mlx/kv-snapshot-block-bundle\"", "\"kind\":\"something\"",
          "'kind' is \"something\", allowed is \"go-mlx/kv-snapshot-block-bundle\"" },
        { "\"version\":1", "\"version\":2", "'version' is 2, this version reads 1" },
        { "\"token_count\":21", "\"token_count\":22", "blocks of 21 tokens in a bundle of 22" },
        { "\"block_size\":8", "\"block_size\":9", "'snapshot_hash' is " },
        { "\"kv_encoding\":\"native\"", "\"kv_encoding\":\"zip\"", "the encoding 'zip' is none of" },
        { "\"token_start\":8", "\"token_start\":9", "block 1: 7 tokens from 9 on, it must begin at 8" },
        { "\"index\":1", "\"index\":3", "block 1: its index is 3" },
        { "\"payload_encoding\":\"raw\"", "\"payload_encoding\":\"zip\"",
          "block 0: its payload_encoding is 'zip'" },
        { "\"token_offset\":21", "\"token_offset\":\"x\"", "'token_offset' is no whole number" },
        { "\"num_heads\":2", "\"num_heads\":-2", "'num_heads' is -2" },
        { "\"blocks\":[", "\"blocks\":[],\"others\":[", "'blocks' has 0 entries" },
    };
    lm_snapshot *s = make(SEQ, false);
    lm_chunks *c = store(false);
    lm_blocks *b = NULL, *again = NULL;
    lm_blocks_options o;
    char *json = NULL, hash[65];
    size_t n;
    lm_blocks_defaults(&o);
    o.block_size = BLOCK;
    assert_int_equal(lm_blocks_save(s, c, &o, &b, NULL), LM_OK);
    char text[512];
    (void)snprintf(text, sizeof text, "made|native|21|21|8|%s|%s|%s|%s", b->blocks[0].kv_hash,
                   b->blocks[1].kv_hash, b->blocks[2].kv_hash, b->blocks[3].kv_hash);
    assert_int_equal(lm_hash_text(text, strlen(text), hash, NULL), LM_OK);
    assert_string_equal(hash, b->snapshot_hash);
    assert_int_equal(lm_blocks_json(b, &json, &n, NULL), LM_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        lm_str bad = { 0 };
        lm_error err = { 0 };
        char *at = strstr(json, lies[i].from);
        assert_non_null(at);
        lm_str_add(&bad, json, (size_t)(at - json));
        lm_str_addz(&bad, lies[i].to);
        lm_str_addz(&bad, at + strlen(lies[i].from));
        assert_int_not_equal(lm_blocks_parse(bad.s, bad.n, &again, &err), LM_OK);
        if (!strstr(err.text, lies[i].text))
            fail_msg("%s -> %s", lies[i].to, err.text);
        lm_str_clear(&bad);
    }
    /* The old name of the reference is read too. */
    lm_str old = { 0 };
    for (char *p = json, *at; *p; p = at + 8) {
        at = strstr(p, "\"state\":");
        if (!at) {
            lm_str_addz(&old, p);
            break;
        }
        lm_str_add(&old, p, (size_t)(at - p));
        lm_str_addz(&old, "\"memvid\":");
    }
    assert_int_equal(lm_blocks_parse(old.s, old.n, &again, NULL), LM_OK);
    assert_int_equal(again->blocks[2].ref.chunk_id, b->blocks[2].ref.chunk_id);
    lm_blocks_close(again);
    lm_str_clear(&old);
    lm_free(json);
    lm_blocks_close(b);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_snapshot_close(s);
}

/* Every byte of every payload, flipped: never another snapshot. */
static void a_changed_payload_is_refused(void **state)
{
    (void)state;
    for (int text = 0; text < 2; text++) {
        lm_snapshot *s = make(SEQ, true), *t = NULL;
        lm_chunks *c = store(text);
        lm_blocks *b = NULL;
        lm_blocks_options o;
        lm_blocks_defaults(&o);
        o.block_size = BLOCK;
        assert_int_equal(lm_blocks_save(s, c, &o, &b, NULL), LM_OK);
        for (size_t i = 0; i < b->n_blocks; i++) {
            lm_chunk_record *r = lm_chunks_by_id(c, b->blocks[i].ref.chunk_id);
            for (uint64_t k = 0; k < r->n; k += 7) {
                lm_error err = { 0 };
                r->bytes[k] ^= 1;
                lm_status st = lm_blocks_load(b, c, 0, 0, &t, &err);
                if (st == LM_OK) {
                    /* JSON has bytes that say nothing: a key that nobody reads. */
                    assert_int_equal(text, 1);
                    check(t, SEQ, SEQ);
                    lm_snapshot_close(t);
                } else
                    assert_non_null(strstr(err.text, "block "));
                r->bytes[k] ^= 1;
            }
        }
        lm_blocks_close(b);
        assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
        lm_snapshot_close(s);
    }
}

static void blocks_that_do_not_belong_together_are_named(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "block 1 is of the architecture 'other', block 0 of 'made'",
        "block 1 has 5 layers, block 0 has 4",
        "block 1 has 3 key/value heads, block 0 has 2",
        "block 1 has 8 tokens for 8 positions up to 17, it must end at 16",
        "block 1 has layer 1 of cache 7, block 0 layer 1 of cache 1",
        "layer 1 is shaped otherwise in block 1 than in block 0",
        "block 1 has float16 of 4 dimensions in layer 1, block 0 float32 of 4"
    };
    for (int k = 0; k < 7; k++) {
        lm_snapshot *s = make(SEQ, false), *blocks[2] = { NULL, NULL }, *t = NULL;
        lm_error err = { 0 };
        s->layers[2] = (lm_kv_layer){ .layer = 2, .cache_index = 2 };
        assert_int_equal(lm_snapshot_slice(s, 0, 8, false, &blocks[0], NULL), LM_OK);
        assert_int_equal(lm_snapshot_slice(s, 8, 16, false, &blocks[1], NULL), LM_OK);
        lm_snapshot *x = blocks[1];
        switch (k) {
        case 0: (void)snprintf(x->architecture, sizeof x->architecture, "other"); break;
        case 1: x->num_layers = 5; break;
        case 2: x->num_heads = 3; break;
        case 3: x->token_offset++; break;
        case 4: x->layers[1].cache_index = 7; break;
        case 5: x->layers[1].n_heads = 1; break;
        default:
            for (int h = 0; h < HEADS; h++)
                x->layers[1].heads[h].key.dtype = LM_KVT_F16;
        }
        assert_int_equal(lm_snapshot_join(blocks, 2, &t, &err), LM_ERR_CORRUPT);
        assert_string_equal(err.text, texts[k]);
        lm_snapshot_close(blocks[0]);
        lm_snapshot_close(blocks[1]);
        lm_snapshot_close(s);
    }
    /* A window that has its first part only. */
    lm_snapshot *s = make(SEQ, false), *blocks[2] = { NULL, NULL }, *t = NULL;
    lm_error err = { 0 };
    assert_int_equal(lm_snapshot_slice(s, 15, 16, false, &blocks[0], NULL), LM_OK);
    assert_int_equal(lm_snapshot_slice(s, 16, 21, false, &blocks[1], NULL), LM_OK);
    blocks[1]->layers[2].n_heads = 0;
    assert_int_equal(lm_snapshot_join(blocks, 2, &t, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "layer 2 mixes windows: block 1 has 0 rows for 5 positions");
    lm_snapshot_close(blocks[0]);
    lm_snapshot_close(blocks[1]);
    lm_snapshot_close(s);
}

static void whole_snapshots_go_into_one_chunk(void **state)
{
    (void)state;
    lm_snapshot *s = make(SEQ, true), *t = NULL;
    lm_chunks *c = store(true);
    char uri[128], hash[65];
    lm_error err = { 0 };
    assert_int_equal(lm_snapshot_hash(s, hash, NULL), LM_OK); /* native: it has a slab */
    assert_int_equal(lm_snapshot_put(s, c, NULL, LM_SNAPSHOT_NATIVE, NULL, NULL), LM_OK);
    (void)snprintf(uri, sizeof uri, "mlx://kv-snapshot/%s", hash);
    if (lm_snapshot_get(c, uri, &t, &err) != LM_OK)
        fail_msg("%s", err.text);
    check(t, SEQ, SEQ);
    lm_snapshot_close(t);
    lm_chunk_record *r = lm_chunks_by_uri(c, uri);
    char *at = strstr((char *)r->bytes, "\"data\":\"");
    at[20] = at[20] == 'A' ? 'B' : 'A';
    assert_int_equal(lm_snapshot_get(c, uri, &t, &err), LM_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "'kv_hash' is "));
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    lm_snapshot_close(s);
}

static bool stop_at_once(void *user)
{
    return user == NULL;
}

static void saving_is_stopped_and_survives_failing_memory(void **state)
{
    (void)state;
    lm_snapshot *s = make(SEQ, true);
    lm_blocks *b = NULL;
    lm_blocks_options o;
    lm_error err = { 0 };
    lm_blocks_defaults(&o);
    o.block_size = BLOCK;
    lm_chunks *c = store(false);
    o.stop = stop_at_once;
    assert_int_equal(lm_blocks_save(s, c, &o, &b, &err), LM_ERR_CANCELLED);
    assert_int_equal(lm_chunks_count(c), 0);
    assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
    o.stop = NULL;
    o.uri = "u";
    for (uint64_t n = 1;; n++) {
        lm_snapshot *t = NULL;
        c = store(n % 2);
        b = NULL;
        lm_mem_fail_after(n);
        lm_status st = lm_blocks_save(s, c, &o, &b, NULL);
        if (st == LM_OK)
            st = lm_blocks_load(b, c, 18, 0, &t, NULL);
        lm_mem_fail_after(0);
        bool done = st == LM_OK;
        if (st != LM_OK && st != LM_ERR_NOMEM)
            fail_msg("%llu: %s", (unsigned long long)n, lm_status_name(st));
        lm_snapshot_close(t);
        lm_blocks_close(b);
        assert_int_equal(lm_chunks_close(c, NULL), LM_OK);
        if (done && n > 400)
            break;
    }
    lm_snapshot_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_multiples_and_windows),
        cmocka_unit_test(blocks_put_together_are_the_snapshot),
        cmocka_unit_test(a_prefix_reads_only_what_it_covers),
        cmocka_unit_test(a_parents_blocks_are_not_written_again),
        cmocka_unit_test(a_manifest_that_lies_is_refused),
        cmocka_unit_test(a_changed_payload_is_refused),
        cmocka_unit_test(blocks_that_do_not_belong_together_are_named),
        cmocka_unit_test(whole_snapshots_go_into_one_chunk),
        cmocka_unit_test(saving_is_stopped_and_survives_failing_memory),
    };
    return cmocka_run_group_tests_name("state/interchange/blocks", tests, NULL, NULL);
}
