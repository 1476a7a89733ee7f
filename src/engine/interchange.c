/* engine/interchange.c - sessions, live or at rest, as snapshots; snapshots as sessions.
 *
 * An imported session's pages stand under names that a random salt keeps apart from all
 * others (S7, S9): whoever computes the same tokens never finds them. */
#include "lemma/interchange.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "engine/rest.h"
#include "state/interchange/analysis.h"
#include "state/interchange/pages.h"
#include "state/io.h"

/* Which layer has its cache where, by the program's attention; freed with lm_free(). */
static lm_status places_of(const lm_model *m, lm_layer_place **out, uint32_t *n, lm_error *err)
{
    const lm_program *p = m->net->program;
    *n = 0;
    LM_TRY(LM_NEW(out, p->n_ops, err));
    for (uint32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].kind == LM_OP_ATTEND)
            (*out)[(*n)++] =
                (lm_layer_place){ p->ops[i].layer, p->ops[i].u.attend.group, p->ops[i].u.attend.slot };
    return LM_OK;
}

/* Tokens, logits, what the model is called. */
static lm_status dress(lm_snapshot *s, const char *architecture, const lm_model *m, const int32_t *tokens,
                       uint32_t n_tokens, const float *logits, uint32_t n_logits, lm_error *err)
{
    (void)snprintf(s->architecture, sizeof s->architecture, "%s", architecture);
    s->num_query_heads = m ? m->info.n_heads : 0;
    s->token_offset = n_tokens;
    if (n_tokens) {
        LM_TRY(lm_snapshot_alloc(s, n_tokens, sizeof *tokens, (void **)&s->tokens, err));
        memcpy(s->tokens, tokens, n_tokens * sizeof *tokens);
        s->n_tokens = n_tokens;
    }
    if (n_logits) {
        LM_TRY(lm_snapshot_alloc(s, n_logits, sizeof *logits, (void **)&s->logits, err));
        memcpy(s->logits, logits, n_logits * sizeof *logits);
        s->n_logits = n_logits;
        s->logit_rank = 2;
        s->logit_shape[0] = 1;
        s->logit_shape[1] = (int32_t)n_logits;
    }
    return LM_OK;
}

lm_status lm_session_snapshot(lm_session *s, lm_snapshot **out, lm_error *err)
{
    lm_snapshot *snap = NULL;
    lm_layer_place *places = NULL;
    lm_geometry groups[LM_STATE_GROUPS];
    const uint8_t *const *pages[LM_STATE_GROUPS];
    lm_page_map map = { .groups = groups, .n_layers = s->m->info.n_layers };
    if (s->m->n_groups == 0 || s->m->n_groups > LM_STATE_GROUPS)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the model's state is no keys and values");
    LM_TRY(lm_rest_verify(s, err));
    map.n_groups = s->m->n_groups;
    for (uint32_t g = 0; g < map.n_groups; g++) {
        groups[g] = lm_geometry_of(g, &s->m->net->program->groups[g], s->m->plan_options.kv);
        pages[g] = (const uint8_t *const *)s->groups[g].data;
    }
    lm_status st = places_of(s->m, &places, &map.n_places, err);
    map.places = places;
    if (st == LM_OK)
        st = lm_snapshot_new(&snap, err);
    if (st == LM_OK)
        st = dress(snap, s->m->info.family, s->m, s->tokens, s->n_tokens, s->logits,
                   s->has_logits ? s->m->info.n_vocab : 0, err);
    if (st == LM_OK)
        st = lm_snapshot_from_pages(snap, &map, s->n_tokens, pages, err);
    if (st == LM_OK)
        st = lm_rest_check(s, err);
    lm_free(places);
    if (st != LM_OK) {
        lm_snapshot_close(snap);
        return st;
    }
    *out = snap;
    return LM_OK;
}

/* --- sessions at rest ----------------------------------------------------------------- */

/* The layers' places of an entry: of the model, or in order where one group has them all. */
static lm_status entry_places(const lm_entry *e, const lm_model *m, lm_layer_place **out, uint32_t *n,
                              lm_error *err)
{
    if (m) {
        if (m->info.n_layers != e->id.n_layers || m->n_groups != e->n_groups)
            return lm_fail(err, LM_ERR_MISMATCH, "it has %u layers in %u cache groups, the model %u in %u",
                           e->id.n_layers, e->n_groups, m->info.n_layers, m->n_groups);
        return places_of(m, out, n, err);
    }
    if (e->n_groups != 1 || e->groups[0].geometry.n_layers != e->id.n_layers) {
        lm_hint(err, "name its pack with -m");
        return lm_fail(err, LM_ERR_USAGE,
                       "its layers are not all alike: which is which is known to its pack");
    }
    if (e->id.n_layers > LM_SNAPSHOT_MAX_LAYERS)
        return lm_fail(err, LM_ERR_STATE, "it has %u layers", e->id.n_layers);
    LM_TRY(LM_NEW(out, e->id.n_layers, err));
    for (*n = 0; *n < e->id.n_layers; ++*n)
        (*out)[*n] = (lm_layer_place){ *n, 0, *n };
    return LM_OK;
}

typedef struct {
    lm_page **taken[LM_STATE_GROUPS];
    const uint8_t **data[LM_STATE_GROUPS];
    uint32_t n_pages;
} taken_pages;

static void give_up(taken_pages *t)
{
    for (uint32_t g = 0; g < LM_STATE_GROUPS; g++) {
        for (uint32_t i = 0; t->taken[g] && i < t->n_pages; i++)
            if (t->taken[g][i])
                lm_pool_drop(NULL, t->taken[g][i]); /* the mount's: no pool takes it back */
        lm_free(t->taken[g]);
        lm_free((void *)t->data[g]);
    }
}

static lm_status take(lm_mount *mount, taken_pages *t, lm_error *err)
{
    t->n_pages = lm_mount_n_pages(mount);
    for (uint32_t g = 0; g < lm_mount_n_groups(mount); g++) {
        LM_TRY(LM_NEW(&t->taken[g], t->n_pages, err));
        LM_TRY(lm_new((void **)&t->data[g], t->n_pages, sizeof *t->data[g], err));
        for (uint32_t i = 0; i < t->n_pages; i++) {
            LM_TRY(lm_mount_verify(mount, g, i, err));
            t->taken[g][i] = lm_mount_take(mount, g, i);
            t->data[g][i] = t->taken[g][i] ? t->taken[g][i]->data : NULL;
        }
    }
    return LM_OK;
}

static lm_status entry_to_snapshot(lm_store *store, const lm_entry *e, lm_model *m, lm_snapshot *snap,
                                   lm_error *err)
{
    lm_layer_place *places = NULL;
    lm_geometry groups[LM_STATE_GROUPS];
    lm_mount *mount = NULL;
    taken_pages t = { .n_pages = 0 };
    lm_page_map map = { .groups = groups, .n_groups = e->n_groups, .n_layers = e->id.n_layers };
    for (uint32_t g = 0; g < e->n_groups; g++)
        groups[g] = e->groups[g].geometry;
    LM_TRY(entry_places(e, m, &places, &map.n_places, err));
    map.places = places;
    lm_status st = lm_store_mount(store, e, e->n_tokens, &mount, err);
    if (st == LM_OK && (!mount || lm_mount_n_tokens(mount) < e->n_tokens))
        st = lm_fail(err, LM_ERR_STATE, "pages of %u of its %u tokens are there",
                     mount ? lm_mount_n_tokens(mount) : 0, e->n_tokens);
    if (st == LM_OK)
        st = take(mount, &t, err);
    if (st == LM_OK)
        st = dress(snap, e->id.architecture, m, e->tokens, e->n_tokens, e->logits, e->n_logits, err);
    if (st == LM_OK)
        st = lm_snapshot_from_pages(snap, &map, e->n_tokens, (const uint8_t *const *const *)t.data, err);
    if (st == LM_OK)
        st = lm_mount_check(mount, err);
    give_up(&t);
    lm_mount_close(mount);
    lm_free(places);
    return st;
}

lm_status lm_state_snapshot(lm_store *store, const char *name, lm_model *m, lm_snapshot **out, lm_error *err)
{
    lm_entry *e = NULL;
    lm_snapshot *snap = NULL;
    lm_quoted_buf q;
    LM_TRY(lm_store_entry(store, name, &e, err));
    lm_status st = lm_snapshot_new(&snap, err);
    if (st == LM_OK)
        st = entry_to_snapshot(store, e, m, snap, err);
    lm_entry_free(e);
    if (st != LM_OK) {
        lm_snapshot_close(snap);
        return lm_wrap(err, st, "session '%s'", lm_quoted_z(&q, name));
    }
    *out = snap;
    return LM_OK;
}

/* --- import ------------------------------------------------------------------------------ */

/* "gemma3_text" and "gemma3" are one: packs name the text model either way. */
static bool same_family(const char *a, const char *b)
{
    size_t n = strlen(a), k = strlen(b);
    n -= n > 5 && strcmp(a + n - 5, "_text") == 0 ? 5 : 0;
    k -= k > 5 && strcmp(b + k - 5, "_text") == 0 ? 5 : 0;
    return n == k && memcmp(a, b, n) == 0;
}

static lm_status check_snapshot(const lm_model *m, const lm_snapshot *s, lm_error *err)
{
    lm_quoted_buf q;
    if (s->architecture[0] && !same_family(s->architecture, m->info.family))
        return lm_fail(err, LM_ERR_MISMATCH, "the snapshot is of the architecture '%s', the model of '%s'",
                       lm_quoted_z(&q, s->architecture), m->info.family);
    if (s->n_tokens > m->info.context) {
        lm_hint(err, "raise the context with -c, up to %u for this pack", m->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "the snapshot has %u tokens, the context holds %u", s->n_tokens,
                       m->info.context);
    }
    for (uint32_t i = 0; i < s->n_tokens; i++)
        if (s->tokens[i] < 0 || (uint32_t)s->tokens[i] >= m->info.n_vocab)
            return lm_fail(err, LM_ERR_MISMATCH, "token %u of the snapshot is %d, the model's are 0 to %u", i,
                           s->tokens[i], m->info.n_vocab - 1);
    if (s->n_logits && s->n_logits != m->info.n_vocab)
        return lm_fail(err, LM_ERR_MISMATCH, "the snapshot has %u logits, the model %u", s->n_logits,
                       m->info.n_vocab);
    return LM_OK;
}

lm_status lm_state_import_snapshot(lm_store *store, const char *name, lm_model *m, const lm_snapshot *s,
                                   const lm_sleep_options *options, lm_error *err)
{
    lm_sleep_options o;
    lm_space space;
    lm_page_set pages = { .n_groups = 0 };
    lm_layer_place *places = NULL;
    uint8_t salt[16];
    lm_sleep_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    LM_TRY(lm_whose(m, err));
    LM_TRY(check_snapshot(m, s, err));
    LM_TRY(lm_io_random(salt, sizeof salt, err));
    LM_TRY(lm_salted_space(m, salt, sizeof salt, &space, err));
    lm_page_map map = { .groups = space.groups, .n_groups = m->n_groups, .n_layers = m->info.n_layers };
    LM_TRY(places_of(m, &places, &map.n_places, err));
    map.places = places;
    lm_status st = lm_snapshot_fits(s, &map, err);
    if (st == LM_OK)
        st = lm_snapshot_to_pages(s, &map, &pages, err);
    lm_sleep e = { .name = name,
                   .title = o.title,
                   .messages = o.messages,
                   .labels = o.labels,
                   .metadata = o.metadata,
                   .parent = o.parent,
                   .flags = LM_ENTRY_KEPT | LM_ENTRY_IMPORTED,
                   .id = &m->rest->id,
                   .space = &space,
                   .tokens = s->tokens,
                   .n_tokens = s->n_tokens,
                   .logits = s->logits,
                   .n_logits = s->n_logits };
    for (uint32_t g = 0; g < pages.n_groups; g++)
        e.pages[g] = (const uint8_t *const *)pages.pages[g];
    if (st == LM_OK)
        st = lm_store_sleep(store, &e, NULL, err);
    lm_pages_free(&pages);
    lm_free(places);
    return st;
}

/* --- verify ------------------------------------------------------------------------------- */

/* Both numbers' difference over the largest of this kind. */
typedef struct {
    double difference, largest;
} span_of;

static bool compare(const float *a, const float *b, uint32_t n, span_of *z)
{
    bool equal = true;
    for (uint32_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]), x = fabs((double)a[i]);
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0) {
            equal = false;
            z->difference = d > z->difference || isnan(d) ? d : z->difference;
        }
        z->largest = x > z->largest ? x : z->largest;
    }
    return equal;
}

static double ratio(const span_of *z)
{
    return z->difference > 0 ? z->difference / (z->largest > 0 ? z->largest : 1) : z->difference;
}

/* Page by page, position by position: padding and what a page will hold later do not count. */
static lm_status compare_sessions(const lm_session *a, const lm_session *b, lm_verify_result *v,
                                  lm_error *err)
{
    const lm_model *m = a->m;
    span_of keys = { 0, 0 }, values = { 0, 0 }, logits = { 0, 0 };
    v->equal = true;
    for (uint32_t g = 0; g < m->n_groups; g++) {
        const lm_cache_group *c = &m->net->program->groups[g];
        const lm_page_layout *y = &m->layouts[g];
        lm_geometry geometry = lm_geometry_of(g, c, m->plan_options.kv);
        uint32_t width = c->k_dim + c->v_dim;
        float *x = NULL;
        LM_TRY(LM_NEW(&x, 2 * (size_t)width, err));
        for (uint32_t pos = lm_first_needed(&geometry, a->n_tokens); pos < a->n_tokens; pos++)
            for (uint32_t l = 0; l < c->n_layers; l++)
                for (uint32_t h = 0; h < c->n_heads; h++) {
                    const uint8_t *pa = a->groups[g].data[pos / LM_PAGE_TOKENS];
                    const uint8_t *pb = b->groups[g].data[pos / LM_PAGE_TOKENS];
                    uint32_t in = pos % LM_PAGE_TOKENS;
                    lm_page_get(y, pa, l, h, in, x, c->k_dim, x + c->k_dim, c->v_dim);
                    lm_page_get(y, pb, l, h, in, x + width, c->k_dim, x + width + c->k_dim, c->v_dim);
                    bool same = compare(x, x + width, c->k_dim, &keys);
                    same &= compare(x + c->k_dim, x + width + c->k_dim, c->v_dim, &values);
                    if (!same && v->equal) {
                        v->equal = false;
                        v->group = g;
                        v->layer = l;
                        v->position = pos;
                    }
                }
        lm_free(x);
    }
    if (a->has_logits && b->has_logits && !compare(a->logits, b->logits, m->info.n_vocab, &logits))
        v->equal = false;
    v->largest = fmax(fmax(ratio(&keys), ratio(&values)), ratio(&logits));
    return LM_OK;
}

static lm_status verify(lm_store *store, const lm_entry *e, lm_session *imported, lm_session *computed,
                        lm_verify_result *out, lm_error *err)
{
    lm_sleep_options o;
    LM_TRY(lm_session_wake(imported, store, e->name, NULL, NULL, err));
    LM_TRY(lm_rest_verify(imported, err));
    if (!imported->imported) /* a bad page: what was computed instead says nothing */
        return lm_fail(err, LM_ERR_STATE, "a page of session '%s' is damaged", e->name);
    LM_TRY(lm_session_append(computed, e->tokens, e->n_tokens, err));
    LM_TRY(compare_sessions(computed, imported, out, err));
    LM_TRY(lm_rest_check(imported, err));
    if (!out->equal)
        return LM_OK;
    lm_sleep_defaults(&o);
    o.title = e->title;
    o.messages = e->messages;
    o.labels = e->labels;
    o.metadata = e->metadata;
    o.parent = e->parent;
    LM_TRY(lm_session_sleep(computed, store, e->name, &o, NULL, err));
    return lm_store_sweep_private(store, err);
}

lm_status lm_state_verify(lm_store *store, const char *name, lm_model *m, lm_verify_result *out,
                          lm_error *err)
{
    lm_entry *e = NULL;
    lm_session *imported = NULL, *computed = NULL;
    lm_quoted_buf q;
    *out = (lm_verify_result){ .equal = false };
    LM_TRY(lm_store_entry(store, name, &e, err));
    lm_status st = LM_OK;
    if (!(e->flags & LM_ENTRY_IMPORTED))
        st = lm_fail(err, LM_ERR_USAGE, "session '%s' was not imported", lm_quoted_z(&q, name));
    if (st == LM_OK)
        st = lm_session_open(&imported, m, err);
    if (st == LM_OK)
        st = lm_session_open(&computed, m, err);
    if (st == LM_OK)
        st = verify(store, e, imported, computed, out, err);
    lm_session_close(computed);
    lm_session_close(imported);
    lm_entry_free(e);
    return st;
}

/* --- analysis ------------------------------------------------------------------------------ */

static lm_status analysis_json(const lm_analysis *a, const lm_snapshot *s, const char *name, char **out,
                               lm_error *err)
{
    json_t *o = json_object(), *analysis = NULL, *sami = NULL;
    bool failed = !o;
    lm_status st = lm_analysis_object(a, &analysis, err);
    if (st == LM_OK)
        st = lm_sami_object(a, s, s->architecture, name, &sami, err);
    lm_set(o, "name", lm_json_string(name), &failed);
    lm_set(o, "architecture", lm_json_string(s->architecture), &failed);
    lm_set(o, "token_count", json_integer((json_int_t)s->n_tokens), &failed);
    if (st == LM_OK) {
        lm_set(o, "analysis", json_incref(analysis), &failed);
        lm_set(o, "sami", json_incref(sami), &failed);
        st = failed ? lm_fail(err, LM_ERR_NOMEM, "no memory for a JSON object")
                    : lm_json_text(o, 2, out, NULL, err);
    }
    json_decref(analysis);
    json_decref(sami);
    json_decref(o);
    return st;
}

lm_status lm_state_analyse(lm_store *store, const char *name, lm_model *m, char **json, char **text,
                           lm_error *err)
{
    lm_snapshot *s = NULL;
    lm_analysis a;
    char *j = NULL;
    LM_TRY(lm_state_snapshot(store, name, m, &s, err));
    lm_status st = lm_snapshot_analyse(s, &a, err);
    if (st == LM_OK && json)
        st = analysis_json(&a, s, name, &j, err);
    if (st == LM_OK && text)
        st = lm_analysis_text(&a, text, NULL, err);
    if (st == LM_OK && json)
        *json = j;
    else
        lm_free(j);
    lm_analysis_clear(&a);
    lm_snapshot_close(s);
    return st;
}
