/* format/limits.h - every limit on what a pack may claim, and why.
 *
 * Each stands well above what published packs have and well below what would
 * hurt: the time and the memory of opening stay in proportion to the file. */
#ifndef LM_FORMAT_LIMITS_H
#define LM_FORMAT_LIMITS_H

enum {
    /* config.json and its like: the largest published ones (per-layer
     * quantisation of a 500-layer model) have 200 KiB. */
    LM_LIMIT_CONFIG_BYTES = 4 << 20,
    /* Header of a .safetensors file: 95,000 tensors of a mixture of experts in
     * one file take 12 MiB. */
    LM_LIMIT_HEADER_BYTES = 32 << 20,
    /* Values in it: bounds the parser's memory to 40 MiB. */
    LM_LIMIT_CONFIG_VALUES = 1 << 18,
    /* One entry of such a header, and its __metadata__ (training notes). */
    LM_LIMIT_HEADER_ENTRY = 8192,
    LM_LIMIT_HEADER_NOTES = 1 << 20,
    /* model.safetensors.index.json: about 100 bytes a tensor, 140,000 tensors in
     * the largest published one. */
    LM_LIMIT_INDEX_BYTES = 32 << 20,
    LM_LIMIT_INDEX_VALUES = 1 << 19,
    /* Nesting of JSON: configurations have 6, tokenizers 8; the parser
     * recurses once a level. */
    LM_LIMIT_JSON_DEPTH = 64,
    /* A header has three levels: names, fields, shape. */
    LM_LIMIT_HEADER_DEPTH = 4,
    /* Tensors of one pack and keys of one .gguf (SPEC 19.3.1). */
    LM_LIMIT_TENSORS = 1 << 20,
    LM_LIMIT_GGUF_KEYS = 1 << 20,
    /* Names of tensors: ggml allows 63 bytes, safetensors any; the longest
     * published ones have 120. */
    LM_LIMIT_NAME = 512,
    /* Keys of metadata: the GGUF description allows 2^16 - 1. */
    LM_LIMIT_GGUF_KEY = 65535,
    /* Strings of metadata (a chat template has 30 KiB) and entries of an array
     * (SPEC 19.3.1; the largest vocabulary has 262,144 tokens, its merges 514,906). */
    LM_LIMIT_GGUF_STRING = 16 << 20,
    LM_LIMIT_GGUF_ARRAY = 1 << 20,
    /* Arrays inside arrays: none is published, the format allows them. */
    LM_LIMIT_GGUF_DEPTH = 4,
    LM_LIMIT_GGUF_DIMS = 4,
    /* general.alignment: 32 nearly everywhere; a page of 64 KiB at most. */
    LM_LIMIT_GGUF_ALIGN = 65536,
    /* Metadata shown as JSON (lm_packfile_config): that many keys (published files
     * have 50); longer arrays are vocabularies, and all arrays together stay within
     * a budget, 40 bytes an entry. */
    LM_LIMIT_CONFIG_KEYS = 65536,
    LM_LIMIT_CONFIG_ITEMS = 65536,
    LM_LIMIT_CONFIG_TOTAL = 1 << 20,
    /* Files of one pack: the largest published one has 191 shards. */
    LM_LIMIT_FILES = 1024,
    /* Names in one folder that are looked at. */
    LM_LIMIT_FOLDER = 65536,
};

#endif
