/* engine/rest.c - putting sessions to sleep and waking them in place.
 *
 * Awake again, a session's page tables point into the mapped runs of the store; only
 * the unfinished last page is private memory, copied on write.  What the session
 * computes from then on goes into pages of the pools as ever. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/textside.h"
#include "lemma/state.h"
#include "state/store.h"

/* Whose state it is: the same for all sessions of a model. */
struct lm_rest {
    lm_state_id id;
    lm_space space;
};

void lm_rest_free(struct lm_rest *r)
{
    lm_free(r);
}

static void put_text(char *to, size_t cap, const char *from)
{
    size_t n = LM_MIN(strlen(from), cap - 1);
    memset(to, 0, cap); /* stored as it is */
    memcpy(to, from, n);
}

/* The number format that most of the weights' bytes are in. */
static const char *main_format(const lm_program *p)
{
    const lm_quant *best = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        uint64_t sum = 0;
        if (p->ops[i].kind != LM_OP_LINEAR)
            continue;
        const lm_quant *q = p->ops[i].u.linear.w.quant;
        for (uint32_t k = 0; k < p->n_ops; k++)
            if (p->ops[k].kind == LM_OP_LINEAR && p->ops[k].u.linear.w.quant == q)
                sum += (uint64_t)p->ops[k].u.linear.w.rows * p->ops[k].u.linear.w.cols;
        if (q != best && sum > most) {
            best = q;
            most = sum;
        }
    }
    return best ? best->name : "";
}

static lm_status fill_id(const lm_model *m, lm_state_id *id, lm_error *err)
{
    lm_device_info d;
    char buf[4096];
    const char *cache = lm_cache_folder(m->cache_dir, buf, sizeof buf);
    const char *slash = strrchr(m->info.path, '/');
    m->backend->info(m->device, &d);
    LM_TRY(lm_pack_identity(m->net->pack, cache, NULL, &id->model.weights, err));
    LM_TRY(lm_program_identity(m->net->program, &id->model.program, err));
    put_text(id->model.numerics, sizeof id->model.numerics, d.numerics);
    if (m->text && lm_text_has_tokenizer(m->text)) {
        const char *t = lm_text_identity(m->text);
        LM_TRY(lm_sha256(t, strlen(t), &id->tokenizer, err));
    }
    const char *source = m->text ? lm_text_template_source(m->text) : NULL;
    if (source)
        LM_TRY(lm_sha256(source, strlen(source), &id->chat_template, err));
    put_text(id->model_name, sizeof id->model_name, slash ? slash + 1 : m->info.path);
    put_text(id->architecture, sizeof id->architecture, m->info.family);
    put_text(id->quantisation, sizeof id->quantisation, main_format(m->net->program));
    put_text(id->backend, sizeof id->backend, m->backend->name);
    put_text(id->cache, sizeof id->cache, m->info.kv);
    id->n_layers = m->info.n_layers;
    id->n_vocab = m->info.n_vocab;
    id->context = m->info.context;
    return LM_OK;
}

static lm_status rest_of(lm_model *m, lm_error *err)
{
    struct lm_rest *r = NULL;
    lm_geometry groups[LM_STATE_GROUPS];
    if (m->rest)
        return LM_OK;
    if (m->n_groups == 0 || m->n_groups > LM_STATE_GROUPS)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the model has %u cache groups, allowed are 1 to %d",
                       m->n_groups, LM_STATE_GROUPS);
    LM_TRY(LM_NEW(&r, 1, err));
    for (uint32_t g = 0; g < m->n_groups; g++)
        groups[g] = lm_geometry_of(g, &m->net->program->groups[g], m->plan_options.kv);
    lm_status st = fill_id(m, &r->id, err);
    if (st == LM_OK)
        st = lm_space_init(&r->space, &r->id.model, groups, m->n_groups, NULL, 0, err);
    if (st != LM_OK) {
        lm_rest_free(r);
        return st;
    }
    m->rest = r;
    return LM_OK;
}

/* --- steps of a woken session ----------------------------------------------------------- */

lm_status lm_rest_verify(lm_session *s, lm_error *err)
{
    bool good = true;
    if (!s->mount || s->verified)
        return LM_OK;
    for (uint32_t i = 0; i < lm_mount_n_pages(s->mount) && good; i++)
        for (uint32_t g = 0; g < lm_mount_n_groups(s->mount) && good; g++)
            if (lm_mount_verify(s->mount, g, i, NULL) != LM_OK) {
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
    s->metrics.cached_tokens = 0;
    lm_eval_item it = { .session = s, .ids = tokens, .n = n };
    lm_status st = lm_eval_items(s->m, &it, 1, err);
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
    bool private_page = s->n_mounted % LM_PAGE_TOKENS && at == s->n_mounted / LM_PAGE_TOKENS;
    if (!s->mount || s->n_tokens % LM_PAGE_TOKENS == 0 || private_page)
        return LM_OK;
    for (uint32_t i = 0; i < s->m->n_groups; i++) {
        lm_group_state *g = &s->groups[i];
        lm_page *page = NULL;
        if (at >= g->n_pages || !g->pages[at] || !g->pages[at]->gone)
            continue;
        LM_TRY(lm_pool_take(s->m->pools[i], &page, err));
        memcpy(page->data, g->pages[at]->data, s->m->layouts[i].page_bytes);
        lm_pool_drop(s->m->pools[i], g->pages[at]);
        g->pages[at] = page;
        g->data[at] = page->data;
    }
    return LM_OK;
}

/* --- sleep ---------------------------------------------------------------------------------- */

lm_status lm_session_sleep(lm_session *s, lm_store *store, const char *name, const char *title,
                           const char *messages, lm_sleep_result *out, lm_error *err)
{
    lm_sleep_report report = { 0 };
    if (s->n_tokens == 0)
        return lm_fail(err, LM_ERR_USAGE, "an empty session cannot be put to sleep");
    LM_TRY(rest_of(s->m, err));
    /* A page that the store has lost meanwhile is written from here: it must be good. */
    LM_TRY(lm_rest_verify(s, err));
    lm_sleep e = { .name = name,
                   .title = title,
                   .messages = messages,
                   .flags = LM_ENTRY_KEPT,
                   .id = &s->m->rest->id,
                   .space = &s->m->rest->space,
                   .tokens = s->tokens,
                   .n_tokens = s->n_tokens,
                   .cost_us = (s->metrics.prefill_ns + s->metrics.decode_ns) / 1000,
                   .logits = s->has_logits ? s->logits : NULL,
                   .n_logits = s->has_logits ? s->m->info.n_vocab : 0 };
    for (uint32_t g = 0; g < s->m->n_groups; g++)
        e.pages[g] = (const uint8_t *const *)s->groups[g].data;
    LM_TRY(lm_store_sleep(store, &e, &report, err));
    if (out)
        *out = (lm_sleep_result){ report.pages_written, report.pages_reused, report.bytes_written };
    return LM_OK;
}

/* --- wake ------------------------------------------------------------------------------------- */

/* The entry's pages are of this model's groups, under its roots. */
static bool same_space(const lm_entry *e, const lm_space *space)
{
    if (e->n_groups != space->n_groups)
        return false;
    for (uint32_t g = 0; g < space->n_groups; g++)
        if (memcmp(&e->groups[g].geometry, &space->groups[g], sizeof space->groups[g]) != 0 ||
            !lm_digest_equal(&e->groups[g].root, &space->roots[g]))
            return false;
    return true;
}

static void name_reasons(uint32_t bits, lm_wake_result *w)
{
    size_t n = 0;
    for (int r = 0; r < LM_WAKE_COUNT; r++)
        if (bits >> r & 1u && n < sizeof w->reasons) {
            int k = snprintf(w->reasons + n, sizeof w->reasons - n, "%s%s", n ? ", " : "",
                             lm_wake_text((lm_wake_reason)r));
            n += k > 0 ? (size_t)k : 0;
        }
}

/* Takes the pages into the session's tables; the session is empty. */
static lm_status adopt(lm_session *s, lm_mount *mount, const int32_t *tokens, lm_error *err)
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
    s->n_tokens = s->n_mounted = n;
    s->verified = false;
    return LM_OK;
}

/* What was not mounted, and logits where none were kept. */
static lm_status complete(lm_session *s, const lm_entry *e, lm_error *err)
{
    uint32_t from = s->n_tokens;
    if (from == e->n_tokens && e->n_logits == s->m->info.n_vocab) {
        memcpy(s->logits, e->logits, e->n_logits * sizeof *s->logits);
        s->has_logits = true;
        return LM_OK;
    }
    if (from == e->n_tokens) {
        from--; /* the last token again, for its logits */
        LM_TRY(lm_session_truncate(s, from, err));
    }
    return lm_session_append(s, e->tokens + from, e->n_tokens - from, err);
}

static lm_status check_entry(const lm_model *m, const lm_entry *e, lm_error *err)
{
    if (e->n_tokens == 0)
        return lm_fail(err, LM_ERR_STATE, "it has no tokens");
    if (e->n_tokens > m->info.context) {
        lm_hint(err, "raise the context with -c, up to %u for this pack", m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "it has %u tokens, the context holds %u", e->n_tokens,
                       m->info.context);
    }
    for (uint32_t i = 0; i < e->n_tokens; i++)
        if (e->tokens[i] < 0 || (uint32_t)e->tokens[i] >= m->info.n_vocab)
            return lm_fail(err, LM_ERR_MISMATCH, "its token %u is %d, the model's are 0 to %u", i,
                           e->tokens[i], m->info.n_vocab - 1);
    return LM_OK;
}

static lm_status wake_entry(lm_session *s, lm_store *store, const lm_entry *e, unsigned flags,
                            lm_wake_result *w, lm_error *err)
{
    const struct lm_rest *r = s->m->rest;
    lm_mount *mount = NULL;
    uint32_t bits = lm_state_id_compare(&e->id, &r->id, e->n_tokens);
    uint32_t fatal = bits & ((UINT32_C(1) << LM_WAKE_WARNINGS) - 1);
    bool fits = !fatal && same_space(e, &r->space);
    if (!fits && !fatal)
        bits |= UINT32_C(1) << LM_WAKE_CACHE;
    name_reasons(bits, w);
    LM_TRY(check_entry(s->m, e, err));
    if (!fits && (!(flags & LM_STATE_REPLAY) || bits >> LM_WAKE_TOKENIZER & 1u)) {
        lm_hint(err, bits >> LM_WAKE_TOKENIZER & 1u ? "its tokens mean something else to this model"
                                                    : "its tokens can be computed again (replay)");
        return lm_fail(err, LM_ERR_MISMATCH, "it cannot be mounted: %s", w->reasons);
    }
    if (fits)
        LM_TRY(lm_store_mount(store, e, e->n_tokens, &mount, err));
    w->n_mounted = mount ? lm_mount_n_tokens(mount) : 0;
    if (fits && w->n_mounted < e->n_tokens && !(flags & LM_STATE_REPLAY)) {
        lm_mount_close(mount);
        lm_hint(err, "its tokens can be computed again (replay)");
        return lm_fail(err, LM_ERR_STATE, "pages of %u of its %u tokens are there", w->n_mounted,
                       e->n_tokens);
    }
    uint64_t before = s->metrics.prompt_tokens;
    lm_session_forget(s);
    s->metrics.cached_tokens = w->n_mounted;
    lm_status st = mount ? adopt(s, mount, e->tokens, err) : LM_OK;
    if (st != LM_OK) {
        lm_mount_close(mount);
        return st;
    }
    s->mount = mount;
    s->store = store;
    st = complete(s, e, err);
    w->n_tokens = s->n_tokens;
    w->n_replayed = (uint32_t)(s->metrics.prompt_tokens - before);
    return st;
}

lm_status lm_session_wake(lm_session *s, lm_store *store, const char *name, unsigned flags,
                          lm_wake_result *out, lm_error *err)
{
    lm_wake_result own, *w = out ? out : &own;
    lm_entry *e = NULL;
    lm_quoted_buf q;
    uint64_t start = lm_now_ns();
    memset(w, 0, sizeof *w);
    LM_TRY(rest_of(s->m, err));
    w->identity_ns = lm_now_ns() - start;
    start = lm_now_ns();
    LM_TRY(lm_store_entry(store, name, &e, err));
    lm_status st = wake_entry(s, store, e, flags, w, err);
    if (st != LM_OK)
        st = lm_wrap(err, st, "session '%s'", lm_quoted_z(&q, name));
    lm_entry_free(e);
    w->wake_ns = lm_now_ns() - start;
    return st;
}
