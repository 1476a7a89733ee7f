/* examples/remember.c - a text is read once; every later process asks it at once.
 *
 *     cc remember.c $(pkg-config --cflags --libs lemma) -o remember
 *     ./remember models/fable LICENSE "What is this about?"
 */
#include <stdio.h>
#include <string.h>

#include <lemma/lemma.h>

static char text[1 << 20];
static lm_status say(lm_session *s, const lm_text *t, const char *words, size_t n, lm_error *err)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    /* What stands in front of every text stands in front of the first one alone. */
    unsigned flags = lm_session_n_tokens(s) == 0 ? LM_ENCODE_POST : 0;
    lm_status st = lm_text_encode(t, words, n, flags, &ids, &n_ids, err);
    if (st == LM_OK)
        st = lm_session_append(s, ids, n_ids, err);
    lm_give_back(ids);
    return st;
}

static lm_status ask(lm_model *m, lm_session *s, lm_store *store, char **v, lm_error *err)
{
    const lm_text *t = lm_model_text(m);
    char seed[LM_STATE_NAME];
    lm_generate_options g;
    lm_generated answer = { 0 };
    lm_metrics figures;
    /* The project's seed: mounted, computed again from its tokens, or read and kept. */
    lm_wake_options w;
    lm_wake_defaults(&w);
    w.flags = LM_STATE_REPLAY;
    lm_status st = lm_session_continue(s, store, "example", LM_CONTINUE_CHECKPOINT, &w, seed, NULL, err);
    if (st == LM_OK && lm_session_n_tokens(s) == 0) {
        FILE *f = fopen(v[2], "rb");
        size_t n = f ? fread(text, 1, sizeof text, f) : 0;
        st = lm_project_name("example", LM_PROJECT_SEED, seed, sizeof seed, err);
        if (st == LM_OK)
            st = say(s, t, text, n, err);
        if (st == LM_OK)
            st = lm_session_sleep(s, store, seed, NULL, NULL, err);
        if (f)
            (void)fclose(f);
    }
    if (st == LM_OK)
        st = say(s, t, v[3], strlen(v[3]), err); /* this process's own copy: the seed stays */
    lm_generate_defaults(&g);
    g.max_tokens = 32;
    if (st == LM_OK)
        st = lm_generate(s, &g, NULL, NULL, &answer, err);
    lm_session_metrics(s, &figures);
    if (st == LM_OK)
        printf("%s\n%llu tokens computed, %llu mounted\n", answer.text,
               (unsigned long long)figures.prompt_tokens, (unsigned long long)figures.cached_tokens);
    lm_generated_clear(&answer);
    return st;
}

int main(int argc, char **argv)
{
    lm_error err = { 0 };
    lm_model *model = NULL;
    lm_store *store = NULL;
    lm_session *session = NULL;
    if (argc != 4)
        return lm_status_exit_code(LM_ERR_USAGE);
    lm_status st = lm_model_open(&model, argv[1], NULL, &err);
    st = st == LM_OK ? lm_state_open(&store, NULL, &err) : st;
    st = st == LM_OK ? lm_session_open(&session, model, &err) : st;
    st = st == LM_OK ? ask(model, session, store, argv, &err) : st;
    if (st != LM_OK)
        fprintf(stderr, "remember: %s\n", err.text);
    lm_session_close(session);
    lm_state_close(store);
    lm_model_close(model);
    return lm_status_exit_code(st);
}
