/* Sets of processors: how they are spelt, what is refused, what is bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "base/cpus.h"
#include "base/fail.h"

static uint32_t first_of(const lm_cpus *c)
{
    uint32_t i = 0;
    while (i < LM_CPUS_MAX && !(c->bits[i / 64] >> i % 64 & 1))
        i++;
    return i;
}

static void sets_are_written_as_lists(void **state)
{
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = { { 0x10f, "0-3,8" }, { 1, "0" }, { 6, "1-2" }, { 0x8000000000000001, "0,63" } };
    char text[LM_CPUS_TEXT], tiny[8];
    (void)state;
    for (size_t i = 0; i < LM_LEN(rows); i++) {
        lm_cpus c = { { rows[i].bits } };
        lm_cpus_text(&c, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
    lm_cpus many = { { 0x5555 } };
    lm_cpus_text(&many, tiny, sizeof tiny);
    assert_string_equal(tiny, "0,2...");
}

static void masks_and_lists_within_the_allowed_are_read(void **state)
{
    lm_cpus mine, got;
    char text[32];
    (void)state;
    lm_cpus_allowed(&mine);
    uint32_t first = first_of(&mine);
    assert_true(lm_cpus_count(&mine) >= 1 && lm_cpus_physical(&mine) >= 1);
    assert_true(lm_cpus_physical(&mine) <= lm_cpus_count(&mine));
    assert_true(lm_cpus_threads(&mine) >= 1 && lm_cpus_threads(&mine) <= lm_cpus_physical(&mine));
    (void)snprintf(text, sizeof text, "%u", first);
    assert_int_equal(lm_cpus_parse(&got, text, NULL), LM_OK);
    assert_int_equal(lm_cpus_count(&got), 1);
    assert_int_equal(first_of(&got), first);
    if (first < 60) {
        (void)snprintf(text, sizeof text, "0X%llx", 1ull << first);
        assert_int_equal(lm_cpus_parse(&got, text, NULL), LM_OK);
        assert_int_equal(first_of(&got), first);
    }
}

static void other_texts_and_other_processors_are_refused(void **state)
{
    static const char *const bad[] = { "",    "0x",   "0xg", "x",    "0-",          "1-0",
                                       "0,,", "1024", "-1",  "0 ,1", "99999999999", "0x0" };
    lm_cpus c;
    (void)state;
    for (size_t i = 0; i < LM_LEN(bad); i++) {
        lm_error err = { 0 };
        assert_int_equal(lm_cpus_parse(&c, bad[i], &err), LM_ERR_USAGE);
        assert_non_null(strstr(err.text, "names no processors: allowed is a list such as 0-3,8"));
    }
    lm_error err = { 0 };
    lm_cpus_allowed(&c);
    if (c.bits[15] >> 63 & 1)
        return; /* a machine with all 1024 */
    assert_int_equal(lm_cpus_parse(&c, "1023", &err), LM_ERR_USAGE);
    assert_non_null(strstr(err.text, "'1023' names processor 1023, this process may use "));
}

static void a_device_binds_its_opener_until_it_is_closed(void **state)
{
    lm_cpus before, during, after;
    lm_device *d = NULL;
    lm_device_info info;
    lm_error err = { 0 };
    char text[32];
    (void)state;
    lm_cpus_allowed(&before);
    (void)snprintf(text, sizeof text, "%u", first_of(&before));
    lm_device_options o = { .cpu_mask = text };
    assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_OK);
    lm_cpus_allowed(&during);
    assert_int_equal(lm_cpus_count(&during), 1);
    lm_backend_cpu.info(d, LM_KV_BF16, &info);
    assert_int_equal(info.n_threads, 1); /* the default follows the mask */
    lm_backend_cpu.close(d);
    lm_cpus_allowed(&after);
    assert_memory_equal(&before, &after, sizeof before);
    o.cpu_mask = "5-3";
    assert_int_equal(lm_backend_cpu.open(&d, &o, &err), LM_ERR_USAGE);
    assert_non_null(strstr(err.text, "(-C, --cpu-mask)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_written_as_lists),
        cmocka_unit_test(masks_and_lists_within_the_allowed_are_read),
        cmocka_unit_test(other_texts_and_other_processors_are_refused),
        cmocka_unit_test(a_device_binds_its_opener_until_it_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
