/* engine/reuse.c - every session begins where the store, or another session, has been.
 *
 * Finding: the longest prefix whose tokens are equal, at a page border.  Keeping: full
 * pages go to the disk thread between steps.  Layers that see everything keep all their
 * pages.  Layers with a sliding window keep the pages that the window covers at certain
 * borders only (where an append or a generation ended, and every so many tokens): a
 * prefix can begin there, and costs a fraction of keeping all. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/rest.h"

enum {
    STRIDE_WINDOWS = 4, /* windows between two borders that are kept: a quarter of all pages */
    STRIDE_LEAST = 1024 /* tokens: what is computed again at most, for small windows */
};
/* Waiting pages beyond this are handed over before the end: a run file is worth its fsync. */
#define PUT_BYTES ((uint64_t)64 << 20)

static uint32_t window_of(const lm_model *m, uint32_t group)
{
    return m->net->program->groups[group].window;
}

/* First page that a query at position n sees. */
static uint32_t first_seen(uint32_t window, uint32_t n)
{
    return window && n + 1 > window ? (n + 1 - window) / LM_PAGE_TOKENS : 0;
}

/* --- finding ------------------------------------------------------------------------------- */

/* Whether `d` still has every page that a session of n tokens (a page border) needs. */
static bool has_pages(const lm_session *d, uint32_t n)
{
    for (uint32_t i = 0; i < d->m->n_groups; i++) {
        const lm_group_state *g = &d->groups[i];
        uint32_t first = first_seen(window_of(d->m, i), n);
        if (first < g->n_dropped || n / LM_PAGE_TOKENS > g->n_pages)
            return false;
        /* Between a mount's window and what it dropped nothing is missing. */
        if (first < n / LM_PAGE_TOKENS && !g->pages[first])
            return false;
    }
    return true;
}

/* The session of this model that shares most of `ids`, [n], and how much. */
static lm_session *best_neighbour(lm_session *s, const int32_t *ids, uint32_t n, uint32_t *n_same)
{
    lm_session *best = NULL;
    *n_same = 0;
    for (lm_session *d = s->m->sessions; d; d = d->next) {
        uint32_t most = LM_MIN(d->n_tokens, n), same = 0;
        if (d == s || d->foreign || (d->mount && !d->verified))
            continue;
        while (same < most && d->tokens[same] == ids[same])
            same++;
        same -= same % LM_PAGE_TOKENS;
        while (same > *n_same && !has_pages(d, same))
            same -= LM_PAGE_TOKENS;
        if (same > *n_same) {
            *n_same = same;
            best = d;
        }
    }
    return best;
}

/* Room for what the session will hold, so that nothing fails once it is emptied. */
static lm_status make_room(lm_session *s, uint32_t n, lm_error *err)
{
    uint32_t n_pages = n / LM_PAGE_TOKENS + 1;
    LM_TRY(lm_grow((void **)&s->tokens, &s->cap_tokens, n, sizeof *s->tokens, err));
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        LM_TRY(lm_grow((void **)&g->pages, &g->cap, n_pages, sizeof(lm_page *), err));
        LM_TRY(lm_grow((void **)&g->data, &g->cap_data, n_pages, sizeof(uint8_t *), err));
    }
    return LM_OK;
}

/* The session becomes the first n tokens of `d`, which has their pages. */
static void borrow(lm_session *s, lm_session *d, uint32_t n)
{
    lm_session_forget(s);
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        uint32_t first = first_seen(window_of(s->m, i), n);
        g->n_pages = n / LM_PAGE_TOKENS;
        g->n_dropped = first;
        for (uint32_t k = 0; k < g->n_pages; k++) {
            g->pages[k] = k < first ? NULL : d->groups[i].pages[k];
            g->data[k] = g->pages[k] ? g->pages[k]->data : NULL;
            if (g->pages[k])
                lm_pool_keep(g->pages[k]);
        }
    }
    if (d->mount) {
        lm_mount_retain(d->mount);
        s->mount = d->mount;
        s->store = d->store;
        s->n_mounted = LM_MIN(n, d->n_mounted / LM_PAGE_TOKENS * LM_PAGE_TOKENS);
        s->verified = true;
    }
    memcpy(s->tokens, d->tokens, n * sizeof *s->tokens);
    s->n_tokens = n;
    s->n_published = LM_MIN(n, d->n_published);
}

/* `all` [n]: the session's tokens and those to come. */
static lm_status recall(lm_session *s, const int32_t *all, uint32_t n, lm_error *err)
{
    lm_mount *mount = NULL;
    lm_model *m = s->m;
    uint32_t near = 0, far = 0;
    lm_session *d = best_neighbour(s, all, n - 1, &near);
    /* Looked for in vain is not a failure: everything is computed. */
    if (lm_whose_soon(m) && lm_store_find(m->store, &m->rest->space, all, n - 1, &mount, NULL) == LM_OK &&
        mount)
        far = lm_mount_n_tokens(mount);
    uint32_t best = LM_MAX(near, far);
    lm_status st = best > s->n_tokens ? make_room(s, n, err) : LM_OK;
    if (best <= s->n_tokens || st != LM_OK) {
        lm_mount_close(mount);
        return st;
    }
    uint32_t had = s->n_tokens;
    if (near >= far) {
        lm_mount_close(mount);
        borrow(s, d, near);
    } else {
        lm_session_forget(s);
        st = lm_session_adopt(s, m->store, mount, all, err);
        if (st != LM_OK)
            lm_mount_close(mount);
    }
    s->metrics.cached_tokens += s->n_tokens - LM_MIN(had, s->n_tokens);
    return st;
}

lm_status lm_session_recall(lm_session *s, const int32_t *ids, size_t n, size_t *n_taken, lm_error *err)
{
    int32_t *all = NULL;
    uint32_t had = s->n_tokens;
    *n_taken = 0;
    if (!s->m->store || s->foreign || s->replaying || n < LM_PAGE_TOKENS || n > s->m->info.context - had)
        return LM_OK;
    if (had == 0) {
        LM_TRY(recall(s, ids, (uint32_t)n, err));
    } else {
        LM_TRY(LM_NEW(&all, had + n, err));
        memcpy(all, s->tokens, had * sizeof *all);
        memcpy(all + had, ids, n * sizeof *all);
        lm_status st = recall(s, all, had + (uint32_t)n, err);
        lm_free(all);
        LM_TRY(st);
    }
    *n_taken = s->n_tokens - had;
    return LM_OK;
}

/* --- keeping ---------------------------------------------------------------------------------- */

static uint32_t stride_of(uint32_t window)
{
    uint32_t n = LM_MAX(window * STRIDE_WINDOWS, (uint32_t)STRIDE_LEAST);
    return (n + LM_PAGE_TOKENS - 1) / LM_PAGE_TOKENS * LM_PAGE_TOKENS;
}

/* Mounted pages are in the store; the mount's unfinished last one is the session's own. */
static bool in_store(const lm_session *s, uint32_t k, const lm_page *page)
{
    return page->gone && k < s->n_mounted / LM_PAGE_TOKENS;
}

/* The pages that group i needs at border n, or nothing if they are gone. */
static lm_status hold_border(const lm_session *s, lm_held *h, uint32_t i, uint32_t n, lm_error *err)
{
    const lm_group_state *g = &s->groups[i];
    uint32_t first = first_seen(window_of(s->m, i), n), end = n / LM_PAGE_TOKENS;
    if (first < g->n_dropped || end > g->n_pages)
        return LM_OK;
    LM_TRY(lm_held_reserve(h, end - first, err));
    for (uint32_t k = first; k < end; k++)
        if (g->pages[k] && !in_store(s, k, g->pages[k]))
            lm_held_add(h, i, k, g->pages[k]);
    return LM_OK;
}

/* What windows will have passed soon: the pages at the last border, and at borders of the
 * stride that were crossed since `from`. */
static lm_status hold_windows(lm_session *s, uint32_t from, lm_error *err)
{
    uint32_t last = s->n_tokens - s->n_tokens % LM_PAGE_TOKENS;
    if (last <= from - from % LM_PAGE_TOKENS)
        return LM_OK;
    lm_held_close(s->edge);
    s->edge = NULL;
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        uint32_t window = window_of(s->m, i);
        if (!window)
            continue;
        if (!s->edge)
            LM_TRY(lm_held_open(&s->edge, s->m, err));
        if (!s->strides)
            LM_TRY(lm_held_open(&s->strides, s->m, err));
        LM_TRY(hold_border(s, s->edge, i, last, err));
        uint32_t stride = stride_of(window);
        for (uint32_t n = from / stride * stride + stride; n < last; n += stride)
            LM_TRY(hold_border(s, s->strides, i, n, err));
    }
    return LM_OK;
}

static void put_done(void *ctx, lm_status status)
{
    (void)status; /* the store tells a person */
    lm_held_close(ctx);
}

static lm_status move_held(lm_held *to, const lm_held *from, lm_error *err)
{
    if (!from)
        return LM_OK;
    LM_TRY(lm_held_reserve(to, from->n, err));
    for (size_t i = 0; i < from->n; i++)
        lm_held_add(to, from->pages[i].group, from->pages[i].index, from->pages[i].page);
    return LM_OK;
}

/* Everything that the store was not given yet, up to the border `full`. */
static lm_status collect(const lm_session *s, uint32_t full, lm_held *h, lm_error *err)
{
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        const lm_group_state *g = &s->groups[i];
        if (window_of(s->m, i))
            continue;
        uint32_t first = s->n_published / LM_PAGE_TOKENS, end = full / LM_PAGE_TOKENS;
        LM_TRY(lm_held_reserve(h, end - first, err));
        for (uint32_t k = first; k < end; k++)
            if (g->pages[k] && !in_store(s, k, g->pages[k]))
                lm_held_add(h, i, k, g->pages[k]);
    }
    LM_TRY(move_held(h, s->strides, err));
    return move_held(h, s->edge, err);
}

static lm_status hand_over(lm_session *s, lm_held *h, uint32_t full, bool end, lm_error *err)
{
    lm_store_page *pages = NULL;
    uint64_t now = lm_now_ns();
    size_t n = 0;
    LM_TRY(LM_NEW(&pages, h->n, err));
    for (size_t i = 0; i < h->n; i++)
        if ((h->pages[i].index + 1) * LM_PAGE_TOKENS <= full)
            pages[n++] = (lm_store_page){ h->pages[i].group, h->pages[i].index, h->pages[i].page->data };
    lm_store_put_args a = { .space = &s->m->rest->space,
                            .tokens = s->tokens,
                            .n_tokens = full,
                            .pages = pages,
                            .n_pages = n,
                            .cost_us = (now - LM_MIN(now, s->computing_since)) / 1000,
                            .release = put_done,
                            .ctx = h };
    lm_status st = n ? lm_store_put(s->m->store, &a, err) : LM_ERR_BUSY;
    lm_free(pages);
    if (st == LM_OK)
        s->computing_since = end ? 0 : now;
    return st;
}

void lm_session_publish(lm_session *s, bool end)
{
    lm_model *m = s->m;
    lm_held *h = NULL;
    uint32_t full = s->n_tokens - s->n_tokens % LM_PAGE_TOKENS;
    if (!m->store || s->foreign)
        return;
    lm_store_poll(m->store);
    if (s->n_tokens < LM_STORE_MIN_TOKENS || full <= s->n_published ||
        (!end && (uint64_t)(full - s->n_published) * m->info.kv_bytes_per_token < PUT_BYTES) ||
        !lm_whose_soon(m) || lm_held_open(&h, m, NULL) != LM_OK)
        return;
    /* Not kept is not a failure of the session: what the disk refuses, the store tells. */
    lm_status st = collect(s, full, h, NULL);
    if (st == LM_OK)
        st = hand_over(s, h, full, end, NULL);
    if (st != LM_OK) {
        lm_held_close(h);
        return; /* tried again with the next pages */
    }
    s->n_published = full;
    lm_held_close(s->strides);
    s->strides = NULL;
}

void lm_session_stepped(lm_session *s, uint32_t from)
{
    if (!s->m->store || s->foreign)
        return;
    if (hold_windows(s, from, NULL) != LM_OK)
        lm_session_unhold(s);
    lm_session_publish(s, false);
}

void lm_session_unhold(lm_session *s)
{
    lm_held_close(s->edge);
    lm_held_close(s->strides);
    s->edge = s->strides = NULL;
}

/* --- binding ------------------------------------------------------------------------------------- */

/* The store closes: what is there is handed over, and it is never asked again. */
static void store_closes(void *ctx)
{
    lm_model *m = ctx;
    for (lm_session *s = m->sessions; s; s = s->next) {
        lm_session_publish(s, true);
        lm_session_unhold(s);
        s->store = NULL;
    }
    m->store = NULL;
}

lm_status lm_model_remember(lm_model *m, lm_store *store, lm_error *err)
{
    if (m->store == store)
        return LM_OK;
    if (store && (m->n_groups == 0 || m->n_groups > LM_STATE_GROUPS))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the model has %u cache groups, allowed are 1 to %d",
                       m->n_groups, LM_STATE_GROUPS);
    if (store)
        LM_TRY(lm_store_listen(store, store_closes, m, err));
    if (m->store) {
        for (lm_session *s = m->sessions; s; s = s->next)
            lm_session_unhold(s);
        lm_store_flush(m->store); /* the disk thread reads pages of this model's pools */
        lm_store_unlisten(m->store, m);
    }
    m->store = store;
    if (store)
        (void)lm_whose_soon(m); /* a large pack is read while the prompt is computed */
    return LM_OK;
}
