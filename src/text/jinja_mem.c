/* text/jinja_mem.c - the region, failures, step counting, and buffers that know
 * where their bytes came from. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_int.h"

struct jchunk {
    jchunk *next;
    size_t n, used;
    _Alignas(16) unsigned char bytes[];
};

bool lm_jj_fail(jj *J, lm_status status, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    if (J->status != LM_OK)
        return false;
    J->status = status;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (J->line)
        (void)lm_fail(J->err, status, "template line %u: %s", J->line, text);
    else
        (void)lm_fail(J->err, status, "template: %s", text);
    return false;
}

static void *new_chunk(jj *J, size_t bytes)
{
    jmem *m = &J->mem;
    size_t n = m->total < 4096 ? 4096 : m->total < (1u << 20) ? m->total : (1u << 20);
    jchunk *c = NULL;
    if (n < bytes)
        n = bytes;
    if (bytes > m->max || m->total > m->max - bytes) {
        (void)lm_jj_fail(J, LM_ERR_UNSUPPORTED,
                         "the template needs more than the %zu bytes of memory allowed", m->max);
        return NULL;
    }
    if (lm_new((void **)&c, 1, sizeof *c + n, NULL) != LM_OK) {
        (void)lm_jj_fail(J, LM_ERR_NOMEM, "cannot get %zu bytes of memory", n);
        return NULL;
    }
    c->n = n;
    m->total += n;
    /* A large piece of its own goes behind the chunk that still has room. */
    if (m->top && n == bytes && m->top->n - m->top->used > 1024) {
        c->next = m->top->next;
        m->top->next = c;
        c->used = n;
        return c->bytes;
    }
    c->next = m->top;
    m->top = c;
    c->used = bytes;
    return c->bytes;
}

void *lm_jj_get(jj *J, size_t n, size_t size)
{
    size_t bytes;
    void *p;
    if (J->status != LM_OK)
        return NULL;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4) {
        (void)lm_jj_fail(J, LM_ERR_UNSUPPORTED, "%zu x %zu bytes are more than a template may use", n, size);
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    if (J->mem.top && J->mem.top->n - J->mem.top->used >= bytes) {
        p = J->mem.top->bytes + J->mem.top->used;
        J->mem.top->used += bytes;
    } else {
        p = new_chunk(J, bytes);
        if (!p)
            return NULL;
    }
    J->mem.last = p;
    J->mem.last_n = bytes;
    return p;
}

/* Grows in place when the piece is the newest of its chunk. */
static bool stretch(jj *J, void *p, size_t bytes)
{
    jmem *m = &J->mem;
    jchunk *c = m->top;
    if (!p || p != m->last || !c || (unsigned char *)p + m->last_n != c->bytes + c->used)
        return false;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes - m->last_n > c->n - c->used)
        return false;
    c->used += bytes - m->last_n;
    m->last_n = bytes;
    return true;
}

bool lm_jj_more(jj *J, void *items, size_t *cap, size_t need, size_t size)
{
    void **io = items;
    size_t want = *cap < 4 ? 4 : *cap * 2;
    if (need <= *cap)
        return true;
    if (want < need)
        want = need;
    if (want > SIZE_MAX / 4 / size)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "%zu x %zu bytes are more than a template may use", want,
                          size);
    if (*cap && stretch(J, *io, want * size)) {
        *cap = want;
        return true;
    }
    void *p = lm_jj_get(J, want, size);
    if (!p)
        return false;
    if (*cap)
        memcpy(p, *io, *cap * size);
    *io = p;
    *cap = want;
    return true;
}

void lm_jj_mem_clear(jmem *m)
{
    while (m->top) {
        jchunk *next = m->top->next;
        lm_free(m->top);
        m->top = next;
    }
    *m = (jmem){ 0 };
}

bool lm_jj_charge(jj *J, uint64_t steps)
{
    J->steps += steps;
    if (J->max_steps && J->steps > J->max_steps)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "stopped after the %llu steps that a template may take",
                          (unsigned long long)J->max_steps);
    return true;
}

bool lm_jj_enter(jj *J)
{
    if (J->depth >= J->max_depth)
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "nested deeper than the %u levels allowed", J->max_depth);
    J->depth++;
    return lm_jj_charge(J, 1);
}

jbuf *lm_jj_buf(jj *J, size_t n)
{
    jbuf *b = lm_jj_get(J, 1, sizeof *b);
    if (!b)
        return NULL;
    if (J->max_output && n > J->max_output) {
        (void)lm_jj_fail(J, LM_ERR_UNSUPPORTED, "a text of %zu bytes, allowed are %zu", n, J->max_output);
        return NULL;
    }
    b->cap = n < 16 ? 16 : n;
    b->p = lm_jj_get(J, b->cap, 1);
    return b->p ? b : NULL;
}

static bool mark(jj *J, jbuf *b, size_t first, size_t end)
{
    if (b->n_sp && b->sp[b->n_sp - 1].end == first) {
        b->sp[b->n_sp - 1].end = end;
        return true;
    }
    if (!lm_jj_more(J, &b->sp, &b->cap_sp, b->n_sp + 1, sizeof *b->sp))
        return false;
    b->sp[b->n_sp++] = (lm_span){ first, end };
    return true;
}

bool lm_jj_put(jj *J, jbuf *b, const char *s, size_t n, bool derived)
{
    size_t need;
    if (!b || J->status != LM_OK)
        return false;
    if (n == 0)
        return true;
    if (__builtin_add_overflow(b->used, n, &need) || (J->max_output && need > J->max_output))
        return lm_jj_fail(J, LM_ERR_UNSUPPORTED, "the text grows past the %zu bytes allowed", J->max_output);
    if (n > 256 && !lm_jj_charge(J, n / 256))
        return false;
    if (!lm_jj_more(J, &b->p, &b->cap, need, 1))
        return false;
    memcpy(b->p + b->used, s, n);
    b->used = need;
    return !derived || mark(J, b, need - n, need);
}

bool lm_jj_putz(jj *J, jbuf *b, const char *s)
{
    return lm_jj_put(J, b, s, strlen(s), false);
}

bool lm_jj_putu(jj *J, jbuf *b, uint32_t cp, bool derived)
{
    char u[4];
    return lm_jj_put(J, b, u, lm_utf8_put(cp, u), derived);
}

/* The first span that ends after byte `at` of the buffer. */
static size_t span_after(const jbuf *b, size_t at)
{
    size_t lo = 0, hi = b->n_sp;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (b->sp[mid].end > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

bool lm_jj_run(jv s, size_t at, size_t *end)
{
    const jbuf *b = s.u.s.b;
    size_t stop = s.u.s.at + s.u.s.n, i;
    *end = s.u.s.n;
    if (b->all || b->n_sp == 0)
        return b->all;
    at += s.u.s.at;
    i = span_after(b, at);
    if (i == b->n_sp)
        return false;
    if (b->sp[i].first > at) {
        if (b->sp[i].first < stop)
            *end = b->sp[i].first - s.u.s.at;
        return false;
    }
    if (b->sp[i].end < stop)
        *end = b->sp[i].end - s.u.s.at;
    return true;
}

bool lm_jj_put_str(jj *J, jbuf *b, jv s)
{
    size_t at = 0, end;
    if (!b)
        return false;
    while (at < s.u.s.n) {
        bool derived = lm_jj_run(s, at, &end);
        if (!lm_jj_put(J, b, lm_jj_p(s) + at, end - at, derived))
            return false;
        at = end;
    }
    return true;
}

jv lm_jj_whole(jbuf *b)
{
    return (jv){ .kind = JV_STR, .u.s = { b, 0, b->used } };
}

jbuf *lm_jj_borrow(jj *J, const char *s, size_t n, bool derived)
{
    jbuf *b = lm_jj_get(J, 1, sizeof *b);
    if (b) {
        /* cap 0: nothing is ever written through this pointer. */
        b->p = (char *)(uintptr_t)s;
        b->used = n;
        b->all = derived;
    }
    return b;
}

jv lm_jj_strz(jj *J, const char *s)
{
    jbuf *b = lm_jj_borrow(J, s, strlen(s), false);
    return b ? lm_jj_whole(b) : lm_jj_none();
}

/* ---- interned names ---- */

static bool rehash(jj *J)
{
    lm_jinja *t = J->t;
    size_t n = t->n_slot ? t->n_slot * 2 : 64;
    uint32_t *slot = lm_jj_get(J, n, sizeof *slot);
    if (!slot)
        return false;
    for (size_t i = 0; i < t->n_names; i++) {
        size_t at = (size_t)lm_xxh64(t->name[i].s, t->name[i].n, 0) & (n - 1);
        while (slot[at])
            at = (at + 1) & (n - 1);
        slot[at] = (uint32_t)i + 1;
    }
    t->slot = slot;
    t->n_slot = n;
    return true;
}

uint32_t lm_jj_intern(jj *J, const char *s, size_t n)
{
    lm_jinja *t = J->t;
    size_t at;
    char *copy;
    if (t->n_names * 2 >= t->n_slot && !rehash(J))
        return 0;
    at = (size_t)lm_xxh64(s, n, 0) & (t->n_slot - 1);
    for (; t->slot[at]; at = (at + 1) & (t->n_slot - 1)) {
        const jname *have = &t->name[t->slot[at] - 1];
        if (have->n == n && memcmp(have->s, s, n) == 0)
            return t->slot[at] - 1;
    }
    copy = lm_jj_get(J, n + 1, 1);
    if (!copy || !lm_jj_more(J, &t->name, &t->cap_names, t->n_names + 1, sizeof *t->name))
        return 0;
    memcpy(copy, s, n);
    t->name[t->n_names] = (jname){ copy, n, lm_jj_borrow(J, copy, n, false) };
    if (t->name[t->n_names].b)
        (void)lm_jj_ascii(lm_jj_whole(t->name[t->n_names].b)); /* scanned now: read-only later */
    t->slot[at] = (uint32_t)++t->n_names;
    return (uint32_t)t->n_names - 1;
}
