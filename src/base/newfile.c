/* base/newfile.c - nameless files, and temporary names where there are none. */
#define _GNU_SOURCE
#include "base/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { MARK = 6, TRIES = 100 };
static const char mark[] = "XXXXXX";

/* The way to link it, /proc, must be there before anything is written. */
int lm_nameless_open(int dir, const char *folder)
{
    char self[64];
    int fd = openat(dir, folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (access(self, F_OK) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

int lm_nameless_link(int fd, int dir, const char *name)
{
    char self[64];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW);
}

static char *mark_of(char *tmp)
{
    size_t n = strlen(tmp);
    char *at = n > MARK ? tmp + n - MARK : NULL;
    return at && strcmp(at, mark) == 0 ? at : NULL;
}

int lm_newfile_open(char *tmp)
{
    char folder[4096];
    const char *slash = strrchr(tmp, '/');
    size_t n = !slash ? 0 : slash == tmp ? 1 : (size_t)(slash - tmp);
    if (n < sizeof folder) {
        memcpy(folder, n ? tmp : ".", n ? n : 1);
        folder[n ? n : 1] = 0;
        int fd = lm_nameless_open(AT_FDCWD, folder);
        if (fd >= 0)
            return fd;
    }
    return mkostemp(tmp, O_CLOEXEC);
}

/* Links under a random name in place of the mark. */
static int link_somewhere(int fd, char *tmp, char *at)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    for (int i = 0; i < TRIES; i++) {
        uint8_t r[MARK];
        if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
            break;
        for (int k = 0; k < MARK; k++)
            at[k] = digits[r[k] % 32];
        if (lm_nameless_link(fd, AT_FDCWD, tmp) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    memcpy(at, mark, MARK);
    return -1;
}

int lm_newfile_name(int fd, char *tmp, const char *path)
{
    char *at = mark_of(tmp);
    if (at && link_somewhere(fd, tmp, at) != 0)
        return -1;
    if (rename(tmp, path) == 0)
        return 0;
    int why = errno;
    (void)unlink(tmp);
    errno = why;
    return -1;
}

void lm_newfile_drop(const char *tmp)
{
    size_t n = strlen(tmp);
    if (n < MARK || strcmp(tmp + n - MARK, mark) != 0)
        (void)unlink(tmp);
}
