/* cli/verb_tokenize.c - lemma tokenize: text to ids and back, byte for byte. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "cli/cli.h"

static lm_status print_ids(cli *c, const int32_t *ids, size_t n, lm_error *err)
{
    const lm_text *t = c->own_text;
    if (cli_flag(&c->args, OPT_JSON)) {
        out_z("{\"tokens\": ["); /* one line: a megabyte of text has many ids */
        for (size_t i = 0; i < n; i++)
            out_f("%s%d", i > 0 ? ", " : "", ids[i]);
        out_z("]}\n");
        return LM_OK;
    }
    for (size_t i = 0; i < n && !out_gone(); i++) {
        if (!cli_flag(&c->args, OPT_PIECES)) {
            out_f("%s%d", i > 0 ? " " : "", ids[i]);
            continue;
        }
        size_t len = 0;
        const char *piece = lm_text_token(t, ids[i], &len);
        lm_str safe = { 0 };
        out_escape(&safe, piece != NULL ? piece : "", len, false); /* one line a token */
        out_f("%7d  %s%s\n", ids[i], lm_str_z(&safe), lm_text_is_special(t, ids[i]) ? "  (special)" : "");
        lm_status st = lm_str_status(&safe, err);
        lm_str_clear(&safe);
        LM_TRY(st);
    }
    if (!cli_flag(&c->args, OPT_PIECES))
        out_z("\n");
    return LM_OK;
}

static lm_status encode(cli *c, const char *text, size_t n, lm_error *err)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    unsigned flags = cli_flag(&c->args, OPT_NO_SPECIAL) ? 0 : LM_ENCODE_POST;
    LM_TRY(lm_text_encode(c->own_text, text, n, flags, &ids, &n_ids, err));
    lm_status st = print_ids(c, ids, n_ids, err);
    lm_give_back(ids);
    return st;
}

static lm_status decode(cli *c, const char *list, size_t n, lm_error *err)
{
    int32_t *ids = NULL;
    size_t n_ids = 0, n_text = 0;
    char *text = NULL;
    LM_TRY(cli_parse_ids(list, n, &ids, &n_ids, err));
    lm_status st =
        lm_text_decode(c->own_text, ids, n_ids, cli_flag(&c->args, OPT_SKIP_SPECIAL), &text, &n_text, err);
    if (st == LM_OK && cli_flag(&c->args, OPT_JSON)) {
        json_t *j = json_pack("{s:o}", "text", cli_json_text(text, n_text));
        st = j != NULL ? out_json(j, err) : lm_fail(err, LM_ERR_NOMEM, "no memory for the JSON text");
        json_decref(j);
    } else if (st == LM_OK) {
        out_text(text, n_text);
        if (out_is_terminal() && n_text > 0 && text[n_text - 1] != '\n')
            out_z("\n");
    }
    lm_give_back(text);
    lm_free(ids);
    return st;
}

lm_status verb_tokenize(cli *c, lm_error *err)
{
    const cli_args *a = &c->args;
    const char *pack = NULL;
    char *read = NULL;
    size_t n = 0;
    lm_quoted_buf q;
    LM_TRY(cli_take_pack(c, &pack, err));
    const char *text = cli_take_word(c);
    LM_TRY(cli_no_more_words(c, err));
    bool back = cli_flag(a, OPT_DECODE);
    if (!back && cli_flag(a, OPT_SKIP_SPECIAL))
        return lm_fail(err, LM_ERR_USAGE, "--skip-special belongs to --decode");
    if (back && (cli_flag(a, OPT_NO_SPECIAL) || cli_flag(a, OPT_PIECES)))
        return lm_fail(err, LM_ERR_USAGE, "--%s does not belong to --decode",
                       cli_flag(a, OPT_NO_SPECIAL) ? "no-special" : "pieces");
    LM_TRY(cli_need_text_file(pack, err));
    LM_TRY(lm_text_open(&c->own_text, pack, "", err));
    if (!lm_text_has_tokenizer(c->own_text))
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has no tokenizer", lm_quoted_z(&q, pack));
    if (text == NULL) {
        LM_TRY(cli_read("-", &read, &n, err));
        text = read;
    } else {
        n = strlen(text);
    }
    lm_status st = back ? decode(c, text, n, err) : encode(c, text, n, err);
    lm_free(read);
    return st;
}
