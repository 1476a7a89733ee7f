/* Templates: the bytes are compiled and rendered over a small context; what
 * stands behind the first NUL, if any, is a message. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *context_of(const char *message, size_t n)
{
    json_t *content = json_stringn(message, n);
    return json_pack(
        "{s:[{s:s,s:o?},{s:s,s:s,s:[{s:i}]}],s:[{s:{s:s,s:n}}],s:{s:i,s:f,s:b},s:[i,i,i],s:s,s:b}",
        "messages", "role", "user", "content", content ? content : json_null(), "role", "assistant",
        "content", "b\xc3\xa9 <x>", "tool_calls", "id", 7, "tools", "function", "name", "f", "none", "d", "a",
        1, "b", 2.5, "c", 1, "xs", 3, 1, 2, "s", " Ab \xe4\xbd\xa0 ", "add_generation_prompt", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    lm_jinja_options o = { .now = 1700000000, .max_steps = 20000, .max_output = 1 << 16, .max_depth = 100 };
    lm_jinja *t = NULL;
    lm_str out = { 0 };
    lm_spans spans = { 0 };
    lm_error err = { 0 };
    if (lm_jinja_compile(&t, (const char *)data, n, &err) == LM_OK) {
        json_t *context = context_of((const char *)data + n + (cut != NULL), size - n - (cut != NULL));
        (void)!lm_jinja_render(t, context, &o, &out, &spans, &err);
        /* Spans are sorted, merged and inside the text. */
        for (size_t i = 0; i < spans.n; i++)
            if (spans.spans[i].first >= spans.spans[i].end || spans.spans[i].end > out.n ||
                (i && spans.spans[i - 1].end >= spans.spans[i].first))
                __builtin_trap();
        json_decref(context);
        lm_jinja_close(t);
    }
    lm_str_clear(&out);
    lm_spans_clear(&spans);
    return 0;
}
