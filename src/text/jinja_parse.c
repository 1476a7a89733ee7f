/* text/jinja_parse.c - tokens to nodes, by recursive descent.
 *
 * The order of precedence is Jinja2's, oddities included: "is" and "|" bind
 * closer than any operator, "~" sits between "+" and "*".  Chains of one
 * precedence become one flat node, so that "a + b + c + …" nests nothing. */
#include <string.h>

#include "text/jinja_int.h"

typedef struct {
    jj *J;
    const jtok *tok;
    size_t at, n;
    uint32_t blocks, depth; /* nesting of statements and of expressions */
    uint32_t loops;         /* for statements around, inside this function body */
    bool soft;              /* inside a branch */
    const jnode *unknown;   /* first unknown filter or test outside branches */
    jnode *macro[JJ_MAX_BLOCKS];
    uint32_t n_macros;
} parser;

static jnode *expression(parser *P, bool cond);
static jnode *statements(parser *P, const char *const *ends);
static jnode *postfix(parser *P, jnode *e);
static jnode *primary(parser *P, bool target);
static jcall *call_args(parser *P);

static const jtok *cur(const parser *P)
{
    return &P->tok[P->at];
}

static const jtok *look(const parser *P)
{
    return &P->tok[P->at + 1 < P->n ? P->at + 1 : P->at];
}

static const jtok *next(parser *P)
{
    const jtok *t = cur(P);
    if (P->at + 1 < P->n)
        P->at++;
    P->J->line = cur(P)->line;
    return t;
}

static const jname *name_of(const parser *P, uint32_t id)
{
    return &P->J->t->name[id];
}

static bool is_word(const parser *P, const jtok *t, const char *word)
{
    const jname *n;
    if (t->kind != T_NAME)
        return false;
    n = name_of(P, t->name);
    return n->n == strlen(word) && memcmp(n->s, word, n->n) == 0;
}

static bool at_word(const parser *P, const char *word)
{
    return is_word(P, cur(P), word);
}

static bool skip_word(parser *P, const char *word)
{
    if (!at_word(P, word))
        return false;
    (void)next(P);
    return true;
}

static bool skip(parser *P, jtok_kind kind)
{
    if (cur(P)->kind != kind)
        return false;
    (void)next(P);
    return true;
}

static const char *describe(const parser *P, const jtok *t, lm_quoted_buf *q)
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

static void *unexpected(parser *P, const char *wanted)
{
    lm_quoted_buf q;
    P->J->line = cur(P)->line;
    (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "expected %s, found '%s'", wanted, describe(P, cur(P), &q));
    return NULL;
}

static bool expect(parser *P, jtok_kind kind, const char *wanted)
{
    if (skip(P, kind))
        return true;
    (void)unexpected(P, wanted);
    return false;
}

static jnode *node(parser *P, jnode_kind kind)
{
    jnode *n = lm_jj_get(P->J, 1, sizeof *n);
    if (n) {
        n->kind = (uint8_t)kind;
        n->line = cur(P)->line;
    }
    return n;
}

static bool add(parser *P, jnode *n, jnode *kid)
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

static jv name_value(const parser *P, uint32_t id)
{
    return lm_jj_whole(name_of(P, id)->b);
}

/* ---- expressions ---- */

static jnode *name_node(parser *P, uint32_t id)
{
    jnode *n = node(P, N_NAME);
    unsigned use = id == NAME_varargs ? 1u : id == NAME_kwargs ? 2u : id == NAME_caller ? 4u : 0u;
    if (!n)
        return NULL;
    n->name = id;
    n->v = name_value(P, id);
    for (uint32_t i = 0; use && i < P->n_macros; i++)
        P->macro[i]->flag |= (uint8_t)use;
    return n;
}

static jnode *const_node(parser *P, jv v)
{
    jnode *n = node(P, N_CONST);
    if (n)
        n->v = v;
    return n;
}

static jnode *strings(parser *P)
{
    jv first = next(P)->v;
    jbuf *b;
    if (cur(P)->kind != T_STRING)
        return const_node(P, first);
    b = lm_jj_buf(P->J, first.u.s.n);
    if (!lm_jj_put_str(P->J, b, first))
        return NULL;
    while (cur(P)->kind == T_STRING)
        if (!lm_jj_put_str(P->J, b, next(P)->v))
            return NULL;
    (void)lm_jj_ascii(lm_jj_whole(b));
    b->cap = 0;
    return const_node(P, lm_jj_whole(b));
}

static bool tuple_end(const parser *P, const char *stop)
{
    int k = cur(P)->kind;
    return k == T_VAR_END || k == T_BLOCK_END || k == T_RPAREN || (stop && at_word(P, stop));
}

enum { TUP_COND = 1, TUP_PAREN = 2, TUP_TARGET = 4 };

/* One expression, or several with commas between: a tuple. */
static jnode *tuple(parser *P, unsigned flags, const char *stop)
{
    jnode *t = node(P, N_TUPLE);
    bool is_tuple = false;
    if (!t)
        return NULL;
    for (;;) {
        if (t->n && !expect(P, T_COMMA, "','"))
            return NULL;
        if (tuple_end(P, stop))
            break;
        if (!add(P, t, flags & TUP_TARGET ? primary(P, true) : expression(P, flags & TUP_COND)))
            return NULL;
        if (cur(P)->kind != T_COMMA)
            break;
        is_tuple = true;
    }
    if (!is_tuple && t->n)
        return t->kid[0];
    if (!is_tuple && !(flags & TUP_PAREN))
        return unexpected(P, "an expression");
    return t;
}

static jnode *list(parser *P)
{
    jnode *l = node(P, N_LIST);
    (void)next(P);
    while (l && cur(P)->kind != T_RBRACKET) {
        if (l->n && !expect(P, T_COMMA, "','"))
            return NULL;
        if (cur(P)->kind == T_RBRACKET)
            break;
        if (!add(P, l, expression(P, true)))
            return NULL;
    }
    return expect(P, T_RBRACKET, "']'") ? l : NULL;
}

static jnode *dict(parser *P)
{
    jnode *d = node(P, N_DICT);
    (void)next(P);
    while (d && cur(P)->kind != T_RBRACE) {
        if (d->n && !expect(P, T_COMMA, "','"))
            return NULL;
        if (cur(P)->kind == T_RBRACE)
            break;
        if (!add(P, d, expression(P, true)) || !expect(P, T_COLON, "':'") || !add(P, d, expression(P, true)))
            return NULL;
    }
    return expect(P, T_RBRACE, "'}'") ? d : NULL;
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
    const jtok *t = next(P);
    for (size_t i = 0; i < LM_LEN(consts); i++)
        if (is_word(P, t, consts[i].word))
            return const_node(P, consts[i].v);
    if (target && skip(P, T_DOT)) {
        jnode *ref = node(P, N_NSREF);
        if (!ref)
            return NULL;
        ref->a = name_node(P, t->name);
        ref->name = cur(P)->name;
        ref->v = cur(P)->kind == T_NAME ? name_value(P, ref->name) : lm_jj_none();
        return expect(P, T_NAME, "a name") ? ref : NULL;
    }
    return name_node(P, t->name);
}

static jnode *primary(parser *P, bool target)
{
    jnode *e = NULL;
    if (!deeper(P))
        return NULL;
    switch (cur(P)->kind) {
    case T_NAME: e = word(P, target); break;
    case T_STRING: e = strings(P); break;
    case T_INT:
    case T_FLOAT: e = const_node(P, next(P)->v); break;
    case T_LPAREN:
        (void)next(P);
        e = tuple(P, TUP_PAREN | TUP_COND, NULL);
        if (e && !expect(P, T_RPAREN, "')'"))
            e = NULL;
        break;
    case T_LBRACKET: e = list(P); break;
    case T_LBRACE: e = dict(P); break;
    default: e = unexpected(P, "an expression"); break;
    }
    P->depth--;
    return e;
}

/* One part of what stands between [ and ]. */
static jnode *subscribed(parser *P)
{
    jnode *s = node(P, N_SLICE), *first = NULL;
    if (!s)
        return NULL;
    if (cur(P)->kind != T_COLON) {
        first = expression(P, true);
        if (!first || cur(P)->kind != T_COLON)
            return first;
    }
    (void)next(P);
    s->a = first;
    if (cur(P)->kind != T_COLON && cur(P)->kind != T_RBRACKET && cur(P)->kind != T_COMMA &&
        !(s->b = expression(P, true)))
        return NULL;
    if (skip(P, T_COLON) && cur(P)->kind != T_RBRACKET && cur(P)->kind != T_COMMA &&
        !(s->c = expression(P, true)))
        return NULL;
    return s;
}

static jnode *subscript(parser *P, jnode *e)
{
    jnode *n = node(P, N_ITEM);
    if (!n)
        return NULL;
    n->a = e;
    if (next(P)->kind == T_DOT) {
        const jtok *t = next(P);
        if (t->kind == T_NAME) {
            n->kind = N_ATTR;
            n->name = t->name;
            n->v = name_value(P, t->name);
            return n;
        }
        P->at--;
        if (t->kind != T_INT)
            return unexpected(P, "a name or a number");
        (void)next(P);
        n->b = const_node(P, t->v);
        return n->b ? n : NULL;
    }
    jnode *t = node(P, N_TUPLE);
    while (t && cur(P)->kind != T_RBRACKET) {
        if (t->n && !expect(P, T_COMMA, "','"))
            return NULL;
        if (!add(P, t, subscribed(P)))
            return NULL;
    }
    if (!t || !expect(P, T_RBRACKET, "']'"))
        return NULL;
    n->b = t->n == 1 ? t->kid[0] : t;
    return n;
}

static jnode *call(parser *P, jnode *e)
{
    jnode *n = node(P, N_CALL);
    if (!n)
        return NULL;
    n->a = e;
    n->call = call_args(P);
    return n->call ? n : NULL;
}

static jnode *postfix(parser *P, jnode *e)
{
    while (e) {
        int k = cur(P)->kind;
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
    if (!c || !expect(P, T_LPAREN, "'('"))
        return NULL;
    while (cur(P)->kind != T_RPAREN) {
        bool ok = true;
        jnode *e;
        if (comma && !expect(P, T_COMMA, "',' or ')'"))
            return NULL;
        if (comma && cur(P)->kind == T_RPAREN)
            break;
        comma = true;
        if (skip(P, T_MUL)) {
            ok = !c->star && !c->dstar && (c->star = expression(P, true));
        } else if (skip(P, T_POW)) {
            ok = !c->dstar && (c->dstar = expression(P, true));
        } else if (cur(P)->kind == T_NAME && look(P)->kind == T_ASSIGN) {
            uint32_t id = next(P)->name;
            (void)next(P);
            ok = !c->dstar && (e = expression(P, true)) &&
                 lm_jj_more(P->J, &c->kw, &cap_kw, c->n_kw + 1, sizeof *c->kw) &&
                 lm_jj_more(P->J, &c->kw_name, &cap_name, c->n_kw + 1, sizeof *c->kw_name);
            for (uint32_t i = 0; ok && i < c->n_kw; i++)
                ok = c->kw_name[i] != id;
            if (ok) {
                c->kw_name[c->n_kw] = id;
                c->kw[c->n_kw++] = e;
            }
        } else {
            ok = !c->star && !c->dstar && !c->n_kw && (e = expression(P, true)) &&
                 lm_jj_more(P->J, &c->pos, &cap, c->n + 1, sizeof *c->pos);
            if (ok)
                c->pos[c->n++] = e;
        }
        if (!ok) {
            (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "the arguments of a call are out of order");
            return NULL;
        }
    }
    (void)next(P);
    return c;
}

/* A name with dots, as filters and tests may have; interned. */
static bool dotted(parser *P, uint32_t *id)
{
    const jtok *t = cur(P);
    lm_quoted_buf q;
    if (!expect(P, T_NAME, "a name"))
        return false;
    *id = t->name;
    if (cur(P)->kind == T_DOT)
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
static jnode *filters(parser *P, jnode *e, bool inline_)
{
    while (cur(P)->kind == T_PIPE || inline_) {
        jnode *f = node(P, N_FILTER);
        if (!inline_)
            (void)next(P);
        inline_ = false;
        if (!f || !dotted(P, &f->name))
            return NULL;
        f->a = e;
        f->v = name_value(P, f->name);
        f->fn = lm_jj_filter_find(name_of(P, f->name)->s, name_of(P, f->name)->n);
        f->call = cur(P)->kind == T_LPAREN ? call_args(P) : lm_jj_get(P->J, 1, sizeof *f->call);
        if (!f->call)
            return NULL;
        check_known(P, f);
        e = f;
    }
    return e;
}

static jnode *test(parser *P, jnode *e)
{
    jnode *t = node(P, N_TEST), *not_ = NULL;
    (void)next(P);
    if (!t || (at_word(P, "not") && !(not_ = node(P, N_NOT))))
        return NULL;
    if (not_)
        (void)next(P);
    if (!dotted(P, &t->name))
        return NULL;
    t->a = e;
    t->v = name_value(P, t->name);
    t->fn = lm_jj_test_find(name_of(P, t->name)->s, name_of(P, t->name)->n);
    t->call = cur(P)->kind == T_LPAREN ? call_args(P) : lm_jj_get(P->J, 1, sizeof *t->call);
    if (!t->call)
        return NULL;
    int k = cur(P)->kind;
    bool one =
        t->call->n == 0 && P->tok[P->at - 1].kind != T_RPAREN &&
        (k == T_NAME || k == T_STRING || k == T_INT || k == T_FLOAT || k == T_LBRACKET || k == T_LBRACE) &&
        !at_word(P, "else") && !at_word(P, "or") && !at_word(P, "and");
    if (one) {
        size_t cap = 0;
        if (at_word(P, "is"))
            return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "tests cannot be chained with 'is'"), NULL;
        jnode *arg = postfix(P, primary(P, false));
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
    int k = cur(P)->kind;
    jnode *e;
    if (!deeper(P))
        return NULL;
    if (k == T_SUB || k == T_ADD) {
        e = node(P, k == T_SUB ? N_NEG : N_POS);
        (void)next(P);
        if (e && !(e->a = unary(P, false)))
            e = NULL;
    } else {
        e = primary(P, false);
    }
    e = postfix(P, e);
    while (e && with_filter) {
        if (cur(P)->kind == T_PIPE)
            e = filters(P, e, false);
        else if (at_word(P, "is"))
            e = test(P, e);
        else if (cur(P)->kind == T_LPAREN)
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
    int k = cur(P)->kind;
    bool yes = false;
    switch (level) {
    case LV_OR: yes = at_word(P, "or"); break;
    case LV_AND: yes = at_word(P, "and"); break;
    case LV_COMPARE:
        if (at_word(P, "in")) {
            k = T_IN;
            yes = true;
        } else if (at_word(P, "not") && is_word(P, look(P), "in")) {
            (void)next(P);
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
    (void)next(P);
    return k ? k : 1;
}

static jnode *chain(parser *P, int level)
{
    static const uint8_t kinds[] = { N_OR, N_AND, N_NOT, N_COMPARE, N_MATH, N_CONCAT, N_MATH, N_MATH };
    jnode *first, *n = NULL;
    size_t cap_op = 0;
    int op;
    if (level == LV_NOT && at_word(P, "not")) {
        jnode *e = node(P, N_NOT);
        (void)next(P);
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
            n = node(P, (jnode_kind)kinds[level]);
            if (!add(P, n, first))
                return NULL;
        }
        if (!lm_jj_more(P->J, &n->op, &cap_op, n->n, 1))
            return NULL;
        n->op[n->n - 1] = (uint8_t)op;
        if (!add(P, n, chain(P, level + 1)))
            return NULL;
    }
    return n ? n : first;
}

static jnode *expression(parser *P, bool cond)
{
    jnode *e;
    bool soft = P->soft;
    const jnode *unknown = P->unknown;
    if (!deeper(P))
        return NULL;
    e = chain(P, LV_OR);
    while (e && cond && at_word(P, "if")) {
        jnode *c = node(P, N_COND);
        (void)next(P);
        P->soft = true;
        P->unknown = unknown; /* what was in front of "if" is a branch too */
        if (!c || !(c->b = chain(P, LV_OR)))
            return NULL;
        if (skip_word(P, "else") && !(c->c = expression(P, true)))
            return NULL;
        P->soft = soft;
        c->a = e;
        e = c;
    }
    P->depth--;
    return e;
}

/* ---- statements ---- */

static bool assignable(parser *P, const jnode *t)
{
    if (!t)
        return false;
    if (t->kind == N_NAME || t->kind == N_NSREF)
        return true;
    if (t->kind == N_TUPLE) {
        for (uint32_t i = 0; i < t->n; i++)
            if (!assignable(P, t->kid[i]))
                return false;
        return true;
    }
    return lm_jj_fail(P->J, LM_ERR_CORRUPT, "what stands left of '=' or 'in' cannot be assigned to");
}

static jnode *body(parser *P, const char *const *ends, bool soft)
{
    bool was = P->soft;
    jnode *b;
    if (P->blocks >= JJ_MAX_BLOCKS)
        return (void)lm_jj_fail(P->J, LM_ERR_UNSUPPORTED, "statements nest deeper than %d levels",
                                JJ_MAX_BLOCKS),
               NULL;
    P->blocks++;
    P->soft = soft;
    (void)skip(P, T_COLON);
    b = expect(P, T_BLOCK_END, "'%}'") ? statements(P, ends) : NULL;
    P->soft = was;
    P->blocks--;
    return b;
}

/* A body whose end word is dropped too. */
static jnode *body_to(parser *P, const char *end, bool soft)
{
    const char *const ends[] = { end, NULL };
    jnode *b = body(P, ends, soft);
    if (b)
        (void)next(P);
    return b;
}

static jnode *for_(parser *P)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    jnode *n = node(P, N_FOR);
    (void)next(P);
    if (!n || !(n->a = tuple(P, TUP_TARGET, "in")) || !assignable(P, n->a))
        return NULL;
    if (!skip_word(P, "in"))
        return unexpected(P, "'in'");
    if (!(n->b = tuple(P, 0, "recursive")))
        return NULL;
    if (skip_word(P, "if") && !(n->c = expression(P, true)))
        return NULL;
    n->flag = skip_word(P, "recursive");
    jnode *b = node(P, N_BODY);
    P->loops++;
    jnode *main_ = body(P, ends, false);
    P->loops--;
    if (!add(P, b, main_))
        return NULL;
    if (is_word(P, next(P), "else") && !add(P, b, body_to(P, "endfor", false)))
        return NULL;
    n->d = b;
    return n;
}

static jnode *if_(parser *P)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    jnode *n = node(P, N_IF); /* kids: test, body, test, body, …, body of else */
    (void)next(P);
    while (n) {
        if (!add(P, n, tuple(P, 0, NULL)) || !add(P, n, body(P, ends, true)))
            return NULL;
        const jtok *t = next(P);
        if (is_word(P, t, "elif"))
            continue;
        if (is_word(P, t, "else") && !add(P, n, body_to(P, "endif", true)))
            return NULL;
        break;
    }
    return n;
}

static jnode *set(parser *P)
{
    jnode *n = node(P, N_SET);
    (void)next(P);
    if (!n || !(n->a = tuple(P, TUP_TARGET, NULL)) || !assignable(P, n->a))
        return NULL;
    if (skip(P, T_ASSIGN))
        return (n->b = tuple(P, TUP_COND, NULL)) ? n : NULL;
    n->kind = N_SETBLOCK;
    if (cur(P)->kind == T_PIPE && !(n->b = filters(P, NULL, false)))
        return NULL;
    return (n->c = body_to(P, "endset", false)) ? n : NULL;
}

/* (a, b=1): kids are the names, op[i] tells whether b holds a default. */
static bool signature(parser *P, jnode *n)
{
    jnode *defaults = node(P, N_BODY);
    if (!defaults || !expect(P, T_LPAREN, "'('"))
        return false;
    while (cur(P)->kind != T_RPAREN) {
        if (n->n && !expect(P, T_COMMA, "','"))
            return false;
        jnode *arg = node(P, N_NAME);
        if (!arg || cur(P)->kind != T_NAME)
            return unexpected(P, "the name of a parameter");
        arg->name = next(P)->name;
        arg->v = name_value(P, arg->name);
        if (arg->name == NAME_caller)
            n->flag |= 8;
        if (skip(P, T_ASSIGN)) {
            if (!add(P, defaults, expression(P, true)))
                return false;
        } else if (defaults->n) {
            return lm_jj_fail(P->J, LM_ERR_CORRUPT,
                              "a parameter without a default follows one with a default");
        }
        if (!add(P, n, arg))
            return false;
    }
    n->b = defaults;
    return expect(P, T_RPAREN, "')'");
}

static jnode *macro_body(parser *P, jnode *n, const char *end)
{
    uint32_t loops = P->loops;
    P->macro[P->n_macros++] = n; /* body() has checked the number of levels around */
    P->loops = 0;
    n->a = body_to(P, end, false);
    P->loops = loops;
    P->n_macros--;
    return n->a ? n : NULL;
}

static jnode *macro(parser *P)
{
    jnode *n = node(P, N_MACRO);
    (void)next(P);
    if (!n || cur(P)->kind != T_NAME)
        return unexpected(P, "the name of a macro");
    n->name = next(P)->name;
    n->v = name_value(P, n->name);
    return signature(P, n) && P->n_macros < JJ_MAX_BLOCKS ? macro_body(P, n, "endmacro") : NULL;
}

static jnode *call_block(parser *P)
{
    jnode *n = node(P, N_CALLBLOCK), *m = node(P, N_MACRO);
    (void)next(P);
    if (!n || !m)
        return NULL;
    m->name = NAME_caller;
    m->v = name_value(P, NAME_caller);
    m->b = node(P, N_BODY);
    if (!m->b || (cur(P)->kind == T_LPAREN && !signature(P, m)))
        return NULL;
    n->b = expression(P, true);
    if (!n->b)
        return NULL;
    if (n->b->kind != N_CALL)
        return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "'call' needs a call"), NULL;
    n->a = P->n_macros < JJ_MAX_BLOCKS ? macro_body(P, m, "endcall") : NULL;
    return n->a ? n : NULL;
}

static jnode *with(parser *P)
{
    jnode *n = node(P, N_WITH); /* kids: target, value, … */
    (void)next(P);
    while (n && cur(P)->kind != T_BLOCK_END) {
        jnode *t;
        if (n->n && !expect(P, T_COMMA, "','"))
            return NULL;
        t = primary(P, false);
        if (!assignable(P, t) || !add(P, n, t) || !expect(P, T_ASSIGN, "'='") ||
            !add(P, n, expression(P, true)))
            return NULL;
    }
    return n && (n->a = body_to(P, "endwith", false)) ? n : NULL;
}

static jnode *print(parser *P)
{
    jnode *n = node(P, N_PRINT);
    (void)next(P);
    while (n && cur(P)->kind != T_BLOCK_END) {
        if (n->n && !expect(P, T_COMMA, "','"))
            return NULL;
        if (!add(P, n, expression(P, true)))
            return NULL;
    }
    return n;
}

/* {% block name %}: nothing extends a chat template, so it renders in place. */
static jnode *block(parser *P)
{
    jnode *n = node(P, N_SCOPE);
    uint32_t id;
    (void)next(P);
    if (!n || cur(P)->kind != T_NAME)
        return unexpected(P, "the name of a block");
    id = next(P)->name;
    n->flag = skip_word(P, "scoped") ? 0 : 1;
    (void)skip_word(P, "required");
    n->a = body_to(P, "endblock", false);
    if (n->a && cur(P)->kind == T_NAME && cur(P)->name == id)
        (void)next(P);
    return n->a ? n : NULL;
}

static jnode *jump(parser *P, jnode_kind kind)
{
    jnode *n = node(P, kind);
    (void)next(P);
    if (!P->loops)
        return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "'%s' stands outside a loop",
                                kind == N_BREAK ? "break" : "continue"),
               NULL;
    return n;
}

static jnode *filter_block(parser *P)
{
    jnode *n = node(P, N_FILTERBLOCK);
    (void)next(P);
    if (!n || !(n->b = filters(P, NULL, true)))
        return NULL;
    return (n->a = body_to(P, "endfilter", false)) ? n : NULL;
}

static jnode *generation(parser *P)
{
    jnode *n = node(P, N_SCOPE);
    uint32_t loops = P->loops;
    (void)next(P);
    P->loops = 0;
    if (n)
        n->a = body_to(P, "endgeneration", false);
    P->loops = loops;
    return n && n->a ? n : NULL;
}

static jnode *statement(parser *P)
{
    static const char *const refused[] = { "include", "import", "from", "extends", "autoescape" };
    lm_quoted_buf q;
    if (cur(P)->kind != T_NAME)
        return unexpected(P, "the name of a statement");
    if (at_word(P, "for"))
        return for_(P);
    if (at_word(P, "if"))
        return if_(P);
    if (at_word(P, "set"))
        return set(P);
    if (at_word(P, "macro"))
        return macro(P);
    if (at_word(P, "call"))
        return call_block(P);
    if (at_word(P, "filter"))
        return filter_block(P);
    if (at_word(P, "with"))
        return with(P);
    if (at_word(P, "print"))
        return print(P);
    if (at_word(P, "block"))
        return block(P);
    if (at_word(P, "generation"))
        return generation(P);
    if (at_word(P, "break"))
        return jump(P, N_BREAK);
    if (at_word(P, "continue"))
        return jump(P, N_CONTINUE);
    for (size_t i = 0; i < LM_LEN(refused); i++)
        if (at_word(P, refused[i]))
            return (void)lm_jj_fail(P->J, LM_ERR_UNSUPPORTED,
                                    "'%s' is refused: a chat template reaches nothing but its context",
                                    refused[i]),
                   NULL;
    return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "there is no statement '%s'", describe(P, cur(P), &q)),
           NULL;
}

/* Statements up to one of the words in `ends`, which becomes the current token. */
static jnode *statements(parser *P, const char *const *ends)
{
    jnode *b = node(P, N_BODY);
    uint32_t begun = cur(P)->line;
    while (b) {
        const jtok *t = cur(P);
        jnode *s = NULL;
        if (t->kind == T_EOF) {
            if (!ends)
                return b;
            P->J->line = begun;
            while (ends[1]) /* the last word is the one that must come */
                ends++;
            return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "the template ends before '%s'", ends[0]), NULL;
        }
        if (t->kind == T_DATA) {
            s = node(P, N_DATA);
            if (s)
                s->v = next(P)->v;
        } else if (t->kind == T_VAR_BEGIN) {
            (void)next(P);
            s = node(P, N_PRINT);
            if (!add(P, s, tuple(P, TUP_COND, NULL)) || !expect(P, T_VAR_END, "'}}'"))
                return NULL;
        } else {
            (void)next(P);
            for (size_t i = 0; ends && ends[i]; i++)
                if (at_word(P, ends[i]))
                    return b;
            s = statement(P);
            if (s && !expect(P, T_BLOCK_END, "'%}'"))
                return NULL;
        }
        if (!add(P, b, s))
            return NULL;
    }
    return b;
}

bool lm_jj_parse(jj *J, const jtok *tok, size_t n)
{
    parser P = { .J = J, .tok = tok, .n = n };
    J->line = 1;
    J->t->body = statements(&P, NULL);
    if (J->t->body && P.unknown) {
        lm_quoted_buf q;
        J->line = P.unknown->line;
        return lm_jj_fail(J, LM_ERR_CORRUPT, "there is no %s named '%s'",
                          P.unknown->kind == N_FILTER ? "filter" : "test",
                          lm_quoted(&q, lm_jj_p(P.unknown->v), P.unknown->v.u.s.n));
    }
    J->line = 0;
    return J->t->body != NULL && J->status == LM_OK;
}
