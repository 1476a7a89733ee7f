/* tools/makepack.c - packs with random weights of real shapes, for benchmarks.
 *
 * Blocks are random bytes with scales put in place, so that every code occurs and
 * numbers stay of order one; nothing is encoded, and 4 GB are written at the
 * disk's speed.  The vocabulary is a stub of the true size. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/filewrite.h"
#include "lemma/tools.h"

typedef struct {
    const char *name, *arch;
    uint32_t layers, width, ff, heads, kv_heads, head_dim, vocab;
    float base;
    bool qk_norm;
} shape;

/* Sizes as published (PEERS.md section 2): tied embeddings in all. */
static const shape shapes[] = {
    { "qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 1e6f, true },
    { "llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5f, false },
    { "qwen3-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 1e6f, true },
    { "llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 5e5f, false },
};

typedef struct {
    const shape *s;
    const lm_quant *quant, *head_quant;
    lm_filewriter *w;
    bool gguf, declare;
    uint64_t seed;
    uint8_t *buf; /* one megabyte and a block */
    lm_error *err;
    lm_status status;
} maker;

enum { PIECE = 1 << 20 };

static uint64_t next(maker *m)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return m->seed;
}

static void random_bytes(maker *m, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = next(m);
        memcpy(m->buf + i, &v, 8);
    }
}

/* A scale near `x`, different from block to block, in 16 bits. */
static void put_scale(maker *m, uint8_t *at, float x, bool bf16)
{
    float y = x * (0.75f + (float)(next(m) >> 40) * (0.5f / 16777216.0f));
    uint16_t h = bf16 ? lm_f32_to_bf16(y) : lm_f32_to_f16(y);
    memcpy(at, &h, 2);
}

/* Puts sane scales into n blocks of random bytes. */
static void fix_blocks(maker *m, const lm_quant *q, size_t n, float sigma)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *b = m->buf + i * q->block_bytes[0];
        switch (q->kind) {
        case LM_Q_Q4_0: put_scale(m, b, sigma / 4.6f, false); break;
        case LM_Q_Q5_0: put_scale(m, b, sigma / 9.2f, false); break;
        case LM_Q_Q8_0: put_scale(m, b, sigma / 74.0f, false); break;
        case LM_Q_Q4_1:
            put_scale(m, b, sigma / 4.6f, false);
            put_scale(m, b + 2, -7.5f * sigma / 4.6f, false);
            break;
        case LM_Q_Q4_K: /* 6-bit scales and mins average 31 */
            put_scale(m, b, sigma / 4.6f / 31.0f, false);
            put_scale(m, b + 2, 7.5f * sigma / 4.6f / 31.0f, false);
            break;
        case LM_Q_Q5_K:
            put_scale(m, b, sigma / 9.2f / 31.0f, false);
            put_scale(m, b + 2, 15.5f * sigma / 9.2f / 31.0f, false);
            break;
        case LM_Q_Q6_K: put_scale(m, b + 208, sigma / 18.5f / 74.0f, false); break;
        case LM_Q_MXFP4: b[0] = (uint8_t)(127 + (int)floorf(log2f(sigma / 3.0f))); break;
        case LM_Q_BF16: put_scale(m, b, (next(m) & 1 ? 1.0f : -1.0f) * sigma, true); break;
        case LM_Q_F16: put_scale(m, b, (next(m) & 1 ? 1.0f : -1.0f) * sigma, false); break;
        default: break;
        }
    }
}

static void stream(maker *m, size_t n)
{
    if (m->status == LM_OK)
        m->status = lm_filewriter_add(m->w, m->buf, n, m->err);
}

static void one_plane(maker *m, const char *name, const lm_quant *q, uint64_t rows, uint64_t cols)
{
    uint64_t blocks = rows * cols / q->block_elems;
    float sigma = 1.0f / sqrtf((float)cols);
    if (m->declare) {
        static const char *const floats[] = { "F32", "F16", "BF16" };
        const char *dtype = q->kind <= LM_Q_BF16 ? floats[q->kind] : "U8";
        lm_filewriter_tensor(m->w, name, q, dtype, rows, cols, blocks * q->block_bytes[0]);
        return;
    }
    uint64_t at_once = PIECE / q->block_bytes[0];
    for (uint64_t done = 0; done < blocks && m->status == LM_OK; done += at_once) {
        size_t n = (size_t)LM_MIN(at_once, blocks - done);
        random_bytes(m, n * q->block_bytes[0]);
        fix_blocks(m, q, n, sigma);
        stream(m, n * q->block_bytes[0]);
    }
}

/* MLX affine: codes, scales, biases, each a tensor. */
static void three_planes(maker *m, const char *name, const lm_quant *q, uint64_t rows, uint64_t cols)
{
    char plane[160];
    uint64_t groups = rows * cols / q->block_elems;
    float step = 3.46f / sqrtf((float)cols) / (float)(1 << q->bits); /* uniform of that spread */
    size_t stem = strlen(name) - strlen(".weight");
    if (m->declare) {
        lm_filewriter_tensor(m->w, name, q, "U32", rows, cols * q->bits / 32, groups * q->block_bytes[0]);
        for (int p = 1; p < 3; p++) {
            (void)snprintf(plane, sizeof plane, "%.*s.%s", (int)stem, name, p == 1 ? "scales" : "biases");
            lm_filewriter_tensor(m->w, plane, q, "BF16", rows, cols / q->block_elems, groups * 2);
        }
        return;
    }
    for (uint64_t left = groups * q->block_bytes[0]; left && m->status == LM_OK;) {
        size_t n = (size_t)LM_MIN(left, (uint64_t)PIECE);
        random_bytes(m, n);
        stream(m, n);
        left -= n;
    }
    for (int p = 1; p < 3; p++)
        for (uint64_t left = groups; left && m->status == LM_OK;) {
            size_t n = (size_t)LM_MIN(left, (uint64_t)PIECE / 2);
            for (size_t i = 0; i < n; i++)
                put_scale(m, m->buf + 2 * i, p == 1 ? step : -step * (float)((1 << q->bits) - 1) / 2.0f,
                          true);
            stream(m, 2 * n);
            left -= n;
        }
}

static void matrix(maker *m, const char *hf, const char *gguf, uint32_t layer, uint64_t rows, uint64_t cols,
                   const lm_quant *q)
{
    char name[128];
    const char *pattern = m->gguf ? gguf : hf;
    const char *mark = strstr(pattern, "%u");
    if (mark)
        (void)snprintf(name, sizeof name, "%.*s%u%s.weight", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        (void)snprintf(name, sizeof name, "%s.weight", pattern);
    if (q->n_planes == 3)
        three_planes(m, name, q, rows, cols);
    else
        one_plane(m, name, q, rows, cols);
}

/* Norms are ones. */
static void vector(maker *m, const char *hf, const char *gguf, uint32_t layer, uint64_t n)
{
    const lm_quant *q = lm_quant_of(m->gguf ? LM_Q_F32 : LM_Q_BF16);
    char name[128];
    const char *pattern = m->gguf ? gguf : hf, *mark = strstr(pattern, "%u");
    if (mark)
        (void)snprintf(name, sizeof name, "%.*s%u%s.weight", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        (void)snprintf(name, sizeof name, "%s.weight", pattern);
    if (m->declare) {
        lm_filewriter_tensor(m->w, name, q, m->gguf ? "F32" : "BF16", 0, n, n * q->block_bytes[0]);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        float one = 1.0f;
        uint16_t h = lm_f32_to_bf16(one);
        memcpy(m->buf + i * q->block_bytes[0], m->gguf ? (const void *)&one : (const void *)&h,
               q->block_bytes[0]);
    }
    stream(m, (size_t)n * q->block_bytes[0]);
}

/* Every tensor in order: once to declare it, once to write it. */
static void walk(maker *m, bool declare)
{
    const shape *s = m->s;
    const lm_quant *q = m->quant;
    uint64_t nq = (uint64_t)s->heads * s->head_dim, nk = (uint64_t)s->kv_heads * s->head_dim;
    m->declare = declare;
    matrix(m, "model.embed_tokens", "token_embd", 0, s->vocab, s->width, m->head_quant);
    for (uint32_t i = 0; i < s->layers && m->status == LM_OK; i++) {
        vector(m, "model.layers.%u.input_layernorm", "blk.%u.attn_norm", i, s->width);
        matrix(m, "model.layers.%u.self_attn.q_proj", "blk.%u.attn_q", i, nq, s->width, q);
        matrix(m, "model.layers.%u.self_attn.k_proj", "blk.%u.attn_k", i, nk, s->width, q);
        matrix(m, "model.layers.%u.self_attn.v_proj", "blk.%u.attn_v", i, nk, s->width, q);
        if (s->qk_norm) {
            vector(m, "model.layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm", i, s->head_dim);
            vector(m, "model.layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm", i, s->head_dim);
        }
        matrix(m, "model.layers.%u.self_attn.o_proj", "blk.%u.attn_output", i, s->width, nq, q);
        vector(m, "model.layers.%u.post_attention_layernorm", "blk.%u.ffn_norm", i, s->width);
        matrix(m, "model.layers.%u.mlp.gate_proj", "blk.%u.ffn_gate", i, s->ff, s->width, q);
        matrix(m, "model.layers.%u.mlp.up_proj", "blk.%u.ffn_up", i, s->ff, s->width, q);
        matrix(m, "model.layers.%u.mlp.down_proj", "blk.%u.ffn_down", i, s->width, s->ff, q);
    }
    vector(m, "model.norm", "output_norm", 0, s->width);
}

/* The 256 byte-level letters first (what BPE vocabularies must have), then names. */
static size_t stub_token(void *user, uint64_t i, char *buf, size_t cap)
{
    (void)user;
    if (i >= 256)
        return (size_t)snprintf(buf, cap, "t%" PRIu64, i);
    uint32_t b = (uint32_t)i, cp = b;
    bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    if (!plain) /* the n-th byte that is not printable becomes U+0100 + n */
        cp = 256 + (b < 33 ? b : b < 161 ? b - 127 + 33 : 67);
    lm_str s = { 0 };
    lm_str_addu(&s, cp);
    size_t n = s.n < cap ? s.n : 0;
    memcpy(buf, lm_str_z(&s), n);
    lm_str_clear(&s);
    return n;
}

static size_t stub_merge(void *user, uint64_t i, char *buf, size_t cap)
{
    (void)user;
    (void)i;
    return (size_t)snprintf(buf, cap, "t 1");
}

static void metadata(maker *m)
{
    const shape *s = m->s;
    char key[96];
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = { { "block_count", s->layers },
                    { "context_length", 131072 },
                    { "embedding_length", s->width },
                    { "feed_forward_length", s->ff },
                    { "attention.head_count", s->heads },
                    { "attention.head_count_kv", s->kv_heads },
                    { "attention.key_length", s->head_dim },
                    { "attention.value_length", s->head_dim },
                    { "rope.dimension_count", s->head_dim },
                    { "vocab_size", s->vocab } };
    lm_filewriter_string(m->w, "general.architecture", s->arch);
    lm_filewriter_string(m->w, "general.name", s->name);
    for (size_t i = 0; i < LM_LEN(numbers); i++) {
        (void)snprintf(key, sizeof key, "%s.%s", s->arch, numbers[i].key);
        lm_filewriter_u32(m->w, key, numbers[i].value);
    }
    (void)snprintf(key, sizeof key, "%s.rope.freq_base", s->arch);
    lm_filewriter_f32(m->w, key, s->base);
    (void)snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    lm_filewriter_f32(m->w, key, 1e-6f);
    lm_filewriter_string(m->w, "tokenizer.ggml.model", "gpt2");
    lm_filewriter_string(m->w, "tokenizer.ggml.pre", "gpt-2");
    lm_filewriter_strings(m->w, "tokenizer.ggml.tokens", s->vocab, stub_token, NULL);
    lm_filewriter_strings(m->w, "tokenizer.ggml.merges", 1, stub_merge, NULL);
    lm_filewriter_u32(m->w, "tokenizer.ggml.bos_token_id", 1);
    lm_filewriter_u32(m->w, "tokenizer.ggml.eos_token_id", 2);
}

static lm_status write_config(const maker *m, const char *folder, lm_error *err)
{
    const shape *s = m->s;
    lm_str b = { 0 };
    char path[4096];
    lm_str_addf(
        &b,
        "{\"model_type\": \"%s\", \"num_hidden_layers\": %u, \"hidden_size\": %u, \"intermediate_size\": %u, "
        "\"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u, \"vocab_size\": %u, "
        "\"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-6, \"rope_theta\": %.1f, "
        "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true",
        s->arch, s->layers, s->width, s->ff, s->heads, s->kv_heads, s->head_dim, s->vocab, (double)s->base);
    if (m->quant->kind == LM_Q_AFFINE)
        lm_str_addf(&b, ", \"quantization\": {\"group_size\": %u, \"bits\": %u, \"mode\": \"affine\"}",
                    m->quant->block_elems, m->quant->bits);
    lm_str_addz(&b, "}\n");
    lm_status status = lm_str_status(&b, err);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    if (status == LM_OK)
        status = lm_write_file(path, b.s, b.n, 0644, err);
    lm_str_clear(&b);
    return status;
}

static lm_status make(maker *m, const char *path, lm_error *err)
{
    char file[4096];
    lm_quoted_buf q;
    int n = snprintf(file, sizeof file, "%s%s", path, m->gguf ? "" : "/model.safetensors");
    if (n < 0 || (size_t)n >= sizeof file)
        return lm_fail(err, LM_ERR_USAGE, "the path is too long");
    if (!m->gguf && mkdir(path, 0755) != 0 && errno != EEXIST)
        return lm_fail(err, LM_ERR_IO, "cannot make %s: %s", lm_quoted_z(&q, path), strerror(errno));
    LM_TRY(lm_new((void **)&m->buf, PIECE + 4096, 1, err));
    LM_TRY(lm_filewriter_open(&m->w, m->gguf ? LM_WRITE_GGUF : LM_WRITE_SAFETENSORS, file, err));
    if (m->gguf)
        metadata(m);
    walk(m, true);
    m->status = lm_filewriter_begin(m->w, err);
    if (m->status == LM_OK)
        walk(m, false);
    if (m->status != LM_OK) {
        lm_filewriter_abandon(m->w);
        return m->status;
    }
    LM_TRY(lm_filewriter_close(m->w, err));
    return m->gguf ? LM_OK : write_config(m, path, err); /* last: then it is a pack */
}

lm_status lm_bench_make(const char *shape_name, const char *format, const char *path, lm_error *err)
{
    lm_quoted_buf q;
    maker m = { .seed = 88172645463325252u, .err = err };
    for (size_t i = 0; i < LM_LEN(shapes); i++)
        if (strcmp(shapes[i].name, shape_name) == 0)
            m.s = &shapes[i];
    if (!m.s)
        return lm_fail(err, LM_ERR_USAGE,
                       "there is no shape '%s', known are qwen3-0.6b, llama-1b, qwen3-4b and llama-8b",
                       lm_quoted_z(&q, shape_name));
    m.quant = m.head_quant = lm_quant_by_name(format);
    static const lm_quant_kind able[] = { LM_Q_BF16, LM_Q_F16,  LM_Q_Q4_0, LM_Q_Q4_1,  LM_Q_Q5_0,  LM_Q_Q8_0,
                                          LM_Q_Q4_K, LM_Q_Q5_K, LM_Q_Q6_K, LM_Q_MXFP4, LM_Q_AFFINE };
    bool ok = false;
    for (size_t i = 0; m.quant && i < LM_LEN(able); i++)
        ok |= m.quant->kind == able[i] && (able[i] != LM_Q_AFFINE || m.quant->scale_kind == LM_Q_BF16);
    if (!ok)
        return lm_fail(
            err, LM_ERR_USAGE,
            "random weights of format '%s' cannot be made; q4_0, q4_1, q5_0, q8_0, q4_K, q5_K, q6_K, "
            "mxfp4, f16, bf16 and affineB-gG-bf16 can",
            lm_quoted_z(&q, format));
    size_t n = strlen(path);
    m.gguf = m.quant->kind != LM_Q_AFFINE && n > 5 && strcmp(path + n - 5, ".gguf") == 0;
    if (!m.gguf && m.quant->kind != LM_Q_AFFINE && m.quant->kind > LM_Q_BF16)
        return lm_fail(err, LM_ERR_USAGE, "format '%s' is written into a file that ends in .gguf",
                       m.quant->name);
    /* llama-quantize keeps the head at 6 bits beside 4-bit matrices, and so do
     * the files that peers are measured with. */
    if (m.gguf && (m.quant->kind == LM_Q_Q4_0 || m.quant->kind == LM_Q_Q4_K))
        m.head_quant = lm_quant_of(LM_Q_Q6_K);
    lm_status status = make(&m, path, err);
    if (status != LM_OK && !m.gguf)
        (void)rmdir(path); /* if it is empty */
    lm_free(m.buf);
    return status;
}
