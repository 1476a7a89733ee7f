/* Base: errors, memory, strings, UTF-8, maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"

static void the_first_error_wins_and_context_goes_in_front(void **state)
{
    lm_error err = { 0 };
    (void)state;
    lm_hint(&err, "do %d", 1);
    assert_int_equal(lm_fail(&err, LM_ERR_CORRUPT, "cause %d", 7), LM_ERR_CORRUPT);
    lm_hint(&err, "too late");
    assert_int_equal(lm_fail(&err, LM_ERR_IO, "consequence"), LM_ERR_IO);
    assert_int_equal(lm_wrap(&err, LM_ERR_CORRUPT, "layer %u", 3u), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "layer 3: cause 7");
    assert_string_equal(err.hint, "do 1");
    assert_int_equal(err.status, LM_ERR_CORRUPT);
    assert_int_equal(lm_fail(NULL, LM_ERR_IO, "no struct"), LM_ERR_IO);
}

static void outside_names_are_escaped_and_cut(void **state)
{
    lm_quoted_buf q;
    char long_name[400];
    (void)state;
    assert_string_equal(lm_quoted(&q, "a\x1b[31m\nb", 8), "a?[31m?b");
    assert_string_equal(lm_quoted_z(&q, "gr\xc3\xbc\xc3\x9f\x65"), "gr\xc3\xbc\xc3\x9f\x65");
    assert_string_equal(lm_quoted(&q, "\xc2\x9b\xff", 3), "???");
    memset(long_name, 'x', sizeof long_name);
    assert_true(strlen(lm_quoted(&q, long_name, sizeof long_name)) < sizeof q.s);
    assert_string_equal(q.s + strlen(q.s) - 3, "...");
}

static void sizes_are_checked(void **state)
{
    lm_error err = { 0 };
    void *p = NULL;
    uint64_t u;
    (void)state;
    assert_int_equal(lm_new(&p, SIZE_MAX / 2, 16, &err), LM_ERR_NOMEM);
    assert_null(p);
    assert_true(lm_mul_overflows(UINT64_C(1) << 40, UINT64_C(1) << 40, &u));
    assert_false(lm_inside(10, UINT64_MAX, 100));
    assert_true(lm_inside(100, 0, 100));
}

static void an_arena_says_what_is_left(void **state)
{
    lm_arena *a = NULL;
    void *p = NULL, *q = NULL;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_arena_open(&a, 4096, "scratch", &err), LM_OK);
    assert_int_equal(lm_arena_alloc(a, 100, 1, &p, &err), LM_OK);
    assert_int_equal((uintptr_t)p % 64, 0);
    lm_mark m = lm_arena_mark(a);
    assert_int_equal(lm_arena_alloc(a, 1024, 1, &q, &err), LM_OK);
    lm_arena_rewind(a, m);
    assert_int_equal(lm_arena_used(a), 128);
    assert_int_equal(lm_arena_peak(a), 1152);
    assert_int_equal(lm_arena_alloc(a, 4, 1000, &q, &err), LM_ERR_NOMEM);
    assert_string_equal(err.text, "scratch needs 4 x 1000 bytes, 3968 of 4096 are left");
    lm_arena_close(a);
}

static void strings_grow_and_remember_failure(void **state)
{
    lm_str s = { .max = 10 };
    (void)state;
    lm_str_addf(&s, "%d-%s", 12, "ab");
    lm_str_addu(&s, 0x20ac);
    assert_string_equal(lm_str_z(&s), "12-ab\xe2\x82\xac");
    lm_str_addz(&s, "too long");
    assert_int_equal(lm_str_status(&s, NULL), LM_ERR_NOMEM);
    lm_str_clear(&s);
}

static void utf8_is_strict(void **state)
{
    size_t len;
    (void)state;
    assert_int_equal(lm_utf8_get("\xf0\x9f\x98\x80", 4, &len), 0x1f600);
    assert_int_equal(len, 4);
    assert_int_equal(lm_utf8_get("\xed\xa0\x80", 3, &len), LM_UTF8_BAD); /* surrogate */
    assert_int_equal(lm_utf8_get("\xc0\x80", 2, &len), LM_UTF8_BAD);     /* overlong */
    assert_int_equal(lm_utf8_unfinished("ab\xf0\x9f", 4), 2);
    assert_int_equal(lm_utf8_unfinished("ab\xf0\x9f\x98\x80", 6), 0);
    assert_int_equal(lm_utf8_unfinished("\x80\x80", 2), 0);
}

static void maps_take_files_only(void **state)
{
    lm_map *m = NULL;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_map_open(&m, "/", &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "/ is a folder, not a file");
    lm_error_clear(&err);
    assert_int_equal(lm_map_open(&m, "/dev/null", &err), LM_ERR_USAGE);
    lm_error_clear(&err);
    assert_int_equal(lm_map_open(&m, "/nonexistent/x", &err), LM_ERR_NOT_FOUND);
    lm_error_clear(&err);
    char fifo[] = "/tmp/lemma-test-fifo-XXXXXX";
    assert_non_null(mkdtemp(fifo));
    char path[64];
    (void)snprintf(path, sizeof path, "%s/f", fifo);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(lm_map_open(&m, path, &err), LM_ERR_USAGE);
    (void)unlink(path);
    (void)rmdir(fifo);
}

static void a_file_cut_under_its_map_is_a_named_error(void **state)
{
    lm_map *m = NULL;
    lm_error err = { 0 };
    char path[] = "/tmp/lemma-test-map-XXXXXX";
    char bytes[3 * 4096];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    memset(bytes, 'a', sizeof bytes);
    assert_int_equal(write(fd, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    assert_int_equal(lm_map_install_sigbus(&err), LM_OK);
    assert_int_equal(lm_map_open(&m, path, &err), LM_OK);
    assert_int_equal(lm_map_check(m, &err), LM_OK);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(lm_map_data(m)[0], 'a');
    volatile const uint8_t *hole = lm_map_data(m) + 2 * 4096;
    assert_int_equal(*hole, 0);
    assert_int_equal(lm_map_check(m, &err), LM_ERR_IO);
    lm_map_close(m);
    (void)close(fd);
    (void)unlink(path);
}

static void digests_are_sha256(void **state)
{
    lm_digest d;
    char hex[65];
    (void)state;
    assert_int_equal(lm_sha256("abc", 3, &d, NULL), LM_OK);
    lm_digest_hex(&d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_wins_and_context_goes_in_front),
        cmocka_unit_test(outside_names_are_escaped_and_cut),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(an_arena_says_what_is_left),
        cmocka_unit_test(strings_grow_and_remember_failure),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(maps_take_files_only),
        cmocka_unit_test(a_file_cut_under_its_map_is_a_named_error),
        cmocka_unit_test(digests_are_sha256),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
