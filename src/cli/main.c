/* cli/main.c - which verb, then what its outcome means for the shell. */
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "cli/cli.h"

/* SIGINT: the first one asks the session that runs to stop, the next one ends
 * the program.  Storing an atomic flag is all that lm_session_cancel() does. */
static volatile sig_atomic_t interrupted;
static lm_session *volatile running;

static void on_sigint(int sig)
{
    (void)sig;
    lm_session *s = running;
    if (s == NULL || interrupted)
        _exit(130);
    interrupted = 1;
    lm_session_cancel(s);
}

void cli_interruptible(lm_session *s)
{
    running = s;
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

void cli_interrupt_forget(void)
{
    interrupted = 0;
}

static void set_signals(void)
{
    struct sigaction sa = { .sa_handler = SIG_IGN };
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGPIPE, &sa, NULL); /* a closed pipe is a failed write, not a death */
    (void)sigaction(SIGXFSZ, &sa, NULL); /* and so is a file that may not grow */
    sa.sa_handler = on_sigint;
    (void)sigaction(SIGINT, &sa, NULL);
}

/* The process began before main(): what the loader took is in its CPU time. */
static uint64_t birth(void)
{
    struct timespec cpu = { 0 };
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return cli_now_ns() - ((uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec);
}

static verb_run_fn code_of(verb_id id)
{
    static const verb_run_fn code[VERB_COUNT] = {
        [VERB_RUN] = verb_run,
        [VERB_CHAT] = verb_chat,
        [VERB_PACK] = verb_pack,
        [VERB_TOKENIZE] = verb_tokenize,
        [VERB_TEMPLATE] = verb_template,
        [VERB_LOGITS] = verb_logits,
        [VERB_PERPLEXITY] = verb_perplexity,
        [VERB_BENCH] = verb_bench,
        [VERB_STATE] = verb_state,
        [VERB_PREPARE] = verb_prepare,
        [VERB_DOCTOR] = verb_doctor,
        [VERB_HELP] = verb_help,
        [VERB_VERSION] = verb_version,
        [VERB_GEN] = verb_gen,
    };
    return code[id];
}

static lm_status no_such_verb(const char *word, lm_error *err)
{
    lm_quoted_buf q;
    struct stat st;
    const char *near = cli_nearest_verb(word);
    if (stat(word, &st) == 0)
        lm_hint(err, "did you mean: lemma run %s", lm_quoted_z(&q, word));
    else if (near != NULL)
        lm_hint(err, "did you mean: lemma %s", near);
    else
        lm_hint(err, "'lemma help' lists the verbs; a model is run with: lemma run PACK");
    return lm_fail(err, LM_ERR_USAGE, "there is no verb '%s'", lm_quoted_z(&q, word));
}

static lm_status run_verb(cli *c, int argc, char **argv, lm_error *err)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    const verb *v = NULL;
    if (word == NULL) {
        help_overview();
        return LM_OK;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        v = &cli_verbs[VERB_HELP];
    else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        v = &cli_verbs[VERB_VERSION];
    else
        v = cli_verb_find(word);
    if (v == NULL && word[0] == '-') {
        lm_quoted_buf q;
        lm_hint(err, "the verb comes first: lemma run PACK [options]; 'lemma help' lists the verbs");
        return lm_fail(err, LM_ERR_USAGE, "'%s' stands where a verb is expected", lm_quoted_z(&q, word));
    }
    if (v == NULL)
        return no_such_verb(word, err);
    LM_TRY(cli_args_parse(&c->args, v, argc - 2, argv + 2, err));
    if (cli_flag(&c->args, OPT_VERSION)) {
        c->i_word = c->args.n_words; /* whatever else was given */
        return verb_version(c, err);
    }
    if (cli_flag(&c->args, OPT_HELP)) {
        help_verb(v);
        return LM_OK;
    }
    const char *layers = cli_text(&c->args, OPT_GPU_LAYERS);
    if (layers != NULL && strcmp(layers, "0") != 0)
        note_f("lemma: --gpu-layers changes nothing: this version computes on the CPU");
    return code_of(v->id)(c, err);
}

int main(int argc, char **argv)
{
    cli c = { .born_ns = birth() };
    lm_error err = { 0 };
    (void)setlocale(LC_CTYPE, "");
    out_setup();
    set_signals();
    lm_status st = lm_guard_mappings(&err);
    if (st == LM_OK)
        st = run_verb(&c, argc, argv, &err);
    running = NULL;
    cli_note_prepared(&c);
    lm_text_close(c.own_text);
    lm_model_close(c.model);
    if (st == LM_OK)
        st = out_close(&err);
    else
        out_flush();
    int code = lm_status_exit_code(st);
    if (cli_interrupted())
        code = 130;
    else if (out_gone())
        code = 0; /* whoever read us has seen enough */
    else if (st != LM_OK)
        note_error(&err);
    cli_args_clear(&c.args);
    return code;
}
