/* backend/cpu/rotary.c - cos and sin of rotary angles, once a step.
 *
 * The angle is the float32 product of position and frequency, as the reference
 * computes it.  Sine and cosine are computed in double and rounded once, in plain
 * C without fused operations, so every instruction set has the same bits.
 */
#include <math.h>

#include "backend/cpu/plan.h"

/* sin and cos of |r| <= pi/4 by their series, good to the last bit of a float
 * and beyond: the first term left out is below 2e-14. */
static double sine(double r)
{
    double z = r * r;
    return r +
           r * z *
               (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800)))));
}

static double cosine(double r)
{
    double z = r * r;
    return 1 + z * (-1.0 / 2 +
                    z * (1.0 / 24 + z * (-1.0 / 720 +
                                         z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600))))));
}

static void turn(float angle, float *c, float *s)
{
    double x = (double)angle;
    if (!(fabs(x) < 1e6)) /* far out, infinite or NaN: exact, and slow */
        x = fmod(x, 6.283185307179586);
    /* pi/2 in two parts; the first has 33 bits, so k times it is exact. */
    double k = rint(x * 0.63661977236758134308);
    double r = (x - k * 0x1.921fb5440p+0) - k * 0x1.0b4611a626331p-34;
    long q = x >= -4e6 && x <= 4e6 ? (long)k & 3 : 0;
    double a = sine(r), b = cosine(r);
    double sn = q & 1 ? b : a, cs = q & 1 ? a : b;
    *s = (float)(q & 2 ? -sn : sn);
    *c = (float)(q == 1 || q == 2 ? -cs : cs);
}

void lm_cpu_rope_table(const lm_rope *r, uint32_t pos, float *cs)
{
    uint32_t half = r->n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        float c, s;
        turn((float)pos * r->inv_freq[i], &c, &s);
        cs[i] = c * r->mscale;
        cs[half + i] = s * r->mscale;
    }
}
