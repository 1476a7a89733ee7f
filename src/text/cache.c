/* text/cache.c - compiled tokenizers in the cache folder.
 *
 * The file is the image as it stood in memory.  It counts only when magic,
 * version, length, source and checksum are right; anything else is a miss, and
 * the tokenizer is compiled again. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/folder.h"
#include "text/tok.h"

#define VERSION 1u /* of the layout and of everything that compiling decides */
#define SUMMED  (offsetof(lm_tok_header, checksum) + sizeof(uint64_t))

lm_tok_source lm_tok_source_of(const lm_map *m, const char *kind)
{
    lm_file_id id = lm_map_id(m);
    return (lm_tok_source){ { id.device, id.inode, id.size, id.mtime_ns, id.ctime_ns,
                              lm_xxh64(kind, strlen(kind), 0), sizeof(lm_tok_header), VERSION } };
}

static bool path_of(const char *dir, const lm_tok_source *source, char *out, size_t cap)
{
    /* one file a source file: a changed one overwrites what was made of it before */
    uint64_t v[3] = { source->v[0], source->v[1], source->v[5] };
    int n = snprintf(out, cap, "%s/tok-%016llx.lmtok", dir, (unsigned long long)lm_xxh64(v, sizeof v, 0));
    return n > 0 && (size_t)n < cap;
}

static bool usable(const uint8_t *p, uint64_t n, const lm_tok_source *source)
{
    const lm_tok_header *h = (const lm_tok_header *)(const void *)p;
    return n >= sizeof *h && memcmp(h->magic, "LMTOKIMG", 8) == 0 && h->version == VERSION &&
           h->header_bytes == sizeof *h && h->n_bytes == n &&
           memcmp(h->source, source->v, sizeof source->v) == 0 &&
           h->checksum == lm_xxh64(p + SUMMED, (size_t)(n - SUMMED), 0);
}

bool lm_tok_cache_open(lm_tokenizer **out, const char *dir, const lm_tok_source *source)
{
    char path[4096];
    lm_map *m = NULL;
    lm_tokenizer *t = NULL;
    if (!path_of(dir, source, path, sizeof path) || lm_map_open(&m, path, NULL) != LM_OK)
        return false;
    if (!usable(lm_map_data(m), lm_map_size(m), source) || LM_NEW(&t, 1, NULL) != LM_OK) {
        lm_map_close(m);
        return false;
    }
    t->map = m;
    if (lm_tok_attach(t, lm_map_data(m), (size_t)lm_map_size(m), NULL) != LM_OK ||
        lm_map_check(m, NULL) != LM_OK) {
        lm_tokenizer_close(t);
        return false;
    }
    *out = t;
    return true;
}

enum { KEPT = 16 }; /* compiled tokenizers in a folder, some MiB each */

static bool newer(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Takes away all but the KEPT newest, `own` among them whatever the clock says.
 * Best effort: who still maps one keeps what it maps. */
static void prune(const char *dir, const char *own)
{
    char path[4096], oldest[4096];
    lm_folder in = { 0 };
    size_t n = KEPT + 1;
    while (n > KEPT && lm_folder_read(&in, dir, NULL) == LM_OK) {
        struct timespec least = { 0 };
        struct stat st;
        n = 0;
        oldest[0] = 0;
        for (size_t i = 0; i < in.n; i++) {
            if (!lm_starts_with(in.names[i], "tok-") || !lm_ends_with(in.names[i], ".lmtok"))
                continue;
            int len = snprintf(path, sizeof path, "%s/%s", dir, in.names[i]);
            if (len < 0 || (size_t)len >= sizeof path || lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
                continue;
            n++;
            if (strcmp(path, own) != 0 && (!oldest[0] || newer(&least, &st.st_mtim))) {
                least = st.st_mtim;
                memcpy(oldest, path, (size_t)len + 1);
            }
        }
        lm_folder_clear(&in);
        if (n > KEPT && (!oldest[0] || unlink(oldest) != 0))
            return;
    }
}

void lm_tok_cache_write(const char *dir, const lm_tok_source *source, uint8_t *image, size_t n)
{
    lm_tok_header *h = (lm_tok_header *)(void *)image;
    char path[4096];
    h->version = VERSION;
    h->header_bytes = sizeof *h;
    memcpy(h->source, source->v, sizeof source->v);
    h->checksum = lm_xxh64(image + SUMMED, n - SUMMED, 0);
    if (path_of(dir, source, path, sizeof path) && lm_write_file(path, image, n, 0600, NULL) == LM_OK)
        prune(dir, path);
}
