/* state/interchange/chunks.h - the inside of a chunk store: records, their index, backends.
 *
 * Trust:   logs are hostile: every length is compared with what is left of the file.
 * Threads: a store's mutex guards it. */
#ifndef LM_INTERCHANGE_CHUNKS_H
#define LM_INTERCHANGE_CHUNKS_H

#include <pthread.h>

#include "base/map.h"
#include "lemma/interchange.h"
#include "state/interchange/wire.h"

enum { LM_CHUNK_META_MAX = 1 << 20 }; /* metadata of one record: a few hundred bytes in practice */

typedef struct {
    uint64_t id, at; /* at: of the record in the log */
    uint64_t payload_at, n;
    uint64_t meta_at;
    uint32_t n_meta;
    uint8_t *bytes; /* in memory */
    char *uri;      /* NULL: none */
    bool gone;
} lm_chunk_record;

struct lm_chunks {
    pthread_mutex_t lock;
    lm_chunk_record *records;
    size_t n, cap, n_gone;
    uint32_t *by_uri; /* open addressing: 1 + index of the last record of a URI; [n_by_uri] a power of 2 */
    size_t n_by_uri, n_uris;
    uint64_t next_id;
    const char *codec;
    bool text_only, writable, meta_first, log;
    /* A log: */
    char *path, **aliases;
    size_t n_aliases, cap_aliases;
    int fd;
    uint64_t base, end; /* of the log inside the file */
    lm_map *map;        /* read-only: of the file from map_at on */
    uint64_t map_at;
};

lm_status lm_chunks_new(lm_chunks **out, const char *codec, lm_error *err) LM_NODISCARD;
void lm_chunks_free(lm_chunks *c);
/* Takes the record over, or frees what it owns. */
lm_status lm_chunks_add(lm_chunks *c, lm_chunk_record *r, lm_error *err) LM_NODISCARD;
/* NULL: there is none. */
lm_chunk_record *lm_chunks_by_id(lm_chunks *c, uint64_t id);
lm_chunk_record *lm_chunks_by_uri(lm_chunks *c, const char *uri);
/* Gives a JSON object's text: {} and more (lm_free()). */
lm_status lm_chunk_meta(const lm_chunk_about *about, char **out, size_t *n, lm_error *err) LM_NODISCARD;

/* A payload of exactly n bytes, written by `fill`; fewer or more are LM_ERR_USAGE and leave
 * nothing. */
lm_status lm_chunks_stream(lm_chunks *c, uint64_t n, const lm_chunk_about *about, lm_fill fill, void *user,
                           lm_chunk_ref *ref, lm_error *err) LM_NODISCARD;
/* What was put is on the disk when this returns. */
lm_status lm_chunks_sync(lm_chunks *c, lm_error *err) LM_NODISCARD;

/* --- mvlog.c: within the lock */
lm_status lm_log_stream(lm_chunks *c, uint64_t n, const lm_chunk_about *about, lm_fill fill, void *user,
                        lm_chunk_record *r, lm_error *err) LM_NODISCARD;
lm_status lm_log_read(lm_chunks *c, const lm_chunk_record *r, lm_chunk *out, lm_error *err) LM_NODISCARD;
/* The record at this place of the log, which may not be in the index. */
lm_status lm_log_record_at(lm_chunks *c, uint64_t at, lm_chunk_record *r, lm_error *err) LM_NODISCARD;
lm_status lm_log_close(lm_chunks *c, lm_error *err);

#endif
