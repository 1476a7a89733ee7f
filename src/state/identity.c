/* state/identity.c - content identity of weight files, read once and remembered.
 *
 * A file of the cache folder is 80 bytes: five numbers of the weight file (device,
 * inode, size, mtime, ctime), its SHA-256, XXH3 of these 72 bytes.  Its name is the
 * hash of the five numbers.  A file that changed less than two seconds before it was
 * read is not remembered: a second change within the clock's step would not show. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/map.h"
#include "base/mem.h"
#include "state/io.h"
#include "state/names.h"

enum { CHUNK = 8 << 20, SETTLE_SECONDS = 2 };

typedef struct {
    lm_file_id id;
    lm_digest digest;
    uint64_t checksum;
} memo;
_Static_assert(sizeof(memo) == 80, "stored as it is");

static void memo_name(const lm_file_id *id, char out[24])
{
    uint64_t h = lm_xxh64(id, sizeof *id, 0);
    memcpy(out, "sha-", 4);
    lm_io_hex((const uint8_t *)&h, sizeof h, out + 4);
}

static bool recall(int dir, const lm_file_id *id, lm_digest *out)
{
    char name[24];
    uint8_t *bytes = NULL;
    size_t n = 0;
    memo m;
    memo_name(id, name);
    if (dir < 0 || lm_io_read_file(dir, name, sizeof m, &bytes, &n, NULL) != LM_OK)
        return false;
    bool good = n == sizeof m;
    if (good) {
        memcpy(&m, bytes, sizeof m);
        good = memcmp(&m.id, id, sizeof *id) == 0 && m.checksum == lm_xxh64(&m, offsetof(memo, checksum), 0);
    }
    lm_free(bytes);
    if (good)
        *out = m.digest;
    return good;
}

static void remember(int dir, const lm_file_id *id, const lm_digest *digest)
{
    char name[24];
    memo m = { .id = *id, .digest = *digest };
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    uint64_t settle = (uint64_t)SETTLE_SECONDS * 1000000000u;
    if (dir < 0 || ns < settle || id->ctime_ns > ns - settle || id->mtime_ns > ns - settle)
        return;
    m.checksum = lm_xxh64(&m, offsetof(memo, checksum), 0);
    memo_name(id, name);
    /* A cache: when it cannot be written, the next start reads the weights again. */
    (void)!lm_io_put_file(dir, name, &m, sizeof m, NULL);
}

/* Cached numbers describe the file that was opened; they must still be the file's. */
static bool unchanged(const lm_map *map)
{
    struct stat st;
    lm_file_id id = lm_map_id(map);
    return stat(lm_map_path(map), &st) == 0 && (uint64_t)st.st_ino == id.inode &&
           (uint64_t)st.st_size == id.size &&
           (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec == id.ctime_ns;
}

static lm_status read_through(const lm_map *map, const atomic_bool *stop, lm_digest *out, lm_error *err)
{
    lm_sha *s = NULL;
    const uint8_t *p = lm_map_data(map);
    uint64_t size = lm_map_size(map);
    LM_TRY(lm_sha_open(&s, err));
    lm_status status = LM_OK;
    for (uint64_t at = 0; at < size && status == LM_OK; at += CHUNK) {
        lm_sha_add(s, p + at, (size_t)LM_MIN((uint64_t)CHUNK, size - at));
        if (stop && atomic_load_explicit(stop, memory_order_relaxed))
            status = lm_fail(err, LM_ERR_CANCELLED, "stopped while reading the weights");
    }
    *out = lm_sha_close(s);
    if (status == LM_OK)
        status = lm_map_check(map, err);
    return status;
}

static lm_status identity(const lm_packfile *pack, const char *cache, bool may_read, const atomic_bool *stop,
                          lm_digest *out, lm_error *err)
{
    lm_sha *s = NULL;
    lm_quoted_buf q;
    size_t n = lm_packfile_n_maps(pack);
    int dir = cache ? open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    lm_status status = lm_sha_open(&s, err);
    if (status != LM_OK) {
        lm_io_close(dir);
        return status;
    }
    lm_sha_field(s, "lemma", "weights 1", 9);
    for (size_t i = 0; i < n && status == LM_OK; i++) {
        const lm_map *map = lm_packfile_map(pack, i);
        lm_file_id id = lm_map_id(map);
        lm_digest d;
        if (!recall(dir, &id, &d)) {
            status = may_read ? read_through(map, stop, &d, err)
                              : lm_fail(err, LM_ERR_NOT_FOUND, "the content of %s is not known yet",
                                        lm_quoted_z(&q, lm_map_path(map)));
            if (status == LM_OK && unchanged(map))
                remember(dir, &id, &d);
        }
        if (status == LM_OK)
            lm_sha_field(s, "file", d.b, sizeof d.b);
    }
    lm_digest all = lm_sha_close(s);
    lm_io_close(dir);
    if (status == LM_OK)
        *out = all;
    return status;
}

lm_status lm_pack_identity(const lm_packfile *pack, const char *cache, const atomic_bool *stop,
                           lm_digest *out, lm_error *err)
{
    return identity(pack, cache, true, stop, out, err);
}

lm_status lm_pack_identity_known(const lm_packfile *pack, const char *cache, lm_digest *out, lm_error *err)
{
    return identity(pack, cache, false, NULL, out, err);
}
