/* cli/verb_template.c - lemma template: a chat template and a context, rendered. */
#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

lm_status verb_template(cli *c, lm_error *err)
{
    const char *pack = NULL, *file = cli_text(&c->args, OPT_CONTEXT), *at = cli_text(&c->args, OPT_NOW);
    char *context = NULL, *text = NULL;
    size_t n = 0, n_text = 0;
    int64_t now = -1;
    lm_quoted_buf q;
    LM_TRY(cli_take_pack(c, &pack, err));
    LM_TRY(cli_no_more_words(c, err));
    if (file == NULL) {
        lm_hint(err, "lemma template PACK --context FILE.json");
        return lm_fail(err, LM_ERR_USAGE, "'lemma template' needs --context");
    }
    if (at != NULL)
        LM_TRY(cli_parse_time(at, &now, err));
    LM_TRY(cli_need_text_file(pack, err));
    LM_TRY(lm_text_open(&c->own_text, pack, "", err));
    if (!lm_text_has_template(c->own_text))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no chat template", lm_quoted_z(&q, pack));
    LM_TRY(cli_read(file, &context, &n, err));
    lm_status st = lm_text_render(c->own_text, context, n, now, &text, &n_text, err);
    lm_free(context);
    if (st == LM_OK && cli_flag(&c->args, OPT_JSON)) {
        json_t *j = json_pack("{s:o}", "text", cli_json_text(text, n_text));
        st = j != NULL ? out_json(j, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
        json_decref(j);
    } else if (st == LM_OK) {
        out_text(text, n_text); /* and nothing after it */
    }
    lm_give_back(text);
    return st;
}
