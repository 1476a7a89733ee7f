/* text/tok.h - what the files of the tokenizer share.
 *
 * A definition (tokenizer.json or a GGUF vocabulary) is compiled by tok_build.c
 * into an image: one block with a header and sections that are used in place,
 * in memory or mapped from the cache folder.  What is small (pipeline steps,
 * patterns) is made from the image's pipeline text at every opening.
 *
 *   text --added.c--> fragments --normalize.c--> --added.c--> --pretokenize.c-->
 *   pieces --bpe/unigram/wordpiece/wordlevel.c--> ids --post.c--> ids
 *
 * Trust:   an image's checksum was verified, yet every index read from it is
 *          checked where it is used.
 * Threads: a tokenizer does not change after opening; an lm_tok_run is one call's.
 */
#ifndef LM_TOK_H
#define LM_TOK_H

#include <jansson.h>

#include "base/map.h"
#include "text/tok_regex.h"
#include "text/tokenizer.h"

/* Limits, each with its reason. */
#define LM_TOK_MAX_TEXT  0x7fff0000u  /* offsets in a text are 32 bits */
#define LM_TOK_MAX_ID    (1 << 24)    /* ids are dense; eight times the largest vocabulary known */
#define LM_TOK_MAX_PIECE 65536u       /* bytes of one vocabulary entry */
#define LM_TOK_MAX_ADDED 1024u        /* bytes of one added token: bounds the walk per character */
#define LM_TOK_MAX_TRIE  2048u        /* bytes of one Unigram piece, for the same reason */
#define LM_TOK_MAX_STEPS 256u         /* steps of one pipeline part */
#define LM_TOK_MAX_DEPTH 16u          /* nesting of Sequence in Sequence */
#define LM_TOK_MAX_JSON  (512u << 20) /* bytes of tokenizer.json */

typedef enum {
    LM_TOK_BPE = 1, /* merges by pair of ids */
    LM_TOK_SPM,     /* merges of any two neighbours whose text is an entry, best score first */
    LM_TOK_UNIGRAM,
    LM_TOK_WORDPIECE,
    LM_TOK_WORDLEVEL,
} lm_tok_model;

enum { /* lm_tok_header.flags */
       LM_TM_BYTE_FALLBACK = 1,
       LM_TM_FUSE_UNK = 2,
       LM_TM_IGNORE_MERGES = 4,
       LM_TM_WORDS = 16,      /* a text may be cut before U+2581, but behind the bytes in `cross` */
       LM_TM_UNK_MISSING = 8, /* unk_token is named and not in the vocabulary: an error once it is needed */
};

enum { /* section LM_TS_KIND: one byte an id; 0 is a hole */
       LM_TK_MODEL = 1,
       LM_TK_ADDED = 2,
       LM_TK_SPECIAL = 4,
       LM_TK_RESPELT = 8, /* decoded as its normalised spelling, which differs */
};

enum { /* lm_tok_added.flags */
       LM_TA_SINGLE_WORD = 1,
       LM_TA_LSTRIP = 2,
       LM_TA_RSTRIP = 4,
       LM_TA_NORMALIZED = 8,
       LM_TA_SPECIAL = 16,
};

enum {
    LM_TS_TEXT,      /* bytes of all entries */
    LM_TS_OFFSETS,   /* uint32_t[n_vocab + 1] into TEXT */
    LM_TS_KIND,      /* uint8_t[n_vocab] */
    LM_TS_SLOTS,     /* uint32_t[2^k]: id + 1 of model and added entries, by hash of the text */
    LM_TS_MERGES,    /* lm_tok_merge[] in order of rank */
    LM_TS_MSLOTS,    /* uint32_t[2^k]: index + 1 into MERGES, by hash of the pair */
    LM_TS_SCORES,    /* Unigram: double[n_vocab]; SPM: uint32_t[n_vocab], 0 is best */
    LM_TS_TRIE,      /* Unigram: lm_tok_node[] */
    LM_TS_ADDED,     /* lm_tok_added[] */
    LM_TS_RAW,       /* lm_tok_node[]: added tokens looked for in the text as it is */
    LM_TS_NORM,      /* lm_tok_node[]: added tokens looked for in the normalised text */
    LM_TS_BYTES,     /* int32_t[256]: ids of the byte alphabet, then int32_t[256]: of <0x00> … */
    LM_TS_PIPELINE,  /* JSON: normalizer, pre_tokenizer, post_processor, decoder */
    LM_TS_CHARSMAP,  /* Precompiled maps one after the other, each behind its uint32_t length */
    LM_TS_SPELLINGS, /* bytes: added tokens as the normaliser writes them */
    LM_TS_N
};

typedef struct {
    uint32_t left, right, id;
} lm_tok_merge;

typedef struct {
    uint32_t first; /* its children are nodes [first, first + n), sorted by byte */
    uint16_t n;
    uint8_t byte;
    uint8_t pad;
    int32_t value; /* -1: nothing ends here */
} lm_tok_node;

typedef struct {
    int32_t id;
    uint32_t flags;
    uint32_t at, n; /* normalised spelling in LM_TS_SPELLINGS */
} lm_tok_added;

typedef struct {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t n_bytes;
    uint64_t checksum;  /* XXH3 of everything after this field */
    uint64_t source[8]; /* identity of the file it was made from; see cache.c */
    char identity[72];
    uint32_t model, flags, n_vocab, n_model, max_piece, max_chars;
    int32_t bos, eos, unk;
    uint32_t pad;
    double min_score;
    uint32_t cross[8];           /* bytes that some entry has in front of a U+2581 */
    char prefix[64], suffix[64]; /* of subwords: continuing_subword_prefix, end_of_word_suffix */
    struct {
        uint64_t at, n;
    } section[LM_TS_N];
} lm_tok_header;

typedef struct lm_gguf lm_gguf; /* format/gguf.h */
typedef struct lm_norm lm_norm;
typedef struct lm_pre lm_pre;
typedef struct lm_dec lm_dec;

struct lm_tokenizer {
    const uint8_t *image;
    const lm_tok_header *h;
    lm_map *map; /* or NULL: the image is on the heap */

    const char *text;
    const uint32_t *offsets;
    const uint8_t *kind;
    const uint32_t *slots, *mslots;
    size_t slot_mask, mslot_mask; /* SIZE_MAX: no table */
    const lm_tok_merge *merges;
    size_t n_merges;
    const void *scores;
    const lm_tok_node *trie, *raw, *norm_trie;
    size_t n_trie, n_raw, n_norm_trie;
    const lm_tok_added *added;
    size_t n_added, n_spellings;
    const char *spellings;
    const int32_t *byte_ids, *byte_fallback;
    uint32_t raw_first[8], norm_first[8]; /* which bytes begin an added token */

    lm_norm *norm;
    size_t n_norm;
    lm_pre *pre;
    size_t n_pre;
    bool bytes_last;         /* the last pre-tokeniser maps bytes and BPE takes them unmapped */
    int32_t *before, *after; /* the post-processor's ids */
    size_t n_before, n_after;
    lm_dec *dec;
    size_t n_dec;
    bool no_decoder; /* tokens are joined with spaces */
    lm_tok_regex_set regexes;
};

/* A growing text that can say where each byte came from. */
typedef struct {
    lm_str b;
    uint32_t *from; /* of each byte: offset in the input, when `want` */
    size_t cap_from;
    bool want;
    bool lead; /* the first byte stems from the first byte of the input */
    bool failed;
} lm_tok_sink;
void lm_tok_put(lm_tok_sink *s, const char *bytes, size_t n, size_t from);
void lm_tok_putu(lm_tok_sink *s, uint32_t code_point, size_t from);
void lm_tok_sink_clear(lm_tok_sink *s);

typedef struct {
    uint32_t first, end;
} lm_tok_piece;

typedef struct {
    lm_tok_piece *p;
    size_t n, cap;
    bool lead; /* p[0] begins at byte 0 of the caller's text */
} lm_tok_pieces;

typedef struct lm_tok_words lm_tok_words;

/* One call of encode. */
typedef struct {
    const lm_tokenizer *t;
    lm_ids *out;
    lm_error *err;
    const lm_span *literal; /* in bytes of the text being looked at */
    size_t n_literal;
    bool parse_all;
    bool plain_only;    /* the models give no special tokens: see added.c */
    lm_tok_match match; /* pattern scratch */
    lm_tok_sink norm[2];
    lm_tok_pieces pieces[2];
    lm_str text[2]; /* what pre-tokenisers make of the text */
    lm_tok_words *words;
    void *scratch; /* of the model: symbols, heap, lattice */
    size_t cap_scratch;
    lm_str word;
    uint64_t n_input;
} lm_tok_run;

/* tok_view.c: the image as a tokenizer. */
lm_status lm_tok_attach(lm_tokenizer *t, const uint8_t *image, size_t n, lm_error *err) LM_NODISCARD;
int32_t lm_tok_find(const lm_tokenizer *t, const char *s, size_t n, unsigned kinds);
const char *lm_tok_text(const lm_tokenizer *t, uint32_t id, size_t *n);
const char *lm_tok_decode_text(const lm_tokenizer *t, uint32_t id, size_t *n);
const lm_tok_merge *lm_tok_find_merge(const lm_tokenizer *t, uint32_t left, uint32_t right);
/* Child of node `at` for `byte`, 0: none (the root is node 0 and nobody's child). */
uint32_t lm_tok_child(const lm_tok_node *nodes, size_t n, uint32_t at, uint8_t byte);
lm_status lm_tok_push(lm_ids *out, int32_t id, lm_error *err) LM_NODISCARD;
lm_status lm_tok_scratch(lm_tok_run *r, size_t n_bytes) LM_NODISCARD;
static inline uint64_t lm_tok_pair_hash(uint32_t left, uint32_t right)
{
    uint64_t x = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* added.c */
lm_status lm_tok_encode_text(lm_tok_run *r, const char *text, size_t n) LM_NODISCARD;

/* normalize.c */
lm_status lm_norm_compile(lm_norm **out, size_t *n, const json_t *def, const uint8_t *charsmap,
                          size_t n_charsmap, lm_tok_regex_set *regexes, lm_error *err) LM_NODISCARD;
void lm_norm_free(lm_norm *steps, size_t n);
/* The result is r->norm[*which]; its lead and from are in terms of `text`. */
lm_status lm_norm_run(lm_tok_run *r, const char *text, size_t n, bool want_from, int *which) LM_NODISCARD;

/* pretokenize.c */
lm_status lm_pre_compile(lm_pre **out, size_t *n, const json_t *def, lm_tok_regex_set *regexes,
                         lm_error *err) LM_NODISCARD;
void lm_pre_free(lm_pre *steps, size_t n);
bool lm_pre_is_bytes(const lm_pre *steps, size_t n);
/* Pieces of *text; both may be replaced by ones that the run owns. */
lm_status lm_pre_run(lm_tok_run *r, const char **text, size_t *n, bool lead,
                     lm_tok_pieces **pieces) LM_NODISCARD;

/* One file a model: appends the ids of one piece. */
lm_status lm_bpe_run(lm_tok_run *r, const char *s, size_t n) LM_NODISCARD;
lm_status lm_spm_run(lm_tok_run *r, const char *s, size_t n) LM_NODISCARD;
lm_status lm_unigram_run(lm_tok_run *r, const char *s, size_t n) LM_NODISCARD;
lm_status lm_wordpiece_run(lm_tok_run *r, const char *s, size_t n) LM_NODISCARD;
lm_status lm_wordlevel_run(lm_tok_run *r, const char *s, size_t n) LM_NODISCARD;
/* The model's entry, -1: none. */
int32_t lm_tok_entry(const lm_tok_run *r, const char *s, size_t n);
lm_status lm_tok_unk(lm_tok_run *r) LM_NODISCARD; /* appends it, or the error that there is none */
void lm_tok_words_free(lm_tok_words *w);

/* post.c */
lm_status lm_post_compile(lm_tokenizer *t, const json_t *def, lm_error *err) LM_NODISCARD;

/* decode.c */
lm_status lm_dec_compile(lm_dec **out, size_t *n, const json_t *def, lm_tok_regex_set *regexes,
                         lm_error *err) LM_NODISCARD;
void lm_dec_free(lm_dec *steps, size_t n);

/* unicode.c: the properties that the reference asks for, by its own names. */
typedef enum {
    LM_UNI_PUNCTUATION,
    LM_UNI_NUMERIC,
    LM_UNI_MARK,
    LM_UNI_NONSPACING,
    LM_UNI_OTHER,
    LM_UNI_COMPAT,
    LM_UNI_ORDER,
    LM_UNI_WORD,
} lm_uni_question;
bool lm_uni_differs(lm_uni_question q, uint32_t c); /* the reference and utf8proc */
bool lm_uni_space(uint32_t c);                      /* White_Space */
bool lm_uni_numeric(uint32_t c);                    /* N* */
bool lm_uni_punctuation(uint32_t c);                /* ASCII punctuation and P* */
bool lm_uni_mark(uint32_t c);                       /* M* */
bool lm_uni_mark_nonspacing(uint32_t c);
bool lm_uni_other(uint32_t c); /* C* but unassigned */
bool lm_uni_word(uint32_t c);  /* \w */
bool lm_uni_chinese(uint32_t c);
int lm_uni_script(uint32_t c); /* 0: none */
/* The byte alphabet: every byte as a printable character, and back (-1: none). */
uint32_t lm_byte_char(uint8_t byte);
int lm_char_byte(uint32_t c);
/* Bytes that are no UTF-8 become U+FFFD, one for each maximal ill-formed part. */
size_t lm_utf8_bad_part(const char *p, size_t n);
/* The first `what` in p[0..n), NULL: none. */
const char *lm_tok_find_bytes(const char *p, size_t n, const char *what, size_t n_what);

/* json_scan.c: walks JSON without building it. */
typedef struct {
    const char *s;
    size_t n, at;
    const char *name; /* for messages */
} lm_jscan;
lm_status lm_jscan_skip(lm_jscan *j, lm_error *err) LM_NODISCARD; /* any value */
char lm_jscan_peek(lm_jscan *j);                                  /* next character after blanks, 0: end */
lm_status lm_jscan_take(lm_jscan *j, char c, lm_error *err) LM_NODISCARD;
lm_status lm_jscan_string(lm_jscan *j, lm_str *out, lm_error *err) LM_NODISCARD;
lm_status lm_jscan_number(lm_jscan *j, double *out, lm_error *err) LM_NODISCARD;

/* tok_build.c */
typedef struct lm_tok_build lm_tok_build;
lm_status lm_tok_build_open(lm_tok_build **out, const char *name, lm_error *err) LM_NODISCARD;
void lm_tok_build_close(lm_tok_build *b);
lm_tok_header *lm_tok_build_header(lm_tok_build *b); /* model, flags, unk … are set by the caller */
/* Two equal texts, or two texts of one id, are LM_ERR_CORRUPT. */
lm_status lm_tok_build_token(lm_tok_build *b, const char *s, size_t n, uint32_t id, double score,
                             lm_error *err) LM_NODISCARD;
/* Called after all tokens; the texts must be entries. */
lm_status lm_tok_build_merge(lm_tok_build *b, const char *left, size_t n_left, const char *right,
                             size_t n_right, lm_error *err) LM_NODISCARD;
/* id -1: the next free one.  The text may be an entry already: it keeps its id. */
lm_status lm_tok_build_added(lm_tok_build *b, const char *s, size_t n, int64_t id, unsigned flags,
                             lm_error *err) LM_NODISCARD;
uint32_t lm_tok_build_n_tokens(const lm_tok_build *b); /* without added ones */
int32_t lm_tok_build_find(const lm_tok_build *b, const char *s, size_t n);
/* Takes Precompiled maps out of `pipeline` (an object of the four parts). */
lm_status lm_tok_build_finish(lm_tok_build *b, json_t *pipeline, uint8_t **image, size_t *n,
                              lm_error *err) LM_NODISCARD;

/* tok_json.c, vocab_gguf.c: a definition as an image (freed with lm_free). */
lm_status lm_tok_from_json(const char *json, size_t n, const char *name, uint8_t **image, size_t *n_image,
                           lm_error *err) LM_NODISCARD;

/* The vocabulary of a GGUF file; LM_ERR_NOT_FOUND when it has none. */
lm_status lm_tok_from_gguf(const lm_gguf *g, uint8_t **image, size_t *n_image, lm_error *err) LM_NODISCARD;

/* tok_open.c: adopts the image. */
lm_status lm_tok_from_image(lm_tokenizer **out, uint8_t *image, size_t n, lm_error *err) LM_NODISCARD;

/* cache.c */
typedef struct {
    uint64_t v[8];
} lm_tok_source;
lm_tok_source lm_tok_source_of(const lm_map *m, const char *kind);
/* The tokenizer compiled from `source`, mapped; false when there is none. */
bool lm_tok_cache_open(lm_tokenizer **out, const char *dir, const lm_tok_source *source);
/* A failure to write is not the caller's: the next start compiles again. */
void lm_tok_cache_write(const char *dir, const lm_tok_source *source, uint8_t *image, size_t n);

/* Reading pipeline parts. */
const char *lm_tok_type(const json_t *def);
bool lm_tok_flag(const json_t *def, const char *key, bool otherwise);
/* The steps of a part: the part itself, or the members of its Sequences, in order. */
typedef struct {
    const json_t *step[LM_TOK_MAX_STEPS];
    size_t n;
} lm_tok_steps;
lm_status lm_tok_flatten(lm_tok_steps *s, const json_t *def, const char *key, lm_error *err) LM_NODISCARD;
lm_status lm_tok_refuse(lm_error *err, const char *part, const char *type);

#endif
