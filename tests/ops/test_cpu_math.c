/* exp, tanh and erf of the CPU backend: accuracy, and equal bits on every
 * instruction set; rotary tables against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/plan.h"

enum { N = 1 << 18 };
static float x[N], y[N], z[N];

/* Every 1/N-th of the finite floats between -range and range, by their bits. */
static void sweep(float range)
{
    for (int i = 0; i < N; i++) {
        float t = (float)i / (float)(N - 1) * 2.0f - 1.0f;
        x[i] = i % 2 ? t * range : ldexpf(t, -(i % 40)) * range;
    }
}

static double exact(int which, double v)
{
    return which == 0 ? exp(v) : which == 1 ? tanh(v) : erf(v);
}

static double ulps(double want, float got)
{
    int e;
    (void)frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static void functions_are_within_two_units_in_the_last_place(void **state)
{
    static const char *const names[] = { "exp", "tanh", "erf" };
    static const float range[] = { 87.3f, 20.0f, 6.0f };
    (void)state;
    for (int f = 0; f < 3; f++) {
        double worst = 0;
        float at = 0;
        sweep(range[f]);
        lm_cpu_kernels_of(lm_isa_best())->math(f, x, y, N);
        for (int i = 0; i < N; i++) {
            double u = ulps(exact(f, (double)x[i]), y[i]);
            if (!(u <= worst)) {
                worst = u;
                at = x[i];
            }
        }
        if (!(worst <= 2.0))
            fail_msg("%s(%g) is off by %.2f units", names[f], (double)at, worst);
    }
}

static void every_instruction_set_gives_the_same_bits(void **state)
{
    static const float odd[] = { 0.0f,    -0.0f,     INFINITY, -INFINITY, 88.72f, 88.8f,
                                 -87.32f, -87.34f,   1e30f,    -1e30f,    1e-30f, -1e-40f,
                                 0.6f,    0.599999f, 0.92f,    4.0f,      -4.1f,  127.0f };
    (void)state;
    for (int f = 0; f < 3; f++) {
        sweep(100.0f);
        memcpy(x, odd, sizeof odd);
        lm_cpu_kernels_portable.math(f, x, y, N - 3); /* a tail as well */
        for (int i = LM_ISA_AVX2; i < LM_ISA_COUNT; i++) {
            if (!lm_isa_has((lm_isa)i))
                continue;
            memset(z, 0, sizeof z);
            lm_cpu_kernels_of((lm_isa)i)->math(f, x, z, N - 3);
            for (int k = 0; k < N - 3; k++)
                if (memcmp(&y[k], &z[k], sizeof y[k]) != 0)
                    fail_msg("function %d of %a: %a on %s, %a in plain C", f, (double)x[k], (double)z[k],
                             lm_isa_name((lm_isa)i), (double)y[k]);
        }
        assert_true(y[2] > 0 && y[0] >= 0);
    }
    float nan[16], out[16];
    for (int i = 0; i < 16; i++)
        nan[i] = NAN;
    for (int i = 0; i < LM_ISA_COUNT; i++)
        for (int f = 0; f < 3; f++)
            if (lm_isa_has((lm_isa)i)) {
                lm_cpu_kernels_of((lm_isa)i)->math(f, nan, out, 16);
                assert_true(isnan(out[0]) && isnan(out[15]));
            }
}

static void rotary_angles_are_good_to_the_last_bit_but_one(void **state)
{
    float freq[40], cs[80];
    lm_rope r = { .n_rot = 80, .mscale = 1.0f, .inv_freq = freq };
    (void)state;
    for (int i = 0; i < 40; i++)
        freq[i] = powf(10000.0f, -(float)i / 40.0f);
    for (uint32_t pos = 0; pos < 200000; pos = pos * 5 / 4 + 1) {
        lm_cpu_rope_table(&r, pos, cs);
        for (int i = 0; i < 40; i++) {
            double a = (double)((float)pos * freq[i]);
            assert_true(fabs((double)cs[i] - cos(a)) <= 6.1e-8);
            assert_true(fabs((double)cs[40 + i] - sin(a)) <= 6.1e-8);
        }
    }
    freq[0] = INFINITY;
    freq[1] = 1e30f;
    lm_cpu_rope_table(&r, 3, cs); /* no trap */
    assert_true(isnan(cs[0]) && fabsf(cs[1]) <= 1.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_within_two_units_in_the_last_place),
        cmocka_unit_test(every_instruction_set_gives_the_same_bits),
        cmocka_unit_test(rotary_angles_are_good_to_the_last_bit_but_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
