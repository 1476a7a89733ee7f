/* cli/options.h - the one table of verbs and options, and the parser that reads it.
 *
 * Everything that knows an option comes from here: parsing, environment names,
 * keys of the configuration file, help, man pages and completion.  A value comes
 * from the command line, else the environment, else the configuration file
 * ($XDG_CONFIG_HOME/lemma/config), else the table.
 *
 * Trust:   arguments, environment and file are checked here, once.
 * Threads: one thread. */
#ifndef LM_CLI_OPTIONS_H
#define LM_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lemma/lemma.h"

typedef enum {
    VERB_RUN,
    VERB_CHAT,
    VERB_PACK,
    VERB_TOKENIZE,
    VERB_TEMPLATE,
    VERB_LOGITS,
    VERB_PERPLEXITY,
    VERB_BENCH,
    VERB_STATE,
    VERB_PREPARE,
    VERB_DOCTOR,
    VERB_HELP,
    VERB_VERSION,
    VERB_GEN,
    VERB_COUNT
} verb_id;

typedef enum {
    OPT_MODEL,
    OPT_BACKEND,
    OPT_ISA,
    OPT_COMPUTE,
    OPT_NO_PREPARED,
    OPT_PREPARED_BUDGET,
    OPT_PREPARED_LIST,
    OPT_REMOVE,
    OPT_THREADS,
    OPT_CPU_MASK,
    OPT_KV,
    OPT_CACHE_TYPE_K,
    OPT_CACHE_TYPE_V,
    OPT_CTX,
    OPT_CHUNK,
    OPT_STATE,
    OPT_NO_STATE,
    OPT_STATE_DIR,
    OPT_STATE_BUDGET,
    OPT_SESSION,
    OPT_PROMPT,
    OPT_FILE,
    OPT_TOKENS,
    OPT_MESSAGES,
    OPT_RAW,
    OPT_SYSTEM,
    OPT_THINK,
    OPT_SPECIAL,
    OPT_MAX_TOKENS,
    OPT_IGNORE_EOS,
    OPT_STOP,
    OPT_SHOW_SPECIAL,
    OPT_LOGPROBS,
    OPT_TIMINGS,
    OPT_TEMP,
    OPT_GREEDY,
    OPT_SEED,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_TYPICAL,
    OPT_TOP_N_SIGMA,
    OPT_XTC_PROBABILITY,
    OPT_XTC_THRESHOLD,
    OPT_DYNATEMP_RANGE,
    OPT_DYNATEMP_EXP,
    OPT_REPEAT_PENALTY,
    OPT_REPEAT_LAST_N,
    OPT_PRESENCE_PENALTY,
    OPT_FREQUENCY_PENALTY,
    OPT_DRY_MULTIPLIER,
    OPT_DRY_BASE,
    OPT_DRY_ALLOWED_LENGTH,
    OPT_DRY_PENALTY_LAST_N,
    OPT_DRY_BREAKER,
    OPT_MIROSTAT,
    OPT_MIROSTAT_ENT,
    OPT_MIROSTAT_LR,
    OPT_LOGIT_BIAS,
    OPT_BAN,
    OPT_MIN_TOKENS,
    OPT_MIN_KEEP,
    OPT_SAMPLERS,
    OPT_OUTPUT,
    OPT_LAST,
    OPT_MIX,
    OPT_TOKENS_FILE,
    OPT_KL_BASE,
    OPT_DECODE,
    OPT_NO_SPECIAL,
    OPT_SKIP_SPECIAL,
    OPT_PIECES,
    OPT_CONTEXT,
    OPT_NOW,
    OPT_QUICK,
    OPT_OLDER,
    OPT_ALL,
    OPT_REBUILD,
    OPT_VERIFY,
    OPT_AT,
    OPT_SUMMARY,
    OPT_TAIL,
    OPT_WITH_MESSAGES,
    OPT_LABEL,
    OPT_TRACE,
    OPT_TRACE_STEP,
    OPT_BENCH_PROMPT,
    OPT_BENCH_GEN,
    OPT_BENCH_DEPTH,
    OPT_BENCH_THREADS,
    OPT_BENCH_KV,
    OPT_BENCH_ISA,
    OPT_BENCH_COMPUTE,
    OPT_REPEATS,
    OPT_START,
    OPT_TARGET,
    OPT_APPEND,
    OPT_TURN,
    OPT_WATTS,
    OPT_NOISE,
    OPT_FAIL_ON_REGRESSION,
    OPT_PLOT,
    OPT_FORMAT,
    OPT_MAKE_OUTPUT,
    OPT_JSON,
    OPT_HELP,
    OPT_VERSION,
    OPT_NO_MMAP,
    OPT_MLOCK,
    OPT_FLASH_ATTN,
    OPT_GPU_LAYERS,
    OPT_JINJA,
    OPT_NO_WARMUP,
    OPT_NO_DISPLAY_PROMPT,
    OPT_COUNT
} opt_id;

typedef enum {
    TYPE_FLAG,
    TYPE_INT,
    TYPE_REAL,
    TYPE_TEXT,
    TYPE_FILE,   /* text that completes as a file name */
    TYPE_FOLDER, /* text that completes as a folder */
    TYPE_PACK,
    TYPE_CHOICE,  /* one of `choices` */
    TYPE_CHOICES, /* some of them, comma-separated */
    TYPE_TEXTS,   /* may be given several times */
    TYPE_INTS,    /* comma-separated whole numbers */
} opt_type;

typedef enum {
    GROUP_MODEL,
    GROUP_PROMPT,
    GROUP_OUTPUT,
    GROUP_SAMPLING,
    GROUP_MEASURE,
    GROUP_GENERAL,
    GROUP_HARMLESS, /* accepted because other programs have it; changes nothing */
    GROUP_COUNT
} opt_group;

enum {
    OPT_LINE_ONLY = 1, /* neither environment nor configuration file */
    OPT_HIDDEN = 2,    /* neither help nor completion */
    OPT_NOT_EMPTY = 4, /* an empty text is refused */
};

typedef struct {
    opt_id id;
    const char *name;    /* long form, and key of the configuration file */
    char letter;         /* short form, or 0 */
    const char *single;  /* spelling of several letters after one dash, or NULL */
    const char *aliases; /* other long forms, comma-separated, or NULL */
    opt_type type;
    opt_group group;
    unsigned flags;
    const char *arg; /* what the value is called; NULL for flags */
    double min, max; /* of numbers */
    const char *choices;
    const char *fallback; /* the value without the option, parsed like one; or NULL */
    const char *shown;    /* said of the default where `fallback` cannot say it */
    const char *env;
    uint32_t verbs; /* bit 1 << verb_id */
    const char *help;
} opt;

typedef struct {
    verb_id id;
    const char *name;
    const char *usage[16]; /* without "lemma NAME"; ends with NULL */
    const char *summary;   /* one line without a full stop */
    bool hidden;
} verb;

extern const verb cli_verbs[VERB_COUNT];
extern const opt cli_options[OPT_COUNT];
extern const char *const cli_groups[GROUP_COUNT];

typedef enum { FROM_TABLE, FROM_CONFIG, FROM_ENV, FROM_LINE } opt_source;

typedef struct {
    opt_source source;
    bool set; /* by anything but the table */
    int64_t i;
    double f;
    const char *s;     /* as it was given */
    const char **list; /* TYPE_TEXTS, TYPE_CHOICES */
    int64_t *ints;     /* TYPE_INTS */
    size_t n, cap;
} opt_value;

typedef struct {
    const verb *verb;
    opt_value v[OPT_COUNT];
    const char **words; /* what is not an option, in order */
    size_t n_words, cap_words;
    char **kept; /* strings that came from the configuration file */
    size_t n_kept, cap_kept;
} cli_args;

const verb *cli_verb_find(const char *name); /* NULL: unknown */
/* The option of this verb with that long name or alias; NULL: none. */
const opt *cli_option_find(const verb *v, const char *name, size_t n);
bool cli_option_of(const opt *o, const verb *v);
/* Nearest name by edits, NULL when nothing is near enough. */
const char *cli_nearest_verb(const char *name);
const opt *cli_nearest_option(const verb *v, const char *name, size_t n);

/* Reads argv[0..argc) (without program and verb), environment and configuration.
 * LM_ERR_USAGE names the option, the value and what is allowed. */
lm_status cli_args_parse(cli_args *a, const verb *v, int argc, char **argv, lm_error *err);
void cli_args_clear(cli_args *a);
/* Sets one option from text, for the configuration file; `what` is how the
 * option is named in a complaint. */
lm_status cli_args_set(cli_args *a, const opt *o, const char *value, opt_source source, const char *what,
                       lm_error *err);
/* A copy that lives as long as the arguments. */
lm_status cli_args_keep(cli_args *a, const char *s, const char **out, lm_error *err);

bool cli_given(const cli_args *a, opt_id id); /* by line, environment or file */
bool cli_flag(const cli_args *a, opt_id id);
int64_t cli_int(const cli_args *a, opt_id id);
double cli_real(const cli_args *a, opt_id id);
const char *cli_text(const cli_args *a, opt_id id); /* NULL: not given, no default */
bool cli_state_off(const cli_args *a);

/* cli/config.c: the file's path (in buf) and its values. */
const char *cli_config_path(char *buf, size_t cap); /* NULL: there is no place for one */
lm_status cli_config_read(cli_args *a, lm_error *err);

#endif
