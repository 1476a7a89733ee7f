/* format/packplaces.c - where packs are looked for. */
#include "format/packplaces.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"

static lm_status add(lm_pack_places *p, const char *kind, const char *a, size_t n, const char *b,
                     lm_error *err)
{
    lm_str s = { 0 };
    LM_TRY(lm_grow((void **)&p->items, &p->cap, p->n + 1, sizeof *p->items, err));
    lm_str_add(&s, a, n);
    lm_str_addz(&s, b);
    lm_status status = lm_str_take(&s, &p->items[p->n].path, NULL, err);
    lm_str_clear(&s);
    p->items[p->n].kind = kind;
    p->n += status == LM_OK;
    return status;
}

/* $name/end when the variable is set and absolute. */
static const char *folder_in(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] == '/' ? v : NULL;
}

static lm_status add_first(lm_pack_places *p, const char *kind, const char *const vars[][2], size_t n,
                           lm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *v = folder_in(vars[i][0]);
        if (v)
            return add(p, kind, v, strlen(v), vars[i][1], err);
    }
    return LM_OK;
}

static lm_status read_all(lm_pack_places *p, lm_error *err)
{
    static const char *const cache[][2] = { { "XDG_CACHE_HOME", "/lemma/models" },
                                            { "HOME", "/.cache/lemma/models" } };
    static const char *const hub[][2] = { { "HF_HUB_CACHE", "" },
                                          { "HF_HOME", "/hub" },
                                          { "XDG_CACHE_HOME", "/huggingface/hub" },
                                          { "HOME", "/.cache/huggingface/hub" } };
    static const char *const studio[][2] = { { "HOME", "/.lmstudio/models" } };
    static const char *const old_studio[][2] = { { "HOME", "/.cache/lm-studio/models" } };
    static const char *const ollama[][2] = { { "OLLAMA_MODELS", "" }, { "HOME", "/.ollama/models" } };
    const char *list = getenv("LEMMA_MODELS");
    while (list && *list) {
        size_t n = strcspn(list, ":");
        if (n)
            LM_TRY(add(p, "lemma", list, n, "", err));
        list += n + (list[n] == ':');
    }
    LM_TRY(add_first(p, "lemma", cache, LM_LEN(cache), err));
    LM_TRY(add_first(p, "huggingface", hub, LM_LEN(hub), err));
    LM_TRY(add_first(p, "lmstudio", studio, LM_LEN(studio), err));
    LM_TRY(add_first(p, "lmstudio", old_studio, LM_LEN(old_studio), err));
    return add_first(p, "ollama", ollama, LM_LEN(ollama), err);
}

lm_status lm_pack_places_read(lm_pack_places *out, lm_error *err)
{
    lm_pack_places p = { 0 };
    lm_status status = read_all(&p, err);
    if (status != LM_OK) {
        lm_pack_places_clear(&p);
        return status;
    }
    *out = p;
    return LM_OK;
}

void lm_pack_places_clear(lm_pack_places *p)
{
    for (size_t i = 0; i < p->n; i++)
        lm_free(p->items[i].path);
    lm_free(p->items);
    *p = (lm_pack_places){ 0 };
}
