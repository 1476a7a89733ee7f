/* text/post.c - the tokens that a post-processor puts before and after a text.
 * For one text every post-processor comes down to two lists of ids. */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "text/tok.h"

static lm_status insert(const lm_tokenizer *t, int32_t **ids, size_t *n, size_t at, json_int_t id,
                        lm_error *err)
{
    if (id < 0 || id >= (json_int_t)t->h->n_vocab)
        return lm_fail(err, LM_ERR_CORRUPT,
                       "a token of the post_processor has the id %lld, allowed are 0 to %u", (long long)id,
                       t->h->n_vocab - 1);
    LM_TRY(lm_resize((void **)ids, *n + 1, sizeof **ids, err));
    memmove(*ids + at + 1, *ids + at, (*n - at) * sizeof **ids);
    (*ids)[at] = (int32_t)id;
    (*n)++;
    return LM_OK;
}

/* The ids of one special token of a template go behind `at` of either list. */
static lm_status special(lm_tokenizer *t, const json_t *def, const json_t *piece, bool seen, size_t *at,
                         lm_error *err)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *token = name ? json_object_get(json_object_get(def, "special_tokens"), name) : NULL;
    const json_t *ids = json_object_get(token, "ids");
    lm_quoted_buf q;
    if (!json_is_array(ids))
        return lm_fail(err, LM_ERR_CORRUPT, "the post_processor names '%s', which its special_tokens lack",
                       lm_quoted_z(&q, name ? name : ""));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_int_t id = json_integer_value(json_array_get(ids, i));
        if (seen)
            LM_TRY(insert(t, &t->after, &t->n_after, t->n_after, id, err));
        else
            LM_TRY(insert(t, &t->before, &t->n_before, (*at)++, id, err));
    }
    return LM_OK;
}

static lm_status from_template(lm_tokenizer *t, const json_t *def, lm_error *err)
{
    const json_t *single = json_object_get(def, "single");
    size_t at = 0; /* before the ids of earlier post-processors */
    bool seen = false;
    if (json_array_size(single) > LM_TOK_MAX_STEPS)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a TemplateProcessing has %zu parts, at most %u are allowed",
                       json_array_size(single), LM_TOK_MAX_STEPS);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        if (json_object_get(piece, "Sequence")) {
            if (seen)
                return lm_fail(err, LM_ERR_UNSUPPORTED, "a TemplateProcessing takes the text twice");
            seen = true;
        } else if (json_object_get(piece, "SpecialToken")) {
            LM_TRY(special(t, def, json_object_get(piece, "SpecialToken"), seen, &at, err));
        } else {
            return lm_fail(err, LM_ERR_CORRUPT,
                           "part %zu of a TemplateProcessing is neither a token nor the text", i);
        }
    }
    if (!seen)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "a TemplateProcessing leaves the text out");
    return LM_OK;
}

static lm_status from_bert(lm_tokenizer *t, const json_t *def, lm_error *err)
{
    const json_t *cls = json_array_get(json_object_get(def, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(def, "sep"), 1);
    if (!json_is_integer(cls) || !json_is_integer(sep))
        return lm_fail(err, LM_ERR_CORRUPT, "a %s lacks 'cls' or 'sep'", lm_tok_type(def));
    LM_TRY(insert(t, &t->before, &t->n_before, 0, json_integer_value(cls), err));
    return insert(t, &t->after, &t->n_after, t->n_after, json_integer_value(sep), err);
}

lm_status lm_post_compile(lm_tokenizer *t, const json_t *def, lm_error *err)
{
    lm_tok_steps steps = { .n = 0 };
    LM_TRY(lm_tok_flatten(&steps, def, "processors", err));
    for (size_t i = 0; i < steps.n; i++) {
        const char *type = lm_tok_type(steps.step[i]);
        if (strcmp(type, "TemplateProcessing") == 0)
            LM_TRY(from_template(t, steps.step[i], err));
        else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
            LM_TRY(from_bert(t, steps.step[i], err));
        else if (strcmp(type, "ByteLevel") != 0) /* that one moves offsets only */
            return lm_tok_refuse(err, "post_processor", type);
    }
    return LM_OK;
}
