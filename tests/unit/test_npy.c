/* .npy files come back as they were written, and never appear half. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/npy.h"

static char dir[] = "/tmp/lemma-test-npy-XXXXXX";
static char path[64];

static void an_array_comes_back(void **state)
{
    const float x[6] = { 1, -2, 3.5f, 0, 1e-30f, 6 };
    const uint64_t dims[2] = { 2, 3 };
    float *y = NULL;
    uint32_t n_dims = 0;
    uint64_t back[LM_NPY_DIMS];
    (void)state;
    assert_int_equal(lm_npy_write(path, x, 2, dims, NULL), LM_OK);
    assert_int_equal(lm_npy_read(path, &y, &n_dims, back, NULL), LM_OK);
    assert_int_equal(n_dims, 2);
    assert_int_equal(back[0], 2);
    assert_int_equal(back[1], 3);
    assert_memory_equal(x, y, sizeof x);
    lm_free(y);

    lm_map *m = NULL;
    assert_int_equal(lm_map_open(&m, path, NULL), LM_OK);
    assert_int_equal(lm_map_size(m), 128 + sizeof x); /* NumPy wants the data at a multiple of 64 */
    assert_memory_equal(lm_map_data(m), "\x93NUMPY\x01\x00", 8);
    assert_int_equal(lm_map_data(m)[127], '\n');
    lm_map_close(m);
    (void)unlink(path);
}

static void one_dimension_has_a_comma(void **state)
{
    const float x[3] = { 1, 2, 3 };
    const uint64_t dims[1] = { 3 };
    float *y = NULL;
    uint32_t n_dims = 0;
    uint64_t back[LM_NPY_DIMS];
    char *text = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(lm_npy_write(path, x, 1, dims, NULL), LM_OK);
    assert_int_equal(lm_npy_read(path, &y, &n_dims, back, NULL), LM_OK);
    assert_int_equal(n_dims, 1);
    assert_int_equal(back[0], 3);
    lm_free(y);
    assert_int_equal(lm_read_file(path, 4096, &text, &n, NULL), LM_OK);
    assert_non_null(strstr(text + 10, "'shape': (3,), }"));
    lm_free(text);
    (void)unlink(path);
}

static void a_short_array_is_no_file(void **state)
{
    const float x[3] = { 1, 2, 3 };
    const uint64_t dims[2] = { 2, 3 };
    lm_npy *w = NULL;
    lm_error err = { 0 };
    char says[160];
    (void)state;
    assert_int_equal(lm_npy_open(&w, path, 2, dims, NULL), LM_OK);
    assert_int_equal(lm_npy_add(w, x, 3, NULL), LM_OK);
    assert_int_equal(lm_npy_close(w, &err), LM_ERR_USAGE);
    (void)snprintf(says, sizeof says, "the array %s lacks 3 numbers", path);
    assert_string_equal(err.text, says);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0); /* nothing was left behind */
    assert_non_null(mkdtemp(memcpy(dir, "/tmp/lemma-test-npy-XXXXXX", sizeof dir)));
}

static void more_than_the_shape_is_refused(void **state)
{
    const float x[3] = { 1, 2, 3 };
    const uint64_t dims[1] = { 2 };
    lm_npy *w = NULL;
    lm_error err = { 0 };
    (void)state;
    (void)snprintf(path, sizeof path, "%s/x.npy", dir);
    assert_int_equal(lm_npy_open(&w, path, 1, dims, NULL), LM_OK);
    assert_int_equal(lm_npy_add(w, x, 3, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "3 numbers for an array that has room for 2");
    lm_npy_drop(w);
}

static void other_files_are_refused(void **state)
{
    static const char *const heads[] = {
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1\n"
    };
    (void)state;
    for (size_t i = 0; i < LM_LEN(heads); i++) {
        char bytes[200] = "\x93NUMPY\x01";
        float *y = NULL;
        uint32_t n_dims;
        uint64_t back[LM_NPY_DIMS];
        lm_error err = { 0 };
        bytes[8] = (char)strlen(heads[i]);
        memcpy(bytes + 10, heads[i], strlen(heads[i]));
        assert_int_equal(lm_write_file(path, bytes, 10 + strlen(heads[i]) + 4, 0600, NULL), LM_OK);
        assert_int_equal(lm_npy_read(path, &y, &n_dims, back, &err), LM_ERR_CORRUPT);
        assert_null(y);
    }
    (void)unlink(path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_comes_back),      cmocka_unit_test(one_dimension_has_a_comma),
        cmocka_unit_test(a_short_array_is_no_file), cmocka_unit_test(more_than_the_shape_is_refused),
        cmocka_unit_test(other_files_are_refused),
    };
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof path, "%s/x.npy", dir);
    return cmocka_run_group_tests_name("format/npy", tests, NULL, NULL);
}
