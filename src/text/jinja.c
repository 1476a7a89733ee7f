/* text/jinja.c - compile and render: the two doors of the template language. */
#include "text/jinja.h"

#include <string.h>

#include "base/mem.h"
#include "text/jinja_int.h"

/* Region of a rendering: twice its output and room for values. */
#define RENDER_ROOM ((size_t)64 << 20)
/* A token and a node take about 400 bytes; one byte of source makes at most one. */
#define COMPILE_PER_BYTE 1024u

enum { MAX_JSON_DEPTH = 128 };

void lm_spans_clear(lm_spans *s)
{
    lm_free(s->spans);
    *s = (lm_spans){ 0 };
}

static bool intern_own_names(jj *J)
{
    static const char *const own[] = {
#define X(s) #s,
        JJ_NAMES(X)
#undef X
    };
    for (uint32_t i = 0; i < NAME_COUNT; i++)
        if (lm_jj_intern(J, own[i], strlen(own[i])) != i)
            return lm_jj_fail(J, LM_ERR_INTERNAL, "names are out of order");
    return J->status == LM_OK;
}

lm_status lm_jinja_compile(lm_jinja **out, const char *source, size_t n, lm_error *err)
{
    lm_jinja *t = NULL;
    jtok *tok = NULL;
    size_t n_tok = 0;
    bool ok;
    if (n > JJ_MAX_SOURCE)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "template: %zu bytes, allowed are %u", n, JJ_MAX_SOURCE);
    LM_TRY(LM_NEW(&t, 1, err));
    jj J = { .err = err, .t = t };
    J.mem.max = (size_t)65536 + n * COMPILE_PER_BYTE;
    ok = intern_own_names(&J) && lm_jj_lex(&J, source, n, &tok, &n_tok) && lm_jj_parse(&J, tok, n_tok);
    t->mem = J.mem;
    if (!ok) {
        lm_jinja_close(t);
        return J.status;
    }
    *out = t;
    return LM_OK;
}

void lm_jinja_close(lm_jinja *t)
{
    if (!t)
        return;
    lm_jj_mem_clear(&t->mem);
    lm_free(t);
}

/* Looks up each name of the template once; the rest of the context is not read. */
static bool load_context(jj *J, const json_t *context)
{
    const lm_jinja *t = J->t;
    J->ctx = lm_jj_get(J, t->n_names, sizeof *J->ctx);
    if (!J->ctx)
        return false;
    if (!json_is_object(context))
        return lm_jj_fail(J, LM_ERR_USAGE, "the context is not a JSON object");
    for (size_t i = 0; i < t->n_names; i++) {
        const json_t *v =
            memchr(t->name[i].s, 0, t->name[i].n) ? NULL : json_object_get(context, t->name[i].s);
        bool derived = i == NAME_messages || i == NAME_tools || i == NAME_documents;
        if (v && !lm_jj_from_json(J, v, derived, MAX_JSON_DEPTH, &J->ctx[i]))
            return false;
    }
    return true;
}

static lm_status give(jj *J, lm_str *out, lm_spans *literal)
{
    const jbuf *b = J->out;
    size_t base = out->n;
    lm_str_add(out, b->p, b->used);
    LM_TRY(lm_str_status(out, J->err));
    if (!literal || !b->n_sp)
        return LM_OK;
    LM_TRY(lm_grow((void **)&literal->spans, &literal->cap, literal->n + b->n_sp, sizeof *b->sp, J->err));
    for (size_t i = 0; i < b->n_sp; i++)
        literal->spans[literal->n++] = (lm_span){ base + b->sp[i].first, base + b->sp[i].end };
    return LM_OK;
}

lm_status lm_jinja_render(const lm_jinja *t, const json_t *context, const lm_jinja_options *options,
                          lm_str *out, lm_spans *literal, lm_error *err)
{
    static const lm_jinja_options none;
    const lm_jinja_options *o = options ? options : &none;
    lm_status status;
    jj J = { .err = err, .t = (lm_jinja *)(uintptr_t)t, .now = o->now };
    J.max_steps = o->max_steps ? o->max_steps : 10000000;
    J.max_output = o->max_output ? o->max_output : (size_t)64 << 20;
    J.max_depth = o->max_depth ? o->max_depth : 200;
    J.mem.max = J.max_output > SIZE_MAX / 4 ? SIZE_MAX / 2 : J.max_output * 2 + RENDER_ROOM;
    if (load_context(&J, context)) {
        J.root = J.scope = lm_jj_scope(&J, NULL);
        J.out = lm_jj_buf(&J, 0);
        if (J.root && J.out)
            (void)lm_jj_exec(&J, t->body);
    }
    status = J.status == LM_OK ? give(&J, out, literal) : J.status;
    lm_jj_mem_clear(&J.mem);
    return status;
}
