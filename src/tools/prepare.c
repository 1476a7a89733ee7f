/* tools/prepare.c - makes prepared copies, lists and removes them (lemma/prepare.h).
 *
 * A copy is written without a name (where the file system cannot do that, under a
 * temporary one): panels, then tables, then the header, fsync, rename.  The file is locked
 * while somebody writes it, so that what a crash left is known from what another process
 * is at. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/panels.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/newfile.h"
#include "base/str.h"
#include "engine/prepared.h"
#include "format/folder.h"
#include "lemma/pack.h"
#include "state/io.h"

#define DEFAULT_BUDGET (UINT64_C(32) << 30)
#define SPARE          (UINT64_C(64) << 20) /* left free on the disk */
enum { BATCH = 4 << 20, TICK_NS = 20000000 /* no clock of a file system is coarser */ };

void lm_prepare_defaults(lm_prepare_options *out)
{
    *out = (lm_prepare_options){ .size = sizeof *out, .cache_dir = "" };
}

/* --- the folder ------------------------------------------------------------------------- */

typedef struct {
    char name[LM_PREP_NAME], path[4096];
    uint64_t bytes, created;
    int64_t used, used_ns;
    const char *state;
    char *pack; /* NULL where the file does not say */
} copy;

typedef struct {
    copy *copies;
    size_t n, cap;
    uint64_t bytes;
} shelf;

static void shelf_clear(shelf *s)
{
    for (size_t i = 0; i < s->n; i++)
        lm_free(s->copies[i].pack);
    lm_free(s->copies);
    *s = (shelf){ 0 };
}

/* Whether the pack's files are still those that the copy was made of. */
static bool still(const lm_prep_view *v)
{
    struct stat st;
    for (uint32_t i = 0; i < v->h.n_files; i++) {
        const lm_file_id *id = &v->files[i];
        if (stat(v->paths[i + 1], &st) != 0 || (uint64_t)st.st_dev != id->device ||
            (uint64_t)st.st_ino != id->inode || (uint64_t)st.st_size != id->size ||
            (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec != id->mtime_ns ||
            (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec != id->ctime_ns)
            return false;
    }
    return true;
}

static lm_status describe(copy *c, int dir, lm_error *err)
{
    struct stat st;
    lm_map *map = NULL;
    lm_prep_view v = { 0 };
    lm_status status = LM_OK;
    int fd = openat(dir, c->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    c->state = "damaged";
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
        lm_map_open_fd(&map, fd, 0, (uint64_t)st.st_size, false, c->name, NULL) == LM_OK &&
        lm_prep_parse(&v, lm_map_data(map), lm_map_size(map), NULL) == LM_OK) {
        c->created = v.h.created;
        c->state = still(&v) ? "current" : "stale";
        status = lm_strdup_n(v.paths[0], strlen(v.paths[0]), &c->pack, err);
    }
    lm_io_close(fd);
    lm_prep_view_clear(&v);
    lm_map_close(map);
    return status;
}

static lm_status shelf_read(shelf *s, int dir, const char *path, lm_error *err)
{
    lm_folder in = { 0 };
    struct stat st;
    LM_TRY(lm_folder_read(&in, path, err));
    lm_status status = LM_OK;
    for (size_t i = 0; i < in.n && status == LM_OK; i++) {
        if (!lm_prep_is_copy(in.names[i]) || fstatat(dir, in.names[i], &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        status = lm_grow((void **)&s->copies, &s->cap, s->n + 1, sizeof *s->copies, err);
        if (status != LM_OK)
            break;
        copy *c = &s->copies[s->n++];
        *c =
            (copy){ .bytes = (uint64_t)st.st_size, .used = st.st_mtim.tv_sec, .used_ns = st.st_mtim.tv_nsec };
        memcpy(c->name, in.names[i], LM_PREP_NAME);
        (void)snprintf(c->path, sizeof c->path, "%s/%s", path, c->name);
        s->bytes += c->bytes;
        status = describe(c, dir, err);
    }
    lm_folder_clear(&in);
    return status;
}

/* What crashes left: nobody holds its lock. */
static void sweep(int dir, const char *path)
{
    lm_folder in = { 0 };
    if (lm_folder_read(&in, path, NULL) != LM_OK)
        return;
    for (size_t i = 0; i < in.n; i++) {
        int fd = lm_io_is_tmp(in.names[i])
                     ? openat(dir, in.names[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
                     : -1;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dir, in.names[i], 0);
        lm_io_close(fd);
    }
    lm_folder_clear(&in);
}

static lm_status give_json(json_t *j, char **out, lm_error *err)
{
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the report");
    *out = text;
    return LM_OK;
}

static json_t *text_json(const char *s) /* paths need not be UTF-8 */
{
    lm_quoted_buf q;
    json_t *j = json_string(s);
    return j ? j : json_string(lm_quoted_z(&q, s));
}

lm_status lm_prepared_list(const char *cache_dir, char **json, lm_error *err)
{
    char path[4096];
    shelf s = { 0 };
    int dir = lm_prep_folder(cache_dir, false, path, sizeof path);
    lm_status status = dir >= 0 ? shelf_read(&s, dir, path, err) : LM_OK;
    json_t *copies = json_array();
    for (size_t i = 0; i < s.n; i++) {
        const copy *c = &s.copies[i];
        (void)json_array_append_new(copies,
                                    json_pack("{s:o, s:o, s:I, s:I, s:I, s:s}", "path", text_json(c->path),
                                              "pack", c->pack ? text_json(c->pack) : json_null(), "bytes",
                                              (json_int_t)c->bytes, "created", (json_int_t)c->created, "used",
                                              (json_int_t)c->used, "state", c->state));
    }
    json_t *all = json_pack("{s:o, s:I, s:o}", "folder", text_json(path), "bytes", (json_int_t)s.bytes,
                            "copies", copies);
    shelf_clear(&s);
    lm_io_close(dir);
    if (status == LM_OK)
        return give_json(all, json, err);
    json_decref(all);
    return status;
}

static lm_status drop(int dir, shelf *s, size_t i, lm_error *err)
{
    LM_TRY(lm_io_unlink(dir, s->copies[i].name, err));
    s->bytes -= s->copies[i].bytes;
    lm_free(s->copies[i].pack);
    s->copies[i] = s->copies[--s->n];
    return LM_OK;
}

/* The name of the copy that belongs to the pack; "" where there is no pack. */
static void name_of(const char *pack, char name[LM_PREP_NAME])
{
    lm_packfile *p = NULL;
    name[0] = 0;
    if (lm_packfile_open(&p, pack, true, NULL) == LM_OK)
        lm_prep_name(p, name);
    lm_packfile_close(p);
}

lm_status lm_prepared_remove(const char *cache_dir, const char *pack, char **json, lm_error *err)
{
    char path[4096], name[LM_PREP_NAME] = "", *absolute = NULL;
    shelf s = { 0 };
    uint64_t removed = 0, bytes = 0;
    lm_quoted_buf q;
    int dir = lm_prep_folder(cache_dir, false, path, sizeof path);
    lm_status status = dir >= 0 ? shelf_read(&s, dir, path, err) : LM_OK;
    /* A pack that is gone is known by the path that it had, a copy that cannot be read by
     * its name. */
    if (status == LM_OK && pack && lm_pack_resolve(pack, &absolute, NULL) != LM_OK)
        status = lm_path_absolute(&absolute, pack, err);
    if (status == LM_OK && pack)
        name_of(absolute, name);
    for (size_t i = 0; i < s.n && status == LM_OK;) {
        char *whole = NULL;
        bool mine = !pack || strcmp(s.copies[i].name, name) == 0;
        if (!mine && s.copies[i].pack) {
            status = lm_path_absolute(&whole, absolute, err);
            mine = status == LM_OK && strcmp(whole, s.copies[i].pack) == 0;
            lm_free(whole);
        }
        if (!mine) {
            i++;
            continue;
        }
        uint64_t size = s.copies[i].bytes;
        status = drop(dir, &s, i, err);
        removed += status == LM_OK;
        bytes += status == LM_OK ? size : 0;
    }
    if (!pack && dir >= 0 && status == LM_OK)
        sweep(dir, path);
    lm_free(absolute);
    shelf_clear(&s);
    lm_io_close(dir);
    if (status == LM_OK && pack && removed == 0) {
        lm_hint(err, "'lemma prepare --list' shows what there is");
        return lm_fail(err, LM_ERR_NOT_FOUND, "there is no prepared copy of %s", lm_quoted_z(&q, pack));
    }
    if (status != LM_OK)
        return status;
    return give_json(json_pack("{s:I, s:I}", "removed", (json_int_t)removed, "bytes", (json_int_t)bytes),
                     json, err);
}

/* --- what goes into a copy --------------------------------------------------------------- */

typedef struct {
    const lm_prepare_options *o;
    lm_packfile *pack;
    lm_net *net;
    lm_prep_header h;
    lm_prep_matrix *m; /* [h.n_matrices] */
    const lm_matrix **w;
    uint8_t *table;
    uint64_t *sums; /* in the table */
    int dir, fd;
    uint64_t done, total; /* bytes of panels */
    lm_error *err;
} maker;

static bool plane_of(const lm_packfile *pack, const uint8_t *p, uint32_t *file, uint64_t *at)
{
    for (size_t i = 0; i < lm_packfile_n_maps(pack); i++) {
        const lm_map *m = lm_packfile_map(pack, i);
        if (p >= lm_map_data(m) && p < lm_map_data(m) + lm_map_size(m)) {
            *file = (uint32_t)i;
            *at = (uint64_t)(p - lm_map_data(m));
            return true;
        }
    }
    return false;
}

/* One linear's matrix, unless it is there already (tied heads). */
static void add_matrix(maker *k, const lm_matrix *w)
{
    lm_prep_matrix m = { .rows = w->rows, .cols = w->cols };
    size_t n = strlen(w->quant->name);
    if (!lm_panels_exist(w->quant, w->cols) || w->rows == 0 || n >= sizeof m.format ||
        k->h.n_matrices == LM_PREP_MATRICES)
        return;
    memcpy(m.format, w->quant->name, n);
    for (int p = 0; p < w->quant->n_planes; p++) {
        m.stride[p] = w->stride[p];
        if (!plane_of(k->pack, w->plane[p], &m.file[p], &m.at[p]))
            return; /* not the file's: nothing to recognise it by */
    }
    for (uint32_t i = 0; i < k->h.n_matrices; i++)
        if (memcmp(k->m[i].at, m.at, sizeof m.at) == 0 && memcmp(k->m[i].file, m.file, sizeof m.file) == 0 &&
            k->m[i].rows == m.rows)
            return;
    m.first_panel = k->h.n_panels;
    m.data = k->total; /* from the first panel on, for now */
    k->h.n_panels += (m.rows + LM_PANEL - 1) / LM_PANEL;
    k->total += (m.rows + LM_PANEL - 1) / LM_PANEL * lm_panel_bytes(w->quant, w->cols);
    k->w[k->h.n_matrices] = w;
    k->m[k->h.n_matrices++] = m;
}

/* Header and tables but for the checksums of panels. */
static lm_status lay_out(maker *k)
{
    const lm_program *p = k->net->program;
    uint32_t n_files = (uint32_t)lm_packfile_n_maps(k->pack);
    uint64_t text = strlen(lm_packfile_path(k->pack)) + 1;
    LM_TRY(LM_NEW(&k->m, p->n_ops, k->err));
    LM_TRY(LM_NEW(&k->w, p->n_ops, k->err));
    for (uint32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].kind == LM_OP_LINEAR)
            add_matrix(k, &p->ops[i].u.linear.w);
    if (k->h.n_matrices == 0)
        return lm_fail(
            k->err, LM_ERR_UNSUPPORTED,
            "no matrix of this pack is in a format that is prepared: weights of 16 and 32 bits are "
            "fastest where they are");
    for (uint32_t i = 0; i < n_files; i++)
        text += strlen(lm_map_path(lm_packfile_map(k->pack, i))) + 1;
    uint64_t files = n_files * sizeof(lm_file_id), matrices = k->h.n_matrices * sizeof *k->m;
    uint64_t sums = k->h.n_panels * sizeof *k->sums;
    memcpy(k->h.magic, "LMPREPAR", 8);
    k->h.version = LM_PREP_VERSION;
    k->h.header_bytes = LM_PREP_HEADER;
    k->h.n_files = n_files;
    k->h.table_bytes = files + matrices + sums + text;
    k->h.created = (uint64_t)time(NULL);
    uint64_t first = lm_round_up(LM_PREP_HEADER + k->h.table_bytes, 4096);
    k->h.n_bytes = first + k->total;
    for (uint32_t i = 0; i < k->h.n_matrices; i++)
        k->m[i].data += first;
    LM_TRY(lm_new((void **)&k->table, (size_t)k->h.table_bytes, 1, k->err));
    k->sums = (uint64_t *)(void *)(k->table + files + matrices);
    memcpy(k->table + files, k->m, (size_t)matrices);
    char *to = (char *)k->table + files + matrices + sums;
    to = stpcpy(to, lm_packfile_path(k->pack)) + 1;
    for (uint32_t i = 0; i < n_files; i++) {
        lm_file_id id = lm_map_id(lm_packfile_map(k->pack, i));
        memcpy(k->table + i * sizeof id, &id, sizeof id);
        to = stpcpy(to, lm_map_path(lm_packfile_map(k->pack, i))) + 1;
    }
    return LM_OK;
}

/* --- writing --------------------------------------------------------------------------------- */

static lm_status refused(lm_error *err, const char *what)
{
    lm_status s = errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? LM_ERR_NOSPACE : LM_ERR_IO;
    return lm_fail(err, s, "cannot %s the prepared copy: %s", what, strerror(errno));
}

static lm_status write_at(maker *k, const void *bytes, size_t n, uint64_t at)
{
    for (const uint8_t *p = bytes; n > 0;) {
        ssize_t w = lm_fault_here() ? -1 : pwrite(k->fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return refused(k->err, "write");
        p += w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return LM_OK;
}

static lm_status write_matrix(maker *k, uint32_t i, uint8_t *batch, void *scratch)
{
    const lm_matrix *w = k->w[i];
    uint64_t bytes = lm_panel_bytes(w->quant, w->cols), at = k->m[i].data;
    uint32_t panels = (w->rows + LM_PANEL - 1) / LM_PANEL;
    uint32_t each = (uint32_t)LM_MAX(BATCH / bytes, (uint64_t)1), n;
    for (uint32_t p = 0; p < panels; p += n, at += n * bytes) {
        n = LM_MIN(panels - p, each);
        for (uint32_t j = 0; j < n; j++) {
            lm_panel_make(w, p + j, batch + j * bytes, scratch);
            k->sums[k->m[i].first_panel + p + j] = lm_xxh64(batch + j * bytes, (size_t)bytes, 0);
        }
        LM_TRY(write_at(k, batch, (size_t)(n * bytes), at));
        k->done += n * bytes;
        if (k->o->on_progress && !k->o->on_progress(k->o->user, k->done, k->total))
            return lm_fail(k->err, LM_ERR_CANCELLED, "cancelled");
    }
    return LM_OK;
}

static lm_status write_matrices(maker *k)
{
    uint8_t *batch = NULL;
    void *scratch = NULL;
    uint64_t most = BATCH;
    uint32_t cols = 0;
    for (uint32_t i = 0; i < k->h.n_matrices; i++) {
        most = LM_MAX(most, lm_panel_bytes(k->w[i]->quant, k->w[i]->cols));
        cols = LM_MAX(cols, k->w[i]->cols);
    }
    lm_status status = lm_new_aligned((void **)&batch, (size_t)most, k->err);
    if (status == LM_OK)
        status = lm_new_aligned(&scratch, lm_panel_scratch(cols), k->err);
    for (uint32_t i = 0; i < k->h.n_matrices && status == LM_OK; i++)
        status = write_matrix(k, i, batch, scratch);
    lm_free(batch);
    lm_free(scratch);
    return status;
}

/* The pack must be what it was when it was mapped, down to its clock. */
static lm_status unchanged(const maker *k)
{
    struct stat st;
    lm_quoted_buf q;
    for (size_t i = 0; i < lm_packfile_n_maps(k->pack); i++) {
        const lm_map *m = lm_packfile_map(k->pack, i);
        lm_file_id id = lm_map_id(m);
        LM_TRY(lm_map_check(m, k->err));
        if (stat(lm_map_path(m), &st) != 0 || (uint64_t)st.st_ino != id.inode ||
            (uint64_t)st.st_size != id.size ||
            (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec != id.ctime_ns)
            return lm_fail(k->err, LM_ERR_MISMATCH, "%s changed while its copy was made",
                           lm_quoted_z(&q, lm_map_path(m)));
    }
    return LM_OK;
}

static lm_status write_copy(maker *k)
{
    LM_TRY(write_matrices(k));
    lm_prep_seal(&k->h, k->table);
    LM_TRY(write_at(k, k->table, (size_t)k->h.table_bytes, LM_PREP_HEADER));
    uint8_t page[LM_PREP_HEADER] = { 0 };
    memcpy(page, &k->h, sizeof k->h);
    LM_TRY(write_at(k, page, sizeof page, 0));
    if (lm_fault_here() || fsync(k->fd) != 0)
        return refused(k->err, "sync");
    return unchanged(k);
}

static lm_status write_named(maker *k, const char *name)
{
    char tmp[LM_TMP_NAME];
    LM_TRY(lm_io_tmp_name(tmp, k->err));
    bool failing = lm_fault_here();
    k->fd = failing ? -1 : lm_nameless_open(k->dir, ".");
    bool nameless = k->fd >= 0;
    if (!nameless && !failing)
        k->fd = openat(k->dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (k->fd < 0)
        return refused(k->err, "begin");
    (void)flock(k->fd, LOCK_EX | LOCK_NB);
    lm_status status = write_copy(k);
    if (status == LM_OK && (lm_fault_here() || (nameless && lm_nameless_link(k->fd, k->dir, tmp) != 0) ||
                            renameat(k->dir, tmp, k->dir, name) != 0))
        status = refused(k->err, "name");
    if (status != LM_OK)
        (void)unlinkat(k->dir, tmp, 0); /* where it got that name */
    else
        (void)fsync(k->dir);
    lm_map *m = NULL;
    if (status == LM_OK && lm_map_open_fd(&m, k->fd, 0, k->h.n_bytes, false, name, NULL) == LM_OK)
        lm_map_reread(m, k->fd);
    lm_map_close(m);
    lm_io_close(k->fd);
    return status;
}

/* --- making ------------------------------------------------------------------------------------- */

/* The copy that is there: is every panel of it good? */
static bool good_already(maker *k, const char *cache_dir)
{
    lm_prepared *p = NULL;
    lm_prepared_state state;
    lm_error why = { 0 };
    bool good = lm_prepared_open(&p, k->net, cache_dir, &state, &why, NULL) == LM_OK && p != NULL;
    for (uint32_t i = 0; i < k->net->program->n_ops && good; i++) {
        const lm_op *op = &k->net->program->ops[i];
        const lm_matrix *w = &op->u.linear.w;
        if (op->kind != LM_OP_LINEAR || !lm_panels_exist(w->quant, w->cols))
            continue;
        good = w->panels != NULL;
        for (uint32_t r = 0; good && r < (w->rows + LM_PANEL - 1) / LM_PANEL; r++)
            good = lm_panel_good(w->panels, r);
    }
    good = good && !lm_prepared_broken(p);
    lm_prepared_unbind(k->net);
    lm_prepared_close(p);
    return good;
}

/* Evicts until the new copy fits; its own predecessor goes first. */
static lm_status make_room(maker *k, const char *path, const char *name, json_t *evicted)
{
    shelf s = { 0 };
    struct statvfs fs;
    uint64_t budget = k->o->budget_bytes ? k->o->budget_bytes : DEFAULT_BUDGET, need = k->h.n_bytes;
    if (need > budget) {
        lm_hint(k->err, "--prepared-budget sets it");
        return lm_fail(k->err, LM_ERR_NOSPACE,
                       "the copy takes %" PRIu64 " bytes, the budget of prepared copies is %" PRIu64 " bytes",
                       need, budget);
    }
    lm_status status = shelf_read(&s, k->dir, path, k->err);
    while (status == LM_OK && s.bytes > budget - need) {
        size_t old = 0;
        for (size_t i = 1; i < s.n; i++) {
            const copy *a = &s.copies[i], *b = &s.copies[old];
            if (strcmp(b->name, name) != 0 && (strcmp(a->name, name) == 0 || a->used < b->used ||
                                               (a->used == b->used && a->used_ns < b->used_ns)))
                old = i;
        }
        if (strcmp(s.copies[old].name, name) != 0)
            (void)json_array_append_new(
                evicted, text_json(s.copies[old].pack ? s.copies[old].pack : s.copies[old].name));
        status = drop(k->dir, &s, old, k->err);
    }
    shelf_clear(&s);
    if (status == LM_OK && fstatvfs(k->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < need + SPARE)
        status = lm_fail(k->err, LM_ERR_NOSPACE,
                         "the copy takes %" PRIu64 " MiB, the disk has %" PRIu64 " MiB free", need >> 20,
                         (uint64_t)fs.f_bavail * fs.f_frsize >> 20);
    return status;
}

static void tag_folder(int dir)
{
    static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                              "# Prepared copies of packs: 'lemma prepare' makes them again.\n"
                              "# About this file: https://bford.info/cachedir/\n";
    if (faccessat(dir, "CACHEDIR.TAG", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        (void)!lm_io_put_file(dir, "CACHEDIR.TAG", tag, sizeof tag - 1, NULL);
}

/* A file that changed within the last step of the clock may change again without its
 * times showing it: until that step is over the copy's source is not certain. */
static void settle(const lm_packfile *pack)
{
    struct timespec now, wait = { .tv_nsec = TICK_NS };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    for (size_t i = 0; i < lm_packfile_n_maps(pack); i++)
        if (lm_map_id(lm_packfile_map(pack, i)).ctime_ns + TICK_NS > ns) {
            (void)nanosleep(&wait, NULL);
            return;
        }
}

static lm_status make(maker *k, char **json)
{
    char path[4096], name[LM_PREP_NAME], file[4200];
    json_t *evicted = json_array();
    lm_quoted_buf q;
    k->dir = lm_prep_folder(k->o->cache_dir, true, path, sizeof path);
    lm_status status = k->dir >= 0
                           ? lay_out(k)
                           : lm_fail(k->err, LM_ERR_IO, "there is no folder for prepared copies: %s",
                                     path[0] ? lm_quoted_z(&q, path)
                                             : "neither XDG_CACHE_HOME nor HOME names one that can be made");
    lm_prep_name(k->pack, name);
    bool there = status == LM_OK && good_already(k, k->o->cache_dir);
    if (status == LM_OK && !there) {
        sweep(k->dir, path);
        tag_folder(k->dir);
        settle(k->pack);
        status = make_room(k, path, name, evicted);
        if (status == LM_OK)
            status = write_named(k, name);
    }
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    if (status == LM_OK)
        return give_json(json_pack("{s:o, s:o, s:I, s:i, s:b, s:o}", "path", text_json(file), "pack",
                                   text_json(lm_packfile_path(k->pack)), "bytes", (json_int_t)k->h.n_bytes,
                                   "matrices", (int)k->h.n_matrices, "made", !there, "evicted", evicted),
                         json, k->err);
    json_decref(evicted);
    return status;
}

lm_status lm_prepare(const char *pack, const lm_prepare_options *options, char **json, lm_error *err)
{
    lm_prepare_options o;
    char *path = NULL;
    lm_prepare_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    maker k = { .o = &o, .dir = -1, .err = err };
    LM_TRY(lm_pack_resolve(pack, &path, err));
    lm_status status = lm_packfile_open(&k.pack, path, true, err);
    lm_free(path);
    if (status == LM_OK)
        status = lm_net_open(&k.net, k.pack, 0, err);
    if (status == LM_OK)
        status = make(&k, json);
    else
        lm_packfile_close(k.net ? NULL : k.pack);
    lm_io_close(k.dir);
    lm_free(k.table);
    lm_free(k.m);
    lm_free((void *)k.w);
    lm_net_close(k.net);
    return status;
}
