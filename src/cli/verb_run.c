/* cli/verb_run.c - lemma run: one prompt, one answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

/* A prompt of a pack without a template has no natural end. */
enum { DEFAULT_RAW_TOKENS = 256 };

/* Where the prompt comes from; exactly one is set, or `none` when a session goes on. */
typedef struct {
    const char *tokens, *messages;
    char *read; /* what was read from a file or standard input, ours */
    const char *text;
    size_t n_text;
    bool raw, none;
} source;

static lm_status one_source(cli *c, source *s, lm_error *err)
{
    const cli_args *a = &c->args;
    static const opt_id ids[] = { OPT_PROMPT, OPT_FILE, OPT_TOKENS, OPT_MESSAGES };
    const char *word = cli_take_word(c), *seen = word != NULL ? "a prompt" : NULL;
    LM_TRY(cli_no_more_words(c, err));
    for (size_t i = 0; i < LM_LEN(ids); i++) {
        if (cli_text(a, ids[i]) == NULL)
            continue;
        if (seen != NULL)
            return lm_fail(err, LM_ERR_USAGE, "%s and --%s were given, allowed is one prompt", seen,
                           cli_options[ids[i]].name);
        seen = ids[i] == OPT_PROMPT ? "--prompt" : ids[i] == OPT_FILE ? "--file" : "--tokens";
    }
    s->tokens = cli_text(a, OPT_TOKENS);
    s->messages = cli_text(a, OPT_MESSAGES);
    s->text = cli_text(a, OPT_PROMPT);
    s->raw = s->text != NULL || cli_flag(a, OPT_RAW);
    if (s->text == NULL)
        s->text = word;
    if (word != NULL && strcmp(word, "-") == 0)
        s->text = NULL;
    if (s->tokens != NULL || s->messages != NULL)
        return LM_OK;
    if (s->text != NULL) {
        s->n_text = strlen(s->text);
        return LM_OK;
    }
    const char *file = cli_text(a, OPT_FILE);
    if (file == NULL && word == NULL && cli_text(a, OPT_SESSION) != NULL) {
        s->none = true;
        return LM_OK;
    }
    s->raw |= file != NULL;
    if (file == NULL && word == NULL && isatty(STDIN_FILENO) == 1) {
        lm_hint(err, "lemma run PACK \"your question\", or: lemma chat PACK");
        return lm_fail(err, LM_ERR_USAGE, "'lemma run' needs a prompt");
    }
    LM_TRY(cli_read(file != NULL ? file : "-", &s->read, &s->n_text, err));
    s->text = s->read;
    return LM_OK;
}

static lm_status need_text(const cli *c, const lm_text *t, const char *what, lm_error *err)
{
    lm_quoted_buf q;
    if (t != NULL && lm_text_has_tokenizer(t))
        return LM_OK;
    lm_hint(err, "--tokens takes token ids");
    return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no tokenizer, which %s needs",
                   lm_quoted_z(&q, c->info.path), what);
}

/* {"messages": [...], "enable_thinking": ...} as text; freed with free(). */
static char *chat_json(json_t *root)
{
    return json_dumps(root, JSON_ENCODE_ANY | JSON_COMPACT);
}

static lm_status render(const lm_text *t, json_t *root, unsigned flags, int32_t **ids, size_t *n,
                        lm_error *err)
{
    char *json = chat_json(root);
    if (json == NULL)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
    lm_status st = lm_text_chat(t, json, strlen(json), -1, flags, NULL, NULL, ids, n, err);
    free(json); /* jansson's own allocation */
    return st;
}

static lm_status messages_of(cli *c, const source *s, json_t **root, lm_error *err)
{
    const char *system = cli_text(&c->args, OPT_SYSTEM);
    char *text = NULL;
    size_t n = 0;
    if (s->messages != NULL) {
        json_t *j = NULL;
        if (system != NULL)
            return lm_fail(err, LM_ERR_USAGE,
                           "--system and --messages were given, put the system message "
                           "into the file");
        LM_TRY(cli_read(s->messages, &text, &n, err));
        lm_status st = cli_json_parse(s->messages, text, n, &j, err);
        lm_free(text);
        LM_TRY(st);
        if (json_is_array(j)) {
            *root = json_pack("{s:o}", "messages", j);
        } else if (json_is_object(j) && json_is_array(json_object_get(j, "messages"))) {
            *root = j;
        } else {
            lm_quoted_buf q;
            json_decref(j);
            return lm_fail(err, LM_ERR_USAGE,
                           "%s is neither an array of messages nor an object with \"messages\"",
                           lm_quoted_z(&q, s->messages));
        }
    } else {
        json_t *list = json_array();
        if (system != NULL)
            (void)json_array_append_new(list, json_pack("{s:s, s:o}", "role", "system", "content",
                                                        cli_json_text(system, strlen(system))));
        (void)json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", "user", "content", cli_json_text(s->text, s->n_text)));
        *root = json_pack("{s:o}", "messages", list);
    }
    const char *think = cli_text(&c->args, OPT_THINK);
    if (*root != NULL && think != NULL)
        (void)json_object_set_new(*root, "enable_thinking", json_boolean(strcmp(think, "on") == 0));
    return *root != NULL ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
}

/* The conversation so far, and what is added to it; *root is one object for the template. */
static lm_status go_on_with(const cli_rest *r, json_t **root, lm_error *err)
{
    json_t *all = json_deep_copy(r->messages);
    if (all == NULL || json_array_extend(all, json_object_get(*root, "messages")) != 0 ||
        json_object_set_new(*root, "messages", all) != 0)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
    return LM_OK;
}

static lm_status prompt_ids(cli *c, const source *s, const cli_rest *r, json_t **messages, int32_t **ids,
                            size_t *n, bool *lm_owned, lm_error *err)
{
    const lm_text *t = lm_model_text(c->model);
    bool templated = t != NULL && lm_text_has_template(t);
    lm_quoted_buf q;
    *lm_owned = false;
    if (s->tokens != NULL) {
        LM_TRY(cli_parse_ids(s->tokens, strlen(s->tokens), ids, n, err));
    } else if (s->messages != NULL || (templated && !s->raw)) {
        json_t *root = NULL;
        *lm_owned = true;
        if (s->messages == NULL && (s->n_text == 0 || strspn(s->text, " \t\r\n") == s->n_text))
            return lm_fail(err, LM_ERR_USAGE, "the prompt is empty");
        LM_TRY(need_text(c, t, "a chat", err));
        if (!templated)
            return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no chat template, which --messages needs",
                           lm_quoted_z(&q, c->info.path));
        LM_TRY(messages_of(c, s, &root, err));
        lm_status st = r->messages != NULL ? go_on_with(r, &root, err) : LM_OK;
        if (st == LM_OK)
            st = render(t, root, cli_flag(&c->args, OPT_SPECIAL) ? LM_ENCODE_PARSE_ALL : 0u, ids, n, err);
        *messages = json_incref(json_object_get(root, "messages"));
        json_decref(root);
        LM_TRY(st);
    } else {
        *lm_owned = true;
        LM_TRY(need_text(c, t, "a text", err));
        if (cli_text(&c->args, OPT_SYSTEM) != NULL || cli_text(&c->args, OPT_THINK) != NULL)
            return lm_fail(err, LM_ERR_USAGE, "--%s needs a chat template, %s",
                           cli_text(&c->args, OPT_SYSTEM) != NULL ? "system" : "think",
                           templated ? "and --prompt, --file and --raw go past it" : "which this pack lacks");
        LM_TRY(lm_text_encode(t, s->text, s->n_text, LM_ENCODE_POST, ids, n, err));
    }
    if (*n == 0)
        return lm_fail(err, LM_ERR_USAGE, "the prompt is empty");
    return LM_OK;
}

typedef struct {
    cli *c;
    bool stream; /* text goes out as it comes */
    bool ids;    /* without a tokenizer: ids, with commas between */
    uint64_t first_ns;
    json_t *logprobs;
    char last; /* byte that was written */
} listener;

static json_t *token_text(const lm_text *t, int32_t id)
{
    char *s = NULL;
    size_t n = 0;
    if (t == NULL || lm_text_decode(t, &id, 1, false, &s, &n, NULL) != LM_OK)
        return json_null();
    json_t *j = cli_json_text(s, n);
    lm_give_back(s);
    return j != NULL ? j : json_null();
}

static void add_logprobs(listener *l, const lm_token_event *e)
{
    const lm_text *t = lm_model_text(l->c->model);
    json_t *top = json_array();
    for (size_t i = 0; i < e->n_top; i++)
        (void)json_array_append_new(top, json_pack("{s:i, s:o, s:f}", "token", (int)e->top[i].token, "text",
                                                   token_text(t, e->top[i].token), "logprob",
                                                   (double)e->top[i].logprob));
    (void)json_array_append_new(l->logprobs, json_pack("{s:i, s:o, s:f, s:o}", "token", (int)e->token, "text",
                                                       token_text(t, e->token), "logprob", (double)e->logprob,
                                                       "top", top));
}

static bool on_token(void *user, const lm_token_event *e)
{
    listener *l = user;
    if (l->first_ns == 0)
        l->first_ns = cli_now_ns() - l->c->born_ns;
    if (l->logprobs != NULL)
        add_logprobs(l, e);
    if (l->ids) {
        out_f("%s%d", l->last != 0 ? "," : "", (int)e->token);
        out_flush();
        l->last = '0';
    } else if (l->stream && e->n_text > 0) {
        out_text(e->text, e->n_text);
        out_flush();
        l->last = e->text[e->n_text - 1];
    }
    return !out_gone() && !cli_interrupted();
}

/* Null says that there is no tokenizer; no text is "". */
static json_t *text_json(const cli *c, const lm_generated *g)
{
    if (g->text != NULL)
        return cli_json_text(g->text, g->n_text);
    return lm_model_text(c->model) != NULL ? json_string("") : json_null();
}

static lm_status print_json(cli *c, const lm_generated *g, const lm_metrics *m, const listener *l,
                            lm_error *err)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < g->n_tokens; i++)
        (void)json_array_append_new(tokens, json_integer(g->tokens[i]));
    json_t *j = json_pack(
        "{s:o, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:s, s:I}", "text", text_json(c, g), "tokens", tokens,
        "prompt_tokens", (json_int_t)m->prompt_tokens, "cached_tokens", (json_int_t)m->cached_tokens,
        "load_ms", (double)c->info.load_ns / 1e6, "prefill_ms", (double)m->prefill_ns / 1e6, "first_token_ms",
        (double)l->first_ns / 1e6, "decode_ms", (double)m->decode_ns / 1e6, "peak_rss_bytes",
        (json_int_t)m->peak_rss_bytes, "stop", lm_stop_name(g->stop), "seed", (json_int_t)g->seed);
    if (j != NULL && l->logprobs != NULL)
        (void)json_object_set(j, "logprobs", l->logprobs);
    lm_status st = j != NULL ? out_json(j, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
    json_decref(j);
    return st;
}

/* The answer joins the conversation: as a message, or as more of the last one. */
static lm_status add_answer(json_t *messages, bool more, const char *text, size_t n, lm_error *err)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    const char *had = json_string_value(json_object_get(last, "content"));
    bool join = more && role != NULL && strcmp(role, "assistant") == 0 && had != NULL;
    lm_str all = { 0 };
    if (join)
        lm_str_addz(&all, had);
    lm_str_add(&all, text, n);
    lm_status st = lm_str_status(&all, err);
    json_t *content = st == LM_OK ? cli_json_text(all.n > 0 ? all.s : "", all.n) : NULL;
    int failed = join ? json_object_set_new(last, "content", content)
                      : json_array_append_new(
                            messages, json_pack("{s:s, s:o}", "role", "assistant", "content", content));
    lm_str_clear(&all);
    return failed == 0 ? st : lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
}

/* `messages` NULL: no conversation; `more`: it goes on within an answer. */
static lm_status generate(cli *c, lm_session *s, const cli_sampling *sampling, json_t *messages, bool more,
                          lm_error *err)
{
    const cli_args *a = &c->args;
    const lm_text *t = lm_model_text(c->model);
    bool json = cli_flag(a, OPT_JSON);
    int64_t n = t != NULL && lm_text_has_template(t) ? -1 : DEFAULT_RAW_TOKENS;
    if (cli_given(a, OPT_MAX_TOKENS))
        n = cli_int(a, OPT_MAX_TOKENS);
    listener l = { .c = c, .stream = !json };
    l.ids = l.stream && (t == NULL || !lm_text_has_tokenizer(t));
    lm_generated g = { .stop = LM_STOP_LENGTH, .seed = sampling->p.seed };
    lm_generate_options o;
    lm_generate_defaults(&o);
    o.sample = &sampling->p;
    o.max_tokens = n > 0 ? (uint32_t)n : 0;
    o.stop_strings = a->v[OPT_STOP].list;
    o.n_stop_strings = a->v[OPT_STOP].n;
    o.keep_special = cli_flag(a, OPT_SHOW_SPECIAL);
    o.skip_last = cli_text(a, OPT_SESSION) == NULL; /* nothing goes on from here */
    if (cli_given(a, OPT_LOGPROBS)) {
        o.want_logprobs = true;
        o.n_top = (uint32_t)cli_int(a, OPT_LOGPROBS);
        l.logprobs = json_array();
    }
    lm_status st = n == 0 ? LM_OK : lm_generate(s, &o, on_token, &l, &g, err);
    if (st == LM_OK) {
        lm_metrics m;
        lm_session_metrics(s, &m);
        if (json)
            st = print_json(c, &g, &m, &l, err);
        else if (l.ids || (out_is_terminal() && l.last != '\n'))
            out_z("\n");
        out_flush();
        if (g.stop == LM_STOP_CONTEXT)
            note_f("lemma: stopped at %u tokens, the context holds %u (-c raises it, up to %u as trained)",
                   (uint32_t)(m.cached_tokens + m.prompt_tokens + g.n_tokens), c->info.context,
                   c->info.trained_context);
        if (cli_flag(a, OPT_TIMINGS) && l.stream && !l.ids && !out_is_terminal() && l.last != '\n')
            note_f("%s", ""); /* the answer ended within a line, and stays exact */
        if (cli_flag(a, OPT_TIMINGS))
            cli_note_timings(c, &m, l.first_ns, g.seed);
    }
    if (st == LM_OK && messages != NULL)
        st = add_answer(messages, more, g.text != NULL ? g.text : "", g.n_text, err);
    lm_generated_clear(&g);
    json_decref(l.logprobs);
    return st;
}

/* What is put into the session before the answer. */
static lm_status ask(cli *c, lm_session *s, const source *src, const cli_rest *rest, json_t **messages,
                     lm_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    bool lm_owned = false;
    lm_quoted_buf q;
    if (src->none && !rest->woken) {
        lm_hint(err, "the first run of a session needs a prompt");
        return lm_fail(err, LM_ERR_NOT_FOUND, "there is no session '%s'", lm_quoted_z(&q, rest->name));
    }
    if (src->none) {
        *messages = json_incref(rest->messages);
        return LM_OK;
    }
    lm_status st = prompt_ids(c, src, rest, messages, &ids, &n, &lm_owned, err);
    const int32_t *more = ids;
    cli_interruptible(s);
    if (st == LM_OK && rest->messages != NULL && *messages != NULL) {
        st = cli_sync(c, s, ids, n, "", err);
    } else if (st == LM_OK) {
        cli_drop_bos(c, s, &more, &n);
        st = n > 0 ? cli_append(c, s, more, n, err) : LM_OK;
    }
    if (lm_owned)
        lm_give_back(ids);
    else
        lm_free(ids);
    return st;
}

/* What goes on in a session stays in it: awake, the prompt, the answer, asleep. */
static lm_status answer_in(cli *c, lm_session *s, const source *src, cli_sampling *sampling, cli_rest *rest,
                           json_t **messages, lm_error *err)
{
    if (rest->name != NULL)
        LM_TRY(cli_wake(c, s, rest, err));
    /* Without a new question the draws go on too. */
    if (src->none && !(cli_given(&c->args, OPT_SEED) && cli_int(&c->args, OPT_SEED) >= 0))
        (void)lm_session_seed(s, &sampling->p.seed);
    LM_TRY(ask(c, s, src, rest, messages, err));
    cli_interruptible(s);
    LM_TRY(generate(c, s, sampling, rest->name != NULL ? *messages : NULL, src->none, err));
    cli_interruptible(NULL);
    return rest->name != NULL ? cli_sleep(s, rest, *messages, err) : LM_OK;
}

static lm_status answer(cli *c, const source *src, lm_error *err)
{
    cli_sampling sampling = { 0 };
    cli_rest rest = { 0 };
    lm_session *s = NULL;
    json_t *messages = NULL;
    lm_status st = cli_sampling_of(c, &sampling, err);
    if (st == LM_OK)
        st = cli_rest_open(c, &rest, err);
    if (st == LM_OK)
        st = lm_session_open(&s, c->model, err);
    if (st == LM_OK)
        st = answer_in(c, s, src, &sampling, &rest, &messages, err);
    cli_interruptible(NULL);
    lm_session_close(s);
    cli_rest_close(&rest);
    json_decref(messages);
    cli_sampling_clear(&sampling);
    return st;
}

lm_status verb_run(cli *c, lm_error *err)
{
    const char *pack = NULL;
    source src = { 0 };
    lm_model_options o;
    LM_TRY(cli_take_pack(c, &pack, err));
    if (cli_given(&c->args, OPT_LOGPROBS) && !cli_flag(&c->args, OPT_JSON))
        return lm_fail(err, LM_ERR_USAGE, "--logprobs needs --json");
    LM_TRY(cli_model_options(c, &o, err));
    lm_status st = one_source(c, &src, err);
    if (st == LM_OK)
        st = cli_open_model(c, pack, &o, err);
    if (st == LM_OK)
        st = cli_trace_begin(c, err);
    if (st == LM_OK)
        st = answer(c, &src, err);
    if (st == LM_OK)
        st = cli_trace_end(c, err);
    lm_free(src.read);
    return st;
}
