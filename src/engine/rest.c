/* engine/rest.c - putting sessions to sleep and waking them in place.
 *
 * Awake again, a session's page tables point into the mapped runs of the store; only
 * the unfinished last page is private memory, copied on write.  What the session
 * computes from then on goes into pages of the pools as ever. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/rest.h"

/* --- steps of a woken session ----------------------------------------------------------- */

lm_status lm_rest_verify(lm_session *s, lm_error *err)
{
    bool good = true;
    if (!s->mount || s->verified)
        return LM_OK;
    /* From the end, while the disk thread comes from the beginning. */
    for (uint32_t i = lm_mount_n_pages(s->mount); i-- > 0 && good;)
        for (uint32_t g = 0; g < lm_mount_n_groups(s->mount) && good; g++)
            if (lm_mount_verify(s->mount, g, i, NULL) != LM_OK) {
                if (s->store)
                    lm_mount_report_bad(s->store, s->mount, g, i);
                good = false;
            }
    if (good) {
        s->verified = true;
        return LM_OK;
    }
    int32_t *tokens = NULL;
    uint32_t n = s->n_tokens;
    LM_TRY(LM_NEW(&tokens, n, err));
    memcpy(tokens, s->tokens, n * sizeof *tokens);
    lm_session_forget(s);
    s->foreign = s->imported = false; /* what is computed is this model's own */
    s->metrics.cached_tokens = 0;
    lm_eval_item it = { .session = s, .ids = tokens, .n = n };
    s->replaying = true;
    lm_status st = lm_eval_items(s->m, &it, 1, err);
    s->replaying = false;
    lm_free(tokens);
    return st;
}

lm_status lm_rest_check(const lm_session *s, lm_error *err)
{
    return s->mount ? lm_mount_check(s->mount, err) : LM_OK;
}

lm_status lm_rest_own_tail(lm_session *s, lm_error *err)
{
    uint32_t at = s->n_tokens / LM_PAGE_TOKENS;
    /* The mount's own last page is private already, as long as it is not full. */
    bool private_page = s->mount && s->n_mounted % LM_PAGE_TOKENS && at == s->n_mounted / LM_PAGE_TOKENS;
    if (s->n_tokens % LM_PAGE_TOKENS == 0)
        return LM_OK;
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        lm_page *page = NULL;
        if (at >= g->n_pages || !g->pages[at])
            continue;
        /* Somebody else reads it (a fork, a job that writes it), or it is a file's. */
        if (g->pages[at]->refs == 1 && (!g->pages[at]->gone || private_page))
            continue;
        LM_TRY(lm_pool_take(s->m->pools[i], &page, err));
        memcpy(page->data, g->pages[at]->data, s->m->layouts[i].page_bytes);
        lm_pool_drop(s->m->pools[i], g->pages[at]);
        g->pages[at] = page;
        g->data[at] = page->data;
    }
    return LM_OK;
}

/* --- pages that a job reads ---------------------------------------------------------------- */

lm_status lm_held_open(lm_held **out, lm_model *m, lm_error *err)
{
    LM_TRY(LM_NEW(out, 1, err));
    (*out)->m = m;
    return LM_OK;
}

lm_status lm_held_reserve(lm_held *h, size_t n, lm_error *err)
{
    return lm_grow((void **)&h->pages, &h->cap, h->n + n, sizeof *h->pages, err);
}

void lm_held_add(lm_held *h, uint32_t group, uint32_t index, lm_page *page)
{
    lm_pool_keep(page);
    h->pages[h->n++] = (struct lm_held_page){ group, index, page };
}

void lm_held_close(lm_held *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->n; i++)
        lm_pool_drop(h->m->pools[h->pages[i].group], h->pages[i].page);
    if (h->s)
        for (lm_held **at = &h->s->sleeping; *at; at = &(*at)->next)
            if (*at == h) {
                *at = h->next;
                break;
            }
    lm_free(h->pages);
    lm_free(h);
}

/* --- the sampler between two generations ------------------------------------------------------ */

#define RESTING_MAGIC   UINT32_C(0x52534d4c) /* "LMSR" */
#define RESTING_VERSION UINT32_C(1)

/* In front of what lm_sampler_save() writes; docs/formats/entry.md. */
typedef struct {
    uint32_t magic, version;
    uint32_t at; /* tokens of the session then */
    uint32_t mirostat;
    float tau;
    uint32_t zero;
    uint64_t seed;
} resting;
_Static_assert(sizeof(resting) == 32, "stored as it is");

static bool resting_of(const lm_session *s, resting *out)
{
    if (s->n_sampler < sizeof *out)
        return false;
    memcpy(out, s->sampler, sizeof *out);
    return out->magic == RESTING_MAGIC && out->version == RESTING_VERSION;
}

lm_status lm_session_rest_sampler(lm_session *s, const lm_sample_params *p, const lm_sampler *sampler,
                                  lm_error *err)
{
    resting r = { RESTING_MAGIC, RESTING_VERSION, s->n_tokens, (uint32_t)p->mirostat, p->mirostat_tau, 0,
                  p->seed };
    size_t n = lm_sampler_state_bytes(sampler);
    LM_TRY(lm_grow((void **)&s->sampler, &s->cap_sampler, sizeof r + n, 1, err));
    memcpy(s->sampler, &r, sizeof r);
    lm_sampler_save(sampler, s->sampler + sizeof r);
    s->n_sampler = sizeof r + n;
    return LM_OK;
}

void lm_session_resume_sampler(const lm_session *s, const lm_sample_params *p, lm_sampler *sampler)
{
    resting r;
    if (!resting_of(s, &r) || r.at > s->n_tokens)
        return;
    bool mu = r.mirostat == (uint32_t)p->mirostat && r.tau == p->mirostat_tau;
    /* A state of a later version begins anew, as a session without one does. */
    (void)!lm_sampler_resume(sampler, s->sampler + sizeof r, s->n_sampler - sizeof r, mu, r.at == s->n_tokens,
                             NULL);
}

void lm_session_drop_sampler(lm_session *s)
{
    s->n_sampler = 0;
}

bool lm_session_seed(const lm_session *s, uint64_t *seed)
{
    resting r;
    if (!resting_of(s, &r))
        return false;
    *seed = r.seed;
    return true;
}

/* --- sleep ---------------------------------------------------------------------------------- */

void lm_sleep_defaults(lm_sleep_options *out)
{
    *out = (lm_sleep_options){ .size = sizeof *out };
}

static void slept(void *ctx, lm_status status)
{
    lm_held *h = ctx;
    if (h->s && status != LM_OK && h->s->sleep_failed == LM_OK)
        h->s->sleep_failed = status;
    lm_held_close(h);
}

typedef const uint8_t **page_bytes;

/* Page k of a group for a sleep behind the session's back: kept, or copied where the
 * session goes on writing into it. */
static lm_status hold_page(lm_session *s, lm_held *h, uint32_t group, uint32_t k, const uint8_t **bytes,
                           lm_error *err)
{
    lm_page *page = s->groups[group].pages[k], *copy = NULL;
    if (!page)
        return LM_OK;
    if ((k + 1) * LM_PAGE_TOKENS > s->n_tokens) {
        LM_TRY(lm_pool_take(s->m->pools[group], &copy, err));
        memcpy(copy->data, page->data, s->m->layouts[group].page_bytes);
        h->pages[h->n++] = (struct lm_held_page){ group, k, copy };
        page = copy;
    } else
        lm_held_add(h, group, k, page);
    *bytes = page->data;
    return LM_OK;
}

static lm_status sleep_behind(lm_session *s, lm_store *store, lm_sleep *e, lm_error *err)
{
    lm_held *h = NULL;
    page_bytes data[LM_STATE_GROUPS] = { NULL };
    size_t n = 0;
    for (uint32_t g = 0; g < s->m->n_groups; g++)
        n += s->groups[g].n_pages;
    LM_TRY(lm_held_open(&h, s->m, err));
    lm_status st = lm_held_reserve(h, n, err);
    for (uint32_t g = 0; g < s->m->n_groups && st == LM_OK; g++) {
        st = lm_new((void **)&data[g], s->groups[g].n_pages, sizeof *data[g], err);
        e->pages[g] = data[g];
        for (uint32_t k = 0; k < s->groups[g].n_pages && st == LM_OK; k++)
            st = hold_page(s, h, g, k, &data[g][k], err);
    }
    if (st == LM_OK)
        st = lm_store_sleep_start(store, e, slept, h, err);
    if (st == LM_OK) {
        h->s = s;
        h->next = s->sleeping;
        s->sleeping = h;
        s->sleeps_in = store;
    } else
        lm_held_close(h);
    for (uint32_t g = 0; g < s->m->n_groups; g++)
        lm_free((void *)data[g]);
    return st;
}

/* What a later sleep calls its parent. */
static void call_it(lm_session *s, const char *name, const char *parent)
{
    (void)snprintf(s->parent, sizeof s->parent, "%s", parent ? parent : "");
    if (name != s->name)
        (void)snprintf(s->name, sizeof s->name, "%s", name);
}

lm_status lm_session_sleep_as(lm_session *s, lm_store *store, const char *name, const lm_sleep_options *o,
                              uint32_t flags, lm_sleep_result *out, lm_error *err)
{
    lm_sleep_report report = { 0 };
    lm_space space;
    if (out)
        *out = (lm_sleep_result){ 0 };
    if (s->n_tokens == 0)
        return lm_fail(err, LM_ERR_USAGE, "an empty session cannot be put to sleep");
    if (s->sleep_failed != LM_OK) {
        lm_status before = s->sleep_failed;
        s->sleep_failed = LM_OK;
        return lm_fail(err, before, "the session's last sleep failed");
    }
    LM_TRY(lm_whose(s->m, err));
    LM_TRY(lm_session_space(s, &space, err));
    /* A page that the store has lost meanwhile is written from here: it must be good. */
    LM_TRY(lm_rest_verify(s, err));
    const char *parent = o->parent ? o->parent : strcmp(s->name, name) == 0 ? s->parent : s->name;
    lm_sleep e = { .name = name,
                   .title = o->title,
                   .messages = o->messages,
                   .labels = o->labels,
                   .metadata = o->metadata,
                   .parent = parent,
                   .flags = LM_ENTRY_KEPT | flags | (s->imported ? LM_ENTRY_IMPORTED : 0u),
                   .id = &s->m->rest->id,
                   .space = &space,
                   .tokens = s->tokens,
                   .n_tokens = s->n_tokens,
                   .cost_us = (s->metrics.prefill_ns + s->metrics.decode_ns) / 1000,
                   .sampler = s->sampler,
                   .n_sampler = s->n_sampler,
                   .logits = s->has_logits ? s->logits : NULL,
                   .n_logits = s->has_logits ? s->m->info.n_vocab : 0 };
    for (uint32_t g = 0; g < s->m->n_groups; g++)
        e.pages[g] = (const uint8_t *const *)s->groups[g].data;
    lm_status st = o->behind ? sleep_behind(s, store, &e, err) : lm_store_sleep(store, &e, &report, err);
    if (st != LM_OK)
        return st;
    if (store == s->m->store && !s->foreign) /* what a prefix search needs is there now */
        s->n_published = s->n_tokens - s->n_tokens % LM_PAGE_TOKENS;
    if (parent != s->parent) {
        char kept[sizeof s->parent]; /* may be the name that is overwritten */
        (void)snprintf(kept, sizeof kept, "%s", parent);
        call_it(s, name, kept);
    }
    if (out)
        *out = (lm_sleep_result){ report.pages_written, report.pages_reused, report.bytes_written };
    return LM_OK;
}

lm_status lm_session_sleep(lm_session *s, lm_store *store, const char *name, const lm_sleep_options *options,
                           lm_sleep_result *out, lm_error *err)
{
    lm_sleep_options o;
    lm_sleep_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    return lm_session_sleep_as(s, store, name, &o, 0, out, err);
}

lm_status lm_session_flush(lm_session *s, lm_error *err)
{
    if (s->sleeping)
        lm_store_flush(s->sleeps_in);
    lm_status st = s->sleep_failed;
    s->sleep_failed = LM_OK;
    return st == LM_OK ? LM_OK : lm_fail(err, st, "the session's last sleep failed");
}

lm_status lm_session_append_and_sleep(lm_session *s, lm_store *store, const char *name, const int32_t *ids,
                                      size_t n, const lm_sleep_options *o, lm_sleep_result *out,
                                      lm_error *err)
{
    LM_TRY(lm_session_append(s, ids, n, err));
    return lm_session_sleep(s, store, name, o, out, err);
}

lm_status lm_session_generate_and_sleep(lm_session *s, lm_store *store, const char *name,
                                        const lm_generate_options *g, lm_on_token on_token, void *user,
                                        const lm_sleep_options *o, lm_generated *out,
                                        lm_sleep_result *slept_as, lm_error *err)
{
    LM_TRY(lm_generate(s, g, on_token, user, out, err));
    return lm_session_sleep(s, store, name, o, slept_as, err);
}

/* --- wake ------------------------------------------------------------------------------------- */

void lm_wake_defaults(lm_wake_options *out)
{
    *out = (lm_wake_options){ .size = sizeof *out };
}

/* The entry's pages are of the shape of this model's groups; *own: and under its roots. */
static bool same_shape(const lm_entry *e, const lm_space *space, bool *own)
{
    *own = e->n_groups == space->n_groups;
    if (!*own)
        return false;
    for (uint32_t g = 0; g < space->n_groups; g++) {
        if (memcmp(&e->groups[g].geometry, &space->groups[g], sizeof space->groups[g]) != 0)
            return *own = false;
        *own &= lm_digest_equal(&e->groups[g].root, &space->roots[g]);
    }
    return true;
}

enum { FATAL = (1 << LM_WAKE_WARNINGS) - 1 };

/* Why the entry cannot be mounted, and what else differs: bits of lm_wake_reason. */
static uint32_t differences(const lm_entry *e, const struct lm_rest *r, bool *shape, bool *own)
{
    uint32_t bits = lm_state_id_compare(&e->id, &r->id, e->n_tokens);
    if (e->flags & LM_ENTRY_RECODED) /* rounded after it was computed: no numerics give its numbers */
        bits &= ~(UINT32_C(1) << LM_WAKE_NUMERICS);
    *shape = same_shape(e, &r->space, own);
    if (!*own && !(bits & FATAL) && !(*shape && (e->flags & LM_ENTRY_IMPORTED)))
        bits |= UINT32_C(1) << LM_WAKE_CACHE;
    return bits;
}

static void name_reasons(uint32_t bits, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = 0;
    for (int r = 0; r < LM_WAKE_COUNT; r++)
        if (bits >> r & 1u && n < cap) {
            int k = snprintf(text + n, cap - n, "%s%s", n ? ", " : "", lm_wake_text((lm_wake_reason)r));
            n += k > 0 ? (size_t)k : 0;
        }
}

/* Less is faulted in and checked within a step sooner than by another thread. */
#define WARM_BYTES (UINT64_C(16) << 20)

lm_status lm_session_adopt(lm_session *s, lm_store *store, lm_mount *mount, const int32_t *tokens,
                           lm_error *err)
{
    uint32_t n = lm_mount_n_tokens(mount), n_pages = lm_mount_n_pages(mount);
    LM_TRY(lm_grow((void **)&s->tokens, &s->cap_tokens, n, sizeof *s->tokens, err));
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        LM_TRY(lm_grow((void **)&g->pages, &g->cap, n_pages, sizeof(lm_page *), err));
        LM_TRY(lm_grow((void **)&g->data, &g->cap_data, n_pages, sizeof(uint8_t *), err));
    }
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        g->n_dropped = 0;
        for (uint32_t k = 0; k < n_pages; k++) {
            g->pages[k] = lm_mount_take(mount, i, k);
            g->data[k] = g->pages[k] ? g->pages[k]->data : NULL;
            if (!g->pages[k])
                g->n_dropped = k + 1;
        }
        g->n_pages = n_pages;
    }
    memcpy(s->tokens, tokens, n * sizeof *tokens);
    s->n_tokens = s->n_mounted = s->n_published = n;
    s->verified = false;
    s->mount = mount;
    s->store = store;
    if (n * s->m->info.kv_bytes_per_token >= WARM_BYTES)
        lm_mount_warm(store, mount);
    return LM_OK;
}

/* What was not mounted, and logits where none were kept: the session ends with n tokens. */
static lm_status complete(lm_session *s, const lm_entry *e, uint32_t n, lm_error *err)
{
    uint32_t from = s->n_tokens;
    if (from == e->n_tokens && n == from && e->n_logits == s->m->info.n_vocab) {
        memcpy(s->logits, e->logits, e->n_logits * sizeof *s->logits);
        s->has_logits = true;
        return LM_OK;
    }
    if (from == n) {
        from--; /* the last token again, for its logits */
        LM_TRY(lm_session_truncate(s, from, err));
    }
    return lm_session_append(s, e->tokens + from, n - from, err);
}

static lm_status check_entry(const lm_model *m, const lm_entry *e, uint32_t n, lm_error *err)
{
    if (e->n_tokens == 0)
        return lm_fail(err, LM_ERR_STATE, "it has no tokens");
    if (n > e->n_tokens)
        return lm_fail(err, LM_ERR_USAGE, "it has %u tokens, %u were asked for", e->n_tokens, n);
    if (n > m->info.context) {
        lm_hint(err, "raise the context with -c, up to %u for this pack", m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "it has %u tokens, the context holds %u", n, m->info.context);
    }
    for (uint32_t i = 0; i < n; i++)
        if (e->tokens[i] < 0 || (uint32_t)e->tokens[i] >= m->info.n_vocab)
            return lm_fail(err, LM_ERR_MISMATCH, "its token %u is %d, the model's are 0 to %u", i,
                           e->tokens[i], m->info.n_vocab - 1);
    return LM_OK;
}

/* The entry's sampler, for a session that is as it was slept. */
static lm_status take_sampler(lm_session *s, const lm_entry *e, lm_error *err)
{
    s->n_sampler = 0;
    if (s->n_tokens != e->n_tokens || e->n_sampler == 0)
        return LM_OK;
    LM_TRY(lm_grow((void **)&s->sampler, &s->cap_sampler, e->n_sampler, 1, err));
    memcpy(s->sampler, e->sampler, e->n_sampler);
    s->n_sampler = e->n_sampler;
    return LM_OK;
}

/* As many of the first n tokens as can be: by the entry's own page table, or, of a prefix
 * whose windows it no longer has, by what else the store kept. */
static lm_status mount_entry(lm_session *s, lm_store *store, const lm_entry *e, uint32_t n, bool own,
                             lm_mount **out, lm_error *err)
{
    lm_mount *other = NULL;
    LM_TRY(lm_store_mount(store, e, n, out, err));
    uint32_t have = *out ? lm_mount_n_tokens(*out) : 0;
    if (have + LM_PAGE_TOKENS > n || !own)
        return LM_OK;
    if (lm_store_find(store, &s->m->rest->space, e->tokens, n, &other, NULL) != LM_OK || !other)
        return LM_OK; /* looked for in vain: the rest is computed */
    if (lm_mount_n_tokens(other) > have) {
        lm_mount_close(*out);
        *out = other;
    } else
        lm_mount_close(other);
    return LM_OK;
}

/* Whether it may be mounted under these options, or replayed; else LM_ERR_MISMATCH. */
static lm_status allow(uint32_t bits, bool shape, bool own, unsigned flags, bool *mounts, const char *reasons,
                       lm_error *err)
{
    bool other_text = (bits >> LM_WAKE_TOKENIZER & 1u) != 0;
    *mounts = (flags & LM_STATE_OVERRIDE) ? shape : own && !(bits & FATAL);
    if (*mounts || ((flags & LM_STATE_REPLAY) && !other_text))
        return LM_OK;
    lm_hint(err, other_text ? "its tokens mean something else to this model"
                            : "its tokens can be computed again (replay)");
    return lm_fail(err, LM_ERR_MISMATCH, "it cannot be mounted: %s", reasons);
}

static lm_status wake_entry(lm_session *s, lm_store *store, const lm_entry *e, const lm_wake_options *o,
                            lm_wake_result *w, lm_error *err)
{
    lm_mount *mount = NULL;
    bool shape, own, mounts;
    uint32_t n = o->at ? o->at : e->n_tokens;
    uint32_t bits = differences(e, s->m->rest, &shape, &own);
    name_reasons(bits, w->reasons, sizeof w->reasons);
    bool imported = shape && !own && !(bits & FATAL) && (e->flags & LM_ENTRY_IMPORTED);
    LM_TRY(check_entry(s->m, e, n, err));
    LM_TRY(allow(bits, shape, own || imported, o->flags, &mounts, w->reasons, err));
    /* A prefix ends with a token that is computed, for its logits. */
    uint32_t want = n < e->n_tokens ? n - 1 : n;
    if (mounts)
        LM_TRY(mount_entry(s, store, e, want, own, &mount, err));
    w->n_mounted = mount ? lm_mount_n_tokens(mount) : 0;
    if (mounts && w->n_mounted < want && !(o->flags & LM_STATE_REPLAY)) {
        lm_mount_close(mount);
        lm_hint(err, "its tokens can be computed again (replay)");
        return lm_fail(err, LM_ERR_STATE, "pages of %u of its %u tokens are there", w->n_mounted, want);
    }
    uint64_t before = s->metrics.prompt_tokens;
    lm_session_reset(s);
    s->metrics.cached_tokens = w->n_mounted;
    lm_status st = mount ? lm_session_adopt(s, store, mount, e->tokens, err) : LM_OK;
    if (st != LM_OK) {
        lm_mount_close(mount);
        return st;
    }
    s->foreign = mount && !own;
    s->imported = mount && imported;
    memcpy(s->salt, e->serial, sizeof s->salt);
    for (uint32_t g = 0; g < s->m->n_groups && s->imported; g++)
        s->imported_roots[g] = e->groups[g].root;
    call_it(s, e->name, e->parent);
    st = complete(s, e, n, err);
    if (st == LM_OK)
        st = take_sampler(s, e, err);
    w->n_tokens = s->n_tokens;
    w->n_replayed = (uint32_t)(s->metrics.prompt_tokens - before);
    return st;
}

lm_status lm_session_wake(lm_session *s, lm_store *store, const char *name, const lm_wake_options *options,
                          lm_wake_result *out, lm_error *err)
{
    lm_wake_result own, *w = out ? out : &own;
    lm_wake_options o;
    lm_entry *e = NULL;
    lm_quoted_buf q;
    uint64_t start = lm_now_ns();
    lm_wake_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    memset(w, 0, sizeof *w);
    LM_TRY(lm_whose(s->m, err));
    w->identity_ns = lm_now_ns() - start;
    start = lm_now_ns();
    LM_TRY(lm_store_entry(store, name, &e, err));
    lm_status st = wake_entry(s, store, e, &o, w, err);
    if (st != LM_OK)
        st = lm_wrap(err, st, "session '%s'", lm_quoted_z(&q, name));
    lm_entry_free(e);
    w->wake_ns = lm_now_ns() - start;
    return st;
}

lm_status lm_state_compatible(lm_store *store, const char *name, lm_model *m, lm_compatibility *out,
                              lm_error *err)
{
    lm_entry *e = NULL;
    lm_mount *mount = NULL;
    bool shape, own;
    *out = (lm_compatibility){ 0 };
    LM_TRY(lm_whose(m, err));
    LM_TRY(lm_store_entry(store, name, &e, err));
    uint32_t bits = differences(e, m->rest, &shape, &own);
    name_reasons(bits & FATAL, out->reasons, sizeof out->reasons);
    name_reasons(bits & ~(uint32_t)FATAL, out->warnings, sizeof out->warnings);
    out->n_tokens = e->n_tokens;
    lm_status st = LM_OK;
    if ((own || (shape && (e->flags & LM_ENTRY_IMPORTED))) && !(bits & FATAL))
        st = lm_store_mount(store, e, e->n_tokens, &mount, err);
    out->n_mountable = mount ? lm_mount_n_tokens(mount) : 0;
    out->mounts = out->n_mountable == e->n_tokens && e->n_tokens > 0;
    out->replays = !(bits >> LM_WAKE_TOKENIZER & 1u) && check_entry(m, e, e->n_tokens, NULL) == LM_OK;
    lm_mount_close(mount);
    lm_entry_free(e);
    return st;
}
