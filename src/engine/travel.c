/* engine/travel.c - sessions that go to another machine or format, and what makes them
 * trusted again: computing them anew. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/rest.h"

static void tell(const lm_bundle_report *r, const char *name, lm_bundle_result *out)
{
    if (!out)
        return;
    lm_bundle_result all = { .size = out->size,
                             .n_tokens = r->n_tokens,
                             .pages = r->pages,
                             .page_bytes = r->page_bytes,
                             .file_bytes = r->file_bytes };
    (void)snprintf(all.name, sizeof all.name, "%s", name);
    memcpy(out, &all, LM_MIN(sizeof all, (size_t)out->size));
}

lm_status lm_state_export(lm_store *s, const char *name, const char *path, lm_bundle_result *out,
                          lm_error *err)
{
    lm_bundle_report r = { 0 };
    LM_TRY(lm_store_export(s, name, path, &r, err));
    tell(&r, name, out);
    return LM_OK;
}

lm_status lm_state_import(lm_store *s, const char *path, const char *new_name, lm_bundle_result *out,
                          lm_error *err)
{
    lm_bundle_report r = { 0 };
    char name[LM_STATE_NAME];
    LM_TRY(lm_store_import(s, path, new_name, name, &r, err));
    tell(&r, name, out);
    return LM_OK;
}

lm_status lm_state_recode(lm_store *s, const char *name, const char *new_name, const char *format,
                          lm_bundle_result *out, lm_error *err)
{
    lm_bundle_report r = { 0 };
    LM_TRY(lm_store_recode(s, name, new_name, format, &r, err));
    tell(&r, new_name, out);
    return LM_OK;
}

/* --- verify --------------------------------------------------------------------------------- */

/* Number by number: what lies in padding and behind the last token means nothing. */
static lm_status compare_page(const lm_model *m, uint32_t g, uint32_t i, const uint8_t *a, const uint8_t *b,
                              uint32_t n_tokens, float *buf, lm_error *err)
{
    const lm_cache_group *shape = &m->net->program->groups[g];
    const lm_page_layout *l = &m->layouts[g];
    size_t k = shape->k_dim, v = shape->v_dim;
    if (memcmp(a, b, l->page_bytes) == 0)
        return LM_OK;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++)
        for (uint32_t h = 0; h < shape->n_heads; h++)
            for (uint32_t t = 0; t < n_tokens; t++) {
                lm_page_get(l, a, layer, h, t, buf, shape->k_dim, buf + k, shape->v_dim);
                lm_page_get(l, b, layer, h, t, buf + k + v, shape->k_dim, buf + 2 * k + v, shape->v_dim);
                if (memcmp(buf, buf + k + v, (k + v) * sizeof *buf) != 0)
                    return lm_fail(
                        err, LM_ERR_MISMATCH,
                        "token %u, layer %u, head %u: computed again, its keys and values are others",
                        i * LM_PAGE_TOKENS + t, layer, h);
            }
    return LM_OK;
}

/* The session has been computed again; `mount` has what the entry brought. */
static lm_status compare(const lm_session *s, lm_mount *mount, const lm_entry *e, lm_error *err)
{
    float *buf = NULL;
    lm_status st = LM_OK;
    for (uint32_t g = 0; g < s->m->n_groups && st == LM_OK; g++) {
        const lm_cache_group *shape = &s->m->net->program->groups[g];
        st = LM_NEW(&buf, 2 * ((size_t)shape->k_dim + shape->v_dim), err);
        for (uint32_t i = e->groups[g].first_page; i < e->groups[g].n_pages && st == LM_OK; i++) {
            uint32_t n = LM_MIN((uint32_t)LM_PAGE_TOKENS, e->n_tokens - i * LM_PAGE_TOKENS);
            lm_page *page = lm_mount_take(mount, g, i);
            if (!page)
                continue; /* behind the window */
            st = lm_mount_verify(mount, g, i, err);
            if (st == LM_OK && !s->groups[g].data[i])
                st = lm_fail(err, LM_ERR_MISMATCH, "page %u of cache group %u is behind its window", i, g);
            if (st == LM_OK)
                st = compare_page(s->m, g, i, page->data, s->groups[g].data[i], n, buf, err);
            lm_pool_drop(NULL, page);
        }
        lm_free(buf);
        buf = NULL;
    }
    if (st == LM_OK)
        st = lm_mount_check(mount, err);
    if (st == LM_OK && e->n_logits &&
        (e->n_logits != s->m->info.n_vocab || memcmp(e->logits, s->logits, e->n_logits * sizeof *e->logits)))
        st = lm_fail(err, LM_ERR_MISMATCH, "computed again, its logits are others");
    return st;
}

static lm_status sleep_as_own(lm_session *s, lm_store *store, const lm_entry *e, lm_error *err)
{
    lm_sleep_options o;
    lm_sleep_defaults(&o);
    o.title = e->title;
    o.messages = e->messages;
    o.labels = e->labels;
    o.metadata = e->metadata;
    o.parent = e->parent;
    LM_TRY(lm_session_sleep_as(s, store, e->name, &o, e->flags & LM_ENTRY_FOLDED, NULL, err));
    return lm_store_sweep_private(store, err);
}

static lm_status verify(lm_session *s, lm_store *store, lm_entry *e, lm_error *err)
{
    lm_compatibility c;
    lm_mount *mount = NULL;
    LM_TRY(lm_state_compatible(store, e->name, s->m, &c, err));
    if (!c.mounts)
        return lm_fail(err, LM_ERR_MISMATCH, "it cannot be compared: %s",
                       c.reasons[0]    ? c.reasons
                       : c.warnings[0] ? c.warnings
                                       : "pages are missing");
    LM_TRY(lm_store_mount(store, e, e->n_tokens, &mount, err));
    lm_session_reset(s);
    s->replaying = true; /* nothing is looked for */
    lm_status st = mount ? lm_session_append(s, e->tokens, e->n_tokens, err)
                         : lm_fail(err, LM_ERR_STATE, "its pages are gone");
    s->replaying = false;
    if (st == LM_OK)
        st = compare(s, mount, e, err);
    lm_mount_close(mount);
    if (st == LM_OK && e->n_sampler) {
        st = lm_grow((void **)&s->sampler, &s->cap_sampler, e->n_sampler, 1, err);
        if (st == LM_OK) {
            memcpy(s->sampler, e->sampler, e->n_sampler);
            s->n_sampler = e->n_sampler;
        }
    }
    return st == LM_OK ? sleep_as_own(s, store, e, err) : st;
}

lm_status lm_session_verify(lm_session *s, lm_store *store, const char *name, lm_error *err)
{
    lm_entry *e = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_store_entry(store, name, &e, err));
    lm_status st = verify(s, store, e, err);
    lm_entry_free(e);
    return st == LM_OK ? LM_OK : lm_wrap(err, st, "session '%s'", lm_quoted_z(&q, name));
}
