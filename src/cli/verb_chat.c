/* cli/verb_chat.c - lemma chat: a conversation on one session.
 *
 * The conversation is a list of messages.  Each turn renders it through the
 * pack's template; what the session already holds of the rendering stays, and
 * only the rest is evaluated. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/chat.h"

typedef struct {
    cli *c;
    lm_session *s;
    json_t *messages; /* [{"role", "content"}] */
    cli_sampling sampling;
    uint64_t first_ns, asked_ns;
    lm_metrics before; /* this turn's figures are the difference to it */
    cli_rest rest;
    bool changed;     /* messages since the last sleep */
    uint64_t n_again; /* answers to the last question after its first */
    char last;
} chat;

static void add_message(chat *h, const char *role, const char *text, size_t n)
{
    (void)json_array_append_new(h->messages,
                                json_pack("{s:s, s:o}", "role", role, "content", cli_json_text(text, n)));
}

static const char *role_at(const chat *h, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(h->messages, i), "role"));
    return role != NULL ? role : "";
}

static bool has_system(const chat *h)
{
    return json_array_size(h->messages) > 0 && strcmp(role_at(h, 0), "system") == 0;
}

static void set_system(chat *h, const char *text, size_t n)
{
    if (has_system(h))
        (void)json_array_remove(h->messages, 0);
    if (n > 0)
        (void)json_array_insert_new(
            h->messages, 0, json_pack("{s:s, s:o}", "role", "system", "content", cli_json_text(text, n)));
}

/* Drops the answer at the end, and the question before it if `question`. */
static bool drop_turn(chat *h, bool question)
{
    size_t n = json_array_size(h->messages), before = n;
    if (n > 0 && strcmp(role_at(h, n - 1), "assistant") == 0)
        (void)json_array_remove(h->messages, --n);
    if (question && n > 0 && strcmp(role_at(h, n - 1), "user") == 0)
        (void)json_array_remove(h->messages, --n);
    return n < before;
}

static lm_status render(chat *h, int32_t **ids, size_t *n, lm_error *err)
{
    const char *think = cli_text(&h->c->args, OPT_THINK);
    json_t *root = json_pack("{s:O}", "messages", h->messages);
    if (root != NULL && think != NULL)
        (void)json_object_set_new(root, "enable_thinking", json_boolean(strcmp(think, "on") == 0));
    char *json = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (json == NULL)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the messages");
    lm_status st =
        lm_text_chat(lm_model_text(h->c->model), json, strlen(json), -1,
                     cli_flag(&h->c->args, OPT_SPECIAL) ? LM_ENCODE_PARSE_ALL : 0u, NULL, NULL, ids, n, err);
    free(json); /* jansson's own allocation */
    return st;
}

static bool on_token(void *user, const lm_token_event *e)
{
    chat *h = user;
    if (h->first_ns == 0)
        h->first_ns = cli_now_ns() - h->asked_ns;
    if (e->n_text > 0) {
        out_text(e->text, e->n_text);
        out_flush();
        h->last = e->text[e->n_text - 1];
    }
    return !out_gone() && !cli_interrupted();
}

static lm_metrics turn_metrics(const chat *h)
{
    lm_metrics m;
    lm_session_metrics(h->s, &m);
    m.prompt_tokens -= h->before.prompt_tokens;
    m.generated_tokens -= h->before.generated_tokens;
    m.prefill_ns -= h->before.prefill_ns;
    m.decode_ns -= h->before.decode_ns;
    m.prefill_tokens_per_second = m.prefill_ns > 0 ? (double)m.prompt_tokens * 1e9 / (double)m.prefill_ns : 0;
    m.decode_tokens_per_second = m.decode_ns > 0 ? (double)m.generated_tokens * 1e9 / (double)m.decode_ns : 0;
    return m;
}

static lm_status generate(chat *h, lm_error *err)
{
    const cli_args *a = &h->c->args;
    lm_generated g = { 0 };
    lm_generate_options o;
    lm_generate_defaults(&o);
    o.sample = &h->sampling.p;
    o.max_tokens = cli_int(a, OPT_MAX_TOKENS) > 0 ? (uint32_t)cli_int(a, OPT_MAX_TOKENS) : 0;
    o.stop_strings = a->v[OPT_STOP].list;
    o.n_stop_strings = a->v[OPT_STOP].n;
    o.keep_special = cli_flag(a, OPT_SHOW_SPECIAL);
    h->first_ns = 0;
    h->last = '\n';
    LM_TRY(lm_generate(h->s, &o, on_token, h, &g, err));
    if (h->last != '\n' && (out_is_terminal() || g.stop != LM_STOP_CANCELLED))
        out_z("\n");
    out_flush();
    if (g.stop == LM_STOP_CANCELLED)
        note_f("(stopped; /regen tries again, /undo takes the question back)");
    if (g.stop == LM_STOP_CONTEXT)
        note_f("lemma: stopped at %u tokens, the context holds %u: /undo, /clear, or start with a larger -c",
               lm_session_n_tokens(h->s), h->c->info.context);
    if (cli_flag(a, OPT_TIMINGS)) {
        lm_metrics m = turn_metrics(h);
        cli_note_timings(h->c, &m, h->first_ns, g.seed);
    }
    add_message(h, "assistant", g.text != NULL ? g.text : "", g.n_text);
    lm_generated_clear(&g);
    return LM_OK;
}

/* After every turn: what comes next may be the end of the process. */
static void rest(chat *h)
{
    lm_error err = { 0 };
    h->changed = false;
    if (h->rest.name == NULL || lm_session_n_tokens(h->s) == 0)
        return;
    if (cli_sleep(h->s, &h->rest, h->messages, &err) != LM_OK)
        note_error(&err);
}

static bool seed_is_fixed(const chat *h)
{
    return cli_given(&h->c->args, OPT_SEED) && cli_int(&h->c->args, OPT_SEED) >= 0;
}

/* One answer to the messages as they stand.  A failure is told and the
 * conversation goes on without the last question. */
static void answer(chat *h)
{
    lm_error err = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    h->asked_ns = cli_now_ns();
    lm_session_metrics(h->s, &h->before);
    cli_interruptible(h->s);
    lm_status st = render(h, &ids, &n, &err);
    if (st == LM_OK)
        st = cli_sync(h->c, h->s, ids, n, "/undo or /clear, or", &err);
    if (st == LM_OK)
        st = generate(h, &err);
    lm_give_back(ids);
    cli_interruptible(NULL);
    if (st != LM_OK && st != LM_ERR_CANCELLED)
        note_error(&err);
    if (st == LM_ERR_CANCELLED)
        note_f("(stopped)");
    if (st != LM_OK)
        (void)drop_turn(h, true);
    else
        rest(h);
    cli_rest_news(&h->rest);
    cli_interrupt_forget();
    h->sampling.p.seed += !seed_is_fixed(h);
}

/* Another answer needs another seed: the one that was given, plus 1, 2, ... until
 * the next question. */
static void answer_again(chat *h)
{
    uint64_t seed = h->sampling.p.seed;
    if (h->sampling.p.temperature <= 0)
        note_f("(greedy: the answer can only be the same; --temp chooses)");
    else if (seed_is_fixed(h))
        note_f("(seed %llu)", (unsigned long long)(h->sampling.p.seed = seed + ++h->n_again));
    answer(h);
    if (seed_is_fixed(h))
        h->sampling.p.seed = seed;
}

static void save(chat *h, const char *path)
{
    lm_error err = { 0 };
    if (*path == '\0') {
        note_f("lemma: /save needs a file name");
        return;
    }
    char *json = json_dumps(h->messages, JSON_INDENT(2));
    lm_str text = { 0 };
    if (json != NULL)
        lm_str_addf(&text, "%s\n", json);
    lm_status st =
        json != NULL ? lm_str_status(&text, &err) : lm_fail(&err, LM_ERR_NOMEM, "no memory for the messages");
    free(json); /* jansson's own allocation */
    if (st == LM_OK)
        st = lm_write_file(path, text.s, text.n, 0600, &err);
    lm_str_clear(&text);
    if (st != LM_OK) {
        note_error(&err);
        return;
    }
    lm_quoted_buf q;
    note_f("%zu message%s in %s; 'lemma run PACK --messages' reads them", json_array_size(h->messages),
           json_array_size(h->messages) == 1 ? "" : "s", lm_quoted_z(&q, path));
}

const char cli_chat_commands[] =
    "/help          this list\n"
    "/regen         another answer to the last question\n"
    "/undo          take the last question and its answer back\n"
    "/clear         start over; the system message stays\n"
    "/system TEXT   set the system message; without TEXT, none\n"
    "/save FILE     write the messages as JSON\n"
    "/quit          leave, as ctrl-D does\n"
    "\n"
    "ctrl-C stops an answer. Several lines: paste them, put them between \"\"\" and\n"
    "\"\"\", or end a line with a backslash.\n";

/* True when the text was a command; *quit when it was the last one. */
static bool command(chat *h, const char *text, bool *quit)
{
    size_t n = strcspn(text, " \t\n");
    const char *rest = text + n + strspn(text + n, " \t");
    lm_quoted_buf q;
    if (text[0] != '/')
        return false;
    if (n == 5 && memcmp(text, "/help", n) == 0) {
        out_z(cli_chat_commands);
    } else if (n == 6 && memcmp(text, "/regen", n) == 0) {
        if (drop_turn(h, false) || (json_array_size(h->messages) > has_system(h)))
            answer_again(h);
        else
            note_f("there is no answer to repeat yet");
    } else if (n == 5 && memcmp(text, "/undo", n) == 0) {
        h->changed = true;
        note_f(drop_turn(h, true) ? "the last question is taken back" : "there is nothing to take back");
    } else if (n == 6 && memcmp(text, "/clear", n) == 0) {
        while (json_array_size(h->messages) > (has_system(h) ? 1u : 0u))
            (void)json_array_remove(h->messages, json_array_size(h->messages) - 1);
        h->changed = true;
        note_f("the conversation starts over");
    } else if (n == 7 && memcmp(text, "/system", n) == 0) {
        set_system(h, rest, strlen(rest));
        h->changed = true;
        note_f(*rest != '\0' ? "the system message is set" : "there is no system message now");
    } else if (n == 5 && memcmp(text, "/save", n) == 0) {
        save(h, rest);
    } else if ((n == 5 && (memcmp(text, "/quit", n) == 0 || memcmp(text, "/exit", n) == 0)) ||
               (n == 4 && memcmp(text, "/bye", n) == 0)) {
        *quit = true;
    } else {
        note_f("lemma: there is no command '%s'; /help lists them", lm_quoted(&q, text, LM_MIN(n, 40)));
    }
    out_flush();
    return true;
}

static void loop(chat *h, line_reader *lines)
{
    const char *text = NULL;
    size_t n = 0;
    bool quit = false;
    while (!quit && !out_gone() && line_reader_next(lines, &text, &n)) {
        if (n == 0 || strspn(text, " \t\n") == n || command(h, text, &quit))
            continue;
        add_message(h, "user", text, n);
        h->n_again = 0;
        answer(h);
    }
    if (h->changed)
        rest(h);
    if (!quit && out_is_terminal())
        out_z("\n"); /* the shell's prompt begins a line */
}

/* Makes the folder of the history and says where the file is; NULL: none. */
static const char *history_path(const cli *c, char *buf, size_t cap)
{
    const char *dir = cli_text(&c->args, OPT_STATE_DIR);
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (cli_state_off(&c->args) || isatty(STDIN_FILENO) != 1)
        return NULL;
    if (dir != NULL)
        n = snprintf(buf, cap, "%s", dir);
    else if (xdg != NULL && xdg[0] == '/')
        n = snprintf(buf, cap, "%s/lemma", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(buf, cap, "%s/.local/state/lemma", home);
    else
        return NULL;
    if (n <= 0 || (size_t)n + sizeof "/chat_history" > cap)
        return NULL;
    for (char *p = buf + 1; *p != '\0'; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(buf, 0700);
            *p = '/';
        }
    (void)mkdir(buf, 0700);
    memcpy(buf + n, "/chat_history", sizeof "/chat_history");
    return buf;
}

static void greet(const cli *c)
{
    if (isatty(STDIN_FILENO) != 1 || !out_is_terminal())
        return;
    char memory[32];
    const char *name = strrchr(c->info.path, '/');
    lm_quoted_buf q;
    size_text(memory, sizeof memory, (double)c->info.weight_bytes);
    note_f("%s, %s, %s; context %u tokens. /help lists the commands, ctrl-D leaves.",
           lm_quoted_z(&q, name != NULL && name[1] != '\0' ? name + 1 : c->info.path), memory, c->info.device,
           c->info.context);
}

/* The conversation that --session names, if the store has it. */
static lm_status wake(chat *h, lm_error *err)
{
    lm_quoted_buf q;
    if (h->rest.name == NULL)
        return LM_OK;
    LM_TRY(cli_wake(h->c, h->s, &h->rest, err));
    cli_interruptible(NULL);
    if (h->rest.woken && h->rest.messages == NULL) {
        lm_hint(err, "lemma run PACK --session %.100s goes on with it", lm_quoted_z(&q, h->rest.name));
        return lm_fail(err, LM_ERR_USAGE, "session '%s' is a text and no conversation",
                       lm_quoted_z(&q, h->rest.name));
    }
    if (h->rest.woken) {
        (void)json_array_extend(h->messages, h->rest.messages);
        note_f("(session '%s' goes on: %zu messages, %u tokens)", lm_quoted_z(&q, h->rest.name),
               json_array_size(h->messages), lm_session_n_tokens(h->s));
    }
    return LM_OK;
}

lm_status verb_chat(cli *c, lm_error *err)
{
    const char *pack = NULL, *system = cli_text(&c->args, OPT_SYSTEM);
    char path[4096];
    lm_model_options o;
    lm_quoted_buf q;
    line_reader *lines = NULL;
    chat h = { .c = c };
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(cli_model_options(c, &o, err));
    LM_TRY(cli_open_model(c, pack, &o, err));
    const lm_text *t = lm_model_text(c->model);
    if (t == NULL || !lm_text_has_template(t)) {
        lm_hint(err, "lemma run PACK \"the beginning of a text\"");
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no chat template, which a conversation needs",
                       lm_quoted_z(&q, c->info.path));
    }
    lm_status st = cli_sampling_of(c, &h.sampling, err);
    h.messages = json_array();
    if (st == LM_OK)
        st = cli_rest_open(c, &h.rest, err);
    if (st == LM_OK)
        st = lm_session_open(&h.s, c->model, err);
    if (st == LM_OK)
        st = wake(&h, err);
    if (st == LM_OK)
        st = line_reader_open(&lines, history_path(c, path, sizeof path), err);
    if (st == LM_OK) {
        if (system != NULL)
            set_system(&h, system, strlen(system));
        greet(c);
        loop(&h, lines);
    }
    line_reader_close(lines);
    lm_session_close(h.s);
    cli_rest_close(&h.rest);
    json_decref(h.messages);
    cli_sampling_clear(&h.sampling);
    return st;
}
