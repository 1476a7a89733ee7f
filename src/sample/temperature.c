/* Temperature, fixed or moving with the entropy. */
#include <float.h>
#include <math.h>

#include "sample/stages.h"

/* A tiny temperature must not push a candidate past the largest float, where it
 * would tie with others or cease to be one. */
static float scaled(float x, float temperature)
{
    float y = x / temperature;
    y = y > FLT_MAX ? FLT_MAX : y;
    y = y < -FLT_MAX ? -FLT_MAX : y;
    return x > -INFINITY ? y : x;
}

static void divide(lm_cands *c, float temperature)
{
    /* A temperature of 1 changes no bit. */
    if (c->dense) {
        for (uint32_t i = 0; i < c->n_vocab; i++)
            c->row[i] = scaled(c->row[i], temperature);
    } else {
        for (uint32_t i = 0; i < c->n; i++)
            c->list[i].logit = scaled(c->list[i].logit, temperature);
    }
    c->max_known = false;
}

void lm_stage_temperature(lm_cands *c, float temperature, float range, float exponent)
{
    if (range > 0.0f) {
        const uint32_t n = lm_cands_count(c);
        if (n < 2)
            return;
        double weighted;
        const double norm = lm_cands_norm(c, &weighted);
        double share = (log(norm) - weighted / norm) / log((double)n);
        share = fmin(fmax(share, 0.0), 1.0);
        const float low = fmaxf(0.0f, temperature - range);
        const float high = temperature + range;
        temperature = low + (high - low) * (float)pow(share, (double)exponent);
    }
    if (temperature <= 0.0f)
        lm_stage_greedy(c);
    else if (temperature < 1.0f || temperature > 1.0f)
        divide(c, temperature);
}
