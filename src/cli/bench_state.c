/* cli/bench_state.c - lemma bench ramp and wake: what a kept state saves (SPEC 25.7, 25.8).
 *
 * ramp: a large state is read and put to sleep; each turn wakes it, appends material,
 * generates, and puts it to sleep again, until it has the target's size.  The same work
 * without a kept state reads everything again in each turn: estimated from the speed of
 * the first reading.  wake: one session of a store, woken and asked once.
 *
 * Durations are in seconds. */
#define _XOPEN_SOURCE 700
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/loops.h"
#include "cli/plot.h"

enum { DEGRADED_STREAK = 2, SEED = 1 };

typedef struct {
    cli *c;
    lm_session *s;
    lm_store *store;
    int32_t *ids; /* [n_ids] material, taken round and round */
    size_t n_ids, at_id;
    uint32_t start, target, append, turn;
    double watts;
    json_t *turns;
    /* sums over the turns */
    double prefill, setup, append_s, stream_s, wake_s, sleep_s, replay_prefill;
    uint64_t appended, visible, issue_turns, streak, degraded_turn;
    uint32_t n_turns, initial;
    bool exhausted, degraded;
    plot_point *appends, *replays; /* [n_turns]: seconds until the turn can generate */
    size_t cap_appends, cap_replays;
} ramp;

static double seconds_since(uint64_t ns)
{
    return (double)(cli_now_ns() - ns) / 1e9;
}

static double per(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* One configuration: the first of each list. */
static lm_status open_model(cli *c, const char *pack, bool text, lm_error *err)
{
    const opt_value *threads = &c->args.v[OPT_BENCH_THREADS], *kv = &c->args.v[OPT_BENCH_KV],
                    *isa = &c->args.v[OPT_BENCH_ISA], *compute = &c->args.v[OPT_BENCH_COMPUTE];
    lm_model_options o;
    LM_TRY(cli_model_options(c, &o, err));
    if (threads->n > 1 || kv->n > 1 || isa->n > 1 || compute->n > 1)
        return lm_fail(err, LM_ERR_USAGE, "'lemma bench %s' measures one configuration, several were given",
                       c->sub);
    if (threads->n > 0)
        o.threads = (uint32_t)threads->ints[0];
    if (kv->n > 0)
        o.kv = kv->list[0];
    if (isa->n > 0)
        o.isa = isa->list[0];
    if (compute->n > 0)
        o.compute = compute->list[0];
    o.no_text = !text;
    return cli_open_model(c, pack, &o, err);
}

/* Text of --file, else numbers that look random. */
static lm_status material(cli *c, int32_t **ids, size_t *n, lm_error *err)
{
    const char *file = cli_text(&c->args, OPT_FILE);
    const lm_text *t = lm_model_text(c->model);
    char *text = NULL;
    int32_t *read = NULL;
    size_t n_text = 0;
    if (file == NULL) {
        *n = 65536;
        LM_TRY(LM_NEW(ids, *n, err));
        for (size_t i = 0; i < *n; i++)
            (*ids)[i] = (int32_t)((i * 2654435761u + 12345) % c->info.n_vocab);
        return LM_OK;
    }
    if (t == NULL || !lm_text_has_tokenizer(t))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "--file needs a tokenizer, which the pack lacks");
    LM_TRY(cli_read(file, &text, &n_text, err));
    lm_status st = lm_text_encode(t, text, n_text, 0, &read, n, err);
    lm_free(text);
    LM_TRY(st);
    st = *n > 0 ? LM_NEW(ids, *n, err) : lm_fail(err, LM_ERR_USAGE, "--file has no text");
    if (st == LM_OK)
        memcpy(*ids, read, *n * sizeof **ids);
    lm_give_back(read);
    return st;
}

static lm_status read_on(ramp *r, uint32_t n, double *seconds, lm_error *err)
{
    uint64_t start = cli_now_ns();
    while (n > 0) {
        size_t k = LM_MIN((size_t)n, r->n_ids - r->at_id);
        LM_TRY(cli_append(r->c, r->s, r->ids + r->at_id, k, err));
        r->at_id = (r->at_id + k) % r->n_ids;
        n -= (uint32_t)k;
    }
    *seconds = seconds_since(start);
    return LM_OK;
}

/* --- one turn --------------------------------------------------------------------------- */

typedef struct {
    loop_guard guard;
    const char *loop; /* what repeats, or NULL */
    uint64_t start;
    double first;
    size_t n_visible;
    bool text;
} listener;

static bool on_token(void *user, const lm_token_event *e)
{
    listener *l = user;
    if (l->first == 0)
        l->first = seconds_since(l->start);
    for (size_t i = 0; i < e->n_text; i++)
        l->text |= (unsigned char)e->text[i] > ' ';
    l->n_visible += e->n_text > 0;
    l->loop = loop_see(&l->guard, e->token, e->text, e->n_text);
    return l->loop == NULL && !cli_interrupted();
}

/* Generates and tells: adds to `turn` what 25.7.5 names. */
static lm_status speak(lm_session *s, uint32_t most, json_t *turn, listener *l, double *seconds,
                       lm_error *err)
{
    lm_generate_options o;
    lm_sample_params p;
    lm_generated g;
    lm_generate_defaults(&o);
    lm_sample_defaults(&p);
    p.temperature = 1.0f;
    p.top_p = 0.95f;
    p.top_k = 64;
    p.seed = SEED;
    o.sample = &p;
    o.max_tokens = most;
    loop_open(&l->guard);
    l->start = cli_now_ns();
    lm_status st = lm_generate(s, &o, on_token, l, &g, err);
    *seconds = seconds_since(l->start);
    loop_clear(&l->guard);
    LM_TRY(st);
    json_t *ids = json_array(), *issues = json_array();
    for (size_t i = 0; i < g.n_tokens; i++)
        (void)json_array_append_new(ids, json_integer(g.tokens[i]));
    if (l->loop != NULL)
        (void)json_array_append_new(issues, json_string(l->loop));
    if (g.text != NULL && !l->text)
        (void)json_array_append_new(issues, json_string("empty_visible_output"));
    (void)json_object_set_new(turn, "first_token_duration", json_real(l->first));
    (void)json_object_set_new(turn, "stream_duration", json_real(*seconds));
    (void)json_object_set_new(turn, "generated_tokens", json_integer((json_int_t)g.n_tokens));
    (void)json_object_set_new(turn, "visible_tokens", json_integer((json_int_t)l->n_visible));
    (void)json_object_set_new(turn, "sampled_token_ids", ids);
    (void)json_object_set_new(turn, "output", g.text != NULL ? cli_json_text(g.text, g.n_text) : json_null());
    (void)json_object_set_new(turn, "output_issues", issues);
    (void)json_object_set_new(turn, "stop", json_string(lm_stop_name(g.stop)));
    lm_generated_clear(&g);
    return cli_interrupted() ? lm_fail(err, LM_ERR_CANCELLED, "interrupted") : LM_OK;
}

static lm_status one_turn(ramp *r, json_t *turn, lm_error *err)
{
    listener l = { .loop = NULL };
    lm_wake_result w;
    double append = 0, stream = 0;
    uint64_t start = cli_now_ns(), at;
    uint32_t before = lm_session_n_tokens(r->s);
    lm_session_reset(r->s);
    at = cli_now_ns();
    LM_TRY(lm_session_wake(r->s, r->store, "ramp", NULL, &w, err));
    double wake = seconds_since(at);
    LM_TRY(read_on(r, r->append, &append, err));
    uint32_t appended = lm_session_n_tokens(r->s);
    LM_TRY(speak(r->s, r->turn, turn, &l, &stream, err));
    at = cli_now_ns();
    LM_TRY(lm_session_sleep(r->s, r->store, "ramp", NULL, NULL, err));
    double sleep = seconds_since(at), all = seconds_since(start);
    const struct {
        const char *key;
        double value;
    } numbers[] = { { "wake_duration", wake },
                    { "append_duration", append },
                    { "sleep_duration", sleep },
                    { "duration", all },
                    { "driver_overhead_duration", all - wake - append - stream - sleep } };
    for (size_t i = 0; i < LM_LEN(numbers); i++)
        (void)json_object_set_new(turn, numbers[i].key, json_real(numbers[i].value));
    (void)json_object_set_new(turn, "tokens_before_append", json_integer(before));
    (void)json_object_set_new(turn, "appended_tokens", json_integer(r->append));
    (void)json_object_set_new(turn, "tokens_after_append", json_integer(appended));
    (void)json_object_set_new(turn, "tokens_after_generate", json_integer(lm_session_n_tokens(r->s)));
    double rate = per(r->initial, r->prefill), replay = rate > 0 ? appended / rate : 0;
    LM_TRY(lm_grow((void **)&r->appends, &r->cap_appends, r->n_turns + 1, sizeof *r->appends, err));
    LM_TRY(lm_grow((void **)&r->replays, &r->cap_replays, r->n_turns + 1, sizeof *r->replays, err));
    r->appends[r->n_turns] = (plot_point){ appended, wake + append, wake + append, wake + append };
    r->replays[r->n_turns++] = (plot_point){ appended, replay, replay, replay };
    r->append_s += append;
    r->stream_s += stream;
    r->wake_s += wake;
    r->sleep_s += sleep;
    r->replay_prefill += replay;
    r->appended += r->append;
    r->visible += l.n_visible;
    bool issue = json_array_size(json_object_get(turn, "output_issues")) > 0;
    r->issue_turns += issue;
    r->streak = issue ? r->streak + 1 : 0;
    if (r->streak >= DEGRADED_STREAK && !r->degraded) {
        r->degraded = true;
        r->degraded_turn = r->n_turns - 1;
    }
    return l.loop != NULL ? lm_fail(err, LM_ERR_FAILED, "turn %u was stopped: %s", r->n_turns - 1, l.loop)
                          : LM_OK;
}

static lm_status turns(ramp *r, lm_error *err)
{
    LM_TRY(read_on(r, r->start, &r->prefill, err));
    r->initial = lm_session_n_tokens(r->s);
    uint64_t at = cli_now_ns();
    LM_TRY(lm_session_sleep(r->s, r->store, "ramp", NULL, NULL, err));
    r->setup = r->prefill + seconds_since(at);
    while (lm_session_n_tokens(r->s) < r->target) {
        if ((uint64_t)lm_session_n_tokens(r->s) + r->append + r->turn > r->c->info.context) {
            r->exhausted = true;
            break;
        }
        json_t *turn = json_pack("{s:I}", "index", (json_int_t)json_array_size(r->turns));
        lm_status st = one_turn(r, turn, err);
        if (st != LM_OK && err != NULL)
            (void)json_object_set_new(turn, "error", cli_json_text(err->text, strlen(err->text)));
        (void)json_array_append_new(r->turns, turn);
        LM_TRY(st);
    }
    return LM_OK;
}

/* --- telling ------------------------------------------------------------------------------ */

static void add_reals(json_t *j, const char *const *keys, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)json_object_set_new(j, keys[i], json_real(isfinite(values[i]) ? values[i] : 0));
}

static json_t *summary_json(const ramp *r)
{
    double retained = r->setup + r->wake_s + r->append_s + r->stream_s + r->sleep_s;
    double replay = r->prefill + r->replay_prefill + r->stream_s;
    static const char *const keys[] = { "append_tokens_per_sec_average",
                                        "initial_prefill_tokens_per_sec",
                                        "effective_turn_tokens_per_sec_average",
                                        "retained_setup_duration",
                                        "retained_total_duration",
                                        "wake_duration_total",
                                        "sleep_duration_total",
                                        "replay_prefill_duration_estimate",
                                        "replay_total_duration_estimate",
                                        "replay_prefill_saved_duration_estimate",
                                        "replay_total_saved_duration_estimate",
                                        "retained_vs_replay_speedup_estimate" };
    const double values[] = { per((double)r->appended, r->append_s),
                              per(r->initial, r->prefill),
                              per((double)r->visible, r->append_s + r->stream_s + r->wake_s + r->sleep_s),
                              r->setup,
                              retained,
                              r->wake_s,
                              r->sleep_s,
                              r->replay_prefill,
                              replay,
                              r->replay_prefill - r->append_s,
                              replay - retained,
                              per(replay, retained) };
    json_t *j =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:I}", "initial_prefill_tokens",
                  (json_int_t)r->initial, "final_state_tokens", (json_int_t)lm_session_n_tokens(r->s),
                  "appended_tokens", (json_int_t)r->appended, "replay_estimate_turns", (json_int_t)r->n_turns,
                  "output_issue_turns", (json_int_t)r->issue_turns, "context_exhausted", (int)r->exhausted,
                  "folded_state_required", (int)r->exhausted, "content_degraded", (int)r->degraded,
                  "compaction_threshold", (json_int_t)r->c->info.context);
    if (j == NULL)
        return NULL;
    add_reals(j, keys, values, LM_LEN(keys));
    if (r->degraded)
        (void)json_object_set_new(j, "content_degradation_turn", json_integer((json_int_t)r->degraded_turn));
    return j;
}

/* Watts are the operator's; nothing is sampled. */
static json_t *energy_json(double watts, const char *const *keys, const double *seconds, size_t n,
                           double visible)
{
    double sum = 0;
    json_t *j = json_pack("{s:s, s:f}", "method", "estimated", "power_watts", watts);
    for (size_t i = 0; i < n; i++) {
        (void)json_object_set_new(j, keys[i], json_real(watts * seconds[i]));
        sum += watts * seconds[i];
    }
    (void)json_object_set_new(j, "total_joules", json_real(sum));
    (void)json_object_set_new(j, "joules_per_visible_token", json_real(visible > 0 ? sum / visible : 0));
    return j;
}

static json_t *head_json(const cli *c, const char *kind)
{
    return json_pack("{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:i}", "kind", kind, "pack",
                     cli_json_text(c->info.path, strlen(c->info.path)), "device", c->info.device, "numerics",
                     c->info.numerics, "kv", c->info.kv, "context_length", (json_int_t)c->info.context,
                     "prefill_chunk_size", (json_int_t)c->info.chunk, "seed", SEED);
}

static json_t *ramp_json(const ramp *r, const lm_error *failed)
{
    json_t *j = head_json(r->c, "state-ramp");
    if (j == NULL)
        return NULL;
    (void)json_object_set_new(j, "settings",
                              json_pack("{s:I, s:I, s:I, s:I}", "start_tokens", (json_int_t)r->start,
                                        "target_tokens", (json_int_t)r->target, "append_tokens",
                                        (json_int_t)r->append, "turn_max_tokens", (json_int_t)r->turn));
    (void)json_object_set(j, "turns", r->turns);
    (void)json_object_set_new(j, "summary", summary_json(r));
    if (r->watts > 0) {
        static const char *const keys[] = { "prompt_setup_joules", "wake_joules", "append_joules",
                                            "generation_joules", "sleep_joules" };
        const double s[] = { r->setup, r->wake_s, r->append_s, r->stream_s, r->sleep_s };
        json_t *e = energy_json(r->watts, keys, s, LM_LEN(keys), (double)r->visible);
        double replay = r->watts * (r->prefill + r->replay_prefill + r->stream_s);
        (void)json_object_set_new(e, "replay_total_joules_estimate", json_real(replay));
        (void)json_object_set_new(e, "retained_vs_replay_saved_joules_estimate",
                                  json_real(replay - json_real_value(json_object_get(e, "total_joules"))));
        (void)json_object_set_new(j, "energy", e);
    }
    if (failed->status != LM_OK)
        (void)json_object_set_new(j, "error", cli_json_text(failed->text, strlen(failed->text)));
    return j;
}

static void ramp_table(const ramp *r, const json_t *doc)
{
    static const char *const head[] = { "TURN",     "TOKENS",   "WAKE MS",  "APPEND S",
                                        "FIRST MS", "DECODE/S", "SLEEP MS", "REPLAY S" };
    const json_t *sum = json_object_get(doc, "summary");
    cli_table t;
    table_open(&t, LM_LEN(head));
    for (size_t i = 0; i < LM_LEN(head); i++)
        table_add(&t, head[i]);
    for (size_t i = 0; i < r->n_turns; i++) {
        const json_t *u = json_array_get(r->turns, i);
#define NUMBER(key) json_number_value(json_object_get(u, key))
        table_addf(&t, "%zu", i);
        table_addf(&t, "%.0f", NUMBER("tokens_after_generate"));
        table_addf(&t, "%.2f", NUMBER("wake_duration") * 1e3);
        table_addf(&t, "%.2f", NUMBER("append_duration"));
        table_addf(&t, "%.1f", NUMBER("first_token_duration") * 1e3);
        table_addf(&t, "%.1f", per(NUMBER("generated_tokens"), NUMBER("stream_duration")));
        table_addf(&t, "%.1f", NUMBER("sleep_duration") * 1e3);
        table_addf(&t, "%.2f", r->replays[i].y);
#undef NUMBER
    }
    table_print(&t, true);
    table_close(&t);
    out_f("\nfirst reading: %u tokens in %.2f s; %u turns kept %.2f s, replayed about %.2f s: %.1f times\n",
          r->initial, r->prefill, r->n_turns,
          json_number_value(json_object_get(sum, "retained_total_duration")),
          json_number_value(json_object_get(sum, "replay_total_duration_estimate")),
          json_number_value(json_object_get(sum, "retained_vs_replay_speedup_estimate")));
    if (r->exhausted)
        out_f("the context of %u tokens ended the ramp before %u\n", r->c->info.context, r->target);
}

static lm_status tell(ramp *r, const lm_error *failed, lm_error *err)
{
    const char *plot = cli_text(&r->c->args, OPT_PLOT);
    json_t *doc = ramp_json(r, failed);
    lm_status st = doc != NULL ? LM_OK : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
    if (st == LM_OK && cli_flag(&r->c->args, OPT_JSON))
        st = out_json(doc, err);
    else if (st == LM_OK)
        ramp_table(r, doc);
    if (st == LM_OK && plot != NULL && r->n_turns > 0) {
        const plot_series series[] = { { "kept: wake and append", r->appends, r->n_turns },
                                       { "replayed (estimate)", r->replays, r->n_turns } };
        const plot_panel panel = { .title = "Wait before a turn can generate",
                                   .unit = "s",
                                   .x_unit = "tokens of the state",
                                   .series = series,
                                   .n_series = 2 };
        st = plot_write(plot, "State ramp", &panel, 1, err);
    }
    json_decref(doc);
    return st;
}

/* --- ramp ------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* A store of the benchmark's own, so that nothing of the user's is touched. */
static lm_status open_own_store(char *folder, size_t cap, lm_store **out, lm_error *err)
{
    const char *tmp = getenv("TMPDIR");
    lm_state_options o;
    int n = snprintf(folder, cap, "%s/lemma-bench-XXXXXX", tmp != NULL && *tmp != 0 ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= cap || mkdtemp(folder) == NULL) {
        folder[0] = 0;
        return lm_fail(err, LM_ERR_IO, "cannot make a folder for the state in TMPDIR or /tmp");
    }
    lm_state_defaults(&o);
    o.folder = folder;
    o.budget = UINT64_MAX / 2;
    return lm_state_open(out, &o, err);
}

static lm_status run_ramp(ramp *r, lm_error *err)
{
    lm_error failed = { 0 };
    r->turns = json_array();
    lm_status st = material(r->c, &r->ids, &r->n_ids, err);
    if (st == LM_OK)
        st = lm_session_open(&r->s, r->c->model, err);
    if (st != LM_OK)
        return st;
    cli_interruptible(r->s);
    lm_status ran = turns(r, &failed);
    cli_interruptible(NULL);
    /* The report is written whatever happened. */
    st = r->initial > 0 ? tell(r, &failed, err) : LM_OK;
    if (ran != LM_OK && st == LM_OK) {
        *err = failed;
        st = ran;
    }
    return st;
}

lm_status bench_ramp(cli *c, lm_error *err)
{
    const cli_args *a = &c->args;
    const char *pack = NULL;
    char folder[4096] = "";
    ramp r = { .c = c,
               .start = (uint32_t)cli_int(a, OPT_START),
               .target = (uint32_t)cli_int(a, OPT_TARGET),
               .append = (uint32_t)cli_int(a, OPT_APPEND),
               .turn = (uint32_t)cli_int(a, OPT_TURN),
               .watts = cli_given(a, OPT_WATTS) ? cli_real(a, OPT_WATTS) : 0 };
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if (cli_text(a, OPT_PLOT) != NULL)
        LM_TRY(cli_can_write(cli_text(a, OPT_PLOT), err));
    LM_TRY(open_model(c, pack, true, err));
    if (r.start >= c->info.context) {
        lm_hint(
            err,
            "-c raises the context, up to %u for this pack; --start, --append, --turn and --target choose",
            c->info.trained_context);
        return lm_fail(err, LM_ERR_TOO_LONG, "the ramp begins with %u tokens, the context holds %u", r.start,
                       c->info.context);
    }
    lm_status st = open_own_store(folder, sizeof folder, &r.store, err);
    if (st == LM_OK)
        st = run_ramp(&r, err);
    lm_session_close(r.s);
    lm_state_close(r.store);
    if (folder[0] != 0)
        (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    json_decref(r.turns);
    lm_free(r.ids);
    lm_free(r.appends);
    lm_free(r.replays);
    return st;
}

/* --- wake --------------------------------------------------------------------------------------- */

static lm_status measure_wake(cli *c, lm_session *s, lm_store *store, const char *name, json_t *j,
                              lm_error *err)
{
    ramp r = { .c = c, .s = s, .append = (uint32_t)cli_int(&c->args, OPT_APPEND) };
    listener l = { .loop = NULL };
    lm_wake_result w;
    double append = 0, stream = 0, watts = cli_given(&c->args, OPT_WATTS) ? cli_real(&c->args, OPT_WATTS) : 0;
    uint64_t at = cli_now_ns();
    LM_TRY(lm_session_wake(s, store, name, NULL, &w, err));
    double wake = seconds_since(at);
    (void)json_object_set_new(j, "wake_duration", json_real(wake));
    (void)json_object_set_new(j, "wake",
                              json_pack("{s:I, s:I, s:I, s:f}", "tokens", (json_int_t)w.n_tokens,
                                        "mounted_tokens", (json_int_t)w.n_mounted, "computed_tokens",
                                        (json_int_t)w.n_replayed, "identity_duration",
                                        (double)w.identity_ns / 1e9));
    json_t *turn = json_pack("{s:i, s:I}", "index", 0, "tokens_before_append", (json_int_t)w.n_tokens);
    if (!cli_given(&c->args, OPT_APPEND) && cli_text(&c->args, OPT_FILE) == NULL)
        r.append = 0; /* the first token comes from the stored logits */
    lm_status st =
        r.append > 0 || cli_text(&c->args, OPT_FILE) != NULL ? material(c, &r.ids, &r.n_ids, err) : LM_OK;
    if (st == LM_OK && !cli_given(&c->args, OPT_APPEND))
        r.append = (uint32_t)r.n_ids;
    if (st == LM_OK && r.append > 0)
        st = read_on(&r, r.append, &append, err);
    if (st == LM_OK)
        st = speak(s, (uint32_t)LM_MIN(cli_int(&c->args, OPT_TURN), (int64_t)c->info.context), turn, &l,
                   &stream, err);
    (void)json_object_set_new(turn, "appended_tokens", json_integer(r.append));
    (void)json_object_set_new(turn, "append_duration", json_real(append));
    (void)json_object_set_new(turn, "tokens_after_generate", json_integer(lm_session_n_tokens(s)));
    if (watts > 0) {
        static const char *const keys[] = { "wake_joules", "append_joules", "generation_joules" };
        const double spent[] = { wake, append, stream };
        json_t *e = energy_json(watts, keys, spent, 3, (double)l.n_visible);
        (void)json_object_set_new(e, "effective_tokens_per_sec",
                                  json_real(per((double)l.n_visible, wake + append + stream)));
        (void)json_object_set_new(j, "energy", e);
    }
    (void)json_object_set_new(j, "turn", turn);
    lm_free(r.ids);
    if (st == LM_OK && l.loop != NULL)
        st = lm_fail(err, LM_ERR_FAILED, "the turn was stopped: %s", l.loop);
    return st;
}

lm_status bench_wake(cli *c, lm_error *err)
{
    const char *pack = NULL;
    lm_state_options o;
    lm_store *store = NULL;
    lm_session *s = NULL;
    LM_TRY(cli_take_pack(c, &pack, err));
    const char *name = cli_take_word(c);
    if (name == NULL)
        return lm_fail(err, LM_ERR_USAGE, "'lemma bench wake' needs a pack and the name of a session");
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(open_model(c, pack, true, err));
    json_t *j = head_json(c, "state-wake");
    lm_state_defaults(&o);
    o.folder = cli_text(&c->args, OPT_STATE_DIR);
    o.read_only = true; /* a benchmark keeps nothing */
    uint64_t at = cli_now_ns();
    lm_status st = lm_state_open(&store, &o, err);
    (void)json_object_set_new(j, "store_open_duration", json_real(seconds_since(at)));
    if (st == LM_OK)
        st = lm_session_open(&s, c->model, err);
    cli_interruptible(s);
    if (st == LM_OK)
        st = measure_wake(c, s, store, name, j, err);
    cli_interruptible(NULL);
    lm_session_close(s);
    lm_state_close(store);
    if (st != LM_OK && err != NULL && json_object_get(j, "turn") == NULL) {
        json_decref(j);
        return st;
    }
    if (st != LM_OK && err != NULL)
        (void)json_object_set_new(j, "error", cli_json_text(err->text, strlen(err->text)));
    if (cli_flag(&c->args, OPT_JSON)) {
        lm_status told = out_json(j, st == LM_OK ? err : NULL);
        st = st == LM_OK ? told : st;
    } else {
        json_t *turn = json_object_get(j, "turn");
        (void)json_object_del(turn, "sampled_token_ids");
        table_json(j);
    }
    json_decref(j);
    return st;
}
