/* engine/model.c - opens a pack: binds it, checks memory, plans, finds its text. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"
#include "engine/prepared.h"
#include "engine/textside.h"
#include "lemma/lemma.h"
#include "lemma/state.h"
#include "plan/device.h"

enum { DEFAULT_CHUNK = 512, MAX_CHUNK = 1 << 16, MAX_SHARED = 1024 };

const char *lm_version(void)
{
    return LM_VERSION;
}

lm_status lm_guard_mappings(lm_error *err)
{
    return lm_map_install_sigbus(err);
}

void lm_give_back(void *p)
{
    lm_free(p);
}

void lm_model_defaults(lm_model_options *out)
{
    *out = (lm_model_options){ .size = sizeof *out, .backend = "cpu", .cache_dir = "" };
}

const lm_text *lm_model_text(const lm_model *m)
{
    return m->text;
}

void lm_model_get_info(const lm_model *m, lm_model_info *out)
{
    uint32_t bad = m->prepared ? lm_prepared_bad(m->prepared) : 0;
    *out = m->info;
    if (bad == 0)
        return;
    out->prepared = LM_PREPARED_DAMAGED;
    (void)snprintf(out->prepared_note, sizeof out->prepared_note,
                   "the prepared copy of this pack is damaged in %" PRIu32
                   " place%s: the pack itself is read there, the result is the same",
                   bad, bad == 1 ? "" : "s");
}

/* A copy is never a reason to fail, short of memory. */
static lm_status open_prepared(lm_model *m, const lm_model_options *o, lm_error *err)
{
    lm_error why = { 0 };
    lm_model_info *i = &m->info;
    if (o->no_prepared)
        return LM_OK;
    LM_TRY(lm_prepared_open(&m->prepared, m->net, o->cache_dir, &i->prepared, &why, err));
    if (m->prepared && !(m->backend->reads_panels && m->backend->reads_panels(m->device))) {
        lm_prepared_unbind(m->net);
        lm_prepared_close(m->prepared);
        m->prepared = NULL;
        i->prepared = LM_PREPARED_UNREAD;
    }
    if (m->prepared)
        i->prepared_bytes = lm_prepared_bytes(m->prepared);
    else if (i->prepared == LM_PREPARED_STALE)
        (void)snprintf(i->prepared_note, sizeof i->prepared_note,
                       "the prepared copy of this pack is not used: the pack has changed since");
    else if (i->prepared == LM_PREPARED_DAMAGED)
        (void)snprintf(i->prepared_note, sizeof i->prepared_note,
                       "the prepared copy of this pack is not used: %.120s", why.text);
    return LM_OK;
}

void lm_prepared_drop(lm_model *m)
{
    lm_prepared_unbind(m->net);
    lm_prepared_close(m->prepared);
    m->prepared = NULL;
    m->info.prepared = LM_PREPARED_DAMAGED;
    m->info.prepared_bytes = 0;
    (void)snprintf(m->info.prepared_note, sizeof m->info.prepared_note,
                   "the prepared copy of this pack was cut while it was in use: the pack itself is read");
}

static uint64_t kv_bytes_per_token(const lm_program *p, lm_kv_format f)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->n_groups; i++)
        n += lm_page_layout_of(&p->groups[i], f).page_bytes / LM_PAGE_TOKENS;
    return n;
}

/* Bytes of pages of a session of `context` positions: windows keep their own
 * pages, one being filled and what a chunk adds. */
static uint64_t kv_bytes(const lm_program *p, lm_kv_format f, uint64_t context, uint32_t chunk)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->n_groups; i++) {
        uint64_t held = p->groups[i].window
                            ? LM_MIN((uint64_t)p->groups[i].window + chunk + LM_PAGE_TOKENS, context)
                            : context;
        n += lm_page_layout_of(&p->groups[i], f).page_bytes * ((held + LM_PAGE_TOKENS - 1) / LM_PAGE_TOKENS);
    }
    return n;
}

/* What the weights cost to read for one token, and how many numbers they are. */
static void count_weights(lm_model *m)
{
    const lm_program *p = m->net->program;
    bool embed_is_head = false;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        const lm_op *op = &p->ops[i];
        if (op->kind != LM_OP_LINEAR)
            continue;
        const lm_matrix *w = &op->u.linear.w;
        m->info.n_params += (uint64_t)w->rows * w->cols;
        if (!p->values[op->out].wanted)
            m->info.chunk_params += (uint64_t)w->rows * w->cols;
        for (int k = 0; k < w->quant->n_planes; k++)
            m->info.token_bytes += lm_quant_row_bytes(w->quant, k, w->cols) * w->rows;
        embed_is_head |= w->plane[0] == p->ops[0].u.embed.w.plane[0];
    }
    if (!embed_is_head && p->ops[0].kind == LM_OP_EMBED)
        m->info.n_params += (uint64_t)p->ops[0].u.embed.w.rows * p->ops[0].u.embed.w.cols;
}

/* The context: what was asked for must fit; what was trained is cut down to what
 * fits, and said.  Without a plan yet, its workspace counts as nothing. */
static lm_status choose_context(lm_model *m, const lm_model_options *o, lm_error *err)
{
    lm_device_facts facts;
    lm_device_read_memory(&facts);
    uint64_t free_bytes = lm_device_free_memory(&facts), spare = 64u << 20;
    uint64_t room =
        free_bytes > m->info.workspace_bytes + spare ? free_bytes - m->info.workspace_bytes - spare : 0;
    uint64_t want = o->context ? o->context : m->net->config.max_context;
    uint32_t sessions = m->plan_options.max_segments;
    uint64_t need = kv_bytes(m->net->program, m->plan_options.kv, want, m->chunk);
    m->info.trained_context = m->net->config.max_context;
    if (need <= room / sessions) {
        m->info.context = (uint32_t)want;
        return LM_OK;
    }
    uint64_t lo = 0, hi = want;
    while (lo < hi) {
        uint64_t mid = (lo + hi + 1) / 2;
        if (kv_bytes(m->net->program, m->plan_options.kv, mid, m->chunk) <= room / sessions)
            lo = mid;
        else
            hi = mid - 1;
    }
    if (o->context || lo < LM_PAGE_TOKENS) {
        if (m->info.trained_context > 0 && lo > m->info.trained_context)
            lm_hint(err, "-c %" PRIu32 " fits, which is what the model was trained to",
                    m->info.trained_context);
        else
            lm_hint(err, "-c %" PRIu64 " fits, or a smaller --kv format", lo);
        char work[64] = "";
        if (m->plan)
            (void)snprintf(work, sizeof work, " and %" PRIu64 " MiB to work in",
                           m->info.workspace_bytes >> 20);
        return lm_fail(err, LM_ERR_NOMEM,
                       "a context of %" PRIu64 " tokens needs %" PRIu64
                       " MiB for keys and values%s, free are %" PRIu64 " MiB",
                       want, need >> 20, work, free_bytes >> 20);
    }
    m->info.context = (uint32_t)(lo - lo % LM_PAGE_TOKENS);
    m->info.context_reduced = true;
    return LM_OK;
}

static lm_status set_up_state(lm_model *m, lm_error *err)
{
    const lm_program *p = m->net->program;
    const lm_plan_options *o = &m->plan_options;
    m->n_groups = p->n_groups;
    LM_TRY(LM_NEW(&m->layouts, p->n_groups, err));
    LM_TRY(LM_NEW(&m->pools, p->n_groups, err));
    for (uint32_t i = 0; i < p->n_groups; i++) {
        m->layouts[i] = lm_page_layout_of(&p->groups[i], o->kv);
        LM_TRY(lm_pool_open(&m->pools[i], m->layouts[i].page_bytes, UINT32_MAX, err));
    }
    LM_TRY(LM_NEW(&m->ids, o->max_tokens, err));
    LM_TRY(LM_NEW(&m->rows, o->max_tokens, err));
    LM_TRY(LM_NEW(&m->segments, o->max_segments, err));
    LM_TRY(LM_NEW(&m->tables, (size_t)o->max_segments * p->n_groups, err));
    return lm_new((void **)&m->logits, (size_t)o->max_rows * p->n_vocab, sizeof(float), err);
}

static lm_status open_device(lm_model *m, const lm_model_options *o, lm_error *err)
{
    lm_quoted_buf q;
    const char *name = o->backend ? o->backend : "cpu";
    m->backend = lm_backend_by_name(name);
    if (!m->backend)
        return lm_fail(err, LM_ERR_USAGE, "there is no backend '%s', known are cpu and ref",
                       lm_quoted_z(&q, name));
    m->plan_options.kv = m->backend->default_kv;
    if (o->kv && !lm_kv_by_name(o->kv, &m->plan_options.kv))
        return lm_fail(err, LM_ERR_USAGE,
                       "there is no cache format '%s', known are f32, f16, bf16, q8 and k-q8-v-q4",
                       lm_quoted_z(&q, o->kv));
    if (o->compute && strcmp(o->compute, "fast") != 0 && strcmp(o->compute, "precise") != 0)
        return lm_fail(err, LM_ERR_USAGE, "there is no way '%s' to compute, known are fast and precise",
                       lm_quoted_z(&q, o->compute));
    if (o->chunk > MAX_CHUNK)
        return lm_fail(err, LM_ERR_USAGE, "a chunk of %u tokens, allowed is 1 to %d", o->chunk, MAX_CHUNK);
    if (o->sessions > MAX_SHARED)
        return lm_fail(err, LM_ERR_USAGE, "%u sessions in a step, allowed is 1 to %d", o->sessions,
                       MAX_SHARED);
    m->chunk = o->chunk ? o->chunk : DEFAULT_CHUNK;
    m->plan_options.max_segments = o->sessions ? o->sessions : 1;
    m->plan_options.max_tokens = LM_MAX(m->chunk, m->plan_options.max_segments);
    m->plan_options.max_rows = o->all_rows ? m->plan_options.max_tokens : m->plan_options.max_segments;
    m->chunk = m->plan_options.max_tokens;
    lm_device_options d = {
        .n_threads = o->threads, .isa = o->isa, .compute = o->compute, .cpu_mask = o->cpu_mask
    };
    return m->backend->open(&m->device, &d, err);
}

static void fill_info(lm_model *m)
{
    const lm_config *c = &m->net->config;
    lm_device_info d;
    m->backend->info(m->device, m->plan_options.kv, &d);
    (void)snprintf(m->info.path, sizeof m->info.path, "%s", lm_packfile_path(m->net->pack));
    (void)snprintf(m->info.family, sizeof m->info.family, "%s", m->net->family->name);
    (void)snprintf(m->info.device, sizeof m->info.device, "%s", d.name);
    (void)snprintf(m->info.numerics, sizeof m->info.numerics, "%s", d.numerics);
    (void)snprintf(m->info.kv, sizeof m->info.kv, "%s", lm_kv_name(m->plan_options.kv));
    m->info.n_layers = c->n_layers;
    m->info.n_vocab = m->net->program->n_vocab;
    m->info.width = c->width;
    m->info.n_heads = c->n_heads;
    m->info.n_kv_heads = c->n_kv_heads;
    m->info.head_dim = c->head_dim;
    m->info.chunk = m->chunk;
    m->info.threads = d.n_threads;
    m->info.weight_bytes = lm_packfile_weight_bytes(m->net->pack);
    m->info.kv_bytes_per_token = kv_bytes_per_token(m->net->program, m->plan_options.kv);
    count_weights(m);
}

/* The plan is compiled for the largest context that keys and values leave room for, so
 * that its bytes are known before the context is. */
static lm_status set_up(lm_model *m, const char *path, const lm_model_options *o, lm_error *err)
{
    lm_packfile *pack = NULL;
    if (o->cache_dir)
        LM_TRY(lm_strdup_n(o->cache_dir, strlen(o->cache_dir), &m->cache_dir, err));
    LM_TRY(open_device(m, o, err));
    LM_TRY(lm_packfile_open(&pack, path, true, err));
    lm_status s = lm_net_open(&m->net, pack, o->context, err);
    if (s != LM_OK) {
        lm_packfile_close(pack);
        return s;
    }
    LM_TRY(choose_context(m, o, err)); /* the workspace must not grow with what cannot be */
    m->plan_options.max_context = m->info.context;
    LM_TRY(open_prepared(m, o, err));
    LM_TRY(m->backend->compile(m->device, m->net->program, &m->plan_options, &m->plan, err));
    m->info.workspace_bytes = m->backend->plan_bytes(m->plan) +
                              (uint64_t)m->plan_options.max_rows * m->net->program->n_vocab * sizeof(float);
    LM_TRY(choose_context(m, o, err));
    fill_info(m);
    LM_TRY(set_up_state(m, err));
    lm_sample_defaults(&m->sampling);
    if (o->no_text)
        return LM_OK;
    s = lm_text_of_pack(&m->text, m->net->pack, o->cache_dir, err);
    if (s == LM_ERR_NOT_FOUND) {
        lm_error_clear(err);
        s = LM_OK;
    }
    return s == LM_OK ? lm_text_sampling(m->net->pack, &m->sampling, err) : s;
}

lm_status lm_model_open(lm_model **out, const char *pack, const lm_model_options *options, lm_error *err)
{
    lm_model *m = NULL;
    char *path = NULL;
    lm_model_options o;
    uint64_t start = lm_now_ns();
    lm_model_defaults(&o);
    if (options)
        memcpy(&o, options, LM_MIN(sizeof o, (size_t)options->size));
    LM_TRY(lm_pack_resolve(pack, &path, err));
    lm_status s = LM_NEW(&m, 1, err);
    if (s == LM_OK)
        s = set_up(m, path, &o, err);
    lm_free(path);
    if (s != LM_OK) {
        lm_model_close(m);
        return s;
    }
    m->info.load_ns = lm_now_ns() - start;
    *out = m;
    return LM_OK;
}

void lm_model_close(lm_model *m)
{
    if (!m)
        return;
    (void)!lm_model_remember(m, NULL, NULL);
    lm_text_close(m->text);
    lm_rest_free(m->rest);
    lm_free(m->cache_dir);
    lm_free(m->ids);
    lm_free(m->rows);
    lm_free(m->segments);
    lm_free(m->tables);
    lm_free(m->logits);
    lm_free(m->layouts);
    for (uint32_t i = 0; m->pools && i < m->n_groups; i++)
        lm_pool_close(m->pools[i]);
    lm_free(m->pools);
    if (m->plan)
        m->backend->plan_free(m->plan);
    if (m->device)
        m->backend->close(m->device);
    lm_net_close(m->net);
    lm_prepared_close(m->prepared);
    lm_free(m);
}

void lm_model_sampling(const lm_model *m, lm_sample_params *out)
{
    *out = m->sampling;
}
