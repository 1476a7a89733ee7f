/* support/state_lite.c */
#define _GNU_SOURCE
#include "support/state_lite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
