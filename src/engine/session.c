/* engine/session.c - a session's tokens and pages; steps over many of them. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/prepared.h"
#include "engine/rest.h"

uint64_t lm_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t lm_peak_rss(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024u : 0;
}

lm_status lm_session_open(lm_session **out, lm_model *m, lm_error *err)
{
    lm_session *s = NULL;
    LM_TRY(LM_NEW(&s, 1, err));
    s->m = m;
    s->next = m->sessions;
    if (s->next)
        s->next->before = s;
    m->sessions = s;
    lm_status status = LM_NEW(&s->groups, m->n_groups, err);
    if (status == LM_OK)
        status = LM_NEW(&s->logits, m->info.n_vocab, err);
    if (status != LM_OK) {
        lm_session_close(s);
        return status;
    }
    *out = s;
    return LM_OK;
}

static void drop_pages(lm_group_state *g, lm_pool *pool, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        lm_pool_drop(pool, g->pages[i]);
        g->pages[i] = NULL;
        g->data[i] = NULL;
    }
}

void lm_session_close(lm_session *s)
{
    if (!s)
        return;
    if (s->groups && s->logits)
        lm_session_publish(s, true);
    lm_session_unhold(s);
    for (uint32_t i = 0; s->groups && i < s->m->n_groups; i++) {
        drop_pages(&s->groups[i], s->m->pools[i], 0, s->groups[i].n_pages);
        lm_free(s->groups[i].pages);
        lm_free(s->groups[i].data);
    }
    lm_mount_close(s->mount);
    for (lm_held *h = s->sleeping; h; h = h->next)
        h->s = NULL; /* written all the same, and told to nobody */
    lm_free(s->sampler);
    lm_free(s->groups);
    lm_free(s->tokens);
    lm_free(s->logits);
    *(s->before ? &s->before->next : &s->m->sessions) = s->next;
    if (s->next)
        s->next->before = s->before;
    lm_free(s);
}

uint32_t lm_session_n_tokens(const lm_session *s)
{
    return s->n_tokens;
}

const int32_t *lm_session_tokens(const lm_session *s)
{
    return s->tokens;
}

const float *lm_session_logits(const lm_session *s)
{
    return s->has_logits ? s->logits : NULL;
}

void lm_session_cancel(lm_session *s)
{
    /* Relaxed: the engine's thread polls it between layers; nothing else is
     * published through it. */
    atomic_store_explicit(&s->cancel, true, memory_order_relaxed);
}

lm_status lm_session_grow(lm_session *s, uint32_t n, lm_error *err)
{
    lm_model *m = s->m;
    uint64_t want = (uint64_t)s->n_tokens + n;
    if (want > m->info.context) {
        lm_hint(err, "raise the context with -c, up to %u for this pack", m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "%" PRIu64 " tokens, the context holds %u", want,
                       m->info.context);
    }
    /* The list grows with the pages: within one nothing is allocated (M2). */
    uint32_t n_pages = (uint32_t)((want + LM_PAGE_TOKENS - 1) / LM_PAGE_TOKENS);
    LM_TRY(lm_grow((void **)&s->tokens, &s->cap_tokens, (size_t)n_pages * LM_PAGE_TOKENS, sizeof *s->tokens,
                   err));
    LM_TRY(lm_rest_own_tail(s, err));
    for (uint32_t i = 0; i < m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        LM_TRY(lm_grow((void **)&g->pages, &g->cap, n_pages, sizeof(lm_page *), err));
        LM_TRY(lm_grow((void **)&g->data, &g->cap_data, n_pages, sizeof(uint8_t *), err));
        while (g->n_pages < n_pages) {
            LM_TRY(lm_pool_take(m->pools[i], &g->pages[g->n_pages], err));
            g->data[g->n_pages] = g->pages[g->n_pages]->data;
            g->n_pages++;
        }
    }
    return LM_OK;
}

void lm_session_drop_dead(lm_session *s)
{
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        uint32_t window = s->m->net->program->groups[i].window;
        if (!window || s->n_tokens < window)
            continue;
        /* The next query, at position n_tokens, sees from n_tokens + 1 - window on. */
        uint32_t alive = (s->n_tokens + 1 - window) / LM_PAGE_TOKENS;
        if (alive > g->n_dropped) {
            drop_pages(g, s->m->pools[i], g->n_dropped, alive);
            g->n_dropped = alive;
        }
    }
}

void lm_session_forget(lm_session *s)
{
    lm_session_unhold(s);
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        drop_pages(&s->groups[i], s->m->pools[i], 0, s->groups[i].n_pages);
        s->groups[i].n_pages = s->groups[i].n_dropped = 0;
    }
    lm_mount_close(s->mount); /* pages that were taken are given back by now */
    s->mount = NULL;
    s->n_mounted = 0;
    s->n_published = 0;
    s->n_tokens = 0;
    s->has_logits = false;
}

void lm_session_reset(lm_session *s)
{
    lm_session_forget(s);
    lm_session_drop_sampler(s);
    s->foreign = s->imported = false;
    s->name[0] = s->parent[0] = 0;
}

lm_status lm_session_truncate(lm_session *s, uint32_t n, lm_error *err)
{
    bool lost = false;
    if (n >= s->n_tokens)
        return LM_OK;
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        uint32_t window = s->m->net->program->groups[i].window;
        uint32_t first = window && n + 1 > window ? (n + 1 - window) / LM_PAGE_TOKENS : 0;
        lost |= first < s->groups[i].n_dropped;
    }
    lm_session_drop_sampler(s);
    if (lost) {
        /* A sliding window has forgotten what the shorter session would see. */
        int32_t *copy = NULL;
        LM_TRY(LM_NEW(&copy, n, err));
        memcpy(copy, s->tokens, n * sizeof *copy);
        lm_session_forget(s);
        lm_status status = n ? lm_session_append(s, copy, n, err) : LM_OK;
        lm_free(copy);
        return status;
    }
    lm_session_unhold(s);
    uint32_t n_pages = (n + LM_PAGE_TOKENS - 1) / LM_PAGE_TOKENS;
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        if (n_pages < g->n_pages) {
            drop_pages(g, s->m->pools[i], n_pages, g->n_pages);
            g->n_pages = n_pages;
        }
    }
    s->n_tokens = n;
    s->n_published = LM_MIN(s->n_published, n / LM_PAGE_TOKENS * LM_PAGE_TOKENS);
    s->has_logits = false;
    return LM_OK;
}

/* A page of the fork: a full one is shared, the last one is copied. */
static lm_status fork_page(lm_session *s, lm_session *from, uint32_t group, uint32_t k, lm_error *err)
{
    lm_page *page = from->groups[group].pages[k], *copy = NULL;
    lm_group_state *g = &s->groups[group];
    if (page && (k + 1) * LM_PAGE_TOKENS > from->n_tokens) {
        LM_TRY(lm_pool_take(s->m->pools[group], &copy, err));
        memcpy(copy->data, page->data, s->m->layouts[group].page_bytes);
        page = copy;
    } else if (page)
        lm_pool_keep(page);
    g->pages[k] = page;
    g->data[k] = page ? page->data : NULL;
    g->n_pages = k + 1;
    return LM_OK;
}

static lm_status fill_fork(lm_session *s, lm_session *from, lm_error *err)
{
    LM_TRY(lm_rest_verify(from, err));
    LM_TRY(lm_grow((void **)&s->tokens, &s->cap_tokens, from->n_tokens, sizeof *s->tokens, err));
    LM_TRY(lm_grow((void **)&s->sampler, &s->cap_sampler, from->n_sampler, 1, err));
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        uint32_t n_pages = from->groups[i].n_pages;
        LM_TRY(lm_grow((void **)&g->pages, &g->cap, n_pages, sizeof(lm_page *), err));
        LM_TRY(lm_grow((void **)&g->data, &g->cap_data, n_pages, sizeof(uint8_t *), err));
        for (uint32_t k = 0; k < n_pages; k++)
            LM_TRY(fork_page(s, from, i, k, err));
        g->n_dropped = from->groups[i].n_dropped;
    }
    if (from->mount)
        lm_mount_retain(from->mount);
    s->mount = from->mount;
    s->store = from->store;
    s->n_mounted = from->n_mounted / LM_PAGE_TOKENS * LM_PAGE_TOKENS;
    s->verified = true;
    if (from->n_tokens)
        memcpy(s->tokens, from->tokens, from->n_tokens * sizeof *s->tokens);
    s->n_tokens = from->n_tokens;
    s->n_published = from->n_published;
    if (from->n_sampler)
        memcpy(s->sampler, from->sampler, from->n_sampler);
    s->n_sampler = from->n_sampler;
    s->has_logits = from->has_logits;
    if (s->has_logits)
        memcpy(s->logits, from->logits, s->m->info.n_vocab * sizeof *s->logits);
    s->foreign = from->foreign;
    s->imported = from->imported;
    memcpy(s->salt, from->salt, sizeof s->salt);
    memcpy(s->imported_roots, from->imported_roots, sizeof s->imported_roots);
    memcpy(s->name, from->name, sizeof s->name);
    memcpy(s->parent, from->parent, sizeof s->parent);
    s->metrics.cached_tokens = from->n_tokens;
    return LM_OK;
}

lm_status lm_session_fork(lm_session *s, lm_session **out, lm_error *err)
{
    lm_session *fork = NULL;
    LM_TRY(lm_session_open(&fork, s->m, err));
    lm_status st = fill_fork(fork, s, err);
    if (st != LM_OK) {
        lm_session_close(fork);
        return st;
    }
    *out = fork;
    return LM_OK;
}

static lm_status check_item(const lm_model *m, const lm_eval_item *it, lm_error *err)
{
    if (it->session->m != m)
        return lm_fail(err, LM_ERR_USAGE, "a session of another model");
    if (it->n > m->info.context || it->session->n_tokens + it->n > m->info.context) {
        lm_hint(err, "raise the context with -c, up to %u for this pack", m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "%" PRIu64 " tokens, the context holds %u",
                       (uint64_t)it->session->n_tokens + it->n, m->info.context);
    }
    for (size_t k = 0; k < it->n; k++)
        if (it->ids[k] < 0 || (uint32_t)it->ids[k] >= m->info.n_vocab)
            return lm_fail(err, LM_ERR_USAGE, "token %zu is %d, allowed is 0 to %u", k, it->ids[k],
                           m->info.n_vocab - 1);
    return LM_OK;
}

/* How much of an item the next step takes, and where its rows go. */
typedef struct {
    size_t done;   /* tokens of the item that are in the session */
    size_t cached; /* of them those that were not computed */
    uint32_t take, first_row, n_rows;
} progress;

/* Fills the step's arrays with as many tokens of as many items as fit. */
static void fill_step(lm_model *m, const lm_eval_item *items, progress *at, size_t n, lm_step *step)
{
    uint32_t tokens = 0, rows = 0, segments = 0;
    for (size_t i = 0; i < n; i++) {
        const lm_eval_item *it = &items[i];
        size_t left = it->n - at[i].done;
        uint32_t room = LM_MIN(m->chunk, m->plan_options.max_tokens) - tokens;
        uint32_t row_room = m->plan_options.max_rows - rows;
        at[i].take = at[i].n_rows = 0;
        if (left == 0 || room == 0 || row_room == 0 || segments == m->plan_options.max_segments)
            continue;
        uint32_t take = (uint32_t)LM_MIN(left, room);
        if (it->rows)
            take = LM_MIN(take, row_room);
        at[i].take = take;
        at[i].first_row = rows;
        for (uint32_t k = 0; k < take; k++) {
            m->ids[tokens + k] = it->ids[at[i].done + k];
            bool last = at[i].done + k + 1 == it->n;
            if (it->rows || last) {
                m->rows[rows++] = tokens + k;
                at[i].n_rows++;
            }
        }
        m->segments[segments] = (lm_segment){ .first = tokens,
                                              .count = take,
                                              .pos = it->session->n_tokens,
                                              .tables = m->tables + (size_t)segments * m->n_groups };
        for (uint32_t g = 0; g < m->n_groups; g++)
            m->tables[(size_t)segments * m->n_groups + g] =
                (lm_page_table){ .pages = it->session->groups[g].data,
                                 .n_pages = it->session->groups[g].n_pages };
        tokens += take;
        segments++;
    }
    *step = (lm_step){ .n_tokens = tokens,
                       .ids = m->ids,
                       .segments = m->segments,
                       .n_segments = segments,
                       .rows = m->rows,
                       .n_rows = rows,
                       .logits = m->logits };
}

static void take_results(lm_model *m, const lm_eval_item *items, progress *at, size_t n)
{
    size_t vocab = m->info.n_vocab;
    for (size_t i = 0; i < n; i++) {
        const lm_eval_item *it = &items[i];
        lm_session *s = it->session;
        if (!at[i].take)
            continue;
        const float *rows = m->logits + (size_t)at[i].first_row * vocab;
        if (it->rows)
            memcpy(it->rows + at[i].done * vocab, rows, at[i].n_rows * vocab * sizeof *rows);
        memcpy(s->tokens + s->n_tokens, it->ids + at[i].done, at[i].take * sizeof *s->tokens);
        s->n_tokens += at[i].take;
        at[i].done += at[i].take;
        s->has_logits = at[i].done == it->n;
        if (s->has_logits)
            memcpy(s->logits, rows + (size_t)(at[i].n_rows - 1) * vocab, vocab * sizeof *rows);
        if (!it->rows)
            lm_session_stepped(s, s->n_tokens - at[i].take);
        lm_session_drop_dead(s);
    }
}

static lm_status run_items(lm_model *m, const lm_eval_item *items, progress *at, size_t n, lm_error *err)
{
    for (;;) {
        lm_step step;
        for (size_t i = 0; i < n; i++) {
            size_t left = LM_MIN(items[i].n - at[i].done, (size_t)m->chunk);
            if (left)
                LM_TRY(lm_session_grow(items[i].session, (uint32_t)left, err));
        }
        fill_step(m, items, at, n, &step);
        if (step.n_tokens == 0)
            return LM_OK;
        step.cancel = &items[0].session->cancel;
        LM_TRY(m->backend->run(m->plan, &step, err));
        if (m->prepared && lm_prepared_broken(m->prepared)) { /* cut under us: this step again, without it */
            lm_prepared_drop(m);
            continue;
        }
        LM_TRY(lm_net_check_maps(m->net, err));
        for (size_t i = 0; i < n; i++)
            LM_TRY(lm_rest_check(items[i].session, err));
        take_results(m, items, at, n);
    }
}

/* What is known is taken; what was mounted is checked. */
static lm_status begin_items(const lm_eval_item *items, progress *at, size_t n, uint64_t now, lm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        lm_session *s = items[i].session;
        if (!items[i].n)
            continue;
        if (!items[i].rows)
            LM_TRY(lm_session_recall(s, items[i].ids, items[i].n, &at[i].cached, err));
        at[i].done = at[i].cached;
        LM_TRY(lm_rest_verify(s, err));
        s->has_logits = false;
        s->computing_since = s->computing_since ? s->computing_since : now;
    }
    return LM_OK;
}

lm_status lm_eval_items(lm_model *m, const lm_eval_item *items, size_t n, lm_error *err)
{
    progress small[8] = { { 0 } };
    progress *at = small;
    uint64_t start = lm_now_ns();
    for (size_t i = 0; i < n; i++)
        LM_TRY(check_item(m, &items[i], err));
    if (n > LM_LEN(small))
        LM_TRY(LM_NEW(&at, n, err));
    lm_status status = begin_items(items, at, n, start, err);
    if (status == LM_OK && n)
        status = run_items(m, items, at, n, err);
    for (size_t i = 0; i < n; i++) {
        lm_session *s = items[i].session;
        s->metrics.prompt_tokens += at[i].done - at[i].cached;
        s->metrics.prefill_ns += lm_now_ns() - start;
        if (status != LM_OK)
            atomic_store_explicit(&s->cancel, false, memory_order_relaxed);
    }
    if (at != small)
        lm_free(at);
    return status;
}

lm_status lm_model_eval(lm_model *m, const lm_eval_item *items, size_t n, lm_error *err)
{
    /* A cancel that came while nothing ran is not meant for this call. */
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&items[i].session->cancel, false, memory_order_relaxed);
    lm_status status = lm_eval_items(m, items, n, err);
    for (size_t i = 0; i < n && status == LM_OK; i++)
        if (!items[i].rows)
            lm_session_publish(items[i].session, true);
    return status;
}

lm_status lm_session_append(lm_session *s, const int32_t *ids, size_t n, lm_error *err)
{
    lm_eval_item it = { .session = s, .ids = ids, .n = n };
    return lm_model_eval(s->m, &it, 1, err);
}

void lm_session_metrics(const lm_session *s, lm_metrics *out)
{
    *out = s->metrics;
    out->total_ns = out->prefill_ns + out->decode_ns;
    if (out->prefill_ns)
        out->prefill_tokens_per_second = (double)out->prompt_tokens * 1e9 / (double)out->prefill_ns;
    if (out->decode_ns)
        out->decode_tokens_per_second = (double)out->generated_tokens * 1e9 / (double)out->decode_ns;
    out->peak_rss_bytes = lm_peak_rss();
    for (uint32_t i = 0; i < s->m->n_groups; i++)
        out->cache_bytes += lm_pool_bytes_in_use(s->m->pools[i]);
    out->active_bytes = s->m->info.workspace_bytes;
}
