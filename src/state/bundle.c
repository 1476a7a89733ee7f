/* state/bundle.c - an entry and its pages as one zstd file, and back. */
#define _GNU_SOURCE
#include "state/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store_impl.h"

static const char magic[8] = "LMBND01\n";
enum { VERSION = 1, ENDIAN = 0x01020304, FIRST_ROOM = 1 << 20, WINDOW_LOG = 27, LEVEL = 1 };

typedef struct {
    char magic[8];
    uint32_t version, endian;
    uint64_t entry_bytes, n_pages, page_bytes; /* page_bytes: of all pages together */
    uint64_t entry_checksum;                   /* XXH3-64 */
    uint64_t zero;
    uint64_t checksum; /* XXH3-64 of the 56 bytes before it */
} header;
_Static_assert(sizeof(header) == 64, "stored as it is");

typedef struct {
    uint64_t n_bytes, checksum; /* XXH3-64 of the page */
} page_head;

/* Pages of all groups and their bytes. */
static void totals(const lm_entry *e, uint64_t *n, uint64_t *bytes)
{
    *n = *bytes = 0;
    for (uint32_t g = 0; g < e->n_groups; g++) {
        uint64_t count = e->groups[g].n_pages - e->groups[g].first_page;
        *n += count;
        *bytes += count * e->groups[g].geometry.page_bytes; /* 2^24 pages of 2^32 bytes, 8 groups */
    }
}

/* --- reading the stream ------------------------------------------------------------------ */

static lm_status pull_all(lm_bundle_pull pull, void *ctx, void *bytes, size_t n, const char *what,
                          lm_error *err)
{
    uint8_t *p = bytes;
    for (size_t got; n > 0; p += got, n -= got) {
        LM_TRY(pull(ctx, p, n, &got, err));
        if (got == 0)
            return lm_fail(err, LM_ERR_TRUNCATED, "a bundle ends within %s, %zu more bytes are needed", what,
                           n);
    }
    return LM_OK;
}

/* n bytes, taking memory as they come.  Gives *out. */
static lm_status pull_new(lm_bundle_pull pull, void *ctx, uint64_t n, const char *what, uint8_t **out,
                          lm_error *err)
{
    size_t have = 0, cap = (size_t)LM_MIN(n, (uint64_t)FIRST_ROOM);
    LM_TRY(lm_new((void **)out, cap + 1, 1, err));
    for (;;) {
        LM_TRY(pull_all(pull, ctx, *out + have, cap - have, what, err));
        have = cap;
        if (have == n)
            return LM_OK;
        cap = (size_t)LM_MIN(n, (uint64_t)cap * 2);
        LM_TRY(lm_resize((void **)out, cap + 1, 1, err));
    }
}

static lm_status check_header(const header *h, lm_error *err)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return lm_fail(err, LM_ERR_STATE, "not a bundle: it does not start with \"LMBND01\"");
    if (h->endian != ENDIAN || h->version != VERSION)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a bundle of version %u, this version reads %d", h->version,
                       VERSION);
    if (h->checksum != lm_xxh64(h, offsetof(header, checksum), 0))
        return lm_fail(err, LM_ERR_STATE, "the header of a bundle does not match its checksum");
    if (h->entry_bytes > LM_MAX_ENTRY_BYTES)
        return lm_fail(err, LM_ERR_STATE, "a bundle claims an entry of %" PRIu64 " bytes, allowed are %d",
                       h->entry_bytes, LM_MAX_ENTRY_BYTES);
    return LM_OK;
}

static lm_status read_entry(lm_bundle_pull pull, void *ctx, const header *h, lm_entry **e, lm_error *err)
{
    uint8_t *bytes = NULL, zeros[8];
    uint64_t n, n_bytes;
    lm_status status = pull_new(pull, ctx, h->entry_bytes, "its entry", &bytes, err);
    if (status == LM_OK && h->entry_checksum != lm_xxh64(bytes, (size_t)h->entry_bytes, 0))
        status = lm_fail(err, LM_ERR_STATE, "the entry of a bundle does not match its checksum");
    if (status != LM_OK) {
        lm_free(bytes);
        return status;
    }
    LM_TRY(lm_entry_decode(bytes, (size_t)h->entry_bytes, e, err));
    LM_TRY(pull_all(pull, ctx, zeros, (size_t)(lm_round_up(h->entry_bytes, 8) - h->entry_bytes), "its entry",
                    err));
    totals(*e, &n, &n_bytes);
    if ((*e)->n_tokens == 0 || (*e)->n_groups == 0 || n != h->n_pages || n_bytes != h->page_bytes)
        return lm_fail(err, LM_ERR_STATE,
                       "a bundle claims %" PRIu64 " pages of %" PRIu64
                       " bytes, its entry of %u tokens %" PRIu64 " of %" PRIu64,
                       h->n_pages, h->page_bytes, (*e)->n_tokens, n, n_bytes);
    return LM_OK;
}

static lm_status read_page(lm_bundle_pull pull, void *ctx, const lm_entry *e, uint32_t g, uint32_t i,
                           const lm_bundle_sink *sink, lm_error *err)
{
    page_head head = { 0, 0 };
    uint8_t *bytes = NULL;
    LM_TRY(pull_all(pull, ctx, &head, sizeof head, "a page's head", err));
    if (head.n_bytes != e->groups[g].geometry.page_bytes)
        return lm_fail(err, LM_ERR_STATE,
                       "page %u of cache group %u has %" PRIu64 " bytes, allowed are %" PRIu64, i, g,
                       head.n_bytes, e->groups[g].geometry.page_bytes);
    lm_status status = pull_new(pull, ctx, head.n_bytes, "a page", &bytes, err);
    if (status == LM_OK && lm_xxh64(bytes, (size_t)head.n_bytes, 0) != head.checksum)
        status = lm_fail(err, LM_ERR_STATE, "page %u of cache group %u does not match its checksum", i, g);
    if (status == LM_OK)
        return sink->page(sink->ctx, g, i, bytes, err);
    lm_free(bytes);
    return status;
}

lm_status lm_bundle_read(lm_bundle_pull pull, void *ctx, const lm_bundle_sink *sink, lm_error *err)
{
    header h = { .version = 0 };
    lm_entry *e = NULL;
    uint8_t more;
    size_t got = 0;
    LM_TRY(pull_all(pull, ctx, &h, sizeof h, "its header", err));
    LM_TRY(check_header(&h, err));
    lm_status status = read_entry(pull, ctx, &h, &e, err);
    if (status == LM_OK)
        status = sink->entry(sink->ctx, e, err);
    for (uint32_t g = 0; status == LM_OK && g < e->n_groups; g++)
        for (uint32_t i = e->groups[g].first_page; i < e->groups[g].n_pages && status == LM_OK; i++)
            status = read_page(pull, ctx, e, g, i, sink, err);
    /* Asked for once more: zstd compares the checksum of the whole at its end. */
    if (status == LM_OK)
        status = pull(ctx, &more, 1, &got, err);
    if (status == LM_OK && got)
        status = lm_fail(err, LM_ERR_STATE, "a bundle has bytes behind its last page");
    if (status == LM_OK)
        status = sink->end(sink->ctx, err);
    lm_entry_free(e);
    return status;
}

/* --- the file --------------------------------------------------------------------------------- */

static lm_status zstd_failed(size_t code, lm_error *err)
{
    bool memory = ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation;
    return lm_fail(err, memory ? LM_ERR_NOMEM : LM_ERR_STATE, "not a whole bundle: zstd says '%s'",
                   ZSTD_getErrorName(code));
}

typedef struct {
    int fd;
    ZSTD_DStream *z;
    uint8_t *buf;
    ZSTD_inBuffer in;
    bool eof, whole; /* of the file; of the frame */
} unpacker;

static lm_status refill(unpacker *u, lm_error *err)
{
    ssize_t n;
    do
        n = lm_fault_here() ? -1 : read(u->fd, u->buf, FIRST_ROOM);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return lm_fail(err, LM_ERR_IO, "cannot read the bundle: %s", strerror(errno));
    u->in = (ZSTD_inBuffer){ u->buf, (size_t)n, 0 };
    u->eof = n == 0;
    return LM_OK;
}

static lm_status unpack(void *ctx, void *bytes, size_t n, size_t *got, lm_error *err)
{
    unpacker *u = ctx;
    ZSTD_outBuffer out = { bytes, n, 0 };
    while (out.pos == 0) {
        if (u->in.pos == u->in.size && !u->eof)
            LM_TRY(refill(u, err));
        if (u->whole) {
            *got = 0;
            if (u->in.pos < u->in.size)
                return lm_fail(err, LM_ERR_STATE, "a bundle has bytes behind its end");
            return LM_OK;
        }
        size_t in = u->in.pos;
        size_t rc = ZSTD_decompressStream(u->z, &out, &u->in);
        if (ZSTD_isError(rc))
            return zstd_failed(rc, err);
        u->whole = rc == 0;
        if (u->eof && out.pos == 0 && u->in.pos == in && !u->whole)
            return lm_fail(err, LM_ERR_TRUNCATED, "the bundle ends too early");
    }
    *got = out.pos;
    return LM_OK;
}

static lm_status open_unpacker(unpacker *u, const char *path, uint64_t *file_bytes, lm_error *err)
{
    struct stat st;
    lm_quoted_buf q;
    *u = (unpacker){ .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) };
    if (u->fd < 0)
        return lm_fail(err, errno == ENOENT ? LM_ERR_NOT_FOUND : LM_ERR_IO, "cannot open %s: %s",
                       lm_quoted_z(&q, path), strerror(errno));
    if (fstat(u->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return lm_fail(err, LM_ERR_USAGE, "%s is not a file", lm_quoted_z(&q, path));
    *file_bytes = (uint64_t)st.st_size;
    LM_TRY(lm_new((void **)&u->buf, FIRST_ROOM, 1, err));
    u->z = ZSTD_createDStream();
    if (!u->z)
        return lm_fail(err, LM_ERR_NOMEM, "no memory to unpack a bundle");
    size_t rc = ZSTD_DCtx_setParameter(u->z, ZSTD_d_windowLogMax, WINDOW_LOG);
    return ZSTD_isError(rc) ? zstd_failed(rc, err) : LM_OK;
}

static void close_unpacker(unpacker *u)
{
    (void)ZSTD_freeDStream(u->z);
    lm_free(u->buf);
    lm_io_close(u->fd);
}

/* --- export -------------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    uint64_t at;
    ZSTD_CStream *z;
    uint8_t *buf;
} packer;

static lm_status pack(packer *p, const void *bytes, size_t n, bool end, lm_error *err)
{
    ZSTD_inBuffer in = { bytes, n, 0 };
    size_t left;
    do {
        ZSTD_outBuffer out = { p->buf, FIRST_ROOM, 0 };
        left = ZSTD_compressStream2(p->z, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return zstd_failed(left, err);
        LM_TRY(lm_io_write_at(p->fd, p->at, p->buf, out.pos, "a bundle", err));
        p->at += out.pos;
    } while (end ? left > 0 : in.pos < in.size);
    return LM_OK;
}

static lm_status pack_pages(packer *p, lm_mount *m, const lm_entry *e, lm_error *err)
{
    lm_status status = LM_OK;
    for (uint32_t g = 0; g < e->n_groups; g++)
        for (uint32_t i = e->groups[g].first_page; i < e->groups[g].n_pages && status == LM_OK; i++) {
            uint64_t n = e->groups[g].geometry.page_bytes;
            lm_page *page = lm_mount_take(m, g, i);
            if (!page)
                return lm_fail(err, LM_ERR_STATE, "page %u of cache group %u is missing", i, g);
            status = lm_mount_verify(m, g, i, err);
            page_head head = { n, 0 };
            if (status == LM_OK) {
                head.checksum = lm_xxh64(page->data, (size_t)n, 0);
                status = pack(p, &head, sizeof head, false, err);
            }
            if (status == LM_OK)
                status = pack(p, page->data, (size_t)n, false, err);
            lm_pool_drop(NULL, page);
        }
    return status == LM_OK ? lm_mount_check(m, err) : status;
}

static lm_status pack_all(packer *p, lm_mount *m, lm_entry *e, lm_error *err)
{
    static const uint8_t zeros[8];
    uint8_t *bytes = NULL;
    size_t n = 0;
    header h = { .version = VERSION, .endian = ENDIAN };
    /* Where its pages lie, and under which names, is this store's affair. */
    for (uint32_t g = 0; g < e->n_groups; g++) {
        memset(&e->groups[g].root, 0, sizeof e->groups[g].root);
        memset(e->groups[g].pages, 0,
               (e->groups[g].n_pages - e->groups[g].first_page) * sizeof *e->groups[g].pages);
    }
    LM_TRY(lm_entry_encode(e, &bytes, &n, err));
    memcpy(h.magic, magic, sizeof magic);
    h.entry_bytes = n;
    totals(e, &h.n_pages, &h.page_bytes);
    h.entry_checksum = lm_xxh64(bytes, n, 0);
    h.checksum = lm_xxh64(&h, offsetof(header, checksum), 0);
    lm_status status = pack(p, &h, sizeof h, false, err);
    if (status == LM_OK)
        status = pack(p, bytes, n, false, err);
    if (status == LM_OK)
        status = pack(p, zeros, (size_t)(lm_round_up(n, 8) - n), false, err);
    lm_free(bytes);
    if (status == LM_OK)
        status = pack_pages(p, m, e, err);
    return status == LM_OK ? pack(p, zeros, 0, true, err) : status;
}

/* The folder that the file will lie in, and its name there. */
static lm_status open_place(const char *path, int *dir, const char **base, lm_error *err)
{
    lm_quoted_buf q;
    struct stat st;
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 1;
    *base = slash ? slash + 1 : path;
    if (**base == 0 || n >= sizeof folder)
        return lm_fail(err, LM_ERR_USAGE, "'%s' is no name of a file", lm_quoted_z(&q, path));
    memcpy(folder, slash ? path : ".", n);
    folder[n] = 0;
    *dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*dir < 0)
        return lm_fail(err, errno == ENOENT ? LM_ERR_NOT_FOUND : LM_ERR_IO, "cannot open the folder %s: %s",
                       lm_quoted_z(&q, folder), strerror(errno));
    if (fstatat(*dir, *base, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return lm_fail(err, LM_ERR_USAGE, "%s is there already", lm_quoted_z(&q, path));
    return LM_OK;
}

static lm_status write_bundle(packer *p, lm_mount *m, lm_entry *e, int dir, const char *base, lm_error *err)
{
    char tmp[LM_TMP_NAME];
    LM_TRY(lm_new((void **)&p->buf, FIRST_ROOM, 1, err));
    p->z = ZSTD_createCStream();
    if (!p->z)
        return lm_fail(err, LM_ERR_NOMEM, "no memory to pack a bundle");
    (void)ZSTD_CCtx_setParameter(p->z, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(p->z, ZSTD_c_checksumFlag, 1);
    LM_TRY(lm_io_tmp_name(tmp, err));
    LM_TRY(lm_io_open(dir, tmp, O_WRONLY | O_CREAT | O_EXCL, &p->fd, err));
    lm_status status = pack_all(p, m, e, err);
    if (status == LM_OK)
        status = lm_io_sync(p->fd, "a bundle", err);
    if (status == LM_OK)
        status = lm_io_name(dir, tmp, base, err);
    if (status != LM_OK)
        (void)unlinkat(dir, tmp, 0);
    return status;
}

lm_status lm_store_export(lm_store *s, const char *name, const char *path, lm_bundle_report *out,
                          lm_error *err)
{
    lm_entry *e = NULL;
    lm_mount *m = NULL;
    packer p = { .fd = -1 };
    int dir = -1;
    const char *base;
    lm_quoted_buf q;
    lm_bundle_report r = { 0 };
    LM_TRY(lm_store_entry(s, name, &e, err));
    lm_status status = open_place(path, &dir, &base, err);
    if (status == LM_OK)
        status = lm_store_mount(s, e, e->n_tokens, &m, err);
    if (status == LM_OK && (!m || lm_mount_n_tokens(m) < e->n_tokens))
        status = lm_fail(err, LM_ERR_STATE, "session '%s': pages of %u of its %u tokens are there",
                         lm_quoted_z(&q, name), m ? lm_mount_n_tokens(m) : 0, e->n_tokens);
    if (status == LM_OK)
        status = write_bundle(&p, m, e, dir, base, err);
    r.n_tokens = e->n_tokens;
    uint64_t n;
    totals(e, &n, &r.page_bytes);
    r.pages = (uint32_t)n;
    r.file_bytes = p.at;
    if (status == LM_OK && out)
        *out = r;
    lm_mount_close(m);
    lm_entry_free(e);
    (void)ZSTD_freeCStream(p.z);
    lm_free(p.buf);
    lm_io_close(p.fd);
    lm_io_close(dir);
    return status;
}

/* --- import ------------------------------------------------------------------------------------------ */

typedef struct {
    lm_job job;
    lm_store *s;
    unpacker in;
    const char *new_name;
    char *name;
    lm_private p;
    lm_bundle_report report;
} import_job;

static lm_status take_entry(void *ctx, lm_entry *e, lm_error *err)
{
    import_job *w = ctx;
    uint64_t n;
    if (w->new_name)
        e->name = w->new_name;
    LM_TRY(lm_store_must_be_new(w->s, e->name, err));
    e->flags = (e->flags & LM_ENTRY_FLAGS) | LM_ENTRY_KEPT | LM_ENTRY_IMPORTED;
    w->report.n_tokens = e->n_tokens;
    totals(e, &n, &w->report.page_bytes);
    w->report.pages = (uint32_t)n;
    if (w->name)
        memcpy(w->name, e->name, strlen(e->name) + 1);
    return lm_private_open(&w->p, w->s, e, "an imported session", err);
}

static lm_status take_page(void *ctx, uint32_t g, uint32_t i, uint8_t *bytes, lm_error *err)
{
    return lm_private_add(&((import_job *)ctx)->p, g, i, bytes, err);
}

static lm_status take_end(void *ctx, lm_error *err)
{
    return lm_private_commit(&((import_job *)ctx)->p, err);
}

static lm_status run_import(lm_store *s, lm_job *j, lm_error *err)
{
    import_job *w = (import_job *)(void *)j;
    const lm_bundle_sink sink = { take_entry, take_page, take_end, w };
    w->s = s;
    lm_status status = lm_bundle_read(unpack, &w->in, &sink, err);
    lm_private_close(&w->p, status != LM_OK);
    return status;
}

lm_status lm_store_import(lm_store *s, const char *path, const char *new_name, char *name,
                          lm_bundle_report *out, lm_error *err)
{
    import_job w = { .job = { .run = run_import, .writes = true }, .new_name = new_name, .name = name };
    lm_quoted_buf q;
    if (new_name)
        LM_TRY(lm_entry_name_check(new_name, err));
    if (s->o.no_writes)
        return lm_fail(err, LM_ERR_IO, "the store is opened for reading alone");
    lm_status status = open_unpacker(&w.in, path, &w.report.file_bytes, err);
    if (status == LM_OK)
        status = lm_wrap(err, lm_disk_wait(s, &w.job, err), "%s", lm_quoted_z(&q, path));
    close_unpacker(&w.in);
    if (status == LM_OK && out)
        *out = w.report;
    return status;
}
