/* Logs and .kv containers (by their first bytes): every chunk that the index shows is read;
 * opened for writing, the log takes a chunk and shows it again. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "state/interchange/chunks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *path(void)
{
    static char p[256];
    const char *tmp = getenv("TMPDIR");
    if (!p[0])
        (void)snprintf(p, sizeof p, "%.200s/lm_fuzz_mvlog_%ld", tmp ? tmp : "/tmp", (long)getpid());
    return p;
}

static void put_file(const uint8_t *data, size_t size)
{
    int fd = open(path(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)close(fd);
}

static void read_all(lm_chunks *c)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < c->n; i++) {
        lm_chunk k;
        if (lm_chunks_get(c, c->records[i].id, &k, NULL) != LM_OK)
            continue;
        for (size_t j = 0; j < k.n; j++)
            sum = (uint8_t)(sum + k.bytes[j]);
        lm_chunk_clear(&k);
        lm_chunk_ref ref = { .frame_offset = c->records[i].at + sum % 3, .has_frame_offset = true };
        if (lm_chunks_resolve(c, &ref, &k, NULL) == LM_OK)
            lm_chunk_clear(&k);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lm_chunks *c = NULL;
    lm_error err = { 0 };
    char *header = NULL;
    put_file(data, size);
    if (size >= 4 && memcmp(data, "KVST", 4) == 0) {
        if (lm_container_open(&c, path(), &header, &err) == LM_OK) {
            read_all(c);
            lm_give_back(header);
            (void)!lm_chunks_close(c, NULL);
        } else if (err.text[0] == 0)
            abort();
    } else {
        if (lm_chunks_open_log(&c, path(), LM_LOG_READ_ONLY, &err) == LM_OK) {
            read_all(c);
            (void)!lm_chunks_close(c, NULL);
        } else if (err.text[0] == 0)
            abort();
        if (lm_chunks_open_log(&c, path(), 0, NULL) == LM_OK) {
            lm_chunk_ref ref;
            lm_chunk k;
            size_t n = lm_chunks_count(c);
            if (lm_chunks_put(c, "new", 3, NULL, &ref, NULL) != LM_OK || lm_chunks_count(c) != n + 1 ||
                lm_chunks_resolve(c, &ref, &k, NULL) != LM_OK || k.n != 3)
                abort();
            lm_chunk_clear(&k);
            (void)!lm_chunks_close(c, NULL);
        }
    }
    (void)unlink(path());
    return 0;
}
