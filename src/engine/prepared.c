/* engine/prepared.c - finds the prepared copy of a pack and binds it to its linears. */
#define _GNU_SOURCE
#include "engine/prepared.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/cpu/panels.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/textside.h"
#include "format/folder.h"

struct lm_prepared {
    lm_map *map;
    lm_panels *panels;      /* [n_matrices] */
    _Atomic uint8_t *state; /* [n_panels] */
    _Atomic uint32_t bad;
};

const char *lm_prepared_state_name(lm_prepared_state s)
{
    static const char *const names[] = { "none", "used", "unread", "stale", "damaged" };
    return (unsigned)s < LM_LEN(names) ? names[s] : "?";
}

void lm_prep_name(const lm_packfile *pack, char out[LM_PREP_NAME])
{
    uint64_t h = 0;
    for (size_t i = 0; i < lm_packfile_n_maps(pack); i++) {
        lm_file_id id = lm_map_id(lm_packfile_map(pack, i));
        uint64_t v[2] = { id.device, id.inode };
        h = lm_xxh64(v, sizeof v, h);
    }
    (void)snprintf(out, LM_PREP_NAME, "prep-%016llx.lmprep", (unsigned long long)h);
}

bool lm_prep_is_copy(const char *name)
{
    return strlen(name) + 1 == LM_PREP_NAME && lm_starts_with(name, "prep-") && lm_ends_with(name, ".lmprep");
}

int lm_prep_folder(const char *cache_dir, bool create, char *path, size_t cap)
{
    char buf[4096];
    const char *cache = lm_cache_folder(cache_dir, buf, sizeof buf);
    int n = cache ? snprintf(path, cap, "%s/prepared", cache) : 0;
    if (n <= 0 || (size_t)n >= cap) {
        path[0] = 0;
        return -1;
    }
    if (create && !lm_make_folders(path, 0700))
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* --- binding --------------------------------------------------------------------------- */

/* Whether plane k of w is where the record says. */
static bool same_plane(const lm_packfile *pack, const lm_prep_matrix *r, const lm_matrix *w, int k)
{
    if (!w->plane[k])
        return true;
    const lm_map *m = r->file[k] < lm_packfile_n_maps(pack) ? lm_packfile_map(pack, r->file[k]) : NULL;
    return m && r->at[k] < lm_map_size(m) && lm_map_data(m) + r->at[k] == w->plane[k] &&
           r->stride[k] == w->stride[k];
}

static bool same_matrix(const lm_packfile *pack, const lm_prep_matrix *r, const lm_matrix *w)
{
    if (r->rows != w->rows || r->cols != w->cols || strcmp(r->format, w->quant->name) != 0)
        return false;
    for (int k = 0; k < w->quant->n_planes; k++)
        if (!same_plane(pack, r, w, k))
            return false;
    return true;
}

/* Records stand in the order of the operations, so each is found at once. */
static void bind(lm_prepared *p, const lm_prep_view *v, lm_net *net)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < net->program->n_ops; i++) {
        lm_matrix *w = &net->program->ops[i].u.linear.w;
        if (net->program->ops[i].kind != LM_OP_LINEAR || !lm_panels_exist(w->quant, w->cols))
            continue;
        for (uint32_t k = 0; k < v->h.n_matrices; k++) {
            uint32_t at = (next + k) % v->h.n_matrices;
            if (!same_matrix(net->pack, &v->matrices[at], w))
                continue;
            w->panels = &p->panels[at];
            next = at + 1;
            break;
        }
    }
}

void lm_prepared_unbind(lm_net *net)
{
    for (uint32_t i = 0; i < net->program->n_ops; i++)
        if (net->program->ops[i].kind == LM_OP_LINEAR)
            net->program->ops[i].u.linear.w.panels = NULL;
}

/* --- opening ---------------------------------------------------------------------------- */

static bool current(const lm_prep_view *v, const lm_packfile *pack)
{
    if (v->h.n_files != lm_packfile_n_maps(pack))
        return false;
    for (uint32_t i = 0; i < v->h.n_files; i++) {
        lm_file_id id = lm_map_id(lm_packfile_map(pack, i));
        if (memcmp(&id, &v->files[i], sizeof id) != 0)
            return false;
    }
    return true;
}

static lm_status use(lm_prepared **out, lm_map *map, const lm_prep_view *v, lm_net *net, lm_error *err)
{
    lm_prepared *p = NULL;
    LM_TRY(LM_NEW(&p, 1, err));
    lm_status status = LM_NEW(&p->panels, v->h.n_matrices, err);
    if (status == LM_OK)
        status = lm_new((void **)&p->state, (size_t)v->h.n_panels, 1, err);
    if (status != LM_OK) {
        lm_prepared_close(p);
        return status;
    }
    for (uint32_t i = 0; i < v->h.n_matrices; i++) {
        const lm_prep_matrix *m = &v->matrices[i];
        p->panels[i] = (lm_panels){ .data = lm_map_data(map) + m->data,
                                    .bytes = lm_panel_bytes(lm_quant_by_name(m->format), m->cols),
                                    .sums = v->sums + m->first_panel,
                                    .state = p->state + m->first_panel,
                                    .bad = &p->bad };
    }
    bind(p, v, net);
    p->map = map;
    *out = p;
    return LM_OK;
}

/* Finds, maps and reads the copy; *map and *v are the caller's where it is USED.  With
 * `mark` its time of last use is now. */
static lm_prepared_state look(const lm_packfile *pack, const char *cache_dir, bool mark, lm_map **map,
                              lm_prep_view *v, lm_error *why)
{
    char name[LM_PREP_NAME], path[4096];
    struct stat st;
    lm_prepared_state state = LM_PREPARED_DAMAGED;
    int dir = lm_prep_folder(cache_dir, false, path, sizeof path), fd = -1;
    lm_prep_name(pack, name);
    if (dir >= 0) {
        fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        (void)close(dir);
    }
    if (fd < 0)
        return LM_PREPARED_NONE;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        (void)lm_fail(why, LM_ERR_CORRUPT, "it is no file with something in it");
    else if (lm_map_open_fd(map, fd, 0, (uint64_t)st.st_size, false, name, why) == LM_OK &&
             lm_prep_parse(v, lm_map_data(*map), lm_map_size(*map), why) == LM_OK)
        state = current(v, pack) ? LM_PREPARED_USED : LM_PREPARED_STALE;
    if (state == LM_PREPARED_USED && mark)
        (void)futimens(fd, NULL); /* whether that can be noted or not */
    if (state != LM_PREPARED_USED) {
        lm_prep_view_clear(v);
        lm_map_close(*map);
        *map = NULL;
    }
    (void)close(fd);
    return state;
}

lm_status lm_prepared_open(lm_prepared **out, lm_net *net, const char *cache_dir, lm_prepared_state *state,
                           lm_error *why, lm_error *err)
{
    lm_map *map = NULL;
    lm_prep_view v = { 0 };
    *out = NULL;
    *state = look(net->pack, cache_dir, true, &map, &v, why);
    if (*state != LM_PREPARED_USED)
        return LM_OK;
    lm_status status = use(out, map, &v, net, err);
    lm_prep_view_clear(&v);
    if (!*out)
        lm_map_close(map);
    return status;
}

lm_prepared_state lm_prepared_look(const lm_packfile *pack, const char *cache_dir, uint64_t *bytes)
{
    lm_map *map = NULL;
    lm_prep_view v = { 0 };
    lm_prepared_state state = look(pack, cache_dir, false, &map, &v, NULL);
    *bytes = map ? lm_map_size(map) : 0;
    lm_prep_view_clear(&v);
    lm_map_close(map);
    return state;
}

uint64_t lm_prepared_bytes(const lm_prepared *p)
{
    return lm_map_size(p->map);
}

uint32_t lm_prepared_bad(const lm_prepared *p)
{
    return atomic_load_explicit(&p->bad, memory_order_relaxed);
}

bool lm_prepared_broken(const lm_prepared *p)
{
    return lm_map_check(p->map, NULL) != LM_OK;
}

void lm_prepared_close(lm_prepared *p)
{
    if (!p)
        return;
    lm_map_close(p->map);
    lm_free(p->panels);
    lm_free((void *)p->state);
    lm_free(p);
}
