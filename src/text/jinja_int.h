/* text/jinja_int.h - what the files of the template language share.
 *
 *   source --lex--> tokens --parse--> nodes --eval over values--> text + spans
 *
 * A value (jv) is 32 bytes and passed by copy.  Strings are views into buffers
 * (jbuf) that only ever grow at their end, so slicing copies nothing, and
 * `x = x + y` in a loop appends in place when x is the newest view.  A buffer
 * knows which of its bytes stem from messages: the spans belong to the bytes,
 * not to the views, so slicing keeps them for free.
 *
 * Memory comes from one region per template and one per rendering, both capped;
 * there is nothing to free one by one.
 *
 * Functions return false after lm_jj_fail(); the first sentence wins.
 *
 * Threads: a template's nodes and constants are read-only after compilation; a
 * jj belongs to one rendering.
 */
#ifndef LM_JINJA_INT_H
#define LM_JINJA_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"
#include "text/jinja.h"

/* Parser: statements inside statements, and brackets inside brackets.  Python's
 * own parser stops at about as many. */
enum { JJ_MAX_BLOCKS = 100, JJ_MAX_EXPR = 200 };
#define JJ_MAX_SOURCE (4u << 20) /* bytes; the longest published template has 19 KB */

typedef struct jj jj;
typedef struct jnode jnode;

/* ---- values ---- */

typedef enum {
    JV_MISSING, /* an argument that was not given; never seen by a template */
    JV_UNDEF,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_VIEW, /* d.items(), d.keys(), d.values() */
    JV_RANGE,
    JV_ITER, /* a generator: can be walked once */
    JV_NS,
    JV_MACRO,
    JV_METHOD,
    JV_FUNC,
    JV_LOOP,
    JV_CYCLER,
    JV_JOINER,
    JV_SLICE, /* only between [ and ] */
} jkind;

typedef struct jbuf jbuf;
typedef struct jlist jlist;
typedef struct jdict jdict;
typedef struct jiter jiter;
typedef struct jundef jundef;
typedef struct jmacro jmacro;
typedef struct jloop jloop;
typedef struct jscope jscope;
typedef struct jmethod jmethod;
typedef struct jrange jrange;
typedef struct jcycle jcycle;

typedef struct jv {
    uint8_t kind; /* jkind */
    uint8_t flag; /* string: marked safe; view: which; tuple: made by groupby; function: which */
    union {
        int64_t i; /* also booleans */
        double f;
        struct {
            jbuf *b;
            size_t at, n; /* bytes */
        } s;
        jlist *l;
        jdict *d;
        jiter *it;
        jundef *u;
        jmacro *m;
        jloop *lp;
        jmethod *me;
        jrange *r;
        jcycle *cy;
        struct jv *slice; /* three values, JV_NONE where left out */
    } u;
} jv;

struct jbuf {
    char *p;
    size_t used, cap; /* cap 0: borrowed bytes, never appended to */
    lm_span *sp;      /* message-derived bytes, sorted and merged */
    size_t n_sp, cap_sp;
    size_t ascii; /* leading bytes known to be ASCII */
    bool scanned; /* byte `ascii`, if there, is not ASCII */
    bool all;     /* every byte is message-derived; then sp is unused */
};

struct jlist {
    jv *v;
    size_t n, cap;
};

typedef struct {
    jv k, v;
    uint64_t hash;
} jentry;

struct jdict {
    jentry *e; /* in the order of insertion */
    size_t n, cap;
    uint32_t *slot; /* open addressing, index + 1; only above 8 entries */
    size_t n_slot;
};

struct jrange {
    int64_t start, step, stop; /* stop: as it was asked for */
    size_t n;
};

struct jundef {
    const char *text; /* a whole sentence, or NULL: made of what follows */
    bool has_obj;
    jv obj, name;
};

enum { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

typedef struct {
    uint32_t name; /* interned */
    jv v;
} jkw;

typedef struct {
    jv *pos;
    size_t n;
    jkw *kw;
    size_t n_kw;
} jargs;

typedef bool (*jfilter_fn)(jj *J, jv x, const jargs *a, jv *out);
typedef bool (*jtest_fn)(jj *J, jv x, const jargs *a, bool *out);

typedef enum {
    IT_LIST,
    IT_STR,
    IT_DICT, /* view in `which` */
    IT_RANGE,
    IT_REVERSED,
    IT_MAP,
    IT_SELECT,
    IT_UNIQUE,
    IT_BATCH,
    IT_SLICE,
    IT_LAZY_ITEMS,
    IT_LOOP_IF,
    IT_EMPTY,
} jiter_kind;

struct jiter {
    jiter_kind kind;
    uint8_t which; /* dict view; bit 0 of select: rejects, bit 1: by attribute */
    bool started;
    jv src;
    size_t i, n;
    jiter *in;   /* what a filter draws from */
    jargs args;  /* of the filter */
    jv aux;      /* default, fill value, set of seen values */
    jnode *node; /* loop filter: the for statement */
    jscope *scope;
};

typedef bool (*jmethod_fn)(jj *J, jv self, const jargs *a, jv *out);
struct jmethod {
    jv self;
    jmethod_fn fn;
    const char *name;
};

struct jmacro {
    jnode *node;
    jscope *scope; /* where it was defined */
    jv caller;
};

struct jloop {
    jiter *it;
    jv src; /* for its length */
    bool sized;
    bool has_after, ended, completed;
    jv after, cur, before;
    int64_t index0;
    int64_t length; /* -1: not known yet */
    int64_t depth0;
    jv changed;
    jnode *node;
    jscope *scope; /* around the loop */
};

struct jcycle {
    jlist *items;
    size_t at;
    jv sep; /* joiner */
    bool used;
};

struct jscope {
    jscope *up;
    bool captured; /* a macro holds on to it: may not be used again */
    uint32_t n, cap;
    uint32_t *name;
    jv *v;
};

/* ---- memory ---- */

typedef struct jchunk jchunk;
typedef struct {
    jchunk *top;
    size_t total, max; /* bytes */
    void *last;        /* newest piece, may grow in place */
    size_t last_n;
} jmem;

/* ---- nodes ---- */

typedef enum {
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_NEG,
    N_POS,
    N_NOT,
    N_MATH, /* chain of + -, or of * / // %, or of ** */
    N_CONCAT,
    N_COMPARE,
    N_AND,
    N_OR,
    N_COND,
    N_NSREF, /* target only */
    /* statements */
    N_BODY,
    N_DATA,
    N_PRINT,
    N_FOR,
    N_IF,
    N_SET,
    N_SETBLOCK,
    N_MACRO,
    N_CALLBLOCK,
    N_FILTERBLOCK,
    N_WITH,
    N_SCOPE, /* block, generation */
    N_BREAK,
    N_CONTINUE,
} jnode_kind;

typedef enum {
    T_EOF,
    T_DATA,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_EQ,
    T_NE,
    T_LT,
    T_LTEQ,
    T_GT,
    T_GTEQ,
    T_IN,    /* made by the parser */
    T_NOTIN, /* made by the parser */
    T_ASSIGN,
    T_DOT,
    T_COMMA,
    T_COLON,
    T_SEMICOLON,
    T_PIPE,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE,
} jtok_kind;

typedef struct {
    uint8_t kind; /* jtok_kind */
    uint32_t line;
    jv v;          /* string and data: the text; numbers */
    uint32_t name; /* T_NAME: interned */
} jtok;

/* Arguments of a call, filter or test. */
typedef struct {
    jnode **pos;
    uint32_t n, n_kw;
    uint32_t *kw_name;
    jnode **kw;
    jnode *star, *dstar;
} jcall;

struct jnode {
    uint8_t kind; /* jnode_kind */
    uint8_t flag; /* FOR: recursive; MACRO: uses varargs 1, kwargs 2, caller 4, explicit caller 8 */
    uint32_t line;
    uint32_t name;   /* interned */
    uint32_t n, cap; /* kids */
    jnode **kid;
    uint8_t *op; /* chains: op[i] stands before kid[i + 1] */
    jnode *a, *b, *c, *d;
    jcall *call;
    const void *fn; /* FILTER, TEST: row of the table, NULL: unknown name */
    jv v;           /* CONST, DATA, and the name of NAME, ATTR, FILTER as a string */
};

typedef struct {
    const char *s;
    size_t n;
    jbuf *b; /* the same as a string constant */
} jname;

struct lm_jinja {
    jmem mem;
    jname *name;
    size_t n_names, cap_names;
    uint32_t *slot; /* hash of names, index + 1 */
    size_t n_slot;
    jnode *body;
};

/* ---- one compilation or rendering ---- */

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } jflow;

struct jj {
    jmem mem;
    lm_error *err;
    lm_status status; /* LM_OK until something failed */
    uint32_t line;
    lm_jinja *t;
    /* rendering */
    uint64_t steps, max_steps;
    size_t max_output;
    uint32_t depth, max_depth;
    int64_t now;
    jv *ctx; /* value of each interned name in the context, JV_MISSING: none */
    jbuf *out;
    jscope *scope, *root;
    jflow flow;
    jv piped; /* what a filter without operand works on */
};

/* Names that the interpreter itself looks for; interned first, in this order. */
#define JJ_NAMES(X)                                                                                          \
    X(loop) X(caller) X(varargs) X(kwargs) X(attribute) X(reverse) X(indent) X(messages) X(tools) X(documents)
enum {
#define X(s) NAME_##s,
    JJ_NAMES(X)
#undef X
        NAME_COUNT
};

/* jinja_mem.c: memory, failure, buffers */
bool lm_jj_fail(jj *J, lm_status status, const char *fmt, ...) LM_PRINTF(3, 4);
#define JJ_TYPE(J, ...) lm_jj_fail((J), LM_ERR_CORRUPT, __VA_ARGS__)
void *lm_jj_get(jj *J, size_t n, size_t size); /* zeroed; NULL after lm_jj_fail() */
bool lm_jj_more(jj *J, void *items, size_t *cap, size_t need, size_t size); /* items: pointer to pointer */
void lm_jj_mem_clear(jmem *m);
bool lm_jj_charge(jj *J, uint64_t steps); /* work, in steps */
bool lm_jj_enter(jj *J);                  /* one level deeper; leave with J->depth-- */
jbuf *lm_jj_buf(jj *J, size_t n);         /* empty, room for n */
bool lm_jj_put(jj *J, jbuf *b, const char *s, size_t n, bool derived);
bool lm_jj_putz(jj *J, jbuf *b, const char *s);
bool lm_jj_putu(jj *J, jbuf *b, uint32_t cp, bool derived);
bool lm_jj_put_str(jj *J, jbuf *b, jv s); /* with its provenance */
jv lm_jj_whole(jbuf *b);                  /* the buffer as a string */
/* Whether byte `at` of s is message-derived, and up to where that holds. */
bool lm_jj_run(jv s, size_t at, size_t *end);
jbuf *lm_jj_borrow(jj *J, const char *s, size_t n, bool derived);
jv lm_jj_strz(jj *J, const char *s); /* s is kept: a literal or region memory */
uint32_t lm_jj_intern(jj *J, const char *s, size_t n);

static inline const char *lm_jj_p(jv s)
{
    return s.u.s.b->p + s.u.s.at;
}
static inline jv lm_jj_sub(jv s, size_t at, size_t n)
{
    s.u.s.at += at;
    s.u.s.n = n;
    return s;
}
static inline jv lm_jj_none(void)
{
    return (jv){ .kind = JV_NONE };
}
static inline jv lm_jj_bool(bool b)
{
    return (jv){ .kind = JV_BOOL, .u.i = b };
}
static inline jv lm_jj_int(int64_t i)
{
    return (jv){ .kind = JV_INT, .u.i = i };
}
static inline jv lm_jj_float(double f)
{
    return (jv){ .kind = JV_FLOAT, .u.f = f };
}
static inline bool lm_jj_is_int(jv v)
{
    return v.kind == JV_INT || v.kind == JV_BOOL;
}
static inline bool lm_jj_is_num(jv v)
{
    return v.kind == JV_INT || v.kind == JV_BOOL || v.kind == JV_FLOAT;
}

/* jinja_value.c: containers, comparison, conversion from JSON */
jv lm_jj_list(jj *J, jkind kind, size_t cap); /* u.l is NULL after failure */
bool lm_jj_push(jj *J, jv list, jv v);
bool lm_jj_pair(jj *J, jv a, jv b, jv *out); /* a tuple */
jv lm_jj_dict(jj *J);
bool lm_jj_set(jj *J, jdict *d, jv k, jv v);
bool lm_jj_lookup(jj *J, const jdict *d, jv k, const jv **out); /* fails for keys that have no hash */
const jv *lm_jj_find(const jdict *d, const char *s, size_t n);
bool lm_jj_eq(jj *J, jv a, jv b, bool *out);
/* -1, 0, 1; fails with Python's complaint about `op`. */
bool lm_jj_cmp(jj *J, jv a, jv b, const char *op, int *out);
bool lm_jj_less(jj *J, jv a, jv b, bool *out);
bool lm_jj_truth(jj *J, jv v, bool *out);
bool lm_jj_len(jj *J, jv v, int64_t *out);
bool lm_jj_contains(jj *J, jv seq, jv x, bool *out);
bool lm_jj_sort(jj *J, jv *v, jv *key, size_t n, bool reverse);
const char *lm_jj_type(jv v); /* Python's name of the type */
bool lm_jj_from_json(jj *J, const json_t *j, bool derived, int depth, jv *out);
bool lm_jj_unhashable(jj *J, jv v);
bool lm_jj_hashable(jv v, int depth); /* looks into tuples, `depth` levels */

/* jinja_undef.c */
jv lm_jj_undef_name(jj *J, jv name);
jv lm_jj_undef_attr(jj *J, jv obj, jv name);
jv lm_jj_undef_text(jj *J, const char *text);
bool lm_jj_undef_fail(jj *J, jv v); /* the complaint that v carries; always false */

/* jinja_print.c: str(), repr(), JSON */
bool lm_jj_put_value(jj *J, jbuf *b, jv v); /* as str() */
bool lm_jj_to_str(jj *J, jv v, jv *out);
bool lm_jj_put_repr(jj *J, jbuf *b, jv v);
bool lm_jj_put_json(jj *J, jbuf *b, jv v, const jargs *a);
size_t lm_jj_float_repr(double f, char *buf, size_t cap);

/* jinja_chars.c: what Python's str knows about characters */
bool lm_jj_space(uint32_t cp);
bool lm_jj_alpha(uint32_t cp);
bool lm_jj_decimal(uint32_t cp);
bool lm_jj_digit(uint32_t cp);
bool lm_jj_numeric(uint32_t cp);
bool lm_jj_printable(uint32_t cp);
bool lm_jj_is_upper(uint32_t cp);
bool lm_jj_is_lower(uint32_t cp);
bool lm_jj_is_title(uint32_t cp);
enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP, CASE_FOLD, CASE_JINJA_TITLE };
bool lm_jj_case(jj *J, jv s, int how, jv *out);
size_t lm_jj_n_chars(jv s);
size_t lm_jj_byte_of(jv s, size_t i_char); /* byte at which character i starts; s.n past the end */
size_t lm_jj_char_of(jv s, size_t at);
bool lm_jj_ascii(jv s);

/* jinja_iter.c */
bool lm_jj_iter(jj *J, jv v, jiter *it); /* iter(v), fails if it is not iterable */
bool lm_jj_next(jj *J, jiter *it, jv *out, bool *end);
bool lm_jj_collect(jj *J, jv v, jv *list); /* list(v), always a new list */
bool lm_jj_iterable(jv v);
bool lm_jj_new_iter(jj *J, jiter it, jv *out);

/* jinja_ops.c */
bool lm_jj_math(jj *J, int op, jv a, jv b, jv *out);
bool lm_jj_neg(jj *J, jv a, bool plus, jv *out);
bool lm_jj_getitem(jj *J, jv obj, jv key, jv *out);
/* obj[a:b:c]; part holds three values, JV_NONE where left out. */
bool lm_jj_slice(jj *J, jv obj, const jv *part, jv *out);
bool lm_jj_getattr(jj *J, jv obj, jv name, jv *out);
/* What attribute filters do: "a.b.0" step by step with getitem. */
bool lm_jj_getpath(jj *J, jv obj, jv path, jv *out);
bool lm_jj_concat(jj *J, jv a, jv b, jv *out); /* two strings */
bool lm_jj_repeat(jj *J, jv s, int64_t n, jv *out);
bool lm_jj_index(jj *J, jv v, int64_t *out); /* an integer argument */

/* jinja_format.c */
bool lm_jj_percent(jj *J, jv format, jv values, jv *out);
bool lm_jj_format(jj *J, jv format, const jargs *a, jv *out);
bool lm_jj_escape(jj *J, jv v, jv *out);

/* jinja_methods.c, jinja_strings.c */
typedef struct {
    const char *name;
    jmethod_fn fn; /* NULL: exists in Python, refused here */
} jmethod_row;
extern const jmethod_row lm_jj_str_methods[], lm_jj_dict_methods[], lm_jj_list_methods[],
    lm_jj_tuple_methods[], lm_jj_number_methods[], lm_jj_range_methods[];
/* False if the type has no such attribute.  *unsafe: it changes its object. */
bool lm_jj_method(jv obj, jv name, const jmethod_row **row, bool *unsafe);
bool lm_jj_strip(jj *J, jv s, jv chars, int sides, jv *out); /* sides: 1 left, 2 right */
bool lm_jj_replace(jj *J, jv s, jv old, jv new_, int64_t count, jv *out);
bool lm_jj_splitlines(jj *J, jv s, bool keep, jv *list);
/* First (or last) place of needle in s[from..to), SIZE_MAX if there is none. */
size_t lm_jj_find_bytes(const char *s, size_t from, size_t to, const char *needle, size_t n);
size_t lm_jj_rfind_bytes(const char *s, size_t from, size_t to, const char *needle, size_t n);

/* jinja_args.c */
/* Sorts arguments into `out` by the names in `spec`: "a b c=" (those that end
 * in "=" may be left out and stay JV_MISSING). */
bool lm_jj_args(jj *J, const char *what, const jargs *a, const char *spec, jv *out);
bool lm_jj_parse_int(jj *J, jv s, int64_t base, int64_t *out, bool *ok);
bool lm_jj_parse_float(jv s, double *out);

/* jinja_filters.c, jinja_filters_seq.c, jinja_tests.c */
typedef struct {
    const char *name;
    jfilter_fn fn; /* NULL: exists in Jinja2, refused here by name */
} jfilter_row;
typedef struct {
    const char *name;
    jtest_fn fn;
} jtest_row;
extern const jfilter_row lm_jj_text_filters[], lm_jj_seq_filters[];
const jfilter_row *lm_jj_filter_find(const char *s, size_t n);
const jtest_row *lm_jj_test_find(const char *s, size_t n);
bool lm_jj_filter(jj *J, jv name, jv x, const jargs *a, jv *out);
bool lm_jj_test(jj *J, jv name, jv x, const jargs *a, bool *out);

/* jinja_call.c: globals, macros, calls, loop.* */
bool lm_jj_global(jj *J, jv name, jv *out);
bool lm_jj_call(jj *J, jv fn, const jargs *a, jv *out);
bool lm_jj_loop_attr(jj *J, jv loop, jv name, jv *out, bool *found);
bool lm_jj_cycler_attr(jj *J, jv self, jv name, jv *out, bool *found);
bool lm_jj_loop_next(jj *J, jloop *lp, jv *out, bool *end);
bool lm_jj_strftime(jj *J, jv format, jv *out);

/* jinja_parse.c (expressions, and what jinja_stmt.c shares with them) */
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
enum { TUP_COND = 1, TUP_PAREN = 2, TUP_TARGET = 4 };
const jtok *lm_jj_cur(const parser *P);
const jtok *lm_jj_take(parser *P);
bool lm_jj_is_word(const parser *P, const jtok *t, const char *word);
bool lm_jj_at_word(const parser *P, const char *word);
bool lm_jj_skip_word(parser *P, const char *word);
bool lm_jj_skip(parser *P, jtok_kind kind);
const char *lm_jj_describe(const parser *P, const jtok *t, lm_quoted_buf *q);
void *lm_jj_unexpected(parser *P, const char *wanted);
bool lm_jj_expect(parser *P, jtok_kind kind, const char *wanted);
jnode *lm_jj_node(parser *P, jnode_kind kind);
bool lm_jj_add(parser *P, jnode *n, jnode *kid);
jv lm_jj_name_value(const parser *P, uint32_t id);
jnode *lm_jj_tuple(parser *P, unsigned flags, const char *stop);
jnode *lm_jj_filters(parser *P, jnode *e, bool inline_);
jnode *lm_jj_expression(parser *P, bool cond);
jnode *lm_jj_primary(parser *P, bool target);

/* jinja_lex.c, jinja_parse.c, jinja_eval.c */
bool lm_jj_lex(jj *J, const char *source, size_t n, jtok **out, size_t *n_out);
bool lm_jj_parse(jj *J, const jtok *tok, size_t n);
bool lm_jj_eval(jj *J, const jnode *e, jv *out);
bool lm_jj_exec(jj *J, const jnode *s);
bool lm_jj_assign(jj *J, const jnode *target, jv v);
bool lm_jj_capture(jj *J, const jnode *body, jv *out);
jscope *lm_jj_scope(jj *J, jscope *up);
bool lm_jj_define(jj *J, jscope *s, uint32_t name, jv v);
bool lm_jj_run_loop(jj *J, const jnode *f, jv over, jscope *around, int64_t depth0);

static inline bool lm_jj_str_is(jv s, const char *z)
{
    size_t i = 0;
    for (; i < s.u.s.n; i++)
        if (z[i] == 0 || z[i] != lm_jj_p(s)[i])
            return false;
    return z[i] == 0;
}

#endif
