/* Names of pages, identity of programs and of weight files (S2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/names.h"
#include "support/state_lite.h"

static lm_geometry plain_geometry(void)
{
    return (lm_geometry){ .format = "bf16",
                          .n_layers = 4,
                          .n_heads = 2,
                          .k_dim = 64,
                          .v_dim = 64,
                          .page_tokens = 64,
                          .page_bytes = 65536 };
}

/* S2: whatever the bytes depend on changes the root, and every change a different one. */
static void everything_that_bytes_depend_on_changes_the_root(void **state)
{
    lm_digest roots[32];
    size_t n = 0;
    lm_model_id base;
    lm_geometry g0 = plain_geometry();
    (void)state;
    state_lite_model(&base, 1);
    for (int k = 0; k < 15; k++) {
        lm_model_id id = base;
        lm_geometry g = g0;
        const char *salt = "";
        switch (k) {
        case 1: id.weights.b[31] ^= 1; break;
        case 2: id.adapter.b[0] ^= 1; break;
        case 3: id.program.b[0] ^= 1; break;
        case 4: strcpy(id.numerics, "cpu fast 1 avx512"); break;
        case 5: strcpy(id.numerics, "cpu precise 1 avx512"); break;
        case 6: strcpy(id.numerics, "cpu precise 1 avx2"); break;
        case 7: strcpy(g.format, "f16"); break;
        case 8: g.group = 1; break;
        case 9: g.window = 512; break;
        case 10: g.page_tokens = 128; break;
        case 11: g.n_layers = 5; break;
        case 12: g.kind = LM_PAGES_CHECKPOINT; break;
        case 13: salt = "tenant"; break;
        case 14: salt = "tenant2"; break;
        default: break;
        }
        lm_space s;
        assert_int_equal(lm_space_init(&s, &id, &g, 1, salt, strlen(salt), NULL), LM_OK);
        for (size_t i = 0; i < n; i++)
            assert_false(lm_digest_equal(&roots[i], &s.roots[0]));
        roots[n++] = s.roots[0];
    }
    lm_space again;
    assert_int_equal(lm_space_init(&again, &base, &g0, 1, NULL, 0, NULL), LM_OK);
    assert_true(lm_digest_equal(&again.roots[0], &roots[0]));
}

static void nothing_has_a_name_before_the_weights_are_known(void **state)
{
    lm_model_id id = { .numerics = "x" };
    lm_geometry g = plain_geometry();
    lm_space s;
    lm_error err = { 0 };
    (void)state;
    assert_int_equal(lm_space_init(&s, &id, &g, 1, NULL, 0, &err), LM_ERR_STATE);
    assert_string_equal(err.text, "the content of the weights is not known yet");
}

static void a_name_covers_all_tokens_before_it(void **state)
{
    lm_model_id id;
    lm_space s;
    int32_t a[100], b[100];
    lm_digest x[7], y[7];
    (void)state;
    state_lite_model(&id, 1);
    state_lite_space(&s, &id, 2);
    state_lite_tokens(5, a, 100);
    memcpy(b, a, sizeof b);
    b[20] ^= 1; /* second page of 16 */
    assert_int_equal(lm_page_names(&s.roots[0], a, 100, 16, x, NULL), LM_OK);
    assert_int_equal(lm_page_names(&s.roots[0], b, 100, 16, y, NULL), LM_OK);
    assert_true(lm_digest_equal(&x[0], &y[0]));
    for (int i = 1; i < 7; i++)
        assert_false(lm_digest_equal(&x[i], &y[i]));
    /* Another group: other names throughout. */
    assert_int_equal(lm_page_names(&s.roots[1], a, 100, 16, y, NULL), LM_OK);
    for (int i = 0; i < 7; i++)
        assert_false(lm_digest_equal(&x[i], &y[i]));
    /* The tail's name is not the full page's; the same call page by page agrees. */
    assert_int_equal(lm_page_name(&s.roots[0], &x[5], a + 96, 4, &y[0], NULL), LM_OK);
    assert_true(lm_digest_equal(&y[0], &x[6]));
    assert_int_equal(lm_page_name(&s.roots[0], &x[5], a + 96, 3, &y[0], NULL), LM_OK);
    assert_false(lm_digest_equal(&y[0], &x[6]));
    /* A first page is not a page whose parent's name happens to be zeros. */
    lm_digest zero = { { 0 } };
    assert_int_equal(lm_page_name(&s.roots[0], &zero, a, 16, &y[0], NULL), LM_OK);
    assert_false(lm_digest_equal(&y[0], &x[0]));
}

/* The name of a known page, worked out by hand with another implementation:
 * hashlib.sha256(b"lemma page 1\0\0\0\0" + pack("<3Q", 32, 0, 2) + bytes(range(32)) + bytes(32)
 *                + pack("<2i", 7, 9)) */
static void a_name_is_stable_across_versions(void **state)
{
    lm_digest root, name;
    int32_t tokens[2] = { 7, 9 };
    char hex[65];
    (void)state;
    for (uint8_t i = 0; i < 32; i++)
        root.b[i] = i;
    assert_int_equal(lm_page_name(&root, NULL, tokens, 2, &name, NULL), LM_OK);
    lm_digest_hex(&name, hex);
    assert_string_equal(hex, "4eec54ac0060fef809416e5c6e4065ad827051b63d2112c50c8f1025551060b2");
}

static lm_status tiny_program(lm_program **out, float scale, float freq, uint32_t window)
{
    static float norm[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    static uint8_t bytes[4 * 8 * 16];
    lm_matrix w = {
        .quant = lm_quant_of(LM_Q_F32), .plane = { bytes }, .stride = { 32 }, .rows = 16, .cols = 8
    };
    lm_matrix sq = w;
    float f[2] = { 1, freq };
    lm_builder b;
    sq.rows = 8;
    LM_TRY(lm_builder_init(&b, NULL));
    lm_val x = lm_build_embed(&b, &w, "embed", scale);
    lm_val q = lm_build_linear(&b, lm_build_norm(&b, x, LM_NORM_RMS, 8, norm, NULL, 1e-5f), &sq, "q", NULL);
    uint32_t table = lm_build_rope_table(&b, 4, false, 1, f);
    q = lm_build_rope(&b, q, 4, table);
    lm_attend_spec spec = {
        .n_heads = 2, .n_kv_heads = 2, .k_dim = 4, .v_dim = 4, .window = window, .scale = 1
    };
    x = lm_build_add(&b, x, lm_build_attend(&b, q, q, x, &spec));
    return lm_builder_finish(&b, lm_build_linear(&b, lm_build_rows(&b, x), &w, "embed", NULL), out);
}

static void every_resolved_number_of_a_program_counts(void **state)
{
    lm_program *p[5] = { NULL };
    lm_digest d[6];
    (void)state;
    assert_int_equal(tiny_program(&p[0], 2, 0.5f, 0), LM_OK);
    assert_int_equal(tiny_program(&p[1], 2, 0.5f, 0), LM_OK);
    assert_int_equal(tiny_program(&p[2], 3, 0.5f, 0), LM_OK);
    assert_int_equal(tiny_program(&p[3], 2, 0.25f, 0), LM_OK);
    assert_int_equal(tiny_program(&p[4], 2, 0.5f, 32), LM_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(lm_program_identity(p[i], &d[i], NULL), LM_OK);
    assert_true(lm_digest_equal(&d[0], &d[1]));
    for (int i = 2; i < 5; i++)
        for (int k = 0; k < i; k++)
            assert_false(lm_digest_equal(&d[i], &d[k]));
    for (uint32_t i = 0; i < p[1]->n_ops; i++)
        if (p[1]->ops[i].kind == LM_OP_NORM)
            p[1]->ops[i].u.norm.eps = 1e-6f;
    assert_int_equal(lm_program_identity(p[1], &d[5], NULL), LM_OK);
    assert_false(lm_digest_equal(&d[0], &d[5]));
    for (int i = 0; i < 5; i++)
        lm_program_free(p[i]);
}

static void write_pack(const char *folder, uint8_t last)
{
    /* One tensor "w" of two float32. */
    static const char head[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}      ";
    char path[256];
    uint64_t n = sizeof head - 1;
    uint8_t data[8] = { 1, 2, 3, 4, 5, 6, 7, last };
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&n, 8, 1, f), 1);
    assert_int_equal(fwrite(head, n, 1, f), 1);
    assert_int_equal(fwrite(data, 8, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs("{\"model_type\":\"llama\"}", f) > 0);
    assert_int_equal(fclose(f), 0);
}

static void weights_are_known_by_content_and_remembered(void **state)
{
    char folder[128], cache[128];
    lm_packfile *pack = NULL;
    lm_digest a, b;
    lm_error err = { 0 };
    (void)state;
    state_lite_folder(folder);
    state_lite_folder(cache);
    write_pack(folder, 8);
    assert_int_equal(lm_packfile_open(&pack, folder, true, &err), LM_OK);
    assert_int_equal(lm_pack_identity_known(pack, cache, &b, NULL), LM_ERR_NOT_FOUND);
    /* Fresh files are read but not remembered: their clock may not have ticked yet. */
    assert_int_equal(lm_pack_identity(pack, cache, NULL, &a, &err), LM_OK);
    assert_int_equal(lm_pack_identity_known(pack, cache, &b, NULL), LM_ERR_NOT_FOUND);
    struct timespec wait = { 2, 100000000 };
    (void)nanosleep(&wait, NULL);
    assert_int_equal(lm_pack_identity(pack, cache, NULL, &b, &err), LM_OK);
    assert_true(lm_digest_equal(&a, &b));
    memset(&b, 0, sizeof b);
    assert_int_equal(lm_pack_identity_known(pack, cache, &b, &err), LM_OK);
    assert_true(lm_digest_equal(&a, &b));
    lm_packfile_close(pack);

    write_pack(folder, 9); /* same size, other bytes, same inode */
    assert_int_equal(lm_packfile_open(&pack, folder, true, &err), LM_OK);
    assert_int_equal(lm_pack_identity_known(pack, cache, &b, NULL), LM_ERR_NOT_FOUND);
    assert_int_equal(lm_pack_identity(pack, NULL, NULL, &b, &err), LM_OK);
    assert_false(lm_digest_equal(&a, &b));
    atomic_bool stop;
    atomic_init(&stop, true);
    assert_int_equal(lm_pack_identity(pack, NULL, &stop, &b, NULL), LM_ERR_CANCELLED);
    lm_packfile_close(pack);
    state_lite_remove(folder);
    state_lite_remove(cache);
}

static void impossible_geometries_are_refused(void **state)
{
    lm_error err = { 0 };
    lm_geometry g = plain_geometry();
    (void)state;
    assert_int_equal(lm_geometry_check(&g, &err), LM_OK);
    g.page_tokens = 48;
    assert_int_equal(lm_geometry_check(&g, &err), LM_ERR_STATE);
    assert_string_equal(err.text, "a page holds 48 tokens, allowed are powers of two up to 1024");
    g = plain_geometry();
    g.page_bytes = UINT64_C(1) << 33;
    assert_int_equal(lm_geometry_check(&g, NULL), LM_ERR_STATE);
    g = plain_geometry();
    memset(g.format, 'x', sizeof g.format);
    assert_int_equal(lm_geometry_check(&g, NULL), LM_ERR_STATE);
    g = plain_geometry();
    g.group = LM_STATE_GROUPS;
    assert_int_equal(lm_geometry_check(&g, NULL), LM_ERR_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_bytes_depend_on_changes_the_root),
        cmocka_unit_test(nothing_has_a_name_before_the_weights_are_known),
        cmocka_unit_test(a_name_covers_all_tokens_before_it),
        cmocka_unit_test(a_name_is_stable_across_versions),
        cmocka_unit_test(every_resolved_number_of_a_program_counts),
        cmocka_unit_test(weights_are_known_by_content_and_remembered),
        cmocka_unit_test(impossible_geometries_are_refused),
    };
    return cmocka_run_group_tests_name("state/names", tests, NULL, NULL);
}
