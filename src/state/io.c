/* state/io.c - openat, pwrite, fsync, rename with failpoints. */
#define _GNU_SOURCE
#include "state/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"

#ifdef LM_FAULTS
/* Relaxed: tests set these before the calls that read them. */
static atomic_int fault_mode, fault_errno;
static atomic_uint_fast64_t fault_at, fault_seen;

void lm_fault_set(lm_fault_mode mode, uint64_t n, int error)
{
    atomic_store(&fault_mode, LM_FAULT_OFF);
    atomic_store(&fault_seen, 0);
    atomic_store(&fault_at, n);
    atomic_store(&fault_errno, error);
    atomic_store(&fault_mode, (int)mode);
}

uint64_t lm_fault_count(void)
{
    return atomic_load(&fault_seen);
}

bool lm_fault_here(void)
{
    uint64_t n = atomic_fetch_add_explicit(&fault_seen, 1, memory_order_relaxed) + 1;
    int mode = atomic_load_explicit(&fault_mode, memory_order_relaxed);
    uint64_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    if (mode == LM_FAULT_OFF || (mode == LM_FAULT_ERROR_ALL ? n < at : n != at))
        return false;
    if (mode == LM_FAULT_KILL)
        (void)kill(getpid(), SIGKILL);
    errno = atomic_load_explicit(&fault_errno, memory_order_relaxed);
    return true;
}
#else
void lm_fault_set(lm_fault_mode mode, uint64_t n, int error)
{
    (void)mode, (void)n, (void)error;
}

uint64_t lm_fault_count(void)
{
    return 0;
}

bool lm_fault_here(void)
{
    return false;
}
#endif

static lm_status io_error(lm_error *err, const char *verb, const char *what)
{
    int why = errno;
    lm_quoted_buf q;
    lm_status status = why == ENOENT                                    ? LM_ERR_NOT_FOUND
                       : why == ENOSPC || why == EDQUOT || why == EFBIG ? LM_ERR_NOSPACE
                       : why == ENOMEM                                  ? LM_ERR_NOMEM
                                                                        : LM_ERR_IO;
    if (why == ELOOP)
        return lm_fail(err, LM_ERR_IO, "%s in the store is a symbolic link, which is refused",
                       lm_quoted_z(&q, what));
    return lm_fail(err, status, "cannot %s %s in the store: %s", verb, lm_quoted_z(&q, what), strerror(why));
}

lm_status lm_io_folder(int at, const char *name, bool create, int *fd, lm_error *err)
{
    lm_quoted_buf q;
    struct stat st;
    if (create && (lm_fault_here() || (mkdirat(at, name, 0700) != 0 && errno != EEXIST)))
        return io_error(err, "make folder", name);
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        return lm_fail(err, LM_ERR_IO, "%s is a symbolic link, which the store refuses",
                       lm_quoted_z(&q, name));
    *fd = lm_fault_here() ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *fd < 0 ? io_error(err, "open folder", name) : LM_OK;
}

lm_status lm_io_open(int dir, const char *name, int flags, int *fd, lm_error *err)
{
    struct stat st;
    lm_quoted_buf q;
    *fd = lm_fault_here() ? -1
                          : openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (*fd < 0)
        return io_error(err, "open", name);
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return LM_OK;
    lm_io_close(*fd);
    *fd = -1;
    return lm_fail(err, LM_ERR_IO, "%s in the store is not a file", lm_quoted_z(&q, name));
}

void lm_io_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

lm_status lm_io_write_at(int fd, uint64_t at, const void *bytes, size_t n, const char *what, lm_error *err)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        if (lm_fault_here())
            return io_error(err, "write", what);
        ssize_t w = pwrite(fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return io_error(err, "write", what);
        p += w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return LM_OK;
}

lm_status lm_io_read_at(int fd, uint64_t at, void *bytes, size_t n, const char *what, lm_error *err)
{
    uint8_t *p = bytes;
    lm_quoted_buf q;
    while (n > 0) {
        if (lm_fault_here())
            return io_error(err, "read", what);
        ssize_t r = pread(fd, p, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return io_error(err, "read", what);
        if (r == 0)
            return lm_fail_at(err, LM_ERR_TRUNCATED, at, "%s ends at byte %" PRIu64 ", %zu more are needed",
                              lm_quoted_z(&q, what), at, n);
        p += r;
        n -= (size_t)r;
        at += (uint64_t)r;
    }
    return LM_OK;
}

lm_status lm_io_sync(int fd, const char *what, lm_error *err)
{
    return lm_fault_here() || fsync(fd) != 0 ? io_error(err, "sync", what) : LM_OK;
}

lm_status lm_io_name(int dir, const char *from, const char *to, lm_error *err)
{
    if (lm_fault_here() || renameat(dir, from, dir, to) != 0)
        return io_error(err, "name", to);
    return lm_io_sync(dir, "the folder", err);
}

lm_status lm_io_unlink(int dir, const char *name, lm_error *err)
{
    if (lm_fault_here() || (unlinkat(dir, name, 0) != 0 && errno != ENOENT))
        return io_error(err, "remove", name);
    return LM_OK;
}

lm_status lm_io_punch(int fd, uint64_t at, uint64_t n, lm_error *err)
{
    if (lm_fault_here() ||
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n) != 0)
        return io_error(err, "punch a hole in", "a run");
    return LM_OK;
}

lm_status lm_io_put_file(int dir, const char *name, const void *bytes, size_t n, lm_error *err)
{
    char tmp[LM_TMP_NAME];
    int fd;
    LM_TRY(lm_io_tmp_name(tmp, err));
    LM_TRY(lm_io_open(dir, tmp, O_WRONLY | O_CREAT | O_EXCL, &fd, err));
    lm_status status = lm_io_write_at(fd, 0, bytes, n, name, err);
    if (status == LM_OK)
        status = lm_io_sync(fd, name, err);
    lm_io_close(fd);
    if (status == LM_OK)
        status = lm_io_name(dir, tmp, name, err);
    if (status != LM_OK)
        (void)unlinkat(dir, tmp, 0);
    return status;
}

lm_status lm_io_read_file(int dir, const char *name, size_t max, uint8_t **out, size_t *n, lm_error *err)
{
    struct stat st;
    uint8_t *p = NULL;
    int fd;
    lm_quoted_buf q;
    LM_TRY(lm_io_open(dir, name, O_RDONLY, &fd, err));
    lm_status status = LM_OK;
    if (fstat(fd, &st) != 0)
        status = io_error(err, "read", name);
    else if (st.st_size < 0 || (uint64_t)st.st_size > max)
        status = lm_fail(err, LM_ERR_STATE, "%s has %lld bytes, allowed are %zu", lm_quoted_z(&q, name),
                         (long long)st.st_size, max);
    size_t size = status == LM_OK ? (size_t)st.st_size : 0;
    if (status == LM_OK)
        status = lm_new((void **)&p, size + 1, 1, err);
    if (status == LM_OK)
        status = lm_io_read_at(fd, 0, p, size, name, err);
    lm_io_close(fd);
    if (status != LM_OK) {
        lm_free(p);
        return status;
    }
    *out = p;
    *n = size;
    return LM_OK;
}

lm_status lm_io_random(void *out, size_t n, lm_error *err)
{
    if (getrandom(out, n, 0) != (ssize_t)n)
        return lm_fail(err, LM_ERR_IO, "the system gave no random bytes: %s", strerror(errno));
    return LM_OK;
}

void lm_io_hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
    out[2 * n] = 0;
}

bool lm_io_unhex(const char *hex, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) {
        char c = hex[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] << 4 | v : v);
    }
    return true;
}

lm_status lm_io_tmp_name(char out[LM_TMP_NAME], lm_error *err)
{
    uint8_t r[8];
    LM_TRY(lm_io_random(r, sizeof r, err));
    memcpy(out, ".tmp-", 5);
    lm_io_hex(r, sizeof r, out + 5);
    return LM_OK;
}

bool lm_io_is_tmp(const char *name)
{
    return strncmp(name, ".tmp-", 5) == 0;
}
