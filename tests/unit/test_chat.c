/* Chat glue: where a pack's template is, what it is rendered over, stop tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "support/tempdir.h"
#include "text/chat.h"

static lm_packfile *open_pack(const lm_tempdir *d, const char *name)
{
    char path[1024];
    lm_packfile *p = NULL;
    lm_error err = { 0 };
    if (lm_packfile_open(&p, name ? lm_tempdir_path(d, name, path) : d->path, false, &err) != LM_OK)
        fail_msg("%s", err.text);
    return p;
}

/* A folder that is a pack as far as text is concerned. */
static lm_tempdir folder(void)
{
    lm_tempdir d = lm_tempdir_make();
    lm_tempdir_text(&d, "config.json", "{\"model_type\": \"llama\", \"eos_token_id\": 9}");
    return d;
}

static void template_is(const lm_packfile *p, const char *name, const char *want)
{
    char *s = NULL;
    size_t n = 0;
    lm_error err = { 0 };
    lm_status status = lm_chat_template_find(p, name, &s, &n, &err);
    if (!want) {
        assert_int_equal(status, LM_ERR_NOT_FOUND);
        assert_non_null(strstr(err.text, "no chat template"));
        return;
    }
    if (status != LM_OK)
        fail_msg("%s", err.text);
    assert_string_equal(s, want);
    assert_int_equal(n, strlen(want));
    lm_free(s);
}

static void a_folder_s_template_is_found_in_the_order_of_the_files(void **state)
{
    lm_tempdir d = folder();
    lm_packfile *p = open_pack(&d, NULL);
    (void)state;
    template_is(p, "default", NULL);
    lm_tempdir_text(&d, "chat_template.json", "{\"chat_template\": \"from json\"}");
    template_is(p, "default", "from json");
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"chat_template\": \"from config\"}");
    template_is(p, "default", "from config");
    template_is(p, "tool_use", NULL);
    lm_tempdir_text(&d, "tokenizer_config.json",
                    "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"},"
                    "{\"name\": \"tool_use\", \"template\": \"T\"}]}");
    template_is(p, "default", "D");
    template_is(p, "tool_use", "T");
    lm_tempdir_text(&d, "chat_template.jinja", "from jinja");
    template_is(p, "default", "from jinja");
    lm_packfile_close(p);
    lm_tempdir_remove(&d);
}

static void a_wrong_template_field_is_named(void **state)
{
    lm_tempdir d = folder();
    lm_packfile *p = open_pack(&d, NULL);
    char *s = NULL;
    size_t n;
    lm_error err = { 0 };
    lm_chat *c = NULL;
    (void)state;
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"chat_template\": 7}");
    assert_int_equal(lm_chat_template_find(p, "default", &s, &n, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "tokenizer_config.json: chat_template is neither a text nor a list");
    err = (lm_error){ 0 };
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\"}]}");
    assert_int_equal(lm_chat_template_find(p, "default", &s, &n, &err), LM_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "chat_template[0] lacks"));
    err = (lm_error){ 0 };
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"chat_template\": \"{% if %}\"}");
    assert_int_equal(lm_chat_open(&c, p, &err), LM_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "chat template: template line 1"));
    assert_null(c);
    lm_packfile_close(p);
    lm_tempdir_remove(&d);
}

static void renders(const lm_chat *c, lm_chat_request r, const char *messages, const char *want)
{
    json_t *m = json_loads(messages, 0, NULL);
    lm_str out = { 0 };
    lm_error err = { 0 };
    assert_non_null(m);
    r.messages = m;
    if (lm_chat_render(c, &r, &out, NULL, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_string_equal(lm_str_z(&out), want);
    lm_str_clear(&out);
    json_decref(m);
}

static void the_template_sees_messages_tools_tokens_and_options(void **state)
{
    static const char one[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";
    lm_tempdir d = folder();
    lm_packfile *p = open_pack(&d, NULL);
    lm_chat *c = NULL;
    json_t *tools = json_pack("[{s:s}]", "name", "f"),
           *options = json_pack("{s:s,s:b}", "style", "brief", "enable_thinking", 1);
    lm_error err = { 0 };
    (void)state;
    lm_tempdir_text(&d, "tokenizer_config.json",
                    "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}, \"unk_token\": null,"
                    "\"chat_template\": [{\"name\": \"default\", \"template\":"
                    "\"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ unk_token is defined }}"
                    "{{ tools is none }}{{ add_generation_prompt }}{{ enable_thinking is defined }}"
                    "{{ enable_thinking }}{{ style }}\"},"
                    "{\"name\": \"tool_use\", \"template\": \"TOOLS {{ tools[0].name }}\"}]}");
    if (lm_chat_open(&c, p, &err) != LM_OK)
        fail_msg("%s", err.text);
    renders(c, (lm_chat_request){ .think = -1 }, one, "<s>hi</s>FalseTrueFalseFalse");
    renders(c, (lm_chat_request){ .think = 0, .add_generation_prompt = true }, one,
            "<s>hi</s>FalseTrueTrueTrueFalse");
    renders(c, (lm_chat_request){ .think = 0, .options = options }, one,
            "<s>hi</s>FalseTrueFalseTrueTruebrief");
    renders(c, (lm_chat_request){ .think = -1, .tools = tools }, one, "TOOLS f");
    lm_chat_close(c);
    lm_packfile_close(p);
    json_decref(tools);
    json_decref(options);
    lm_tempdir_remove(&d);
}

static void requests_of_a_wrong_shape_are_refused(void **state)
{
    static const struct {
        const char *messages, *part;
    } rows[] = { { "{}", "messages must be a list" },
                 { "[1]", "messages[0] is not an object" },
                 { "[{\"role\": \"user\"}, {\"content\": \"x\"}]", "messages[1] has no role" },
                 { "[{\"role\": \"bad\"}]", "unknown role" } };
    static const char t[] =
        "{% if messages[0].role == 'bad' %}{{ raise_exception('unknown role') }}{% endif %}";
    lm_chat *c = NULL;
    (void)state;
    assert_int_equal(lm_chat_open_text(&c, t, sizeof t - 1, NULL, NULL), LM_OK);
    for (size_t i = 0; i < LM_LEN(rows); i++) {
        json_t *m = json_loads(rows[i].messages, 0, NULL);
        lm_chat_request r = { .messages = m, .think = -1 };
        lm_str out = { 0 };
        lm_error err = { 0 };
        assert_int_equal(lm_chat_render(c, &r, &out, NULL, &err), LM_ERR_USAGE);
        assert_non_null(strstr(err.text, rows[i].part));
        lm_str_clear(&out);
        json_decref(m);
    }
    lm_chat_close(c);
}

/* ---- GGUF ---- */

static void u32(lm_str *b, uint32_t v)
{
    lm_str_add(b, (const char *)&v, 4);
}

static void u64(lm_str *b, uint64_t v)
{
    lm_str_add(b, (const char *)&v, 8);
}

static void str(lm_str *b, const char *s)
{
    u64(b, strlen(s));
    lm_str_addz(b, s);
}

static void key_str(lm_str *b, const char *key, const char *v)
{
    str(b, key);
    u32(b, 8);
    str(b, v);
}

static void key_u32(lm_str *b, const char *key, uint32_t v)
{
    str(b, key);
    u32(b, 4);
    u32(b, v);
}

static lm_packfile *gguf_pack(const lm_tempdir *d)
{
    static const char *const tokens[] = { "a", "<s>", "</s>", "<|eot_id|>" };
    lm_str b = { 0 };
    lm_str_addz(&b, "GGUF");
    u32(&b, 3);
    u64(&b, 0);
    u64(&b, 8);
    key_str(&b, "general.architecture", "llama");
    key_str(&b, "tokenizer.chat_template",
            "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}<|eot_id|>");
    key_str(&b, "tokenizer.chat_template.tool_use", "T");
    key_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    key_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    key_u32(&b, "tokenizer.ggml.eot_token_id", 2);
    key_u32(&b, "tokenizer.ggml.eom_token_id", 70);
    str(&b, "tokenizer.ggml.tokens");
    u32(&b, 9);
    u32(&b, 8);
    u64(&b, LM_LEN(tokens));
    for (size_t i = 0; i < LM_LEN(tokens); i++)
        str(&b, tokens[i]);
    while (b.n % 32)
        lm_str_addc(&b, 0);
    lm_tempdir_write(d, "m.gguf", b.s, b.n);
    lm_str_clear(&b);
    return open_pack(d, "m.gguf");
}

/* A vocabulary of a few special tokens: their places in the list. */
static int32_t find_in_list(const void *vocabulary, const char *token, size_t n)
{
    const char *const *list = vocabulary;
    for (int32_t i = 0; list[i]; i++)
        if (strlen(list[i]) == n && memcmp(list[i], token, n) == 0)
            return i;
    return -1;
}

static void stops_are(const lm_packfile *p, const char *source, const char *const *vocabulary,
                      const char *want)
{
    lm_ids ids = { 0 };
    lm_error err = { 0 };
    lm_str got = { 0 };
    if (lm_chat_stops(p, source, strlen(source), find_in_list, vocabulary, &ids, &err) != LM_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ids.n; i++)
        lm_str_addf(&got, "%d ", ids.ids[i]);
    assert_string_equal(lm_str_z(&got), want);
    lm_str_clear(&got);
    lm_free(ids.ids);
}

static void a_gguf_file_brings_template_tokens_and_stops(void **state)
{
    static const char *const vocabulary[] = { "a", "<s>", "</s>", "<|eot_id|>", NULL };
    lm_tempdir d = lm_tempdir_make();
    lm_packfile *p = gguf_pack(&d);
    lm_chat *c = NULL;
    size_t n;
    lm_error err = { 0 };
    (void)state;
    template_is(p, "tool_use", "T");
    template_is(p, "rag", NULL);
    if (lm_chat_open(&c, p, &err) != LM_OK)
        fail_msg("%s", err.text);
    renders(c, (lm_chat_request){ .think = -1 }, "[{\"role\": \"user\", \"content\": \"hi\"}]",
            "<s>hi</s><|eot_id|>");
    stops_are(p, lm_chat_source(c, &n), vocabulary, "2 70 3 ");
    lm_chat_close(c);
    lm_packfile_close(p);
    lm_tempdir_remove(&d);
}

static void stop_tokens_are_the_union_of_what_the_pack_says(void **state)
{
    static const char *const vocabulary[] = { "<eos>", "<|im_end|>", "<|end|>", "<|return|>",
                                              "</s>",  "<|call|>",   NULL };
    lm_tempdir d = folder();
    lm_packfile *p = open_pack(&d, NULL);
    lm_ids ids = { 0 };
    lm_error err = { 0 };
    (void)state;
    stops_are(p, "", vocabulary, "9 "); /* config.json */
    lm_tempdir_text(&d, "generation_config.json", "{\"eos_token_id\": [7, 1, 7]}");
    stops_are(p, "", vocabulary, "7 1 ");
    lm_tempdir_text(&d, "tokenizer_config.json", "{\"eos_token\": \"</s>\"}");
    stops_are(p, "x<|im_end|>y", vocabulary, "7 1 4 ");
    stops_are(p, "<|end|>", vocabulary, "7 1 4 2 ");
    stops_are(p, "<|end|><|return|><|call|>", vocabulary, "7 1 4 3 5 "); /* gpt-oss goes on after <|end|> */
    stops_are(p, "<end_of_turn>", vocabulary, "7 1 4 ");                 /* not in the vocabulary */
    lm_tempdir_text(&d, "generation_config.json", "{\"eos_token_id\": [\"x\"]}");
    assert_int_equal(lm_chat_stops(p, "", 0, find_in_list, vocabulary, &ids, &err), LM_ERR_CORRUPT);
    assert_string_equal(err.text, "generation_config.json: eos_token_id[0] is not a whole number");
    lm_free(ids.ids);
    lm_packfile_close(p);
    lm_tempdir_remove(&d);
}

static void reasoning_markers_are_found_in_templates(void **state)
{
    static const char qwen[] = "{{ '<think>\\n' }}…</think>",
                      oss[] = "<|channel|>analysis<|message|>x<|end|>";
    static const char gemma[] = "{{ '<|channel>thought\\n<channel|>' }}";
    (void)state;
    assert_string_equal(lm_reasoning_of(qwen, sizeof qwen - 1)->family, "qwen");
    assert_string_equal(lm_reasoning_of(oss, sizeof oss - 1)->kind, "analysis");
    assert_string_equal(lm_reasoning_of(gemma, sizeof gemma - 1)->close, "<channel|>");
    assert_null(lm_reasoning_of("plain", 5));
    size_t n = 0;
    while (lm_reasoning_row(n))
        n++;
    assert_true(n >= 8);
}

static void roles_have_other_names(void **state)
{
    (void)state;
    assert_string_equal(lm_chat_role("human"), "user");
    assert_string_equal(lm_chat_role("developer"), "system");
    assert_string_equal(lm_chat_role("gpt"), "assistant");
    assert_null(lm_chat_role("tool"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_s_template_is_found_in_the_order_of_the_files),
        cmocka_unit_test(a_wrong_template_field_is_named),
        cmocka_unit_test(the_template_sees_messages_tools_tokens_and_options),
        cmocka_unit_test(requests_of_a_wrong_shape_are_refused),
        cmocka_unit_test(a_gguf_file_brings_template_tokens_and_stops),
        cmocka_unit_test(stop_tokens_are_the_union_of_what_the_pack_says),
        cmocka_unit_test(reasoning_markers_are_found_in_templates),
        cmocka_unit_test(roles_have_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
