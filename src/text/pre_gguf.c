/* text/pre_gguf.c - the pre-tokenisers that GGUF files name.
 *
 * The names are those that llama.cpp's converter writes; the patterns are those of
 * the models' own tokenizer.json.  A name that is not here is refused: guessing
 * gives text that looks right and costs several points of perplexity. */
#include "text/pre_gguf.h"

#include <string.h>

#include "base/compiler.h"

#define GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define SHORT  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD   "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST   "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 SHORT "|" WORD "|\\p{N}{1,3}" REST
#define QWEN2  SHORT "|" WORD "|\\p{N}" REST
#define UPPER  "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER  "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CASED(tail)                                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" tail "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER       \
    "]*" tail
#define SLASH "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K CASED(SHORT "?") "|\\p{N}{1,3}" SLASH
#define CJK   "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define V3(letters)                                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[" letters            \
    "]+| ?[\\p{P}\\p{S}]+"
#define NOT_HAN(set) "[" set "&&[^\\p{Han}]]"
#define KIMI(tail)                                                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?" NOT_HAN(UPPER) "*" NOT_HAN(LOWER) "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" NOT_HAN(   \
        UPPER) "+" NOT_HAN(LOWER) "*" tail
/* letters with case, as DeepSeek LLM lists them */
/* clang-format off */
#define CASED_LETTERS \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}" \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}" \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}" \
    "\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}" \
    "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}" \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}" \
    "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}" \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}" \
    "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}" \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}" \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}" \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}" \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}" \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}" \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}" \
    "\\x{1e900}-\\x{1e943}"

/* clang-format on */
static const lm_pre_gguf known[] = {
    { .names = "default", .pattern = { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { .names = "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
      .pattern = { LLAMA3 },
      .ignore_merges = true,
      .add_bos = true },
    { .names = "dbrx smaug-bpe glm4 chatglm-bpe grok-2", .pattern = { LLAMA3 } },
    { .names = "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 megrez hunyuan solar-open",
      .pattern = { QWEN2 } },
    { .names = "qwen35",
      .pattern = { SHORT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
                         "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
    { .names = "ufakzeka", .pattern = { WORD "|\\p{N}" REST } },
    { .names = "laguna", .pattern = { "[^\\n]+|[\\n]+", QWEN2 } },
    { .names = "minicpm5",
      .pattern = { "\\p{N}{1,3}", SHORT "|" WORD "|\\p{N}+" REST },
      .ignore_merges = true },
    { .names = "seed-coder",
      .pattern = { SHORT "|" WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
    { .names = "bailingmoe bailingmoe2 llada-moe",
      .pattern = { "'(?i:[sdmt]|ll|ve|re)|" WORD
                   "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|"
                   "\\s+" } },
    { .names = "exaone-moe",
      .pattern = { SHORT
                   "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
                   "[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { .names = "jais-2",
      .pattern = { SHORT "|" WORD "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s{512}(?!\\S)|"
                         "\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|"
                         "\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}" } },
    { .names = "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert "
               "exaone4 mpt olmo "
               "jais trillion granite-docling",
      .pattern = { GPT2 } },
    { .names = "jina-v1-en jina-v2-code roberta-bpe", .pattern = { GPT2 }, .add_sep = true },
    { .names = "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
      .pattern = { "\\p{N}", GPT2 } },
    { .names = "falcon", .pattern = { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" } },
    { .names = "deepseek-llm",
      .pattern = { "[\\r\\n]", "\\s?[" CASED_LETTERS "]+",
                   "\\s?[!-/"
                   ":-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                   "\\s+$", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}+" } },
    { .names = "deepseek-coder",
      .pattern = { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                   "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}" } },
    { .names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
      .pattern = { "\\p{N}{1,3}", CJK, V3("\\p{L}\\p{M}") "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
    { .names = "spark2_5",
      .pattern = { "\\p{N}{1,3}", CJK, V3("\\p{L}\\p{M}") "|[\\r\\n]|\\s+(?!\\S)|\\s+", "\\p{N}" } },
    { .names = "youtu",
      .pattern = { "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"
                   "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|["
                   "\\x{3105}-\\x{312f}]+|" CJK,
                   CASED(SHORT "?") "|\\p{N}" SLASH },
      .ignore_merges = true },
    { .names = "gpt-4o llama4 kanana2 talkie minimax-m2", .pattern = { O200K } },
    { .names = "granite-embed-multi-97m", .pattern = { O200K }, .ignore_merges = true },
    { .names = "tiny_aya cohere2moe", .pattern = { "\\d{1,3}(?=(?:\\d{3})*\\b)", O200K } },
    { .names = "tekken", .pattern = { CASED("") "|\\p{N}" SLASH }, .ignore_merges = true, .add_bos = true },
    { .names = "kimi-k2",
      .pattern = { "[\\p{Han}]+|" KIMI(SHORT "?") "|\\p{N}{1,3}" REST },
      .no_merges = true },
    { .names = "poro-chat bloom gpt3-finnish",
      .pattern = { " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+" } },
    { .names = "viking",
      .pattern = { " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+",
                   "\\p{N}" } },
    { .names = "chameleon",
      .pattern = { "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
                   "[\\p{P}!-/:-@\\[-`{-~]", GPT2 },
      .add_bos = true },
    { .names = "superbpe", .pattern = { "\\p{N}+", "(?=(\\d{3})+(?!\\d))" } },
    { .names = "gemma4 granite-embed-multi-311m sarvam-moe",
      .pattern = { "[^\\n]+|[\\n]+" },
      .plain = true,
      .spaces = true },
    { .names = "whitespace", .pattern = { "\\S+" }, .plain = true },
};

const lm_pre_gguf *lm_pre_gguf_find(const char *name, size_t n)
{
    for (size_t i = 0; n && i < LM_LEN(known); i++)
        for (const char *p = known[i].names; *p;) {
            size_t k = strcspn(p, " ");
            if (k == n && memcmp(p, name, n) == 0)
                return &known[i];
            p += k + (p[k] == ' ');
        }
    return NULL;
}
