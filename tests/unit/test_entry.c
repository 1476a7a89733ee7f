/* Entry files: whole both ways, damage, what differs at a wake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "state/entry.h"
#include "support/state_lite.h"

static int32_t tokens[100];
static float logits[50];
static uint8_t sampler[77];
static lm_entry_page pages[2][7];

static lm_entry sample(void)
{
    lm_entry e = { .flags = LM_ENTRY_KEPT,
                   .created = 1234567,
                   .name = "a name",
                   .title = "t\xc3\xaftle",
                   .labels = "[]",
                   .metadata = "{\"k\":1}",
                   .messages = "[{\"role\":\"user\"}]",
                   .parent = "mother",
                   .tokens = tokens,
                   .n_tokens = 100,
                   .n_groups = 2,
                   .sampler = sampler,
                   .n_sampler = sizeof sampler,
                   .logits = logits,
                   .n_logits = 50 };
    lm_model_id id;
    lm_space space;
    state_lite_model(&id, 4);
    state_lite_space(&space, &id, 2);
    e.id.model = id;
    (void)snprintf(e.id.architecture, sizeof e.id.architecture, "llama");
    state_lite_fill(7, e.serial, sizeof e.serial);
    state_lite_tokens(3, tokens, 100);
    state_lite_fill(8, sampler, sizeof sampler);
    for (int i = 0; i < 50; i++)
        logits[i] = (float)i / 3;
    state_lite_fill(9, pages, sizeof pages);
    for (uint32_t g = 0; g < 2; g++) {
        e.groups[g] = (lm_entry_group){ .geometry = space.groups[g],
                                        .root = space.roots[g],
                                        .first_page = g * 2,
                                        .n_pages = 7,
                                        .pages = pages[g] };
        for (int i = 0; i < 7; i++)
            pages[g][i].run = pages[g][i / 3].run; /* a few runs */
    }
    return e;
}

static void an_entry_is_the_same_both_ways(void **state)
{
    lm_entry e = sample(), *d = NULL;
    uint8_t *bytes = NULL, *again = NULL;
    size_t n = 0, m = 0;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_entry_encode(&e, &bytes, &n, &err), LM_OK);
    uint8_t *copy = NULL;
    assert_int_equal(lm_new((void **)&copy, n, 1, &err), LM_OK);
    memcpy(copy, bytes, n);
    assert_int_equal(lm_entry_decode(copy, n, &d, &err), LM_OK);
    assert_string_equal(d->name, e.name);
    assert_string_equal(d->title, e.title);
    assert_string_equal(d->labels, e.labels);
    assert_string_equal(d->metadata, e.metadata);
    assert_string_equal(d->messages, e.messages);
    assert_string_equal(d->parent, e.parent);
    assert_memory_equal(d->serial, e.serial, sizeof e.serial);
    assert_memory_equal(&d->id, &e.id, sizeof e.id);
    assert_int_equal(d->flags, e.flags);
    assert_int_equal(d->created, e.created);
    assert_int_equal(d->n_tokens, 100);
    assert_memory_equal(d->tokens, tokens, sizeof tokens);
    assert_memory_equal(d->logits, logits, sizeof logits);
    assert_int_equal(d->n_sampler, sizeof sampler);
    assert_memory_equal(d->sampler, sampler, sizeof sampler);
    for (int g = 0; g < 2; g++) {
        assert_int_equal(d->groups[g].first_page, e.groups[g].first_page);
        assert_memory_equal(&d->groups[g].geometry, &e.groups[g].geometry, sizeof(lm_geometry));
        for (uint32_t i = 0; i < 7 - e.groups[g].first_page; i++) {
            assert_memory_equal(&d->groups[g].pages[i].name, &pages[g][i].name, 32);
            assert_memory_equal(&d->groups[g].pages[i].run, &pages[g][i].run, 16);
            assert_int_equal(d->groups[g].pages[i].slot, pages[g][i].slot);
        }
    }
    assert_int_equal(lm_entry_encode(d, &again, &m, &err), LM_OK);
    assert_int_equal(m, n);
    assert_memory_equal(again, bytes, n);
    lm_free(again);
    lm_free(bytes);
    lm_entry_free(d);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
    lm_entry e = sample();
    uint8_t *bytes = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(lm_entry_encode(&e, &bytes, &n, NULL), LM_OK);
    for (size_t bit = 0; bit < n * 8; bit += bit < 1024 ? 1 : 37) {
        uint8_t *copy = NULL;
        lm_entry *d = NULL;
        lm_error err = { 0 };
        assert_int_equal(lm_new((void **)&copy, n, 1, NULL), LM_OK);
        memcpy(copy, bytes, n);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(lm_entry_decode(copy, n, &d, &err), LM_OK);
        assert_int_not_equal(err.text[0], 0);
    }
    for (size_t cut = 0; cut < n; cut += 13) {
        uint8_t *copy = NULL;
        lm_entry *d = NULL;
        assert_int_equal(lm_new((void **)&copy, cut + 1, 1, NULL), LM_OK);
        memcpy(copy, bytes, cut);
        assert_int_not_equal(lm_entry_decode(copy, cut, &d, NULL), LM_OK);
    }
    lm_free(bytes);
}

/* With a checksum that fits, the checks behind it must hold on their own. */
static void lies_behind_a_good_checksum_are_refused(void **state)
{
    lm_entry e = sample();
    uint8_t *bytes = NULL;
    size_t n = 0;
    uint64_t seed = 3, accepted = 0, refused = 0;
    (void)state;
    assert_int_equal(lm_entry_encode(&e, &bytes, &n, NULL), LM_OK);
    for (int k = 0; k < 3000; k++) {
        uint8_t *copy = NULL, head[64];
        lm_entry *d = NULL;
        lm_error err = { 0 };
        assert_int_equal(lm_new((void **)&copy, n, 1, NULL), LM_OK);
        memcpy(copy, bytes, n);
        for (int i = 0; i < 1 + k % 3; i++)
            copy[state_lite_random(&seed) % n] = (uint8_t)state_lite_random(&seed);
        memset(copy + 24, 0, 8);
        memcpy(head, copy, 64);
        uint64_t sum = lm_xxh64(copy + 64, n - 64, lm_xxh64(head, 64, 0));
        memcpy(copy + 24, &sum, 8);
        if (lm_entry_decode(copy, n, &d, &err) == LM_OK) {
            accepted++;
            for (uint32_t g = 0; g < d->n_groups; g++)
                assert_int_equal(d->groups[g].n_pages, (d->n_tokens + LITE_TOKENS - 1) / LITE_TOKENS);
            lm_entry_free(d);
        } else {
            assert_int_not_equal(err.text[0], 0);
            refused++;
        }
    }
    print_message("%llu accepted, %llu refused\n", (unsigned long long)accepted, (unsigned long long)refused);
    assert_true(refused > 100 && accepted > 100);
    lm_free(bytes);
}

static void failing_allocations_leak_nothing(void **state)
{
    lm_entry e = sample();
    uint8_t *bytes = NULL;
    size_t n = 0;
    (void)state;
    for (uint64_t k = 1;; k++) {
        lm_mem_fail_after(k);
        lm_status status = lm_entry_encode(&e, &bytes, &n, NULL);
        lm_mem_fail_after(0);
        if (status == LM_OK)
            break;
        assert_int_equal(status, LM_ERR_NOMEM);
        assert_true(k < 200);
    }
    for (uint64_t k = 1;; k++) {
        uint8_t *copy = NULL;
        lm_entry *d = NULL;
        assert_int_equal(lm_new((void **)&copy, n, 1, NULL), LM_OK);
        memcpy(copy, bytes, n);
        lm_mem_fail_after(k);
        lm_status status = lm_entry_decode(copy, n, &d, NULL);
        lm_mem_fail_after(0);
        if (status == LM_OK) {
            lm_entry_free(d);
            assert_true(k >= 4);
            break;
        }
        assert_int_equal(status, LM_ERR_NOMEM);
    }
    lm_free(bytes);
}

static void what_differs_is_named(void **state)
{
    lm_entry e = sample();
    lm_state_id now = e.id;
    (void)state;
    now.context = 100;
    assert_int_equal(lm_state_id_compare(&e.id, &now, 100), 0);
    assert_int_equal(lm_state_id_compare(&e.id, &now, 101), 1u << LM_WAKE_CONTEXT);
    now.model.weights.b[0] ^= 1;
    now.chat_template.b[0] ^= 1;
    (void)snprintf(now.backend, sizeof now.backend, "cuda");
    uint32_t bits = lm_state_id_compare(&e.id, &now, 100);
    assert_int_equal(bits, 1u << LM_WAKE_MODEL_HASH | 1u << LM_WAKE_TEMPLATE | 1u << LM_WAKE_BACKEND);
    now = e.id;
    now.context = 100;
    now.model.adapter.b[0] = 1;
    assert_int_equal(lm_state_id_compare(&e.id, &now, 100), 1u << LM_WAKE_ADAPTER_UNEXPECTED);
    assert_int_equal(lm_state_id_compare(&now, &e.id, 0), 1u << LM_WAKE_ADAPTER_MISSING);
    (void)snprintf(now.model.numerics, sizeof now.model.numerics, "fast");
    assert_true(lm_state_id_compare(&e.id, &now, 100) & 1u << LM_WAKE_NUMERICS);
    assert_string_equal(lm_wake_text(LM_WAKE_TEMPLATE), "chat_template_mismatch");
    assert_string_equal(lm_wake_text(LM_WAKE_BACKEND), "runtime_backend_changed");
}

static void entries_that_cannot_be_are_not_written(void **state)
{
    lm_entry e = sample();
    uint8_t *bytes = NULL;
    size_t n = 0;
    lm_error err = { 0 };
    (void)state;
    e.title = "\xff";
    assert_int_equal(lm_entry_encode(&e, &bytes, &n, &err), LM_ERR_USAGE);
    assert_string_equal(err.text, "the session's title: not UTF-8");
    e = sample();
    e.flags = 64;
    assert_int_equal(lm_entry_encode(&e, &bytes, &n, NULL), LM_ERR_USAGE);
    assert_null(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_the_same_both_ways),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(lies_behind_a_good_checksum_are_refused),
        cmocka_unit_test(failing_allocations_leak_nothing),
        cmocka_unit_test(what_differs_is_named),
        cmocka_unit_test(entries_that_cannot_be_are_not_written),
    };
    return cmocka_run_group_tests_name("state/entry", tests, NULL, NULL);
}
