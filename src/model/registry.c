/* model/registry.c - the families: one line each. */
#include <string.h>

#include "model/family.h"

extern const lm_family lm_family_llama, lm_family_mistral, lm_family_qwen2, lm_family_qwen3, lm_family_gemma,
    lm_family_gemma2, lm_family_gemma3, lm_family_phi, lm_family_phi3, lm_family_glm, lm_family_glm4,
    lm_family_granite, lm_family_smollm3, lm_family_olmo2;

static const lm_family *const families[] = {
    &lm_family_llama,  &lm_family_mistral, &lm_family_qwen2,   &lm_family_qwen3, &lm_family_gemma,
    &lm_family_gemma2, &lm_family_gemma3,  &lm_family_phi,     &lm_family_phi3,  &lm_family_glm,
    &lm_family_glm4,   &lm_family_granite, &lm_family_smollm3, &lm_family_olmo2,
};

const lm_family *lm_family_at(size_t i)
{
    return i < LM_LEN(families) ? families[i] : NULL;
}

static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; n && *at;) {
        size_t len = strcspn(at, " ");
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len + (at[len] == ' ');
    }
    return false;
}

const lm_family *lm_family_find(const char *type, bool gguf)
{
    for (size_t i = 0; i < LM_LEN(families); i++)
        if (listed(gguf ? families[i]->gguf_archs : families[i]->hf_types, type))
            return families[i];
    return NULL;
}
