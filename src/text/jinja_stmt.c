/* text/jinja_stmt.c - the statements of a template: what stands in {% %}. */
#include <string.h>

#include "text/jinja_int.h"

static jnode *statements(parser *P, const char *const *ends);

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
    (void)lm_jj_skip(P, T_COLON);
    b = lm_jj_expect(P, T_BLOCK_END, "'%}'") ? statements(P, ends) : NULL;
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
        (void)lm_jj_take(P);
    return b;
}

static jnode *for_(parser *P)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    jnode *n = lm_jj_node(P, N_FOR);
    (void)lm_jj_take(P);
    if (!n || !(n->a = lm_jj_tuple(P, TUP_TARGET, "in")) || !assignable(P, n->a))
        return NULL;
    if (!lm_jj_skip_word(P, "in"))
        return lm_jj_unexpected(P, "'in'");
    if (!(n->b = lm_jj_tuple(P, 0, "recursive")))
        return NULL;
    if (lm_jj_skip_word(P, "if") && !(n->c = lm_jj_expression(P, true)))
        return NULL;
    n->flag = lm_jj_skip_word(P, "recursive");
    jnode *b = lm_jj_node(P, N_BODY);
    P->loops++;
    jnode *main_ = body(P, ends, false);
    P->loops--;
    if (!lm_jj_add(P, b, main_))
        return NULL;
    if (lm_jj_is_word(P, lm_jj_take(P), "else") && !lm_jj_add(P, b, body_to(P, "endfor", false)))
        return NULL;
    n->d = b;
    return n;
}

static jnode *if_(parser *P)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    jnode *n = lm_jj_node(P, N_IF); /* kids: test, body, test, body, …, body of else */
    (void)lm_jj_take(P);
    while (n) {
        if (!lm_jj_add(P, n, lm_jj_tuple(P, 0, NULL)) || !lm_jj_add(P, n, body(P, ends, true)))
            return NULL;
        const jtok *t = lm_jj_take(P);
        if (lm_jj_is_word(P, t, "elif"))
            continue;
        if (lm_jj_is_word(P, t, "else") && !lm_jj_add(P, n, body_to(P, "endif", true)))
            return NULL;
        break;
    }
    return n;
}

static jnode *set(parser *P)
{
    jnode *n = lm_jj_node(P, N_SET);
    (void)lm_jj_take(P);
    if (!n || !(n->a = lm_jj_tuple(P, TUP_TARGET, NULL)) || !assignable(P, n->a))
        return NULL;
    if (lm_jj_skip(P, T_ASSIGN))
        return (n->b = lm_jj_tuple(P, TUP_COND, NULL)) ? n : NULL;
    n->kind = N_SETBLOCK;
    if (lm_jj_cur(P)->kind == T_PIPE && !(n->b = lm_jj_filters(P, NULL, false)))
        return NULL;
    return (n->c = body_to(P, "endset", false)) ? n : NULL;
}

/* (a, b=1): kids are the names, op[i] tells whether b holds a default. */
static bool signature(parser *P, jnode *n)
{
    jnode *defaults = lm_jj_node(P, N_BODY);
    if (!defaults || !lm_jj_expect(P, T_LPAREN, "'('"))
        return false;
    while (lm_jj_cur(P)->kind != T_RPAREN) {
        if (n->n && !lm_jj_expect(P, T_COMMA, "','"))
            return false;
        jnode *arg = lm_jj_node(P, N_NAME);
        if (!arg || lm_jj_cur(P)->kind != T_NAME)
            return lm_jj_unexpected(P, "the name of a parameter");
        arg->name = lm_jj_take(P)->name;
        arg->v = lm_jj_name_value(P, arg->name);
        if (arg->name == NAME_caller)
            n->flag |= 8;
        if (lm_jj_skip(P, T_ASSIGN)) {
            if (!lm_jj_add(P, defaults, lm_jj_expression(P, true)))
                return false;
        } else if (defaults->n) {
            return lm_jj_fail(P->J, LM_ERR_CORRUPT,
                              "a parameter without a default follows one with a default");
        }
        if (!lm_jj_add(P, n, arg))
            return false;
    }
    n->b = defaults;
    return lm_jj_expect(P, T_RPAREN, "')'");
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
    jnode *n = lm_jj_node(P, N_MACRO);
    (void)lm_jj_take(P);
    if (!n || lm_jj_cur(P)->kind != T_NAME)
        return lm_jj_unexpected(P, "the name of a macro");
    n->name = lm_jj_take(P)->name;
    n->v = lm_jj_name_value(P, n->name);
    return signature(P, n) && P->n_macros < JJ_MAX_BLOCKS ? macro_body(P, n, "endmacro") : NULL;
}

static jnode *call_block(parser *P)
{
    jnode *n = lm_jj_node(P, N_CALLBLOCK), *m = lm_jj_node(P, N_MACRO);
    (void)lm_jj_take(P);
    if (!n || !m)
        return NULL;
    m->name = NAME_caller;
    m->v = lm_jj_name_value(P, NAME_caller);
    m->b = lm_jj_node(P, N_BODY);
    if (!m->b || (lm_jj_cur(P)->kind == T_LPAREN && !signature(P, m)))
        return NULL;
    n->b = lm_jj_expression(P, true);
    if (!n->b)
        return NULL;
    if (n->b->kind != N_CALL)
        return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "'call' needs a call"), NULL;
    n->a = P->n_macros < JJ_MAX_BLOCKS ? macro_body(P, m, "endcall") : NULL;
    return n->a ? n : NULL;
}

static jnode *with(parser *P)
{
    jnode *n = lm_jj_node(P, N_WITH); /* kids: target, value, … */
    (void)lm_jj_take(P);
    while (n && lm_jj_cur(P)->kind != T_BLOCK_END) {
        jnode *t;
        if (n->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        t = lm_jj_primary(P, false);
        if (!assignable(P, t) || !lm_jj_add(P, n, t) || !lm_jj_expect(P, T_ASSIGN, "'='") ||
            !lm_jj_add(P, n, lm_jj_expression(P, true)))
            return NULL;
    }
    return n && (n->a = body_to(P, "endwith", false)) ? n : NULL;
}

static jnode *print(parser *P)
{
    jnode *n = lm_jj_node(P, N_PRINT);
    (void)lm_jj_take(P);
    while (n && lm_jj_cur(P)->kind != T_BLOCK_END) {
        if (n->n && !lm_jj_expect(P, T_COMMA, "','"))
            return NULL;
        if (!lm_jj_add(P, n, lm_jj_expression(P, true)))
            return NULL;
    }
    return n;
}

/* {% block name %}: nothing extends a chat template, so it renders in place. */
static jnode *block(parser *P)
{
    jnode *n = lm_jj_node(P, N_SCOPE);
    uint32_t id;
    (void)lm_jj_take(P);
    if (!n || lm_jj_cur(P)->kind != T_NAME)
        return lm_jj_unexpected(P, "the name of a block");
    id = lm_jj_take(P)->name;
    n->flag = lm_jj_skip_word(P, "scoped") ? 0 : 1;
    (void)lm_jj_skip_word(P, "required");
    n->a = body_to(P, "endblock", false);
    if (n->a && lm_jj_cur(P)->kind == T_NAME && lm_jj_cur(P)->name == id)
        (void)lm_jj_take(P);
    return n->a ? n : NULL;
}

static jnode *jump(parser *P, jnode_kind kind)
{
    jnode *n = lm_jj_node(P, kind);
    (void)lm_jj_take(P);
    if (!P->loops)
        return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "'%s' stands outside a loop",
                                kind == N_BREAK ? "break" : "continue"),
               NULL;
    return n;
}

static jnode *filter_block(parser *P)
{
    jnode *n = lm_jj_node(P, N_FILTERBLOCK);
    (void)lm_jj_take(P);
    if (!n || !(n->b = lm_jj_filters(P, NULL, true)))
        return NULL;
    return (n->a = body_to(P, "endfilter", false)) ? n : NULL;
}

static jnode *generation(parser *P)
{
    jnode *n = lm_jj_node(P, N_SCOPE);
    uint32_t loops = P->loops;
    (void)lm_jj_take(P);
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
    if (lm_jj_cur(P)->kind != T_NAME)
        return lm_jj_unexpected(P, "the name of a statement");
    if (lm_jj_at_word(P, "for"))
        return for_(P);
    if (lm_jj_at_word(P, "if"))
        return if_(P);
    if (lm_jj_at_word(P, "set"))
        return set(P);
    if (lm_jj_at_word(P, "macro"))
        return macro(P);
    if (lm_jj_at_word(P, "call"))
        return call_block(P);
    if (lm_jj_at_word(P, "filter"))
        return filter_block(P);
    if (lm_jj_at_word(P, "with"))
        return with(P);
    if (lm_jj_at_word(P, "print"))
        return print(P);
    if (lm_jj_at_word(P, "block"))
        return block(P);
    if (lm_jj_at_word(P, "generation"))
        return generation(P);
    if (lm_jj_at_word(P, "break"))
        return jump(P, N_BREAK);
    if (lm_jj_at_word(P, "continue"))
        return jump(P, N_CONTINUE);
    for (size_t i = 0; i < LM_LEN(refused); i++)
        if (lm_jj_at_word(P, refused[i]))
            return (void)lm_jj_fail(P->J, LM_ERR_UNSUPPORTED,
                                    "'%s' is refused: a chat template reaches nothing but its context",
                                    refused[i]),
                   NULL;
    return (void)lm_jj_fail(P->J, LM_ERR_CORRUPT, "there is no statement '%s'",
                            lm_jj_describe(P, lm_jj_cur(P), &q)),
           NULL;
}

/* Statements up to one of the words in `ends`, which becomes the current token. */
static jnode *statements(parser *P, const char *const *ends)
{
    jnode *b = lm_jj_node(P, N_BODY);
    uint32_t begun = lm_jj_cur(P)->line;
    while (b) {
        const jtok *t = lm_jj_cur(P);
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
            s = lm_jj_node(P, N_DATA);
            if (s)
                s->v = lm_jj_take(P)->v;
        } else if (t->kind == T_VAR_BEGIN) {
            (void)lm_jj_take(P);
            s = lm_jj_node(P, N_PRINT);
            if (!lm_jj_add(P, s, lm_jj_tuple(P, TUP_COND, NULL)) || !lm_jj_expect(P, T_VAR_END, "'}}'"))
                return NULL;
        } else {
            (void)lm_jj_take(P);
            for (size_t i = 0; ends && ends[i]; i++)
                if (lm_jj_at_word(P, ends[i]))
                    return b;
            s = statement(P);
            if (s && !lm_jj_expect(P, T_BLOCK_END, "'%}'"))
                return NULL;
        }
        if (!lm_jj_add(P, b, s))
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
