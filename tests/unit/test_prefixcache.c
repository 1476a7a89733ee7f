/* The block-prefix service: ids, hits, disk, what is cleared together. */
#include <errno.h>
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
#include "base/map.h"
#include "base/mem.h"
#include "state/interchange/blocks.h"
#include "state/io.h"
#include "support/bytes_lite.h"
#include "support/tempdir.h"

enum { N = 21, BLOCK = 8 };

static int32_t tokens[N];
static lm_tempdir dir;
static int warmed, cleared;

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++)
        tokens[i] = 7 * i + 1;
    dir = lm_tempdir_make();
    warmed = cleared = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lm_tempdir_remove(&dir);
    return 0;
}

static lm_status on_warm(void *user, const int32_t *t, size_t n, lm_error *err)
{
    (void)user, (void)err;
    assert_memory_equal(t, tokens, n * sizeof *t);
    warmed++;
    return LM_OK;
}

static lm_status on_clear(void *user, lm_error *err)
{
    (void)user, (void)err;
    cleared++;
    return LM_OK;
}

static lm_status on_tokenize(void *user, const char *prompt, int32_t **ids, size_t *n, lm_error *err)
{
    (void)user, (void)prompt;
    LM_TRY(LM_NEW(ids, N, err));
    memcpy(*ids, tokens, sizeof tokens);
    *n = N;
    return LM_OK;
}

static const char *disk(void)
{
    static char path[1024];
    return lm_tempdir_path(&dir, "blocks", path);
}

static lm_prefix_cache_options options(bool with_disk)
{
    lm_prefix_cache_options o;
    lm_prefix_cache_defaults(&o);
    o.block_size = BLOCK;
    o.model_hash = "model";
    o.disk_path = with_disk ? disk() : NULL;
    o.warm = on_warm;
    o.clear = on_clear;
    return o;
}

static lm_prefix_cache *open_cache(const lm_prefix_cache_options *o)
{
    lm_prefix_cache *c = NULL;
    lm_error err = { 0 };
    if (lm_prefix_cache_open(&c, o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return c;
}

typedef struct {
    size_t n, hits;
    char ids[8][65];
    uint32_t starts[8], counts[8];
    char label[64]; /* value of `who` of the last */
    char disk_path[1200];
} seen;

static bool see(void *user, const lm_cache_ref *r)
{
    seen *s = user;
    assert_string_equal(r->kind, "prefix");
    assert_string_equal(r->encoding, "token-prefix/int32");
    assert_int_equal(r->size_bytes, r->token_count * 4);
    memcpy(s->ids[s->n], r->id, 65);
    s->starts[s->n] = r->token_start;
    s->counts[s->n++] = r->token_count;
    s->hits += r->hit;
    for (size_t i = 0; i < r->n_labels; i++) {
        if (strcmp(r->labels[i].key, "who") == 0)
            (void)snprintf(s->label, sizeof s->label, "%s", r->labels[i].value);
        if (strcmp(r->labels[i].key, "disk_path") == 0)
            (void)snprintf(s->disk_path, sizeof s->disk_path, "%s", r->labels[i].value);
    }
    return true;
}

static seen warm(lm_prefix_cache *c, size_t n, const char *who)
{
    seen s = { .n = 0 };
    lm_error err = { 0 };
    lm_chunk_tag label = { "who", who };
    lm_cache_request r = { .size = sizeof r,
                           .tokens = tokens,
                           .n_tokens = n,
                           .tokenizer_hash = "tok",
                           .labels = &label,
                           .n_labels = 1,
                           .run = true };
    if (lm_prefix_cache_warm(c, &r, see, &s, &err) != LM_OK)
        fail_msg("%s", err.text);
    return s;
}

static lm_cache_stats stats(lm_prefix_cache *c)
{
    lm_cache_stats s = { .size = sizeof s };
    assert_int_equal(lm_prefix_cache_stats(c, &s, NULL), LM_OK);
    return s;
}

static void an_id_covers_the_whole_prefix(void **state)
{
    (void)state;
    lm_prefix_cache_options o = options(false);
    lm_prefix_cache *c = open_cache(&o);
    seen a = warm(c, N, "a");
    assert_int_equal(a.n, 3);
    assert_int_equal(a.hits, 0);
    assert_int_equal(a.starts[2], 16);
    assert_int_equal(a.counts[2], 5);
    /* By hand: u32 length and bytes of model, adapter, tokenizer, mode; then 16 tokens. */
    lm_str b = { 0 };
    static const char *const texts[] = { "model", "", "tok", "block-prefix" };
    for (int i = 0; i < 4; i++)
        put_text(&b, texts[i]);
    lm_str_add(&b, (const char *)tokens, 16 * sizeof *tokens);
    char want[65];
    assert_int_equal(lm_hash_text(b.s, b.n, want, NULL), LM_OK);
    assert_string_equal(a.ids[1], want);
    lm_str_clear(&b);
    /* The same prefix hits; a block whose beginning differs does not. */
    seen again = warm(c, 16, "b");
    assert_int_equal(again.hits, 2);
    assert_string_equal(again.label, "a"); /* R10: the kept record's labels */
    tokens[0]++;
    seen other = warm(c, N, "c");
    assert_int_equal(other.hits, 0);
    lm_cache_stats s = stats(c);
    assert_int_equal(s.blocks, 6);
    assert_int_equal(s.memory_bytes, 2 * N * 4);
    assert_int_equal(s.hits, 2);
    assert_int_equal(s.misses, 6);
    assert_true(s.hit_rate == 0.25);
    assert_string_equal(s.cache_mode, "block-prefix");
    assert_int_equal(warmed, 3);
    assert_true(s.restore_millis >= 0);
    lm_prefix_cache_close(c);
}

static void blocks_survive_on_disk_for_the_same_model_alone(void **state)
{
    (void)state;
    struct stat st;
    lm_prefix_cache_options o = options(true);
    lm_prefix_cache *c = open_cache(&o);
    seen a = warm(c, N, "first");
    assert_int_equal(stat(disk(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(a.disk_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    lm_prefix_cache_close(c);
    c = open_cache(&o);
    assert_int_equal(stats(c).blocks, 3);
    assert_int_equal(stats(c).disk_blocks, 3);
    seen b = warm(c, N, "second");
    assert_int_equal(b.hits, 3);
    assert_string_equal(b.label, "first");
    lm_prefix_cache_close(c);
    for (int k = 0; k < 4; k++) { /* R9 */
        lm_prefix_cache_options x = o;
        x.model_hash = k == 0 ? "another" : "model";
        x.block_size = k == 1 ? 16 : BLOCK;
        x.tokenizer_hash = k == 2 ? "another" : NULL;
        c = open_cache(&x);
        assert_int_equal(stats(c).blocks, k == 3 ? 3 : 0);
        assert_int_equal(stats(c).disk_blocks, 3); /* left alone */
        assert_int_equal(stats(c).disk_corrupt, 0);
        lm_prefix_cache_close(c);
    }
}

static void damaged_records_are_deleted_and_counted(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "{", "{\"version\":1}", "[1]", "{\"version\":2,\"ref\":{}}" };
    lm_prefix_cache_options o = options(true);
    lm_prefix_cache *c = open_cache(&o);
    seen a = warm(c, N, "x");
    lm_prefix_cache_close(c);
    for (size_t i = 0; i < LM_LEN(bad); i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "blocks/%064zx.json", i + 1);
        lm_tempdir_text(&dir, name, bad[i]);
    }
    lm_tempdir_text(&dir, "blocks/notes.txt", "not ours");
    /* The record of one block under another's name. */
    char *text = NULL, name[128];
    size_t n;
    assert_int_equal(lm_read_file(a.disk_path, 1 << 20, &text, &n, NULL), LM_OK);
    (void)snprintf(name, sizeof name, "blocks/%064x.json", 0xabcd);
    lm_tempdir_write(&dir, name, text, n);
    lm_free(text);
    c = open_cache(&o);
    lm_cache_stats s = stats(c);
    assert_int_equal(s.blocks, 3);
    assert_int_equal(s.disk_blocks, 3);
    assert_int_equal(s.disk_corrupt, LM_LEN(bad) + 1);
    assert_int_equal(s.evictions, LM_LEN(bad) + 1);
    lm_prefix_cache_close(c);
    char path[1024];
    struct stat st;
    assert_int_equal(stat(lm_tempdir_path(&dir, "blocks/notes.txt", path), &st), 0);
}

static void a_filtered_clear_reaches_memory_disk_and_runtime(void **state)
{
    (void)state;
    size_t removed = 0;
    seen s = { .n = 0 };
    lm_prefix_cache_options o = options(true);
    lm_prefix_cache *c = open_cache(&o);
    (void)warm(c, N, "keep");
    tokens[0]++;
    (void)warm(c, N, "drop");
    lm_chunk_tag drop = { "who", "drop" }, nobody = { "who", "nobody" }, model = { "model_hash", "model" };
    assert_int_equal(lm_prefix_cache_clear(c, &nobody, 1, &removed, NULL), LM_OK);
    assert_int_equal(removed, 0);
    assert_int_equal(cleared, 0);
    assert_int_equal(lm_prefix_cache_clear(c, &drop, 1, &removed, NULL), LM_OK);
    assert_int_equal(removed, 3);
    assert_int_equal(cleared, 1);
    lm_cache_stats x = stats(c);
    assert_int_equal(x.blocks, 3);
    assert_int_equal(x.disk_blocks, 3);
    assert_int_equal(x.cleared, 3);
    assert_int_equal(x.misses, 6); /* counters go on */
    assert_int_equal(lm_prefix_cache_entries(c, &model, 1, see, &s, NULL), LM_OK);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.label, "keep");
    for (size_t i = 1; i < s.n; i++)
        assert_true(s.starts[i - 1] < s.starts[i]);
    lm_prefix_cache_close(c);
    c = open_cache(&o); /* gone from the disk too */
    assert_int_equal(stats(c).blocks, 3);
    assert_int_equal(lm_prefix_cache_clear(c, NULL, 0, &removed, NULL), LM_OK);
    assert_int_equal(removed, 3);
    assert_int_equal(stats(c).disk_blocks, 0);
    lm_prefix_cache_close(c);
}

/* A file that cannot be removed keeps its block: memory and disk stay in step. */
static void a_failing_disk_keeps_both_in_step(void **state)
{
    (void)state;
    lm_prefix_cache_options o = options(true);
    for (uint64_t n = 1; n < 8; n++) {
        lm_prefix_cache *c = open_cache(&o);
        (void)warm(c, N, "x");
        lm_fault_set(LM_FAULT_ERROR, n, EIO);
        lm_status st = lm_prefix_cache_clear(c, NULL, 0, NULL, NULL);
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        assert_true(st == LM_OK || st == LM_ERR_IO);
        lm_cache_stats s = stats(c);
        assert_true(s.blocks <= s.disk_blocks);
        assert_int_equal(s.disk_blocks - s.blocks <= 1, 1);
        assert_int_equal(lm_prefix_cache_clear(c, NULL, 0, NULL, NULL), LM_OK);
        assert_int_equal(stats(c).disk_blocks, 0);
        /* What cannot be written is not kept in memory either. */
        lm_cache_request r = { .size = sizeof r, .tokens = tokens, .n_tokens = N };
        lm_fault_set(LM_FAULT_ERROR, n, ENOSPC);
        st = lm_prefix_cache_warm(c, &r, NULL, NULL, NULL);
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        s = stats(c);
        assert_true(st == LM_OK ? s.blocks == 3 : s.blocks <= s.disk_blocks);
        assert_int_equal(lm_prefix_cache_clear(c, NULL, 0, NULL, NULL), LM_OK);
        lm_prefix_cache_close(c);
    }
}

static void payloads_go_to_a_cold_store(void **state)
{
    (void)state;
    lm_chunks *cold = NULL;
    lm_chunk k;
    char uri[128];
    assert_int_equal(lm_chunks_open_memory(&cold, true, NULL), LM_OK);
    lm_prefix_cache_options o = options(true);
    o.cold = cold;
    lm_prefix_cache *c = open_cache(&o);
    seen a = warm(c, N, "x");
    (void)snprintf(uri, sizeof uri, "mlx://cache/block/%s", a.ids[2]);
    assert_int_equal(lm_chunks_find(cold, uri, &k, NULL), LM_OK);
    json_t *p = json_loadb((const char *)k.bytes, k.n, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(p, "payload_format")), "token-prefix/int32-json");
    assert_int_equal(json_array_size(json_object_get(p, "tokens")), 5);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(p, "tokens"), 0)), tokens[16]);
    json_decref(p);
    lm_chunk_clear(&k);
    assert_true(stats(c).cold_store);
    lm_prefix_cache_close(c);
    c = open_cache(&o); /* the records on disk name the chunks */
    seen b = warm(c, N, "y");
    assert_int_equal(b.hits, 3);
    assert_int_equal(lm_prefix_cache_clear(c, NULL, 0, NULL, NULL), LM_OK);
    assert_int_equal(lm_chunks_count(cold), 0);
    lm_prefix_cache_close(c);
    assert_int_equal(lm_chunks_close(cold, NULL), LM_OK);
}

static void prompts_budgets_and_refusals(void **state)
{
    (void)state;
    lm_error err = { 0 };
    lm_prefix_cache_options o = options(true);
    o.max_blocks = 4;
    lm_prefix_cache *c = open_cache(&o);
    lm_cache_request r = { .size = sizeof r, .prompt = "words" };
    assert_int_equal(lm_prefix_cache_warm(c, &r, NULL, NULL, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "a prompt is to be made warm, and there is no tokenizer");
    lm_prefix_cache_close(c);
    o.tokenize = on_tokenize;
    c = open_cache(&o);
    assert_int_equal(lm_prefix_cache_warm(c, &r, NULL, NULL, NULL), LM_OK);
    assert_int_equal(stats(c).blocks, 3);
    assert_int_equal(warmed, 0); /* not asked for */
    tokens[0]++;
    assert_int_equal(lm_prefix_cache_warm(c, &r, NULL, NULL, NULL), LM_OK);
    lm_cache_stats s = stats(c);
    assert_int_equal(s.blocks, 4); /* the longest unused went */
    assert_int_equal(s.disk_blocks, 4);
    assert_int_equal(s.evictions, 2);
    lm_prefix_cache_close(c);
    o.block_size = 0;
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_prefix_cache_open(&c, &o, &err), LM_ERR_USAGE);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(an_id_covers_the_whole_prefix),
        WITH_DIR(blocks_survive_on_disk_for_the_same_model_alone),
        WITH_DIR(damaged_records_are_deleted_and_counted),
        WITH_DIR(a_filtered_clear_reaches_memory_disk_and_runtime),
        WITH_DIR(a_failing_disk_keeps_both_in_step),
        WITH_DIR(payloads_go_to_a_cold_store),
        WITH_DIR(prompts_budgets_and_refusals),
    };
    return cmocka_run_group_tests_name("state/interchange/prefixcache", tests, NULL, NULL);
}
