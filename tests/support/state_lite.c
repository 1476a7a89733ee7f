/* support/state_lite.c */
#define _GNU_SOURCE
#include "support/state_lite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

void state_lite_folder(char out[128])
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(out, 128, "%s/lemma-state-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(out))
        out[0] = 0;
}

static uint64_t walk(const char *folder, int remove_it)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    uint64_t bytes = 0;
    while (d && (e = readdir(d))) {
        char path[1024];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (lstat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            bytes += walk(path, remove_it);
        else
            bytes += (uint64_t)st.st_blocks * 512;
        if (remove_it)
            (void)(S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path));
    }
    if (d)
        (void)closedir(d);
    return bytes;
}

void state_lite_remove(const char *folder)
{
    (void)walk(folder, 1);
    (void)rmdir(folder);
}

uint64_t state_lite_disk_bytes(const char *folder)
{
    return walk(folder, 0);
}

uint64_t state_lite_random(uint64_t *seed)
{
    /* splitmix64 */
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void state_lite_fill(uint64_t seed, void *bytes, size_t n)
{
    uint8_t *p = bytes;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t r = state_lite_random(&seed);
        memcpy(p + i, &r, n - i < 8 ? n - i : 8);
    }
}

void state_lite_model(lm_model_id *id, uint64_t seed)
{
    memset(id, 0, sizeof *id);
    state_lite_fill(seed, id->weights.b, sizeof id->weights.b);
    state_lite_fill(seed + 1, id->program.b, sizeof id->program.b);
    (void)snprintf(id->numerics, sizeof id->numerics, "test precise 1");
}

void state_lite_space(lm_space *space, const lm_model_id *id, uint32_t n_groups)
{
    lm_geometry g[2] = {
        { .format = "bf16",
          .group = 0,
          .n_layers = 2,
          .n_heads = 2,
          .k_dim = 16,
          .v_dim = 16,
          .page_tokens = LITE_TOKENS,
          .page_bytes = LITE_BYTES_0 },
        { .format = "bf16",
          .group = 1,
          .n_layers = 2,
          .n_heads = 2,
          .k_dim = 16,
          .v_dim = 16,
          .window = LITE_WINDOW,
          .page_tokens = LITE_TOKENS,
          .page_bytes = LITE_BYTES_1 },
    };
    if (lm_space_init(space, id, g, n_groups, NULL, 0, NULL) != LM_OK)
        abort();
}

void state_lite_page(const lm_space *space, uint32_t group, const lm_digest *name, uint8_t *out)
{
    uint64_t seed;
    memcpy(&seed, name->b, sizeof seed);
    state_lite_fill(seed, out, (size_t)space->groups[group].page_bytes);
}

void state_lite_tokens(uint64_t seed, int32_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = (int32_t)(state_lite_random(&seed) % 32000);
}

/* --- conversations ------------------------------------------------------------------- */

static void check(int good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "state_lite: %s\n", what);
    abort();
}

void lite_open(lite_session *l, uint64_t seed, uint32_t n_tokens, uint32_t n_groups)
{
    memset(l, 0, sizeof *l);
    state_lite_model(&l->model, 1);
    state_lite_space(&l->space, &l->model, n_groups);
    l->id.model = l->model;
    (void)snprintf(l->id.architecture, sizeof l->id.architecture, "test");
    l->n_groups = n_groups;
    l->n_tokens = n_tokens;
    l->n_pages = (n_tokens + LITE_TOKENS - 1) / LITE_TOKENS;
    l->tokens = malloc((n_tokens + 1) * sizeof *l->tokens);
    check(l->tokens != NULL, "no memory");
    state_lite_tokens(seed, l->tokens, n_tokens);
    for (uint32_t g = 0; g < n_groups; g++) {
        l->pages[g] = malloc((l->n_pages + 1) * sizeof *l->pages[g]);
        l->names[g] = malloc((l->n_pages + 1) * sizeof *l->names[g]);
        check(l->pages[g] && l->names[g] &&
                  lm_page_names(&l->space.roots[g], l->tokens, n_tokens, LITE_TOKENS, l->names[g], NULL) ==
                      LM_OK,
              "no names");
        for (uint32_t i = 0; i < l->n_pages; i++) {
            l->pages[g][i] = malloc((size_t)l->space.groups[g].page_bytes);
            check(l->pages[g][i] != NULL, "no memory");
            state_lite_page(&l->space, g, &l->names[g][i], l->pages[g][i]);
        }
    }
    uint64_t sum = lm_xxh64(l->tokens, n_tokens * sizeof *l->tokens, 0);
    for (int i = 0; i < 32; i++)
        l->logits[i] = (float)(state_lite_random(&sum) % 1000);
    state_lite_fill(sum, l->sampler, sizeof l->sampler);
    (void)snprintf(l->messages, sizeof l->messages, "[{\"n\":%u,\"sum\":%llu}]", n_tokens,
                   (unsigned long long)sum);
}

void lite_close(lite_session *l)
{
    for (uint32_t g = 0; g < l->n_groups; g++) {
        for (uint32_t i = 0; i < l->n_pages; i++)
            free(l->pages[g][i]);
        free(l->pages[g]);
        free(l->names[g]);
    }
    free(l->tokens);
}

lm_status lite_sleep(lm_store *s, const lite_session *l, const char *name, uint32_t flags,
                     lm_sleep_report *out, lm_error *err)
{
    lm_sleep e = { .name = name,
                   .title = "a title",
                   .labels = "[\"x\"]",
                   .messages = l->messages,
                   .flags = flags,
                   .id = &l->id,
                   .space = &l->space,
                   .tokens = l->tokens,
                   .n_tokens = l->n_tokens,
                   .cost_us = 1000,
                   .sampler = l->sampler,
                   .n_sampler = sizeof l->sampler,
                   .logits = l->logits,
                   .n_logits = 32 };
    for (uint32_t g = 0; g < l->n_groups; g++)
        e.pages[g] = (const uint8_t *const *)l->pages[g];
    return lm_store_sleep(s, &e, out, err);
}

static void released(void *ctx, lm_status status)
{
    (void)ctx, (void)status;
}

lm_status lite_put(lm_store *s, const lite_session *l, uint32_t from, uint32_t to, uint64_t cost_us,
                   lm_error *err)
{
    lm_store_page pages[256];
    lm_store_put_args a = { .space = &l->space,
                            .tokens = l->tokens,
                            .n_tokens = l->n_tokens,
                            .pages = pages,
                            .cost_us = cost_us,
                            .release = released };
    for (uint32_t g = 0; g < l->n_groups; g++)
        for (uint32_t i = from; i < to; i++)
            pages[a.n_pages++] = (lm_store_page){ g, i, l->pages[g][i] };
    return lm_store_put(s, &a, err);
}

/* Every page that passes its check has the right bytes; the tokens before the first that
 * does not. */
static uint32_t compare(lm_store *s, lm_mount *m, const lite_session *l, const lm_digest *const *names)
{
    uint32_t n = lm_mount_n_tokens(m), good = n;
    static uint8_t want[LITE_BYTES_1];
    for (uint32_t g = 0; g < l->n_groups; g++)
        for (uint32_t i = 0; i < lm_mount_n_pages(m); i++) {
            lm_page *p = lm_mount_take(m, g, i);
            if (!p) {
                check(l->space.groups[g].window && (i + 1) * LITE_TOKENS + LITE_WINDOW <= n + LITE_TOKENS,
                      "a page inside a window is not mounted");
                continue;
            }
            if (lm_mount_verify(m, g, i, NULL) == LM_OK) {
                state_lite_page(&l->space, g, &names[g][i], want);
                check(memcmp(p->data, want, (size_t)l->space.groups[g].page_bytes) == 0, "WRONG BYTES");
            } else {
                good = i * LITE_TOKENS < good ? i * LITE_TOKENS : good;
                lm_mount_report_bad(s, m, g, i);
            }
            lm_pool_drop(NULL, p);
        }
    check(lm_mount_check(m, NULL) == LM_OK, "a mapping broke");
    return good;
}

uint32_t lite_find(lm_store *s, const lite_session *l)
{
    lm_mount *m = NULL;
    lm_error err = { 0 };
    const lm_digest *names[2] = { l->names[0], l->names[1] };
    if (lm_store_find(s, &l->space, l->tokens, l->n_tokens, &m, &err) != LM_OK || !m)
        return 0;
    uint32_t n = compare(s, m, l, names);
    lm_mount_close(m);
    return n;
}

uint32_t lite_wake(lm_store *s, const lite_session *l, const char *name, uint32_t want,
                   uint32_t *entry_tokens, lm_error *err)
{
    lm_entry *e = NULL;
    lm_mount *m = NULL;
    uint32_t n = 0;
    if (lm_store_entry(s, name, &e, err) != LM_OK)
        return UINT32_MAX;
    uint32_t shared = e->n_tokens < l->n_tokens ? e->n_tokens : l->n_tokens;
    check(memcmp(e->tokens, l->tokens, shared * sizeof *e->tokens) == 0, "an entry with other tokens");
    if (e->n_tokens == l->n_tokens) {
        check(e->n_logits == 32 && memcmp(e->logits, l->logits, sizeof l->logits) == 0, "other logits");
        check(e->n_sampler == 40 && memcmp(e->sampler, l->sampler, 40) == 0, "another sampler");
        check(strcmp(e->messages, l->messages) == 0, "other messages");
    }
    if (entry_tokens)
        *entry_tokens = e->n_tokens;
    lm_status status = lm_store_mount(s, e, want, &m, err);
    if (status != LM_OK)
        n = UINT32_MAX;
    if (m) {
        /* Names of the entry's own chain: its tail is another page than a longer session's. */
        lm_digest *names[2] = { NULL, NULL };
        for (uint32_t g = 0; g < l->n_groups; g++) {
            names[g] = malloc((e->n_tokens / LITE_TOKENS + 1) * sizeof *names[g]);
            check(names[g] && lm_page_names(&l->space.roots[g], e->tokens, e->n_tokens, LITE_TOKENS, names[g],
                                            NULL) == LM_OK,
                  "no names");
        }
        const lm_digest *const all[2] = { names[0], names[1] };
        n = compare(s, m, l, all);
        lm_mount_close(m);
        free(names[0]);
        free(names[1]);
    }
    lm_entry_free(e);
    return n;
}

lm_store *lite_store(const char *folder, uint64_t budget, lm_error *err)
{
    lm_store *s = NULL;
    lm_store_options o = { .folder = folder, .budget = budget, .min_free = LM_STORE_NO_FLOOR };
    return lm_store_open(&s, &o, err) == LM_OK ? s : NULL;
}
