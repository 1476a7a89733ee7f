/* state/runfile.c - writing, checking and mapping run files. */
#define _GNU_SOURCE
#include "state/runfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"

static const char magic[8] = "LMRUN01\n";
enum { VERSION = 2, ENDIAN = 0x01020304, RECORD_HEAD = 208, WRITE_CHUNK = 1 << 20 };

/* The first 128 bytes of the file; the rest of the header's 4096 are zeros. */
typedef struct {
    char magic[8];
    uint32_t version, endian, align, header_bytes, n_pages, record_bytes;
    uint64_t table_at, data_at, file_bytes, created;
    lm_run_id id;
    uint64_t table_checksum;
    uint64_t zero[4];
    uint64_t checksum; /* XXH3-64 of the 120 bytes before it */
} header;
_Static_assert(sizeof(header) == 128 && sizeof(header) <= LM_STORE_PAGE_ALIGN, "stored as it is");

typedef struct {
    lm_digest name, parent, root;
    lm_geometry geometry;
    uint32_t first, n_tokens, flags, zero;
    uint64_t at, bytes, checksum, cost_us;
    uint64_t tokens_checksum; /* XXH3-64 of the token ids behind it */
} record;
_Static_assert(sizeof(record) == RECORD_HEAD, "stored as it is");

enum { UNCHECKED, GOOD, BAD };

struct lm_run {
    atomic_uint refs;
    lm_run_id id;
    int fd;
    lm_map *map;
    uint64_t file_bytes;
    uint32_t n_pages;
    uint8_t *table; /* the file's records: tokens are read here */
    lm_run_page *pages;
    /* Relaxed: a thread that sees GOOD did or could have done the same sum itself. */
    atomic_uchar *checked; /* [n_pages] */
};

void lm_run_name(const lm_run_id *id, char out[LM_RUN_NAME])
{
    lm_io_hex(id->b, sizeof id->b, out);
    memcpy(out + 32, ".run", 5);
}

bool lm_run_id_of(const char *name, lm_run_id *out)
{
    return strlen(name) == LM_RUN_NAME - 1 && strcmp(name + 32, ".run") == 0 &&
           lm_io_unhex(name, out->b, sizeof out->b);
}

/* Token ids stand outside: those of a page that was given back are overwritten (S12), and
 * whatever a crash makes of that harms this page alone. */
uint64_t lm_run_table_checksum(const uint8_t *table, size_t n, uint32_t record_bytes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n && record_bytes >= RECORD_HEAD; i++)
        sum = lm_xxh64(table + i * record_bytes, RECORD_HEAD, sum);
    return sum;
}

/* --- writing -------------------------------------------------------------------- */

static uint32_t record_bytes_of(const lm_run_page *pages, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = LM_MAX(most, pages[i].geometry.page_tokens);
    return (uint32_t)lm_round_up(RECORD_HEAD + (uint64_t)most * 4, 64);
}

static uint64_t data_at_of(uint32_t record_bytes, size_t n)
{
    return lm_round_up(LM_STORE_PAGE_ALIGN + (uint64_t)record_bytes * n, LM_STORE_PAGE_ALIGN);
}

uint64_t lm_run_data_at(const lm_run_page *pages, size_t n)
{
    return data_at_of(record_bytes_of(pages, n), n);
}

uint64_t lm_run_size(const lm_run_page *pages, size_t n)
{
    uint64_t size = lm_run_data_at(pages, n);
    for (size_t i = 0; i < n; i++)
        size += lm_page_room(pages[i].geometry.page_bytes);
    return size;
}

static bool stopped(lm_run_watch *watch)
{
    return watch && atomic_load(&watch->stop);
}

static lm_status write_page(int fd, uint64_t at, const lm_run_page *p, lm_run_watch *watch, uint64_t *sum,
                            lm_error *err)
{
    uint64_t n = p->geometry.page_bytes;
    if (!stopped(watch))
        *sum = lm_xxh64(p->bytes, (size_t)n, 0);
    for (uint64_t done = 0; done < n; done += WRITE_CHUNK) {
        if (stopped(watch))
            return lm_fail(err, LM_ERR_CANCELLED, "stopped while writing a run");
        LM_TRY(lm_io_write_at(fd, at + done, p->bytes + done, (size_t)LM_MIN((uint64_t)WRITE_CHUNK, n - done),
                              "a run", err));
    }
    return LM_OK;
}

static lm_status write_all(int fd, const lm_run_page *pages, size_t n, lm_run_watch *watch,
                           const lm_run_id *id, uint8_t *table, uint32_t record_bytes, lm_error *err)
{
    uint64_t at = data_at_of(record_bytes, n);
    size_t table_bytes = (size_t)record_bytes * n;
    uint8_t head[LM_STORE_PAGE_ALIGN] = { 0 };
    header h = { .version = VERSION,
                 .endian = ENDIAN,
                 .align = LM_STORE_PAGE_ALIGN,
                 .header_bytes = LM_STORE_PAGE_ALIGN,
                 .n_pages = (uint32_t)n,
                 .record_bytes = record_bytes,
                 .table_at = LM_STORE_PAGE_ALIGN,
                 .data_at = at,
                 .file_bytes = lm_run_size(pages, n),
                 .created = (uint64_t)time(NULL),
                 .id = *id };
    memcpy(h.magic, magic, sizeof magic);
    if (ftruncate(fd, (off_t)h.file_bytes) != 0)
        return lm_fail(err, LM_ERR_IO, "cannot make a run of %" PRIu64 " bytes: %s", h.file_bytes,
                       strerror(errno));
    for (size_t i = 0; i < n; i++) {
        const lm_run_page *p = &pages[i];
        record r = { .name = p->name,
                     .parent = p->parent,
                     .root = p->root,
                     .geometry = p->geometry,
                     .first = p->first,
                     .n_tokens = p->n_tokens,
                     .flags = p->flags,
                     .at = at,
                     .bytes = p->geometry.page_bytes,
                     .cost_us = p->cost_us,
                     .tokens_checksum = lm_xxh64(p->tokens, p->n_tokens * sizeof *p->tokens, 0) };
        LM_TRY(write_page(fd, at, p, watch, &r.checksum, err));
        memcpy(table + i * record_bytes, &r, sizeof r);
        memcpy(table + i * record_bytes + RECORD_HEAD, p->tokens, p->n_tokens * sizeof *p->tokens);
        at += lm_page_room(p->geometry.page_bytes);
    }
    if (watch)
        atomic_store(&watch->reading, false);
    LM_TRY(lm_io_write_at(fd, LM_STORE_PAGE_ALIGN, table, table_bytes, "a run", err));
    h.table_checksum = lm_run_table_checksum(table, n, record_bytes);
    h.checksum = lm_xxh64(&h, offsetof(header, checksum), 0);
    memcpy(head, &h, sizeof h);
    LM_TRY(lm_io_write_at(fd, 0, head, sizeof head, "a run", err));
    return lm_io_sync(fd, "a run", err);
}

lm_status lm_run_write(int dir, const lm_run_page *pages, size_t n, lm_run_watch *watch, lm_run_id *id,
                       uint64_t *n_bytes, lm_error *err)
{
    char tmp[LM_TMP_NAME], name[LM_RUN_NAME];
    uint8_t *table = NULL;
    int fd = -1;
    if (n == 0 || n > LM_MAX_RUN_PAGES)
        return lm_fail(err, LM_ERR_USAGE, "a run of %zu pages, allowed are 1 to %d", n, LM_MAX_RUN_PAGES);
    uint32_t record_bytes = record_bytes_of(pages, n);
    LM_TRY(lm_io_random(id->b, sizeof id->b, err));
    LM_TRY(lm_io_tmp_name(tmp, err));
    lm_run_name(id, name);
    LM_TRY(lm_new((void **)&table, n, record_bytes, err));
    lm_status status = lm_io_open(dir, tmp, O_RDWR | O_CREAT | O_EXCL, &fd, err);
    if (status != LM_OK) {
        lm_free(table);
        return status;
    }
    if (watch)
        atomic_store(&watch->reading, true);
    status = write_all(fd, pages, n, watch, id, table, record_bytes, err);
    if (watch)
        atomic_store(&watch->reading, false);
    lm_io_close(fd);
    lm_free(table);
    if (status == LM_OK && stopped(watch))
        status = lm_fail(err, LM_ERR_CANCELLED, "stopped while writing a run");
    if (status == LM_OK) {
        status = lm_io_name(dir, tmp, name, err);
        if (status != LM_OK)
            (void)unlinkat(dir, name, 0); /* named, but the folder could not be synced */
    }
    if (status != LM_OK)
        (void)unlinkat(dir, tmp, 0);
    else if (n_bytes)
        *n_bytes = lm_run_size(pages, n);
    return status;
}

/* --- checking --------------------------------------------------------------------- */

static lm_status check_header(const header *h, uint64_t file_bytes, lm_error *err)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return lm_fail(err, LM_ERR_STATE, "not a run file: it does not start with \"LMRUN01\"");
    if (h->endian != ENDIAN)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a run file of a machine of the other byte order");
    if (h->version < VERSION)
        return lm_fail(err, LM_ERR_STATE, "a run file of version %u, this version reads %d", h->version,
                       VERSION);
    if (h->version != VERSION)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a run file of version %u, this version reads %d", h->version,
                       VERSION);
    if (h->checksum != lm_xxh64(h, offsetof(header, checksum), 0))
        return lm_fail(err, LM_ERR_STATE, "the header of a run file does not match its checksum");
    if (h->align != LM_STORE_PAGE_ALIGN || h->header_bytes != LM_STORE_PAGE_ALIGN ||
        h->table_at != LM_STORE_PAGE_ALIGN)
        return lm_fail(err, LM_ERR_STATE, "a run file with pages aligned to %u, allowed is %d", h->align,
                       LM_STORE_PAGE_ALIGN);
    if (h->n_pages == 0 || h->n_pages > LM_MAX_RUN_PAGES)
        return lm_fail(err, LM_ERR_STATE, "a run file claims %u pages, allowed are 1 to %d", h->n_pages,
                       LM_MAX_RUN_PAGES);
    if (h->record_bytes < RECORD_HEAD || h->record_bytes % 64 ||
        h->record_bytes > RECORD_HEAD + LM_MAX_PAGE_TOKENS * 4 + 64)
        return lm_fail(err, LM_ERR_STATE, "a run file has records of %u bytes", h->record_bytes);
    if (h->file_bytes != file_bytes)
        return lm_fail(err, LM_ERR_TRUNCATED, "a run file has %" PRIu64 " bytes, its header says %" PRIu64,
                       file_bytes, h->file_bytes);
    if (h->data_at != data_at_of(h->record_bytes, h->n_pages) || h->data_at > file_bytes)
        return lm_fail(err, LM_ERR_STATE, "a run file of %" PRIu64 " bytes keeps its pages at byte %" PRIu64,
                       file_bytes, h->data_at);
    return LM_OK;
}

/* Pages lie one behind the other: `floor` is the end of the one before. */
static lm_status check_record(const header *h, const record *r, uint32_t i, uint64_t floor, lm_error *err)
{
    const lm_geometry *g = &r->geometry;
    LM_TRY(lm_wrap(err, lm_geometry_check(g, err), "page %u of a run", i));
    if (RECORD_HEAD + (uint64_t)g->page_tokens * 4 > h->record_bytes)
        return lm_fail(err, LM_ERR_STATE, "page %u of a run holds %u tokens, its record has %u bytes", i,
                       g->page_tokens, h->record_bytes);
    if (r->n_tokens == 0 || r->n_tokens > g->page_tokens)
        return lm_fail(err, LM_ERR_STATE, "page %u of a run has %u tokens, allowed are 1 to %u", i,
                       r->n_tokens, g->page_tokens);
    if (r->first % g->page_tokens || (r->flags & ~(uint32_t)LM_PAGE_FLAGS) ||
        (r->n_tokens < g->page_tokens) != ((r->flags & LM_PAGE_TAIL) != 0))
        return lm_fail(err, LM_ERR_STATE, "page %u of a run starts at token %u with flags %u", i, r->first,
                       r->flags);
    if (r->bytes != g->page_bytes || r->at < floor || r->at % LM_STORE_PAGE_ALIGN ||
        !lm_inside(r->at, r->bytes, h->file_bytes))
        return lm_fail(err, LM_ERR_STATE,
                       "page %u of a run has %" PRIu64 " bytes at byte %" PRIu64 ", the file has %" PRIu64, i,
                       r->bytes, r->at, h->file_bytes);
    return LM_OK;
}

static lm_status check_table(const header *h, const uint8_t *table, lm_run_page *pages, lm_error *err)
{
    uint64_t floor = h->data_at;
    if (h->table_checksum != lm_run_table_checksum(table, h->n_pages, h->record_bytes))
        return lm_fail(err, LM_ERR_STATE, "the table of a run file does not match its checksum");
    for (uint32_t i = 0; i < h->n_pages; i++) {
        record r;
        const uint8_t *at = table + (size_t)i * h->record_bytes;
        memcpy(&r, at, sizeof r);
        LM_TRY(check_record(h, &r, i, floor, err));
        floor = r.at + lm_page_room(r.bytes);
        if (pages)
            pages[i] = (lm_run_page){ .name = r.name,
                                      .parent = r.parent,
                                      .root = r.root,
                                      .geometry = r.geometry,
                                      .first = r.first,
                                      .n_tokens = r.n_tokens,
                                      .flags = r.flags,
                                      /* records are multiples of 64 bytes in memory of our own */
                                      .tokens = (const int32_t *)(const void *)(at + RECORD_HEAD),
                                      .cost_us = r.cost_us,
                                      .at = r.at,
                                      .checksum = r.checksum };
    }
    return LM_OK;
}

lm_status lm_run_parse(const uint8_t *bytes, size_t n, uint32_t *n_pages, lm_error *err)
{
    header h;
    if (n < LM_STORE_PAGE_ALIGN)
        return lm_fail(err, LM_ERR_TRUNCATED, "a run file has %zu bytes, its header %d", n,
                       LM_STORE_PAGE_ALIGN);
    memcpy(&h, bytes, sizeof h);
    LM_TRY(check_header(&h, n, err));
    LM_TRY(check_table(&h, bytes + LM_STORE_PAGE_ALIGN, NULL, err));
    *n_pages = h.n_pages;
    return LM_OK;
}

/* --- reading ---------------------------------------------------------------------- */

static lm_status load(lm_run *r, lm_error *err)
{
    header h;
    struct stat st;
    char name[LM_RUN_NAME];
    lm_run_name(&r->id, name);
    if (fstat(r->fd, &st) != 0 || st.st_size < LM_STORE_PAGE_ALIGN)
        return lm_fail(err, LM_ERR_TRUNCATED, "a run file is shorter than its header");
    LM_TRY(lm_io_read_at(r->fd, 0, &h, sizeof h, name, err));
    LM_TRY(check_header(&h, (uint64_t)st.st_size, err));
    if (memcmp(&h.id, &r->id, sizeof h.id) != 0)
        return lm_fail(err, LM_ERR_STATE, "a run file bears another's name");
    r->n_pages = h.n_pages;
    r->file_bytes = h.file_bytes;
    size_t table_bytes = (size_t)h.n_pages * h.record_bytes;
    LM_TRY(lm_new_aligned((void **)&r->table, table_bytes, err));
    LM_TRY(LM_NEW(&r->pages, h.n_pages, err));
    LM_TRY(lm_new((void **)&r->checked, h.n_pages, sizeof *r->checked, err));
    LM_TRY(lm_io_read_at(r->fd, LM_STORE_PAGE_ALIGN, r->table, table_bytes, name, err));
    LM_TRY(check_table(&h, r->table, r->pages, err));
    for (uint32_t i = 0; i < h.n_pages; i++) {
        const lm_run_page *p = &r->pages[i];
        const record *stored = (const record *)(const void *)(r->table + (size_t)i * h.record_bytes);
        if (lm_xxh64(p->tokens, p->n_tokens * sizeof *p->tokens, 0) != stored->tokens_checksum)
            atomic_init(&r->checked[i], BAD); /* given back, or flipped */
    }
    if (lm_fault_here())
        return lm_fail(err, LM_ERR_IO, "cannot map a run: %s", strerror(errno));
    LM_TRY(lm_map_open_fd(&r->map, r->fd, 0, h.file_bytes, false, name, err));
    for (uint32_t i = 0; i < r->n_pages; i++)
        r->pages[i].bytes = lm_map_data(r->map) + r->pages[i].at;
    return LM_OK;
}

lm_status lm_run_open(lm_run **out, int dir, const lm_run_id *id, lm_error *err)
{
    lm_run *r = NULL;
    char name[LM_RUN_NAME];
    LM_TRY(LM_NEW(&r, 1, err));
    atomic_init(&r->refs, 1);
    r->id = *id;
    r->fd = -1;
    lm_run_name(id, name);
    lm_status status = lm_io_open(dir, name, O_RDONLY, &r->fd, err);
    /* The exclusive lock is held for the microseconds of making holes. */
    if (status == LM_OK && flock(r->fd, LOCK_SH) != 0)
        status = lm_fail(err, LM_ERR_IO, "cannot lock a run: %s", strerror(errno));
    if (status == LM_OK)
        status = lm_wrap(err, load(r, err), "%s", name);
    if (status != LM_OK) {
        lm_run_release(r);
        return status;
    }
    *out = r;
    return LM_OK;
}

void lm_run_retain(lm_run *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}

void lm_run_release(lm_run *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    lm_map_close(r->map);
    lm_io_close(r->fd); /* gives the lock back */
    lm_free(r->table);
    lm_free(r->pages);
    lm_free((void *)r->checked);
    lm_free(r);
}

bool lm_run_idle(const lm_run *r)
{
    return atomic_load_explicit(&r->refs, memory_order_acquire) == 1;
}

uint32_t lm_run_n_pages(const lm_run *r)
{
    return r->n_pages;
}

const lm_run_page *lm_run_page_at(const lm_run *r, uint32_t slot)
{
    return &r->pages[slot];
}

const lm_run_id *lm_run_id_get(const lm_run *r)
{
    return &r->id;
}

uint64_t lm_run_bytes(const lm_run *r)
{
    return r->file_bytes;
}

lm_status lm_run_check(const lm_run *r, lm_error *err)
{
    return lm_map_check(r->map, err);
}

lm_status lm_run_verify(lm_run *r, uint32_t slot, lm_error *err)
{
    const lm_run_page *p = &r->pages[slot];
    unsigned char seen = atomic_load_explicit(&r->checked[slot], memory_order_relaxed);
    if (seen == UNCHECKED) {
        lm_run_populate(r, slot); /* one call instead of a fault every few pages of memory */
        uint64_t sum = lm_xxh64(p->bytes, (size_t)p->geometry.page_bytes, 0);
        LM_TRY(lm_map_check(r->map, err));
        seen = sum == p->checksum ? GOOD : BAD;
        atomic_store_explicit(&r->checked[slot], seen, memory_order_relaxed);
    }
    if (seen == GOOD)
        return LM_OK;
    return lm_fail(err, LM_ERR_STATE, "page %u of a run does not match its checksum", slot);
}

void lm_run_populate(const lm_run *r, uint32_t slot)
{
    const lm_run_page *p = &r->pages[slot];
    /* The address is a multiple of 4096: so are the map and p->at.  Advice: may fail. */
    (void)lm_populate(p->bytes, (size_t)p->geometry.page_bytes);
}

lm_status lm_run_map_private(const lm_run *r, uint32_t slot, lm_map **out, lm_error *err)
{
    const lm_run_page *p = &r->pages[slot];
    if (lm_fault_here())
        return lm_fail(err, LM_ERR_IO, "cannot map a page: %s", strerror(errno));
    return lm_map_open_fd(out, r->fd, p->at, p->geometry.page_bytes, true, "a page of a run", err);
}

/* One page: its token ids first, since they are the text. */
static lm_status give_back_page(int fd, const header *h, uint32_t slot, lm_error *err)
{
    static const uint8_t zeros[LM_MAX_PAGE_TOKENS * 4];
    record r;
    uint64_t at = LM_STORE_PAGE_ALIGN + (uint64_t)slot * h->record_bytes;
    if (slot >= h->n_pages)
        return lm_fail(err, LM_ERR_STATE, "a run of %u pages has no page %u", h->n_pages, slot);
    LM_TRY(lm_io_read_at(fd, at, &r, sizeof r, "a run", err));
    LM_TRY(check_record(h, &r, slot, h->data_at, err));
    LM_TRY(lm_io_write_at(fd, at + RECORD_HEAD, zeros, r.n_tokens * sizeof(int32_t), "a run", err));
    return lm_io_punch(fd, r.at, lm_page_room(r.bytes), err);
}

lm_status lm_run_punch(int dir, const lm_run_id *id, const uint32_t *slots, size_t n, lm_error *err)
{
    char name[LM_RUN_NAME];
    struct stat st;
    header h;
    int fd;
    lm_run_name(id, name);
    LM_TRY(lm_io_open(dir, name, O_RDWR, &fd, err));
    lm_status status = LM_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        status = lm_fail(err, LM_ERR_BUSY, "%s is mapped by a session", name);
    if (status == LM_OK && n > 0) {
        if (fstat(fd, &st) != 0 || st.st_size < LM_STORE_PAGE_ALIGN)
            status = lm_fail(err, LM_ERR_TRUNCATED, "a run file is shorter than its header");
        else
            status = lm_io_read_at(fd, 0, &h, sizeof h, name, err);
        if (status == LM_OK)
            status = check_header(&h, (uint64_t)st.st_size, err);
    }
    for (size_t i = 0; i < n && status == LM_OK; i++)
        status = give_back_page(fd, &h, slots[i], err);
    lm_io_close(fd);
    return status;
}
