/* Defaults, ranges and the order of the stages as text. */
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/compiler.h"
#include "base/fail.h"
#include "sample/dry.h"

static const char *const stage_names[] = {
#define X(name, text, letter) text,
    LM_STAGE_TABLE(X)
#undef X
};
static const char stage_letters[] = {
#define X(name, text, letter) letter,
    LM_STAGE_TABLE(X)
#undef X
};

void lm_sample_defaults(lm_sample_params *out)
{
    *out = (lm_sample_params){
        .size = sizeof *out,
        .temperature = 0.8f,
        .dynatemp_exponent = 1.0f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .typical = 1.0f,
        .top_n_sigma = -1.0f,
        .xtc_threshold = 0.1f,
        .penalty_last_n = 64,
        .penalty_repeat = 1.0f,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_penalty_last_n = -1,
        .mirostat_tau = 5.0f,
        .mirostat_eta = 0.1f,
        .n_stages = LM_STAGE_COUNT,
    };
    for (uint8_t i = 0; i < LM_STAGE_COUNT; i++)
        out->stages[i] = i;
}

typedef struct {
    const char *name;
    size_t at;
    float least, most;
} float_range;

typedef struct {
    const char *name;
    size_t at;
    int32_t least, most;
} int_range;

#define F(field, least, most)                                                                                \
    {                                                                                                        \
#field, offsetof(lm_sample_params, field), least, most                                               \
    }
static const float_range float_ranges[] = {
    F(temperature, 0.0f, 100.0f),
    F(dynatemp_range, 0.0f, 100.0f),
    F(dynatemp_exponent, 0.0f, 100.0f),
    F(top_p, 0.0f, 1.0f),
    F(min_p, 0.0f, 1.0f),
    F(typical, 0.0f, 1.0f),
    F(top_n_sigma, -1.0f, 1000.0f),
    F(xtc_probability, 0.0f, 1.0f),
    F(xtc_threshold, 0.0f, 1.0f),
    F(penalty_repeat, 0.01f, 100.0f),
    F(penalty_frequency, -100.0f, 100.0f),
    F(penalty_presence, -100.0f, 100.0f),
    F(dry_multiplier, 0.0f, 1000.0f),
    F(dry_base, 1.0f, 1000.0f),
    F(mirostat_tau, 0.0f, 1000.0f),
    F(mirostat_eta, 0.0f, 1000.0f),
};
static const int_range int_ranges[] = {
    F(top_k, -1, INT32_MAX), /* -1 is another spelling of off */
    F(penalty_last_n, -1, INT32_MAX),
    F(dry_allowed_length, 0, INT32_MAX),
    F(dry_penalty_last_n, -1, INT32_MAX),
    F(mirostat, 0, 2),
};
#undef F

static lm_status check_ranges(const lm_sample_params *p, lm_error *err)
{
    for (size_t i = 0; i < LM_LEN(float_ranges); i++) {
        const float_range *r = &float_ranges[i];
        float v;
        memcpy(&v, (const char *)p + r->at, sizeof v);
        if (!(v >= r->least && v <= r->most))
            return lm_fail(err, LM_ERR_USAGE, "%s is %g, allowed are %g to %g", r->name, (double)v,
                           (double)r->least, (double)r->most);
    }
    for (size_t i = 0; i < LM_LEN(int_ranges); i++) {
        const int_range *r = &int_ranges[i];
        int32_t v;
        memcpy(&v, (const char *)p + r->at, sizeof v);
        if (v < r->least || v > r->most)
            return lm_fail(err, LM_ERR_USAGE, "%s is %" PRId32 ", allowed are %" PRId32 " to %" PRId32,
                           r->name, v, r->least, r->most);
    }
    return LM_OK;
}

static lm_status check_breakers(const lm_sample_params *p, lm_error *err)
{
    if (!p->dry_breakers && p->n_dry_breakers)
        return lm_fail(err, LM_ERR_USAGE, "n_dry_breakers is %zu, but dry_breakers is NULL",
                       p->n_dry_breakers);
    if (p->n_dry_breakers > LM_BREAKERS_MAX)
        return lm_fail(err, LM_ERR_USAGE, "dry_breakers has %zu strings, allowed are 0 to %d",
                       p->n_dry_breakers, LM_BREAKERS_MAX);
    for (size_t i = 0; i < p->n_dry_breakers; i++) {
        const char *s = p->dry_breakers[i];
        if (!s)
            return lm_fail(err, LM_ERR_USAGE, "dry_breakers[%zu] is NULL", i);
        size_t n = strlen(s);
        if (n < 1 || n > LM_BREAKER_BYTES_MAX)
            return lm_fail(err, LM_ERR_USAGE, "dry_breakers[%zu] has %zu bytes, allowed are 1 to %d", i, n,
                           LM_BREAKER_BYTES_MAX);
    }
    return LM_OK;
}

static lm_status check_bias(const lm_sample_params *p, lm_error *err)
{
    if (!p->bias && p->n_bias)
        return lm_fail(err, LM_ERR_USAGE, "n_bias is %zu, but bias is NULL", p->n_bias);
    for (size_t i = 0; i < p->n_bias; i++)
        if (!(p->bias[i].bias <= FLT_MAX))
            return lm_fail(err, LM_ERR_USAGE,
                           "the bias of token %" PRId32 " is %g, allowed are finite numbers and -inf",
                           p->bias[i].token, (double)p->bias[i].bias);
    return LM_OK;
}

static lm_status check_stages(const lm_sample_params *p, lm_error *err)
{
    if (p->n_stages > LM_LEN(p->stages))
        return lm_fail(err, LM_ERR_USAGE, "n_stages is %u, allowed are 0 to %zu", (unsigned)p->n_stages,
                       LM_LEN(p->stages));
    for (size_t i = 0; i < p->n_stages; i++) {
        if (p->stages[i] >= LM_STAGE_COUNT)
            return lm_fail(err, LM_ERR_USAGE, "stages[%zu] is %u, allowed are 0 to %d", i,
                           (unsigned)p->stages[i], LM_STAGE_COUNT - 1);
        for (size_t j = 0; j < i; j++)
            if (p->stages[j] == p->stages[i])
                return lm_fail(err, LM_ERR_USAGE, "stage %s is listed twice", stage_names[p->stages[i]]);
    }
    return LM_OK;
}

lm_status lm_sample_check(const lm_sample_params *p, lm_error *err)
{
    if (p->size != sizeof *p) {
        lm_hint(err, "call lm_sample_defaults() first");
        return lm_fail(err, LM_ERR_USAGE, "lm_sample_params has size %" PRIu32 ", this library's has %zu",
                       p->size, sizeof *p);
    }
    LM_TRY(check_ranges(p, err));
    LM_TRY(check_breakers(p, err));
    LM_TRY(check_bias(p, err));
    return check_stages(p, err);
}

/* Other spellings in use, for fingers that know them. */
static const struct {
    const char *text;
    lm_stage stage;
} aliases[] = {
    { "temp", LM_STAGE_TEMPERATURE },  { "typical", LM_STAGE_TYPICAL },
    { "typical_p", LM_STAGE_TYPICAL }, { "nucleus", LM_STAGE_TOP_P },
    { "penalty", LM_STAGE_PENALTIES }, { "top_nsigma", LM_STAGE_TOP_N_SIGMA },
};

/* '-' is '_' in a name; the name must be whole. */
static bool same_name(const char *name, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (name[i] == 0 || name[i] != (text[i] == '-' ? '_' : text[i]))
            return false;
    return name[n] == 0;
}

/* LM_STAGE_COUNT: no such name. */
static lm_stage stage_of(const char *text, size_t n)
{
    for (size_t i = 0; i < LM_STAGE_COUNT; i++)
        if (same_name(stage_names[i], text, n))
            return (lm_stage)i;
    for (size_t i = 0; i < LM_LEN(aliases); i++)
        if (same_name(aliases[i].text, text, n))
            return aliases[i].stage;
    return LM_STAGE_COUNT;
}

static lm_status add_stage(lm_sample_params *p, lm_stage stage, lm_error *err)
{
    for (size_t i = 0; i < p->n_stages; i++)
        if (p->stages[i] == stage)
            return lm_fail(err, LM_ERR_USAGE, "stage %s is listed twice", stage_names[stage]);
    p->stages[p->n_stages++] = (uint8_t)stage;
    return LM_OK;
}

static lm_status parse_names(lm_sample_params *p, const char *text, lm_error *err)
{
    lm_quoted_buf q;
    for (const char *at = text;; at++) {
        const size_t n = strcspn(at, ";");
        const lm_stage stage = stage_of(at, n);
        if (stage == LM_STAGE_COUNT) {
            lm_hint(err,
                    "allowed are penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature");
            return lm_fail(err, LM_ERR_USAGE, "there is no sampling stage \"%s\"", lm_quoted(&q, at, n));
        }
        LM_TRY(add_stage(p, stage, err));
        at += n;
        if (*at == 0)
            return LM_OK;
    }
}

static lm_status parse_letters(lm_sample_params *p, const char *text, lm_error *err)
{
    lm_quoted_buf q;
    for (const char *at = text; *at; at++) {
        size_t i = 0;
        while (i < LM_STAGE_COUNT && stage_letters[i] != *at)
            i++;
        if (i == LM_STAGE_COUNT) {
            lm_hint(
                err,
                "letters are e penalties, d dry, s top_n_sigma, k top_k, y typ_p, p top_p, m min_p, x xtc, "
                "t temperature; names are separated by ;");
            return lm_fail(err, LM_ERR_USAGE, "\"%s\" is neither a sampling stage nor a row of their letters",
                           lm_quoted_z(&q, text));
        }
        LM_TRY(add_stage(p, (lm_stage)i, err));
    }
    return LM_OK;
}

lm_status lm_sample_parse_stages(lm_sample_params *p, const char *text, lm_error *err)
{
    lm_sample_params parsed = *p;
    parsed.n_stages = 0;
    if (*text == 0) {
        lm_hint(err, "\"temperature\" alone draws from the whole distribution");
        return lm_fail(err, LM_ERR_USAGE, "the list of sampling stages is empty");
    }
    if (strchr(text, ';') || stage_of(text, strlen(text)) != LM_STAGE_COUNT)
        LM_TRY(parse_names(&parsed, text, err));
    else
        LM_TRY(parse_letters(&parsed, text, err));
    memcpy(p->stages, parsed.stages, sizeof p->stages);
    p->n_stages = parsed.n_stages;
    return LM_OK;
}
