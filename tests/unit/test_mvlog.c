/* Chunk stores: the .mvlog log and .kv containers from bytes written here; damage, crashes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "state/interchange/chunks.h"
#include "state/io.h"
#include "support/bytes_lite.h"
#include "support/tempdir.h"

static const char magic[] = "go-inference-state-file-log-v1\n", old_magic[] = "go-mlx-memvid-file-log-v1\n";

static lm_tempdir dir;

static int set_up(void **state)
{
    (void)state;
    dir = lm_tempdir_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lm_tempdir_remove(&dir);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[1024];
    return lm_tempdir_path(&dir, name, path);
}

/* SPEC 6.9.2, by hand. */
static void put_record(lm_str *b, uint64_t id, const void *payload, size_t n, const char *meta,
                       bool meta_first)
{
    lm_str_addz(b, "MVF1");
    put_le(b, id, 8);
    put_le(b, n, 8);
    put_u32(b, (uint32_t)strlen(meta));
    if (meta_first)
        lm_str_addz(b, meta);
    lm_str_add(b, payload, n);
    if (!meta_first)
        lm_str_addz(b, meta);
}

static void expect(lm_chunks *c, uint64_t id, const char *want)
{
    lm_chunk k;
    lm_error err = { 0 };
    if (lm_chunks_get(c, id, &k, &err) != LM_OK)
        fail_msg("%llu: %s", (unsigned long long)id, err.text);
    assert_int_equal(k.n, strlen(want));
    assert_memory_equal(k.bytes, want, k.n);
    assert_int_equal(k.ref.chunk_id, id);
    lm_chunk_clear(&k);
}

static void close_store(lm_chunks *c)
{
    lm_error err = { 0 };
    if (lm_chunks_close(c, &err) != LM_OK)
        fail_msg("%s", err.text);
}

static void logs_of_both_names_and_orders_are_read(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++)
        for (int first = 0; first < 2; first++)
            for (int ro = 0; ro < 2; ro++) {
                lm_str b = { 0 };
                lm_chunks *c = NULL;
                lm_chunk k;
                lm_error err = { 0 };
                lm_str_addz(&b, old ? old_magic : magic);
                put_record(&b, 1, "first", 5, "{\"uri\":\"mlx://a\",\"kind\":\"k\"}", first);
                size_t second = b.n;
                put_record(&b, 2, "{\"json\":true}", 13, "{}", first);
                put_record(&b, 9, "", 0, "{\"uri\":\"mlx://a\",\"tags\":{\"x\":\"y\"},\"labels\":[\"l\"]}",
                           first);
                lm_tempdir_write(&dir, "a.mvlog", b.s, b.n);
                if (lm_chunks_open_log(&c, path_of("a.mvlog"), ro ? LM_LOG_READ_ONLY : 0, &err) != LM_OK)
                    fail_msg("old %d first %d: %s", old, first, err.text);
                assert_int_equal(lm_chunks_count(c), 3);
                expect(c, 1, "first");
                expect(c, 2, "{\"json\":true}");
                expect(c, 9, "");
                /* The last write of a URI counts. */
                assert_int_equal(lm_chunks_find(c, "mlx://a", &k, NULL), LM_OK);
                assert_int_equal(k.ref.chunk_id, 9);
                assert_string_equal(k.ref.codec, "state/file-log");
                lm_chunk_clear(&k);
                lm_chunk_ref ref = { .chunk_id = 2, .frame_offset = second, .has_frame_offset = true };
                assert_int_equal(lm_chunks_resolve(c, &ref, &k, NULL), LM_OK);
                assert_int_equal(k.n, 13);
                assert_true((k.owned == NULL) == (ro != 0)); /* borrowed from the mapping */
                lm_chunk_clear(&k);
                ref.chunk_id = 3;
                assert_int_equal(lm_chunks_resolve(c, &ref, &k, &err), LM_ERR_MISMATCH);
                memset(&err, 0, sizeof err);
                (void)snprintf(ref.codec, sizeof ref.codec, "state/qr-video");
                assert_int_equal(lm_chunks_resolve(c, &ref, &k, &err), LM_ERR_MISMATCH);
                ref = (lm_chunk_ref){ .chunk_id = 1, .segment = "/elsewhere/old.mvlog" };
                memset(&err, 0, sizeof err);
                assert_int_equal(lm_chunks_resolve(c, &ref, &k, &err), LM_ERR_MISMATCH);
                assert_int_equal(lm_chunks_alias(c, "/elsewhere/old.mvlog", NULL), LM_OK);
                assert_int_equal(lm_chunks_resolve(c, &ref, &k, NULL), LM_OK);
                lm_chunk_clear(&k);
                memset(&err, 0, sizeof err);
                assert_int_equal(lm_chunks_put(c, "x", 1, NULL, NULL, &err), ro ? LM_ERR_USAGE : LM_OK);
                if (!ro)
                    expect(c, 10, "x"); /* ids go on */
                close_store(c);
                lm_str_clear(&b);
            }
}

static void what_is_put_is_the_described_bytes(void **state)
{
    (void)state;
    static const lm_chunk_tag tags[] = { { "kv_hash", "ab" } };
    static const char *const labels[] = { "go-mlx" };
    lm_chunk_about about = { .uri = "mlx://x",
                             .title = "t",
                             .kind = "k",
                             .track = "r",
                             .tags = tags,
                             .n_tags = 1,
                             .labels = labels,
                             .n_labels = 1 };
    static const char meta[] =
        "{\"uri\":\"mlx://x\",\"title\":\"t\",\"kind\":\"k\",\"track\":\"r\",\"tags\":{\"kv_hash\":\"ab\"},"
        "\"labels\":[\"go-mlx\"]}";
    for (int first = 0; first < 2; first++) {
        lm_str want = { 0 };
        lm_chunks *c = NULL;
        lm_chunk_ref ref;
        char *text = NULL;
        size_t n;
        struct stat st;
        char name[16];
        (void)snprintf(name, sizeof name, "b%d.mvlog", first);
        lm_str_addz(&want, magic);
        put_record(&want, 1, "pay\0load", 8, meta, first);
        put_record(&want, 2, "", 0, "{}", first);
        assert_int_equal(
            lm_chunks_open_log(&c, path_of(name), LM_LOG_CREATE | (first ? LM_LOG_META_FIRST : 0u), NULL),
            LM_OK);
        assert_int_equal(lm_chunks_put(c, "pay\0load", 8, &about, &ref, NULL), LM_OK);
        assert_int_equal(ref.chunk_id, 1);
        assert_int_equal(ref.frame_offset, sizeof magic - 1);
        assert_true(ref.has_frame_offset);
        assert_int_equal(lm_chunks_put(c, NULL, 0, NULL, &ref, NULL), LM_OK);
        close_store(c);
        assert_int_equal(stat(path_of(name), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(lm_read_file(path_of(name), 1 << 20, &text, &n, NULL), LM_OK);
        assert_int_equal(n, want.n);
        assert_memory_equal(text, want.s, n);
        lm_free(text);
        /* Opened to be made, it is not emptied (R36). */
        assert_int_equal(lm_chunks_open_log(&c, path_of(name), LM_LOG_CREATE, NULL), LM_OK);
        assert_int_equal(lm_chunks_count(c), 2);
        close_store(c);
        lm_str_clear(&want);
    }
}

static void a_record_that_was_cut_short_is_rolled_back(void **state)
{
    (void)state;
    lm_str b = { 0 };
    lm_str_addz(&b, magic);
    put_record(&b, 1, "whole", 5, "{\"uri\":\"u\"}", false);
    size_t whole = b.n;
    put_record(&b, 2, "cut short", 9, "{\"uri\":\"v\"}", false);
    for (size_t n = 0; n < b.n; n++) {
        lm_chunks *c = NULL;
        lm_error err = { 0 };
        struct stat st;
        lm_tempdir_write(&dir, "cut.mvlog", b.s, n);
        bool magic_only = n < sizeof magic - 1;
        /* For reading, what is not whole is left out and nothing is changed. */
        lm_status ro = lm_chunks_open_log(&c, path_of("cut.mvlog"), LM_LOG_READ_ONLY, &err);
        assert_int_equal(ro, magic_only ? LM_ERR_CORRUPT : LM_OK);
        if (ro == LM_OK) {
            assert_int_equal(lm_chunks_count(c), n >= whole);
            close_store(c);
        }
        assert_int_equal(stat(path_of("cut.mvlog"), &st), 0);
        assert_int_equal(st.st_size, n);
        memset(&err, 0, sizeof err);
        if (lm_chunks_open_log(&c, path_of("cut.mvlog"), 0, &err) != LM_OK)
            fail_msg("cut at %zu: %s", n, err.text);
        assert_int_equal(lm_chunks_count(c), n >= whole);
        assert_int_equal(lm_chunks_put(c, "next", 4, NULL, NULL, NULL), LM_OK);
        expect(c, n >= whole ? 2 : 1, "next");
        close_store(c);
        assert_int_equal(lm_chunks_open_log(&c, path_of("cut.mvlog"), LM_LOG_READ_ONLY, NULL), LM_OK);
        expect(c, n >= whole ? 2 : 1, "next");
        close_store(c);
    }
    lm_str_clear(&b);
}

/* The size reached the disk, the bytes did not. */
static void zeros_at_the_end_are_rolled_back(void **state)
{
    (void)state;
    lm_str b = { 0 };
    lm_chunks *c = NULL;
    struct stat st;
    lm_str_addz(&b, magic);
    put_record(&b, 1, "whole", 5, "{}", false);
    size_t whole = b.n;
    for (int i = 0; i < 9000; i++)
        lm_str_addc(&b, 0);
    lm_tempdir_write(&dir, "z.mvlog", b.s, b.n);
    assert_int_equal(lm_chunks_open_log(&c, path_of("z.mvlog"), LM_LOG_READ_ONLY, NULL), LM_OK);
    expect(c, 1, "whole");
    close_store(c);
    assert_int_equal(lm_chunks_open_log(&c, path_of("z.mvlog"), 0, NULL), LM_OK);
    assert_int_equal(stat(path_of("z.mvlog"), &st), 0);
    assert_int_equal(st.st_size, whole);
    close_store(c);
    b.s[b.n - 1] = 1; /* something after all: nothing is cut */
    lm_tempdir_write(&dir, "z.mvlog", b.s, b.n);
    assert_int_equal(lm_chunks_open_log(&c, path_of("z.mvlog"), 0, NULL), LM_ERR_CORRUPT);
    assert_int_equal(stat(path_of("z.mvlog"), &st), 0);
    assert_int_equal(st.st_size, b.n);
    lm_str_clear(&b);
}

static lm_status short_fill(void *user, lm_sink *to, lm_error *err)
{
    (void)user;
    return lm_sink_write(to, "12345", 5, err);
}

static void streams_have_the_length_that_was_declared(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        lm_chunks *c = NULL;
        lm_error err = { 0 };
        struct stat before, after;
        if (memory)
            assert_int_equal(lm_chunks_open_memory(&c, false, NULL), LM_OK);
        else
            assert_int_equal(lm_chunks_open_log(&c, path_of("s.mvlog"), LM_LOG_CREATE, NULL), LM_OK);
        assert_int_equal(lm_chunks_put(c, "a", 1, NULL, NULL, NULL), LM_OK);
        if (!memory)
            assert_int_equal(stat(path_of("s.mvlog"), &before), 0);
        assert_int_equal(lm_chunks_stream(c, 6, NULL, short_fill, NULL, NULL, &err), LM_ERR_USAGE);
        assert_string_equal(err.text, memory ? "a chunk of 6 bytes was declared, 5 were written"
                                             : "a chunk of 6 bytes was declared, 5 were written");
        memset(&err, 0, sizeof err);
        assert_int_equal(lm_chunks_stream(c, 4, NULL, short_fill, NULL, NULL, &err), LM_ERR_USAGE);
        assert_string_equal(err.text, "a chunk of 4 bytes was declared, more were written");
        if (!memory) {
            assert_int_equal(stat(path_of("s.mvlog"), &after), 0);
            assert_int_equal(before.st_size, after.st_size);
        }
        assert_int_equal(lm_chunks_count(c), 1);
        assert_int_equal(lm_chunks_stream(c, 5, NULL, short_fill, NULL, NULL, NULL), LM_OK);
        expect(c, 2, "12345");
        close_store(c);
    }
}

static void memory_is_a_store_too(void **state)
{
    (void)state;
    lm_chunks *c = NULL;
    lm_chunk k;
    lm_error err = { 0 };
    lm_chunk_about about = { .uri = "u" };
    assert_int_equal(lm_chunks_open_memory(&c, true, NULL), LM_OK);
    for (int i = 0; i < 100; i++) { /* the index grows */
        char uri[16];
        (void)snprintf(uri, sizeof uri, "n%d", i);
        lm_chunk_about one = { .uri = uri };
        assert_int_equal(lm_chunks_put(c, uri, strlen(uri), &one, NULL, NULL), LM_OK);
    }
    assert_int_equal(lm_chunks_find(c, "n77", &k, NULL), LM_OK);
    assert_memory_equal(k.bytes, "n77", 3);
    assert_string_equal(k.ref.codec, "memory/plaintext");
    assert_false(k.ref.has_frame_offset);
    lm_chunk_clear(&k);
    assert_int_equal(lm_chunks_put(c, "\xff\xfe", 2, &about, NULL, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "this store takes text alone");
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_chunks_find(c, "", &k, &err), LM_ERR_USAGE);
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_chunks_find(c, "none", &k, &err), LM_ERR_NOT_FOUND);
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_chunks_get(c, 1000, &k, &err), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_chunks_remove(c, 78, NULL), LM_OK);
    assert_int_equal(lm_chunks_find(c, "n77", &k, NULL), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_chunks_count(c), 99);
    memset(&err, 0, sizeof err);
    assert_int_equal(lm_chunks_put(NULL, "x", 1, NULL, NULL, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "there is no store to write to");
    close_store(c);
}

static void one_process_writes(void **state)
{
    (void)state;
    lm_chunks *c = NULL;
    assert_int_equal(lm_chunks_open_log(&c, path_of("l.mvlog"), LM_LOG_CREATE, NULL), LM_OK);
    pid_t child = fork();
    if (child == 0) {
        lm_chunks *d = NULL;
        lm_status w = lm_chunks_open_log(&d, path_of("l.mvlog"), 0, NULL);
        lm_status r = lm_chunks_open_log(&d, path_of("l.mvlog"), LM_LOG_READ_ONLY, NULL);
        _exit(w == LM_ERR_BUSY && r == LM_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close_store(c);
}

/* Killed at every write and sync of two puts: what is there afterwards is a beginning of it. */
static void a_kill_leaves_whole_records(void **state)
{
    (void)state;
    int kills = 0;
    for (uint64_t n = 1;; n++) {
        lm_chunks *c = NULL;
        (void)unlink(path_of("k.mvlog"));
        pid_t child = fork();
        if (child == 0) {
            lm_fault_set(LM_FAULT_KILL, n, 0);
            if (lm_chunks_open_log(&c, path_of("k.mvlog"), LM_LOG_CREATE, NULL) != LM_OK ||
                lm_chunks_put(c, "one", 3, NULL, NULL, NULL) != LM_OK ||
                lm_chunks_put(c, "two", 3, NULL, NULL, NULL) != LM_OK || lm_chunks_close(c, NULL) != LM_OK)
                _exit(1);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        kills++;
        assert_int_equal(lm_chunks_open_log(&c, path_of("k.mvlog"), LM_LOG_CREATE, NULL), LM_OK);
        size_t have = lm_chunks_count(c);
        assert_true(have <= 2);
        if (have > 0)
            expect(c, 1, "one");
        if (have > 1)
            expect(c, 2, "two");
        close_store(c);
    }
    assert_true(kills >= 7);
}

static void every_failing_call_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        lm_chunks *c = NULL;
        struct stat before, after;
        (void)unlink(path_of("f.mvlog"));
        assert_int_equal(lm_chunks_open_log(&c, path_of("f.mvlog"), LM_LOG_CREATE, NULL), LM_OK);
        assert_int_equal(lm_chunks_put(c, "one", 3, NULL, NULL, NULL), LM_OK);
        assert_int_equal(stat(path_of("f.mvlog"), &before), 0);
        lm_fault_set(LM_FAULT_ERROR, n, ENOSPC);
        lm_status st = lm_chunks_put(c, "two", 3, NULL, NULL, NULL);
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        assert_int_equal(stat(path_of("f.mvlog"), &after), 0);
        if (st == LM_OK) {
            close_store(c);
            break;
        }
        assert_int_equal(st, LM_ERR_NOSPACE);
        assert_int_equal(before.st_size, after.st_size);
        assert_int_equal(lm_chunks_put(c, "three", 5, NULL, NULL, NULL), LM_OK);
        expect(c, 2, "three");
        close_store(c);
    }
}

/* --- .kv -------------------------------------------------------------------------------- */

static void a_container_is_read_as_described(void **state)
{
    (void)state;
    static const char head[] =
        "{\"kind\":\"go-mlx/state-kv\",\"state_store_path\":\"/was/here.mvlog\",\"index_uri\":\"mlx://i\"}";
    lm_str log = { 0 }, b = { 0 };
    lm_chunks *c = NULL;
    lm_chunk k;
    char *header = NULL;
    lm_error err = { 0 };
    lm_str_addz(&log, magic);
    put_record(&log, 1, "inside", 6, "{\"uri\":\"mlx://i\"}", false);
    lm_str_addz(&b, "KVST");
    lm_str_addc(&b, 2);
    for (int i = 3; i >= 0; i--)
        lm_str_addc(&b, (char)((sizeof head - 1) >> (8 * i)));
    lm_str_addz(&b, head);
    lm_str_add(&b, log.s, log.n);
    lm_tempdir_write(&dir, "a.kv", b.s, b.n);
    if (lm_container_open(&c, path_of("a.kv"), &header, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_non_null(strstr(header, "mlx://i"));
    assert_int_equal(lm_chunks_find(c, "mlx://i", &k, NULL), LM_OK);
    assert_memory_equal(k.bytes, "inside", 6);
    assert_null(k.owned); /* where it lies in the container */
    /* Offsets count from the log's beginning, under its former name too. */
    lm_chunk_ref ref = { .chunk_id = 1,
                         .frame_offset = sizeof magic - 1,
                         .has_frame_offset = true,
                         .codec = "state/file-log",
                         .segment = "/was/here.mvlog" };
    assert_int_equal(lm_chunks_resolve(c, &ref, &k, NULL), LM_OK);
    close_store(c);
    lm_free(header);
    for (size_t n = 0; n < b.n; n++) { /* cut anywhere: refused, or the log without the cut record */
        c = NULL;
        memset(&err, 0, sizeof err);
        lm_tempdir_write(&dir, "c.kv", b.s, n);
        if (lm_container_open(&c, path_of("c.kv"), NULL, &err) == LM_OK) {
            assert_int_equal(lm_chunks_count(c), 0);
            close_store(c);
        } else
            assert_true(err.text[0] != 0);
    }
    lm_str_clear(&log);
    lm_str_clear(&b);
}

static void a_container_is_written_and_opened(void **state)
{
    (void)state;
    lm_chunks *c = NULL;
    lm_chunk_about about = { .uri = "mlx://x/index" };
    struct stat st;
    char log[1024];
    lm_container_mark mark = { .size = sizeof mark, .index_uri = "mlx://x/index", .token_count = 206 };
    assert_int_equal(lm_chunks_open_log(&c, path_of("x.mvlog"), LM_LOG_CREATE, NULL), LM_OK);
    assert_int_equal(lm_chunks_put(c, "state", 5, &about, NULL, NULL), LM_OK);
    close_store(c);
    (void)snprintf(log, sizeof log, "%s", path_of("x.mvlog"));
    assert_int_equal(lm_container_write(path_of("x.kv"), log, &mark, NULL), LM_OK);
    assert_int_equal(stat(path_of("x.kv"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(unlink(log), 0);
    char *header = NULL;
    assert_int_equal(lm_container_open(&c, path_of("x.kv"), &header, NULL), LM_OK);
    expect(c, 1, "state");
    assert_non_null(strstr(header, "\"token_count\": 206"));
    lm_free(header);
    close_store(c);
    lm_error err = { 0 };
    lm_tempdir_text(&dir, "no.mvlog", "something else");
    (void)snprintf(log, sizeof log, "%s", path_of("no.mvlog"));
    assert_int_equal(lm_container_write(path_of("no.kv"), log, &mark, &err), LM_ERR_CORRUPT);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(logs_of_both_names_and_orders_are_read),
        WITH_DIR(what_is_put_is_the_described_bytes),
        WITH_DIR(a_record_that_was_cut_short_is_rolled_back),
        WITH_DIR(zeros_at_the_end_are_rolled_back),
        WITH_DIR(streams_have_the_length_that_was_declared),
        WITH_DIR(memory_is_a_store_too),
        WITH_DIR(one_process_writes),
        WITH_DIR(a_kill_leaves_whole_records),
        WITH_DIR(every_failing_call_changes_nothing),
        WITH_DIR(a_container_is_read_as_described),
        WITH_DIR(a_container_is_written_and_opened),
    };
    return cmocka_run_group_tests_name("state/interchange/mvlog", tests, NULL, NULL);
}
