/* model/rope.c - rotary frequencies of every scaling, resolved once.
 *
 * N1 forbids a base that moves with the length of the prompt, so dynamic and
 * longrope are decided by the session's context length.  Sources: Peng et al.,
 * YaRN (2023); Ding et al., LongRoPE (2024); Llama 3.1's model card; the
 * formulas and their order of float32 operations follow Hugging Face's
 * initialisers, which the golden models were made with. */
#include <math.h>

#include "base/fail.h"
#include "model/config.h"

static double plain(const lm_rope_spec *s, double base, uint32_t n_rot, uint32_t i)
{
    (void)s;
    return 1.0 / pow(base, 2.0 * i / n_rot);
}

/* Llama 3: long wave lengths are divided, short ones kept, the middle blended. */
static double llama3(const lm_rope_spec *s, double freq, double original)
{
    double low = original / s->low_freq, high = original / s->high_freq;
    double wave = 2.0 * 3.14159265358979323846 / freq;
    if (wave < high)
        return freq;
    if (wave > low)
        return freq / s->factor;
    double smooth = (original / wave - s->low_freq) / (s->high_freq - s->low_freq);
    return (1 - smooth) * freq / s->factor + smooth * freq;
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static double yarn(const lm_rope_spec *s, double freq, uint32_t n_rot, uint32_t i, double original)
{
    double pi = 3.14159265358979323846;
    double lo = n_rot * log(original / (s->beta_fast * 2 * pi)) / (2 * log(s->base));
    double hi = n_rot * log(original / (s->beta_slow * 2 * pi)) / (2 * log(s->base));
    if (s->truncate) {
        lo = floor(lo);
        hi = ceil(hi);
    }
    lo = fmax(lo, 0);
    hi = fmin(hi, n_rot - 1.0);
    if (hi - lo < 1e-9)
        hi = lo + 0.001;
    double ramp = fmin(fmax((i - lo) / (hi - lo), 0), 1);
    return freq / s->factor * ramp + freq * (1 - ramp);
}

lm_status lm_rope_resolve(const lm_rope_spec *s, const lm_config *c, uint32_t n_rot, uint32_t context,
                          const float *divisors, float *inv_freq, float *mscale, lm_error *err)
{
    double original = s->original_context > 0 ? s->original_context : c->max_context;
    double base = s->base, factor = s->factor;
    const json_t *list = NULL;
    *mscale = s->attention_factor > 0 ? (float)s->attention_factor : 1.0f;
    if (s->kind == LM_ROPE_DYNAMIC && context > c->max_context)
        base *= pow(factor * context / c->max_context - (factor - 1), n_rot / (n_rot - 2.0));
    if (s->kind == LM_ROPE_YARN && !(s->attention_factor > 0))
        *mscale = (float)(s->mscale > 0 && s->mscale_all_dim > 0
                              ? yarn_mscale(factor, s->mscale) / yarn_mscale(factor, s->mscale_all_dim)
                              : yarn_mscale(factor, 1));
    if (s->kind == LM_ROPE_LONGROPE) {
        double ratio = c->max_context / original;
        list = context > original ? s->long_factor : s->short_factor;
        if (!(s->attention_factor > 0) && ratio > 1)
            *mscale = (float)sqrt(1 + log(ratio) / log(original));
        if (list && json_array_size(list) != n_rot / 2)
            return lm_fail(err, LM_ERR_CORRUPT, "%s has %zu numbers, wanted are %u",
                           context > original ? "long_factor" : "short_factor", json_array_size(list),
                           n_rot / 2);
    }
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        double f = plain(s, base, n_rot, i);
        switch (s->kind) {
        case LM_ROPE_LINEAR: f /= factor; break;
        case LM_ROPE_LLAMA3: f = llama3(s, f, original); break;
        case LM_ROPE_YARN: f = yarn(s, f, n_rot, i, original); break;
        default: break;
        }
        if (list)
            f /= json_number_value(json_array_get(list, i));
        if (divisors)
            f /= (double)divisors[i];
        if (!isfinite(f))
            return lm_fail(err, LM_ERR_CORRUPT, "rotary frequency %u is not a number", i);
        inv_freq[i] = (float)f;
    }
    return LM_OK;
}
