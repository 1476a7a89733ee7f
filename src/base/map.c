/* base/map.c - mapped files, and SIGBUS turned into a flag.
 *
 * Live maps stand in a fixed table of (address, size, flag) that the handler
 * can walk without a lock: slots are taken and released with atomic stores, the
 * size last when taking and first when releasing. */
#define _GNU_SOURCE
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older kernels say EINVAL, which is harmless */
#endif

enum { MAX_MAPS = 4096 }; /* a sharded pack has hundreds of files, never thousands */

typedef struct {
    atomic_uintptr_t base;
    atomic_size_t size; /* 0: free or being filled */
    atomic_bool taken, broken, writable;
} slot;

static slot slots[MAX_MAPS];

struct lm_map {
    const uint8_t *base;
    uint64_t size;
    lm_file_id id;
    slot *slot;
    char path[]; /* as given */
};

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < MAX_MAPS; i++) {
        size_t size = atomic_load_explicit(&slots[i].size, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&slots[i].base, memory_order_acquire);
        if (!size || at < base || at - base >= size)
            continue;
        uintptr_t page = at & ~(uintptr_t)4095;
        /* The hole may be long: cover everything from here to the end, so one
         * fault is enough.  mmap is async-signal-safe in practice on Linux. */
        bool writable = atomic_load_explicit(&slots[i].writable, memory_order_relaxed);
        if (mmap((void *)page, base + size - page, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        atomic_store_explicit(&slots[i].broken, true, memory_order_release);
        return;
    }
    struct sigaction dfl = { .sa_handler = SIG_DFL };
    (void)sigaction(sig, &dfl, NULL);
}

lm_status lm_map_install_sigbus(lm_error *err)
{
    struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
    (void)sigemptyset(&sa.sa_mask);
    if (sigaction(SIGBUS, &sa, NULL) != 0)
        return lm_fail(err, LM_ERR_IO, "cannot install a handler for SIGBUS: %s", strerror(errno));
    return LM_OK;
}

static slot *take_slot(const void *base, size_t size, bool writable)
{
    for (size_t i = 0; i < MAX_MAPS; i++) {
        bool free_slot = false;
        if (atomic_compare_exchange_strong(&slots[i].taken, &free_slot, true)) {
            atomic_store_explicit(&slots[i].broken, false, memory_order_relaxed);
            atomic_store_explicit(&slots[i].writable, writable, memory_order_relaxed);
            atomic_store_explicit(&slots[i].base, (uintptr_t)base, memory_order_release);
            atomic_store_explicit(&slots[i].size, size, memory_order_release);
            return &slots[i];
        }
    }
    return NULL;
}

static void release_slot(slot *s)
{
    if (!s)
        return;
    atomic_store_explicit(&s->size, 0, memory_order_release);
    atomic_store(&s->taken, false);
}

/* Opens without blocking (a FIFO would wait for a writer for ever) and insists
 * on a regular file. */
static lm_status open_regular(const char *path, int *fd, struct stat *st, lm_error *err)
{
    lm_quoted_buf q;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) {
        int why = errno;
        bool missing = why == ENOENT || why == ENOTDIR || why == ELOOP;
        return lm_fail(err, missing ? LM_ERR_NOT_FOUND : LM_ERR_IO, "cannot open %s: %s",
                       lm_quoted_z(&q, path), strerror(why));
    }
    if (fstat(*fd, st) != 0 || !S_ISREG(st->st_mode)) {
        const char *what = S_ISDIR(st->st_mode)    ? "a folder"
                           : S_ISFIFO(st->st_mode) ? "a FIFO"
                           : S_ISSOCK(st->st_mode) ? "a socket"
                                                   : "a device";
        (void)close(*fd);
        return lm_fail(err, LM_ERR_USAGE, "%s is %s, not a file", lm_quoted_z(&q, path), what);
    }
    return LM_OK;
}

/* Maps what `st` describes from `at` on; `label` is what messages say. */
static lm_status map_range(lm_map **out, int fd, const struct stat *st, uint64_t at, uint64_t size,
                           bool writable, const char *label, lm_error *err)
{
    lm_map *m = NULL;
    lm_quoted_buf q;
    void *base = MAP_FAILED;
    if (size <= SIZE_MAX / 2 && at <= INT64_MAX)
        base = mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                    writable ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED, fd, (off_t)at);
    if (base == MAP_FAILED)
        return lm_fail(err, LM_ERR_IO, "cannot map the %llu bytes of %s", (unsigned long long)size,
                       lm_quoted_z(&q, label));
    size_t len = strlen(label) + 1;
    lm_status status = lm_new((void **)&m, 1, sizeof *m + len, err);
    if (!writable)
        lm_advise_huge(base, (size_t)size);
    if (status == LM_OK) {
        m->slot = take_slot(base, (size_t)size, writable);
        if (!m->slot)
            status = lm_fail(err, LM_ERR_BUSY, "more than %d files are mapped", MAX_MAPS);
    }
    if (status != LM_OK) {
        lm_free(m);
        (void)munmap(base, (size_t)size);
        return status;
    }
    m->base = base;
    m->size = size;
    m->id =
        (lm_file_id){ .device = (uint64_t)st->st_dev,
                      .inode = (uint64_t)st->st_ino,
                      .size = (uint64_t)st->st_size,
                      .mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
                      .ctime_ns =
                          (uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec };
    memcpy(m->path, label, len);
    *out = m;
    return LM_OK;
}

lm_status lm_map_open(lm_map **out, const char *path, lm_error *err)
{
    struct stat st = { 0 };
    int fd;
    lm_quoted_buf q;

    LM_TRY(open_regular(path, &fd, &st, err));
    lm_status status = st.st_size <= 0 ? lm_fail(err, LM_ERR_TRUNCATED, "%s is empty", lm_quoted_z(&q, path))
                                       : map_range(out, fd, &st, 0, (uint64_t)st.st_size, false, path, err);
    (void)close(fd);
    return status;
}

lm_status lm_map_open_fd(lm_map **out, int fd, uint64_t at, uint64_t size, bool writable, const char *label,
                         lm_error *err)
{
    struct stat st = { 0 };
    lm_quoted_buf q;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return lm_fail(err, LM_ERR_USAGE, "%s is not a file", lm_quoted_z(&q, label));
    if (size == 0 || !lm_inside(at, size, (uint64_t)st.st_size))
        return lm_fail(err, LM_ERR_TRUNCATED, "%s has %lld bytes, needed are %llu at byte %llu",
                       lm_quoted_z(&q, label), (long long)st.st_size, (unsigned long long)size,
                       (unsigned long long)at);
    return map_range(out, fd, &st, at, size, writable, label, err);
}

const uint8_t *lm_map_data(const lm_map *m)
{
    return m->base;
}

uint64_t lm_map_size(const lm_map *m)
{
    return m->size;
}

const char *lm_map_path(const lm_map *m)
{
    return m->path;
}

lm_file_id lm_map_id(const lm_map *m)
{
    return m->id;
}

bool lm_populate(const void *at, size_t n)
{
    return madvise((void *)(uintptr_t)at, n, MADV_POPULATE_READ) == 0;
}

void lm_map_reread(const lm_map *m, int fd)
{
    const uint64_t piece = 64u << 20;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (uint64_t at = 0; at < m->size; at += piece)
        if (!lm_populate(m->base + at, (size_t)LM_MIN(piece, m->size - at)))
            return;
}

lm_status lm_map_check(const lm_map *m, lm_error *err)
{
    lm_quoted_buf q;
    if (!atomic_load_explicit(&m->slot->broken, memory_order_acquire))
        return LM_OK;
    lm_hint(err, "the file was cut or its disk failed while it was in use: fetch it again");
    return lm_fail(err, LM_ERR_IO, "%s can no longer be read", lm_quoted_z(&q, m->path));
}

void lm_map_close(lm_map *m)
{
    if (!m)
        return;
    release_slot(m->slot);
    (void)munmap((void *)(uintptr_t)m->base, (size_t)m->size);
    lm_free(m);
}

lm_status lm_read_file(const char *path, size_t max, char **out, size_t *n, lm_error *err)
{
    struct stat st = { 0 };
    int fd;
    char *p = NULL;
    size_t got = 0;
    lm_quoted_buf q;

    LM_TRY(open_regular(path, &fd, &st, err));
    if ((uint64_t)st.st_size > max) {
        (void)close(fd);
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %lld bytes, allowed are %zu", lm_quoted_z(&q, path),
                       (long long)st.st_size, max);
    }
    size_t want = (size_t)st.st_size;
    lm_status status = lm_new((void **)&p, want + 1, 1, err);
    while (status == LM_OK && got < want) {
        ssize_t r = read(fd, p + got, want - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            status = lm_fail(err, LM_ERR_IO, "cannot read %s: %s", lm_quoted_z(&q, path), strerror(errno));
        else if (r == 0)
            break; /* shrank meanwhile: what is there is what we have */
        else
            got += (size_t)r;
    }
    (void)close(fd);
    if (status != LM_OK) {
        lm_free(p);
        return status;
    }
    p[got] = 0;
    *out = p;
    *n = got;
    return LM_OK;
}

static lm_status write_all(int fd, const char *bytes, size_t n, const char *path, lm_error *err)
{
    lm_quoted_buf q;
    for (size_t done = 0; done < n;) {
        ssize_t w = write(fd, bytes + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return lm_fail(err, errno == ENOSPC || errno == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO,
                           "cannot write %s: %s", lm_quoted_z(&q, path), strerror(errno));
        done += (size_t)w;
    }
    return LM_OK;
}

static void sync_folder_of(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir)
        return;
    memcpy(dir, n ? path : ".", n ? n : 1);
    dir[n ? n : 1] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    (void)close(fd);
}

lm_status lm_write_file(const char *path, const void *bytes, size_t n, unsigned mode, lm_error *err)
{
    char tmp[4096];
    lm_quoted_buf q;
    int len = snprintf(tmp, sizeof tmp, "%s.XXXXXX", path);
    if (len < 0 || (size_t)len >= sizeof tmp)
        return lm_fail(err, LM_ERR_USAGE, "the path %s is too long", lm_quoted_z(&q, path));
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return lm_fail(err, LM_ERR_IO, "cannot write %s: %s", lm_quoted_z(&q, path), strerror(errno));
    lm_status status = write_all(fd, bytes, n, path, err);
    if (status == LM_OK && (fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0))
        status = lm_fail(err, LM_ERR_IO, "cannot write %s: %s", lm_quoted_z(&q, path), strerror(errno));
    (void)close(fd);
    if (status == LM_OK && rename(tmp, path) != 0)
        status = lm_fail(err, LM_ERR_IO, "cannot name %s: %s", lm_quoted_z(&q, path), strerror(errno));
    if (status != LM_OK)
        (void)unlink(tmp);
    else
        sync_folder_of(path);
    return status;
}

bool lm_make_folders(const char *path, unsigned mode)
{
    char buf[4096];
    struct stat st;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof buf)
        return false;
    memcpy(buf, path, n + 1);
    for (size_t i = 1; i <= n; i++)
        if (buf[i] == '/' || buf[i] == 0) {
            char c = buf[i];
            buf[i] = 0;
            if (mkdir(buf, (mode_t)mode) != 0 && errno != EEXIST)
                return false;
            buf[i] = c;
        }
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
