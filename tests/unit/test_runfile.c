/* Run files: bit equality, damage, truncation, locks, faults. */
#define _GNU_SOURCE
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/runfile.h"
#include "support/state_lite.h"

typedef struct {
    char folder[128];
    int dir;
    lm_space space;
    uint32_t n;
    lm_run_page pages[24];
    uint8_t *bytes[24];
    int32_t tokens[12 * LITE_TOKENS];
} fixture;

/* Twelve pages of each of two groups, the last of each a tail. */
static int setup(void **state)
{
    static fixture f;
    lm_model_id id;
    lm_digest names[12];
    memset(&f, 0, sizeof f);
    state_lite_folder(f.folder);
    f.dir = open(f.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    state_lite_model(&id, 3);
    state_lite_space(&f.space, &id, 2);
    state_lite_tokens(9, f.tokens, 12 * LITE_TOKENS);
    for (uint32_t g = 0; g < 2; g++) {
        uint32_t total = 11 * LITE_TOKENS + 5;
        if (lm_page_names(&f.space.roots[g], f.tokens, total, LITE_TOKENS, names, NULL) != LM_OK)
            return -1;
        for (uint32_t i = 0; i < 12; i++) {
            lm_run_page *p = &f.pages[f.n];
            f.bytes[f.n] = malloc(LITE_BYTES_1);
            state_lite_page(&f.space, g, &names[i], f.bytes[f.n]);
            *p = (lm_run_page){ .name = names[i],
                                .root = f.space.roots[g],
                                .geometry = f.space.groups[g],
                                .first = i * LITE_TOKENS,
                                .n_tokens = i < 11 ? LITE_TOKENS : 5,
                                .flags = i < 11 ? 0 : LM_PAGE_TAIL,
                                .tokens = f.tokens + i * LITE_TOKENS,
                                .cost_us = 1000 + i,
                                .bytes = f.bytes[f.n] };
            if (i)
                p->parent = names[i - 1];
            f.n++;
        }
    }
    *state = &f;
    return f.dir < 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (uint32_t i = 0; i < f->n; i++)
        free(f->bytes[i]);
    (void)close(f->dir);
    state_lite_remove(f->folder);
    return 0;
}

static lm_run_id write_run(fixture *f)
{
    lm_run_id id;
    uint64_t n_bytes = 0;
    lm_error err = { 0 };
    assert_int_equal(lm_run_write(f->dir, f->pages, f->n, NULL, &id, &n_bytes, &err), LM_OK);
    assert_int_equal(n_bytes, lm_run_size(f->pages, f->n));
    return id;
}

static void path_of(fixture *f, const lm_run_id *id, char out[256])
{
    char name[LM_RUN_NAME];
    lm_run_name(id, name);
    (void)snprintf(out, 256, "%s/%s", f->folder, name);
}

static void what_is_written_is_mapped_bit_for_bit(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    lm_run *r = NULL;
    lm_error err = { 0 };
    char path[256];
    struct stat st;
    path_of(f, &id, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal((uint64_t)st.st_size, lm_run_size(f->pages, f->n));
    assert_int_equal(lm_run_open(&r, f->dir, &id, &err), LM_OK);
    assert_int_equal(lm_run_n_pages(r), f->n);
    for (uint32_t i = 0; i < f->n; i++) {
        const lm_run_page *p = lm_run_page_at(r, i), *w = &f->pages[i];
        assert_memory_equal(&p->name, &w->name, sizeof p->name);
        assert_memory_equal(&p->parent, &w->parent, sizeof p->parent);
        assert_memory_equal(&p->root, &w->root, sizeof p->root);
        assert_memory_equal(&p->geometry, &w->geometry, sizeof p->geometry);
        assert_int_equal(p->first, w->first);
        assert_int_equal(p->n_tokens, w->n_tokens);
        assert_int_equal(p->flags, w->flags);
        assert_int_equal(p->cost_us, w->cost_us);
        assert_memory_equal(p->tokens, w->tokens, w->n_tokens * 4);
        assert_int_equal((uintptr_t)p->bytes % 4096, 0);
        assert_int_equal(lm_run_verify(r, i, &err), LM_OK);
        assert_memory_equal(p->bytes, w->bytes, w->geometry.page_bytes);
    }
    lm_run_release(r);
}

static void a_private_page_is_written_without_changing_the_file(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    lm_run *r = NULL;
    lm_map *a = NULL, *b = NULL;
    lm_error err = { 0 };
    assert_int_equal(lm_run_open(&r, f->dir, &id, &err), LM_OK);
    assert_int_equal(lm_run_map_private(r, 11, &a, &err), LM_OK);
    assert_int_equal(lm_run_map_private(r, 11, &b, &err), LM_OK);
    memset((void *)(uintptr_t)lm_map_data(a), 0x5a, LITE_BYTES_0);
    assert_memory_equal(lm_map_data(b), f->bytes[11], LITE_BYTES_0);
    assert_memory_equal(lm_run_page_at(r, 11)->bytes, f->bytes[11], LITE_BYTES_0);
    lm_map_close(a);
    lm_map_close(b);
    assert_int_equal(lm_run_verify(r, 11, &err), LM_OK);
    lm_run_release(r);
}

/* Every bit of the file counts or is padding: after any flip, opening and verifying
 * either refuses or gives the very bytes that were written. */
static void flipped_bits_never_give_wrong_bytes(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    char path[256];
    uint64_t size = lm_run_size(f->pages, f->n), seed = 77;
    uint32_t refused = 0, missed = 0, harmless = 0;
    path_of(f, &id, path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int k = 0; k < 1000; k++) {
        /* Half of them in header and table. */
        uint64_t bit = state_lite_random(&seed) % (8 * (k % 2 ? size : 4096 + f->n * 320));
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
        uint8_t changed = (uint8_t)(byte ^ 1u << bit % 8);
        assert_int_equal(pwrite(fd, &changed, 1, (off_t)(bit / 8)), 1);
        lm_run *r = NULL;
        lm_error err = { 0 };
        lm_status status = lm_run_open(&r, f->dir, &id, &err);
        if (status != LM_OK) {
            assert_int_not_equal(err.text[0], 0);
            assert_int_not_equal(status, LM_ERR_INTERNAL);
            refused++;
        } else {
            bool bad = false;
            for (uint32_t i = 0; i < f->n; i++) {
                if (lm_run_verify(r, i, NULL) != LM_OK) {
                    bad = true;
                    continue;
                }
                assert_memory_equal(lm_run_page_at(r, i)->bytes, f->bytes[i],
                                    f->pages[i].geometry.page_bytes);
                assert_memory_equal(&lm_run_page_at(r, i)->name, &f->pages[i].name, 32);
                assert_memory_equal(lm_run_page_at(r, i)->tokens, f->pages[i].tokens,
                                    f->pages[i].n_tokens * 4);
            }
            bad ? missed++ : harmless++;
            lm_run_release(r);
        }
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    }
    (void)close(fd);
    print_message("1000 flips: %u refused, %u pages missed, %u in padding\n", refused, missed, harmless);
    assert_true(refused > 100 && missed > 100);
}

static void a_short_file_is_refused_at_every_length(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    char path[256];
    uint64_t size = lm_run_size(f->pages, f->n), seed = 5;
    path_of(f, &id, path);
    for (int k = 0; k < 120; k++) {
        uint64_t n = k < 40 ? (uint64_t)k * 7 : size - 1 - state_lite_random(&seed) % size;
        lm_run *r = NULL;
        lm_error err = { 0 };
        /* Cutting and growing again leaves zeros: cut only downwards from a fresh copy. */
        lm_run_id fresh = id;
        if (k >= 40)
            fresh = write_run(f);
        path_of(f, &fresh, path);
        assert_int_equal(truncate(path, (off_t)n), 0);
        assert_int_not_equal(lm_run_open(&r, f->dir, &fresh, &err), LM_OK);
        assert_int_not_equal(err.text[0], 0);
        (void)unlink(path);
        if (k < 40)
            id = write_run(f);
    }
}

static void a_cut_under_the_map_is_an_error_of_that_run(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    lm_run *r = NULL;
    lm_map *own = NULL;
    lm_error err = { 0 };
    char path[256];
    assert_int_equal(lm_map_install_sigbus(&err), LM_OK);
    path_of(f, &id, path);
    assert_int_equal(lm_run_open(&r, f->dir, &id, &err), LM_OK);
    assert_int_equal(lm_run_map_private(r, 23, &own, &err), LM_OK);
    assert_int_equal(lm_run_verify(r, 0, &err), LM_OK);
    assert_int_equal(truncate(path, (off_t)lm_run_page_at(r, 20)->at), 0);
    assert_int_equal(lm_run_verify(r, 22, &err), LM_ERR_IO);
    assert_non_null(strstr(err.text, "can no longer be read"));
    assert_int_equal(lm_run_check(r, NULL), LM_ERR_IO);
    /* The tail of a session breaks for itself, and stays writable memory. */
    uint8_t *tail = (uint8_t *)(uintptr_t)lm_map_data(own);
    tail[0] = 1;
    tail[1] = (uint8_t)(tail[0] + 1);
    assert_int_equal(tail[1], 2);
    assert_int_equal(lm_map_check(own, NULL), LM_ERR_IO);
    lm_map_close(own);
    lm_run_release(r);
}

static void pages_are_given_back_only_when_nobody_maps_them(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f);
    lm_run *r = NULL;
    lm_error err = { 0 };
    assert_int_equal(lm_run_open(&r, f->dir, &id, &err), LM_OK);
    const uint32_t slots[2] = { 3, 4 };
    assert_int_equal(lm_run_punch(f->dir, &id, slots, 2, &err), LM_ERR_BUSY);
    assert_int_equal(lm_run_verify(r, 3, NULL), LM_OK);
    lm_run_release(r);
    lm_error_clear(&err);
    assert_int_equal(lm_run_punch(f->dir, &id, slots, 2, &err), LM_OK);
    assert_int_equal(lm_run_open(&r, f->dir, &id, &err), LM_OK);
    for (uint32_t i = 0; i < f->n; i++)
        assert_int_equal(lm_run_verify(r, i, NULL), i == 3 || i == 4 ? LM_ERR_STATE : LM_OK);
    for (uint32_t i = 0; i < LITE_TOKENS; i++)
        assert_int_equal(lm_run_page_at(r, 3)->tokens[i], 0); /* nor can the text be read */
    lm_run_release(r);
}

static void links_and_folders_in_place_of_runs_are_refused(void **state)
{
    fixture *f = *state;
    lm_run_id id = write_run(f), other = id;
    lm_run *r = NULL;
    lm_error err = { 0 };
    char path[256], link[256], name[LM_RUN_NAME], want[256];
    path_of(f, &id, path);
    other.b[0] ^= 1;
    path_of(f, &other, link);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(lm_run_open(&r, f->dir, &other, &err), LM_ERR_IO);
    lm_run_name(&other, name);
    (void)snprintf(want, sizeof want, "%s in the store is a symbolic link, which is refused", name);
    assert_string_equal(err.text, want);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rename(path, link), 0); /* a run under another's name */
    lm_error_clear(&err);
    assert_int_equal(lm_run_open(&r, f->dir, &other, &err), LM_ERR_STATE);
    assert_non_null(strstr(err.text, "a run file bears another's name"));
    lm_error_clear(&err);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(mkdir(link, 0700), 0);
    assert_int_not_equal(lm_run_open(&r, f->dir, &other, &err), LM_OK);
    assert_int_equal(rmdir(link), 0);
    assert_int_equal(mkfifo(link, 0600), 0);
    assert_int_equal(lm_run_open(&r, f->dir, &other, NULL), LM_ERR_IO);
    assert_int_equal(lm_run_open(&r, f->dir, &id, NULL), LM_ERR_NOT_FOUND);
}

static uint32_t files_in(const char *folder)
{
    char command[300];
    (void)snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *p = popen(command, "r");
    unsigned n = 0;
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%u", &n), 1);
    (void)pclose(p);
    return n;
}

static void every_failing_call_leaves_no_file(void **state)
{
    fixture *f = *state;
    lm_run_id id;
    uint32_t failures = 0;
    for (uint64_t n = 1;; n++) {
        lm_error err = { 0 };
        lm_fault_set(LM_FAULT_ERROR, n, ENOSPC);
        lm_status status = lm_run_write(f->dir, f->pages, f->n, NULL, &id, NULL, &err);
        uint64_t seen = lm_fault_count();
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        if (seen < n) {
            assert_int_equal(status, LM_OK);
            break;
        }
        assert_int_equal(status, LM_ERR_NOSPACE);
        assert_int_equal(files_in(f->folder), 0);
        failures++;
    }
    assert_true(failures > 20);
    for (uint64_t n = 1;; n++) {
        lm_run *r = NULL;
        lm_fault_set(LM_FAULT_ERROR, n, EIO);
        lm_status status = lm_run_open(&r, f->dir, &id, NULL);
        uint64_t seen = lm_fault_count();
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        if (status == LM_OK)
            lm_run_release(r);
        if (seen < n) {
            assert_int_equal(status, LM_OK);
            break;
        }
        assert_int_equal(status, LM_ERR_IO);
    }
    for (uint64_t n = 1;; n++) {
        lm_run *r = NULL;
        lm_mem_fail_after(n);
        lm_status status = lm_run_open(&r, f->dir, &id, NULL);
        lm_mem_fail_after(0);
        if (status == LM_OK) {
            lm_run_release(r);
            assert_true(n > 4);
            break;
        }
        assert_int_equal(status, LM_ERR_NOMEM);
    }
    lm_run_watch watch;
    atomic_init(&watch.stop, true);
    atomic_init(&watch.reading, false);
    assert_int_equal(lm_run_write(f->dir, f->pages, f->n, &watch, &id, NULL, NULL), LM_ERR_CANCELLED);
    assert_int_equal(files_in(f->folder), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_mapped_bit_for_bit),
        T(a_private_page_is_written_without_changing_the_file),
        T(flipped_bits_never_give_wrong_bytes),
        T(a_short_file_is_refused_at_every_length),
        T(a_cut_under_the_map_is_an_error_of_that_run),
        T(pages_are_given_back_only_when_nobody_maps_them),
        T(links_and_folders_in_place_of_runs_are_refused),
        T(every_failing_call_leaves_no_file),
    };
    return cmocka_run_group_tests_name("state/runfile", tests, NULL, NULL);
}
