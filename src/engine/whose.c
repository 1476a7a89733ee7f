/* engine/whose.c - whose state it is: identity of weights, program, text side.
 *
 * The weights are known by content.  Where the cache folder does not remember it, they
 * are read once; a sleep waits for that, automatic reuse does not: a thread reads, and
 * until it is done nothing is found or kept (S2). */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/rest.h"
#include "engine/textside.h"

/* A pack of this size is read in tens of milliseconds: no thread for it. */
#define READ_AT_ONCE (UINT64_C(48) << 20)

/* Reads the weights of a large pack.  The thread writes weights and err before done. */
struct lm_reader {
    pthread_t thread;
    atomic_bool stop, done;
    const lm_packfile *pack;
    const char *cache;
    char buf[4096];
    lm_digest weights;
    lm_error err;
};

static void end_reader(struct lm_reader *x)
{
    if (!x)
        return;
    atomic_store(&x->stop, true);
    (void)pthread_join(x->thread, NULL);
    lm_free(x);
}

void lm_rest_free(struct lm_rest *r)
{
    if (r)
        end_reader(r->reader);
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
    const char *slash = strrchr(m->info.path, '/');
    m->backend->info(m->device, m->plan_options.kv, &d);
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

/* All but the weights. */
static lm_status begin(lm_model *m, lm_error *err)
{
    struct lm_rest *r = NULL;
    if (m->rest)
        return LM_OK;
    if (m->n_groups == 0 || m->n_groups > LM_STATE_GROUPS)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "the model has %u cache groups, allowed are 1 to %d",
                       m->n_groups, LM_STATE_GROUPS);
    LM_TRY(LM_NEW(&r, 1, err));
    lm_status st = fill_id(m, &r->id, err);
    if (st != LM_OK) {
        lm_rest_free(r);
        return st;
    }
    m->rest = r;
    return LM_OK;
}

lm_status lm_salted_space(const lm_model *m, const void *salt, size_t n_salt, lm_space *out, lm_error *err)
{
    lm_geometry groups[LM_STATE_GROUPS];
    for (uint32_t g = 0; g < m->n_groups; g++)
        groups[g] = lm_geometry_of(g, &m->net->program->groups[g], m->plan_options.kv);
    return lm_space_init(out, &m->rest->id.model, groups, m->n_groups, salt, n_salt, err);
}

static lm_status finish(lm_model *m, const lm_digest *weights, lm_error *err)
{
    m->rest->id.model.weights = *weights;
    LM_TRY(lm_salted_space(m, NULL, 0, &m->rest->space, err));
    m->rest->known = true;
    return LM_OK;
}

lm_status lm_whose(lm_model *m, lm_error *err)
{
    char buf[4096];
    lm_digest weights;
    LM_TRY(begin(m, err));
    if (m->rest->known)
        return LM_OK;
    /* Two readers of one file would not be faster than one. */
    if (m->rest->reader) {
        struct lm_reader *x = m->rest->reader;
        (void)pthread_join(x->thread, NULL);
        m->rest->reader = NULL;
        lm_status st = x->err.status;
        weights = x->weights;
        lm_free(x);
        if (st == LM_OK)
            return finish(m, &weights, err);
    }
    LM_TRY(
        lm_pack_identity(m->net->pack, lm_cache_folder(m->cache_dir, buf, sizeof buf), NULL, &weights, err));
    return finish(m, &weights, err);
}

static void *read_weights(void *arg)
{
    struct lm_reader *x = arg;
    (void)!lm_pack_identity(x->pack, x->cache, &x->stop, &x->weights, &x->err);
    atomic_store_explicit(&x->done, true, memory_order_release);
    return NULL;
}

static lm_status start_reader(lm_model *m, lm_error *err)
{
    struct lm_reader *x = NULL;
    sigset_t all, old;
    LM_TRY(LM_NEW(&x, 1, err));
    x->pack = m->net->pack;
    x->cache = lm_cache_folder(m->cache_dir, x->buf, sizeof x->buf);
    /* Signals are the program's, but for those that a thread raises itself. */
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGSEGV);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = pthread_create(&x->thread, NULL, read_weights, x);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        lm_free(x);
        return lm_fail(err, LM_ERR_NOMEM, "cannot start a thread to read the weights");
    }
    m->rest->reader = x;
    return LM_OK;
}

bool lm_whose_soon(lm_model *m)
{
    char buf[4096];
    lm_digest weights;
    lm_error err = { 0 };
    if (m->rest && (m->rest->known || m->rest->failed.status != LM_OK))
        return m->rest->known;
    if (begin(m, &err) != LM_OK)
        return false;
    struct lm_rest *r = m->rest;
    if (r->reader) {
        if (atomic_load_explicit(&r->reader->done, memory_order_acquire) && lm_whose(m, &err) != LM_OK)
            r->failed = err;
        return r->known;
    }
    if (lm_pack_identity_known(m->net->pack, lm_cache_folder(m->cache_dir, buf, sizeof buf), &weights,
                               NULL) == LM_OK) {
        if (finish(m, &weights, &err) != LM_OK)
            r->failed = err;
        return r->known;
    }
    lm_status st = m->info.weight_bytes <= READ_AT_ONCE ? lm_whose(m, &err) : start_reader(m, &err);
    if (st != LM_OK)
        r->failed = err;
    return r->known;
}

lm_status lm_session_space(const lm_session *s, lm_space *out, lm_error *err)
{
    if (s->foreign && !s->imported)
        return lm_salted_space(s->m, s->salt, sizeof s->salt, out, err);
    *out = s->m->rest->space;
    if (s->imported)
        memcpy(out->roots, s->imported_roots, sizeof out->roots);
    return LM_OK;
}
