/* cli/verb_perplexity.c - lemma perplexity: how well a model predicts a text. */
#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

static void show_progress(void *user, uint64_t done, uint64_t total)
{
    progress_at(user, done, total);
}

static lm_status read_ids(cli *c, int32_t **ids, size_t *n, bool *library, lm_error *err)
{
    const char *ids_file = cli_text(&c->args, OPT_TOKENS_FILE);
    const lm_text *t = lm_model_text(c->model);
    char *text = NULL;
    size_t n_text = 0;
    lm_quoted_buf q;
    lm_status st;
    *library = ids_file == NULL;
    LM_TRY(cli_read(ids_file != NULL ? ids_file : cli_text(&c->args, OPT_FILE), &text, &n_text, err));
    if (ids_file != NULL)
        st = cli_parse_ids(text, n_text, ids, n, err);
    else if (t == NULL || !lm_text_has_tokenizer(t))
        st = lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no tokenizer; --tokens-file takes ids",
                     lm_quoted_z(&q, c->info.path));
    else
        st = lm_text_encode(t, text, n_text, LM_ENCODE_POST, ids, n, err);
    lm_free(text);
    return st;
}

static lm_status show(cli *c, const lm_kl *k, bool compared, lm_error *err)
{
    const lm_perplexity *p = &k->text;
    if (!cli_flag(&c->args, OPT_JSON)) {
        out_f("%llu tokens, perplexity %.4f, mean %.5f nats a token\n", (unsigned long long)p->n_tokens,
              p->perplexity, p->nll_mean);
        if (compared)
            out_f(
                "KL to the base: mean %.3g, median %.3g, largest %.3g nats; %.2f %% the same first choice\n",
                k->kl_mean, k->kl_median, k->kl_max, 100 * k->top1_agreement);
        return LM_OK;
    }
    json_t *j = json_pack("{s:I, s:f, s:f}", "tokens", (json_int_t)p->n_tokens, "nll_mean", p->nll_mean,
                          "perplexity", p->perplexity);
    json_t *kl = compared ? json_pack("{s:f, s:f, s:f, s:f, s:{s:f, s:f}}", "kl_mean", k->kl_mean,
                                      "kl_median", k->kl_median, "kl_max", k->kl_max, "top1_agreement",
                                      k->top1_agreement, "second_half", "kl_mean", k->late_kl_mean,
                                      "top1_agreement", k->late_top1_agreement)
                          : json_object();
    lm_status st = j != NULL && kl != NULL && json_object_update(j, kl) == 0
                       ? out_json(j, err)
                       : lm_fail(err, LM_ERR_FAILED, "the perplexity is not a finite number");
    json_decref(j);
    json_decref(kl);
    return st;
}

lm_status verb_perplexity(cli *c, lm_error *err)
{
    const char *pack = NULL, *file = cli_text(&c->args, OPT_FILE);
    const char *base = cli_text(&c->args, OPT_KL_BASE);
    lm_model_options o;
    lm_kl k = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    bool library = false;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if ((file != NULL) == (cli_text(&c->args, OPT_TOKENS_FILE) != NULL)) {
        lm_hint(err, "lemma perplexity PACK -f FILE, or --tokens-file FILE");
        return lm_fail(err, LM_ERR_USAGE, "'lemma perplexity' needs %s --file and --tokens-file",
                       file != NULL ? "only one of" : "one of");
    }
    LM_TRY(cli_model_options(c, &o, err));
    o.all_rows = true;
    LM_TRY(cli_open_model(c, pack, &o, err));
    LM_TRY(read_ids(c, &ids, &n, &library, err));
    cli_progress p;
    progress_start(&p, "evaluating", "tokens");
    lm_model_watch(c->model, show_progress, &p);
    lm_status st = base != NULL ? lm_model_kl(c->model, ids, n, base, &k, err)
                                : lm_model_perplexity(c->model, ids, n, &k.text, err);
    lm_model_watch(c->model, NULL, NULL);
    progress_end(&p);
    if (library)
        lm_give_back(ids);
    else
        lm_free(ids);
    LM_TRY(st);
    if (k.written)
        note_f("lemma: the base was written: %s", base);
    return show(c, &k, base != NULL && !k.written, err);
}
