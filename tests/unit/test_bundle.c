/* Bundles and recoded entries: the same state in another store, private pages, hostile files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "state/bundle.h"
#include "state/store.h"
#include "support/state_lite.h"

enum { BIG = 64 << 20, N = 200 };
static char here[128], there[128], file[160];
static lite_session talk;

static int set_up(void **state)
{
    (void)state;
    state_lite_folder(here);
    state_lite_folder(there);
    (void)snprintf(file, sizeof file, "%s/talk.lemma", here);
    lite_open(&talk, 1, N, 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lite_close(&talk);
    state_lite_remove(here);
    state_lite_remove(there);
    return 0;
}

static lm_store *open_store(const char *folder)
{
    lm_error err = { 0 };
    char path[160];
    (void)snprintf(path, sizeof path, "%s/store", folder);
    lm_store *s = lite_store(path, BIG, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void export_talk(lm_store *s)
{
    lm_error err = { 0 };
    lm_bundle_report r;
    assert_int_equal(lite_sleep(s, &talk, "talk", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    if (lm_store_export(s, "talk", file, &r, &err) != LM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(r.n_tokens, N);
    assert_true(r.file_bytes > 0 && r.page_bytes > r.pages);
}

static void a_bundle_is_the_session_in_another_store(void **state)
{
    lm_error err = { 0 };
    lm_bundle_report r;
    char name[LM_MAX_ENTRY_NAME + 1];
    struct stat st;
    uint32_t n = 0;
    (void)state;
    lm_store *a = open_store(here), *b = open_store(there);
    export_talk(a);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* A file that is there is never written over. */
    assert_int_equal(lm_store_export(a, "talk", file, &r, &err), LM_ERR_USAGE);
    lm_error_clear(&err);
    assert_int_equal(lm_store_import(b, file, NULL, name, &r, &err), LM_OK);
    assert_string_equal(name, "talk");
    assert_int_equal(lite_wake(b, &talk, "talk", N, &n, &err), N);
    assert_int_equal(n, N);
    assert_int_equal(lm_store_import(b, file, NULL, name, &r, &err), LM_ERR_USAGE);
    lm_error_clear(&err);
    assert_int_equal(lm_store_import(b, file, "../other", name, &r, &err), LM_OK); /* a name, not a path */
    assert_int_equal(lite_wake(b, &talk, "../other", N, &n, &err), N);
    lm_store_close(a);
    lm_store_close(b);
}

static void imported_pages_serve_their_own_entry_alone(void **state)
{
    lm_error err = { 0 };
    lm_store_stats once, after;
    uint32_t n;
    (void)state;
    lm_store *a = open_store(here), *b = open_store(there);
    export_talk(a);
    assert_int_equal(lm_store_import(b, file, NULL, NULL, NULL, &err), LM_OK);
    assert_int_equal(lite_find(b, &talk), 0);
    assert_int_equal(lm_store_get_stats(b, &once, &err), LM_OK);
    /* What is computed here is found, and the imported one is as it was. */
    assert_int_equal(lite_put(b, &talk, 0, N / LITE_TOKENS, 1, &err), LM_OK);
    lm_store_flush(b);
    assert_int_equal(lite_find(b, &talk), N / LITE_TOKENS * LITE_TOKENS);
    assert_int_equal(lite_sleep(b, &talk, "own", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    assert_int_equal(lm_store_remove(b, "own", &err), LM_OK);
    assert_int_equal(lite_find(b, &talk), 0);
    assert_int_equal(lite_wake(b, &talk, "talk", N, &n, &err), N);
    /* Twice imported is twice there: a bundle cannot put its pages under another's. */
    assert_int_equal(lm_store_import(b, file, "again", NULL, NULL, &err), LM_OK);
    assert_int_equal(lm_store_get_stats(b, &after, &err), LM_OK);
    assert_int_equal(after.index.pages, 2 * once.index.pages);
    /* Removed, its pages are gone; the index rebuilt, they are still private. */
    assert_int_equal(lm_store_remove(b, "again", &err), LM_OK);
    lm_store_close(b);
    char path[160];
    lm_fsck_report report;
    (void)snprintf(path, sizeof path, "%s/store", there);
    assert_int_equal(lm_store_rebuild(path, &report, &err), LM_OK);
    assert_int_equal(report.bad_pages + report.missing_pages + report.bad_entries, 0);
    b = open_store(there);
    assert_int_equal(lite_find(b, &talk), 0);
    assert_int_equal(lite_wake(b, &talk, "talk", N, &n, &err), N);
    assert_int_equal(lm_store_remove(b, "talk", &err), LM_OK);
    assert_int_equal(lm_store_get_stats(b, &after, &err), LM_OK);
    assert_int_equal(after.index.pages, 0);
    lm_store_close(a);
    lm_store_close(b);
}

/* --- hostile files ------------------------------------------------------------------------ */

static size_t load(const char *path, uint8_t *buf, size_t cap)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, cap, f);
    assert_true(n < cap);
    (void)fclose(f);
    return n;
}

static void save(const char *path, const uint8_t *buf, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(buf, 1, n, f), n);
    (void)fclose(f);
}

/* A file that is refused leaves nothing; one that is taken is the same session. */
static bool refused(lm_store *s, const char *path)
{
    lm_error err = { 0 };
    lm_store_stats t;
    uint32_t n = 0;
    bool bad = lm_store_import(s, path, "x", NULL, NULL, &err) != LM_OK;
    if (bad) {
        assert_true(err.text[0] != 0);
        assert_true(err.status == LM_ERR_STATE || err.status == LM_ERR_TRUNCATED ||
                    err.status == LM_ERR_UNSUPPORTED || err.status == LM_ERR_NOSPACE);
    } else {
        assert_int_equal(lite_wake(s, &talk, "x", N, &n, &err), N);
        assert_int_equal(lm_store_remove(s, "x", &err), LM_OK);
    }
    lm_error_clear(&err);
    assert_int_equal(lm_store_get_stats(s, &t, &err), LM_OK);
    assert_int_equal(t.index.pages, 0);
    assert_int_equal(t.index.runs, 0);
    return bad;
}

static uint8_t bytes[1 << 20], other[1 << 20];

static void every_flipped_byte_and_every_cut_is_refused_or_harmless(void **state)
{
    char path[160];
    uint64_t seed = 7;
    uint32_t n_refused = 0;
    (void)state;
    lm_store *a = open_store(here), *b = open_store(there);
    export_talk(a);
    size_t n = load(file, bytes, sizeof bytes);
    (void)snprintf(path, sizeof path, "%s/bad", there);
    for (int k = 0; k < 150; k++) {
        memcpy(other, bytes, n);
        size_t at = k < 20 ? (size_t)k : (size_t)(state_lite_random(&seed) % n);
        other[at] ^= (uint8_t)(1u << state_lite_random(&seed) % 8);
        save(path, other, n);
        n_refused += refused(b, path);
    }
    assert_true(n_refused > 140);
    for (int k = 0; k < 60; k++) {
        save(path, bytes, k < 20 ? (size_t)k : n - 1 - (size_t)(state_lite_random(&seed) % (n - 1)));
        assert_true(refused(b, path));
    }
    memcpy(other, bytes, n);
    memset(other + n, 0, 9);
    save(path, other, n + 9);
    assert_true(refused(b, path));
    assert_int_equal(lm_store_import(b, "/dev/null", NULL, NULL, NULL, NULL), LM_ERR_USAGE);
    assert_int_equal(lm_store_import(b, there, NULL, NULL, NULL, NULL), LM_ERR_USAGE);
    lm_store_close(a);
    lm_store_close(b);
}

typedef struct {
    const uint8_t *at;
    size_t n;
} memory;

static lm_status pull(void *ctx, void *out, size_t n, size_t *got, lm_error *err)
{
    memory *m = ctx;
    (void)err;
    *got = n < m->n ? n : m->n;
    memcpy(out, m->at, *got);
    m->at += *got;
    m->n -= *got;
    return LM_OK;
}

static lm_status see_entry(void *ctx, lm_entry *e, lm_error *err)
{
    (void)ctx, (void)e, (void)err;
    return LM_OK;
}

static lm_status see_page(void *ctx, uint32_t g, uint32_t i, uint8_t *page, lm_error *err)
{
    (void)g, (void)i, (void)err;
    lm_free(page);
    ++*(int *)ctx;
    return LM_OK;
}

static lm_status see_end(void *ctx, lm_error *err)
{
    (void)ctx, (void)err;
    return LM_OK;
}

static lm_status read_stream(const uint8_t *stream, size_t n, int *pages, lm_error *err)
{
    memory m = { stream, n };
    *pages = 0;
    const lm_bundle_sink sink = { see_entry, see_page, see_end, pages };
    *err = (lm_error){ 0 };
    return lm_bundle_read(pull, &m, &sink, err);
}

static void seal(uint8_t *stream)
{
    uint64_t sum = lm_xxh64(stream, 56, 0);
    memcpy(stream + 56, &sum, 8);
}

static void lies_behind_good_checksums_are_refused(void **state)
{
    static const struct {
        size_t at; /* of the header; the number there grows by one */
        lm_status want;
        const char *text;
    } lies[] = { { 0, LM_ERR_STATE, "not a bundle" }, { 8, LM_ERR_UNSUPPORTED, "version 2" },
                 { 16, LM_ERR_STATE, "checksum" },    { 24, LM_ERR_STATE, "pages" },
                 { 32, LM_ERR_STATE, "pages" },       { 40, LM_ERR_STATE, "checksum" } };
    lm_error err;
    int pages;
    (void)state;
    lm_store *a = open_store(here);
    export_talk(a);
    size_t n = load(file, bytes, sizeof bytes);
    n = ZSTD_decompress(other, sizeof other, bytes, n);
    assert_false(ZSTD_isError(n));
    assert_int_equal(read_stream(other, n, &pages, &err), LM_OK);
    int whole = pages;
    assert_true(whole > 13);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(bytes, other, n);
        bytes[lies[i].at]++;
        seal(bytes);
        assert_int_equal(read_stream(bytes, n, &pages, &err), lies[i].want);
        assert_non_null(strstr(err.text, lies[i].text));
        assert_int_equal(pages, 0);
    }
    /* An entry of exabytes is not even asked memory for. */
    memcpy(bytes, other, n);
    bytes[23] = 0x7f;
    seal(bytes);
    assert_int_equal(read_stream(bytes, n, &pages, &err), LM_ERR_STATE);
    /* A page that claims another size, or holds other bytes. */
    uint64_t entry_bytes;
    memcpy(&entry_bytes, other + 16, 8);
    size_t first = 64 + ((size_t)entry_bytes + 7) / 8 * 8;
    memcpy(bytes, other, n);
    bytes[first + 7] = 1;
    assert_int_equal(read_stream(bytes, n, &pages, &err), LM_ERR_STATE);
    memcpy(bytes, other, n);
    bytes[first + 16 + 100] ^= 1;
    assert_int_equal(read_stream(bytes, n, &pages, &err), LM_ERR_STATE);
    assert_non_null(strstr(err.text, "page 0 of cache group 0 does not match its checksum"));
    other[n] = 0;
    assert_int_equal(read_stream(other, n + 1, &pages, &err), LM_ERR_STATE);
    assert_int_equal(read_stream(other, n - 1, &pages, &err), LM_ERR_TRUNCATED);
    lm_store_close(a);
}

static void a_bundle_larger_than_the_budget_is_refused_with_both_sizes(void **state)
{
    lm_error err = { 0 };
    char path[160];
    (void)state;
    lm_store *a = open_store(here);
    export_talk(a);
    (void)snprintf(path, sizeof path, "%s/small", there);
    lm_store *b = lite_store(path, 600 << 10, &err);
    assert_non_null(b);
    assert_int_equal(lm_store_import(b, file, NULL, NULL, NULL, &err), LM_ERR_NOSPACE);
    assert_non_null(strstr(err.text, "an imported session needs"));
    lm_store_close(a);
    lm_store_close(b);
}

/* --- recode --------------------------------------------------------------------------------- */

enum { REAL_TOKENS = 70, LAYERS = 2, HEADS = 2, K_DIM = 32, V_DIM = 64 };
static const lm_cache_group shape = { LAYERS, HEADS, K_DIM, V_DIM, 0 };

static float number_at(uint32_t i)
{
    return (float)((int)(i * 2654435761u >> 20) - 2048) / 512.0f;
}

/* Pages as a model in f32 leaves them; slept as "real". */
static void sleep_real(lm_store *s)
{
    lm_error err = { 0 };
    lm_state_id id = { .n_layers = LAYERS };
    lm_geometry g = lm_geometry_of(0, &shape, LM_KV_F32);
    lm_page_layout l = lm_page_layout_of(&shape, LM_KV_F32);
    lm_space space;
    int32_t tokens[REAL_TOKENS];
    float k[K_DIM], v[V_DIM], logits[4] = { 1, 2, 3, 4 };
    state_lite_model(&id.model, 9);
    (void)snprintf(id.cache, sizeof id.cache, "f32");
    assert_int_equal(lm_space_init(&space, &id.model, &g, 1, NULL, 0, &err), LM_OK);
    state_lite_tokens(3, tokens, REAL_TOKENS);
    const uint8_t *pages[2];
    uint8_t *own[2] = { NULL, NULL };
    for (uint32_t i = 0; i < REAL_TOKENS; i++) {
        uint32_t p = i / LM_PAGE_TOKENS;
        if (!own[p])
            assert_int_equal(lm_new((void **)&own[p], l.page_bytes, 1, NULL), LM_OK);
        pages[p] = own[p];
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t h = 0; h < HEADS; h++) {
                for (uint32_t d = 0; d < K_DIM; d++)
                    k[d] = number_at(((i * LAYERS + layer) * HEADS + h) * K_DIM + d);
                for (uint32_t d = 0; d < V_DIM; d++)
                    v[d] = number_at(((i * LAYERS + layer) * HEADS + h) * V_DIM + d + 77);
                lm_page_put(&l, own[p], layer, h, i % LM_PAGE_TOKENS, k, K_DIM, v, V_DIM);
            }
    }
    lm_sleep e = { .name = "real",
                   .flags = LM_ENTRY_KEPT,
                   .id = &id,
                   .space = &space,
                   .tokens = tokens,
                   .n_tokens = REAL_TOKENS,
                   .logits = logits,
                   .n_logits = 4,
                   .pages = { pages } };
    if (lm_store_sleep(s, &e, NULL, &err) != LM_OK)
        fail_msg("%s", err.text);
    lm_free(own[0]);
    lm_free(own[1]);
}

static void a_recoded_entry_has_the_same_numbers_rounded(void **state)
{
    static const lm_kv_format formats[] = { LM_KV_BF16, LM_KV_F16, LM_KV_Q8, LM_KV_K8V4 };
    (void)state;
    lm_store *s = open_store(here);
    sleep_real(s);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        lm_error err = { 0 };
        lm_bundle_report r;
        lm_entry *e = NULL;
        lm_mount *m = NULL;
        lm_page_layout l = lm_page_layout_of(&shape, formats[f]);
        const char *name = lm_kv_name(formats[f]);
        float k[K_DIM], v[V_DIM], want_k[K_DIM], want_v[V_DIM];
        uint8_t *want = NULL;
        if (lm_store_recode(s, "real", name, name, &r, &err) != LM_OK)
            fail_msg("%s: %s", name, err.text);
        assert_int_equal(lm_store_entry(s, name, &e, &err), LM_OK);
        assert_string_equal(e->id.cache, name);
        assert_string_equal(e->parent, "real");
        assert_true((e->flags & LM_ENTRY_RECODED) && (e->flags & LM_ENTRY_IMPORTED));
        assert_int_equal(e->n_logits, 4);
        assert_int_equal(lm_store_mount(s, e, REAL_TOKENS, &m, &err), LM_OK);
        assert_int_equal(lm_mount_n_tokens(m), REAL_TOKENS);
        assert_int_equal(lm_new((void **)&want, l.page_bytes, 1, NULL), LM_OK);
        for (uint32_t i = 0; i < REAL_TOKENS; i++) {
            lm_page *p = lm_mount_take(m, 0, i / LM_PAGE_TOKENS);
            for (uint32_t layer = 0; layer < LAYERS; layer++)
                for (uint32_t h = 0; h < HEADS; h++) {
                    for (uint32_t d = 0; d < K_DIM; d++)
                        k[d] = number_at(((i * LAYERS + layer) * HEADS + h) * K_DIM + d);
                    for (uint32_t d = 0; d < V_DIM; d++)
                        v[d] = number_at(((i * LAYERS + layer) * HEADS + h) * V_DIM + d + 77);
                    lm_page_put(&l, want, layer, h, i % LM_PAGE_TOKENS, k, K_DIM, v, V_DIM);
                    lm_page_get(&l, want, layer, h, i % LM_PAGE_TOKENS, want_k, K_DIM, want_v, V_DIM);
                    lm_page_get(&l, p->data, layer, h, i % LM_PAGE_TOKENS, k, K_DIM, v, V_DIM);
                    assert_memory_equal(k, want_k, sizeof k);
                    assert_memory_equal(v, want_v, sizeof v);
                }
            lm_pool_drop(NULL, p);
        }
        lm_free(want);
        lm_mount_close(m);
        lm_entry_free(e);
    }
    lm_error err = { 0 };
    assert_int_equal(lm_store_recode(s, "real", "x", "f32", NULL, &err), LM_ERR_USAGE);
    lm_error_clear(&err);
    assert_int_equal(lm_store_recode(s, "real", "q8", "f16", NULL, &err), LM_ERR_USAGE);
    lm_error_clear(&err);
    assert_int_equal(lm_store_recode(s, "none", "x", "f16", NULL, &err), LM_ERR_NOT_FOUND);
    lm_error_clear(&err);
    assert_int_equal(lm_store_recode(s, "real", "x", "q3", NULL, &err), LM_ERR_USAGE);
    lm_store_close(s);
}

/* A page table whose shape is a lie must not be converted. */
static void pages_that_are_not_of_their_shape_are_refused(void **state)
{
    lm_error err = { 0 };
    (void)state;
    lm_store *s = open_store(here);
    assert_int_equal(lite_sleep(s, &talk, "talk", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    assert_int_equal(lm_store_recode(s, "talk", "x", "f16", NULL, &err), LM_ERR_STATE);
    lm_store_close(s);
}

/* --- failing memory --------------------------------------------------------------------------- */

typedef lm_status (*work)(lm_store *s, lm_error *err);

static lm_status do_export(lm_store *s, lm_error *err)
{
    return lm_store_export(s, "talk", file, NULL, err);
}

static lm_status do_import(lm_store *s, lm_error *err)
{
    return lm_store_import(s, file, "new", NULL, NULL, err);
}

static lm_status do_recode(lm_store *s, lm_error *err)
{
    return lm_store_recode(s, "real", "q8", "q8", NULL, err);
}

static void every_failing_allocation_is_told_and_changes_nothing(void **state)
{
    static const work works[] = { do_export, do_import, do_recode };
    lm_error err = { 0 };
    (void)state;
    lm_store *s = open_store(here);
    assert_int_equal(lite_sleep(s, &talk, "talk", LM_ENTRY_KEPT, NULL, &err), LM_OK);
    sleep_real(s);
    lm_store_flush(s);
    for (size_t w = 0; w < sizeof works / sizeof *works; w++)
        for (uint64_t n = 1;; n++) {
            lm_store_stats before, after;
            lm_error own = { 0 };
            assert_int_equal(lm_store_get_stats(s, &before, &err), LM_OK);
            lm_mem_fail_after(n);
            lm_status status = works[w](s, &own);
            lm_mem_fail_after(0);
            if (status == LM_OK) {
                assert_true(n > 5);
                break;
            }
            assert_int_equal(status, LM_ERR_NOMEM);
            assert_int_equal(lm_store_sweep_private(s, &err), LM_OK);
            assert_int_equal(lm_store_get_stats(s, &after, &err), LM_OK);
            assert_int_equal(after.index.pages, before.index.pages);
            assert_int_equal(after.index.entries, before.index.entries);
            if (w == 0)
                assert_int_not_equal(access(file, F_OK), 0);
        }
    lm_store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_bundle_is_the_session_in_another_store),
        T(imported_pages_serve_their_own_entry_alone),
        T(every_flipped_byte_and_every_cut_is_refused_or_harmless),
        T(lies_behind_good_checksums_are_refused),
        T(a_bundle_larger_than_the_budget_is_refused_with_both_sizes),
        T(a_recoded_entry_has_the_same_numbers_rounded),
        T(pages_that_are_not_of_their_shape_are_refused),
        T(every_failing_allocation_is_told_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
