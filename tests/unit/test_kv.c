/* Pages of keys and values: what a position keeps, and that it keeps it alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/kernels.h"
#include "base/compiler.h"
#include "tensor/kv.h"

enum { MOST = 96 };

static float number(uint32_t i)
{
    return (float)((i * 2654435761u >> 8) & 0xffff) / 32768.0f - 1.0f;
}

static void fill(float *x, uint32_t n, uint32_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = number(seed * 977u + i) * (i % 7 ? 1.0f : 5.0f);
}

static const lm_cache_group groups[] = {
    { .n_layers = 2, .n_heads = 3, .k_dim = 64, .v_dim = 64 },
    { .n_layers = 1, .n_heads = 2, .k_dim = 20, .v_dim = 12 },
    { .n_layers = 1, .n_heads = 1, .k_dim = 90, .v_dim = 50 },
};

static void what_was_put_comes_back_within_the_bound_of_its_format(void **state)
{
    /* shares of the largest magnitude: of keys, of values */
    static const double bounds[LM_KV_COUNT][2] = {
        [LM_KV_F32] = { 0, 0 },
        [LM_KV_F16] = { 1.0 / 2048, 1.0 / 2048 },
        [LM_KV_BF16] = { 1.0 / 256, 1.0 / 256 },
        [LM_KV_Q8] = { 0.51 / 126, 0.51 / 126 },
        [LM_KV_K8V4] = { 0.51 / 126, 12.6 / 126 },
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(groups); i++)
        for (int f = 0; f < LM_KV_COUNT; f++) {
            lm_page_layout l = lm_page_layout_of(&groups[i], (lm_kv_format)f);
            assert_int_equal(l.page_bytes % 64 + l.k_bytes % 64 + l.head_stride % 64, 0);
            uint8_t *page = malloc(l.page_bytes);
            memset(page, 0, l.page_bytes);
            float k[MOST], v[MOST], k2[MOST], v2[MOST];
            uint32_t kd = groups[i].k_dim, vd = groups[i].v_dim, n = LM_PAGE_TOKENS * groups[i].n_heads;
            for (uint32_t at = 0; at < n; at++) {
                fill(k, kd, at);
                fill(v, vd, at + 1000);
                lm_page_put(&l, page, groups[i].n_layers - 1, at % groups[i].n_heads, at / groups[i].n_heads,
                            k, kd, v, vd);
            }
            /* All of them are read after the last was written: none changed another. */
            for (uint32_t at = 0; at < n; at++) {
                double most[2] = { 0 }, top[2] = { 0 };
                fill(k, kd, at);
                fill(v, vd, at + 1000);
                lm_page_get(&l, page, groups[i].n_layers - 1, at % groups[i].n_heads, at / groups[i].n_heads,
                            k2, kd, v2, vd);
                for (uint32_t d = 0; d < kd; d++) {
                    most[0] = fmax(most[0], fabs((double)k[d] - (double)k2[d]));
                    top[0] = fmax(top[0], fabs((double)k[d]));
                }
                for (uint32_t d = 0; d < vd; d++) {
                    most[1] = fmax(most[1], fabs((double)v[d] - (double)v2[d]));
                    top[1] = fmax(top[1], fabs((double)v[d]));
                }
                for (int w = 0; w < 2; w++)
                    if (most[w] > bounds[f][w] * top[w])
                        fail_msg("%s, %s of position %u: off by %g of %g", lm_kv_name((lm_kv_format)f),
                                 w ? "values" : "keys", at, most[w], top[w]);
            }
            free(page);
        }
}

static void every_instruction_set_writes_the_bytes_that_plain_c_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_LEN(groups); i++)
        for (int f = LM_KV_Q8; f <= LM_KV_K8V4; f++)
            for (int isa = 0; isa < LM_ISA_COUNT; isa++) {
                if (!lm_isa_has((lm_isa)isa))
                    continue;
                const lm_attend_kernel *kernel = lm_cpu_kernels_of((lm_isa)isa)->attend[f];
                lm_page_layout l = lm_page_layout_of(&groups[i], (lm_kv_format)f);
                uint8_t *page = calloc(2, l.page_bytes), *other = page + l.page_bytes;
                float k[MOST], v[MOST];
                for (uint32_t pos = 0; pos < LM_PAGE_TOKENS; pos++) {
                    fill(k, MOST, pos);
                    fill(v, MOST, pos + 99);
                    if (pos == 3)
                        memset(k, 0, sizeof k);
                    if (pos == 7)
                        v[2] = INFINITY;
                    if (pos == 9)
                        k[5] = NAN;
                    if (pos == 11)
                        k[4] = 1e-42f, v[0] = 3e38f;
                    lm_page_put(&l, page, 0, 0, pos, k, groups[i].k_dim, v, groups[i].v_dim);
                    kernel->put(&l, other, pos, k, groups[i].k_dim, v, groups[i].v_dim);
                }
                assert_memory_equal(page, other, l.page_bytes);
                free(page);
            }
}

static void an_infinity_or_a_nan_is_not_lost(void **state)
{
    (void)state;
    for (int f = LM_KV_Q8; f <= LM_KV_K8V4; f++) {
        lm_page_layout l = lm_page_layout_of(&groups[0], (lm_kv_format)f);
        uint8_t *page = calloc(1, l.page_bytes);
        float k[64] = { 1 }, v[64] = { 1 };
        k[40] = NAN;
        v[3] = -INFINITY;
        lm_page_put(&l, page, 0, 0, 5, k, 64, v, 64);
        lm_page_get(&l, page, 0, 0, 5, k, 64, v, 64);
        assert_true(isnan(k[40]));
        assert_true(isnan(v[3]) || isinf(v[3]));
        free(page);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_comes_back_within_the_bound_of_its_format),
        cmocka_unit_test(every_instruction_set_writes_the_bytes_that_plain_c_writes),
        cmocka_unit_test(an_infinity_or_a_nan_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
