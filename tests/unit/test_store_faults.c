/* The store under faults: SIGKILL and errors at every system call, failing memory, flipped
 * bits, two processes, a slow close.  LM_CRASH_KILLS=1000 makes the crash test longer. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store.h"
#include "support/state_lite.h"

enum { BIG = 64 << 20, OLD = 200, NEW = 330, REAL = 70, SMALL_BUDGET = 1400 << 10 };
static char folder[128];
static char bundle[160]; /* "talk" of OLD tokens */

/* --- SQLite's own system calls are failpoints too ---------------------------------------- */

static ssize_t fail_pwrite(int fd, const void *p, size_t n, off_t at)
{
    return lm_fault_here() ? -1 : pwrite(fd, p, n, at);
}

static ssize_t fail_write(int fd, const void *p, size_t n)
{
    return lm_fault_here() ? -1 : write(fd, p, n);
}

static int fail_ftruncate(int fd, off_t n)
{
    return lm_fault_here() ? -1 : ftruncate(fd, n);
}

static int fail_unlink(const char *path)
{
    return lm_fault_here() ? -1 : unlink(path);
}

static void hook_sqlite(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } hooks[] = { { "pwrite", (sqlite3_syscall_ptr)fail_pwrite },
                  { "pwrite64", (sqlite3_syscall_ptr)fail_pwrite },
                  { "write", (sqlite3_syscall_ptr)fail_write },
                  { "ftruncate", (sqlite3_syscall_ptr)fail_ftruncate },
                  { "unlink", (sqlite3_syscall_ptr)fail_unlink } };
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++)
        (void)vfs->xSetSystemCall(vfs, hooks[i].name, hooks[i].call);
}

/* --- what is done while the process is killed ---------------------------------------------- */

static lite_session old_s, new_s, auto_s, other_s;

static void make_sessions(void)
{
    lite_open(&old_s, 1, OLD, 2);
    lite_open(&new_s, 1, NEW, 2);
    lite_open(&auto_s, 2, 320, 2);
    lite_open(&other_s, 3, 150, 2);
}

static void free_sessions(void)
{
    lite_close(&old_s);
    lite_close(&new_s);
    lite_close(&auto_s);
    lite_close(&other_s);
}

/* One page and a bit in bf16, as a model leaves them: "real", to be recoded. */
static void real_sleep(lm_store *s)
{
    static const lm_cache_group shape = { 2, 1, 32, 32, 0 };
    static uint8_t page[2][2 * (32 + 32) * 64 * 2];
    static int32_t tokens[REAL];
    const uint8_t *pages[2] = { page[0], page[1] };
    lm_error err = { 0 };
    lm_space space;
    lm_state_id id = { .n_layers = 2 };
    lm_geometry g = lm_geometry_of(0, &shape, LM_KV_BF16);
    assert_int_equal(g.page_bytes, sizeof page[0]);
    state_lite_model(&id.model, 9);
    assert_int_equal(lm_space_init(&space, &id.model, &g, 1, NULL, 0, &err), LM_OK);
    state_lite_tokens(77, tokens, REAL);
    for (size_t i = 0; i < sizeof page[0] / 2; i++) /* bf16 between 1 and 2 */
        page[0][2 * i + 1] = page[1][2 * i + 1] = 0x3f, page[0][2 * i] = page[1][2 * i] = 0x80 | (i & 63);
    lm_sleep e = { .name = "real",
                   .flags = LM_ENTRY_KEPT,
                   .id = &id,
                   .space = &space,
                   .tokens = tokens,
                   .n_tokens = REAL,
                   .pages = { pages } };
    assert_int_equal(lm_store_sleep(s, &e, NULL, &err), LM_OK);
}

/* Whole or not there: tokens of the entry that mount and are good. */
static uint32_t real_tokens(lm_store *s, const char *name)
{
    lm_error err = { 0 };
    lm_entry *e = NULL;
    lm_mount *m = NULL;
    lm_status status = lm_store_entry(s, name, &e, &err);
    if (status == LM_ERR_NOT_FOUND)
        return 0;
    assert_int_equal(status, LM_OK);
    assert_int_equal(lm_store_mount(s, e, REAL, &m, &err), LM_OK);
    assert_non_null(m);
    uint32_t n = lm_mount_n_tokens(m);
    for (uint32_t i = 0; i < lm_mount_n_pages(m); i++)
        assert_int_equal(lm_mount_verify(m, 0, i, &err), LM_OK);
    lm_mount_close(m);
    lm_entry_free(e);
    return n;
}

/* The store as it is before each kill: "talk" with OLD tokens, "other", automatic pages. */
static void prepare(void)
{
    lm_error err = { 0 };
    lm_store *s = lite_store(folder, BIG, &err);
    assert_non_null(s);
    assert_int_equal(lite_sleep(s, &old_s, "talk", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    assert_int_equal(lite_sleep(s, &other_s, "other", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    assert_int_equal(lite_put(s, &auto_s, 0, 10, 1000, &err), LM_OK);
    for (uint32_t n = 0; n < 10; n++) { /* small runs, to be merged */
        lite_session l;
        lite_open(&l, 400 + n, 48, 1);
        assert_int_equal(lite_put(s, &l, 0, 3, 10, &err), LM_OK);
        lm_store_flush(s);
        lite_close(&l);
    }
    real_sleep(s);
    (void)snprintf(bundle, sizeof bundle, "%s.bundle", folder);
    assert_int_equal(lm_store_export(s, "talk", bundle, NULL, &err), LM_OK);
    lm_store_close(s);
}

typedef enum { SLEEP, PUT, GC, FORK, REMOVE, EVICT, REBUILD, IMPORT, RECODE, N_WORKS } work;
static const char *const work_names[] = { "sleep", "put",     "gc",     "fork",  "remove",
                                          "evict", "rebuild", "import", "recode" };

/* LM_OK, or how the work failed; a store that cannot be opened counts as failed. */
static lm_status do_work(work w)
{
    lm_error err = { 0 };
    lm_fsck_report report;
    if (w == REBUILD)
        return lm_store_rebuild(folder, &report, &err);
    lm_store *s = lite_store(folder, w == EVICT ? SMALL_BUDGET : BIG, &err);
    lm_status status = s ? LM_OK : err.status;
    if (!s)
        return status;
    switch (w) {
    case SLEEP: status = lite_sleep(s, &new_s, "talk", LM_ENTRY_KEPT, NULL, &err); break;
    case PUT:
    case EVICT:
        status = lite_put(s, &auto_s, 0, 20, 1000, &err);
        lm_store_flush(s);
        if (lm_store_events(s, &err) & LM_STORE_TROUBLE)
            status = err.status;
        break;
    case GC: status = lm_store_gc(s, NULL, &err); break;
    case FORK: status = lm_store_fork(s, "talk", "copy", &err); break;
    case REMOVE: status = lm_store_remove(s, "talk", &err); break;
    case IMPORT: status = lm_store_import(s, bundle, "brought", NULL, NULL, &err); break;
    case RECODE: status = lm_store_recode(s, "real", "recoded", "q8", NULL, &err); break;
    default: break;
    }
    if (status != LM_OK && err.text[0] == 0)
        status = LM_ERR_INTERNAL; /* a failure must say why */
    lm_store_close(s);
    return status;
}

/* Old state or new, nothing else lost; the index agrees with the files. */
static void check_after(work w, bool may_be_new, bool must_be_new)
{
    lm_error err = { 0 };
    lm_fsck_report r;
    lm_gc_report gc;
    uint32_t n = 0;
    lm_store *s = lite_store(folder, BIG, &err);
    if (!s)
        print_message("%s\n", err.text);
    assert_non_null(s);
    assert_int_equal(lm_store_fsck(s, &r, NULL, NULL, &err), LM_OK);
    assert_int_equal(r.bad_runs + r.bad_pages + r.bad_entries + r.missing_pages, 0);
    assert_int_equal(lite_wake(s, &other_s, "other", 150, &n, &err), 150);
    uint32_t woken = lite_wake(s, &new_s, "talk", NEW, &n, &err);
    if (woken == UINT32_MAX) {
        assert_int_equal(w, REMOVE);
        assert_int_equal(err.status, LM_ERR_NOT_FOUND);
        assert_true(may_be_new);
    } else {
        assert_true(n == OLD || (n == NEW && w == SLEEP));
        assert_int_equal(woken, n); /* whole */
        assert_true(n == OLD || may_be_new);
        if (must_be_new && w == SLEEP)
            assert_int_equal(n, NEW);
    }
    lm_error_clear(&err);
    woken = lite_wake(s, &old_s, "copy", OLD, &n, &err);
    if (must_be_new && w == FORK)
        assert_int_equal(woken, OLD);
    assert_true(woken == OLD || woken == UINT32_MAX);
    woken = lite_wake(s, &old_s, "brought", OLD, &n, &err);
    assert_true(woken == OLD || (woken == UINT32_MAX && !(must_be_new && w == IMPORT)));
    assert_int_equal(real_tokens(s, "real"), REAL);
    n = real_tokens(s, "recoded");
    assert_true(n == REAL || (n == 0 && !(must_be_new && w == RECODE)));
    uint32_t found = lite_find(s, &auto_s);
    assert_true(found <= 320);
    if (w != EVICT)
        assert_true(found >= 160);
    /* Nothing is left over: collecting twice finds nothing the second time. */
    lm_error_clear(&err);
    assert_int_equal(lm_store_gc(s, &gc, &err), LM_OK);
    assert_int_equal(lm_store_gc(s, &gc, &err), LM_OK);
    assert_int_equal(gc.orphans, 0);
    /* No private page is left without its entry. */
    lm_store_stats t;
    assert_int_equal(lm_store_get_stats(s, &t, &err), LM_OK);
    uint64_t pages = t.index.pages;
    assert_int_equal(lm_store_sweep_private(s, &err), LM_OK);
    assert_int_equal(lm_store_get_stats(s, &t, &err), LM_OK);
    assert_int_equal(t.index.pages, pages);
    lm_store_close(s);
}

static char template_folder[128];

static void copy_template(void)
{
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", folder, template_folder,
                   folder);
    assert_int_equal(system(command), 0);
}

/* Runs the work in a child with a fault set.  -1: killed by SIGKILL; else its status. */
static int child_work(work w, lm_fault_mode mode, uint64_t n, int error, uint64_t *seen)
{
    int fd[2], status = 0, result = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        hook_sqlite();
        lm_fault_set(mode, n, error);
        lm_status got = do_work(w);
        uint64_t count = lm_fault_count();
        lm_fault_set(LM_FAULT_OFF, 0, 0);
        (void)!write(fd[1], &count, sizeof count);
        _exit(got == LM_OK ? 0 : 100 + (int)got);
    }
    assert_true(pid > 0);
    (void)close(fd[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    uint64_t count = 0;
    if (read(fd[0], &count, sizeof count) == sizeof count && seen)
        *seen = count;
    (void)close(fd[0]);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        result = -1;
    } else
        result = WEXITSTATUS(status);
    return result;
}

static int setup_template(void **state)
{
    (void)state;
    /* A kill does not lose what the system has taken: memory is as good as a disk here, and
     * its fsync is free. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0);
    make_sessions();
    state_lite_folder(template_folder);
    (void)snprintf(folder, sizeof folder, "%s", template_folder);
    prepare();
    state_lite_folder(folder);
    return 0;
}

static int teardown_template(void **state)
{
    (void)state;
    free_sessions();
    state_lite_remove(folder);
    state_lite_remove(template_folder);
    (void)unlink(bundle);
    return 0;
}

static void a_kill_at_any_system_call_leaves_the_old_state_or_the_new(void **state)
{
    const char *want = getenv("LM_CRASH_KILLS");
    uint64_t total = want ? strtoull(want, NULL, 10) : 300, kills = 0, points[N_WORKS], sum = 0;
    (void)state;
    for (int w = 0; w < N_WORKS; w++) {
        copy_template();
        assert_int_equal(child_work((work)w, LM_FAULT_OFF, 0, 0, &points[w]), 0);
        check_after((work)w, true, true);
        sum += points[w];
    }
    for (int w = 0; w < N_WORKS; w++) {
        /* Every failpoint of each work once if the number allows, else evenly spread. */
        uint64_t share = LM_MAX(total * points[w] / sum, 5), done = 0;
        for (uint64_t k = 0; k < share; k++) {
            uint64_t n = 1 + (share >= points[w] ? k % points[w] : k * points[w] / share);
            copy_template();
            int got = child_work((work)w, LM_FAULT_KILL, n, 0, NULL);
            assert_true(got == -1 || got == 0);
            kills += got == -1;
            done += got == -1;
            check_after((work)w, true, false);
        }
        print_message("%-8s %4llu failpoints, %llu kills\n", work_names[w], (unsigned long long)points[w],
                      (unsigned long long)done);
    }
    print_message("%llu kills in all\n", (unsigned long long)kills);
    assert_true(kills >= total * 8 / 10);
}

static void an_error_at_any_system_call_is_told_and_leaves_a_whole_state(void **state)
{
    uint64_t failures = 0, silent = 0;
    (void)state;
    for (int w = 0; w < N_WORKS; w++) {
        uint64_t points = 0;
        copy_template();
        assert_int_equal(child_work((work)w, LM_FAULT_OFF, 0, 0, &points), 0);
        for (uint64_t k = 0; k < 14; k++) {
            uint64_t n = 1 + k * points / 14;
            copy_template();
            int got = child_work((work)w, k % 2 ? LM_FAULT_ERROR_ALL : LM_FAULT_ERROR, n,
                                 k % 4 < 2 ? ENOSPC : EIO, NULL);
            assert_true(got >= 0);
            assert_int_not_equal(got, 100 + LM_ERR_INTERNAL);
            failures += got != 0;
            silent += got == 0;
            /* A work that reported success must have succeeded. */
            check_after((work)w, true, got == 0 && w != PUT && w != EVICT);
        }
    }
    print_message("%llu failures told, %llu made good\n", (unsigned long long)failures,
                  (unsigned long long)silent);
    assert_true(failures > 30);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void every_failing_allocation_gives_a_status_and_changes_nothing(void **state)
{
    lm_error err = { 0 };
    lm_store *s;
    uint32_t walked = 0, n_tokens;
    (void)state;
    copy_template();
    s = lite_store(folder, BIG, &err);
    assert_non_null(s);
    lm_store_flush(s); /* the disk thread is idle: every allocation is this thread's or a job's */
    for (uint64_t n = 1;; n++) {
        lm_entry *e = NULL;
        lm_mount *m = NULL;
        lm_error own = { 0 };
        lm_mem_fail_after(n);
        lm_status status = lm_store_entry(s, "talk", &e, &own);
        if (status == LM_OK)
            status = lm_store_mount(s, e, OLD, &m, &own);
        lm_mem_fail_after(0);
        uint32_t got = m ? lm_mount_n_tokens(m) : 0;
        lm_mount_close(m);
        lm_entry_free(e);
        if (status == LM_OK && got == OLD)
            break;
        /* A mapping that cannot be made is a miss: fewer tokens, never others. */
        assert_true(status == LM_ERR_NOMEM || got < OLD);
        walked++;
        assert_true(n < 1000);
    }
    for (uint64_t n = 1;; n++) {
        lm_error own = { 0 };
        lm_mem_fail_after(n);
        lm_status status = lite_sleep(s, &new_s, "talk", LM_ENTRY_KEPT, NULL, &own);
        lm_mem_fail_after(0);
        if (status == LM_OK)
            break;
        assert_int_equal(status, LM_ERR_NOMEM);
        assert_int_equal(lite_wake(s, &old_s, "talk", OLD, &n_tokens, &err), OLD);
        assert_int_equal(n_tokens, OLD);
        walked++;
        assert_true(n < 1000);
    }
    lm_store_close(s);
    /* The disk thread may take the failure for its tidying up: the store opens all the same. */
    for (uint64_t n = 1; n < 60; n++) {
        lm_error own = { 0 };
        lm_mem_fail_after(n);
        s = lite_store(folder, BIG, &own);
        if (s)
            lm_store_flush(s);
        lm_mem_fail_after(0);
        if (!s) {
            assert_int_equal(own.status, LM_ERR_NOMEM);
            walked++;
        }
        lm_store_close(s);
    }
    print_message("%u failing allocations\n", walked);
    assert_true(walked > 40);
    check_after(SLEEP, true, true);
}

/* --- flipped bits -------------------------------------------------------------------------------- */

typedef struct {
    char path[480];
    uint64_t size;
} file;

static size_t list_files(file *out, size_t cap)
{
    static const char *const dirs[] = { "", "/runs", "/entries" };
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        char dir[160];
        struct dirent *e;
        struct stat st;
        (void)snprintf(dir, sizeof dir, "%s%s", folder, dirs[i]);
        DIR *d = opendir(dir);
        assert_non_null(d);
        while ((e = readdir(d)) && n < cap) {
            (void)snprintf(out[n].path, sizeof out[n].path, "%s/%s", dir, e->d_name);
            if (lstat(out[n].path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
                !strstr(out[n].path, "lock"))
                out[n++].size = (uint64_t)st.st_size;
        }
        (void)closedir(d);
    }
    return n;
}

/* lite_wake() and lite_find() abort when a page passes its check with a wrong byte. */
static void flipped_bits_are_misses_or_named_errors(void **state)
{
    uint64_t seed = 99, refused = 0, short_ = 0, whole = 0;
    (void)state;
    copy_template();
    for (int k = 0; k < 1000; k++) {
        file files[64];
        lm_error err = { 0 };
        uint8_t byte;
        size_t n = list_files(files, 64);
        const file *f = &files[state_lite_random(&seed) % n];
        if (k % 3 == 0) /* every third in the index */
            for (size_t i = 0; i < n; i++)
                if (strstr(files[i].path, "index.db") && !strstr(files[i].path, "-shm"))
                    f = &files[i];
        uint64_t bit = state_lite_random(&seed) % (f->size * 8);
        int fd = open(f->path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
        (void)close(fd);
        lm_store *s = lite_store(folder, BIG, &err);
        if (!s) {
            assert_int_not_equal(err.text[0], 0);
            assert_int_not_equal(err.status, LM_ERR_INTERNAL);
            refused++;
        } else {
            uint32_t tokens, got = lite_wake(s, &old_s, "talk", OLD, &tokens, &err);
            if (got == UINT32_MAX) {
                assert_int_not_equal(err.text[0], 0);
                refused++;
            } else
                got < OLD ? short_++ : whole++;
            (void)lite_find(s, &auto_s);
            lm_store_close(s);
        }
        copy_template();
    }
    print_message("1000 flips: %llu named errors, %llu shorter, %llu whole\n", (unsigned long long)refused,
                  (unsigned long long)short_, (unsigned long long)whole);
    assert_true(refused > 20 && short_ > 20);
}

static void cut_files_are_misses_or_named_errors(void **state)
{
    uint64_t seed = 5;
    (void)state;
    copy_template();
    for (int k = 0; k < 150; k++) {
        file files[64];
        lm_error err = { 0 };
        size_t n = list_files(files, 64);
        const file *f = &files[state_lite_random(&seed) % n];
        assert_int_equal(truncate(f->path, (off_t)(state_lite_random(&seed) % f->size)), 0);
        lm_store *s = lite_store(folder, BIG, &err);
        if (s) {
            if (lite_wake(s, &old_s, "talk", OLD, NULL, &err) == UINT32_MAX)
                assert_int_not_equal(err.text[0], 0);
            (void)lite_find(s, &auto_s);
            lm_store_close(s);
        } else
            assert_int_not_equal(err.text[0], 0);
        copy_template();
    }
}

/* --- two processes --------------------------------------------------------------------------------- */

static void hammer(uint64_t seed, int rounds)
{
    lm_error err = { 0 };
    lm_store *s = lite_store(folder, SMALL_BUDGET * 2, &err);
    if (!s)
        _exit(1);
    for (int k = 0; k < rounds; k++) {
        lite_session l;
        char name[32];
        uint32_t n = (uint32_t)(64 + state_lite_random(&seed) % 256);
        uint64_t talk = state_lite_random(&seed) % 6;
        (void)snprintf(name, sizeof name, "shared %llu", (unsigned long long)talk);
        lite_open(&l, 700 + talk, n, 2);
        lm_error_clear(&err);
        lm_status status = LM_OK;
        switch (state_lite_random(&seed) % 6) {
        case 0:
        case 1: status = lite_sleep(s, &l, name, LM_ENTRY_KEPT, NULL, &err); break;
        case 2:
            status = lite_put(s, &l, 0, n / LITE_TOKENS, 100, &err);
            lm_store_flush(s); /* the pages are freed below */
            break;
        case 3: status = lm_store_remove(s, name, &err); break;
        case 4: status = k % 8 ? LM_OK : lm_store_gc(s, NULL, &err); break;
        default: break;
        }
        /* A removal may meet another's; everything else works. */
        if (status != LM_OK && status != LM_ERR_NOT_FOUND && status != LM_ERR_BUSY) {
            (void)fprintf(stderr, "round %d: %s: %s\n", k, lm_status_name(status), err.text);
            _exit(2);
        }
        lite_session whole;
        lite_open(&whole, 700 + talk, 330, 2);
        lm_error_clear(&err);
        uint32_t tokens = 0, got = lite_wake(s, &whole, name, UINT32_MAX, &tokens, &err);
        if (got == UINT32_MAX && err.status != LM_ERR_NOT_FOUND) {
            (void)fprintf(stderr, "round %d: wake: %s\n", k, err.text);
            _exit(3);
        }
        (void)lite_find(s, &whole);
        lite_close(&whole);
        lite_close(&l);
    }
    lm_store_flush(s);
    lm_store_close(s);
    _exit(0);
}

static void two_processes_share_one_store(void **state)
{
    pid_t pids[3];
    lm_error err = { 0 };
    lm_fsck_report r;
    (void)state;
    state_lite_remove(folder);
    state_lite_folder(folder);
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            hammer(1000 + (uint64_t)i, 60);
        assert_true(pids[i] > 0);
    }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_true(state_lite_disk_bytes(folder) <= SMALL_BUDGET * 2);
    lm_store *s = lite_store(folder, BIG, &err);
    assert_non_null(s);
    assert_int_equal(lm_store_fsck(s, &r, NULL, NULL, &err), LM_OK);
    assert_int_equal(r.bad_runs + r.bad_pages + r.bad_entries + r.missing_pages, 0);
    lm_store_close(s);
}

/* --- trouble and closing ------------------------------------------------------------------------------ */

static void a_full_disk_is_told_once_and_the_run_goes_on(void **state)
{
    lm_error err = { 0 };
    (void)state;
    copy_template();
    lm_store *s = lite_store(folder, BIG, &err);
    assert_non_null(s);
    lm_fault_set(LM_FAULT_ERROR_ALL, 1, ENOSPC);
    assert_int_equal(lite_put(s, &auto_s, 0, 20, 10, &err), LM_OK);
    lm_store_flush(s);
    lm_fault_set(LM_FAULT_OFF, 0, 0);
    uint32_t events = lm_store_events(s, &err);
    assert_true(events & LM_STORE_TROUBLE);
    assert_int_equal(err.status, LM_ERR_NOSPACE);
    assert_int_equal(lm_store_events(s, NULL), 0);
    lm_error_clear(&err);
    /* For a minute nothing more is tried; finding and waking go on. */
    assert_int_equal(lite_put(s, &auto_s, 0, 20, 10, &err), LM_ERR_NOSPACE);
    assert_int_equal(lite_find(s, &auto_s), 160);
    assert_int_equal(lite_wake(s, &old_s, "talk", OLD, NULL, &err), OLD);
    assert_int_equal(lm_store_events(s, NULL), 0);
    lm_store_close(s);
}

static int n_released;
static void count_release(void *ctx, lm_status status)
{
    (void)ctx, (void)status;
    n_released++;
}

/* 256 MB of pages wait; the store closes within 100 ms and a margin for this machine, every
 * page is released, and what was written is whole. */
static void closing_waits_a_tenth_of_a_second(void **state)
{
    lm_error err = { 0 };
    lm_model_id id;
    lm_space space;
    lm_geometry g = { .format = "bf16",
                      .n_layers = 1,
                      .n_heads = 1,
                      .k_dim = 4,
                      .v_dim = 16,
                      .page_tokens = 16,
                      .page_bytes = 8 << 20 };
    struct timespec a, b;
    int32_t tokens[512];
    (void)state;
    uint8_t *page = calloc(1, 8 << 20);
    assert_non_null(page);
    copy_template();
    state_lite_model(&id, 5);
    assert_int_equal(lm_space_init(&space, &id, &g, 1, NULL, 0, &err), LM_OK);
    state_lite_tokens(8, tokens, 512);
    lm_store *s = lite_store(folder, UINT64_C(4) << 30, &err);
    assert_non_null(s);
    n_released = 0;
    for (uint32_t i = 0; i < 32; i++) {
        lm_store_page p = { 0, i, page };
        lm_store_put_args put = { .space = &space,
                                  .tokens = tokens,
                                  .n_tokens = 512,
                                  .pages = &p,
                                  .n_pages = 1,
                                  .release = count_release };
        assert_int_equal(lm_store_put(s, &put, &err), LM_OK);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    lm_store_close(s);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    free(page); /* nobody may look at it any more */
    double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) * 1e-6;
    print_message("closed in %.1f ms, %d of 32 released\n", ms, n_released);
    assert_int_equal(n_released, 32);
    assert_true(ms < 1000); /* other programs share this machine */
    struct timespec wait = { 0, 500000000 };
    (void)nanosleep(&wait, NULL); /* a last fsync may still be going on */
    check_after(GC, true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_at_any_system_call_leaves_the_old_state_or_the_new),
        cmocka_unit_test(an_error_at_any_system_call_is_told_and_leaves_a_whole_state),
        cmocka_unit_test(every_failing_allocation_gives_a_status_and_changes_nothing),
        cmocka_unit_test(flipped_bits_are_misses_or_named_errors),
        cmocka_unit_test(cut_files_are_misses_or_named_errors),
        cmocka_unit_test(two_processes_share_one_store),
        cmocka_unit_test(a_full_disk_is_told_once_and_the_run_goes_on),
        cmocka_unit_test(closing_waits_a_tenth_of_a_second),
    };
    return cmocka_run_group_tests_name("state/store faults", tests, setup_template, teardown_template);
}
