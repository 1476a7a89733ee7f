/* cli/cli.h - what the verbs share: one run of the program, its output, its model.
 *
 * Results go to standard output, everything else to standard error.  Nothing
 * that a model or a file says reaches a terminal raw: control characters are
 * spelled out there, and exact everywhere else.
 *
 * Threads: one thread; the handler of SIGINT only cancels. */
#ifndef LM_CLI_H
#define LM_CLI_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/str.h"
#include "cli/options.h"

typedef struct {
    cli_args args;
    size_t i_word;      /* first word that is not taken yet */
    const char *sub;    /* "inspect" of lemma pack inspect; NULL: none */
    uint64_t born_ns;   /* start of the process, on the monotonic clock */
    uint64_t opened_ns; /* when opening the model began */
    lm_model *model;
    lm_model_info info;
    lm_text *own_text; /* of verbs that open no model */
} cli;

typedef lm_status (*verb_run_fn)(cli *c, lm_error *err);
lm_status verb_run(cli *c, lm_error *err);
lm_status verb_chat(cli *c, lm_error *err);
lm_status verb_pack(cli *c, lm_error *err);
lm_status verb_tokenize(cli *c, lm_error *err);
lm_status verb_template(cli *c, lm_error *err);
lm_status verb_logits(cli *c, lm_error *err);
lm_status verb_perplexity(cli *c, lm_error *err);
lm_status verb_bench(cli *c, lm_error *err);
lm_status verb_state(cli *c, lm_error *err);
lm_status verb_prepare(cli *c, lm_error *err);
lm_status verb_doctor(cli *c, lm_error *err);
lm_status verb_help(cli *c, lm_error *err);
lm_status verb_version(cli *c, lm_error *err);
lm_status verb_gen(cli *c, lm_error *err);

/* --- words: cli/setup.c ------------------------------------------------------------ */

/* --model, else the next word; a complaint that says what to type. */
lm_status cli_take_pack(cli *c, const char **pack, lm_error *err);
const char *cli_take_word(cli *c); /* NULL: none left */
lm_status cli_no_more_words(cli *c, lm_error *err);

/* --- models: cli/setup.c ----------------------------------------------------------- */

/* What the options say; `options` may be changed before cli_open_model(). */
lm_status cli_model_options(cli *c, lm_model_options *options, lm_error *err);
lm_status cli_open_model(cli *c, const char *pack, const lm_model_options *options, lm_error *err);
/* The pack's sampling, or the library's when greedy, under the options.  Arrays
 * are owned by *own, which cli_sampling_clear() frees. */
typedef struct {
    lm_sample_params p;
    lm_logit_bias *bias;
    size_t n_bias, cap_bias;
} cli_sampling;
lm_status cli_sampling_of(cli *c, cli_sampling *out, lm_error *err);
void cli_sampling_clear(cli_sampling *s);
/* "512M", "8G", "1.5 GiB" or bytes; *out stays where the option was not given. */
lm_status cli_size(const cli *c, opt_id id, uint64_t *out, lm_error *err);
/* Damage to a prepared copy that showed since the model was opened, once. */
void cli_note_prepared(cli *c);
/* Evaluates ids slice by slice, with progress on the way. */
lm_status cli_append(cli *c, lm_session *s, const int32_t *ids, size_t n, lm_error *err);
uint64_t cli_now_ns(void);
/* "load 12 ms, prompt 34 tokens at 210.3/s, ..." */
void cli_note_timings(cli *c, const lm_metrics *m, uint64_t first_token_ns, uint64_t seed);

/* --- one step's record: cli/trace.c ------------------------------------------------ */

bool cli_trace_prefill(const cli *c);
/* Asks for it where --trace was given; then, after some steps, writes it and says
 * what it shows. */
lm_status cli_trace_begin(cli *c, lm_error *err);
lm_status cli_trace_end(cli *c, lm_error *err);

/* --- what is kept: cli/keep.c ------------------------------------------------------- */

lm_status cli_open_store(cli *c, lm_store **out, lm_error *err); /* --state-dir, --state-budget */
/* The store of a run, and the session that --session names: held, and awake where the
 * store has it. */
typedef struct {
    lm_store *store;  /* NULL: nothing is kept */
    const char *name; /* NULL: no session */
    lm_state_hold *hold;
    bool woken;
    json_t *messages; /* of the woken session; NULL: it is no conversation */
    json_t *labels;   /* of the woken session, and those of --label; NULL: none */
    char *metadata;   /* of the woken session; ours */
    char title[96];
} cli_rest;
/* --label as an object of texts: NULL when there is none. */
lm_status cli_labels(const cli *c, json_t **labels, lm_error *err);
/* The model's sessions begin where the store has been, unless state is off.  What fails
 * is an error with --session, and a note without. */
lm_status cli_rest_open(cli *c, cli_rest *out, lm_error *err);
/* A pack that computes otherwise than the one that slept costs a replay, and a note;
 * another model is refused. */
lm_status cli_wake(cli *c, lm_session *s, cli_rest *r, lm_error *err);
/* Back to sleep; `messages` NULL: it is no conversation. */
lm_status cli_sleep(lm_session *s, cli_rest *r, const json_t *messages, lm_error *err);
/* Brings the session to exactly `ids`: what both begin with stays.  `hint` begins what is
 * said when that is too long. */
lm_status cli_sync(cli *c, lm_session *s, const int32_t *ids, size_t n, const char *hint, lm_error *err);
/* Drops what the tokenizer puts in front of every text, when `s` goes on: a session
 * has it already. */
void cli_drop_bos(const cli *c, const lm_session *s, const int32_t **ids, size_t *n);
void cli_rest_news(const cli_rest *r);
void cli_rest_close(cli_rest *r); /* after the session */

/* cli/state_model.c: the forms of 'lemma state' that compute; `word` are its names. */
lm_status state_sleep(cli *c, lm_store *store, const char *const *word, lm_error *err);
lm_status state_wake(cli *c, lm_store *store, const char *const *word, lm_error *err);
lm_status state_fold(cli *c, lm_store *store, const char *const *word, lm_error *err);
/* After an import: the session of that name, computed again and compared. */
lm_status state_verify(cli *c, lm_store *store, const char *name, lm_error *err);
/* cli/state_file.c: other formats than our own bundle. */
typedef enum { STATE_BUNDLE, STATE_SNAPSHOT, STATE_BLOCKS } state_format;
state_format state_format_of(const char *path); /* by its first bytes */
lm_status state_export(cli *c, lm_store *store, const char *name, const char *path, bool blocks,
                       lm_error *err);
lm_status state_import(cli *c, lm_store *store, const char *path, const char *name, state_format format,
                       lm_error *err);
/* Prints an object: as JSON with --json, else as lines.  Takes it. */
lm_status state_tell(cli *c, json_t *j, lm_error *err);

/* --- input: cli/input.c ------------------------------------------------------------ */

/* The whole of a file, a pipe, or standard input ("-"), up to a limit; freed with
 * lm_free().  A file that is not there is LM_ERR_USAGE: an argument named it. */
lm_status cli_read(const char *path, char **out, size_t *n, lm_error *err);
/* LM_ERR_USAGE for a PACK that is a text's file by its name (.json, .jinja) and
 * is not there. */
lm_status cli_need_text_file(const char *path, lm_error *err);
/* Whether a file of that name can be written, said before anything is computed. */
lm_status cli_can_write(const char *path, lm_error *err);
/* "1,2 3", "[1, 2]" or {"tokens": [1, 2]}; freed with lm_free(). */
lm_status cli_parse_ids(const char *text, size_t n, int32_t **ids, size_t *n_ids, lm_error *err);
/* ISO 8601 to seconds since 1970. */
lm_status cli_parse_time(const char *text, int64_t *out, lm_error *err);
json_t *cli_json_text(const char *s, size_t n); /* ill-formed UTF-8 becomes U+FFFD */
/* Parses JSON that a person wrote; complaints name file, line and column. */
lm_status cli_json_parse(const char *what, const char *text, size_t n, json_t **out, lm_error *err);

/* --- output: cli/out.c ------------------------------------------------------------- */

void out_setup(void);
bool out_is_terminal(void);
bool err_is_terminal(void);
bool out_colour(void);                            /* a terminal, and NO_COLOR is not set */
void out_text(const char *s, size_t n);           /* from a model or a file */
void out_z(const char *s);                        /* our own */
void out_f(const char *fmt, ...) LM_PRINTF(1, 2); /* our own */
void out_flush(void);
bool out_gone(void); /* whoever read our output went away */
/* LM_ERR_IO when something could not be written, a full disk for example. */
lm_status out_close(lm_error *err);
lm_status out_json(const json_t *json, lm_error *err);
/* Appends s with control characters spelled out; *lines keeps \n and \t. */
void out_escape(lm_str *to, const char *s, size_t n, bool lines);

void note_f(const char *fmt, ...) LM_PRINTF(1, 2); /* a line on standard error */
void note_error(const lm_error *err);
/* "prefill 1024 of 4096 tokens, 210/s, 14 s left"; shown after a second, on
 * terminals only. */
typedef struct {
    const char *what, *unit;
    uint64_t start_ns, said_ns;
    bool shown;
} cli_progress;
void progress_start(cli_progress *p, const char *what, const char *unit);
void progress_at(cli_progress *p, uint64_t done, uint64_t of);
void progress_end(cli_progress *p);

/* --- tables: cli/table.c ----------------------------------------------------------- */

typedef struct {
    char **cell; /* row by row */
    size_t n_cells, cap, n_cols;
    bool failed;
} cli_table;
void table_open(cli_table *t, size_t n_cols);
void table_add(cli_table *t, const char *text);
void table_addf(cli_table *t, const char *fmt, ...) LM_PRINTF(2, 3);
/* Columns that hold numbers only are right-aligned; the first row is a head
 * when `head`. */
void table_print(const cli_table *t, bool head);
void table_close(cli_table *t);
/* Any JSON document for people: scalars as "key  value", arrays of objects as tables. */
void table_json(const json_t *json);
void size_text(char *buf, size_t cap, double bytes); /* "97.5 MiB" */

/* --- interruption: cli/main.c ------------------------------------------------------ */

/* From now on SIGINT cancels this session; NULL: it ends the program with 130. */
void cli_interruptible(lm_session *s);
bool cli_interrupted(void);
void cli_interrupt_forget(void);

/* --- help: cli/help.c, cli/gen.c --------------------------------------------------- */

void help_overview(void);
void help_verb(const verb *v);
extern const char cli_chat_commands[]; /* cli/verb_chat.c */

#endif
