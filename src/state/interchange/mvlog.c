/* state/interchange/mvlog.c - the append-only log (SPEC 6.9; docs/formats/mvlog.md).
 *
 *   magic line | record | record | ...
 *   record: "MVF1" u64 id, u64 payload size, u32 metadata size | payload | metadata
 *
 * The program that the format comes from writes the metadata first; both orders are read,
 * record by record.  Which it is shows in the metadata: a JSON object of known keys.
 *
 * L1  Bytes that were whole once are never cut or changed; opening never empties a file.
 * L2  A record counts when its last byte is there; what is less at the end, or zeros, is cut off.
 * L3  One process writes (flock); a record that fails on the way is cut off again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "state/interchange/chunks.h"
#include "state/io.h"

static const char magic[] = "go-inference-state-file-log-v1\n", old_magic[] = "go-mlx-memvid-file-log-v1\n";
enum { HEADER = 24, MAGIC = sizeof magic - 1, OLD_MAGIC = sizeof old_magic - 1 };

static lm_status refused(const lm_chunks *c, const char *verb, lm_error *err)
{
    int why = errno;
    lm_quoted_buf q;
    return lm_fail(err, why == ENOSPC || why == EDQUOT ? LM_ERR_NOSPACE : LM_ERR_IO, "cannot %s %s: %s", verb,
                   lm_quoted_z(&q, c->path), strerror(why));
}

static lm_status read_at(const lm_chunks *c, uint64_t at, void *to, size_t n, lm_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = lm_fault_here() ? -1 : pread(c->fd, (uint8_t *)to + done, n - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return refused(c, "read", err);
        if (r == 0)
            return lm_fail_at(err, LM_ERR_TRUNCATED, at, "the log ends at byte %" PRIu64, at + done);
        done += (size_t)r;
    }
    return LM_OK;
}

static lm_status write_at(const lm_chunks *c, uint64_t at, const void *from, size_t n, lm_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t w =
            lm_fault_here() ? -1 : pwrite(c->fd, (const uint8_t *)from + done, n - done, (off_t)(at + done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return refused(c, "write", err);
        done += (size_t)w;
    }
    return LM_OK;
}

/* --- reading ------------------------------------------------------------------------------- */

/* Whether these bytes can be a record's metadata; 2: and surely are. */
static int is_meta(const char *text, size_t n, char **uri, lm_error *err)
{
    static const char *const keys[] = { "uri", "title", "kind", "track", "tags", "labels" };
    lm_json_limits limits = { .max_bytes = LM_CHUNK_META_MAX };
    json_t *o = NULL;
    const char *key;
    json_t *value;
    size_t known = 0;
    if (n < 2 || text[0] != '{' || text[n - 1] != '}' ||
        lm_json_parse(&o, text, n, "metadata", &limits, NULL) != LM_OK)
        return 0;
    json_object_foreach(o, key, value) for (size_t i = 0; i < LM_LEN(keys); i++) known +=
        strcmp(key, keys[i]) == 0;
    int sure = known == json_object_size(o) ? 2 : 1;
    const json_t *u = json_object_get(o, "uri");
    if (uri && json_is_string(u) && json_string_length(u) &&
        lm_strdup_n(json_string_value(u), json_string_length(u), uri, err) != LM_OK)
        sure = -1;
    json_decref(o);
    return sure;
}

/* The metadata's place within the record: behind the payload as described, or before it. */
static lm_status find_meta(const lm_chunks *c, lm_chunk_record *r, char **uri, lm_error *err)
{
    char *buf = NULL;
    uint64_t body = r->at + HEADER;
    *uri = NULL;
    r->payload_at = body;
    r->meta_at = body + r->n;
    if (r->n_meta == 0)
        return LM_OK;
    if (r->n_meta > LM_CHUNK_META_MAX)
        return lm_fail_at(err, LM_ERR_CORRUPT, r->at, "a record has %u bytes of metadata, allowed are %d",
                          r->n_meta, LM_CHUNK_META_MAX);
    LM_TRY(LM_NEW(&buf, r->n_meta + (size_t)1, err));
    lm_status st = read_at(c, c->base + r->meta_at, buf, r->n_meta, err);
    int behind = st == LM_OK ? is_meta(buf, r->n_meta, uri, err) : 0;
    if (st == LM_OK && behind >= 0 && behind < 2) {
        char *other = NULL;
        st = read_at(c, c->base + body, buf, r->n_meta, err);
        int before = st == LM_OK ? is_meta(buf, r->n_meta, &other, err) : 0;
        if (before < 0 || (before == 0 && behind == 0)) {
            if (st == LM_OK)
                st = before < 0
                         ? LM_ERR_NOMEM
                         : lm_fail_at(err, LM_ERR_CORRUPT, r->at,
                                      "the metadata of the record at byte %" PRIu64 " is no JSON object",
                                      r->at);
            lm_free(other);
        } else if (before > behind) {
            lm_free(*uri);
            *uri = other;
            r->meta_at = body;
            r->payload_at = body + r->n_meta;
        } else
            lm_free(other);
    }
    if (behind < 0)
        st = LM_ERR_NOMEM;
    lm_free(buf);
    if (st != LM_OK) {
        lm_free(*uri);
        *uri = NULL;
    }
    return st;
}

/* Whether nothing but zeros follows: a crash can leave a file longer than what was written. */
static lm_status only_zeros(const lm_chunks *c, uint64_t at, bool *zeros, lm_error *err)
{
    uint8_t buf[4096];
    *zeros = true;
    while (at < c->end && *zeros) {
        size_t n = (size_t)LM_MIN(c->end - at, (uint64_t)sizeof buf);
        LM_TRY(read_at(c, c->base + at, buf, n, err));
        for (size_t i = 0; i < n; i++)
            *zeros &= buf[i] == 0;
        at += n;
    }
    return LM_OK;
}

/* *whole false: the log ends within the record. */
static lm_status read_header(const lm_chunks *c, uint64_t at, lm_chunk_record *r, bool *whole, lm_error *err)
{
    uint8_t h[HEADER];
    uint64_t left = c->end - at, body;
    *r = (lm_chunk_record){ .at = at };
    *whole = left >= HEADER;
    if (!*whole)
        return LM_OK;
    LM_TRY(read_at(c, c->base + at, h, sizeof h, err));
    if (memcmp(h, "MVF1", 4) != 0) {
        bool zeros = false;
        if (h[0] == 0)
            LM_TRY(only_zeros(c, at, &zeros, err));
        *whole = false;
        if (zeros)
            return LM_OK;
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "at byte %" PRIu64 " of the log is no record", at);
    }
    r->id = lm_u64le(h + 4);
    r->n = lm_u64le(h + 12);
    r->n_meta = lm_u32le(h + 20);
    *whole = !lm_add_overflows(r->n, r->n_meta, &body) && body <= left - HEADER;
    if (r->id > INT64_MAX)
        return lm_fail_at(err, LM_ERR_CORRUPT, at, "the record at byte %" PRIu64 " has the id %" PRIu64, at,
                          r->id);
    return LM_OK;
}

lm_status lm_log_record_at(lm_chunks *c, uint64_t at, lm_chunk_record *r, lm_error *err)
{
    bool whole = false;
    char *uri = NULL;
    /* Records that the index knows were checked when it was made. */
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c->records[mid].at < at)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < c->n && c->records[low].at == at) {
        *r = c->records[low];
        return LM_OK;
    }
    if (at < OLD_MAGIC || at > c->end)
        return lm_fail(err, LM_ERR_NOT_FOUND, "there is no record at byte %" PRIu64 " of a log of %" PRIu64,
                       at, c->end);
    LM_TRY(read_header(c, at, r, &whole, err));
    if (!whole)
        return lm_fail_at(err, LM_ERR_TRUNCATED, at, "the log ends within the record at byte %" PRIu64, at);
    LM_TRY(find_meta(c, r, &uri, err));
    lm_free(uri);
    return LM_OK;
}

lm_status lm_log_read(lm_chunks *c, const lm_chunk_record *r, lm_chunk *out, lm_error *err)
{
    out->n = (size_t)r->n;
    if (c->map) {
        out->bytes = lm_map_data(c->map) + (c->base + r->payload_at - c->map_at);
        return lm_map_check(c->map, err);
    }
    LM_TRY(lm_new(&out->owned, (size_t)r->n + 1, 1, err));
    out->bytes = out->owned;
    lm_status st = read_at(c, c->base + r->payload_at, out->owned, (size_t)r->n, err);
    if (st != LM_OK)
        lm_chunk_clear(out);
    return st;
}

/* --- opening ----------------------------------------------------------------------------------- */

/* L2: where the last whole record ends. */
static lm_status scan(lm_chunks *c, uint64_t at, uint64_t *end, lm_error *err)
{
    *end = at;
    while (at < c->end) {
        lm_chunk_record r;
        bool whole;
        LM_TRY(read_header(c, at, &r, &whole, err));
        if (!whole)
            return LM_OK;
        LM_TRY(find_meta(c, &r, &r.uri, err));
        LM_TRY(lm_chunks_add(c, &r, err));
        at += HEADER + r.n + r.n_meta;
        *end = at;
    }
    return LM_OK;
}

/* The magic line; a file that a crash left with less gets it now. */
static lm_status begin(lm_chunks *c, uint64_t *at, lm_error *err)
{
    char head[MAGIC] = { 0 };
    lm_quoted_buf q;
    size_t n = (size_t)LM_MIN(c->end, (uint64_t)MAGIC);
    LM_TRY(read_at(c, c->base, head, n, err));
    if (n == MAGIC && memcmp(head, magic, MAGIC) == 0)
        *at = MAGIC;
    else if (n >= OLD_MAGIC && memcmp(head, old_magic, OLD_MAGIC) == 0)
        *at = OLD_MAGIC;
    else if (c->writable && n < MAGIC && memcmp(head, magic, n) == 0) {
        LM_TRY(write_at(c, 0, magic, MAGIC, err));
        c->end = *at = MAGIC;
    } else
        return lm_fail(err, LM_ERR_CORRUPT,
                       "%s is no state log: it does not start with \"go-inference-state-…\"",
                       lm_quoted_z(&q, c->path));
    return LM_OK;
}

static lm_status take_file(lm_chunks *c, unsigned flags, lm_error *err)
{
    struct stat st = { 0 };
    lm_quoted_buf q;
    int mode = flags & LM_LOG_READ_ONLY ? O_RDONLY : O_RDWR | (flags & LM_LOG_CREATE ? O_CREAT : 0);
    c->fd = open(c->path, mode | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    if (c->fd < 0)
        return errno == ENOENT
                   ? lm_fail(err, LM_ERR_NOT_FOUND, "there is no log %s", lm_quoted_z(&q, c->path))
                   : refused(c, "open", err);
    if (fstat(c->fd, &st) != 0)
        return refused(c, "look at", err);
    if (!S_ISREG(st.st_mode))
        return lm_fail(err, LM_ERR_USAGE, "%s is not a file", lm_quoted_z(&q, c->path));
    c->end = (uint64_t)st.st_size;
    if (c->writable && flock(c->fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? lm_fail(err, LM_ERR_BUSY, "another process writes in %s", lm_quoted_z(&q, c->path))
                   : refused(c, "lock", err);
    return LM_OK;
}

static lm_status map_region(lm_chunks *c, lm_error *err)
{
    c->map_at = c->base & ~UINT64_C(4095);
    return lm_map_open_fd(&c->map, c->fd, c->map_at, c->base + c->end - c->map_at, false, c->path, err);
}

static lm_status open_log(lm_chunks *c, unsigned flags, uint64_t at, uint64_t n, lm_error *err)
{
    uint64_t first = 0, whole;
    lm_quoted_buf q;
    LM_TRY(take_file(c, flags, err));
    if (n != UINT64_MAX) {
        if (!lm_inside(at, n, c->end))
            return lm_fail(err, LM_ERR_TRUNCATED,
                           "%s has %" PRIu64 " bytes, the log is %" PRIu64 " at %" PRIu64,
                           lm_quoted_z(&q, c->path), c->end, n, at);
        c->base = at;
        c->end = n;
    }
    LM_TRY(begin(c, &first, err));
    LM_TRY(scan(c, first, &whole, err));
    if (whole < c->end && c->writable) {
        if (ftruncate(c->fd, (off_t)whole) != 0)
            return refused(c, "cut", err);
        if (fsync(c->fd) != 0)
            return refused(c, "sync", err);
    }
    c->end = whole;
    return c->writable ? LM_OK : map_region(c, err);
}

static lm_status open_any(lm_chunks **out, const char *path, unsigned flags, uint64_t at, uint64_t n,
                          lm_error *err)
{
    lm_chunks *c = NULL;
    if (!path[0] || strlen(path) >= sizeof(((lm_chunk_ref *)NULL)->segment))
        return lm_fail(err, LM_ERR_USAGE, "the path of a log has %zu bytes, allowed are 1 to %zu",
                       strlen(path), sizeof(((lm_chunk_ref *)NULL)->segment) - 1);
    LM_TRY(lm_chunks_new(&c, "state/file-log", err));
    c->log = true;
    c->writable = !(flags & LM_LOG_READ_ONLY);
    c->meta_first = (flags & LM_LOG_META_FIRST) != 0;
    lm_status st = lm_strdup_n(path, strlen(path), &c->path, err);
    if (st == LM_OK)
        st = open_log(c, flags, at, n, err);
    if (st != LM_OK) {
        lm_io_close(c->fd);
        lm_chunks_free(c);
        return st;
    }
    *out = c;
    return LM_OK;
}

lm_status lm_chunks_open_log(lm_chunks **out, const char *path, unsigned flags, lm_error *err)
{
    return open_any(out, path, flags, 0, UINT64_MAX, err);
}

lm_status lm_chunks_open_region(lm_chunks **out, const char *path, uint64_t at, uint64_t n, lm_error *err)
{
    if (n == UINT64_MAX)
        return lm_fail(err, LM_ERR_USAGE, "a region of %" PRIu64 " bytes", n);
    return open_any(out, path, LM_LOG_READ_ONLY, at, n, err);
}

/* --- writing ------------------------------------------------------------------------------------- */

typedef struct {
    const lm_chunks *c;
    uint64_t at, left, n;
} tail;

static lm_status into_tail(lm_sink *s, const void *bytes, size_t n, lm_error *err)
{
    tail *t = s->to;
    if (n > t->left)
        return lm_fail(err, LM_ERR_USAGE, "a chunk of %" PRIu64 " bytes was declared, more were written",
                       t->n);
    LM_TRY(write_at(t->c, t->at, bytes, n, err));
    t->at += n;
    t->left -= n;
    return LM_OK;
}

static lm_status write_record(lm_chunks *c, lm_chunk_record *r, const char *meta, lm_fill fill, void *user,
                              lm_error *err)
{
    uint8_t h[HEADER] = "MVF1";
    tail t = { c, r->payload_at, r->n, r->n };
    lm_sink s = { .write = into_tail, .to = &t };
    memcpy(h + 4, &r->id, 8);
    memcpy(h + 12, &r->n, 8);
    memcpy(h + 20, &r->n_meta, 4);
    LM_TRY(write_at(c, r->at, h, sizeof h, err));
    if (c->meta_first)
        LM_TRY(write_at(c, r->meta_at, meta, r->n_meta, err));
    LM_TRY(fill(user, &s, err));
    if (t.left)
        return lm_fail(err, LM_ERR_USAGE,
                       "a chunk of %" PRIu64 " bytes was declared, %" PRIu64 " were written", r->n,
                       r->n - t.left);
    return c->meta_first ? LM_OK : write_at(c, r->meta_at, meta, r->n_meta, err);
}

lm_status lm_log_stream(lm_chunks *c, uint64_t n, const lm_chunk_about *about, lm_fill fill, void *user,
                        lm_chunk_record *r, lm_error *err)
{
    char *meta = NULL;
    size_t n_meta;
    uint64_t body;
    *r = (lm_chunk_record){ .id = c->next_id, .at = c->end, .n = n };
    if (n > INT64_MAX / 2)
        return lm_fail(err, LM_ERR_USAGE, "a chunk of %" PRIu64 " bytes", n);
    LM_TRY(lm_chunk_meta(about, &meta, &n_meta, err));
    r->n_meta = (uint32_t)n_meta;
    body = r->at + HEADER;
    r->meta_at = c->meta_first ? body : body + n;
    r->payload_at = c->meta_first ? body + n_meta : body;
    lm_status st = LM_OK;
    if (about && about->uri && about->uri[0])
        st = lm_strdup_n(about->uri, strlen(about->uri), &r->uri, err);
    if (st == LM_OK)
        st = write_record(c, r, meta, fill, user, err);
    lm_free(meta);
    if (st != LM_OK) {
        lm_free(r->uri);
        (void)!ftruncate(c->fd, (off_t)c->end); /* L3; else the next opening does it */
        return st;
    }
    c->end = body + n + n_meta;
    return LM_OK;
}

lm_status lm_chunks_sync(lm_chunks *c, lm_error *err)
{
    if (!c->log || !c->writable)
        return LM_OK;
    return lm_fault_here() || fsync(c->fd) != 0 ? refused(c, "sync", err) : LM_OK;
}

lm_status lm_log_close(lm_chunks *c, lm_error *err)
{
    lm_status st = lm_chunks_sync(c, err);
    lm_io_close(c->fd);
    return st;
}
