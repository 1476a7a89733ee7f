/* lemma/sample.h - how the next token is drawn from the logits.
 *
 * Parameters are plain data; LM_SAMPLE_DEFAULTS are llama.cpp's.  The order of
 * the stages is data too.  A draw depends on (seed, position) of its own request
 * and on nothing else (N3).  Suppression (bias of -infinity, banned tokens, min
 * tokens, ignore-eos) comes before every stage.
 *
 * Threads: any thread; a sampler belongs to one thread at a time.
 */
#ifndef LM_SAMPLE_H
#define LM_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lemma/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stages, in llama.cpp's default order; the letter is for --samplers. */
#define LM_STAGE_TABLE(X)                                                                                    \
    X(PENALTIES, "penalties", 'e')                                                                           \
    X(DRY, "dry", 'd')                                                                                       \
    X(TOP_N_SIGMA, "top_n_sigma", 's')                                                                       \
    X(TOP_K, "top_k", 'k')                                                                                   \
    X(TYPICAL, "typ_p", 'y')                                                                                 \
    X(TOP_P, "top_p", 'p')                                                                                   \
    X(MIN_P, "min_p", 'm')                                                                                   \
    X(XTC, "xtc", 'x')                                                                                       \
    X(TEMPERATURE, "temperature", 't')

typedef enum {
#define X(name, text, letter) LM_STAGE_##name,
    LM_STAGE_TABLE(X)
#undef X
        LM_STAGE_COUNT
} lm_stage;

typedef struct {
    int32_t token;
    float bias; /* added to the logit; -INFINITY bans */
} lm_logit_bias;

typedef struct {
    uint32_t size; /* sizeof(lm_sample_params), set by lm_sample_defaults() */
    uint64_t seed;

    float temperature; /* 0: the most likely token */
    float dynatemp_range, dynatemp_exponent;
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float typical;     /* 1: off */
    float top_n_sigma; /* <= 0: off */
    float xtc_probability, xtc_threshold;
    uint32_t min_keep; /* candidates that the filters leave at least */

    int32_t penalty_last_n; /* tokens looked back at; 0: off, -1: the whole context */
    float penalty_repeat;   /* 1: off */
    float penalty_frequency, penalty_presence;

    float dry_multiplier; /* 0: off */
    float dry_base;
    int32_t dry_allowed_length;
    int32_t dry_penalty_last_n;      /* -1: the whole context */
    const char *const *dry_breakers; /* NULL: "\n", ":", "\"", "*"; strings, borrowed during open */
    size_t n_dry_breakers;

    int32_t mirostat; /* 0, 1 or 2; replaces the truncating stages */
    float mirostat_tau, mirostat_eta;

    const lm_logit_bias *bias; /* borrowed during open */
    size_t n_bias;
    uint32_t min_tokens; /* stop tokens are suppressed before that many */
    bool ignore_eos;

    uint8_t stages[16]; /* lm_stage values */
    uint8_t n_stages;
} lm_sample_params;

/* llama.cpp's defaults: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05; no
 * seed is chosen: it is 0. */
LM_API void lm_sample_defaults(lm_sample_params *out);
/* Ranges: LM_ERR_USAGE naming the field, the value and what is allowed. */
LM_API lm_status lm_sample_check(const lm_sample_params *p, lm_error *err);
/* "penalties;dry;top_k;temperature" or letters "edkt" into p->stages.
 * LM_ERR_USAGE names what is no stage; p is then as it was. */
LM_API lm_status lm_sample_parse_stages(lm_sample_params *p, const char *text, lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
