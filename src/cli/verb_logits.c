/* cli/verb_logits.c - lemma logits: the model's raw answer as a .npy file. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

/* The sessions of --mix: tokens of their own, two to six a step, so that steps
 * mix decoding and reading. */
typedef struct {
    lm_session *session;
    uint32_t take, drawn;
    int32_t ids[8];
} other;

static uint32_t take_of(size_t i)
{
    return 1 + (uint32_t)(i * 3 % 5);
}

static lm_status fill(cli *c, other *o, size_t i, lm_error *err)
{
    o->take = LM_MIN(take_of(i), c->info.context);
    if (lm_session_n_tokens(o->session) + o->take > c->info.context)
        LM_TRY(lm_session_truncate(o->session, 0, err));
    for (uint32_t k = 0; k < o->take; k++)
        o->ids[k] = (int32_t)(((uint64_t)++o->drawn * 2654435761u + i * 40503u) % c->info.n_vocab);
    return LM_OK;
}

typedef struct {
    lm_session *s;
    other *others;
    lm_eval_item *items;
    size_t n_others;
} mix;

static lm_status open_mix(cli *c, mix *m, size_t n, lm_error *err)
{
    m->n_others = n;
    LM_TRY(lm_session_open(&m->s, c->model, err));
    LM_TRY(LM_NEW(&m->others, n, err));
    LM_TRY(LM_NEW(&m->items, n + 1, err));
    for (size_t i = 0; i < n; i++)
        LM_TRY(lm_session_open(&m->others[i].session, c->model, err));
    return LM_OK;
}

static void close_mix(mix *m)
{
    for (size_t i = 0; m->others != NULL && i < m->n_others; i++)
        lm_session_close(m->others[i].session);
    lm_session_close(m->s);
    lm_free(m->others);
    lm_free(m->items);
}

/* Our tokens piece by piece; every step carries the other sessions too. */
static lm_status evaluate(cli *c, mix *m, const int32_t *ids, size_t n, float *rows, lm_error *err)
{
    size_t piece = (size_t)cli_int(&c->args, OPT_CHUNK);
    cli_progress p;
    lm_status st = LM_OK;
    progress_start(&p, "evaluating", "tokens");
    for (size_t at = 0; at < n && st == LM_OK;) {
        size_t k = LM_MIN(piece, n - at);
        m->items[0] = (lm_eval_item){ .session = m->s,
                                      .ids = ids + at,
                                      .n = k,
                                      .rows = rows != NULL ? rows + at * c->info.n_vocab : NULL };
        for (size_t i = 0; i < m->n_others && st == LM_OK; i++) {
            st = fill(c, &m->others[i], i, err);
            m->items[1 + i] = (lm_eval_item){ .session = m->others[i].session,
                                              .ids = m->others[i].ids,
                                              .n = m->others[i].take };
        }
        if (st == LM_OK)
            st = lm_model_eval(c->model, m->items, 1 + m->n_others, err);
        at += k;
        progress_at(&p, at, n);
    }
    progress_end(&p);
    return st;
}

static lm_status compute(cli *c, const int32_t *ids, size_t n, size_t n_others, lm_error *err)
{
    const char *path = cli_text(&c->args, OPT_OUTPUT);
    bool last = cli_flag(&c->args, OPT_LAST);
    size_t vocab = c->info.n_vocab;
    float *rows = NULL;
    mix m = { 0 };
    if (n > c->info.context) {
        lm_hint(err, "-c raises the context, up to %u for this pack", c->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "%zu tokens, the context holds %u", n, c->info.context);
    }
    lm_status st = last ? LM_OK : lm_new((void **)&rows, n * vocab, sizeof *rows, err);
    if (st == LM_OK)
        st = open_mix(c, &m, n_others, err);
    if (st == LM_OK) {
        cli_interruptible(m.s);
        st = evaluate(c, &m, ids, n, rows, err);
        cli_interruptible(NULL);
    }
    if (st == LM_OK)
        st = last ? lm_write_npy(path, lm_session_logits(m.s), 1, vocab, err)
                  : lm_write_npy(path, rows, n, vocab, err);
    if (st == LM_OK && cli_flag(&c->args, OPT_JSON)) {
        json_t *j = json_pack("{s:o, s:[I, I], s:s, s:s}", "file", cli_json_text(path, strlen(path)), "shape",
                              (json_int_t)(last ? 1 : n), (json_int_t)vocab, "device", c->info.device,
                              "numerics", c->info.numerics);
        st = out_json(j, err);
        json_decref(j);
    }
    close_mix(&m);
    lm_free(rows);
    return st;
}

lm_status verb_logits(cli *c, lm_error *err)
{
    const char *pack = NULL, *tokens = cli_text(&c->args, OPT_TOKENS);
    size_t n_others = (size_t)cli_int(&c->args, OPT_MIX), n = 0;
    lm_model_options o;
    int32_t *ids = NULL;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if (tokens == NULL || cli_text(&c->args, OPT_OUTPUT) == NULL) {
        lm_hint(err, "lemma logits PACK --tokens 1,2,3 -o FILE.npy");
        return lm_fail(err, LM_ERR_USAGE, "'lemma logits' needs --%s", tokens == NULL ? "tokens" : "output");
    }
    LM_TRY(cli_can_write(cli_text(&c->args, OPT_OUTPUT), err));
    LM_TRY(cli_model_options(c, &o, err));
    o.all_rows = !cli_flag(&c->args, OPT_LAST);
    o.no_text = true;
    o.sessions = (uint32_t)n_others + 1;
    for (size_t i = 0; i < n_others; i++)
        o.chunk += take_of(i); /* one step holds our piece and everybody else's */
    o.chunk = LM_MIN(o.chunk, 65536u);
    LM_TRY(cli_parse_ids(tokens, strlen(tokens), &ids, &n, err));
    lm_status st = n > 0 ? LM_OK : lm_fail(err, LM_ERR_USAGE, "'--tokens' is empty");
    if (st == LM_OK)
        st = cli_open_model(c, pack, &o, err);
    if (st == LM_OK)
        st = compute(c, ids, n, n_others, err);
    lm_free(ids);
    return st;
}
