/* Top-n-sigma: a cut in the logits themselves, which no temperature moves. */
#include <math.h>

#include "sample/stages.h"

enum { LANES = 8 };

typedef struct {
    double n, sum, squares;
} moments;

/* Moments of what is above -infinity, around `centre` so that squares do not
 * swallow the difference. */
static moments of_row(const float *row, uint32_t n, float centre)
{
    double count[LANES] = { 0 }, sum[LANES] = { 0 }, squares[LANES] = { 0 };
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t j = 0; j < LANES; j++) {
            double d = row[i + j] > -INFINITY ? (double)row[i + j] - (double)centre : 0.0;
            count[j] += row[i + j] > -INFINITY ? 1.0 : 0.0;
            sum[j] += d;
            squares[j] += d * d;
        }
    }
    moments m = { 0 };
    for (; i < n; i++) {
        if (row[i] > -INFINITY) {
            double d = (double)row[i] - (double)centre;
            m.n += 1.0;
            m.sum += d;
            m.squares += d * d;
        }
    }
    for (uint32_t j = 0; j < LANES; j++) {
        m.n += count[j];
        m.sum += sum[j];
        m.squares += squares[j];
    }
    return m;
}

void lm_stage_top_n_sigma(lm_cands *c, float n)
{
    if (n <= 0.0f)
        return;
    const float max = lm_cands_max(c);
    moments m = { 0 };
    if (c->dense) {
        m = of_row(c->row, c->n_vocab, max);
    } else {
        for (uint32_t i = 0; i < c->n; i++) {
            double d = (double)c->list[i].logit - (double)max;
            m.n += 1.0;
            m.sum += d;
            m.squares += d * d;
        }
    }
    const double mean = m.sum / m.n;
    const double sigma = sqrt(fmax(m.squares / m.n - mean * mean, 0.0));
    const float least = (float)((double)max - (double)n * sigma);
    if (c->dense)
        lm_cands_gather(c, least);
    else
        lm_cands_drop_below(c, least);
}
