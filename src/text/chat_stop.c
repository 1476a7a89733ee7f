/* text/chat_stop.c - stop tokens and reasoning markers, each in one table. */
#define _GNU_SOURCE /* memmem */
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "text/chat.h"

#define MAX_CONFIG ((size_t)64 << 20)

/* Spellings that end a turn.  `unless`: a template that has this one too uses
 * the marker for something else. */
static const struct {
    const char *marker, *unless;
} ends[] = {
    { "<|im_end|>", NULL },            /* Qwen, Kimi, LFM, SmolLM, Hermes */
    { "<end_of_turn>", NULL },         /* Gemma 1 to 3 */
    { "<turn|>", NULL },               /* Gemma 4 */
    { "<|tool_response>", NULL },      /* Gemma 4: it waits for a tool */
    { "<eos>", NULL },                 /* Gemma */
    { "<|eot_id|>", NULL },            /* Llama 3 */
    { "<|eom_id|>", NULL },            /* Llama 3: it waits for a tool */
    { "<|eot|>", NULL },               /* Llama 4 */
    { "<|end|>", "<|return|>" },       /* Phi, Solar; in gpt-oss it only ends a channel */
    { "<|return|>", NULL },            /* gpt-oss */
    { "<|call|>", NULL },              /* gpt-oss: it waits for a tool */
    { "<|endoftext|>", NULL },         /* GPT-2's children */
    { "<|end_of_text|>", NULL },       /* Granite, Llama 3 */
    { "<|user|>", NULL },              /* GLM: the next turn is its end */
    { "<|observation|>", NULL },       /* GLM: it waits for a tool */
    { "</s>", NULL },                  /* Llama 2, Mistral */
    { "<|END_OF_TURN_TOKEN|>", NULL }, /* Command R */
    { "<|assistant_end|>", NULL },     /* Apertus */
    { "<seed:eos>", NULL },            /* Seed-OSS */
    { "[e~[", NULL },                  /* MiniMax */
    { "[|endofturn|]", NULL },         /* EXAONE */
    { "<\xef\xbd\x9c"
      "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
      NULL }, /* DeepSeek */
};

static bool has(const char *s, size_t n, const char *z)
{
    return n && memmem(s, n, z, strlen(z)) != NULL;
}

static lm_status add(lm_ids *out, int64_t id, lm_error *err)
{
    if (id < 0 || id > INT32_MAX)
        return LM_OK; /* -1 is how some files say "none" */
    for (size_t i = 0; i < out->n; i++)
        if (out->ids[i] == (int32_t)id)
            return LM_OK;
    LM_TRY(lm_grow((void **)&out->ids, &out->cap, out->n + 1, sizeof *out->ids, err));
    out->ids[out->n++] = (int32_t)id;
    return LM_OK;
}

/* A number or a list of numbers; *any tells whether there was one. */
static lm_status add_json(lm_ids *out, const json_t *v, const char *file, bool *any, lm_error *err)
{
    size_t i;
    const json_t *item;
    if (json_is_integer(v)) {
        *any = true;
        return add(out, json_integer_value(v), err);
    }
    if (v && !json_is_null(v) && !json_is_array(v))
        return lm_fail(err, LM_ERR_CORRUPT, "%s: eos_token_id is neither a number nor a list", file);
    json_array_foreach(v, i, item)
    {
        if (!json_is_integer(item))
            return lm_fail(err, LM_ERR_CORRUPT, "%s: eos_token_id[%zu] is not a whole number", file, i);
        *any = true;
        LM_TRY(add(out, json_integer_value(item), err));
    }
    return LM_OK;
}

static lm_status of_folder(const lm_packfile *p, lm_chat_find_fn find, const void *vocabulary, lm_ids *out,
                           lm_error *err)
{
    json_t *config = NULL;
    bool any = false;
    LM_TRY(lm_packfile_json(p, "generation_config.json", MAX_CONFIG, &config, err));
    lm_status s = add_json(out, json_object_get(config, "eos_token_id"), "generation_config.json", &any, err);
    json_decref(config);
    LM_TRY(s);
    if (!any) {
        const json_t *c = lm_packfile_config(p);
        LM_TRY(add_json(out, json_object_get(c, "eos_token_id"), "config.json", &any, err));
        if (!any)
            LM_TRY(add_json(out, json_object_get(json_object_get(c, "text_config"), "eos_token_id"),
                            "config.json", &any, err));
    }
    config = NULL;
    LM_TRY(lm_packfile_json(p, "tokenizer_config.json", MAX_CONFIG, &config, err));
    const json_t *eos = json_object_get(config, "eos_token");
    if (json_is_object(eos))
        eos = json_object_get(eos, "content");
    if (json_is_string(eos) && find)
        s = add(out, find(vocabulary, json_string_value(eos), json_string_length(eos)), err);
    json_decref(config);
    return s;
}

static lm_status of_gguf(const lm_gguf *g, lm_ids *out, lm_error *err)
{
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    for (size_t i = 0; i < LM_LEN(keys); i++) {
        uint64_t id;
        if (lm_gguf_u64(g, keys[i], &id) && id <= INT32_MAX)
            LM_TRY(add(out, (int64_t)id, err));
    }
    return LM_OK;
}

lm_status lm_chat_stops(const lm_packfile *p, const char *source, size_t n, lm_chat_find_fn find,
                        const void *vocabulary, lm_ids *out, lm_error *err)
{
    if (p && lm_packfile_gguf(p))
        LM_TRY(of_gguf(lm_packfile_gguf(p), out, err));
    else if (p)
        LM_TRY(of_folder(p, find, vocabulary, out, err));
    for (size_t i = 0; find && i < LM_LEN(ends); i++)
        if (has(source, n, ends[i].marker) && !(ends[i].unless && has(source, n, ends[i].unless)))
            LM_TRY(add(out, find(vocabulary, ends[i].marker, strlen(ends[i].marker)), err));
    return LM_OK;
}

/* ---- reasoning ---- */

static const lm_reasoning reasoning[] = {
    { "gpt-oss", "<|channel|>analysis<|message|>", "<|end|>", "analysis" },
    { "gemma", "<|channel>thought\n", "<channel|>", "thinking" },
    { "mistral", "[THINK]", "[/THINK]", "thinking" },
    { "seed", "<seed:think>", "</seed:think>", "thinking" },
    { "cohere", "<|START_THINKING|>", "<|END_THINKING|>", "thinking" },
    { "apertus", "<|inner_prefix|>", "<|inner_suffix|>", "thinking" },
    { "qwen", "<think>", "</think>", "thinking" }, /* minimax, deepseek-r1, kimi, glm, granite too */
    { "", "<thinking>", "</thinking>", "thinking" },
    { "", "<thought>", "</thought>", "thinking" },
    { "", "<reasoning>", "</reasoning>", "reasoning" },
    { "", "<analysis>", "</analysis>", "analysis" },
};

const lm_reasoning *lm_reasoning_row(size_t i)
{
    return i < LM_LEN(reasoning) ? &reasoning[i] : NULL;
}

/* A template writes "\n" as an escape as often as it breaks the line: only what
 * stands before the first newline of a marker is looked for. */
const lm_reasoning *lm_reasoning_of(const char *source, size_t n)
{
    for (size_t i = 0; i < LM_LEN(reasoning); i++) {
        size_t len = strcspn(reasoning[i].open, "\n");
        if (n && memmem(source, n, reasoning[i].open, len) && has(source, n, reasoning[i].close))
            return &reasoning[i];
    }
    return NULL;
}
