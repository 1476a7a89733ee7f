/* Kernels for instructions that few machines have, with a stand-in for those: tiles
 * in C for AMX, AVX-512's encoding of the dot instruction for AVX-VNNI.  The same
 * source gives the bits of the other kernels.  (Where the instructions are,
 * test_cpu_linear runs them.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/cpu/linear_impl.h"
#include "base/mem.h"
#include "support/amx_in_c.h"
#include "support/avx_vnni_by_avx512.h"

static uint64_t seed = 0x2545f4914f6cdd1du;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void *memory(size_t n)
{
    void *p;
    assert_int_equal(lm_new_aligned(&p, n ? n : 1, NULL), LM_OK);
    return p;
}

static float *product(const lm_cpu_linear *l, const lm_matrix *w, const uint8_t *x, uint32_t row0, uint32_t n)
{
    size_t bytes = (size_t)w->rows * n * sizeof(float);
    float *y = memory(bytes);
    void *scratch = memory(l->scratch_bytes(w, n));
    memset(scratch, 0xff, l->scratch_bytes(w, n));
    memset(y, 0, bytes);
    l->run(w, row0, w->rows, x, n, y, w->rows, scratch);
    lm_free(scratch);
    return y;
}

/* The kernels of one instruction set: fast, precise. */
typedef const lm_cpu_linear *const kernels[2];
static kernels PLAIN = { &lm_linear_q8_portable, &lm_linear_q16_portable },
               TILES = { &lm_linear_q8_amx_in_c, &lm_linear_q16_amx_in_c },
               VNNI = { &lm_linear_q8_avx_vnni_by_avx512, &lm_linear_q16_avx_vnni_by_avx512 };

static void compare(kernels with, const lm_quant *q, bool precise, uint32_t rows, uint32_t cols, uint32_t n)
{
    const lm_cpu_linear *got = with[precise], *want = PLAIN[precise];
    lm_matrix w = { .quant = q, .rows = rows, .cols = cols };
    uint8_t *planes[LM_QUANT_PLANES] = { NULL };
    for (int p = 0; p < q->n_planes; p++) {
        w.stride[p] = lm_quant_row_bytes(q, p, cols);
        planes[p] = memory(w.stride[p] * rows);
        for (size_t i = 0; i < w.stride[p] * rows; i++)
            planes[p][i] = (uint8_t)(draw() >> 20);
        w.plane[p] = planes[p];
    }
    size_t each = got->layout->row_bytes(cols);
    uint8_t *x = memory(each * n);
    float *v = memory((size_t)cols * sizeof(float));
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t i = 0; i < cols; i++)
            v[i] = (float)((int32_t)(draw() >> 40) - (1 << 23)) * (float)(1 + i / 32 % 3);
        got->layout->quantise(v, cols, x + t * each);
    }
    float *a = product(want, &w, x, 0, n), *b = product(got, &w, x, 0, n);
    for (size_t i = 0; i < (size_t)rows * n; i++)
        if (memcmp(a + i, b + i, 4) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            fail_msg("%s, %s%s, %u x %u, %u tokens: output %zu is %.9g, should be %.9g", got->name, q->name,
                     precise ? " precise" : "", rows, cols, n, i, (double)b[i], (double)a[i]);
    lm_free(a);
    lm_free(b);
    lm_free(x);
    lm_free(v);
    for (int p = 0; p < q->n_planes; p++)
        lm_free(planes[p]);
}

static void every_integer_format(kernels with)
{
    static const uint32_t shapes[][3] = { { 17, 32, 8 },    { 33, 96, 9 },    { 16, 160, 16 },
                                          { 50, 576, 17 },  { 18, 2176, 20 }, { 150, 640, 33 },
                                          { 37, 4384, 40 }, { 20, 96, 145 },  { 35, 1184, 1 },
                                          { 5, 2304, 3 } };
    const lm_quant *q;
    if (!lm_isa_has(LM_ISA_AVX512)) {
        print_message("skipped: this machine has no AVX-512\n");
        skip();
    }
    for (size_t i = 0; (q = lm_quant_at(i)) != NULL; i++)
        for (size_t s = 0; s < LM_LEN(shapes) && lm_lin_class_of(q).blocks; s++) {
            uint32_t unit = q->block_elems, cols = (shapes[s][1] + unit - 1) / unit * unit;
            compare(with, q, false, shapes[s][0], cols, shapes[s][2]);
            compare(with, q, true, shapes[s][0], cols, shapes[s][2]);
        }
}

static void tiles_give_the_bits_of_plain_c_for_every_integer_format(void **state)
{
    (void)state;
    every_integer_format(TILES);
}

static void the_dot_instruction_in_256_bits_gives_the_bits_of_plain_c(void **state)
{
    (void)state;
    every_integer_format(VNNI);
}

static void a_machine_without_tiles_says_so(void **state)
{
    lm_device_options o = { .isa = "amx", .n_threads = 1 };
    lm_device *d = NULL;
    lm_error err = { 0 };
    (void)state;
    if (lm_isa_has(LM_ISA_AMX)) {
        lm_device_info info;
        assert_null(lm_isa_why(LM_ISA_AMX));
        assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_OK);
        lm_backend_cpu.info(d, LM_KV_BF16, &info);
        assert_string_equal(info.name, "cpu amx, 1 thread");
        lm_backend_cpu.close(d);
        return;
    }
    assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_ERR_UNSUPPORTED);
    assert_null(d);
    assert_ptr_equal(strstr(err.text, "this machine has no amx"), err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_give_the_bits_of_plain_c_for_every_integer_format),
        cmocka_unit_test(the_dot_instruction_in_256_bits_gives_the_bits_of_plain_c),
        cmocka_unit_test(a_machine_without_tiles_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
