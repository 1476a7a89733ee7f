/* cli/verb_doctor.c - lemma doctor: what this machine offers, and where things are. */
#include <stdlib.h>
#include <unistd.h>

#include "base/fail.h"
#include "cli/cli.h"

lm_status verb_doctor(cli *c, lm_error *err)
{
    char *text = NULL, path[4096];
    json_error_t e;
    LM_TRY(cli_no_more_words(c, err));
    LM_TRY(lm_doctor(&text, err));
    json_t *j = json_loads(text, JSON_ALLOW_NUL, &e);
    lm_give_back(text);
    if (!json_is_object(j)) {
        json_decref(j);
        return lm_fail(err, LM_ERR_INTERNAL, "the library's JSON: %s", e.text);
    }
    if (cli_config_path(path, sizeof path) != NULL)
        (void)json_object_set_new(j, "config",
                                  json_pack("{s:s, s:b}", "path", path, "exists", access(path, R_OK) == 0));
    (void)json_object_set_new(j, "state", json_string(cli_state_off(&c->args) ? "off" : "on"));
    lm_status st = LM_OK;
    if (cli_flag(&c->args, OPT_JSON))
        st = out_json(j, err);
    else
        table_json(j);
    json_decref(j);
    return st;
}
