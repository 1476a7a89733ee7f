/* state/recode.c - an entry's pages in another cache format, as a new entry.
 *
 * Every key and value is read from the old format and rounded to the new one.  Computing
 * in the new format would have given other bits from the second layer on, so the pages are
 * private to their entry, and the entry says that it was recoded. */
#include <string.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/store_impl.h"

typedef struct {
    lm_job job;
    const char *name, *new_name;
    lm_kv_format format;
    lm_bundle_report *report;
} recode_job;

typedef struct {
    lm_page_layout from, to;
    uint32_t n_layers, n_heads, k_dim, v_dim;
    float *k, *v;
} converter;

/* Gives the page in its new format. */
static lm_status convert(const converter *c, const uint8_t *from, uint32_t n_tokens, uint8_t **out,
                         lm_error *err)
{
    LM_TRY(lm_new((void **)out, c->to.page_bytes, 1, err));
    for (uint32_t l = 0; l < c->n_layers; l++)
        for (uint32_t h = 0; h < c->n_heads; h++)
            for (uint32_t t = 0; t < n_tokens; t++) {
                lm_page_get(&c->from, from, l, h, t, c->k, c->k_dim, c->v, c->v_dim);
                lm_page_put(&c->to, *out, l, h, t, c->k, c->k_dim, c->v, c->v_dim);
            }
    return LM_OK;
}

/* Layouts of a group, and its new geometry; what this version does not write is refused. */
static lm_status open_converter(converter *c, lm_geometry *g, lm_kv_format to, lm_error *err)
{
    lm_cache_group shape = { g->n_layers, g->n_heads, g->k_dim, g->v_dim, g->window };
    lm_kv_format from;
    lm_quoted_buf q;
    char name[sizeof g->format + 1] = "";
    memcpy(name, g->format, sizeof g->format);
    if (g->kind != LM_PAGES_KV || !lm_kv_by_name(name, &from))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "pages of format '%s' cannot be recoded",
                       lm_quoted_z(&q, name));
    /* No format takes less than half a byte a number: no product below wraps. */
    uint64_t heads = (uint64_t)g->n_layers * g->n_heads, numbers;
    if (g->k_dim == 0 || g->v_dim == 0 ||
        lm_mul_overflows(heads, ((uint64_t)g->k_dim + g->v_dim) * (LM_PAGE_TOKENS / 2), &numbers) ||
        numbers > g->page_bytes)
        return lm_fail(err, LM_ERR_STATE, "%u layers of %u heads of %u and %u do not fit into a page",
                       g->n_layers, g->n_heads, g->k_dim, g->v_dim);
    if (from == to)
        return lm_fail(err, LM_ERR_USAGE, "its pages are %s already", lm_kv_name(to));
    lm_geometry as_is = lm_geometry_of(g->group, &shape, from);
    if (memcmp(&as_is, g, sizeof as_is) != 0)
        return lm_fail(err, LM_ERR_STATE, "pages of %llu bytes are not of the shape that they claim",
                       (unsigned long long)g->page_bytes);
    *c = (converter){ .from = lm_page_layout_of(&shape, from),
                      .to = lm_page_layout_of(&shape, to),
                      .n_layers = g->n_layers,
                      .n_heads = g->n_heads,
                      .k_dim = g->k_dim,
                      .v_dim = g->v_dim };
    *g = lm_geometry_of(g->group, &shape, to);
    LM_TRY(LM_NEW(&c->k, g->k_dim, err));
    return LM_NEW(&c->v, g->v_dim, err);
}

static lm_status recode_group(lm_private *p, lm_mount *m, uint32_t g, const converter *c, lm_error *err)
{
    const lm_entry_group *eg = &p->e->groups[g];
    lm_status status = LM_OK;
    for (uint32_t i = eg->first_page; i < eg->n_pages && status == LM_OK; i++) {
        uint8_t *bytes = NULL;
        uint32_t n = LM_MIN(eg->geometry.page_tokens, p->e->n_tokens - i * eg->geometry.page_tokens);
        lm_page *page = lm_mount_take(m, g, i);
        if (!page)
            return lm_fail(err, LM_ERR_STATE, "page %u of cache group %u is missing", i, g);
        status = lm_mount_verify(m, g, i, err);
        if (status == LM_OK)
            status = convert(c, page->data, n, &bytes, err);
        lm_pool_drop(NULL, page);
        if (status == LM_OK)
            status = lm_private_add(p, g, i, bytes, err);
        else
            lm_free(bytes);
    }
    return status == LM_OK ? lm_mount_check(m, err) : status;
}

static lm_status recode(lm_store *s, const recode_job *w, lm_entry *e, lm_error *err)
{
    lm_private p = { 0 };
    lm_mount *m = NULL;
    converter c[LM_STATE_GROUPS] = { { .k = NULL } };
    if (e->n_groups == 0 || e->n_tokens == 0)
        return lm_fail(err, LM_ERR_STATE, "it has no pages");
    lm_status status = lm_store_mount(s, e, e->n_tokens, &m, err);
    if (status == LM_OK && (!m || lm_mount_n_tokens(m) < e->n_tokens))
        status = lm_fail(err, LM_ERR_STATE, "pages of %u of its %u tokens are there",
                         m ? lm_mount_n_tokens(m) : 0, e->n_tokens);
    for (uint32_t g = 0; g < e->n_groups && status == LM_OK; g++)
        status = open_converter(&c[g], &e->groups[g].geometry, w->format, err);
    if (status == LM_OK) {
        memset(e->id.cache, 0, sizeof e->id.cache);
        memcpy(e->id.cache, lm_kv_name(w->format), strlen(lm_kv_name(w->format)));
        e->flags =
            (e->flags & ~(uint32_t)LM_ENTRY_FOLDED) | LM_ENTRY_KEPT | LM_ENTRY_IMPORTED | LM_ENTRY_RECODED;
        e->parent = w->name;
        e->name = w->new_name;
        status = lm_private_open(&p, s, e, "a recoded session", err);
    }
    for (uint32_t g = 0; g < e->n_groups && status == LM_OK; g++) {
        status = recode_group(&p, m, g, &c[g], err);
        w->report->pages += e->groups[g].n_pages - e->groups[g].first_page;
        w->report->page_bytes +=
            (e->groups[g].n_pages - e->groups[g].first_page) * e->groups[g].geometry.page_bytes;
    }
    if (status == LM_OK)
        status = lm_private_commit(&p, err);
    w->report->n_tokens = e->n_tokens;
    lm_private_close(&p, status != LM_OK);
    lm_mount_close(m);
    for (uint32_t g = 0; g < LM_STATE_GROUPS; g++) {
        lm_free(c[g].k);
        lm_free(c[g].v);
    }
    return status;
}

static lm_status run_recode(lm_store *s, lm_job *j, lm_error *err)
{
    const recode_job *w = (const recode_job *)(const void *)j;
    lm_entry *e = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_store_must_be_new(s, w->new_name, err));
    LM_TRY(lm_store_entry(s, w->name, &e, err));
    lm_status status = recode(s, w, e, err);
    lm_entry_free(e);
    return status == LM_OK ? LM_OK : lm_wrap(err, status, "session '%s'", lm_quoted_z(&q, w->name));
}

lm_status lm_store_recode(lm_store *s, const char *name, const char *new_name, const char *format,
                          lm_bundle_report *out, lm_error *err)
{
    lm_bundle_report own, *report = out ? out : &own;
    recode_job w = {
        .job = { .run = run_recode, .writes = true }, .name = name, .new_name = new_name, .report = report
    };
    lm_quoted_buf q;
    *report = (lm_bundle_report){ 0 };
    LM_TRY(lm_entry_name_check(new_name, err));
    if (s->o.no_writes)
        return lm_fail(err, LM_ERR_IO, "the store is opened for reading alone");
    if (!lm_kv_by_name(format, &w.format))
        return lm_fail(err, LM_ERR_USAGE, "'%s' is no format of keys and values", lm_quoted_z(&q, format));
    return lm_disk_wait(s, &w.job, err);
}
