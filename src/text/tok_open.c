/* text/tok_open.c - a pack's tokenizer, through the compiled file in the cache. */
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "format/pack.h"
#include "text/tok.h"

lm_status lm_tok_from_image(lm_tokenizer **out, uint8_t *image, size_t n, lm_error *err)
{
    lm_tokenizer *t = NULL;
    lm_status st = LM_NEW(&t, 1, err);
    if (st != LM_OK) {
        lm_free(image);
        return st;
    }
    t->image = image;
    st = lm_tok_attach(t, image, n, err);
    if (st != LM_OK) {
        lm_tokenizer_close(t);
        return st;
    }
    *out = t;
    return LM_OK;
}

lm_status lm_tokenizer_open_json(lm_tokenizer **out, const char *json, size_t n, const char *name,
                                 lm_error *err)
{
    uint8_t *image = NULL;
    size_t n_image = 0;
    lm_digest d;
    *out = NULL;
    if (n > LM_TOK_MAX_JSON)
        return lm_fail(err, LM_ERR_UNSUPPORTED, "%s has %zu bytes, at most %u are allowed", name, n,
                       LM_TOK_MAX_JSON);
    LM_TRY(lm_sha256(json, n, &d, err));
    LM_TRY(lm_tok_from_json(json, n, name, &image, &n_image, err));
    lm_digest_hex(&d, ((lm_tok_header *)(void *)image)->identity);
    return lm_tok_from_image(out, image, n_image, err);
}

/* The compiled file if there is one, else `compile`, and then the file. */
static lm_status through_cache(lm_tokenizer **out, const char *dir, const lm_map *m, const lm_gguf *g,
                               lm_error *err)
{
    lm_tok_source source = lm_tok_source_of(m, g ? "gguf" : "json");
    uint8_t *image = NULL;
    size_t n = 0;
    lm_status st;
    if (dir && lm_tok_cache_open(out, dir, &source))
        return LM_OK;
    if (g) {
        st = lm_tok_from_gguf(g, &image, &n, err);
    } else {
        lm_digest d;
        st = lm_map_size(m) > LM_TOK_MAX_JSON
                 ? lm_fail(err, LM_ERR_UNSUPPORTED, "tokenizer.json has %llu bytes, at most %u are allowed",
                           (unsigned long long)lm_map_size(m), LM_TOK_MAX_JSON)
                 : lm_sha256(lm_map_data(m), (size_t)lm_map_size(m), &d, err);
        if (st == LM_OK)
            st = lm_tok_from_json((const char *)lm_map_data(m), (size_t)lm_map_size(m), "tokenizer.json",
                                  &image, &n, err);
        if (st == LM_OK)
            lm_digest_hex(&d, ((lm_tok_header *)(void *)image)->identity);
    }
    if (st == LM_OK && (st = lm_map_check(m, err)) != LM_OK)
        lm_free(image);
    if (st != LM_OK)
        return st;
    if (dir)
        lm_tok_cache_write(dir, &source, image, n);
    return lm_tok_from_image(out, image, n, err);
}

lm_status lm_tokenizer_open_pack(lm_tokenizer **out, const lm_packfile *p, const char *cache_dir,
                                 lm_error *err)
{
    const lm_gguf *g = lm_packfile_gguf(p);
    char path[4096];
    lm_map *m = NULL;
    lm_status st;
    *out = NULL;
    if (g && lm_packfile_n_maps(p) > 0)
        return through_cache(out, cache_dir, lm_packfile_map(p, 0), g, err);
    if (!lm_packfile_file(p, "tokenizer.json", path, sizeof path)[0])
        return lm_fail(err, LM_ERR_NOT_FOUND, "the pack '%s' has no tokenizer.json", lm_packfile_path(p));
    LM_TRY(lm_pack_fault(lm_map_open(&m, path, err), err));
    st = through_cache(out, cache_dir, m, NULL, err);
    lm_map_close(m);
    return st;
}
