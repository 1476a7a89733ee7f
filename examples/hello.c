/* examples/hello.c - the whole of the library in one screen: open a pack, ask,
 * print the answer as it comes.
 *
 *     cc hello.c $(pkg-config --cflags --libs lemma) -o hello
 *     ./hello models/fable "Tell me a story called The Golden Apple."
 */
#include <stdio.h>
#include <string.h>

#include <lemma/lemma.h>

/* Called for every token with the text that became certain; false would stop. */
static bool on_token(void *user, const lm_token_event *e)
{
    (void)user;
    fwrite(e->text, 1, e->n_text, stdout);
    fflush(stdout);
    return true;
}

static int complain(lm_status status, const lm_error *err)
{
    fprintf(stderr, "hello: %s\n", err->text);
    if (err->hint[0] != '\0')
        fprintf(stderr, "  hint: %s\n", err->hint);
    return lm_status_exit_code(status);
}

int main(int argc, char **argv)
{
    lm_error err = { 0 }; /* the first failure writes its sentence here */
    lm_model *model = NULL;
    lm_session *session = NULL;
    lm_generated answer = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: %s PACK QUESTION\n", argv[0]);
        return 2;
    }
    /* A message as JSON; a real program writes it with a JSON library, which
     * also takes care of quotes and backslashes in the question. */
    char json[4096];
    if (strpbrk(argv[2], "\"\\\n") != NULL ||
        snprintf(json, sizeof json, "[{\"role\": \"user\", \"content\": \"%s\"}]", argv[2]) >=
            (int)sizeof json) {
        fprintf(stderr, "hello: a plain and short question, please\n");
        return 2;
    }

    lm_model_options options;
    lm_model_defaults(&options);
    options.context = 512;
    lm_status st = lm_model_open(&model, argv[1], &options, &err);
    if (st == LM_OK)
        st = lm_text_chat(lm_model_text(model), json, strlen(json), -1, 0, NULL, NULL, &ids, &n, &err);
    if (st == LM_OK)
        st = lm_session_open(&session, model, &err);
    if (st == LM_OK)
        st = lm_session_append(session, ids, n, &err);

    lm_generate_options how;
    lm_generate_defaults(&how);
    how.max_tokens = 64;
    if (st == LM_OK)
        st = lm_generate(session, &how, on_token, NULL, &answer, &err);
    if (st == LM_OK)
        printf("\n[%zu tokens, stopped by %s, %.1f tokens/s]\n", answer.n_tokens, lm_stop_name(answer.stop),
               answer.metrics.decode_tokens_per_second);

    int code = st == LM_OK ? 0 : complain(st, &err);
    lm_generated_clear(&answer);
    lm_give_back(ids);
    lm_session_close(session);
    lm_model_close(model);
    return code;
}
