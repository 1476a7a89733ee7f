/* text/jinja_parse.c - tokens to nodes, by recursive descent.
 *
 * The order of precedence is Jinja2's, oddities included: "is" and "|" bind
 * closer than any operator, "~" sits between "+" and "*".  Chains of one
 * precedence become one flat node, so that "a + b + c + …" nests nothing. */
#include <string.h>

#include "text/jinja_int.h"

static jnode *postfix(parser *P, jnode *e);
static jcall *call_args(parser *P);

const jtok *lm_jj_cur(const parser *P)
{
    return &P->tok[P->at];
}

static const jtok *look(const parser *P)
{
    return &P->tok[P->at + 1 < P->n ? P->at + 1 : P->at];
}

const jtok *lm_jj_take(parser *P)
{
    const jtok *t = lm_jj_cur(P);
    if (P->at + 1 < P->n)
        P->at++;
    P->J->line = lm_jj_cur(P)->line;
    return t;
}

static const jname *name_of(const parser *P, uint32_t id)
{
    return &P->J->t->name[id];
}

bool lm_jj_is_word(const parser *P, const jtok *t, const char *word)
{
    const jname *n;
    if (t->kind != T_NAME)
        return false;
    n = name_of(P, t->name);
    return n->n == strlen(word) && memcmp(n->s, word, n->n) == 0;
}

bool lm_jj_at_word(const parser *P, const char *word)
{
    return lm_jj_is_word(P, lm_jj_cur(P), word);
}

bool lm_jj_skip_word(parser *P, const char *word)
{
    if (!lm_jj_at_word(P, word))
        return false;
    (void)lm_jj_take(P);
    return true;
}

bool lm_jj_skip(parser *P, jtok_kind kind)
{
    if (lm_jj_cur(P)->kind != kind)
        return false;
    (void)lm_jj_take(P);
    return true;
}

const char *lm_jj_describe(const parser *P, const jtok *t, lm_quoted_buf *q)
{
    static const char *const text[] = {
        [T_EOF] = "the end of the template",
        [T_DATA] = "text",
        [T_VAR_BEGIN] = "{{",
        [T_VAR_END] = "}}",
        [T_BLOCK_BEGIN] = "{%",
        [T_BLOCK_END] = "%}",
        [T_STRING] = "a string",
        [T_INT] = "a number",
        [T_FLOAT] = "a number",
        [T_ADD] = "+",
        [T_SUB] = "-",
        [T_MUL] = "*",
        [T_DIV] = "/",
        [T_FLOORDIV] = "//",
        [T_MOD] = "%",
        [T_POW] = "**",
        [T_TILDE] = "~",
        [T_EQ] = "==",
        [T_NE] = "!=",
        [T_LT] = "<",
        [T_LTEQ] = "<=",
        [T_GT] = ">",
        [T_GTEQ] = ">=",
        [T_ASSIGN] = "=",
        [T_DOT] = ".",
        [T_COMMA] = ",",
        [T_COLON] = ":",
        [T_SEMICOLON] = ";",
        [T_PIPE] = "|",
        [T_LPAREN] = "(",
        [T_RPAREN] = ")",
        [T_LBRACKET] = "[",
        [T_RBRACKET] = "]",
        [T_LBRACE] = "{",
        [T_RBRACE] = "}",
    };
    if (t->kind == T_NAME)
        return lm_quoted(q, name_of(P, t->name)->s, name_of(P, t->name)->n);
    return text[t->kind] ? text[t->kind] : "?";
}

void *lm_jj_unexpected(parser *P, const char *wanted)
{
    lm_quoted_buf q;
    P->J->line = lm_jj_cur(P)->line;
    (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "expected %s, found '%s'", wanted,
                     lm_jj_describe(P, lm_jj_cur(P), &q));
    return NULL;
}

bool lm_jj_expect(parser *P, jtok_kind kind, const char *wanted)
{
    if (lm_jj_skip(P, kind))
        return true;
    (void)lm_jj_unexpected(P, wanted);
    return false;
}

jnode *lm_jj_node(parser *P, jnode_kind kind)
{
    jnode *n = lm_jj_get(P->J, 1, sizeof *n);
    if (n) {
        n->kind = (uint8_t)kind;
        n->line = lm_jj_cur(P)->line;
    }
    return n;
}

bool lm_jj_add(parser *P, jnode *n, jnode *kid)
{
    size_t cap;
    if (!n || !kid)
        return false;
    cap = n->cap;
    if (!lm_jj_more(P->J, &n->kid, &cap, n->n + 1, sizeof *n->kid))
        return false;
    n->cap = (uint32_t)cap;
    n->kid[n->n++] = kid;
    return true;
}

static bool deeper(parser *P)
{
    if (P->depth >= JJ_MAX_EXPR)
        return lm_jj_fail(P->J, LM_ERR_UNSUPPORTED, "an expression nests deeper than %d levels", JJ_MAX_EXPR);
    P->depth++;
    return true;
}

jv lm_jj_name_value(const parser *P, uint32_t id)
{
    return lm_jj_whole(name_of(P, id)->b);
}

/* ---- expressions ---- */

static jnode *name_node(parser *P, uint32_t id)
{
    jnode *n = lm_jj_node(P, N_NAME);
    unsigned use = id == NAME_varargs ? 1u : id == NAME_kwargs ? 2u : id == NAME_caller ? 4u : 0u;
    if (!n)
        return NULL;
    n->name = id;
    n->v = lm_jj_name_value(P, id);
    for (uint32_t i = 0; use && i < P->n_macros; i++)
        P->macro[i]->flag |= (uint8_t)use;
    return n;
}

static jnode *const_node(parser *P, jv v)
{
    jnode *n = lm_jj_node(P, N_CONST);
    if (n)
        n->v = v;
    return n;
}

static jnode *strings(parser *P)
{
    jv first = lm_jj_take(P)->v;
    jbuf *b;
    if (lm_jj_cur(P)->kind != T_STRING)
        return const_node(P, first);
    b = lm_jj_buf(P->J, first.u.s.n);
    if (!lm_jj_put_str(P->J, b, first))
        return NULL;
    while (lm_jj_cur(P)->kind == T_STRING)
        if (!lm_jj_put_str(P->J, b, lm_jj_take(P)->v))
            return NULL;
    (void)lm_jj_ascii(lm_jj_whole(b));
    b->cap = 0;
    return const_node(P, lm_jj_whole(b));
}

static bool tuple_end(const parser *P, const char *stop)
{
    int k = lm_jj_cur(P)->kind;
    return k == T_VAR_END || k == T_BLOCK_END || k == T_RPAREN || (stop && lm_jj_at_word(P, stop));
}

/* One expression, or several with commas between: a tuple. */
jnode *lm_jj_tuple(parser *P, unsigned flags, const char *stop)
{
    jnode *t = lm_jj_node(P, N_TUPLE);
    bool is_tuple = false;
    if (!t)
        return NULL;
    for (;;) {
        if (t->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        if (tuple_end(P, stop))
            break;
        if (!lm_jj_add(P, t,
                       flags & TUP_TARGET ? lm_jj_primary(P, true) : lm_jj_expression(P, flags & TUP_COND)))
            return NULL;
        if (lm_jj_cur(P)->kind != T_COMMA)
            break;
        is_tuple = true;
    }
    if (!is_tuple && t->n)
        return t->kid[0];
    if (!is_tuple && !(flags & TUP_PAREN))
        return lm_jj_unexpected(P, "an expression");
    return t;
}

static jnode *list(parser *P)
{
    jnode *l = lm_jj_node(P, N_LIST);
    (void)lm_jj_take(P);
    while (l && lm_jj_cur(P)->kind != T_RBRACKET) {
        if (l->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        if (lm_jj_cur(P)->kind == T_RBRACKET)
            break;
        if (!lm_jj_add(P, l, lm_jj_expression(P, true)))
            return NULL;
    }
    return lm_jj_expect(P, T_RBRACKET, "']'") ? l : NULL;
}

static jnode *dict(parser *P)
{
    jnode *d = lm_jj_node(P, N_DICT);
    (void)lm_jj_take(P);
    while (d && lm_jj_cur(P)->kind != T_RBRACE) {
        if (d->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        if (lm_jj_cur(P)->kind == T_RBRACE)
            break;
        if (!lm_jj_add(P, d, lm_jj_expression(P, true)) || !lm_jj_expect(P, T_COLON, "':'") ||
            !lm_jj_add(P, d, lm_jj_expression(P, true)))
            return NULL;
    }
    return lm_jj_expect(P, T_RBRACE, "'}'") ? d : NULL;
}

static jnode *word(parser *P, bool target)
{
    static const struct {
        const char *word;
        jv v;
    } consts[] = { { "true", { .kind = JV_BOOL, .u.i = 1 } },
                   { "True", { .kind = JV_BOOL, .u.i = 1 } },
                   { "false", { .kind = JV_BOOL, .u.i = 0 } },
                   { "False", { .kind = JV_BOOL, .u.i = 0 } },
                   { "none", { .kind = JV_NONE } },
                   { "None", { .kind = JV_NONE } } };
    const jtok *t = lm_jj_take(P);
    for (size_t i = 0; i < LM_LEN(consts); i++)
        if (lm_jj_is_word(P, t, consts[i].word))
            return const_node(P, consts[i].v);
    if (target && lm_jj_skip(P, T_DOT)) {
        jnode *ref = lm_jj_node(P, N_NSREF);
        if (!ref)
            return NULL;
        ref->a = name_node(P, t->name);
        ref->name = lm_jj_cur(P)->name;
        ref->v = lm_jj_cur(P)->kind == T_NAME ? lm_jj_name_value(P, ref->name) : lm_jj_none();
        return lm_jj_expect(P, T_NAME, "a name") ? ref : NULL;
    }
    return name_node(P, t->name);
}

jnode *lm_jj_primary(parser *P, bool target)
{
    jnode *e = NULL;
    if (!deeper(P))
        return NULL;
    switch (lm_jj_cur(P)->kind) {
    case T_NAME: e = word(P, target); break;
    case T_STRING: e = strings(P); break;
    case T_INT:
    case T_FLOAT: e = const_node(P, lm_jj_take(P)->v); break;
    case T_LPAREN:
        (void)lm_jj_take(P);
        e = lm_jj_tuple(P, TUP_PAREN | TUP_COND, NULL);
        if (e && !lm_jj_expect(P, T_RPAREN, "')'"))
            e = NULL;
        break;
    case T_LBRACKET: e = list(P); break;
    case T_LBRACE: e = dict(P); break;
    default: e = lm_jj_unexpected(P, "an expression"); break;
    }
    P->depth--;
    return e;
}

/* One part of what stands between [ and ]. */
static jnode *subscribed(parser *P)
{
    jnode *s = lm_jj_node(P, N_SLICE), *first = NULL;
    if (!s)
        return NULL;
    if (lm_jj_cur(P)->kind != T_COLON) {
        first = lm_jj_expression(P, true);
        if (!first || lm_jj_cur(P)->kind != T_COLON)
            return first;
    }
    (void)lm_jj_take(P);
    s->a = first;
    if (lm_jj_cur(P)->kind != T_COLON && lm_jj_cur(P)->kind != T_RBRACKET && lm_jj_cur(P)->kind != T_COMMA &&
        !(s->b = lm_jj_expression(P, true)))
        return NULL;
    if (lm_jj_skip(P, T_COLON) && lm_jj_cur(P)->kind != T_RBRACKET && lm_jj_cur(P)->kind != T_COMMA &&
        !(s->c = lm_jj_expression(P, true)))
        return NULL;
    return s;
}

static jnode *subscript(parser *P, jnode *e)
{
    jnode *n = lm_jj_node(P, N_ITEM);
    if (!n)
        return NULL;
    n->a = e;
    if (lm_jj_take(P)->kind == T_DOT) {
        const jtok *t = lm_jj_take(P);
        if (t->kind == T_NAME) {
            n->kind = N_ATTR;
            n->name = t->name;
            n->v = lm_jj_name_value(P, t->name);
            return n;
        }
        P->at--;
        if (t->kind != T_INT)
            return lm_jj_unexpected(P, "a name or a number");
        (void)lm_jj_take(P);
        n->b = const_node(P, t->v);
        return n->b ? n : NULL;
    }
    jnode *t = lm_jj_node(P, N_TUPLE);
    while (t && lm_jj_cur(P)->kind != T_RBRACKET) {
        if (t->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        if (!lm_jj_add(P, t, subscribed(P)))
            return NULL;
    }
    if (!t || !lm_jj_expect(P, T_RBRACKET, "']'"))
        return NULL;
    n->b = t->n == 1 ? t->kid[0] : t;
    return n;
}

static jnode *call(parser *P, jnode *e)
{
    jnode *n = lm_jj_node(P, N_CALL);
    if (!n)
        return NULL;
    n->a = e;
    n->call = call_args(P);
    return n->call ? n : NULL;
}

static jnode *postfix(parser *P, jnode *e)
{
    while (e) {
        int k = lm_jj_cur(P)->kind;
        if (k == T_DOT || k == T_LBRACKET)
            e = subscript(P, e);
        else if (k == T_LPAREN)
            e = call(P, e);
        else
            break;
    }
    return e;
}

static jcall *call_args(parser *P)
{
    jcall *c = lm_jj_get(P->J, 1, sizeof *c);
    size_t cap = 0, cap_kw = 0, cap_name = 0;
    bool comma = false;
    if (!c || !lm_jj_expect(P, T_LPAREN, "'('"))
        return NULL;
    while (lm_jj_cur(P)->kind != T_RPAREN) {
        bool ok = true;
        jnode *e;
        if (comma && !lm_jj_expect(P, T_COMMA, "',' or ')'"))
            return NULL;
        if (comma && lm_jj_cur(P)->kind == T_RPAREN)
            break;
        comma = true;
        if (lm_jj_skip(P, T_MUL)) {
            ok = !c->star && !c->dstar && (c->star = lm_jj_expression(P, true));
        } else if (lm_jj_skip(P, T_POW)) {
            ok = !c->dstar && (c->dstar = lm_jj_expression(P, true));
        } else if (lm_jj_cur(P)->kind == T_NAME && look(P)->kind == T_ASSIGN) {
            uint32_t id = lm_jj_take(P)->name;
            (void)lm_jj_take(P);
            ok = !c->dstar && (e = lm_jj_expression(P, true)) &&
                 lm_jj_more(P->J, &c->kw, &cap_kw, c->n_kw + 1, sizeof *c->kw) &&
                 lm_jj_more(P->J, &c->kw_name, &cap_name, c->n_kw + 1, sizeof *c->kw_name);
            for (uint32_t i = 0; ok && i < c->n_kw; i++)
                ok = c->kw_name[i] != id;
            if (ok) {
                c->kw_name[c->n_kw] = id;
                c->kw[c->n_kw++] = e;
            }
        } else {
            ok = !c->star && !c->dstar && !c->n_kw && (e = lm_jj_expression(P, true)) &&
                 lm_jj_more(P->J, &c->pos, &cap, c->n + 1, sizeof *c->pos);
            if (ok)
                c->pos[c->n++] = e;
        }
        if (!ok) {
            (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "the arguments of a call are out of order");
            return NULL;
        }
    }
    (void)lm_jj_take(P);
    return c;
}

/* A name with dots, as filters and tests may have; interned. */
static bool dotted(parser *P, uint32_t *id)
{
    const jtok *t = lm_jj_cur(P);
    lm_quoted_buf q;
    if (!lm_jj_expect(P, T_NAME, "a name"))
        return false;
    *id = t->name;
    if (lm_jj_cur(P)->kind == T_DOT)
        return lm_jj_fail(P->J, LM_ERR_CORRUPT, "there is no filter or test '%s.…'",
                          lm_quoted(&q, name_of(P, t->name)->s, name_of(P, t->name)->n));
    return true;
}

/* An unknown filter or test refuses the template, unless it stands in a branch:
 * then it fails when it is reached. */
static void check_known(parser *P, const jnode *n)
{
    if (!n->fn && !P->soft && !P->unknown)
        P->unknown = n;
}

/* "| name(args)" …; e is NULL for filter blocks and set blocks. */
jnode *lm_jj_filters(parser *P, jnode *e, bool inline_)
{
    while (lm_jj_cur(P)->kind == T_PIPE || inline_) {
        jnode *f = lm_jj_node(P, N_FILTER);
        if (!inline_)
            (void)lm_jj_take(P);
        inline_ = false;
        if (!f || !dotted(P, &f->name))
            return NULL;
        f->a = e;
        f->v = lm_jj_name_value(P, f->name);
        f->fn = lm_jj_filter_find(name_of(P, f->name)->s, name_of(P, f->name)->n);
        f->call = lm_jj_cur(P)->kind == T_LPAREN ? call_args(P) : lm_jj_get(P->J, 1, sizeof *f->call);
        if (!f->call)
            return NULL;
        check_known(P, f);
        e = f;
    }
    return e;
}

static jnode *test(parser *P, jnode *e)
{
    jnode *t = lm_jj_node(P, N_TEST), *not_ = NULL;
    (void)lm_jj_take(P);
    if (!t || (lm_jj_at_word(P, "not") && !(not_ = lm_jj_node(P, N_NOT))))
        return NULL;
    if (not_)
        (void)lm_jj_take(P);
    if (!dotted(P, &t->name))
        return NULL;
    t->a = e;
    t->v = lm_jj_name_value(P, t->name);
    t->fn = lm_jj_test_find(name_of(P, t->name)->s, name_of(P, t->name)->n);
    t->call = lm_jj_cur(P)->kind == T_LPAREN ? call_args(P) : lm_jj_get(P->J, 1, sizeof *t->call);
    if (!t->call)
        return NULL;
    int k = lm_jj_cur(P)->kind;
    bool one =
        t->call->n == 0 && P->tok[P->at - 1].kind != T_RPAREN &&
        (k == T_NAME || k == T_STRING || k == T_INT || k == T_FLOAT || k == T_LBRACKET || k == T_LBRACE) &&
        !lm_jj_at_word(P, "else") && !lm_jj_at_word(P, "or") && !lm_jj_at_word(P, "and");
    if (one) {
        size_t cap = 0;
        if (lm_jj_at_word(P, "is"))
            return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "tests cannot be chained with 'is'"), NULL;
        jnode *arg = postfix(P, lm_jj_primary(P, false));
        if (!arg || !lm_jj_more(P->J, &t->call->pos, &cap, 1, sizeof *t->call->pos))
            return NULL;
        t->call->pos[t->call->n++] = arg;
    }
    check_known(P, t);
    if (not_)
        not_->a = t;
    return not_ ? not_ : t;
}

static jnode *unary(parser *P, bool with_filter)
{
    int k = lm_jj_cur(P)->kind;
    jnode *e;
    if (!deeper(P))
        return NULL;
    if (k == T_SUB || k == T_ADD) {
        e = lm_jj_node(P, k == T_SUB ? N_NEG : N_POS);
        (void)lm_jj_take(P);
        if (e && !(e->a = unary(P, false)))
            e = NULL;
    } else {
        e = lm_jj_primary(P, false);
    }
    e = postfix(P, e);
    while (e && with_filter) {
        if (lm_jj_cur(P)->kind == T_PIPE)
            e = lm_jj_filters(P, e, false);
        else if (lm_jj_at_word(P, "is"))
            e = test(P, e);
        else if (lm_jj_cur(P)->kind == T_LPAREN)
            e = call(P, e);
        else
            break;
    }
    P->depth--;
    return e;
}

/* Levels of left-associative chains, loosest first. */
enum { LV_OR, LV_AND, LV_NOT, LV_COMPARE, LV_ADD, LV_CONCAT, LV_MUL, LV_POW, LV_UNARY };

/* The operator of `level` at the current token, taken; 0: none. */
static int operator_at(parser *P, int level)
{
    int k = lm_jj_cur(P)->kind;
    bool yes = false;
    switch (level) {
    case LV_OR: yes = lm_jj_at_word(P, "or"); break;
    case LV_AND: yes = lm_jj_at_word(P, "and"); break;
    case LV_COMPARE:
        if (lm_jj_at_word(P, "in")) {
            k = T_IN;
            yes = true;
        } else if (lm_jj_at_word(P, "not") && lm_jj_is_word(P, look(P), "in")) {
            (void)lm_jj_take(P);
            k = T_NOTIN;
            yes = true;
        } else {
            yes = k >= T_EQ && k <= T_GTEQ;
        }
        break;
    case LV_ADD: yes = k == T_ADD || k == T_SUB; break;
    case LV_CONCAT: yes = k == T_TILDE; break;
    case LV_MUL: yes = k == T_MUL || k == T_DIV || k == T_FLOORDIV || k == T_MOD; break;
    case LV_POW: yes = k == T_POW; break;
    default: break;
    }
    if (!yes)
        return 0;
    (void)lm_jj_take(P);
    return k ? k : 1;
}

static jnode *chain(parser *P, int level)
{
    static const uint8_t kinds[] = { N_OR, N_AND, N_NOT, N_COMPARE, N_MATH, N_CONCAT, N_MATH, N_MATH };
    jnode *first, *n = NULL;
    size_t cap_op = 0;
    int op;
    if (level == LV_NOT && lm_jj_at_word(P, "not")) {
        jnode *e = lm_jj_node(P, N_NOT);
        (void)lm_jj_take(P);
        if (!e || !deeper(P))
            return NULL;
        e->a = chain(P, LV_NOT);
        P->depth--;
        return e->a ? e : NULL;
    }
    if (level == LV_UNARY)
        return unary(P, true);
    first = chain(P, level + 1);
    while (first && (op = operator_at(P, level)) != 0) {
        if (!n) {
            n = lm_jj_node(P, (jnode_kind)kinds[level]);
            if (!lm_jj_add(P, n, first))
                return NULL;
        }
        if (!lm_jj_more(P->J, &n->op, &cap_op, n->n, 1))
            return NULL;
        n->op[n->n - 1] = (uint8_t)op;
        if (!lm_jj_add(P, n, chain(P, level + 1)))
            return NULL;
    }
    return n ? n : first;
}

jnode *lm_jj_expression(parser *P, bool cond)
{
    jnode *e;
    bool soft = P->soft;
    const jnode *unknown = P->unknown;
    if (!deeper(P))
        return NULL;
    e = chain(P, LV_OR);
    while (e && cond && lm_jj_at_word(P, "if")) {
        jnode *c = lm_jj_node(P, N_COND);
        (void)lm_jj_take(P);
        P->soft = true;
        P->unknown = unknown; /* what was in front of "if" is a branch too */
        if (!c || !(c->b = chain(P, LV_OR)))
            return NULL;
        if (lm_jj_skip_word(P, "else") && !(c->c = lm_jj_expression(P, true)))
            return NULL;
        P->soft = soft;
        c->a = e;
        e = c;
    }
    P->depth--;
    return e;
}
