/* text/vocab_gguf.c - the vocabulary inside a GGUF file, as an image.
 *
 * GGUF names a model and, for byte-pair encoding, a pre-tokeniser; what each name
 * stands for is in pre_gguf.c.  Here both become the same pipeline that a
 * tokenizer.json would describe.
 *
 *   gpt2    byte-level BPE         split by patterns, byte alphabet, merges
 *   gemma4  BPE on plain UTF-8     as gpt2 without the alphabet, spaces as U+2581
 *   llama   SentencePiece BPE      merges by score of the result
 *   bert    WordPiece              entries at a word's start carry U+2581 in the file
 *   t5      Unigram
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/pre_gguf.h"
#include "text/tok.h"

#define KEY(name) "tokenizer.ggml." name

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

static const char SPACE[] = "\xe2\x96\x81"; /* U+2581 */

typedef struct {
    const lm_gguf *g;
    lm_tok_build *b;
    lm_tok_model model;
    const lm_pre_gguf *pre;
    bool bytes; /* the byte alphabet */
    uint64_t n;
    const lm_gguf_value *types, *scores;
    bool phi3;
    lm_str tmp;
} reader;

static bool flag(const lm_gguf *g, const char *key, bool otherwise)
{
    bool v = otherwise;
    (void)lm_gguf_bool(g, key, &v);
    return v;
}

static lm_status id_of(const reader *r, const char *key, int64_t otherwise, int32_t *out, lm_error *err)
{
    int64_t v = otherwise;
    uint64_t u;
    if (lm_gguf_u64(r->g, key, &u))
        v = u > INT32_MAX ? -1 : (int64_t)u; /* 0xffffffff says none */
    else
        (void)lm_gguf_i64(r->g, key, &v);
    if (v >= (int64_t)r->n) {
        if (v == otherwise) { /* a default that this vocabulary is too small for */
            *out = -1;
            return LM_OK;
        }
        return lm_fail(err, LM_ERR_CORRUPT, "%s is %lld, the vocabulary has %llu entries", key, (long long)v,
                       (unsigned long long)r->n);
    }
    *out = v < 0 ? -1 : (int32_t)v;
    return LM_OK;
}

static bool text_is(const char *s, size_t n, const char *z)
{
    return n == strlen(z) && memcmp(s, z, n) == 0;
}

/* ---- entries ---- */

static int64_t type_of(const reader *r, uint64_t i)
{
    int64_t type = NORMAL;
    if (r->types)
        (void)lm_gguf_item_i64(r->types, i, &type);
    return type;
}

static bool is_bracketed(const char *s, size_t n)
{
    return n > 2 && s[0] == '[' && s[n - 1] == ']';
}

/* phi-3 packs eat the space behind a control token; nothing in the file says so
 * but its name. */
static bool eats_space(const reader *r, const char *s, size_t n)
{
    return r->phi3 && !text_is(s, n, "<unk>") && !text_is(s, n, "<s>") && !text_is(s, n, "<|endoftext|>");
}

static lm_status entry(reader *r, uint64_t i, const char *s, size_t n, double score, lm_error *err)
{
    int64_t type = type_of(r, i);
    uint32_t id = (uint32_t)i;
    lm_str_reset(&r->tmp);
    if (n == 0) {
        lm_str_addf(&r->tmp, "[EMPTY_%u]", id);
    } else if (r->model == LM_TOK_WORDPIECE && type != CONTROL && !is_bracketed(s, n)) {
        bool begins = n >= 3 && memcmp(s, SPACE, 3) == 0;
        if (!begins)
            lm_str_addz(&r->tmp, "##");
        lm_str_add(&r->tmp, s + (begins ? 3 : 0), n - (begins ? 3 : 0));
    } else {
        lm_str_add(&r->tmp, s, n);
    }
    LM_TRY(lm_str_status(&r->tmp, err));
    s = lm_str_z(&r->tmp);
    n = r->tmp.n;
    if (!lm_utf8_valid(s, n))
        type = UNUSED; /* never matched, shown as U+FFFD */
    if (type == CONTROL || type == UNKNOWN || type == USER_DEFINED) {
        unsigned flags = type == USER_DEFINED ? 0 : LM_TA_SPECIAL;
        if (type != USER_DEFINED && eats_space(r, s, n))
            flags |= LM_TA_RSTRIP;
        /* BERT's unknown token is an entry as well: words become it */
        if (type == USER_DEFINED || r->model == LM_TOK_BPE || r->model == LM_TOK_WORDPIECE)
            LM_TRY(lm_tok_build_token(r->b, s, n, id, type == USER_DEFINED ? 0 : score, err));
        return n > LM_TOK_MAX_ADDED ? LM_OK : lm_tok_build_added(r->b, s, n, id, flags, err);
    }
    return lm_tok_build_token(r->b, s, n, id, score, err);
}

/* SentencePiece merges the best score first; the image wants ranks, equal ones
 * for equal scores. */
typedef struct {
    double score;
    uint32_t id;
} scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

static lm_status ranks_of(const reader *r, double *ranks, lm_error *err)
{
    scored *s = NULL;
    uint32_t rank = 0;
    LM_TRY(LM_NEW(&s, (size_t)r->n + 1, err));
    for (uint64_t i = 0; i < r->n; i++) {
        double v = 0;
        if (r->scores)
            (void)lm_gguf_item_f64(r->scores, i, &v);
        s[i] = (scored){ isfinite(v) ? v : -1e30, (uint32_t)i };
    }
    qsort(s, (size_t)r->n, sizeof *s, best_first);
    for (uint64_t i = 0; i < r->n; i++) {
        if (i && s[i].score != s[i - 1].score)
            rank = (uint32_t)i;
        ranks[s[i].id] = rank;
    }
    lm_free(s);
    return LM_OK;
}

static lm_status entries(reader *r, const lm_gguf_value *tokens, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    lm_gguf_walk w = lm_gguf_strings(tokens);
    double *ranks = NULL, least = 0;
    const char *s;
    size_t n;
    lm_status st = LM_OK;
    bool any = false;
    if (r->model == LM_TOK_SPM) {
        LM_TRY(LM_NEW(&ranks, (size_t)r->n + 1, err));
        st = ranks_of(r, ranks, err);
    }
    for (uint64_t i = 0; i < r->n && st == LM_OK && lm_gguf_next(&w, &s, &n); i++) {
        double score = 0;
        if (r->scores)
            (void)lm_gguf_item_f64(r->scores, i, &score);
        if (!isfinite(score))
            score = -1e30;
        if (type_of(r, i) == NORMAL) {
            least = !any || score < least ? score : least;
            any = true;
        }
        st = entry(r, i, s, n, ranks ? ranks[i] : score, err);
    }
    h->min_score = least;
    lm_free(ranks);
    return st;
}

static lm_status merges(reader *r, lm_error *err)
{
    const lm_gguf_value *list = lm_gguf_array(r->g, KEY("merges"), LM_GGUF_STRING);
    lm_gguf_walk w = lm_gguf_strings(list);
    const char *s;
    size_t n;
    if (!list && !r->pre->no_merges)
        return lm_fail(err, LM_ERR_CORRUPT, "%s is missing", KEY("merges"));
    while (lm_gguf_next(&w, &s, &n)) {
        const char *space = n > 1 ? memchr(s + 1, ' ', n - 1) : NULL;
        size_t k = space ? (size_t)(space - s) : 0;
        if (!space)
            continue;
        /* files whose merges name entries that were left out are in use: such a
         * merge can never lead to an id */
        lm_str_reset(&r->tmp);
        lm_str_add(&r->tmp, s, k);
        lm_str_add(&r->tmp, space + 1, n - k - 1);
        LM_TRY(lm_str_status(&r->tmp, err));
        if (lm_tok_build_find(r->b, s, k) < 0 || lm_tok_build_find(r->b, space + 1, n - k - 1) < 0 ||
            lm_tok_build_find(r->b, lm_str_z(&r->tmp), r->tmp.n) < 0)
            continue;
        LM_TRY(lm_tok_build_merge(r->b, s, k, space + 1, n - k - 1, err));
    }
    return LM_OK;
}

/* ---- the pipeline ---- */

static json_t *list_of(const char *key)
{
    return json_pack("{s:s, s:[]}", "type", "Sequence", key);
}

static void append(json_t *sequence, const char *key, json_t *step)
{
    (void)json_array_append_new(json_object_get(sequence, key), step);
}

static json_t *replace(const char *what, const char *with)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", what, "content", with);
}

static json_t *normalizer(const reader *r)
{
    json_t *list = list_of("normalizers");
    const lm_gguf_value *map;
    bool lower = flag(r->g, KEY("normalizer.lowercase"), true);
    bool prefix = flag(r->g, KEY("add_space_prefix"), true);
    switch (r->model) {
    case LM_TOK_WORDPIECE:
        append(list, "normalizers",
               json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", 1,
                         "handle_chinese_chars", 1, "strip_accents",
                         (int)flag(r->g, KEY("normalizer.strip_accents"), lower), "lowercase", (int)lower));
        break;
    case LM_TOK_UNIGRAM:
        map = lm_gguf_array(r->g, KEY("precompiled_charsmap"), LM_GGUF_I8);
        if (!map)
            map = lm_gguf_array(r->g, KEY("precompiled_charsmap"), LM_GGUF_U8);
        if (map && map->n)
            append(list, "normalizers",
                   json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap",
                             "=")); /* put in below */
        if (flag(r->g, KEY("remove_extra_whitespaces"), false))
            append(list, "normalizers", json_pack("{s:s}", "type", "LemmaSqueeze"));
        /* fall through */
    case LM_TOK_SPM:
        if (prefix)
            append(list, "normalizers", json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE));
        append(list, "normalizers", replace(" ", SPACE));
        break;
    default:
        if (!r->bytes && r->pre->spaces)
            append(list, "normalizers", replace(" ", SPACE));
        break;
    }
    return list;
}

static json_t *pre_tokenizer(const reader *r)
{
    json_t *list = list_of("pretokenizers");
    if (r->model == LM_TOK_WORDPIECE)
        append(list, "pretokenizers", json_pack("{s:s}", "type", "BertPreTokenizer"));
    for (size_t i = 0; r->pre && i < LM_LEN(r->pre->pattern) && r->pre->pattern[i]; i++)
        append(list, "pretokenizers",
               json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", r->pre->pattern[i],
                         "behavior", "Isolated", "invert", 0));
    if (r->bytes)
        append(list, "pretokenizers",
               json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                         (int)flag(r->g, KEY("add_space_prefix"), false), "use_regex", 0));
    return list;
}

static json_t *decoder(const reader *r)
{
    json_t *list = list_of("decoders");
    if (r->bytes) {
        append(list, "decoders", json_pack("{s:s}", "type", "ByteLevel"));
    } else if (r->model == LM_TOK_WORDPIECE) {
        append(list, "decoders",
               json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1));
    } else {
        append(list, "decoders", replace(SPACE, " "));
        append(list, "decoders", json_pack("{s:s}", "type", "ByteFallback"));
        append(list, "decoders", json_pack("{s:s}", "type", "Fuse"));
        if (r->model != LM_TOK_BPE && flag(r->g, KEY("add_space_prefix"), true))
            append(list, "decoders",
                   json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    }
    return list;
}

static void put_special(json_t *def, const char *where, const char *name, int32_t id)
{
    json_t *single = json_object_get(def, "single");
    json_t *piece = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", name, "type_id", 0);
    (void)json_object_set_new(json_object_get(def, "special_tokens"), name,
                              json_pack("{s:s, s:[i]}", "id", name, "ids", (int)id));
    if (*where == 'b')
        (void)json_array_insert_new(single, 0, piece);
    else
        (void)json_array_append_new(single, piece);
}

static lm_status post_processor(const reader *r, json_t **out, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    bool bert = r->model == LM_TOK_WORDPIECE, t5 = r->model == LM_TOK_UNIGRAM, spm = r->model == LM_TOK_SPM;
    bool add_bos = flag(r->g, KEY("add_bos_token"), bert || spm || (r->pre && r->pre->add_bos));
    bool add_eos = flag(r->g, KEY("add_eos_token"), t5);
    bool add_sep = flag(r->g, KEY("add_sep_token"), bert || (r->pre && r->pre->add_sep));
    int32_t sep = -1, cls = -1;
    LM_TRY(id_of(r, KEY("bos_token_id"), bert ? 101 : spm ? 1 : -1, &h->bos, err));
    LM_TRY(id_of(r, KEY("eos_token_id"), spm ? 2 : t5 ? 1 : -1, &h->eos, err));
    LM_TRY(id_of(r, KEY("seperator_token_id"), bert ? 102 : -1, &sep, err)); /* spelled so in the files */
    LM_TRY(id_of(r, KEY("cls_token_id"), -1, &cls, err));
    if (bert && cls >= 0)
        h->bos = cls;
    *out = json_pack("{s:s, s:[{s:{s:s, s:i}}], s:{}}", "type", "TemplateProcessing", "single", "Sequence",
                     "id", "A", "type_id", 0, "special_tokens");
    if (!*out)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the post_processor");
    if (add_bos && h->bos >= 0)
        put_special(*out, "before", "bos", h->bos);
    if (add_eos && h->eos >= 0)
        put_special(*out, "after", "eos", h->eos);
    else if (add_sep && (sep >= 0 || h->eos >= 0))
        put_special(*out, "after", "sep", sep >= 0 ? sep : h->eos);
    return LM_OK;
}

/* ---- all of it ---- */

static lm_status kind_of(reader *r, lm_error *err)
{
    const char *model = "", *pre = "", *name = "";
    size_t n_model = 0, n_pre = 0, n_name = 0;
    lm_quoted_buf q;
    if (!lm_gguf_str(r->g, KEY("model"), &model, &n_model) || text_is(model, n_model, "none") ||
        text_is(model, n_model, "no_vocab"))
        return lm_fail(err, LM_ERR_NOT_FOUND, "the file has no vocabulary (%s)", KEY("model"));
    (void)lm_gguf_str(r->g, KEY("pre"), &pre, &n_pre);
    if (lm_gguf_str(r->g, "general.name", &name, &n_name))
        for (size_t i = 0; i + 4 <= n_name && !r->phi3; i++)
            r->phi3 = ((name[i] | 32) == 'p' && (name[i + 1] | 32) == 'h' && (name[i + 2] | 32) == 'i') &&
                      (name[i + 3] == '3' || (name[i + 3] == '-' && i + 5 <= n_name && name[i + 4] == '3'));
    if (text_is(model, n_model, "llama")) {
        r->model = LM_TOK_SPM;
    } else if (text_is(model, n_model, "bert")) {
        r->model = LM_TOK_WORDPIECE;
    } else if (text_is(model, n_model, "t5")) {
        r->model = LM_TOK_UNIGRAM;
    } else if (text_is(model, n_model, "gpt2") || text_is(model, n_model, "gemma4")) {
        r->model = LM_TOK_BPE;
        if (text_is(model, n_model, "gemma4")) {
            pre = "gemma4";
            n_pre = 6;
        } else if (n_pre == 0) {
            pre = "default"; /* files from before the key was written */
            n_pre = 7;
        }
        r->pre = lm_pre_gguf_find(pre, n_pre);
        if (!r->pre) {
            lm_hint(err, "a tokenizer.json beside the weights would say what it means");
            return lm_fail(err, LM_ERR_UNSUPPORTED, "the pre-tokenizer '%s' (%s) is unknown",
                           lm_quoted(&q, pre, n_pre), KEY("pre"));
        }
        r->bytes = !r->pre->plain;
    } else {
        return lm_fail(err, LM_ERR_UNSUPPORTED,
                       "the vocabulary is of kind '%s' (%s), known are gpt2, llama, bert, t5",
                       lm_quoted(&q, model, n_model), KEY("model"));
    }
    return LM_OK;
}

static lm_status arrays(reader *r, const lm_gguf_value **tokens, lm_error *err)
{
    *tokens = lm_gguf_array(r->g, KEY("tokens"), LM_GGUF_STRING);
    if (!*tokens || (*tokens)->n == 0)
        return lm_fail(err, LM_ERR_NOT_FOUND, "the file has no vocabulary (%s)", KEY("tokens"));
    r->n = (*tokens)->n;
    if (r->n >= LM_TOK_MAX_ID)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %llu entries, at most %d are allowed", KEY("tokens"),
                       (unsigned long long)r->n, LM_TOK_MAX_ID - 1);
    r->types = lm_gguf_array(r->g, KEY("token_type"), LM_GGUF_I32);
    r->scores = lm_gguf_array(r->g, KEY("scores"), LM_GGUF_F32);
    if (r->types && r->types->n != r->n)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %llu entries, the vocabulary has %llu", KEY("token_type"),
                       (unsigned long long)r->types->n, (unsigned long long)r->n);
    if (r->scores && r->scores->n != r->n)
        return lm_fail(err, LM_ERR_CORRUPT, "%s has %llu entries, the vocabulary has %llu", KEY("scores"),
                       (unsigned long long)r->scores->n, (unsigned long long)r->n);
    if (!r->scores && (r->model == LM_TOK_SPM || r->model == LM_TOK_UNIGRAM))
        return lm_fail(err, LM_ERR_CORRUPT, "%s is missing", KEY("scores"));
    return LM_OK;
}

/* SHA-256 over every key of the vocabulary, whatever else the file holds. */
static lm_status identity(const lm_gguf *g, char out[65], lm_error *err)
{
    lm_sha *sha = NULL;
    lm_digest d;
    LM_TRY(lm_sha_open(&sha, err));
    for (size_t i = 0; i < lm_gguf_n_values(g); i++) {
        static const size_t width[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
        const lm_gguf_value *v = lm_gguf_value_at(g, i);
        char key[128] = { 0 };
        if (v->n_key < 15 || v->n_key >= sizeof key || memcmp(v->key, KEY(""), 15) != 0)
            continue;
        memcpy(key, v->key, v->n_key);
        if (v->type == LM_GGUF_ARRAY && v->item == LM_GGUF_STRING) {
            lm_gguf_walk w = lm_gguf_strings(v);
            const char *s;
            size_t n;
            while (lm_gguf_next(&w, &s, &n))
                lm_sha_field(sha, key, s, n);
        } else {
            lm_gguf_type item = v->type == LM_GGUF_ARRAY ? v->item : v->type;
            size_t size = item == LM_GGUF_STRING ? 1 : item < LM_GGUF_TYPES ? width[item] : 0;
            lm_sha_field(sha, key, v->data, (size_t)v->n * size);
        }
    }
    d = lm_sha_close(sha);
    lm_digest_hex(&d, out);
    return LM_OK;
}

static lm_status put_charsmap(const reader *r, json_t *pipeline, lm_error *err)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const lm_gguf_value *map = lm_gguf_array(r->g, KEY("precompiled_charsmap"), LM_GGUF_I8);
    json_t *step = json_array_get(json_object_get(json_object_get(pipeline, "normalizer"), "normalizers"), 0);
    lm_str text = { 0 };
    lm_status st;
    if (!map)
        map = lm_gguf_array(r->g, KEY("precompiled_charsmap"), LM_GGUF_U8);
    if (r->model != LM_TOK_UNIGRAM || !map || !map->n)
        return LM_OK;
    for (uint64_t i = 0; i < map->n; i += 3) {
        uint32_t v = 0;
        for (uint64_t k = 0; k < 3; k++)
            v = v << 8 | (i + k < map->n ? map->data[i + k] : 0);
        for (unsigned k = 0; k < 4 && (k < 2 || i + k - 1 < map->n); k++)
            lm_str_addc(&text, digit[v >> (18 - 6 * k) & 63]);
    }
    st = lm_str_status(&text, err);
    if (st == LM_OK &&
        json_object_set_new(step, "precompiled_charsmap", json_stringn(lm_str_z(&text), text.n)) != 0)
        st = lm_fail(err, LM_ERR_NOMEM, "no memory for the normalizer");
    lm_str_clear(&text);
    return st;
}

static lm_status compile(reader *r, uint8_t **image, size_t *n_image, lm_error *err)
{
    lm_tok_header *h = lm_tok_build_header(r->b);
    const lm_gguf_value *tokens = NULL;
    json_t *pipeline, *post = NULL;
    lm_status st;
    LM_TRY(kind_of(r, err));
    LM_TRY(arrays(r, &tokens, err));
    h->model = r->model;
    if (r->model == LM_TOK_WORDPIECE)
        memcpy(h->prefix, "##", 3);
    LM_TRY(entries(r, tokens, err));
    if (r->model == LM_TOK_BPE) {
        LM_TRY(merges(r, err));
        h->flags = (r->pre->ignore_merges ? LM_TM_IGNORE_MERGES : 0) |
                   (r->bytes ? 0 : LM_TM_BYTE_FALLBACK | LM_TM_FUSE_UNK);
    } else if (r->model == LM_TOK_UNIGRAM) {
        h->flags = LM_TM_BYTE_FALLBACK;
    }
    LM_TRY(id_of(r, KEY("unknown_token_id"),
                 r->model == LM_TOK_SPM         ? 0
                 : r->model == LM_TOK_WORDPIECE ? 100
                 : r->model == LM_TOK_UNIGRAM   ? 2
                                                : -1,
                 &h->unk, err));
    LM_TRY(post_processor(r, &post, err));
    pipeline = json_pack("{s:o, s:o, s:o, s:o}", "normalizer", normalizer(r), "pre_tokenizer",
                         pre_tokenizer(r), "post_processor", post, "decoder", decoder(r));
    if (!pipeline)
        return lm_fail(err, LM_ERR_NOMEM, "no memory for the pipeline");
    st = put_charsmap(r, pipeline, err);
    if (st == LM_OK)
        st = lm_tok_build_finish(r->b, pipeline, image, n_image, err);
    json_decref(pipeline);
    if (st == LM_OK)
        st = identity(r->g, ((lm_tok_header *)(void *)*image)->identity, err);
    return st;
}

lm_status lm_tok_from_gguf(const lm_gguf *g, uint8_t **image, size_t *n_image, lm_error *err)
{
    reader r = { .g = g };
    lm_status st = lm_tok_build_open(&r.b, "the vocabulary", err);
    if (st != LM_OK)
        return st;
    st = compile(&r, image, n_image, err);
    lm_str_clear(&r.tmp);
    lm_tok_build_close(r.b);
    return st;
}
