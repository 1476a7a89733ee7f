/* engine/stored.c - the store as lemma/state.h shows it: opening, listing, removing. */
#include <string.h>

#include "base/compiler.h"
#include "base/fail.h"
#include "base/mem.h"
#include "format/json.h"
#include "lemma/state.h"
#include "state/store.h"

void lm_state_defaults(lm_state_options *out)
{
    *out = (lm_state_options){ .size = sizeof *out };
}

lm_status lm_state_open(lm_store **out, const lm_state_options *options, lm_error *err)
{
    lm_state_options o;
    char *folder = NULL;
    lm_state_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    if (!o.folder)
        LM_TRY(lm_store_default_folder(&folder, err));
    lm_store_options s = { .folder = o.folder ? o.folder : folder,
                           .budget = o.budget,
                           .min_free = o.min_free,
                           .no_writes = o.read_only };
    lm_status st = lm_store_open(out, &s, err);
    lm_free(folder);
    return st;
}

void lm_state_close(lm_store *s)
{
    lm_store_close(s);
}

_Static_assert((int)LM_STATE_CLOSE_MS == (int)LM_STORE_CLOSE_MS, "one number");

void lm_state_wait(lm_store *s, unsigned ms)
{
    lm_store_wait(s, ms);
}

const char *lm_state_folder(const lm_store *s)
{
    return lm_store_folder(s);
}

lm_status lm_state_get_stats(lm_store *s, lm_state_stats *out, lm_error *err)
{
    lm_store_stats t;
    LM_TRY(lm_store_get_stats(s, &t, err));
    lm_state_stats all = { .size = out->size,
                           .budget = t.budget,
                           .bytes = t.bytes,
                           .pages = t.index.pages,
                           .page_bytes = t.index.page_bytes,
                           .runs = t.index.runs,
                           .sessions = t.index.entries,
                           .kept_pages = t.index.kept_pages,
                           .hits = t.hits,
                           .misses = t.misses,
                           .tokens_found = t.tokens_found,
                           .pages_written = t.pages_written,
                           .pages_reused = t.pages_reused,
                           .pages_evicted = t.pages_evicted,
                           .puts_dropped = t.puts_dropped };
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
    return LM_OK;
}

bool lm_state_get_news(lm_store *s, lm_state_news *out)
{
    *out = (lm_state_news){ 0 };
    uint32_t events = lm_store_events(s, &out->trouble);
    out->first_write = (events & LM_STORE_FIRST_WRITE) != 0;
    return events != 0;
}

/* The same object under its public name. */
lm_status lm_state_take(lm_store *s, const char *name, lm_state_hold **out, lm_error *err)
{
    return lm_store_lock(s, name, (lm_entry_lock **)(void *)out, err);
}

void lm_state_release(lm_state_hold *h)
{
    lm_store_unlock((lm_entry_lock *)(void *)h);
}

typedef struct {
    lm_on_stored visit;
    void *user;
    const char *key, *value; /* of a label; NULL: all */
} listing;

/* Labels come from the index, which is not believed: what is no such object has none. */
static bool has_label(const char *labels, const char *key, const char *value)
{
    json_t *j = labels && *labels ? json_loads(labels, 0, NULL) : NULL;
    const char *says = json_string_value(json_object_get(j, key));
    bool has = says && (!value || strcmp(says, value) == 0);
    json_decref(j);
    return has;
}

static bool list_row(void *ctx, const lm_entry_row *row)
{
    const listing *l = ctx;
    if (l->key && !has_label(row->labels, l->key, l->value))
        return true;
    lm_stored e = { .name = row->name,
                    .title = row->title ? row->title : "",
                    .parent = row->parent ? row->parent : "",
                    .n_tokens = row->n_tokens,
                    .kept = (row->flags & LM_ENTRY_KEPT) != 0,
                    .created = row->created,
                    .used = row->used,
                    .bytes = row->bytes,
                    .labels = row->labels ? row->labels : "" };
    return l->visit(l->user, &e);
}

lm_status lm_state_list(lm_store *s, lm_on_stored visit, void *user, lm_error *err)
{
    listing l = { visit, user, NULL, NULL };
    return lm_store_list(s, list_row, &l, err);
}

lm_status lm_state_list_labelled(lm_store *s, const char *key, const char *value, lm_on_stored visit,
                                 void *user, lm_error *err)
{
    listing l = { visit, user, key, value };
    return lm_store_list(s, list_row, &l, err);
}

/* Fixed fields of a file end with a zero only if they are shorter: copied with one. */
typedef struct {
    char model[129], architecture[65], quantisation[65], kv[17], backend[65], numerics[65];
} id_texts;

lm_status lm_state_show(lm_store *s, const char *name, lm_on_stored visit, void *user, lm_error *err)
{
    lm_entry *e = NULL;
    id_texts t = { "", "", "", "", "", "" };
    LM_TRY(lm_store_entry(s, name, &e, err));
    memcpy(t.model, e->id.model_name, sizeof e->id.model_name);
    memcpy(t.architecture, e->id.architecture, sizeof e->id.architecture);
    memcpy(t.quantisation, e->id.quantisation, sizeof e->id.quantisation);
    memcpy(t.kv, e->id.cache, sizeof e->id.cache);
    memcpy(t.backend, e->id.backend, sizeof e->id.backend);
    memcpy(t.numerics, e->id.model.numerics, sizeof e->id.model.numerics);
    lm_stored out = { .name = e->name,
                      .title = e->title,
                      .parent = e->parent,
                      .n_tokens = e->n_tokens,
                      .kept = (e->flags & LM_ENTRY_KEPT) != 0,
                      .created = e->created,
                      .messages = e->messages,
                      .labels = e->labels,
                      .metadata = e->metadata,
                      .imported = (e->flags & LM_ENTRY_IMPORTED) != 0 && !(e->flags & LM_ENTRY_RECODED),
                      .folded = (e->flags & LM_ENTRY_FOLDED) != 0,
                      .recoded = (e->flags & LM_ENTRY_RECODED) != 0,
                      .alone = (e->flags & LM_ENTRY_IMPORTED) != 0,
                      .model = t.model,
                      .architecture = t.architecture,
                      .quantisation = t.quantisation,
                      .kv = t.kv,
                      .backend = t.backend,
                      .numerics = t.numerics,
                      .tokens = e->tokens };
    for (uint32_t g = 0; g < e->n_groups; g++) {
        uint32_t n = e->groups[g].n_pages - e->groups[g].first_page;
        out.pages += n;
        out.page_bytes += n * e->groups[g].geometry.page_bytes;
    }
    (void)visit(user, &out);
    lm_entry_free(e);
    return LM_OK;
}

lm_status lm_state_remove(lm_store *s, const char *name, lm_error *err)
{
    return lm_store_remove(s, name, err);
}

lm_status lm_state_fork(lm_store *s, const char *name, const char *new_name, lm_error *err)
{
    return lm_store_fork(s, name, new_name, err);
}

/* --- housekeeping ----------------------------------------------------------------------------- */

static void tell_swept(const lm_gc_report *r, lm_state_swept *out)
{
    if (!out)
        return;
    lm_state_swept all = { .size = out->size,
                           .runs_merged = r->runs_merged,
                           .runs_removed = r->runs_removed,
                           .pages_expired = r->pages_expired,
                           .sessions_removed = r->entries_expired,
                           .orphans = r->orphans,
                           .bytes_freed = r->bytes_freed };
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

lm_status lm_state_gc(lm_store *s, lm_state_swept *out, lm_error *err)
{
    lm_gc_report r = { 0 };
    lm_status st = lm_store_gc(s, &r, err);
    tell_swept(&r, out);
    return st;
}

lm_status lm_state_clear(lm_store *s, uint64_t older_seconds, bool named, lm_state_swept *out, lm_error *err)
{
    lm_gc_report r = { 0 };
    lm_status st = lm_store_clear(s, older_seconds, named, &r, err);
    tell_swept(&r, out);
    return st;
}

static void tell_checked(const lm_fsck_report *r, lm_state_checked *out)
{
    lm_state_checked all = { .size = out->size,
                             .runs = r->runs,
                             .pages = r->pages,
                             .sessions = r->entries,
                             .bad_runs = r->bad_runs,
                             .bad_pages = r->bad_pages,
                             .bad_sessions = r->bad_entries,
                             .missing_pages = r->missing_pages };
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

lm_status lm_state_fsck(lm_store *s, lm_state_checked *out, void (*complain)(void *user, const char *text),
                        void *user, lm_error *err)
{
    lm_fsck_report r = { 0 };
    lm_status st = lm_store_fsck(s, &r, complain, user, err);
    tell_checked(&r, out);
    return st;
}

lm_status lm_state_rebuild(const char *folder, lm_state_checked *out, lm_error *err)
{
    lm_fsck_report r = { 0 };
    char *own = NULL;
    if (!folder)
        LM_TRY(lm_store_default_folder(&own, err));
    lm_status st = lm_store_rebuild(folder ? folder : own, &r, err);
    lm_free(own);
    tell_checked(&r, out);
    return st;
}
