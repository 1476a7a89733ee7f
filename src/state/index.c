/* state/index.c - the schema, the statements, and one function for each. */
#define _GNU_SOURCE
#include "state/index.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "state/io.h"

enum { SCHEMA = 1, BUSY_MS = 2000 };

static const char schema[] =
    "CREATE TABLE numbers(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE runs(id INTEGER PRIMARY KEY, file BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL,"
    " pages INTEGER NOT NULL);"
    "CREATE TABLE pages(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, parent BLOB NOT NULL,"
    " run INTEGER NOT NULL, slot INTEGER NOT NULL, at INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, hits INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL, cost INTEGER NOT NULL);"
    "CREATE INDEX pages_parent ON pages(parent);"
    "CREATE INDEX pages_run ON pages(run);"
    "CREATE TABLE entries(id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, serial BLOB NOT NULL,"
    " name TEXT NOT NULL, title TEXT NOT NULL, labels TEXT NOT NULL, metadata TEXT NOT NULL,"
    " parent TEXT NOT NULL, tokens INTEGER NOT NULL, flags INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " created INTEGER NOT NULL, used INTEGER NOT NULL);"
    "CREATE TABLE entry_pages(entry INTEGER NOT NULL, page INTEGER NOT NULL, PRIMARY KEY(entry, page))"
    " WITHOUT ROWID;"
    "CREATE INDEX entry_pages_page ON entry_pages(page);"
    "CREATE TABLE pending(file TEXT PRIMARY KEY) WITHOUT ROWID;"
    "PRAGMA user_version=1;";

/* A page's worth: seconds that it saves each time (its cost), times how often it was
 * wanted, over its bytes, fading with the hours since it was last used. */
#define WORTH        "(p.cost + 1.0) * (p.hits + 1) / (p.bytes * (1.0 + max(0, ?1 - p.used) / 3600.0))"
#define PAGE_COLUMNS "p.id, p.run, p.name, r.file, p.slot, p.flags, p.at, p.bytes, p.parent"
#define IS_LEAF                                                                                              \
    " NOT EXISTS (SELECT 1 FROM pages c WHERE c.parent = p.name)"                                            \
    " AND NOT EXISTS (SELECT 1 FROM entry_pages e WHERE e.page = p.id)"                                      \
    " AND p.id NOT IN (SELECT id FROM temp.keep) AND p.run NOT IN (SELECT id FROM temp.busy)"

#define STATEMENTS(X)                                                                                        \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                              \
    X(READ, "BEGIN DEFERRED")                                                                                \
    X(COMMIT, "COMMIT")                                                                                      \
    X(ADD_RUN, "INSERT INTO runs(file, bytes, pages) VALUES(?1, ?2, ?3)")                                    \
    X(DROP_RUN, "DELETE FROM runs WHERE id = ?1")                                                            \
    X(DROP_RUN_USES, "DELETE FROM entry_pages WHERE page IN (SELECT id FROM pages WHERE run = ?1)")          \
    X(DROP_RUN_PAGES, "DELETE FROM pages WHERE run = ?1")                                                    \
    X(SHRINK_RUN, "UPDATE runs SET bytes = max(0, bytes - ?2) WHERE id = ?1")                                \
    X(ADD_PAGE, "INSERT INTO pages(name, parent, run, slot, at, bytes, flags, used, cost)"                   \
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(name) DO NOTHING")                  \
    X(FIND_PAGE, "SELECT " PAGE_COLUMNS " FROM pages p JOIN runs r ON r.id = p.run WHERE p.name = ?1")       \
    X(DROP_PAGE, "DELETE FROM pages WHERE id = ?1")                                                          \
    X(DROP_PAGE_USES, "DELETE FROM entry_pages WHERE page = ?1")                                             \
    X(MOVE_PAGE, "UPDATE pages SET run = ?2, slot = ?3, at = ?4 WHERE id = ?1")                              \
    X(TOUCH_PAGE, "UPDATE pages SET hits = hits + 1, used = max(used, ?2) WHERE id = ?1")                    \
    X(RUNS, "SELECT r.id, r.file, r.bytes, r.pages, count(p.id), ifnull(sum(p.bytes), 0) AS live"            \
            " FROM runs r LEFT JOIN pages p ON p.run = r.id GROUP BY r.id ORDER BY live, r.id")              \
    X(PAGES_OF,                                                                                              \
      "SELECT " PAGE_COLUMNS " FROM pages p JOIN runs r ON r.id = p.run WHERE p.run = ?1 ORDER BY p.slot")   \
    X(LEAVES, "SELECT " PAGE_COLUMNS ", " WORTH " AS worth FROM pages p JOIN runs r ON r.id = p.run"         \
              " WHERE" IS_LEAF " AND (?2 = 0 OR p.used < ?2) ORDER BY worth, p.used, p.id DESC LIMIT ?3")    \
    X(LEAF, "SELECT " PAGE_COLUMNS ", " WORTH " FROM pages p JOIN runs r ON r.id = p.run"                    \
            " WHERE p.name = ?2 AND" IS_LEAF)                                                                \
    X(CHILDREN, "SELECT " PAGE_COLUMNS " FROM pages p JOIN runs r ON r.id = p.run WHERE p.parent = ?1")      \
    X(LONELY, "SELECT " PAGE_COLUMNS " FROM pages p JOIN runs r ON r.id = p.run WHERE p.flags & 3"           \
              " AND NOT EXISTS (SELECT 1 FROM entry_pages e WHERE e.page = p.id) LIMIT ?1")                  \
    X(NOTE_USES, "INSERT OR IGNORE INTO temp.was SELECT u.page FROM entry_pages u JOIN entries e"            \
                 " ON e.id = u.entry WHERE e.file = ?1")                                                     \
    X(SUPERSEDED, "SELECT " PAGE_COLUMNS " FROM pages p JOIN runs r ON r.id = p.run"                         \
                  " WHERE p.id IN (SELECT id FROM temp.was)"                                                 \
                  " AND NOT EXISTS (SELECT 1 FROM pages c WHERE c.parent = p.name)"                          \
                  " AND NOT EXISTS (SELECT 1 FROM entry_pages e WHERE e.page = p.id) LIMIT ?1")              \
    X(FORGET_WAS, "DELETE FROM temp.was")                                                                    \
    X(KEEP, "INSERT OR IGNORE INTO temp.keep VALUES(?1)")                                                    \
    X(BUSY, "INSERT OR IGNORE INTO temp.busy VALUES(?1)")                                                    \
    X(CLEAR_KEEP, "DELETE FROM temp.keep")                                                                   \
    X(CLEAR_BUSY, "DELETE FROM temp.busy")                                                                   \
    X(PUT_ENTRY, "INSERT INTO entries(file, serial, name, title, labels, metadata, parent, tokens, flags,"   \
                 " bytes, created, used) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"          \
                 " ON CONFLICT(file) DO UPDATE SET serial = ?2, name = ?3, title = ?4, labels = ?5,"         \
                 " metadata = ?6, parent = ?7, tokens = ?8, flags = ?9, bytes = ?10, created = ?11,"         \
                 " used = max(used, ?12)")                                                                   \
    X(ENTRY_ROW, "SELECT id FROM entries WHERE file = ?1")                                                   \
    X(FORGET_USES, "DELETE FROM entry_pages WHERE entry = ?1")                                               \
    X(USE_PAGE, "INSERT OR IGNORE INTO entry_pages VALUES(?1, ?2)")                                          \
    X(PAGE_USERS, "SELECT count(*) FROM entry_pages WHERE page = ?1")                                        \
    X(DROP_ENTRY, "DELETE FROM entries WHERE id = ?1")                                                       \
    X(TOUCH_ENTRY, "UPDATE entries SET used = max(used, ?2) WHERE file = ?1")                                \
    X(ENTRIES, "SELECT id, file, serial, name, title, labels, metadata, parent, tokens, flags, bytes,"       \
               " created, used FROM entries ORDER BY name")                                                  \
    X(ADD_PENDING, "INSERT OR IGNORE INTO pending VALUES(?1)")                                               \
    X(DROP_PENDING, "DELETE FROM pending WHERE file = ?1")                                                   \
    X(PENDING, "SELECT file FROM pending LIMIT 1")                                                           \
    X(TOTALS, "SELECT (SELECT count(*) FROM pages), (SELECT ifnull(sum(bytes), 0) FROM pages),"              \
              " (SELECT count(*) FROM runs), (SELECT ifnull(sum(bytes), 0) FROM runs),"                      \
              " (SELECT count(*) FROM entries), (SELECT ifnull(sum(bytes), 0) FROM entries),"                \
              " (SELECT count(DISTINCT page) FROM entry_pages), (SELECT ifnull(sum(hits), 0) FROM pages)")   \
    X(GET_NUMBER, "SELECT value FROM numbers WHERE key = ?1")                                                \
    X(SET_NUMBER, "INSERT INTO numbers VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2")

enum {
#define X(name, sql) Q_##name,
    STATEMENTS(X)
#undef X
        Q_COUNT
};

static const char *const texts[Q_COUNT] = {
#define X(name, sql) sql,
    STATEMENTS(X)
#undef X
};

struct lm_index {
    sqlite3 *db;
    sqlite3_stmt *q[Q_COUNT]; /* prepared when first used */
    uint64_t inode;
};

static lm_status failed(const lm_index *x, int rc, lm_error *err)
{
    lm_quoted_buf q;
    const char *why = x->db ? sqlite3_errmsg(x->db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_FULL: return lm_fail(err, LM_ERR_NOSPACE, "the index of the store: %s", lm_quoted_z(&q, why));
    case SQLITE_NOMEM: return lm_fail(err, LM_ERR_NOMEM, "the index of the store: %s", lm_quoted_z(&q, why));
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return lm_fail(err, LM_ERR_BUSY, "the index of the store: %s", lm_quoted_z(&q, why));
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN: return lm_fail(err, LM_ERR_IO, "the index of the store: %s", lm_quoted_z(&q, why));
    default:
        lm_hint(err, "lemma state fsck --rebuild makes it anew from the pages");
        return lm_fail(err, LM_ERR_STATE, "the index of the store is damaged: %s", lm_quoted_z(&q, why));
    }
}

static lm_status exec(lm_index *x, const char *sql, lm_error *err)
{
    int rc = sqlite3_exec(x->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? LM_OK : failed(x, rc, err);
}

/* The statement, reset and ready for binding; NULL after a failure. */
static sqlite3_stmt *prepare(lm_index *x, int k, lm_error *err)
{
    if (!x->q[k]) {
        int rc = sqlite3_prepare_v3(x->db, texts[k], -1, SQLITE_PREPARE_PERSISTENT, &x->q[k], NULL);
        if (rc != SQLITE_OK) {
            (void)failed(x, rc, err);
            return NULL;
        }
    }
    return x->q[k];
}

/* What a failed preparation left in *err; without an err we ask SQLite again. */
static lm_status prepare_status(const lm_index *x, const lm_error *err)
{
    return err && err->status != LM_OK ? err->status : failed(x, sqlite3_errcode(x->db), NULL);
}

/* Runs a statement to its end; *row tells whether it gave a row (then it must be
 * reset by the caller). */
static lm_status step(lm_index *x, sqlite3_stmt *q, bool *row, lm_error *err)
{
    int rc = sqlite3_step(q);
    if (row)
        *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW && row)
        return LM_OK;
    lm_status status = rc == SQLITE_DONE || rc == SQLITE_ROW ? LM_OK : failed(x, rc, err);
    (void)sqlite3_reset(q);
    return status;
}

/* Statements whose arguments are up to three integers. */
static lm_status run(lm_index *x, int k, int64_t a, int64_t b, int64_t c, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, k, err);
    if (!q)
        return prepare_status(x, err);
    const int64_t v[3] = { a, b, c };
    int n = sqlite3_bind_parameter_count(q);
    for (int i = 0; i < n && i < 3; i++)
        (void)sqlite3_bind_int64(q, i + 1, v[i]);
    return step(x, q, NULL, err);
}

static lm_status run_text(lm_index *x, int k, const char *a, int64_t b, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, k, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_text(q, 1, a, -1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(q) > 1)
        (void)sqlite3_bind_int64(q, 2, b);
    return step(x, q, NULL, err);
}

/* --- opening ------------------------------------------------------------------------ */

static lm_status make_file(int dir, lm_error *err)
{
    static const char *const names[] = { LM_INDEX_FILE, LM_INDEX_FILE "-wal", LM_INDEX_FILE "-shm" };
    struct stat st;
    int fd;
    for (size_t i = 0; i < LM_LEN(names); i++)
        if (fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
            return lm_fail(err, LM_ERR_IO, "%s in the store is not a file", names[i]);
    /* SQLite gives its log and shared memory the mode of this file. */
    LM_TRY(lm_io_open(dir, LM_INDEX_FILE, O_RDWR | O_CREAT, &fd, err));
    lm_io_close(fd);
    return LM_OK;
}

static lm_status set_up(lm_index *x, bool writer, lm_error *err)
{
    int64_t version = -1;
    sqlite3_stmt *q = NULL;
    (void)sqlite3_busy_timeout(x->db, BUSY_MS);
    LM_TRY(exec(x,
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
                "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=64; PRAGMA journal_size_limit=262144;"
                "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
                "PRAGMA cache_size=-2048;",
                err));
    int rc = sqlite3_prepare_v2(x->db, "PRAGMA user_version", -1, &q, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW)
        version = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    if (version < 0)
        return failed(x, rc, err);
    if (version > SCHEMA)
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "the index of the store is of version %" PRId64 ", this version reads %d", version,
                       SCHEMA);
    if (version == 0) {
        /* Two processes may open a new store at once: the second finds it made. */
        LM_TRY(exec(x, "BEGIN IMMEDIATE", err));
        q = NULL;
        rc = sqlite3_prepare_v2(x->db, "PRAGMA user_version", -1, &q, NULL);
        if (rc == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
            version = sqlite3_column_int64(q, 0);
        (void)sqlite3_finalize(q);
        lm_status status = version == 0 ? exec(x, schema, err) : LM_OK;
        if (status == LM_OK)
            status = exec(x, "COMMIT", err);
        if (status != LM_OK) {
            (void)exec(x, "ROLLBACK", NULL);
            return status;
        }
    }
    if (writer)
        LM_TRY(exec(x,
                    "CREATE TEMP TABLE keep(id INTEGER PRIMARY KEY);"
                    "CREATE TEMP TABLE busy(id INTEGER PRIMARY KEY);"
                    "CREATE TEMP TABLE was(id INTEGER PRIMARY KEY);",
                    err));
    return LM_OK;
}

lm_status lm_index_open(lm_index **out, int dir, const char *folder, bool writer, lm_error *err)
{
    lm_index *x = NULL;
    char path[4200];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/" LM_INDEX_FILE, folder);
    if (n < 0 || (size_t)n >= sizeof path)
        return lm_fail(err, LM_ERR_USAGE, "the store's path has more than %zu bytes", sizeof path);
    LM_TRY(make_file(dir, err));
    LM_TRY(LM_NEW(&x, 1, err));
    int rc = sqlite3_open_v2(path, &x->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                             NULL);
    lm_status status = rc == SQLITE_OK ? set_up(x, writer, err) : failed(x, rc, err);
    if (status == LM_OK && fstatat(dir, LM_INDEX_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0)
        x->inode = (uint64_t)st.st_ino;
    if (status != LM_OK) {
        lm_index_close(x);
        return status;
    }
    *out = x;
    return LM_OK;
}

void lm_index_close(lm_index *x)
{
    if (!x)
        return;
    for (int k = 0; k < Q_COUNT; k++)
        (void)sqlite3_finalize(x->q[k]);
    (void)sqlite3_close(x->db);
    lm_free(x);
}

bool lm_index_replaced(const lm_index *x, int dir)
{
    struct stat st;
    return fstatat(dir, LM_INDEX_FILE, &st, AT_SYMLINK_NOFOLLOW) != 0 || (uint64_t)st.st_ino != x->inode;
}

uint64_t lm_index_bytes(int dir)
{
    static const char *const names[] = { LM_INDEX_FILE, LM_INDEX_FILE "-wal", LM_INDEX_FILE "-shm" };
    uint64_t bytes = 0;
    struct stat st;
    for (size_t i = 0; i < LM_LEN(names); i++)
        if (fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    return bytes;
}

lm_status lm_index_begin(lm_index *x, lm_error *err)
{
    return run(x, Q_BEGIN, 0, 0, 0, err);
}

lm_status lm_index_read(lm_index *x, bool on, lm_error *err)
{
    if (on == !sqlite3_get_autocommit(x->db))
        return LM_OK;
    return run(x, on ? Q_READ : Q_COMMIT, 0, 0, 0, err);
}

lm_status lm_index_commit(lm_index *x, lm_error *err)
{
    lm_status status = lm_fault_here() ? lm_fail(err, LM_ERR_IO, "cannot write the index of the store")
                                       : run(x, Q_COMMIT, 0, 0, 0, err);
    if (status != LM_OK)
        lm_index_rollback(x);
    return status;
}

void lm_index_rollback(lm_index *x)
{
    if (!sqlite3_get_autocommit(x->db))
        (void)exec(x, "ROLLBACK", NULL);
}

lm_status lm_index_scrub(lm_index *x, lm_error *err)
{
    /* A reader of another process may hold the log; the deleted rows are overwritten in
     * the database all the same, and the next writer truncates the log. */
    int rc = sqlite3_wal_checkpoint_v2(x->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? LM_OK : failed(x, rc, err);
}

lm_status lm_index_check(lm_index *x, lm_error *err)
{
    sqlite3_stmt *q = NULL;
    lm_quoted_buf quoted;
    int rc = sqlite3_prepare_v2(x->db, "PRAGMA integrity_check(1)", -1, &q, NULL);
    lm_status status = LM_OK;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    if (rc != SQLITE_ROW)
        status = failed(x, rc, err);
    else if (strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
        status = lm_fail(err, LM_ERR_STATE, "the index of the store is damaged: %s",
                         lm_quoted_z(&quoted, (const char *)sqlite3_column_text(q, 0)));
    (void)sqlite3_finalize(q);
    return status;
}

lm_status lm_index_empty(lm_index *x, lm_error *err)
{
    return exec(x,
                "DELETE FROM runs; DELETE FROM pages; DELETE FROM entries; DELETE FROM entry_pages;"
                "DELETE FROM pending;",
                err);
}

/* --- runs and pages ------------------------------------------------------------------ */

lm_status lm_index_add_run(lm_index *x, const lm_run_id *id, uint64_t n_bytes, uint32_t n_pages, int64_t *row,
                           lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_ADD_RUN, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_blob(q, 1, id->b, sizeof id->b, SQLITE_STATIC);
    (void)sqlite3_bind_int64(q, 2, (int64_t)n_bytes);
    (void)sqlite3_bind_int64(q, 3, n_pages);
    LM_TRY(step(x, q, NULL, err));
    *row = sqlite3_last_insert_rowid(x->db);
    return LM_OK;
}

lm_status lm_index_drop_run(lm_index *x, int64_t row, lm_error *err)
{
    LM_TRY(run(x, Q_DROP_RUN_USES, row, 0, 0, err));
    LM_TRY(run(x, Q_DROP_RUN_PAGES, row, 0, 0, err));
    return run(x, Q_DROP_RUN, row, 0, 0, err);
}

lm_status lm_index_shrink_run(lm_index *x, int64_t row, uint64_t n_bytes, lm_error *err)
{
    return run(x, Q_SHRINK_RUN, row, (int64_t)n_bytes, 0, err);
}

lm_status lm_index_add_page(lm_index *x, int64_t run_row, uint32_t slot, const lm_run_page *p, uint64_t now,
                            bool *added, int64_t *row, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_ADD_PAGE, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_blob(q, 1, p->name.b, sizeof p->name.b, SQLITE_STATIC);
    (void)sqlite3_bind_blob(q, 2, p->parent.b, sizeof p->parent.b, SQLITE_STATIC);
    (void)sqlite3_bind_int64(q, 3, run_row);
    (void)sqlite3_bind_int64(q, 4, slot);
    (void)sqlite3_bind_int64(q, 5, (int64_t)p->at);
    (void)sqlite3_bind_int64(q, 6, (int64_t)p->geometry.page_bytes);
    (void)sqlite3_bind_int64(q, 7, p->flags);
    (void)sqlite3_bind_int64(q, 8, (int64_t)now);
    (void)sqlite3_bind_int64(q, 9, (int64_t)LM_MIN(p->cost_us, (uint64_t)INT64_MAX));
    LM_TRY(step(x, q, NULL, err));
    *added = sqlite3_changes(x->db) == 1;
    if (row)
        *row = sqlite3_last_insert_rowid(x->db);
    return LM_OK;
}

/* Columns of PAGE_COLUMNS; false for a row that cannot be true. */
static bool read_page(sqlite3_stmt *q, lm_page_row *out)
{
    const void *name = sqlite3_column_blob(q, 2), *file = sqlite3_column_blob(q, 3),
               *parent = sqlite3_column_blob(q, 8);
    int64_t slot = sqlite3_column_int64(q, 4), at = sqlite3_column_int64(q, 6),
            bytes = sqlite3_column_int64(q, 7);
    if (!name || sqlite3_column_bytes(q, 2) != sizeof out->name || !file ||
        sqlite3_column_bytes(q, 3) != sizeof out->run || !parent ||
        sqlite3_column_bytes(q, 8) != sizeof out->parent || slot < 0 || slot >= LM_MAX_RUN_PAGES || at < 0 ||
        bytes <= 0 || (uint64_t)bytes > LM_MAX_PAGE_BYTES)
        return false;
    out->row = sqlite3_column_int64(q, 0);
    out->run_row = sqlite3_column_int64(q, 1);
    memcpy(&out->name, name, sizeof out->name);
    memcpy(&out->parent, parent, sizeof out->parent);
    memcpy(&out->run, file, sizeof out->run);
    out->slot = (uint32_t)slot;
    out->flags = (uint32_t)sqlite3_column_int64(q, 5);
    out->at = (uint64_t)at;
    out->bytes = (uint64_t)bytes;
    out->worth = sqlite3_column_count(q) > 9 ? sqlite3_column_double(q, 9) : 0;
    return true;
}

lm_status lm_index_find_page(lm_index *x, const lm_digest *name, lm_page_row *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_FIND_PAGE, err);
    bool row = false;
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_blob(q, 1, name->b, sizeof name->b, SQLITE_STATIC);
    LM_TRY(step(x, q, &row, err));
    if (!row)
        return LM_ERR_NOT_FOUND;
    bool good = read_page(q, out);
    (void)sqlite3_reset(q);
    return good ? LM_OK : LM_ERR_NOT_FOUND;
}

lm_status lm_index_drop_page(lm_index *x, int64_t row, lm_error *err)
{
    LM_TRY(run(x, Q_DROP_PAGE_USES, row, 0, 0, err));
    return run(x, Q_DROP_PAGE, row, 0, 0, err);
}

lm_status lm_index_move_page(lm_index *x, int64_t row, int64_t run_row, uint32_t slot, uint64_t at,
                             lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_MOVE_PAGE, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, row);
    (void)sqlite3_bind_int64(q, 2, run_row);
    (void)sqlite3_bind_int64(q, 3, slot);
    (void)sqlite3_bind_int64(q, 4, (int64_t)at);
    return step(x, q, NULL, err);
}

lm_status lm_index_touch_page(lm_index *x, int64_t row, uint64_t now, lm_error *err)
{
    return run(x, Q_TOUCH_PAGE, row, (int64_t)now, 0, err);
}

static lm_status list_pages(lm_index *x, sqlite3_stmt *q, lm_page_rows *out, lm_error *err)
{
    out->n = 0;
    for (;;) {
        bool row = false;
        LM_TRY(step(x, q, &row, err));
        if (!row)
            return LM_OK;
        lm_status status = lm_grow((void **)&out->rows, &out->cap, out->n + 1, sizeof *out->rows, err);
        if (status != LM_OK) {
            (void)sqlite3_reset(q);
            return status;
        }
        if (read_page(q, &out->rows[out->n]))
            out->n++;
    }
}

lm_status lm_index_runs(lm_index *x, lm_run_rows *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_RUNS, err);
    if (!q)
        return prepare_status(x, err);
    out->n = 0;
    for (;;) {
        bool row = false;
        LM_TRY(step(x, q, &row, err));
        if (!row)
            return LM_OK;
        lm_status status = lm_grow((void **)&out->rows, &out->cap, out->n + 1, sizeof *out->rows, err);
        if (status != LM_OK) {
            (void)sqlite3_reset(q);
            return status;
        }
        if (sqlite3_column_bytes(q, 1) != sizeof(lm_run_id))
            continue;
        lm_run_row *r = &out->rows[out->n++];
        r->row = sqlite3_column_int64(q, 0);
        memcpy(&r->id, sqlite3_column_blob(q, 1), sizeof r->id);
        r->bytes = (uint64_t)sqlite3_column_int64(q, 2);
        r->n_pages = (uint32_t)sqlite3_column_int64(q, 3);
        r->n_live = (uint32_t)sqlite3_column_int64(q, 4);
        r->live_bytes = (uint64_t)sqlite3_column_int64(q, 5);
    }
}

lm_status lm_index_pages_of(lm_index *x, int64_t run_row, lm_page_rows *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_PAGES_OF, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, run_row);
    return list_pages(x, q, out, err);
}

lm_status lm_index_lonely(lm_index *x, size_t max, lm_page_rows *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_LONELY, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, (int64_t)max);
    return list_pages(x, q, out, err);
}

lm_status lm_index_note_uses(lm_index *x, const char *file, lm_error *err)
{
    LM_TRY(run(x, Q_FORGET_WAS, 0, 0, 0, err));
    return run_text(x, Q_NOTE_USES, file, 0, err);
}

lm_status lm_index_superseded(lm_index *x, size_t max, lm_page_rows *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_SUPERSEDED, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, (int64_t)max);
    return list_pages(x, q, out, err);
}

lm_status lm_index_leaves(lm_index *x, uint64_t now, uint64_t before, size_t max, lm_page_rows *out,
                          lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_LEAVES, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, (int64_t)now);
    (void)sqlite3_bind_int64(q, 2, (int64_t)before);
    (void)sqlite3_bind_int64(q, 3, (int64_t)max);
    return list_pages(x, q, out, err);
}

lm_status lm_index_leaf(lm_index *x, uint64_t now, const lm_digest *name, lm_page_row *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_LEAF, err);
    bool row = false;
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, (int64_t)now);
    (void)sqlite3_bind_blob(q, 2, name->b, sizeof name->b, SQLITE_STATIC);
    LM_TRY(step(x, q, &row, err));
    bool good = row && read_page(q, out);
    if (row)
        (void)sqlite3_reset(q);
    return good ? LM_OK : LM_ERR_NOT_FOUND;
}

lm_status lm_index_children(lm_index *x, const lm_digest *parent, lm_page_rows *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_CHILDREN, err);
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_blob(q, 1, parent->b, sizeof parent->b, SQLITE_STATIC);
    return list_pages(x, q, out, err);
}

lm_status lm_index_keep(lm_index *x, int64_t page_row, lm_error *err)
{
    return run(x, Q_KEEP, page_row, 0, 0, err);
}

lm_status lm_index_busy(lm_index *x, int64_t run_row, lm_error *err)
{
    return run(x, Q_BUSY, run_row, 0, 0, err);
}

lm_status lm_index_forget_marks(lm_index *x, lm_error *err)
{
    LM_TRY(run(x, Q_CLEAR_KEEP, 0, 0, 0, err));
    return run(x, Q_CLEAR_BUSY, 0, 0, 0, err);
}

/* --- entries ---------------------------------------------------------------------------- */

static lm_status entry_row(lm_index *x, const char *file, int64_t *row, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_ENTRY_ROW, err);
    bool there = false;
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_text(q, 1, file, -1, SQLITE_STATIC);
    LM_TRY(step(x, q, &there, err));
    *row = there ? sqlite3_column_int64(q, 0) : 0;
    (void)sqlite3_reset(q);
    return there ? LM_OK : LM_ERR_NOT_FOUND;
}

lm_status lm_index_put_entry(lm_index *x, const char *file, const lm_entry *e, uint64_t n_bytes, uint64_t now,
                             int64_t *row, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_PUT_ENTRY, err);
    if (!q)
        return prepare_status(x, err);
    const char *const t[] = { e->name, e->title, e->labels, e->metadata, e->parent };
    (void)sqlite3_bind_text(q, 1, file, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(q, 2, e->serial, sizeof e->serial, SQLITE_STATIC);
    for (int i = 0; i < 5; i++)
        (void)sqlite3_bind_text(q, 3 + i, t[i], -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(q, 8, e->n_tokens);
    (void)sqlite3_bind_int64(q, 9, e->flags);
    (void)sqlite3_bind_int64(q, 10, (int64_t)n_bytes);
    (void)sqlite3_bind_int64(q, 11, (int64_t)e->created);
    (void)sqlite3_bind_int64(q, 12, (int64_t)now);
    LM_TRY(step(x, q, NULL, err));
    return entry_row(x, file, row, err);
}

lm_status lm_index_forget_uses(lm_index *x, int64_t entry, lm_error *err)
{
    return run(x, Q_FORGET_USES, entry, 0, 0, err);
}

lm_status lm_index_use_page(lm_index *x, int64_t entry, int64_t page_row, lm_error *err)
{
    return run(x, Q_USE_PAGE, entry, page_row, 0, err);
}

lm_status lm_index_page_users(lm_index *x, int64_t page_row, uint32_t *n, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_PAGE_USERS, err);
    bool row = false;
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_int64(q, 1, page_row);
    LM_TRY(step(x, q, &row, err));
    *n = row ? (uint32_t)sqlite3_column_int64(q, 0) : 0;
    (void)sqlite3_reset(q);
    return LM_OK;
}

lm_status lm_index_drop_entry(lm_index *x, const char *file, lm_error *err)
{
    int64_t row = 0;
    lm_status status = entry_row(x, file, &row, err);
    if (status != LM_OK)
        return status == LM_ERR_NOT_FOUND ? LM_OK : status;
    LM_TRY(run(x, Q_FORGET_USES, row, 0, 0, err));
    return run(x, Q_DROP_ENTRY, row, 0, 0, err);
}

lm_status lm_index_touch_entry(lm_index *x, const char *file, uint64_t now, lm_error *err)
{
    return run_text(x, Q_TOUCH_ENTRY, file, (int64_t)now, err);
}

void lm_entry_row_clear(lm_entry_row *r)
{
    lm_free(r->name);
    lm_free(r->title);
    lm_free(r->labels);
    lm_free(r->metadata);
    lm_free(r->parent);
    *r = (lm_entry_row){ 0 };
}

static lm_status read_entry(sqlite3_stmt *q, lm_entry_row *r, lm_error *err)
{
    char **const t[] = { &r->name, &r->title, &r->labels, &r->metadata, &r->parent };
    const char *file = (const char *)sqlite3_column_text(q, 1);
    *r = (lm_entry_row){ .row = sqlite3_column_int64(q, 0),
                         .n_tokens = (uint32_t)sqlite3_column_int64(q, 8),
                         .flags = (uint32_t)sqlite3_column_int64(q, 9),
                         .bytes = (uint64_t)sqlite3_column_int64(q, 10),
                         .created = (uint64_t)sqlite3_column_int64(q, 11),
                         .used = (uint64_t)sqlite3_column_int64(q, 12) };
    if (!file || strlen(file) != LM_ENTRY_FILE - 1 || sqlite3_column_bytes(q, 2) != sizeof r->serial)
        return lm_fail(err, LM_ERR_STATE, "the index of the store is damaged: an entry without a file");
    memcpy(r->file, file, LM_ENTRY_FILE);
    memcpy(r->serial, sqlite3_column_blob(q, 2), sizeof r->serial);
    for (int i = 0; i < 5; i++) {
        const char *text = (const char *)sqlite3_column_text(q, 3 + i);
        LM_TRY(lm_strdup_n(text ? text : "", text ? strlen(text) : 0, t[i], err));
    }
    return LM_OK;
}

lm_status lm_index_entries(lm_index *x, bool (*visit)(void *ctx, const lm_entry_row *row), void *ctx,
                           lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_ENTRIES, err);
    if (!q)
        return prepare_status(x, err);
    for (bool go_on = true; go_on;) {
        bool row = false;
        lm_entry_row r;
        LM_TRY(step(x, q, &row, err));
        if (!row)
            return LM_OK;
        lm_status status = read_entry(q, &r, err);
        if (status == LM_OK)
            go_on = visit(ctx, &r);
        lm_entry_row_clear(&r);
        if (status != LM_OK || !go_on)
            (void)sqlite3_reset(q);
        LM_TRY(status);
    }
    return LM_OK;
}

lm_status lm_index_pending(lm_index *x, const char *file, bool on, lm_error *err)
{
    return run_text(x, on ? Q_ADD_PENDING : Q_DROP_PENDING, file, 0, err);
}

lm_status lm_index_pending_first(lm_index *x, char file[LM_ENTRY_FILE], bool *any, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_PENDING, err);
    if (!q)
        return prepare_status(x, err);
    LM_TRY(step(x, q, any, err));
    if (*any) {
        const char *text = (const char *)sqlite3_column_text(q, 0);
        (void)snprintf(file, LM_ENTRY_FILE, "%s", text ? text : "");
        (void)sqlite3_reset(q);
    }
    return LM_OK;
}

lm_status lm_index_sum(lm_index *x, lm_index_totals *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_TOTALS, err);
    bool row = false;
    if (!q)
        return prepare_status(x, err);
    LM_TRY(step(x, q, &row, err));
    uint64_t v[8] = { 0 };
    for (int i = 0; row && i < 8; i++)
        v[i] = (uint64_t)sqlite3_column_int64(q, i);
    *out = (lm_index_totals){ v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7] };
    (void)sqlite3_reset(q);
    return LM_OK;
}

lm_status lm_index_get_number(lm_index *x, const char *key, int64_t *out, lm_error *err)
{
    sqlite3_stmt *q = prepare(x, Q_GET_NUMBER, err);
    bool row = false;
    if (!q)
        return prepare_status(x, err);
    (void)sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
    LM_TRY(step(x, q, &row, err));
    *out = row ? sqlite3_column_int64(q, 0) : 0;
    (void)sqlite3_reset(q);
    return LM_OK;
}

lm_status lm_index_set_number(lm_index *x, const char *key, int64_t value, lm_error *err)
{
    return run_text(x, Q_SET_NUMBER, key, value, err);
}
