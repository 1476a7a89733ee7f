/* state/store.c - opening, closing, the writer lock, entry locks, what crashes left. */
#define _GNU_SOURCE
#include "state/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "state/io.h"
#include "state/store_impl.h"

uint64_t lm_store_now(void)
{
    time_t t = time(NULL);
    return t < 0 ? 0 : (uint64_t)t;
}

lm_status lm_store_default_folder(char **out, lm_error *err)
{
    lm_str b = { 0 };
    const char *dir = getenv("LEMMA_STATE_DIR"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (dir && *dir)
        lm_str_addz(&b, dir);
    else if (xdg && xdg[0] == '/') /* the XDG rule: relative paths are ignored */
        lm_str_addf(&b, "%s/lemma", xdg);
    else if (home && *home)
        lm_str_addf(&b, "%s/.local/state/lemma", home);
    else
        return lm_fail(err, LM_ERR_NOT_FOUND, "no folder for state: neither LEMMA_STATE_DIR nor HOME is set");
    return lm_str_take(&b, out, NULL, err);
}

/* Numbers of statfs(2) and of the kernel's magic.h. */
const char *lm_store_refused_fs(long type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } fs[] = { { 0x6969, "NFS" },      { 0x517b, "SMB" },      { 0xff534d42, "CIFS" },
               { 0xfe534d42, "SMB2" }, { 0x01021997, "9P" },   { 0x5346414f, "AFS" },
               { 0x6b414653, "kAFS" }, { 0x00c36400, "Ceph" }, { 0x0bd00bd0, "Lustre" },
               { 0x73757245, "Coda" }, { 0x564c, "NCP" },      { 0x7461636f, "OCFS2" },
               { 0x01161970, "GFS2" }, { 0x47504653, "GPFS" }, { 0x19830326, "BeeGFS" } };
    for (size_t i = 0; i < LM_LEN(fs); i++)
        if ((uint32_t)type == fs[i].type)
            return fs[i].name;
    return NULL;
}

/* Makes the folder and those above it; all that it makes are 0700. */
static lm_status make_folders(const char *folder, lm_error *err)
{
    char path[PATH_MAX];
    lm_quoted_buf q;
    size_t n = strlen(folder);
    if (n == 0 || n >= sizeof path)
        return lm_fail(err, LM_ERR_USAGE, "the store's folder has a name of %zu bytes", n);
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        char c = path[i];
        path[i] = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST && errno != EROFS)
            return lm_fail(err, LM_ERR_IO, "cannot make the folder %s: %s", lm_quoted_z(&q, path),
                           strerror(errno));
        path[i] = c;
    }
    return LM_OK;
}

static lm_status check_folder(int dir, const char *folder, lm_error *err)
{
    struct stat st;
    struct statfs fs;
    lm_quoted_buf q;
    if (fstat(dir, &st) != 0 || fstatfs(dir, &fs) != 0)
        return lm_fail(err, LM_ERR_IO, "cannot look at %s: %s", lm_quoted_z(&q, folder), strerror(errno));
    if (st.st_uid != geteuid())
        return lm_fail(err, LM_ERR_IO, "the store %s belongs to user %u, you are %u", lm_quoted_z(&q, folder),
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077) {
        lm_hint(err, "chmod 700 it, or name another with --state-dir");
        return lm_fail(err, LM_ERR_IO, "the store %s is open to others (mode %o, allowed is 700)",
                       lm_quoted_z(&q, folder), (unsigned)(st.st_mode & 0777));
    }
    const char *net = lm_store_refused_fs((long)fs.f_type);
    if (net) {
        lm_hint(err, "name a folder on a local disk with --state-dir");
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "the store %s lies on %s, where its index cannot be kept safe",
                       lm_quoted_z(&q, folder), net);
    }
    return LM_OK;
}

lm_status lm_store_folders(lm_store *s, const char *folder, lm_error *err)
{
    char real[PATH_MAX], trimmed[PATH_MAX];
    lm_quoted_buf q;
    struct stat st;
    size_t n = strlen(folder);
    s->dir = s->runs = s->entries = s->locks = -1;
    LM_TRY(make_folders(folder, err));
    memcpy(trimmed, folder, n + 1);
    while (n > 1 && trimmed[n - 1] == '/')
        trimmed[--n] = 0;
    if (lstat(trimmed, &st) == 0 && S_ISLNK(st.st_mode)) {
        lm_hint(err, "name the folder itself with --state-dir");
        return lm_fail(err, LM_ERR_IO, "the store %s is a symbolic link", lm_quoted_z(&q, folder));
    }
    if (!realpath(trimmed, real))
        return lm_fail(err, LM_ERR_IO, "cannot find %s: %s", lm_quoted_z(&q, folder), strerror(errno));
    LM_TRY(lm_strdup_n(real, strlen(real), &s->folder, err));
    LM_TRY(lm_io_folder(AT_FDCWD, real, false, &s->dir, err));
    LM_TRY(check_folder(s->dir, real, err));
    LM_TRY(lm_io_folder(s->dir, "runs", true, &s->runs, err));
    LM_TRY(lm_io_folder(s->dir, "entries", true, &s->entries, err));
    return lm_io_folder(s->dir, "locks", true, &s->locks, err);
}

/* --- locks ---------------------------------------------------------------------------- */

static void nap(unsigned ms)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    (void)nanosleep(&t, NULL);
}

lm_status lm_store_writer_lock(lm_store *s, unsigned wait_ms, bool automatic, int *out, lm_error *err)
{
    int fd;
    *out = -1;
    LM_TRY(lm_io_open(s->dir, "writer.lock", O_RDWR | O_CREAT, &fd, err));
    for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += 2) {
        bool closing = automatic && atomic_load(&s->watch.stop);
        if (errno != EWOULDBLOCK || waited >= wait_ms || closing) {
            lm_status status =
                closing ? LM_ERR_CANCELLED
                        : lm_fail(err, LM_ERR_BUSY, "another process has been writing to the store for %u ms",
                                  waited);
            lm_io_close(fd);
            return status;
        }
        nap(2);
    }
    if (s->writer && lm_index_replaced(s->writer, s->dir)) {
        lm_index_close(s->writer);
        s->writer = NULL;
    }
    if (!s->writer && s->folder) {
        lm_status status = lm_index_open(&s->writer, s->dir, s->folder, true, err);
        if (status != LM_OK) {
            lm_io_close(fd);
            return status;
        }
    }
    *out = fd;
    return LM_OK;
}

void lm_store_writer_unlock(int fd)
{
    lm_io_close(fd); /* the last descriptor takes the lock with it */
}

struct lm_entry_lock {
    int fd, dir;
    char name[LM_ENTRY_FILE];
};

lm_status lm_store_lock(lm_store *s, const char *name, lm_entry_lock **out, lm_error *err)
{
    lm_entry_lock *l = NULL;
    lm_quoted_buf q;
    LM_TRY(LM_NEW(&l, 1, err));
    l->fd = -1;
    l->dir = fcntl(s->locks, F_DUPFD_CLOEXEC, 0); /* a lock may outlive the store */
    lm_status status = lm_entry_file(name, l->name, err);
    while (status == LM_OK) {
        struct stat a, b;
        char pid[24] = "";
        status = lm_io_open(s->locks, l->name, O_RDWR | O_CREAT, &l->fd, err);
        if (status != LM_OK)
            break;
        if (flock(l->fd, LOCK_EX | LOCK_NB) != 0) {
            ssize_t n = pread(l->fd, pid, sizeof pid - 1, 0);
            long holder = n > 0 ? strtol(pid, NULL, 10) : 0;
            lm_hint(err, "go on in a copy: lemma state fork NAME NEW, then --session NEW");
            status = lm_fail(err, LM_ERR_BUSY, "session '%s' is in use by process %ld", lm_quoted_z(&q, name),
                             holder);
            break;
        }
        /* The file may have been removed between open and flock: then it locks nothing. */
        if (fstat(l->fd, &a) == 0 && fstatat(s->locks, l->name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
            a.st_ino == b.st_ino) {
            int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
            /* The pid is for messages: a full disk must not keep a session from waking. */
            if (ftruncate(l->fd, 0) == 0)
                (void)!pwrite(l->fd, pid, (size_t)n, 0);
            *out = l;
            return LM_OK;
        }
        lm_io_close(l->fd);
        l->fd = -1;
    }
    lm_io_close(l->fd);
    lm_io_close(l->dir);
    lm_free(l);
    return status;
}

void lm_store_unlock(lm_entry_lock *l)
{
    if (!l)
        return;
    (void)unlinkat(l->dir, l->name, 0); /* while it is held: lm_store_lock() looks again */
    lm_io_close(l->fd);
    lm_io_close(l->dir);
    lm_free(l);
}

/* --- what crashes left ------------------------------------------------------------------- */

lm_status lm_store_names(int dir, char ***names, size_t *n, lm_error *err)
{
    size_t cap = 0;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    lm_status status = LM_OK;
    *names = NULL;
    *n = 0;
    if (!d) {
        lm_io_close(fd);
        return lm_fail(err, LM_ERR_IO, "cannot list the store: %s", strerror(errno));
    }
    while (status == LM_OK && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        status = lm_grow((void **)names, &cap, *n + 1, sizeof **names, err);
        if (status == LM_OK)
            status = lm_strdup_n(e->d_name, strlen(e->d_name), &(*names)[*n], err);
        *n += status == LM_OK;
    }
    (void)closedir(d);
    if (status != LM_OK) {
        lm_store_names_free(*names, *n);
        *names = NULL;
        *n = 0;
    }
    return status;
}

void lm_store_names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lm_free(names[i]);
    lm_free(names);
}

/* A run that the index does not know: its pages are entered where no other page bears
 * their name; a run that adds nothing is removed. */
static lm_status adopt_run(lm_store *s, const char *name, lm_gc_report *report, lm_error *err)
{
    lm_run_id id;
    lm_run *r = NULL;
    int64_t row;
    uint32_t n_added = 0;
    if (!lm_run_id_of(name, &id))
        return LM_OK; /* not ours: left alone, told by fsck */
    report->orphans++;
    lm_status status = lm_run_open(&r, s->runs, &id, NULL);
    if (status == LM_ERR_STATE || status == LM_ERR_TRUNCATED)
        return lm_io_unlink(s->runs, name, err); /* damaged: nothing in it can be used */
    if (status != LM_OK)
        return LM_OK; /* of a later version, or unreadable just now */
    status = lm_index_begin(s->writer, err);
    if (status == LM_OK)
        status = lm_index_add_run(s->writer, &id, lm_run_bytes(r), lm_run_n_pages(r), &row, err);
    for (uint32_t i = 0; i < lm_run_n_pages(r) && status == LM_OK; i++) {
        bool added = false;
        /* Holes are where pages were given back. */
        if (lm_run_verify(r, i, NULL) == LM_OK)
            status =
                lm_index_add_page(s->writer, row, i, lm_run_page_at(r, i), lm_store_now(), &added, NULL, err);
        n_added += added;
    }
    lm_run_release(r);
    if (status == LM_OK && n_added)
        return lm_index_commit(s->writer, err);
    lm_index_rollback(s->writer);
    return status == LM_OK ? lm_io_unlink(s->runs, name, err) : status;
}

static lm_status adopt_entry(lm_store *s, const char *name, lm_error *err)
{
    uint8_t *bytes = NULL;
    lm_entry *e = NULL;
    size_t n = 0;
    uint32_t missing;
    lm_status status = lm_io_read_file(s->entries, name, LM_MAX_ENTRY_BYTES, &bytes, &n, NULL);
    if (status == LM_OK)
        status = lm_entry_decode(bytes, n, &e, NULL);
    if (status == LM_OK)
        LM_TRY(lm_index_begin(s->writer, err));
    else if (status == LM_ERR_NOT_FOUND) {
        LM_TRY(lm_index_begin(s->writer, err));
        LM_TRY(lm_index_drop_entry(s->writer, name, err));
        LM_TRY(lm_index_pending(s->writer, name, false, err));
        return lm_index_commit(s->writer, err);
    } else
        return LM_OK; /* damaged: fsck tells */
    status = lm_store_index_entry(s, name, e, n, e->created, true, &missing, err);
    if (status == LM_OK)
        status = lm_index_pending(s->writer, name, false, err);
    lm_entry_free(e);
    if (status == LM_OK)
        return lm_index_commit(s->writer, err);
    lm_index_rollback(s->writer);
    return status;
}

typedef struct {
    char **names;
    size_t n;
    bool *seen;
    const char *gone; /* an entry of the index without a file */
    char gone_buf[LM_ENTRY_FILE];
} entry_files;

static bool mark_entry(void *ctx, const lm_entry_row *row)
{
    entry_files *f = ctx;
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->names[i], row->file) == 0) {
            f->seen[i] = true;
            return true;
        }
    memcpy(f->gone_buf, row->file, sizeof f->gone_buf);
    f->gone = f->gone_buf;
    return true;
}

static lm_status reconcile_entries(lm_store *s, lm_gc_report *report, lm_error *err)
{
    entry_files f = { 0 };
    char file[LM_ENTRY_FILE];
    bool any = true;
    lm_status status = lm_store_names(s->entries, &f.names, &f.n, err);
    if (status == LM_OK)
        status = LM_NEW(&f.seen, f.n, err);
    if (status == LM_OK)
        status = lm_index_entries(s->writer, mark_entry, &f, err);
    for (size_t i = 0; i < f.n && status == LM_OK; i++) {
        if (lm_io_is_tmp(f.names[i])) {
            status = lm_io_unlink(s->entries, f.names[i], err);
            report->orphans++;
        } else if (!f.seen[i] && strlen(f.names[i]) == LM_ENTRY_FILE - 1)
            status = adopt_entry(s, f.names[i], err);
    }
    if (status == LM_OK && f.gone)
        status = adopt_entry(s, f.gone, err);
    for (int k = 0; k < 1000 && status == LM_OK && any; k++) {
        status = lm_index_pending_first(s->writer, file, &any, err);
        if (status == LM_OK && any) {
            status = adopt_entry(s, file, err);
            /* A damaged file stays pending only until it was looked at. */
            if (status == LM_OK)
                status = lm_index_pending(s->writer, file, false, err);
        }
    }
    lm_store_names_free(f.names, f.n);
    lm_free(f.seen);
    return status;
}

lm_status lm_store_reconcile(lm_store *s, lm_gc_report *report, lm_error *err)
{
    char **names = NULL;
    size_t n = 0;
    lm_run_rows rows = { 0 };
    lm_status status = lm_store_names(s->runs, &names, &n, err);
    if (status == LM_OK)
        status = lm_index_runs(s->writer, &rows, err);
    for (size_t i = 0; i < n && status == LM_OK; i++) {
        lm_run_id id;
        bool known = false;
        if (lm_io_is_tmp(names[i])) {
            status = lm_io_unlink(s->runs, names[i], err);
            report->orphans++;
            continue;
        }
        for (size_t k = 0; k < rows.n && !known && lm_run_id_of(names[i], &id); k++)
            known = memcmp(&rows.rows[k].id, &id, sizeof id) == 0;
        if (!known)
            status = adopt_run(s, names[i], report, err);
    }
    for (size_t k = 0; k < rows.n && status == LM_OK; k++) {
        char name[LM_RUN_NAME];
        struct stat st;
        lm_run_name(&rows.rows[k].id, name);
        if (fstatat(s->runs, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
            continue;
        status = lm_index_begin(s->writer, err);
        if (status == LM_OK)
            status = lm_index_drop_run(s->writer, rows.rows[k].row, err);
        if (status == LM_OK)
            status = lm_index_commit(s->writer, err);
    }
    lm_store_names_free(names, n);
    lm_free(rows.rows);
    if (status == LM_OK)
        status = reconcile_entries(s, report, err);
    lm_index_rollback(s->writer);
    return status;
}

/* --- opening and closing -------------------------------------------------------------------- */

static lm_status resolve_options(lm_store *s, const lm_store_options *o, lm_error *err)
{
    struct statvfs v;
    s->o = *o;
    s->o.folder = s->folder;
    if (fstatvfs(s->dir, &v) != 0)
        return lm_fail(err, LM_ERR_IO, "cannot ask for the free space of the store: %s", strerror(errno));
    if (!s->o.min_free)
        s->o.min_free = LM_STORE_MIN_FREE;
    if (!s->o.budget) {
        /* What the store takes already counts as free: else its budget would shrink as it
         * fills. */
        uint64_t used;
        LM_TRY(lm_store_usage(s, s->reader, &used, err));
        uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize + used;
        s->o.budget = LM_MIN(LM_STORE_BUDGET, free_bytes / 10);
    }
    if (!s->o.expire_days)
        s->o.expire_days = LM_STORE_EXPIRE_DAYS;
    if (!s->o.max_queue)
        s->o.max_queue = LM_STORE_QUEUE;
    if (!s->o.max_queue_bytes)
        s->o.max_queue_bytes = UINT64_C(1) << 30;
    return LM_OK;
}

/* The writer lock is taken for a new store alone (two processes may make it at once).  One
 * that is there is tidied up after crashes by the disk thread's first job: opening stays
 * short. */
static lm_status open_index(lm_store *s, lm_error *err)
{
    struct stat st;
    int lock = -1;
    if (fstatat(s->dir, LM_INDEX_FILE, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_size == 0) {
        LM_TRY(lm_store_writer_lock(s, LM_STORE_LOCK_MS, false, &lock, err));
        lm_store_writer_unlock(lock);
    }
    return lm_index_open(&s->reader, s->dir, s->folder, false, err);
}

static lm_status run_tidy(lm_store *s, lm_job *j, lm_error *err)
{
    lm_gc_report report = { 0 };
    (void)j;
    return lm_store_reconcile(s, &report, err);
}

static void free_job(lm_job *j)
{
    lm_free(j);
}

static lm_status start(lm_store *s, lm_error *err)
{
    lm_job *j = NULL;
    LM_TRY(lm_disk_start(s, err));
    if (s->o.no_writes)
        return LM_OK;
    lm_status status = LM_NEW(&j, 1, err);
    if (status == LM_OK) {
        *j = (lm_job){ .run = run_tidy, .free = free_job, .writes = true, .automatic = true };
        status = lm_disk_submit(s, j, err);
    }
    if (status != LM_OK)
        (void)lm_disk_stop(s);
    return status;
}

lm_status lm_store_open(lm_store **out, const lm_store_options *o, lm_error *err)
{
    lm_store *s = NULL;
    LM_TRY(LM_NEW(&s, 1, err));
    s->dir = s->runs = s->entries = s->locks = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->read_lock, NULL);
    (void)pthread_mutex_init(&s->runs_lock, NULL);
    (void)pthread_cond_init(&s->work, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    lm_status status = lm_store_folders(s, o->folder, err);
    if (status == LM_OK) {
        s->o = *o;
        status = open_index(s, err);
    }
    if (status == LM_OK)
        status = resolve_options(s, o, err);
    if (status == LM_OK)
        status = start(s, err);
    if (status != LM_OK) {
        lm_store_free(s);
        return status;
    }
    *out = s;
    return LM_OK;
}

void lm_store_free(lm_store *s)
{
    for (size_t i = 0; i < s->n_mapped; i++)
        lm_run_release(s->mapped[i]);
    lm_free(s->mapped);
    lm_free(s->listeners);
    lm_free(s->touched);
    for (lm_job *j = s->finished, *next; j; j = next) {
        next = j->next;
        j->free(j);
    }
    lm_index_close(s->writer);
    lm_index_close(s->reader);
    lm_io_close(s->runs);
    lm_io_close(s->entries);
    lm_io_close(s->locks);
    lm_io_close(s->dir);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->read_lock);
    (void)pthread_mutex_destroy(&s->runs_lock);
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_cond_destroy(&s->idle);
    lm_free(s->folder);
    lm_free(s);
}

void lm_store_close(lm_store *s)
{
    if (!s)
        return;
    for (size_t i = s->n_listeners; i-- > 0;)
        s->listeners[i].closing(s->listeners[i].ctx);
    if (!lm_disk_stop(s))
        lm_store_free(s);
}

lm_status lm_store_listen(lm_store *s, void (*closing)(void *ctx), void *ctx, lm_error *err)
{
    LM_TRY(lm_grow((void **)&s->listeners, &s->cap_listeners, s->n_listeners + 1, sizeof *s->listeners, err));
    s->listeners[s->n_listeners++] = (struct lm_listener){ closing, ctx };
    return LM_OK;
}

void lm_store_unlisten(lm_store *s, const void *ctx)
{
    for (size_t i = s->n_listeners; i-- > 0;)
        if (s->listeners[i].ctx == ctx)
            s->listeners[i] = s->listeners[--s->n_listeners];
}

const char *lm_store_folder(const lm_store *s)
{
    return s->folder;
}
