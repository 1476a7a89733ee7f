/* Files without a name until they are whole. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/newfile.h"
#include "support/tempdir.h"

static int n_files(const lm_tempdir *t)
{
    char path[1024];
    DIR *d = opendir(lm_tempdir_path(t, "in", path));
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void content_is(const char *path, const char *want)
{
    char got[16] = "";
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(got, 1, sizeof got - 1, f), strlen(want));
    (void)fclose(f);
    assert_string_equal(got, want);
}

static bool nameless(const char *tmp)
{
    return strcmp(tmp + strlen(tmp) - 6, "XXXXXX") == 0;
}

static void a_new_file_takes_the_place_of_the_old_one_when_it_is_named(void **state)
{
    lm_tempdir t = lm_tempdir_make();
    char path[1024], tmp[1100];
    struct stat st;
    (void)state;
    lm_tempdir_text(&t, "in/file", "old");
    (void)lm_tempdir_path(&t, "in/file", path);
    (void)snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    int fd = lm_newfile_open(tmp);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "new", 3), 3);
    assert_int_equal(n_files(&t), nameless(tmp) ? 1 : 2);
    content_is(path, "old");
    assert_int_equal(lm_newfile_name(fd, tmp, path), 0);
    content_is(path, "new");
    assert_int_equal(n_files(&t), 1);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    close(fd);
    lm_tempdir_remove(&t);
}

static void what_cannot_be_named_leaves_nothing(void **state)
{
    lm_tempdir t = lm_tempdir_make();
    char path[1024], tmp[1100];
    (void)state;
    lm_tempdir_text(&t, "in/folder/x", "");
    (void)lm_tempdir_path(&t, "in/folder", path);
    (void)snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    int fd = lm_newfile_open(tmp);
    assert_true(fd >= 0);
    assert_int_equal(lm_newfile_name(fd, tmp, path), -1); /* a folder is there */
    close(fd);
    assert_int_equal(n_files(&t), 1);
    (void)snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    fd = lm_newfile_open(tmp);
    assert_true(fd >= 0);
    lm_newfile_drop(tmp);
    close(fd);
    assert_int_equal(n_files(&t), 1);
    (void)snprintf(tmp, sizeof tmp, "%s/nowhere/x.XXXXXX", path);
    assert_int_equal(lm_newfile_open(tmp), -1);
    lm_tempdir_remove(&t);
}

static void a_process_that_is_killed_while_it_writes_leaves_nothing(void **state)
{
    lm_tempdir t = lm_tempdir_make();
    char path[1024], tmp[1100];
    int status;
    (void)state;
    lm_tempdir_text(&t, "in/file", "old");
    (void)lm_tempdir_path(&t, "in/file", path);
    (void)snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    int fd = lm_newfile_open(tmp);
    bool can = fd >= 0 && nameless(tmp);
    close(fd);
    lm_newfile_drop(tmp);
    if (!can) {
        lm_tempdir_remove(&t);
        skip(); /* a file system without nameless files */
    }
    pid_t pid = fork();
    if (pid == 0) {
        fd = lm_newfile_open(tmp);
        if (fd >= 0 && write(fd, "new", 3) == 3)
            (void)raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(n_files(&t), 1);
    content_is(path, "old");
    lm_tempdir_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file_takes_the_place_of_the_old_one_when_it_is_named),
        cmocka_unit_test(what_cannot_be_named_leaves_nothing),
        cmocka_unit_test(a_process_that_is_killed_while_it_writes_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
