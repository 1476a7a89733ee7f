/* Prepared copies: the same bits, damage, age, budget, and what a full disk leaves. */
#define _GNU_SOURCE
#include <dirent.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "backend/cpu/panels.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/newfile.h"
#include "lemma/lemma.h"
#include "state/io.h"
#include "support/tempdir.h"

static const int32_t prompt[] = { 261, 71, 13, 189, 80, 138, 20, 142, 38, 310, 9, 70, 304, 63, 194, 7 };
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static lm_tempdir dir; /* of the test: packs, and the cache folder */
static char cache[1024];

static int begin(void **state)
{
    (void)state;
    dir = lm_tempdir_make();
    lm_tempdir_text(&dir, "cache/here", "");
    (void)lm_tempdir_path(&dir, "cache", cache);
    return 0;
}

static int end(void **state)
{
    (void)state;
    lm_tempdir_remove(&dir);
    return 0;
}

/* A golden pack that the test may change. */
static const char *own_pack(const char *name, const char *as, char out[1024])
{
    char from[1024];
    (void)snprintf(from, sizeof from, "%s/golden/%s", LM_TEST_DATA, name);
    lm_tempdir_copy(&dir, as, from);
    return lm_tempdir_path(&dir, as, out);
}

static const char *golden(const char *name, char out[1024])
{
    (void)snprintf(out, 1024, "%s/golden/%s", LM_TEST_DATA, name);
    return out;
}

static lm_status prepare(const char *pack, uint64_t budget, lm_error *err)
{
    lm_prepare_options o;
    char *json = NULL;
    lm_prepare_defaults(&o);
    o.cache_dir = cache;
    o.budget_bytes = budget;
    lm_status s = lm_prepare(pack, &o, &json, err);
    lm_give_back(json);
    return s;
}

static bool made(const char *pack)
{
    lm_prepare_options o;
    lm_error err = { 0 };
    char *json = NULL;
    lm_prepare_defaults(&o);
    o.cache_dir = cache;
    if (lm_prepare(pack, &o, &json, &err) != LM_OK)
        fail_msg("%s", err.text);
    bool yes = strstr(json, "\"made\": true") != NULL;
    assert_true(yes || strstr(json, "\"made\": false") != NULL);
    lm_give_back(json);
    return yes;
}

static lm_model *open_model(const char *pack, const char *isa, const char *compute, bool no_prepared)
{
    lm_model_options o;
    lm_model *m = NULL;
    lm_error err = { 0 };
    lm_model_defaults(&o);
    o.context = 128;
    o.no_text = true;
    o.all_rows = true;
    o.isa = isa;
    o.compute = compute;
    o.threads = 2;
    o.cache_dir = cache;
    o.no_prepared = no_prepared;
    if (lm_model_open(&m, pack, &o, &err) != LM_OK)
        fail_msg("%s", err.text);
    return m;
}

/* Logits of the prompt in one step, then of its tokens one by one, and two at a time. */
static float *logits_of(lm_model *m, size_t *n)
{
    static const size_t steps[] = { N_PROMPT, 1, 2 };
    lm_model_info info;
    lm_error err = { 0 };
    lm_model_get_info(m, &info);
    float *all = malloc(LM_LEN(steps) * N_PROMPT * info.n_vocab * sizeof *all), *at = all;
    assert_non_null(all);
    for (size_t i = 0; i < LM_LEN(steps); i++) {
        lm_session *s = NULL;
        assert_int_equal(lm_session_open(&s, m, &err), LM_OK);
        for (size_t k = 0; k < N_PROMPT; k += steps[i], at += steps[i] * info.n_vocab) {
            lm_eval_item item = { .session = s, .ids = prompt + k, .n = steps[i], .rows = at };
            if (lm_model_eval(m, &item, 1, &err) != LM_OK)
                fail_msg("%s", err.text);
        }
        lm_session_close(s);
    }
    *n = (size_t)(at - all) * sizeof *all;
    return all;
}

static float *want_of(const char *pack, const char *compute, size_t *n)
{
    lm_model *m = open_model(pack, NULL, compute, true);
    lm_model_info info;
    lm_model_get_info(m, &info);
    assert_int_equal(info.prepared, LM_PREPARED_NONE);
    float *want = logits_of(m, n);
    lm_model_close(m);
    return want;
}

/* Opens, computes, compares; what became of the copy at the end. */
static lm_model_info check_bits(const char *pack, const char *compute, const float *want, size_t n)
{
    lm_model *m = open_model(pack, NULL, compute, false);
    lm_model_info info;
    size_t n_got;
    float *got = logits_of(m, &n_got);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, want, n);
    lm_model_get_info(m, &info);
    free(got);
    lm_model_close(m);
    return info;
}

static bool reads(void)
{
    bool yes = lm_isa_reads_panels(lm_isa_best());
    if (!yes)
        print_message("skipped: the best instruction set here reads no prepared copies\n");
    return yes;
}

/* The one copy that there is. */
static const char *copy_path(char out[1024])
{
    char folder[1024];
    DIR *d = opendir(lm_tempdir_path(&dir, "cache/prepared", folder));
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strstr(e->d_name, ".lmprep")) {
            (void)snprintf(out, 1024, "%.700s/%.255s", folder, e->d_name);
            n++;
        }
    closedir(d);
    assert_int_equal(n, 1);
    return out;
}

/* Files of the folder but for the tag. */
static int n_files(void)
{
    char folder[1024];
    DIR *d = opendir(lm_tempdir_path(&dir, "cache/prepared", folder));
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] == 'p' || strncmp(e->d_name, ".tmp", 4) == 0;
    if (d)
        closedir(d);
    return n;
}

static bool nothing_to_see(void *user, uint64_t done, uint64_t total)
{
    int *most = user;
    (void)total;
    if (done > 0)
        *most = LM_MAX(*most, n_files());
    return true;
}

static void a_copy_has_no_name_before_it_is_whole(void **state)
{
    char pack[1024], folder[1024];
    lm_prepare_options o;
    int most = -1;
    char *json = NULL;
    (void)state;
    golden("llama-q4", pack);
    assert_int_equal(prepare(pack, 0, NULL), LM_OK);
    int fd = lm_nameless_open(AT_FDCWD, lm_tempdir_path(&dir, "cache/prepared", folder));
    if (fd < 0)
        skip(); /* a file system without nameless files: a temporary name, swept later */
    close(fd);
    assert_int_equal(lm_prepared_remove(cache, pack, &json, NULL), LM_OK);
    lm_give_back(json);
    lm_prepare_defaults(&o);
    o.cache_dir = cache;
    o.on_progress = nothing_to_see;
    o.user = &most;
    assert_int_equal(lm_prepare(pack, &o, &json, NULL), LM_OK);
    lm_give_back(json);
    assert_int_equal(most, 0);
    assert_int_equal(n_files(), 1);
}

static void a_prepared_copy_gives_the_same_logits_bit_for_bit(void **state)
{
    static const char *const packs[] = { "llama-q4", "llama-Q4_0.gguf", "gemma2-Q8_0.gguf" };
    static const char *const computes[] = { "fast", "precise" };
    (void)state;
    for (size_t i = 0; i < LM_LEN(packs); i++) {
        char pack[1024];
        golden(packs[i], pack);
        assert_true(made(pack));
        assert_false(made(pack));
        for (int c = 0; c < 2; c++) {
            size_t n;
            float *want = want_of(pack, computes[c], &n);
            lm_model_info info = check_bits(pack, computes[c], want, n);
            assert_int_equal(info.prepared, reads() ? LM_PREPARED_USED : LM_PREPARED_UNREAD);
            assert_true(info.prepared_note[0] == 0);
            assert_true((info.prepared_bytes > 4096) == reads());
            free(want);
        }
        lm_model *m = open_model(pack, "portable", NULL, false);
        lm_model_info info;
        lm_model_get_info(m, &info);
        assert_int_equal(info.prepared, LM_PREPARED_UNREAD);
        lm_model_close(m);
    }
}

static uint64_t seed = 88172645463325252u;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void flip(const char *path, uint64_t at, uint8_t bits)
{
    uint8_t b = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, (off_t)at), 1);
    b ^= bits;
    assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
    close(fd);
}

static void flipped_bytes_never_change_the_result_and_are_told_once(void **state)
{
    char pack[1024], path[1024];
    size_t n;
    struct stat st;
    uint32_t told = 0;
    (void)state;
    golden("llama-q4", pack);
    assert_int_equal(prepare(pack, 0, NULL), LM_OK);
    copy_path(path);
    assert_int_equal(stat(path, &st), 0);
    float *want = want_of(pack, NULL, &n);
    for (int i = 0; i < 300; i++) {
        /* every third in header and tables, which are a small part of the file */
        uint64_t at = draw() % (uint64_t)(i % 3 ? st.st_size : i % 2 ? 80 : 8192);
        uint8_t bits = (uint8_t)(1u << draw() % 8);
        flip(path, at, bits);
        lm_model_info info = check_bits(pack, NULL, want, n);
        bool damaged = info.prepared == LM_PREPARED_DAMAGED;
        if (reads() && i % 3 && at >= 65536) /* tables and padding lie before */
            assert_true(damaged);
        assert_true(damaged == (info.prepared_note[0] != 0));
        told += damaged;
        flip(path, at, bits);
    }
    if (reads())
        assert_true(told > 200);
    flip(path, (uint64_t)st.st_size - 1, 1);
    assert_true(made(pack)); /* a bad copy is made again */
    assert_false(made(pack));
    free(want);
}

static void a_copy_of_another_state_of_the_pack_is_a_miss(void **state)
{
    char pack[1024], path[1024];
    size_t n, n_new;
    lm_error err = { 0 };
    char *json = NULL;
    (void)state;
    own_pack("llama-Q4_0.gguf", "own.gguf", pack);
    assert_int_equal(prepare(pack, 0, NULL), LM_OK);
    float *want = want_of(pack, NULL, &n);
    struct stat st;
    assert_int_equal(stat(pack, &st), 0);
    flip(pack, (uint64_t)st.st_size - 100, 4); /* other weights in the same file */
    float *other = want_of(pack, NULL, &n_new);
    assert_memory_not_equal(want, other, n);
    lm_model_info info = check_bits(pack, NULL, other, n);
    assert_int_equal(info.prepared, LM_PREPARED_STALE);
    assert_string_equal(info.prepared_note,
                        "the prepared copy of this pack is not used: the pack has changed since");
    assert_int_equal(lm_prepared_list(cache, &json, &err), LM_OK);
    assert_non_null(strstr(json, "\"stale\""));
    lm_give_back(json);
    assert_true(made(pack)); /* in its place */
    copy_path(path);
    info = check_bits(pack, NULL, other, n);
    assert_true(info.prepared != LM_PREPARED_STALE && info.prepared_note[0] == 0);
    free(want);
    free(other);
}

static void a_copy_cut_short_before_or_during_use_is_a_miss(void **state)
{
    char pack[1024], path[1024];
    size_t n, n_got;
    struct stat st;
    lm_model_info info;
    (void)state;
    golden("llama-q4", pack);
    float *want = want_of(pack, NULL, &n);
    assert_int_equal(prepare(pack, 0, NULL), LM_OK);
    copy_path(path);
    assert_int_equal(lm_map_install_sigbus(NULL), LM_OK);
    lm_model *m = open_model(pack, NULL, NULL, false);
    float *got = logits_of(m, &n_got); /* every panel was found good */
    assert_memory_equal(got, want, n);
    free(got);
    assert_int_equal(truncate(path, 8192), 0);
    got = logits_of(m, &n_got);
    assert_memory_equal(got, want, n);
    free(got);
    lm_model_get_info(m, &info);
    if (reads()) {
        assert_int_equal(info.prepared, LM_PREPARED_DAMAGED);
        assert_non_null(strstr(info.prepared_note, "was cut"));
    }
    lm_model_close(m);
    static const off_t sizes[] = { 0, 1, 79, 4096, 5000 };
    for (size_t i = LM_LEN(sizes); i-- > 0;) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_int_equal(stat(path, &st), 0);
        info = check_bits(pack, NULL, want, n);
        assert_int_equal(info.prepared, LM_PREPARED_DAMAGED);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(pack, path), 0);
    info = check_bits(pack, NULL, want, n);
    assert_int_equal(info.prepared, LM_PREPARED_NONE);
    free(want);
}

static void a_disk_that_fails_while_preparing_leaves_nothing_behind(void **state)
{
    static const int errors[] = { ENOSPC, EIO };
    char pack[1024];
    (void)state;
    golden("llama-q4", pack);
    lm_fault_set(LM_FAULT_OFF, 0, 0);
    assert_int_equal(prepare(pack, 0, NULL), LM_OK);
    uint64_t calls = lm_fault_count();
    if (calls == 0) {
        print_message("skipped: built without LM_FAULTS\n");
        return;
    }
    assert_true(calls > 5);
    for (size_t e = 0; e < LM_LEN(errors); e++)
        for (uint64_t k = 1; k <= calls + 5; k++) {
            lm_error err = { 0 };
            char *json = NULL;
            assert_int_equal(lm_prepared_remove(cache, NULL, &json, NULL), LM_OK);
            lm_give_back(json);
            lm_fault_set(LM_FAULT_ERROR_ALL, k, errors[e]);
            lm_status s = prepare(pack, 0, &err);
            uint64_t seen = lm_fault_count();
            lm_fault_set(LM_FAULT_OFF, 0, 0);
            if (s == LM_OK) {
                assert_true(seen < k || n_files() == 1);
                continue;
            }
            assert_int_equal(s, errors[e] == ENOSPC ? LM_ERR_NOSPACE : LM_ERR_IO);
            assert_true(err.text[0] != 0);
            assert_int_equal(n_files(), 0);
        }
    assert_true(made(pack) || n_files() == 1);
}

static void the_folder_stays_within_its_budget(void **state)
{
    char a[1024], b[1024], path[1024], *json = NULL;
    struct stat st;
    lm_error err = { 0 };
    (void)state;
    own_pack("llama-Q4_0.gguf", "a.gguf", a);
    own_pack("llama-Q4_0.gguf", "b.gguf", b);
    assert_int_equal(prepare(a, 0, NULL), LM_OK);
    assert_int_equal(stat(copy_path(path), &st), 0);
    uint64_t size = (uint64_t)st.st_size;
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(prepare(b, size - 1, &err), LM_ERR_NOSPACE);
    assert_non_null(strstr(err.text, "the budget of prepared copies is"));
    assert_int_equal(n_files(), 1);
    assert_int_equal(prepare(b, 2 * size - 1, NULL), LM_OK); /* a makes room */
    assert_int_equal(n_files(), 1);
    assert_int_equal(lm_prepared_list(cache, &json, NULL), LM_OK);
    assert_non_null(strstr(json, "/b.gguf\""));
    assert_null(strstr(json, "/a.gguf\""));
    assert_non_null(strstr(json, "\"current\""));
    lm_give_back(json);
    assert_int_equal(prepare(a, 2 * size, NULL), LM_OK);
    assert_int_equal(n_files(), 2);
    err = (lm_error){ 0 };
    assert_int_equal(unlink(b), 0); /* removed by its path though it is gone */
    assert_int_equal(lm_prepared_remove(cache, b, &json, &err), LM_OK);
    lm_give_back(json);
    assert_int_equal(n_files(), 1);
    assert_int_equal(lm_prepared_remove(cache, b, &json, &err), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_prepared_remove(cache, a, &json, NULL), LM_OK);
    assert_non_null(strstr(json, "\"removed\": 1"));
    lm_give_back(json);
    assert_int_equal(n_files(), 0);
    assert_int_equal(stat(lm_tempdir_path(&dir, "cache/prepared/CACHEDIR.TAG", path), &st), 0);
    assert_int_equal(stat(lm_tempdir_path(&dir, "cache/prepared", path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_pack_without_quantised_weights_is_refused_by_name(void **state)
{
    char pack[1024];
    lm_error err = { 0 };
    (void)state;
    golden("qwen3", pack);
    assert_int_equal(prepare(pack, 0, &err), LM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no matrix of this pack"));
    assert_int_equal(n_files(), 0);
}

static bool stop(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    assert_true(done <= total);
    return false;
}

static void preparing_can_be_stopped(void **state)
{
    lm_prepare_options o;
    char pack[1024], *json = NULL;
    (void)state;
    lm_prepare_defaults(&o);
    o.cache_dir = cache;
    o.on_progress = stop;
    assert_int_equal(lm_prepare(golden("llama-q4", pack), &o, &json, NULL), LM_ERR_CANCELLED);
    assert_int_equal(n_files(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_prepared_copy_gives_the_same_logits_bit_for_bit),
        TEST(a_copy_has_no_name_before_it_is_whole),
        TEST(flipped_bytes_never_change_the_result_and_are_told_once),
        TEST(a_copy_of_another_state_of_the_pack_is_a_miss),
        TEST(a_copy_cut_short_before_or_during_use_is_a_miss),
        TEST(a_disk_that_fails_while_preparing_leaves_nothing_behind),
        TEST(the_folder_stays_within_its_budget),
        TEST(a_pack_without_quantised_weights_is_refused_by_name),
        TEST(preparing_can_be_stopped),
    };
    return cmocka_run_group_tests_name("engine/prepared", tests, NULL, NULL);
}
